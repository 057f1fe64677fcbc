from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from contract.positions import Position, Reason
from device.decide import Decision, decide
from device.observe import State
from device.override import Override
from device.readings import AcMode, Readings
from tests.device.bench import (
    COOL_C,
    HIGH_V,
    HOT_C,
    IN_BAND_V,
    LOW_V,
    START_S,
    WARM_C,
    Bench,
    on_battery,
    on_grid,
    outcome,
    sample,
    state_of,
    tripped,
)
from tests.device.limits import LIMITS
from tests.faults.rig import QUICK

FIVE_STEPS_EACH_SIDE = range(-5, 6)


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


@pytest.mark.parametrize("interruption_v", [50.0, HIGH_V])
def test_one_reading_that_is_not_low_starts_the_low_hold_again(interruption_v: float | None) -> None:
    bench = on_battery()

    bench.run(59, LOW_V)
    bench.run(1, interruption_v)
    after_59_more = bench.run(60, LOW_V)
    after_60_more = bench.run(1, LOW_V)

    assert after_59_more.position is Position.BATTERY
    assert after_60_more.position is Position.GRID


def test_a_line_that_is_silent_most_of_the_time_does_not_put_off_a_low_battery() -> None:
    bench = on_battery()

    decisions = [bench.run(1, LOW_V if second % 12 == 0 else None) for second in range(90)]

    assert decisions[61].position is Position.GRID
    assert outcome(decisions[-1]) == (Position.GRID, Reason.BATTERY_LOW)


def test_two_low_samples_and_silence_are_no_low_battery_until_a_third_one_says_so() -> None:
    bench = on_battery()
    bench.run(2, LOW_V)

    silent = bench.run(100, None)
    again = bench.run(1, LOW_V)

    assert outcome(silent) == (Position.BATTERY, Reason.HOLD)
    assert outcome(again) == (Position.GRID, Reason.BATTERY_LOW)


def test_one_low_sample_and_silence_are_no_low_battery() -> None:
    bench = on_battery()
    bench.run(1, LOW_V)

    decision = bench.run(100, None)

    assert outcome(decision) == (Position.BATTERY, Reason.HOLD)


def test_the_hold_is_counted_from_the_first_sample_not_from_when_it_was_seen() -> None:
    bench = on_battery()
    first_s = bench.now_s + 1.0
    bench.now_s += 6.0
    bench.see(Readings(sample(LOW_V, first_s), sample(COOL_C, first_s)))

    at_59_s = bench.run(54, LOW_V)
    at_60_s = bench.run(1, LOW_V)

    assert bench.now_s == first_s + 60.0
    assert (at_59_s.position, at_60_s.position) == (Position.BATTERY, Position.GRID)


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
    unknown = bench.run(119, None)

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
    positions = [bench.run(1, voltage_v).position for _ in range(3600) for voltage_v in (LOW_V, LOW_V, HIGH_V, HIGH_V)]

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

    decision = bench.run(2, LOW_V, 30.0 + steps / 16)

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


def test_where_a_lost_thermometer_opens_nothing_a_low_battery_is_taken_off_without_one() -> None:
    limits = replace(LIMITS, thermometer_lost_opens=False)
    bench = Bench(limits)
    bench.tick(LOW_V, None)
    decision = bench.run(300, LOW_V, None)

    assert outcome(decision) == (Position.GRID, Reason.BATTERY_LOW)


# next_change_at_s


def test_the_next_change_is_the_end_of_the_hold_and_of_the_dwell() -> None:
    bench = Bench()
    bench.tick(LOW_V)
    assert bench.run(1, LOW_V).next_change_at_s == 1300.0  # the least time on battery outlasts the low hold

    bench = on_battery()
    assert bench.run(1, IN_BAND_V).next_change_at_s is None
    assert bench.run(1, LOW_V).next_change_at_s is None  # one sample is none
    assert bench.run(1, LOW_V).next_change_at_s == bench.now_s + 59.0

    bench = on_grid()
    assert bench.run(1, LOW_V).next_change_at_s is None
    assert bench.run(2, HIGH_V).next_change_at_s == bench.now_s + 1797.0

    bench = tripped()
    assert bench.run(1, LOW_V, WARM_C).next_change_at_s is None
    assert bench.run(2, LOW_V, COOL_C).next_change_at_s == bench.now_s + 597.0


