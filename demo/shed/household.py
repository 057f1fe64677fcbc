"""What the house draws: a base, a fridge, a morning, an evening with a kitchen, and some noise."""

from dataclasses import dataclass
from math import exp, floor

from demo.shed.noise import roll, smoothstep, wander
from demo.shed.weather import hour_of_day

FRIDGE_PERIOD_S = 42 * 60.0
FRIDGE_DUTY = 0.4
FRIDGE_W = 140.0
KITCHEN_SLOT_S = 10 * 60.0
KITCHEN_W = 450.0


@dataclass(frozen=True, slots=True)
class Household:
    """The daily load. The same seed gives the same load at the same time."""

    seed: int
    base_w: float = 260.0
    morning_w: float = 600.0
    evening_w: float = 1000.0
    least_w: float = 250.0
    most_w: float = 2200.0

    def power_w(self, time_s: float) -> float:
        """AC power that the house wants at `time_s`, W."""
        hour = hour_of_day(time_s)
        morning = self.morning_w * exp(-(((hour - 6.6) / 0.8) ** 2))
        flicker = 80.0 * (wander(f"{self.seed}:flicker", time_s / 240.0) - 0.5)
        wanted_w = self.base_w + morning + self.evening_w * _evening(hour) + flicker
        wanted_w += self._fridge_w(time_s) + self._kitchen_w(time_s, hour)
        return min(self.most_w, max(self.least_w, wanted_w))

    def _fridge_w(self, time_s: float) -> float:
        cycles = time_s / FRIDGE_PERIOD_S + roll(f"{self.seed}:fridge", 0)
        return FRIDGE_W if cycles % 1.0 < FRIDGE_DUTY else 0.0

    def _kitchen_w(self, time_s: float, hour: float) -> float:
        is_meal = 6.0 <= hour < 7.5 or 18.0 <= hour < 20.5
        is_on = roll(f"{self.seed}:kitchen", floor(time_s / KITCHEN_SLOT_S)) < 0.35
        return KITCHEN_W if is_meal and is_on else 0.0


def _evening(hour: float) -> float:
    """Lamps, television and heating: up between 17 h and 18:30, down again around midnight. 0 to 1."""
    since_noon_h = (hour - 12.0) % 24.0
    return smoothstep(5.0, 6.5, since_noon_h) - smoothstep(11.25, 12.75, since_noon_h)
