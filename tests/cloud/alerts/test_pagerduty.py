"""The client against PagerDuty over HTTP. Nobody waits: the clock is moved on by waiting, and the limits are small."""

import email.utils
import json
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cloud.alerts import http_answer
from cloud.alerts.errors import PagerDutyBusy, PagerDutyRefused
from cloud.alerts.incidents import Page, Raise
from cloud.alerts.pagerduty import MOST_TRIES, PagerDuty, event_of
from contract.alerts import Severity
from demo.pagerduty import Answer, Trouble, errors_of
from demo.pagerduty import PagerDuty as Peer
from tests.cloud.alerts.conftest import KEY, Waiting
from tests.peers.certificates import authority_pem, server_certificate

LOW = Raise("Shed battery is low", Severity.WARNING, 1_795_464_000_123, {"battery_voltage_v": 47.9})
TRIGGER = Page("shed/battery_low", True, "shed", "battery_low", LOW)
RESOLVE = Page("shed/battery_low", False, "shed", "battery_low", LOW)


class Keys:
    """Gives the keys one after the other, each until it is asked for a change."""

    def __init__(self, *keys: str) -> None:
        self._keys = list(keys)
        self.asked = 0

    def get(self) -> str:
        return self._keys[0]

    def changed(self) -> bool:
        self.asked += 1
        if len(self._keys) == 1:
            return False
        del self._keys[0]
        return True


Send = Callable[..., None]


@pytest.fixture
def keys() -> Keys:
    return Keys(KEY)


