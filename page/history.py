"""What the page shows of one thing, read from the table and shaped for JSON."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from contract import store
from contract.alerts import SEVERITY, Alert, Severity
from contract.topics import check_thing_name
from page import panels, timestream, words
from page.overrides import Override
from page.panels import Kind, Panel, Range
from page.timestream import Cell, Row, UnknownColumnError

if TYPE_CHECKING:
    from mypy_boto3_timestream_query import TimestreamQueryClient

EVENT_LIMIT = 50

# A thing is silent after three of its own sample intervals; less than 20 s is a pause for breath.
SILENT_AFTER_INTERVALS = 3
SHORTEST_SILENCE_S = 20
SILENCE_S_WHEN_INTERVAL_UNKNOWN = 120

_NEWEST_ROWS = 20
_COLUMNS_OF_EVERY_RECORD = ("time", "measure_name", store.DIMENSION_THING)
_STATE_COLUMNS = ("position", "reason", "alerts")

Answer = dict[str, Any]


def wall_clock_ms() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class History:
    """Answers the page's questions about one thing. Keeps nothing between questions."""

    def __init__(self, client: "TimestreamQueryClient", thing: str, now_ms: Callable[[], int] = wall_clock_ms) -> None:
        self.thing = check_thing_name(thing)
        self._client = client
        self._now_ms = now_ms

    def panel(self, panel: Panel, span: Range) -> Answer:
        """`panel` over `span`: `from_ms`, `to_ms`, `times` and `columns`; for states also `until`, each one's end."""
        to_ms = self._now_ms()
        data = self._states(panel, span) if panel.kind == Kind.STATES else self._lines(panel, span)
        return {"from_ms": to_ms - span.span_s * 1000, "to_ms": to_ms, **data}

    def events(self, span: Range, overrides: Sequence[Override] = ()) -> Answer:
        """The newest changes in `span` as sentences, newest first, and whether there were more.

        Those of `overrides` that have ended in `span` are among them: the table does not hold them.
        """
        rows = self._read(_STATE_COLUMNS, lambda columns: panels.changes_sql(columns, self.thing, span))
        found = [
            {"time_ms": row["time"], **asdict(event)}
            for row in rows
            if row["previous_time"] is not None
            for event in words.events_between(_state(row, "previous_"), _state(row))
        ]
        found += _ends(overrides, self._now_ms() - span.span_s * 1000)
        found.sort(key=lambda event: _milliseconds(event["time_ms"]), reverse=True)
        return {"events": found[:EVENT_LIMIT], "more": max(0, len(found) - EVENT_LIMIT)}

    def now(self) -> Answer:
        """The newest sample in words and values, since when it is so, and how old it is."""
        rows = self._newest()
        answer: Answer = {"thing": self.thing, "now_ms": self._now_ms(), "sample": None}
        if rows:
            answer["sample"] = self._describe(rows, answer["now_ms"])
        return answer

    def _describe(self, rows: list[Row], now_ms: int) -> Answer:
        newest, state = rows[0], _state(rows[0])
        time_ms = _milliseconds(newest["time"])
        return {
            "time_ms": time_ms,
            "age_s": max(0, now_ms - time_ms) / 1000,
            "silent_after_s": _silence_s([_milliseconds(row["time"]) for row in rows]),
            "position": state.position,
            "reason": state.reason,
            "why": words.reason_in_full(state.reason),
            **self._since(),
            "alerts": [_alert(name) for name in words.alert_names(state.alerts)],
            "values": {column: newest.get(column) for column in _number_columns()},
        }

    def _since(self) -> Answer:
        """The last change of position; where the table knows none, its first sample, with `since_known` false."""
        span = panels.LONGEST_RANGE
        rows = self._read(("position", "reason"), lambda columns: panels.changes_sql(columns, self.thing, span))
        switch = next((row for row in rows if row.get("position") != row.get("previous_position")), None)
        if switch is None:
            return {"since_ms": None, "since_known": False, "switched_because": ""}
        return {
            "since_ms": switch["time"],
            "since_known": switch["previous_time"] is not None,
            "switched_because": words.reason_in_short(_state(switch).reason),
        }

    def _lines(self, panel: Panel, span: Range) -> Answer:
        rows = self._read(panel.columns, lambda columns: panels.averages_sql(columns, self.thing, span))
        times = [_milliseconds(row["binned_time"]) for row in rows]
        gap_ms = int(1000 * max(_silence_s(times), SILENT_AFTER_INTERVALS * span.bin_s))
        marked = _mark_gaps(times, rows, gap_ms)
        return {
            "times": [time_ms for time_ms, _ in marked],
            "columns": {column: [row.get(f"average_{column}") for _, row in marked] for column in panel.columns},
        }

    def _states(self, panel: Panel, span: Range) -> Answer:
        gap_ms = int(1000 * _silence_s([_milliseconds(row["time"]) for row in self._newest()]))
        rows = self._read(panel.columns, lambda columns: panels.spans_sql(columns, self.thing, span, gap_ms))
        states = _join_states(rows[::-1], panel.columns, gap_ms)
        columns = {column: [state[column] for state in states] for column in panel.columns}
        columns["reason_words"] = [words.reason_in_short(str(reason or "")) for reason in columns["reason"]]
        return {
            "times": [state["from"] for state in states],
            "until": [state["until"] for state in states],
            "columns": columns,
        }

    def _newest(self) -> list[Row]:
        columns = (*_STATE_COLUMNS, *_number_columns())
        return self._read(columns, lambda known: panels.newest_sql(known, self.thing, _NEWEST_ROWS))

    def _read(self, columns: Sequence[str], make_sql: Callable[[Sequence[str]], str]) -> list[Row]:
        """The rows of `make_sql(columns)`, without columns that no sample has carried yet; none of an empty table."""
        known = list(columns)
        while known:
            try:
                return timestream.query(self._client, make_sql(known))
            except UnknownColumnError as error:
                if error.column in _COLUMNS_OF_EVERY_RECORD:
                    return []
                if error.column not in known:
                    raise
                known.remove(error.column)
        return []


