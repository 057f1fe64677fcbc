"""Query through an unchanged boto3 client: Timestream's SQL, the shape of its answers, and what it refuses."""

import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from mypy_boto3_timestream_query import TimestreamQueryClient

from demo.timestream.catalog import Retention
from demo.timestream.server import Endpoint, serve

# 2026-11-23 11:00:00 UTC, the endpoint's clock throughout.
NOW_MS = 1_795_431_600_000
NOW = "2026-11-23 11:00:00.000000000"
MINUTE_MS = 60_000
DAY_MINUTES = 24 * 60
TABLE = '"solarshed"."telemetry"'
DAY_TABLE = '"solarshed"."day"'

OPTIONS: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}

Cell = str | None
Row = tuple[Cell, ...]


def write(
    endpoint: Endpoint, table: str, measure_name: str, records: list[tuple[int, dict[str, tuple[str, str]]]]
) -> None:
    """Writes records of (time, measures) for the thing `shed`, straight into the engine."""
    for start in range(0, len(records), 100):
        endpoint.engine.write_records(
            {
                "DatabaseName": "solarshed",
                "TableName": table,
                "CommonAttributes": {
                    "Dimensions": [{"Name": "thing", "Value": "shed"}],
                    "MeasureName": measure_name,
                    "MeasureValueType": "MULTI",
                },
                "Records": [
                    {
                        "Time": str(time_ms),
                        "MeasureValues": [{"Name": n, "Type": t, "Value": v} for n, (t, v) in measures.items()],
                    }
                    for time_ms, measures in records[start : start + 100]
                ],
            }
        )


def decision(minutes_ago: int, volts: str, position: str, sequence: int) -> tuple[int, dict[str, tuple[str, str]]]:
    measures = {
        "battery_voltage_v": ("DOUBLE", volts),
        "position": ("VARCHAR", position),
        "sequence": ("BIGINT", str(sequence)),
        "clock_synchronised": ("BOOLEAN", "true"),
    }
    return NOW_MS - minutes_ago * MINUTE_MS, measures


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serve(clock_ns=lambda: NOW_MS * 10**6) as running:
        running.engine.create_database("solarshed")
        for table in ("telemetry", "day"):
            running.engine.create_table("solarshed", table, Retention(memory_h=48))
        decisions = [
            decision(3, "48.0", "battery", 1),
            decision(2, "47.0", "grid", 2),
            decision(1, "52.0", "grid", 3),
            decision(0, "54.0", "battery", 4),
        ]
        write(running, "telemetry", "decision", decisions)
        write(running, "telemetry", "mx", [(NOW_MS, {"pv_power_w": ("DOUBLE", "310.0")})])
        day = [decision(minute, str(48 + minute % 7), "grid", minute) for minute in range(DAY_MINUTES)]
        write(running, "day", "decision", day)
        yield running


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[TimestreamQueryClient]:
    client = boto3.client(
        "timestream-query",
        endpoint_url=endpoint.url,
        **OPTIONS,
    )
    yield client
    client.close()


def rows(answer: Any) -> list[Row]:  # noqa: ANN401 (boto3's answers are nested dicts)
    return [tuple(datum.get("ScalarValue") for datum in row["Data"]) for row in answer["Rows"]]


def run(client: TimestreamQueryClient, sql: str) -> list[Row]:
    return rows(client.query(QueryString=sql))


def scalar(client: TimestreamQueryClient, expression: str) -> tuple[Cell, str]:
    """The value of `expression` and its ScalarType."""
    answer = client.query(QueryString=f"SELECT {expression}")
    return rows(answer)[0][0], answer["ColumnInfo"][0]["Type"]["ScalarType"]


def reason(client: TimestreamQueryClient, sql: str) -> str:
    """Why `sql` is refused as a ValidationException."""
    with pytest.raises(client.exceptions.ValidationException) as caught:
        client.query(QueryString=sql)
    return caught.value.response["Error"]["Message"]


# The shape of an answer


def test_an_answer_has_the_services_shape(client: TimestreamQueryClient) -> None:
    sql = f"SELECT time, position, battery_voltage_v, pv_power_w FROM {TABLE} WHERE sequence = 4"

    answer = client.query(QueryString=sql)

    assert answer["Rows"] == [
        {
            "Data": [
                {"ScalarValue": NOW},
                {"ScalarValue": "battery"},
                {"ScalarValue": "54.0"},
                {"NullValue": True},
            ]
        }
    ]
    assert answer["ColumnInfo"] == [
        {"Name": "time", "Type": {"ScalarType": "TIMESTAMP"}},
        {"Name": "position", "Type": {"ScalarType": "VARCHAR"}},
        {"Name": "battery_voltage_v", "Type": {"ScalarType": "DOUBLE"}},
        {"Name": "pv_power_w", "Type": {"ScalarType": "DOUBLE"}},
    ]
    assert answer["QueryId"]
    assert answer["QueryStatus"]["ProgressPercentage"] == 100.0
    assert "NextToken" not in answer


