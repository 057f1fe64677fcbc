"""The battery monitor: reads a MATE's status pages from a serial port, in a thread of its own.

The MATE's port is opto-isolated and powered by the computer's lines: DTR must be set and RTS cleared, or it is
silent (OutBack, "Mate Serial Communication Guide").
"""

import errno
import logging
import os
import termios
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import serial

from contract.errors import SolarshedError
from device.mate import FndcPage, FxPage, Page, PageReader, Refusal
from device.readings import AcMode, AcReading, Reading, VoltageSample
from device.settings import STEP_V

log = logging.getLogger(__name__)

BAUD = 19200

# Bytes come a few at a time, and to wake up for each of them takes longer than to decode them: what has come in this
# time is read together, or sooner where pages go stale soon. The kernel keeps 4095 bytes, which take 2 s on the line.
_READ_EVERY_S = 1.0
_READS_WHILE_FRESH = 4
_READ_TIMEOUT_S = 0.5
_CLOSE_TIMEOUT_S = 1.0
# A button press on the MATE stops its pages for two seconds or more; this is longer.
_SILENT_AFTER_S = 15.0
_REOPEN_AFTER_S = (1.0, 2.0, 5.0, 10.0)

# Which device's voltage to believe first: FLEXnet DC and MX/FM report 0.1 V, an FX only 0.4 V on a 48 V bank.
_VOLTAGE_PREFERENCE = ("fndc", "mx", "fx")
# What opening says of a path that is there and is no serial port: a file, /dev/null, a folder.
_NO_SERIAL_PORT = (errno.ENOTTY, errno.EISDIR)
_NOT_THERE = (errno.ENOENT, errno.ENODEV, errno.ENXIO)


