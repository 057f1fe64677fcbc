"""Section T of the fault catalogue: the DS18B20 in the relay box, through its files and through the decision."""

import errno
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from contract.alerts import Alert
from contract.positions import Position, Reason
from device.decide import Decision
from device.readings import Reading, Readings, Stuck
from device.thermometer import Cause
from tests.device.limits import LIMITS
from tests.device.one_wire import (
    ALL_ZERO,
    FAILED_CRC,
    GOOD_20_69,
    GOOD_25_81,
    OTHER_ID,
    POWER_ON,
    Bus,
    celsius,
    w1_slave,
)
from tests.faults.deciding import Control

DAY_S = 86400.0
HOT_C = 60.0
NO_CRC_BUT_HOT = "ff ff ff ff ff ff ff ff ff : crc=c9 NO\nc0 03 4b 46 7f ff 0d 10 15 t=60000\n"


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    bus = Bus(tmp_path)
    yield bus
    bus.close()


@pytest.fixture
def piped(bus: Bus) -> Bus:
    """Gives its answers one by one."""
    bus.pipe()
    bus.start()
    return bus


class Box:
    """The relay box on grid, and what is decided after each answer of its thermometer."""

    def __init__(self, bus: Bus, trip_c: float = LIMITS.over_temperature_trip_c) -> None:
        self.bus = bus
        self.control = Control(
            Position.GRID,
            time.monotonic(),
            replace(LIMITS, over_temperature_trip_c=trip_c, over_temperature_clear_c=30),
        )

    def after(self, content: str | bytes) -> Decision:
        self.bus.answer(content)
        return self.again()

    def again(self) -> Decision:
        now_s = time.monotonic()
        voltage = Reading(50.5, now_s, "mx2")
        return self.control.decide(Readings(battery_voltage_v=voltage, box_temperature_c=self.bus.newest()), now_s)

    def reasons(self, *temperatures_c: float) -> list[Reason]:
        return [self.after(celsius(temperature_c)).reason for temperature_c in temperatures_c]


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


# T1


def test_T1_a_failed_checksum_is_counted_and_the_old_value_beside_it_is_never_used(piped: Bus) -> None:
    assert piped.thermometer is not None
    box = Box(piped)

    decisions = [box.after(content) for content in (FAILED_CRC, NO_CRC_BUT_HOT, NO_CRC_BUT_HOT)]

    assert piped.thermometer.errors == {Cause.CRC: 3}
    assert piped.newest() is None
    assert piped.samples == []
    assert {decision.position for decision in decisions} == {Position.GRID}


def test_T1_a_failed_checksum_keeps_the_last_good_sample_until_it_is_stale(bus: Bus) -> None:
    bus.pipe()
    thermometer = bus.start(stale_after_s=5.0)
    bus.answer(GOOD_20_69)
    last = bus.newest()
    assert last is not None

    for _ in range(3):
        bus.answer(FAILED_CRC)

    assert bus.newest() == last
    assert thermometer.reading(last.at_s + 5.0) == last
    assert thermometer.reading(last.at_s + 5.001) is None


# T2


def test_T2_a_value_at_power_on_is_refused_and_is_no_failing_until_it_comes_five_times_in_a_row(piped: Bus) -> None:
    assert piped.thermometer is not None
    failing = []

    for content in [POWER_ON] * 4 + [GOOD_20_69] + [POWER_ON] * 5 + [GOOD_20_69]:
        piped.answer(content)
        failing.append(piped.is_failing())

    assert piped.thermometer.errors == {Cause.POWER_ON: 9}
    assert piped.samples == [20.6875, 20.6875]
    assert failing == [False] * 9 + [True] + [False]


# T3. Exactly 85.0 is the value at power-on and refused; the sixteenths around it are real and bridge it. So a box that
# burns is never missed: it passes through the values beside 85.0, and an alarm needs two valid samples, between which
# there may be refused ones.


