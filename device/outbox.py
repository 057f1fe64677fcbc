"""The file that control and uplink share: an outbox of what must arrive, and the newest heartbeat.

SQLite in WAL mode: a writer and a reader do not wait for each other. Control appends; uplink deletes a row only when
the broker has acknowledged it. A row's id is its sequence number: it grows by one within its stream for as long as the
file lives, over restarts and boots, so that whoever receives the stream can see that nothing is missing. A heartbeat
is replaced, not queued: an old one would say that a dead device is alive.

A file that SQLite finds damaged is moved aside by the process that appends, and by no other: the reader only looks
whether the file is still the one that it has open (`is_current`), and opens the new one.
"""

import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contract.errors import SolarshedError

log = logging.getLogger(__name__)

FILE_NAME = "outbox.sqlite"
DAMAGED_NAME = "outbox.sqlite.damaged"

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE telemetry (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL);
CREATE TABLE alert (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL);
CREATE TABLE heartbeat (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    beat INTEGER NOT NULL,
    payload TEXT NOT NULL
);
"""
_BUSY_TIMEOUT_S = 5.0
_BUSY_RETRY_S = 0.05
# What the card has lost may lie where only uplink reads: a look at all of it now and then finds that as well.
_CHECK_EVERY_S = 3600.0


class Stream(StrEnum):
    """What kind of message a row is; each has a table of this name."""

    TELEMETRY = "telemetry"
    ALERT = "alert"


class OutboxError(SolarshedError, OSError):
    """The outbox cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One message to deliver. `id` is its sequence number, `payload` JSON text."""

    id: int
    stream: Stream
    payload: str


class _DamagedError(sqlite3.DatabaseError):
    """SQLite's check of the file has found something."""


class Outbox:
    """One process's connection. Use it from one thread only."""

    def __init__(self, directory: Path, *, is_appender: bool = False) -> None:
        """Open the outbox in `directory`, made if it is not there.

        The appender, one process at a time, moves a damaged file aside and makes a new one.

        Raises:
            OutboxError: the directory or the file cannot be used.
        """
        self._path = directory / FILE_NAME
        self._is_appender = is_appender
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
        # A power cut may take the last commits, never the file: enough for samples, and kind to the card.
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            elif version != _SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"has version {version}, this software knows {_SCHEMA_VERSION}")

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

    def append(self, rows: Sequence[tuple[Stream, str]], heartbeat: str | None = None) -> None:
        """Add messages, and put a new heartbeat in place of the old one, in one transaction: all of it or nothing.

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

    def _append(self, rows: Sequence[tuple[Stream, str]], heartbeat: str | None) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for stream, payload in rows:
                self._db.execute(f"INSERT INTO {stream} (payload) VALUES (?)", (payload,))
            if heartbeat is not None:
                self.replace_heartbeat(heartbeat)

    def oldest(self, stream: Stream, limit: int, after_id: int = 0) -> list[Row]:
        """Up to `limit` rows of `stream`, oldest first, with ids above `after_id`."""
        rows = self._db.execute(f"SELECT id, payload FROM {stream} WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit))
        return [Row(id_, stream, payload) for id_, payload in rows]

    def delete(self, stream: Stream, ids: Sequence[int]) -> None:
        """Remove rows that have arrived."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(f"DELETE FROM {stream} WHERE id = ?", [(id_,) for id_ in ids])

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
