"""`solarshed control`: owns the serial port, the thermometer and the relays. Needs no network and no working disk."""

import fcntl
import json
import logging
import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from contract.alerts import Alert
from contract.errors import SolarshedError
from contract.positions import Position, Reason
from device import state_file
from device.battery_monitor import BatteryMonitor, TimedPage, ac_reading, missing, state_of_charge, voltage_samples
from device.clock import Clock, SystemClock, boot_id
from device.daylight import is_daylight
from device.decide import Decision, decide
from device.health import HealthMonitor, trouble
from device.journal import Journal
from device.loop import Loop, Seen
from device.mailbox import Letter, Mailbox
from device.readings import Readings, Stuck, best_voltage
from device.relays import Relays
from device.report import lasting, reported
from device.settings import Settings, Site
from device.settings import Thermometer as ThermometerSettings
from device.stopping import StopRequest
from device.storage import Storage
from device.thermometer import Place, Thermometer
from device.watchdog import Watchdog
from device.weather import Weather
from device.wishes import Wishes, advanced, asked

log = logging.getLogger(__name__)

_LOCK_FILE = "control.lock"
# A predecessor may have left the relays closed: the pins stay as they are so long, for something to decide by.
START_WAIT_S = 3.0
_START_POLL_S = 0.05
# More starts than this within an hour of one boot, and somebody should look why.
MOST_STARTS_AN_HOUR = 3
_HOUR_S = 3600.0
# A report whose lasting part has not changed is renewed so often; it stays on this machine until uplink wants one.
REPORT_EVERY_S = 10.0
# What comes and goes is one alert, not one each time: these are over when they have been over for so long.
LINGER_S = 60.0
# The thermometer outside is read so many times less often: it shares its bus with the one that decides.
OUTSIDE_PERIODS = 10


class ControlError(SolarshedError, OSError):
    """Control cannot start, or cannot go on; the text says why."""


class PiSensors:
    """The real sensors, and what they say about themselves."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        monitor: BatteryMonitor,
        thermometer: Thermometer,
        health: HealthMonitor,
        storage: Storage,
        mailbox: Mailbox,
        starts_at_s: tuple[float, ...],
        wishes: Wishes,
        weather: Weather,
        outside: Thermometer | None = None,
    ) -> None:
        self._clock = clock
        self._monitor = monitor
        self._thermometer = thermometer
        self._health = health
        self._storage = storage
        self._mailbox = mailbox
        self._starts_at_s = starts_at_s
        self._wishes = wishes
        self._weather = weather
        self._outside = outside
        self._site = settings.site
        self._expected = settings.monitor.devices
        self._band_v = settings.limits().band_v
        self._so_at_s: dict[Alert, float] = {}
        self._stuck_pages = Stuck(settings.monitor.stuck_after_s)
        self._stuck_thermometer = Stuck(settings.thermometer.stuck_after_s)

    def seen(self, now_s: float) -> Seen:
        """The newest fresh readings, and the alerts that are no decision's."""
        pages = self._monitor.pages(now_s)
        letter = self._mailbox.letter
        health = self._health.newest
        readings = Readings(
            battery_voltage_v=best_voltage(voltage_samples(pages), self._band_v),
            box_temperature_c=self._thermometer.reading(now_s),
            soc_percent=state_of_charge(pages),
            ac=ac_reading(pages),
            is_daylight=_daylight(self._site, self._clock),
        )
        active = {
            Alert.STUCK_SENSOR: self._is_stuck(readings, pages, now_s),
            Alert.SENSOR_DEGRADED: bool(missing(pages, self._expected)) or self._thermometer.is_failing(now_s),
            Alert.STORAGE_FAILING: self._storage.is_failing,
            Alert.PI_HEALTH: health is not None and bool(trouble(health)),
            Alert.CONTROL_RESTARTING: _starts_within_an_hour(self._starts_at_s, now_s) > MOST_STARTS_AN_HOUR,
        }
        active |= dict.fromkeys(letter.alerts, True)
        self._so_at_s |= {alert: now_s for alert, is_so in active.items() if is_so}
        alerts = frozenset(alert for alert, at_s in self._so_at_s.items() if now_s < at_s + LINGER_S)
        counts = {
            "pages_refused": self._monitor.refused.total(),
            "thermometer_errors": self._thermometer.errors.total(),
            **letter.counts,
            **self._storage.counts,
        }
        if self._outside is not None:
            # For the log and the count alone: a read that hangs is noticed by whoever asks.
            self._outside.is_failing(now_s)
            counts["outside_thermometer_errors"] = self._outside.errors.total()
        self._wishes = self._heard(letter, now_s)
        return Seen(
            readings,
            self._wishes.active,
            tuple(pages),
            alerts,
            health,
            counts,
            self._wishes,
            letter.wish_number,
            outside_temperature_c=None if self._outside is None else self._outside.reading(now_s),
            cloud_cover_percent=self._weather.cloud_cover_percent(now_s),
        )

    def _heard(self, letter: Letter, now_s: float) -> Wishes:
        time_ms, synchronised = self._clock.time_ms(), self._clock.synchronised()
        epoch_s, at_s = letter.cloud_time or (0, math.inf)
        if not synchronised and at_s <= now_s:
            # The cloud has said what time it was, and the monotonic clock what has passed since.
            time_ms, synchronised = round((epoch_s + now_s - at_s) * 1000), True
        wishes = self._wishes
        if letter.knows_wish:
            wishes = asked(wishes, letter.wish, now_s, time_ms, synchronised=synchronised)
        return advanced(wishes, now_s, time_ms, synchronised=synchronised)

    def _is_stuck(self, readings: Readings, pages: list[TimedPage], now_s: float) -> bool:
        said = {timed.source: timed.page for timed in pages} or None
        temperature = readings.box_temperature_c
        stuck_pages = self._stuck_pages.watch(said, now_s)
        stuck_thermometer = self._stuck_thermometer.watch(None if temperature is None else temperature.value, now_s)
        return stuck_pages or stuck_thermometer


