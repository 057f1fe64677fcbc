"""Goal 6: how fast what has waited for the network gets out, with the real outbox, delivery and link.

The goal: three days at a sample a minute (4320 rows) in at most 5 s on this machine, within AWS's limits for one
connection. From the first message on its way to the last one acknowledged and deleted.

What stands in for what:

- AWS IoT Core: the demo's emulator, over mutual TLS and with IoT policies enforced, on the loopback device. It has no
  rules here. The way to AWS is longer; its limits are the bottleneck all the same, as long as the line gives 4 Mbit/s.
- The samples: what the real journal says of an FX, two MX, a FLEXnet DC and a Pi, all of them noisy.

Four runs, each over a connection of its own:

- `paced` is what a shed does: the real link, within the limits of `device.uplink.pace`.
- `bare` publishes the same payloads with the SDK's own client, all at once at QoS 1, read from a list: no database, no
  compression, no JSON. The SDK keeps to AWS's limits by itself, so this is as fast as AWS lets anybody be.
- `unpaced` and `bare unpaced` are the same two without any limits, the SDK's included: what the code between the card
  and the SDK costs.
"""

import json
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from awscrt import mqtt5
from awsiot import mqtt5_client_builder

from contract import topics
from demo.emulator import ACCOUNT, REGION, Emulator
from demo.provisioning import provision
from device.outbox import Message, Outbox, Stream
from device.settings import Uplink
from device.uplink.delivery import Delivery
from device.uplink.link import Completion, Link
from device.uplink.pace import MOST_BYTES_A_SECOND, MOST_PUBLISHES_A_SECOND, Pace
from tests.bench.table import Goal, Measured, NotMeasuredError, Of, Row
from tests.device.minutes import MINUTES_A_DAY, samples

GOAL_ROWS = 3 * MINUTES_A_DAY
GOAL_S = 5.0
QUICK_ROWS = 300

THING = "bench-shed"
POLICY = "SolarshedBench"
TIMEOUT_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True)
class Run:
    """What one run has published, and in what time."""

    name: str
    rows: int
    messages: int
    size_bytes: int
    duration_s: float

    @property
    def rows_a_second(self) -> float:
        return self.rows / self.duration_s


@dataclass(frozen=True)
class Published:
    """One publish. The time is monotonic."""

    at_s: float
    topic: str
    payload: str

    @property
    def size_bytes(self) -> int:
        return len(self.payload.encode()) + len(self.topic)


class Unpaced(Pace):
    """No limits."""

    def room_at_s(self, size_bytes: int, now_s: float) -> float:
        return now_s


class BareClient:
    """The SDK's client and no more. Its events are those of a `Link`."""

    def __init__(self, uplink: Uplink, *, keeps_to_limits: bool) -> None:
        self._connected = threading.Event()
        self._ended: queue.Queue[Completion] = queue.Queue()
        control = mqtt5.ExtendedValidationAndFlowControlOptions
        self._client = mqtt5_client_builder.mtls_from_path(
            endpoint=uplink.endpoint,
            port=uplink.port,
            cert_filepath=uplink.certificate,
            pri_key_filepath=uplink.private_key,
            ca_filepath=uplink.ca,
            client_id=THING,
            extended_validation_and_flow_control_options=(
                control.AWS_IOT_CORE_DEFAULTS if keeps_to_limits else control.NONE
            ),
            on_lifecycle_connection_success=lambda _: self._connected.set(),
        )
        self._client.start()

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    def tick(self, now_s: float) -> None:
        """It connects by itself."""

    def take(self, timeout_s: float) -> list[Completion]:
        try:
            return [self._ended.get(timeout=timeout_s)]
        except queue.Empty:
            return []

    def publish(self, topic: str, payload: str, token: object) -> None:
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        future = self._client.publish(packet)
        future.add_done_callback(lambda done: self._ended.put(_completion(token, done)))

    def stop(self) -> None:
        self._client.stop()


def _completion(token: object, done: Any) -> Completion:  # noqa: ANN401 - the SDK's future
    error = done.exception()
    if error is None and done.result().puback.reason_code >= 128:
        error = done.result().puback.reason_code
    return Completion(token, None if error is None else str(error))


class NotedLink:
    """A link, and what went over it."""

    def __init__(self, link: Link | BareClient) -> None:
        self._link = link
        self.published: list[Published] = []

    @property
    def connected(self) -> bool:
        return self._link.connected

    def publish(self, topic: str, payload: str, token: object) -> None:
        self.published.append(Published(time.monotonic(), topic, payload))
        self._link.publish(topic, payload, token)


def fill(directory: Path, rows: int) -> None:
    """An outbox as control leaves it after so many minutes offline."""
    with closing(Outbox(directory, is_appender=True)) as outbox:
        outbox.append([Message(Stream.TELEMETRY, text, is_routine=True) for text in samples(rows)])


def drain(name: str, directory: Path, link: Link | BareClient, pace: Pace) -> tuple[Run, list[Published]]:
    """Deliver all that is in the outbox of `directory` over `link`, and stop that.

    Raises:
        NotMeasuredError: it did not all get out.
    """
    noted = NotedLink(link)
    delivery = Delivery(THING, [directory], noted, pace)
    with closing(Outbox(directory)) as outbox:
        rows = outbox.waiting(Stream.TELEMETRY)
    try:
        _connect(link)
        began_s = time.monotonic()
        while time.monotonic() < began_s + TIMEOUT_S:
            delivery.send(time.monotonic())
            if delivery.waiting() == 0:
                break
            for event in link.take(min(POLL_S, delivery.due_in_s(time.monotonic()))):
                if isinstance(event, Completion):
                    delivery.settle(event, time.monotonic())
        delivery.close()
        duration_s = time.monotonic() - began_s
    finally:
        link.stop()
    with closing(Outbox(directory)) as outbox:
        if outbox.waiting(Stream.TELEMETRY):
            raise NotMeasuredError(f"{name}: {outbox.waiting(Stream.TELEMETRY)} of {rows} rows did not get out")
    size_bytes = sum(each.size_bytes for each in noted.published)
    return Run(name, rows, len(noted.published), size_bytes, duration_s), noted.published


