"""Tests of the tests: for each invariant one `decide` that breaks it, and the suite notices."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from gpiozero import Device

from contract.positions import Position, Reason
from device.decide import Decision, decide
from device.limits import Limits
from device.observe import State
from device.override import Override
from device.readings import AcMode, Readings
from tests.faults.invariants import INVARIANTS, check_invariants
from tests.faults.rig import PINS, QUICK, Rig, Tick

STORY = replace(QUICK, most_transfers=20)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Without the check at the end that conftest.py's has."""
    rig = Rig(STORY)
    yield rig
    rig.close()


def a_day(rig: Rig) -> list[Tick]:
    """Low, recovered, hot while low, welded: every rule that the invariants are about."""
    for seconds, voltage_v, temperature_c, ac in (
        (10, 51.0, 20.0, None),
        (6, 49.0, 20.0, AcMode.AC_USE),
        (18, 53.0, 20.0, AcMode.NO_AC),
        (15, 49.0, 20.0, AcMode.AC_USE),
        (12, 49.0, 60.0, AcMode.NO_AC),
        (20, 49.0, 20.0, AcMode.AC_USE),
        (30, 53.0, 20.0, AcMode.AC_USE),
        (20, 49.0, 20.0, AcMode.AC_USE),
    ):
        rig.voltage_v, rig.temperature_c, rig.ac = voltage_v, temperature_c, ac
        rig.run(seconds)
    return rig.history


def test_the_real_one_keeps_every_invariant_through_every_rule_of_the_story(rig: Rig) -> None:
    history = a_day(rig)

    check_invariants(history, STORY)
    assert {tick.decision.reason for tick in history} >= {
        Reason.HOLD,
        Reason.BATTERY_LOW,
        Reason.BATTERY_RECOVERED,
        Reason.OVER_TEMPERATURE,
        Reason.RELAY_FAULT,
    }


def slow(rig: Rig, *args: Any) -> Decision:
    rig.clock.now_s += 5.0
    return decide(*args)


def with_hands(_rig: Rig, *args: Any) -> Decision:
    decision = decide(*args)
    Device.pin_factory.pin(PINS[0]).state = decision.position is Position.GRID
    return decision


def without_reason(_rig: Rig, *args: Any) -> Decision:
    return decide(*args)._replace(reason=Reason.HOLD)


def with_a_position_that_the_relays_do_not_know(_rig: Rig, *args: Any) -> Decision:
    decision = decide(*args)
    return decision._replace(position=str(decision.position))  # type: ignore[arg-type]


def without_dwell(
    _rig: Rig, readings: Readings, override: Override | None, state: State, limits: Limits, now_s: float
) -> Decision:
    hasty = replace(limits, least_time_on_grid_s=0.0, least_time_on_battery_s=0.0)
    return decide(readings, override, state, hasty, now_s)


def with_nan(_rig: Rig, *args: Any) -> Decision:
    return decide(*args)._replace(next_change_at_s=float("nan"))


def that_hoards(_rig: Rig, *args: Any) -> Decision:
    decision = decide(*args)
    hoard = (*decision.state.transfers_at_s, *[args[-1]] * 100)
    return decision._replace(state=decision.state._replace(transfers_at_s=hoard))


def that_tells_the_journal_one_thing_and_others_another(_rig: Rig, *args: Any) -> Decision:
    decision = decide(*args)

    class Fickle(frozenset):  # type: ignore[type-arg]
        def __or__(self, other: Any) -> Any:
            return frozenset(other)

    return decision._replace(alerts=Fickle(decision.alerts))


def that_keeps_heat_to_itself(_rig: Rig, *args: Any) -> Decision:
    return decide(*args)._replace(alerts=frozenset())


def without_heat(
    _rig: Rig, readings: Readings, override: Override | None, state: State, limits: Limits, now_s: float
) -> Decision:
    return decide(readings, override, state, replace(limits, over_temperature_trip_c=999.0), now_s)


def without_low(
    _rig: Rig, readings: Readings, override: Override | None, state: State, limits: Limits, now_s: float
) -> Decision:
    return decide(readings, override, state, replace(limits, battery_low_voltage_v=40.0), now_s)


def that_forgives(
    _rig: Rig, readings: Readings, override: Override | None, state: State, limits: Limits, now_s: float
) -> Decision:
    if state.fault is not None:
        state = state._replace(fault=None, ac_came_through=False)
    return decide(readings, override, state, limits, now_s)


BROKEN = {
    "I1": slow,
    "I2": with_hands,
    "I3": without_reason,
    "I4": with_a_position_that_the_relays_do_not_know,
    "I5": without_dwell,
    "I6": with_nan,
    "I7": that_hoards,
    "I8": that_tells_the_journal_one_thing_and_others_another,
    "I8 heat": that_keeps_heat_to_itself,
    "heat": without_heat,
    "energy": without_low,
    "latch": that_forgives,
}


def test_every_invariant_has_its_broken_decide() -> None:
    assert set(BROKEN) == set(INVARIANTS)


@pytest.mark.parametrize("name", BROKEN)
def test_a_decide_that_breaks_an_invariant_is_found_by_it(name: str, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.loop.decide", lambda *args: BROKEN[name](rig, *args))

    history = a_day(rig)

    with pytest.raises(AssertionError):
        INVARIANTS[name](history, STORY)
