"""The model of the Lambdas' calls against the Lambdas: they run for real, on moto, and each call of AWS is counted."""

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from moto.backends import get_backend

from cloud.alerts.event import AlertEvent
from cloud.alerts.handler import Desk
from cloud.alerts.incidents import Damping, Page
from cloud.alerts.second_channel import SecondChannel
from cloud.alerts.store import FLAPPING_INDEX, IncidentTable
from cloud.heartbeat import handler as heartbeat
from cloud.telemetry import handler as telemetry
from cloud.telemetry.timestream import MAX_RECORDS
from contract import store
from contract.alerts import Alert, AlertMessage
from contract.messages import CLEAR, RAISE, encode, encode_telemetry
from infra.costs import calls
from infra.costs.assumed import ASSUMED
from infra.costs.calls import alert_message, heartbeat_run, messages_in_batch, settle_message

NOW_MS = time.time_ns() // 10**6
BUCKET = "heartbeats"
# Asked for where the endpoint is; AWS takes nothing for it.
FREE = {"DescribeEndpoints"}


class Calls:
    """Counts every call of AWS that any client makes."""

    def __init__(self) -> None:
        self._made: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, operation: str) -> None:
        if operation not in FREE:
            with self._lock:
                self._made[operation] += 1

    def of(self, action: Callable[[], object]) -> Counter[str]:
        """The calls that `action` makes."""
        self._made.clear()
        action()
        return Counter(self._made)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    noted = Calls()
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def counting(client: BaseClient, operation: str, parameters: dict[str, Any]) -> object:
        noted.note(operation)
        return call(client, operation, parameters)

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(BaseClient, "_make_api_call", counting)
    cached = (heartbeat._s3, heartbeat._sns, heartbeat._iot, telemetry._writer, telemetry._s3)
    with mock_aws():
        for each in cached:
            each.cache_clear()
        yield noted
        for each in cached:
            each.cache_clear()


# Heartbeat


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 240_000


class Shed:
    """Things that beat, or do not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._s3 = boto3.client("s3")
        self._s3.create_bucket(Bucket=BUCKET)
        self._iot = boto3.client("iot")
        monkeypatch.setenv("SOLARSHED_HEARTBEAT_BUCKET", BUCKET)
        monkeypatch.setenv("SOLARSHED_ALERT_TOPIC", boto3.client("sns").create_topic(Name="alerts")["TopicArn"])

    def register(self, *things: str) -> None:
        for thing in things:
            self._iot.create_thing(thingName=thing)

    def beat(self, thing: str, age_s: int = 0, count: int = 1) -> None:
        message = {
            "schema": 1,
            "time_ms": NOW_MS,
            "boot_id": "4f1d",
            "clock_synchronised": True,
            "decision_count": count,
            "position": "battery",
            "reason": "hold",
            "alerts": [],
            "reading_ages_s": {"battery_voltage": 0.4, "box_temperature": 1.1},
        }
        key = f"heartbeat/{thing}.json"
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=encode(message).encode())
        kept: Any = get_backend("s3")["123456789012"]["aws"].buckets[BUCKET].keys
        kept[key].last_modified = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=age_s)

    def run(self) -> None:
        heartbeat.handler({}, Context())


@pytest.fixture
def shed(made: Calls, monkeypatch: pytest.MonkeyPatch) -> Shed:
    return Shed(monkeypatch)


def test_a_run_of_the_heartbeat_lambda_makes_as_many_calls_as_the_sheet_has(made: Calls, shed: Shed) -> None:
    shed.register("a", "b", "c")
    for thing in "abc":
        shed.beat(thing)

    assert made.of(shed.run) == heartbeat_run(3)


def test_so_it_does_from_a_silence_until_the_device_is_back(made: Calls, shed: Shed) -> None:
    shed.register("a", "b")
    shed.beat("a")
    shed.beat("b", age_s=3600)

    assert made.of(shed.run) == heartbeat_run(1, raised=1)
    shed.beat("a", count=2)
    assert made.of(shed.run) == heartbeat_run(1, still_silent=1)
    shed.beat("a", count=3)
    shed.beat("b", count=3)
    assert made.of(shed.run) == heartbeat_run(2, back=1)


def test_so_it_does_for_more_things_than_one_list_holds(made: Calls, shed: Shed) -> None:
    for number in range(calls.NAMES_IN_LIST + 1):
        shed.beat(f"shed-{number:04}")

    assert made.of(shed.run) == heartbeat_run(calls.NAMES_IN_LIST + 1)


# Alerts


class Pages:
    """PagerDuty, which takes everything."""

    def send(self, page: Page, deadline_s: float) -> None:
        """Nothing of it is AWS's."""


