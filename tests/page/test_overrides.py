"""Overrides as the demo follows them: read from the shadow's documents, told, and reported."""

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from demo.owner_wish import EmulatedAccount
from page.overrides import OverrideLog, ShadowOverrides, reader
from page.wishes import NoAnswerError, Override

ASKED_S = 1795457400
UNTIL_S = ASKED_S + 10
WISH = {"mode": "battery", "until": UNTIL_S}
AUTO = {"mode": "auto"}

Json = dict[str, Any]


def document(
    *,
    desired: Json | None = None,
    override: Json | None = None,
    refused: str | None = None,
    time_s: int = ASKED_S,
    now_s: int | None = None,
) -> bytes:
    """What GetThingShadow answers. `time_s` is the device's of its report, `now_s` AWS's."""
    reported: Json = {"position": "grid", "reason": "hold", "time": time_s}
    if override is not None:
        reported["override"] = override
    if refused is not None:
        reported["refused"] = {"because": refused}
    state: Json = {"reported": reported}
    metadata: Json = {"reported": {"time": {"timestamp": time_s}}}
    if desired is not None:
        state["desired"] = {"override": desired}
        metadata["desired"] = {"override": {name: {"timestamp": ASKED_S} for name in desired}}
    answer = {"state": state, "metadata": metadata, "version": 7, "timestamp": now_s or time_s}
    return json.dumps(answer).encode()


def active(wish: Json = WISH) -> Json:
    return {**wish, "state": "active", "ends_at": wish["until"]}


def ended(wish: Json = WISH, because: str = "its time is over") -> Json:
    return {**wish, "state": "ended", "because": because}


def heard(*documents: bytes) -> OverrideLog:
    log = OverrideLog()
    for each in documents:
        log.hear(each)
    return log


def test_an_override_is_followed_from_wish_to_end_by_what_the_device_reports() -> None:
    log = heard(
        document(time_s=ASKED_S - 30),
        document(desired=WISH, time_s=ASKED_S - 30, now_s=ASKED_S + 1),
        document(desired=WISH, override=active(), time_s=ASKED_S + 2),
        document(desired=WISH, override=active(), time_s=ASKED_S + 5),
        document(override=ended(), time_s=UNTIL_S),
        document(override=ended(), time_s=UNTIL_S + 60),
    )

    assert log.known() == [
        Override(
            "battery",
            UNTIL_S * 1000,
            asked_ms=ASKED_S * 1000,
            state="ended",
            because="its time is over",
            applied_ms=(ASKED_S + 2) * 1000,
            ended_ms=UNTIL_S * 1000,
        )
    ]
    assert log.standing == []


def test_a_wish_that_nobody_has_answered_stands_until_it_lapses() -> None:
    log = heard(document(desired=WISH, now_s=ASKED_S + 3))
    assert [(one.state, one.applied_ms) for one in log.standing] == [(None, None)]

    log.hear(document(desired=WISH, now_s=UNTIL_S))

    assert log.standing == []
    assert [one.ended_ms for one in log.known()] == [None]


def test_a_suppressed_override_was_not_applied_until_it_is_active() -> None:
    suppressed = {**WISH, "state": "suppressed", "because": "the box is too hot", "ends_at": UNTIL_S}
    log = heard(document(desired=WISH, override=suppressed))
    assert [(one.state, one.because, one.applied_ms) for one in log.standing] == [
        ("suppressed", "the box is too hot", None)
    ]

    log.hear(document(override=ended(), time_s=UNTIL_S))

    assert [(one.applied_ms, one.ended_ms) for one in log.known()] == [(None, UNTIL_S * 1000)]


def test_auto_ends_what_was_in_force_and_is_no_override_itself() -> None:
    log = heard(
        document(desired=WISH, override=active()),
        document(desired=AUTO, override=active()),
        document(override={**AUTO, "state": "ended", "because": "the owner ended it"}, time_s=ASKED_S + 4),
    )

    assert [(one.mode, one.state, one.because, one.ended_ms) for one in log.known()] == [
        ("battery", "ended", "the owner ended it", (ASKED_S + 4) * 1000)
    ]
    assert log.standing == []


