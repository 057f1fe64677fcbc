"""Rules 2 and 5: sensors that fall silent, and what the battery's state of charge changes."""

from dataclasses import replace

import pytest

from contract.alerts import Alert
from contract.positions import Position, Reason
from device.readings import Reading, Readings
from tests.device.bench import COOL_C, HIGH_V, HOT_C, IN_BAND_V, LOW_V, START_S, Bench, on_battery, on_grid, outcome
from tests.device.limits import LIMITS

# Rule 2


def test_299_s_without_a_temperature_change_nothing_and_300_s_open_the_relays() -> None:
    bench = on_grid()

    at_299_s = bench.run(299, LOW_V, None)
    at_300_s = bench.run(1, LOW_V, None)

    assert outcome(at_299_s) == (Position.GRID, Reason.BATTERY_LOW)
    assert at_299_s.next_change_at_s == bench.now_s
    assert Alert.THERMOMETER_LOST not in at_299_s.alerts
    assert outcome(at_300_s) == (Position.BATTERY, Reason.THERMOMETER_LOST)
    assert Alert.THERMOMETER_LOST in at_300_s.alerts


def test_a_thermometer_that_was_never_seen_is_lost_300_s_after_the_start() -> None:
    bench = Bench()

    at_299_s = bench.run(299, LOW_V, None)
    at_300_s = bench.run(1, LOW_V, None)

    assert outcome(at_299_s) == (Position.BATTERY, Reason.HOLD)
    assert at_299_s.next_change_at_s == START_S + 300.0
    assert outcome(at_300_s) == (Position.BATTERY, Reason.THERMOMETER_LOST)


def test_one_sample_after_a_silence_does_not_bring_the_thermometer_back_and_two_do() -> None:
    bench = on_grid()
    bench.run(400, LOW_V, None)

    first = bench.run(1, LOW_V, COOL_C)
    second = bench.run(1, LOW_V, COOL_C)

    assert outcome(first) == (Position.BATTERY, Reason.THERMOMETER_LOST)
    assert second.reason is not Reason.THERMOMETER_LOST
    assert Alert.THERMOMETER_LOST not in second.alerts


def test_a_silence_of_exactly_the_limit_is_one() -> None:
    bench = on_grid()
    bench.run(299, LOW_V, None)

    first = bench.run(1, LOW_V, COOL_C)
    second = bench.run(1, LOW_V, COOL_C)

    assert first.reason is Reason.THERMOMETER_LOST
    assert second.reason is not Reason.THERMOMETER_LOST


def test_the_first_sample_after_a_silence_is_one_however_often_it_is_seen() -> None:
    bench = on_grid()
    bench.run(400, None, None)
    first = Readings(Reading(LOW_V, bench.now_s + 1.0, "mx2"), Reading(COOL_C, bench.now_s + 1.0, "28-1"))

    for _ in range(5):
        bench.now_s += 1.0
        decision = bench.see(first)

    assert {Alert.THERMOMETER_LOST, Alert.BATTERY_MONITOR_LOST} <= decision.alerts


def test_a_silence_just_shorter_than_the_limit_is_none() -> None:
    bench = on_grid()
    bench.run(298, LOW_V, None)

    decision = bench.run(1, LOW_V, COOL_C)

    assert outcome(decision) == (Position.GRID, Reason.BATTERY_LOW)


def test_where_the_setting_says_hold_a_lost_thermometer_is_told_and_opens_nothing() -> None:
    bench = on_grid(replace(LIMITS, thermometer_lost_opens=False))

    decision = bench.run(400, LOW_V, None)

    assert outcome(decision) == (Position.GRID, Reason.BATTERY_LOW)
    assert Alert.THERMOMETER_LOST in decision.alerts


def test_over_temperature_stands_above_a_lost_thermometer() -> None:
    bench = on_grid()
    bench.run(2, LOW_V, HOT_C)

    decision = bench.run(400, LOW_V, None)

    assert outcome(decision) == (Position.BATTERY, Reason.OVER_TEMPERATURE)
    assert {Alert.OVER_TEMPERATURE, Alert.THERMOMETER_LOST} <= decision.alerts


# Rule 5


def test_119_s_without_a_voltage_change_nothing_and_120_s_close_the_relays() -> None:
    bench = on_battery()
    bench.run(1, 49.9)

    at_119_s = bench.run(119, None)
    at_120_s = bench.run(1, None)

    assert outcome(at_119_s) == (Position.BATTERY, Reason.HOLD)
    assert at_119_s.next_change_at_s == bench.now_s
    assert Alert.BATTERY_MONITOR_LOST not in at_119_s.alerts
    assert outcome(at_120_s) == (Position.GRID, Reason.BATTERY_MONITOR_LOST)
    assert Alert.BATTERY_MONITOR_LOST in at_120_s.alerts


