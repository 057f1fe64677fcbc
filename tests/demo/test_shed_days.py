"""Days in the shed under a tiny controller of our own, on a virtual clock: the demo's story, and ten plausible days.

The times called real are the demo's: one real second is 720 simulated ones.
"""

from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import pytest

from demo.shed.battery import BatterySettings, rest_voltage_table
from demo.shed.physics import Shed, ShedState
from demo.shed.runner import Story
from demo.shed.scenario import SCENARIOS

SPEED = 720.0
TICK_S = 0.25
DAY_S = 120.0


@dataclass
class TinyController:
    """The demo's rules in a few lines, written without a look at the real ones. Times are real seconds."""

    on_grid: bool = False
    is_hot: bool = False
    log: list[tuple[float, str]] = field(default_factory=list)
    _moved_s: float = -1000.0
    _hot_since_s: float = 0.0
    _low_since_s: float | None = None
    _recovered_since_s: float | None = None
    _hot_samples: int = 0

    def see_temperature(self, now_s: float, temperature_c: float) -> None:
        self._hot_samples = self._hot_samples + 1 if temperature_c >= 35.0 else 0
        if not self.is_hot and self._hot_samples >= 2:
            self.is_hot, self._hot_since_s = True, now_s
            self._move(now_s, False, "over_temperature")
        elif self.is_hot and temperature_c <= 30.0 and now_s - self._hot_since_s >= 2.0:
            self.is_hot = False
            self.log.append((now_s, "cooled"))

    def see_voltage(self, now_s: float, voltage_v: float) -> None:
        self._low_since_s = _since(self._low_since_s, now_s, voltage_v <= 49.9)
        self._recovered_since_s = _since(self._recovered_since_s, now_s, voltage_v >= 52.0)
        if self.is_hot:
            return
        if not self.on_grid and _held(self._low_since_s, now_s, 1.0):
            self._move(now_s, True, "battery_low")
        elif self.on_grid and _held(self._recovered_since_s, now_s, 2.0) and now_s - self._moved_s >= 4.0:
            self._move(now_s, False, "battery_recovered")

    def _move(self, now_s: float, on_grid: bool, reason: str) -> None:
        self.on_grid, self._moved_s = on_grid, now_s
        self.log.append((now_s, reason))


def _since(since_s: float | None, now_s: float, is_true: bool) -> float | None:
    if not is_true:
        return None
    return now_s if since_s is None else since_s


def _held(since_s: float | None, now_s: float, hold_s: float) -> bool:
    return since_s is not None and now_s - since_s >= hold_s


@dataclass
class Days:
    """What was seen: a state at each tick, the controller's log, the shed's own events with their real seconds."""

    shed: Shed
    states: list[ShedState]
    log: list[tuple[float, str]]
    events: list[tuple[float, str]]

    def first(self, name: str) -> float:
        return next(time_s for time_s, found in [*self.log, *self.events] if found == name)


@cache
def live(seed: int, real_s: float, scenario: str = "default", controller_from_s: float = 0.0) -> Days:
    events: list[tuple[float, str]] = []
    controller, states = TinyController(), []
    now_s = 0.0
    story = Story(SCENARIOS[scenario], seed, lambda _, event: events.append((now_s, event)))
    for tick in range(1, int(real_s / TICK_S) + 1):
        story.advance(TICK_S * SPEED, controller.on_grid)
        now_s = tick * TICK_S
        state = story.shed.state
        states.append(state)
        if now_s < controller_from_s:
            continue
        if tick % 2 == 0:
            controller.see_temperature(now_s, round(state.box_temperature_c * 16) / 16)
        controller.see_voltage(now_s, round(state.battery_voltage_v, 1))
    return Days(story.shed, states, controller.log, events)


@pytest.mark.parametrize("seed", range(1, 9))
def test_the_demo_tells_its_whole_story_within_75_s(seed: int) -> None:
    days = live(seed, 90.0)

    reasons = [reason for _, reason in days.log]
    assert reasons == ["battery_low", "over_temperature", "cooled", "battery_low", "battery_recovered"]
    low_s, hot_s, cooled_s, again_s, recovered_s = (time_s for time_s, _ in days.log)
    assert 2.0 < low_s < 10.0
    assert 4.0 < hot_s - days.first("fan failed") < 10.0
    assert cooled_s - hot_s < 8.0
    assert again_s < 25.0
    assert 58.0 < recovered_s < 70.0


@pytest.mark.parametrize("controller_from_s", [5.0, 10.0, 15.0])
def test_the_story_is_the_same_when_the_controller_comes_late(controller_from_s: float) -> None:
    days = live(2, 90.0, controller_from_s=controller_from_s)

    reasons = [reason for _, reason in days.log]
    assert reasons == ["battery_low", "over_temperature", "cooled", "battery_low", "battery_recovered"]
    assert days.log[-1][0] < 75.0


