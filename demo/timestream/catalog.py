"""What is known of a table besides its rows: retention, columns, and the type that each measure name was born with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ValidationError
from .records import Record

_HOUR_NS = 3600 * 10**9
_DAY_NS = 24 * _HOUR_NS
MAX_FUTURE_NS = 15 * 60 * 10**9

DIMENSION = "dimension"
SINGLE = "single"
MULTI_MEASURE = "multi"

MEMORY_STORE = "MemoryStore"
MAGNETIC_STORE = "MagneticStore"


@dataclass(frozen=True)
class Column:
    """A column that a write has made. `role` is DIMENSION, SINGLE or MULTI_MEASURE."""

    name: str
    role: str
    type_name: str


@dataclass(frozen=True)
class Retention:
    """How far back a table takes records."""

    memory_h: int = 6
    magnetic_days: int = 73000
    magnetic_writes: bool = False

    @classmethod
    def parse(cls, request: Mapping[str, Any]) -> "Retention":
        """The retention that a CreateTable request asks for.

        Raises:
            ValidationError: a period is outside the service's bounds.
        """
        periods = request.get("RetentionProperties") or {}
        memory_h = periods.get("MemoryStoreRetentionPeriodInHours", cls.memory_h)
        magnetic_days = periods.get("MagneticStoreRetentionPeriodInDays", cls.magnetic_days)
        if not 1 <= memory_h <= 8766:
            raise ValidationError("MemoryStoreRetentionPeriodInHours must be from 1 to 8766")
        if not 1 <= magnetic_days <= 73000:
            raise ValidationError("MagneticStoreRetentionPeriodInDays must be from 1 to 73000")
        writes = request.get("MagneticStoreWriteProperties") or {}
        return cls(memory_h, magnetic_days, bool(writes.get("EnableMagneticStoreWrites")))

    def store_for(self, time_ns: int, now_ns: int) -> str | None:
        """The store that takes a record of `time_ns`, or None when it is outside every store's time range."""
        if time_ns > now_ns + MAX_FUTURE_NS:
            return None
        if time_ns >= now_ns - self.memory_h * _HOUR_NS:
            return MEMORY_STORE
        if self.magnetic_writes and time_ns >= now_ns - self.magnetic_days * _DAY_NS:
            return MAGNETIC_STORE
        return None

    def body(self) -> dict[str, Any]:
        """These settings as DescribeTable shows them."""
        return {
            "RetentionProperties": {
                "MemoryStoreRetentionPeriodInHours": self.memory_h,
                "MagneticStoreRetentionPeriodInDays": self.magnetic_days,
            },
            "MagneticStoreWriteProperties": {"EnableMagneticStoreWrites": self.magnetic_writes},
        }


@dataclass
class Table:
    """A table's description. Columns and measure names only ever grow, as writes bring them."""

    database: str
    name: str
    created_s: float
    retention: Retention
    columns: dict[str, Column] = field(default_factory=dict)
    measure_kinds: dict[str, str] = field(default_factory=dict)

    @property
    def storage_name(self) -> str:
        """The name of the table that holds the rows; `/` is in no Timestream name, so it is unambiguous."""
        return f"{self.database}/{self.name}"

    def visible_columns(self) -> list[str]:
        """The columns that a query sees, in the order of SELECT *."""
        by_role = {role: [c.name for c in self.columns.values() if c.role == role] for role in _ROLES}
        return [*by_role[DIMENSION], "measure_name", "time", *by_role[SINGLE], *by_role[MULTI_MEASURE]]

    def why_not(self, record: Record, grown: "Growth") -> str | None:
        """Why `record` does not fit the columns that are there with `grown`, or None when it does."""
        kind = grown.measure_kinds.get(record.measure_name) or self.measure_kinds.get(record.measure_name)
        if kind not in {None, record.kind}:
            return f"Measure name {record.measure_name!r} is of type {kind}, and this record of {record.kind}"
        for column in columns_of(record):
            known = grown.columns.get(column.name.casefold()) or self.columns.get(column.name.casefold())
            if known is None or known == column:
                continue
            if known.name != column.name:
                return f"This stand-in cannot hold {column.name!r} beside {known.name!r}: only the case differs"
            return f"{column.name!r} is a {_text(known)} in this table, and a {_text(column)} in this record"
        return None

    def body(self) -> dict[str, Any]:
        """This table as DescribeTable shows it."""
        return {
            "Arn": f"arn:aws:timestream:us-east-1:000000000000:database/{self.database}/table/{self.name}",
            "TableName": self.name,
            "DatabaseName": self.database,
            "TableStatus": "ACTIVE",
            "CreationTime": self.created_s,
            "LastUpdatedTime": self.created_s,
            **self.retention.body(),
        }

    def to_json(self) -> str:
        """Everything but the names, for storage."""
        return json.dumps(
            {
                "created_s": self.created_s,
                "retention": vars(self.retention),
                "columns": [[c.name, c.role, c.type_name] for c in self.columns.values()],
                "measure_kinds": self.measure_kinds,
            }
        )

    @classmethod
    def from_json(cls, database: str, name: str, text: str) -> "Table":
        """The table that `to_json` wrote."""
        stored = json.loads(text)
        columns = [Column(*column) for column in stored["columns"]]
        return cls(
            database,
            name,
            stored["created_s"],
            Retention(**stored["retention"]),
            {column.name.casefold(): column for column in columns},
            stored["measure_kinds"],
        )


@dataclass
class Growth:
    """Columns (by their name in one case) and measure names that a request adds to its table."""

    columns: dict[str, Column] = field(default_factory=dict)
    measure_kinds: dict[str, str] = field(default_factory=dict)

    def add(self, record: Record, table: Table) -> None:
        """Takes what `record` brings that `table` has not."""
        for column in columns_of(record):
            if column.name.casefold() not in table.columns:
                self.columns[column.name.casefold()] = column
        if record.measure_name not in table.measure_kinds:
            self.measure_kinds[record.measure_name] = record.kind


_ROLES = (DIMENSION, SINGLE, MULTI_MEASURE)


def columns_of(record: Record) -> list[Column]:
    """The columns that `record` fills besides time and measure name."""
    role = MULTI_MEASURE if record.kind == "MULTI" else SINGLE
    dimensions = [Column(name, DIMENSION, "VARCHAR") for name, _ in record.dimensions]
    return dimensions + [Column(m.column, role, m.type_name) for m in record.measures]


def _text(column: Column) -> str:
    return "dimension" if column.role == DIMENSION else f"measure of type {column.type_name}"
