import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.thermometer import Cause, Place, Thermometer, ThermometerError
from tests.device.one_wire import (
    ALL_ZERO,
    FAILED_CRC,
    GOOD_20_69,
    GOOD_25_81,
    OTHER_ID,
    PERIOD_S,
    POWER_ON,
    SENSOR_ID,
    Bus,
    w1_slave,
)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    bus = Bus(tmp_path)
    yield bus
    bus.close()


def test_a_good_file_gives_its_temperature_again_and_again(bus: Bus) -> None:
    bus.show(GOOD_20_69)
    bus.start()

    bus.let_pass(1)
    first = bus.newest()
    bus.let_pass(2)
    later = bus.newest()

    assert first is not None
    assert later is not None
    assert first.value == later.value == 20.6875
    assert first.source == SENSOR_ID
    assert later.at_s >= first.at_s + PERIOD_S


def test_the_ends_of_the_range_are_read(bus: Bus) -> None:
    bus.pipe()
    bus.start()

    for degrees in (-55, 125):
        bus.answer(w1_slave(degrees * 16))

    assert bus.samples == [-55.0, 125.0]


def test_the_millidegrees_of_a_finer_clone_may_differ_a_little_from_its_bytes(bus: Bus) -> None:
    bus.pipe()
    bus.start()

    for stated in ("20734", "20787", "20788", "20588", "20587"):
        bus.answer(GOOD_20_69.replace("t=20687", f"t={stated}"))

    assert bus.samples == [20.6875] * 3
    assert bus.reads == 5


def test_a_reading_counts_until_it_is_older_than_the_limit(bus: Bus) -> None:
    bus.pipe()
    thermometer = bus.start(stale_after_s=5.0)
    bus.answer(GOOD_20_69)

    reading = bus.newest()

    assert reading is not None
    assert thermometer.reading(reading.at_s + 5.0) == reading
    assert thermometer.reading(reading.at_s + 5.001) is None


# Whoever waits for samples


def test_whoever_waits_for_samples_is_told_each_valid_one_when_it_can_be_read(bus: Bus) -> None:
    told: list[tuple[float, float | None]] = []

    def on_sample(value_c: float) -> None:
        newest = bus.newest()
        told.append((value_c, None if newest is None else newest.value))

    bus.on_sample = on_sample
    bus.pipe()
    bus.start()
    for content in (GOOD_20_69, FAILED_CRC, GOOD_25_81, POWER_ON, GOOD_25_81):
        bus.answer(content)

    assert told == [(20.6875, 20.6875), (25.8125, 25.8125), (25.8125, 25.8125)]


def test_nobody_needs_to_wait_for_samples(tmp_path: Path) -> None:
    bus = Bus(tmp_path)
    bus.show(GOOD_20_69)
    bus.thermometer = Thermometer(SENSOR_ID, str(tmp_path), PERIOD_S, 30.0)

    for _ in range(1000):
        if bus.newest() is not None:
            break
        threading.Event().wait(0.005)

    newest = bus.newest()
    assert newest is not None
    assert newest.value == 20.6875
    bus.close()


# What is counted and said


def test_reads_that_give_nothing_are_counted_by_cause(bus: Bus) -> None:
    bus.pipe()
    thermometer = bus.start()
    before = thermometer.errors

    for content in (FAILED_CRC, GOOD_20_69, POWER_ON, FAILED_CRC, ""):
        bus.answer(content)

    assert thermometer.errors == {Cause.CRC: 2, Cause.POWER_ON: 1, Cause.SHAPE: 1}
    assert before == {}  # one who has taken it may keep it


