from dataclasses import replace

import pytest

from contract.alerts import Alert
from contract.positions import Position, Reason
from device.decide import Decision
from device.loop import MOST_FAILURES, Loop, Seen
from device.observe import RelayFault, initial_state
from device.readings import Reading, Readings
from device.relays import Levels, RelayError
from tests.device.limits import LIMITS

QUICK = replace(LIMITS, low_hold_s=0.0, least_time_on_battery_s=0.0)


class Bench:
    """Sensors that say what they are told, relays that can fail, and a recorder: all three ends of the loop."""

    def __init__(self) -> None:
        self.voltage_v = 49.0
        self.temperature_c = 20.0
        self.failing: set[Position] = set()
        self.levels: Levels | None = (False, False)
        self.recorded_levels: list[Levels | None] = []
        self.broken_sensors = False
        self.broken_recorder = False
        self.written: list[Position] = []
        self.recorded: list[Decision] = []
        self.recorded_alerts: list[frozenset[Alert]] = []
        self.alerts: frozenset[Alert] = frozenset()
        self.loop = Loop(self, self, self, QUICK, initial_state(0.0))

    def seen(self, now_s: float) -> Seen:
        if self.broken_sensors:
            raise KeyError("an adapter's own mistake")
        readings = Readings(Reading(self.voltage_v, now_s, "mx2"), Reading(self.temperature_c, now_s, "28-1"))
        return Seen(readings, alerts=self.alerts)

    def write(self, position: Position) -> Levels | None:
        self.written.append(position)
        if position in self.failing:
            raise RelayError("relays read back otherwise", self.levels)
        return self.levels

    def record(self, decision: Decision, seen: Seen) -> None:
        if self.broken_recorder:
            raise ValueError("cannot be encoded")
        self.recorded.append(decision)
        self.recorded_alerts.append(seen.alerts)
        self.recorded_levels.append(seen.relay_levels)

    def reasons(self) -> list[Reason]:
        return [decision.reason for decision in self.recorded]


@pytest.fixture
def bench() -> Bench:
    """On grid: two low samples are behind it."""
    bench = Bench()
    bench.loop.tick(0.0)
    bench.loop.tick(1.0)
    assert bench.written == [Position.BATTERY, Position.GRID]
    bench.written, bench.recorded, bench.recorded_alerts = [], [], []
    return bench


def test_every_decision_is_written_and_recorded_even_without_a_change(bench: Bench) -> None:
    for now_s in range(2, 5):
        bench.loop.tick(float(now_s))

    assert bench.written == [Position.GRID] * 3
    assert bench.reasons() == [Reason.BATTERY_LOW] * 3


def test_relays_that_do_not_obey_are_opened_in_the_same_tick_and_stay_open(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.failing = {Position.GRID}

    decision = bench.loop.tick(2.0)
    bench.failing = set()
    later = bench.loop.tick(3.0)

    assert bench.written == [Position.GRID, Position.BATTERY, Position.BATTERY]
    assert (decision.position, decision.reason) == (Position.BATTERY, Reason.RELAY_FAULT)
    assert {Alert.RELAY_FAULT, Alert.BATTERY_LOW} <= decision.alerts
    assert later.reason is Reason.RELAY_FAULT
    assert bench.reasons() == [Reason.RELAY_FAULT] * 2
    assert "relay fault, to be kept open: relays read back otherwise" in caplog.text


def test_relays_that_cannot_be_opened_either_are_told_to_at_every_tick_and_complained_of_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.failing = {Position.GRID, Position.BATTERY}

    for now_s in range(2, 7):
        decision = bench.loop.tick(float(now_s))

    assert decision.state.fault is RelayFault.NOT_OBEYING
    assert bench.written[0] is Position.GRID
    assert set(bench.written[1:]) == {Position.BATTERY}
    assert caplog.text.count("to be kept open") == 1


def test_what_the_pins_read_back_is_recorded_with_the_decision_that_was_carried_out(bench: Bench) -> None:
    bench.recorded_levels = []

    for levels in ((True, True), None):
        bench.levels = levels
        bench.loop.tick(2.0)

    assert bench.recorded_levels == [(True, True), None]


def test_relays_that_disobey_are_recorded_as_they_are(bench: Bench) -> None:
    bench.recorded_levels = []
    bench.failing = {Position.GRID, Position.BATTERY}
    bench.levels = (True, False)

    decision = bench.loop.tick(2.0)
    bench.broken_sensors = True
    bench.levels = None
    bench.loop.tick(3.0)

    assert decision.position is Position.BATTERY
    assert bench.recorded_levels == [(True, False), None]


def test_relays_that_fail_do_not_make_the_loop_blind_to_heat(bench: Bench) -> None:
    bench.failing = {Position.GRID}
    bench.temperature_c = 40.0

    bench.loop.tick(2.0)
    decision = bench.loop.tick(3.0)

    assert decision.reason is Reason.OVER_TEMPERATURE
    assert decision.state.fault is RelayFault.NOT_OBEYING


def test_a_welded_relay_that_does_not_obey_stays_a_welded_one() -> None:
    bench = Bench()
    bench.loop = Loop(bench, bench, bench, QUICK, initial_state(0.0)._replace(fault=RelayFault.STUCK_CLOSED))
    bench.failing = {Position.BATTERY}

    decision = bench.loop.tick(0.0)

    assert decision.state.fault is RelayFault.STUCK_CLOSED


def test_a_failed_decision_opens_keeps_the_alerts_and_the_third_one_ends_the_loop(bench: Bench) -> None:
    bench.broken_sensors = True

    failed = [bench.loop.tick(2.0 + n) for n in range(MOST_FAILURES - 1)]
    with pytest.raises(KeyError):
        bench.loop.tick(9.0)

    assert bench.written == [Position.BATTERY] * MOST_FAILURES
    assert bench.reasons() == [Reason.INTERNAL_ERROR] * MOST_FAILURES
    assert failed[0].alerts == {Alert.INTERNAL_ERROR, Alert.BATTERY_LOW}
    assert failed[0].state.position_since_s == 2.0
    assert failed[0].override_is_suppressed is False


def test_alerts_that_are_no_decisions_outlast_a_failed_decision_and_the_stop(bench: Bench) -> None:
    bench.alerts = frozenset({Alert.STORAGE_FAILING})
    bench.loop.tick(2.0)

    bench.broken_sensors = True
    bench.loop.tick(3.0)
    bench.loop.stop(4.0)

    assert bench.recorded_alerts == [frozenset({Alert.STORAGE_FAILING})] * 3


def test_a_decision_between_failed_ones_begins_the_count_anew(bench: Bench) -> None:
    for now_s in range(2, 12):
        bench.broken_sensors = now_s % MOST_FAILURES != 0
        bench.loop.tick(float(now_s))

    assert Reason.INTERNAL_ERROR in bench.reasons()


def test_what_cannot_be_recorded_is_carried_out_all_the_same(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.broken_recorder = True

    decision = bench.loop.tick(2.0)

    assert bench.written == [decision.position] == [Position.GRID]
    assert "decision not recorded" in caplog.text


def test_the_last_act_opens_the_relays_and_says_so(bench: Bench) -> None:
    bench.loop.stop(5.0)

    assert bench.written == [Position.BATTERY]
    assert bench.reasons() == [Reason.STOPPED]
    assert bench.recorded[0].alerts == {Alert.BATTERY_LOW}
    assert (bench.recorded[0].state.position, bench.recorded[0].state.position_since_s) == (Position.BATTERY, 5.0)
