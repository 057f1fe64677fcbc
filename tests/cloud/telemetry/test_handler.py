"""The batch logic against a recording store, then the whole handler against Timestream over HTTP and moto's S3."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from mypy_boto3_s3 import S3Client

from cloud.telemetry import handler as telemetry
from cloud.telemetry.handler import store_batch
from cloud.telemetry.points import Point
from cloud.telemetry.timestream import TimestreamWriter
from cloud.telemetry.writer import Rejected, StoreError
from contract import store
from demo.timestream.server import Endpoint
from tests.cloud.telemetry.columns import columns
from tests.influxdb import influxd

Json = dict[str, Any]

NOW_MS = time.time_ns() // 10**6
BUCKET = "rejected-records"
THROTTLED = ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "WriteRecords")
UNREACHABLE = EndpointConnectionError(endpoint_url="http://127.0.0.1")


def sample(number: int = 1, **changes: object) -> Json:
    return {
        "time_ms": NOW_MS - 1000 * number,
        "sequence": number,
        "boot_id": "4f1d",
        "clock_synchronised": True,
        "position": "grid",
        "reason": "battery_low",
        "alerts": [],
        "measures": {"battery_voltage_v": 49.8},
        **changes,
    }


def record(message_id: str, *samples: Json, **changes: object) -> Json:
    return raw_record(message_id, json.dumps({**columns(*samples), "thing": "shed", **changes}))


def raw_record(message_id: str, body: str) -> Json:
    return {"messageId": message_id, "body": body}


def failures(answer: Json) -> list[str]:
    assert list(answer) == ["batchItemFailures"]
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


class RecordingWriter:
    """Takes everything but the calls in `fails` (from 0) and the points whose version is in `refuses`."""

    max_points = 100

    def __init__(self, fails: dict[int, Exception] | None = None, refuses: frozenset[int] = frozenset()) -> None:
        self.calls: list[list[Point]] = []
        self._fails = fails or {}
        self._refuses = refuses

    def write(self, points: Sequence[Point]) -> list[Rejected]:
        self.calls.append(list(points))
        error = self._fails.get(len(self.calls) - 1)
        if error:
            raise error
        return [Rejected(point, "too old") for point in points if point.version in self._refuses]


def run(records: list[Json], writer: RecordingWriter) -> tuple[list[str], list[Rejected]]:
    kept: list[Rejected] = []
    return failures(store_batch(records, writer, kept.append)), kept


# Messages


def test_a_batch_that_is_stored_fails_no_message() -> None:
    writer = RecordingWriter()

    failed, kept = run([record("a", sample(1), sample(2)), record("b", sample(3))], writer)

    assert (failed, kept) == ([], [])
    assert [[point.version for point in call] for call in writer.calls] == [[1, 2, 3]]


def test_a_batch_without_points_calls_no_store() -> None:
    writer = RecordingWriter()

    assert run([record("a")], writer) == ([], [])
    assert writer.calls == []


BAD_BODIES = {
    "empty": "",
    "malformed": '{"schema": 2,',
    "no object": "[]",
    "deep": "[" * 100_000,
    "deep but whole": "[" * 100_000 + "]" * 100_000,
    "a long number": '{"schema": 2' + "0" * 5000 + "}",
    "a later schema": '{"schema": 3, "thing": "shed", "shared": {}, "fields": [], "samples": []}',
    "no thing": '{"schema": 2, "shared": {}, "fields": [], "samples": []}',
    "a short row": '{"schema": 2, "thing": "shed", "shared": {}, "fields": ["time_ms"], "samples": [[]]}',
    "not a number": json.dumps({**columns(sample(measures={"v": float("nan")})), "thing": "shed"}),
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_L18_a_message_that_cannot_be_understood_fails_alone(body: str) -> None:
    writer = RecordingWriter()

    failed, _ = run([record("a", sample(1)), raw_record("bad", body), record("c", sample(2))], writer)

    assert failed == ["bad"]
    assert [point.version for point in writer.calls[0]] == [1, 2]


def test_one_bad_sample_fails_its_message_whole() -> None:
    writer = RecordingWriter()

    failed, _ = run([record("a", sample(1), sample(2, position=None))], writer)

    assert failed == ["a"]
    assert writer.calls == []


# Chunks


def test_250_points_are_three_calls() -> None:
    writer = RecordingWriter()

    failed, _ = run([record("a", *(sample(number) for number in range(1, 251)))], writer)

    assert failed == []
    assert [len(call) for call in writer.calls] == [100, 100, 50]
    assert [point.version for call in writer.calls for point in call] == list(range(1, 251))


@pytest.mark.parametrize(("count", "calls"), [(99, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
def test_a_call_takes_at_most_100_points(count: int, calls: int) -> None:
    writer = RecordingWriter()

    run([record("a", *(sample(number) for number in range(1, count + 1)))], writer)

    assert len(writer.calls) == calls


@pytest.mark.parametrize(
    "error", [THROTTLED, UNREACHABLE, StoreError("503")], ids=["throttled", "unreachable", "another engine"]
)
def test_D5_only_the_messages_of_the_failed_call_are_delivered_again(error: Exception) -> None:
    records = [
        record("a", *(sample(number) for number in range(1, 61))),
        record("b", *(sample(number) for number in range(61, 121))),
        record("c", *(sample(number) for number in range(121, 181))),
    ]

    # The first call carries a and the beginning of b, the second the rest of b and c.
    assert run(records, RecordingWriter({0: error}))[0] == ["a", "b"]
    assert run(records, RecordingWriter({1: error}))[0] == ["b", "c"]
    assert run(records, RecordingWriter({0: error, 1: error}))[0] == ["a", "b", "c"]


def test_a_failed_call_does_not_keep_the_next_one_from_being_made() -> None:
    writer = RecordingWriter({0: THROTTLED})

    run([record("a", *(sample(number) for number in range(1, 102)))], writer)

    assert len(writer.calls) == 2


def test_an_error_that_nobody_expected_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        run([record("a", sample(1))], RecordingWriter({0: ZeroDivisionError()}))


# The same point twice


@pytest.mark.parametrize("order", [(7, 8, 7), (8, 7, 7), (7, 7, 8)])
def test_a_point_that_comes_several_times_goes_once_in_its_highest_version(order: tuple[int, ...]) -> None:
    records = [record(str(i), sample(1, sequence=sequence)) for i, sequence in enumerate(order)]
    writer = RecordingWriter()

    failed, _ = run(records, writer)

    assert failed == []
    assert [point.version for point in writer.calls[0]] == [8]


def test_when_a_shared_point_fails_every_message_that_brought_it_fails() -> None:
    records = [record("a", sample(1, sequence=7)), record("b", sample(1, sequence=8))]

    assert run(records, RecordingWriter({0: THROTTLED}))[0] == ["a", "b"]


def test_the_same_point_of_two_things_or_sources_is_two_points() -> None:
    writer = RecordingWriter()
    devices = {"mx1": {"pv_power_w": 1.0}, "mx2": {"pv_power_w": 1.0}}

    run([record("a", sample(1, devices=devices)), record("b", sample(1), thing="barn")], writer)

    assert [(point.thing, point.source) for point in writer.calls[0]] == [
        ("shed", "control"),
        ("shed", "mx1"),
        ("shed", "mx2"),
        ("barn", "control"),
    ]


# What the store refuses for good


def test_D1_a_refused_point_is_kept_and_its_message_is_done() -> None:
    failed, kept = run([record("a", sample(1), sample(2))], RecordingWriter(refuses=frozenset({2})))

    assert failed == []
    assert [(rejected.point.version, rejected.reason) for rejected in kept] == [(2, "too old")]


def test_a_refused_point_that_cannot_be_kept_is_delivered_again() -> None:
    def keep(_rejected: Rejected) -> None:
        raise UNREACHABLE

    answer = store_batch([record("a", sample(1))], RecordingWriter(refuses=frozenset({1})), keep)

    assert failures(answer) == ["a"]


# The whole handler


@pytest.fixture
def s3(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    """moto's S3 with the bucket, and everything else that the Lambda finds in its environment."""
    monkeypatch.setenv("SOLARSHED_DATABASE", store.DATABASE)
    monkeypatch.setenv("SOLARSHED_TABLE", store.TABLE)
    monkeypatch.setenv("SOLARSHED_REJECTED_BUCKET", BUCKET)
    for cached in (telemetry._writer, telemetry._s3):
        cached.cache_clear()
    with mock_aws(), closing(boto3.client("s3")) as client:
        client.create_bucket(Bucket=BUCKET)
        yield client
    for cached in (telemetry._writer, telemetry._s3):
        cached.cache_clear()


