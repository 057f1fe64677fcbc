import pytest

from contract.positions import Position, Reason
from device.decide import Decision, Limits
from device.loop import Loop, Seen
from device.readings import Reading, Readings
from device.relays import RelayError

LIMITS = Limits(
    battery_low_voltage_v=49.9,
    battery_recover_voltage_v=52.0,
    low_hold_s=0.0,
    recover_hold_s=0.0,
    least_time_on_grid_s=1800.0,
    least_time_on_battery_s=0.0,
    over_temperature_trip_c=35.0,
    over_temperature_clear_c=30.0,
    least_cooling_time_s=600.0,
    boot_grace_s=0.0,
)


class Bench:
    """Sensors that say what they are told, relays that can fail, and a recorder: all three ends of the loop."""

    def __init__(self) -> None:
        self.voltage_v = 49.0
        self.temperature_c = 20.0
        self.failing: set[Position] = set()
        self.written: list[Position] = []
        self.recorded: list[Reason] = []

    def seen(self, now_s: float) -> Seen:
        return Seen(Readings(Reading(self.voltage_v, now_s, "mx2"), Reading(self.temperature_c, now_s, "28-1")), [])

    def write(self, position: Position) -> None:
        self.written.append(position)
        if position in self.failing:
            raise RelayError("relays read back otherwise")

    def record(self, decision: Decision, seen: Seen) -> None:
        self.recorded.append(decision.reason)


def loop_of(bench: Bench) -> Loop:
    return Loop(bench, bench, bench, LIMITS, 0.0)


def test_every_decision_is_written_and_recorded_even_without_a_change() -> None:
    bench = Bench()
    loop = loop_of(bench)

    for now_s in range(3):
        loop.tick(float(now_s))

    assert bench.written == [Position.GRID] * 3
    assert bench.recorded == [Reason.BATTERY_LOW] * 3


def test_a_decision_that_was_not_carried_out_is_raised_and_not_recorded() -> None:
    bench = Bench()
    bench.failing = {Position.GRID}
    loop = loop_of(bench)

    with pytest.raises(RelayError):
        loop.tick(0.0)

    assert bench.written == [Position.GRID]
    assert bench.recorded == []


def test_a_write_that_failed_is_tried_again_at_the_next_tick() -> None:
    bench = Bench()
    bench.failing = {Position.GRID}
    loop = loop_of(bench)
    with pytest.raises(RelayError):
        loop.tick(0.0)

    bench.failing = set()
    decision = loop.tick(1.0)

    assert decision.position is Position.GRID
    assert bench.written == [Position.GRID, Position.GRID]
    assert bench.recorded == [Reason.BATTERY_LOW]


def test_relays_that_fail_do_not_make_the_loop_blind_to_heat() -> None:
    bench = Bench()
    loop = loop_of(bench)
    loop.tick(0.0)

    bench.failing = {Position.GRID}
    bench.temperature_c = 40.0
    with pytest.raises(RelayError):
        loop.tick(1.0)
    decision = loop.tick(2.0)

    assert decision.reason is Reason.OVER_TEMPERATURE
    assert bench.written == [Position.GRID, Position.GRID, Position.BATTERY]