def test_the_shed_tells_of_the_fan_the_ac_the_sun_and_the_days() -> None:
    days = live(1, 90.0)

    names = [name for _, name in days.events]
    # The battery may get low just before or just after the sun is gone.
    names.remove("sunset")
    assert names == [
        "ac appeared",
        "ac transferred",
        "fan failed",
        "ac gone",
        "fan repaired",
        "ac appeared",
        "ac transferred",
        "day 2",
        "sunrise",
        "ac gone",
    ]


def test_the_bank_survives_the_first_night() -> None:
    assert min(state.soc for state in live(1, 90.0).states) > 0.6


def test_without_a_controller_the_battery_is_drained_far_below_low() -> None:
    days = live(1, 2 * DAY_S, scenario="calm", controller_from_s=1e9)

    assert min(state.battery_voltage_v for state in days.states) < 49.0
    assert not days.log


@pytest.fixture(scope="module")
def ten_days() -> Days:
    return live(7, 10 * DAY_S)


def test_the_state_of_charge_stays_within_its_bounds(ten_days: Days) -> None:
    assert all(0.0 < state.soc <= 1.0 for state in ten_days.states)
    assert max(state.soc for state in ten_days.states) > 0.95


def test_the_battery_voltage_stays_where_a_48_v_bank_lives(ten_days: Days) -> None:
    assert all(48.0 < state.battery_voltage_v < 57.7 for state in ten_days.states)


def test_the_energy_balance_closes_within_one_percent(ten_days: Days) -> None:
    ledger = ten_days.shed.ledger
    given_wh = ledger.panels_wh + ledger.grid_wh

    assert given_wh > 100_000.0
    assert given_wh == pytest.approx(ledger.house_wh + ledger.lost_wh + ledger.stored_wh, rel=0.01)
    assert ledger.lost_wh < 0.3 * given_wh


def test_the_stored_energy_is_what_the_rest_voltage_table_says(ten_days: Days) -> None:
    start_soc, end_soc = SCENARIOS["default"].start_soc, ten_days.shed.battery.soc
    stored_wh = _energy_wh(end_soc) - _energy_wh(start_soc)

    assert ten_days.shed.ledger.stored_wh == pytest.approx(stored_wh, abs=50.0)


def _energy_wh(soc: float) -> float:
    """Energy between the table's lowest row and `soc`, by trapezia."""
    table = [row for row in rest_voltage_table() if row[0] < soc]
    top_v = table[-1][1] + (soc - table[-1][0]) * 4.0
    parts = pairwise([*table, (soc, top_v)])
    return sum(BatterySettings().capacity_ah * (b - a) * (a_v + b_v) / 2.0 for (a, a_v), (b, b_v) in parts)


def test_nights_have_no_sun_and_days_have_some(ten_days: Days) -> None:
    night = [state for state in ten_days.states if state.hour < 5.0 or state.hour > 19.0]
    noon = [state for state in ten_days.states if 11.0 < state.hour < 13.0]

    assert all(state.panel_power_w == 0.0 and state.charger_current_a == 0.0 for state in night)
    assert all(state.sun > 0.2 for state in noon)
    assert max(state.panel_power_w for state in ten_days.states) <= 3010.0


def test_the_load_leaves_the_battery_while_the_grid_carries_it(ten_days: Days) -> None:
    on_grid = [state for state in ten_days.states if state.ac_mode == 2]

    assert all(state.battery_current_a >= 0.0 for state in on_grid)
    assert all(state.ac_input_current_a > 1.0 for state in on_grid)


def test_the_box_is_near_ambient_unless_the_fan_has_failed(ten_days: Days) -> None:
    recovered = [
        later
        for earlier, later in zip(ten_days.states, ten_days.states[20:], strict=False)
        if earlier.fan_working and later.fan_working
    ]

    assert all(0.0 <= state.box_temperature_c - state.ambient_c < 7.0 for state in recovered)
    assert max(state.box_temperature_c for state in ten_days.states) < 45.0


def test_the_fan_fails_on_every_third_evening_only(ten_days: Days) -> None:
    failures_s = [time_s for time_s, name in ten_days.events if name == "fan failed"]
    days = [int((18.0 * 5.0 + time_s) // DAY_S) + 1 for time_s in failures_s]

    assert days[:2] == [1, 4]
    assert all((day - 1) % 3 == 0 for day in days)
    assert sum(name == "fan repaired" for _, name in ten_days.events) == len(failures_s)


@pytest.mark.parametrize("seed", [3, 7])
def test_a_day_has_few_transfers(seed: int) -> None:
    days = live(seed, 10 * DAY_S)
    moves = [(time_s, reason) for time_s, reason in days.log if reason != "cooled"]

    per_day = [sum(start <= time_s < start + DAY_S for time_s, _ in moves) for start in range(30, 1200, 120)]

    assert all(1 <= count <= 4 for count in per_day)
    assert sum(per_day) <= 3 * len(per_day)
    assert all(later - earlier >= 2.0 for (earlier, _), (later, _) in pairwise(moves))