def _number_columns() -> tuple[str, ...]:
    lines = (panel for panel in panels.PANELS if panel.kind == Kind.LINES)
    return tuple(column for panel in lines for column in panel.columns)


def _state(row: Row, prefix: str = "") -> words.State:
    return words.State(*(str(row.get(prefix + column) or "") for column in _STATE_COLUMNS))


def _ends(overrides: Iterable[Override], from_ms: int) -> list[Answer]:
    ends = []
    for one in overrides:
        if one.ended_ms is not None and one.ended_ms >= from_ms:
            lasted_s = None if one.applied_ms is None else (one.ended_ms - one.applied_ms) / 1000
            event = words.override_ended(one.mode, one.because, lasted_s)
            ends.append({"time_ms": one.ended_ms, **asdict(event)})
    return ends


def _alert(name: str) -> Answer:
    severity = SEVERITY[Alert(name)] if name in SEVERITY else Severity.WARNING
    return {"name": name, "words": words.plain(name), "severity": severity}


def _milliseconds(cell: Cell) -> int:
    if not isinstance(cell, int):
        raise TypeError(f"a time was expected, not {cell!r}")
    return cell


def _silence_s(times_ms: Sequence[int]) -> float:
    """After how long without a sample a thing that sampled at `times_ms` counts as silent."""
    if len(times_ms) < 2:
        return SILENCE_S_WHEN_INTERVAL_UNKNOWN
    ordered = sorted(times_ms)
    interval_s = median(later - earlier for earlier, later in pairwise(ordered)) / 1000
    return max(SHORTEST_SILENCE_S, SILENT_AFTER_INTERVALS * interval_s)


def _mark_gaps(times: Sequence[int], rows: Iterable[Row], gap_ms: int) -> list[tuple[int, Row]]:
    """The rows with their times, and an empty row in each gap, where a line must break."""
    marked: list[tuple[int, Row]] = []
    for time_ms, row in zip(times, rows, strict=True):
        if marked and time_ms - marked[-1][0] > gap_ms:
            marked.append((marked[-1][0] + 1, {}))
        marked.append((time_ms, row))
    return marked


def _join_states(rows: Iterable[Row], columns: Sequence[str], gap_ms: int) -> list[Row]:
    """Rows of `spans_sql`, oldest first, as states with `from` and `until`; nothing is claimed for a silence."""
    states: list[Row] = []
    for row in rows:
        time_ms, values = _milliseconds(row["time"]), {column: row.get(column) for column in columns}
        silent = row["previous_time"] is not None and time_ms - _milliseconds(row["previous_time"]) > gap_ms
        if states:
            states[-1]["until"] = row["previous_time"] if silent else time_ms
        if not states or silent or any(states[-1][column] != values[column] for column in columns):
            states.append({"from": time_ms, "until": time_ms, **values})
    return states
