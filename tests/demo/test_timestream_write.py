"""WriteRecords through an unchanged boto3 client: what is stored, what is refused, and with which answer."""

import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from mypy_boto3_timestream_query import TimestreamQueryClient
from mypy_boto3_timestream_write import TimestreamWriteClient

from demo.timestream.server import Endpoint, serve

DATABASE = "solarshed"
Json = dict[str, Any]
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serve() as running:
        running.engine.create_database(DATABASE)
        yield running


def client_options(endpoint: Endpoint) -> Json:
    return {
        "endpoint_url": endpoint.url,
        "region_name": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
        # What botocore checks before it sends is not what is tested here.
        "config": Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    }


@pytest.fixture(scope="module")
def writer(endpoint: Endpoint) -> Iterator[TimestreamWriteClient]:
    client = boto3.client("timestream-write", **client_options(endpoint))
    yield client
    client.close()


@pytest.fixture(scope="module")
def reader(endpoint: Endpoint) -> Iterator[TimestreamQueryClient]:
    client = boto3.client("timestream-query", **client_options(endpoint))
    yield client
    client.close()


class Bench:
    """One fresh table: `write` takes records, `select` gives rows of text or None."""

    def __init__(self, writer: TimestreamWriteClient, reader: TimestreamQueryClient, table: str) -> None:
        self.writer = writer
        self.reader = reader
        self.table = table

    def create(self, magnetic_writes: bool = False, magnetic_days: int = 30) -> None:
        self.writer.create_table(
            DatabaseName=DATABASE,
            TableName=self.table,
            RetentionProperties={
                "MemoryStoreRetentionPeriodInHours": 24,
                "MagneticStoreRetentionPeriodInDays": magnetic_days,
            },
            MagneticStoreWriteProperties={"EnableMagneticStoreWrites": magnetic_writes},
        )

    def write(self, *records: Json, common: Json | None = None) -> Json:
        request: Any = {"DatabaseName": DATABASE, "TableName": self.table, "Records": list(records)}
        if common:
            request["CommonAttributes"] = common
        return dict(self.writer.write_records(**request)["RecordsIngested"])

    def rejected(self, *records: Json, common: Json | None = None) -> list[Json]:
        with pytest.raises(ClientError) as caught:
            self.write(*records, common=common)
        assert error_code(caught.value) == "RejectedRecordsException"
        response: Any = caught.value.response
        return list(response["RejectedRecords"])

    def invalid(self, *records: Json, common: Json | None = None) -> str:
        with pytest.raises(ClientError) as caught:
            self.write(*records, common=common)
        assert error_code(caught.value) == "ValidationException"
        return caught.value.response["Error"]["Message"]

    def select(self, what: str, rest: str = "ORDER BY time") -> list[tuple[str | None, ...]]:
        answer = self.reader.query(QueryString=f'SELECT {what} FROM "{DATABASE}"."{self.table}" {rest}')
        return [tuple(datum.get("ScalarValue") for datum in row["Data"]) for row in answer["Rows"]]


@pytest.fixture
def bare_bench(writer: TimestreamWriteClient, reader: TimestreamQueryClient, request: pytest.FixtureRequest) -> Bench:
    return Bench(writer, reader, f"t{abs(hash(request.node.nodeid))}")


@pytest.fixture
def bench(bare_bench: Bench) -> Bench:
    bare_bench.create()
    return bare_bench


def error_code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def now_ms() -> int:
    return time.time_ns() // 10**6


NOW_MS = now_ms()


def record(values: dict[str, tuple[str, str]] | None = None, **changes: object) -> Json:
    """A record of one voltage now. `values` are other measures: name to type and text."""
    measures = {"voltage_v": ("DOUBLE", "54.0")} if values is None else values
    return {
        "Dimensions": [{"Name": "thing", "Value": "shed"}],
        "MeasureName": "decision",
        "MeasureValueType": "MULTI",
        "MeasureValues": [{"Name": name, "Type": kind, "Value": text} for name, (kind, text) in measures.items()],
        "Time": str(NOW_MS),
        **changes,
    }


def volts(text: str, **changes: object) -> Json:
    return record({"voltage_v": ("DOUBLE", text)}, **changes)


# What is taken


