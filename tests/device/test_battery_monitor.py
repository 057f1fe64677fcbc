import logging
import os
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.shed.serial_line import SerialLine
from device.battery_monitor import (
    BatteryMonitor,
    MonitorError,
    ac_reading,
    missing,
    state_of_charge,
    voltage_samples,
)
from device.mate import Refusal
from device.readings import AcMode, AcReading, Reading, VoltageSample
from tests.device.mate_line import (
    AC_DROP,
    AC_USE,
    NO_AC,
    STALE_AFTER_S,
    Mate,
    fndc,
    fx,
    mx,
    timed,
    until,
)

# What the pages say


@pytest.mark.parametrize(
    "bursts",
    [
        [fx(50.0), mx(50.1), fndc(50.2)],
        [fndc(50.2), mx(50.1), fx(50.0)],
        [mx(50.1), fndc(50.2), fx(50.0)],
    ],
)
def test_the_finest_instrument_comes_first(bursts: list[bytes]) -> None:
    assert voltage_samples(timed(*bursts)) == [
        VoltageSample(Reading(50.2, 7.0, "fndc3"), 0.1),
        VoltageSample(Reading(50.1, 7.0, "mx2"), 0.1),
        VoltageSample(Reading(50.0, 7.0, "fx1"), 0.4),
    ]


def test_instruments_of_a_kind_come_by_their_port() -> None:
    pages = timed(mx(50.3, port=10), mx(50.2, port=9), fx(50.1, port=3), fx(50.0, port=0), mx(50.4, port=2))

    sources = [sample.reading.source for sample in voltage_samples(pages)]

    assert sources == ["mx2", "mx9", "mx10", "fx0", "fx3"]


def test_without_pages_there_is_no_voltage_no_state_of_charge_and_no_ac() -> None:
    assert voltage_samples([]) == []
    assert state_of_charge([]) is None
    assert ac_reading([]) is None


def test_the_state_of_charge_is_that_of_the_first_fndc() -> None:
    pages = [*timed(fndc(50.2, port=4, soc_percent=70.0), at_s=8.0), *timed(fndc(50.2, soc_percent=83.0), mx(50.1))]

    assert state_of_charge(pages) == Reading(83.0, 7.0, "fndc3")


def test_nothing_but_an_fndc_knows_the_state_of_charge() -> None:
    assert state_of_charge(timed(mx(50.1), fx(50.0))) is None


def test_an_empty_bank_has_a_state_of_charge() -> None:
    assert state_of_charge(timed(fndc(46.0, soc_percent=0.0))) == Reading(0.0, 7.0, "fndc3")


@pytest.mark.parametrize(("code", "mode"), [(NO_AC, AcMode.NO_AC), (AC_DROP, AcMode.AC_DROP), (AC_USE, AcMode.AC_USE)])
def test_one_inverter_says_what_its_ac_input_does(code: int, mode: AcMode) -> None:
    pages = timed(mx(50.1, port=1), fx(50.0, port=2, ac_mode=code), fndc(50.2))

    assert ac_reading(pages) == AcReading(mode, 7.0, "fx2")


def test_nothing_but_an_inverter_knows_of_ac() -> None:
    assert ac_reading(timed(mx(50.1), fndc(50.2))) is None


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((NO_AC, NO_AC, NO_AC), AcReading(AcMode.NO_AC, 1.0, "fx1")),
        ((NO_AC, AC_DROP, NO_AC), AcReading(AcMode.AC_DROP, 1.0, "fx1")),
        ((NO_AC, NO_AC, AC_DROP), AcReading(AcMode.AC_DROP, 1.0, "fx1")),
        ((AC_DROP, AC_DROP, AC_DROP), AcReading(AcMode.AC_DROP, 1.0, "fx1")),
        ((AC_USE, NO_AC, AC_DROP), AcReading(AcMode.AC_USE, 1.0, "fx1")),
        ((NO_AC, AC_USE, AC_DROP), AcReading(AcMode.AC_USE, 2.0, "fx2")),
        ((AC_USE, AC_USE, NO_AC), AcReading(AcMode.AC_USE, 2.0, "fx2")),
        ((AC_USE, AC_USE, AC_USE), AcReading(AcMode.AC_USE, 3.0, "fx3")),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_of_several_inverters_one_that_uses_ac_proves_it_and_none_that_does_takes_all(
    codes: tuple[int, int, int], expected: AcReading, order: int
) -> None:
    pages = [
        page
        for number, code in enumerate(codes, start=1)
        for page in timed(fx(50.0, port=number, ac_mode=code), at_s=float(number))
    ]

    assert ac_reading(pages[::order]) == expected


@pytest.mark.parametrize(
    ("expected", "absent"),
    [
        ([], []),
        (["fx1", "mx2"], []),
        (["fx2", "mx2", "fndc3", "fx1"], ["fx2", "fndc3"]),
        (["mx1"], ["mx1"]),
    ],
)
def test_the_devices_without_a_page_are_missing(expected: list[str], absent: list[str]) -> None:
    assert missing(timed(fx(50.0), mx(50.1)), expected) == absent