def _connect(link: Link | BareClient) -> None:
    give_up_at_s = time.monotonic() + TIMEOUT_S
    while not link.connected:
        if time.monotonic() > give_up_at_s:
            raise NotMeasuredError("no connection to the emulator")
        link.tick(time.monotonic())
        link.take(POLL_S)


def bare(name: str, published: Sequence[Published], rows: int, client: BareClient) -> Run:
    """The same payloads with the SDK's client alone.

    Raises:
        NotMeasuredError: they were not all acknowledged.
    """
    try:
        _connect(client)
        began_s = time.monotonic()
        for each in published:
            client.publish(each.topic, each.payload, None)
        ended = 0
        while ended < len(published):
            if time.monotonic() > began_s + TIMEOUT_S:
                raise NotMeasuredError(f"{name}: {ended} of {len(published)} messages were acknowledged")
            for completion in client.take(POLL_S):
                if completion.error is not None:
                    raise NotMeasuredError(f"{name}: {completion.error}")
                ended += 1
        duration_s = time.monotonic() - began_s
    finally:
        client.stop()
    return Run(name, rows, len(published), sum(each.size_bytes for each in published), duration_s)


@contextmanager
def broker(directory: Path) -> Iterator[Uplink]:
    """The emulator, with a thing that may connect and publish its own channels."""
    emulator = Emulator(directory, {})
    try:
        emulator.start()
        emulator.client("iot").create_policy(policyName=POLICY, policyDocument=json.dumps(_policy()))
        yield provision(emulator, THING, POLICY, directory)
    finally:
        emulator.stop()


def _policy() -> dict[str, Any]:
    prefix = f"arn:aws:iot:{REGION}:{ACCOUNT}"
    allowed = {"iot:Connect": f"client/{THING}", "iot:Publish": f"topic/{topics.topic(THING, '*')}"}
    statements = [
        {"Effect": "Allow", "Action": action, "Resource": f"{prefix}:{resource}"}
        for action, resource in allowed.items()
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def busiest_second(published: Sequence[Published]) -> tuple[int, int]:
    """The most publishes and the most bytes that any one second holds."""
    seconds = [[each for each in published if first.at_s <= each.at_s < first.at_s + 1.0] for first in published]
    return max(map(len, seconds)), max(sum(each.size_bytes for each in second) for second in seconds)


def measure(*, quick: bool) -> Measured:
    """Goal 6.

    Raises:
        NotMeasuredError, DemoError: there is no result.
    """
    runs, most_publishes, most_bytes = run_all(QUICK_ROWS if quick else GOAL_ROWS)
    paced, bare_paced, unpaced, bare_unpaced = runs
    aws = "AWS's limit of a connection"
    within = Goal(Of.RATIO, 1.0)
    goal = Goal(Of.OURS, GOAL_ROWS / GOAL_S, is_least=True)
    what = "drain of three days, within AWS's limits"
    rows = (
        Row(6, what, "rows/s", paced.rows_a_second, bare_paced.rows_a_second, "bare SDK, equal payloads", goal),
        Row(6, "its busiest second", "KB", most_bytes / 1000, MOST_BYTES_A_SECOND / 1000, aws, within),
        Row(6, "its busiest second", "publishes", most_publishes, MOST_PUBLISHES_A_SECOND, aws, within),
        Row(
            6,
            "drain without any limits",
            "rows/s",
            unpaced.rows_a_second,
            bare_unpaced.rows_a_second,
            "bare SDK, equal payloads",
        ),
    )
    return Measured(rows, table_of(runs))


def run_all(rows: int) -> tuple[list[Run], int, int]:
    """The runs, and the busiest second of the paced one.

    Raises:
        NotMeasuredError, DemoError: there is no result.
    """
    with tempfile.TemporaryDirectory() as directory, broker(Path(directory)) as uplink:
        first, second = Path(directory) / "paced", Path(directory) / "unpaced"
        print(f"filling an outbox with {rows} samples", file=sys.stderr)
        fill(first, rows)
        shutil.copytree(first, second)
        print("draining", file=sys.stderr)
        paced, published = drain("paced", first, Link(THING, uplink), Pace())
        bare_paced = bare("bare", published, rows, BareClient(uplink, keeps_to_limits=True))
        unpaced, _ = drain("unpaced", second, BareClient(uplink, keeps_to_limits=False), Unpaced())
        bare_unpaced = bare("bare unpaced", published, rows, BareClient(uplink, keeps_to_limits=False))
        return [paced, bare_paced, unpaced, bare_unpaced], *busiest_second(published)


def table_of(runs: Sequence[Run]) -> str:
    """Every run, for whoever wants to know more."""
    lines = ["run            rows  messages  bytes/row  seconds   rows/s     KB/s"]
    lines += [
        f"{run.name:<12}  {run.rows:>5}  {run.messages:>8}  {run.size_bytes / run.rows:>9.0f}  {run.duration_s:>7.2f}  "
        f"{run.rows_a_second:>7.0f}  {run.size_bytes / run.duration_s / 1000:>7.0f}"
        for run in runs
    ]
    return "\n".join(lines)