def test_a_record_comes_back_as_it_was_written(bench: Bench) -> None:
    values = {
        "voltage_v": ("DOUBLE", "49.8"),
        "sequence": ("BIGINT", "-9223372036854775808"),
        "position": ("VARCHAR", "grid"),
        "clock_synchronised": ("BOOLEAN", "true"),
        "read_at": ("TIMESTAMP", "1700000000123"),
    }

    ingested = bench.write(record(values))

    assert ingested == {"Total": 1, "MemoryStore": 1, "MagneticStore": 0}
    row = ("shed", "decision", "49.8", "-9223372036854775808", "grid", "true", "2023-11-14 22:13:20.123000000")
    columns = "thing, measure_name, voltage_v, sequence, position, clock_synchronised, read_at"
    assert bench.select(columns) == [row]


@pytest.mark.parametrize(
    ("unit", "factor"), [("SECONDS", 1), ("MILLISECONDS", 10**3), ("MICROSECONDS", 10**6), ("NANOSECONDS", 10**9)]
)
def test_the_time_is_counted_in_the_records_unit(bench: Bench, unit: str, factor: int) -> None:
    time_s = NOW_MS // 1000

    bench.write(record(Time=str(time_s * factor), TimeUnit=unit))

    assert bench.select("to_nanoseconds(time)") == [(str(time_s * 10**9),)]


def test_nanoseconds_are_kept(bench: Bench) -> None:
    time_ns = NOW_MS * 10**6 + 123_456_789 % 10**6

    bench.write(record(Time=str(time_ns), TimeUnit="NANOSECONDS"))

    [(text,)] = bench.select("time")
    assert text is not None
    assert text.endswith("456789")


@pytest.mark.parametrize(
    ("kind", "text", "read"),
    [("DOUBLE", "1e3", "1000.0"), ("BIGINT", "7", "7"), ("VARCHAR", "grid", "grid"), ("BOOLEAN", "False", "false")],
)
def test_a_single_measure_has_a_column_of_its_type(bench: Bench, kind: str, text: str, read: str) -> None:
    single = record(MeasureValueType=kind, MeasureValue=text, MeasureName="reading")
    del single["MeasureValues"]

    bench.write(single)

    assert bench.select(f"measure_name, measure_value::{kind.lower()}") == [("reading", read)]


def test_common_attributes_are_merged_into_every_record(bench: Bench) -> None:
    common = {
        "Dimensions": [{"Name": "thing", "Value": "shed"}],
        "MeasureName": "mx",
        "MeasureValueType": "MULTI",
        "MeasureValues": [{"Name": "active", "Type": "BOOLEAN", "Value": "true"}],
        "Time": str(NOW_MS),
    }
    mx = [
        {
            "Dimensions": [{"Name": "source", "Value": source}],
            "MeasureValues": [{"Name": "pv_power_w", "Type": "DOUBLE", "Value": power}],
        }
        for source, power in [("mx0", "1"), ("mx1", "2")]
    ]

    bench.write(*mx, common=common)

    rows = bench.select("thing, source, measure_name, pv_power_w, active", "ORDER BY source")
    assert rows == [("shed", "mx0", "mx", "1.0", "true"), ("shed", "mx1", "mx", "2.0", "true")]


def test_a_record_that_lacks_a_measure_has_null_there(bench: Bench) -> None:
    bench.write(record({"a": ("DOUBLE", "1")}), record({"b": ("DOUBLE", "2")}, Time=str(NOW_MS + 1)))

    assert bench.select("a, b") == [("1.0", None), (None, "2.0")]


# Versions


def test_a_higher_version_overwrites(bench: Bench) -> None:
    bench.write(volts("54.0"))

    bench.write(volts("49.8", Version=2))

    assert bench.select("voltage_v") == [("49.8",)]


def test_an_overwriting_record_replaces_all_measures(bench: Bench) -> None:
    bench.write(record({"a": ("DOUBLE", "1"), "b": ("DOUBLE", "1")}))

    bench.write(record({"b": ("DOUBLE", "2")}, Version=2))

    assert bench.select("a, b") == [(None, "2.0")]


def test_the_same_record_again_is_taken_and_stored_once(bench: Bench) -> None:
    bench.write(volts("54.0", Version=3))

    ingested = bench.write(volts("54.0", Version=3))

    assert ingested["Total"] == 1
    assert bench.select("count(*)", "") == [("1",)]


def test_the_same_version_with_another_value_is_rejected(bench: Bench) -> None:
    bench.write(volts("54.0", Version=3))

    [rejected] = bench.rejected(volts("49.8", Version=3))

    assert rejected["RecordIndex"] == 0
    assert rejected["ExistingVersion"] == 3
    assert bench.select("voltage_v") == [("54.0",)]


