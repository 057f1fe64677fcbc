"""What an inverter's AC input says about the relays, and what follows from it."""

from dataclasses import replace

import pytest

from contract.alerts import Alert
from contract.positions import Position, Reason
from device.observe import RelayFault
from device.readings import AcMode, AcReading, Readings
from tests.device.bench import HIGH_V, IN_BAND_V, LOW_V, Bench, on_battery, on_grid, outcome, sample
from tests.device.limits import LIMITS

AC_ALERTS = {Alert.RELAY_STUCK_CLOSED, Alert.GRID_ABSENT, Alert.GRID_REJECTED}


def back_on_battery(bench: Bench) -> None:
    """From grid with AC in use to battery, since this second."""
    bench.ac = AcMode.AC_USE
    decision = bench.run(1800, HIGH_V)
    assert outcome(decision) == (Position.BATTERY, Reason.BATTERY_RECOVERED)


def test_without_an_fx_nothing_of_this_fires() -> None:
    bench = on_grid()

    decisions = [bench.run(1, LOW_V) for _ in range(1800)] + [bench.run(1, HIGH_V) for _ in range(1800)]

    assert not any(AC_ALERTS & decision.alerts for decision in decisions)
    assert bench.state.fault is None


def test_R10_ac_that_still_comes_after_the_relays_opened_is_a_welded_relay() -> None:
    bench = on_grid()
    back_on_battery(bench)

    at_10_s = bench.run(10, IN_BAND_V)
    at_11_s = bench.run(1, IN_BAND_V)

    assert not AC_ALERTS & at_10_s.alerts
    assert at_10_s.next_change_at_s == bench.now_s
    assert outcome(at_11_s) == (Position.BATTERY, Reason.RELAY_FAULT)
    assert Alert.RELAY_STUCK_CLOSED in at_11_s.alerts
    assert Alert.RELAY_FAULT not in at_11_s.alerts
    assert bench.state.fault is RelayFault.STUCK_CLOSED


def test_R10_R13_a_welded_relay_stays_latched_and_the_relays_toggle_no_more() -> None:
    bench = on_grid()
    back_on_battery(bench)
    bench.run(20, IN_BAND_V)
    bench.ac = AcMode.NO_AC

    decisions = [bench.run(3600, voltage_v) for voltage_v in (LOW_V, HIGH_V, LOW_V)]

    assert {outcome(decision) for decision in decisions} == {(Position.BATTERY, Reason.RELAY_FAULT)}
    assert all(Alert.RELAY_STUCK_CLOSED in decision.alerts for decision in decisions)


def test_relays_that_do_not_obey_and_turn_out_to_be_welded_are_welded() -> None:
    bench = on_grid()
    back_on_battery(bench)
    bench.state = bench.state._replace(fault=RelayFault.NOT_OBEYING)

    decision = bench.run(11, IN_BAND_V)

    assert bench.state.fault is RelayFault.STUCK_CLOSED
    assert decision.reason is Reason.RELAY_FAULT


def test_one_second_without_ac_after_opening_shows_that_the_relays_opened() -> None:
    bench = on_grid()
    back_on_battery(bench)
    bench.run(5, IN_BAND_V)
    bench.ac = AcMode.NO_AC
    bench.run(1, IN_BAND_V)
    bench.ac = AcMode.AC_USE

    decision = bench.run(60, IN_BAND_V)

    assert bench.state.fault is None
    assert decision.reason is not Reason.RELAY_FAULT
    assert Alert.RELAY_STUCK_CLOSED in decision.alerts


def test_ac_that_appears_while_the_relays_are_open_is_told_and_latches_nothing() -> None:
    bench = on_battery()
    bench.ac = AcMode.NO_AC
    bench.run(60)
    bench.ac = AcMode.AC_USE

    told = bench.run(11)
    bench.ac = AcMode.NO_AC
    still = bench.run(10)
    over = bench.run(1)

    assert Alert.RELAY_STUCK_CLOSED in told.alerts
    assert Alert.RELAY_STUCK_CLOSED in still.alerts
    assert not AC_ALERTS & over.alerts
    assert bench.state.fault is None
    assert {told.reason, over.reason} == {Reason.HOLD}


def test_R12_ac_that_is_in_use_from_the_boot_on_is_told_and_believed_only_after_a_transfer() -> None:
    bench = Bench()
    bench.ac = AcMode.AC_USE

    at_boot = bench.run(400)
    on_grid_ = bench.run(61, LOW_V)
    back = bench.run(1801, HIGH_V)
    after = bench.run(11, HIGH_V)

    assert Alert.RELAY_STUCK_CLOSED in at_boot.alerts
    assert on_grid_.position is Position.GRID
    assert back.position is Position.BATTERY
    assert outcome(after) == (Position.BATTERY, Reason.RELAY_FAULT)


def test_with_a_generator_ac_while_the_relays_are_open_means_nothing() -> None:
    bench = on_grid(replace(LIMITS, has_generator=True))
    back_on_battery(bench)

    decision = bench.run(600, IN_BAND_V)

    assert not AC_ALERTS & decision.alerts
    assert bench.state.fault is None


