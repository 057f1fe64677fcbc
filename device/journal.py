"""Turns decisions into what is published: samples, alerts and the heartbeat, as `contract.messages` has them."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from contract import messages, store
from contract.alerts import Alert, AlertMessage
from contract.positions import Position, Reason
from device.battery_monitor import TimedPage
from device.clock import Clock
from device.decide import Decision
from device.health import trouble
from device.limits import Limits
from device.loop import Seen
from device.mate import FndcPage, FxPage, MxPage, as_json
from device.readings import AcReading, Reading, Readings
from device.relays import Levels

# The Pi itself, among the devices of a sample.
_PI = "pi0"
# A page's fields that say where it came from, not what was measured.
_NOT_MEASURES = ("device", "port")
_SSRS = (store.SSR_1, store.SSR_2)


@dataclass(frozen=True)
class Entry:
    """What one decision leads to. Each text is JSON; None = nothing of that kind is due.

    `is_routine`: nothing has changed, so that a sample may wait for others to be written with.
    """

    sample: str | None
    heartbeat: str | None
    alerts: tuple[str, ...]
    is_routine: bool = False


class Journal:
    """Says what is due after each decision: a sample at every interval and change, a heartbeat, alerts once each."""

    def __init__(
        self,
        clock: Clock,
        boot_id: str,
        limits: Limits,
        *,
        sample_interval_s: float,
        heartbeat_interval_s: float,
        site: str = store.DEFAULT_SITE,
        raised: Mapping[Alert, int | None] | None = None,
        was_in: Position | None = None,
    ) -> None:
        """`raised`: what a process before this one has raised and not cleared, and when (see the property).

        None of that is cleared before this process has had the time to find it anew. `was_in`: where the relays were
        when that process last kept its state; should the first decision move them, its sample says so.
        """
        self._clock = clock
        self._boot_id = boot_id
        self._limits = limits
        self._site = site
        self._sample_interval_s = sample_interval_s
        self._heartbeat_interval_s = heartbeat_interval_s
        self._sampled_at_s = float("-inf")
        self._sampled_ms = 0
        self._beat_at_s = float("-inf")
        # By the newest sample.
        self._position: Position | None = was_in
        self._reason: Reason | None = None
        self._raised_ms = dict(raised or {})
        self._inherited = frozenset(self._raised_ms)
        self._inherits_until_s = clock.monotonic_s() + max(limits.thermometer_lost_after_s, limits.monitor_lost_after_s)
        self._decisions = 0

    @property
    def raised(self) -> Mapping[Alert, int | None]:
        """What has been raised and not cleared, and when: epoch milliseconds, as the message said that raised it.

        None where that was an older software, which did not keep it.
        """
        return self._raised_ms

    def record(self, decision: Decision, seen: Seen) -> Entry:
        """What to publish now that this decision has been carried out."""
        now_s = self._clock.monotonic_s()
        self._decisions += 1
        before = self._raised_ms.keys()
        alerts = self._change_alerts(decision, seen)
        changed = bool(alerts) or (self._position, self._reason) != (decision.position, decision.reason)

        sample = heartbeat = None
        if changed or now_s - self._sampled_at_s >= self._sample_interval_s:
            self._sampled_at_s = now_s
            sample = messages.encode(self._sample(decision, seen, now_s) | self._news(decision, before))
            self._position, self._reason = decision.position, decision.reason
        if now_s - self._beat_at_s >= self._heartbeat_interval_s:
            self._beat_at_s = now_s
            heartbeat = messages.encode(self._heartbeat(decision, seen.readings, now_s))
        return Entry(sample, heartbeat, tuple(alerts), is_routine=not changed)

    def _stamp(self) -> dict[str, Any]:
        return {
            "time_ms": self._clock.time_ms(),
            "boot_id": self._boot_id,
            "clock_synchronised": self._clock.synchronised(),
        }

    def _sample(self, decision: Decision, seen: Seen, now_s: float) -> dict[str, Any]:
        readings = seen.readings
        next_at_s = decision.next_change_at_s
        measures = {
            "battery_voltage_v": _value(readings.battery_voltage_v),
            "battery_voltage_age_s": _age_s(readings.battery_voltage_v, now_s),
            "box_temperature_c": _value(readings.box_temperature_c),
            "box_temperature_age_s": _age_s(readings.box_temperature_c, now_s),
            **_totals(seen.pages),
            "next_change_in_s": None if next_at_s is None else round(max(0.0, next_at_s - now_s), 1),
            "battery_low_voltage_v": self._limits.battery_low_voltage_v,
            "battery_recover_voltage_v": self._limits.battery_recover_voltage_v,
            "over_temperature_trip_c": self._limits.over_temperature_trip_c,
            "outside_temperature_c": _value(seen.outside_temperature_c),
            "cloud_cover_percent": seen.cloud_cover_percent,
            **_closed(seen.relay_levels),
        }
        stamp = self._stamp()
        # The store knows a sample by its time: two of one millisecond would be one.
        if stamp["time_ms"] == self._sampled_ms:
            stamp["time_ms"] += 1
        self._sampled_ms = stamp["time_ms"]
        return {
            **stamp,
            "position": decision.position,
            "reason": decision.reason,
            "alerts": sorted(self._raised_ms),
            "measures": _known(measures),
            "inputs": _inputs(decision, seen),
            "devices": {timed.source: _published(timed) for timed in seen.pages} | _pi(seen),
            "site": self._site,
        }

    def _news(self, decision: Decision, raised_before: Set[Alert]) -> dict[str, str]:
        """What has happened at this decision, in words."""
        raised_now = self._raised_ms.keys()
        changes = [f"raised {alert}" for alert in sorted(raised_now - raised_before)]
        changes += [f"cleared {alert}" for alert in sorted(raised_before - raised_now)]
        news = {store.ALERT_CHANGES: ", ".join(changes)} if changes else {}
        if self._position not in (None, decision.position):
            news[store.TRANSFER] = f"{decision.position}: {decision.reason}"
        return news

    def _heartbeat(self, decision: Decision, readings: Readings, now_s: float) -> dict[str, Any]:
        ages = {"battery_voltage": readings.battery_voltage_v, "box_temperature": readings.box_temperature_c}
        return {
            "schema": messages.SCHEMA,
            **self._stamp(),
            "decision_count": self._decisions,
            "position": decision.position,
            "reason": decision.reason,
            "alerts": sorted(self._raised_ms),
            "reading_ages_s": _known({name: _age_s(reading, now_s) for name, reading in ages.items()}),
        }

    def _change_alerts(self, decision: Decision, seen: Seen) -> list[str]:
        if self._inherited and self._clock.monotonic_s() >= self._inherits_until_s:
            self._inherited = frozenset()
        active = decision.alerts | seen.alerts | self._inherited
        before = self._raised_ms.keys()
        raised, cleared = sorted(active - before), sorted(before - active)
        if not raised and not cleared:
            return []
        now_ms = self._clock.time_ms()
        alerts = [self._alert(alert, messages.RAISE, now_ms, now_ms, decision, seen) for alert in raised]
        alerts += [
            self._alert(alert, messages.CLEAR, self._raised_ms[alert], now_ms, decision, seen) for alert in cleared
        ]
        # Not in place: whoever has been given the one before keeps it as it was.
        kept = {alert: at_ms for alert, at_ms in self._raised_ms.items() if alert in active}
        self._raised_ms = kept | dict.fromkeys(raised, now_ms)
        return alerts

    def _alert(
        self, alert: Alert, action: str, raised_ms: int | None, time_ms: int, decision: Decision, seen: Seen
    ) -> str:
        voltage_v, temperature_c = seen.readings.battery_voltage_v, seen.readings.box_temperature_c
        details = {
            "position": decision.position,
            "reason": decision.reason,
            **_known({"battery_voltage_v": _value(voltage_v), "box_temperature_c": _value(temperature_c)}),
        }
        message = AlertMessage(
            alert,
            action,
            raised_ms,
            time_ms,
            self._boot_id,
            self._clock.synchronised(),
            _summary(alert, action, decision, seen),
            details,
        )
        return messages.encode(message.as_json())


# What an alert says when it is raised, and when it is cleared.
_WORDS = {
    Alert.OVER_TEMPERATURE: ("Shed box is too hot", "Shed box has cooled"),
    Alert.THERMOMETER_LOST: ("Shed box thermometer is lost", "Shed box thermometer reads again"),
    Alert.BATTERY_LOW: ("Shed battery is low", "Shed battery has recovered"),
    Alert.BATTERY_CRITICAL: ("Shed battery is critically low", "Shed battery is no longer critically low"),
    Alert.BATTERY_MONITOR_LOST: ("Shed battery monitor is silent", "Shed battery monitor reports again"),
    Alert.SENSOR_DEGRADED: ("A sensor of the shed fails or is missing", "All sensors of the shed report again"),
    Alert.STUCK_SENSOR: ("A sensor of the shed has not changed for long", "The sensor changes again"),
    Alert.RELAY_STUCK_CLOSED: (
        "Relays are open, but grid power still arrives",
        "Grid power no longer passes the relays",
    ),
    Alert.GRID_ABSENT: ("Relays are closed, but no grid power arrives", "Grid power arrives again"),
    Alert.GRID_REJECTED: (
        "Grid power arrives, but the inverter does not take it",
        "The inverter takes grid power again",
    ),
    Alert.RELAY_FAULT: ("Relays do not obey and are kept open", "Relays obey again"),
    Alert.RELAY_CHATTER: ("Relays have moved too often today", "Relays have calmed down"),
    Alert.OVERRIDE_LEFT_ON: ("An override has been on for long", "The override has ended"),
    Alert.STORAGE_FAILING: ("The card of the Pi does not take data", "The card of the Pi takes data again"),
    Alert.PI_HEALTH: ("The Pi is not well", "The Pi is well again"),
    Alert.CONTROL_RESTARTING: ("Control keeps being restarted", "Control runs steadily again"),
    Alert.INTERNAL_ERROR: ("Control cannot decide: see its log", "Control decides again"),
    Alert.DUPLICATE_CLIENT_ID: (
        "Another client connects under the name of this shed",
        "Nobody else uses the name of this shed any more",
    ),
    Alert.DELIVERY_REFUSED: ("AWS IoT refuses messages of this shed", "AWS IoT takes all messages of this shed again"),
    Alert.SHADOW_UNAVAILABLE: (
        "AWS IoT does not let this shed hear overrides",
        "This shed can hear overrides again",
    ),
}


def _summary(alert: Alert, action: str, decision: Decision, seen: Seen) -> str:
    running = "running on grid" if decision.position is Position.GRID else "relays open, running on battery"
    voltage, box = seen.readings.battery_voltage_v, seen.readings.box_temperature_c
    what = _WORDS[alert][action == messages.CLEAR]
    if alert is Alert.OVER_TEMPERATURE and box:
        what += f" at {_fahrenheit(box.value):.0f} F ({box.value:.1f} C)"
    elif alert is Alert.PI_HEALTH and action == messages.RAISE and seen.health is not None:
        what += f" ({'; '.join(trouble(seen.health))})"
    elif alert in (Alert.BATTERY_LOW, Alert.BATTERY_CRITICAL):
        return f"{what}{_at_voltage(voltage)}: {running}"
    return f"{what}: {running}{_at_voltage(voltage)}"


def _at_voltage(voltage: Reading | None) -> str:
    return f" at {voltage.value:.1f} V" if voltage else ""


def _inputs(decision: Decision, seen: Seen) -> dict[str, Any]:
    """What decided besides the measures: where they came from, and what is no number."""
    readings, override = seen.readings, seen.override
    return _known(
        {
            "battery_voltage_source": _source(readings.battery_voltage_v),
            "box_temperature_source": _source(readings.box_temperature_c),
            "soc_source": _source(readings.soc_percent),
            "ac_mode": None if readings.ac is None else readings.ac.mode,
            "ac_source": _source(readings.ac),
            "is_daylight": readings.is_daylight,
            "override": None if override is None else override.position,
            "override_is_suppressed": None if override is None else decision.override_is_suppressed,
        }
    )


def _pi(seen: Seen) -> dict[str, Any]:
    measures = {**({} if seen.health is None else seen.health.as_measures()), **seen.counts}
    return {_PI: measures} if measures else {}


def _source(reading: Reading | AcReading | None) -> str | None:
    return None if reading is None else reading.source


def _age_s(reading: Reading | None, now_s: float) -> float | None:
    """How old a reading is; never negative."""
    return None if reading is None else round(max(0.0, now_s - reading.at_s), 3)


def _fahrenheit(celsius: float) -> float:
    return celsius * 9 / 5 + 32


def _closed(levels: Levels | None) -> dict[str, float]:
    return {} if levels is None else {name: float(level) for name, level in zip(_SSRS, levels, strict=True)}


def _totals(pages: Sequence[TimedPage]) -> dict[str, float | None]:
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
