"""The file that control and uplink share: an outbox of what must arrive, and the newest heartbeat.

SQLite in WAL mode: a writer and a reader do not wait for each other. Control appends; uplink deletes a row only when
the broker has acknowledged it. A row's id is its sequence number: it grows by one within its stream for as long as the
file lives, over restarts and boots, so that whoever receives the stream can see that nothing is missing. A heartbeat
is replaced, not queued: an old one would say that a dead device is alive.

The file has a cap in bytes. Over it the appender makes room, and counts in the file what it has dropped:

1. what is in quarantine, which nobody would deliver;
2. every second of the oldest routine samples that have not been thinned yet, or have been once, twice and so on:
   whichever are the most. So a long outage gets sparser with age, as 1 : age, and no part of it vanishes;
3. where no routine sample is left, the oldest of the others (transitions);
4. then the oldest alerts.

A message that the broker refuses for good, or that no broker would take, goes into quarantine: the newest of those are
kept to be looked at.

A file that SQLite finds damaged is moved aside by the process that appends, and by no other: the reader only looks
whether the file is still the one that it has open (`is_current`), and opens the new one.
"""

import logging
import math
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from contract.errors import SolarshedError
from device.packing import PackedError, pack, unpack

log = logging.getLogger(__name__)

FILE_NAME = "outbox.sqlite"
DAMAGED_NAME = "outbox.sqlite.damaged"

