"""The file that control and uplink share: an outbox of what must arrive, and the newest heartbeat.

SQLite in WAL mode: a writer and a reader do not wait for each other. Control appends; uplink deletes a row only when
the broker has acknowledged it. A row's id is its sequence number: it grows by one within its stream for as long as the
file lives, over restarts and boots, so that whoever receives the stream can see that nothing is missing. A heartbeat
is replaced, not queued: an old one would say that a dead device is alive.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contract.errors import SolarshedError

FILE_NAME = "outbox.sqlite"

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


class Outbox:
    """One process's connection. Use it from one thread only."""

    def __init__(self, directory: Path) -> None:
        """Open the outbox in `directory`, made if it is not there.

        Raises:
            OutboxError: the directory or the file cannot be used.
        """
        path = directory / FILE_NAME
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            try:
                self._prepare()
            except sqlite3.Error:
                self._db.close()
                raise
        except (OSError, sqlite3.Error) as e:
            raise OutboxError(f"outbox {path}: {e}; see that the directory is writable and the disk not full") from e

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
            sqlite3.Error: the disk is full, read-only or failing.
        """
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

    def close(self) -> None:
        """Close the connection. Harmless when repeated."""
        self._db.close()
