import random
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.shed.mate import fndc_page, fx_page, mx_page
from demo.shed.serial_line import SerialLine
from device.battery_monitor import BatteryMonitor, MonitorError, TimedPage, battery_voltage
from device.mate import PageReader

STALE_AFTER_S = 10.0


def fx(voltage_v: float, port: int = 1) -> bytes:
    return fx_page(
        port=port,
        inverter_current_a=3.0,
        charger_current_a=0.0,
        buy_current_a=0.0,
        ac_input_voltage_v=0.0,
        ac_output_voltage_v=120.0,
        operating_mode=2,
        ac_mode=0,
        battery_tenths_v=round(voltage_v * 10),
    )


def mx(voltage_v: float, port: int = 2) -> bytes:
    return mx_page(
        port=port,
        charger_current_a=8.5,
        panel_current_a=6.0,
        panel_voltage_v=75.0,
        daily_kwh=1.5,
        charger_mode=2,
        battery_voltage_v=voltage_v,
        daily_ah=33.0,
    )


def fndc(voltage_v: float) -> bytes:
    return fndc_page(
        port=3,
        shunt_currents_a=(-12.3, 8.6, 0.0),
        extra_id=0,
        extra_value=42,
        battery_voltage_v=voltage_v,
        soc_percent=83.0,
        battery_temperature_c=20.0,
    )


def timed(*bursts: bytes) -> list[TimedPage]:
    return [TimedPage(page, 7.0) for burst in bursts for page in PageReader().feed(burst)]


# Which voltage is believed


@pytest.mark.parametrize(
    ("bursts", "source"),
    [
        ([fx(50.0), mx(50.1), fndc(50.2)], "fndc3"),
        ([fndc(50.2), mx(50.1), fx(50.0)], "fndc3"),
        ([fx(50.0), mx(50.1)], "mx2"),
        ([fx(50.0)], "fx1"),
        ([fx(50.0, port=4), mx(50.1, port=5)], "mx5"),
    ],
)
def test_S14_the_finest_instrument_that_reports_is_believed(bursts: list[bytes], source: str) -> None:
    reading = battery_voltage(timed(*bursts))

    assert reading is not None
    assert reading.source == source
    assert reading.value == {"fndc3": 50.2, "mx2": 50.1, "fx1": 50.0, "mx5": 50.1}[source]
    assert reading.at_s == 7.0


@pytest.mark.parametrize("implausible_v", [0.0, 5.0, 29.9, 70.1, 99.9])
def test_S11_an_implausible_voltage_gives_way_to_the_next_instrument(implausible_v: float) -> None:
    reading = battery_voltage(timed(fndc(implausible_v), mx(implausible_v), fx(50.0)))

    assert reading is not None
    assert (reading.source, reading.value) == ("fx1", 50.0)


@pytest.mark.parametrize("implausible_v", [0.0, 99.9])
def test_S11_implausible_voltages_only_are_no_reading(implausible_v: float) -> None:
    assert battery_voltage(timed(fndc(implausible_v), mx(implausible_v), fx(implausible_v))) is None
    assert battery_voltage([]) is None


# The port


