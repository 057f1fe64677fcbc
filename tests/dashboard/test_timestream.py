"""Every query of every panel, in Timestream's SQL, against the stand-in with a simulated month in it."""

import pytest

from contract import store
from dashboard import alert_rules, timestream
from dashboard.grafana import render
from dashboard.look import Engine, Look
from dashboard.panels import DASHBOARDS
from dashboard.queries import Aggregate, Daily, DailyMaximum, Newest, Quantity, Query, Total, Trend
from page.source import Cell, Row, Window
from page.timestream import ask, expand
from tests import month
from tests.dashboard.rendered import Asked, asked_of, least_of
from tests.month_fixture import MonthTable

# The first one synthesizes the stacks and loads the month, for all.
pytestmark = [pytest.mark.xdist_group("cdk"), pytest.mark.timeout(300)]

DAY_MS = 24 * 3_600_000
LOOK = Look(utc_offset_h=-8)
ALL = [asked for one in DASHBOARDS for asked in asked_of(render(LOOK)[one.uid], one)]


@pytest.fixture
def table(month_of_minutes: MonthTable) -> MonthTable:
    return month_of_minutes


def run(table: MonthTable, text: str, days: float, bin_ms: int, resolution: str = store.TABLE) -> list[Row]:
    """The answer to a query, with its macros filled in as Grafana's plugin does."""
    window = Window(month.END_MS - round(days * DAY_MS), month.END_MS, bin_ms)
    text = expand(text, window, {"site": "home", "thing": month.THING, "resolution": resolution})
    assert "$" not in text
    return ask(table.client, text)


def run_query(table: MonthTable, query: Query, days: float, look: Look = LOOK) -> list[Row]:
    return run(table, timestream.sql(query, look.scale, look.utc_offset_h), days, 60_000)


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.id)
def test_every_query_of_every_panel_has_rows_of_the_right_shape(asked: Asked, table: MonthTable) -> None:
    resolution = store.HOURLY_TABLE if asked.bin_ms >= 3_600_000 else store.TABLE
    rows = run(table, asked.target["rawQuery"], asked.days, asked.bin_ms, resolution)

    assert rows, f"{asked.id}: no rows of {asked.target['rawQuery']}"
    columns = [*([] if isinstance(asked.query, Total) else [next(iter(rows[0]))]), *asked.columns]
    if asked.by_source:
        columns.insert(1, store.DIMENSION_SOURCE)
    assert list(rows[0]) == columns
    if not isinstance(asked.query, Total):
        times = [next(iter(row.values())) for row in rows]
        assert times == sorted(times, reverse=asked.newest_first)  # type: ignore[type-var]
    for column, of_type in asked.types.items():
        assert {type(row[column]) for row in rows if row[column] is not None} <= of_type, column
    assert len(rows) in asked.rows
    assert len({row.get(store.DIMENSION_SOURCE) for row in rows}) in asked.sources
    assert set(asked.known) <= {column for row in rows for column, cell in row.items() if cell is not None}


def test_the_variables_name_the_sites_and_their_things(table: MonthTable) -> None:
    assert run(table, timestream.sites_sql(), 1, 60_000) == [{"site": "home"}]
    assert run(table, timestream.things_sql(), 1, 60_000) == [{"thing": month.THING}]


@pytest.mark.parametrize("rule", alert_rules.RULES, ids=lambda rule: rule.id)
def test_every_alert_rule_sees_the_shed_as_it_was_last(
    rule: alert_rules.Rule | alert_rules.Silence, table: MonthTable
) -> None:
    rows = run(table, alert_rules.query(rule, Engine.TIMESTREAM), rule.window_s / 86_400, 60_000)

    # The month's last sample is a minute old at its end.
    value = least_of(rule, table.points) if isinstance(rule, alert_rules.Rule) else 1.0
    assert rows == [{"site": "home", "thing": month.THING, "value": pytest.approx(value)}]


def decisions(table: MonthTable, days: float) -> list[dict[str, Cell]]:
    begin_ms = month.END_MS - days * DAY_MS
    return [
        {"time_ms": point.time_ms, **point.values}
        for point in table.points
        if point.measure == store.MEASURE_DECISION and point.time_ms >= begin_ms
    ]


@pytest.mark.parametrize(("days", "is_long"), [(1, False), (30, True)], ids=["of a day", "of a month"])
def test_time_on_grid_is_that_of_the_minutes_with_samples(table: MonthTable, days: int, is_long: bool) -> None:
    (row,) = run_query(table, Total(Quantity.GRID_TIME_S, long=is_long), days)

    minutes = sum(float(str(one[store.ON_GRID])) for one in decisions(table, days))
    assert minutes > 0 or not is_long
    assert row[store.GRID_TIME_S] == pytest.approx(60 * minutes, abs=60)


def test_transfers_of_a_month_are_all_counted(table: MonthTable) -> None:
    (row,) = run_query(table, Total(Quantity.TRANSFERS, long=True), 30)
    by_day = run_query(table, Daily(Quantity.TRANSFERS), 30)

    transfers = [one for one in decisions(table, 30) if store.TRANSFER in one]
    assert row[store.TRANSFERS] == len(transfers) > 10
    assert sum(float(str(day[store.TRANSFERS])) for day in by_day) == len(transfers)


def test_a_day_begins_at_the_sheds_midnight(table: MonthTable) -> None:
    rows = run_query(table, DailyMaximum("mx", "daily_kwh"), 10)

    days = {row["day"] for row in rows}
    assert {int(str(day)) % DAY_MS for day in days} == {8 * 3_600_000}
    assert {row["source"] for row in rows} == {"mx2", "mx3"}
    assert max(float(str(row["daily_kwh"])) for row in rows) == max(
        float(str(point.values["daily_kwh"])) for point in table.points if "daily_kwh" in point.values
    )


def test_fahrenheit_is_the_stores_celsius(table: MonthTable) -> None:
    newest = Newest(store.MEASURE_DECISION, ("box_temperature_c", "battery_voltage_v"))
    trend = Trend(store.MEASURE_DECISION, ("outside_temperature_c",), Aggregate.MEAN)

    for query, column in ((newest, "box_temperature_c"), (trend, "outside_temperature_c")):
        celsius, fahrenheit = (run_query(table, query, 0.5, Look(fahrenheit=chosen))[0] for chosen in (False, True))
        assert fahrenheit[column] == pytest.approx(float(str(celsius[column])) * 1.8 + 32)
        assert fahrenheit.get("battery_voltage_v") == celsius.get("battery_voltage_v")


def test_an_hour_of_the_table_of_hours_is_the_average_of_its_minutes(table: MonthTable) -> None:
    query = Trend(store.MEASURE_DECISION, ("battery_voltage_v", "position"), Aggregate.LAST)
    text = timestream.sql(Trend(store.MEASURE_DECISION, ("battery_voltage_v",)), LOOK.scale, 0)
    hours = run(table, text, 2, 3_600_000, store.HOURLY_TABLE)
    averages = run(table, text, 2, 3_600_000, store.TABLE)

    assert [row["battery_voltage_v"] for row in hours] == pytest.approx([row["battery_voltage_v"] for row in averages])
    assert len(hours) == 48
    assert query.columns
