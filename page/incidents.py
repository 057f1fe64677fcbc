"""Incidents, as the page shows them: whom it has woken, and for how long."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from contract.words import plain

_FLAPPING = "flapping/"


@dataclass(frozen=True)
class Incident:
    """One of them. Times are epoch milliseconds; `resolved_ms` is None while it is open."""

    dedup_key: str
    severity: str
    summary: str
    opened_ms: int
    resolved_ms: int | None = None

    def as_json(self) -> dict[str, Any]:
        """As the page's API says it."""
        return {
            "dedup_key": self.dedup_key,
            "alert": _in_words(self.dedup_key),
            "severity": self.severity,
            "summary": self.summary,
            "opened_ms": self.opened_ms,
            "resolved_ms": self.resolved_ms,
        }


Incidents = Callable[[], Sequence[Incident]]


def _in_words(dedup_key: str) -> str:
    """What is behind the thing's name."""
    name = dedup_key.partition("/")[2] or dedup_key
    if name.startswith(_FLAPPING):
        return f"{plain(name.removeprefix(_FLAPPING))} comes and goes"
    return plain(name)