class Mate:
    """A MATE on a pseudo-terminal that can be unplugged and plugged in again; what it says is said every time."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.line: SerialLine | None = SerialLine(link)
        self.monitor: BatteryMonitor | None = None

    def start(self) -> BatteryMonitor:
        self.monitor = BatteryMonitor(str(self.link), STALE_AFTER_S)
        return self.monitor

    def send(self, data: bytes) -> None:
        assert self.line is not None
        self.line.send(data)

    def unplug(self) -> None:
        assert self.line is not None
        self.line.close()
        self.line = None

    def plug_in(self) -> None:
        self.line = SerialLine(self.link)

    def until_sources_are(self, *sources: str, saying: bytes = b"") -> list[TimedPage]:
        assert self.monitor is not None
        pages: list[TimedPage] = []
        deadline_s = time.monotonic() + 20.0
        while time.monotonic() < deadline_s:
            self.send(saying)
            pages = self.monitor.pages(time.monotonic())
            if sorted(page.source for page in pages) == sorted(sources):
                return pages
            time.sleep(0.02)
        raise AssertionError(f"{sources} expected, {pages} seen")


@pytest.fixture
def mate(tmp_path: Path) -> Iterator[Mate]:
    mate = Mate(tmp_path / "mate")
    yield mate
    if mate.monitor is not None:
        mate.monitor.close()
    if mate.line is not None:
        mate.line.close()


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_newest_page_of_each_device_is_kept(mate: Mate) -> None:
    monitor = mate.start()
    assert monitor.pages(time.monotonic()) == []

    mate.send(fx(50.0) + mx(50.1) + fndc(50.2))
    mate.until_sources_are("fx1", "mx2", "fndc3")
    mate.send(mx(51.7) + mx(51.8))
    until(lambda: 51.8 in [page.page.battery_voltage_v for page in monitor.pages(time.monotonic())])

    pages = {page.source: page.page.battery_voltage_v for page in monitor.pages(time.monotonic())}
    assert pages == {"fx1": 50.0, "mx2": 51.8, "fndc3": 50.2}


def test_S13_a_page_counts_until_it_is_older_than_the_limit(mate: Mate) -> None:
    monitor = mate.start()
    mate.send(mx(50.1))
    (page,) = mate.until_sources_are("mx2")

    assert monitor.pages(page.at_s + STALE_AFTER_S - 0.001) == [page]
    assert monitor.pages(page.at_s + STALE_AFTER_S) == [page]
    assert monitor.pages(page.at_s + STALE_AFTER_S + 0.001) == []


def test_S3_garbage_between_pages_does_not_hide_them(mate: Mate) -> None:
    monitor = mate.start()
    noise = random.Random(3)

    for page in (fx(50.0), mx(50.1), fndc(50.2)):
        mate.send(noise.randbytes(300) + b"\n" + page + mx(66.6)[:20] + b"\r" + mx(66.6)[20:])
        time.sleep(0.05)

    pages = mate.until_sources_are("fx1", "mx2", "fndc3")
    assert {page.page.battery_voltage_v for page in pages} == {50.0, 50.1, 50.2}
    assert monitor is mate.monitor


def test_S7_S8_a_port_that_is_unplugged_is_opened_again_when_its_link_leads_somewhere(mate: Mate) -> None:
    monitor = mate.start()
    mate.send(mx(50.1))
    (before,) = mate.until_sources_are("mx2")

    mate.unplug()
    time.sleep(0.2)
    while_unplugged = monitor.pages(time.monotonic())
    mate.plug_in()
    mate.until_sources_are("mx2", "fndc3", saying=fndc(50.2))

    assert while_unplugged == [before]


def test_S7_half_a_page_from_before_the_unplugging_is_not_joined_to_what_comes_after(mate: Mate) -> None:
    mate.start()
    mate.send(mx(50.1))
    mate.until_sources_are("mx2")
    mate.send(mx(66.6)[:30])
    time.sleep(0.1)

    mate.unplug()
    mate.plug_in()
    pages = mate.until_sources_are("mx2", "fndc3", saying=mx(66.6)[30:] + fndc(50.2))

    assert {page.page.battery_voltage_v for page in pages} == {50.1, 50.2}


def test_S7_a_port_that_vanishes_while_it_is_being_opened_is_tried_again(
    mate: Mate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An adapter can be pulled between two system calls of one open(), a pseudo-terminal cannot. termios.error is no
    # OSError.
    failures: list[int] = []
    flush = termios.tcflush

    def vanished(descriptor: int, queue: int) -> None:
        if not failures:
            failures.append(descriptor)
            raise termios.error(5, "Input/output error")
        flush(descriptor, queue)

    mate.start()
    mate.unplug()
    monkeypatch.setattr(termios, "tcflush", vanished)
    mate.plug_in()
    mate.until_sources_are("mx2", saying=mx(50.1))

    assert failures


def test_a_port_that_is_not_there_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MonitorError) as error:
        BatteryMonitor(str(tmp_path / "ttyUSB0"), STALE_AFTER_S)

    assert f"serial port {tmp_path / 'ttyUSB0'} cannot be opened: " in str(error.value)
    assert "No such file or directory" in str(error.value)
    assert "group dialout" in str(error.value)
    assert "`ls /dev/serial/by-id`" in str(error.value)


def test_a_port_that_is_no_serial_port_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no port")

    with pytest.raises(MonitorError, match="cannot be opened"):
        BatteryMonitor(str(tmp_path / "file"), STALE_AFTER_S)


def test_S15_a_port_that_another_one_has_open_is_refused(mate: Mate) -> None:
    mate.start()

    with pytest.raises(MonitorError, match=r"cannot be opened: .*no other program has it open"):
        BatteryMonitor(str(mate.link), STALE_AFTER_S)

    mate.send(mx(50.1))
    mate.until_sources_are("mx2")


def test_after_closing_the_port_is_free_and_closing_again_is_harmless(mate: Mate) -> None:
    monitor = mate.start()
    descriptors = open_files()

    monitor.close()
    monitor.close()
    second = BatteryMonitor(str(mate.link), STALE_AFTER_S)

    assert open_files() <= descriptors
    second.close()


def test_S5_a_line_without_valid_pages_is_told_once_and_so_is_its_return(
    mate: Mate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("device.battery_monitor._SILENT_AFTER_S", 0.2)
    caplog.set_level("INFO", logger="device.battery_monitor")
    mate.start()
    mate.send(b"noise\r")

    until(lambda: "no valid page" in caplog.text)
    mate.until_sources_are("mx2", saying=mx(50.1))

    until(lambda: "valid pages come" in caplog.text)
    assert caplog.text.count("no valid page") == 1
    assert "length" in caplog.text