class MonitorError(SolarshedError, OSError):
    """The serial port cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class TimedPage:
    """A page and when it arrived, in monotonic seconds."""

    page: Page
    at_s: float

    @property
    def source(self) -> str:
        """The device that sent it, such as mx2."""
        return f"{self.page.device}{self.page.port}"


def voltage_samples(pages: Sequence[TimedPage]) -> list[VoltageSample]:
    """The battery voltage that each device says, plausible or not, the most trusted device first."""
    return [
        VoltageSample(Reading(timed.page.battery_voltage_v, timed.at_s, timed.source), STEP_V[timed.page.device])
        for timed in sorted(pages, key=lambda timed: (_VOLTAGE_PREFERENCE.index(timed.page.device), timed.page.port))
    ]


def state_of_charge(pages: Sequence[TimedPage]) -> Reading | None:
    """The state of charge in percent that the FLEXnet DC on the first port says; nothing else counts ampere-hours."""
    for timed in sorted(pages, key=lambda timed: timed.page.port):
        if isinstance(timed.page, FndcPage):
            return Reading(timed.page.soc_percent, timed.at_s, timed.source)
    return None


def ac_reading(pages: Sequence[TimedPage]) -> AcReading | None:
    """What the AC input of all inverters together does; None without one.

    AC comes through where any FX uses it. One page proves that: the newest of them is the sample. That no FX uses it,
    or none even sees it, takes a page of each: that sample is as old as the oldest of them. So neither is ever said of
    relays that have moved since.
    """
    inverters = [(timed, page.ac_mode) for timed in pages if isinstance(page := timed.page, FxPage)]
    using = [timed for timed, mode in inverters if mode == AcMode.AC_USE]
    if using:
        newest = max(using, key=_arrival_s)
        return AcReading(AcMode.AC_USE, newest.at_s, newest.source)
    if not inverters:
        return None
    oldest = min((timed for timed, _ in inverters), key=_arrival_s)
    is_seen = any(mode == AcMode.AC_DROP for _, mode in inverters)
    return AcReading(AcMode.AC_DROP if is_seen else AcMode.NO_AC, oldest.at_s, oldest.source)


def _arrival_s(timed: TimedPage) -> float:
    return timed.at_s


def missing(pages: Sequence[TimedPage], expected: Sequence[str]) -> list[str]:
    """Which of the `expected` devices, named as `TimedPage.source` names them, have no page."""
    present = {timed.source for timed in pages}
    return [name for name in expected if name not in present]


def open_port(port: str, timeout_s: float) -> serial.Serial:
    """The serial port as a MATE needs it: its isolated side has power only with DTR set and RTS cleared.

    Raises:
        SerialException, OSError, termios.error: it cannot be opened; an adapter that is pulled during this ends in
            termios.error, which is no OSError.
    """
    line = serial.Serial()
    line.port = port
    line.baudrate = BAUD
    line.timeout = timeout_s
    line.dtr = True
    line.rts = False
    line.exclusive = True
    line.open()
    return line


class BatteryMonitor:
    """Keeps the newest page of each device. `pages` never waits for the port.

    `refused` counts the pages that were refused since the start, by cause; it is a new object after each.
    """

    def __init__(self, port: str, stale_after_s: float) -> None:
        """Open the port and start reading. An adapter that is not plugged in yet is waited for, however long.

        Raises:
            MonitorError: the port is in use, is no serial port, or may not be opened by this user.
        """
        self._port = port
        self._stale_after_s = stale_after_s
        self._read_every_s = min(_READ_EVERY_S, stale_after_s / _READS_WHILE_FRESH)
        self._newest: dict[str, TimedPage] = {}
        self.refused: Counter[Refusal] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._complaint = ""
        self._serial: serial.Serial | None = None
        try:
            self._serial = self._open()
        except MonitorError as e:
            # A battery that nobody sees is a rule's business (battery_monitor_lost), not a reason not to start.
            if _number(e.__cause__) not in _NOT_THERE:
                raise
            self._complain(str(e))
        self._thread = threading.Thread(target=self._run, name="battery-monitor", daemon=True)
        self._thread.start()

    def pages(self, now_s: float) -> list[TimedPage]:
        """The newest page of each device that is not older than the limit."""
        with self._lock:
            return [timed for timed in self._newest.values() if now_s - timed.at_s <= self._stale_after_s]

    def close(self) -> None:
        """Stop reading and release the port. Harmless when repeated."""
        self._closing.set()
        self._thread.join(timeout=_CLOSE_TIMEOUT_S)

    def _open(self) -> serial.Serial:
        try:
            return open_port(self._port, _READ_TIMEOUT_S)
        except (serial.SerialException, OSError, termios.error) as e:
            if _number(e) in _NO_SERIAL_PORT:
                raise MonitorError(
                    f"{self._port} is not a serial port; write the name that `ls -l /dev/serial/by-id` shows for the "
                    "adapter as monitor.serial_port"
                ) from e
            raise MonitorError(
                f"serial port {self._port} cannot be opened: {_reason(e)}; see that the adapter is plugged in, that no "
                "other program has it open, that the user is in group dialout, and what `ls /dev/serial/by-id` shows"
            ) from e

    def _complain(self, why: str) -> None:
        """Once for each new reason, however often it is tried again."""
        if why != self._complaint:
            self._complaint = why
            log.warning("battery monitor lost: %s", why)

    def _run(self) -> None:
        reader = PageReader()
        silence = _Silence(self._port)
        refused_before: Counter[Refusal] = Counter()
        failures = 0
        while not self._closing.is_set():
            try:
                if self._serial is None:
                    self._serial = self._open()
                    refused_before, reader = self.refused, PageReader()
                    log.info("serial port %s is open", self._port)
                    self._complaint = ""
                pages = reader.feed(self._serial.read(self._serial.in_waiting))
                self.refused = refused_before + reader.refused
                self._keep(pages)
                silence.watch(bool(pages), reader)
                failures = 0
                self._closing.wait(self._read_every_s)
            except (serial.SerialException, OSError, TypeError) as e:
                # pyserial raises TypeError when another thread or an unplugged adapter takes its descriptor away.
                self._complain(_reason(e))
                self._release()
                self._closing.wait(_REOPEN_AFTER_S[min(failures, len(_REOPEN_AFTER_S) - 1)])
                failures += 1
        self._release()

    def _keep(self, pages: list[Page]) -> None:
        now_s = time.monotonic()
        with self._lock:
            for page in pages:
                timed = TimedPage(page, now_s)
                self._newest[timed.source] = timed

    def _release(self) -> None:
        if self._serial is not None:
            self._serial.close()
            self._serial = None


class _Silence:
    """Says once in the log when no valid page has come for long, and once when one comes again."""

    def __init__(self, port: str) -> None:
        self._port = port
        self._heard_at_s = time.monotonic()
        self._said = False

    def watch(self, heard: bool, reader: PageReader) -> None:
        now_s = time.monotonic()
        if heard:
            if self._said:
                log.info("valid pages come from %s again", self._port)
            self._heard_at_s, self._said = now_s, False
        elif not self._said and now_s - self._heard_at_s > _SILENT_AFTER_S:
            self._said = True
            log.warning(
                "no valid page from %s for %g s, %d refused (%s); see that the MATE's PC communication is on, that it "
                "is a MATE or MATE2, and the cable",
                self._port,
                _SILENT_AFTER_S,
                reader.refused.total(),
                reader.causes or "none",
            )


def _reason(error: Exception) -> str:
    """What went wrong, without what pyserial puts around it."""
    number = _number(error)
    return str(error) if number is None else os.strerror(number)


def _number(error: BaseException | None) -> int | None:
    """The system's number for what went wrong; pyserial keeps the one of termios to itself."""
    if isinstance(error, serial.SerialException) and isinstance(error.__context__, termios.error):
        error = error.__context__
    if isinstance(error, termios.error):
        return int(error.args[0])
    return error.errno if isinstance(error, OSError) else None
