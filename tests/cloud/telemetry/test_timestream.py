"""The writer against moto (what is sent) and against the project's own Timestream over HTTP (what comes of it)."""

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.validate import ParamValidator
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.timestreamwrite.models import timestreamwrite_backends
from mypy_boto3_timestream_query import TimestreamQueryClient

from cloud.telemetry.points import Point
from cloud.telemetry.timestream import MAX_RECORDS, TimestreamWriter
from contract import store
from demo.timestream.server import Endpoint

Json = dict[str, Any]

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
NOW_MS = time.time_ns() // 10**6
ONE_TRY = Config(retries={"total_max_attempts": 1})


def point(time_ms: int = NOW_MS, version: int = 1, **values: Any) -> Point:  # noqa: ANN401 (a Value of any type)
    return Point("shed", "control", "decision", time_ms, version, values or {"battery_voltage_v": 54.0})


# What is sent


@pytest.fixture
def sent() -> Iterator[list[Json]]:
    """Every record that a writer sends to moto, as moto keeps it."""
    with mock_aws(), closing(boto3.client("timestream-write")) as client:
        client.create_database(DatabaseName=store.DATABASE)
        client.create_table(DatabaseName=store.DATABASE, TableName=store.TABLE)
        backend = timestreamwrite_backends[DEFAULT_ACCOUNT_ID]["us-east-1"]
        yield backend.databases[store.DATABASE].tables[store.TABLE].records


def measures_of(record: Json) -> dict[str, tuple[str, str]]:
    return {measure["Name"]: (measure["Type"], measure["Value"]) for measure in record["MeasureValues"]}


def test_a_point_is_one_multi_measure_record(sent: list[Json]) -> None:
    rejected = TimestreamWriter(store.DATABASE, store.TABLE).write([point(NOW_MS, 17, battery_voltage_v=49.8)])

    assert rejected == []
    assert sent == [
        {
            "Dimensions": [
                {"Name": "site", "Value": "home"},
                {"Name": "thing", "Value": "shed"},
                {"Name": "source", "Value": "control"},
            ],
            "MeasureName": "decision",
            "MeasureValueType": "MULTI",
            "MeasureValues": [{"Name": "battery_voltage_v", "Type": "DOUBLE", "Value": "49.8"}],
            "Time": str(NOW_MS),
            "TimeUnit": "MILLISECONDS",
            "Version": 17,
        }
    ]


def test_every_value_states_its_type(sent: list[Json]) -> None:
    values: Json = {"volts": 54.0, "sequence": 17, "clock_synchronised": True, "aux_on": False, "position": "grid"}

    TimestreamWriter(store.DATABASE, store.TABLE).write([point(**values)])

    assert measures_of(sent[0]) == {
        "volts": ("DOUBLE", "54.0"),
        "sequence": ("BIGINT", "17"),
        "clock_synchronised": ("BOOLEAN", "true"),
        "aux_on": ("BOOLEAN", "false"),
        "position": ("VARCHAR", "grid"),
    }


@pytest.mark.parametrize("number", [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0625, 1e22])
def test_a_double_keeps_every_digit(sent: list[Json], number: float) -> None:
    TimestreamWriter(store.DATABASE, store.TABLE).write([point(volts=number)])

    assert float(measures_of(sent[0])["volts"][1]) == number


def test_boto3_spends_no_time_on_checking_records_that_are_made_here(
    sent: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_validator: ParamValidator, parameters: Json, _shape: object) -> None:
        raise AssertionError(f"checked value by value, as the service does: {parameters}")

    monkeypatch.setattr(ParamValidator, "validate", check)

    assert TimestreamWriter(store.DATABASE, store.TABLE).write([point()]) == []
    assert len(sent) == 1


# What comes of it


@pytest.fixture
def writer(endpoint: Endpoint) -> Iterator[TimestreamWriter]:
    with closing(boto3.client("timestream-write", config=ONE_TRY)) as client:
        yield TimestreamWriter(store.DATABASE, store.TABLE, client)


