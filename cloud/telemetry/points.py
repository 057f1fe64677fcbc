"""Turns telemetry messages into points: pure, and free of any engine's vocabulary."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contract import store
from contract.messages import MessageError, check_number, decode_telemetry
from contract.positions import Position
from contract.topics import check_thing_name

Value = float | int | bool | str
# Site, thing, source, measure and time.
Key = tuple[str, str, str, str, int]

# The store keeps some names for itself. Over one of them, or a text that is empty, too long or holds half a character,
# it refuses the whole call, and with it the points of other messages: what it cannot take must be refused here.
_NAME = re.compile(r"(?!(time|site|thing|source)\Z|measure_|ts_)[a-z][a-z0-9_]{0,63}")
_SOURCE = re.compile(r"([a-z]{1,16})[0-9]{1,2}")
# Room for the clock of a Pi that has not been set yet (1970) and for some centuries to come.
_MAX_TIME_MS = 1 << 43
# The store takes 2048 bytes, and a character has up to four.
_MAX_TEXT = 256
_MAX_ALERTS_TEXT = 512
# What is said only when it happens, and how long it may be: all alerts that a device has, cleared at once, take 495.
_MAX_CHANGE_TEXT: Mapping[str, int] = {store.TRANSFER: _MAX_TEXT, store.ALERT_CHANGES: 1024}


@dataclass(frozen=True)
class Point:
    """What one source said at one moment. A later version of the same key replaces an earlier one."""

    thing: str
    source: str
    measure: str
    time_ms: int
    version: int
    values: dict[str, Value]
    site: str = store.DEFAULT_SITE

    @property
    def key(self) -> Key:
        """What makes two points the same point."""
        return (self.site, self.thing, self.source, self.measure, self.time_ms)


def points_of(message: object) -> list[Point]:
    """The points of one telemetry message with the rule's `thing` added (see `contract.messages`).

    Raises:
        MessageError: the message does not follow the contract. It is refused whole.
    """
    members = _dict("message", message)
    samples = decode_telemetry(members)
    thing = _thing_name("thing", members.get("thing"))
    return [point for sample in samples for point in _points_of_sample(thing, sample)]


def _points_of_sample(thing: str, sample: dict[str, Any]) -> Iterator[Point]:
    time_ms = _whole("time_ms", sample.get("time_ms"), 0, _MAX_TIME_MS)
    sequence = _whole("sequence", sample.get("sequence"), 1, (1 << 63) - 1)
    site = _thing_name("site", sample.get("site", store.DEFAULT_SITE))

    decision: dict[str, Value] = {
        name: check_number(name, value) for name, value in _named("measures", sample.get("measures"))
    }
    decision["position"] = _text("position", sample.get("position"))
    decision["reason"] = _text("reason", sample.get("reason"))
    decision[store.ON_GRID] = float(decision["position"] == Position.GRID)
    alerts = [_text("alert", alert) for alert in _list("alerts", sample.get("alerts"))]
    if alerts:
        decision["alerts"] = _text("alerts", ",".join(alerts), _MAX_ALERTS_TEXT)
    for name, most in _MAX_CHANGE_TEXT.items():
        if name in sample:
            decision[name] = _text(name, sample[name], most)
    inputs = sample.get("inputs")
    if isinstance(inputs, dict) and isinstance(inputs.get("is_daylight"), bool):
        decision["is_daylight"] = inputs["is_daylight"]
    decision["boot_id"] = _text("boot_id", sample.get("boot_id"))
    decision["clock_synchronised"] = _flag("clock_synchronised", sample.get("clock_synchronised"))
    decision["sequence"] = sequence
    yield Point(thing, store.SOURCE_CONTROL, store.MEASURE_DECISION, time_ms, sequence, decision, site)

    for source, readings in _dict("devices", sample.get("devices", {})).items():
        match = _SOURCE.fullmatch(source)
        if not match:
            raise MessageError(f"devices has {source!r}: a kind and a port, such as mx2, was expected")
        values = {name: _scalar(name, value) for name, value in _named(source, readings)}
        if values:
            yield Point(thing, source, match[1], time_ms, sequence, values, site)


def _thing_name(name: str, value: object) -> str:
    text = _text(name, value)
    try:
        return check_thing_name(text, name)
    except ValueError as e:
        raise MessageError(str(e)) from None


def _scalar(name: str, value: object) -> Value:
    if isinstance(value, bool):
        return value
    return _text(name, value) if isinstance(value, str) else check_number(name, value)


def _named(where: str, values: object) -> Iterator[tuple[str, object]]:
    for name, value in _dict(where, values).items():
        if not _NAME.fullmatch(name):
            raise MessageError(f"{where} has {name!r}: a lower-case name that the store leaves free was expected")
        yield name, value


def _dict(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MessageError(f"{name} is not an object")
    return value


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise MessageError(f"{name} is not a list")
    return value


def _text(name: str, value: object, most: int = _MAX_TEXT) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
        raise MessageError(f"{name} is not a text of 1 to {most} printable characters")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise MessageError(f"{name} is {value!r}: true or false was expected")
    return value


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise MessageError(f"{name} is {value!r}: a whole number from {low} to {high} was expected")
    return value
