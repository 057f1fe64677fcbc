"""Goal 5: pages out of a byte stream, with every check on, beside a loop that only splits and converts.

The stream is that of a MATE with an FX, an MX and a FLEXnet DC whose values change from page to page, in the chunks in
which a serial port gives them. The other loop makes a list of floats of each line and looks at nothing: no length, no
checksum, no ranges, no names. Both get the same bytes, in turn, and the fastest of some rounds of each is taken: what
else the machine does only ever adds time.
"""

import random
import sys
import time
from collections.abc import Callable

from demo.shed.mate import fndc_page, fx_page, mx_page
from device.mate import PageReader
from tests.bench.table import Goal, Measured, NotMeasuredError, Of, Row

GOAL_RATIO = 3.0
BURSTS = 2_000
ROUNDS = 15
CHUNK_BYTES = 64
_PAGES_OF_BURST = 3


def measure(*, quick: bool) -> Measured:
    stream = _stream(100 if quick else BURSTS)
    pages = _PAGES_OF_BURST * (100 if quick else BURSTS)
    chunks = [stream[start : start + CHUNK_BYTES] for start in range(0, len(stream), CHUNK_BYTES)]
    if (ours := checked(chunks)) != pages or (bare := unchecked(chunks)) != pages:
        raise NotMeasuredError(f"{ours} and {bare} of {pages} pages were read")
    checked_s, unchecked_s = _fastest(chunks, checked, unchecked, rounds=2 if quick else ROUNDS)
    return Measured(
        (
            Row(
                5,
                "decode a MATE's page, all checks",
                "us",
                checked_s / pages * 1e6,
                unchecked_s / pages * 1e6,
                "split and float, no check",
                Goal(Of.RATIO, GOAL_RATIO),
            ),
        ),
        f"{pages / checked_s:,.0f} pages/s with every check, {pages / unchecked_s:,.0f} pages/s without any; "
        f"a MATE sends at most 39 a second (19200 baud)",
    )


def checked(chunks: list[bytes]) -> int:
    """How many pages the real reader makes of them."""
    reader = PageReader()
    return sum(len(reader.feed(chunk)) for chunk in chunks)


def unchecked(chunks: list[bytes]) -> int:
    """How many lists of numbers there are in them."""
    count = 0
    pending = b""
    for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\r")
        for line in lines:
            _values = [float(field) for field in line[3:].split(b",")]
            count += 1
    return count


def _fastest(chunks: list[bytes], *loops: Callable[[list[bytes]], int], rounds: int) -> list[float]:
    least_s = [sys.float_info.max] * len(loops)
    for _ in range(rounds):
        for index, loop in enumerate(loops):
            began_s = time.perf_counter()
            loop(chunks)
            least_s[index] = min(least_s[index], time.perf_counter() - began_s)
    return least_s


def _stream(bursts: int) -> bytes:
    chance = random.Random(1)
    return b"".join(burst(chance) for _ in range(bursts))


def burst(chance: random.Random) -> bytes:
    voltage_v = chance.randint(480, 560) / 10
    return (
        fx_page(
            port=1,
            inverter_current_a=chance.randint(0, 30),
            charger_current_a=chance.randint(0, 30),
            buy_current_a=chance.randint(0, 30),
            ac_input_voltage_v=chance.randint(0, 130),
            ac_output_voltage_v=chance.randint(110, 125),
            operating_mode=2,
            ac_mode=chance.randint(0, 2),
            battery_tenths_v=round(voltage_v * 10),
        )
        + mx_page(
            port=2,
            charger_current_a=chance.randint(0, 600) / 10,
            panel_current_a=chance.randint(0, 40),
            panel_voltage_v=chance.randint(0, 150),
            daily_kwh=chance.randint(0, 300) / 10,
            charger_mode=2,
            battery_voltage_v=voltage_v,
            daily_ah=chance.randint(0, 600),
        )
        + fndc_page(
            port=3,
            shunt_currents_a=(chance.randint(-900, 900) / 10, chance.randint(0, 600) / 10, 0.0),
            extra_id=chance.randint(0, 13),
            extra_value=chance.randint(0, 900),
            battery_voltage_v=voltage_v,
            soc_percent=chance.randint(30, 100),
            battery_temperature_c=chance.randint(0, 40),
        )
    )
