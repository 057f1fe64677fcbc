"""What one device says to AWS in a month, counted: its real code on a virtual clock, in the weather of `shed`.

Real are the loop with its rules, the journal, the report and the whole of the shadow's side; the messages are encoded
as uplink encodes them. What storage and delivery do with threads, files and a line is followed here by their rule (a
test compares): routine samples wait for news, for a heartbeat, or for the write interval, and what was written together
is sent as one message.

The weather repeats after CYCLE_DAYS. So many days are simulated, after two hours in which the device finds its feet,
and taken as often as a month holds them. Time goes on in steps of STEP_S; with decisions every second, as on a Pi, it
comes to the same messages but for one a day (a test compares).

Metering by AWS: "AWS IoT Core additional metering details" (aws.amazon.com/iot-core/pricing/additional-details): a
message is counted for each 5 KB of payload and topic that it begins; the acknowledgements of the device are messages,
those of AWS and the pings of the keep-alive are not. A shadow operation is counted for each 1 KB of the document that
it begins.
"""

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any

from cloud.telemetry.points import Point, points_of
from contract import messages, topics
from contract.shadow import PASSING
from contract.status import State, encode_status
from device.decide import Decision
from device.journal import Journal
from device.loop import Loop, Seen
from device.observe import initial_state
from device.report import reported
from device.settings import Settings
from device.uplink.pace import Pace
from device.uplink.shadow import Asked, Shadow
from infra.costs.shed import BOOT_ID, CYCLE_DAYS, DAY_S, START_MS, Shed, VirtualClock

DAYS = 30
STEP_S = 30.0
# A device that has just started says more than usual.
_WARM_UP_S = 2 * 3600.0

# What is not in the code: how often a line breaks, and that it is back within a minute.
CONNECTIONS_A_DAY = 1

# `device.uplink.link.Timing` and `device.control.REPORT_EVERY_S` have them; a test compares. Loading those modules here
# would load the MQTT library and GPIO.
KEEP_ALIVE_S = 30
REPORT_EVERY_S = 10.0
MOST_SAMPLES_WAITING = 100

MESSAGE_PIECE_BYTES = 5 * 1024
SHADOW_PIECE_BYTES = 1024
QUEUE_PIECE_BYTES = 64 * 1024
WRITE_PIECE_BYTES = 1024

THING = "shed-0001"


@dataclass
class Sent:
    """Messages of one kind: how many, their bytes with the topic, and the pieces of 5 KB that AWS counts."""

    count: int = 0
    bytes: int = 0
    pieces: int = 0

    def add(self, topic: str, payload: str) -> None:
        """Count one more."""
        size = len(topic) + len(payload.encode())
        self.count += 1
        self.bytes += size
        self.pieces += pieces(size, MESSAGE_PIECE_BYTES)

    def __mul__(self, factor: int) -> "Sent":
        return Sent(self.count * factor, self.bytes * factor, self.pieces * factor)


@dataclass
class DeviceMonth:
    """What one device has caused. `samples_changed` are those of `samples` that were no routine."""

    samples: int = 0
    samples_changed: int = 0
    telemetry: Sent = field(default_factory=Sent)
    heartbeats: Sent = field(default_factory=Sent)
    alerts: Sent = field(default_factory=Sent)
    statuses: Sent = field(default_factory=Sent)
    # Questions and reports to the shadow, and the answers to them, each of which the device acknowledges.
    shadow_gets: Sent = field(default_factory=Sent)
    shadow_updates: Sent = field(default_factory=Sent)
    shadow_answers: Sent = field(default_factory=Sent)
    shadow_operations: int = 0
    connections: int = 0
    connected_minutes: int = 0
    pings: int = 0
    # One point is one record of Timestream; `write_pieces` are counted for each telemetry message by itself.
    points: int = 0
    points_bytes: int = 0
    write_pieces: int = 0
    queue_pieces: int = 0

    @property
    def published(self) -> int:
        """What the device says on its own topics, in pieces of 5 KB. Each is processed by one rule with one action."""
        return sum(sent.pieces for sent in (self.telemetry, self.heartbeats, self.alerts, self.statuses))

    @property
    def shadow_messages(self) -> int:
        """Questions, reports and answers, in pieces of 5 KB, and the acknowledgement of each answer."""
        sent = (self.shadow_gets, self.shadow_updates, self.shadow_answers)
        return sum(each.pieces for each in sent) + self.shadow_answers.count

    @property
    def messages(self) -> int:
        """All that AWS IoT Core counts as messages; a connection begins with a CONNECT and a SUBSCRIBE."""
        return self.published + self.shadow_messages + 2 * self.connections

    def times(self, factor: int) -> "DeviceMonth":
        """So many times the same."""
        return DeviceMonth(**{f.name: getattr(self, f.name) * factor for f in fields(self)})


