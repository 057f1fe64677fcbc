"""What the page shows of one thing: the panels' rows, shaped for drawing, and the headline above them."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from statistics import median
from typing import Any

from contract import store
from contract.alerts import SEVERITY, Severity
from contract.topics import check_thing_name
from contract.words import plain, reason_in_full, reason_in_short
from dashboard.look import Look
from dashboard.panels import DASHBOARDS, EVENTS, Dashboard, Kind, Over, Panel, Series
from dashboard.queries import MOST_EVENTS, Daily, DailyMaximum, Events, Newest, Trend
from dashboard.units import Unit
from page import words
from page.source import Cell, Row, Source, Window
from page.wishes import Override

Answer = dict[str, Any]

# A thing is silent after three of its own sample intervals; less than 20 s is a pause for breath.
SILENT_AFTER_INTERVALS = 3
SHORTEST_SILENCE_MS = 20_000
SILENCE_MS_WHEN_INTERVAL_UNKNOWN = 120_000

_SECOND_MS = 1000
_HOUR_MS = 3600 * _SECOND_MS
_DAY_MS = 24 * _HOUR_MS
# So far back a look for the newest sample goes.
_NEWEST_WITHIN_MS = 30 * _DAY_MS
# Widths of a bin: such that bins begin on round times.
_BINS_MS = [
    *(n * _SECOND_MS for n in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)),
    *(n * _HOUR_MS for n in (2, 3, 6, 12, 24)),
]
MOST_POINTS = 1500
_STATE_COLUMNS = ("position", "reason", "alerts")
_EVENT_COLUMNS = (store.TRANSFER, store.ALERT_CHANGES)


@dataclass(frozen=True)
class Range:
    """A span of time that the page offers, which ends now."""

    id: str
    title: str
    span_s: int


RANGES = (
    Range("5m", "5 min", 300),
    Range("15m", "15 min", 900),
    Range("1h", "1 h", 3600),
    Range("6h", "6 h", 21_600),
    Range("24h", "24 h", 86_400),
    Range("7d", "7 days", 7 * 86_400),
    Range("30d", "30 days", 30 * 86_400),
    Range("1y", "1 year", 365 * 86_400),
)
PANELS = {panel.id: panel for one in DASHBOARDS for panel in one.panels}


def wall_clock_ms() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def window(from_ms: int, to_ms: int, points: int) -> Window:
    """The range with bins such that a chart has at most `points`, and at most MOST_POINTS."""
    least = (to_ms - from_ms) / max(1, min(points, MOST_POINTS))
    return Window(from_ms, to_ms, next((bin_ms for bin_ms in _BINS_MS if bin_ms >= least), _BINS_MS[-1]))


class View:
    """Answers the page's questions about one thing. Keeps nothing between questions."""

    def __init__(self, source: Source, thing: str, look: Look, now_ms: Callable[[], int] = wall_clock_ms) -> None:
        self.thing = check_thing_name(thing)
        self._source = source
        self._look = look
        self._now_ms = now_ms

    def dashboards(self) -> list[Answer]:
        """The dashboards with their panels, as `dashboard.panels` lists them."""
        return [self._dashboard(one) for one in DASHBOARDS]

    def panel(self, panel: Panel, shown: Window) -> Answer:
        """`panel` over `shown`, or over the range of its own: `from_ms`, `to_ms`, and what its kind is drawn of.

        stat, gauge: `values`, each with title and value. lines, bars: `times` and `series`, each with title and values;
        null where a line is broken. states: `series`, each with title and `spans` (from, until, value). table: `rows`.
        """
        over = self._over(panel, shown)
        rows = self._source.rows(panel.query, over)
        shape = {
            Kind.STAT: _values,
            Kind.GAUGE: _values,
            Kind.LINES: _lines,
            Kind.BARS: _bars,
            Kind.STATES: _states,
            Kind.TABLE: _table,
        }[panel.kind]
        return {"from_ms": over.from_ms, "to_ms": over.to_ms, "bin_ms": over.bin_ms, **shape(panel, rows, over)}

    def events(self, shown: Window, overrides: Sequence[Override] = ()) -> Answer:
        """What happened in `shown` as sentences, newest first: transfers, alerts, and `overrides` that have ended."""
        rows = self._source.rows(EVENTS.query, shown)
        found = [{"time_ms": row["time"], **asdict(event)} for row in rows for event in _events_of(row)]
        found += _ends(overrides, shown.from_ms, shown.to_ms)
        found.sort(key=lambda event: _milliseconds(event["time_ms"]), reverse=True)
        return {"events": found, "is_cut": len(rows) >= MOST_EVENTS}

    def now(self) -> Answer:
        """The newest sample in words and values, since when it is so, and how old it is."""
        now_ms = self._now_ms()
        recent = Window(now_ms - _NEWEST_WITHIN_MS, now_ms + _DAY_MS, _HOUR_MS)
        rows = self._source.rows(Newest(store.MEASURE_DECISION, _STATE_COLUMNS), recent)
        sample = None if not rows else self._describe(rows[0], recent, now_ms)
        return {"thing": self.thing, "now_ms": now_ms, "sample": sample}

    def _describe(self, newest: Row, recent: Window, now_ms: int) -> Answer:
        time_ms = _milliseconds(newest["time"])
        reason = str(newest.get("reason") or "")
        return {
            "time_ms": time_ms,
            "age_s": max(0, now_ms - time_ms) / 1000,
            "silent_after_s": self._silence_ms(time_ms) / 1000,
            "position": newest.get("position"),
            "reason": reason,
            "why": reason_in_full(reason),
            **self._since(recent),
            "alerts": [_alert(name) for name in words.alert_names(str(newest.get("alerts") or ""))],
        }

    def _since(self, recent: Window) -> Answer:
        """The last transfer, where the store knows of one."""
        rows = self._source.rows(Events((store.TRANSFER,)), recent)
        if not rows:
            return {"since_ms": None, "switched_because": ""}
        _, _, reason = str(rows[0][store.TRANSFER]).partition(": ")
        return {"since_ms": rows[0]["time"], "switched_because": reason_in_short(reason)}

    def _silence_ms(self, newest_ms: int) -> float:
        """How long a silence would be one, by the samples of the minutes before the newest."""
        before = Window(newest_ms - 600_000, newest_ms, 1000)
        rows = self._source.rows(Trend(store.MEASURE_DECISION, (store.ON_GRID,)), before)
        return _silence_ms([_milliseconds(next(iter(row.values()))) for row in rows[-20:]])

    def _over(self, panel: Panel, shown: Window) -> Window:
        now_ms = self._now_ms()
        match panel.over:
            case Over.TODAY:
                return window(_midnight_ms(now_ms, self._look.utc_offset_h), now_ms, MOST_POINTS)
            case Over.MONTH:
                return window(now_ms - 30 * _DAY_MS, now_ms, MOST_POINTS)
            case Over.TOTAL:
                return window(now_ms - 1825 * _DAY_MS, now_ms, MOST_POINTS)
            case _ if isinstance(panel.query, Daily | DailyMaximum):
                # Whole days.
                return Window(_midnight_ms(shown.from_ms, self._look.utc_offset_h), shown.to_ms, shown.bin_ms)
            case _ if isinstance(panel.query, Newest):
                # The newest, however narrow a range somebody looks at.
                return Window(now_ms - _NEWEST_WITHIN_MS, now_ms + _DAY_MS, _HOUR_MS)
            case _:
                return shown

    def _dashboard(self, one: Dashboard) -> Answer:
        return {
            "id": one.uid.removeprefix("solarshed-"),
            "title": one.title,
            "description": one.description,
            "span": one.span,
            "rows": [
                {"title": row.title, "is_headline": row.is_headline, "panels": [self._panel(p) for p in row.panels]}
                for row in one.rows
            ],
        }

    def _panel(self, panel: Panel) -> Answer:
        scale = self._look.scale

        def scaled(value: float | None) -> float | None:
            return None if value is None else round(scale.value(panel.unit, value), 2)

        return {
            "id": panel.id,
            "title": panel.title,
            "kind": panel.kind,
            "unit": scale.symbol(panel.unit),
            "is_duration": panel.unit is Unit.DURATION,
            "is_age": panel.unit is Unit.AGE,
            "decimals": panel.decimals,
            "width": panel.width,
            "series": [asdict(series) for series in panel.series],
            "low": scaled(panel.low),
            "high": scaled(panel.high),
            "steps": [{"value": scaled(step.value), "colour": step.colour} for step in panel.steps],
            "words": {value: asdict(word) for value, word in panel.words.items()},
            "when_unknown": None if panel.when_unknown is None else asdict(panel.when_unknown),
            "over": "" if panel.over is None else _OVER_IN_WORDS[panel.over],
            "help": panel.help,
            "is_optional": panel.is_optional,
        }


