"""What happens to the shed besides weather: where a day starts, and when the fan fails."""

from dataclasses import dataclass

from demo.shed.inverter import AcMode
from demo.shed.physics import Shed
from demo.shed.weather import day_number, hour_of_day

TOO_HOT_C = 35.0
EVENING_FROM_HOUR = 18.0


@dataclass(frozen=True, slots=True)
class FanTrouble:
    """Every `every_days`-th evening, from the first, the fan stops when grid has carried the load for a while.

    Somebody repairs it `repaired_after_hot_s` after the box got too hot, and otherwise after `repaired_at_last_s`.
    """

    every_days: int = 3
    after_on_grid_s: float = 2400.0
    repaired_after_hot_s: float = 3600.0
    repaired_at_last_s: float = 10 * 3600.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Where the shed starts, how long its inverter looks at AC before it takes it, and what breaks."""

    start_hour: float = 18.0
    start_soc: float = 0.92
    qualify_s: float = 240.0
    fan_trouble: FanTrouble | None = None


SCENARIOS = {
    "default": Scenario(fan_trouble=FanTrouble()),
    "calm": Scenario(),
}


class FanStory:
    """Fails and repairs the fan of a shed as told."""

    def __init__(self, trouble: FanTrouble) -> None:
        self._trouble = trouble
        self._on_grid_s = 0.0
        self._failed_s = 0.0
        self._hot_s = 0.0
        self._last_failed_day = 0

    def step(self, dt_s: float, shed: Shed) -> None:
        """Follow the shed for `dt_s` that just passed, and set its fan."""
        on_grid = shed.inverter.ac_mode is AcMode.AC_USE
        self._on_grid_s = self._on_grid_s + dt_s if on_grid else 0.0
        if shed.fan_working:
            self._maybe_fail(shed)
        else:
            self._maybe_repair(dt_s, shed)

    def _maybe_fail(self, shed: Shed) -> None:
        day, hour = day_number(shed.time_s), hour_of_day(shed.time_s)
        is_due = (day - 1) % self._trouble.every_days == 0 and day != self._last_failed_day
        if is_due and hour >= EVENING_FROM_HOUR and self._on_grid_s >= self._trouble.after_on_grid_s:
            shed.fan_working = False
            self._last_failed_day = day
            self._failed_s = self._hot_s = 0.0

    def _maybe_repair(self, dt_s: float, shed: Shed) -> None:
        self._failed_s += dt_s
        if self._hot_s > 0.0 or shed.box.temperature_c >= TOO_HOT_C:
            self._hot_s += dt_s
        if self._hot_s >= self._trouble.repaired_after_hot_s or self._failed_s >= self._trouble.repaired_at_last_s:
            shed.fan_working = True
