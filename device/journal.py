"""Turns decisions into what is published: samples, alerts and the heartbeat, as `contract.messages` has them."""

from dataclasses import dataclass
from typing import Any

from contract import messages
from contract.alerts import SEVERITY, Alert
from contract.positions import Position, Reason
from device.battery_monitor import TimedPage
from device.clock import Clock
from device.decide import Decision, Limits
from device.mate import FndcPage, FxPage, MxPage, as_json
from device.readings import Reading, Readings

# A page's fields that say where it came from, not what was measured.
_NOT_MEASURES = ("device", "port")


@dataclass(frozen=True)
class Entry:
    """What one decision leads to. Each text is JSON; None = nothing of that kind is due."""

    sample: str | None
    heartbeat: str | None
    alerts: tuple[str, ...]


class Journal:
    """Says what is due after each decision: a sample at every interval and change, a heartbeat, alerts once each."""

    def __init__(
        self, clock: Clock, boot_id: str, limits: Limits, *, sample_interval_s: float, heartbeat_interval_s: float
    ) -> None:
        self._clock = clock
        self._boot_id = boot_id
        self._limits = limits
        self._sample_interval_s = sample_interval_s
        self._heartbeat_interval_s = heartbeat_interval_s
        self._sampled_at_s = float("-inf")
        self._beat_at_s = float("-inf")
        self._last: tuple[Position, Reason] | None = None
        self._active: set[Alert] = set()
        self._decisions = 0

    def record(self, decision: Decision, readings: Readings, pages: list[TimedPage]) -> Entry:
        """What to publish now that this decision has been carried out."""
        now_s = self._clock.monotonic_s()
        self._decisions += 1
        alerts = self._change_alerts(decision, readings)
        changed = bool(alerts) or self._last != (decision.position, decision.reason)
        self._last = (decision.position, decision.reason)

        sample = heartbeat = None
        if changed or now_s - self._sampled_at_s >= self._sample_interval_s:
            self._sampled_at_s = now_s
            sample = messages.encode(self._sample(decision, readings, pages))
        if now_s - self._beat_at_s >= self._heartbeat_interval_s:
            self._beat_at_s = now_s
            heartbeat = messages.encode(self._heartbeat(decision, readings, now_s))
        return Entry(sample, heartbeat, tuple(alerts))

    def _stamp(self) -> dict[str, Any]:
        return {
            "time_ms": self._clock.time_ms(),
            "boot_id": self._boot_id,
            "clock_synchronised": self._clock.synchronised(),
        }

    def _sample(self, decision: Decision, readings: Readings, pages: list[TimedPage]) -> dict[str, Any]:
        measures = {
            "battery_voltage_v": _value(readings.battery_voltage_v),
            "box_temperature_c": _value(readings.box_temperature_c),
            **_totals(pages),
            "battery_low_voltage_v": self._limits.battery_low_voltage_v,
            "battery_recover_voltage_v": self._limits.battery_recover_voltage_v,
            "over_temperature_trip_c": self._limits.over_temperature_trip_c,
        }
        return {
            **self._stamp(),
            "position": decision.position,
            "reason": decision.reason,
            "alerts": sorted(self._active),
            "measures": _known(measures),
            "devices": {timed.source: _published(timed) for timed in pages},
        }

    def _heartbeat(self, decision: Decision, readings: Readings, now_s: float) -> dict[str, Any]:
        ages = {"battery_voltage": readings.battery_voltage_v, "box_temperature": readings.box_temperature_c}
        return {
            "schema": messages.SCHEMA,
            **self._stamp(),
            "decision_count": self._decisions,
            "position": decision.position,
            "reason": decision.reason,
            "reading_ages_s": {name: round(now_s - r.at_s, 3) for name, r in ages.items() if r is not None},
        }

    def _change_alerts(self, decision: Decision, readings: Readings) -> list[str]:
        active = _active_alerts(decision)
        changes = [(alert, messages.RAISE) for alert in sorted(active - self._active)]
        changes += [(alert, messages.CLEAR) for alert in sorted(self._active - active)]
        self._active = active
        return [
            messages.encode(
                {
                    "schema": messages.SCHEMA,
                    **self._stamp(),
                    "alert": alert,
                    "action": action,
                    "severity": SEVERITY[alert],
                    "summary": _summary(alert, action, decision, readings),
                    "details": {
                        "position": decision.position,
                        "reason": decision.reason,
                        **_known(
                            {
                                "battery_voltage_v": _value(readings.battery_voltage_v),
                                "box_temperature_c": _value(readings.box_temperature_c),
                            }
                        ),
                    },
                }
            )
            for alert, action in changes
        ]


def _active_alerts(decision: Decision) -> set[Alert]:
    active = set()
    if decision.reason is Reason.OVER_TEMPERATURE:
        active.add(Alert.OVER_TEMPERATURE)
    if decision.state.battery_is_low:
        active.add(Alert.BATTERY_LOW)
    return active


def _summary(alert: Alert, action: str, decision: Decision, readings: Readings) -> str:
    running = "running on grid" if decision.position is Position.GRID else "relays open, running on battery"
    voltage = readings.battery_voltage_v
    at = f" at {voltage.value:.1f} V" if voltage else ""
    if alert is Alert.OVER_TEMPERATURE:
        box = readings.box_temperature_c
        box_at = f" at {_fahrenheit(box.value):.0f} F ({box.value:.1f} C)" if box else ""
        what = "is too hot" if action == messages.RAISE else "has cooled"
        return f"Shed box {what}{box_at}: {running}{at}"
    what = "is low" if action == messages.RAISE else "has recovered"
    return f"Shed battery {what}{at}: {running}"


def _fahrenheit(celsius: float) -> float:
    return celsius * 9 / 5 + 32


def _totals(pages: list[TimedPage]) -> dict[str, float | None]:
    """What the whole shed does, as far as its devices say."""
    mx = [timed.page for timed in pages if isinstance(timed.page, MxPage)]
    fx = [timed.page for timed in pages if isinstance(timed.page, FxPage)]
    fndc = next((timed.page for timed in pages if isinstance(timed.page, FndcPage)), None)
    shunts = [] if fndc is None else [fndc.shunt_a_current_a, fndc.shunt_b_current_a, fndc.shunt_c_current_a]
    fitted = [amps for amps in shunts if amps is not None]
    return {
        "pv_power_w": sum(page.pv_current_a * page.pv_voltage_v for page in mx) if mx else None,
        "load_power_w": sum(_load_power_w(page) for page in fx) if fx else None,
        "soc_percent": None if fndc is None else fndc.soc_percent,
        "battery_current_a": round(sum(fitted), 1) if fitted else None,
    }


def _load_power_w(page: FxPage) -> float:
    """What the inverter makes, and what it passes through: everything bought but what its charger takes."""
    passed_through_a = max(0.0, page.buy_current_a - page.charger_current_a) if page.ac_mode == "ac_use" else 0.0
    return page.inverter_current_a * page.ac_output_voltage_v + passed_through_a * page.ac_input_voltage_v


def _published(timed: TimedPage) -> dict[str, Any]:
    fields = {name: value for name, value in as_json(timed.page).items() if name not in _NOT_MEASURES}
    return _known({name: ",".join(v) or None if isinstance(v, tuple) else v for name, v in fields.items()})


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _value(reading: Reading | None) -> float | None:
    return None if reading is None else reading.value
