import json
import logging
import queue
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contract.messages import MAX_PAYLOAD_BYTES, MAX_SAMPLES_PER_MESSAGE
from device.outbox import FILE_NAME, Outbox, Stream
from device.uplink.delivery import DELETE_AGAIN_AFTER_S, MAX_IN_FLIGHT, REFUSED_PAUSE_S, REOPEN_AFTER_S, Delivery
from device.uplink.link import Completion


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
            return [sample["sequence"] for sample in message["samples"]]
        return [message["sequence"]] if self.channel == "alert" else []


class RecordingLink:
    """A link whose other end is the test: it decides how each publish ends."""

    def __init__(self) -> None:
        self.connected = True
        self.completions: queue.Queue[Completion] = queue.Queue()
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
        self.now_s = 100.0
        self.delivery = self.new_delivery()

    def new_delivery(self) -> Delivery:
        return Delivery("shed", [self.state, self.runtime], self.link)

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
        padding = "x" * (size - 9)
        (outbox or self.outbox).append([(stream, f'{{"pad":"{padding}"}}')] * count)

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
        "schema": 1,
        "samples": [
            {"sequence": 1, "time_ms": 1, "measures": {"battery_voltage_v": 49.9}},
            {"sequence": 2, "time_ms": 2, "measures": {}},
        ],
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

    assert sequences == list(range(1, 41))


def test_N7_bytes_are_counted_not_characters(bench: Bench) -> None:
    bench.outbox.append([(Stream.TELEMETRY, json.dumps({"words": "\u00e4" * 30_000}, ensure_ascii=False))] * 4)

    published = bench.send()

    assert [len(each.sequences) for each in published] == [2, 2]
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


def test_N8_after_a_refusal_the_broker_is_left_alone_for_a_while(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.append(1)
    bench.append(1, Stream.ALERT)
    bench.outbox.replace_heartbeat('{"beat":1}')
    refused, alert, telemetry = bench.send()

    with caplog.at_level(logging.ERROR):
        bench.end(refused, "publish to x refused: NOT_AUTHORIZED", refused=True)
    bench.end(alert)
    bench.end(telemetry, "connection lost")
    bench.now_s += REFUSED_PAUSE_S - 0.001
    while_pausing = bench.send()
    bench.now_s += 0.001
    afterwards = bench.send()

    assert "NOT_AUTHORIZED; see that the stack's policy is attached" in caplog.text
    assert while_pausing == []
    assert [each.channel for each in afterwards] == ["heartbeat", "telemetry"]
    assert bench.waiting() == [1]


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
