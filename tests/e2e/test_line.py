"""Outbox -> uplink -> MQTT over mutual TLS -> rule -> queue -> Lambda -> store, with IAM and IoT policies enforced."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from contract import messages, topics
from contract.positions import Position, Reason
from demo.provisioning import provision
from demo.report import stored_samples
from demo.settings import write_settings
from device.identity import make_key_and_request
from device.outbox import Outbox, Stream
from tests.cloud_fixture import VISIBLE_AGAIN_AFTER_S, Cloud
from tests.peers.client import BareClient

pytestmark = [pytest.mark.xdist_group("emulator"), pytest.mark.timeout(240)]

SOLARSHED = Path(sys.executable).with_name("solarshed")


def sample(time_ms: int) -> str:
    return messages.encode(
        {
            "time_ms": time_ms,
            "boot_id": "test",
            "clock_synchronised": True,
            "position": Position.GRID,
            "reason": Reason.BATTERY_LOW,
            "alerts": ["battery_low"],
            # A whole number of volts: the rule's SQL turns it into an integer, the store must get a double.
            "measures": {"battery_voltage_v": 54.0, "box_temperature_c": 21.5},
            "devices": {"mx2": {"pv_power_w": 0.0, "charger_mode": "silent", "aux_on": False}},
        }
    )


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.1)


class Device:
    """A provisioned thing with an outbox, whose uplink a test starts and stops."""

    def __init__(self, cloud: Cloud, thing: str, directory: Path) -> None:
        self.thing = thing
        self.uplink = provision(cloud.emulator, thing, cloud.outputs["DevicePolicyName"], directory)
        self.state = directory / "state"
        self.config = directory / "config.toml"
        write_settings(self.config, directory, self.state, directory / "run", self.uplink)
        text = self.config.read_text()
        self.config.write_text(text.replace('thing = "shed"', f'thing = "{thing}"'))
        self.outbox = Outbox(self.state)

    def append_samples(self, count: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        first = self.outbox.appended(Stream.TELEMETRY)
        # Counting from the sequence keeps every device time different, also between calls.
        self.outbox.append([(Stream.TELEMETRY, sample(now_ms - 3_600_000 + first + n)) for n in range(count)])

    @contextmanager
    def running_uplink(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen([SOLARSHED, "uplink", "--config", self.config], stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=10)


@pytest.fixture
def device(cloud: Cloud, tmp_path: Path) -> Iterator[Device]:
    thing = Device(cloud, f"shed-{uuid4().hex[:8]}", tmp_path)
    yield thing
    thing.outbox.close()


def sequences(cloud: Cloud, device: Device) -> list[int]:
    if not cloud.timestream.engine.count_rows("solarshed", "telemetry"):
        return []
    return [stored.sequence for stored in stored_samples(cloud.query(), device.thing)]


def test_every_sample_in_the_outbox_arrives_in_the_store_once_and_the_outbox_is_empty(
    cloud: Cloud, device: Device
) -> None:
    device.append_samples(250)

    with device.running_uplink():
        wait_until(lambda: len(sequences(cloud, device)) == 250)

    assert sequences(cloud, device) == list(range(1, 251))
    assert device.outbox.waiting(Stream.TELEMETRY) == 0


def test_whole_volts_arrive_as_doubles_and_each_device_has_rows_of_its_own(cloud: Cloud, device: Device) -> None:
    device.append_samples(1)

    with device.running_uplink():
        wait_until(lambda: sequences(cloud, device) == [1])
    rows = cloud.query().query(
        QueryString=(
            "SELECT source, battery_voltage_v, pv_power_w FROM solarshed.telemetry "
            f"WHERE thing = '{device.thing}' ORDER BY source"
        )
    )

    assert [column["Type"]["ScalarType"] for column in rows["ColumnInfo"]] == ["VARCHAR", "DOUBLE", "DOUBLE"]
    assert [[cell.get("ScalarValue") for cell in row["Data"]] for row in rows["Rows"]] == [
        ["control", "54.0", None],
        ["mx2", None, "0.0"],
    ]


def test_stopping_the_emulator_and_starting_it_again_loses_no_sample(cloud: Cloud, device: Device) -> None:
    appending = threading.Event()

    def append_while_it_is_away() -> None:
        outbox = Outbox(device.state)
        number = 0
        while not appending.wait(0.05):
            number += 1
            outbox.append([(Stream.TELEMETRY, sample(time.time_ns() // 1_000_000 + number))])
        outbox.close()

    thread = threading.Thread(target=append_while_it_is_away)
    with device.running_uplink() as process:
        thread.start()
        wait_until(lambda: len(sequences(cloud, device)) > 20)
        cloud.emulator.stop()
        time.sleep(5)
        assert process.poll() is None
        cloud.emulator.start()
        time.sleep(2)
        appending.set()
        thread.join()
        taken = device.outbox.appended(Stream.TELEMETRY)
        wait_until(lambda: len(sequences(cloud, device)) == taken, timeout_s=100)

    assert sequences(cloud, device) == list(range(1, taken + 1))


def test_N3_a_killed_uplink_sends_again_what_was_not_acknowledged(cloud: Cloud, device: Device) -> None:
    device.append_samples(2000)

    for _ in range(3):
        with device.running_uplink() as process:
            time.sleep(0.7)
            process.send_signal(signal.SIGKILL)
    with device.running_uplink():
        wait_until(lambda: len(sequences(cloud, device)) == 2000, timeout_s=100)

    assert sequences(cloud, device) == list(range(1, 2001))


def test_alerts_and_the_newest_heartbeat_are_published(cloud: Cloud, device: Device, tmp_path: Path) -> None:
    from demo.observer import Observer

    heard: list[tuple[str, str]] = []

    def hear(topic: str, payload: str) -> None:
        if not topic.endswith(f"/{topics.STATUS}"):
            heard.append((topic, payload))

    observer = Observer(cloud.emulator, tmp_path, hear)
    observer.start()
    device.outbox.append([(Stream.ALERT, messages.encode({"schema": 1, "alert": "battery_low", "action": "raise"}))])
    device.outbox.replace_heartbeat('{"schema":1,"decision_count":1}')
    device.outbox.replace_heartbeat('{"schema":1,"decision_count":2}')

    with device.running_uplink():
        wait_until(lambda: len(heard) >= 2)
    observer.stop()

    assert [topic for topic, _ in heard] == [
        topics.topic(device.thing, topics.HEARTBEAT),
        topics.topic(device.thing, topics.ALERT),
    ]
    assert json.loads(heard[0][1])["decision_count"] == 2
    assert json.loads(heard[1][1]) == {"sequence": 1, "schema": 1, "alert": "battery_low", "action": "raise"}
    beat = cloud.emulator.client("s3").get_object(
        Bucket=cloud.outputs["HeartbeatBucketName"], Key=f"heartbeat/{device.thing}.json"
    )
    assert json.load(beat["Body"])["decision_count"] == 2


NOT_AUTHORIZED = 135


def test_a_device_may_publish_on_its_own_topics_and_on_nobody_elses(device: Device) -> None:
    with BareClient(device.uplink, device.thing) as connection:
        own = connection.publish(topics.topic(device.thing, topics.HEARTBEAT))
        others = connection.publish(topics.topic("another-shed", topics.TELEMETRY))

    assert own < 128
    assert others == NOT_AUTHORIZED


def test_a_device_may_hear_its_own_shadow_and_nobody_elses(device: Device) -> None:
    with BareClient(device.uplink, device.thing) as connection:
        (own,) = connection.subscribe(f"$aws/things/{device.thing}/shadow/update/delta")
        (others,) = connection.subscribe("$aws/things/another-shed/shadow/update/delta")
        (everything,) = connection.subscribe("dt/solarshed/#")

    assert own < 128
    assert others == NOT_AUTHORIZED
    assert everything == NOT_AUTHORIZED


def test_a_device_may_not_connect_under_another_name(device: Device) -> None:
    with BareClient(device.uplink, "another-shed") as connection:
        assert not connection.connected
        assert connection.failure is not None


def test_a_message_that_nobody_understands_ends_in_the_dead_letter_queue_and_blocks_nothing(
    cloud: Cloud, device: Device
) -> None:
    sqs = cloud.emulator.client("sqs")
    with BareClient(device.uplink, device.thing) as connection:
        connection.publish(topics.topic(device.thing, topics.TELEMETRY))
    device.append_samples(3)

    def dead_letters() -> int:
        attributes = sqs.get_queue_attributes(
            QueueUrl=cloud.outputs["TelemetryDeadLettersUrl"], AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(attributes["Attributes"]["ApproximateNumberOfMessages"])

    # Five times, and not five seconds each.
    queue = cloud.outputs["TelemetryQueueUrl"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    try:
        with device.running_uplink():
            wait_until(lambda: len(sequences(cloud, device)) == 3)
        wait_until(lambda: dead_letters() == 1, timeout_s=100)
    finally:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": str(VISIBLE_AGAIN_AFTER_S)})


def test_a_certificate_that_does_not_fit_its_key_is_told_in_one_line(device: Device, tmp_path: Path) -> None:
    Path(device.uplink.private_key).unlink()
    make_key_and_request(device.thing, Path(device.uplink.private_key))

    ended = subprocess.run([SOLARSHED, "uplink", "--config", device.config], capture_output=True, text=True, timeout=30)

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "does not belong to the key" in line


def test_a_revoked_certificate_is_told_with_the_remedy_and_loses_nothing(cloud: Cloud, device: Device) -> None:
    iot = cloud.emulator.client("iot")
    (arn,) = iot.list_thing_principals(thingName=device.thing)["principals"]
    iot.update_certificate(certificateId=arn.rpartition("/")[2], newStatus="REVOKED")
    device.append_samples(3)

    with device.running_uplink() as process:
        assert process.stderr is not None
        line = process.stderr.readline()

    assert "no connection to localhost" in line
    assert "certificate is active" in line
    assert device.outbox.waiting(Stream.TELEMETRY) == 3
