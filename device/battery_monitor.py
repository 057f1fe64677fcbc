"""The battery monitor: reads a MATE's status pages from a serial port, in a thread of its own.

The MATE's port is opto-isolated and powered by the computer's lines: DTR must be set and RTS cleared, or it is
silent (OutBack, "Mate Serial Communication Guide").
"""

import logging
import os
import termios
import threading
import time
from dataclasses import dataclass

import serial

from contract.errors import SolarshedError
from device.mate import FndcPage, FxPage, MxPage, Page, PageReader
from device.readings import Reading, is_plausible_battery_voltage

log = logging.getLogger(__name__)

BAUD = 19200

_READ_TIMEOUT_S = 0.5
# A button press on the MATE stops its pages for two seconds or more; this is longer.
_SILENT_AFTER_S = 15.0
_REOPEN_AFTER_S = (1.0, 2.0, 5.0, 10.0)

# Which device's voltage to believe first: FLEXnet DC and MX/FM report 0.1 V, an FX only 0.4 V on a 48 V bank.
_VOLTAGE_PREFERENCE = (FndcPage, MxPage, FxPage)


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


def battery_voltage(pages: list[TimedPage]) -> Reading | None:
    """The best plausible battery voltage among fresh pages; None where there is none."""
    for kind in _VOLTAGE_PREFERENCE:
        for timed in pages:
            if isinstance(timed.page, kind) and is_plausible_battery_voltage(timed.page.battery_voltage_v):
                return Reading(timed.page.battery_voltage_v, timed.at_s, timed.source)
    return None


class BatteryMonitor:
    """Keeps the newest page of each device. `pages` never waits for the port."""

    def __init__(self, port: str, stale_after_s: float) -> None:
        """Open the port and start reading.

        Raises:
            MonitorError: the port is not there, is in use, or may not be opened by this user.
        """
        self._port = port
        self._stale_after_s = stale_after_s
        self._newest: dict[str, TimedPage] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._serial: serial.Serial | None = self._open()
        self._thread = threading.Thread(target=self._run, name="battery-monitor", daemon=True)
        self._thread.start()

    def pages(self, now_s: float) -> list[TimedPage]:
        """The newest page of each device that is not older than the limit."""
        with self._lock:
            return [timed for timed in self._newest.values() if now_s - timed.at_s <= self._stale_after_s]

    def close(self) -> None:
        """Stop reading and release the port. Harmless when repeated."""
        self._closing.set()
        self._thread.join(timeout=2 * _READ_TIMEOUT_S)

    def _open(self) -> serial.Serial:
        port = serial.Serial()
        port.port = self._port
        port.baudrate = BAUD
        port.timeout = _READ_TIMEOUT_S
        port.dtr = True
        port.rts = False
        port.exclusive = True
        try:
            port.open()
        except (serial.SerialException, OSError, termios.error) as e:
            # An adapter that is pulled during this ends in termios.error, which is no OSError.
            raise MonitorError(
                f"serial port {self._port} cannot be opened: {_reason(e)}; see that the adapter is plugged in, that no "
                "other program has it open, that the user is in group dialout, and what `ls /dev/serial/by-id` shows"
            ) from e
        return port

    def _run(self) -> None:
        reader = PageReader()
        silence = _Silence(self._port)
        failures = 0
        while not self._closing.is_set():
            try:
                if self._serial is None:
                    self._serial = self._open()
                    reader = PageReader()
                    log.info("serial port %s is open again", self._port)
                pages = reader.feed(self._serial.read(self._serial.in_waiting or 1))
                self._keep(pages)
                silence.watch(bool(pages), reader)
                failures = 0
            except (serial.SerialException, OSError, TypeError) as e:
                # pyserial raises TypeError when another thread or an unplugged adapter takes its descriptor away.
                log.warning("battery monitor lost: %s", _reason(e))
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
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
