"""What the owner is told of a shadow, without any AWS."""

import json
from typing import Any

import pytest

from contract.shadow import Mode
from owner import override, status
from owner.override import Answer, Asked, answer_in, unanswered, wait_for_answer
from owner.shadow import NotReportedError, Shadow, parse
from owner.words import clock

NOW_S = 1795452800
UNTIL_S = NOW_S + 7200
Json = dict[str, Any]


def stamped(value: object, at_s: int) -> object:
    if isinstance(value, dict):
        return {name: stamped(item, at_s) for name, item in value.items()}
    if isinstance(value, list):
        return [stamped(item, at_s) for item in value]
    return {"timestamp": at_s}


def shadow(reported: Json, desired: Json | None = None, *, version: int = 1, age_s: int = 5) -> Shadow:
    document = {
        "state": {"reported": reported, "desired": desired or {}},
        "metadata": {"reported": stamped(reported, NOW_S - age_s)},
        "version": version,
        "timestamp": NOW_S,
    }
    return parse(json.dumps(document).encode())


BEFORE = shadow({"position": "battery", "reason": "hold", "mode": "auto"})
GRID = Asked(Mode.GRID, UNTIL_S, BEFORE, version=2)
AUTO = Asked(Mode.AUTO, None, BEFORE, version=2)
WISH = {"mode": "grid", "until": UNTIL_S}


def reported(state: str, **fields: object) -> Json:
    return {
        "position": "grid",
        "reason": "override",
        "mode": "grid",
        "override": {**WISH, "state": state, **fields},
    }


def told(newest: Shadow, asked: Asked = GRID) -> Answer:
    answer = answer_in(newest, asked)
    assert answer is not None
    return answer


def test_an_override_in_force_is_told_with_its_end_and_the_relays() -> None:
    answer = told(shadow(reported("active", ends_at=UNTIL_S), {"override": WISH}, version=3))

    assert answer == Answer(f"grid until {clock(UNTIL_S, NOW_S)} (in 2 h): relays closed", is_in_force=True)


def test_an_override_that_the_device_ends_earlier_is_told_so() -> None:
    answer = told(shadow(reported("active", ends_at=NOW_S + 3600), version=3))

    assert answer.words.startswith(f"grid until {clock(NOW_S + 3600, NOW_S)} (in 1 h): relays closed (asked until ")
    assert answer.is_in_force


def test_R7_a_suppressed_override_is_told_with_the_rule_and_is_not_in_force() -> None:
    newest = {**reported("suppressed"), "position": "battery", "reason": "over_temperature"}

    answer = told(shadow(newest, version=3))

    assert answer.words == "grid is not in force: suppressed by over_temperature: the relay box is too hot"
    assert (answer.is_in_force, answer.may_come) == (False, False)


@pytest.mark.parametrize(
    ("state", "words", "may_come"),
    [
        (
            "waiting",
            "grid is not in force: waiting: the Pi was started anew and does not know yet what time it is",
            True,
        ),
        ("expired", "grid is not in force: expired: it was over before the device heard of it", False),
        ("ended", "grid is not in force: ended", False),
    ],
)
def test_what_is_not_in_force_is_told(state: str, words: str, may_come: bool) -> None:
    assert told(shadow(reported(state), version=3)) == Answer(words, is_in_force=False, may_come=may_come)


def test_a_pause_after_the_relays_moved_is_told_without_a_rule_and_may_pass() -> None:
    newest = {**reported("suppressed", because="the relays moved a moment ago, it comes soon"), "reason": "hold"}

    assert told(shadow(newest, version=3)) == Answer(
        "grid is not in force: suppressed: the relays moved a moment ago, it comes soon",
        is_in_force=False,
        may_come=True,
    )


def test_the_devices_own_words_come_first() -> None:
    assert told(shadow(reported("ended", because="the owner ended it"), version=3)).words.endswith(
        "ended: the owner ended it"
    )


def test_H13_a_refusal_is_told_with_its_reason() -> None:
    newest = {"position": "battery", "refused": {"because": "override.until is in the past"}}

    assert told(shadow(newest, {"override": WISH}, version=3)).words == "refused: override.until is in the past"


