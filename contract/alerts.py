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
    BATTERY_LOW = "battery_low"


SEVERITY = {
    Alert.OVER_TEMPERATURE: Severity.CRITICAL,
    Alert.BATTERY_LOW: Severity.WARNING,
}