@pytest.mark.parametrize(
    ("last_voltage_v", "grace_s"), [(48.0, 120), (49.9, 120), (50.9, 420), (51.9, 720), (55.5, 1800), (60.0, 1800)]
)
def test_the_grace_is_longer_for_each_volt_above_low_up_to_the_cap(last_voltage_v: float, grace_s: int) -> None:
    bench = on_battery()
    bench.run(1, last_voltage_v)

    before = bench.run(grace_s - 1, None)
    after = bench.run(1, None)

    assert before.position is Position.BATTERY
    assert outcome(after) == (Position.GRID, Reason.BATTERY_MONITOR_LOST)


def test_a_cap_below_the_grace_does_not_shorten_it() -> None:
    bench = on_battery(replace(LIMITS, monitor_lost_after_cap_s=60.0))
    bench.run(1, 55.0)

    before = bench.run(119, None)
    after = bench.run(1, None)

    assert (before.position, after.position) == (Position.BATTERY, Position.GRID)


def test_a_monitor_that_was_never_seen_is_lost_120_s_after_the_start() -> None:
    bench = Bench(replace(LIMITS, least_time_on_battery_s=0.0))

    at_119_s = bench.run(119, None)
    at_120_s = bench.run(1, None)

    assert outcome(at_119_s) == (Position.BATTERY, Reason.HOLD)
    assert outcome(at_120_s) == (Position.GRID, Reason.BATTERY_MONITOR_LOST)


def test_the_least_time_on_battery_binds_a_lost_monitor() -> None:
    bench = Bench()

    at_299_s = bench.run(299, None)
    at_300_s = bench.run(1, None)

    assert outcome(at_299_s) == (Position.BATTERY, Reason.HOLD)
    assert Alert.BATTERY_MONITOR_LOST in at_299_s.alerts
    assert outcome(at_300_s) == (Position.GRID, Reason.BATTERY_MONITOR_LOST)


def test_one_sample_after_a_silence_does_not_bring_the_monitor_back_and_two_do() -> None:
    bench = on_battery()
    bench.run(2000, None)

    first = bench.run(1, HIGH_V)
    second = bench.run(1, HIGH_V)

    assert outcome(first) == (Position.GRID, Reason.BATTERY_MONITOR_LOST)
    assert outcome(second) == (Position.GRID, Reason.HOLD)
    assert Alert.BATTERY_MONITOR_LOST not in second.alerts


def test_a_short_silence_while_the_bank_was_full_is_no_loss() -> None:
    bench = on_battery()
    bench.run(1, 55.0)
    bench.run(600, None)

    decision = bench.run(1, 55.0)

    assert decision.position is Position.BATTERY
    assert decision.reason is not Reason.BATTERY_MONITOR_LOST
    assert Alert.BATTERY_MONITOR_LOST not in decision.alerts


@pytest.mark.parametrize(("setting", "position"), [(None, Position.BATTERY), (Position.BATTERY, Position.BATTERY)])
def test_where_the_setting_says_so_a_lost_monitor_leaves_the_load_on_battery(
    setting: Position | None, position: Position
) -> None:
    bench = on_battery(replace(LIMITS, monitor_lost_position=setting))

    decision = bench.run(2000, None)

    assert outcome(decision) == (position, Reason.BATTERY_MONITOR_LOST)


@pytest.mark.parametrize(("setting", "position"), [(None, Position.GRID), (Position.BATTERY, Position.BATTERY)])
def test_from_grid_a_lost_monitor_goes_where_the_setting_says_after_the_dwell(
    setting: Position | None, position: Position
) -> None:
    bench = on_grid(replace(LIMITS, monitor_lost_position=setting))

    at_1799_s = bench.run(1799, None)
    at_1800_s = bench.run(1, None)

    assert at_1799_s.position is Position.GRID
    assert outcome(at_1800_s) == (position, Reason.BATTERY_MONITOR_LOST)


def test_without_a_voltage_for_low_the_grace_is_the_plain_one() -> None:
    bench = Bench(replace(LIMITS, battery_low_voltage_v=None, battery_low_soc_percent=35.0))
    bench.soc_percent = 90.0
    bench.run(301, 60.0)
    bench.soc_percent = None

    before = bench.run(119, None)
    after = bench.run(1, None)

    assert (before.position, after.position) == (Position.BATTERY, Position.GRID)


# State of charge

BY_CHARGE = replace(LIMITS, battery_low_soc_percent=35.0, battery_recover_soc_percent=60.0)


@pytest.mark.parametrize(
    ("soc_percent", "position"), [(34.0, Position.GRID), (35.0, Position.GRID), (36.0, Position.BATTERY)]
)
def test_the_state_of_charge_wins_over_the_voltage_at_low(soc_percent: float, position: Position) -> None:
    bench = on_battery(BY_CHARGE)
    bench.soc_percent = soc_percent

    decision = bench.run(61, HIGH_V if position is Position.GRID else LOW_V)

    assert decision.position is position


