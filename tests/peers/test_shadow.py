"""The shadow itself, asked by a bare client as a device asks AWS IoT's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.broker import ScriptedBroker
from tests.peers.client import BareClient
from tests.peers.shadow import ScriptedShadow, difference, merged

ANSWERS = ("get/accepted", "get/rejected", "update/accepted", "update/rejected", "update/delta", "delete/accepted")


class Device:
    """A client that has subscribed to every answer."""

    def __init__(self, broker: ScriptedBroker, client: BareClient) -> None:
        self.shadow = ScriptedShadow(broker, "shed")
        self._broker = broker
        self._client = client
        client.subscribe(*(f"$aws/things/shed/shadow/{answer}" for answer in ANSWERS))

    def get(self) -> None:
        self._client.publish("$aws/things/shed/shadow/get", b'{"clientToken": "t1"}')

    def update(self, **request: Any) -> None:  # noqa: ANN401 - any JSON
        self._client.publish("$aws/things/shed/shadow/update", json.dumps(request).encode())

    def raw(self, count: int) -> list[tuple[str, bytes]]:
        """Wait for so many answers; return the topics' ends and the payloads, and forget them."""
        messages = self._client.messages
        self._broker.wait_until(lambda: len(messages) >= count)
        heard = [(topic.removeprefix("$aws/things/shed/shadow/"), payload) for topic, payload in messages]
        messages.clear()
        return heard

    def heard(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        return [(what, json.loads(payload)) for what, payload in self.raw(count)]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with ScriptedBroker() as broker, BareClient(broker.uplink(tmp_path), "shed") as client:
        yield Device(broker, client)


def test_there_is_none_until_somebody_updates_it(device: Device) -> None:
    device.get()
    [(what, answer)] = device.heard(1)

    assert (what, answer["code"], answer["clientToken"]) == ("get/rejected", 404, "t1")

    device.update(state={"reported": {"position": "grid"}}, clientToken="t2")
    [(what, answer)] = device.heard(1)

    assert (what, answer["version"], answer["clientToken"]) == ("update/accepted", 1, "t2")
    assert answer["state"] == {"reported": {"position": "grid"}}

    device.get()
    [(what, answer)] = device.heard(1)

    assert (what, answer["version"]) == ("get/accepted", 1)
    assert answer["state"] == {"reported": {"position": "grid"}}
    assert answer["metadata"]["reported"]["position"]["timestamp"] == answer["timestamp"]


def test_a_wish_is_a_delta_until_it_is_reported_or_removed(device: Device) -> None:
    device.shadow.wish({"override": {"mode": "grid", "until": 5}})
    [accepted, delta] = device.heard(2)

    assert (accepted[0], delta[0]) == ("update/accepted", "update/delta")
    assert delta[1]["state"] == {"override": {"mode": "grid", "until": 5}}
    assert delta[1]["version"] == 1

    device.update(state={"reported": {"override": {"mode": "grid", "state": "active"}}})
    [_, (what, answer)] = device.heard(2)

    assert (what, answer["state"]) == ("update/delta", {"override": {"until": 5}})

    device.update(state={"desired": {"override": None}})
    [(what, _)] = device.heard(1)
    assert what == "update/accepted"
    assert device.shadow.desired == {}


def test_an_update_of_another_version_is_rejected_and_changes_nothing(device: Device) -> None:
    device.shadow.wish({"a": 1})
    device.heard(2)

    device.update(state={"reported": {"a": 1}}, version=7, clientToken="t")
    [(what, answer)] = device.heard(1)

    assert (what, answer["code"], answer["clientToken"]) == ("update/rejected", 409, "t")
    assert (device.shadow.version, device.shadow.reported) == (1, {})
    assert [request.code for request in device.shadow.updates] == [409]

    device.update(state={"reported": {"a": 1}}, version=1)
    assert device.heard(1)[0][0] == "update/accepted"


def test_too_much_or_no_json_is_rejected(device: Device) -> None:
    device.update(state={"reported": {"a": "x" * 9000}})
    device.update(state={"reported": {"a": float("nan")}})
    device.update(state=None)

    assert [answer["code"] for _, answer in device.heard(3)] == [413, 400, 400]
    assert not device.shadow.exists


def test_deleted_it_goes_on_counting_or_begins_anew(device: Device) -> None:
    device.shadow.wish({"a": 1})
    device.shadow.wish({"a": 2})
    device.shadow.delete()
    device.get()
    assert [what for what, _ in device.heard(6)][-2:] == ["delete/accepted", "get/rejected"]

    device.shadow.wish({"a": 3})
    assert device.heard(2)[1][1]["version"] == 3

    device.shadow.delete(forgets_version=True)
    device.shadow.wish({"a": 4})
    assert device.heard(3)[2][1]["version"] == 1


def test_it_rejects_on_order_and_then_no_more(device: Device) -> None:
    device.shadow.reject_updates(429, times=2)
    device.shadow.reject_gets(500)

    for _ in range(3):
        device.update(state={"reported": {"a": 1}})
    device.get()
    device.get()

    assert [(what, answer.get("code")) for what, answer in device.heard(5)] == [
        ("update/rejected", 429),
        ("update/rejected", 429),
        ("update/accepted", None),
        ("get/rejected", 500),
        ("get/accepted", None),
    ]


def test_it_answers_with_rubbish_once_for_each_order(device: Device) -> None:
    rubbish = [b'{"state": {"desired": {"a": NaN}}}', b'{"a": 1, "a": 2}', b"\xff\xfe", b"[" * 1000, b"x" * (1 << 20)]
    device.shadow.wish({"a": 1})
    device.heard(2)
    device.shadow.answer_gets_with(*rubbish)

    for _ in range(len(rubbish) + 1):
        device.get()
    answers = device.raw(len(rubbish) + 1)

    assert [payload for _, payload in answers[:-1]] == rubbish
    assert json.loads(answers[-1][1])["state"]["desired"] == {"a": 1}


def test_it_says_things_twice_with_another_token_or_an_older_version_or_not_at_all(device: Device) -> None:
    device.shadow.copies = 2
    device.shadow.stale_answer_to = "old"
    device.update(state={"reported": {"a": 1}}, clientToken="new")
    assert [(what, answer["clientToken"]) for what, answer in device.heard(2)] == [("update/accepted", "old")] * 2
    device.shadow.copies = 1

    device.shadow.ignores_gets = device.shadow.ignores_updates = True
    device.get()
    device.update(state={"reported": {"a": 2}})
    device.shadow.send_delta({"b": 1}, version=-3)
    device.shadow.send_raw("update/delta", b"")

    assert [payload[:17] for _, payload in device.raw(2)] == [b'{"state": {"b": 1', b""]
    assert device.shadow.gets[0].code is device.shadow.updates[-1].code is None
    assert device.shadow.reported == {"a": 1}


def test_a_storm_of_deltas(device: Device) -> None:
    device.shadow.storm([{"a": number} for number in range(50)], per_second=500)

    deltas = [answer["version"] for what, answer in device.heard(100) if what == "update/delta"]
    assert deltas == list(range(1, 51))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": 1}, {"a": {"b": None, "c": 2}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, None, {}),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_documents_are_merged(old: dict[str, Any], new: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    assert merged(old, new) == expected


@pytest.mark.parametrize(
    ("desired", "reported", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": True}, {"a": 1}),
    ],
)
def test_the_difference_is_what_is_desired_and_not_so(
    desired: dict[str, Any], reported: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert difference(desired, reported) == expected
