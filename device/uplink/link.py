"""The connection to AWS IoT Core: awsiotsdk's MQTT 5 client over mutual TLS, behind one small class.

Each attempt to connect is a client of its own. So its last will names its own session, a certificate that was replaced
is read anew, and how long to wait before the next attempt is decided here, by why the last one ended.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from awscrt import mqtt5
from awsiot import mqtt5_client_builder

from contract import topics
from contract.errors import SolarshedError
from contract.status import State, encode_status
from device import identity, mailbox
from device.settings import Uplink

log = logging.getLogger(__name__)

# Reason codes from here on are refusals (MQTT 5, section 2.4).
_FIRST_FAILURE_CODE = 128
# So long after somebody else has taken the name the alert stands.
DUPLICATE_REMEMBERED_S = 7200.0
SESSION_NAME = "session"
_MOST_COMPLAINTS = 20
_WHERE_TO_LOOK = (
    "see that the network is up, the endpoint and the time of day are right, and that the certificate is active and "
    "has the stack's policy"
)


@dataclass(frozen=True)
class Timing:
    """How long things may take. The SDK's defaults for keep-alive and acknowledgements are 1200 s and none: a half-open
    connection would go unnoticed for twenty minutes."""

    keep_alive_s: int = 30
    ping_timeout_s: float = 10.0
    ack_timeout_s: int = 15
    connack_timeout_s: float = 15.0
    # Between two attempts: exponential, with full jitter.
    least_pause_s: float = 1.0
    most_pause_s: float = 60.0
    # A connection that lasted so long was a good one: the pauses begin anew.
    good_after_s: float = 60.0
    # After another client has taken this one's place: exponential, with a quarter of jitter.
    duplicate_pause_s: float = 300.0
    most_duplicate_pause_s: float = 3600.0
    stop_s: float = 3.0
    # The SDK has ended everything long before, in one way or another.
    stuck_after_s: float = 120.0


class LinkError(SolarshedError, OSError):
    """The link cannot go on; the text says why."""


@dataclass(frozen=True)
class Connected:
    """The broker has accepted the connection."""


@dataclass(frozen=True)
class Lost:
    """The connection, or the attempt to make one, has ended."""

    why: str
    was_connected: bool
    taken_over: bool = False
    not_authorized: bool = False


@dataclass(frozen=True)
class Message:
    """Something arrived on a topic that is subscribed to."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Subscribed:
    """How a subscription ended. `error` None = all of it was granted."""

    error: str | None


@dataclass(frozen=True)
class Completion:
    """How a publish ended. `error` None = the broker has acknowledged it. `unanswered`: it had the time to, and said
    nothing."""

    token: object
    error: str | None
    refused: bool = False
    unanswered: bool = False


Event = Connected | Lost | Message | Subscribed | Completion


@dataclass(frozen=True)
class _Of:
    """An event with the attempt that it belongs to."""

    attempt: "_Attempt | None"
    event: Event