@pytest.mark.parametrize("text", ["54.0", "49.8"])
def test_a_lower_version_is_rejected(bench: Bench, text: str) -> None:
    bench.write(volts("54.0", Version=3))

    [rejected] = bench.rejected(volts(text, Version=2))

    assert rejected["ExistingVersion"] == 3


def test_a_higher_version_with_the_same_values_raises_the_stored_version(bench: Bench) -> None:
    bench.write(volts("54.0"))
    bench.write(volts("54.0", Version=5))

    [rejected] = bench.rejected(volts("49.8", Version=4))

    assert rejected["ExistingVersion"] == 5


def test_versions_count_within_one_request_too(bench: Bench) -> None:
    [rejected] = bench.rejected(volts("1"), volts("2", Version=2), volts("3", Version=2))

    assert (rejected["RecordIndex"], rejected["ExistingVersion"]) == (2, 2)
    assert bench.select("voltage_v") == [("2.0",)]


def test_records_that_differ_in_dimension_measure_name_or_time_are_different_records(bench: Bench) -> None:
    other_shed = record(Dimensions=[{"Name": "thing", "Value": "barn"}])

    bench.write(record(), other_shed, record(MeasureName="fx"), record(Time=str(NOW_MS + 1)))

    assert bench.select("count(*)", "") == [("4",)]


def test_the_order_of_dimensions_does_not_make_another_record(bench: Bench) -> None:
    dimensions = [{"Name": "thing", "Value": "shed"}, {"Name": "source", "Value": "control"}]

    bench.write(record(Dimensions=dimensions))
    bench.write(record(Dimensions=dimensions[::-1]))

    assert bench.select("count(*)", "") == [("1",)]


# Records that are rejected, while the others are stored


def test_the_records_beside_a_rejected_one_are_stored(bench: Bench) -> None:
    batch = [volts(str(i), Time=str(NOW_MS + i)) for i in range(100)]
    batch[3] = volts("NaN", Time=str(NOW_MS + 3))
    batch[70] = volts("abc", Time=str(NOW_MS + 70))

    rejected = bench.rejected(*batch)

    assert [r["RecordIndex"] for r in rejected] == [3, 70]
    assert bench.select("count(*)", "") == [("98",)]


def test_a_rejected_request_has_the_services_http_status(bench: Bench) -> None:
    with pytest.raises(ClientError) as caught:
        bench.write(volts("NaN"))

    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 419


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("DOUBLE", "NaN"),
        ("DOUBLE", "Infinity"),
        ("DOUBLE", "1e999"),
        ("DOUBLE", "1_000"),
        ("DOUBLE", "full"),
        ("BIGINT", "54.0"),
        ("BIGINT", "9223372036854775808"),
        ("BOOLEAN", "1"),
        ("TIMESTAMP", "yesterday"),
    ],
)
def test_a_value_that_its_type_cannot_hold_is_rejected(bench: Bench, kind: str, text: str) -> None:
    [rejected] = bench.rejected(record({"value": (kind, text)}))

    assert text in rejected["Reason"]


def test_a_record_without_measure_values_is_rejected(bench: Bench) -> None:
    [rejected] = bench.rejected(record({}))

    assert "MeasureValues" in rejected["Reason"]


def test_a_record_with_another_type_for_the_same_measure_is_rejected(bench: Bench) -> None:
    bench.write(record({"voltage_v": ("DOUBLE", "54.0")}))

    [rejected] = bench.rejected(record({"voltage_v": ("BIGINT", "54")}, Time=str(NOW_MS + 1)))

    assert "voltage_v" in rejected["Reason"]
    assert "ExistingVersion" not in rejected


def test_another_type_for_the_same_measure_in_one_request_is_rejected(bench: Bench) -> None:
    integer = record({"voltage_v": ("BIGINT", "54")}, Time=str(NOW_MS + 1))

    [rejected] = bench.rejected(record(), integer)

    assert rejected["RecordIndex"] == 1


def test_a_measure_named_like_a_dimension_is_rejected(bench: Bench) -> None:
    bench.write(record())

    [rejected] = bench.rejected(record({"thing": ("VARCHAR", "shed")}, Time=str(NOW_MS + 1)))

    assert "thing" in rejected["Reason"]


