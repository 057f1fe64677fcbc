"""The names of all alerts, with their severity. One PagerDuty dedup key each: `<thing>/<alert>`."""

from enum import StrEnum


class Severity(StrEnum):
    """PagerDuty Events API v2 severities."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Alert(StrEnum):
    """What the device raises. The cloud's own alerts come with the heartbeat Lambda."""

    OVER_TEMPERATURE = "over_temperature"
    THERMOMETER_LOST = "thermometer_lost"
    BATTERY_LOW = "battery_low"
    BATTERY_CRITICAL = "battery_critical"
    BATTERY_MONITOR_LOST = "battery_monitor_lost"
    SENSOR_DEGRADED = "sensor_degraded"
    STUCK_SENSOR = "stuck_sensor"
    RELAY_STUCK_CLOSED = "relay_stuck_closed"
    GRID_ABSENT = "grid_absent"
    GRID_REJECTED = "grid_rejected"
    RELAY_FAULT = "relay_fault"
    RELAY_CHATTER = "relay_chatter"
    OVERRIDE_LEFT_ON = "override_left_on"
    STORAGE_FAILING = "storage_failing"
    PI_HEALTH = "pi_health"
    CONTROL_RESTARTING = "control_restarting"
    INTERNAL_ERROR = "internal_error"
    # What uplink notices.
    DUPLICATE_CLIENT_ID = "duplicate_client_id"
    DELIVERY_REFUSED = "delivery_refused"
    SHADOW_UNAVAILABLE = "shadow_unavailable"


SEVERITY = {
    Alert.OVER_TEMPERATURE: Severity.CRITICAL,
    Alert.THERMOMETER_LOST: Severity.ERROR,
    Alert.BATTERY_LOW: Severity.WARNING,
    Alert.BATTERY_CRITICAL: Severity.CRITICAL,
    Alert.BATTERY_MONITOR_LOST: Severity.ERROR,
    Alert.SENSOR_DEGRADED: Severity.WARNING,
    Alert.STUCK_SENSOR: Severity.WARNING,
    Alert.RELAY_STUCK_CLOSED: Severity.CRITICAL,
    Alert.GRID_ABSENT: Severity.ERROR,
    Alert.GRID_REJECTED: Severity.ERROR,
    Alert.RELAY_FAULT: Severity.CRITICAL,
    Alert.RELAY_CHATTER: Severity.ERROR,
    Alert.OVERRIDE_LEFT_ON: Severity.INFO,
    Alert.STORAGE_FAILING: Severity.ERROR,
    Alert.PI_HEALTH: Severity.WARNING,
    Alert.CONTROL_RESTARTING: Severity.ERROR,
    Alert.INTERNAL_ERROR: Severity.CRITICAL,
    Alert.DUPLICATE_CLIENT_ID: Severity.ERROR,
    Alert.DELIVERY_REFUSED: Severity.ERROR,
    Alert.SHADOW_UNAVAILABLE: Severity.WARNING,
}
