"""`solarshed control`: owns the serial port, the thermometer and the relays. Needs no network and no working disk."""

import logging
import queue
import signal
import sqlite3
import threading
import time
from pathlib import Path

from contract.positions import Position
from device.battery_monitor import BatteryMonitor, battery_voltage
from device.clock import SystemClock, boot_id
from device.decide import Decision
from device.journal import Entry, Journal
from device.loop import Loop, Seen
from device.outbox import Outbox, OutboxError, Stream
from device.readings import Readings
from device.relays import RelayError, Relays
from device.settings import Settings
from device.stopping import StopRequest
from device.thermometer import Thermometer

log = logging.getLogger(__name__)

# Entries that wait for a disk that does not take them: about a day of minutes. The oldest go first.
_MAX_WAITING_ENTRIES = 1500
_WRITE_RETRY_S = 2.0
_FLUSH_TIMEOUT_S = 2.0


class PiSensors:
    """The real sensors."""

    def __init__(self, monitor: BatteryMonitor, thermometer: Thermometer) -> None:
        self._monitor = monitor
        self._thermometer = thermometer

    def seen(self, now_s: float) -> Seen:
        """The newest fresh readings."""
        pages = self._monitor.pages(now_s)
        return Seen(Readings(battery_voltage(pages), self._thermometer.reading(now_s)), pages)


class OutboxWriter:
    """Writes entries to the outbox in a thread of its own, so that no disk delays a decision."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._waiting: queue.Queue[Entry | None] = queue.Queue()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="outbox-writer", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Take an entry to be written soon. Never waits; drops the oldest when the disk has failed for long."""
        if self._waiting.qsize() >= _MAX_WAITING_ENTRIES:
            try:
                self._waiting.get_nowait()
                self.dropped += 1
            except queue.Empty:
                pass
        self._waiting.put(entry)

    def close(self) -> None:
        """Write what waits, as far as the disk takes it within two seconds."""
        self._waiting.put(None)
        self._thread.join(timeout=_FLUSH_TIMEOUT_S)

    def _run(self) -> None:
        outbox: Outbox | None = None
        entry = self._waiting.get()
        while entry is not None:
            try:
                outbox = outbox or Outbox(self._directory)
                _write(outbox, entry)
            except (OutboxError, sqlite3.Error) as e:
                log.warning("outbox not written, %d entries wait: %s", self._waiting.qsize() + 1, e)
                time.sleep(_WRITE_RETRY_S)
            else:
                entry = self._waiting.get()
        if outbox is not None:
            outbox.close()


def _write(outbox: Outbox, entry: Entry) -> None:
    rows = [(Stream.ALERT, alert) for alert in entry.alerts]
    if entry.sample is not None:
        rows.append((Stream.TELEMETRY, entry.sample))
    outbox.append(rows, entry.heartbeat)


class JournalRecorder:
    """Logs every change of position and hands what is due to the outbox writer."""

    def __init__(self, journal: Journal, writer: OutboxWriter) -> None:
        self._journal = journal
        self._writer = writer
        self._last: tuple[Position, str] | None = None

    def record(self, decision: Decision, seen: Seen) -> None:
        """Called after each decision has been carried out."""
        if self._last != (decision.position, decision.reason):
            self._last = (decision.position, decision.reason)
            log.info("%s: %s", decision.position.upper(), decision.reason)
        entry = self._journal.record(decision, seen.readings, seen.pages)
        if entry.sample or entry.heartbeat or entry.alerts:
            self._writer.put(entry)


def run(settings: Settings) -> None:
    """Decide until SIGTERM or SIGINT; then open the relays.

    Raises:
        MonitorError, ThermometerError, RelayError: something that it owns cannot be used at the start. The relays are
            taken last, so nothing has moved then.
    """
    stopping = StopRequest(signal.SIGTERM, signal.SIGINT)

    clock = SystemClock()
    thermometer = Thermometer(
        settings.thermometer.sensor_id,
        settings.thermometer.directory,
        settings.thermometer.period_s,
        settings.thermometer.stale_after_s,
    )
    monitor = BatteryMonitor(settings.monitor.serial_port, settings.monitor.stale_after_s)
    try:
        relays = Relays(settings.relays.pins)
        writer = OutboxWriter(settings.state_directory)
        journal = Journal(
            clock,
            boot_id(),
            settings.limits(),
            sample_interval_s=settings.control.sample_interval_s,
            heartbeat_interval_s=settings.control.heartbeat_interval_s,
        )
        loop = Loop(
            PiSensors(monitor, thermometer),
            relays,
            JournalRecorder(journal, writer),
            settings.limits(),
            clock.monotonic_s(),
        )
        log.info("deciding every %g s", settings.control.tick_s)
        try:
            _decide_until(stopping, loop, settings.control.tick_s)
        finally:
            relays.close()
            log.info("stopped; the relays are open")
            writer.close()
    finally:
        thermometer.close()
        monitor.close()


def _decide_until(stopping: StopRequest, loop: Loop, tick_s: float) -> None:
    due_s = time.monotonic()
    while not stopping.is_set():
        try:
            loop.tick(time.monotonic())
        except RelayError as e:
            log.critical("%s", e)
        # After a stall the next tick is due at once, and only once: missed ones are not caught up.
        due_s = max(due_s + tick_s, time.monotonic())
        stopping.wait(due_s - time.monotonic())
