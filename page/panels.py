"""The panels of the page: what each shows, and the Timestream SQL behind it.

The only place that names columns. The server runs these queries and the page draws whatever is listed here, in this
order, knowing only a panel's kind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from contract import store
from contract.topics import check_thing_name


class Kind(StrEnum):
    """How a panel is drawn."""

    LINES = "lines"
    STATES = "states"


class Role(StrEnum):
    """What a series is: something measured, or a line that it is compared with."""

    MEASURED = "measured"
    LIMIT = "limit"


@dataclass(frozen=True)
class Range:
    """A span of time that the page offers; `bin_s` keeps a chart below 1500 points.

    Short ranges have bins of a second: as good as raw rows for a device that samples no faster, and bounded.
    """

    id: str
    title: str
    span_s: int
    bin_s: int


@dataclass(frozen=True)
class Series:
    """A column of a panel. `colour` names a colour of the page's style sheet."""

    column: str
    title: str
    colour: str
    role: Role = Role.MEASURED


@dataclass(frozen=True)
class Panel:
    """One chart. Its vertical axis always includes `minimum` and `maximum`."""

    id: str
    title: str
    kind: Kind
    unit: str
    decimals: int
    series: tuple[Series, ...]
    minimum: float | None = None
    maximum: float | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that this panel reads."""
        return tuple(series.column for series in self.series)


RANGES = (
    Range("5m", "5 min", 300, 1),
    Range("15m", "15 min", 900, 1),
    Range("1h", "1 h", 3600, 3),
    Range("6h", "6 h", 21_600, 15),
    Range("24h", "24 h", 86_400, 60),
    Range("7d", "7 days", 604_800, 420),
)
DEFAULT_RANGE = RANGES[1]
LONGEST_RANGE = RANGES[-1]

PANELS = (
    Panel(
        "battery",
        "Battery voltage",
        Kind.LINES,
        "V",
        1,
        (
            Series("battery_voltage_v", "battery", "battery"),
            Series("battery_low_voltage_v", "low", "danger", Role.LIMIT),
            Series("battery_recover_voltage_v", "recover", "good", Role.LIMIT),
        ),
    ),
    Panel(
        "position",
        "Grid or battery",
        Kind.STATES,
        "",
        0,
        (Series("position", "position", "battery"), Series("reason", "reason", "battery")),
    ),
    Panel(
        "temperature",
        "Box temperature",
        Kind.LINES,
        "°C",
        1,
        (
            Series("box_temperature_c", "box", "temperature"),
            Series("over_temperature_trip_c", "trip", "danger", Role.LIMIT),
        ),
    ),
    Panel(
        "power",
        "Solar and load power",
        Kind.LINES,
        "W",
        0,
        (Series("pv_power_w", "solar", "battery"), Series("load_power_w", "load", "load")),
        minimum=0,
        maximum=100,
    ),
)

_FROM = f'FROM "{store.DATABASE}"."{store.TABLE}"'


def averages_sql(columns: Iterable[str], thing: str, span: Range) -> str:
    """One row a bin, oldest first: `binned_time`, then `average_COLUMN` for each of `columns`."""
    binned = f"bin(time, {span.bin_s}s)"
    averages = ", ".join(f"avg({column}) AS average_{column}" for column in columns)
    return (
        f"SELECT {binned} AS binned_time, {averages} {_FROM} WHERE {_decisions_of(thing, span)} "
        f"GROUP BY {binned} ORDER BY binned_time"
    )


def newest_sql(columns: Iterable[str], thing: str, rows: int) -> str:
    """The newest `rows` samples, newest first: `time`, then each of `columns`."""
    return (
        f"SELECT time, {', '.join(columns)} {_FROM} WHERE {_decisions_of(thing, LONGEST_RANGE)} "
        f"ORDER BY time DESC LIMIT {rows:d}"
    )


def changes_sql(columns: Sequence[str], thing: str, span: Range) -> str:
    """The samples at which a text column changed, newest first: `time`, `previous_time`, each column and its previous.

    The first sample of the span is among them, with no previous time and empty previous texts.
    """
    return _rows_with_previous(columns, thing, span, [_changed(column) for column in columns])


def spans_sql(columns: Sequence[str], thing: str, span: Range, gap_ms: int) -> str:
    """As `changes_sql`, with the samples that follow `gap_ms` of silence and the span's last sample as well."""
    silent = f"date_diff('millisecond', previous_time, time) > {gap_ms:d}"
    wanted = ["next_time IS NULL", silent, *(_changed(column) for column in columns)]
    return _rows_with_previous(columns, thing, span, wanted)


def _rows_with_previous(columns: Sequence[str], thing: str, span: Range, wanted: Iterable[str]) -> str:
    inner = ", ".join(f"{column}, lag({column}) OVER (ORDER BY time) AS previous_{column}" for column in columns)
    names = (name for column in columns for name in (column, f"previous_{column}"))
    outer = ", ".join(f"{_text(name)} AS {name}" for name in names)
    return (
        f"SELECT time, previous_time, {outer} FROM (SELECT time, lag(time) OVER (ORDER BY time) AS previous_time, "
        f"lead(time) OVER (ORDER BY time) AS next_time, {inner} {_FROM} WHERE {_decisions_of(thing, span)}) "
        f"WHERE previous_time IS NULL OR {' OR '.join(wanted)} ORDER BY time DESC"
    )


def _changed(column: str) -> str:
    return f"{_text(column)} <> {_text(f'previous_{column}')}"


def _text(column: str) -> str:
    # Timestream holds no empty text: a sample without alerts has NULL there.
    return f"coalesce({column}, '')"


def _decisions_of(thing: str, span: Range) -> str:
    return (
        f"measure_name = '{store.MEASURE_DECISION}' AND {store.DIMENSION_THING} = '{check_thing_name(thing)}' "
        f"AND time >= ago({span.id})"
    )