DEFAULT_MOST_BYTES = 64 * 1024 * 1024
MOST_QUARANTINED = 100

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE telemetry (id INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, is_routine INTEGER NOT NULL);
CREATE TABLE alert (id INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL);
CREATE TABLE heartbeat (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    beat INTEGER NOT NULL,
    payload TEXT NOT NULL
);
"""
# Since version 2.
_SCHEMA_OF_WHAT_IS_GIVEN_UP = """
CREATE TABLE dropped (what TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE thinning (times INTEGER PRIMARY KEY, up_to_id INTEGER NOT NULL);
CREATE TABLE quarantine (
    number INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    id INTEGER NOT NULL,
    payload BLOB NOT NULL,
    why TEXT NOT NULL
);
"""
# Whether a sample of an older version is routine is not known; nearly all are.
_FROM_VERSION_1 = """
ALTER TABLE telemetry ADD COLUMN is_routine INTEGER NOT NULL DEFAULT 1;
UPDATE telemetry SET payload = packed(payload);
UPDATE alert SET payload = packed(payload);
"""
# The log beside the file is as large at most once it has been written back, which SQLite does at about the same size.
_MOST_LOG_BYTES = 4 * 1024 * 1024
# The part of the cap that is left free, and the part that is freed at a time: room is not made at every append.
_ROOM = 32
_ROWS_AT_A_TIME = 256
_FEWEST_TO_THIN = 2
_BUSY_TIMEOUT_S = 5.0
_BUSY_RETRY_S = 0.05
# What the card has lost may lie where only uplink reads: a look at all of it now and then finds that as well.
_CHECK_EVERY_S = 3600.0


class Stream(StrEnum):
    """What kind of message a row is; each has a table of this name."""

    TELEMETRY = "telemetry"
    ALERT = "alert"


class Dropped(StrEnum):
    """What is counted when it is given up."""

    SAMPLES_THINNED = "samples_thinned"
    TRANSITIONS_DROPPED = "transitions_dropped"
    ALERTS_DROPPED = "alerts_dropped"
    MESSAGES_QUARANTINED = "messages_quarantined"


class Message(NamedTuple):
    """What to append: JSON text. A routine sample is one that nothing but the time of day asked for."""

    stream: Stream
    payload: str
    is_routine: bool = False


@dataclass(frozen=True, slots=True)
class _Span:
    """Samples that have been thinned `times` times."""

    times: int
    after_id: int
    up_to_id: int

    @property
    def rows(self) -> float:
        """How many are left, about."""
        return math.ldexp(self.up_to_id - self.after_id, -self.times)


class OutboxError(SolarshedError, OSError):
    """The outbox cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One message to deliver. `id` is its sequence number, `payload` JSON text; "" = what was kept is not whole."""

    id: int
    stream: Stream
    payload: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that is not delivered any more, and why."""

    row: Row
    why: str


class _DamagedError(sqlite3.DatabaseError):
    """SQLite's check of the file has found something."""


class Outbox:
    """One process's connection. Use it from one thread only."""

    def __init__(self, directory: Path, *, is_appender: bool = False, most_bytes: int = DEFAULT_MOST_BYTES) -> None:
        """Open the outbox in `directory`, made if it is not there.

        The appender, one process at a time, moves a damaged file aside and makes a new one, and keeps the file within
        `most_bytes`. The log beside it has up to 4 MB more.

        Raises:
            OutboxError: the directory or the file cannot be used.
        """
        self._path = directory / FILE_NAME
        self._is_appender = is_appender
        self._most_bytes = most_bytes
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connect(may_start_anew=self._is_appender)
        except (OSError, sqlite3.Error) as e:
            raise OutboxError(
                f"outbox {self._path}: {e}; see that the directory is writable and the disk not full"
            ) from e

    def _connect(self, *, may_start_anew: bool) -> None:
        # Before the file is opened: one that is put in its place meanwhile must look like another one.
        self._identity = _identity(self._path)
        self._db = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        self._identity = self._identity or _identity(self._path)
        try:
            self._prepare()
            if self._is_appender:
                self._check()
        except sqlite3.Error as e:
            if may_start_anew and _is_damage(e):
                self._start_anew(e)
                return
            self._db.close()
            raise

    def _start_anew(self, damage: sqlite3.Error) -> None:
        """Move the damaged file aside, in place of an earlier one, and make a new one."""
        messages = self._count_messages()
        self._db.close()
        # The file itself last: what another process finds without its companions is then the damaged one.
        for end in ("-wal", "-shm", ""):
            part = self._path.with_name(FILE_NAME + end)
            aside = self._path.with_name(DAMAGED_NAME + end)
            if part.exists():
                part.replace(aside)
            else:
                aside.unlink(missing_ok=True)
        log.error(
            "outbox %s is damaged (%s): moved to %s with %s messages that were not delivered; a new one is begun",
            self._path,
            damage,
            DAMAGED_NAME,
            "an unknown number of" if messages is None else messages,
        )
        self._connect(may_start_anew=False)

    def _count_messages(self) -> int | None:
        try:
            return sum(self.waiting(stream) for stream in Stream)
        except sqlite3.Error:
            return None

    def _check(self) -> None:
        """Look at all of the file; what is found has its own error."""
        self._check_due_s = time.monotonic() + _CHECK_EVERY_S
        finding = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if finding != "ok":
            raise _DamagedError(finding)

    def _prepare(self) -> None:
        self._switch_to_wal()
        self._db.execute(f"PRAGMA journal_size_limit = {_MOST_LOG_BYTES}")
        # A power cut may take the last commits, never the file: enough for samples, and kind to the card.
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > _SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"has version {version}, this software knows {_SCHEMA_VERSION}")
            if version < _SCHEMA_VERSION:
                self._begin_with(_SCHEMA if version == 0 else _FROM_VERSION_1)

    def _begin_with(self, statements: str) -> None:
        self._db.create_function("packed", 1, pack)
        for statement in (statements + _SCHEMA_OF_WHAT_IS_GIVEN_UP).split(";"):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _switch_to_wal(self) -> None:
        # Here SQLite itself does not wait for the other process; control and uplink make the file at the same moment.
        give_up_at_s = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at_s:
                    raise
                time.sleep(_BUSY_RETRY_S)
            else:
                return

    def append(self, rows: Sequence[tuple[Stream, str] | Message], heartbeat: str | None = None) -> None:
        """Add messages, and put a new heartbeat in place of the old one, in one transaction: all of it or nothing.

        A pair is a message that is not routine.

        Raises:
            sqlite3.Error, OSError: the disk is full, read-only or failing; or another process has been writing for
                longer than five seconds. An appender then has to be closed and opened again.
        """
        try:
            if self._is_appender and time.monotonic() >= self._check_due_s:
                self._check()
            self._append(rows, heartbeat)
        except sqlite3.DatabaseError as e:
            if not (self._is_appender and _is_damage(e)):
                raise
            self._start_anew(e)
            self._append(rows, heartbeat)

    def _append(self, rows: Sequence[tuple[Stream, str] | Message], heartbeat: str | None) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for row in rows:
                self._insert(Message(*row))
            if heartbeat is not None:
                self.replace_heartbeat(heartbeat)
            if self._is_appender:
                self._make_room()

    def _insert(self, message: Message) -> None:
        packed = pack(message.payload)
        if message.stream is Stream.TELEMETRY:
            values = (packed, message.is_routine)
            self._db.execute("INSERT INTO telemetry (payload, is_routine) VALUES (?, ?)", values)
        else:
            self._db.execute(f"INSERT INTO {message.stream} (payload) VALUES (?)", (packed,))

    # The cap. All of this is part of the transaction of an append.

    def _make_room(self) -> None:
        room_bytes = self._most_bytes // _ROOM
        if self._used_bytes() <= self._most_bytes - room_bytes:
            return
        self._db.execute("DELETE FROM quarantine")
        for drop_some in (self._thin, self._drop_oldest_samples, self._drop_oldest_alerts):
            while self._used_bytes() > self._most_bytes - 2 * room_bytes:
                if not drop_some():
                    break

    def _used_bytes(self) -> int:
        """What the file's pages in use take; the others are filled before the file grows."""
        pages, free, page_bytes = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * page_bytes

    def _thin(self) -> bool:
        """Drop every second routine sample of some hundred rows; false when too few are left to choose from."""
        span = self._densest()
        if span is None:
            return False
        rows = self._db.execute(
            "SELECT id, payload, is_routine FROM telemetry WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (span.after_id, span.up_to_id, _ROWS_AT_A_TIME),
        ).fetchall()
        self._db.execute(
            "INSERT INTO thinning VALUES (?, ?) ON CONFLICT (times) DO UPDATE SET up_to_id = excluded.up_to_id",
            (span.times + 1, rows[-1][0] if rows else span.up_to_id),
        )
        dropped = {id_ for id_, _, _ in [row for row in rows if row[2]][1::2]}
        if dropped:
            # Only pages that are empty come free: what is kept must move together.
            self._db.execute("DELETE FROM telemetry WHERE id BETWEEN ? AND ?", (rows[0][0], rows[-1][0]))
            kept = [row for row in rows if row[0] not in dropped]
            self._db.executemany("INSERT INTO telemetry (id, payload, is_routine) VALUES (?, ?, ?)", kept)
            self._count(Dropped.SAMPLES_THINNED, len(dropped))
        return True

    def _densest(self) -> _Span | None:
        """Of the spans that have been thinned equally often, the one with the most rows, as far as ids tell."""
        (oldest,) = self._db.execute("SELECT MIN(id) FROM telemetry").fetchone()
        (newest,) = self._db.execute("SELECT MAX(id) FROM telemetry").fetchone()
        if oldest is None:
            return None
        thinned_up_to = dict(self._db.execute("SELECT times, up_to_id FROM thinning"))
        spans, up_to_id = [], newest
        for times in range(len(thinned_up_to) + 1):
            after_id = max(thinned_up_to.get(times + 1, 0), oldest - 1)
            spans.append(_Span(times, after_id, up_to_id))
            up_to_id = after_id
        densest = max(spans, key=lambda span: span.rows)
        return densest if densest.rows >= _FEWEST_TO_THIN else None

    def _drop_oldest_samples(self) -> bool:
        """Drop the oldest routine samples that thinning has left, or else the oldest others; false without any."""
        routine = self._drop_oldest("telemetry WHERE is_routine")
        self._count(Dropped.SAMPLES_THINNED, routine)
        transitions = 0 if routine else self._drop_oldest("telemetry")
        self._count(Dropped.TRANSITIONS_DROPPED, transitions)
        return routine + transitions > 0

    def _drop_oldest_alerts(self) -> bool:
        alerts = self._drop_oldest("alert")
        self._count(Dropped.ALERTS_DROPPED, alerts)
        return alerts > 0

    def _drop_oldest(self, of: str) -> int:
        table = of.partition(" ")[0]
        return self._db.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {of} ORDER BY id LIMIT {_ROWS_AT_A_TIME})"
        ).rowcount

    def _count(self, what: Dropped, count: int) -> None:
        if count:
            self._db.execute(
                "INSERT INTO dropped VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET count = count + excluded.count",
                (what, count),
            )

    def dropped(self) -> dict[str, int]:
        """How many messages have ever been given up in this file, by `Dropped`'s names."""
        counts = {what.value: 0 for what in Dropped}
        return counts | dict(self._db.execute("SELECT what, count FROM dropped"))

    def oldest(self, stream: Stream, limit: int, after_id: int = 0) -> list[Row]:
        """Up to `limit` rows of `stream`, oldest first, with ids above `after_id`."""
        rows = self._db.execute(f"SELECT id, payload FROM {stream} WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit))
        return [Row(id_, stream, _unpacked(packed)) for id_, packed in rows]

    def delete(self, stream: Stream, ids: Sequence[int]) -> None:
        """Remove rows that have arrived."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(f"DELETE FROM {stream} WHERE id = ?", [(id_,) for id_ in ids])

    def quarantine(self, stream: Stream, ids: Sequence[int], why: str) -> int:
        """Deliver these rows no more, and return how many of them were there.

        The newest MOST_QUARANTINED of all such rows are kept, to be looked at.
        """
        count = 0
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for id_ in ids:
                moved = self._db.execute(
                    f"INSERT INTO quarantine (stream, id, payload, why) SELECT ?, id, payload, ? FROM {stream}"
                    " WHERE id = ?",
                    (stream, why, id_),
                )
                count += moved.rowcount
                self._db.execute(f"DELETE FROM {stream} WHERE id = ?", (id_,))
            self._count(Dropped.MESSAGES_QUARANTINED, count)
            self._db.execute(
                "DELETE FROM quarantine WHERE number <= (SELECT MAX(number) FROM quarantine) - ?", (MOST_QUARANTINED,)
            )
        return count

    def quarantined(self) -> list[Quarantined]:
        """What is in quarantine, oldest first."""
        rows = self._db.execute("SELECT stream, id, payload, why FROM quarantine ORDER BY number")
        return [Quarantined(Row(id_, Stream(stream), _unpacked(packed)), why) for stream, id_, packed, why in rows]

    def waiting(self, stream: Stream) -> int:
        """How many messages of `stream` wait to be delivered."""
        return int(self._db.execute(f"SELECT COUNT(*) FROM {stream}").fetchone()[0])

    def appended(self, stream: Stream) -> int:
        """How many messages of `stream` there have ever been in this file."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (stream,)).fetchone()
        return 0 if row is None else int(row[0])

    def replace_heartbeat(self, payload: str) -> None:
        """Put a new heartbeat in place of the old one."""
        self._db.execute(
            "INSERT INTO heartbeat VALUES (1, 1, ?)"
            " ON CONFLICT (only_row) DO UPDATE SET beat = beat + 1, payload = excluded.payload",
            (payload,),
        )

    def heartbeat(self) -> tuple[int, str] | None:
        """The newest heartbeat and its number, which grows with each one; None before the first."""
        row = self._db.execute("SELECT beat, payload FROM heartbeat").fetchone()
        return None if row is None else (row[0], row[1])

    def is_current(self) -> bool:
        """Whether the file that is open here is the one in the directory: it may have been moved, or replaced.

        Raises:
            OSError: the directory cannot be looked at.
        """
        return self._identity == _identity(self._path)

    def close(self) -> None:
        """Close the connection. Harmless when repeated."""
        self._db.close()


def newest_samples(directory: Path, after_id: int, limit: int) -> list[Row]:
    """Up to `limit` of the newest samples that wait in `directory`, oldest first, with ids above `after_id`.

    For somebody who only looks: the file is opened for that alone. None where there is no file yet.

    Raises:
        OutboxError: it cannot be read.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return []
    query = f"SELECT id, payload FROM {Stream.TELEMETRY} WHERE id > ? ORDER BY id DESC LIMIT ?"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)) as db:
            found = db.execute(query, (after_id, limit)).fetchall()
    except sqlite3.Error as e:
        raise OutboxError(f"outbox {path}: {e}; see that this user may read it") from e
    return [Row(id_, Stream.TELEMETRY, _unpacked(packed)) for id_, packed in reversed(found)]


def _unpacked(packed: bytes) -> str:
    try:
        return unpack(packed)
    except PackedError:
        return ""


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file this is, whatever its name; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _is_damage(error: sqlite3.Error) -> bool:
    # The lower byte is the kind. Errors of Python's own module have no code.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, _DamagedError) or kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
