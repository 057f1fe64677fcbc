"""What the queries in a rendered dashboard are to be asked with, and what must come of them and of alert rules'."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cloud.telemetry.points import Point
from contract import store
from contract.store import Type
from dashboard.alert_rules import Least, Rule
from dashboard.panels import ANNOTATIONS, Dashboard, Over, Panel
from dashboard.queries import Daily, DailyMaximum, Events, Newest, Query, Total, Trend
from tests import month

# What a column's cells are in JSON.
_TYPES: dict[Type, set[type]] = {
    Type.DOUBLE: {float, int},
    Type.BIGINT: {int, float},
    Type.BOOLEAN: {bool},
    Type.VARCHAR: {str},
}
_COLUMNS = {**store.COLUMNS, **store.HOURLY_ONLY}
_SOURCES = {"mx": 2}


@dataclass(frozen=True)
class Asked:
    """One target of a rendered panel or annotation, its range, and what is expected of the answer."""

    id: str
    target: dict[str, Any]
    query: Query
    days: float
    bin_ms: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Besides time and source."""
        return self.query.columns

    @property
    def by_source(self) -> bool:
        """Whether there are rows for each source."""
        return isinstance(self.query, DailyMaximum) or bool(getattr(self.query, "by_source", False))

    @property
    def types(self) -> dict[str, set[type]]:
        """By column."""
        return {column: _TYPES[_COLUMNS[column]] for column in self.columns}

    @property
    def known(self) -> tuple[str, ...]:
        """Columns that must have a value somewhere."""
        # The month ends well, so nothing is wrong at its end.
        return tuple(column for column in self.columns if column not in _MAY_BE_UNKNOWN)

    @property
    def newest_first(self) -> bool:
        """The order of rows."""
        return isinstance(self.query, Events)

    @property
    def sources(self) -> set[int]:
        """How many there may be."""
        measure = getattr(self.query, "measure", store.MEASURE_DECISION)
        return {_SOURCES.get(measure, 1)} if self.by_source else {1}

    @property
    def rows(self) -> range:
        """How many there may be, of all sources together."""
        sources = max(self.sources)
        match self.query:
            case Newest() | Total():
                return range(sources, sources + 1)
            case Daily() | DailyMaximum():
                # A day that begins at another midnight than the month's is cut in two.
                return range(round(self.days) * sources, (round(self.days) + 1) * sources + 1)
            case Trend():
                # Devices are kept every tenth minute only.
                bins = round(self.days * 86_400_000 / self.bin_ms)
                return range(max(1, bins // 10), (bins + 1) * sources + 1)
            case Events():
                return range(1, 101)


_MAY_BE_UNKNOWN = {"alerts", store.TRANSFER, store.ALERT_CHANGES}
_DAYS = {Over.TODAY: 1.0, Over.MONTH: 30.0, Over.TOTAL: 1825.0}


def asked_of(rendered: dict[str, Any], one: Dashboard) -> list[Asked]:
    """Everything that `rendered`, the JSON of `one`, asks for, in order; its panels are those of `one`."""
    drawn = [panel for panel in rendered["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in drawn] == [panel.title for panel in one.panels]
    asked = [_of_panel(panel, json, one) for panel, json in zip(one.panels, drawn, strict=True)]
    for annotation, json in zip(ANNOTATIONS, rendered["annotations"]["list"], strict=True):
        asked.append(Asked(f"{one.uid}-{annotation.title}", json["target"], annotation.query, 30, 60_000))
    return asked


def _of_panel(panel: Panel, json: dict[str, Any], one: Dashboard) -> Asked:
    (target,) = json["targets"]
    is_history = one.table == store.HOURLY_TABLE
    days = 30.0 if is_history else 1.0
    if panel.over is not None:
        assert json["timeFrom"] == panel.over
        days = _DAYS[panel.over]
    if isinstance(panel.query, Daily | DailyMaximum | Events):
        days = 30.0
    return Asked(f"{one.uid}-{panel.id}", target, panel.query, days, 3_600_000 if is_history else 60_000)


def least_of(rule: Rule, points: Iterable[Point]) -> float:
    """What `rule` compares at the end of the month of `points`."""
    begin_ms = month.END_MS - rule.window_s * 1000
    values = [
        float(point.values[rule.column])
        for point in points
        if point.measure == rule.measure and point.time_ms >= begin_ms and rule.column in point.values
    ]
    return min(values) if rule.least is Least.MINIMUM else max(values)
