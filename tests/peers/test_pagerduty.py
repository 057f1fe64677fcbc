"""The played PagerDuty keeps to what the real one publishes, and misbehaves as told."""

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from demo.pagerduty import Answer, PagerDuty, Trouble, serve

Json = dict[str, Any]

KEY = "0123456789abcdefABCDEF0123456789"


@pytest.fixture
def peer() -> Iterator[PagerDuty]:
    with serve(time_s=iter(range(1000, 2000)).__next__) as running:
        yield running


def event(action: str = "trigger", dedup_key: str | None = "shed/battery_low", **changes: object) -> Json:
    payload = {"summary": "low", "source": "shed", "severity": "warning", "timestamp": "2026-11-23T20:00:00.000+00:00"}
    content: Json = {"routing_key": KEY, "event_action": action, "dedup_key": dedup_key, "payload": payload, **changes}
    return {name: value for name, value in content.items() if value is not None}


def post(peer: PagerDuty, body: Json | bytes, timeout_s: float = 5.0) -> tuple[int, bytes, http.client.HTTPMessage]:
    address = urlsplit(peer.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=timeout_s)
    try:
        connection.request("POST", "/v2/enqueue", body if isinstance(body, bytes) else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_a_trigger_opens_an_incident_another_joins_it_and_a_resolve_closes_it(peer: PagerDuty) -> None:
    for action in ("trigger", "trigger", "acknowledge", "resolve", "trigger"):
        status, answer, _ = post(peer, event(action))
        assert (status, json.loads(answer)["dedup_key"]) == (202, "shed/battery_low")

    first, second = peer.incidents
    assert (first.opened_s, first.acknowledged_s, first.resolved_s, first.count) == (1000, 1002, 1003, 4)
    assert (second.opened_s, second.resolved_s, second.count) == (1004, None, 1)
    assert (first.severity, first.summary) == ("warning", "low")
    assert [each.action for each in peer.events] == ["trigger", "trigger", "acknowledge", "resolve", "trigger"]
    assert peer.open_incidents == ["shed/battery_low"]
    assert (peer.events[0].severity, peer.events[0].summary) == ("warning", "low")
    assert KEY not in repr(peer.events)


def test_a_resolve_of_what_it_does_not_know_does_nothing(peer: PagerDuty) -> None:
    assert post(peer, event("resolve", payload=None))[0] == 202
    assert peer.incidents == []


def test_a_trigger_without_a_dedup_key_gets_one(peer: PagerDuty) -> None:
    _, answer, _ = post(peer, event(dedup_key=None))

    assert peer.open_incidents == [json.loads(answer)["dedup_key"]]


def payload(**changes: object) -> Json:
    return {**event()["payload"], **changes}


WRONG: dict[str, tuple[Json | bytes, str]] = {
    "not JSON": (b"{", "not JSON"),
    "no object": (b"[]", "not an object"),
    "too large": (event(payload=payload(custom_details={"x": "x" * 600_000})), "bytes"),
    "no routing key": (event(routing_key=None), "routing_key"),
    "a short routing key": (event(routing_key="0" * 31), "routing_key"),
    "another action": (event("open"), "event_action"),
    "a resolve without a key": (event("resolve", dedup_key=None), "dedup_key"),
    "a long key": (event(dedup_key="k" * 256), "dedup_key"),
    "no payload": (event(payload=None), "payload"),
    "an empty summary": (event(payload=payload(summary="")), "summary"),
    "a long summary": (event(payload=payload(summary="s" * 1025)), "summary"),
    "no source": (event(payload=payload(source="")), "source"),
    "another severity": (event(payload=payload(severity="loud")), "severity"),
    "another time": (event(payload=payload(timestamp="yesterday")), "timestamp"),
    "a number for a time": (event(payload=payload(timestamp=5)), "timestamp"),
    "a number for a class": (event(payload=payload(**{"class": 5})), "class"),
    "details that are a list": (event(payload=payload(custom_details=[])), "custom_details"),
    "a link to nowhere": (event(links=[{"text": "here"}]), "links"),
    "a client of no text": (event(client=5), "client"),
}


@pytest.mark.parametrize(("body", "word"), WRONG.values(), ids=WRONG)
def test_what_the_schema_forbids_is_400_and_changes_nothing(peer: PagerDuty, body: Json | bytes, word: str) -> None:
    status, answer, _ = post(peer, body)

    assert status == 400
    (error,) = json.loads(answer)["errors"]
    assert word in error
    assert (peer.requests, peer.events, peer.incidents) == (1, [], [])


def test_members_that_are_not_known_are_tolerated(peer: PagerDuty) -> None:
    assert post(peer, event(later="x", links=[{"href": "https://example.org"}], dedup_key="k" * 255))[0] == 202


def test_a_routing_key_that_is_not_known_is_400(peer: PagerDuty) -> None:
    peer.accepted_keys = frozenset({"f" * 32})

    assert post(peer, event())[0] == 400
    assert post(peer, event(routing_key="f" * 32))[0] == 202


def test_it_answers_badly_as_often_as_it_is_told(peer: PagerDuty) -> None:
    peer.answer_badly(Answer(429, {"Retry-After": "3"}), times=2)

    answers = [post(peer, event()) for _ in range(3)]

    assert [(status, headers["Retry-After"]) for status, _, headers in answers] == [(429, "3"), (429, "3"), (202, None)]
    assert len(peer.events) == 1


def test_it_answers_badly_until_it_is_told_otherwise(peer: PagerDuty) -> None:
    peer.answer_badly(Answer(503), times=None)
    assert [post(peer, event())[0] for _ in range(3)] == [503] * 3

    peer.answer_well()
    assert post(peer, event())[0] == 202


@pytest.mark.parametrize(
    ("trouble", "error", "taken"),
    [
        (Trouble.RESET, ConnectionResetError, 0),
        (Trouble.CLOSED, http.client.RemoteDisconnected, 0),
        (Trouble.TAKEN_THEN_RESET, ConnectionResetError, 1),
        (Trouble.TAKEN_THEN_SILENT, TimeoutError, 1),
    ],
)
def test_a_connection_that_breaks_or_hangs(
    peer: PagerDuty, trouble: Trouble, error: type[Exception], taken: int
) -> None:
    peer.answer_badly(trouble)

    with pytest.raises(error) as raised:
        post(peer, event(), timeout_s=0.2)

    assert raised.type is error
    assert len(peer.events) == taken


@pytest.mark.parametrize("trouble", [Trouble.NOT_JSON, Trouble.NO_DEDUP_KEY])
def test_a_202_that_confirms_nothing(peer: PagerDuty, trouble: Trouble) -> None:
    peer.answer_badly(trouble)

    status, answer, _ = post(peer, event())

    assert status == 202
    assert b"dedup_key" not in answer
    assert peer.events == []


@pytest.mark.parametrize("trouble", [Trouble.SLOW_HEAD, Trouble.SLOW_BODY, Trouble.ENDLESS_BODY])
def test_an_answer_that_does_not_end_goes_on_until_it_is_closed(peer: PagerDuty, trouble: Trouble) -> None:
    peer.answer_badly(trouble)
    address = urlsplit(peer.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5.0)
    connection.request("POST", "/v2/enqueue", json.dumps(event()))
    assert connection.sock is not None

    assert len(connection.sock.recv(10)) == 10
    began_s = time.monotonic()
    peer.close()

    assert time.monotonic() - began_s < 2.0
    connection.close()


def test_elsewhere_there_is_nothing_and_what_is_far_too_large_is_not_read(peer: PagerDuty) -> None:
    address = urlsplit(peer.url)
    for path, headers, status in (("/", {}, 404), ("/v2/enqueue", {"Content-Length": str(10**9)}, 413)):
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5.0)
        connection.request("POST", path, None if headers else b"{}", headers)
        assert connection.getresponse().status == status
        connection.close()


def test_it_says_what_it_is_and_may_be_closed_twice() -> None:
    peer = serve()
    assert "listening, 0 incidents" in repr(peer)

    peer.close()
    peer.close()

    assert "closed" in repr(peer)