def kept_objects(s3: S3Client) -> dict[str, Json]:
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
    return {key: json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in keys}


def handle(*records: Json) -> list[str]:
    return failures(telemetry.handler({"Records": list(records)}, None))


def rows(endpoint: Endpoint) -> int:
    return endpoint.engine.count_rows(store.DATABASE, store.TABLE)


def test_a_batch_is_stored_and_a_replay_changes_nothing(s3: S3Client, endpoint: Endpoint) -> None:
    batch = [record("a", *(sample(number) for number in range(1, 251))), record("b", sample(1))]

    assert handle(*batch) == []
    assert handle(*batch) == []

    assert rows(endpoint) == 250
    assert kept_objects(s3) == {}


def test_D8_a_rejected_point_is_one_object_however_often_it_comes(s3: S3Client, endpoint: Endpoint) -> None:
    too_late_ms = NOW_MS + 3_600_000
    batch = [record("a", sample(1), sample(2, time_ms=too_late_ms, measures={"battery_voltage_v": 54}))]

    assert handle(*batch) == []
    assert handle(*batch) == []

    ((key, content),) = kept_objects(s3).items()
    assert key == f"rejected/shed/control/{too_late_ms}-2.json"
    assert "in the future" in content["reason"]
    assert content["measure"] == "decision"
    assert content["values"]["battery_voltage_v"] == 54.0
    assert rows(endpoint) == 1


