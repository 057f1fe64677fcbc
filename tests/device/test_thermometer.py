import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.readings import Reading
from device.thermometer import Thermometer, ThermometerError

SENSOR_ID = "28-000005e2fdc3"
OTHER_ID = "28-0000ffffffff"
PERIOD_S = 0.1

# Captured files, and constructed ones with a true checksum.
GOOD_20_69 = "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n4b 01 4b 46 7f ff 05 10 e1 t=20687\n"
GOOD_25_81 = "9d 01 4b 46 7f ff 03 10 57 : crc=57 YES\n9d 01 4b 46 7f ff 03 10 57 t=25812\n"


def crc8(data: bytes) -> int:
    remainder = 0
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x8C if remainder & 1 else 0)
    return remainder


def w1_slave(sixteenths: int) -> str:
    scratchpad = sixteenths.to_bytes(2, "little", signed=True) + bytes.fromhex("4b467fff0c10")
    shown = (scratchpad + bytes([crc8(scratchpad)])).hex(" ")
    return f"{shown} : crc={shown[-2:]} YES\n{shown} t={sixteenths * 1000 // 16}\n"


class Bus:
    """A 1-wire bus in a directory, and the thermometer that reads from it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.thermometer: Thermometer | None = None

    def show(self, content: str | bytes, sensor_id: str = SENSOR_ID) -> None:
        """A reader sees the old content or the new one, never half of it."""
        folder = self.directory / sensor_id
        folder.mkdir(exist_ok=True)
        fresh = folder / "fresh"
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        fresh.replace(folder / "w1_slave")

    def start(self, sensor_id: str = SENSOR_ID, stale_after_s: float = 30.0) -> Thermometer:
        self.thermometer = Thermometer(sensor_id, str(self.directory), PERIOD_S, stale_after_s)
        return self.thermometer

    def newest(self) -> Reading | None:
        assert self.thermometer is not None
        return self.thermometer.reading(time.monotonic())

    def next_sample(self) -> Reading:
        """The first sample after those that are there now."""
        before = self.newest()
        deadline_s = time.monotonic() + 10.0
        while time.monotonic() < deadline_s:
            newest = self.newest()
            if newest is not None and newest != before:
                return newest
            time.sleep(0.01)
        raise AssertionError(f"no sample after {before}")

    def value_after(self, content: str | bytes) -> float:
        self.show(content)
        self.next_sample()  # may have been under way already
        return self.next_sample().value


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    bus = Bus(tmp_path)
    yield bus
    if bus.thermometer is not None:
        bus.thermometer.close()


def test_a_good_file_gives_its_temperature_again_and_again(bus: Bus) -> None:
    bus.show(GOOD_20_69)
    bus.start()

    first, second = bus.next_sample(), bus.next_sample()

    assert first.value == second.value == 20.6875
    assert first.source == SENSOR_ID
    assert second.at_s >= first.at_s + PERIOD_S


def test_T6_zero_and_temperatures_below_it_are_read_with_their_sign(bus: Bus) -> None:
    bus.show(GOOD_20_69)
    bus.start()

    values = [bus.value_after(w1_slave(sixteenths)) for sixteenths in (0, -1, -168)]

    assert values == [0.0, -0.0625, -10.5]
    assert str(values[0]) == "0.0"


def test_the_ends_of_the_range_are_read(bus: Bus) -> None:
    bus.show(GOOD_20_69)
    bus.start()

    assert [bus.value_after(w1_slave(degrees * 16)) for degrees in (-55, 125)] == [-55.0, 125.0]


REFUSED: dict[str, str | bytes] = {
    "T1 failed checksum, with an old value in t=": (
        "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n63 01 4b 46 7f ff 0d 10 15 t=-62\n"
    ),
    "T2 power-on value": "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n",
    "T4 127.94 C for want of power": w1_slave(0x07FF),
    "T5 all zero": "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n",
    "T7 -55.0625 C": w1_slave(-55 * 16 - 1),
    "T7 +125.0625 C": w1_slave(125 * 16 + 1),
    "T7 -110 C, seen on a pulled pin": w1_slave(-110 * 16),
    "T7 -127 C": w1_slave(-127 * 16),
    "T8 empty": "",
    "T8 one line": "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n",
    "T8 blank second line": "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n\n",
    "T8 one byte in the second line": "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n4b",
    "T8 second line without bytes": "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\nt=\n",
    "T8 not hexadecimal": "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\nxy zz 4b 46 7f ff 05 10 e1 t=abc\n",
    "T8 NUL bytes only": b"\0" * 75,
    "T8 not UTF-8": b"\xff\xfe 01 : crc=e1 YES\n\xff\xfe\n",
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_says_no_temperature_gives_none_and_the_next_good_one_is_read(
    content: str | bytes, bus: Bus
) -> None:
    bus.show(content)
    bus.start()

    time.sleep(3 * PERIOD_S)
    assert bus.newest() is None

    bus.show(GOOD_20_69)
    assert bus.next_sample().value == 20.6875


def test_T1_a_failed_checksum_keeps_the_last_good_sample_until_it_is_stale(bus: Bus) -> None:
    bus.show(GOOD_20_69)
    thermometer = bus.start(stale_after_s=5.0)
    bus.next_sample()
    bus.show(REFUSED["T1 failed checksum, with an old value in t="])
    time.sleep(2 * PERIOD_S)
    last = bus.newest()
    assert last is not None

    time.sleep(3 * PERIOD_S)

    assert bus.newest() == last
    assert thermometer.reading(last.at_s + 5.0) == last
    assert thermometer.reading(last.at_s + 5.001) is None


def test_T9_a_sensor_that_comes_goes_and_comes_again_is_read_whenever_it_is_there(bus: Bus) -> None:
    bus.start()
    time.sleep(3 * PERIOD_S)
    assert bus.newest() is None

    bus.show(GOOD_20_69)
    assert bus.next_sample().value == 20.6875

    (bus.directory / SENSOR_ID / "w1_slave").unlink()
    (bus.directory / SENSOR_ID).rmdir()
    time.sleep(2 * PERIOD_S)
    last = bus.newest()
    time.sleep(3 * PERIOD_S)
    assert bus.newest() == last

    bus.show(GOOD_25_81)
    assert bus.next_sample().value == 25.8125


def test_T9_a_bus_that_is_not_there_at_all_gives_none(tmp_path: Path) -> None:
    thermometer = Thermometer(SENSOR_ID, str(tmp_path / "missing"), PERIOD_S, 30.0)

    time.sleep(3 * PERIOD_S)

    assert thermometer.reading(time.monotonic()) is None
    thermometer.close()


def test_T9_an_error_of_the_kernel_while_reading_gives_none(bus: Bus) -> None:
    (bus.directory / SENSOR_ID / "w1_slave").mkdir(parents=True)  # opens, and fails to be read
    bus.start()

    time.sleep(3 * PERIOD_S)

    assert bus.newest() is None


def test_T10_a_read_that_hangs_delays_no_one_who_asks(bus: Bus) -> None:
    (bus.directory / SENSOR_ID).mkdir()
    pipe = bus.directory / SENSOR_ID / "w1_slave"
    os.mkfifo(pipe)  # opening it waits for a writer
    thermometer = bus.start()
    time.sleep(2 * PERIOD_S)

    before_s = time.monotonic()
    reading = thermometer.reading(before_s)
    thermometer.close()

    assert reading is None
    assert time.monotonic() - before_s < 0.1
    pipe.write_text(GOOD_20_69)  # let the thread go


def test_T11_another_sensor_on_the_bus_is_never_taken(bus: Bus) -> None:
    bus.show(GOOD_25_81, OTHER_ID)
    bus.start()
    time.sleep(3 * PERIOD_S)
    assert bus.newest() is None

    bus.show(GOOD_20_69)
    assert bus.next_sample().value == 20.6875

    (bus.directory / SENSOR_ID / "w1_slave").unlink()
    time.sleep(3 * PERIOD_S)
    last = bus.newest()
    assert last is not None
    assert last.value == 20.6875


def test_nothing_is_read_after_closing(bus: Bus) -> None:
    bus.show(GOOD_20_69)
    thermometer = bus.start()
    bus.next_sample()

    thermometer.close()
    time.sleep(2 * PERIOD_S)
    last = bus.newest()
    time.sleep(3 * PERIOD_S)

    assert bus.newest() == last


@pytest.mark.parametrize(
    "sensor_id",
    [
        "",
        "28",
        "28-",
        "28-12345",
        "28-0123456789abc",
        "10-000005e2fdc3",
        "000005e2fdc3",
        "28-zzzzzzzzzzzz",
        "28-../../../abc",
    ],
)
def test_an_id_that_is_no_ds18b20s_is_refused_with_the_remedy(sensor_id: str, tmp_path: Path) -> None:
    with pytest.raises(ThermometerError, match=r"28- and twelve hexadecimal digits, as `ls /sys/bus/w1/devices`"):
        Thermometer(sensor_id, str(tmp_path), PERIOD_S, 30.0)