def test_T3_a_box_that_heats_through_85_degrees_opens_the_relays_long_before(piped: Bus) -> None:
    box = Box(piped)

    reasons = box.reasons(83.0, 84.0, 85.0, 86.0)

    assert reasons == [Reason.HOLD] + [Reason.OVER_TEMPERATURE] * 3


def test_T3_with_a_trip_of_80_degrees_a_refused_85_is_bridged_and_the_relays_open_at_86(piped: Bus) -> None:
    box = Box(piped, trip_c=80.0)

    reasons = box.reasons(79.0, 84.0, 85.0, 86.0)

    assert reasons == [Reason.HOLD, Reason.HOLD, Reason.HOLD, Reason.OVER_TEMPERATURE]
    assert piped.samples == [79.0, 84.0, 86.0]


@pytest.mark.parametrize("beside_c", [85.0 - 1 / 16, 85.0 + 1 / 16])
def test_T3_the_values_beside_85_degrees_are_real_ones(beside_c: float, piped: Bus) -> None:
    piped.answer(celsius(beside_c))

    assert piped.samples == [beside_c]


def test_T3_a_sensor_that_stays_at_exactly_85_degrees_is_failing_and_in_the_end_lost(piped: Bus) -> None:
    box = Box(piped)

    for _ in range(5):
        box.after(POWER_ON)
    lost_at_s = box.control.state.started_s + LIMITS.thermometer_lost_after_s
    decision = box.control.decide(Readings(battery_voltage_v=Reading(50.5, lost_at_s, "mx2")), lost_at_s)

    assert piped.is_failing()
    assert (decision.position, decision.reason) == (Position.BATTERY, Reason.THERMOMETER_LOST)


# T4, T5, T7, T8: a whole file that says no temperature. Each is refused five times, which is failing, and the next good
# one is read.

REFUSED: dict[str, tuple[str | bytes, Cause]] = {
    "T4 127.94 C for want of power": (w1_slave(0x07FF), Cause.POWER),
    "T5 all zero": (ALL_ZERO, Cause.ALL_ZERO),
    "T7 -55.0625 C": (w1_slave(-55 * 16 - 1), Cause.RANGE),
    "T7 -55.125 C": (celsius(-55.125), Cause.RANGE),
    "T7 +125.0625 C": (w1_slave(125 * 16 + 1), Cause.RANGE),
    "T7 +125.125 C": (celsius(125.125), Cause.RANGE),
    "T7 -109.9375 C, seen on a pulled pin": (celsius(-109.9375), Cause.RANGE),
    "T7 -127 C": (celsius(-127.0), Cause.RANGE),
    "T7 the most that 16 bits can say": (w1_slave(0x7FFF), Cause.RANGE),
    # No sixteen bits say it; the text might, and then it is not what the bytes say.
    "T7 1e6 C": (GOOD_20_69.replace("t=20687", "t=1000000"), Cause.SHAPE),
    "T7 -127 C beside other bytes": (GOOD_20_69.replace("t=20687", "t=-127000"), Cause.SHAPE),
    "T8 empty": ("", Cause.SHAPE),
    "T8 one line": ("4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n", Cause.SHAPE),
    "T8 blank second line": ("4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n\n", Cause.SHAPE),
    "T8 one byte in the second line": ("4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n4b", Cause.SHAPE),
    "T8 second line without bytes": ("4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\nt=\n", Cause.SHAPE),
    "T8 t= with nothing": (GOOD_20_69.replace("t=20687", "t="), Cause.SHAPE),
    "T8 t=abc": (GOOD_20_69.replace("t=20687", "t=abc"), Cause.SHAPE),
    "T8 cut off in t=": (GOOD_20_69[:-3], Cause.SHAPE),
    "T8 not hexadecimal": (GOOD_20_69.replace("4b 01", "xy zz"), Cause.SHAPE),
    "T8 two lines that differ": (GOOD_20_69[:40] + GOOD_25_81[40:], Cause.SHAPE),
    "T8 trailing NUL": (GOOD_20_69.encode() + b"\0", Cause.SHAPE),
    "T8 NUL bytes only": (b"\0" * 75, Cause.SHAPE),
    "T8 not UTF-8": (b"\xff\xfe 01 : crc=e1 YES\n\xff\xfe\n", Cause.SHAPE),
    "T8 Arabic digits in t=": (GOOD_20_69.replace("t=20687", "t=٢٠٦٨٧"), Cause.SHAPE),
    "T8 t= of 400 digits": (GOOD_20_69.replace("t=20687", "t=" + "2" * 400), Cause.SHAPE),
}