_OVER_IN_WORDS = {Over.TODAY: "today", Over.MONTH: "30 days", Over.TOTAL: "in all"}


def _values(panel: Panel, rows: list[Row], _over: Window) -> Answer:
    """Of a query by source, a value a source; else one for each series."""
    if any(store.DIMENSION_SOURCE in row for row in rows):
        column = panel.series[0].column
        return {"values": [{"title": row[store.DIMENSION_SOURCE], "value": row.get(column)} for row in rows]}
    row = rows[0] if rows else {}
    return {"values": [{"title": series.title, "value": row.get(series.column)} for series in panel.series]}


def _lines(panel: Panel, rows: list[Row], over: Window) -> Answer:
    times = sorted({_time_ms(row) for row in rows})
    gap_ms = max(_silence_ms(times), SILENT_AFTER_INTERVALS * over.bin_ms)
    marked = _with_gaps(times, gap_ms)
    return {"times": marked, "series": _aligned(panel, rows, marked)}


def _bars(panel: Panel, rows: list[Row], _over: Window) -> Answer:
    times = sorted({_time_ms(row) for row in rows})
    return {"times": times, "series": _aligned(panel, rows, times)}


def _aligned(panel: Panel, rows: list[Row], times: list[int]) -> list[Answer]:
    """A list of values for each line, one for each of `times`."""
    lines: dict[tuple[str, str], dict[int, Cell]] = {}
    series_of: dict[tuple[str, str], Series] = {}
    by_source = any(store.DIMENSION_SOURCE in row for row in rows)
    for row in rows:
        for series in panel.series:
            key = str(row.get(store.DIMENSION_SOURCE, "")), series.column
            lines.setdefault(key, {})[_time_ms(row)] = row.get(series.column)
            series_of[key] = series
    if not rows:
        lines = {("", series.column): {} for series in panel.series}
        series_of = {("", series.column): series for series in panel.series}
    return [
        {
            "title": source if by_source else series_of[source, column].title,
            "column": column,
            "colour": series_of[source, column].colour,
            "is_limit": series_of[source, column].is_limit,
            "values": [values.get(time_ms) for time_ms in times],
        }
        for (source, column), values in sorted(lines.items(), key=lambda item: item[0][0])
    ]