@pytest.mark.parametrize(
    ("soc_percent", "position"), [(59.0, Position.GRID), (60.0, Position.BATTERY), (61.0, Position.BATTERY)]
)
def test_the_state_of_charge_wins_over_the_voltage_at_recover(soc_percent: float, position: Position) -> None:
    bench = on_grid(BY_CHARGE)
    bench.soc_percent = soc_percent

    decision = bench.run(1801, HIGH_V if position is Position.GRID else LOW_V)

    assert decision.position is position


def test_the_next_change_by_state_of_charge_is_announced() -> None:
    bench = on_battery(BY_CHARGE)
    bench.soc_percent = 20.0
    bench.run(1, HIGH_V)

    decision = bench.run(1, HIGH_V)

    assert decision.next_change_at_s == bench.now_s + 59.0


def test_without_a_state_of_charge_the_voltage_decides() -> None:
    bench = on_battery(BY_CHARGE)

    decision = bench.run(61, LOW_V)

    assert outcome(decision) == (Position.GRID, Reason.BATTERY_LOW)


def test_thresholds_in_volts_are_not_changed_by_a_state_of_charge() -> None:
    bench = on_battery()
    bench.soc_percent = 5.0

    decision = bench.run(61, HIGH_V)

    assert decision.position is Position.BATTERY


def test_where_the_voltage_says_nothing_only_the_state_of_charge_moves_the_relays() -> None:
    limits = replace(BY_CHARGE, battery_low_voltage_v=None, battery_recover_voltage_v=None)
    bench = Bench(limits)
    bench.soc_percent = 50.0
    without = bench.run(600, LOW_V)
    bench.soc_percent = 20.0
    low = bench.run(61, LOW_V)
    bench.soc_percent = 50.0
    held = bench.run(3600, HIGH_V)

    assert without.position is Position.BATTERY
    assert outcome(low) == (Position.GRID, Reason.BATTERY_LOW)
    assert held.position is Position.GRID


def test_where_only_the_state_of_charge_tells_its_silence_is_a_lost_monitor_whatever_the_voltage_says() -> None:
    limits = replace(BY_CHARGE, battery_low_voltage_v=None, battery_recover_voltage_v=None)
    bench = Bench(limits)
    bench.soc_percent = 50.0
    bench.run(310, HIGH_V)
    bench.soc_percent = None

    at_119_s = bench.run(119, 40.0)
    at_120_s = bench.run(1, 40.0)

    assert at_119_s.position is Position.BATTERY
    assert at_119_s.next_change_at_s == bench.now_s
    assert outcome(at_120_s) == (Position.GRID, Reason.BATTERY_MONITOR_LOST)


def test_a_critical_battery_is_told_though_its_line_is_silent_most_of_the_time() -> None:
    bench = on_battery()

    for second in range(90):
        decision = bench.run(1, 46.0 if second % 12 == 0 else None)

    assert Alert.BATTERY_CRITICAL in decision.alerts


# Critical


def test_a_critical_battery_is_told_after_the_low_hold_and_until_it_has_recovered() -> None:
    bench = on_battery()

    at_59_s = [bench.tick(47.0), bench.run(59, 47.0)][-1]
    at_60_s = bench.run(1, 47.0)
    in_the_band = bench.run(1800, IN_BAND_V)
    recovered = bench.run(301, HIGH_V)

    assert Alert.BATTERY_CRITICAL not in at_59_s.alerts
    assert Alert.BATTERY_CRITICAL in at_60_s.alerts
    assert Alert.BATTERY_CRITICAL in in_the_band.alerts
    assert not {Alert.BATTERY_CRITICAL, Alert.BATTERY_LOW} & recovered.alerts


@pytest.mark.parametrize(("voltage_v", "is_critical"), [(46.9, True), (47.0, True), (47.1, False)])
def test_R3_critical_is_at_or_below_and_not_above(voltage_v: float, is_critical: bool) -> None:
    bench = on_battery()

    decision = bench.run(61, voltage_v)

    assert (Alert.BATTERY_CRITICAL in decision.alerts) is is_critical


def test_a_low_battery_is_told_while_the_box_is_too_hot_to_do_anything_about_it() -> None:
    bench = on_battery()
    bench.run(2, IN_BAND_V, HOT_C)

    decision = bench.run(61, LOW_V, HOT_C)

    assert outcome(decision) == (Position.BATTERY, Reason.OVER_TEMPERATURE)
    assert {Alert.BATTERY_LOW, Alert.OVER_TEMPERATURE} <= decision.alerts
