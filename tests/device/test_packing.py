import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.packing import PackedError, pack, unpack
from tests.device.minutes import samples

PACKED_BEFORE = "78f97f52c41a43abb8e07ed3c1d27242d443b500ca4c10e0"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_packed_comes_back(text: str) -> None:
    assert unpack(pack(text)) == text


def test_P3_what_was_packed_before_an_update_can_be_read() -> None:
    # Made once with the dictionary of the outbox's version 2. If this fails, files of before cannot be read any more.
    assert unpack(bytes.fromhex(PACKED_BEFORE)) == '{"time_ms":1785000000000,"position":"grid","alerts":[]}'


def test_samples_come_back_letter_for_letter_and_take_a_seventh() -> None:
    day = samples(300)

    packed = [pack(text) for text in day]

    assert [unpack(each) for each in packed] == day
    assert sum(map(len, packed)) / len(packed) < 260
    assert sum(map(len, packed)) * 7 < sum(map(len, day))


def test_a_name_that_is_not_usual_costs_more_and_nothing_else() -> None:
    text = json.dumps({"devices": {"xy9": {"something_new_v": 1.0}}})

    assert unpack(pack(text)) == text


@pytest.mark.parametrize("spoilt", [b"", b"ZZZZ", b"\x78\x9c", pack("a sample")[:-1], pack("a sample") + b"x"])
def test_P6_bytes_that_are_not_whole_are_refused(spoilt: bytes) -> None:
    with pytest.raises(PackedError):
        unpack(spoilt)


def test_P6_a_single_flipped_bit_is_found() -> None:
    packed = pack('{"battery_voltage_v":52.1}')

    for position in range(len(packed) * 8):
        spoilt = bytearray(packed)
        spoilt[position // 8] ^= 1 << position % 8
        with pytest.raises(PackedError):
            unpack(bytes(spoilt))