@pytest.fixture
def reader(endpoint: Endpoint) -> Iterator[TimestreamQueryClient]:
    with closing(boto3.client("timestream-query", config=ONE_TRY)) as client:
        yield client


def select(reader: TimestreamQueryClient, what: str) -> list[tuple[str | None, ...]]:
    answer = reader.query(QueryString=f'SELECT {what} FROM "{store.DATABASE}"."{store.TABLE}" ORDER BY time')
    return [tuple(datum.get("ScalarValue") for datum in row["Data"]) for row in answer["Rows"]]


def rows(endpoint: Endpoint) -> int:
    return endpoint.engine.count_rows(store.DATABASE, store.TABLE)


def test_a_point_comes_back_with_its_types(writer: TimestreamWriter, reader: TimestreamQueryClient) -> None:
    values: Json = {"battery_voltage_v": 54.0, "sequence": 17, "clock_synchronised": True, "position": "grid"}

    assert writer.write([point(**values)]) == []

    names = (
        "site, thing, source, measure_name, to_milliseconds(time), battery_voltage_v, sequence, clock_synchronised, "
        "position"
    )
    assert select(reader, names) == [("home", "shed", "control", "decision", str(NOW_MS), "54.0", "17", "true", "grid")]


def test_the_same_of_another_site_is_another_record(writer: TimestreamWriter, reader: TimestreamQueryClient) -> None:
    assert writer.write([point(), replace(point(battery_voltage_v=50.0), site="cabin")]) == []

    found = sorted(select(reader, "site, battery_voltage_v"), key=str)
    assert found == [("cabin", "50.0"), ("home", "54.0")]


def test_D1_of_100_points_the_two_of_another_type_are_returned_and_98_are_stored(
    writer: TimestreamWriter, endpoint: Endpoint
) -> None:
    writer.write([point(NOW_MS - 1)])
    points = [point(NOW_MS + i) for i in range(MAX_RECORDS)]
    points[7] = point(NOW_MS + 7, battery_voltage_v="54.0")
    points[99] = point(NOW_MS + 99, battery_voltage_v=54)

    rejected = writer.write(points)

    assert [r.point for r in rejected] == [points[7], points[99]]
    assert all("battery_voltage_v" in r.reason for r in rejected)
    assert rows(endpoint) == 1 + 98


def test_D2_the_same_batch_again_is_no_error_and_nothing_doubles(writer: TimestreamWriter, endpoint: Endpoint) -> None:
    points = [point(NOW_MS + i) for i in range(10)]
    writer.write(points)

    assert writer.write(points) == []

    assert rows(endpoint) == 10


def test_D3_a_higher_version_replaces_and_a_lower_one_changes_nothing(
    writer: TimestreamWriter, reader: TimestreamQueryClient
) -> None:
    for version, volts in ((2, 50.0), (3, 51.0), (1, 49.0)):
        assert writer.write([point(version=version, battery_voltage_v=volts)]) == []

    assert select(reader, "battery_voltage_v") == [("51.0",)]


def test_D3_other_values_in_the_same_version_change_nothing_and_are_returned(
    writer: TimestreamWriter, reader: TimestreamQueryClient
) -> None:
    writer.write([point(battery_voltage_v=50.0)])

    rejected = writer.write([point(battery_voltage_v=51.0)])

    assert select(reader, "battery_voltage_v") == [("50.0",)]
    assert [refused.point.values for refused in rejected] == [{"battery_voltage_v": 51.0}]


def test_over_one_point_that_the_service_cannot_read_the_others_are_still_stored(
    writer: TimestreamWriter, endpoint: Endpoint
) -> None:
    poison = Point("shed", "control", "decision", NOW_MS, 0, {"battery_voltage_v": 1.0})  # versions start at 1
    good = [point(NOW_MS - n) for n in range(1, 30)]

    rejected = writer.write([*good[:11], poison, *good[11:]])

    assert [refused.point for refused in rejected] == [poison]
    assert rows(endpoint) == 29


