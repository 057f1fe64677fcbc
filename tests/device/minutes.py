"""Minutes of a shed as the real journal words them: an FX, two MX, a FLEXnet DC and the Pi, all of them noisy."""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from contract.positions import Position, Reason
from device.battery_monitor import TimedPage
from device.decide import Decision
from device.health import Health
from device.journal import Entry, Journal
from device.loop import Seen
from device.mate import FndcPage, FxPage, MxPage
from device.readings import AcMode, AcReading, Reading, Readings
from tests.device.bench import state_of
from tests.device.limits import LIMITS

BOOT = "6e0f9e4c-6f39-4d9b-b4f3-60e3e3a9d6a1"
START_MS = 1_785_000_000_000
MINUTES_A_DAY = 1440
HOLD = Decision(
    position=Position.BATTERY,
    reason=Reason.HOLD,
    alerts=frozenset(),
    override_is_suppressed=False,
    next_change_at_s=None,
    state=state_of(Position.BATTERY),
)
_EXTRAS = ("shunt_a_ah", "shunt_a_kwh", "days_since_full", "todays_minimum_soc_percent", "todays_net_input_ah")


@dataclass
class MinuteClock:
    """A clock that a test turns."""

    now_s: float = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def time_ms(self) -> int:
        return START_MS + round(self.now_s * 1000)

    def synchronised(self) -> bool:
        return True


class Minutes:
    """What the journal says, an entry a minute. The same seed says the same again."""

    def __init__(self, seed: int = 1) -> None:
        self._chance = random.Random(seed)
        self._clock = MinuteClock()
        self._journal = Journal(self._clock, BOOT, LIMITS, sample_interval_s=60.0, heartbeat_interval_s=300.0)
        self._voltage_v = 51.0
        self._temperature_c = 22.0

    def entry(self) -> Entry:
        """The entry of the next minute."""
        self._clock.now_s += 60.0 + self._chance.choice([0.0, 0.0, 0.001, 0.004])
        return self._journal.record(HOLD, self._seen(self._clock.now_s))

    def _seen(self, now_s: float) -> Seen:
        chance = self._chance
        day = self._clock.now_s / 86400.0
        sun = max(0.0, math.sin(2 * math.pi * day)) * chance.uniform(0.5, 1.0)
        self._voltage_v = min(56.0, max(48.5, self._voltage_v + chance.uniform(-0.1, 0.1) + 0.02 * (sun - 0.2)))
        self._temperature_c = min(34.0, max(5.0, self._temperature_c + chance.uniform(-0.2, 0.2)))
        voltage_v = round(self._voltage_v, 1)
        fx = FxPage(
            port=1,
            battery_voltage_v=round(voltage_v / 0.4) * 4 / 10,
            inverter_current_a=float(chance.randint(2, 9)),
            charger_current_a=0.0,
            buy_current_a=0.0,
            sell_current_a=0.0,
            ac_input_voltage_v=float(chance.randint(0, 2)),
            ac_output_voltage_v=float(chance.randint(119, 121)),
            operating_mode="inverter_on",
            ac_mode="no_ac",
            errors=(),
            warnings=(),
            aux_on=False,
        )
        fndc = FndcPage(
            port=4,
            battery_voltage_v=voltage_v,
            shunt_a_current_a=-round(chance.uniform(5.0, 30.0), 1),
            shunt_b_current_a=round(40.0 * sun, 1),
            shunt_c_current_a=None,
            soc_percent=float(chance.randint(60, 64)),
            battery_temperature_c=float(round(self._temperature_c)),
            charge_parameters_met=False,
            relay_bit_2=False,
            relay_bit_4=False,
            extra=chance.choice(_EXTRAS),
            extra_value=float(chance.randint(0, 300)),
        )
        pages = (self._timed(fx), *(self._timed(self._mx(port, sun, day)) for port in (2, 3)), self._timed(fndc))
        readings = Readings(
            battery_voltage_v=Reading(voltage_v, now_s - chance.uniform(0.0, 1.0), "fndc4"),
            box_temperature_c=Reading(
                round(self._temperature_c * 16) / 16, now_s - chance.uniform(0.0, 1.8), "28-000005e2fdc3"
            ),
            soc_percent=Reading(fndc.soc_percent, now_s - 0.3, "fndc4"),
            ac=AcReading(AcMode.NO_AC, now_s - 0.3, "fx1"),
            is_daylight=sun > 0.0,
        )
        counts = {"pages_refused": int(day * 4), "thermometer_errors": int(day * 2), "samples_dropped": 0}
        return Seen(readings, pages=pages, health=self._health(now_s), counts=counts, relay_levels=(False, False))

    def _timed(self, page: FxPage | MxPage | FndcPage) -> TimedPage:
        return TimedPage(page, self._clock.now_s - 0.3)

    def _mx(self, port: int, sun: float, day: float) -> MxPage:
        pv_current_a = float(round(12.0 * sun * self._chance.uniform(0.8, 1.0)))
        return MxPage(
            port=port,
            battery_voltage_v=round(self._voltage_v + self._chance.choice([-0.1, 0.0, 0.1]), 1),
            charger_current_a=round(pv_current_a * 1.4 + self._chance.uniform(0.0, 0.9), 1),
            pv_current_a=pv_current_a,
            pv_voltage_v=float(self._chance.randint(60, 90)) if sun else float(self._chance.randint(0, 12)),
            daily_kwh=round((day % 1.0) * 8, 1),
            daily_ah=float(round((day % 1.0) * 160)),
            charger_mode="bulk" if sun else "silent",
            aux_mode="manual",
            aux_on=False,
            errors=(),
        )

    def _health(self, now_s: float) -> Health:
        return Health(
            cpu_temperature_c=round(45.0 + self._chance.uniform(0.0, 6.0) / 0.487 * 0.487, 3),
            under_voltage_now=False,
            under_voltage_since_boot=False,
            throttled_now=False,
            throttled_since_boot=False,
            load_1min=round(self._chance.uniform(0.0, 0.6), 2),
            memory_available_percent=round(self._chance.uniform(70.0, 72.0), 2),
            disk_free_percent=round(61.0 - now_s / 1e7, 2),
            disk_free_bytes=float(19_000_000_000 - 4096 * int(now_s / 60) * 3),
            uptime_s=round(now_s, 2),
            wifi_signal_dbm=float(self._chance.randint(-66, -60)),
        )


def entries(count: int, seed: int = 1) -> Iterator[Entry]:
    """The entries of `count` minutes."""
    minutes = Minutes(seed)
    for _ in range(count):
        yield minutes.entry()


def samples(count: int, seed: int = 1) -> list[str]:
    """The samples of `count` minutes, as JSON text."""
    return [entry.sample for entry in entries(count, seed) if entry.sample is not None]


def as_objects(count: int, seed: int = 1) -> list[dict[str, object]]:
    """The samples of `count` minutes, parsed."""
    return [json.loads(text) for text in samples(count, seed)]
