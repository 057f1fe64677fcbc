"""Uplink's side of the shadow on a virtual clock, between a line that records and a cloud that the test plays."""

import json
import logging
from itertools import pairwise
from typing import Any

import pytest

from contract.shadow import MAX_DOCUMENT_BYTES, Mode, OverrideState, Wish
from device.uplink.pace import Pace
from device.uplink.shadow import (
    ANSWER_TIMEOUT_S,
    LEAST_RETRY_S,
    LEAST_TIME_BETWEEN_GETS_S,
    LEAST_TIME_BETWEEN_REPORTS_S,
    REPORT_EVERY_S,
    SUBSCRIBE_AGAIN_AFTER_S,
    Asked,
    Shadow,
)

UNTIL = 1_795_460_000
GRID = {"mode": "grid", "until": UNTIL}
TOPIC = "$aws/things/shed/shadow/"
ANSWERS = ["get/accepted", "get/rejected", "update/accepted", "update/rejected", "update/delta", "delete/accepted"]


class Cloud:
    """Answers when the test says so; keeps what was asked."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.subscriptions: list[list[str]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.version = 7
        self.desired: object = None
        self.shadow = Shadow("shed", self, Pace())

    def publish(self, topic: str, payload: str, token: object) -> None:
        assert topic == f"{TOPIC}{token}"
        assert len(payload) <= MAX_DOCUMENT_BYTES
        self.asked.append((str(token), json.loads(payload)))

    def subscribe(self, filters: list[str]) -> None:
        self.subscriptions.append(filters)

    # What the test does

    def tick(self, seconds: float = 0.0) -> list[tuple[str, dict[str, Any]]]:
        """What is asked after so long."""
        self.now_s += seconds
        before = len(self.asked)
        self.shadow.tick(self.now_s)
        return self.asked[before:]

    def ticks(self, seconds: float, step_s: float = 0.5) -> list[str]:
        """What is asked in that time without an answer."""
        asked: list[str] = []
        for _ in range(round(seconds / step_s)):
            asked += [what for what, _ in self.tick(step_s)]
        return asked

    def available(self) -> bool:
        return self.shadow.is_available

    def connect(self) -> None:
        self.shadow.connected()
        self.shadow.subscribed(None, self.now_s)

    def say(self, what: str, message: object) -> None:
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.shadow.hear(TOPIC + what, payload, self.now_s)

    def delta(self) -> None:
        self.say("update/delta", {"version": self.version, "state": {"override": self.desired}})

    def answer_get(self, **more: object) -> None:
        token = next(message["clientToken"] for what, message in reversed(self.asked) if what == "get")
        state = {} if self.desired is None else {"desired": self.desired}
        self.say("get/accepted", {"state": state, "version": self.version, "clientToken": token} | more)

    def accept(self) -> None:
        what, message = self.asked[-1]
        assert what == "update"
        self.version += 1
        self.say("update/accepted", {"version": self.version, "clientToken": message["clientToken"]})

    def reject(self, code: int) -> None:
        what, message = self.asked[-1]
        self.say(f"{what}/rejected", {"code": code, "message": "no", "clientToken": message["clientToken"]})

    def wish(self, override: object, **more: object) -> None:
        """The owner writes, and the device looks."""
        self.desired = {"override": override} | more
        self.version += 1
        self.delta()
        self.tick(LEAST_TIME_BETWEEN_GETS_S)
        self.answer_get()

    def control(self, **values: object) -> None:
        report: dict[str, Any] = {"position": "battery", "reason": "hold", "mode": "auto", "override": None}
        report |= {"time": 1, "readings": {}, "heard": self.shadow.wish_number}
        self.shadow.report(report | values)

    def control_says(self, override: dict[str, Any], state: OverrideState) -> None:
        self.control(override={"until": None} | override | {"state": state, "ends_at": None, "because": None})


@pytest.fixture
def cloud() -> Cloud:
    """Connected, subscribed, nothing desired, and the first report acknowledged."""
    cloud = Cloud()
    cloud.connect()
    cloud.tick()
    cloud.answer_get()
    cloud.control()
    assert [what for what, _ in cloud.tick()] == ["update"]
    cloud.accept()
    return cloud


# Hearing


def test_H15_each_connection_subscribes_and_then_asks_what_stands_there() -> None:
    cloud = Cloud()
    for number in (1, 2):
        cloud.shadow.connected()
        assert cloud.tick() == []
        cloud.shadow.subscribed(None, cloud.now_s)

        assert [what for what, _ in cloud.tick()] == ["get"]
        assert len(cloud.subscriptions) == number

    assert cloud.subscriptions[0] == [f"{TOPIC}{what}" for what in ANSWERS]


def test_a_wish_is_known_when_the_answer_has_come(cloud: Cloud) -> None:
    assert (cloud.shadow.knows_wish, cloud.shadow.wish) == (True, None)

    cloud.wish(GRID)

    assert cloud.shadow.wish == Wish(Mode.GRID, float(UNTIL))


def test_C4_what_time_it_is_in_the_cloud_is_known_with_each_answer(cloud: Cloud) -> None:
    cloud.version += 1
    cloud.delta()
    cloud.tick(LEAST_TIME_BETWEEN_GETS_S)
    asked_s = cloud.now_s
    cloud.now_s += 5.0  # a slow line: whoever counted from now would end an override too late
    cloud.answer_get(timestamp=1_795_450_000)

    assert cloud.shadow.cloud_time == (1_795_450_000, asked_s)


def test_H15_a_delta_that_was_lost_is_made_up_for_at_the_next_connection(cloud: Cloud) -> None:
    cloud.desired = {"override": GRID}
    cloud.version += 1
    cloud.shadow.lost()
    cloud.connect()
    cloud.tick()
    cloud.answer_get()

    assert cloud.shadow.wish == Wish(Mode.GRID, float(UNTIL))


def test_a_delta_that_was_lost_is_made_up_for_when_a_report_shows_that_something_has_changed(cloud: Cloud) -> None:
    cloud.desired = {"override": GRID}
    cloud.version += 1
    cloud.control(reason="battery_low")
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.accept()

    assert [what for what, _ in cloud.tick(LEAST_TIME_BETWEEN_GETS_S)] == ["get"]


def test_H14_where_there_is_no_shadow_the_rules_decide_and_one_is_made() -> None:
    cloud = Cloud()
    cloud.connect()
    cloud.tick()
    cloud.control()
    cloud.reject(404)

    ((what, message),) = cloud.tick()

    assert (cloud.shadow.knows_wish, cloud.shadow.wish) == (True, None)
    assert what == "update"
    assert message["state"]["reported"]["position"] == "battery"


def test_H5_a_delta_of_the_version_that_is_known_asks_nothing(cloud: Cloud) -> None:
    for _ in range(10):
        cloud.delta()

    assert cloud.ticks(10) == []


def test_H5_an_answer_that_nobody_waits_for_changes_nothing(cloud: Cloud) -> None:
    cloud.desired = {"override": GRID}
    cloud.answer_get()  # a duplicate of the one before
    cloud.say("get/accepted", {"state": {"desired": cloud.desired}, "version": 999})

    assert cloud.shadow.wish is None


def test_H5_an_answer_to_an_earlier_question_is_not_taken_for_the_present_one(cloud: Cloud) -> None:
    cloud.version += 1
    cloud.delta()
    cloud.tick(LEAST_TIME_BETWEEN_GETS_S)
    cloud.desired = {"override": GRID}
    cloud.answer_get(clientToken="uplink-1")
    assert cloud.shadow.wish is None

    cloud.answer_get()

    assert cloud.shadow.wish == Wish(Mode.GRID, float(UNTIL))


def test_H6_a_shadow_that_was_made_anew_is_taken_as_it_is(cloud: Cloud) -> None:
    cloud.version = 0
    cloud.wish(GRID)
    assert cloud.shadow.wish == Wish(Mode.GRID, float(UNTIL))

    cloud.wish({"mode": "auto"})

    assert cloud.version == 2
    assert cloud.shadow.wish == Wish(Mode.AUTO, None)


def test_what_makes_no_delta_is_asked_for_when_somebody_has_written_it(cloud: Cloud) -> None:
    cloud.wish(GRID)
    cloud.desired = None  # taken away: nothing is left that could differ
    cloud.version += 1
    cloud.say("update/accepted", {"state": {"desired": {"override": None}}, "version": cloud.version})

    cloud.tick(LEAST_TIME_BETWEEN_GETS_S)
    cloud.answer_get()

    assert (cloud.shadow.knows_wish, cloud.shadow.wish) == (True, None)


def test_H6_a_shadow_that_is_deleted_takes_the_wish_along(cloud: Cloud) -> None:
    cloud.wish(GRID)
    cloud.say("delete/accepted", {"version": cloud.version, "timestamp": 1})

    cloud.tick(LEAST_TIME_BETWEEN_GETS_S)
    cloud.reject(404)

    assert (cloud.shadow.knows_wish, cloud.shadow.wish) == (True, None)


def test_H12_a_storm_of_deltas_is_one_question_a_second_and_the_last_word_counts(cloud: Cloud) -> None:
    questions = 0
    for number in range(1000):
        cloud.version += 1
        cloud.desired = {"override": {"mode": "grid", "until": UNTIL + number}}
        cloud.delta()
        questions += len(cloud.tick(0.01))
        if cloud.shadow._get is not None:  # the cloud answers at once
            cloud.answer_get()
    cloud.tick(LEAST_TIME_BETWEEN_GETS_S)
    cloud.answer_get()

    assert questions <= 11
    assert cloud.shadow.wish == Wish(Mode.GRID, float(UNTIL + 999))


def test_H11_one_question_at_a_time_and_again_when_it_was_not_answered(cloud: Cloud) -> None:
    cloud.version += 1
    cloud.delta()

    assert cloud.ticks(ANSWER_TIMEOUT_S) == ["get"]
    assert cloud.ticks(LEAST_RETRY_S + 1.5) == ["get"]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b'{"state":{"desired":{"override":{"mode":"grid","until":NaN}}}}',
        b'{"state":{"desired":{"override":{"mode":"grid","mode":"battery","until":1795460000}}}}',
        b'{"state":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"state":"' + b"x" * 1_000_000 + b'"}',
    ],
)
def test_H3_H4_a_document_that_cannot_be_read_is_refused_once_and_changes_nothing(
    payload: bytes, cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.wish(GRID)
    cloud.version += 1
    cloud.delta()
    cloud.tick(LEAST_TIME_BETWEEN_GETS_S)

    cloud.say("get/accepted", payload)
    ((what, message),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.accept()

    assert what == "update"
    assert message["state"]["reported"]["refused"]["because"].startswith("the document ")
    assert cloud.shadow.wish == Wish(Mode.GRID, float(UNTIL))
    assert len([record for record in caplog.records if "refused" in record.message]) == 1


@pytest.mark.parametrize("override", ["on", 1, True, [], {"mode": "on", "until": UNTIL}, {"mode": "grid"}])
def test_H2_H13_a_malformed_wish_is_refused_once_changes_nothing_and_stays(override: object, cloud: Cloud) -> None:
    cloud.wish(GRID)
    cloud.control_says(GRID, OverrideState.ACTIVE)
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.accept()

    cloud.wish(override)
    ((_, refusal),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.accept()
    told = 0
    for _ in range(20):  # each delta again
        cloud.version += 1
        cloud.delta()
        cloud.tick(LEAST_TIME_BETWEEN_GETS_S)
        cloud.answer_get()
        told += [what for what, _ in cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)].count("update")

    assert "override" in refusal["state"]["reported"]["refused"]["because"]
    assert "desired" not in refusal["state"]
    assert cloud.shadow.wish == Wish(Mode.GRID, float(UNTIL))
    assert told == 0


def test_H13_a_refusal_is_taken_back_when_the_owner_has_mended_it(cloud: Cloud) -> None:
    cloud.wish("on")
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.accept()

    cloud.wish(GRID)
    ((_, message),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)

    assert message["state"]["reported"]["refused"] is None


def test_H1_H9_what_means_nothing_is_named_and_the_rest_counts(cloud: Cloud) -> None:
    cloud.wish(GRID | {"why": "guests"}, battery={"low_voltage_v": 10}, interval_s=1)
    ((_, message),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)

    assert message["state"]["reported"]["ignored"] == ["battery", "interval_s", "override.why"]
    assert cloud.shadow.wish == Wish(Mode.GRID, float(UNTIL))


# Saying


def test_a_report_says_what_control_says(cloud: Cloud) -> None:
    _, message = cloud.asked[-1]

    assert message["state"]["reported"] == {
        "position": "battery",
        "reason": "hold",
        "mode": "auto",
        "override": None,
        "time": 1,
        "readings": {},
        "refused": None,
        "ignored": None,
    }
    assert "version" not in message


def test_readings_alone_are_told_once_a_minute(cloud: Cloud) -> None:
    told = []
    for number in range(600):
        cloud.control(time=number, readings={"battery_voltage_v": {"value": number}})
        for what, _ in cloud.tick(0.5):
            told.append(what)
            cloud.accept()

    assert told == ["update"] * 5


def test_what_lasts_is_told_at_once(cloud: Cloud) -> None:
    cloud.control(reason="battery_low")

    assert cloud.tick() == []
    assert [what for what, _ in cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)] == ["update"]


def test_nothing_new_is_not_told_at_all(cloud: Cloud) -> None:
    assert cloud.ticks(3 * REPORT_EVERY_S) == []


def test_H11_one_report_at_a_time_and_the_newest_wins(cloud: Cloud) -> None:
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.control(reason="battery_low")
    cloud.tick()
    for number in range(5):
        cloud.control(reason=f"change {number}")
        assert cloud.tick(1.0) == []
    cloud.accept()

    ((_, message),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)

    assert message["state"]["reported"]["reason"] == "change 4"


@pytest.mark.parametrize("code", [429, 500, 400, 413])
def test_H11_a_report_that_is_refused_is_tried_again_ever_more_rarely(code: int, cloud: Cloud) -> None:
    cloud.control(reason="battery_low")
    times_s = []
    for _ in range(3600 * 2):
        if cloud.tick(0.5):
            times_s.append(cloud.now_s)
            cloud.reject(code)

    pauses_s = [later - earlier for earlier, later in pairwise(times_s)]
    assert pauses_s[:6] == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0]
    assert set(pauses_s[6:]) == {600.0}


def test_a_report_without_an_answer_is_tried_again(cloud: Cloud) -> None:
    cloud.control(reason="battery_low")

    asked = cloud.ticks(LEAST_TIME_BETWEEN_REPORTS_S + ANSWER_TIMEOUT_S + LEAST_RETRY_S)

    assert asked == ["update", "update"]


# Ending


@pytest.mark.parametrize("state", [OverrideState.ENDED, OverrideState.EXPIRED])
@pytest.mark.parametrize("override", [GRID, {"mode": "auto"}, {"mode": "battery", "until": UNTIL + 0.5}])
def test_a_wish_that_is_over_is_removed_at_the_version_that_was_seen(
    override: dict[str, Any], state: OverrideState, cloud: Cloud
) -> None:
    cloud.wish(override)
    cloud.control_says(override, state)

    ((_, message),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    seen = cloud.version
    cloud.accept()

    assert message["state"]["desired"] == {"override": None}
    assert message["version"] == seen
    assert message["state"]["reported"]["override"]["state"] == state
    assert cloud.shadow.wish is None
    assert "update" not in cloud.ticks(10)


@pytest.mark.parametrize("state", [OverrideState.ACTIVE, OverrideState.SUPPRESSED, OverrideState.WAITING])
def test_a_wish_that_is_not_over_stays(state: OverrideState, cloud: Cloud) -> None:
    cloud.wish(GRID)
    cloud.control_says(GRID, state)

    ((_, message),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)

    assert "desired" not in message["state"]


def test_a_wish_that_control_has_not_seen_yet_is_not_removed_for_the_one_before(cloud: Cloud) -> None:
    cloud.wish(GRID)
    cloud.control_says(GRID | {"until": UNTIL - 1}, OverrideState.ENDED)

    ((_, message),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)

    assert "desired" not in message["state"]


def test_H10_a_wish_like_one_that_the_owner_ended_is_not_removed_for_what_became_of_that(cloud: Cloud) -> None:
    cloud.wish(GRID)
    cloud.control_says(GRID, OverrideState.ACTIVE)
    cloud.wish(None)
    cloud.control_says(GRID, OverrideState.ENDED)
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.accept()

    cloud.wish(GRID)
    updates = [message for what, message in cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S) if what == "update"]

    assert all("desired" not in message["state"] for message in updates)
    assert cloud.shadow.wish == Wish(Mode.GRID, float(UNTIL))


def test_H10_a_conflict_is_followed_by_a_look_and_one_more_try_with_the_new_version(cloud: Cloud) -> None:
    cloud.wish(GRID)
    cloud.control_says(GRID, OverrideState.ENDED)
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.version += 1
    cloud.reject(409)

    assert [what for what, _ in cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)] == ["get"]
    cloud.answer_get()
    ((_, message),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)

    assert message["version"] == cloud.version
    assert message["state"]["desired"] == {"override": None}


def test_H10_a_new_wish_that_came_in_between_is_not_removed(cloud: Cloud) -> None:
    cloud.wish(GRID)
    cloud.control_says(GRID, OverrideState.ENDED)
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.version += 1
    cloud.desired = {"override": {"mode": "battery", "until": UNTIL + 1}}
    cloud.reject(409)
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.answer_get()

    ((_, message),) = cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)

    assert "desired" not in message["state"]
    assert cloud.shadow.wish == Wish(Mode.BATTERY, UNTIL + 1.0)


def test_H10_conflicts_without_end_make_no_loop_and_the_report_gets_through(cloud: Cloud) -> None:
    cloud.wish(GRID)
    cloud.control_says(GRID, OverrideState.ENDED)
    clearing, plain = 0, 0
    for _ in range(600):
        for what, message in cloud.tick(0.5):
            if what == "get":
                cloud.answer_get()
            elif "version" in message:
                clearing += 1
                cloud.version += 1
                cloud.reject(409)
            else:
                plain += 1
                cloud.accept()

    assert clearing <= 2 * 6
    assert plain >= 1


# What goes wrong


def test_N9_without_the_subscription_nothing_is_asked_it_is_told_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cloud = Cloud()
    cloud.shadow.connected()
    cloud.shadow.subscribed("refused: x (NOT_AUTHORIZED)", cloud.now_s)

    assert not cloud.available()
    assert cloud.ticks(SUBSCRIBE_AGAIN_AFTER_S - 1) == []
    assert len(cloud.subscriptions) == 1
    cloud.tick(1.0)
    assert len(cloud.subscriptions) == 2
    cloud.shadow.subscribed(None, cloud.now_s)
    assert cloud.available()
    assert [what for what, _ in cloud.tick()] == ["get"]
    assert "NOT_AUTHORIZED" in caplog.text
    assert "policy is attached" in caplog.text


def test_a_shadow_that_never_answers_is_unavailable_until_it_does(cloud: Cloud) -> None:
    cloud.version += 1
    cloud.delta()
    cloud.ticks(60)
    assert cloud.available()
    cloud.ticks(20)
    assert not cloud.available()

    while not cloud.tick(1.0):
        pass
    cloud.answer_get()

    assert cloud.available()


@pytest.mark.parametrize("code", [429, 500, 403])
def test_H11_a_question_that_is_refused_is_asked_again_later(code: int, cloud: Cloud) -> None:
    cloud.version += 1
    cloud.delta()
    cloud.tick(LEAST_TIME_BETWEEN_GETS_S)
    cloud.reject(code)

    assert cloud.ticks(LEAST_RETRY_S - 1) == []
    assert cloud.ticks(1.5) == ["get"]


def test_a_publish_that_the_broker_refuses_is_told_and_tried_again(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.control(reason="battery_low")
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)

    with caplog.at_level(logging.WARNING):
        cloud.shadow.settle(Asked.UPDATE, "publish to x refused: NOT_AUTHORIZED", refused=True, now_s=cloud.now_s)

    assert "NOT_AUTHORIZED" in caplog.text
    assert cloud.ticks(LEAST_RETRY_S) == ["update"]


def test_what_was_under_way_when_the_connection_ended_is_asked_again_on_the_next_one(cloud: Cloud) -> None:
    cloud.control(reason="battery_low")
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)
    cloud.shadow.lost()
    assert cloud.ticks(60) == []

    cloud.connect()
    assert [what for what, _ in cloud.tick()] == ["get"]
    cloud.answer_get()
    ((_, message),) = cloud.tick()

    assert message["state"]["reported"]["reason"] == "battery_low"


@pytest.mark.parametrize("topic", ANSWERS)
@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"version":"x","state":[],"clientToken":{}}', b"\xff"])
def test_H4_nothing_that_is_said_makes_it_fail(topic: str, payload: bytes, cloud: Cloud) -> None:
    cloud.version += 1
    cloud.delta()
    cloud.control(reason="battery_low")
    cloud.tick(LEAST_TIME_BETWEEN_REPORTS_S)

    cloud.say(topic, payload)
    cloud.shadow.hear("another/topic", payload, cloud.now_s)

    cloud.ticks(5)
    assert cloud.shadow.wish is None