def test_the_next_change_after_a_latched_low_took_a_recovering_battery_to_grid_respects_the_dwell() -> None:
    bench = tripped()
    bench.run(599, IN_BAND_V, COOL_C)

    decision = bench.run(1, HIGH_V, COOL_C)
    recovering = bench.run(1, HIGH_V, COOL_C)

    assert outcome(decision) == (Position.GRID, Reason.BATTERY_LOW)
    assert recovering.next_change_at_s == bench.now_s - 1.0 + 1800.0


def test_on_battery_the_end_of_the_recover_hold_is_a_change_of_reason() -> None:
    bench = on_battery()

    bench.tick(HIGH_V)
    holding = bench.run(1, HIGH_V)
    recovered = bench.run(299, HIGH_V)

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

    decision = bench.run(2, HIGH_V)

    assert decision.state.battery_is_low
    assert outcome(decision) == (Position.BATTERY, Reason.HOLD)
    assert decision.next_change_at_s == announced_s


def test_on_grid_for_no_reason_of_its_own_it_holds_until_the_battery_has_recovered() -> None:
    bench = Bench()
    bench.state = state_of(Position.GRID, bench.now_s)

    holding = bench.run(5, IN_BAND_V)
    recovering = bench.run(2, HIGH_V)
    at_1799_s = bench.run(1792, HIGH_V)
    at_1800_s = bench.run(1, HIGH_V)

    assert (outcome(holding), holding.next_change_at_s) == ((Position.GRID, Reason.HOLD), None)
    assert (outcome(recovering), recovering.next_change_at_s) == ((Position.GRID, Reason.HOLD), START_S + 1800.0)
    assert outcome(at_1799_s) == (Position.GRID, Reason.HOLD)
    assert outcome(at_1800_s) == (Position.BATTERY, Reason.BATTERY_RECOVERED)


HORIZON_S = 70.0
STEP_S = 1.0


def continued(bench: Bench, readings: Readings, until_s: float) -> Decision:
    """Ticks with fresh samples of the same values, the last one exactly at `until_s`; none of them is kept."""
    state, now_s = bench.state, bench.now_s
    while True:
        now_s = min(now_s + STEP_S, until_s)
        again = {
            name: replace(reading, at_s=now_s)
            for name in ("battery_voltage_v", "box_temperature_c", "soc_percent", "ac")
            if (reading := getattr(readings, name)) is not None
        }
        decision = decide(readings._replace(**again), bench.override, state, bench.limits, now_s)
        if now_s == until_s:
            return decision
        state = decision.state


def expects_another_sample(state: State) -> bool:
    """What one sample has begun, the next one may end: that is not announced."""
    streaks = (state.hot, state.cool, state.low, state.recovered, state.critical, state.ac)
    return (
        any(streak.since_s is not None and not streak.agrees for streak in streaks)
        or state.monitor.after_silence
        or state.thermometer.after_silence
    )


STRETCHES = st.lists(
    st.tuples(
        st.integers(1, 14),
        st.sampled_from([None, 46.0, 49.0, 49.9, 50.0, 52.0, 53.0]),
        st.sampled_from([None, 20.0, 30.0, 33.0, 35.0]),
        st.sampled_from([None, *AcMode]),
        st.sampled_from([None, (Position.GRID, 4), (Position.BATTERY, 9), (Position.BATTERY, 70)]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(STRETCHES)
def test_the_next_change_comes_exactly_when_it_was_announced(
    stretches: list[tuple[int, float | None, float | None, AcMode | None, tuple[Position, int] | None]],
) -> None:
    bench = Bench(QUICK)
    for seconds, voltage_v, temperature_c, ac, wish in stretches:
        bench.ac = ac
        if wish is not None:
            bench.override = Override(wish[0], 0, bench.now_s, bench.now_s + wish[1])
        decision = bench.run(seconds, voltage_v, temperature_c)
    assume(not expects_another_sample(bench.state))
    assume(bench.state.position_since_s < bench.now_s)  # in the tick after a transfer another rule may be the reason
    readings = bench.readings

    at_s = decision.next_change_at_s

    if at_s is None:
        assert outcome(continued(bench, readings, bench.now_s + HORIZON_S)) == outcome(decision)
    else:
        assert at_s > bench.now_s
        if at_s > bench.now_s + 0.01:
            assert outcome(continued(bench, readings, at_s - 0.01)) == outcome(decision)
        assert outcome(continued(bench, readings, at_s)) != outcome(decision)


def test_the_same_question_has_the_same_answer() -> None:
    state = state_of(Position.GRID, battery_is_low=True)
    readings = Readings(sample(HIGH_V, 5.0), sample(COOL_C, 5.0))

    assert decide(readings, None, state, LIMITS, 5.0) == decide(readings, None, state, LIMITS, 5.0)
