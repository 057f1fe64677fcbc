import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.mate import Page, PageError, PageReader, Refusal, as_json, decode_page

FRAMES = [
    json.loads(line) for line in (Path(__file__).parent.parent / "data/mate_frames.jsonl").read_text().splitlines()
]
GOOD = [frame for frame in FRAMES if frame["checksum_ok"]]
GARBLED = [frame for frame in FRAMES if not frame["checksum_ok"]]

# The collection's names for a page's fields -> ours. Names that are not here are the same.
OUR_NAMES = {
    "ac_in_v": "ac_input_voltage_v",
    "ac_out_v": "ac_output_voltage_v",
    "op_mode": "operating_mode",
    "battery_v": "battery_voltage_v",
    "aux_active": "aux_on",
    "shunt_a_a": "shunt_a_current_a",
    "shunt_b_a": "shunt_b_current_a",
    "shunt_c_a": "shunt_c_current_a",
    "soc_pct": "soc_percent",
    "battery_temp_c": "battery_temperature_c",
    "charge_params_met": "charge_parameters_met",
    "flag_bit2": "relay_bit_2",
    "flag_bit3": "relay_bit_4",
}
OUR_WORDS = {"inv_off": "inverter_off", "inv_on": "inverter_on"}
NOT_PUBLISHED = {"layout", "misc_raw", "unit_230v", "shunts_enabled"}


def expected(decoded: dict[str, Any]) -> dict[str, Any]:
    fields = {}
    for name, value in decoded.items():
        if name in NOT_PUBLISHED:
            continue
        if isinstance(value, str):
            value = value.lower().replace(" ", "_")
            value = OUR_WORDS.get(value, value)
        fields[OUR_NAMES.get(name, name)] = tuple(value) if isinstance(value, list) else value
    for shunt, enabled in zip("abc", decoded.get("shunts_enabled", []), strict=False):
        if not enabled:
            fields[f"shunt_{shunt}_current_a"] = None
    return fields


@pytest.mark.parametrize("frame", GOOD, ids=lambda frame: frame["raw"])
def test_a_good_page_decodes_to_its_stated_values(frame: dict[str, Any]) -> None:
    fields = as_json(decode_page(frame["raw"].encode()))

    assert fields["device"] == frame["kind"]
    assert fields.items() >= expected(frame["decoded"]).items()


@pytest.mark.parametrize("frame", GARBLED, ids=lambda frame: frame["raw"])
def test_a_garbled_page_is_refused(frame: dict[str, Any]) -> None:
    with pytest.raises(PageError):
        decode_page(frame["raw"].encode())


STREAM = b"".join(b"\n" + frame["raw"].encode() + b"\r" for frame in GOOD)
PAGES = [decode_page(frame["raw"].encode()) for frame in GOOD]


def read(chunks: list[bytes]) -> list[Page]:
    reader = PageReader()
    return [page for chunk in chunks for page in reader.feed(chunk)]


def test_S1_a_stream_one_byte_at_a_time_gives_the_same_pages() -> None:
    assert read([bytes([byte]) for byte in STREAM]) == PAGES


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_S1_any_chunking_gives_the_same_pages(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]

    assert read([STREAM[a:b] for a, b in pairwise(edges)]) == PAGES


def test_S3_a_stream_entered_in_mid_page_yields_whole_pages_only() -> None:
    for start in range(2, 49):
        reader = PageReader()
        assert reader.feed(STREAM[start:]) == PAGES[1:]
        assert reader.refused.total() <= 1


