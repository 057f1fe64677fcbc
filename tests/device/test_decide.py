import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.positions import Position, Reason
from device.decide import Decision, Limits, State, decide, initial_state
from device.readings import Reading, Readings
from tests.device.limits import LIMITS

LOW_V, IN_BAND_V, HIGH_V = 49.0, 51.0, 53.0
COOL_C, WARM_C, HOT_C = 20.0, 33.0, 40.0
FIVE_STEPS_EACH_SIDE = range(-5, 6)


class Bench:
    """`decide` on a virtual clock. Every tick brings fresh samples of what is given; None = no reading."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.now_s = 1000.0
        self.state = initial_state(self.now_s)

    def tick(self, voltage_v: float | None = IN_BAND_V, temperature_c: float | None = COOL_C) -> Decision:
        return self.see(Readings(sample(voltage_v, self.now_s), sample(temperature_c, self.now_s)))

    def see(self, readings: Readings) -> Decision:
        decision = decide(readings, self.state, self.limits, self.now_s)
        self.state = decision.state
        return decision

    def run(
        self, duration_s: int, voltage_v: float | None = IN_BAND_V, temperature_c: float | None = COOL_C
    ) -> Decision:
        """A tick each second; the last one is `duration_s` from now."""
        for _ in range(duration_s):
            self.now_s += 1.0
            decision = self.tick(voltage_v, temperature_c)
        return decision


def sample(value: float | None, at_s: float) -> Reading | None:
    return None if value is None else Reading(value, at_s, "test")


def on_battery() -> Bench:
    """On battery, with the least time there over."""
    bench = Bench()
    bench.tick()
    bench.run(300)
    return bench


def on_grid() -> Bench:
    """On grid since this second, with a low battery."""
    bench = on_battery()
    bench.tick(LOW_V)
    decision = bench.run(60, LOW_V)
    assert decision.position is Position.GRID
    return bench


def tripped() -> Bench:
    """Too hot since this second."""
    bench = on_grid()
    decision = bench.run(2, LOW_V, HOT_C)
    assert decision.reason is Reason.OVER_TEMPERATURE
    return bench


def outcome(decision: Decision) -> tuple[Position, Reason]:
    return decision.position, decision.reason


# Low and the low hold


@pytest.mark.parametrize("steps", FIVE_STEPS_EACH_SIDE)
def test_R3_grid_at_or_below_low_and_not_above(steps: int) -> None:
    bench = on_battery()
    voltage_v = round(49.9 + steps / 10, 1)

    bench.tick(voltage_v)
    decision = bench.run(60, voltage_v)

    expected = (Position.GRID, Reason.BATTERY_LOW) if steps <= 0 else (Position.BATTERY, Reason.HOLD)
    assert outcome(decision) == expected


def test_59_s_of_low_battery_change_nothing_and_60_s_do() -> None:
    bench = on_battery()

    bench.tick(LOW_V)
    at_59_s = bench.run(59, LOW_V)
    at_60_s = bench.run(1, LOW_V)

    assert outcome(at_59_s) == (Position.BATTERY, Reason.HOLD)
    assert outcome(at_60_s) == (Position.GRID, Reason.BATTERY_LOW)


@pytest.mark.parametrize("interruption_v", [None, 50.0, HIGH_V])
def test_one_reading_that_is_not_low_starts_the_low_hold_again(interruption_v: float | None) -> None:
    bench = on_battery()

    bench.run(59, LOW_V)
    bench.run(1, interruption_v)
    after_59_more = bench.run(60, LOW_V)
    after_60_more = bench.run(1, LOW_V)

    assert after_59_more.position is Position.BATTERY
    assert after_60_more.position is Position.GRID


def test_a_low_battery_waits_for_the_least_time_on_battery() -> None:
    bench = Bench()

    bench.tick(LOW_V)
    at_299_s = bench.run(299, LOW_V)
    at_300_s = bench.run(1, LOW_V)

    assert outcome(at_299_s) == (Position.BATTERY, Reason.HOLD)
    assert at_299_s.state.battery_is_low
    assert outcome(at_300_s) == (Position.GRID, Reason.BATTERY_LOW)


def test_low_is_latched_during_that_wait_even_when_the_voltage_returns_into_the_band() -> None:
    bench = Bench()

    bench.tick(LOW_V)
    bench.run(60, LOW_V)
    decision = bench.run(240, IN_BAND_V)

    assert outcome(decision) == (Position.GRID, Reason.BATTERY_LOW)


def test_low_is_latched_on_grid_while_the_voltage_is_in_the_band_or_unknown() -> None:
    bench = on_grid()

    in_band = bench.run(7200, IN_BAND_V)
    unknown = bench.run(7200, None)

    assert outcome(in_band) == (Position.GRID, Reason.BATTERY_LOW)
    assert outcome(unknown) == (Position.GRID, Reason.BATTERY_LOW)


# Recover and the recover hold


@pytest.mark.parametrize("steps", FIVE_STEPS_EACH_SIDE)
def test_R3_battery_at_or_above_recover_and_not_below(steps: int) -> None:
    bench = on_grid()
    bench.run(1800)
    voltage_v = round(52.0 + steps / 10, 1)

    bench.tick(voltage_v)
    decision = bench.run(300, voltage_v)

    expected = (Position.BATTERY, Reason.BATTERY_RECOVERED) if steps >= 0 else (Position.GRID, Reason.BATTERY_LOW)
    assert outcome(decision) == expected
    assert decision.state.battery_is_low is (steps < 0)


def test_299_s_of_recovered_battery_change_nothing_and_300_s_do() -> None:
    bench = on_grid()
    bench.run(1800)

    bench.tick(HIGH_V)
    at_299_s = bench.run(299, HIGH_V)
    at_300_s = bench.run(1, HIGH_V)

    assert outcome(at_299_s) == (Position.GRID, Reason.BATTERY_LOW)
    assert outcome(at_300_s) == (Position.BATTERY, Reason.BATTERY_RECOVERED)


@pytest.mark.parametrize("interruption_v", [None, 51.9, LOW_V])
def test_one_reading_that_is_not_recovered_starts_the_recover_hold_again(interruption_v: float | None) -> None:
    bench = on_grid()
    bench.run(1800)

    bench.run(299, HIGH_V)
    bench.run(1, interruption_v)
    after_299_more = bench.run(300, HIGH_V)
    after_300_more = bench.run(1, HIGH_V)

    assert after_299_more.position is Position.GRID
    assert after_300_more.position is Position.BATTERY


def test_a_recovered_battery_waits_for_the_least_time_on_grid() -> None:
    bench = on_grid()

    at_1799_s = bench.run(1799, HIGH_V)
    at_1800_s = bench.run(1, HIGH_V)

    assert outcome(at_1799_s) == (Position.GRID, Reason.BATTERY_LOW)
    assert outcome(at_1800_s) == (Position.BATTERY, Reason.BATTERY_RECOVERED)


def test_in_the_band_a_battery_that_has_recovered_stays_on_battery_and_holds() -> None:
    bench = on_grid()
    bench.run(2101, HIGH_V)

    decision = bench.run(7200, IN_BAND_V)

    assert outcome(decision) == (Position.BATTERY, Reason.HOLD)


def test_R4_a_voltage_that_swings_across_low_every_second_never_moves_the_relays() -> None:
    bench = on_battery()

    decisions = [bench.run(1, voltage_v) for _ in range(1800) for voltage_v in (LOW_V, 50.0)]

    assert {decision.position for decision in decisions} == {Position.BATTERY}


def test_R4_without_holds_a_swinging_voltage_moves_the_relays_at_most_once_in_each_dwell() -> None:
    bench = Bench(replace(LIMITS, low_hold_s=0.0, recover_hold_s=0.0))
    positions = [bench.run(1, voltage_v).position for _ in range(7200) for voltage_v in (LOW_V, HIGH_V)]

    transfers = sum(a is not b for a, b in pairwise(positions))

    assert 2 <= transfers <= 14400 / (1800 + 300) * 2 + 1


# Over-temperature


@pytest.mark.parametrize("steps", FIVE_STEPS_EACH_SIDE)
def test_R3_over_temperature_at_or_above_trip_and_not_below(steps: int) -> None:
    bench = on_grid()

    decision = bench.run(2, LOW_V, 35.0 + steps / 16)

    expected = (Position.BATTERY, Reason.OVER_TEMPERATURE) if steps >= 0 else (Position.GRID, Reason.BATTERY_LOW)
    assert outcome(decision) == expected


@pytest.mark.parametrize("steps", FIVE_STEPS_EACH_SIDE)
def test_R3_over_temperature_ends_at_or_below_clear_and_not_above(steps: int) -> None:
    bench = tripped()
    bench.run(600, LOW_V, WARM_C)

    decision = bench.run(1, LOW_V, 30.0 + steps / 16)

    expected = (Position.GRID, Reason.BATTERY_LOW) if steps <= 0 else (Position.BATTERY, Reason.OVER_TEMPERATURE)
    assert outcome(decision) == expected


def test_over_temperature_needs_two_samples() -> None:
    bench = on_grid()

    first = bench.run(1, LOW_V, HOT_C)
    second = bench.run(1, LOW_V, HOT_C)

    assert outcome(first) == (Position.GRID, Reason.BATTERY_LOW)
    assert outcome(second) == (Position.BATTERY, Reason.OVER_TEMPERATURE)


def test_a_hot_sample_that_many_ticks_see_counts_once() -> None:
    bench = on_grid()
    hot = sample(HOT_C, bench.now_s + 1.0)

    decisions = []
    for _ in range(20):
        bench.now_s += 1.0
        decisions.append(bench.see(Readings(sample(LOW_V, bench.now_s), hot)))
    bench.now_s += 1.0
    at_the_next_sample = bench.tick(LOW_V, HOT_C)

    assert {decision.position for decision in decisions} == {Position.GRID}
    assert outcome(at_the_next_sample) == (Position.BATTERY, Reason.OVER_TEMPERATURE)


def test_hot_samples_with_a_cooler_one_between_them_are_not_consecutive() -> None:
    bench = on_grid()

    decisions = [bench.run(1, LOW_V, temperature_c) for _ in range(50) for temperature_c in (HOT_C, 34.9375)]

    assert {decision.position for decision in decisions} == {Position.GRID}


def test_hot_samples_with_missing_ones_between_them_are_consecutive() -> None:
    bench = on_grid()

    bench.run(1, LOW_V, HOT_C)
    between = bench.run(10, LOW_V, None)
    decision = bench.run(1, LOW_V, HOT_C)

    assert between.position is Position.GRID
    assert outcome(decision) == (Position.BATTERY, Reason.OVER_TEMPERATURE)


def test_no_dwell_delays_over_temperature() -> None:
    bench = on_grid()

    decision = bench.run(2, LOW_V, HOT_C)

    assert bench.now_s - on_grid().now_s == 2.0  # 1798 s before the least time on grid is over
    assert outcome(decision) == (Position.BATTERY, Reason.OVER_TEMPERATURE)


@pytest.mark.parametrize("voltage_v", [None, LOW_V, IN_BAND_V, HIGH_V])
def test_over_temperature_beats_every_battery_rule(voltage_v: float | None) -> None:
    bench = tripped()

    decision = bench.run(7200, voltage_v, WARM_C)

    assert outcome(decision) == (Position.BATTERY, Reason.OVER_TEMPERATURE)


def test_over_temperature_beats_the_boot_grace() -> None:
    bench = Bench()

    bench.tick(None, HOT_C)
    decision = bench.run(1, None, HOT_C)

    assert outcome(decision) == (Position.BATTERY, Reason.OVER_TEMPERATURE)


def test_a_cool_box_is_not_believed_before_the_least_cooling_time_is_over() -> None:
    bench = tripped()

    at_599_s = bench.run(599, LOW_V, COOL_C)
    at_600_s = bench.run(1, LOW_V, COOL_C)

    assert outcome(at_599_s) == (Position.BATTERY, Reason.OVER_TEMPERATURE)
    assert outcome(at_600_s) == (Position.GRID, Reason.BATTERY_LOW)


def test_a_thermometer_that_is_lost_while_the_box_is_hot_does_not_end_over_temperature() -> None:
    bench = tripped()

    decision = bench.run(7200, LOW_V, None)

    assert outcome(decision) == (Position.BATTERY, Reason.OVER_TEMPERATURE)
    assert decision.next_change_at_s is None


def test_after_over_temperature_the_least_time_on_battery_still_binds() -> None:
    bench = Bench(replace(LIMITS, least_cooling_time_s=10.0, low_hold_s=0.0, least_time_on_battery_s=300.0))
    bench.tick(LOW_V)
    bench.run(300, LOW_V)
    bench.run(2, LOW_V, HOT_C)

    at_10_s = bench.run(10, LOW_V, COOL_C)
    at_299_s = bench.run(289, LOW_V, COOL_C)
    at_300_s = bench.run(1, LOW_V, COOL_C)

    assert outcome(at_10_s) == (Position.BATTERY, Reason.HOLD)
    assert outcome(at_299_s) == (Position.BATTERY, Reason.HOLD)
    assert outcome(at_300_s) == (Position.GRID, Reason.BATTERY_LOW)


def test_a_second_trip_needs_two_hot_samples_again() -> None:
    bench = tripped()
    bench.run(600, LOW_V, COOL_C)

    first = bench.run(1, LOW_V, HOT_C)
    second = bench.run(1, LOW_V, HOT_C)

    assert first.position is Position.GRID
    assert second.position is Position.BATTERY


# Boot


@pytest.mark.parametrize(("voltage_v", "temperature_c"), [(None, None), (LOW_V, None), (None, COOL_C)])
def test_R5_relays_stay_open_until_the_first_complete_readings_or_the_end_of_the_grace(
    voltage_v: float | None, temperature_c: float | None
) -> None:
    bench = Bench()

    at_once = bench.tick(voltage_v, temperature_c)
    at_59_s = bench.run(59, voltage_v, temperature_c)
    at_60_s = bench.run(1, voltage_v, temperature_c)

    assert outcome(at_once) == outcome(at_59_s) == (Position.BATTERY, Reason.NO_DATA)
    assert at_once.next_change_at_s == 1060.0
    assert at_60_s.reason is not Reason.NO_DATA


def test_R5_complete_readings_end_no_data_at_once_and_for_good() -> None:
    bench = Bench()

    without = bench.tick(None, None)
    complete = bench.run(1)
    without_again = bench.run(1, None, None)

    assert without.reason is Reason.NO_DATA
    assert outcome(complete) == outcome(without_again) == (Position.BATTERY, Reason.HOLD)


def test_without_a_thermometer_a_low_battery_is_still_taken_off_after_the_grace() -> None:
    bench = Bench()

    bench.tick(LOW_V, None)
    decision = bench.run(300, LOW_V, None)

    assert outcome(decision) == (Position.GRID, Reason.BATTERY_LOW)


# next_change_at_s


def test_the_next_change_is_the_end_of_the_hold_and_of_the_dwell() -> None:
    bench = Bench()
    assert bench.tick(LOW_V).next_change_at_s == 1300.0  # the least time on battery outlasts the low hold

    bench = on_battery()
    assert bench.tick(IN_BAND_V).next_change_at_s is None
    assert bench.tick(LOW_V).next_change_at_s == bench.now_s + 60.0

    bench = on_grid()
    assert bench.tick(LOW_V).next_change_at_s is None
    assert bench.tick(HIGH_V).next_change_at_s == bench.now_s + 1800.0

    bench = tripped()
    assert bench.tick(LOW_V, WARM_C).next_change_at_s is None
    bench.now_s += 1.0
    assert bench.tick(LOW_V, COOL_C).next_change_at_s == bench.now_s + 599.0


def test_the_next_change_after_a_latched_low_took_a_recovering_battery_to_grid_respects_the_dwell() -> None:
    bench = tripped()
    bench.run(599, IN_BAND_V, COOL_C)

    decision = bench.run(1, HIGH_V, COOL_C)

    assert outcome(decision) == (Position.GRID, Reason.BATTERY_LOW)
    assert decision.next_change_at_s == bench.now_s + 1800.0


def test_on_battery_the_end_of_the_recover_hold_is_a_change_of_reason() -> None:
    bench = on_battery()

    holding = bench.tick(HIGH_V)
    recovered = bench.run(300, HIGH_V)

    assert outcome(holding) == (Position.BATTERY, Reason.HOLD)
    assert holding.next_change_at_s == bench.now_s
    assert outcome(recovered) == (Position.BATTERY, Reason.BATTERY_RECOVERED)


def test_a_latched_low_that_waits_for_the_dwell_announces_its_end_whatever_the_voltage_does() -> None:
    bench = Bench()
    bench.tick(LOW_V)

    decision = bench.run(61, LOW_V)
    in_the_band = bench.run(1, IN_BAND_V)

    assert decision.next_change_at_s == in_the_band.next_change_at_s == 1300.0


@pytest.mark.parametrize(("recover_hold_s", "announced_s"), [(100.0, 1162.0), (300.0, 1300.0)])
def test_the_earlier_one_of_dwell_and_recovery_is_announced(recover_hold_s: float, announced_s: float) -> None:
    bench = Bench(replace(LIMITS, recover_hold_s=recover_hold_s))
    bench.tick(LOW_V)
    bench.run(61, LOW_V)

    decision = bench.run(1, HIGH_V)

    assert decision.state.battery_is_low
    assert outcome(decision) == (Position.BATTERY, Reason.HOLD)
    assert decision.next_change_at_s == announced_s


def test_on_grid_for_no_reason_of_its_own_it_holds_until_the_battery_has_recovered() -> None:
    state = State(started_s=0.0, position=Position.GRID, position_since_s=0.0, readings_complete=True)

    holding = decide(Readings(sample(IN_BAND_V, 5.0)), state, LIMITS, 5.0)
    recovering = decide(Readings(sample(HIGH_V, 6.0)), holding.state, LIMITS, 6.0)
    recovered = decide(Readings(sample(HIGH_V, 1800.0)), recovering.state, LIMITS, 1800.0)

    assert (outcome(holding), holding.next_change_at_s) == ((Position.GRID, Reason.HOLD), None)
    assert (outcome(recovering), recovering.next_change_at_s) == ((Position.GRID, Reason.HOLD), 1800.0)
    assert outcome(recovered) == (Position.BATTERY, Reason.BATTERY_RECOVERED)


QUICK = Limits(
    battery_low_voltage_v=49.9,
    battery_recover_voltage_v=52.0,
    low_hold_s=3.0,
    recover_hold_s=5.0,
    least_time_on_grid_s=11.0,
    least_time_on_battery_s=7.0,
    over_temperature_trip_c=35.0,
    over_temperature_clear_c=30.0,
    least_cooling_time_s=4.0,
    boot_grace_s=6.0,
)
SECONDS = st.sampled_from([0.0, 0.1, 1.0, 3.0, 5.0, 7.0, 11.0])
ANY_LIMITS = st.builds(
    replace,
    st.just(QUICK),
    low_hold_s=SECONDS,
    recover_hold_s=SECONDS,
    least_time_on_grid_s=SECONDS,
    least_time_on_battery_s=SECONDS,
    least_cooling_time_s=SECONDS,
    boot_grace_s=SECONDS,
)
VOLTAGES = st.sampled_from([None, 49.0, 49.9, 50.0, 51.9, 52.0, 53.0])
TEMPERATURES = st.sampled_from([None, 20.0, 30.0, 30.0625, 34.9375, 35.0, 40.0])
# Some ticks with the same values, so that holds have a chance to end; fresh samples or the same one seen again.
STRETCHES = st.lists(
    st.tuples(st.integers(1, 14), st.sampled_from([0.1, 0.7, 1.0, 2.5]), VOLTAGES, TEMPERATURES, st.booleans()),
    min_size=1,
    max_size=25,
)
Stretch = tuple[int, float, float | None, float | None, bool]


def ticks_of(stretches: list[Stretch], start_s: float) -> list[tuple[float, Readings]]:
    now_s, ticks = start_s, []
    for count, step_s, voltage_v, temperature_c, fresh in stretches:
        first_s = now_s + step_s
        for _ in range(count):
            now_s += step_s
            at_s = now_s if fresh else first_s
            ticks.append((now_s, Readings(sample(voltage_v, at_s), sample(temperature_c, at_s))))
    return ticks


@given(STRETCHES, ANY_LIMITS, st.sampled_from([-6.0, 0.0, 1000.0]))
def test_the_next_change_comes_exactly_when_it_was_announced(
    stretches: list[Stretch], limits: Limits, start_s: float
) -> None:
    state = initial_state(start_s)

    for now_s, readings in ticks_of(stretches, start_s):
        decision = decide(readings, state, limits, now_s)
        state = decision.state

        at_s = decision.next_change_at_s
        if at_s is None:
            assert outcome(decide(readings, state, limits, now_s + 1e6)) == outcome(decision)
            continue
        assert at_s > now_s
        just_before = decide(readings, state, limits, math.nextafter(at_s, -math.inf))
        assert outcome(just_before) == outcome(decision)
        assert outcome(decide(readings, state, limits, at_s)) != outcome(decision)
        assert outcome(decide(readings, just_before.state, limits, at_s)) != outcome(decision)


def since(from_s: float | None, is_so: bool, now_s: float) -> float | None:
    return (now_s if from_s is None else from_s) if is_so else None


class Witness:
    """Follows the readings by its own book-keeping, as the table has the rules, and judges each decision."""

    def __init__(self, limits: Limits, start_s: float) -> None:
        self.limits = limits
        self.position = Position.BATTERY
        self.moved_at_s = start_s
        self.low_from_s: float | None = None
        self.recovered_from_s: float | None = None
        self.hot_in_a_row = 0
        self.last_sample_s: float | None = None
        self.tripped_at_s: float | None = None
        self.was_low_for_the_hold = False

    def judge(self, readings: Readings, decision: Decision, now_s: float) -> None:
        self._look(readings, now_s)
        heat = decision.reason is Reason.OVER_TEMPERATURE
        assert heat is (self.tripped_at_s is not None)
        if heat or decision.reason in (Reason.NO_DATA, Reason.BATTERY_RECOVERED):
            assert decision.position is Position.BATTERY
        if decision.reason is Reason.BATTERY_LOW:
            assert decision.position is Position.GRID
        if decision.position is not self.position:
            self._judge_transfer(decision, now_s)
        assert decision.state.position is decision.position

    def _judge_transfer(self, decision: Decision, now_s: float) -> None:
        stayed_s = now_s - self.moved_at_s
        if decision.position is Position.GRID:
            assert decision.reason is Reason.BATTERY_LOW
            assert self.was_low_for_the_hold
            assert stayed_s >= self.limits.least_time_on_battery_s - 1e-9
        elif decision.reason is not Reason.OVER_TEMPERATURE:
            assert decision.reason is Reason.BATTERY_RECOVERED
            assert self.recovered_from_s is not None
            assert now_s - self.recovered_from_s >= self.limits.recover_hold_s - 1e-9
            assert stayed_s >= self.limits.least_time_on_grid_s - 1e-9
            self.was_low_for_the_hold = False
        self.position, self.moved_at_s = decision.position, now_s

    def _look(self, readings: Readings, now_s: float) -> None:
        voltage_v = None if readings.battery_voltage_v is None else readings.battery_voltage_v.value
        low = voltage_v is not None and voltage_v <= self.limits.battery_low_voltage_v
        recovered = voltage_v is not None and voltage_v >= self.limits.battery_recover_voltage_v
        self.low_from_s = since(self.low_from_s, low, now_s)
        self.recovered_from_s = since(self.recovered_from_s, recovered, now_s)
        if self.low_from_s is not None and now_s - self.low_from_s >= self.limits.low_hold_s - 1e-9:
            self.was_low_for_the_hold = True

        temperature = readings.box_temperature_c
        if temperature is None:
            return
        if temperature.at_s != self.last_sample_s:
            self.last_sample_s = temperature.at_s
            is_hot = temperature.value >= self.limits.over_temperature_trip_c
            self.hot_in_a_row = self.hot_in_a_row + 1 if is_hot else 0
        if self.tripped_at_s is None:
            self.tripped_at_s = now_s if self.hot_in_a_row >= 2 else None
        elif (
            temperature.value <= self.limits.over_temperature_clear_c
            and now_s >= self.tripped_at_s + self.limits.least_cooling_time_s
        ):
            self.tripped_at_s = None


@given(STRETCHES, ANY_LIMITS)
def test_I5_no_transfer_inside_a_dwell_but_for_heat_and_none_without_its_reason(
    stretches: list[Stretch], limits: Limits
) -> None:
    state = initial_state(0.0)
    witness = Witness(limits, 0.0)

    for now_s, readings in ticks_of(stretches, 0.0):
        decision = decide(readings, state, limits, now_s)

        witness.judge(readings, decision, now_s)
        state = decision.state


def test_the_same_question_has_the_same_answer() -> None:
    state = State(started_s=0.0, position=Position.GRID, position_since_s=0.0, battery_is_low=True)
    readings = Readings(sample(HIGH_V, 5.0), sample(COOL_C, 5.0))

    assert decide(readings, state, LIMITS, 5.0) == decide(readings, state, LIMITS, 5.0)
