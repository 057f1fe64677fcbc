"""What a panel asks of the store, in no engine's language.

Each query says which rows it has; `dashboard.timestream`, `dashboard.influxql` and `page.outbox` give just these.
Times come first, and are those of a bin's or a day's beginning where samples are put together. The columns are named
as in the store (see `contract.store`).
"""

from dataclasses import dataclass
from enum import StrEnum

from contract import store


class Aggregate(StrEnum):
    """What becomes of the samples of a bin or a day."""

    MEAN = "mean"
    MAXIMUM = "maximum"
    LAST = "last"


class Quantity(StrEnum):
    """What is counted over a day or longer, with its unit."""

    GRID_TIME_S = store.GRID_TIME_S
    TRANSFERS = store.TRANSFERS


@dataclass(frozen=True)
class Trend:
    """A row for each bin with samples (and each source, if `by_source`): time, [source], each of `columns`."""

    measure: str
    columns: tuple[str, ...]
    aggregate: Aggregate = Aggregate.MEAN
    by_source: bool = False


@dataclass(frozen=True)
class Newest:
    """One row, of the newest sample (for each source, if `by_source`): time, [source], each of `columns`."""

    measure: str
    columns: tuple[str, ...]
    by_source: bool = False


@dataclass(frozen=True)
class DailyMaximum:
    """A row for each day with samples, and each source: time, source, `column`."""

    measure: str
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """As the other queries have it."""
        return (self.column,)


@dataclass(frozen=True)
class Daily:
    """A row for each day with samples: time, and how much of `quantity` there was."""

    quantity: Quantity

    @property
    def columns(self) -> tuple[str, ...]:
        """As the other queries have it."""
        return (self.quantity.value,)


@dataclass(frozen=True)
class Total:
    """One row: how much of `quantity` there was in the whole range. `long`: the range may be years."""

    quantity: Quantity
    long: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """As the other queries have it."""
        return (self.quantity.value,)


@dataclass(frozen=True)
class Events:
    """A row for each decision in which one of `columns`, which are texts, is set, newest first: time, `columns`."""

    columns: tuple[str, ...]

    @property
    def measure(self) -> str:
        """Where events are kept."""
        return store.MEASURE_DECISION


Query = Trend | Newest | DailyMaximum | Daily | Total | Events

# Rows of events at most; who wants to see more takes a smaller range.
MOST_EVENTS = 100
