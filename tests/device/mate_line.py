"""A MATE on a pseudo-terminal, and the battery monitor that listens to it."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.shed.mate import fndc_page, fx_page, mx_page
from demo.shed.serial_line import SerialLine
from device.battery_monitor import BatteryMonitor, TimedPage
from device.mate import PageReader

STALE_AFTER_S = 10.0
NO_AC, AC_DROP, AC_USE = range(3)


def fx(voltage_v: float, port: int = 1, ac_mode: int = NO_AC) -> bytes:
    return fx_page(
        port=port,
        inverter_current_a=3.0,
        charger_current_a=0.0,
        buy_current_a=0.0,
        ac_input_voltage_v=0.0,
        ac_output_voltage_v=120.0,
        operating_mode=2,
        ac_mode=ac_mode,
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


def fndc(voltage_v: float, port: int = 3, soc_percent: float = 83.0, extra_value: int = 42) -> bytes:
    return fndc_page(
        port=port,
        shunt_currents_a=(-12.3, 8.6, 0.0),
        extra_id=0,
        extra_value=extra_value,
        battery_voltage_v=voltage_v,
        soc_percent=soc_percent,
        battery_temperature_c=20.0,
    )


def timed(*bursts: bytes, at_s: float = 7.0) -> list[TimedPage]:
    return [TimedPage(page, at_s) for burst in bursts for page in PageReader().feed(burst)]


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.0005)


@contextmanager
def mate_that_says(link: Path, burst: bytes) -> Iterator[str]:
    """A serial port on which `burst` comes again and again."""
    line = SerialLine(link)
    done = threading.Event()

    def speak() -> None:
        while not done.wait(0.03):
            line.send(burst)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield str(link)
    finally:
        done.set()
        thread.join()
        line.close()


class Mate:
    """It can be unplugged and plugged in again. `now_s` is the clock of whoever asks for pages."""

    # Says that all before it has been read.
    _MARK = "fndc10"

    def __init__(self, link: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self.link = link
        self.now_s = now_s
        self.line: SerialLine | None = SerialLine(link)
        self.monitor: BatteryMonitor | None = None
        self._marks = 0

    def start(self, port: Path | None = None) -> BatteryMonitor:
        self.monitor = BatteryMonitor(str(port or self.link), STALE_AFTER_S)
        return self.monitor

    def close(self) -> None:
        if self.monitor is not None:
            self.monitor.close()
        if self.line is not None:
            self.line.close()

    def send(self, data: bytes) -> None:
        """Send it all, at the pace at which it is read."""
        assert self.line is not None
        deadline_s = time.monotonic() + 10.0
        while data:
            try:
                data = data[os.write(self.line._ours, data) :]
            except BlockingIOError:
                assert time.monotonic() < deadline_s
                time.sleep(0.0005)

    def unplug(self) -> None:
        """Returns when the monitor has noticed."""
        assert self.line is not None
        self.line.close()
        self.line = None
        until(lambda: not self._is_open())

    def plug_in(self) -> None:
        """Returns when the monitor has opened the port: what is sent before is lost."""
        self.line = SerialLine(self.link)
        until(self._is_open)

    def pages(self) -> dict[str, TimedPage]:
        """The newest fresh page of each device."""
        assert self.monitor is not None
        return {timed.source: timed for timed in self.monitor.pages(self.now_s()) if timed.source != self._MARK}

    def say(self, data: bytes) -> dict[str, TimedPage]:
        """Send it, and give the newest pages when all of it has been read."""
        self._marks += 1
        self.send(data + fndc(50.0, port=10, extra_value=self._marks))
        until(self._mark_has_come)
        return self.pages()

    def voltages(self) -> dict[str, float]:
        return {source: timed.page.battery_voltage_v for source, timed in self.pages().items()}

    def _is_open(self) -> bool:
        return self.monitor is not None and self.monitor._serial is not None

    def _mark_has_come(self) -> bool:
        assert self.monitor is not None
        newest = {timed.source: timed.page for timed in self.monitor.pages(self.now_s())}.get(self._MARK)
        return newest is not None and getattr(newest, "extra_value", None) == self._marks