def test_a_measure_name_keeps_its_type(bench: Bench) -> None:
    single = record(MeasureValueType="DOUBLE", MeasureValue="1", Time=str(NOW_MS + 1))
    del single["MeasureValues"]
    bench.write(record())

    [rejected] = bench.rejected(single)

    assert "MULTI" in rejected["Reason"]


def test_a_rejected_record_leaves_no_column_behind(bench: Bench) -> None:
    bench.rejected(record({"a": ("DOUBLE", "1")}, Time=str(NOW_MS - 2 * DAY_MS)))

    bench.write(record({"a": ("BIGINT", "1")}))

    assert bench.select("a") == [("1",)]


def test_a_record_above_two_kilobytes_is_rejected(bench: Bench) -> None:
    [rejected] = bench.rejected(record({"note": ("VARCHAR", "x" * 2040)}))

    assert "2048 bytes" in rejected["Reason"]


# Time


@pytest.mark.parametrize(("minutes", "taken"), [(14, True), (16, False)])
def test_a_record_is_taken_up_to_15_minutes_ahead(bench: Bench, minutes: int, taken: bool) -> None:
    ahead = record(Time=str(now_ms() + minutes * 60_000))

    if taken:
        assert bench.write(ahead)["MemoryStore"] == 1
    else:
        assert "future" in bench.rejected(ahead)[0]["Reason"]


@pytest.mark.parametrize(("hours", "taken"), [(23, True), (25, False)])
def test_a_record_before_the_memory_stores_retention_is_rejected(bench: Bench, hours: int, taken: bool) -> None:
    old = record(Time=str(now_ms() - hours * HOUR_MS))

    if taken:
        assert bench.write(old)["MemoryStore"] == 1
    else:
        assert "memory store" in bench.rejected(old)[0]["Reason"]


def test_the_magnetic_store_takes_older_records_where_it_is_open(bare_bench: Bench) -> None:
    bare_bench.create(magnetic_writes=True)

    ingested = bare_bench.write(record(), record(Time=str(now_ms() - 3 * DAY_MS)))

    assert ingested == {"Total": 2, "MemoryStore": 1, "MagneticStore": 1}


def test_a_record_before_the_magnetic_stores_retention_is_rejected(bare_bench: Bench) -> None:
    bare_bench.create(magnetic_writes=True, magnetic_days=30)

    [rejected] = bare_bench.rejected(record(Time=str(now_ms() - 31 * DAY_MS)))

    assert "30 days" in rejected["Reason"]


# Requests that are wrong as a whole


@pytest.mark.parametrize("count", [0, 101])
def test_a_request_holds_1_to_100_records(bench: Bench, count: int) -> None:
    assert "100" in bench.invalid(*[record(Time=str(NOW_MS + i)) for i in range(count)])


def test_a_dimension_in_both_the_common_attributes_and_the_record_is_invalid(bench: Bench) -> None:
    assert "thing" in bench.invalid(record(), common={"Dimensions": [{"Name": "thing", "Value": "shed"}]})


def test_an_invalid_request_stores_nothing(bench: Bench) -> None:
    bench.invalid(record(), record(Dimensions=[]))

    assert bench.select("count(*)", "") == [("0",)]


@pytest.mark.parametrize(
    "changes",
    [
        {"Dimensions": []},
        {"Dimensions": [{"Name": "thing", "Value": ""}]},
        {"Dimensions": [{"Name": "time", "Value": "x"}]},
        {"Dimensions": [{"Name": "ts_x", "Value": "x"}]},
        {"Dimensions": [{"Name": "a:b", "Value": "x"}]},
        {"Dimensions": [{"Name": "thing", "Value": "x", "DimensionValueType": "BIGINT"}]},
        {"MeasureName": ""},
        {"MeasureValueType": "FLOAT"},
        {"MeasureValue": "1"},
        {"MeasureValues": [{"Name": "a", "Type": "VARCHAR", "Value": ""}]},
        {"MeasureValues": [{"Name": "a", "Type": "VARCHAR", "Value": "x" * 2049}]},
        {"MeasureValues": [{"Name": "a", "Type": "FLOAT", "Value": "1"}]},
        {"MeasureValues": [{"Name": "a", "Type": "DOUBLE", "Value": "1"}] * 2},
        {"Time": None},
        {"Time": "1.5"},
        {"Time": "-1"},
        {"Time": str(2**63)},
        {"TimeUnit": "MINUTES"},
        {"Version": 0},
        {"Version": "new"},
    ],
    ids=str,
)
def test_a_malformed_record_makes_the_request_invalid(bench: Bench, changes: Json) -> None:
    bench.invalid(record(**changes))


