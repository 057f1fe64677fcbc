"""The owner's overrides, as the page shows them, wherever they come from."""

from dataclasses import dataclass
from typing import Any, Protocol

from contract.shadow import OverrideState

Answer = dict[str, Any]


class NoAnswerError(Exception):
    """The overrides cannot be read; a sentence says why."""


@dataclass(frozen=True)
class Override:
    """One wish, and what the device has said of it. `state` is None while that is nothing.

    Times are epoch milliseconds. `asked_ms` is AWS's, the others are the device's: its first report that says so.
    """

    mode: str
    until_ms: int
    asked_ms: int | None = None
    state: str | None = None
    because: str | None = None
    ends_at_ms: int | None = None
    applied_ms: int | None = None
    ended_ms: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What tells one wish from another."""
        return self.mode, self.until_ms

    @property
    def is_over(self) -> bool:
        """Whether the device has said that nothing more comes of it."""
        return is_over(self.state)


class Overrides(Protocol):
    """What the page's server needs. Another source than the shadow can take its place."""

    def now(self) -> Answer:
        """`standing`, those that are not over, and `refused`, why the device takes none; raises NoAnswerError."""
        ...

    def known(self) -> list[Override]:
        """All that have been heard of, oldest first."""
        ...


def is_over(state: str | None) -> bool:
    """Whether an override in `state`, one of OverrideState, has come to its end."""
    return state in list(OverrideState) and OverrideState(str(state)).is_over
