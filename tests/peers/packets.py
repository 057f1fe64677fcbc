"""As much of MQTT 5's wire format as a server needs that talks to awsiotsdk. Properties of the client are skipped."""

import asyncio
from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Control packet types (MQTT 5, section 2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class PacketError(ValueError):
    """A client sent what this server does not understand."""


@dataclass(frozen=True)
class Will:
    """What the server is to publish when the connection ends without a client's DISCONNECT."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True)
class ConnectPacket:
    """How a client introduces itself."""

    client_id: str
    keep_alive_s: int
    clean_start: bool
    will: Will | None


@dataclass(frozen=True)
class PublishPacket:
    """A message, in either direction. `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    dup: bool
    retain: bool


class Fields:
    """Reads one field after the other from a packet's body."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes.

        Raises:
            PacketError: there are fewer.
        """
        taken = self._body[self._at : self._at + count]
        if len(taken) < count:
            raise PacketError(f"{count} bytes expected, {len(taken)} left")
        self._at += count
        return taken

    def number(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size))

    def binary(self) -> bytes:
        """Bytes with their length before them."""
        return self.take(self.number(2))

    def text(self) -> str:
        """UTF-8 text with its length before it."""
        return self.binary().decode()

    def skip_properties(self) -> None:
        """Leave out the next properties."""
        length, shift = 0, 0
        while True:
            byte = self.number(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        self.take(length)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._body) - self._at)

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._body)


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, int, Fields]:
    """The next packet's type, flags and body.

    Raises:
        asyncio.IncompleteReadError, OSError: the connection ended.
    """
    first = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return first >> 4, first & 0x0F, Fields(await reader.readexactly(length))


def parse_connect(fields: Fields) -> ConnectPacket:
    """The body of a CONNECT.

    Raises:
        PacketError: it is none of MQTT 5.
    """
    if (fields.text(), fields.number(1)) != ("MQTT", 5):
        raise PacketError("this is not MQTT 5")
    flags = fields.number(1)
    keep_alive_s = fields.number(2)
    fields.skip_properties()
    client_id = fields.text()
    will = None
    if flags & 0x04:
        fields.skip_properties()
        will = Will(fields.text(), fields.binary(), (flags >> 3) & 3, bool(flags & 0x20))
    return ConnectPacket(client_id, keep_alive_s, bool(flags & 0x02), will)


def parse_publish(flags: int, fields: Fields) -> PublishPacket:
    """The body of a PUBLISH.

    Raises:
        PacketError: it is at QoS 2, or has no topic.
    """
    qos = (flags >> 1) & 3
    topic = fields.text()
    if qos > 1 or not topic:
        raise PacketError(f"a publish to {topic!r} at QoS {qos}")
    packet_id = fields.number(2) if qos else 0
    fields.skip_properties()
    return PublishPacket(topic, fields.rest(), qos, packet_id, bool(flags & 0x08), bool(flags & 0x01))


def parse_filters(fields: Fields, *, with_options: bool) -> tuple[int, tuple[str, ...]]:
    """The body of a SUBSCRIBE (with options) or an UNSUBSCRIBE: packet id and topic filters."""
    packet_id = fields.number(2)
    fields.skip_properties()
    filters = []
    while not fields.is_at_end:
        filters.append(fields.text())
        fields.take(1 if with_options else 0)
    return packet_id, tuple(filters)


def parse_reason(fields: Fields) -> int:
    """The reason code that a DISCONNECT, or a PUBACK after its packet id, may leave out for 0."""
    return 0 if fields.is_at_end else fields.number(1)


def encode_connack(reason_code: int, receive_maximum: int) -> bytes:
    """A CONNACK; like AWS IoT's it allows QoS 1 at most, retained messages, and packets up to 146 KiB."""
    refused = reason_code >= 0x80
    properties = b"" if refused else b"\x21" + _number(receive_maximum) + b"\x24\x01" + b"\x27" + _number(149504, 4)
    return _packet(Kind.CONNACK, 0, bytes([0, reason_code]) + _length(len(properties)) + properties)


def encode_publish(packet: PublishPacket) -> bytes:
    """A PUBLISH."""
    flags = packet.dup << 3 | packet.qos << 1 | packet.retain
    packet_id = _number(packet.packet_id) if packet.qos else b""
    return _packet(Kind.PUBLISH, flags, _text(packet.topic) + packet_id + b"\x00" + packet.payload)


def encode_puback(packet_id: int, reason_code: int) -> bytes:
    """A PUBACK."""
    return _packet(Kind.PUBACK, 0, _number(packet_id) + bytes([reason_code, 0]))


def encode_acknowledgements(kind: Kind, packet_id: int, reason_codes: list[int]) -> bytes:
    """A SUBACK or an UNSUBACK."""
    return _packet(kind, 0, _number(packet_id) + b"\x00" + bytes(reason_codes))


def encode_pingresp() -> bytes:
    """A PINGRESP."""
    return _packet(Kind.PINGRESP, 0, b"")


def encode_disconnect(reason_code: int) -> bytes:
    """A DISCONNECT."""
    return _packet(Kind.DISCONNECT, 0, bytes([reason_code, 0]))


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a subscription to `topic_filter` hears `topic`."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))


def _packet(kind: Kind, flags: int, body: bytes) -> bytes:
    return bytes([kind << 4 | flags]) + _length(len(body)) + body


def _length(length: int) -> bytes:
    encoded = bytearray()
    while True:
        length, byte = length >> 7, length & 0x7F
        encoded.append(byte | (0x80 if length else 0))
        if not length:
            return bytes(encoded)


def _number(number: int, size: int = 2) -> bytes:
    return number.to_bytes(size)


def _text(text: str) -> bytes:
    return _number(len(text.encode())) + text.encode()