def test_every_column_is_there_for_a_star(client: TimestreamQueryClient) -> None:
    answer = client.query(QueryString=f"SELECT * FROM {TABLE} LIMIT 1")

    names = [column["Name"] for column in answer["ColumnInfo"]]
    assert names[:3] == ["thing", "measure_name", "time"]
    assert set(names[3:]) == {"battery_voltage_v", "position", "sequence", "clock_synchronised", "pv_power_w"}


def test_a_column_without_a_name_is_named_by_its_place(client: TimestreamQueryClient) -> None:
    answer = client.query(QueryString=f"SELECT thing, count(*), max(sequence) AS Newest FROM {TABLE} GROUP BY thing")

    assert [column["Name"] for column in answer["ColumnInfo"]] == ["thing", "_col1", "Newest"]


def test_names_are_found_in_any_case_without_quotes(client: TimestreamQueryClient) -> None:
    sql = f"SELECT T.POSITION AS \"Position\" FROM {TABLE} t WHERE MEASURE_NAME = 'decision' AND Sequence = 4"

    answer = client.query(QueryString=sql)

    assert answer["ColumnInfo"][0]["Name"] == "Position"
    assert rows(answer) == [("battery",)]


@pytest.mark.parametrize(
    ("expression", "value", "scalar_type"),
    [
        ("1", "1", "INTEGER"),
        ("0.5", "0.5", "DOUBLE"),
        ("1 / 2", "0", "INTEGER"),
        ("1 / 2.0", "0.5", "DOUBLE"),
        ("CAST(7 AS BIGINT)", "7", "BIGINT"),
        ("true", "true", "BOOLEAN"),
        ("'it''s 15m'", "it's 15m", "VARCHAR"),
        ("NULL", None, "UNKNOWN"),
        ("date(now())", "2026-11-23", "DATE"),
        ("1h", "0 01:00:00.000000000", "INTERVAL_DAY_TO_SECOND"),
        ("1d + 500ms", "1 00:00:00.500000000", "INTERVAL_DAY_TO_SECOND"),
        ("TIMESTAMP '2026-11-23 10:00:00.5'", "2026-11-23 10:00:00.500000000", "TIMESTAMP"),
    ],
)
def test_a_value_is_text_beside_its_type(
    client: TimestreamQueryClient, expression: str, value: Cell, scalar_type: str
) -> None:
    assert scalar(client, expression) == (value, scalar_type)


# Time


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("now()", NOW),
        ("current_timestamp", NOW),
        ("ago(1h)", "2026-11-23 10:00:00.000000000"),
        ("ago(1d)", "2026-11-22 11:00:00.000000000"),
        ("now() - 500ms", "2026-11-23 10:59:59.500000000"),
        ("now() + INTERVAL '2' HOUR", "2026-11-23 13:00:00.000000000"),
        ("ago(parse_duration('15m'))", "2026-11-23 10:45:00.000000000"),
        ("bin(TIMESTAMP '2026-11-23 10:00:59.999999999', 30s)", "2026-11-23 10:00:30.000000000"),
        ("bin(TIMESTAMP '2026-11-23 10:00:59', 500ms)", "2026-11-23 10:00:59.000000000"),
        # Bins count from the epoch, which was a Thursday.
        ("bin(now(), 7d)", "2026-11-19 00:00:00.000000000"),
        ("bin(ago(90m), 1h)", "2026-11-23 09:00:00.000000000"),
        ("date_trunc('hour', ago(1m))", "2026-11-23 10:00:00.000000000"),
        (f"from_milliseconds({NOW_MS})", NOW),
        (f"from_milliseconds({NOW_MS} + 1)", "2026-11-23 11:00:00.001000000"),
        (f"from_nanoseconds({NOW_MS}000001)", "2026-11-23 11:00:00.000000001"),
        ("from_milliseconds(100000)", "1970-01-01 00:01:40.000000000"),
        (f"from_unixtime({NOW_MS // 1000})", NOW),
        (f"from_unixtime({NOW_MS // 1000}.25)", "2026-11-23 11:00:00.250000000"),
        ("to_milliseconds(now())", str(NOW_MS)),
        ("to_milliseconds(15m)", "900000"),
        ("to_nanoseconds(now())", f"{NOW_MS}000000"),
        ("date_diff('minute', TIMESTAMP '2026-11-23 10:00:59', TIMESTAMP '2026-11-23 10:01:00')", "0"),
        ("date_diff('second', ago(1h), now())", "3600"),
        ("date_add('hour', -1, now())", "2026-11-23 10:00:00.000000000"),
        ("hour(now())", "11"),
    ],
)
def test_functions_of_time(client: TimestreamQueryClient, expression: str, value: str) -> None:
    assert scalar(client, expression)[0] == value


