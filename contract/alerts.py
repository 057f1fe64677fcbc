"""The names of all alerts, with their severity, and the message that says that one is raised or cleared.

    {"schema": 1, "alert": "battery_low", "action": "raise", "raised_ms": 1732360000000, "time_ms": 1732360000000,
     "boot_id": "...", "clock_synchronised": true, "severity": "warning", "summary": "...", "details": {...}}

An alert is raised once and cleared once. `raised_ms` is when it was raised, in epoch milliseconds by the device's
clock; the message that clears it has the same. It names the episode: what belongs together is told by it and by nothing
else, so that neither the order of arrival nor a clock that was wrong matters. Of one name a device has one episode at a
time: should it raise an alert anew without having cleared it (it was killed in that moment), the one before is over.
`raised_ms` is absent where an older software did not say it. `details` are shown as they are.

Where the messages of all things come together, in the cloud's alert topic, each has also `thing` and `received_ms`,
which is when it reached AWS, by AWS's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from contract import messages


class Severity(StrEnum):
    """PagerDuty Events API v2 severities."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Alert(StrEnum):
    """What the device raises."""

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


class CloudAlert(StrEnum):
    """What the heartbeat Lambda raises about a device."""

    # Nothing has come from it for long.
    DEVICE_SILENT = "device_silent"
    # It says that it is alive, but it does not see what it decides on, or decides no more.
    DEVICE_BLIND = "device_blind"


SEVERITY: Mapping[Alert | CloudAlert, Severity] = {
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
    CloudAlert.DEVICE_SILENT: Severity.CRITICAL,
    CloudAlert.DEVICE_BLIND: Severity.CRITICAL,
}


def dedup_key(thing: str, alert: str) -> str:
    """PagerDuty's key of the incident; it stays the same for as long as the thing has its name."""
    return f"{thing}/{alert}"


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """One of them, to be sent. Times are epoch milliseconds."""

    alert: Alert | CloudAlert
    action: str
    raised_ms: int | None
    time_ms: int
    boot_id: str
    clock_synchronised: bool
    summary: str
    details: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """As it stands on the wire."""
        return {
            "schema": messages.SCHEMA,
            "alert": self.alert,
            "action": self.action,
            **({} if self.raised_ms is None else {"raised_ms": self.raised_ms}),
            "time_ms": self.time_ms,
            "boot_id": self.boot_id,
            "clock_synchronised": self.clock_synchronised,
            "severity": SEVERITY[self.alert],
            "summary": self.summary,
            "details": dict(self.details),
        }