def test_a_refusal_of_an_earlier_wish_is_no_answer() -> None:
    refused = {"position": "battery", "refused": {"because": "override.mode is 7"}}
    asked = Asked(Mode.GRID, UNTIL_S, shadow(refused), version=2)

    assert answer_in(shadow(refused, {"override": WISH}, version=3), asked) is None


def test_an_answer_to_an_earlier_wish_is_none() -> None:
    earlier = {**reported("active"), "override": {"mode": "grid", "until": UNTIL_S - 1, "state": "active"}}

    assert answer_in(shadow(earlier, {"override": WISH}, version=3), GRID) is None


def test_the_shadow_as_it_was_before_the_wish_is_no_answer() -> None:
    assert answer_in(shadow(reported("active"), version=2), GRID) is None


def test_a_wish_never_equals_one_that_stands_or_was_answered() -> None:
    before = shadow(reported("active"), {"override": {**WISH, "until": UNTIL_S + 1}})

    assert override._unlike(before, Mode.GRID, UNTIL_S) == UNTIL_S + 2
    assert override._unlike(before, Mode.BATTERY, UNTIL_S) == UNTIL_S


def test_auto_is_answered_when_the_wish_is_gone_and_the_rules_decide() -> None:
    answer = told(shadow({"position": "battery", "reason": "hold", "mode": "auto"}, version=3), AUTO)

    assert answer == Answer("auto: the rules decide; relays open, because nothing asks for a change", is_in_force=True)


def test_an_earlier_return_to_auto_is_no_answer() -> None:
    ended = {"mode": "auto", "override": {"mode": "auto", "state": "ended"}}
    asked = Asked(Mode.AUTO, None, shadow(ended), version=2)

    assert answer_in(shadow(ended, {"override": {"mode": "auto"}}, version=3), asked) is None


def test_a_wish_of_somebody_else_in_between_is_told() -> None:
    answer = told(shadow(reported("active"), {"override": {"mode": "battery", "until": UNTIL_S}}, version=4), AUTO)

    assert answer.words.startswith("another wish has come in between: battery until ")
    assert not answer.is_in_force


def test_a_device_that_waits_for_the_time_is_waited_for_until_the_end() -> None:
    answers = [shadow(reported("waiting"), version=3), shadow(reported("active"), version=4)]

    _, answer = wait_for_answer(lambda: answers.pop(0), GRID, 30, sleep=lambda _: None)

    assert answer is not None
    assert answer.is_in_force


def test_a_device_that_goes_on_waiting_for_the_time_is_told_so_at_the_end() -> None:
    _, answer = wait_for_answer(lambda: shadow(reported("waiting"), version=3), GRID, 0.01, sleep=lambda _: None)

    assert answer is not None
    assert not answer.is_in_force


def test_silence_is_told_with_when_it_was_heard_and_when_the_wish_lapses() -> None:
    words = unanswered("shed", GRID, shadow({"position": "battery"}, version=2, age_s=720), 30)

    assert words == (
        f"shed has not answered within 30 s; it was last heard at {clock(NOW_S - 720, NOW_S)}, 12 min ago. The wish "
        f"stays: shed takes it up if it comes back before {clock(UNTIL_S, NOW_S)}, when it lapses (in 2 h)."
    )


def test_silence_after_auto_says_when_the_override_there_ends() -> None:
    words = unanswered("shed", AUTO, shadow(reported("active", ends_at=UNTIL_S), version=2), 30)

    assert words.endswith(f"What is in force there ends by itself at {clock(UNTIL_S, NOW_S)}.")


REPORT: Json = {
    "position": "battery",
    "reason": "battery_recovered",
    "since": NOW_S - 4800,
    "next_change_at": NOW_S + 600,
    "readings": {
        "battery_voltage_v": {"value": 51.24, "age_s": 0.4, "source": "mx2"},
        "box_temperature_c": {"value": 22.5, "age_s": 95.0, "source": "w1"},
        "soc_percent": {"value": 83.0, "age_s": 0.4, "source": "fndc3"},
    },
    "alerts": ["over_temperature", "from_the_future"],
    "software": "0.1.0",
    "clock_synchronised": True,
}


