"""The Lambda as AWS calls it, with moto for S3, SNS and IoT."""

import copy
import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.backends import get_backend

from cloud.heartbeat import handler as heartbeat
from cloud.heartbeat.bucket import Bucket
from contract.messages import encode
from contract.status import State, Status, encode_status
from tests.cloud.heartbeat.world import AGES_S, beat, refused

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

Json = dict[str, Any]

BUCKET = "heartbeats"
SILENT = "device_silent"


class Context:
    def __init__(self, remaining_ms: int = 240_000) -> None:
        self._remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


class Aws:
    """What the stack would have made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.s3: S3Client = boto3.client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        self.sns: SNSClient = boto3.client("sns")
        self.sqs: SQSClient = boto3.client("sqs")
        self.iot: IoTClient = boto3.client("iot")
        topic = self.sns.create_topic(Name="alerts")["TopicArn"]
        self.queue = self.sqs.create_queue(QueueName="alerts")["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]
        self.sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"], Attributes={"RawMessageDelivery": "true"}
        )
        monkeypatch.setenv("SOLARSHED_HEARTBEAT_BUCKET", BUCKET)
        monkeypatch.setenv("SOLARSHED_ALERT_TOPIC", topic)

    def beats(self, thing: str = "shed", age_s: int = 0, **changes: object) -> None:
        if thing not in {each["thingName"] for each in self.iot.list_things()["things"]}:
            self.iot.create_thing(thingName=thing)
        content = {**beat(), "time_ms": time.time_ns() // 10**6 - age_s * 1000, **changes}
        self.put(f"heartbeat/{thing}.json", encode(content), age_s)

    def put(self, key: str, content: str, age_s: int = 0) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content.encode())
        self._kept()[key].last_modified = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=age_s)

    def copy(self, key: str, to: str) -> None:
        """As many as a test needs, without a call for each."""
        kept = self._kept()
        kept[to] = copy.copy(kept[key])
        kept[to].name = to

    def _kept(self) -> Any:  # noqa: ANN401 - moto's
        return get_backend("s3")["123456789012"]["aws"].buckets[BUCKET].keys

    def said(self) -> list[Json]:
        """The messages that have come since the last time."""
        messages: list[Json] = []
        while received := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for each in received:
                messages.append(json.loads(each["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=each["ReceiptHandle"])
        return messages

    def keys(self, prefix: str) -> list[str]:
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


@pytest.fixture
def aws(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    with mock_aws():
        for client in (heartbeat._s3, heartbeat._sns, heartbeat._iot):
            client.cache_clear()
        yield Aws(monkeypatch)
        for client in (heartbeat._s3, heartbeat._sns, heartbeat._iot):
            client.cache_clear()


Printed = Callable[[], tuple[Json, list[Json]]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Printed:
    """The run's line of the log, and the metrics that were emitted."""
    log = io.StringIO()
    monkeypatch.setattr(heartbeat.log.registered_handler, "stream", log)

    def read() -> tuple[Json, list[Json]]:
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        (run,) = [line for line in lines if line["message"] == "run"]
        return run, [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]

    return read


def test_silence_is_raised_once_and_cleared_once(aws: Aws) -> None:
    aws.beats(age_s=1000)
    aws.put(Status("shed", 5, State.OFFLINE).key, encode_status(5, State.OFFLINE, 5), age_s=900)

    for _ in "twice":
        heartbeat.handler({}, Context())
    (raised,) = aws.said()
    assert aws.keys("open/") == ["open/device_silent/shed.json"]
    aws.beats()
    for _ in "twice":
        heartbeat.handler({}, Context())
    (cleared,) = aws.said()

    assert (raised["action"], raised["alert"], raised["thing"]) == ("raise", SILENT, "shed")
    assert raised["details"]["connection"]["state"] == "offline"
    assert "; its connection broke at " in raised["summary"]
    assert (cleared["action"], cleared["raised_ms"]) == ("clear", raised["raised_ms"])
    assert abs(raised["received_ms"] - raised["time_ms"] - 100_000) <= 3000
    assert aws.keys("open/") == []


def test_blindness_is_raised_once_and_cleared_once(aws: Aws) -> None:
    aws.beats(reading_ages_s={**AGES_S, "box_temperature": 1000.0})
    for _ in "twice":
        heartbeat.handler({}, Context())
    aws.beats()
    for _ in "twice":
        heartbeat.handler({}, Context())

    raised, cleared = aws.said()
    assert (raised["action"], raised["alert"], raised["severity"]) == ("raise", "device_blind", "critical")
    assert (cleared["action"], cleared["raised_ms"]) == ("clear", raised["raised_ms"])
    assert json.loads(aws.s3.get_object(Bucket=BUCKET, Key="watch/counts.json")["Body"].read()).keys() == {"shed"}