def assert_refused(row: str, bus: Bus) -> None:
    """The test's name says which row; the contents of each row are refused for their cause, and harm nothing after."""
    assert bus.thermometer is not None
    content, cause = REFUSED[row]
    box = Box(bus)

    decision = box.after(content)
    for _ in range(4):
        bus.answer(content)

    assert bus.newest() is None
    assert bus.thermometer.errors.keys() == {cause}
    assert bus.is_failing()
    assert decision.position is Position.GRID
    bus.answer(GOOD_20_69)
    assert bus.samples == [20.6875]
    assert not bus.is_failing()


def rows(prefix: str) -> list[str]:
    return [row for row in REFUSED if row.startswith(f"{prefix} ")]


@pytest.mark.parametrize("row", rows("T4"))
def test_T4_a_sensor_without_enough_power_gives_no_temperature(row: str, piped: Bus) -> None:
    assert_refused(row, piped)


@pytest.mark.parametrize("row", rows("T5"))
def test_T5_zeros_with_their_right_checksum_give_no_temperature(row: str, piped: Bus) -> None:
    assert_refused(row, piped)


@pytest.mark.parametrize("row", rows("T7"))
def test_T7_what_a_ds18b20_cannot_measure_gives_no_temperature(row: str, piped: Bus) -> None:
    assert_refused(row, piped)


@pytest.mark.parametrize("row", rows("T8"))
def test_T8_a_damaged_file_gives_no_temperature(row: str, piped: Bus) -> None:
    assert_refused(row, piped)


# T6


def test_T6_zero_and_temperatures_below_it_are_read_with_their_sign(piped: Bus) -> None:
    for sixteenths in (0, -1, -168):
        piped.answer(w1_slave(sixteenths))

    assert piped.samples == [0.0, -0.0625, -10.5]
    assert math.copysign(1.0, piped.samples[0]) == 1.0
    assert json.dumps(piped.samples) == "[0.0, -0.0625, -10.5]"


# T9


def test_T9_a_sensor_that_comes_goes_and_comes_again_is_read_whenever_it_is_there(bus: Bus) -> None:
    thermometer = bus.start()
    bus.let_pass(3)
    assert bus.newest() is None

    bus.say(GOOD_20_69)
    before = bus.newest()
    bus.file.unlink()
    bus.file.parent.rmdir()
    bus.let_pass(2)
    away = bus.newest()
    bus.let_pass(3)
    still_away = bus.newest()
    bus.say(GOOD_25_81)

    assert before is not None
    assert away is not None
    assert (before.value, away.value) == (20.6875, 20.6875)
    assert still_away == away
    assert bus.samples[-1] == 25.8125
    assert thermometer.errors.keys() == {Cause.MISSING}


def test_T9_a_bus_that_is_not_there_at_all_is_a_missing_sensor_and_the_battery_is_still_looked_after(
    tmp_path: Path,
) -> None:
    bus = Bus(tmp_path / "missing")
    thermometer = bus.start()
    control = Control(Position.BATTERY, 0.0)

    bus.let_pass(6)
    decisions = [
        control.decide(Readings(battery_voltage_v=Reading(48.0, now_s, "mx2")), now_s)
        for now_s in (1.0, 2.0, 1.0 + LIMITS.low_hold_s)
    ]

    assert bus.newest() is None
    assert thermometer.errors.keys() == {Cause.MISSING}
    assert bus.is_failing()
    assert (decisions[-1].position, decisions[-1].reason) == (Position.GRID, Reason.BATTERY_LOW)
    bus.close()


