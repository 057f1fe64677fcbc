"""Every query of every panel, in InfluxQL, against a real InfluxDB with a simulated month in it."""

from collections.abc import Iterator
from typing import Any

import pytest

from cloud.telemetry.influxdb import Influx, InfluxWriter
from cloud.telemetry.points import Point
from contract import store
from dashboard import alert_rules
from dashboard.grafana import render
from dashboard.look import Engine, Look
from dashboard.panels import DASHBOARDS
from tests import month
from tests.dashboard.rendered import Asked, asked_of, least_of
from tests.influxdb import Influxd, influxd

# One worker loads the month for all.
# The first one loads the month, for all.
pytestmark = [pytest.mark.xdist_group("influxdb_month"), pytest.mark.timeout(300)]

DAY_MS = 24 * 3_600_000
LOOK = Look(Engine.INFLUXDB, utc_offset_h=-8)


class NoCredentials:
    """The server of these tests lets everybody in."""

    where = "nowhere"

    def header(self, _influx: Influx) -> str:
        return ""

    def forget(self) -> None:
        """There is nothing to forget."""


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return month.points()


@pytest.fixture(scope="module")
def server(points: list[Point]) -> Iterator[Influxd]:
    with influxd() as running:
        running.create_database(store.DATABASE)
        writer = InfluxWriter(Influx(running.url, store.DATABASE, NoCredentials()), lambda: month.END_MS)
        month.load_influxdb(writer, points)
        yield running


def run(server: Influxd, text: str, days: float, bin_ms: int = 60_000) -> list[dict[str, Any]]:
    """The answer to a query, with its macros filled in as Grafana's plugin does."""
    from_ms = month.END_MS - round(days * DAY_MS)
    text = text.replace("$timeFilter", f"time >= {from_ms}ms AND time <= {month.END_MS}ms")
    text = text.replace("$__interval", f"{bin_ms}ms").replace("${thing}", month.THING).replace("${site}", "home")
    assert "$" not in text
    return server.query(text, store.DATABASE)


ALL = [asked for one in DASHBOARDS for asked in asked_of(render(LOOK)[one.uid], one)]


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.id)
def test_every_query_of_every_panel_has_rows_of_the_right_shape(asked: Asked, server: Influxd) -> None:
    series = run(server, asked.target["query"], asked.days, bin_ms=asked.bin_ms)

    assert series, f"{asked.id}: no rows of {asked.target['query']}"
    for one in series:
        assert one["columns"] == ["time", *asked.columns]
        times = [row[0] for row in one["values"]]
        assert times == sorted(times, reverse=asked.newest_first)
        for column, of_type in asked.types.items():
            values = [row[one["columns"].index(column)] for row in one["values"]]
            assert {type(value) for value in values if value is not None} <= of_type, column
    assert len(series) in asked.sources
    assert sum(len(one["values"]) for one in series) in asked.rows
    known = {
        column
        for one in series
        for row in one["values"]
        for column, cell in zip(one["columns"], row, strict=True)
        if cell is not None
    }
    assert set(asked.known) <= known


@pytest.mark.parametrize("rule", alert_rules.RULES, ids=lambda rule: rule.id)
def test_every_alert_rule_sees_the_shed_as_it_was_last(
    rule: alert_rules.Rule | alert_rules.Silence, server: Influxd, points: list[Point]
) -> None:
    (one,) = run(server, alert_rules.query(rule, Engine.INFLUXDB), rule.window_s / 86_400)

    assert one["tags"] == {"site": "home", "thing": month.THING}
    assert one["columns"] == ["time", "value"]
    newest = one["values"][-1][1]
    # Of four bins of five samples the last has just begun.
    assert newest == (pytest.approx(least_of(rule, points)) if isinstance(rule, alert_rules.Rule) else 15 / 4)
