"""The page's rows on the Pi itself, for when the network is down: what the outbox holds, and control's newest report.

The outbox holds what has not been delivered. What was seen in it is remembered for as long as the page runs, so that a
chart does not lose what has just gone out. Nothing is written, and nothing is taken.
"""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from cloud.telemetry.points import Point, points_of
from contract import store
from contract.messages import MessageError, encode_telemetry
from dashboard.look import Look
from dashboard.queries import MOST_EVENTS, Aggregate, Daily, DailyMaximum, Events, Newest, Quantity, Query, Total, Trend
from device.mailbox import REPORT_NAME, MailError, decode_report
from device.outbox import OutboxError, newest_samples
from page.source import Cell, Row, UnavailableError, Window

# A week of minutes: what more may wait is not drawn.
MOST_SAMPLES = 7 * 24 * 60

_MINUTE_MS = 60_000
_DAY_MS = 24 * 60 * _MINUTE_MS


class OutboxSource:
    """Answers from the files of control. Safe to use from several threads."""

    def __init__(self, thing: str, state_directory: Path, runtime_directory: Path, look: Look) -> None:
        self._thing = thing
        self._state_directory = state_directory
        self._report = runtime_directory / REPORT_NAME
        self._look = look
        self._lock = threading.Lock()
        self._last_id = 0
        self._samples: deque[list[Point]] = deque(maxlen=MOST_SAMPLES)

    def rows(self, query: Query, window: Window) -> list[Row]:
        """See `Source`.

        Raises:
            UnavailableError: the outbox cannot be read.
        """
        with self._lock:
            self._read()
            points = [point for sample in self._samples for point in sample]
        shown = [point for point in points if window.from_ms <= point.time_ms <= window.to_ms]
        shown.sort(key=lambda point: point.time_ms)
        return [self._scaled(row) for row in self._answer(query, shown, window)]

    def _answer(self, query: Query, shown: list[Point], window: Window) -> list[Row]:
        match query:
            case Trend():
                return _trend(query, _of(shown, query.measure), window.bin_ms)
            case Newest():
                return self._newest(query, _of(shown, query.measure))
            case DailyMaximum():
                maximum = Trend(query.measure, query.columns, Aggregate.MAXIMUM, by_source=True)
                return _trend(maximum, _of(shown, query.measure), _DAY_MS, self._offset_ms)
            case Daily():
                decisions = _of(shown, store.MEASURE_DECISION)
                days = _grouped(decisions, lambda point: _bin_of(point, _DAY_MS, self._offset_ms))
                return [{"day": day, query.quantity.value: _quantity(query.quantity, of)} for day, of in days]
            case Total():
                of = _of(shown, store.MEASURE_DECISION)
                return [{query.quantity.value: _quantity(query.quantity, of)}] if of else []
            case Events():
                happened = [
                    {"time": point.time_ms, **{column: point.values.get(column) for column in query.columns}}
                    for point in _of(shown, query.measure)
                    if any(column in point.values for column in query.columns)
                ]
                return happened[: -MOST_EVENTS - 1 : -1]

    def _newest(self, query: Newest, points: list[Point]) -> list[Row]:
        if query.by_source:
            newest = {point.source: point for point in points}
            return [
                {"time": point.time_ms, "source": source, **_picked(point.values, query.columns)}
                for source, point in sorted(newest.items())
            ]
        report = self._reported()
        if query.measure == store.MEASURE_DECISION and report is not None and set(query.columns) <= set(report):
            reported_ms = int(report["time_ms"])
            if not points or points[-1].time_ms <= reported_ms:
                return [{"time": reported_ms, **_picked(report, query.columns)}]
        return [{"time": point.time_ms, **_picked(point.values, query.columns)} for point in points[-1:]]

    def _read(self) -> None:
        try:
            rows = newest_samples(self._state_directory, self._last_id, MOST_SAMPLES)
        except OutboxError as e:
            raise UnavailableError(f"The outbox cannot be read: {e}.") from e
        for row in rows:
            self._last_id = row.id
            if row.payload and (points := self._points(row.id, row.payload)):
                self._samples.append(points)

    def _points(self, sequence: int, payload: str) -> list[Point]:
        """What the telemetry Lambda would store of a sample; nothing of one that it would refuse."""
        try:
            sample = {"sequence": sequence, **json.loads(payload)}
            return points_of({**json.loads(encode_telemetry([sample])), "thing": self._thing})
        except (MessageError, ValueError, TypeError):
            return []

    def _reported(self) -> dict[str, Any] | None:
        """Control's newest report under the store's names; None where there is none."""
        try:
            report = decode_report(self._report.read_text())
            readings = report.get("readings") or {}
            known = {name: (readings.get(name) or {}).get("value") for name in _REPORTED_READINGS}
            return {
                "time_ms": int(report["time"]) * 1000,
                "position": str(report["position"]),
                "reason": str(report["reason"]),
                "alerts": ",".join(map(str, report.get("alerts") or ())) or None,
                **known,
            }
        except (OSError, MailError, ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def _offset_ms(self) -> int:
        return round(self._look.utc_offset_h * 3_600_000)

    def _scaled(self, row: Row) -> Row:
        scale = self._look.scale
        return {
            column: scale.of_column(column, cell) if isinstance(cell, float) else cell for column, cell in row.items()
        }


_REPORTED_READINGS = ("battery_voltage_v", "box_temperature_c", "soc_percent")


def _of(points: Iterable[Point], measure: str) -> list[Point]:
    return [point for point in points if point.measure == measure]


def _picked(values: Any, columns: tuple[str, ...]) -> Row:  # noqa: ANN401 - a point's values, or a report
    return {column: values.get(column) for column in columns}


def _bin_of(point: Point, bin_ms: int, offset_ms: int = 0) -> int:
    return (point.time_ms + offset_ms) // bin_ms * bin_ms - offset_ms


def _grouped(points: list[Point], key: Callable[[Point], int]) -> Iterator[tuple[int, list[Point]]]:
    groups: dict[int, list[Point]] = defaultdict(list)
    for point in points:
        groups[key(point)].append(point)
    yield from sorted(groups.items())


def _trend(query: Trend, points: list[Point], bin_ms: int, offset_ms: int = 0) -> list[Row]:
    rows: list[Row] = []
    for begin_ms, of in _grouped(points, lambda point: _bin_of(point, bin_ms, offset_ms)):
        if not query.by_source:
            rows.append({"binned_time": begin_ms, **_aggregated(query, of)})
            continue
        for source in sorted({point.source for point in of}):
            own = [point for point in of if point.source == source]
            rows.append({"binned_time": begin_ms, "source": source, **_aggregated(query, own)})
    return rows


def _aggregated(query: Trend, points: list[Point]) -> Row:
    return {column: _aggregate(query.aggregate, points, column) for column in query.columns}


def _aggregate(aggregate: Aggregate, points: list[Point], column: str) -> Cell:
    if aggregate is Aggregate.LAST:
        return points[-1].values.get(column)
    numbers = [float(value) for point in points if isinstance(value := point.values.get(column), float | int)]
    if not numbers:
        return None
    return fmean(numbers) if aggregate is Aggregate.MEAN else max(numbers)


def _quantity(quantity: Quantity, points: list[Point]) -> float:
    """As `dashboard.timestream` counts it."""
    if quantity is Quantity.TRANSFERS:
        return float(sum(store.TRANSFER in point.values for point in points))
    minutes = {point.time_ms // _MINUTE_MS for point in points}
    return 60.0 * len(minutes) * fmean(float(point.values[store.ON_GRID]) for point in points)