def test_durations_are_left_alone_in_texts_comments_and_quoted_names(client: TimestreamQueryClient) -> None:
    sql = "SELECT '1h' AS \"5m\" -- 15m\n/* 1d */"

    answer = client.query(QueryString=sql)

    assert answer["ColumnInfo"][0]["Name"] == "5m"
    assert rows(answer) == [("1h",)]


def test_a_span_of_time_is_selected(client: TimestreamQueryClient) -> None:
    sql = (
        f"SELECT sequence FROM {TABLE} WHERE measure_name = 'decision' AND thing = 'shed' "
        "AND time BETWEEN ago(2m) AND now() ORDER BY time DESC LIMIT 2"
    )

    assert run(client, sql) == [("4",), ("3",)]


# What a dashboard asks


def test_averages_by_bin(client: TimestreamQueryClient) -> None:
    sql = (
        "SELECT bin(time, 2m) AS binned, avg(battery_voltage_v) AS v, count_if(position = 'grid') AS grids "
        f"FROM {TABLE} WHERE measure_name = 'decision' AND time >= ago(1h) GROUP BY bin(time, 2m) ORDER BY binned"
    )

    assert run(client, sql) == [
        ("2026-11-23 10:56:00.000000000", "48.0", "0"),
        ("2026-11-23 10:58:00.000000000", "49.5", "2"),
        (NOW, "54.0", "0"),
    ]


def test_the_newest_and_the_oldest_by_time(client: TimestreamQueryClient) -> None:
    sql = (
        "SELECT max_by(position, time), min_by(battery_voltage_v, time), max(time), approx_percentile(sequence, 0.5) "
        f"FROM {TABLE} WHERE measure_name = 'decision'"
    )

    [(newest, oldest_v, newest_time, median)] = run(client, sql)

    assert (newest, oldest_v, newest_time) == ("battery", "48.0", NOW)
    assert median in {"2", "3"}


def test_changes_by_lag_in_a_common_table_expression(client: TimestreamQueryClient) -> None:
    sql = f"""
        WITH samples AS (
            SELECT time, position, lag(position) OVER (ORDER BY time) AS previous,
                   time - lag(time) OVER (ORDER BY time) AS pause
            FROM {TABLE} WHERE measure_name = 'decision'
        )
        SELECT position, pause FROM samples WHERE position <> previous ORDER BY time
    """

    assert run(client, sql) == [("grid", "0 00:01:00.000000000"), ("battery", "0 00:01:00.000000000")]


def test_tables_are_joined_and_united(client: TimestreamQueryClient) -> None:
    joined = (
        f"SELECT d.sequence, m.pv_power_w FROM {TABLE} d JOIN {TABLE} m ON d.time = m.time "
        "WHERE d.measure_name = 'decision' AND m.measure_name = 'mx'"
    )

    assert run(client, joined) == [("4", "310.0")]
    assert run(client, f"SELECT count(*) FROM {TABLE} UNION ALL SELECT 7 ORDER BY 1") == [("5",), ("7",)]


def test_the_order_of_the_query_is_kept(client: TimestreamQueryClient) -> None:
    sequences = run(client, f"SELECT sequence FROM {DAY_TABLE} ORDER BY battery_voltage_v DESC, sequence LIMIT 3")

    assert sequences == [("6",), ("13",), ("20",)]


# Pages


def test_a_result_is_handed_out_in_pages(client: TimestreamQueryClient) -> None:
    sql = f"SELECT sequence FROM {TABLE} WHERE measure_name = 'decision' ORDER BY sequence"

    first = client.query(QueryString=sql, MaxRows=3)
    second = client.query(QueryString=sql, MaxRows=3, NextToken=first["NextToken"])

    assert rows(first) + rows(second) == [("1",), ("2",), ("3",), ("4",)]
    assert "NextToken" not in second
    assert second["QueryId"] == first["QueryId"]