def test_a_single_measure_cannot_be_a_timestamp(bench: Bench) -> None:
    single = record(MeasureValueType="TIMESTAMP", MeasureValue="1700000000000", MeasureValues=[])

    assert "TIMESTAMP" in bench.invalid(single)


# Databases and tables


@pytest.mark.parametrize(("database", "table"), [("nowhere", "telemetry"), (DATABASE, "nowhere")])
def test_writing_to_what_does_not_exist_is_not_found(writer: TimestreamWriteClient, database: str, table: str) -> None:
    with pytest.raises(writer.exceptions.ResourceNotFoundException, match="nowhere"):
        writer.write_records(DatabaseName=database, TableName=table, Records=[record()])  # type: ignore[list-item]


def test_a_table_is_described_as_it_was_created(writer: TimestreamWriteClient, bare_bench: Bench) -> None:
    bare_bench.create(magnetic_writes=True)

    table = writer.describe_table(DatabaseName=DATABASE, TableName=bare_bench.table)["Table"]

    assert table["TableStatus"] == "ACTIVE"
    assert table["RetentionProperties"]["MemoryStoreRetentionPeriodInHours"] == 24
    assert table["MagneticStoreWriteProperties"]["EnableMagneticStoreWrites"]


def test_tables_are_listed(writer: TimestreamWriteClient, bench: Bench) -> None:
    tables = writer.list_tables(DatabaseName=DATABASE)["Tables"]

    assert bench.table in [table["TableName"] for table in tables]


def test_a_table_or_database_that_exists_is_a_conflict(writer: TimestreamWriteClient, bench: Bench) -> None:
    with pytest.raises(writer.exceptions.ConflictException):
        bench.create()
    with pytest.raises(writer.exceptions.ConflictException):
        writer.create_database(DatabaseName=DATABASE)


@pytest.mark.parametrize("name", ["", "a", "a/b", 'a"b'])
def test_a_database_name_has_only_plain_characters(writer: TimestreamWriteClient, name: str) -> None:
    with pytest.raises(writer.exceptions.ValidationException):
        writer.create_database(DatabaseName=name)


def test_a_retention_outside_the_services_bounds_is_invalid(writer: TimestreamWriteClient) -> None:
    retention: Any = {"MemoryStoreRetentionPeriodInHours": 0, "MagneticStoreRetentionPeriodInDays": 1}
    with pytest.raises(writer.exceptions.ValidationException, match="MemoryStore"):
        writer.create_table(DatabaseName=DATABASE, TableName="short", RetentionProperties=retention)


# Errors on demand


@pytest.mark.parametrize("error_type", ["ThrottlingException", "InternalServerException"])
def test_an_injected_error_fails_that_many_calls_and_stores_nothing(
    endpoint: Endpoint, bench: Bench, error_type: str
) -> None:
    endpoint.inject("WriteRecords", error_type, count=2)

    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            bench.write(record())
        assert error_code(caught.value) == error_type
    assert bench.select("count(*)", "") == [("0",)]

    assert bench.write(record())["Total"] == 1


def test_a_client_that_retries_gets_through_injected_throttling(endpoint: Endpoint, bench: Bench) -> None:
    options = {**client_options(endpoint), "config": Config(retries={"mode": "standard", "total_max_attempts": 3})}
    client = boto3.client("timestream-write", **options)
    endpoint.inject("WriteRecords", count=1)

    answer = client.write_records(DatabaseName=DATABASE, TableName=bench.table, Records=[record()])

    assert answer["ResponseMetadata"]["RetryAttempts"] == 1
    client.close()


def test_an_operation_that_the_stand_in_lacks_says_so(writer: TimestreamWriteClient) -> None:
    with pytest.raises(ClientError) as caught:
        writer.delete_database(DatabaseName=DATABASE)

    assert error_code(caught.value) == "UnknownOperationException"


# Speed


def test_ten_thousand_records_are_written_within_seconds(bench: Bench) -> None:
    started_s = time.monotonic()

    for batch in range(100):
        bench.write(*[volts("54.0", Time=str(NOW_MS - 100 * batch - i)) for i in range(100)])

    # Some 2 s on an idle laptop; the margin is for a loaded machine.
    assert time.monotonic() - started_s < 30
    assert bench.select("count(*)", "") == [("10000",)]