def pieces(size_bytes: int, piece_bytes: int) -> int:
    """How many of them are begun; an empty message is one too."""
    return max(1, math.ceil(size_bytes / piece_bytes))


def count_month(settings: Settings) -> DeviceMonth:
    """A month of DAYS with these settings."""
    return count_days(settings, CYCLE_DAYS).times(DAYS // CYCLE_DAYS)


def count_days(settings: Settings, days: float, step_s: float = STEP_S, begin_s: float = 0.0) -> DeviceMonth:
    """So many days, from soon after `begin_s` on. `step_s` must be no longer than the intervals in the settings."""
    device = _Device(settings, begin_s)
    begin_s += _WARM_UP_S
    device.run(begin_s, step_s)
    device.counted = DeviceMonth()
    for number in range(round(days * CONNECTIONS_A_DAY)):
        device.run(begin_s + (number + 0.5) * DAY_S / CONNECTIONS_A_DAY, step_s)
        device.reconnect()
    device.run(begin_s + days * DAY_S, step_s)
    counted = device.counted
    counted.connected_minutes = round(days * DAY_S / 60)
    counted.pings = round(days * DAY_S / KEEP_ALIVE_S)
    return counted


class _Device:
    """Control and uplink of one Pi. Everything is delivered at once and answered at once."""

    def __init__(self, settings: Settings, begin_s: float) -> None:
        self.counted = DeviceMonth()
        limits = settings.limits()
        self._clock = VirtualClock(begin_s)
        self._next_s = begin_s
        self._journal = Journal(
            self._clock,
            BOOT_ID,
            limits,
            sample_interval_s=settings.control.sample_interval_s,
            heartbeat_interval_s=settings.control.heartbeat_interval_s,
            site=settings.site.name,
        )
        shed = Shed(limits.band_v)
        self._loop = Loop(shed, shed, self, limits, initial_state(begin_s))
        self._write_interval_s = settings.control.write_interval_s
        self._waiting: list[str] = []
        self._due_s = math.inf
        self._sequence = 100_000
        self._lasting: dict[str, Any] = {}
        self._reported_at_s = -math.inf
        self._cloud = _CloudShadow(self)
        self._shadow = Shadow(THING, self._cloud, Pace())
        self.reconnect()

    def run(self, until_s: float, step_s: float) -> None:
        """Decide every `step_s`, up to but not at `until_s`."""
        while self._next_s < until_s:
            now_s = self._clock.now_s = self._next_s
            self._loop.tick(now_s)
            if now_s >= self._due_s:
                self._send_samples()
            self._shadow.tick(now_s)
            self._cloud.answer(self._shadow, now_s, self._clock.time_ms())
            self._next_s = now_s + step_s

    def reconnect(self) -> None:
        """The line has broken and is back: the last will of the old connection, and all that the new one asks."""
        counted, now_ms = self.counted, self._clock.time_ms()
        counted.connections += 1
        for state in (State.OFFLINE, State.ONLINE):
            counted.statuses.add(topics.topic(THING, topics.STATUS), encode_status(START_MS, state, now_ms))
        self._shadow.connected()
        self._shadow.subscribed(None, self._clock.now_s)

    # Control: what the loop records, as `device.control.JournalRecorder` does it

    def record(self, decision: Decision, seen: Seen) -> None:
        """Called after each decision."""
        entry = self._journal.record(decision, seen)
        for alert in entry.alerts:
            self.counted.alerts.add(topics.topic(THING, topics.ALERT), alert)
        if entry.heartbeat is not None:
            self.counted.heartbeats.add(topics.topic(THING, topics.HEARTBEAT), entry.heartbeat)
        if entry.sample is not None:
            self.counted.samples += 1
            self.counted.samples_changed += not entry.is_routine
            self._due_s = min(self._due_s, self._clock.now_s + self._write_interval_s)
            self._waiting.append(entry.sample)
        is_news = (
            bool(entry.alerts) or entry.heartbeat is not None or (entry.sample is not None and not entry.is_routine)
        )
        if is_news or len(self._waiting) >= MOST_SAMPLES_WAITING:
            self._send_samples()
        self._report(decision, seen)

    def _send_samples(self) -> None:
        self._due_s = math.inf
        if not self._waiting:
            return
        samples = []
        for text in self._waiting:
            self._sequence += 1
            samples.append({"sequence": self._sequence, **json.loads(text)})
        self._waiting.clear()
        payload = messages.encode_telemetry(samples)
        self.counted.telemetry.add(topics.topic(THING, topics.TELEMETRY), payload)
        # The rule adds the thing's name.
        on_the_queue = {**json.loads(payload), "thing": THING}
        self.counted.queue_pieces += pieces(len(messages.encode(on_the_queue)), QUEUE_PIECE_BYTES)
        self._store(points_of(on_the_queue))

    def _store(self, points: list[Point]) -> None:
        size_bytes = sum(map(record_bytes, points))
        self.counted.points += len(points)
        self.counted.points_bytes += size_bytes
        self.counted.write_pieces += pieces(size_bytes, WRITE_PIECE_BYTES)

    def _report(self, decision: Decision, seen: Seen) -> None:
        now_s = self._clock.now_s
        report = reported(decision, seen, self._journal.raised, self._clock, BOOT_ID, "0.1.0")
        lasting = {name: value for name, value in report.items() if name not in PASSING}
        if lasting != self._lasting or now_s >= self._reported_at_s + REPORT_EVERY_S:
            self._lasting, self._reported_at_s = lasting, now_s
            self._shadow.report(report)


class _CloudShadow:
    """The shadow's line: takes what the device asks, and answers as AWS does. Nobody has a wish."""

    def __init__(self, device: _Device) -> None:
        self._device = device
        self._asked: list[tuple[Asked, dict[str, Any]]] = []
        self._reported: dict[str, Any] = {}
        self._version = 0

    def subscribe(self, filters: list[str]) -> None:
        """Called by the shadow; all of it is granted."""

    def publish(self, topic: str, payload: str, token: object) -> None:
        """Called by the shadow."""
        asked = Asked(str(token))
        counted = self._device.counted
        (counted.shadow_gets if asked is Asked.GET else counted.shadow_updates).add(topic, payload)
        self._asked.append((asked, json.loads(payload)))

    def answer(self, device: Shadow, now_s: float, now_ms: int) -> None:
        """Let the device hear what follows from what it has asked."""
        pending, self._asked = self._asked, []
        for asked, message in pending:
            state = {"reported": self._reported} if asked is Asked.GET else message["state"]
            if asked is Asked.UPDATE:
                self._version += 1
                self._reported = _without_nulls(self._reported | message["state"]["reported"])
            answer = {
                "state": state,
                "metadata": _stamped(state, now_ms // 1000),
                "version": self._version,
                "timestamp": now_ms // 1000,
                "clientToken": message["clientToken"],
            }
            topic, payload = topics.shadow(THING, f"{asked}/accepted"), messages.encode(answer)
            counted = self._device.counted
            counted.shadow_answers.add(topic, payload)
            counted.shadow_operations += pieces(len(messages.encode({"reported": self._reported})), SHADOW_PIECE_BYTES)
            device.hear(topic, payload.encode(), now_s)


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_nulls(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


def _stamped(value: object, time_s: int) -> object:
    """The same tree with a timestamp at each leaf, as the metadata of a shadow has it."""
    if isinstance(value, dict):
        return {name: _stamped(inner, time_s) for name, inner in value.items() if inner is not None}
    return {"timestamp": time_s}


def record_bytes(point: Point) -> int:
    """What Timestream counts of one record: time, names and values of dimensions and measures.

    Source: Timestream for LiveAnalytics developer guide, "Metering and cost optimization", Writes.
    """
    dimensions = (("site", point.site), ("thing", point.thing), ("source", point.source))
    return 8 + sum(_length(text) for pair in dimensions for text in pair) + _length(point.measure) + _values(point)


def _values(point: Point) -> int:
    return sum(_length(name) + _value_bytes(value) for name, value in point.values.items())


def _value_bytes(value: float | bool | str) -> int:
    if isinstance(value, bool):
        return 1
    return _length(value) if isinstance(value, str) else 8


def _length(text: str) -> int:
    return len(text.encode())
