"""An MQTT 5 broker over real mutual TLS that behaves as a test orders, and records what it is sent.

    with ScriptedBroker() as broker:
        uplink = broker.uplink(tmp_path)
        ...
        broker.on_publish = lambda publish: HangUp() if publish.topic == refused_topic else 0
        broker.wait_until(lambda: len(broker.connects) == 2)

Every attribute may be set at any time, from any thread, and counts from the next packet on. The callables run in the
broker's thread; they may call the broker's methods. Reason codes are MQTT 5's: 0x87 not authorized, 0x88 unavailable,
0x8B shutting down, 0x8E session taken over.
"""

import asyncio
import itertools
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from device.settings import Uplink
from tests.peers import packets
from tests.peers.certificates import Certificate, authority_pem, client_certificate, server_certificate, server_context
from tests.peers.packets import ConnectPacket, Fields, Kind, PacketError, PublishPacket, Will
from tests.peers.peer import Peer, reset_on_close

PROTOCOL_ERROR = 0x82
TAKEN_OVER = 0x8E
KEEP_ALIVE_TIMEOUT = 0x8D
_FIRST_REFUSAL = 0x80


class Door(Enum):
    """What becomes of a new TCP connection, before TLS."""

    OPEN = "open"
    HANGS_UP = "hangs up"
    SILENT = "silent"


@dataclass(frozen=True)
class Later:
    """Acknowledge a publish after a while."""

    delay_s: float
    reason_code: int = 0


@dataclass(frozen=True)
class HangUp:
    """Answer a publish by ending the connection: after a DISCONNECT if there is a reason code, with RST if `reset`."""

    reason_code: int | None = None
    reset: bool = False


# Of a publish: the PUBACK's reason code, or None for silence.
Answer = int | Later | HangUp | None


@dataclass(frozen=True)
class Event:
    """Something that happened. `at_s` is of time.monotonic(); `client_id` is empty before CONNECT."""

    at_s: float
    client_id: str


@dataclass(frozen=True)
class Connect(Event):
    """A CONNECT, whatever was answered."""

    packet: ConnectPacket

    @property
    def will(self) -> Will | None:
        """What is to be published if the connection breaks."""
        return self.packet.will


@dataclass(frozen=True)
class Subscribe(Event):
    """A SUBSCRIBE, and what was answered; None = nothing."""

    filters: tuple[str, ...]
    reason_codes: tuple[int, ...] | None


@dataclass(frozen=True)
class Publish(Event):
    """A PUBLISH of a client, or its will. A will and a publish at QoS 0 have packet id 0."""

    packet: PublishPacket
    is_will: bool = False

    @property
    def topic(self) -> str:
        """Where to."""
        return self.packet.topic

    @property
    def payload(self) -> bytes:
        """What."""
        return self.packet.payload


@dataclass(frozen=True)
class Acknowledgement(Event):
    """A client's PUBACK of what the broker has sent."""

    packet_id: int
    reason_code: int


@dataclass(frozen=True)
class Disconnect(Event):
    """A client's DISCONNECT."""

    reason_code: int


@dataclass(frozen=True)
class Failure(Event):
    """A TLS handshake that failed, or a packet that is not understood."""

    reason: str