def test_L12_a_paused_thing_and_one_that_is_no_longer_registered_raise_nothing(aws: Aws, printed: Printed) -> None:
    until_s = int(time.time()) + 3600
    for thing in ("paused", "gone", "resumed"):
        aws.beats(thing, age_s=1000)
    for thing, paused_until_s in (("paused", until_s), ("resumed", int(time.time()) - 10)):
        aws.iot.update_thing(
            thingName=thing, attributePayload={"attributes": {"paused_until": str(paused_until_s)}, "merge": True}
        )
    aws.iot.delete_thing(thingName="gone")

    heartbeat.handler({}, Context())

    assert [message["thing"] for message in aws.said()] == ["resumed"]
    run, metrics = printed()
    assert (run["things"], run["silent"], run["paused"], run["unregistered"], run["raised"]) == (3, 3, 1, 1, 1)
    assert metrics == []


def test_a_run_has_one_line_in_the_log_and_no_metric_while_all_is_well(aws: Aws, printed: Printed) -> None:
    aws.beats()

    heartbeat.handler({}, Context())

    run, metrics = printed()
    assert (run["service"], run["things"], run["silent"], run["blind"], run["unreadable"]) == ("heartbeat", 1, 0, 0, 0)
    assert 0 < run["seconds"] < 10
    assert metrics == []


def test_L13_and_C6_what_is_odd_is_a_metric(aws: Aws, printed: Printed) -> None:
    aws.beats("late", time_ms=time.time_ns() // 10**6 - 86_400_000)
    aws.put("heartbeat/corrupt.json", "{")

    heartbeat.handler({}, Context())

    run, (metric,) = printed()
    assert run["unreadable"] == 1
    assert metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Solarshed"
    assert metric["HeartbeatsUnreadable"] == [1]
    assert 86_390 < metric["ClockSkewSeconds"][0] < 86_410
    assert "RunFailures" not in metric


@pytest.mark.parametrize(("skew_s", "is_told"), [(50, False), (70, True)])
def test_C6_a_minute_of_skew_is_not_worth_a_metric(skew_s: int, is_told: bool, aws: Aws, printed: Printed) -> None:
    aws.beats(time_ms=time.time_ns() // 10**6 - skew_s * 1000)

    heartbeat.handler({}, Context())

    assert bool(printed()[1]) == is_told


def test_L19_a_run_in_which_an_alert_did_not_get_out_fails_in_the_end(
    aws: Aws, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.beats("a", age_s=1000)
    aws.beats("b", age_s=1000)
    publish = heartbeat._publish

    def refuse_one(message: Json) -> None:
        if message["thing"] == "a":
            raise refused("InternalError")
        publish(message)

    monkeypatch.setattr(heartbeat, "_publish", refuse_one)

    with pytest.raises(heartbeat.RunFailedError, match="1 failures, see the log"):
        heartbeat.handler({}, Context())

    assert [message["thing"] for message in aws.said()] == ["b"]
    run, (metric,) = printed()
    assert run["failures"] == 1
    assert metric["RunFailures"] == [1]


def test_L19_a_bucket_that_is_not_there_fails_the_run(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLARSHED_HEARTBEAT_BUCKET", "another")

    with pytest.raises(ClientError, match="NoSuchBucket"):
        heartbeat.handler({}, Context())


def test_when_time_runs_short_the_run_fails(aws: Aws, printed: Printed) -> None:
    aws.beats()

    with pytest.raises(heartbeat.RunFailedError):
        heartbeat.handler({}, Context(remaining_ms=19_999))

    assert printed()[0]["left"] == 1


def test_L9_the_limits_are_the_environments(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.beats("silent", age_s=100)
    aws.beats("blind", age_s=50, reading_ages_s={**AGES_S, "battery_voltage": 45.0})
    monkeypatch.setenv("SOLARSHED_SILENT_AFTER_S", "70")
    monkeypatch.setenv("SOLARSHED_BLIND_AFTER_S", "40")

    heartbeat.handler({}, Context())

    assert {(m["thing"], m["alert"]) for m in aws.said()} == {("silent", SILENT), ("blind", "device_blind")}


def test_more_than_a_thousand_heartbeats_and_statuses_are_listed(aws: Aws) -> None:
    aws.put("heartbeat/shed.json", "{}")
    for number in range(1100):
        aws.copy("heartbeat/shed.json", f"heartbeat/shed-{number}.json")
        aws.copy("heartbeat/shed.json", Status("shed", 10_000 + number, State.ONLINE).key)
    aws.put(Status("shed", 11_100, State.STOPPING).key, "{}", age_s=600)
    bucket = Bucket(aws.s3, BUCKET)

    listing = bucket.beats()
    connection = bucket.connection("shed")

    assert set(listing.beats) == {"shed", *(f"shed-{number}" for number in range(1100))}
    assert abs(listing.now_ms - time.time() * 1000) < 5000
    assert connection is not None
    assert connection.state is State.STOPPING
    assert abs(time.time() * 1000 - 600_000 - connection.at_ms) < 5000
