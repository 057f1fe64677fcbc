import itertools
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from device.outbox import (
    DAMAGED_NAME,
    FILE_NAME,
    MOST_QUARANTINED,
    Message,
    Outbox,
    OutboxError,
    Quarantined,
    Row,
    Stream,
)
from device.packing import pack
from tests.device.minutes import samples

# Appends when told to.
CHILD = """
import sys
from pathlib import Path
from device.outbox import Outbox, Stream

print("ready", flush=True)
sys.stdin.readline()
outbox = Outbox(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    outbox.append([(Stream.TELEMETRY, str(number))])
outbox.close()
"""


def child(directory: Path, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def payloads(outbox: Outbox, stream: Stream = Stream.TELEMETRY) -> list[str]:
    return [row.payload for row in outbox.oldest(stream, 1000)]


def test_rows_come_back_oldest_first_with_their_sequence_numbers(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "made" / "here")

    outbox.append([(Stream.TELEMETRY, "a"), (Stream.ALERT, "x"), (Stream.TELEMETRY, "b")])
    outbox.append([(Stream.TELEMETRY, "c")])

    assert outbox.oldest(Stream.TELEMETRY, 2) == [Row(1, Stream.TELEMETRY, "a"), Row(2, Stream.TELEMETRY, "b")]
    assert outbox.oldest(Stream.TELEMETRY, 9, after_id=2) == [Row(3, Stream.TELEMETRY, "c")]
    assert outbox.oldest(Stream.ALERT, 9) == [Row(1, Stream.ALERT, "x")]
    assert outbox.waiting(Stream.TELEMETRY) == 3
    assert outbox.waiting(Stream.ALERT) == 1
    outbox.close()


def test_only_deleted_rows_are_gone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([(Stream.TELEMETRY, text) for text in "abcd"])
    outbox.append([(Stream.ALERT, "x")])

    outbox.delete(Stream.TELEMETRY, [1, 3])
    outbox.delete(Stream.TELEMETRY, [1, 99])

    assert payloads(outbox) == ["b", "d"]
    assert payloads(outbox, Stream.ALERT) == ["x"]
    outbox.close()


def test_the_sequence_goes_on_after_a_restart_and_after_all_rows_are_deleted(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([(Stream.TELEMETRY, text) for text in "abc"])
    outbox.delete(Stream.TELEMETRY, [1, 2, 3])
    outbox.close()

    outbox = Outbox(tmp_path)
    outbox.append([(Stream.TELEMETRY, "d")])
    outbox.append([(Stream.ALERT, "x")])

    assert outbox.oldest(Stream.TELEMETRY, 9) == [Row(4, Stream.TELEMETRY, "d")]
    assert outbox.oldest(Stream.ALERT, 9) == [Row(1, Stream.ALERT, "x")]
    assert outbox.appended(Stream.TELEMETRY) == 4
    assert outbox.appended(Stream.ALERT) == 1
    outbox.close()


def test_nothing_was_ever_appended_to_a_new_outbox(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)

    assert outbox.appended(Stream.TELEMETRY) == 0
    assert outbox.waiting(Stream.TELEMETRY) == 0
    assert outbox.oldest(Stream.TELEMETRY, 9) == []
    assert outbox.heartbeat() is None
    outbox.close()


def test_rows_are_appended_all_or_none(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON alert BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    other.close()

    with pytest.raises(sqlite3.Error, match="disk full"):
        outbox.append([(Stream.TELEMETRY, "a"), (Stream.ALERT, "x")])

    assert payloads(outbox) == []
    assert outbox.appended(Stream.TELEMETRY) == 0
    outbox.close()


def test_a_heartbeat_is_replaced_not_queued_and_its_number_grows_over_restarts(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.replace_heartbeat("one")
    first = outbox.heartbeat()
    outbox.replace_heartbeat("two")
    second = outbox.heartbeat()
    outbox.close()

    outbox = Outbox(tmp_path)
    outbox.replace_heartbeat("three")

    assert (first, second, outbox.heartbeat()) == ((1, "one"), (2, "two"), (3, "three"))
    outbox.close()


def test_another_process_appends_while_this_one_reads_and_deletes(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    process = child(tmp_path, 300)
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()

    received: list[Row] = []
    while len(received) < 300 and (process.poll() is None or outbox.waiting(Stream.TELEMETRY)):
        rows = outbox.oldest(Stream.TELEMETRY, 7)
        outbox.delete(Stream.TELEMETRY, [row.id for row in rows])
        received += rows

    assert process.communicate(timeout=30)[1] == ""
    assert [row.id for row in received] == list(range(1, 301))
    assert [row.payload for row in received] == [str(number) for number in range(300)]
    outbox.close()


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_process_that_opens_while_another_one_is_making_the_file_waits_for_it(begin: str, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None, check_same_thread=False)
    other.execute(begin)
    release = threading.Timer(0.5, other.execute, ["COMMIT"])
    release.start()

    outbox = Outbox(tmp_path)
    outbox.append([(Stream.TELEMETRY, "a")])

    release.join()
    assert payloads(outbox) == ["a"]
    outbox.close()
    other.close()


@pytest.mark.parametrize("parts", [("file",), ("file", "below")])
def test_a_directory_that_is_none_is_refused_with_the_remedy(parts: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")

    with pytest.raises(OutboxError, match=r"outbox .*outbox\.sqlite: .*see that the directory is writable"):
        Outbox(tmp_path.joinpath(*parts))


def test_a_directory_in_which_nothing_can_be_made_is_refused_with_the_remedy() -> None:
    # Not even root can make a directory here.
    with pytest.raises(OutboxError, match="see that the directory is writable and the disk not full"):
        Outbox(Path("/proc/self/solarshed"))


def test_P6_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but long enough to look at: " * 100)
    before = (tmp_path / FILE_NAME).read_bytes()

    with pytest.raises(OutboxError, match="file is not a database"):
        Outbox(tmp_path)

    assert (tmp_path / FILE_NAME).read_bytes() == before


def open_files_in(directory: Path) -> list[str]:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(link.readlink()) for link in links if str(link.readlink()).startswith(str(directory))]


def test_P3_a_file_of_a_newer_schema_is_refused_untouched_and_let_go_of(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([(Stream.TELEMETRY, "kept")])
    outbox.close()
    newer = sqlite3.connect(tmp_path / FILE_NAME)
    newer.execute("PRAGMA user_version = 3")
    newer.close()

    with pytest.raises(OutboxError, match="has version 3, this software knows 2") as _error:
        Outbox(tmp_path)

    assert open_files_in(tmp_path) == []
    again = sqlite3.connect(tmp_path / FILE_NAME)
    assert again.execute("SELECT payload FROM telemetry").fetchall() == [(pack("kept"),)]
    again.close()


# Damage


def damage(directory: Path, page: int) -> None:
    """Overwrite one page of the file, as a card may do."""
    with (directory / FILE_NAME).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def filled(directory: Path, count: int) -> None:
    outbox = Outbox(directory)
    outbox.append([(Stream.TELEMETRY, "x" * 1000)] * count)
    outbox.append([(Stream.ALERT, "y")])
    outbox.close()


def test_P6_the_appender_moves_a_file_that_is_no_database_aside_and_makes_a_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but long enough to look at: " * 100)
    before = (tmp_path / FILE_NAME).read_bytes()

    outbox = Outbox(tmp_path, is_appender=True)
    outbox.append([(Stream.TELEMETRY, "a")])

    assert payloads(outbox) == ["a"]
    assert (tmp_path / DAMAGED_NAME).read_bytes() == before
    (record,) = caplog.records
    assert "(file is not a database): moved to outbox.sqlite.damaged with an unknown number of messages" in (
        record.message
    )
    outbox.close()


def test_P6_damage_anywhere_in_the_file_is_found_when_the_appender_opens_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, 200)
    pages = (tmp_path / FILE_NAME).stat().st_size // 4096
    whole = (tmp_path / FILE_NAME).read_bytes()

    for page in range(1, pages + 1):
        (tmp_path / FILE_NAME).write_bytes(whole)
        damage(tmp_path, page)
        outbox = Outbox(tmp_path, is_appender=True)
        assert outbox.appended(Stream.TELEMETRY) == 0, page
        outbox.append([(Stream.TELEMETRY, "a")])
        outbox.close()

    assert len(caplog.records) == pages
    # Whole pages are gone; where it is only one of samples, the rest can still be counted.
    assert any("with an unknown number of messages" in record.message for record in caplog.records)


def test_P6_how_many_messages_are_lost_is_said_where_it_can_be_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, 3)
    disk = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    (root,) = disk.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'heartbeat'").fetchone()
    disk.close()
    damage(tmp_path, root)

    Outbox(tmp_path, is_appender=True).close()

    assert "moved to outbox.sqlite.damaged with 4 messages that were not delivered" in caplog.text


def test_P6_damage_that_comes_while_the_file_is_open_costs_no_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("device.outbox._CHECK_EVERY_S", 0.0)
    outbox = Outbox(tmp_path, is_appender=True)
    outbox.append([(Stream.TELEMETRY, "x" * 1000)] * 100)
    outbox.append([], "beat")
    checkpoint = sqlite3.connect(tmp_path / FILE_NAME)
    checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpoint.close()
    for page in range(2, 20):
        damage(tmp_path, page)

    outbox.append([(Stream.ALERT, "after")])

    assert payloads(outbox, Stream.ALERT) == ["after"]
    assert payloads(outbox) == []
    assert len(caplog.records) == 1
    assert open_files_in(tmp_path)
    outbox.close()
    assert open_files_in(tmp_path) == []


def test_P6_the_reader_leaves_a_damaged_file_where_it_is(tmp_path: Path) -> None:
    filled(tmp_path, 100)
    for page in range(2, 20):
        damage(tmp_path, page)
    before = (tmp_path / FILE_NAME).read_bytes()
    reader = Outbox(tmp_path)

    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        reader.append([(Stream.TELEMETRY, "a")])
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        reader.oldest(Stream.TELEMETRY, 9)

    reader.close()
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert not (tmp_path / DAMAGED_NAME).exists()


def test_P6_only_the_newest_damaged_file_is_kept_without_the_companions_of_another(tmp_path: Path) -> None:
    for name in (DAMAGED_NAME, f"{DAMAGED_NAME}-wal", f"{DAMAGED_NAME}-shm"):
        (tmp_path / name).write_bytes(b"of an earlier one")
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)

    Outbox(tmp_path, is_appender=True).close()

    assert (tmp_path / DAMAGED_NAME).read_bytes() == b"no database" * 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE_NAME, DAMAGED_NAME]


def test_P6_a_damaged_file_that_cannot_be_moved_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    (tmp_path / DAMAGED_NAME / "taken").mkdir(parents=True)

    with pytest.raises(OutboxError, match="Is a directory"):
        Outbox(tmp_path, is_appender=True)

    assert open_files_in(tmp_path) == []


def test_P6_a_locked_file_is_waited_for_no_longer_than_the_busy_timeout_and_never_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.outbox._BUSY_TIMEOUT_S", 0.3)
    outbox = Outbox(tmp_path, is_appender=True)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    before_s = time.monotonic()

    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        outbox.append([(Stream.TELEMETRY, "a")])

    assert time.monotonic() - before_s < 2.0
    other.execute("COMMIT")
    outbox.append([(Stream.TELEMETRY, "a")])
    assert payloads(outbox) == ["a"]
    assert not (tmp_path / DAMAGED_NAME).exists()
    other.close()
    outbox.close()


def test_whether_the_open_file_is_still_the_one_in_the_directory_can_be_asked(tmp_path: Path) -> None:
    first = Outbox(tmp_path)
    again = Outbox(tmp_path)
    assert first.is_current()
    assert again.is_current()

    (tmp_path / FILE_NAME).rename(tmp_path / "elsewhere")

    assert not first.is_current()
    other = Outbox(tmp_path)
    assert not first.is_current()
    assert other.is_current()
    for outbox in (first, again, other):
        outbox.close()


# What older software has left


VERSION_1 = """
CREATE TABLE telemetry (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL);
CREATE TABLE alert (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL);
CREATE TABLE heartbeat (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1), beat INTEGER NOT NULL, payload TEXT NOT NULL
);
INSERT INTO telemetry (payload) VALUES ('gone'), ('{"n":2}'), ('{"n":3}');
DELETE FROM telemetry WHERE id = 1;
INSERT INTO alert (payload) VALUES ('{"alert":"battery_low"}');
INSERT INTO heartbeat VALUES (1, 7, 'beat');
PRAGMA user_version = 1;
"""


@pytest.mark.parametrize("is_appender", [True, False])
def test_P3_a_file_of_version_1_is_taken_over_with_all_that_waits_in_it(is_appender: bool, tmp_path: Path) -> None:
    older = sqlite3.connect(tmp_path / FILE_NAME)
    older.executescript(VERSION_1)
    older.close()

    outbox = Outbox(tmp_path, is_appender=is_appender)
    outbox.append([(Stream.TELEMETRY, "four")])

    assert outbox.oldest(Stream.TELEMETRY, 9) == [
        Row(2, Stream.TELEMETRY, '{"n":2}'),
        Row(3, Stream.TELEMETRY, '{"n":3}'),
        Row(4, Stream.TELEMETRY, "four"),
    ]
    assert payloads(outbox, Stream.ALERT) == ['{"alert":"battery_low"}']
    assert outbox.heartbeat() == (7, "beat")
    outbox.close()
    again = Outbox(tmp_path)
    assert again.waiting(Stream.TELEMETRY) == 3
    again.close()


# The cap


CAP_BYTES = 512 * 1024
DAYS = samples(5 * 1440)


def file_bytes(directory: Path) -> int:
    return (directory / FILE_NAME).stat().st_size


def routine(*texts: str) -> list[Message]:
    return [Message(Stream.TELEMETRY, text, is_routine=True) for text in texts]


def offline(outbox: Outbox, directory: Path, minutes: int, transition_every: int = 200) -> tuple[list[int], int]:
    """Append minutes, five at a time, with a transition and an alert now and then.

    Returns the ids of the transitions, and the most bytes that the file and its log ever had.
    """
    transitions: list[int] = []
    largest = 0
    for minute in range(0, minutes, 5):
        rows = routine(*(DAYS[(minute + n) % len(DAYS)] for n in range(5)))
        if minute % transition_every == 0:
            rows += [Message(Stream.TELEMETRY, '{"reason":"battery_low"}'), Message(Stream.ALERT, '{"alert":1}')]
        outbox.append(rows)
        if minute % transition_every == 0:
            transitions.append(outbox.appended(Stream.TELEMETRY))
        largest = max(largest, file_bytes(directory))
    return transitions, largest


def test_a_realistic_sample_takes_0_3_kilobytes_of_the_file(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, is_appender=True)
    day = DAYS[:1440]

    outbox.append(routine(*day))
    outbox.close()

    assert sum(map(len, day)) / len(day) > 1500
    assert file_bytes(tmp_path) / len(day) < 300


def test_N1_two_weeks_offline_stay_within_the_cap_with_every_transition_and_alert(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)

    transitions, largest = offline(outbox, tmp_path, 14 * 1440)

    rows = outbox.oldest(Stream.TELEMETRY, 100_000)
    kept = {row.id for row in rows}
    assert largest <= CAP_BYTES
    assert kept.issuperset(transitions)
    assert outbox.waiting(Stream.ALERT) == len(transitions)
    appended = outbox.appended(Stream.TELEMETRY)
    assert outbox.dropped() == {
        "samples_thinned": appended - len(rows),
        "transitions_dropped": 0,
        "alerts_dropped": 0,
        "messages_quarantined": 0,
    }
    # What the cap allows is used.
    assert len(rows) > 0.8 * CAP_BYTES / 300
    outbox.close()


def test_N1_a_long_outage_gets_sparser_as_a_whole_the_oldest_first_and_none_of_it_vanishes(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)

    offline(outbox, tmp_path, 14 * 1440)

    ids = [row.id for row in outbox.oldest(Stream.TELEMETRY, 100_000)]
    appended = outbox.appended(Stream.TELEMETRY)
    gaps = [later - earlier for earlier, later in itertools.pairwise(ids)]
    assert ids[0] == 1
    assert ids[-1] == appended
    # Twelve times as long as the file has room for; a sample an hour would be a gap of 60.
    assert max(gaps) <= 64
    tenths = [sum(start < id_ <= start + appended // 10 for id_ in ids) for start in range(0, appended, appended // 10)]
    assert min(tenths[:10]) > appended / 1000
    assert tenths[0] < tenths[5] < tenths[8] < tenths[9]
    outbox.close()


def test_N1_below_the_cap_nothing_is_dropped(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)

    outbox.append(routine(*DAYS[:1700]))

    assert outbox.waiting(Stream.TELEMETRY) == 1700
    assert set(outbox.dropped().values()) == {0}
    outbox.close()


def test_N1_room_is_not_made_at_every_append(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)
    offline(outbox, tmp_path, 3000)
    counts = []

    for number in range(300):
        outbox.append(routine(DAYS[number]))
        counts.append(outbox.dropped()["samples_thinned"])

    assert len(set(counts)) <= 20
    assert counts[-1] > counts[0]
    outbox.close()


def test_N1_where_no_routine_sample_is_left_the_oldest_transitions_go_and_only_then_the_oldest_alerts(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)
    outbox.append(routine(*DAYS[:200]))
    outbox.append([(Stream.ALERT, text) for text in DAYS[:100]])

    for start in range(0, 4000, 100):
        outbox.append([(Stream.TELEMETRY, text) for text in DAYS[start : start + 100]])
    after_transitions = outbox.dropped()
    transitions = [row.id for row in outbox.oldest(Stream.TELEMETRY, 100_000)]
    alerts_then = outbox.waiting(Stream.ALERT)
    for start in range(0, 4000, 100):
        outbox.append([(Stream.ALERT, text) for text in DAYS[start : start + 100]])

    assert after_transitions["samples_thinned"] == 200
    assert after_transitions["transitions_dropped"] == 4000 - len(transitions)
    assert after_transitions["alerts_dropped"] == 0
    assert transitions == list(range(transitions[0], 4201))
    assert alerts_then == 100
    alerts = [row.id for row in outbox.oldest(Stream.ALERT, 100_000)]
    assert alerts == list(range(alerts[0], 4101))
    assert outbox.dropped()["transitions_dropped"] == 4000
    assert outbox.dropped()["alerts_dropped"] == 4100 - len(alerts)
    assert file_bytes(tmp_path) <= CAP_BYTES + 100 * 300
    outbox.close()


def test_N1_the_counts_and_how_far_it_was_thinned_outlast_a_restart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)
    offline(outbox, tmp_path, 4000)
    before = outbox.dropped()
    outbox.close()

    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)
    after = outbox.dropped()
    oldest_before = [row.id for row in outbox.oldest(Stream.TELEMETRY, 100)]
    offline(outbox, tmp_path, 300)

    assert before["samples_thinned"] > 0
    assert after == before
    assert outbox.dropped()["samples_thinned"] > before["samples_thinned"]
    # The next to be thinned are younger ones.
    assert [row.id for row in outbox.oldest(Stream.TELEMETRY, 100)] == oldest_before
    outbox.close()


def test_N1_only_the_appender_thins(tmp_path: Path) -> None:
    reader = Outbox(tmp_path, most_bytes=CAP_BYTES)

    reader.append(routine(*DAYS[:3000]))

    assert reader.waiting(Stream.TELEMETRY) == 3000
    reader.close()


def test_N1_a_row_that_is_on_its_way_while_it_moves_is_deleted_by_its_number_all_the_same(tmp_path: Path) -> None:
    control = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)
    uplink = Outbox(tmp_path)
    control.append(routine(*DAYS[:1700]))
    on_their_way = uplink.oldest(Stream.TELEMETRY, 100)

    offline(control, tmp_path, 1000)
    uplink.delete(Stream.TELEMETRY, [row.id for row in on_their_way])

    left = uplink.oldest(Stream.TELEMETRY, 100)
    assert left[0].id > 100
    assert all(row.payload in DAYS for row in left if "measures" in row.payload)
    control.close()
    uplink.close()


def test_I7_the_log_beside_the_file_is_bounded_too(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)
    log = tmp_path / f"{FILE_NAME}-wal"
    largest = 0

    for start in range(0, 3000, 5):
        outbox.append(routine(*DAYS[start : start + 5]))
        largest = max(largest, log.stat().st_size)

    assert largest < 5 * 1024 * 1024
    outbox.close()


def test_P4_making_room_is_part_of_the_append_all_or_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)
    outbox.append(routine(*DAYS[:1700]))
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON dropped BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    other.close()

    with pytest.raises(sqlite3.Error, match="disk full"):
        outbox.append(routine(*DAYS[1700:2200]))

    assert [row.id for row in outbox.oldest(Stream.TELEMETRY, 10_000)] == list(range(1, 1701))
    outbox.close()