# The port


@pytest.fixture
def mate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mate]:
    monkeypatch.setattr("device.battery_monitor._READ_EVERY_S", 0.05)
    monkeypatch.setattr("device.battery_monitor._REOPEN_AFTER_S", (0.01, 0.02))
    mate = Mate(tmp_path / "mate")
    yield mate
    mate.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_line_is_set_as_a_mate_wants_it(mate: Mate) -> None:
    assert mate.line is not None
    attributes = termios.tcgetattr(mate.line._theirs)
    attributes[4] = attributes[5] = termios.B9600
    termios.tcsetattr(mate.line._theirs, termios.TCSANOW, attributes)

    port = mate.start()._serial

    assert termios.tcgetattr(mate.line._theirs)[4:6] == [termios.B19200, termios.B19200]
    assert port is not None
    assert (port.bytesize, port.parity, port.stopbits) == (8, "N", 1)
    # They power the MATE's end of the line; a pseudo-terminal has no such lines to look at.
    assert port.dtr is True
    assert port.rts is False


def test_the_newest_page_of_each_device_is_kept(mate: Mate) -> None:
    mate.start()
    assert mate.pages() == {}

    mate.say(fx(50.0) + mx(50.1) + fndc(50.2))
    mate.say(mx(51.7) + mx(51.8))

    assert mate.voltages() == {"fx1": 50.0, "mx2": 51.8, "fndc3": 50.2}


def test_pages_that_are_refused_are_counted_also_across_a_new_opening(mate: Mate) -> None:
    monitor = mate.start()
    mate.say(b"\nnoise\r" * 2)
    before = monitor.refused

    mate.unplug()
    mate.plug_in()
    mate.say(mx(50.1).replace(b"501", b"502") + b"\nnoise\r")

    assert before == {Refusal.LENGTH: 2}
    assert monitor.refused == {Refusal.LENGTH: 3, Refusal.CHECKSUM: 1}


def test_a_port_that_stays_away_is_told_once_and_tried_less_and_less(
    mate: Mate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses_s: list[float] = []
    caplog.set_level("INFO", logger="device.battery_monitor")
    monkeypatch.setattr("device.battery_monitor._REOPEN_AFTER_S", (0.001, 0.002, 0.003))
    monitor = mate.start()
    mate.say(b"")
    wait = monitor._closing.wait

    def noted(pause_s: float) -> bool:
        pauses_s.append(pause_s)
        return wait(pause_s)

    monkeypatch.setattr(monitor._closing, "wait", noted)

    mate.unplug()
    until(lambda: len(pauses_s) >= 6)
    mate.plug_in()
    mate.say(b"")

    assert pauses_s[:4] == [0.001, 0.002, 0.003, 0.003]
    lost = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(lost) <= 3
    assert lost[-1].startswith(f"battery monitor lost: serial port {mate.link} cannot be opened: No such file")
    assert len(set(lost)) == len(lost)


def test_a_port_that_is_not_there_is_waited_for_and_the_remedy_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monitor = BatteryMonitor(str(tmp_path / "mate"), STALE_AFTER_S)
    time.sleep(1.2)  # it has been tried again by then

    assert monitor.pages(time.monotonic()) == []
    (complaint,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"serial port {tmp_path / 'mate'} cannot be opened: No such file or directory" in complaint
    assert "group dialout" in complaint
    assert "`ls /dev/serial/by-id`" in complaint

    line = SerialLine(tmp_path / "mate")
    deadline_s = time.monotonic() + 10.0
    while "is open" not in caplog.text and time.monotonic() < deadline_s:
        time.sleep(0.02)
    monitor.close()
    line.close()
    assert f"serial port {tmp_path / 'mate'} is open" in caplog.text


@pytest.mark.parametrize("name", ["file", "folder", "null"])
def test_what_is_no_serial_port_is_refused_with_what_to_write(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no port")
    (tmp_path / "folder").mkdir()
    (tmp_path / "null").symlink_to(os.devnull)

    with pytest.raises(MonitorError) as error:
        BatteryMonitor(str(tmp_path / name), STALE_AFTER_S)

    assert str(error.value) == (
        f"{tmp_path / name} is not a serial port; write the name that `ls -l /dev/serial/by-id` shows for the adapter "
        "as monitor.serial_port"
    )


def test_after_closing_the_port_is_free_and_closing_again_is_harmless(mate: Mate) -> None:
    monitor = mate.start()
    descriptors = open_files()

    monitor.close()
    monitor.close()
    second = BatteryMonitor(str(mate.link), STALE_AFTER_S)

    assert open_files() <= descriptors
    second.close()


def test_closing_while_the_port_is_away_ends_the_thread(mate: Mate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.battery_monitor._REOPEN_AFTER_S", (60.0,))
    monitor = mate.start()
    mate.unplug()

    monitor.close()
    monitor._thread.join(5.0)

    assert not monitor._thread.is_alive()
    assert monitor._thread not in threading.enumerate()
