"""A heartbeat of any device, or what somebody else has put in its place."""

import json

import pytest

from cloud.heartbeat.beats import MAX_BYTES, parse
from contract.messages import MessageError
from tests.cloud.heartbeat.world import AGES_S, beat


def test_a_heartbeat_is_read() -> None:
    read = parse(json.dumps(beat(412)).encode())

    assert (read.decision_count, read.boot_id, read.position, read.reason) == (412, "4f1d", "grid", "battery_low")
    assert read.reading_ages_s == AGES_S
    assert read.details() == {name: value for name, value in beat(412).items() if name != "schema"}


def test_L20_what_a_newer_device_adds_and_an_older_one_lacks_does_not_matter() -> None:
    newer = beat(mood="fine", reading_ages_s={**AGES_S, "soc": "unknown"})
    older = {name: value for name, value in beat().items() if name != "alerts"}

    assert parse(json.dumps(newer).encode()) == parse(json.dumps(beat()).encode())
    assert parse(json.dumps(older).encode()).alerts == ()


@pytest.mark.parametrize("schema", [0, 2, None, True, 1.0, "1", [], "x" * 10_000], ids=lambda schema: str(schema)[:9])
def test_L20_another_schema_is_refused_with_its_number(schema: object) -> None:
    with pytest.raises(MessageError, match="this code knows 1") as caught:
        parse(json.dumps(beat(schema=schema)).encode())

    assert len(str(caught.value)) < 200


BAD = {
    "empty": (b"", "is not JSON"),
    "cut off": (b'{"schema": 1, "time', "is not JSON"),
    "no text": (b"\xff\xfe\x00", "is not JSON"),
    "deep": (b"[" * 60_000, "is not JSON"),
    "a long number": (b'{"schema": 1' + b"0" * 5000 + b"}", "is not JSON"),
    "a list": (b"[]", "is not an object"),
    "null": (b"null", "is not an object"),
    "no ages": ({"reading_ages_s": None}, "reading_ages_s is not an object"),
    "an age in words": ({"reading_ages_s": {"battery_voltage": "old"}}, "battery_voltage is 'old'"),
    "an age that is no number": ({"reading_ages_s": {"battery_voltage": float("nan")}}, "finite"),
    "an age that is endless": ({"reading_ages_s": {"box_temperature": float("inf")}}, "finite"),
    "a yes for an age": ({"reading_ages_s": {"box_temperature": True}}, "a number was expected"),
    "an age in the future": ({"reading_ages_s": {"box_temperature": -0.1}}, "the age of box_temperature is -0.1 s"),
    "an age of a century": ({"reading_ages_s": {"box_temperature": 3e9}}, "0 to 1000000000 was expected"),
    "alerts in words": ({"alerts": "none"}, "alerts is not a list"),
    "an alert that is none": ({"alerts": [1]}, "an alert is not a text"),
    "no clock": ({"clock_synchronised": 1}, "neither true nor false"),
    "no time": ({"time_ms": None}, "time_ms is not a whole number"),
    "a time with a point": ({"time_ms": 1.5}, "time_ms is not a whole number"),
    "a time before all": ({"time_ms": -1}, "time_ms is not a whole number"),
    "a time after all": ({"time_ms": 1 << 44}, "time_ms is not a whole number"),
    "a yes for a count": ({"decision_count": True}, "decision_count is not a whole number"),
    "no boot": ({"boot_id": ""}, "boot_id is not a text"),
    "a long reason": ({"reason": "x" * 65}, "reason is not a text"),
    "a position with a line feed": ({"position": "grid\n"}, "position is not a text"),
    "a position that is none": ({"position": None}, "position is not a text"),
    "too much": (json.dumps(beat(padding="x" * MAX_BYTES)).encode(), f"more than {MAX_BYTES} bytes"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_L13_what_is_no_heartbeat_is_refused_with_the_reason(content: bytes | dict[str, object], words: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps({**beat(), **content}).encode()

    with pytest.raises(MessageError, match=words):
        parse(body)
