"""Outbox -> uplink -> MQTT -> rule -> topic -> queue -> Lambda -> PagerDuty over HTTP; and the heartbeat's silence.

IAM is enforced. PagerDuty is played by `demo.pagerduty`, which checks the published schema.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contract import heartbeat, messages
from contract.alerts import Alert, AlertMessage
from contract.status import PREFIX as STATUS_PREFIX
from demo.pagerduty import Answer, Event
from demo.provisioning import provision
from demo.settings import write_settings
from device.outbox import Outbox, Stream
from tests.cloud_fixture import ROUTING_KEY, SILENT_AFTER_S, Cloud

pytestmark = [pytest.mark.xdist_group("emulator"), pytest.mark.timeout(240)]

SOLARSHED = Path(sys.executable).with_name("solarshed")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def message(
    alert: Alert, action: str, raised_ms: int, summary: str = "Shed battery is low at 49.8 V"
) -> dict[str, Any]:
    return AlertMessage(
        alert, action, raised_ms, now_ms(), "boot-1", True, summary, {"battery_voltage_v": 49.8}
    ).as_json()


@dataclass(frozen=True)
class Thing:
    """One that nobody else speaks of, and what PagerDuty was told of it."""

    cloud: Cloud
    name: str

    def publish(self, content: dict[str, Any]) -> None:
        """Into the alert topic, as the rule does."""
        text = json.dumps(content | {"thing": self.name, "received_ms": now_ms()})
        self.cloud.emulator.client("sns").publish(TopicArn=self.cloud.outputs["AlertTopicArn"], Message=text)

    def events(self) -> list[Event]:
        return [event for event in self.cloud.pagerduty.events if event.dedup_key.startswith(f"{self.name}/")]

    def told(self) -> list[tuple[str, str]]:
        """Action and alert of each event."""
        return [(event.action, event.dedup_key.partition("/")[2]) for event in self.events()]

    def soon_told(self, expected: list[tuple[str, str]]) -> None:
        wait_until(lambda: len(self.told()) >= len(expected))
        assert self.told() == expected

    def look(self) -> None:
        """What the schedule does every five minutes."""
        answer = self.cloud.emulator.client("lambda").invoke(
            FunctionName=self.cloud.outputs["HeartbeatFunctionName"], Payload=b"{}"
        )
        assert "FunctionError" not in answer, answer["Payload"].read()


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.1)


@pytest.fixture
def thing(cloud: Cloud) -> Iterator[Thing]:
    yield Thing(cloud, f"shed-{uuid4().hex[:8]}")
    cloud.pagerduty.answer_well()


def taken(cloud: Cloud, url: str) -> list[dict[str, Any]]:
    """What waits in a queue; it is taken out."""
    sqs = cloud.emulator.client("sqs")
    found: list[dict[str, Any]] = []
    while some := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get(
        "Messages"
    ):
        for one in some:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
        found += some
    return found


def test_an_alert_of_the_outbox_opens_an_incident_and_what_clears_it_resolves_it(
    cloud: Cloud, thing: Thing, tmp_path: Path
) -> None:
    uplink = provision(cloud.emulator, thing.name, cloud.outputs["DevicePolicyName"], tmp_path)
    config = tmp_path / "config.toml"
    write_settings(config, tmp_path, tmp_path / "state", tmp_path / "run", uplink)
    config.write_text(config.read_text().replace('thing = "shed"', f'thing = "{thing.name}"'))
    outbox = Outbox(tmp_path / "state")
    raised_ms = now_ms()

    def tell(action: str) -> None:
        outbox.append([(Stream.ALERT, json.dumps(message(Alert.BATTERY_LOW, action, raised_ms)))])

    process = subprocess.Popen([SOLARSHED, "uplink", "--config", config], stderr=subprocess.DEVNULL)
    try:
        tell(messages.RAISE)
        thing.soon_told([("trigger", "battery_low")])
        tell(messages.CLEAR)
        thing.soon_told([("trigger", "battery_low"), ("resolve", "battery_low")])
    finally:
        process.terminate()
        process.wait(10)
        outbox.close()

    payload = thing.events()[0].payload
    assert (payload["source"], payload["class"], payload["severity"]) == (thing.name, "battery_low", "warning")
    assert payload["summary"] == "Shed battery is low at 49.8 V"
    assert payload["custom_details"]["battery_voltage_v"] == 49.8


def test_L1_L2_doubled_and_late_messages_leave_one_incident_that_is_resolved(thing: Thing) -> None:
    raise_, clear = (message(Alert.BATTERY_LOW, action, 1000) for action in (messages.RAISE, messages.CLEAR))
    for _ in range(4):
        thing.publish(raise_)
    wait_until(lambda: bool(thing.told()))
    for content in (clear, raise_, clear):
        thing.publish(content)
    other = message(Alert.GRID_ABSENT, messages.RAISE, 2000)
    thing.publish(other)

    wait_until(lambda: ("trigger", "grid_absent") in thing.told() and ("resolve", "battery_low") in thing.told())
    time.sleep(1.0)

    incidents = [one for one in thing.cloud.pagerduty.incidents if one.dedup_key == f"{thing.name}/battery_low"]
    assert [one.is_open for one in incidents] == [False]


def test_L4_what_pagerduty_has_no_time_for_is_delivered_again_until_it_has(cloud: Cloud, thing: Thing) -> None:
    cloud.pagerduty.answer_badly(Answer(503), times=None)
    before = cloud.pagerduty.requests
    thing.publish(message(Alert.BATTERY_LOW, messages.RAISE, 1000))
    wait_until(lambda: cloud.pagerduty.requests > before)

    cloud.pagerduty.answer_well()

    thing.soon_told([("trigger", "battery_low")])


def test_L6_L18_what_is_refused_for_good_is_kept_told_by_the_second_channel_and_can_be_sent_again(
    cloud: Cloud, thing: Thing
) -> None:
    sqs, sns = cloud.emulator.client("sqs"), cloud.emulator.client("sns")
    second = sqs.create_queue(QueueName=f"second-channel-{thing.name}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=second, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    let_sns_send = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [let_sns_send | {"Resource": arn}]}
    sqs.set_queue_attributes(QueueUrl=second, Attributes={"Policy": json.dumps(policy)})
    subscription = sns.subscribe(TopicArn=cloud.outputs["WatchTopicArn"], Protocol="sqs", Endpoint=arn)
    dead_letters = cloud.outputs["AlertsDeadLettersUrl"]
    cloud.pagerduty.accepted_keys = frozenset()
    try:
        thing.publish(message(Alert.BATTERY_LOW, messages.RAISE, 1000))
        thing.publish({"schema": 99, "alert": "battery_low"})
        refused: list[dict[str, Any]] = []
        told: list[str] = []

        def both_are_there() -> bool:
            refused.extend(taken(cloud, dead_letters))
            told.extend(json.loads(one["Body"])["Message"] for one in taken(cloud, second))
            return len(refused) >= 2 and len(told) >= 2

        wait_until(both_are_there)
    finally:
        cloud.pagerduty.accepted_keys = frozenset({ROUTING_KEY})
        sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])

    bodies = [json.loads(one["Body"]) for one in refused]
    assert sorted(body["schema"] for body in bodies) == [1, 99]
    assert all(one["MessageAttributes"]["why"]["StringValue"] for one in refused)
    assert any("Shed battery is low at 49.8 V" in text for text in told)
    assert ROUTING_KEY not in json.dumps(told)
    assert thing.told() == []

    for one in refused:
        sqs.send_message(
            QueueUrl=cloud.outputs["AlertsQueueUrl"],
            MessageBody=one["Body"],
            MessageAttributes=one["MessageAttributes"],
        )
    wait_until(lambda: thing.name in [key.partition("/")[0] for key in cloud.pagerduty.open_incidents])
    assert [event.dedup_key for event in thing.events() if event.action == "trigger"] == [f"{thing.name}/battery_low"]


def test_a_device_that_falls_silent_pages_once_and_is_resolved_when_it_is_back(cloud: Cloud, thing: Thing) -> None:
    s3, bucket = cloud.emulator.client("s3"), cloud.outputs["HeartbeatBucketName"]
    cloud.emulator.client("iot").create_thing(thingName=thing.name)

    def beat() -> None:
        content = {
            "schema": 1,
            "time_ms": now_ms(),
            "boot_id": "boot-1",
            "clock_synchronised": True,
            "decision_count": 7,
            "position": "grid",
            "reason": "battery_low",
            "alerts": ["battery_low"],
            "reading_ages_s": {"battery_voltage": 0.4, "box_temperature": 1.1},
        }
        s3.put_object(Bucket=bucket, Key=heartbeat.key(thing.name), Body=json.dumps(content).encode())

    thing.look()
    beat()
    s3.put_object(Bucket=bucket, Key=f"{STATUS_PREFIX}{thing.name}/1000-offline.json", Body=b"{}")
    thing.look()
    time.sleep(SILENT_AFTER_S + 1.5)
    for _ in range(2):
        thing.look()
    thing.soon_told([("trigger", "device_silent")])

    beat()
    for _ in range(2):
        thing.look()
    thing.soon_told([("trigger", "device_silent"), ("resolve", "device_silent")])

    summary = thing.events()[0].summary or ""
    assert summary.startswith(f"{thing.name} has been silent for ")
    assert "on grid (battery_low)" in summary
    assert "its connection broke" in summary