class ScriptedBroker(Peer):
    """See the module. One connection per client id, as on AWS IoT: a second one takes over.

    A will is published when a connection ends without the client's DISCONNECT(0), `will_delay_s` later.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        """Listen on a free port of 127.0.0.1, with `certificate` or a valid one."""
        self.door = Door.OPEN
        self.certificate = certificate or server_certificate()
        # Which CA's clients are let in.
        self.trusted_authority = "peers"
        # None = silence.
        self.connack: int | None = 0
        self.receive_maximum = 100
        # The SUBACK's reason code for a topic filter; None for any of them = silence about the whole packet.
        self.on_subscribe: Callable[[str], int | None] = lambda _: 1
        self.on_publish: Callable[[Publish], Answer] = lambda _: 0
        # Called with each publish that the cloud gets: wills too, and those whose PUBACK is lost, but none refused.
        self.listeners: list[Callable[[Publish], None]] = []
        self.answers_pings = True
        # End a connection that says nothing for 1.5 times its keep alive.
        self.enforces_keep_alive = True
        self.will_delay_s = 0.0

        self.tcp_opens: list[Event] = []
        self.tcp_closes: list[Event] = []
        self.tls_failures: list[Failure] = []
        self.protocol_errors: list[Failure] = []
        self.connects: list[Connect] = []
        self.subscribes: list[Subscribe] = []
        self.unsubscribes: list[Subscribe] = []
        self.publishes: list[Publish] = []
        self.wills: list[Publish] = []
        self.acknowledgements: list[Acknowledgement] = []
        self.pings: list[Event] = []
        self.disconnects: list[Disconnect] = []

        self._connections: list[_Connection] = []
        self._ignored: list[socket.socket] = []
        self._packet_ids = itertools.cycle(range(1, 0x10000))
        self._thawed = asyncio.Event()
        self._thawed.set()
        super().__init__()

    def __repr__(self) -> str:
        counts = {name: len(events) for name, events in vars(self).items() if isinstance(events, list) and events}
        told = ", ".join(f"{count} {name.strip('_')}" for name, count in counts.items())
        return f"<ScriptedBroker on port {self.port}: {told or 'nothing yet'}>"

    @property
    def connected(self) -> list[str]:
        """The client ids that are connected now."""
        return self.do(lambda: [connection.client_id for connection in self._admitted()])

    def published(self, topic: str) -> list[Publish]:
        """What has been published on `topic`, wills included, in order of arrival."""
        return [publish for publish in list(self.publishes) if publish.topic == topic]

    def uplink(
        self,
        directory: Path,
        certificate: Certificate | None = None,
        authority: str = "peers",
        port: int | None = None,
    ) -> Uplink:
        """Write the files of a device into `directory` and return the settings that name them.

        `certificate` is the device's own, a valid one if not given; `authority` is the CA that the device trusts;
        `port` is that of a proxy, if the device is to go through one.
        """
        own = certificate or client_certificate()
        directory.mkdir(parents=True, exist_ok=True)
        files = {"certificate.pem": own.pem, "private.key": own.private_key, "ca.pem": authority_pem(authority)}
        for name, content in files.items():
            (directory / name).write_bytes(content)
        (directory / "private.key").chmod(0o600)
        paths = (str(directory / name) for name in files)
        return Uplink("localhost", port or self.port, *paths)

    def send(
        self, topic: str, payload: bytes | str, qos: int = 1, packet_id: int | None = None, *, dup: bool = False
    ) -> int | None:
        """Publish to the client that has subscribed to `topic`; return the packet id, or None if nobody has.

        With a `packet_id` that was used before it is a repetition, as after a lost PUBACK.
        """
        content = payload.encode() if isinstance(payload, str) else payload

        def send() -> int | None:
            hearing = [connection for connection in self._admitted() if connection.hears(topic)]
            if not hearing:
                return None
            used = next(self._packet_ids) if packet_id is None else packet_id
            packet = PublishPacket(topic, content, qos, used if qos else 0, dup, retain=False)
            for connection in hearing:
                connection.write(packets.encode_publish(packet))
            return packet.packet_id

        return self.do(send)

    def disconnect(self, reason_code: int) -> None:
        """Send every client a DISCONNECT and close."""
        self.do(lambda: self._end_each(reason_code))

    def drop(self, *, reset: bool = False) -> None:
        """Close every TCP connection without a word, or with RST."""
        self.do(lambda: self._end_each(None, reset=reset))

    def freeze(self) -> None:
        """From now on read nothing, answer nothing and take no new connection: as if the line were half open."""

        def freeze() -> None:
            self._thawed.clear()
            self._accept_no_more()
            for connection in self._connections:
                connection.pause()

        self.do(freeze)

    def thaw(self) -> None:
        """Go on, with what has arrived meanwhile first."""

        def thaw() -> None:
            self._thawed.set()
            self._accept()
            for connection in self._connections:
                connection.resume()

        self.do(thaw)

    def _admitted(self) -> list["_Connection"]:
        return [connection for connection in self._connections if connection.is_admitted]

    def _end_each(self, reason_code: int | None, *, reset: bool = False) -> None:
        for connection in list(self._connections):
            connection.end(reason_code, reset=reset)

    async def _serve(self, accepted: socket.socket) -> None:
        self.tcp_opens.append(Event(time.monotonic(), ""))
        if self.door is Door.HANGS_UP:
            accepted.close()
            return
        if self.door is Door.SILENT:
            self._ignored.append(accepted)
            return
        try:
            reader, writer = await self._stream(accepted, server_context(self.certificate, self.trusted_authority))
        except OSError as e:  # ssl.SSLError is one
            self.tls_failures.append(Failure(time.monotonic(), "", str(e)))
            return
        try:
            connection = _Connection(self, reader, writer)
            self._connections.append(connection)
            if not self._thawed.is_set():
                connection.pause()
            await connection.run(self._thawed)
            with suppress(OSError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    def _end_connections(self) -> None:
        for accepted in self._ignored:
            accepted.close()

    # Below: what a connection asks of it.

    def take_over(self, newcomer: "_Connection") -> None:
        """End an older connection of the same client id."""
        for connection in self._admitted():
            if connection is not newcomer and connection.client_id == newcomer.client_id:
                connection.end(TAKEN_OVER)

    def forget(self, connection: "_Connection", will: Will | None) -> None:
        """Take note that it has ended, and publish its will."""
        self._connections.remove(connection)
        self.tcp_closes.append(Event(time.monotonic(), connection.client_id))
        if will is not None:
            # Also without a delay it comes after the CONNACK of who has taken over.
            self.later(self.will_delay_s, lambda: self._publish_will(connection.client_id, will))

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do it in the loop's thread after `delay_s`."""
        self._loop.call_later(delay_s, action)

    def tell(self, publish: Publish) -> None:
        """Hand a publish to the listeners."""
        for listener in self.listeners:
            listener(publish)

    def _publish_will(self, client_id: str, will: Will) -> None:
        message = PublishPacket(will.topic, will.payload, will.qos, 0, dup=False, retain=will.retain)
        published = Publish(time.monotonic(), client_id, message, is_will=True)
        self.wills.append(published)
        self.publishes.append(published)
        self.tell(published)