def test_rejected_points_of_one_moment_do_not_overwrite_each_other(s3: S3Client, endpoint: Endpoint) -> None:
    future = {"time_ms": NOW_MS + 3_600_000}
    devices = {"mx1": {"pv_power_w": 1.0}, "mx2": {"pv_power_w": 2.0}}

    handle(record("a", sample(1, devices=devices, **future)), record("b", sample(1, **future), thing="barn"))

    assert [key.split("/")[1:3] for key in kept_objects(s3)] == [
        ["barn", "control"],
        ["shed", "control"],
        ["shed", "mx1"],
        ["shed", "mx2"],
    ]


def test_D5_throttled_messages_are_delivered_again_and_then_stored(s3: S3Client, endpoint: Endpoint) -> None:
    batch = [record("a", sample(1)), record("b", sample(2))]
    endpoint.inject("WriteRecords", "ThrottlingException", count=2)

    assert handle(*batch) == ["a", "b"]
    assert handle(*batch) == []

    assert rows(endpoint) == 2


def test_D4_a_point_of_the_future_is_kept_in_the_bucket_and_said_in_the_log(
    s3: S3Client, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    ahead_ms = time.time_ns() // 10**6 + 16 * 60_000

    assert handle(record("a", sample(1, time_ms=ahead_ms), sample(2, time_ms=NOW_MS - 30 * 24 * 3600_000))) == []

    assert list(kept_objects(s3)) == [f"rejected/shed/control/{ahead_ms}-1.json"]
    assert "refused by the store: The time is more than 15 minutes in the future" in caplog.text
    assert rows(endpoint) == 1


def test_D6_what_no_store_can_hold_does_not_reach_it(s3: S3Client, endpoint: Endpoint) -> None:
    bodies = [
        record("nan", sample(1, measures={"battery_voltage_v": float("nan")})),
        record("infinity", sample(2, measures={"battery_voltage_v": float("-inf")})),
        record("65 bits", sample(1 << 63)),
    ]

    assert handle(*bodies, record("b", sample(3, measures={}, devices={"mx2": {}}))) == ["65 bits", "infinity", "nan"]

    # A decision always says its position; a device that said nothing is no point.
    assert rows(endpoint) == 1
    assert kept_objects(s3) == {}


def test_D7_what_a_pi_said_before_it_knew_the_time_is_stored_when_it_arrived_with_the_flag(
    s3: S3Client, endpoint: Endpoint
) -> None:
    unset = {"clock_synchronised": False, "time_ms": 90_000, "devices": {"mx2": {"pv_power_w": 1.0}}}
    batch = [record("a", sample(1, **unset), sample(2), received_ms=NOW_MS)]

    assert handle(*batch) == []
    assert handle(*batch) == []

    with closing(boto3.client("timestream-query")) as client:
        answer = client.query(
            QueryString="SELECT source, to_milliseconds(time), clock_synchronised "
            f'FROM "{store.DATABASE}"."{store.TABLE}" ORDER BY time DESC, source'
        )
    found = [tuple(datum.get("ScalarValue") for datum in row["Data"]) for row in answer["Rows"]]
    assert found == [
        ("control", str(NOW_MS), "false"),
        ("mx2", str(NOW_MS), None),
        ("control", str(NOW_MS - 2000), "true"),
    ]
    assert kept_objects(s3) == {}


@pytest.mark.parametrize("changes", [{}, {"received_ms": "soon"}], ids=["an older rule", "no number"])
def test_D7_without_a_time_of_arrival_the_store_refuses_and_the_bucket_keeps_it(
    s3: S3Client, endpoint: Endpoint, changes: Json
) -> None:
    assert handle(record("a", sample(1, clock_synchronised=False, time_ms=90_000), **changes)) == []

    assert list(kept_objects(s3)) == ["rejected/shed/control/90000-1.json"]


def test_the_engine_is_the_one_that_the_environment_names(
    s3: S3Client, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with influxd() as server, closing(boto3.client("secretsmanager")) as secrets:
        server.create_database(store.DATABASE)
        monkeypatch.setenv("SOLARSHED_STORE", store.INFLUXDB)
        monkeypatch.setenv("SOLARSHED_INFLUXDB_URL", server.url)
        held = secrets.create_secret(Name="influxdb", SecretString='{"username": "any", "password": "any"}')
        monkeypatch.setenv("SOLARSHED_INFLUXDB_SECRET", held["ARN"])
        ahead = sample(3, time_ms=NOW_MS + 3_600_000)

        assert handle(record("a", *(sample(number) for number in range(1, 250))), record("b", ahead)) == []

        (series,) = server.query('SELECT count(battery_voltage_v) FROM "decision"', store.DATABASE)
        assert series["values"][0][1] == 249
    assert rows(endpoint) == 0
    assert len(kept_objects(s3)) == 1


def test_without_a_word_in_the_environment_the_engine_is_timestream(s3: S3Client) -> None:
    assert isinstance(telemetry._writer(), TimestreamWriter)


HOSTILE_SAMPLES = {
    "a reserved name": sample(2, measures={"time": 1.0}),
    "a name like the store's own": sample(2, measures={"ts_version": 1.0}),
    "a dimension's name": sample(2, measures={"thing": 1.0}),
    "another dimension's name": sample(2, measures={"site": 1.0}),
    "a device's reserved name": sample(2, devices={"mx2": {"measure_name": "x"}}),
    "half a character": sample(2, boot_id="\ud800"),
    "an empty text": sample(2, devices={"mx2": {"charger_mode": ""}}),
    "a NUL": sample(2, devices={"mx2": {"charger_mode": "\0"}}),
    "too many alerts": sample(2, alerts=["battery_low"] * 1000),
    "a long source": sample(2, devices={"x" * 5000 + "1": {"pv_power_w": 1.0}}),
}


@pytest.mark.parametrize("hostile", HOSTILE_SAMPLES.values(), ids=HOSTILE_SAMPLES)
def test_L18_one_hostile_message_never_keeps_another_from_the_store(
    s3: S3Client, endpoint: Endpoint, hostile: Json
) -> None:
    failed = handle(record("a", sample(1)), record("hostile", hostile, thing="barn"), record("c", sample(3)))

    assert failed == ["hostile"]
    assert rows(endpoint) == 2


def test_L18_a_point_of_too_many_measures_is_kept_and_its_neighbours_are_stored(
    s3: S3Client, endpoint: Endpoint
) -> None:
    overlong = sample(2, measures={f"m{number}": 1.0 for number in range(300)})

    assert handle(record("a", sample(1), overlong, sample(3))) == []

    assert list(kept_objects(s3)) == [f"rejected/shed/control/{overlong['time_ms']}-2.json"]
    assert rows(endpoint) == 2