def lines(newest: Shadow) -> list[str]:
    return status.text_of("shed", newest).splitlines()


def test_status_shows_all_at_a_glance() -> None:
    assert lines(shadow(REPORT)) == [
        "shed: on BATTERY (relays open), because the battery has recovered",
        f"  since        {clock(NOW_S - 4800, NOW_S)} (1 h 20 min)",
        f"  next change  {clock(NOW_S + 600, NOW_S)} at the earliest",
        "  override     none",
        "  battery      51.2 V, 0 s old from mx2",
        "  charge       83 %, 0 s old from fndc3",
        "  box          72.5 F (22.5 C), 2 min old from w1",
        "  alerts       over_temperature (critical), from_the_future",
        "  software     0.1.0",
        f"  last heard   5 s ago ({clock(NOW_S - 5, NOW_S)})",
    ]


@pytest.mark.parametrize(("age_s", "is_offline"), [(180, False), (181, True)])
def test_L9_a_device_that_is_silent_for_more_than_three_minutes_is_offline(age_s: int, is_offline: bool) -> None:
    first = lines(shadow(REPORT, age_s=age_s))[0]

    assert first.startswith("shed is OFFLINE: last heard 3 min ago") is is_offline


def test_C1_a_clock_that_is_not_synchronised_is_mentioned() -> None:
    assert any("NOT SYNCHRONISED" in line for line in lines(shadow({**REPORT, "clock_synchronised": False})))


def test_H1_H13_refused_and_ignored_wishes_are_shown() -> None:
    newest = shadow({**REPORT, "refused": {"because": "override.mode is 7"}, "ignored": ["low_voltage_v"]})

    shown = "\n".join(lines(newest))
    assert "refused wish  override.mode is 7; ask again with `solarshed override`" in shown
    assert "ignored       low_voltage_v: the device knows no such wish" in shown


def test_the_override_in_force_and_what_became_of_the_last_one_are_shown() -> None:
    active = "\n".join(lines(shadow({**REPORT, **reported("active")}, {"override": WISH})))
    ended = "\n".join(lines(shadow({**REPORT, "override": {**WISH, "state": "ended", "because": "its time is over"}})))

    assert f"override     grid until {clock(UNTIL_S, NOW_S)} (in 2 h): active" in active
    assert "not taken up" not in active
    assert "(in 2 h): ended: its time is over" in ended


def test_a_return_to_auto_is_no_override_any_more() -> None:
    shown = lines(shadow({**REPORT, "override": {"mode": "auto", "state": "ended"}}))

    assert "  override     none" in shown


def test_a_wish_that_the_device_has_not_answered_is_shown() -> None:
    assert any("not taken up" in line and "grid until" in line for line in lines(shadow(REPORT, {"override": WISH})))


@pytest.mark.parametrize(
    "garbage",
    [
        {"position": 7},
        {"position": "\x1b[2J", "readings": [], "alerts": {}, "override": "grid", "refused": [], "since": "now"},
        {"since": -99_999_999_999, "override": {"mode": "grid", "until": -99_999_999_999, "ends_at": -1}},
        {"since": 1e300, "next_change_at": True, "readings": {"battery_voltage_v": {"value": "51"}}, "alerts": [1]},
    ],
)
def test_H2_a_shadow_that_somebody_else_wrote_is_shown_as_far_as_it_goes(garbage: Json) -> None:
    shown = status.text_of("shed", shadow(garbage))

    assert shown.startswith("shed: on ")
    assert "\x1b" not in shown


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"version": NaN}', b"\xff", b'{"a": 1, "a": 2}'])
def test_H3_H4_an_answer_that_is_no_shadow_is_told(payload: bytes) -> None:
    with pytest.raises(NotReportedError, match="AWS's answer about the shadow cannot be read"):
        parse(payload)
