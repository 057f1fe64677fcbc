import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from device.outbox import DAMAGED_NAME, FILE_NAME, Outbox, OutboxError, Row, Stream

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
    newer.execute("PRAGMA user_version = 2")
    newer.close()

    with pytest.raises(OutboxError, match="has version 2, this software knows 1") as _error:
        Outbox(tmp_path)

    assert open_files_in(tmp_path) == []
    again = sqlite3.connect(tmp_path / FILE_NAME)
    assert again.execute("SELECT payload FROM telemetry").fetchall() == [("kept",)]
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


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)

    outbox.close()
    outbox.close()

    assert open_files_in(tmp_path) == []
