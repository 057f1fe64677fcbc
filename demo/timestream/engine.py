"""The store: databases, tables, and rows with versions, in DuckDB.

Each Timestream table is one DuckDB table in the schema `ts_store`. Beside the columns that a query sees, a row has
`ts_series` (its dimensions and measure name, hashed), `ts_version` and `ts_values` (its values, hashed).
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from .catalog import MAX_FUTURE_NS, Growth, Retention, Table
from .errors import (
    ConflictError,
    RejectedRecordsError,
    Rejection,
    ResourceNotFoundError,
    ServiceError,
    ValidationError,
)
from .records import Record, parse_records

SCHEMA = "ts_store"

_RESOURCE_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,256}")
_SQL_TYPES = {
    "DOUBLE": "DOUBLE",
    "BIGINT": "BIGINT",
    "VARCHAR": "VARCHAR",
    "BOOLEAN": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMP_NS",
}

Key = tuple[int, int]
"""(series_hash, time_ns): what identifies a record within its table."""


@dataclass(frozen=True)
class _Stored:
    version: int
    values_hash: int


@dataclass
class _Batch:
    """What one request changes: the rows to put, by key, and the keys whose rows they replace."""

    rows: dict[Key, Record]
    replaced: set[Key]
    growth: Growth
    ingested: Counter[str]
    rejections: list[Rejection]


class Engine:
    """Databases, tables and records, as WriteRecords and Query see them. Safe for use by several threads.

    `clock_ns` gives the time since the epoch, which decides what is too old and what `now()` is.
    """

    def __init__(self, path: Path | None = None, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.RLock()
        self._connection = _connect(path)
        self._databases = self._load_databases()
        self._tables = self._load_tables()

    def close(self) -> None:
        """Closes the store. Again is harmless."""
        with self._lock:
            self._connection.close()

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, by the engine's clock."""
        return self._clock_ns()

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own for one query: it sees only what is committed."""
        with self._lock:
            cursor = self._connection.cursor()
        with closing(cursor):
            yield cursor

    def create_database(self, name: str) -> dict[str, Any]:
        """Makes a database and describes it.

        Raises:
            ConflictError: it exists.
        """
        _check_resource_name(name)
        with self._lock:
            if any(name.casefold() == known.casefold() for known in self._databases):
                raise ConflictError(f"database {name!r} exists already")
            self._databases[name] = self._clock_ns() / 1e9
            self._connection.execute("INSERT INTO ts_catalog.databases VALUES (?, ?)", [name, self._databases[name]])
            return self.describe_database(name)

    def describe_database(self, name: str) -> dict[str, Any]:
        """A database as DescribeDatabase shows it."""
        created_s = self._database(name)
        return {
            "Arn": f"arn:aws:timestream:us-east-1:000000000000:database/{name}",
            "DatabaseName": name,
            "TableCount": len(self.list_tables(name)),
            "CreationTime": created_s,
            "LastUpdatedTime": created_s,
        }

    def create_table(self, database: str, name: str, retention: Retention) -> Table:
        """Makes an empty table.

        Raises:
            ConflictError: it exists.
        """
        _check_resource_name(name)
        with self._lock:
            self._database(database)
            if any(name.casefold() == known.name.casefold() for known in self.list_tables(database)):
                raise ConflictError(f"table {name!r} exists already in database {database!r}")
            table = Table(database, name, self._clock_ns() / 1e9, retention)
            self._connection.execute(
                f"CREATE TABLE {_stored(table)} (measure_name VARCHAR, time TIMESTAMP_NS,"
                " ts_series BIGINT, ts_version BIGINT, ts_values BIGINT)"
            )
            self._save(table)
            self._tables[database, name] = table
            return table

    def table(self, database: str, name: str) -> Table:
        """The table of that name.

        Raises:
            ResourceNotFoundError: there is none.
        """
        self._database(database)
        try:
            return self._tables[database, name]
        except KeyError:
            raise ResourceNotFoundError(f"table {name!r} does not exist in database {database!r}") from None

    def list_tables(self, database: str | None = None) -> list[Table]:
        """All tables, of one database or of all, by name."""
        if database is not None:
            self._database(database)
        with self._lock:
            return [t for _, t in sorted(self._tables.items()) if database in {None, t.database}]

    def count_rows(self, database: str, name: str) -> int:
        """How many records a table holds."""
        with self.cursor() as cursor:
            row = cursor.execute(f"SELECT count(*) FROM {_stored(self.table(database, name))}").fetchone()
        return int(row[0]) if row else 0

    def write_records(self, request: Mapping[str, Any]) -> dict[str, int]:
        """Stores a WriteRecords request and counts what was taken, as RecordsIngested.

        Raises:
            ResourceNotFoundError: no such table.
            ValidationError: the request is malformed; nothing was stored.
            RejectedRecordsError: some records were refused; the others are stored.
        """
        return self.load([request])

    def load(self, requests: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """As many WriteRecords requests for one table at once, which is quicker than one after the other.

        Raises:
            ResourceNotFoundError, ValidationError, RejectedRecordsError: as `write_records`.
        """
        table = self.table(requests[0].get("DatabaseName", ""), requests[0].get("TableName", ""))
        parsed = [parse_records(request) for request in requests]
        records = [record for found, _ in parsed for record in found]
        rejections = [rejection for _, found in parsed for rejection in found]
        with self._lock:
            batch = self._plan(table, records, rejections)
            self._store(table, batch)
        if batch.rejections:
            raise RejectedRecordsError(batch.rejections)
        counts = {store: batch.ingested[store] for store in ("MemoryStore", "MagneticStore")}
        return {"Total": batch.ingested.total(), **counts}

    def _plan(self, table: Table, records: list[Record], rejections: list[Rejection]) -> _Batch:
        batch = _Batch({}, set(), Growth(), Counter(), list(rejections))
        now_ns = self._clock_ns()
        stored = self._find_stored(table, records)
        for record in records:
            key = (record.series_hash(), record.time_ns)
            store = table.retention.store_for(record.time_ns, now_ns)
            earlier = batch.rows.get(key)
            existing = _Stored(earlier.version, earlier.values_hash()) if earlier else stored.get(key)
            refusal = _why_refused(table, record, batch.growth, store, existing, now_ns)
            if refusal:
                batch.rejections.append(refusal)
                continue
            batch.ingested[str(store)] += 1
            if existing and existing.version == record.version:
                continue
            batch.rows[key] = record
            batch.growth.add(record, table)
            if key in stored:
                batch.replaced.add(key)
        return batch

    def _find_stored(self, table: Table, records: list[Record]) -> dict[Key, _Stored]:
        if not records:
            return {}
        keys = [(record.series_hash(), record.time_ns) for record in records]
        sql = (
            f"SELECT s.ts_series, epoch_ns(s.time), s.ts_version, s.ts_values FROM {_stored(table)} s"
            " JOIN (SELECT unnest(?::BIGINT[]) AS series, make_timestamp_ns(unnest(?::BIGINT[])) AS time) k"
            " ON s.ts_series = k.series AND s.time = k.time"
            " WHERE s.time BETWEEN make_timestamp_ns(?::BIGINT) AND make_timestamp_ns(?::BIGINT)"
        )
        found = self._connection.execute(sql, _key_parameters(keys)).fetchall()
        return {(series, time_ns): _Stored(version, values) for series, time_ns, version, values in found}

    def _store(self, table: Table, batch: _Batch) -> None:
        if not batch.rows:
            return
        with self._transaction():
            self._grow(table, batch.growth)
            if batch.replaced:
                self._delete(table, sorted(batch.replaced))
            self._insert(table, list(batch.rows.items()))
        table.columns.update(batch.growth.columns)
        table.measure_kinds.update(batch.growth.measure_kinds)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        except duckdb.Error as error:
            self._connection.execute("ROLLBACK")
            raise ServiceError("InternalServerException", f"DuckDB: {error}", http_status=500) from error
        self._connection.execute("COMMIT")

    def _grow(self, table: Table, growth: Growth) -> None:
        if not growth.columns and not growth.measure_kinds:
            return
        for column in growth.columns.values():
            self._connection.execute(
                f"ALTER TABLE {_stored(table)} ADD COLUMN {_quoted(column.name)} {_SQL_TYPES[column.type_name]}"
            )
        columns = {**table.columns, **growth.columns}
        kinds = {**table.measure_kinds, **growth.measure_kinds}
        self._save(Table(table.database, table.name, table.created_s, table.retention, columns, kinds))

    def _delete(self, table: Table, keys: Sequence[Key]) -> None:
        self._connection.execute(
            f"DELETE FROM {_stored(table)} WHERE (ts_series, time) IN"
            " (SELECT unnest(?::BIGINT[]), make_timestamp_ns(unnest(?::BIGINT[])))"
            " AND time BETWEEN make_timestamp_ns(?::BIGINT) AND make_timestamp_ns(?::BIGINT)",
            _key_parameters(keys),
        )

    def _insert(self, table: Table, rows: list[tuple[Key, Record]]) -> None:
        types: dict[str, str] = {}
        cells: list[dict[str, object]] = []
        for (series, time_ns), record in rows:
            cell: dict[str, object] = {
                "measure_name": record.measure_name,
                "time": time_ns,
                "ts_series": series,
                "ts_version": record.version,
                "ts_values": record.values_hash(),
                **dict(record.dimensions),
            }
            types.update(dict.fromkeys(cell, "VARCHAR"))
            cell.update((m.column, m.value) for m in record.measures)
            types.update((m.column, m.type_name) for m in record.measures)
            cells.append(cell)
        types.update(time="TIMESTAMP", ts_series="BIGINT", ts_version="BIGINT", ts_values="BIGINT")
        names = ", ".join(map(_quoted, types))
        sources = ", ".join(map(_unnest, types.values()))
        columns = [[cell.get(name) for cell in cells] for name in types]
        self._connection.execute(f"INSERT INTO {_stored(table)} ({names}) SELECT {sources}", columns)

    def _database(self, name: str) -> float:
        try:
            return self._databases[name]
        except KeyError:
            raise ResourceNotFoundError(f"database {name!r} does not exist") from None

    def _save(self, table: Table) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO ts_catalog.tables VALUES (?, ?, ?)", [table.database, table.name, table.to_json()]
        )

    def _load_databases(self) -> dict[str, float]:
        return dict(self._connection.execute("SELECT name, created_s FROM ts_catalog.databases").fetchall())

    def _load_tables(self) -> dict[tuple[str, str], Table]:
        rows = self._connection.execute("SELECT database_name, name, description FROM ts_catalog.tables").fetchall()
        return {(database, name): Table.from_json(database, name, text) for database, name, text in rows}


def _connect(path: Path | None) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path) if path else ":memory:", config={"threads": 2, "integer_division": True})
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.execute("CREATE SCHEMA IF NOT EXISTS ts_catalog")
    connection.execute("CREATE TABLE IF NOT EXISTS ts_catalog.databases (name VARCHAR PRIMARY KEY, created_s DOUBLE)")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS ts_catalog.tables"
        " (database_name VARCHAR, name VARCHAR, description VARCHAR, PRIMARY KEY (database_name, name))"
    )
    # Queries come from outside: whatever gets past the dialect must not reach a file, a network or these settings.
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _why_refused(
    table: Table, record: Record, growth: Growth, store: str | None, existing: _Stored | None, now_ns: int
) -> Rejection | None:
    if store is None:
        return Rejection(record.record_index, _out_of_range(table.retention, record.time_ns, now_ns))
    misfit = table.why_not(record, growth)
    if misfit:
        return Rejection(record.record_index, misfit)
    if existing is None or record.version > existing.version:
        return None
    if record.version == existing.version and record.values_hash() == existing.values_hash:
        return None
    reason = (
        f"Version {record.version} is not above the stored version {existing.version} of a record with the same"
        " time, dimensions and measure name but other values"
        if record.version == existing.version
        else f"Version {record.version} is below the stored version {existing.version}"
    )
    return Rejection(record.record_index, reason, existing.version)


def _out_of_range(retention: Retention, time_ns: int, now_ns: int) -> str:
    if time_ns > now_ns + MAX_FUTURE_NS:
        return "The time is more than 15 minutes in the future"
    if retention.magnetic_writes:
        return f"The time is before the magnetic store's retention of {retention.magnetic_days} days"
    return (
        f"The time is before the memory store's retention of {retention.memory_h} h,"
        " and the table takes no writes to the magnetic store"
    )


def _check_resource_name(name: str) -> None:
    if not isinstance(name, str) or not _RESOURCE_NAME.fullmatch(name) or len(name) < 3:
        raise ValidationError(f"{name!r} is no name of 3 to 256 letters, digits, '_', '.' and '-'")


def _key_parameters(keys: Sequence[Key]) -> list[object]:
    series = [key[0] for key in keys]
    times_ns = [key[1] for key in keys]
    return [series, times_ns, min(times_ns), max(times_ns)]


def _unnest(type_name: str) -> str:
    if type_name == "TIMESTAMP":
        return "make_timestamp_ns(unnest(?::BIGINT[]))"
    return f"unnest(?::{type_name}[])"


def _stored(table: Table) -> str:
    return f"{SCHEMA}.{_quoted(table.storage_name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