def test_T9_an_error_of_the_kernel_while_reading_is_an_error_of_one_read(bus: Bus) -> None:
    bus.file.parent.mkdir()
    bus.file.symlink_to("/proc/self/mem")  # opens, and its first byte cannot be read: EIO
    thermometer = bus.start()

    bus.let_pass(5)
    failing = bus.is_failing()
    bus.say(GOOD_20_69)

    assert thermometer.errors.keys() == {Cause.IO}
    assert failing
    assert not bus.is_failing()


def test_T9_a_device_that_is_gone_when_it_is_opened_is_a_missing_sensor(bus: Bus) -> None:
    bus.file.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(bus.file))  # there, and opening it says ENXIO
    thermometer = bus.start()

    bus.let_pass(1)

    assert thermometer.errors.keys() == {Cause.MISSING}


def test_T9_a_sensor_that_goes_while_it_is_read_is_a_missing_sensor(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    # No file of this machine says ENODEV; the kernel does when the bus drops a sensor during a read.
    def gone(path: Path) -> bytes:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    bus.show(GOOD_20_69)
    monkeypatch.setattr(Path, "read_bytes", gone)
    thermometer = bus.start()

    bus.let_pass(1)

    assert thermometer.errors.keys() == {Cause.MISSING}


# T10


def test_T10_a_slow_read_delays_no_one_who_asks(piped: Bus) -> None:
    assert piped.thermometer is not None
    asked_at_s = []

    for _ in range(200):  # the read waits for its answer all the while
        before_s = time.monotonic()
        piped.thermometer.reading(before_s)
        piped.thermometer.is_failing(before_s)
        asked_at_s.append(time.monotonic() - before_s)
        time.sleep(0.001)
    piped.answer(GOOD_20_69)

    assert max(asked_at_s) < 0.1
    assert not piped.is_failing()
    assert piped.samples == [20.6875]
    assert piped.thermometer.errors == {}


def test_T10_a_read_that_hangs_is_failing_after_five_seconds_and_counted_once(
    piped: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    assert piped.thermometer is not None
    thermometer = piped.thermometer
    until(lambda: thermometer._began_s is not None)
    began_s = thermometer._began_s
    assert began_s is not None
    threads = threading.active_count()

    failing = [thermometer.is_failing(began_s + after_s) for after_s in (0.0, 4.999, 5.0, 5.001, 6.0, 60.0, 3600.0)]

    assert failing == [False] * 3 + [True] * 4
    assert thermometer.errors == {Cause.TIMEOUT: 1}
    assert threading.active_count() == threads
    assert thermometer.reading(began_s + 6.0) is None
    assert caplog.text.count("gives no temperature (timeout): a read takes longer than 5 s") == 1


def test_T10_what_a_hung_read_gives_in_the_end_is_not_used_and_the_next_good_one_ends_it(piped: Bus) -> None:
    assert piped.thermometer is not None
    thermometer = piped.thermometer
    until(lambda: thermometer._began_s is not None)
    hung_s = thermometer._began_s
    assert thermometer.is_failing(time.monotonic() + 5.001)

    piped.give(celsius(HOT_C))  # measured nobody knows when
    until(lambda: thermometer._began_s not in (None, hung_s))
    after_the_hang = (piped.newest(), piped.is_failing())
    piped.answer(GOOD_20_69)

    assert after_the_hang == (None, True)
    assert piped.samples == [20.6875]
    assert not piped.is_failing()
    assert thermometer.errors == {Cause.TIMEOUT: 1}


def test_T10_a_hang_that_nobody_asks_about_is_counted_when_it_ends(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("device.thermometer._HUNG_AFTER_S", 0.05)
    bus.pipe()
    thermometer = bus.start()
    until(lambda: thermometer._began_s is not None)
    time.sleep(0.06)

    bus.answer(GOOD_20_69)

    assert thermometer.errors == {Cause.TIMEOUT: 1}
    assert bus.samples == []
    assert bus.is_failing()
    assert "(timeout)" in caplog.text


# T11


def test_T11_another_sensor_on_the_bus_is_never_taken_and_is_named(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    bus.show(celsius(HOT_C), OTHER_ID)
    bus.start()

    bus.let_pass(1)
    before = caplog.text
    bus.let_pass(6)
    bus.say(GOOD_20_69)
    bus.file.unlink()
    bus.let_pass(6)

    assert before == ""
    assert set(bus.samples) == {20.6875}
    assert caplog.text.count(f"it is not on the 1-wire bus, which has {OTHER_ID}; ") == 2


# T12


def test_T12_only_more_than_four_failures_in_a_row_are_failing_and_one_good_read_ends_it(piped: Bus) -> None:
    failing = []

    for content in [FAILED_CRC] * 3 + [GOOD_20_69] + [FAILED_CRC] * 3 + [GOOD_20_69] + [FAILED_CRC] * 5 + [GOOD_20_69]:
        piped.answer(content)
        failing.append(piped.is_failing())

    assert failing == [False] * 12 + [True, False]


def test_T12_failures_of_different_causes_are_failures_in_a_row(piped: Bus) -> None:
    for content in (FAILED_CRC, POWER_ON, "", FAILED_CRC):
        piped.answer(content)
    before = piped.is_failing()

    piped.answer(POWER_ON)

    assert (before, piped.is_failing()) == (False, True)


# T13


def test_T13_a_temperature_that_stays_the_same_for_a_day_warns_and_moves_nothing(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_s = 240.0  # less than what a thermometer is lost after
    now_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: now_s)
    monkeypatch.setattr("device.thermometer.time", clock)
    monkeypatch.setattr("device.thermometer._HUNG_AFTER_S", math.inf)  # time runs while a read waits for its answer
    bus.pipe()
    thermometer = bus.start(period_s=0.001)
    stuck = Stuck(DAY_S)
    control = Control(Position.GRID, now_s)
    warned_at_s: list[float] = []
    decisions: list[Decision] = []

    while now_s <= DAY_S + step_s:
        bus.answer(GOOD_20_69)
        reading = thermometer.reading(now_s)
        assert reading is not None
        if stuck.watch(reading.value, now_s):
            warned_at_s.append(now_s)
        readings = Readings(battery_voltage_v=Reading(50.5, now_s, "mx2"), box_temperature_c=reading)
        decisions.append(control.decide(readings, now_s))
        now_s += step_s

    assert warned_at_s == [DAY_S, DAY_S + step_s]
    assert {(decision.position, decision.reason) for decision in decisions} == {(Position.GRID, Reason.HOLD)}
    bus.answer(GOOD_25_81)
    reading = thermometer.reading(now_s)
    assert reading is not None
    assert not stuck.watch(reading.value, now_s)


# T14


def test_T14_a_jump_is_held_until_a_second_sample_says_it_too(piped: Bus) -> None:
    box = Box(piped)
    box.reasons(20.0, 20.0)

    first = box.after(celsius(HOT_C))
    same_sample_again = [box.again() for _ in range(20)]
    second = box.after(celsius(HOT_C))

    assert (first.position, first.reason) == (Position.GRID, Reason.HOLD)
    assert {decision.position for decision in same_sample_again} == {Position.GRID}
    assert Alert.OVER_TEMPERATURE not in first.alerts
    assert (second.position, second.reason) == (Position.BATTERY, Reason.OVER_TEMPERATURE)
    assert Alert.OVER_TEMPERATURE in second.alerts


def test_T14_a_single_wild_sample_moves_nothing(piped: Bus) -> None:
    box = Box(piped)

    reasons = box.reasons(20.0, HOT_C, 20.0, HOT_C, 20.0)

    assert reasons == [Reason.HOLD] * 5