@pytest.fixture
def send(peer: Peer, keys: Keys, waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> Send:
    """Send a page with 20 s left. An answer may take 0.2 s; the longest jitter is what it always is."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    client = PagerDuty(keys, peer.url + "/", sleep=waiting.sleep, monotonic_s=waiting.monotonic_s)
    client.connect_timeout_s, client.read_timeout_s = 1.0, 0.2
    return lambda page=TRIGGER, deadline_s=20.0: client.send(page, deadline_s)


# Events


def test_a_trigger_says_all_that_pagerduty_knows_to_show() -> None:
    assert event_of(TRIGGER, "https://grafana.example/d/shed") == {
        "event_action": "trigger",
        "dedup_key": "shed/battery_low",
        "payload": {
            "summary": "Shed battery is low",
            "source": "shed",
            "severity": "warning",
            "timestamp": "2026-11-23T20:00:00.123+00:00",
            "component": "shed",
            "group": "solarshed",
            "class": "battery_low",
            "custom_details": {"battery_voltage_v": 47.9},
        },
        "client": "Solarshed",
        "client_url": "https://grafana.example/d/shed?var-thing=shed",
        "links": [{"href": "https://grafana.example/d/shed?var-thing=shed", "text": "Dashboard of shed"}],
    }


def test_a_dashboard_that_has_a_query_gets_one_more_member() -> None:
    assert event_of(TRIGGER, "https://x.example/?orgId=1")["client_url"] == "https://x.example/?orgId=1&var-thing=shed"


@pytest.mark.parametrize("dashboard_url", [None, ""])
def test_without_a_dashboard_there_is_no_link(dashboard_url: str | None) -> None:
    assert not {"links", "client_url"} & event_of(TRIGGER, dashboard_url).keys()


def test_a_resolve_names_the_incident_only() -> None:
    assert event_of(RESOLVE, "https://x.example") == {"event_action": "resolve", "dedup_key": "shed/battery_low"}


def test_L21_the_largest_event_is_far_below_what_pagerduty_takes() -> None:
    what = Raise("s" * 2000, Severity.INFO, 2**43, {f"m{number}": "x" * 500 for number in range(32)})
    event = event_of(Page(f"{'t' * 64}/flapping/{'a' * 64}", True, "t" * 64, "a" * 64, what))

    assert errors_of({"routing_key": KEY, **event}) == []
    assert len(event["payload"]["summary"]) == 1024
    assert len(json.dumps(event)) < 32 * 1024


# What is taken


def test_a_page_opens_and_resolves_an_incident(peer: Peer, send: Send) -> None:
    send(TRIGGER)
    assert peer.open_incidents == ["shed/battery_low"]

    send(RESOLVE)
    assert peer.open_incidents == []
    assert len(peer.incidents) == 1


# What may be taken later


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_L4_L5_what_fails_now_is_tried_again(peer: Peer, send: Send, waiting: Waiting, status: int) -> None:
    peer.answer_badly(Answer(status), times=3)

    send()

    assert waiting.waits_s == [1.0, 2.0, 4.0]
    assert [event.dedup_key for event in peer.events] == ["shed/battery_low"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_L4_L5_after_four_tries_the_message_is_delivered_again(
    peer: Peer, send: Send, waiting: Waiting, keys: Keys, status: int
) -> None:
    peer.answer_badly(Answer(status), times=None)

    with pytest.raises(PagerDutyBusy, match=str(status)):
        send()

    assert (peer.requests, waiting.waits_s) == (MOST_TRIES, [1.0, 2.0, 4.0])
    assert keys.asked == 0


def test_L4_waits_have_jitter(peer: Peer, waiting: Waiting) -> None:
    peer.answer_badly(Answer(429), times=3)

    PagerDuty(Keys(KEY), peer.url, sleep=waiting.sleep, monotonic_s=waiting.monotonic_s).send(TRIGGER, 20.0)

    for wait_s, longest_s in zip(waiting.waits_s, [1.0, 2.0, 4.0], strict=True):
        assert longest_s / 2 <= wait_s <= longest_s


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("retry_after", "wait_s"), [("7", 7.0), ("0", 1.0), ("-5", 1.0), ("soon", 1.0), ("²", 1.0)])
def test_L4_retry_after_is_honoured(
    peer: Peer, send: Send, waiting: Waiting, status: int, retry_after: str, wait_s: float
) -> None:
    peer.answer_badly(Answer(status, {"Retry-After": retry_after.encode().decode("latin-1")}))

    send()

    assert waiting.waits_s == [wait_s]


@pytest.mark.parametrize(("ahead_s", "low_s", "high_s"), [(10, 8.0, 10.0), (-10, 1.0, 1.0)])
def test_L4_retry_after_may_be_a_date(
    peer: Peer, send: Send, waiting: Waiting, ahead_s: int, low_s: float, high_s: float
) -> None:
    at = email.utils.format_datetime(datetime.fromtimestamp(time.time() + ahead_s, UTC), usegmt=True)
    peer.answer_badly(Answer(429, {"Retry-After": at}))

    send()

    (wait_s,) = waiting.waits_s
    assert low_s <= wait_s <= high_s


@pytest.mark.parametrize("retry_after", ["20", "3600", "9" * 400])
def test_L4_a_wait_beyond_the_deadline_is_left_to_the_queue(
    peer: Peer, send: Send, waiting: Waiting, retry_after: str
) -> None:
    peer.answer_badly(Answer(429, {"Retry-After": retry_after}))

    with pytest.raises(PagerDutyBusy):
        send()

    assert (peer.requests, waiting.waits_s) == (1, [])


@pytest.mark.parametrize(
    ("deadline_s", "tries"), [(0.4, 0), (0.5, 1), (1.4, 1), (1.5, 2), (3.4, 2), (3.5, 3), (7.5, 4)]
)
def test_L4_no_try_and_no_wait_is_begun_beyond_the_deadline(
    peer: Peer, send: Send, waiting: Waiting, deadline_s: float, tries: int
) -> None:
    peer.answer_badly(Answer(503), times=None)

    with pytest.raises(PagerDutyBusy):
        send(deadline_s=deadline_s)

    assert peer.requests == tries
    assert waiting.now_s <= deadline_s


def test_L5_a_try_is_given_no_more_than_the_time_that_is_left(peer: Peer) -> None:
    peer.answer_badly(Trouble.TAKEN_THEN_SILENT)
    client = PagerDuty(Keys(KEY), peer.url)
    began_s = time.monotonic()

    with pytest.raises(PagerDutyBusy):
        client.send(TRIGGER, began_s + 0.6)

    assert time.monotonic() - began_s < 1.5


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble.RESET,
        Trouble.CLOSED,
        Trouble.NOT_JSON,
        Trouble.NO_DEDUP_KEY,
        Trouble.SLOW_HEAD,
        Trouble.SLOW_BODY,
        Trouble.ENDLESS_BODY,
        Answer(200),
        Answer(204),
        Answer(202, body=""),
        Answer(202, body="[]"),
        Answer(202, body='{"dedup_key": 5}'),
        Answer(202, body="[" * 15_000),
    ],
    ids=str,
)
def test_L5_L7_what_is_not_confirmed_is_tried_again(
    peer: Peer, send: Send, waiting: Waiting, trouble: Trouble | Answer
) -> None:
    peer.answer_badly(trouble)
    began_s = time.monotonic()

    send()

    assert time.monotonic() - began_s < 2.0
    assert waiting.waits_s == [1.0]
    assert peer.incidents[0].count == 1


def test_L5_over_tls_an_answer_is_given_up_too(
    peer: Peer, waiting: Waiting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "server.pem").write_bytes(server_certificate().pem + server_certificate().private_key)
    (tmp_path / "ca.pem").write_bytes(authority_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    peer._server.socket = context.wrap_socket(peer._server.socket, server_side=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    url = peer.url.replace("http:", "https:")
    client = PagerDuty(Keys(KEY), url, sleep=waiting.sleep, monotonic_s=waiting.monotonic_s)
    client.read_timeout_s = 0.2
    peer.answer_badly(Trouble.SLOW_BODY, times=2)

    client.send(TRIGGER, 20.0)

    assert (peer.requests, len(waiting.waits_s)) == (3, 2)
    assert peer.open_incidents == ["shed/battery_low"]


@pytest.mark.parametrize("trouble", [Trouble.TAKEN_THEN_SILENT, Trouble.TAKEN_THEN_RESET])
def test_L3_what_pagerduty_took_without_saying_so_joins_the_same_incident(
    peer: Peer, send: Send, trouble: Trouble
) -> None:
    peer.answer_badly(trouble)

    send()

    (incident,) = peer.incidents
    assert incident.count == 2


def test_L5_an_endless_answer_is_not_read_to_its_end(peer: Peer, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    readinto = http_answer._Reader.readinto

    def count(reader: http_answer._Reader, buffer: Any) -> int | None:  # noqa: ANN401 - handed on
        read.append(readinto(reader, buffer) or 0)
        return read[-1]

    monkeypatch.setattr(http_answer._Reader, "readinto", count)
    peer.answer_badly(Trouble.ENDLESS_BODY, times=None)

    with pytest.raises(PagerDutyBusy):
        send(deadline_s=0.9)

    assert 16 * 1024 <= sum(read) < 32 * 1024


def test_L5_a_slow_answer_is_given_up_between_two_bytes_too() -> None:
    client, server = socket.socketpair()
    client.settimeout(0.01)
    raw = client.makefile("rb", buffering=0)
    reader = http_answer._Reader(raw, client)
    server.sendall(b"HTTP")
    time.sleep(0.02)

    with pytest.raises(TimeoutError, match="too long"):
        reader.read(1)

    reader.close()
    assert raw.closed
    client.close()
    server.close()


def test_L5_a_silence_is_waited_for_no_longer_than_the_answer_may_take() -> None:
    client, server = socket.socketpair()
    client.settimeout(0.1)
    raw = client.makefile("rb", buffering=0)
    reader = http_answer._Reader(raw, client)
    time.sleep(0.05)

    with pytest.raises(TimeoutError):
        reader.read(1)

    # What is left of the time, not all of it once more.
    assert (client.gettimeout() or 1.0) <= 0.05
    reader.close()
    client.close()
    server.close()


def test_L5_a_port_that_nobody_listens_on_is_tried_again(peer: Peer, send: Send, waiting: Waiting) -> None:
    peer.close()

    with pytest.raises(PagerDutyBusy, match="cannot be reached"):
        send()

    assert len(waiting.waits_s) == MOST_TRIES - 1


def test_L5_a_name_that_is_not_resolved_is_tried_again(waiting: Waiting) -> None:
    client = PagerDuty(Keys(KEY), "http://pagerduty.invalid", sleep=waiting.sleep, monotonic_s=waiting.monotonic_s)

    with pytest.raises(PagerDutyBusy, match="cannot be reached"):
        client.send(TRIGGER, 20.0)

    assert len(waiting.waits_s) == MOST_TRIES - 1


def test_a_connection_is_used_again_and_survives_its_end(peer: Peer, send: Send) -> None:
    send()
    peer.answer_badly(Trouble.CLOSED)
    send()
    send()

    assert peer.incidents[0].count == 3


# What is refused


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 413])
def test_L6_what_is_refused_is_not_tried_again(
    peer: Peer, send: Send, waiting: Waiting, keys: Keys, status: int
) -> None:
    answer = Answer(status, {"Location": peer.url}, '{"errors": ["because\\n"]}')
    peer.answer_badly(answer, times=None)

    with pytest.raises(PagerDutyRefused, match=rf"{status}.*because"):
        send()

    assert (peer.requests, waiting.waits_s, keys.asked) == (1, [], 1)


def test_L17_a_refused_event_is_sent_once_more_with_another_key(peer: Peer, waiting: Waiting) -> None:
    keys = Keys("0" * 32, KEY)

    PagerDuty(keys, peer.url, sleep=waiting.sleep).send(TRIGGER, time.monotonic() + 20.0)

    assert (peer.requests, keys.asked) == (2, 1)
    assert peer.open_incidents == ["shed/battery_low"]


def test_L17_if_the_other_key_is_refused_too_there_is_no_third_one(peer: Peer) -> None:
    keys = Keys("0" * 32, "1" * 32, KEY)

    with pytest.raises(PagerDutyRefused):
        PagerDuty(keys, peer.url).send(TRIGGER, time.monotonic() + 20.0)

    assert (peer.requests, keys.asked) == (2, 1)


@pytest.mark.parametrize("bad", [Answer(400, body=f"bad key {KEY}"), Answer(401, body=KEY), Answer(503), Trouble.RESET])
def test_the_routing_key_is_in_no_error_and_no_log(
    peer: Peer, send: Send, caplog: pytest.LogCaptureFixture, bad: Answer | Trouble
) -> None:
    caplog.set_level(logging.DEBUG)
    peer.answer_badly(bad, times=None)

    with pytest.raises((PagerDutyBusy, PagerDutyRefused)) as raised:
        send()

    shown = repr(raised.value) + "".join(record.getMessage() for record in caplog.records)
    assert KEY not in shown
    assert KEY[-4:] not in shown


def test_pdpyras_is_not_heard_of(peer: Peer, send: Send, caplog: pytest.LogCaptureFixture) -> None:
    peer.answer_badly(Answer(429), times=None)

    with pytest.raises(PagerDutyBusy):
        send()

    assert [record for record in caplog.records if record.name == "pdpyras"] == []
