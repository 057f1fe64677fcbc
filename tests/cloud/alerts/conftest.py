"""The alerts Lambda's surroundings: moto's AWS, and PagerDuty over HTTP."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from moto import mock_aws

from cloud.alerts import handler as alerts
from cloud.alerts.second_channel import sns, sqs
from cloud.alerts.secret import secrets_manager
from cloud.alerts.store import dynamodb
from demo.pagerduty import PagerDuty, serve
from tests.cloud.alerts.messages import Json, record

# Not hexadecimal, which would be taken out of a text whoever says it.
KEY = "R01ABCDEFGHIJKLMNOPQRSTUVWXYZ234"
TABLE = "incidents"


@dataclass
class Waiting:
    """A monotonic clock that only waiting moves on."""

    now_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.now_s += seconds

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class Context:
    """What Lambda says of an invocation."""

    remaining_ms: int = 30_000
    function_name: str = "alerts"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:alerts"
    aws_request_id: str = "request"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


class Cloud:
    """All that the Lambda talks to."""

    def __init__(self, pagerduty: PagerDuty, waiting: Waiting) -> None:
        self.pagerduty = pagerduty
        self.waiting = waiting
        # The Lambda's own clients: to make others takes most of a test's time.
        self.secrets, self.sqs, self.sns = secrets_manager(), sqs(), sns()
        self.secret_id = self.secrets.create_secret(Name="routing-key", SecretString=KEY)["ARN"]
        self.dead_letters_url = self.sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
        self.topic = self.sns.create_topic(Name="watch")["TopicArn"]
        self._texts_url = self.sqs.create_queue(QueueName="texts")["QueueUrl"]
        self.sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:texts")
        dynamodb().create_table(
            TableName=TABLE,
            AttributeDefinitions=[
                {"AttributeName": "incident", "AttributeType": "S"},
                {"AttributeName": "flapping", "AttributeType": "S"},
            ],
            KeySchema=[{"AttributeName": "incident", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "flapping",
                    "KeySchema": [{"AttributeName": "flapping", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )

    def put_key(self, key: str) -> None:
        self.secrets.put_secret_value(SecretId=self.secret_id, SecretString=key)

    def handle(self, *records: Json, remaining_ms: int = 30_000) -> list[str]:
        """The ids of the messages to deliver again."""
        answer = alerts.handler({"Records": list(records)}, Context(remaining_ms))  # type: ignore[arg-type]
        assert list(answer) == ["batchItemFailures"]
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def tell(self, *messages: Json | str, receives: int = 1) -> None:
        """Handle each in a batch of its own, and expect it to be done."""
        for message in messages:
            assert self.handle(record("m", message, receives=receives)) == []

    def item(self, incident: str) -> dict[str, Any] | None:
        """As DynamoDB keeps it."""
        answer = dynamodb().get_item(TableName=TABLE, Key={"incident": {"S": incident}}, ConsistentRead=True)
        item: dict[str, Any] | None = answer.get("Item")
        return item

    def dead_letters(self) -> list[tuple[str, str]]:
        """Body and reason of each, taken off the queue."""
        return [
            (each["Body"], each["MessageAttributes"]["why"]["StringValue"])
            for each in self._take(self.dead_letters_url)
        ]

    def texts(self) -> list[tuple[str, str]]:
        """Subject and text of what was published, taken off its queue."""
        contents = [json.loads(each["Body"]) for each in self._take(self._texts_url)]
        return [(content["Subject"], content["Message"]) for content in contents]

    def _take(self, url: str) -> list[Any]:
        taken: list[Any] = []
        while messages := self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            taken += messages
        return taken


@pytest.fixture(scope="session", autouse=True)
def end_of_process() -> Iterator[None]:
    """The Lambda's clients live as long as its process, which ends with these tests."""
    yield
    for client in (dynamodb, secrets_manager, sns, sqs):
        if client.cache_info().currsize:
            client().close()
        client.cache_clear()


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def peer() -> Iterator[PagerDuty]:
    with serve() as running:
        running.accepted_keys = frozenset({KEY})
        yield running


@pytest.fixture
def cloud(peer: PagerDuty, waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with mock_aws():
        made = Cloud(peer, waiting)
        monkeypatch.setenv("SOLARSHED_INCIDENTS_TABLE", TABLE)
        monkeypatch.setenv("SOLARSHED_ROUTING_KEY_SECRET", made.secret_id)
        monkeypatch.setenv("SOLARSHED_WATCH_TOPIC", made.topic)
        monkeypatch.setenv("SOLARSHED_DEAD_LETTERS_URL", made.dead_letters_url)
        monkeypatch.setenv("SOLARSHED_PAGERDUTY_URL", peer.url)
        monkeypatch.setenv("SOLARSHED_DASHBOARD_URL", "https://grafana.example/d/shed")
        alerts._pagerduty.cache_clear()
        pagerduty = alerts._pagerduty()
        # A Lambda's time is real; here it passes only where somebody waits.
        pagerduty._sleep = waiting.sleep
        yield made
        alerts._pagerduty.cache_clear()