def _daylight(site: Site, clock: Clock) -> bool | None:
    """None where nothing is known: a Pi without a network would wait for daylight for ever."""
    if site.latitude_deg is None or site.longitude_deg is None or not clock.synchronised():
        return None
    return is_daylight(clock.time_ms(), site.latitude_deg, site.longitude_deg)


def _starts_within_an_hour(starts_at_s: tuple[float, ...], now_s: float) -> int:
    return sum(now_s - at_s < _HOUR_S for at_s in starts_at_s)


class JournalRecorder:
    """Logs every change of position or reason, and hands to storage and mailbox what is due."""

    def __init__(
        self,
        journal: Journal,
        storage: Storage,
        mailbox: Mailbox,
        clock: Clock,
        boot: str,
        starts_at_s: tuple[float, ...],
    ) -> None:
        self._journal = journal
        self._storage = storage
        self._mailbox = mailbox
        self._clock = clock
        self._boot = boot
        self._starts_at_s = starts_at_s
        self._software = version("solarshed")
        self._reported: dict[str, object] = {}
        self._reported_at_s = float("-inf")
        self._last: tuple[Position, Reason] | None = None
        self._moved_for: tuple[Position, Reason] | None = None

    def record(self, decision: Decision, seen: Seen) -> None:
        """Called after each decision has been carried out."""
        if self._last != (decision.position, decision.reason):
            self._last = (decision.position, decision.reason)
            log.info("%s: %s", decision.position.upper(), decision.reason)
        # Why the relays last moved. A reason that changes while they stay is not worth a write to the card.
        if self._moved_for is None or self._moved_for[0] is not decision.position:
            self._moved_for = (decision.position, decision.reason)
        entry = self._journal.record(decision, seen)
        # Before the state, which knows of its alerts.
        if entry.sample or entry.heartbeat or entry.alerts:
            self._storage.put(entry)
        self._storage.keep(
            state_file.text_of(
                decision.state,
                self._moved_for[1],
                self._boot,
                self._starts_at_s,
                self._journal.raised,
                seen.wishes,
            )
        )
        self._report(decision, seen)

    def _report(self, decision: Decision, seen: Seen) -> None:
        about = decision, seen, self._journal.raised, self._clock, self._boot, self._software
        news = lasting(*about)
        now_s = self._clock.monotonic_s()
        if news != self._reported or now_s >= self._reported_at_s + REPORT_EVERY_S:
            self._reported, self._reported_at_s = news, now_s
            self._mailbox.report(json.dumps(reported(*about), allow_nan=False))


def clear_fault(settings: Settings) -> bool:
    """Forget a relay fault that is latched, and say whether there was one. Only while control does not run.

    Raises:
        ControlError: control runs, or the state file cannot be written.
    """
    with _only_one(settings.state_directory):
        try:
            return state_file.clear_fault(settings.state_directory)
        except OSError as e:
            raise ControlError(
                f"state file in {settings.state_directory}: {e.strerror}; run this as the user that control runs as"
            ) from None


class ThreadGuard:
    """A thread that ends by a mistake of its own ends control: systemd starts it anew, with all threads there.

    Not so the thermometer outside, without which control does as well.
    """

    def __init__(self, stopping: StopRequest) -> None:
        self._stopping = stopping
        self._failure: str | None = None
        threading.excepthook = self._on_failure

    def check(self) -> None:
        """Say whether one has failed.

        Raises:
            ControlError: one has; it is named.
        """
        if self._failure is not None:
            raise ControlError(self._failure)

    def _on_failure(self, args: threading.ExceptHookArgs) -> None:
        name = "?" if args.thread is None else args.thread.name
        if name == Place.OUTSIDE:
            log.error("thread %s has failed; control goes on without it", name, exc_info=args.exc_value)
            return
        log.critical("thread %s has failed", name, exc_info=args.exc_value)
        self._failure = f"thread {name} has failed ({args.exc_type.__name__}: {args.exc_value}); see above"
        self._stopping.request()


