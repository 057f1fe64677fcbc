"""Rule 4: the owner's wish, its end, and what stands above it."""

import pytest

from contract.alerts import Alert
from contract.positions import Position, Reason
from device.observe import RelayFault
from device.override import MAX_DURATION_S, Override, received, timed
from tests.device.bench import (
    COOL_C,
    HIGH_V,
    HOT_C,
    IN_BAND_V,
    LOW_V,
    Bench,
    on_battery,
    on_grid,
    outcome,
    state_of,
)
from tests.faults.rig import QUICK

TIME_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


def wish(bench: Bench, position: Position, seconds: float = 3600.0) -> Override:
    return Override(position, 0, bench.now_s, bench.now_s + seconds, is_timed=True)


@pytest.mark.parametrize("position", Position)
@pytest.mark.parametrize("voltage_v", [None, LOW_V, IN_BAND_V, HIGH_V])
def test_the_owner_is_obeyed_whatever_the_voltage(position: Position, voltage_v: float | None) -> None:
    bench = on_battery()
    bench.override = wish(bench, position)

    decision = bench.run(100, voltage_v)

    assert outcome(decision) == (position, Reason.OVERRIDE)
    assert not decision.override_is_suppressed


def test_an_override_waits_for_no_dwell() -> None:
    bench = on_grid()
    bench.run(60, LOW_V)
    bench.override = wish(bench, Position.BATTERY)

    decision = bench.run(1, LOW_V)

    assert outcome(decision) == (Position.BATTERY, Reason.OVERRIDE)


def test_H12_overrides_move_the_relays_at_most_once_a_minute() -> None:
    bench = on_grid()
    bench.override = wish(bench, Position.BATTERY)

    at_59_s = bench.run(59, LOW_V)
    at_60_s = bench.run(1, LOW_V)

    assert outcome(at_59_s) == (Position.GRID, Reason.BATTERY_LOW)
    assert at_59_s.override_is_suppressed
    assert at_59_s.next_change_at_s == bench.now_s
    assert outcome(at_60_s) == (Position.BATTERY, Reason.OVERRIDE)


def test_H16_one_that_came_just_before_the_battery_is_critical_loses_to_it_at_once_and_never_both() -> None:
    bench = on_grid()
    bench.run(60, 46.0)  # critical, but for the last sample of the low hold
    bench.override = wish(bench, Position.BATTERY)

    decisions = [bench.run(1, 46.0) for _ in range(300)]

    assert {decision.position for decision in decisions[1:]} == {Position.GRID}
    assert all(decision.override_is_suppressed for decision in decisions[1:])
    assert bench.state.battery_is_critical


def test_an_override_ends_by_itself_and_the_rules_go_on() -> None:
    bench = on_battery()
    bench.override = wish(bench, Position.GRID, seconds=100.0)
    bench.run(1)

    at_99_s = bench.run(98)
    at_100_s = bench.run(1)

    assert outcome(at_99_s) == (Position.GRID, Reason.OVERRIDE)
    assert at_99_s.next_change_at_s == bench.now_s
    assert outcome(at_100_s) == (Position.GRID, Reason.HOLD)
    assert not at_100_s.override_is_suppressed


def test_the_tick_of_a_transfer_announces_no_change_for_itself() -> None:
    bench = Bench(QUICK)
    bench.state = state_of(Position.GRID, bench.now_s, position_since_s=bench.now_s - 20.0)
    bench.override = wish(bench, Position.BATTERY)

    decisions = [bench.run(1, HIGH_V) for _ in range(6)]

    moved = next(decision for decision in decisions if decision.position is Position.BATTERY)
    assert outcome(moved) == (Position.BATTERY, Reason.BATTERY_RECOVERED)
    assert moved.next_change_at_s is not None
    assert moved.next_change_at_s > moved.state.position_since_s


def test_heat_stands_above_the_owner() -> None:
    bench = on_battery()
    bench.override = wish(bench, Position.GRID)
    bench.run(60)

    decision = bench.run(2, IN_BAND_V, HOT_C)

    assert outcome(decision) == (Position.BATTERY, Reason.OVER_TEMPERATURE)
    assert decision.override_is_suppressed


def test_a_lost_thermometer_stands_above_the_owner() -> None:
    bench = on_battery()
    bench.override = wish(bench, Position.GRID)

    decision = bench.run(300, IN_BAND_V, None)

    assert outcome(decision) == (Position.BATTERY, Reason.THERMOMETER_LOST)
    assert decision.override_is_suppressed


