"""What the shadow's `reported` says of a decision."""

import json

import pytest

from contract.alerts import Alert
from contract.messages import encode
from contract.positions import ABOVE_THE_OWNER, Position, Reason
from contract.shadow import MAX_DOCUMENT_BYTES, Mode, OverrideState, Wish
from device.decide import Decision
from device.loop import Seen
from device.observe import State, initial_state
from device.override import Override
from device.readings import AcMode, AcReading, Reading, Readings
from device.report import reported
from device.wishes import Wishes
from tests.faults.rig import VirtualClock

CLOCK = VirtualClock()
NOW_S = CLOCK.monotonic_s()
NOW = CLOCK.time_ms() // 1000
STATE = initial_state(0.0)._replace(position=Position.GRID, position_since_s=NOW_S - 90.0)
GRID = Wish(Mode.GRID, NOW + 3600.0)
BATTERY = Wish(Mode.BATTERY, NOW + 3600.0)
PAUSED = {
    "mode": "grid",
    "until": NOW + 3600,
    "state": "suppressed",
    "ends_at": NOW + 3600,
    "because": "the relays moved a moment ago, it comes soon",
}
SEEN = Seen(
    Readings(
        battery_voltage_v=Reading(51.23456, NOW_S - 0.44, "mx2"),
        box_temperature_c=Reading(21.5, NOW_S - 1.0, "28-000005e2fdc3"),
        soc_percent=Reading(81.0, NOW_S, "fndc3"),
        ac=AcReading(AcMode.AC_USE, NOW_S + 0.1, "fx1"),
    ),
    counts={"messages_waiting": 3},
)


def decision(reason: Reason = Reason.BATTERY_LOW, state: State = STATE, **more: object) -> Decision:
    plain = Decision(
        state.position, reason, frozenset(), override_is_suppressed=False, next_change_at_s=None, state=state
    )
    return plain._replace(**more)  # type: ignore[arg-type]


def report(decided: Decision, seen: Seen = SEEN) -> dict[str, object]:
    return reported(decided, seen, frozenset({Alert.BATTERY_LOW}), CLOCK, "the-boot", "1.2.3")


def active(wish: Wish) -> Seen:
    override = Override(Position(wish.mode), 0, NOW_S, NOW_S + 3600.0, is_timed=True)
    wishes = Wishes(newest=wish, state=OverrideState.ACTIVE, active=override, ends_at_ms=(NOW + 3600) * 1000)
    return SEEN._replace(override=override, wishes=wishes)


def test_it_says_what_is_so_why_since_when_and_how_long() -> None:
    assert report(decision(next_change_at_s=NOW_S + 1740.0)) == {
        "position": "grid",
        "reason": "battery_low",
        "since": NOW - 90,
        "next_change_at": NOW + 1740,
        "mode": "auto",
        "override": None,
        "readings": {
            "battery_voltage_v": {"value": 51.23, "age_s": 0.4, "source": "mx2"},
            "box_temperature_c": {"value": 21.5, "age_s": 1.0, "source": "28-000005e2fdc3"},
            "soc_percent": {"value": 81.0, "age_s": 0.0, "source": "fndc3"},
            "ac_mode": {"value": "ac_use", "age_s": 0.0, "source": "fx1"},
        },
        "alerts": ["battery_low"],
        "software": "1.2.3",
        "boot_id": "the-boot",
        "time": NOW,
        "clock_synchronised": True,
        "counts": {"messages_waiting": 3},
        "heard": 0,
    }


def test_what_is_not_known_is_told_as_null_so_that_the_shadow_forgets_it() -> None:
    said = json.loads(encode(report(decision(), Seen(Readings()))))

    assert said["next_change_at"] is None
    assert said["readings"] == dict.fromkeys(("battery_voltage_v", "box_temperature_c", "soc_percent", "ac_mode"))


def test_an_override_in_force_is_told_with_its_end() -> None:
    said = report(decision(Reason.OVERRIDE), active(GRID))

    assert said["mode"] == "grid"
    assert said["override"] == {
        "mode": "grid",
        "until": NOW + 3600,
        "state": "active",
        "ends_at": NOW + 3600,
        "because": None,
    }


@pytest.mark.parametrize(
    ("reason", "because"),
    [
        (Reason.OVER_TEMPERATURE, "the box is too hot"),
        (Reason.THERMOMETER_LOST, "the box's thermometer is lost"),
        (Reason.RELAY_FAULT, "a relay fault is latched"),
        (Reason.NO_DATA, "the sensors have not all reported yet"),
        (Reason.INTERNAL_ERROR, "control cannot decide"),
        (Reason.STOPPED, "control has been stopped"),
        (Reason.BATTERY_LOW, "the relays moved a moment ago, it comes soon"),
    ],
)
def test_a_suppressed_one_is_told_with_what_stands_above_it(reason: Reason, because: str) -> None:
    said = report(decision(reason), active(GRID))

    assert said["mode"] == "grid"
    assert isinstance(said["override"], dict)
    assert (said["override"]["state"], said["override"]["because"]) == ("suppressed", because)


@pytest.mark.parametrize(
    ("wish", "because"),
    [(BATTERY, "the battery is critically low"), (GRID, "the relays moved a moment ago, it comes soon")],
)
def test_R7_a_critical_battery_suppresses_only_what_asks_for_it(wish: Wish, because: str) -> None:
    state = STATE._replace(battery_is_critical=True)

    said = report(decision(state=state, override_is_suppressed=True), active(wish))

    assert isinstance(said["override"], dict)
    assert said["override"]["because"] == because


@pytest.mark.parametrize("state", [OverrideState.ENDED, OverrideState.EXPIRED, OverrideState.WAITING])
def test_what_became_of_a_wish_is_told(state: OverrideState) -> None:
    wishes = Wishes(newest=Wish(Mode.AUTO, None), state=state, because="so")

    said = report(decision(), SEEN._replace(wishes=wishes))

    assert said["mode"] == "auto"
    assert said["override"] == {"mode": "auto", "until": None, "state": state, "ends_at": None, "because": "so"}


def test_a_report_with_everything_in_it_is_far_below_what_a_shadow_takes() -> None:
    source = "28-000005e2fdc3" * 2
    full = SEEN._replace(
        readings=Readings(
            battery_voltage_v=Reading(-12345.678, 0.0, source),
            box_temperature_c=Reading(-12345.678, 0.0, source),
            soc_percent=Reading(100.0, 0.0, source),
            ac=AcReading(AcMode.AC_DROP, 0.0, source),
        ),
        wishes=Wishes(GRID, OverrideState.ENDED, "x" * 100, None, NOW * 1000),
        counts={f"a_count_of_something_{number}": 10**9 for number in range(25)},
    )

    said = reported(decision(next_change_at_s=1e9), full, frozenset(Alert), CLOCK, "b" * 36, "10.20.30")
    said |= {"refused": {"because": "x" * 200}, "ignored": ["x" * 60] * 10}

    assert len(encode({"state": {"reported": said}})) < MAX_DOCUMENT_BYTES / 2


def test_the_owner_is_told_of_each_reason_that_stands_above_him() -> None:
    told = {reason for reason in Reason if report(decision(reason), active(GRID))["override"] != PAUSED}

    assert told == {*ABOVE_THE_OWNER, Reason.OVERRIDE}
