"""The table of `make bench`: each row holds a number of ours against a peer or a limit, both from the same run."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

_HEAD = ("#", "", "ours", "other", "", "ratio", "goal", "")
_NUMBERS = (2, 3, 5)


class NotMeasuredError(Exception):
    """There is no result; the text says why."""


class Of(StrEnum):
    """What a goal is for: our own number, or its ratio to the other one."""

    OURS = "ours"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a number must not be above, or with `is_least` not below."""

    of: Of
    bound: float
    is_least: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `number` is that of the goal in docs/performance.md. `unit` is that of `ours` and `other`; `other_is` says in words
    what the other one is. Without `other` there is no ratio, without `goal` no verdict.
    """

    number: int
    what: str
    unit: str
    ours: float
    other: float | None = None
    other_is: str = ""
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.other if self.other else None

    @property
    def share_of_goal(self) -> float | None:
        """1 = just met, above 1 = missed; None without a goal."""
        value = self.ours if self.goal is not None and self.goal.of is Of.OURS else self.ratio
        if self.goal is None or value is None:
            return None
        if self.goal.is_least:
            return self.goal.bound / value if value else math.inf
        return value / self.goal.bound

    @property
    def is_met(self) -> bool | None:
        share = self.share_of_goal
        return None if share is None else share <= 1.0

    @property
    def goal_in_words(self) -> str:
        if self.goal is None:
            return ""
        unit = "x" if self.goal.of is Of.RATIO else self.unit
        return f"at {'least' if self.goal.is_least else 'most'} {in_digits(self.goal.bound)} {unit}"

    @property
    def verdict(self) -> str:
        return {True: "met", False: "MISSED", None: "no goal"}[self.is_met]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "share_of_goal": self.share_of_goal, "is_met": self.is_met}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one benchmark has found: its rows, whatever else is worth reading, and why a row is missing, in words."""

    rows: tuple[Row, ...]
    details: str = ""
    not_measured: str = ""


def in_digits(value: float) -> str:
    """Three significant digits, and never an exponent: 0.0123, 1.23, 12.3, 1,234."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = int(f"{value:.2e}".partition("e")[2])  # after rounding: 9.999 has the one of 10.0
    return f"{value:,.{max(0, 2 - exponent)}f}"


def table(rows: Sequence[Row], not_measured: Sequence[tuple[str, str]] = ()) -> str:
    """All rows as text, then what could not be measured, then how many goals are met."""
    cells = [_HEAD, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            text.rjust(width) if column in _NUMBERS else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    lines[1:1] = ["-" * max(map(len, lines))]
    judged = [row for row in rows if row.is_met is not None]
    missed = [row for row in judged if not row.is_met]
    lines += ["", f"{len(judged) - len(missed)} of {len(judged)} goals met"]
    lines += [f"MISSED: {row.what}: {_missed_by(row)}" for row in missed]
    lines += [f"NOT MEASURED: {name}: {why}" for name, why in not_measured]
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        str(row.number),
        row.what,
        f"{in_digits(row.ours)} {row.unit}",
        "" if row.other is None else f"{in_digits(row.other)} {row.unit}",
        row.other_is,
        "" if row.ratio is None else f"{in_digits(row.ratio)} x",
        row.goal_in_words,
        row.verdict,
    )


def _missed_by(row: Row) -> str:
    is_ratio = row.goal is not None and row.goal.of is Of.RATIO
    value = f"{in_digits(row.ratio or math.nan)} x" if is_ratio else f"{in_digits(row.ours)} {row.unit}"
    return f"{value}, the goal is {row.goal_in_words}"