@pytest.mark.parametrize(
    ("offset_ms", "reason"),
    [(-5 * 365 * DAY_MS - MINUTE_MS, "retention"), (60 * MINUTE_MS, "in the future"), (-NOW_MS, "retention")],
    ids=["before the retention", "in the future", "1970"],
)
def test_D4_what_is_too_old_or_in_the_future_is_returned(
    writer: TimestreamWriter, endpoint: Endpoint, offset_ms: int, reason: str
) -> None:
    outside, now = point(NOW_MS + offset_ms), point()

    (rejected,) = writer.write([outside, now])

    assert rejected.point == outside
    assert reason in rejected.reason
    assert rows(endpoint) == 1


@pytest.mark.parametrize(
    ("age_ms", "where"),
    [(3 * DAY_MS, "MemoryStore"), (30 * DAY_MS, "MagneticStore"), (4 * 365 * DAY_MS, "MagneticStore")],
    ids=["3 days", "30 days", "4 years"],
)
def test_D4_a_backlog_of_days_goes_to_the_memory_store_and_an_older_one_to_the_magnetic_store(
    endpoint: Endpoint, age_ms: int, where: str
) -> None:
    with closing(boto3.client("timestream-write", config=ONE_TRY)) as client:
        answers: list[Json] = []
        client.meta.events.register(
            "after-call.timestream-write.WriteRecords", lambda parsed, **_: answers.append(parsed["RecordsIngested"])
        )

        assert TimestreamWriter(store.DATABASE, store.TABLE, client).write([point(NOW_MS - age_ms)]) == []

    assert answers == [{"Total": 1, "MemoryStore": 0, "MagneticStore": 0, where: 1}]
    assert rows(endpoint) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1 << 63], ids=["nan", "infinity", "65 bits"])
def test_D6_what_no_store_can_hold_is_returned_and_its_neighbours_are_stored(
    writer: TimestreamWriter, endpoint: Endpoint, bad: float
) -> None:
    poison = point(NOW_MS - 1, battery_voltage_a=bad)

    rejected = writer.write([point(), poison, point(NOW_MS - 2)])

    assert [refused.point for refused in rejected] == [poison]
    assert rows(endpoint) == 2


@pytest.mark.parametrize("error", ["ThrottlingException", "InternalServerException", "AccessDeniedException"])
def test_D5_a_call_refused_as_a_whole_raises_and_stores_nothing(
    writer: TimestreamWriter, endpoint: Endpoint, error: str
) -> None:
    endpoint.inject("WriteRecords", error)

    with pytest.raises(ClientError) as caught:
        writer.write([point()])

    assert caught.value.response["Error"]["Code"] == error
    assert rows(endpoint) == 0


def test_D5_one_throttled_try_is_made_good_by_the_second(endpoint: Endpoint) -> None:
    endpoint.inject("WriteRecords", "ThrottlingException", count=1)

    assert TimestreamWriter(store.DATABASE, store.TABLE).write([point()]) == []

    assert rows(endpoint) == 1


def test_D5_two_throttled_tries_raise(endpoint: Endpoint) -> None:
    endpoint.inject("WriteRecords", "ThrottlingException", count=2)

    with pytest.raises(ClientError, match="Throttling"):
        TimestreamWriter(store.DATABASE, store.TABLE).write([point()])

    assert rows(endpoint) == 0


def test_D5_a_store_that_is_not_there_raises(writer: TimestreamWriter, endpoint: Endpoint) -> None:
    writer.write([point()])
    endpoint.close()

    with pytest.raises(EndpointConnectionError):
        writer.write([point()])


def test_a_table_that_does_not_exist_raises(endpoint: Endpoint) -> None:
    with closing(boto3.client("timestream-write", config=ONE_TRY)) as client, pytest.raises(ClientError):
        TimestreamWriter(store.DATABASE, "another", client).write([point()])