def test_failing_is_said_once_with_its_cause_and_so_is_its_end(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="device.thermometer")
    bus.pipe()
    bus.start()

    for content in [FAILED_CRC] * 4 + [POWER_ON] * 8 + [GOOD_20_69] * 2:
        bus.answer(content)

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            f"thermometer {SENSOR_ID} gives no temperature (power_on): it says 85.0 C, its value at power-on; see that "
            "its 3.3 V stays while it measures",
        ),
        ("INFO", f"thermometer {SENSOR_ID} reads again"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (FAILED_CRC, "(crc): the checksum is wrong; shorten the cable"),
        (ALL_ZERO, "(all_zero): it says zeros only; see that the data wire"),
        ("", "(shape): the kernel shows no whole answer of it; see that the plug"),
        (POWER_ON, "(power_on): it says 85.0 C, its value at power-on; see that its 3.3 V"),
        (w1_slave(0x07FF), "(power): it says 127.94 C, which means too little power; give it 3.3 V"),
        (w1_slave(-110 * 16), "(range): it says what is outside of -55 to 125 C; see its 3.3 V"),
    ],
)
def test_the_warning_says_what_to_look_at(content: str, words: str, bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    bus.pipe()
    bus.start()

    for _ in range(5):
        bus.answer(content)

    assert f"thermometer {SENSOR_ID} gives no temperature {words}" in caplog.text


def test_a_sensor_that_the_kernel_cannot_read_is_said(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    bus.file.mkdir(parents=True)
    bus.start()

    bus.let_pass(6)

    assert "gives no temperature (io): the kernel cannot read it; see `dmesg`" in caplog.text


def test_single_failures_are_not_worth_a_word(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="device.thermometer")
    bus.pipe()
    bus.start()

    for content in [FAILED_CRC] * 4 + [GOOD_20_69] + [FAILED_CRC] * 4:
        bus.answer(content)

    assert caplog.records == []


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ([], "and no other one is; see the plug, and `solarshed doctor`"),
        (["w1_bus_master1"], "and no other one is; see the plug, and `solarshed doctor`"),
        (
            [OTHER_ID, "10-00080283a977", "w1_bus_master1"],
            f"which has 10-00080283a977, {OTHER_ID}; if that is the one in the box, write it as thermometer.sensor_id",
        ),
    ],
)
def test_a_sensor_that_is_missing_is_said_with_those_that_are_there(
    others: list[str], sentence: str, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    for name in others:
        (bus.directory / name).mkdir()
    bus.start()

    bus.let_pass(6)

    assert f"thermometer {SENSOR_ID} gives no temperature (missing): it is not on the 1-wire bus, {sentence}" in (
        caplog.text
    )


def test_a_bus_that_cannot_be_listed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus(tmp_path / "missing")
    bus.start()

    bus.let_pass(6)

    assert f"{tmp_path / 'missing'} cannot be listed (No such file or directory); see `solarshed doctor`" in caplog.text
    bus.close()


# The end, and the start


def test_nothing_is_read_after_closing(bus: Bus) -> None:
    bus.show(GOOD_20_69)
    thermometer = bus.start()
    bus.let_pass(1)

    thermometer.close()
    thermometer._thread.join(5.0)
    reads = bus.reads
    threading.Event().wait(5 * PERIOD_S)

    assert not thermometer._thread.is_alive()
    assert bus.reads == reads


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


def test_T11_a_bus_that_cannot_be_listed_in_time_makes_nobody_wait(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    is_listing, is_listed = threading.Event(), threading.Event()

    def hang(*_args: object) -> str:
        is_listing.set()
        is_listed.wait(10.0)
        return "at last"

    monkeypatch.setattr("device.thermometer._others", hang)
    bus.start()
    assert is_listing.wait(10.0)

    asked_s = time.monotonic()
    failing = bus.is_failing()
    took_s = time.monotonic() - asked_s
    is_listed.set()

    assert failing
    assert took_s < 1.0


def test_one_outside_calls_itself_so_and_names_its_own_setting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus = Bus(tmp_path)
    bus.show(GOOD_20_69, OTHER_ID)
    outside = Thermometer(SENSOR_ID, str(tmp_path), PERIOD_S, 30.0, place=Place.OUTSIDE)

    for _ in range(1000):
        if outside.errors.total() > 4:
            break
        threading.Event().wait(0.005)
    outside.close()

    assert caplog.messages == [
        f"outside thermometer {SENSOR_ID} gives no temperature (missing): it is not on the 1-wire bus, which has "
        f"{OTHER_ID}; if that is the one outside, write it as thermometer.outside_sensor_id"
    ]
    with pytest.raises(ThermometerError, match=r"^thermometer\.outside_sensor_id = '28' is not a DS18B20's"):
        Thermometer("28", str(tmp_path), PERIOD_S, 30.0, place=Place.OUTSIDE)