def test_a_relay_fault_stands_above_the_owner() -> None:
    bench = Bench()
    bench.state = state_of(Position.BATTERY, 0.0, fault=RelayFault.NOT_OBEYING)
    bench.override = wish(bench, Position.GRID)

    decision = bench.run(100)

    assert outcome(decision) == (Position.BATTERY, Reason.RELAY_FAULT)
    assert Alert.RELAY_FAULT in decision.alerts
    assert decision.override_is_suppressed


def test_no_data_stands_above_the_owner() -> None:
    bench = Bench()
    bench.override = wish(bench, Position.GRID)

    decision = bench.run(59, None, None)
    after = bench.run(1, None, None)

    assert outcome(decision) == (Position.BATTERY, Reason.NO_DATA)
    assert outcome(after) == (Position.GRID, Reason.OVERRIDE)


def test_R7_a_critical_battery_suppresses_the_wish_for_battery() -> None:
    bench = on_battery()
    bench.override = wish(bench, Position.BATTERY)

    low = bench.run(61, LOW_V)
    critical = bench.run(61, 46.0)

    assert outcome(low) == (Position.BATTERY, Reason.OVERRIDE)
    assert outcome(critical) == (Position.GRID, Reason.BATTERY_LOW)
    assert critical.override_is_suppressed
    assert Alert.BATTERY_CRITICAL in critical.alerts


def test_a_critical_battery_does_not_suppress_the_wish_for_grid() -> None:
    bench = on_battery()
    bench.run(61, 46.0)
    bench.override = wish(bench, Position.GRID)

    decision = bench.run(1, 46.0)

    assert outcome(decision) == (Position.GRID, Reason.OVERRIDE)


def test_an_override_that_is_on_for_12_h_is_told() -> None:
    bench = on_battery()
    bench.override = wish(bench, Position.GRID, seconds=86400.0)
    since_s = bench.now_s

    bench.now_s = since_s + 12 * 3600 - 2
    before = bench.run(1, IN_BAND_V, COOL_C)
    after = bench.run(1, IN_BAND_V, COOL_C)
    bench.override = None
    ended = bench.run(1, IN_BAND_V, COOL_C)

    assert Alert.OVERRIDE_LEFT_ON not in before.alerts
    assert Alert.OVERRIDE_LEFT_ON in after.alerts
    assert Alert.OVERRIDE_LEFT_ON not in ended.alerts


def test_an_override_that_is_over_is_not_told_as_left_on() -> None:
    bench = on_battery()
    bench.override = Override(Position.GRID, 0, since_s=bench.now_s - 90_000.0, ends_at_s=bench.now_s)

    decision = bench.run(1)

    assert Alert.OVERRIDE_LEFT_ON not in decision.alerts


# How long it lasts


def test_the_owners_time_of_day_is_turned_into_monotonic_time_once() -> None:
    override = received(Position.GRID, TIME_MS + 2 * HOUR_MS, 50.0, TIME_MS, synchronised=True)

    later = timed(override, 60.0, TIME_MS - 5 * HOUR_MS, synchronised=True)

    assert override == Override(Position.GRID, TIME_MS + 2 * HOUR_MS, 50.0, 50.0 + 7200.0, is_timed=True)
    assert later == override
    assert override.is_active(7249.9)
    assert not override.is_active(7250.0)


def test_an_override_lasts_24_h_at_most() -> None:
    override = received(Position.GRID, TIME_MS + 1000 * HOUR_MS, 50.0, TIME_MS, synchronised=True)

    assert override.ends_at_s == 50.0 + 24 * 3600.0 == 50.0 + MAX_DURATION_S


def test_an_override_whose_time_is_over_is_never_active() -> None:
    override = received(Position.GRID, TIME_MS - 1, 50.0, TIME_MS, synchronised=True)

    assert not override.is_active(50.0)


def test_C4_without_a_synchronised_clock_24_h_bound_it_and_from_then_on_both_do() -> None:
    until_ms = TIME_MS + 2 * HOUR_MS
    three_days_behind_ms = TIME_MS - 72 * HOUR_MS

    override = received(Position.GRID, until_ms, 50.0, three_days_behind_ms, synchronised=False)
    still = timed(override, 100.0, three_days_behind_ms, synchronised=False)
    synchronised = timed(still, 110.0, TIME_MS, synchronised=True)

    assert override == still
    assert override.ends_at_s == 50.0 + MAX_DURATION_S
    assert not override.is_timed
    assert synchronised.ends_at_s == 110.0 + 7200.0


def test_C4_a_late_synchronisation_does_not_prolong_it() -> None:
    override = received(Position.GRID, TIME_MS + 40 * HOUR_MS, 50.0, TIME_MS, synchronised=False)

    synchronised = timed(override, 80_000.0, TIME_MS, synchronised=True)

    assert synchronised.ends_at_s == 50.0 + MAX_DURATION_S