def test_the_next_override_ends_the_one_before() -> None:
    other = {"mode": "grid", "until": UNTIL_S + 60}
    log = heard(
        document(desired=WISH, override=active()),
        document(desired=other, override=active()),
        document(desired=other, override=active(other), time_s=ASKED_S + 4),
    )

    assert [(one.mode, one.state, one.ended_ms) for one in log.known()] == [
        ("battery", "ended", (ASKED_S + 4) * 1000),
        ("grid", "active", None),
    ]
    assert [one.mode for one in log.standing] == ["grid"]


def test_while_the_next_wish_is_unanswered_both_stand() -> None:
    other = {"mode": "grid", "until": UNTIL_S + 60}
    log = heard(document(desired=WISH, override=active()), document(desired=other, override=active()))

    assert [(one.mode, one.state) for one in log.standing] == [("grid", None), ("battery", "active")]


def test_one_that_was_over_before_anybody_listened_is_left_out() -> None:
    assert heard(document(desired=WISH, override=ended()), document(override=ended())).known() == []


@pytest.mark.parametrize("wish", [{"mode": "sideways", "until": UNTIL_S}, {"mode": "grid"}, {"mode": 7, "until": "x"}])
def test_a_wish_that_is_none_is_only_refused(wish: Json) -> None:
    log = heard(document(desired=wish, refused="override.mode is wrong"))

    assert (log.known(), log.standing, log.refused) == ([], [], "override.mode is wrong")


def test_what_the_device_does_not_say_is_not_known() -> None:
    nonsense = {"mode": "battery", "until": UNTIL_S, "state": 5, "because": [], "ends_at": "soon"}

    (one,) = heard(document(override=nonsense)).known()

    assert (one.state, one.because, one.ends_at_ms, one.applied_ms) == (None, None, None, None)


class Shadow:
    """A shadow that can be cut; counts how often it was read."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.now_s = 0.0
        self.reads = 0
        self.cut = False

    def read(self) -> bytes | None:
        self.reads += 1
        if self.cut:
            raise NoAnswerError("The shadow does not answer: nobody is there.")
        return self.answer

    def overrides(self) -> ShadowOverrides:
        return ShadowOverrides(self.read, lambda: self.now_s)


def test_the_shadow_is_read_at_most_once_a_second() -> None:
    shadow = Shadow(document(desired=WISH))
    overrides = shadow.overrides()

    for shadow.now_s in (0.0, 0.3, 0.6, 1.0):
        assert len(overrides.now()["standing"]) == 1

    assert shadow.reads == 2


def test_without_an_answer_there_is_none_but_what_was_heard_stays_known() -> None:
    shadow = Shadow(document(desired=WISH))
    overrides = shadow.overrides()
    overrides.look()
    shadow.cut, shadow.now_s = True, 5.0

    with pytest.raises(NoAnswerError, match="does not answer"):
        overrides.now()

    assert len(overrides.known()) == 1


def test_a_thing_without_a_shadow_has_no_overrides() -> None:
    assert Shadow(None).overrides().now() == {"standing": [], "refused": None}


@pytest.mark.parametrize("answer", [b"", b"[]", b"nonsense"])
def test_what_is_no_shadow_is_no_answer(answer: bytes) -> None:
    with pytest.raises(NoAnswerError, match="cannot be read"):
        Shadow(answer).overrides().now()


class BrokenShadow:
    """iot-data that answers every question with the same error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_thing_shadow(self, **_: str) -> Json:
        raise self._error


def account_with(iot_data: object) -> EmulatedAccount:
    account = EmulatedAccount("http://127.0.0.1:1")
    account.__dict__["iot_data"] = iot_data
    return account


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetThingShadow")


def test_where_there_is_no_shadow_nothing_is_read() -> None:
    account = account_with(BrokenShadow(refusal("ResourceNotFoundException")))

    assert reader(account, "shed")() is None


@pytest.mark.parametrize("error", [refusal("ThrottlingException"), EndpointConnectionError(endpoint_url="http://x")])
def test_a_shadow_that_aws_does_not_give_is_no_answer_in_one_sentence(error: Exception) -> None:
    with pytest.raises(NoAnswerError, match=r"^The shadow cannot be read: AWS .*[^.]\.$"):
        reader(account_with(BrokenShadow(error)), "shed")()


def test_two_overrides_that_differ_in_nothing_but_their_end_are_two() -> None:
    (one,) = heard(document(desired=WISH)).known()

    assert one.key != replace(one, until_ms=one.until_ms + 1000).key
