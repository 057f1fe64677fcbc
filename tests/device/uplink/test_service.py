"""Uplink as a whole, with a broker that is told how to misbehave: rows N and H, and P8, of the fault catalogue."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contract.alerts import Alert
from contract.messages import MAX_PAYLOAD_BYTES
from contract.shadow import Mode, Wish
from device.mailbox import LETTER_NAME
from device.outbox import Outbox, Stream
from device.uplink import delivery, link, service, shadow
from device.uplink.pace import MOST_BYTES_A_SECOND, MOST_PUBLISHES_A_SECOND
from tests.device.minutes import samples
from tests.device.uplink.serving import ALERT, HEARTBEAT, STATUS, TELEMETRY, THING, Served, sequences
from tests.peers.broker import Answer, HangUp, Publish, ScriptedBroker
from tests.peers.certificates import client_certificate
from tests.peers.client import BareClient
from tests.peers.proxy import TcpProxy

UNTIL = 1_795_460_000
GRID = {"mode": "grid", "until": UNTIL}
BATTERY = {"mode": "battery", "until": UNTIL + 1}
WISH_FOR_GRID = Wish(Mode.GRID, float(UNTIL))
WISH_FOR_BATTERY = Wish(Mode.BATTERY, UNTIL + 1.0)
NOT_AUTHORIZED = 0x87
REFUSED_PAUSE_S = 0.5


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes become fractions of a second, so that a test sees several of them."""
    monkeypatch.setattr(service, "_POLL_S", 0.01)
    monkeypatch.setattr(shadow, "LEAST_TIME_BETWEEN_GETS_S", 0.05)
    monkeypatch.setattr(shadow, "LEAST_TIME_BETWEEN_REPORTS_S", 0.05)
    monkeypatch.setattr(shadow, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(shadow, "LEAST_RETRY_S", 0.2)
    monkeypatch.setattr(shadow, "SUBSCRIBE_AGAIN_AFTER_S", 0.3)
    monkeypatch.setattr(delivery, "REFUSED_PAUSE_S", REFUSED_PAUSE_S)
    monkeypatch.setattr(delivery, "DELETE_EVERY_S", 0.0)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ScriptedBroker() as broker:
        served = Served(tmp_path, broker)
        yield served
        served.close()


@pytest.fixture
def in_force(served: Served) -> Served:
    """Connected, with an override in force that the cloud and control agree about."""
    served.shadow.wish({"override": GRID})
    served.report_override(GRID, "active")
    served.start()
    served.until(lambda: served.wish() == WISH_FOR_GRID)
    served.until(lambda: served.shadow.reported.get("override", {}).get("state") == "active")
    quiet(served)
    return served


def quiet(served: Served) -> None:
    """Wait until nothing is asked or reported any more."""
    asked, since_s = -1, 0.0

    def nothing_new() -> bool:
        nonlocal asked, since_s
        count = len(served.shadow.gets) + len(served.shadow.updates)
        if count != asked:
            asked, since_s = count, time.monotonic()
        return time.monotonic() > since_s + 0.15

    served.until(nothing_new)


def asks_again(served: Served, count: int) -> None:
    """Have it ask `count` more times what stands there, each time because of a delta."""
    for _ in range(count):
        asked = len(served.shadow.gets)
        served.shadow.send_delta({"override": {"mode": "grid"}}, version=served.shadow.version + 100)
        served.until_asked(more_often_than=asked)


# What the owner wishes

UNREADABLE = {
    "NaN": b'{"state":{"desired":{"override":{"mode":"battery","until":NaN}}},"version":9}',
    "duplicate": b'{"state":{"desired":{"override":{"mode":"grid","mode":"battery","until":1795460001}}},"version":9}',
    "1 MB": b'{"state":{"desired":{"override":{"mode":"battery","until":1795460001}},"x":"' + b"x" * 1_000_000 + b'"}}',
    "1000 deep": b'{"state":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "no UTF-8": b'{"state":{"desired":{"override":{"mode":"battery\xff","until":1795460001}}},"version":9}',
}


@pytest.mark.parametrize("payload", UNREADABLE.values(), ids=list(UNREADABLE))
def test_H3_H4_H13_bytes_that_could_be_misread_are_refused_once_and_an_override_goes_on(
    payload: bytes, in_force: Served, caplog: pytest.LogCaptureFixture
) -> None:
    known = len(in_force.shadow.updates)
    in_force.shadow.answer_gets_with(*[payload] * 20)

    in_force.shadow.send_raw("update/delta", payload)
    in_force.until(lambda: "refused" in in_force.shadow.reported)
    quiet(in_force)
    version = in_force.shadow.version
    asks_again(in_force, 3)
    quiet(in_force)

    assert in_force.shadow.reported["refused"]["because"].startswith("the document ")
    assert len(in_force.shadow.updates) == known + 1
    assert in_force.shadow.version == version
    assert in_force.wish() == WISH_FOR_GRID
    assert in_force.shadow.desired == {"override": GRID}
    assert [record.levelno for record in caplog.records if "is refused" in record.message] == [logging.WARNING]


MALFORMED: dict[str, object] = {
    "text": "on",
    "true": True,
    "list": ["grid"],
    "unknown mode": {"mode": "on"},
    "no end": {"mode": "battery", "until": None},
}


@pytest.mark.parametrize("override", MALFORMED.values(), ids=list(MALFORMED))
def test_H2_H13_a_malformed_wish_is_refused_once_and_an_override_goes_on(override: object, in_force: Served) -> None:
    in_force.shadow.wish({"override": override, "interval_s": 5})
    in_force.until(lambda: "refused" in in_force.shadow.reported)
    quiet(in_force)
    version, told = in_force.shadow.version, len(in_force.shadow.updates)
    stands = in_force.shadow.desired
    asks_again(in_force, 3)
    quiet(in_force)

    assert (in_force.shadow.version, len(in_force.shadow.updates)) == (version, told)
    assert in_force.shadow.reported["refused"]["because"].startswith("override")
    assert in_force.shadow.reported["ignored"] == ["interval_s"]
    assert in_force.shadow.desired == stands
    assert in_force.wish() == WISH_FOR_GRID


def test_H5_answers_that_come_twice_late_or_to_another_question_change_nothing(in_force: Served) -> None:
    in_force.shadow.copies = 3
    in_force.shadow.wish({"override": BATTERY})
    in_force.until(lambda: in_force.wish() == WISH_FOR_BATTERY)
    quiet(in_force)
    for version in (1, in_force.shadow.version - 1, in_force.shadow.version):
        in_force.shadow.send_delta({"override": GRID}, version=version)
    quiet(in_force)
    in_force.shadow.send_raw("get/accepted", b'{"state":{"desired":{"override":null}},"version":1}')
    in_force.shadow.send_raw("get/rejected", b'{"code":404,"message":"No shadow exists"}')
    in_force.shadow.send_raw("update/accepted", b'{"version":1}')
    in_force.shadow.copies = 1
    asks_again(in_force, 1)
    quiet(in_force)
    assert in_force.wish() == WISH_FOR_BATTERY

    in_force.shadow.stale_answer_to = "uplink-1"
    asked = len(in_force.shadow.gets)
    in_force.shadow.wish({"override": {"mode": "auto", "until": None}})
    in_force.until_asked(more_often_than=asked + 1)
    assert in_force.wish() == WISH_FOR_BATTERY

    in_force.shadow.stale_answer_to = None
    in_force.until(lambda: in_force.wish() == Wish(Mode.AUTO, None))


def test_H6_a_shadow_that_was_deleted_and_counts_from_one_again_is_heard(in_force: Served) -> None:
    for number in range(3):
        in_force.report(reason="override", since=number, alerts=[str(number)])
        in_force.until_reported(alerts=[str(number)])
    assert in_force.shadow.version > 2

    in_force.shadow.delete(forgets_version=True)
    in_force.shadow.wish({"override": BATTERY})
    in_force.until(lambda: in_force.wish() == WISH_FOR_BATTERY)
    in_force.report_override(BATTERY, "ended")
    in_force.until(lambda: in_force.shadow.desired == {})

    assert in_force.shadow.reported["position"] == "battery"
    assert in_force.shadow.reported["override"]["state"] == "ended"


def clearing(served: Served) -> list[int | None]:
    """How each update ended that was to remove the wish."""
    return [request.code for request in list(served.shadow.updates) if "desired" in request.document["state"]]


def test_H10_a_wish_that_comes_while_the_one_before_is_removed_is_never_erased(in_force: Served) -> None:
    def race(publish: Publish) -> Answer:
        if publish.topic.endswith("/shadow/update") and b'"desired"' in publish.payload:
            in_force.broker.on_publish = lambda _: 0
            in_force.shadow.wish({"override": BATTERY})
        return 0

    in_force.broker.on_publish = race
    in_force.report_override(GRID, "ended")
    in_force.until(lambda: in_force.wish() == WISH_FOR_BATTERY)
    in_force.until(lambda: in_force.shadow.reported["override"]["state"] == "ended")

    assert clearing(in_force) == [409]
    assert in_force.shadow.desired == {"override": BATTERY}


def test_H10_after_two_conflicts_the_report_goes_out_without_the_removal(in_force: Served) -> None:
    in_force.shadow.reject_updates(409, times=2)

    in_force.report_override(GRID, "ended")
    in_force.until(lambda: in_force.shadow.reported["override"]["state"] == "ended")
    quiet(in_force)

    assert clearing(in_force) == [409, 409]
    assert in_force.shadow.desired == {"override": GRID}


def test_H11_too_many_requests_are_answered_with_patience_and_the_newest_report(in_force: Served) -> None:
    known = len(in_force.shadow.updates)
    in_force.shadow.reject_updates(429, times=3)

    for number in range(100):
        in_force.report(reason="override", alerts=[str(number)])
        in_force.until_rounds(1)
    in_force.until_reported(alerts=["99"])
    quiet(in_force)

    updates = in_force.shadow.updates[known:]
    assert [request.code for request in updates[:4]] == [429, 429, 429, 200]
    pauses_s = [later.at_s - earlier.at_s for earlier, later in pairwise(updates[:4])]
    assert [round(pause_s, 1) >= least_s for pause_s, least_s in zip(pauses_s, (0.2, 0.4, 0.8), strict=True)] == [
        True
    ] * 3


def test_H11_silence_is_told_and_everything_is_made_up_for(in_force: Served) -> None:
    in_force.shadow.ignores_gets = in_force.shadow.ignores_updates = True
    in_force.report(reason="battery_low")
    in_force.shadow.send_delta({}, version=in_force.shadow.version + 1)
    in_force.until(lambda: in_force.tells(Alert.SHADOW_UNAVAILABLE))
    assert in_force.wish() == WISH_FOR_GRID
    # One at a time: each waited for an answer as long as one may take.
    for requests in (in_force.shadow.gets, in_force.shadow.updates):
        silent = [request.at_s for request in requests if request.code is None]
        assert all(later - earlier >= shadow.ANSWER_TIMEOUT_S for earlier, later in pairwise(silent))

    in_force.shadow.ignores_gets = in_force.shadow.ignores_updates = False
    in_force.shadow.wish({"override": BATTERY})

    in_force.until(lambda: in_force.wish() == WISH_FOR_BATTERY)
    in_force.until(lambda: not in_force.tells(Alert.SHADOW_UNAVAILABLE))
    in_force.until(lambda: in_force.shadow.reported["reason"] == "battery_low")


def test_H12_a_storm_of_wishes_ends_with_the_last_one_and_few_questions(in_force: Served) -> None:
    asked = len(in_force.shadow.gets)

    in_force.shadow.storm([{"override": {"mode": "battery", "until": UNTIL + 1 + n}} for n in range(100)], 200)
    in_force.until(lambda: in_force.wish() == Wish(Mode.BATTERY, UNTIL + 100.0))

    assert len(in_force.shadow.gets) - asked <= 2.0 / shadow.LEAST_TIME_BETWEEN_GETS_S


def test_H14_where_there_is_no_shadow_the_first_report_makes_one(served: Served) -> None:
    served.report()
    served.start()
    served.until(lambda: served.shadow.exists)

    assert served.shadow.gets[0].code == 404
    assert served.shadow.reported["position"] == "battery"
    assert (served.letter.knows_wish, served.wish()) == (True, None)


def test_H15_a_delta_that_was_lost_with_the_connection_is_made_up_for_at_the_next_one(in_force: Served) -> None:
    in_force.broker.freeze()
    in_force.shadow.wish({"override": BATTERY})
    in_force.broker.drop(reset=True)
    in_force.broker.thaw()

    in_force.until(lambda: in_force.wish() == WISH_FOR_BATTERY)


# The outbox, and a line or a broker that fails


def test_N1_N6_a_backlog_goes_out_within_the_limits_with_the_live_heartbeat_first_and_nothing_is_missing(
    served: Served,
) -> None:
    with TcpProxy("127.0.0.1", served.broker.port) as proxy:
        proxy.cut()
        served.uplink = replace(served.uplink, port=proxy.port)
        served.outbox.append([(Stream.TELEMETRY, sample) for sample in samples(600)])
        served.append(150, Stream.ALERT)
        served.outbox.replace_heartbeat('{"live":true}')
        served.start()
        served.until(lambda: proxy.connections == 0 and served.rounds > 20)

        proxy.restore()
        served.until(lambda: len(served.arrived()) >= 600 and len(served.acknowledged(ALERT)) >= 150, timeout_s=30)
        served.close()

    assert served.arrived() == list(range(1, 601))
    own = [publish for publish in served.broker.publishes if publish.topic in (HEARTBEAT, ALERT, TELEMETRY)]
    assert own[0].topic == HEARTBEAT
    times_s = [publish.at_s for publish in own]
    for first, begin_s in enumerate(times_s):
        # A broker that shares two cores with the device may take the first of them half a second late.
        second = [publish for publish in own[first:] if publish.at_s < begin_s + 0.5]
        assert len(second) <= MOST_PUBLISHES_A_SECOND
        assert sum(len(publish.payload) for publish in second) <= MOST_BYTES_A_SECOND


def test_N1_what_a_full_outbox_has_kept_arrives_after_the_outage(served: Served) -> None:
    appender = Outbox(served.runtime, is_appender=True, most_bytes=300_000)
    appender.append([(Stream.ALERT, '{"alert":"battery_low"}')])
    for sample in samples(2000):
        appender.append([(Stream.TELEMETRY, sample)])
    kept = [row.id for row in appender.oldest(Stream.TELEMETRY, 10_000)]
    dropped = sum(appender.dropped().values())
    appender.close()

    served.start()
    served.until(lambda: len(served.arrived()) >= len(kept) and served.acknowledged(ALERT))

    assert served.arrived() == kept
    assert len(kept) + dropped == 2000
    assert dropped > 0


def test_N2_what_was_published_without_a_puback_is_sent_again_as_it_was(served: Served) -> None:
    lost: list[list[int]] = []

    def lose_the_first(publish: Publish) -> Answer:
        if publish.topic == TELEMETRY and not lost:
            lost.append(sequences(publish))
            return HangUp(reset=True)
        return 0

    served.broker.on_publish = lose_the_first
    served.append(250)
    served.start()
    served.until(lambda: set(served.arrived()) == set(range(1, 251)) and not served.outbox.waiting(Stream.TELEMETRY))

    messages = [sequences(publish) for publish in served.acknowledged(TELEMETRY)]
    assert messages[:2] == [lost[0], lost[0]]
    assert served.arrived() == [*lost[0], *range(1, 251)]
    assert len(served.broker.connects) == 2


def test_N3_the_next_process_sends_what_was_not_acknowledged(served: Served, tmp_path: Path) -> None:
    served.broker.on_publish = lambda publish: None if publish.topic == TELEMETRY else 0
    served.append(30)
    served.start()
    served.until(lambda: served.arrived())
    served.close()
    served.broker.on_publish = lambda _: 0

    following = Served(tmp_path, served.broker)
    following.start()
    following.until(lambda: following.arrived())
    following.until(lambda: not following.outbox.waiting(Stream.TELEMETRY))
    following.close()

    assert served.arrived()[:30] == following.arrived() == list(range(1, 31))


def test_N4_never_connected_since_boot_the_letter_and_the_outbox_stay_as_they_are(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with TcpProxy("127.0.0.1", served.broker.port) as proxy:
        proxy.cut()
        served.uplink = replace(served.uplink, port=proxy.port)
        served.append(500)
        served.append(5, Stream.ALERT)
        path = served.runtime / LETTER_NAME
        served.start()
        served.until(path.exists)
        written = path.stat().st_ino
        before = served.outbox.waiting(Stream.TELEMETRY), served.outbox.waiting(Stream.ALERT)
        served.holds(lambda: path.stat().st_ino == written, for_s=2.0)
        served.close()

    assert (served.letter.knows_wish, served.letter.alerts, served.letter.cloud_time) == (False, frozenset(), None)
    assert before == (500, 5)
    assert [record.levelname for record in caplog.records if "no connection" in record.message] == ["WARNING"]
    reopened = Outbox(served.state)
    assert (reopened.waiting(Stream.TELEMETRY), reopened.waiting(Stream.ALERT)) == before
    reopened.close()


def test_N5_taken_over_it_stays_away_and_control_is_told(served: Served) -> None:
    served.start()
    served.until(lambda: served.broker.connected == [THING])

    with BareClient(served.uplink, THING) as other:
        served.until(lambda: served.tells(Alert.DUPLICATE_CLIENT_ID))
        served.append(10)
        served.holds(lambda: len(served.broker.connects) == 2, for_s=1.5)

        assert other.disconnects == []
    assert served.outbox.waiting(Stream.TELEMETRY) == 10


def test_N7_nothing_on_the_wire_is_larger_than_aws_takes(served: Served) -> None:
    served.outbox.append([(Stream.TELEMETRY, json.dumps({"pad": str(n) * 3000})) for n in range(60)])
    served.outbox.append([(Stream.TELEMETRY, json.dumps({"pad": "x" * MAX_PAYLOAD_BYTES}))])
    served.append(1)

    served.start()
    served.until(lambda: set(served.arrived()) == {*range(1, 61), 62})

    assert max(len(publish.payload) for publish in served.broker.publishes) <= 128 * 1024
    assert [row.row.id for row in served.outbox.quarantined()] == [61]
    for publish in served.broker.publishes:
        assert publish.topic.count("/") <= 7
        assert len(publish.topic) <= 256


@pytest.mark.parametrize("closed", [TELEMETRY, ALERT, HEARTBEAT])
def test_N8_a_topic_that_is_refused_is_tried_slowly_while_the_others_go_on(closed: str, in_force: Served) -> None:
    in_force.broker.on_publish = lambda publish: NOT_AUTHORIZED if publish.topic == closed else 0
    topics = {TELEMETRY, ALERT, HEARTBEAT} - {closed}
    begun_s = time.monotonic()
    in_force.append(300)
    in_force.append(3, Stream.ALERT)
    in_force.outbox.replace_heartbeat('{"beat":1}')
    in_force.until(lambda: in_force.tells(Alert.DELIVERY_REFUSED))
    in_force.until(lambda: all(in_force.acknowledged(topic) for topic in topics))
    in_force.shadow.wish({"override": BATTERY})
    in_force.until(lambda: in_force.wish() == WISH_FOR_BATTERY)
    in_force.holds(lambda: in_force.tells(Alert.DELIVERY_REFUSED), for_s=begun_s + 1.2 - time.monotonic())

    # At once, as many as were on their way already, and one after 0.5 s.
    refused = in_force.broker.published(closed)
    assert len([publish for publish in refused if publish.at_s > refused[0].at_s + 0.3]) == 1
    assert len(in_force.broker.connects) == 1
    assert in_force.letter.counts["messages_refused"] == len(refused)

    in_force.broker.on_publish = lambda _: 0
    in_force.until(lambda: in_force.acknowledged(closed) and not in_force.tells(Alert.DELIVERY_REFUSED))
    in_force.until(lambda: set(in_force.arrived()) == set(range(1, 301)))


@pytest.mark.parametrize("answer", [HangUp(NOT_AUTHORIZED), HangUp(reset=True)], ids=["with a reason", "without"])
def test_N8_a_broker_that_hangs_up_over_a_topic_is_not_hammered_and_the_others_go_on(
    answer: HangUp, served: Served
) -> None:
    served.broker.on_publish = lambda publish: answer if publish.topic == TELEMETRY else 0
    served.append(300)
    served.append(3, Stream.ALERT)
    served.outbox.replace_heartbeat('{"beat":1}')
    served.start()
    served.until(lambda: served.tells(Alert.DELIVERY_REFUSED))
    begun_s = time.monotonic()
    served.until(lambda: len(served.acknowledged(ALERT)) >= 3 and served.acknowledged(HEARTBEAT))
    served.holds(lambda: served.tells(Alert.DELIVERY_REFUSED), for_s=begun_s + 1.4 - time.monotonic())

    # Without a word from the broker three short connections make one refusal. The next follows after 0.5 s.
    assert len(served.broker.connects) <= 3 + 3 + 1
    assert len([publish for publish in served.broker.published(TELEMETRY) if publish.at_s > begun_s + 0.3]) in (1, 3)
    assert served.outbox.waiting(Stream.TELEMETRY) == 300

    served.broker.on_publish = lambda _: 0
    served.until(lambda: set(served.arrived()) == set(range(1, 301)))
    served.until(lambda: not served.tells(Alert.DELIVERY_REFUSED))


def test_N9_without_its_subscription_control_is_told_and_telemetry_goes_on(served: Served) -> None:
    served.shadow.wish({"override": GRID})
    served.broker.on_subscribe = lambda topic: NOT_AUTHORIZED if topic.endswith("/delta") else 1
    served.append(20)
    served.start()
    served.until(lambda: served.tells(Alert.SHADOW_UNAVAILABLE))
    served.until(lambda: served.arrived() == list(range(1, 21)))
    assert not served.letter.knows_wish
    assert served.shadow.gets == []
    assert len(served.broker.connects) == 1

    served.broker.on_subscribe = lambda _: 1

    served.until(lambda: served.wish() == WISH_FOR_GRID and not served.tells(Alert.SHADOW_UNAVAILABLE))


def test_N10_a_half_open_line_is_left_and_nothing_waits_for_it(in_force: Served) -> None:
    in_force.broker.freeze()
    in_force.append(20)
    in_force.until_rounds(100)
    in_force.shadow.wish({"override": BATTERY})

    in_force.broker.thaw()
    in_force.until(lambda: set(in_force.arrived()) == set(range(1, 21)))
    in_force.until(lambda: in_force.wish() == WISH_FOR_BATTERY)

    assert in_force.letter.counts["connections"] >= 2
    assert in_force.longest_round_s < 1.0


def test_N11_a_certificate_that_was_replaced_is_used_by_the_same_process(served: Served, tmp_path: Path) -> None:
    served.uplink = served.broker.uplink(tmp_path / "identity", client_certificate(authority="somebody else"))
    served.append(5)
    served.start()
    served.until(lambda: len(served.broker.tls_failures) >= 2)
    assert served.broker.connects == []

    served.broker.uplink(tmp_path / "identity", client_certificate())

    served.until(lambda: served.arrived() == [1, 2, 3, 4, 5])


def test_N12_a_broker_that_acknowledges_nothing_is_left_again_and_again_and_loses_nothing(served: Served) -> None:
    served.broker.on_publish = lambda publish: None if publish.topic == TELEMETRY else 0
    served.append(1500)
    served.start()
    served.until(lambda: len(served.broker.connects) >= 3)
    tried = served.broker.published(TELEMETRY)
    connects = list(served.broker.connects)

    assert served.outbox.waiting(Stream.TELEMETRY) == 1500
    assert connects[-1].at_s - connects[0].at_s > 2 * 0.9 * served.timing.ack_timeout_s
    assert len(tried) <= len(connects) * delivery.MAX_TELEMETRY_IN_FLIGHT

    served.broker.on_publish = lambda _: 0
    served.until(lambda: not served.outbox.waiting(Stream.TELEMETRY))
    assert set(served.arrived()) == set(range(1, 1501))


def test_N14_a_clean_stop_says_so_and_leaves_no_last_will(served: Served) -> None:
    served.start()
    served.until(lambda: served.acknowledged(STATUS))

    served.close()

    assert [json.loads(publish.payload)["state"] for publish in served.broker.published(STATUS)] == [
        "online",
        "stopping",
    ]
    assert served.broker.wills == []


# The SDK's own thread


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The thread in which the SDK calls back hangs with the first message that comes, until this is set."""
    released = threading.Event()
    hear = link._Attempt._on_message

    def hang(attempt: Any, data: Any) -> None:  # noqa: ANN401 - as the SDK calls it
        released.wait(30)
        hear(attempt, data)

    monkeypatch.setattr(link._Attempt, "_on_message", hang)
    yield released
    released.set()


def test_P8_a_cloud_thread_that_hangs_for_a_while_stops_no_round_and_loses_nothing(
    hanging: threading.Event, served: Served
) -> None:
    served.append(10)
    served.start()
    served.until(lambda: served.shadow.gets)
    served.append(10)
    served.until_rounds(100)
    assert served.longest_round_s < 1.0

    hanging.set()

    served.until(lambda: set(served.arrived()) == set(range(1, 21)) and not served.outbox.waiting(Stream.TELEMETRY))


def test_P8_a_cloud_thread_that_hangs_for_good_is_noticed(hanging: threading.Event, served: Served) -> None:
    served.start()
    served.until(lambda: served.shadow.gets)
    served.append(10)

    # There is a new connection, or the process ends and systemd starts it anew.
    served.until(lambda: served.letter.counts["connections"] >= 2 or served.failure is not None, timeout_s=15)