@pytest.fixture
def desk(made: Calls) -> Desk:
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="incidents",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("incident", "flapping")],
        KeySchema=[{"AttributeName": "incident", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[
            {
                "IndexName": FLAPPING_INDEX,
                "KeySchema": [{"AttributeName": "flapping", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    second = SecondChannel("queue", boto3.client("sqs"), "topic", boto3.client("sns"))
    return Desk(IncidentTable("incidents", dynamodb), Pages(), second, Damping())  # type: ignore[arg-type]


def record(message: object) -> dict[str, Any]:
    return {"messageId": "1", "body": json.dumps(message), "attributes": {"SentTimestamp": str(NOW_MS)}}


def alert(action: str, at_ms: int) -> dict[str, Any]:
    details = {"position": "grid", "reason": "battery_low", "battery_voltage_v": 49.8, "box_temperature_c": 17.2}
    summary = "Shed battery is low at 49.8 V: relays open, running on battery"
    message = AlertMessage(Alert.BATTERY_LOW, action, NOW_MS - 9000, at_ms, "4f1d", True, summary, details)
    return {**message.as_json(), "thing": "shed", "received_ms": at_ms}


def take(desk: Desk, message: object) -> Callable[[], object]:
    return lambda: desk.take([record(message)], time.monotonic() + 20)


def test_an_alert_costs_as_many_calls_as_the_sheet_has_raised_and_cleared(made: Calls, desk: Desk) -> None:
    assert made.of(take(desk, alert(RAISE, NOW_MS - 9000))) == alert_message()
    assert made.of(take(desk, alert(CLEAR, NOW_MS - 1000))) == alert_message()


def test_a_quiet_settling_costs_one_query(made: Calls, desk: Desk) -> None:
    assert made.of(take(desk, {"schema": 1, "settle": True})) == settle_message()


def test_an_incident_is_kept_in_no_more_bytes_than_the_sheet_has(desk: Desk) -> None:
    for pair in range(15):
        at_ms = NOW_MS + 10_000_000 * pair
        for action in (RAISE, CLEAR):
            message = {**alert(action, at_ms), "raised_ms": at_ms}
            take(desk, message)()

    item = boto3.client("dynamodb").scan(TableName="incidents")["Items"][0]
    size = sum(len(name) + len(next(iter(value.values()))) for name, value in item.items())
    assert 500 < size <= ASSUMED.incident_bytes


def test_the_alert_of_these_tests_is_one_that_the_lambda_understands() -> None:
    from cloud.alerts.event import parse

    assert isinstance(parse(json.dumps(alert(RAISE, NOW_MS)), NOW_MS), AlertEvent)


# Telemetry


def sample(number: int) -> dict[str, Any]:
    return {
        "sequence": number,
        "time_ms": NOW_MS - 60_000 * number,
        "boot_id": "4f1d",
        "clock_synchronised": True,
        "position": "battery",
        "reason": "hold",
        "alerts": [],
        "measures": {"battery_voltage_v": 51.8},
        "devices": {name: {"battery_voltage_v": 51.8} for name in ("fx1", "mx2", "fndc3", "pi0")},
    }


@pytest.mark.parametrize("messages", [1, 4, 5, 25])
def test_a_batch_of_telemetry_is_written_and_nothing_else_is_called(
    made: Calls, monkeypatch: pytest.MonkeyPatch, messages: int
) -> None:
    client = boto3.client("timestream-write")
    client.create_database(DatabaseName=store.DATABASE)
    client.create_table(DatabaseName=store.DATABASE, TableName=store.TABLE)
    monkeypatch.setenv("SOLARSHED_DATABASE", store.DATABASE)
    monkeypatch.setenv("SOLARSHED_TABLE", store.TABLE)
    monkeypatch.setenv("SOLARSHED_REJECTED_BUCKET", BUCKET)
    records = [
        {
            "messageId": str(number),
            "body": json.dumps(
                {
                    **json.loads(encode_telemetry([sample(5 * number + n) for n in range(1, 6)])),
                    "thing": "shed",
                }
            ),
        }
        for number in range(messages)
    ]

    counted = made.of(lambda: telemetry.handler({"Records": records}, None))

    assert counted == {"WriteRecords": math.ceil(messages * 5 * 5 / MAX_RECORDS)}


@pytest.mark.parametrize(("messages", "expected"), [(0, 1), (100, 1), (1e6, 1), (1e8, 7.7), (1e9, 25)])
def test_batches_grow_with_what_comes_up_to_the_most(messages: float, expected: float) -> None:
    assert messages_in_batch(messages, batch=25, window_s=1) == pytest.approx(expected, abs=0.1)
