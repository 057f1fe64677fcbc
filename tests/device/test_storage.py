import errno
import json
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.positions import Reason
from device import state_file, storage
from device.journal import Entry
from device.observe import initial_state
from device.outbox import DEFAULT_MOST_BYTES, FILE_NAME, Message, Outbox, Stream
from device.storage import Storage
from tests.device.minutes import samples


def entry(number: int) -> Entry:
    return Entry(sample=f'{{"n":{number}}}', heartbeat=f'{{"beat":{number}}}', alerts=(f'{{"alert":{number}}}',))


def sample(number: int) -> Entry:
    return Entry(sample=f'{{"n":{number}}}', heartbeat=None, alerts=())


def state(since_s: float) -> str:
    return state_file.text_of(initial_state(since_s), Reason.HOLD, "boot", ())


def until(is_so: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "did not come to pass"
        time.sleep(0.01)


class Places:
    """The two directories, what is in them, and a storage that writes to them; quick to retry."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.runtime = directory / "run"
        self._storages: list[Storage] = []

    def storage(self, *, write_interval_s: float = 0.0, outbox_most_bytes: int = DEFAULT_MOST_BYTES) -> Storage:
        self._storages.append(
            Storage(
                self.state,
                self.runtime,
                write_interval_s=write_interval_s,
                outbox_most_bytes=outbox_most_bytes,
            )
        )
        return self._storages[-1]

    def close(self) -> None:
        for each in self._storages:
            each.close()

    def rows(self, stream: Stream, directory: Path | None = None) -> list[int]:
        """The numbers of what waits, as `entry` and `sample` put them in."""
        directory = directory or self.state
        if not (directory / FILE_NAME).exists():
            return []
        outbox = Outbox(directory)
        payloads = [json.loads(row.payload) for row in outbox.oldest(stream, 10_000)]
        outbox.close()
        return [payload["n" if stream is Stream.TELEMETRY else "alert"] for payload in payloads]

    def beat(self, directory: Path | None = None) -> str | None:
        directory = directory or self.state
        if not (directory / FILE_NAME).exists():
            return None
        outbox = Outbox(directory)
        newest = outbox.heartbeat()
        outbox.close()
        return None if newest is None else newest[1]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    monkeypatch.setattr(storage, "RETRY_S", 0.05)
    monkeypatch.setattr(storage, "_POLL_S", 0.02)
    places = Places(tmp_path)
    yield places
    places.close()


class HangingDisk:
    """The state directory's outbox, which does not return until it is let go."""

    def __init__(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        self.fails_with: OSError | None = None
        real = Outbox.append

        def append(outbox: Outbox, rows: list[tuple[Stream, str]], heartbeat: str | None = None) -> None:
            if outbox._path.parent == places.state:
                self.entered.set()
                assert self.release.wait(20)
                if self.fails_with is not None:
                    raise self.fails_with
            real(outbox, rows, heartbeat)

        monkeypatch.setattr(Outbox, "append", append)


@pytest.fixture
def hanging(places: Places, monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingDisk]:
    monkeypatch.setattr(storage, "HANGING_AFTER_S", 0.2)
    disk = HangingDisk(places, monkeypatch)
    yield disk
    disk.release.set()


def spoil(places: Places) -> None:
    places.state.write_text("not a directory")


def mend(places: Places) -> None:
    places.state.unlink()


def words(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.message) for record in caplog.records if record.name == "device.storage"]


# A disk that works


def test_everything_is_written_in_order_and_what_waits_is_written_on_closing(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    writer = places.storage()

    for number in range(350):
        writer.put(entry(number))
    writer.keep(state(1.0))
    writer.close()

    assert places.rows(Stream.TELEMETRY) == list(range(350))
    assert places.rows(Stream.ALERT) == list(range(350))
    assert places.beat() == '{"beat":349}'
    assert state_file.read(places.state) == state(1.0)
    assert not writer.is_failing
    assert writer.dropped == 0
    assert not places.runtime.exists()
    assert words(caplog) == []


def test_what_is_put_is_written_soon_without_closing(places: Places) -> None:
    writer = places.storage()

    writer.put(Entry(sample=None, heartbeat='{"beat":1}', alerts=()))
    until(lambda: places.beat() == '{"beat":1}')
    writer.put(sample(1))

    until(lambda: places.rows(Stream.TELEMETRY) == [1])


def test_P14_a_state_that_has_not_changed_is_not_written_again(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = state_file.write

    def noting(directory: Path, text: str) -> None:
        real(directory, text)
        written.append(text)

    monkeypatch.setattr(state_file, "write", noting)
    writer = places.storage()

    for _ in range(100):
        writer.keep(state(1.0))
    until(lambda: len(written) == 1)
    writer.put(sample(1))
    writer.keep(state(1.0))
    until(lambda: places.rows(Stream.TELEMETRY) == [1])
    writer.keep(state(2.0))
    until(lambda: len(written) == 2)
    writer.close()

    assert written == [state(1.0), state(2.0)]


def test_closing_with_nothing_to_write_makes_no_file(places: Places) -> None:
    places.storage().close()

    assert not places.state.exists()
    assert not places.runtime.exists()


def test_P6_an_outbox_that_somebody_took_away_is_made_anew(places: Places) -> None:
    writer = places.storage()
    writer.put(sample(1))
    until(lambda: places.rows(Stream.TELEMETRY) == [1])
    for path in places.state.iterdir():
        path.unlink()

    writer.put(sample(2))

    until(lambda: places.rows(Stream.TELEMETRY) == [2])


# Samples without news


def minute(number: int) -> Entry:
    """A routine sample."""
    return Entry(sample=f'{{"n":{number}}}', heartbeat=None, alerts=(), is_routine=True)


class Writes:
    """Counts the transactions of the state directory's outbox."""

    def __init__(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[list[Message]] = []
        real = Outbox.append

        def append(outbox: Outbox, rows: list[Message], heartbeat: str | None = None) -> None:
            real(outbox, rows, heartbeat)
            if outbox._path.parent == places.state:
                self.rows.append(rows)

        monkeypatch.setattr(Outbox, "append", append)


@pytest.fixture
def writes(places: Places, monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(places, monkeypatch)


NEWS = {
    "a change": Entry('{"n":9}', None, ()),
    "an alert": Entry('{"n":9}', None, ('{"alert":9}',)),
    "a heartbeat": Entry('{"n":9}', '{"beat":9}', (), is_routine=True),
    "an alert without a sample": Entry(None, None, ('{"alert":9}',)),
}


@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS)
def test_P14_routine_samples_wait_for_news_and_go_with_it_in_order_and_in_one_transaction(
    news: Entry, places: Places, writes: Writes
) -> None:
    writer = places.storage(write_interval_s=60.0)

    for number in (1, 2, 3):
        writer.put(minute(number))
    time.sleep(0.3)
    before = list(writes.rows)
    writer.put(news)
    until(lambda: len(writes.rows) == 1)

    samples = [row for row in writes.rows[0] if row.stream is Stream.TELEMETRY]
    assert before == []
    assert [json.loads(row.payload)["n"] for row in samples] == [1, 2, 3] + [9] * (news.sample is not None)
    assert [row.is_routine for row in samples[:3]] == [True] * 3
    assert all(row.is_routine == news.is_routine for row in samples[3:])


def test_P14_routine_samples_wait_no_longer_than_the_write_interval(places: Places, writes: Writes) -> None:
    writer = places.storage(write_interval_s=0.5)
    before_s = time.monotonic()

    writer.put(minute(1))
    time.sleep(0.1)
    writer.put(minute(2))
    until(lambda: len(writes.rows) == 1)

    assert 0.4 < time.monotonic() - before_s < 5.0
    assert places.rows(Stream.TELEMETRY) == [1, 2]


def test_I7_so_many_routine_samples_wait_no_longer(places: Places, writes: Writes) -> None:
    writer = places.storage(write_interval_s=3600.0)

    for number in range(storage._MOST_IN_BATCH + 5):
        writer.put(minute(number))
    until(lambda: len(places.rows(Stream.TELEMETRY)) >= storage._MOST_IN_BATCH)

    assert len(writes.rows) == 1
    assert writer.dropped == 0


def test_P9_closing_writes_the_routine_samples_that_wait(places: Places) -> None:
    writer = places.storage(write_interval_s=3600.0)

    writer.put(minute(1))
    writer.put(minute(2))
    writer.close()

    assert places.rows(Stream.TELEMETRY) == [1, 2]


def test_P14_a_state_that_is_written_takes_no_routine_sample_along(places: Places, writes: Writes) -> None:
    writer = places.storage(write_interval_s=3600.0)

    writer.put(minute(1))
    writer.keep(state(1.0))
    until(lambda: state_file.read(places.state) == state(1.0))
    time.sleep(0.1)

    assert writes.rows == []


def test_N1_what_the_outbox_has_given_up_is_counted_with_what_this_process_has(places: Places) -> None:
    writer = places.storage(outbox_most_bytes=128 * 1024)
    before = writer.counts
    day = samples(1000)

    for text in day:
        writer.put(Entry(text, None, (), is_routine=True))
    writer.close()

    assert set(before.values()) == {0}
    assert writer.counts == before | {"samples_thinned": 1000 - len(rows_of(places))}
    assert writer.counts["samples_thinned"] > 0
    # The cap, and the batch that went over it.
    assert (places.state / FILE_NAME).stat().st_size <= 128 * 1024 + 100 * 300


def rows_of(places: Places) -> list[str]:
    outbox = Outbox(places.state)
    rows = [row.payload for row in outbox.oldest(Stream.TELEMETRY, 10_000)]
    outbox.close()
    return rows


# A disk that fails


def test_I7_of_what_waits_for_a_disk_routine_samples_go_before_the_others(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_WAITING", 10)
    spoil(places)
    writer = places.storage()
    writer.keep(state(1.0))
    until(lambda: writer.is_failing)

    for number in range(30):
        writer.put(sample(number) if number % 5 == 0 else minute(number))
    mend(places)
    until(lambda: not writer.is_failing)
    writer.close()

    assert places.rows(Stream.TELEMETRY) == [0, 5, 10, 15, 20, 25, 26, 27, 28, 29]
    assert writer.counts["samples_dropped"] == writer.dropped == 20


def test_P4_while_the_disk_fails_alerts_and_the_heartbeat_go_to_the_runtime_directory_and_samples_wait(
    places: Places,
) -> None:
    spoil(places)
    writer = places.storage()

    writer.put(entry(1))
    until(lambda: writer.is_failing)
    writer.put(entry(2))
    writer.keep(state(1.0))
    until(lambda: places.rows(Stream.ALERT, places.runtime) == [1, 2])
    until(lambda: places.beat(places.runtime) == '{"beat":2}')
    assert places.rows(Stream.TELEMETRY, places.runtime) == []

    mend(places)
    until(lambda: places.rows(Stream.TELEMETRY) == [1, 2])
    until(lambda: not writer.is_failing)
    writer.put(entry(3))
    until(lambda: places.rows(Stream.TELEMETRY) == [1, 2, 3])

    assert state_file.read(places.state) == state(1.0)
    assert places.rows(Stream.ALERT) == [3]
    assert places.beat() == '{"beat":3}'
    assert places.rows(Stream.ALERT, places.runtime) == [1, 2]
    assert writer.dropped == 0


def test_P4_an_outage_is_one_warning_and_one_line_when_it_is_over(
    places: Places, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(storage, "MOST_WAITING", 10)
    spoil(places)
    writer = places.storage()

    writer.keep(state(1.0))
    for number in range(30):
        writer.put(sample(number))
        time.sleep(0.03)
    mend(places)
    until(lambda: not writer.is_failing)

    until(lambda: len(words(caplog)) == 2)
    (first, second) = words(caplog)
    assert first == (
        "WARNING",
        f"state directory {places.state} fails: state.json not written: [Errno 17] File exists: '{places.state}'; "
        f"deciding goes on, alerts go through {places.runtime}, up to 10 samples wait in memory",
    )
    assert second[0] == "INFO"
    assert re.fullmatch(
        rf"state directory {places.state} works again after [1-9] s; {writer.dropped} messages were dropped", second[1]
    )
    assert writer.dropped > 0


def test_P4_each_outage_counts_what_was_dropped_in_it(
    places: Places, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(storage, "MOST_WAITING", 0)
    writer = places.storage()

    for number in (1, 2):
        spoil(places)
        writer.keep(state(float(number)))
        until(lambda: writer.is_failing)
        writer.put(sample(number))
        mend(places)
        until(lambda: not writer.is_failing)
        for path in places.state.iterdir():
            path.unlink()
        places.state.rmdir()

    assert writer.dropped == 2
    until(lambda: len([level for level, _ in words(caplog) if level == "INFO"]) == 2)
    assert [message.rpartition("; ")[2] for level, message in words(caplog) if level == "INFO"] == [
        "1 messages were dropped",
        "1 messages were dropped",
    ]


def test_I7_a_bounded_number_waits_the_oldest_samples_go_first_and_alerts_last(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_WAITING", 10)
    spoil(places)
    places.runtime.write_text("not a directory either")
    writer = places.storage()
    for number in range(6):
        writer.put(entry(number))
    until(lambda: writer.is_failing)

    for number in range(6, 12):
        writer.put(sample(number))
    until(lambda: writer.dropped == 8)
    for number in range(20, 28):
        writer.put(entry(number))
    mend(places)
    writer.close()

    # 6 alerts and 6 + 6 samples, of which 4 find room; then 8 more of each: 10 alerts remain, the oldest 4 are gone.
    assert writer.dropped == 8 + 4 + 8 + 4
    assert places.rows(Stream.TELEMETRY) == []
    assert places.rows(Stream.ALERT) == [4, 5, *range(20, 28)]


def test_P4_an_entry_that_could_only_be_written_in_part_is_not_written_twice(places: Places) -> None:
    Outbox(places.state).close()
    disk = sqlite3.connect(places.state / FILE_NAME, isolation_level=None, timeout=5.0)
    disk.execute("CREATE TRIGGER full BEFORE INSERT ON telemetry BEGIN SELECT RAISE(ABORT, 'disk full'); END")

    writer = places.storage()
    writer.put(entry(1))
    until(lambda: places.rows(Stream.ALERT, places.runtime) == [1])
    disk.execute("DROP TRIGGER full")
    disk.close()
    until(lambda: places.rows(Stream.TELEMETRY) == [1])

    assert places.rows(Stream.ALERT) == []


def test_P4_a_state_that_cannot_be_written_does_not_keep_samples_waiting(places: Places) -> None:
    (places.state / state_file.FILE_NAME / "in the way").mkdir(parents=True)
    writer = places.storage()

    writer.keep(state(1.0))
    until(lambda: writer.is_failing)
    writer.put(sample(1))

    until(lambda: places.rows(Stream.TELEMETRY) == [1])
    assert writer.is_failing
    (places.state / state_file.FILE_NAME / "in the way").rmdir()
    (places.state / state_file.FILE_NAME).rmdir()
    until(lambda: not writer.is_failing)
    assert state_file.read(places.state) == state(1.0)


def test_P4_a_state_that_became_again_what_it_was_is_written_after_a_failure(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = places.storage()
    writer.keep(state(1.0))
    until(lambda: state_file.read(places.state) == state(1.0))
    real = state_file.write

    def no_space(_directory: Path, _text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(state_file, "write", no_space)
    writer.keep(state(2.0))
    until(lambda: writer.is_failing)
    writer.keep(state(1.0))
    monkeypatch.setattr(state_file, "write", real)

    until(lambda: not writer.is_failing)
    assert state_file.read(places.state) == state(1.0)


def test_P5_where_neither_directory_works_alerts_wait_with_one_warning_more(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(places)
    places.runtime.write_text("not a directory either")
    writer = places.storage()

    writer.put(entry(1))
    until(lambda: len(words(caplog)) == 2)
    time.sleep(0.3)
    writer.put(Entry(None, None, ('{"alert":2}',)))
    time.sleep(0.3)
    places.runtime.unlink()

    until(lambda: places.rows(Stream.ALERT, places.runtime) == [1, 2])
    assert places.beat(places.runtime) == '{"beat":1}'
    assert [level for level, _ in words(caplog)] == ["WARNING", "WARNING"]
    assert words(caplog)[1][1].startswith(
        f"the runtime directory cannot be used either, alerts wait in memory: outbox {places.runtime}"
    )


def test_P5_on_closing_what_the_disk_does_not_take_is_tried_once_more_and_its_alerts_are_saved(places: Places) -> None:
    spoil(places)
    writer = places.storage()
    writer.keep(state(1.0))
    until(lambda: writer.is_failing)
    before_s = time.monotonic()

    writer.put(entry(1))
    writer.close()

    assert time.monotonic() - before_s < 1.5
    assert places.rows(Stream.ALERT, places.runtime) == [1]


# A disk that hangs


def test_P4_a_write_that_hangs_delays_nobody_and_its_alerts_get_out_all_the_same(
    places: Places, hanging: HangingDisk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer = places.storage()
    writer.put(entry(1))
    assert hanging.entered.wait(5)

    before_s = time.monotonic()
    writer.put(entry(2))
    writer.keep(state(1.0))
    assert time.monotonic() - before_s < 0.5
    until(lambda: places.rows(Stream.ALERT, places.runtime) == [1, 2])
    assert places.beat(places.runtime) == '{"beat":2}'
    until(lambda: writer.is_failing)
    hanging.release.set()
    until(lambda: not writer.is_failing)

    until(lambda: places.rows(Stream.TELEMETRY) == [1, 2])
    # The write that hung took its alert with it in the end: it arrives twice, which is better than not at all.
    assert places.rows(Stream.ALERT) == [1]
    until(lambda: [level for level, _ in words(caplog)] == ["WARNING", "INFO"])
    assert "fails: a write has been hanging for more than 0.2 s; deciding goes on" in words(caplog)[0][1]


def test_P4_a_write_that_is_only_slow_is_no_outage(
    places: Places, hanging: HangingDisk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(storage, "HANGING_AFTER_S", 60.0)
    writer = places.storage()
    writer.put(entry(1))
    assert hanging.entered.wait(5)

    time.sleep(0.3)

    assert not writer.is_failing
    hanging.release.set()
    until(lambda: places.rows(Stream.ALERT) == [1])
    assert not places.runtime.exists()
    assert words(caplog) == []


def test_P4_a_write_that_hangs_and_then_fails_loses_nothing_and_is_still_one_outage(
    places: Places, hanging: HangingDisk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hanging.fails_with = OSError(errno.EIO, os.strerror(errno.EIO))
    writer = places.storage()
    writer.put(entry(1))
    until(lambda: places.rows(Stream.ALERT, places.runtime) == [1])

    hanging.release.set()
    time.sleep(0.3)
    assert writer.is_failing
    hanging.fails_with = None
    until(lambda: not writer.is_failing)

    assert places.rows(Stream.TELEMETRY) == [1]
    assert places.rows(Stream.ALERT) == []
    until(lambda: [level for level, _ in words(caplog)] == ["WARNING", "INFO"])


def test_P9_closing_does_not_wait_for_a_disk_that_hangs_but_saves_its_alerts(
    places: Places, hanging: HangingDisk
) -> None:
    writer = places.storage()
    writer.put(entry(1))
    assert hanging.entered.wait(5)
    before_s = time.monotonic()

    writer.close()

    assert time.monotonic() - before_s < 2.2
    assert places.rows(Stream.ALERT, places.runtime) == [1]


def test_I7_a_disk_that_hangs_for_long_costs_bounded_memory(
    places: Places, hanging: HangingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_WAITING", 20)
    writer = places.storage()
    writer.put(sample(0))
    assert hanging.entered.wait(5)

    for number in range(1, 101):
        writer.put(sample(number))
    hanging.release.set()
    until(lambda: places.rows(Stream.TELEMETRY) == [0, *range(81, 101)])

    assert writer.dropped == 80
