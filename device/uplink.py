"""`solarshed uplink`: takes what control put in the outbox to AWS IoT Core. Moves no relay and delays no decision."""

import logging
import queue
import signal
import time
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from contract import messages, topics
from device import identity
from device.mqtt import Completion, Link
from device.outbox import Outbox, Row, Stream
from device.settings import Settings, SettingsError
from device.stopping import StopRequest

log = logging.getLogger(__name__)

# Un-acknowledged messages at a time. AWS allows 100 a connection; ten fill a slow line and keep little to repeat.
MAX_IN_FLIGHT = 10
# How long to leave the broker alone after it has refused a message.
REFUSED_PAUSE_S = 30.0
_POLL_S = 0.5


class Publisher(Protocol):
    """What delivery needs of a link."""

    @property
    def connected(self) -> bool: ...

    completions: queue.Queue[Completion]

    def publish(self, topic: str, payload: str, token: object) -> None: ...


@dataclass(frozen=True)
class _Sent:
    """Rows on their way; a heartbeat has none."""

    stream: Stream | None
    ids: tuple[int, ...]
    beat: int = 0


class Delivery:
    """Sends rows in order, forgets them when they are acknowledged, and sends again what was not."""

    def __init__(self, thing: str, outbox: Outbox, link: Publisher) -> None:
        self._thing = thing
        self._outbox = outbox
        self._link = link
        self._in_flight: set[_Sent] = set()
        self._sent_up_to = dict.fromkeys(Stream, 0)
        self._to_repeat: set[Stream] = set()
        self._beat = 0
        self._pause_until_s = 0.0

    def send(self, now_s: float) -> None:
        """Publish what waits: the live heartbeat first, then alerts, then telemetry, oldest first."""
        if not self._link.connected or now_s < self._pause_until_s:
            return
        self._send_heartbeat()
        while len(self._in_flight) < MAX_IN_FLIGHT and self._send_next(Stream.ALERT, 1):
            pass
        while len(self._in_flight) < MAX_IN_FLIGHT and self._send_next(
            Stream.TELEMETRY, messages.MAX_SAMPLES_PER_MESSAGE
        ):
            pass

    def settle(self, completion: Completion, now_s: float) -> None:
        """Take note of how one publish ended."""
        sent = completion.token
        if not isinstance(sent, _Sent):
            raise TypeError(f"{sent!r} is not of this delivery")
        self._in_flight.discard(sent)
        if completion.error is None:
            if sent.stream is not None:
                self._outbox.delete(sent.stream, sent.ids)
            return
        if sent.stream is None:
            self._beat = min(self._beat, sent.beat - 1)
        else:
            self._to_repeat.add(sent.stream)
        if completion.refused:
            self._pause_until_s = now_s + REFUSED_PAUSE_S
            log.error(
                "%s; see that the stack's policy is attached to this device's certificate, and the certificate to the "
                "thing %s. Nothing is lost; trying again in %g s",
                completion.error,
                self._thing,
                REFUSED_PAUSE_S,
            )
        else:
            log.info("not acknowledged, to be sent again: %s", completion.error)

    def _send_heartbeat(self) -> None:
        newest = self._outbox.heartbeat()
        if newest is None or newest[0] <= self._beat:
            return
        self._beat = newest[0]
        self._publish(topics.HEARTBEAT, newest[1], _Sent(None, (), self._beat))

    def _send_next(self, stream: Stream, limit: int) -> bool:
        if stream in self._to_repeat:
            # What is still on its way may yet be acknowledged; sent again now, it would arrive twice.
            if any(sent.stream is stream for sent in self._in_flight):
                return False
            self._to_repeat.discard(stream)
            self._sent_up_to[stream] = 0
        rows = self._outbox.oldest(stream, limit, after_id=self._sent_up_to[stream])
        if not rows:
            return False
        if stream is Stream.TELEMETRY:
            rows = _that_fit(rows)
            payload = messages.encode_telemetry(_with_sequence(row) for row in rows)
        else:
            payload = _with_sequence(rows[0])
        self._sent_up_to[stream] = rows[-1].id
        self._publish(stream, payload, _Sent(stream, tuple(row.id for row in rows)))
        return True

    def _publish(self, channel: str, payload: str, sent: _Sent) -> None:
        self._in_flight.add(sent)
        self._link.publish(topics.topic(self._thing, channel), payload, sent)


def _with_sequence(row: Row) -> str:
    """The row's JSON object with its sequence number as first member."""
    return f'{{"sequence":{row.id},{row.payload[1:]}'


def _that_fit(rows: list[Row]) -> list[Row]:
    """The first rows that one message takes; always at least one."""
    size = 64  # the envelope

    def fits(row: Row) -> bool:
        nonlocal size
        size += len(row.payload.encode()) + 32  # room for the sequence number and a comma
        return size <= messages.MAX_PAYLOAD_BYTES

    return list(takewhile(fits, rows)) or rows[:1]


def run(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT. What is not acknowledged by then stays in the outbox.

    Raises:
        SettingsError, IdentityError, OutboxError: it cannot start.
    """
    if not settings.uplink.endpoint:
        raise SettingsError("uplink.endpoint is empty; write your account's AWS IoT data endpoint there")
    identity.check(settings.uplink)
    stopping = StopRequest(signal.SIGTERM, signal.SIGINT)

    outbox = Outbox(settings.state_directory)
    link = Link(settings.thing, settings.uplink)
    delivery = Delivery(settings.thing, outbox, link)
    link.start()
    try:
        while not stopping.is_set():
            delivery.send(time.monotonic())
            _settle_what_ends(delivery, link)
    finally:
        link.stop()
        waiting = sum(outbox.waiting(stream) for stream in Stream)
        outbox.close()
        log.info("stopped; %d messages wait in the outbox", waiting)


def _settle_what_ends(delivery: Delivery, link: Publisher) -> None:
    """Wait a moment for acknowledgements, then take all that have come."""
    try:
        completion = link.completions.get(timeout=_POLL_S)
        while True:
            delivery.settle(completion, time.monotonic())
            completion = link.completions.get_nowait()
    except queue.Empty:
        pass