def test_S4_a_flipped_bit_never_yields_a_page_of_another_device_or_a_wild_value() -> None:
    undetected = 0
    for frame in GOOD:
        raw = frame["raw"].encode()
        for position in range(len(raw) * 8):
            damaged = bytearray(raw)
            damaged[position // 8] ^= 1 << position % 8
            try:
                decode_page(bytes(damaged))
            except PageError:
                continue
            undetected += 1

    # A digit sum catches every single flipped bit: each changes one summand, or a comma, or the sum itself.
    assert undetected == 0


def test_S5_random_bytes_never_raise_and_are_counted() -> None:
    reader = PageReader()
    noise = random.Random(5).randbytes(200_000)

    assert reader.feed(noise) == []
    assert reader.refused.total() > 100


def test_S6_an_endless_line_is_dropped_and_the_next_page_is_read() -> None:
    reader = PageReader()

    for _ in range(1000):
        reader.feed(b"x" * 1000)

    assert len(reader._pending) <= 4096
    assert reader.feed(STREAM) == PAGES


def with_checksum(body: str) -> bytes:
    total = sum(ord(c) - 48 for c in body if c != ",")
    return f"{body}{total:03}".encode()


def test_a_230_v_unit_is_shown_in_real_volts_and_amperes() -> None:
    # misc = 9: the 230 V bit together with a reserved one.
    page = as_json(decode_page(with_checksum("1,10,04,06,115,114,02,02,000,02,520,009,000,")))

    assert page["ac_input_voltage_v"] == 230.0
    assert page["ac_output_voltage_v"] == 228.0
    assert page["inverter_current_a"] == 5.0
    assert page["charger_current_a"] == 2.0
    assert page["buy_current_a"] == 3.0
    assert page["sell_current_a"] == 1.0
    assert page["battery_voltage_v"] == 52.0


def test_errors_and_warnings_of_an_fx_are_told_apart() -> None:
    page = as_json(decode_page(with_checksum("1,10,04,06,115,114,02,02,004,02,520,008,128,")))

    assert page["errors"] == ("over_temperature",)
    assert page["warnings"] == ("fan_failure",)


@pytest.mark.parametrize(("flags", "field"), [(1, "charge_parameters_met"), (2, "relay_bit_2"), (4, "relay_bit_4")])
def test_each_flag_of_a_flexnet_dc_is_its_own(flags: int, field: str) -> None:
    page = as_json(decode_page(with_checksum(f"a,0000,0126,0000,02,00023,520,099,001,{flags:02},30,")))

    assert [name for name in ("charge_parameters_met", "relay_bit_2", "relay_bit_4") if page[name]] == [field]


def test_the_tenth_port_of_an_fx_is_a_colon() -> None:
    assert decode_page(with_checksum(":,00,00,00,119,000,00,00,000,01,508,008,000,")).port == 10


def test_9999_amp_hours_mean_that_there_is_no_counter() -> None:
    page = as_json(decode_page(with_checksum("B,00,10,10,060,004,00,03,000,02,520,9999,00,")))

    assert page["daily_ah"] is None


def test_99_degrees_mean_that_there_is_no_battery_thermometer() -> None:
    page = as_json(decode_page(with_checksum("a,0000,0126,0000,02,00023,520,099,001,00,99,")))

    assert page["battery_temperature_c"] is None


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        (b"C,00", Refusal.LENGTH),
        (b"Z,00,03,01,112,000,00,03,000,02,556,0001,00,072", Refusal.UNKNOWN_DEVICE),
        (b"00,4,0000,0126,0000,02,00023,287,099,001,00,33,", Refusal.SHAPE),  # a MATE3's stream
        (b"C,00,03,01,112,000,00,03,000,02,556,0001,00,050", Refusal.CHECKSUM),
        (b"\xff,00,03,01,112,000,00,03,000,02,556,0001,00,050", Refusal.SHAPE),
        (with_checksum("1,00,00,00,120,000,00,02,000,03,508,008,000,"), Refusal.RANGE),  # AC mode 3
        (with_checksum("1,00,00,00,300,000,00,02,000,01,508,008,000,"), Refusal.RANGE),  # 300 V AC
        (with_checksum("c,0000,0126,0000,02,00023,520,101,001,00,33,"), Refusal.RANGE),  # 101 %
        (with_checksum("c,0000,0126,0000,02,00023,520,099,002,00,33,"), Refusal.RANGE),  # shunt enabled = 2
        (with_checksum("C,00,03,01,112,000,00,03,000,05,556,0001,00,"), Refusal.RANGE),  # charger mode 5
    ],
)
def test_a_page_that_cannot_be_true_is_refused_by_cause(line: bytes, refusal: Refusal) -> None:
    with pytest.raises(PageError) as error:
        decode_page(line)

    assert error.value.refusal is refusal