@dataclass
class _Connection:
    broker: ScriptedBroker
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    client_id: str = ""
    is_admitted: bool = False
    _has_ended: bool = False
    _keep_alive_s: int = 0
    _will: Will | None = None
    _filters: set[str] = field(default_factory=set)
    # What a frozen broker would have said; None while it is not frozen.
    _held: bytearray | None = None

    def hears(self, topic: str) -> bool:
        return any(packets.matches(topic_filter, topic) for topic_filter in self._filters)

    def write(self, data: bytes) -> None:
        if self._held is not None:
            self._held += data
        elif not self._has_ended:
            self.writer.write(data)

    def pause(self) -> None:
        self._held = self._held or bytearray()
        self._transport.pause_reading()

    def resume(self) -> None:
        held, self._held = self._held, None
        self.write(bytes(held or b""))
        self._transport.resume_reading()

    def end(self, reason_code: int | None = None, *, reset: bool = False) -> None:
        """End it from this side, or take note that it has ended."""
        if self._has_ended:
            return
        if reason_code is not None:
            self.write(packets.encode_disconnect(reason_code))
            self.writer.close()
        else:
            if reset:
                reset_on_close(self._transport)
            self._transport.abort()
        self._leave()

    async def run(self, thawed: asyncio.Event) -> None:
        try:
            while not self._has_ended:
                kind, flags, fields = await asyncio.wait_for(packets.read_packet(self.reader), self._patience_s())
                await thawed.wait()
                if not self._has_ended:
                    self._handle(kind, flags, fields)
        except TimeoutError:
            await thawed.wait()
            self.end(KEEP_ALIVE_TIMEOUT)
        except (asyncio.IncompleteReadError, OSError):
            await thawed.wait()
            self.end()
        except PacketError as e:
            self.broker.protocol_errors.append(Failure(time.monotonic(), self.client_id, str(e)))
            self.end(PROTOCOL_ERROR)

    @property
    def _transport(self) -> asyncio.Transport:
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        return transport

    def _patience_s(self) -> float | None:
        return self._keep_alive_s * 1.5 if self._keep_alive_s and self.broker.enforces_keep_alive else None

    def _handle(self, kind: int, flags: int, fields: Fields) -> None:
        if (kind == Kind.CONNECT) == self.is_admitted:
            raise PacketError(f"packet type {kind} at the wrong time")
        match kind:
            case Kind.CONNECT:
                self._on_connect(packets.parse_connect(fields))
            case Kind.PUBLISH:
                self._on_publish(packets.parse_publish(flags, fields))
            case Kind.PUBACK:
                packet_id = fields.number(2)
                self.broker.acknowledgements.append(
                    Acknowledgement(time.monotonic(), self.client_id, packet_id, packets.parse_reason(fields))
                )
            case Kind.SUBSCRIBE:
                self._on_subscribe(*packets.parse_filters(fields, with_options=True))
            case Kind.UNSUBSCRIBE:
                self._on_unsubscribe(*packets.parse_filters(fields, with_options=False))
            case Kind.PINGREQ:
                self.broker.pings.append(Event(time.monotonic(), self.client_id))
                if self.broker.answers_pings:
                    self.write(packets.encode_pingresp())
            case Kind.DISCONNECT:
                self._on_disconnect(packets.parse_reason(fields))
            case _:
                raise PacketError(f"packet type {kind}")

    def _on_connect(self, packet: ConnectPacket) -> None:
        self.client_id = packet.client_id
        code = self.broker.connack
        self.broker.connects.append(Connect(time.monotonic(), packet.client_id, packet))
        if code is None:
            return
        if code >= _FIRST_REFUSAL:
            self.write(packets.encode_connack(code, 0))
            self.writer.close()
            self._leave()
            return
        self.broker.take_over(self)
        self.write(packets.encode_connack(code, self.broker.receive_maximum))
        self.is_admitted = True
        self._will = packet.will
        self._keep_alive_s = packet.keep_alive_s

    def _on_publish(self, packet: PublishPacket) -> None:
        publish = Publish(time.monotonic(), self.client_id, packet)
        self.broker.publishes.append(publish)
        answer = self.broker.on_publish(publish)
        match answer:
            case HangUp():
                self.end(answer.reason_code, reset=answer.reset)
                if answer.reason_code is None:
                    self.broker.tell(publish)
            case Later():
                self.broker.later(answer.delay_s, lambda: self._acknowledge(publish, answer.reason_code))
            case int():
                self._acknowledge(publish, answer)
            case None:
                self.broker.tell(publish)

    def _acknowledge(self, publish: Publish, code: int) -> None:
        if publish.packet.qos:
            self.write(packets.encode_puback(publish.packet.packet_id, code))
        if code < _FIRST_REFUSAL:
            self.broker.tell(publish)

    def _on_subscribe(self, packet_id: int, filters: tuple[str, ...]) -> None:
        codes = [self.broker.on_subscribe(topic_filter) for topic_filter in filters]
        said = [code for code in codes if code is not None]
        is_silent = len(said) < len(codes)
        self.broker.subscribes.append(
            Subscribe(time.monotonic(), self.client_id, filters, None if is_silent else tuple(said))
        )
        if is_silent:
            return
        self._filters |= {wanted for wanted, code in zip(filters, said, strict=True) if code < _FIRST_REFUSAL}
        self.write(packets.encode_acknowledgements(Kind.SUBACK, packet_id, said))

    def _on_unsubscribe(self, packet_id: int, filters: tuple[str, ...]) -> None:
        self.broker.unsubscribes.append(Subscribe(time.monotonic(), self.client_id, filters, (0,) * len(filters)))
        self._filters -= set(filters)
        self.write(packets.encode_acknowledgements(Kind.UNSUBACK, packet_id, [0] * len(filters)))

    def _on_disconnect(self, reason_code: int) -> None:
        self.broker.disconnects.append(Disconnect(time.monotonic(), self.client_id, reason_code))
        if reason_code == 0:
            self._will = None
        self.writer.close()
        self._leave()

    def _leave(self) -> None:
        self._has_ended = True
        self.is_admitted = False
        self.broker.forget(self, self._will)
