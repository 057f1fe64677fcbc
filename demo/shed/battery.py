"""A 48 V lead-acid bank: rest voltage from a table, resistance, and a slow polarisation that makes it rebound.

The terminal voltage is `rest(state of charge) + polarisation + resistance x current`. The polarisation creeps towards a
value that depends on the current: proportional to it while discharging, logarithmic while charging. The constants are
chosen so that a bank three quarters full rises by about 2.5, 3.6 and 4.8 V at C/40, C/20 and C/10, and a full one
stands at 57.6 V with C/50. That is how such banks behave; it is no data sheet.

Currents are positive into the battery.
"""

import csv
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import asinh, exp
from pathlib import Path

REST_VOLTAGE_TABLE = Path(__file__).with_name("rest_voltage_lead_acid.csv")


@cache
def rest_voltage_table() -> tuple[tuple[float, float], ...]:
    """(state of charge, rest voltage in V) of a 48 V bank at 25 C, from empty to full.

    Source: Xantrex DR manual 975-0012-01-02, table B-6. Its row for 0 % gives only a bound ("<46.4") and is left out.
    """
    with REST_VOLTAGE_TABLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["v_48"].startswith("<")]
    return tuple(sorted((float(row["soc_pct"]) / 100.0, float(row["v_48"])) for row in rows))


@dataclass(frozen=True, slots=True)
class BatterySettings:
    """Two strings of 400 Ah. `empty_v` stands for the table's missing row: the knee of an exhausted bank."""

    capacity_ah: float = 800.0
    resistance_ohm: float = 0.008
    discharge_polarisation_ohm: float = 0.007
    charge_polarisation_v: float = 1.73
    charge_knee_a: float = 10.0
    full_charge_knee_a: float = 0.6
    polarisation_time_s: float = 1200.0
    coulomb_efficiency: float = 0.97
    gassing_from_soc: float = 0.96
    empty_v: float = 42.5


class Battery:
    """The bank's state. `soc` is 0 to 1."""

    def __init__(self, settings: BatterySettings, soc: float) -> None:
        self.settings = settings
        self.soc = soc
        self.polarisation_v = 0.0
        self.voltage_v = self.rest_voltage_v
        self.stored_current_a = 0.0

    @property
    def rest_voltage_v(self) -> float:
        """What the bank would show after hours without current, V."""
        points = ((0.0, self.settings.empty_v), *rest_voltage_table())
        for (low, low_v), (high, high_v) in pairwise(points):
            if self.soc <= high:
                return low_v + (high_v - low_v) * (self.soc - low) / (high - low)
        return points[-1][1]

    def step(self, dt_s: float, current_a: float) -> None:
        """Let `current_a` flow for `dt_s`. An empty bank gives no more, a full one turns the current into gas."""
        self.voltage_v = self.voltage_after(dt_s, current_a)
        self.polarisation_v = self._polarisation_after(dt_s, current_a)
        self.stored_current_a = current_a * self._acceptance() if current_a > 0.0 else current_a
        stored_ah = self.stored_current_a * dt_s / 3600.0
        self.soc = min(1.0, max(0.0, self.soc + stored_ah / self.settings.capacity_ah))

    def voltage_after(self, dt_s: float, current_a: float) -> float:
        """What the terminals would show after `dt_s` of `current_a`, V."""
        polarisation_v = self._polarisation_after(dt_s, current_a)
        return self.rest_voltage_v + polarisation_v + self.settings.resistance_ohm * current_a

    def current_at(self, voltage_v: float, dt_s: float) -> float:
        """The current, A, that brings the terminals to `voltage_v` at the end of a step of `dt_s`."""
        low_a, high_a = -1000.0, 1000.0
        for _ in range(28):
            middle_a = (low_a + high_a) / 2.0
            is_below = self.voltage_after(dt_s, middle_a) < voltage_v
            low_a, high_a = (middle_a, high_a) if is_below else (low_a, middle_a)
        return low_a

    def _polarisation_after(self, dt_s: float, current_a: float) -> float:
        share = 1.0 - exp(-dt_s / self.settings.polarisation_time_s)
        return self.polarisation_v + share * (self._settled_polarisation_v(current_a) - self.polarisation_v)

    def _settled_polarisation_v(self, current_a: float) -> float:
        if current_a <= 0.0:
            return self.settings.discharge_polarisation_ohm * current_a
        return self.settings.charge_polarisation_v * asinh(current_a / self._knee_a())

    def _knee_a(self) -> float:
        """The current above which the charge voltage turns logarithmic; it shrinks over the last quarter."""
        fullness = max(0.0, (self.soc - 0.75) / 0.25)
        ratio = self.settings.full_charge_knee_a / self.settings.charge_knee_a
        return float(self.settings.charge_knee_a * ratio**fullness)

    def _acceptance(self) -> float:
        """The fraction of a charging current that is stored; the rest makes gas."""
        gassing_span = 1.0 - self.settings.gassing_from_soc
        return self.settings.coulomb_efficiency * min(1.0, (1.0 - self.soc) / gassing_span)
