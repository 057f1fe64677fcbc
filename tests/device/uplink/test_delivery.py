import json
import logging
import math
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contract.messages import MAX_PAYLOAD_BYTES, MAX_SAMPLES_PER_MESSAGE, decode_telemetry
from device.clock import boot_id
from device.outbox import FILE_NAME, Message, Outbox, Stream
from device.uplink.delivery import (
    DELETE_AGAIN_AFTER_S,
    DELETE_EVERY_S,
    MAX_IN_FLIGHT,
    MAX_TELEMETRY_IN_FLIGHT,
    MOST_REFUSED_PAUSE_S,
    QUARANTINE_REMEMBERED_S,
    REFUSALS_BEFORE_STEPPING_OVER,
    REFUSED_PAUSE_S,
    REOPEN_AFTER_S,
    Delivery,
)
from device.uplink.link import Completion
from device.uplink.pace import WINDOW_S, Pace
from tests.device.minutes import MINUTES_A_DAY, samples


@dataclass(frozen=True)
class Published:
    """What the link was given."""

    topic: str
    payload: str
    token: object

    @property
    def channel(self) -> str:
        return self.topic.rpartition("/")[2]

    @property
    def sequences(self) -> list[int]:
        message: dict[str, Any] = json.loads(self.payload)
        if self.channel == "telemetry":
            return [sample["sequence"] for sample in decode_telemetry(message)]
        return [message["sequence"]] if self.channel == "alert" else []


class RecordingLink:
    """A link whose other end is the test: it decides how each publish ends."""

    def __init__(self) -> None:
        self.connected = True
        self.published: list[Published] = []
        self.open: list[Published] = []

    def publish(self, topic: str, payload: str, token: object) -> None:
        published = Published(topic, payload, token)
        self.published.append(published)
        self.open.append(published)