class _Attempt:
    """One client: it connects once, or fails once. Its callbacks come from the SDK's thread and only fill the queue."""

    def __init__(self, thing: str, uplink: Uplink, timing: Timing, session: int, events: "queue.Queue[_Of]") -> None:
        self.session = session
        self.connected = threading.Event()
        self.stopped = threading.Event()
        self._events = events
        self._is_over = False
        will = encode_status(session, State.OFFLINE, session)
        self._client = mqtt5_client_builder.mtls_from_path(
            endpoint=uplink.endpoint,
            port=uplink.port,
            cert_filepath=uplink.certificate,
            pri_key_filepath=uplink.private_key,
            ca_filepath=uplink.ca or None,
            client_id=thing,
            keep_alive_interval_sec=timing.keep_alive_s,
            ping_timeout_ms=int(timing.ping_timeout_s * 1000),
            ack_timeout_sec=timing.ack_timeout_s,
            connack_timeout_ms=int(timing.connack_timeout_s * 1000),
            # It never gets to try again by itself: it is stopped when it has failed.
            min_reconnect_delay_ms=3_600_000,
            max_reconnect_delay_ms=3_600_000,
            session_behavior=mqtt5.ClientSessionBehaviorType.CLEAN,
            # The client's own queue lives in memory. The outbox keeps what must arrive, so nothing is queued here.
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
            will=mqtt5.PublishPacket(
                topic=topics.topic(thing, topics.STATUS), payload=will, qos=mqtt5.QoS.AT_LEAST_ONCE
            ),
            on_publish_received=self._on_message,
            on_lifecycle_connection_success=self._on_connected,
            on_lifecycle_connection_failure=self._on_failed,
            on_lifecycle_disconnection=self._on_disconnected,
            on_lifecycle_stopped=lambda _: self.stopped.set(),
        )
        self._client.start()

    def release(self) -> None:
        """Let go of the client when it has stopped: it holds this object through the SDK, where Python's garbage
        collection does not see it."""
        del self._client

    def stop(self) -> None:
        """Give the connection or the attempt up. The broker publishes the last will."""
        self.connected.clear()
        self._client.stop()

    def say_goodbye(self) -> None:
        """Disconnect in an orderly way. The broker forgets the last will."""
        self.connected.clear()
        self._client.stop(mqtt5.DisconnectPacket())

    def publish(self, topic: str, payload: str, done: Callable[[Any], None]) -> None:
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        self._client.publish(packet).add_done_callback(done)

    def subscribe(self, filters: Sequence[str], done: Callable[[Any], None]) -> None:
        subscriptions = [mqtt5.Subscription(each, mqtt5.QoS.AT_LEAST_ONCE) for each in filters]
        self._client.subscribe(mqtt5.SubscribePacket(subscriptions)).add_done_callback(done)

    def say(self, event: Event) -> None:
        self._events.put(_Of(self, event))

    def _on_message(self, data: mqtt5.PublishReceivedData) -> None:
        self.say(Message(data.publish_packet.topic, bytes(data.publish_packet.payload or b"")))

    def _on_connected(self, _data: object) -> None:
        self.connected.set()
        self.say(Connected())

    def _on_failed(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        code = None if data.connack_packet is None else data.connack_packet.reason_code
        why = str(data.exception) if code is None else f"refused: {getattr(code, 'name', code)}"
        self._end(Lost(why, was_connected=False, not_authorized=code == mqtt5.ConnectReasonCode.NOT_AUTHORIZED))

    def _on_disconnected(self, data: mqtt5.LifecycleDisconnectData) -> None:
        self.connected.clear()
        code = None if data.disconnect_packet is None else data.disconnect_packet.reason_code
        self._end(
            Lost(
                str(data.exception) if code is None else f"by the broker: {getattr(code, 'name', code)}",
                was_connected=True,
                taken_over=code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER,
                not_authorized=code == mqtt5.DisconnectReasonCode.NOT_AUTHORIZED,
            )
        )

    def _end(self, lost: Lost) -> None:
        if not self._is_over:
            self._is_over = True
            self.say(lost)


class Link:
    """Connects, again and again. What is not acknowledged is reported, never queued. For one thread."""

    def __init__(
        self,
        thing: str,
        uplink: Uplink,
        timing: Timing | None = None,
        jitter: random.Random | None = None,
        directory: Path | None = None,
    ) -> None:
        """`directory` keeps the number of the last session, so that the next one is greater after a reboot too, when
        the clock may be behind. Without it, or where it cannot be used, the clock alone says."""
        self._thing = thing
        self._uplink = uplink
        self._timing = timing or Timing()
        self._jitter = jitter or random.Random()
        self._where = f"{uplink.endpoint}:{uplink.port}"
        self._events: queue.Queue[_Of] = queue.Queue()
        self._attempt: _Attempt | None = None
        self._ending: _Attempt | None = None
        self._directory = directory
        self._session = _read_session(directory)
        self._try_at_s = 0.0
        self._connected_at_s: float | None = None
        self._failures = 0
        self._takeovers = 0
        self._taken_over_at_s: float | None = None
        self._complaints: set[str] = set()
        self._published = 0
        # By number, in their order. The SDK ends each by itself when its time is over.
        self._unanswered_since_s: dict[int, float] = {}
        self._ending_since_s = 0.0
        self.connections = 0

    @property
    def connected(self) -> bool:
        """Whether a publish has a chance now."""
        return self._connected_at_s is not None and self._attempt is not None and self._attempt.connected.is_set()

    def is_duplicated(self, now_s: float) -> bool:
        """Whether somebody else has lately connected under this name."""
        return self._taken_over_at_s is not None and now_s < self._taken_over_at_s + DUPLICATE_REMEMBERED_S

    def tick(self, now_s: float) -> None:
        """Begin an attempt when one is due.

        Raises:
            LinkError: the SDK does not answer any more. Only a new process helps.
        """
        self._check_sdk(time.monotonic())
        if self._attempt is not None or now_s < self._try_at_s:
            return
        if self._ending is not None:
            if not self._ending.stopped.is_set():
                return
            self._ending.release()
            self._ending = None
        # Grows, whatever the clock does.
        self._session = max(self._session + 1, time.time_ns() // 1_000_000)
        try:
            self._attempt = _Attempt(self._thing, self._uplink, self._timing, self._session, self._events)
        except Exception as e:  # noqa: BLE001 - whatever the SDK says of files that have become unusable
            self._note_end(Lost(str(e), was_connected=False), now_s)

    def _check_sdk(self, now_s: float) -> None:
        since_s = next(iter(list(self._unanswered_since_s.values())), now_s)
        if self._ending is not None and not self._ending.stopped.is_set():
            since_s = min(since_s, self._ending_since_s)
        if now_s > since_s + self._timing.stuck_after_s:
            raise LinkError(
                f"the AWS library has not answered for {self._timing.stuck_after_s:g} s; ending, to be started anew by "
                "systemd. Nothing is lost"
            )

    def take(self, timeout_s: float) -> list[Event]:
        """Wait so long for something to happen, and return all that has."""
        events: list[Event] = []
        try:
            of = self._events.get(timeout=timeout_s)
            while True:
                events += self._noted(of, time.monotonic())
                of = self._events.get_nowait()
        except queue.Empty:
            return events

    def publish(self, topic: str, payload: str, token: object) -> None:
        """Publish at QoS 1. How it ended comes as a Completion with `token`."""
        attempt = self._attempt
        if attempt is None:
            self._events.put(_Of(None, Completion(token, "the connection is gone")))
            return
        self._published += 1
        number = self._published
        self._unanswered_since_s[number] = time.monotonic()

        def done(future: Any) -> None:  # noqa: ANN401 - the SDK's future
            self._unanswered_since_s.pop(number, None)
            attempt.say(_completion(token, topic, future))

        attempt.publish(topic, payload, done)

    def subscribe(self, filters: Sequence[str]) -> None:
        """Subscribe at QoS 1 to at most eight. How it ended comes as Subscribed, unless the connection is gone."""
        attempt = self._attempt
        if attempt is None:
            return
        attempt.subscribe(filters, lambda future: attempt.say(_subscribed(filters, future)))

    def reconnect(self, why: str, now_s: float) -> None:
        """Give this connection up; the next one follows after a pause."""
        if self._attempt is not None:
            self._note_end(Lost(why, was_connected=True), now_s)

    def stop(self) -> None:
        """Say that this stop is meant, and disconnect, within three seconds."""
        attempt = self._attempt
        if attempt is None:
            return
        give_up_at_s = time.monotonic() + self._timing.stop_s
        if attempt.connected.is_set():
            told = threading.Event()
            self._publish_status(attempt, State.STOPPING, lambda _: told.set())
            told.wait(self._timing.stop_s / 2)
        attempt.say_goodbye()
        attempt.stopped.wait(max(0.0, give_up_at_s - time.monotonic()))
        self._attempt = None

    def _noted(self, of: _Of, now_s: float) -> list[Event]:
        """What of this event concerns others. A completion always does: somebody waits for it."""
        if of.attempt is not self._attempt:
            return [of.event] if isinstance(of.event, Completion) else []
        if isinstance(of.event, Connected):
            self._note_connection(now_s)
        elif isinstance(of.event, Lost):
            self._note_end(of.event, now_s)
        return [of.event]

    def _note_connection(self, now_s: float) -> None:
        self._connected_at_s = now_s
        self._complaints = set()
        self.connections += 1
        log.info("connected to %s", self._where)
        _keep_session(self._directory, self._session)
        if self._attempt is not None:
            self._publish_status(self._attempt, State.ONLINE, _complain_of_status)

    def _publish_status(self, attempt: _Attempt, state: State, done: Callable[[Any], None]) -> None:
        text = encode_status(attempt.session, state, time.time_ns() // 1_000_000)
        attempt.publish(topics.topic(self._thing, topics.STATUS), text, done)

    def _note_end(self, lost: Lost, now_s: float) -> None:
        lasted_s = 0.0 if self._connected_at_s is None else now_s - self._connected_at_s
        self._connected_at_s = None
        if self._attempt is not None:
            self._attempt.stop()
            self._ending, self._attempt = self._attempt, None
            self._ending_since_s = time.monotonic()
        pause_s = self._pause_s(lost, lasted_s, now_s)
        self._try_at_s = now_s + pause_s
        self._complain(lost, pause_s)

    def _pause_s(self, lost: Lost, lasted_s: float, now_s: float) -> float:
        timing = self._timing
        if lasted_s >= timing.good_after_s:
            self._failures = 0
        if lasted_s >= timing.most_duplicate_pause_s:
            self._takeovers = 0
        if lost.taken_over:
            self._taken_over_at_s = now_s
            self._takeovers = min(self._takeovers + 1, 30)
            pause_s: float = min(timing.most_duplicate_pause_s, timing.duplicate_pause_s * 2 ** (self._takeovers - 1))
            return pause_s * self._jitter.uniform(0.75, 1.25)
        self._failures = min(self._failures + 1, 30)
        most_s = min(timing.most_pause_s, timing.least_pause_s * 2**self._failures)
        return self._jitter.uniform(timing.least_pause_s, most_s)

    def _complain(self, lost: Lost, pause_s: float) -> None:
        """Each cause once, until there has been a connection: it may last for days."""
        if lost.taken_over:
            log.error(
                "another client has connected to %s as %s; see that no second device or script uses this name and "
                "certificate. Trying again in %.0f s",
                self._where,
                self._thing,
                pause_s,
            )
        elif lost.was_connected:
            log.warning("disconnected from %s: %s; trying again in %.0f s", self._where, lost.why, pause_s)
        elif lost.why not in self._complaints:
            self._complaints = {*self._complaints, lost.why} if len(self._complaints) < _MOST_COMPLAINTS else {lost.why}
            log.warning("no connection to %s: %s; trying again. %s", self._where, lost.why, self._remedy(lost))

    def _remedy(self, lost: Lost) -> str:
        try:
            identity.check_apart(self._uplink)
        except identity.IdentityError as e:
            return str(e)
        may_be_ours = lost.not_authorized or any(word in lost.why.upper() for word in ("TLS", "CLOSED"))
        expires = identity.expiry(self._uplink) if may_be_ours else None
        if expires is not None and expires < datetime.now(UTC):
            return (
                f"The certificate {self._uplink.certificate} expired on {expires:%Y-%m-%d}, by this machine's clock: "
                "see that the clock is right, or make a new one with: solarshed provision"
            )
        if "TLS" in lost.why.upper():
            ca = self._uplink.ca
            trusted = (
                f"uplink.ca {ca} is the CA of this endpoint" if ca else "this system's CA certificates are installed"
            )
            return f"See that {trusted}; if it lasts: {_WHERE_TO_LOOK}"
        return f"If it lasts: {_WHERE_TO_LOOK}"


def _read_session(directory: Path | None) -> int:
    try:
        return 0 if directory is None else int((directory / SESSION_NAME).read_text())
    except (OSError, ValueError):  # the first one, or the card is failing
        return 0


def _keep_session(directory: Path | None, session: int) -> None:
    if directory is None:
        return
    try:
        mailbox.put(directory, SESSION_NAME, str(session))
    except OSError as e:
        log.info("%s not written: %s", directory / SESSION_NAME, e.strerror)


def _complain_of_status(future: Any) -> None:  # noqa: ANN401 - the SDK's future
    completion = _completion(None, topics.STATUS, future)
    if completion.refused:
        log.warning("%s; see that the stack's policy is up to date: npx cdk deploy --all", completion.error)


def _completion(token: object, topic: str, future: Any) -> Completion:  # noqa: ANN401 - the SDK's future
    try:
        code = future.result().puback.reason_code
    except Exception as e:  # noqa: BLE001 - whatever the SDK raises, the message has not been acknowledged
        return Completion(token, str(e), unanswered="TIMEOUT" in str(e).upper())
    refused = code >= _FIRST_FAILURE_CODE
    return Completion(token, f"publish to {topic} refused: {code.name}" if refused else None, refused)


def _subscribed(filters: Sequence[str], future: Any) -> Subscribed:  # noqa: ANN401 - the SDK's future
    try:
        codes = future.result().reason_codes
    except Exception as e:  # noqa: BLE001 - whatever the SDK raises, there is no subscription
        return Subscribed(str(e))
    refused = [
        f"{each} ({getattr(code, 'name', code)})"
        for each, code in zip(filters, codes, strict=False)
        if code >= _FIRST_FAILURE_CODE
    ]
    if refused or len(codes) != len(filters):
        return Subscribed(f"refused: {', '.join(refused) or 'not all were answered'}")
    return Subscribed(None)