# Quarantine


def test_N8_rows_in_quarantine_are_delivered_no_more_but_kept_with_the_reason(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([(Stream.TELEMETRY, text) for text in "abc"])
    outbox.append([(Stream.ALERT, "x")])

    moved = outbox.quarantine(Stream.TELEMETRY, [1, 3, 99], "refused")
    outbox.quarantine(Stream.ALERT, [1], "too large")

    assert moved == 2
    assert payloads(outbox) == ["b"]
    assert payloads(outbox, Stream.ALERT) == []
    assert outbox.quarantined() == [
        Quarantined(Row(1, Stream.TELEMETRY, "a"), "refused"),
        Quarantined(Row(3, Stream.TELEMETRY, "c"), "refused"),
        Quarantined(Row(1, Stream.ALERT, "x"), "too large"),
    ]
    assert outbox.dropped()["messages_quarantined"] == 3
    outbox.close()


def test_I7_the_newest_hundred_are_kept_in_quarantine_and_all_are_counted(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([(Stream.TELEMETRY, str(number)) for number in range(1, 251)])

    outbox.quarantine(Stream.TELEMETRY, range(1, 200), "refused")
    outbox.quarantine(Stream.TELEMETRY, range(200, 251), "refused")

    assert [each.row.id for each in outbox.quarantined()] == list(range(251 - MOST_QUARANTINED, 251))
    assert outbox.dropped()["messages_quarantined"] == 250
    outbox.close()


def test_N1_what_is_in_quarantine_goes_before_any_sample(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, is_appender=True, most_bytes=CAP_BYTES)
    outbox.append(routine(*DAYS[:1500]))
    outbox.append([(Stream.ALERT, "".join(DAYS[n : n + 40])) for n in range(40)])
    outbox.quarantine(Stream.ALERT, range(1, 41), "refused")
    before = outbox.dropped()

    outbox.append(routine(*DAYS[1500:2000]))

    assert outbox.quarantined() == []
    assert before["messages_quarantined"] == outbox.dropped()["messages_quarantined"] == 40
    outbox.close()


def test_P6_a_payload_that_the_card_has_spoilt_comes_back_empty_and_blocks_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([(Stream.TELEMETRY, '{"n":1}'), (Stream.TELEMETRY, '{"n":2}')])
    disk = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    disk.execute("UPDATE telemetry SET payload = x'5a5a5a' WHERE id = 1")
    disk.close()

    assert payloads(outbox) == ["", '{"n":2}']
    outbox.close()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)

    outbox.close()
    outbox.close()

    assert open_files_in(tmp_path) == []