def test_a_page_has_at_most_1000_rows(client: TimestreamQueryClient) -> None:
    pages = list(client.get_paginator("query").paginate(QueryString=f"SELECT time FROM {DAY_TABLE}"))

    assert [len(page["Rows"]) for page in pages] == [1000, DAY_MINUTES - 1000]


def test_a_token_of_another_query_is_refused(client: TimestreamQueryClient) -> None:
    token = client.query(QueryString=f"SELECT time FROM {DAY_TABLE}", MaxRows=1)["NextToken"]

    with pytest.raises(client.exceptions.ValidationException, match="pagination token"):
        client.query(QueryString=f"SELECT thing FROM {DAY_TABLE}", NextToken=token)


def test_a_cancelled_query_has_no_more_pages(client: TimestreamQueryClient) -> None:
    sql = f"SELECT time FROM {DAY_TABLE}"
    first = client.query(QueryString=sql, MaxRows=1)

    assert client.cancel_query(QueryId=first["QueryId"])["CancellationMessage"]

    with pytest.raises(client.exceptions.ValidationException):
        client.query(QueryString=sql, NextToken=first["NextToken"])
    with pytest.raises(client.exceptions.ValidationException):
        client.cancel_query(QueryId=first["QueryId"])


# What is refused


@pytest.mark.parametrize(
    ("sql", "part"),
    [
        ("SELEC 1", "Unexpected token"),
        ("SELECT 1; SELECT 2", "single SELECT"),
        (f"SELECT nothing FROM {TABLE}", "Column 'nothing' does not exist"),
        ('SELECT 1 FROM "solarshed"."nothing"', "nothing"),
        ('SELECT 1 FROM "nowhere"."telemetry"', "nowhere"),
        ("SELECT 1 FROM telemetry", '"database"."table"'),
        ("SELECT ago(15x)", "15x"),
        ("SELECT ago()", "ago"),
        ("SELECT list_value(1, 2)", "list_value"),
        ("SELECT sequence::double FROM " + TABLE, "CAST"),
        ("SELECT 1 / 0", "zero"),
        ("SELECT ARRAY[1, 2]", "stand-in"),
    ],
)
def test_a_bad_query_is_refused_with_the_reason(client: TimestreamQueryClient, sql: str, part: str) -> None:
    assert part in reason(client, sql)


def test_a_query_has_a_limited_length(client: TimestreamQueryClient) -> None:
    assert "QueryString" in reason(client, "x" * 262_145)


@pytest.mark.parametrize(
    "sql",
    [
        f"DELETE FROM {TABLE}",
        f"INSERT INTO {TABLE} VALUES (1)",
        f"DROP TABLE {TABLE}",
        f"CREATE TABLE x AS SELECT * FROM {TABLE}",
        "SET threads = 1",
        "ATTACH 'x.db'",
        "COPY (SELECT 1) TO 'x.csv'",
        "INSTALL httpfs",
        "PRAGMA version",
    ],
)
def test_only_a_select_is_accepted(client: TimestreamQueryClient, sql: str) -> None:
    reason(client, sql)

    assert run(client, f"SELECT count(*) FROM {TABLE}") == [("5",)]


@pytest.mark.parametrize(
    "source",
    [
        "read_csv('/etc/hostname')",
        "read_text('/etc/hostname')",
        "'/etc/hostname'",
        '"/etc/hostname"',
        "glob('*')",
        "duckdb_settings()",
        "information_schema.tables",
        "ts_catalog.tables",
        'ts_store."solarshed/telemetry"',
    ],
)
def test_a_query_reaches_tables_only(client: TimestreamQueryClient, source: str) -> None:
    reason(client, f"SELECT * FROM {source}")


@pytest.mark.parametrize("column", ["ts_version", "ts_series", "ts_values"])
def test_the_stores_own_columns_are_hidden(client: TimestreamQueryClient, column: str) -> None:
    assert column in reason(client, f"SELECT {column} FROM {TABLE}")


# Speed


def test_a_day_of_minutes_is_binned_within_a_fraction_of_a_second(client: TimestreamQueryClient) -> None:
    sql = (
        f"SELECT bin(time, 5m) AS t, avg(battery_voltage_v), max_by(position, time) FROM {DAY_TABLE} "
        "WHERE measure_name = 'decision' AND thing = 'shed' AND time > ago(1d) GROUP BY bin(time, 5m) ORDER BY 1"
    )
    client.query(QueryString=sql)
    started_s = time.monotonic()

    answer = client.query(QueryString=sql)

    # Some 15 ms on an idle laptop; the margin is for a loaded machine.
    assert time.monotonic() - started_s < 1
    assert len(answer["Rows"]) == DAY_MINUTES / 5 + 1