def test_R11_no_ac_for_60_s_while_closed_is_told_as_an_absent_grid_and_moves_nothing() -> None:
    bench = on_grid()
    bench.ac = AcMode.NO_AC

    at_60_s = bench.run(60, LOW_V)
    at_61_s = bench.run(1, LOW_V)
    later = bench.run(3600, LOW_V)

    assert not AC_ALERTS & at_60_s.alerts
    assert at_61_s.alerts & AC_ALERTS == {Alert.GRID_ABSENT}
    assert later.alerts & AC_ALERTS == {Alert.GRID_ABSENT}
    assert outcome(later) == (Position.GRID, Reason.BATTERY_LOW)


def test_the_grid_is_back_after_10_s_of_ac() -> None:
    bench = on_grid()
    bench.ac = AcMode.NO_AC
    bench.run(70, LOW_V)
    bench.ac = AcMode.AC_USE

    at_10_s = bench.run(10, LOW_V)
    at_11_s = bench.run(1, LOW_V)

    assert Alert.GRID_ABSENT in at_10_s.alerts
    assert not AC_ALERTS & at_11_s.alerts


def test_ac_that_the_inverter_drops_for_5_min_is_a_rejected_grid_and_moves_nothing() -> None:
    bench = on_grid()
    bench.ac = AcMode.AC_DROP

    at_300_s = bench.run(300, LOW_V)
    at_301_s = bench.run(1, LOW_V)

    assert not AC_ALERTS & at_300_s.alerts
    assert at_301_s.alerts & AC_ALERTS == {Alert.GRID_REJECTED}
    assert outcome(at_301_s) == (Position.GRID, Reason.BATTERY_LOW)


def test_ac_that_is_dropped_while_the_relays_are_open_is_nothing() -> None:
    bench = on_battery()
    bench.ac = AcMode.AC_DROP

    decision = bench.run(600)

    assert not AC_ALERTS & decision.alerts


@pytest.mark.parametrize("on", [AcMode.NO_AC, AcMode.AC_DROP])
def test_R12_feedback_that_chatters_says_nothing(on: AcMode) -> None:
    bench = on_grid()

    decisions = []
    for n in range(600):
        bench.ac = on if n % 5 else AcMode.AC_USE
        decisions.append(bench.run(1, LOW_V))

    assert not any(AC_ALERTS & decision.alerts for decision in decisions)


def test_an_inverter_that_falls_silent_neither_raises_nor_clears() -> None:
    bench = on_grid()
    bench.ac = AcMode.NO_AC
    bench.run(30, LOW_V)
    bench.ac = None
    silent = bench.run(60, LOW_V)
    bench.ac = AcMode.NO_AC
    again = bench.run(60, LOW_V)
    absent = bench.run(1, LOW_V)
    bench.ac = None
    silent_again = bench.run(600, LOW_V)

    assert not AC_ALERTS & silent.alerts
    assert not AC_ALERTS & again.alerts
    assert Alert.GRID_ABSENT in absent.alerts
    assert Alert.GRID_ABSENT in silent_again.alerts


def test_one_page_that_stands_for_long_is_one_sample() -> None:
    bench = on_grid()
    ac = AcReading(AcMode.NO_AC, bench.now_s + 1.0, "fx1")

    for _ in range(120):
        bench.now_s += 1.0
        decision = bench.see(Readings(sample(LOW_V, bench.now_s), sample(20.0, bench.now_s), ac=ac))

    assert not AC_ALERTS & decision.alerts


def test_a_page_from_before_the_transfer_says_nothing_of_it() -> None:
    bench = on_grid()
    back_on_battery(bench)
    moved_at_s = bench.now_s

    for seconds in range(1, 60):
        bench.now_s += 1.0
        ac = AcReading(AcMode.AC_USE, moved_at_s - (seconds % 2), "fx1")
        decision = bench.see(Readings(sample(HIGH_V, bench.now_s), sample(20.0, bench.now_s), ac=ac))

    assert bench.state.fault is None
    assert not AC_ALERTS & decision.alerts


def test_a_page_of_the_very_moment_of_the_transfer_says_nothing_of_it_either() -> None:
    bench = on_grid()
    back_on_battery(bench)
    moved_at_s = bench.now_s
    faults = []

    for seconds in range(1, 14):
        bench.now_s += 1.0
        ac = AcReading(AcMode.AC_USE, moved_at_s if seconds == 1 else bench.now_s, "fx1")
        bench.see(Readings(sample(HIGH_V, bench.now_s), sample(20.0, bench.now_s), ac=ac))
        faults.append(bench.state.fault)

    assert faults == [None] * 11 + [RelayFault.STUCK_CLOSED] * 2


def test_ac_that_was_not_in_use_when_the_relays_opened_did_not_come_through_them() -> None:
    bench = on_grid()
    bench.ac = AcMode.AC_USE
    bench.run(1700, HIGH_V)
    bench.ac = AcMode.AC_DROP
    decision = bench.run(101, HIGH_V)
    assert decision.position is Position.BATTERY
    bench.ac = AcMode.AC_USE

    decision = bench.run(60, HIGH_V)

    assert bench.state.fault is None
    assert Alert.RELAY_STUCK_CLOSED in decision.alerts
