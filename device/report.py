"""What `reported` in the shadow says of control: see `contract.shadow`. Pure but for the clock that it is given."""

from collections.abc import Collection
from typing import Any

from contract.alerts import Alert
from contract.positions import Position, Reason
from contract.shadow import OverrideState
from device.clock import Clock
from device.decide import Decision
from device.loop import Seen
from device.mailbox import HEARD
from device.readings import AcReading, Reading

# Reasons above the owner's wish, as he is told why it has to wait.
_SUPPRESSED_BY = {
    Reason.OVER_TEMPERATURE: "the box is too hot",
    Reason.THERMOMETER_LOST: "the box's thermometer is lost",
    Reason.RELAY_FAULT: "a relay fault is latched",
    Reason.NO_DATA: "the sensors have not all reported yet",
    Reason.INTERNAL_ERROR: "control cannot decide",
    Reason.STOPPED: "control has been stopped",
}
_CRITICAL = "the battery is critically low"
_PAUSE = "the relays moved a moment ago, it comes soon"


def reported(
    decision: Decision, seen: Seen, alerts: Collection[Alert], clock: Clock, boot_id: str, software: str
) -> dict[str, Any]:
    """The report of one decision that has been carried out. `alerts` are those that have been raised.

    Every name is there, with None for what is not known: a shadow forgets a value only when it is told null.
    """
    return lasting(decision, seen, alerts, clock, boot_id, software) | _passing(decision, seen, clock)


def lasting(
    decision: Decision, seen: Seen, alerts: Collection[Alert], clock: Clock, boot_id: str, software: str
) -> dict[str, Any]:
    """The part of the report that is news when it changes."""
    return {
        "position": decision.position,
        "reason": decision.reason,
        "mode": seen.wishes.mode,
        "override": _override(decision, seen),
        "alerts": sorted(alerts),
        "software": software,
        "boot_id": boot_id,
        "clock_synchronised": clock.synchronised(),
        HEARD: seen.wish_number,
    }


def _passing(decision: Decision, seen: Seen, clock: Clock) -> dict[str, Any]:
    """The members of `contract.shadow.PASSING`."""
    now_s, time_ms = clock.monotonic_s(), clock.time_ms()

    def epoch_s(at_s: float) -> int:
        return round((time_ms + (at_s - now_s) * 1000) / 1000)

    readings = seen.readings
    next_at_s = decision.next_change_at_s
    return {
        "since": epoch_s(decision.state.position_since_s),
        "next_change_at": None if next_at_s is None else epoch_s(next_at_s),
        "readings": {
            "battery_voltage_v": _reading(readings.battery_voltage_v, now_s),
            "box_temperature_c": _reading(readings.box_temperature_c, now_s),
            "soc_percent": _reading(readings.soc_percent, now_s),
            "ac_mode": _reading(readings.ac, now_s),
        },
        "time": time_ms // 1000,
        "counts": dict(seen.counts),
    }


def _override(decision: Decision, seen: Seen) -> dict[str, Any] | None:
    wishes = seen.wishes
    if wishes.newest is None or wishes.state is None:
        return None
    state, because = wishes.state, wishes.because
    if state is OverrideState.ACTIVE and decision.reason is not Reason.OVERRIDE:
        state, because = OverrideState.SUPPRESSED, _why_suppressed(decision, seen)
    return {
        "mode": wishes.newest.mode,
        "until": None,
        **wishes.newest.as_json(),
        "state": state,
        "ends_at": None if wishes.ends_at_ms is None else wishes.ends_at_ms // 1000,
        "because": because or None,
    }


def _why_suppressed(decision: Decision, seen: Seen) -> str:
    if decision.reason in _SUPPRESSED_BY:
        return _SUPPRESSED_BY[decision.reason]
    asks_for_battery = seen.override is not None and seen.override.position is Position.BATTERY
    return _CRITICAL if asks_for_battery and decision.state.battery_is_critical else _PAUSE


def _reading(reading: Reading | AcReading | None, now_s: float) -> dict[str, Any] | None:
    if reading is None:
        return None
    value = reading.mode if isinstance(reading, AcReading) else round(reading.value, 2)
    return {"value": value, "age_s": round(max(0.0, now_s - reading.at_s), 1), "source": reading.source}