class Bench:
    """A delivery between real outboxes and a recording link, on a virtual clock."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.runtime = directory / "run"
        self.outbox = Outbox(self.state)
        self._opened = [self.outbox]
        self.link = RecordingLink()
        self.pace = Pace()
        self.now_s = 100.0
        self.delivery = self.new_delivery()

    def new_delivery(self) -> Delivery:
        return Delivery("shed", [self.state, self.runtime], self.link, self.pace, clock=lambda: 0.0)

    def restart(self) -> None:
        """What the death of the uplink process and a new one amount to."""
        self.delivery.close()
        self.link.open.clear()
        self.delivery = self.new_delivery()

    def close(self) -> None:
        self.delivery.close()
        for outbox in self._opened:
            outbox.close()

    def opened(self, directory: Path) -> Outbox:
        self._opened.append(Outbox(directory))
        return self._opened[-1]

    def append(
        self, count: int, stream: Stream = Stream.TELEMETRY, size: int = 30, outbox: Outbox | None = None
    ) -> None:
        # Each its own: what samples have in common is said once.
        paddings = [str(number).rjust(size - 10, "x") for number in range(count)]
        (outbox or self.outbox).append([(stream, f'{{"pad":"{padding}"}}') for padding in paddings])

    def send(self) -> list[Published]:
        """What one call publishes."""
        before = len(self.link.published)
        self.delivery.send(self.now_s)
        return self.link.published[before:]

    def end(self, published: Published, error: str | None = None, *, refused: bool = False) -> None:
        self.link.open.remove(published)
        self.delivery.settle(Completion(published.token, error, refused), self.now_s)

    def waiting(self, stream: Stream = Stream.TELEMETRY) -> list[int]:
        return [row.id for row in self.outbox.oldest(stream, 100_000)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_the_heartbeat_goes_first_then_alerts_then_telemetry(bench: Bench) -> None:
    bench.append(2)
    bench.append(2, Stream.ALERT)
    bench.outbox.replace_heartbeat('{"beat":1}')

    published = bench.send()

    assert [each.topic for each in published] == [
        "dt/solarshed/shed/heartbeat",
        "dt/solarshed/shed/alert",
        "dt/solarshed/shed/alert",
        "dt/solarshed/shed/telemetry",
    ]
    assert [each.sequences for each in published] == [[], [1], [2], [1, 2]]


def test_messages_follow_the_contract_with_the_sequence_spliced_in(bench: Bench) -> None:
    bench.outbox.append([(Stream.TELEMETRY, '{"time_ms":1,"measures":{"battery_voltage_v":49.9}}')])
    bench.outbox.append([(Stream.TELEMETRY, '{"time_ms":2,"measures":{}}')])
    bench.outbox.append([(Stream.ALERT, '{"schema":1,"alert":"battery_low"}')])
    bench.outbox.replace_heartbeat('{"schema":1,"decision_count":7}')

    heartbeat, alert, telemetry = [json.loads(each.payload) for each in bench.send()]

    assert heartbeat == {"schema": 1, "decision_count": 7}
    assert alert == {"sequence": 1, "schema": 1, "alert": "battery_low"}
    assert telemetry == {
        "schema": 2,
        "shared": {},
        "fields": ["sequence", "time_ms", "measures.battery_voltage_v", "measures"],
        "samples": [[1, 1, 49.9, None], [2, 2, None, {}]],
    }


def test_N2_rows_stay_until_they_are_acknowledged_and_go_then(bench: Bench) -> None:
    bench.append(3)
    bench.append(1, Stream.ALERT)
    alert, telemetry = bench.send()
    assert bench.waiting() == [1, 2, 3]

    bench.end(telemetry)

    assert bench.waiting() == []
    assert bench.waiting(Stream.ALERT) == [1]
    bench.end(alert)
    assert bench.waiting(Stream.ALERT) == []


def test_what_is_on_its_way_is_not_sent_twice(bench: Bench) -> None:
    bench.append(3)
    bench.append(1, Stream.ALERT)
    bench.outbox.replace_heartbeat('{"beat":1}')
    bench.send()

    again = bench.send()
    bench.append(1)
    after_one_more = bench.send()

    assert again == []
    assert [each.sequences for each in after_one_more] == [[4]]


def test_N7_a_message_has_at_most_a_hundred_samples(bench: Bench) -> None:
    bench.append(2 * MAX_SAMPLES_PER_MESSAGE + 1)

    assert [len(each.sequences) for each in bench.send()] == [100, 100, 1]


@pytest.mark.parametrize("size", [3000, 3071, 4095, 9000, 40_000, 61_000, 122_000])
def test_N7_a_message_is_never_larger_than_aws_takes_and_none_is_left_out(size: int, bench: Bench) -> None:
    bench.append(40, size=size)

    sequences: list[int] = []
    while published := bench.send():
        for each in published:
            assert len(each.payload.encode()) <= MAX_PAYLOAD_BYTES
            sequences += each.sequences
            bench.end(each)
        bench.now_s += WINDOW_S

    assert sequences == list(range(1, 41))


def test_N7_bytes_are_counted_not_characters(bench: Bench) -> None:
    words = ["\u00e4" * 20_000, "\u00f6" * 20_000]
    bench.outbox.append([(Stream.TELEMETRY, json.dumps({"words": each}, ensure_ascii=False)) for each in words])

    published = bench.send()

    # A character takes six bytes on the wire.
    assert [len(each.sequences) for each in published] == [1, 1]
    assert all(len(each.payload.encode()) <= MAX_PAYLOAD_BYTES for each in published)


def test_N6_at_most_ten_messages_are_on_their_way(bench: Bench) -> None:
    bench.append(50, Stream.ALERT)
    bench.append(10)

    first = bench.send()
    none = bench.send()
    bench.end(first[0])
    bench.end(first[1])
    next_ones = bench.send()

    assert [each.sequences for each in first] == [[number] for number in range(1, MAX_IN_FLIGHT + 1)]
    assert none == []
    assert [each.sequences for each in next_ones] == [[11], [12]]


def test_N6_a_live_heartbeat_does_not_wait_for_a_backlog(bench: Bench) -> None:
    bench.append(50, Stream.ALERT)
    bench.send()

    bench.outbox.replace_heartbeat('{"beat":1}')

    assert [each.channel for each in bench.send()] == ["heartbeat"]


def test_N2_a_failure_is_followed_by_the_same_rows_in_the_same_order(bench: Bench) -> None:
    bench.append(3, Stream.ALERT)
    first, second, third = bench.send()

    bench.end(first, "connection lost")
    bench.end(second, "connection lost")
    bench.end(third, "connection lost")

    assert [each.sequences for each in bench.send()] == [[1], [2], [3]]


def test_L2_what_clears_an_alert_waits_until_what_has_raised_it_has_arrived(bench: Bench) -> None:
    for alert in ("battery_low", "over_temperature", "battery_low", "pi_health"):
        bench.outbox.append([(Stream.ALERT, f'{{"alert":"{alert}"}}')])

    first, second = bench.send()
    none = bench.send()
    bench.end(second)
    still_none = bench.send()
    bench.end(first, "connection lost")
    (again,) = bench.send()
    bench.end(again)

    assert [first.sequences, second.sequences, again.sequences] == [[1], [2], [1]]
    assert none == still_none == []
    assert [each.sequences for each in bench.send()] == [[3], [4]]


def test_L2_nor_does_it_overtake_it_from_the_other_outbox(bench: Bench) -> None:
    bench.outbox.append([(Stream.ALERT, '{"alert":"battery_low"}')])
    bench.opened(bench.runtime).append([(Stream.ALERT, '{"alert":"battery_low"}')])

    (first,) = bench.send()
    bench.end(first)

    assert len(bench.send()) == 1


@pytest.mark.parametrize("failing", range(3))
def test_N2_only_what_failed_is_sent_again(failing: int, bench: Bench) -> None:
    bench.append(3, Stream.ALERT)
    published = bench.send()

    for number, each in enumerate(published):
        bench.end(each, "no acknowledgement" if number == failing else None)

    assert [each.sequences for each in bench.send()] == [[failing + 1]]


def test_N12_after_a_failure_in_the_middle_there_are_still_at_most_ten_on_their_way(bench: Bench) -> None:
    bench.append(40, Stream.ALERT)
    published = bench.send()

    bench.end(published[0], "no acknowledgement")
    bench.send()
    bench.end(published[1])
    bench.send()

    assert len(bench.link.open) <= MAX_IN_FLIGHT
    on_their_way = [each.sequences for each in bench.link.open]
    assert len(on_their_way) == len({tuple(sequences) for sequences in on_their_way})


def test_a_heartbeat_is_sent_once_each_and_only_the_newest(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.outbox.replace_heartbeat(f'{{"beat":{number}}}')

    (heartbeat,) = bench.send()

    assert json.loads(heartbeat.payload) == {"beat": 3}
    assert bench.send() == []


def test_a_heartbeat_that_failed_is_sent_again_but_never_an_old_one(bench: Bench) -> None:
    bench.outbox.replace_heartbeat('{"beat":1}')
    (first,) = bench.send()
    bench.end(first, "connection lost")
    (again,) = bench.send()
    bench.outbox.replace_heartbeat('{"beat":2}')
    bench.end(again, "connection lost")

    (newer,) = bench.send()
    bench.end(newer)

    assert json.loads(again.payload) == {"beat": 1}
    assert json.loads(newer.payload) == {"beat": 2}
    assert bench.send() == []


NOT_AUTHORIZED = "publish to x refused: NOT_AUTHORIZED"


def refuse(bench: Bench, *published: Published) -> None:
    for each in published:
        bench.end(each, NOT_AUTHORIZED, refused=True)


def in_a_while(bench: Bench) -> list[Published]:
    """What is published when the longest pause is over."""
    bench.now_s += MOST_REFUSED_PAUSE_S
    return bench.send()


def test_N8_a_refusal_pauses_its_own_channel_only(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.append(1)
    bench.append(1, Stream.ALERT)
    bench.outbox.replace_heartbeat('{"beat":1}')
    refused, alert, telemetry = bench.send()

    refuse(bench, refused)
    bench.end(alert)
    bench.end(telemetry, "connection lost")
    bench.now_s += REFUSED_PAUSE_S - 0.001
    bench.append(1, Stream.ALERT)
    while_pausing = bench.send()
    bench.now_s += 0.001
    afterwards = bench.send()

    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "NOT_AUTHORIZED; see that the stack's policy is attached" in record.message
    assert "Nothing is lost; trying again in 30 s" in record.message
    assert [each.channel for each in while_pausing] == ["alert", "telemetry"]
    assert [each.channel for each in afterwards] == ["heartbeat"]


@pytest.mark.parametrize("stream", Stream)
def test_N8_a_channel_that_stays_closed_is_tried_more_and_more_slowly_with_one_message_and_loses_nothing(
    stream: Stream, bench: Bench
) -> None:
    bench.append(900, stream)
    refuse(bench, *bench.send())

    pauses: list[float] = []
    while sum(pauses) < 3600.0:
        before_s = bench.now_s
        while not (published := bench.send()):
            bench.now_s += 5.0
        assert len(published) == 1
        refuse(bench, *published)
        pauses.append(bench.now_s - before_s)

    assert pauses[:5] == [30.0, 60.0, 120.0, 240.0, 480.0]
    assert set(pauses[5:]) == {MOST_REFUSED_PAUSE_S}
    assert bench.waiting(stream) == list(range(1, 901))
    assert bench.delivery.counts["messages_quarantined"] == 0
    assert bench.delivery.is_refused(bench.now_s)


def test_N8_when_a_closed_channel_is_opened_everything_arrives_in_order_and_the_alert_can_be_cleared(
    bench: Bench,
) -> None:
    bench.append(250)
    refuse(bench, *bench.send())
    for _ in range(6):
        refuse(bench, *in_a_while(bench))

    arrived: list[int] = []
    while published := in_a_while(bench):
        for each in published:
            arrived += each.sequences
            bench.end(each)

    assert sorted(arrived) == list(range(1, 251))
    assert len(arrived) == 250
    assert bench.outbox.quarantined() == []
    assert not bench.delivery.is_refused(bench.now_s)
    assert bench.delivery.counts == {"messages_refused": 9, "messages_quarantined": 0}


def test_N8_a_message_that_alone_is_refused_goes_into_quarantine_and_the_others_arrive(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.append(3, Stream.ALERT)
    first, second, third = bench.send()
    refuse(bench, first)
    bench.end(second)
    bench.end(third)

    tries: list[int] = []
    for _ in range(4):
        bench.append(1, Stream.ALERT)
        for published in in_a_while(bench):
            tries += published.sequences
            if published.sequences == [1]:
                refuse(bench, published)
            else:
                bench.end(published)
    bench.send()

    # Refused three times while others are taken, and once more to be sure.
    assert [number for number in tries if number > 1] == [4, 5, 6, 7]
    assert tries.count(1) == REFUSALS_BEFORE_STEPPING_OVER
    assert bench.waiting(Stream.ALERT) == []
    (quarantined,) = bench.outbox.quarantined()
    assert quarantined.row.id == 1
    assert quarantined.why == "refused by the broker, which took the one behind it"
    assert bench.outbox.dropped()["messages_quarantined"] == 1
    assert bench.delivery.counts["messages_quarantined"] == 1
    assert len([record for record in caplog.records if "are kept in the table `quarantine`" in record.message]) == 1


def test_N8_a_quarantine_is_news_for_a_day(bench: Bench) -> None:
    bench.append(2, Stream.ALERT)
    for _ in range(REFUSALS_BEFORE_STEPPING_OVER):
        published = in_a_while(bench)
        refuse(bench, published[0])
        for each in published[1:]:
            bench.end(each, "connection lost")
    (behind,) = in_a_while(bench)
    bench.end(behind)
    (once_more,) = in_a_while(bench)
    refuse(bench, once_more)
    at_s = bench.now_s
    bench.send()
    bench.append(1, Stream.ALERT)
    (another,) = in_a_while(bench)
    bench.end(another)

    assert (behind.sequences, once_more.sequences) == ([2], [1])
    assert bench.delivery.is_refused(at_s)
    assert bench.delivery.is_refused(at_s + QUARANTINE_REMEMBERED_S - 1.0)
    assert not bench.delivery.is_refused(at_s + QUARANTINE_REMEMBERED_S)


def test_N8_the_only_message_there_is_is_tried_for_ever(bench: Bench) -> None:
    bench.append(1, Stream.ALERT)

    for _ in range(10):
        (published,) = in_a_while(bench)
        refuse(bench, published)

    assert published.sequences == [1]
    assert bench.outbox.quarantined() == []


def test_N8_rows_that_were_refused_together_stay_together(bench: Bench) -> None:
    bench.append(5)
    refuse(bench, *bench.send())
    bench.append(7)

    (first_again,) = in_a_while(bench)
    refuse(bench, first_again)
    (third_time,) = in_a_while(bench)
    refuse(bench, third_time)
    (probe,) = in_a_while(bench)

    assert first_again.sequences == third_time.sequences == [1, 2, 3, 4, 5]
    assert probe.sequences == [6, 7, 8, 9, 10, 11, 12]


def test_N8_where_the_broker_hangs_up_instead_of_refusing_the_guilty_channel_is_found(bench: Bench) -> None:
    """The heartbeat is the one that it does not take."""
    bench.outbox.replace_heartbeat('{"beat":1}')
    bench.append(2, Stream.ALERT)
    bench.append(2)
    hang_ups = 0
    arrived: list[Published] = []

    for _ in range(400):
        bench.now_s += 10.0
        for each in bench.send():
            if each.channel == "heartbeat":
                hang_ups += 1
                for open_one in list(bench.link.open):
                    bench.end(open_one, "connection lost")
                bench.delivery.connection_refused(bench.now_s)
                break
            arrived.append(each)
            bench.end(each)

    assert bench.waiting() == bench.waiting(Stream.ALERT) == []
    assert [each.sequences for each in arrived] == [[1], [2], [1, 2]]
    # 30, 60, 120, 240, 480 s, then every 600 s.
    assert hang_ups <= 11
    assert bench.delivery.is_refused(bench.now_s)


def test_N8_after_the_broker_has_hung_up_messages_go_one_at_a_time_until_one_is_taken(bench: Bench) -> None:
    bench.append(5, Stream.ALERT)
    bench.append(5)
    for each in bench.send():
        bench.end(each, "connection lost")
    bench.delivery.connection_refused(bench.now_s)

    during_the_pause = bench.send()
    (alone,) = in_a_while(bench)
    bench.append(5, Stream.ALERT)
    nothing_more = bench.send()
    bench.end(alone)
    then = bench.send()

    assert during_the_pause == nothing_more == []
    assert alone.sequences == [1]
    assert [each.channel for each in then] == ["alert"] * 9 + ["telemetry"]


def test_N8_a_bad_line_blames_no_message_however_often_it_breaks(bench: Bench) -> None:
    bench.append(5)
    for number in range(20):
        for each in in_a_while(bench):
            bench.end(each, "connection lost" if len(each.sequences) > 1 else None)
        bench.delivery.connection_refused(bench.now_s, is_certain=False)
        bench.append(1, Stream.ALERT if number % 2 else Stream.TELEMETRY)

    bench.now_s += 1000.0
    while published := bench.send():
        for each in published:
            bench.end(each)
        bench.now_s += 1000.0

    assert bench.outbox.quarantined() == []
    assert bench.waiting() == []


def test_N8_what_went_down_with_a_good_connection_is_not_blamed_for_the_next_ones(bench: Bench) -> None:
    bench.append(5)
    (published,) = bench.send()
    bench.end(published, "connection lost")
    bench.delivery.connection_lost()

    bench.delivery.connection_refused(bench.now_s)

    assert bench.delivery.counts["messages_refused"] == 0
    assert not bench.delivery.is_refused(bench.now_s)


@pytest.mark.parametrize(
    ("boot", "age_s", "is_sent"),
    [(boot_id(), 0, True), (boot_id(), 500, True), (boot_id(), 1000, False), ("another", 0, False)],
)
def test_a_heartbeat_of_the_past_is_no_sign_of_life(boot: str, age_s: int, is_sent: bool, bench: Bench) -> None:
    time_ms = time.time_ns() // 1_000_000 - age_s * 1000
    bench.outbox.replace_heartbeat(json.dumps({"boot_id": boot, "time_ms": time_ms}))

    assert [each.channel for each in bench.send()] == (["heartbeat"] if is_sent else [])


@pytest.mark.parametrize("beat", ["", "[1]", "no JSON", "[" * 5000])
def test_a_heartbeat_that_is_none_is_not_sent(beat: str, bench: Bench) -> None:
    bench.outbox.replace_heartbeat(beat)

    assert bench.send() == []


def test_N8_what_was_still_on_its_way_when_the_broker_hung_up_is_refused_once_as_well(bench: Bench) -> None:
    bench.append(1, Stream.ALERT)
    (published,) = bench.send()

    bench.delivery.connection_refused(bench.now_s)
    bench.end(published, "connection lost")

    assert bench.delivery.counts["messages_refused"] == 1
    assert bench.send() == []
    assert [each.sequences for each in in_a_while(bench)] == [[1]]


def test_N7_a_row_that_no_message_can_hold_goes_into_quarantine_at_once_and_blocks_nothing(bench: Bench) -> None:
    bench.append(1)
    bench.append(1, size=MAX_PAYLOAD_BYTES + 1)
    bench.append(1)

    sequences = [sequence for each in bench.send() for sequence in each.sequences]
    bench.send()

    assert sequences == [1, 3]
    assert bench.waiting() == [1, 3]
    (quarantined,) = bench.outbox.quarantined()
    assert (quarantined.row.id, quarantined.why) == (2, "larger than AWS takes")


@pytest.mark.parametrize(
    "payload", ["", "no JSON", "[1]", '{"a.b":1}', '{"v":NaN}', "[" * 5000, '{"a":' * 20 + "1" + "}" * 20]
)
def test_I6_a_row_that_is_no_sample_goes_into_quarantine_and_blocks_nothing(payload: str, bench: Bench) -> None:
    bench.outbox.append([(Stream.TELEMETRY, payload)])
    bench.append(2)

    sequences = [sequence for each in bench.send() for sequence in each.sequences]
    bench.send()

    assert sequences == [2, 3]
    assert [each.row.id for each in bench.outbox.quarantined()] == [1]


def test_P5_what_cannot_be_put_into_quarantine_is_stepped_over_all_the_same(bench: Bench) -> None:
    run_on_disk(bench, "CREATE TRIGGER ro BEFORE INSERT ON quarantine BEGIN SELECT RAISE(ABORT, 'read-only'); END")
    bench.outbox.append([(Stream.ALERT, "no JSON")])
    bench.append(1, Stream.ALERT)

    (published,) = bench.send()
    bench.send()
    still_there = bench.waiting(Stream.ALERT)
    run_on_disk(bench, "DROP TRIGGER ro")
    bench.now_s += DELETE_AGAIN_AFTER_S
    bench.send()

    assert published.sequences == [2]
    assert still_there == [1, 2]
    assert bench.waiting(Stream.ALERT) == [2]
    assert bench.delivery.counts["messages_quarantined"] == 1


def test_N2_samples_that_have_arrived_are_deleted_together_and_alerts_at_once(bench: Bench) -> None:
    bench.append(1)
    bench.end(bench.send()[0])

    bench.append(2)
    bench.append(2, Stream.ALERT)
    for each in bench.send():
        bench.end(each)
    bench.now_s += DELETE_EVERY_S - 0.001
    bench.send()
    early = bench.waiting()
    bench.now_s += 0.001
    bench.send()

    assert bench.waiting(Stream.ALERT) == []
    assert early == [2, 3]
    assert bench.waiting() == []


def test_N2_a_hundred_samples_that_have_arrived_are_deleted_at_once(bench: Bench) -> None:
    bench.append(1)
    bench.end(bench.send()[0])

    bench.append(100)
    bench.end(bench.send()[0])

    assert bench.waiting() == []


def test_N3_a_clean_stop_deletes_what_has_arrived(bench: Bench) -> None:
    bench.append(1)
    bench.end(bench.send()[0])
    bench.append(3)
    bench.end(bench.send()[0])
    assert bench.delivery.waiting() == 0
    assert bench.waiting() == [2, 3, 4]

    bench.delivery.close()

    assert bench.waiting() == []


def test_N12_unanswered_samples_never_keep_an_alert_waiting(bench: Bench) -> None:
    bench.append(2000)
    telemetry = bench.send()
    bench.append(1, Stream.ALERT)

    assert len(telemetry) == MAX_TELEMETRY_IN_FLIGHT
    assert [each.channel for each in bench.send()] == ["alert"]


# The pace


def deliver_everything(bench: Bench, step_s: float = 0.05) -> list[tuple[float, Published]]:
    """What is published when, each acknowledged a step later."""
    published = [(bench.now_s, each) for each in bench.send()]
    while bench.delivery.waiting() or bench.link.open:
        for each in list(bench.link.open):
            bench.end(each)
        published += [(bench.now_s, each) for each in bench.send()]
        bench.now_s += step_s
    return published


def most_in_a_second(published: list[tuple[float, Published]]) -> tuple[int, int]:
    """The most publishes, and the most bytes, of any second."""
    sizes = [(at_s, len(each.payload.encode()) + len(each.topic)) for at_s, each in published]
    seconds = [[size for at_s, size in sizes if start_s <= at_s < start_s + 1.0] for start_s, _ in sizes]
    return max(len(second) for second in seconds), max(sum(second) for second in seconds)


def test_N6_three_days_of_minutes_drain_in_five_seconds_within_both_limits_and_live_messages_go_first(
    bench: Bench,
) -> None:
    bench.outbox.append([(Stream.TELEMETRY, text) for text in samples(3 * MINUTES_A_DAY)])
    bench.append(20, Stream.ALERT, size=600)
    bench.outbox.replace_heartbeat('{"beat":1}')
    began_s = bench.now_s

    published = deliver_everything(bench)

    count, size_bytes = most_in_a_second(published)
    assert count <= 100
    assert size_bytes <= 512_000
    assert published[-1][0] - began_s <= 5.0
    channels = [each.channel for _, each in published]
    assert channels == ["heartbeat"] + ["alert"] * 20 + ["telemetry"] * 44
    assert [s for _, each in published if each.channel == "telemetry" for s in each.sequences] == list(range(1, 4321))


def test_N6_many_small_messages_keep_to_a_hundred_a_second(bench: Bench) -> None:
    bench.append(400, Stream.ALERT)

    published = deliver_everything(bench, step_s=0.01)

    assert most_in_a_second(published)[0] <= 100
    assert published[-1][0] - published[0][0] == pytest.approx(3 * WINDOW_S, abs=0.1)


def test_N6_a_heartbeat_and_an_alert_that_come_during_a_drain_go_before_the_rest_of_it(bench: Bench) -> None:
    bench.outbox.append([(Stream.TELEMETRY, text) for text in samples(2000)])
    while bench.send():
        for each in list(bench.link.open):
            bench.end(each)

    bench.append(1, Stream.ALERT)
    bench.outbox.replace_heartbeat('{"beat":1}')
    bench.now_s += bench.delivery.due_in_s(bench.now_s)

    assert [each.channel for each in bench.send()][:3] == ["heartbeat", "alert", "telemetry"]


def test_N6_it_can_be_told_when_the_pace_has_room_again(bench: Bench) -> None:
    nothing_held = bench.delivery.due_in_s(bench.now_s)
    bench.append(30, Stream.ALERT, size=60_000)
    while bench.send():
        for each in list(bench.link.open):
            bench.end(each)

    held_s = bench.delivery.due_in_s(bench.now_s)
    bench.now_s += held_s

    assert nothing_held == math.inf
    assert held_s == pytest.approx(WINDOW_S)
    assert len(bench.send()) == 8


def test_N6_what_it_takes_to_make_messages_counts_as_time(bench: Bench) -> None:
    times_s = iter(number * 0.2 for number in range(1000))
    bench.delivery.close()
    bench.delivery = Delivery("shed", [bench.state], bench.link, bench.pace, clock=lambda: next(times_s))
    bench.append(30, size=100_000)

    bench.send()
    bench.now_s += WINDOW_S

    # The window holds five. They were made within a second, so that only the first has left it.
    assert [len(bench.link.open), bench.pace.has_room(100_000, bench.now_s)] == [5, False]
    assert bench.pace.has_room(100_000, bench.now_s + 0.2)


# A long time offline


def test_N1_three_days_offline_arrive_complete_and_in_order_with_device_time_and_clock_quality(bench: Bench) -> None:
    days = samples(3 * MINUTES_A_DAY)
    control = Outbox(bench.state, is_appender=True)
    for start in range(0, len(days), 5):
        control.append([Message(Stream.TELEMETRY, text, is_routine=True) for text in days[start : start + 5]])
    control.close()

    published = deliver_everything(bench)

    arrived = [sample for _, each in published for sample in decode_telemetry(json.loads(each.payload))]
    assert arrived == [json.loads(text) | {"sequence": number} for number, text in enumerate(days, start=1)]
    assert {sample["clock_synchronised"] for sample in arrived} == {True}


def test_nothing_is_published_without_a_connection(bench: Bench) -> None:
    bench.append(1)
    bench.outbox.replace_heartbeat('{"beat":1}')
    bench.link.connected = False

    assert bench.send() == []
    bench.link.connected = True
    assert len(bench.send()) == 2


def test_N3_a_new_process_sends_again_what_was_not_acknowledged(bench: Bench) -> None:
    bench.append(150)
    first, second = bench.send()
    bench.end(second)

    bench.restart()

    assert [each.sequences for each in bench.send()] == [first.sequences]


def test_a_completion_of_another_delivery_is_a_mistake(bench: Bench) -> None:
    with pytest.raises(TypeError, match="is not of this delivery"):
        bench.delivery.settle(Completion("token", None), bench.now_s)


@pytest.mark.parametrize("seed", [1, 2])
def test_N1_ten_thousand_rows_all_arrive_exactly_once_over_a_link_that_fails_at_random(seed: int, bench: Bench) -> None:
    chance = random.Random(seed)
    bench.append(9_000)
    bench.append(400, Stream.ALERT)
    arrived: dict[str, list[int]] = {"telemetry": [], "alert": [], "heartbeat": []}

    for turn in range(20_000):
        if turn < 10:
            bench.append(60)
            bench.outbox.replace_heartbeat(f'{{"beat":{turn}}}')
        bench.now_s += chance.choice([0.1, 1.0, 31.0])
        bench.link.connected = chance.random() < 0.9
        bench.send()
        assert sum(each.channel != "heartbeat" for each in bench.link.open) <= MAX_IN_FLIGHT
        chance.shuffle(bench.link.open)
        for each in bench.link.open[: chance.randrange(12)]:
            failed = chance.random() < 0.25
            if not failed:
                arrived[each.channel] += each.sequences
            bench.end(each, "failed" if failed else None, refused=failed and chance.random() < 0.1)
        if turn > 10 and not bench.waiting() and not bench.waiting(Stream.ALERT):
            break

    assert sorted(arrived["telemetry"]) == list(range(1, 9_601))
    assert sorted(arrived["alert"]) == list(range(1, 401))


# The second outbox


def test_P5_alerts_of_the_runtime_directory_go_after_the_state_directorys_and_before_any_sample(bench: Bench) -> None:
    runtime = bench.opened(bench.runtime)
    bench.append(1, Stream.ALERT)
    bench.append(1)
    runtime.append([(Stream.ALERT, '{"alert":"storage_failing"}')])

    published = bench.send()

    assert [each.channel for each in published] == ["alert", "alert", "telemetry"]
    assert json.loads(published[1].payload) == {"sequence": 1, "alert": "storage_failing"}
    for each in published:
        bench.end(each)
    assert bench.waiting(Stream.ALERT) == bench.waiting() == []
    assert runtime.waiting(Stream.ALERT) == 0


def test_without_a_runtime_directory_the_other_is_served_and_none_is_made(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.append(1)

    (published,) = bench.send()

    bench.end(published)
    assert bench.waiting() == []
    assert not bench.runtime.exists()
    assert caplog.records == []


def test_an_outbox_that_appears_later_is_served(bench: Bench) -> None:
    assert bench.send() == []

    bench.append(1, Stream.ALERT, outbox=bench.opened(bench.runtime))

    assert [each.channel for each in bench.send()] == ["alert"]


def test_the_same_directory_named_twice_is_served_once(bench: Bench) -> None:
    bench.runtime = bench.state
    bench.restart()
    bench.append(1, Stream.ALERT)

    assert len(bench.send()) == 1


def test_N6_both_outboxes_together_have_at_most_ten_messages_on_their_way(bench: Bench) -> None:
    bench.append(6, Stream.ALERT)
    bench.append(6, Stream.ALERT, outbox=bench.opened(bench.runtime))

    assert [each.sequences for each in bench.send()] == [[1], [2], [3], [4], [5], [6], [1], [2], [3], [4]]


def test_N2_what_failed_of_one_outbox_is_not_sent_again_from_the_other(bench: Bench) -> None:
    runtime = bench.opened(bench.runtime)
    bench.append(1, Stream.ALERT, size=40)
    bench.append(2, Stream.ALERT, outbox=runtime)
    of_state, first, second = bench.send()

    bench.end(first, "connection lost")
    bench.end(second)
    bench.end(of_state)
    (again,) = bench.send()

    assert again.payload == first.payload
    bench.end(again)
    assert runtime.waiting(Stream.ALERT) == 0
    assert bench.waiting(Stream.ALERT) == []


def test_the_heartbeat_that_was_written_last_is_sent_whichever_outbox_it_is_in(bench: Bench) -> None:
    def beat(outbox: Outbox, number: int) -> list[int]:
        outbox.replace_heartbeat(f'{{"beat":{number}}}')
        return [json.loads(each.payload)["beat"] for each in bench.send()]

    before = beat(bench.outbox, 1)
    runtime = bench.opened(bench.runtime)

    assert before == [1]
    assert beat(runtime, 2) == [2]
    assert beat(runtime, 3) == [3]
    assert beat(bench.outbox, 4) == [4]
    assert beat(runtime, 5) == [5]
    assert bench.send() == []


def test_a_heartbeat_of_an_earlier_outage_is_not_sent_after_the_live_one(bench: Bench) -> None:
    bench.opened(bench.runtime).replace_heartbeat('{"beat":"of an outage"}')
    bench.outbox.replace_heartbeat('{"beat":"live"}')

    (published,) = bench.send()

    assert json.loads(published.payload) == {"beat": "live"}


def test_without_a_connection_it_is_still_seen_which_heartbeat_is_the_last_one(bench: Bench) -> None:
    bench.link.connected = False
    bench.outbox.replace_heartbeat('{"beat":1}')
    bench.send()
    bench.opened(bench.runtime).replace_heartbeat('{"beat":2}')
    bench.send()
    bench.link.connected = True

    (published,) = bench.send()

    assert json.loads(published.payload) == {"beat": 2}


# Files that are replaced or fail


def replace_by_a_new_one(bench: Bench) -> None:
    """As control does with a damaged file: move it aside, whoever has it open, and make another one."""
    for end in ("-wal", "-shm", ""):
        (bench.state / (FILE_NAME + end)).rename(bench.state / f"moved{end}")
    bench.outbox = bench.opened(bench.state)


def test_P6_a_file_that_was_replaced_is_noticed_and_what_was_on_its_way_deletes_nothing_of_the_new_one(
    bench: Bench,
) -> None:
    bench.append(2, Stream.ALERT)
    of_the_old = bench.send()

    replace_by_a_new_one(bench)
    bench.append(2, Stream.ALERT, size=50)
    of_the_new = bench.send()
    bench.end(of_the_old[0])
    bench.end(of_the_old[1], "connection lost")

    assert [each.sequences for each in of_the_new] == [[1], [2]]
    assert of_the_new[0].payload != of_the_old[0].payload
    assert bench.waiting(Stream.ALERT) == [1, 2]
    assert bench.send() == []
    for each in of_the_new:
        bench.end(each)
    assert bench.waiting(Stream.ALERT) == []


def test_P6_letting_go_of_a_replaced_file_does_not_take_the_new_ones_log_from_control(bench: Bench) -> None:
    bench.append(1)
    bench.send()
    replace_by_a_new_one(bench)
    bench.append(1)
    log_before = (bench.state / f"{FILE_NAME}-wal").stat()

    bench.send()
    bench.append(1)

    assert (bench.state / f"{FILE_NAME}-wal").stat().st_ino == log_before.st_ino
    assert bench.opened(bench.state).waiting(Stream.TELEMETRY) == 2


def test_P6_an_outbox_that_is_none_is_left_as_it_is_while_the_other_is_served(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = bench.opened(bench.runtime)
    bench.outbox.close()
    (bench.state / FILE_NAME).write_bytes(b"not a database" * 1000)

    bench.append(1, Stream.ALERT, outbox=runtime)
    first = bench.send()
    bench.now_s += REOPEN_AFTER_S
    bench.append(1, Stream.ALERT, outbox=runtime)
    second = bench.send()

    assert [each.channel for each in first + second] == ["alert", "alert"]
    assert (bench.state / FILE_NAME).read_bytes() == b"not a database" * 1000
    (record,) = caplog.records
    assert "file is not a database" in record.message


def run_on_disk(bench: Bench, statement: str) -> None:
    disk = sqlite3.connect(bench.state / FILE_NAME)
    disk.execute(statement)
    disk.close()


def test_P5_what_arrived_but_cannot_be_deleted_is_not_sent_again_and_deleted_when_that_works(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    run_on_disk(bench, "CREATE TRIGGER ro BEFORE DELETE ON alert BEGIN SELECT RAISE(ABORT, 'read-only'); END")
    bench.append(3, Stream.ALERT)
    first, second, third = bench.send()

    bench.end(first)
    bench.end(second)
    bench.end(third, "connection lost")
    bench.now_s += DELETE_AGAIN_AFTER_S
    (again,) = bench.send()
    still_there = bench.waiting(Stream.ALERT)
    run_on_disk(bench, "DROP TRIGGER ro")
    bench.end(again)
    bench.now_s += DELETE_AGAIN_AFTER_S
    bench.send()

    assert again.sequences == [3]
    assert still_there == [1, 2, 3]
    assert bench.waiting(Stream.ALERT) == []
    assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == [
        f"messages that have arrived cannot be deleted from {bench.state / FILE_NAME}: read-only; trying again"
    ]


def test_P6_an_outbox_that_cannot_be_read_is_tried_again_later(bench: Bench) -> None:
    bench.append(1)
    run_on_disk(bench, "ALTER TABLE telemetry RENAME TO away")

    none = bench.send()
    run_on_disk(bench, "ALTER TABLE away RENAME TO telemetry")
    bench.now_s += REOPEN_AFTER_S - 0.001
    too_early = bench.send()
    bench.now_s += 0.001
    published = bench.send()

    assert none == too_early == []
    assert [each.sequences for each in published] == [[1]]


def test_what_waits_is_counted_over_both_outboxes_as_far_as_they_can_be_read(bench: Bench) -> None:
    bench.append(2)
    bench.append(3, Stream.ALERT, outbox=bench.opened(bench.runtime))
    bench.link.connected = False
    bench.send()

    assert bench.delivery.waiting() == 5
    run_on_disk(bench, "DROP TABLE telemetry")
    assert bench.delivery.waiting() == 0


def test_uplink_without_an_endpoint_says_what_to_write_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")

    done = subprocess.run(
        [sys.executable, "-m", "solarshed", "uplink", "--config", config], capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == ("solarshed uplink: uplink.endpoint is empty; write your account's AWS IoT data endpoint there")
