"""Where the page has its rows from: a store that is asked over the network, or the outbox of the Pi that it runs on.

SourceError
  UnavailableError      there is no answer now; says why
"""

from dataclasses import dataclass
from typing import Protocol

from contract.errors import SolarshedError
from dashboard.queries import Query

Cell = str | float | int | bool | None
Row = dict[str, Cell]


class SourceError(SolarshedError):
    """A query without an answer."""


class UnavailableError(SourceError):
    """The source does not answer, or not this query."""


@dataclass(frozen=True)
class Window:
    """A range of time and the width of a bin, in epoch milliseconds."""

    from_ms: int
    to_ms: int
    bin_ms: int


class Source(Protocol):
    """What answers queries about one thing."""

    def rows(self, query: Query, window: Window) -> list[Row]:
        """The rows of `query`, as `dashboard.queries` has them; a time is the first column, in epoch milliseconds.

        Raises:
            UnavailableError: there are none now.
        """
        ...