def _states(panel: Panel, rows: list[Row], over: Window) -> Answer:
    rows = sorted(rows, key=_time_ms)
    gap_ms = max(_silence_ms([_time_ms(row) for row in rows]), SILENT_AFTER_INTERVALS * over.bin_ms)
    return {
        "series": [
            {"title": series.title, "column": series.column, "spans": _spans(series.column, rows, over, gap_ms)}
            for series in panel.series
        ]
    }


def _spans(column: str, rows: list[Row], over: Window, gap_ms: float) -> list[Answer]:
    """Stretches of one value. Nothing is claimed for a silence, and none lasts beyond the range."""
    spans: list[Answer] = []
    begins_ms = [_time_ms(row) for row in rows]
    ends_ms = [*begins_ms[1:], *(last + over.bin_ms for last in begins_ms[-1:])]
    for row, from_ms, next_ms in zip(rows, begins_ms, ends_ms, strict=True):
        value = row.get(column)
        if value is None:
            continue
        until_ms = min(next_ms if next_ms - from_ms <= gap_ms else from_ms + over.bin_ms, over.to_ms)
        text = _state_text(value)
        if spans and spans[-1]["value"] == text and from_ms <= spans[-1]["until"]:
            spans[-1]["until"] = until_ms
        else:
            spans.append({"from": from_ms, "until": until_ms, "value": text})
    return spans


def _state_text(value: Cell) -> str:
    """As `Panel.words` has it: 1 for 1.0, true for True."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(panel: Panel, rows: list[Row], _over: Window) -> Answer:
    return {
        "rows": [{"time_ms": _time_ms(row), "events": [asdict(event) for event in _events_of(row)]} for row in rows],
        "columns": [series.title for series in panel.series],
    }


def _events_of(row: Row) -> list[words.Event]:
    transfer, changes = (str(row.get(column) or "") for column in _EVENT_COLUMNS)
    return ([words.transfer_event(transfer)] if transfer else []) + words.alert_events(changes)


def _ends(overrides: Iterable[Override], from_ms: int, to_ms: int) -> list[Answer]:
    ends = []
    for one in overrides:
        if one.ended_ms is not None and from_ms <= one.ended_ms <= to_ms:
            lasted_s = None if one.applied_ms is None else (one.ended_ms - one.applied_ms) / 1000
            event = words.override_ended(one.mode, one.because, lasted_s)
            ends.append({"time_ms": one.ended_ms, **asdict(event)})
    return ends


def _alert(name: str) -> Answer:
    known: dict[str, Severity] = {alert.value: severity for alert, severity in SEVERITY.items()}
    return {"name": name, "words": plain(name), "severity": known.get(name, Severity.WARNING)}


def _time_ms(row: Row) -> int:
    """The first column's value: the time of a row."""
    return _milliseconds(next(iter(row.values())))


def _milliseconds(cell: Cell) -> int:
    if not isinstance(cell, int):
        raise TypeError(f"a time was expected, not {cell!r}")
    return cell


def _silence_ms(times_ms: Sequence[int]) -> float:
    """After how long without a sample a thing that sampled at `times_ms` counts as silent."""
    if len(times_ms) < 2:
        return SILENCE_MS_WHEN_INTERVAL_UNKNOWN
    interval_ms = median(later - earlier for earlier, later in pairwise(times_ms))
    return max(SHORTEST_SILENCE_MS, SILENT_AFTER_INTERVALS * interval_ms)


def _with_gaps(times: Sequence[int], gap_ms: float) -> list[int]:
    """`times`, with a moment in each gap at which nothing is known, so that a line breaks there."""
    marked: list[int] = []
    for time_ms in times:
        if marked and time_ms - marked[-1] > gap_ms:
            marked.append(marked[-1] + 1)
        marked.append(time_ms)
    return marked


def _midnight_ms(now_ms: int, utc_offset_h: float) -> int:
    """The beginning of the shed's day."""
    zone = timezone(timedelta(hours=utc_offset_h))
    local = datetime.fromtimestamp(now_ms / 1000, tz=UTC).astimezone(zone)
    return math.floor(local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