def run(settings: Settings) -> None:
    """Decide until SIGTERM, SIGINT, SIGHUP (a terminal that is gone) or SIGQUIT; then open the relays.

    Raises:
        ControlError, MonitorError, ThermometerError, RelayError: something that it owns cannot be used at the start.
            The relays are taken last, so nothing has moved then. ControlError also when a thread of control has failed.
        Exception: the decision itself keeps failing; the relays are open, and systemd starts control anew.
    """
    stopping = StopRequest(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    guard = ThreadGuard(stopping)
    watchdog = Watchdog()
    clock = SystemClock()
    limits = settings.limits()
    with ExitStack() as stack:
        stack.enter_context(_only_one(settings.state_directory))
        boot = boot_id()
        kept = state_file.read(settings.state_directory)
        before = state_file.resumed(kept, boot, clock.monotonic_s())
        starts_at_s = (*before.starts_at_s, clock.monotonic_s())

        def look_up_when_hot(temperature_c: float) -> None:
            if temperature_c >= limits.over_temperature_trip_c:
                stopping.wake()

        thermometer = Thermometer(
            settings.thermometer.sensor_id,
            settings.thermometer.directory,
            settings.thermometer.period_s,
            settings.thermometer.stale_after_s,
            on_sample=look_up_when_hot,
        )
        stack.callback(thermometer.close)
        monitor = BatteryMonitor(settings.monitor.serial_port, settings.monitor.stale_after_s)
        stack.callback(monitor.close)
        weather = Weather(settings.runtime_directory, clock)
        health = HealthMonitor(settings.state_directory, look_also=weather.look)
        stack.callback(health.close)
        storage = Storage(
            settings.state_directory,
            settings.runtime_directory,
            write_interval_s=settings.control.write_interval_s,
            outbox_most_bytes=settings.control.outbox_most_mb * 1024 * 1024,
        )
        stack.callback(storage.close)
        mailbox = Mailbox(settings.runtime_directory)
        stack.callback(mailbox.close)
        outside = _outside_thermometer(settings.thermometer)
        if outside is not None:
            stack.callback(outside.close)
        sensors = PiSensors(
            settings,
            clock,
            monitor,
            thermometer,
            health,
            storage,
            mailbox,
            starts_at_s,
            before.wishes,
            weather,
            outside,
        )

        if before.state.position is Position.GRID:
            _wait_for_readings(sensors, stopping, clock)
            before = state_file.resumed(kept, boot, clock.monotonic_s())
        now_s = clock.monotonic_s()
        seen = sensors.seen(now_s)
        first = decide(seen.readings, seen.override, before.state, limits, now_s)
        relays = Relays(settings.relays.pins, first.position)
        stack.callback(relays.close)
        journal = Journal(
            clock,
            boot,
            limits,
            sample_interval_s=settings.control.sample_interval_s,
            heartbeat_interval_s=settings.control.heartbeat_interval_s,
            site=settings.site.name,
            raised=before.alerts,
            was_in=before.was_in,
        )
        recorder = JournalRecorder(journal, storage, mailbox, clock, boot, starts_at_s)
        loop = Loop(sensors, relays, recorder, limits, before.state, before.wishes)
        log.info("deciding every %g s", settings.control.tick_s)
        try:
            _decide_until(stopping, loop, settings.control.tick_s, clock, watchdog)
        finally:
            watchdog.stopping()
            loop.stop(clock.monotonic_s())
            log.info("stopped; the relays are open")
        guard.check()


def _outside_thermometer(settings: ThermometerSettings) -> Thermometer | None:
    if not settings.outside_sensor_id:
        return None
    return Thermometer(
        settings.outside_sensor_id,
        settings.directory,
        OUTSIDE_PERIODS * settings.period_s,
        OUTSIDE_PERIODS * settings.stale_after_s,
        place=Place.OUTSIDE,
    )


def _wait_for_readings(sensors: PiSensors, stopping: StopRequest, clock: Clock) -> None:
    give_up_at_s = clock.monotonic_s() + START_WAIT_S
    while clock.monotonic_s() < give_up_at_s and not stopping.is_set():
        readings = sensors.seen(clock.monotonic_s()).readings
        if readings.battery_voltage_v is not None and readings.box_temperature_c is not None:
            return
        stopping.wait(_START_POLL_S)


def _decide_until(stopping: StopRequest, loop: Loop, tick_s: float, clock: Clock, watchdog: Watchdog) -> None:
    due_s = clock.monotonic_s()
    while not stopping.is_set():
        decision = loop.tick(clock.monotonic_s())
        text = f"{decision.position}: {decision.reason}"
        watchdog.ready(text)
        watchdog.status(text)
        watchdog.alive()
        # After a stall the next tick is due at once, and only once: missed ones are not caught up. A hot sample that
        # ended the wait early brings one tick more, and the beat goes on as it was.
        if clock.monotonic_s() >= due_s:
            due_s = max(due_s + tick_s, clock.monotonic_s())
        stopping.wait(due_s - clock.monotonic_s())


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Hold the lock of this state directory. A disk that cannot be written must not keep control from starting.

    Raises:
        ControlError: another process holds it.
    """
    path = directory / _LOCK_FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        log.warning("%s cannot be made (%s): nothing but the serial port keeps a second control away", path, e.strerror)
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ControlError(
            f"another control runs already: it holds {path}; stop it first, with: systemctl stop solarshed-control"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
