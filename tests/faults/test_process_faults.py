"""Rows P7 to P15 of the fault catalogue: the process, its supervisor, the Pi. P1 to P6 are in test_storage_faults.py.

P9 and P10 are in tests/device/test_control.py, on the real process. What systemd makes of a silent watchdog was tried
by hand with systemd 252 (README, "What happens if ..."); here it is asked for, and shown to fall silent.
"""

import configparser
import os
import random
import re
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.alerts import Alert
from contract.positions import Position, Reason
from contract.shadow import Mode, Wish
from device import state_file
from device.battery_monitor import BatteryMonitor
from device.clock import Clock, SystemClock
from device.control import LINGER_S, MOST_STARTS_AN_HOUR, ControlError, PiSensors, ThreadGuard
from device.health import HealthMonitor
from device.mailbox import LETTER_NAME, Letter, Mailbox, encode_letter, put
from device.observe import initial_state, moved
from device.outbox import FILE_NAME, Outbox, Stream
from device.override import MAX_DURATION_S
from device.settings import parse
from device.stopping import StopRequest
from device.storage import Storage
from device.thermometer import Place, Thermometer
from device.weather import Weather
from device.wishes import NO_WISHES
from tests.device.one_wire import GOOD_20_69, SENSOR_ID, Bus
from tests.device.running import IN_BAND_V, LOW_V, Shed, until
from tests.faults.rig import Rig, VirtualClock

INSTALL = Path(__file__).parent.parent.parent / "device/install"


@pytest.fixture
def shed(tmp_path: Path) -> Iterator[Shed]:
    shed = Shed(tmp_path)
    yield shed
    shed.close()


class Supervisor:
    """The socket on which systemd would listen."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        while True:
            try:
                self.heard.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def pings(self) -> int:
        return sum("WATCHDOG=1" in message for message in self.listen())


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "notify")
    yield supervisor
    supervisor.socket.close()


def test_P7_a_loop_that_hangs_falls_silent_and_the_unit_lets_systemd_kill_and_restart_it(
    shed: Shed, supervisor: Supervisor
) -> None:
    process = shed.start(environment={"NOTIFY_SOCKET": str(shed.directory / "notify")})
    until(lambda: supervisor.pings() >= 2)
    assert any("READY=1" in message for message in supervisor.heard)
    # By itself, or with READY where the sensors were quick.
    until(lambda: any("STATUS=battery: hold" in message for message in supervisor.listen()))

    process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    before = supervisor.pings()
    time.sleep(2.5)
    after = supervisor.pings()
    process.send_signal(signal.SIGCONT)
    until(lambda: supervisor.pings() > after)

    assert before == after
    unit = (INSTALL / "solarshed-control.service").read_text()
    assert re.search(r"^WatchdogSec=\d+", unit, re.MULTILINE)
    assert re.search(r"^Restart=always", unit, re.MULTILINE)


def test_P7_the_supervisor_hears_of_an_orderly_end(shed: Shed, supervisor: Supervisor) -> None:
    shed.start(environment={"NOTIFY_SOCKET": str(shed.directory / "notify")})
    until(lambda: supervisor.pings() >= 1)

    shed.stop()

    assert any("STOPPING=1" in message for message in supervisor.listen())


def test_P8_an_uplink_that_hangs_with_the_outbox_locked_delays_no_decision(shed: Shed) -> None:
    # Restarting a dead uplink is systemd's; that its silence is seen is the heartbeat's.
    shed.mate.voltage_v = IN_BAND_V
    shed.start()
    until(lambda: (shed.state / FILE_NAME).exists() and shed.heartbeat() is not None)
    hung = sqlite3.connect(shed.state / FILE_NAME, isolation_level=None)
    hung.execute("BEGIN IMMEDIATE")

    shed.mate.voltage_v = LOW_V
    began_s = time.monotonic()
    until(shed.on_grid)
    took_s = time.monotonic() - began_s
    hung.execute("ROLLBACK")
    hung.close()

    assert took_s < 5.0  # the lock is waited for just as long, by another thread
    until(lambda: "battery_low" in [row["reason"] for row in shed.rows(Stream.TELEMETRY)])


def test_P11_every_start_of_a_crash_loop_passes_through_no_data(rig: Rig) -> None:
    rig.voltage_v = 49.0
    rig.run(400)
    rig.voltage_v = rig.temperature_c = None

    firsts = []
    for _ in range(10):
        rig.kill_and_restart()
        firsts.append(rig.tick())

    assert {(first.position, first.reason) for first in firsts} == {(Position.BATTERY, Reason.NO_DATA)}
    for name in ("control", "uplink"):
        unit = (INSTALL / f"solarshed-{name}.service").read_text()
        assert re.search(r"^StartLimitIntervalSec=0$", unit, re.MULTILINE)


def test_a_thread_that_fails_ends_control_instead_of_leaving_it_without_a_sensor() -> None:
    kept = threading.excepthook
    try:
        stopping = StopRequest()
        guard = ThreadGuard(stopping)
        guard.check()

        thread = threading.Thread(target=lambda: 1 / 0, name="thermometer")
        thread.start()
        thread.join()
    finally:
        threading.excepthook = kept

    assert stopping.wait(0.0)
    with pytest.raises(ControlError, match=r"thread thermometer has failed \(ZeroDivisionError: division by zero\)"):
        guard.check()


def test_a_thermometer_outside_whose_thread_fails_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(_value_c: float) -> None:
        raise ZeroDivisionError

    Bus(tmp_path).show(GOOD_20_69)
    kept = threading.excepthook
    try:
        stopping = StopRequest()
        guard = ThreadGuard(stopping)

        outside = Thermometer(SENSOR_ID, str(tmp_path), 0.01, 30.0, break_down, Place.OUTSIDE)
        outside._thread.join(10.0)
    finally:
        threading.excepthook = kept

    assert not stopping.wait(0.0)
    guard.check()
    assert caplog.messages == ["thread outside thermometer has failed; control goes on without it"]


class Bystanders:
    """Real adapters of a Pi that has nothing connected."""

    def __init__(self, directory: Path, root: Path) -> None:
        self.settings = parse(f'[monitor]\nserial_port = "{directory}/mate"\ndevices = ["mx2"]')
        self.thermometer = Thermometer("28-000000000000", str(directory), 0.1, 10.0)
        self.health = HealthMonitor(directory, period_s=0.1, root=root)
        self.storage = Storage(directory / "state", directory / "run")
        self.mailbox = Mailbox(directory / "run")
        self.weather = Weather(directory / "run", SystemClock())

    def sensors(
        self,
        monitor: BatteryMonitor,
        starts_at_s: tuple[float, ...],
        clock: Clock | None = None,
        outside: Thermometer | None = None,
    ) -> PiSensors:
        return PiSensors(
            self.settings,
            clock or SystemClock(),
            monitor,
            self.thermometer,
            self.health,
            self.storage,
            self.mailbox,
            starts_at_s,
            NO_WISHES,
            self.weather,
            outside,
        )

    def close(self) -> None:
        self.thermometer.close()
        self.health.close()
        self.storage.close()
        self.mailbox.close()


@pytest.fixture
def bystanders(tmp_path: Path) -> Iterator[Bystanders]:
    root = tmp_path / "root"
    firmware = root / "sys/devices/platform/soc/soc:firmware"
    firmware.mkdir(parents=True)
    (firmware / "get_throttled").write_text("50005\n")
    bystanders = Bystanders(tmp_path, root)
    yield bystanders
    bystanders.close()


@pytest.fixture
def silent_monitor(shed: Shed) -> Iterator[BatteryMonitor]:
    shed.mate.close()
    from demo.shed.serial_line import SerialLine

    line = SerialLine(shed.directory / "silent")
    monitor = BatteryMonitor(str(shed.directory / "silent"), 10.0)
    yield monitor
    monitor.close()
    line.close()


@pytest.mark.parametrize(("starts", "is_told"), [(MOST_STARTS_AN_HOUR, False), (MOST_STARTS_AN_HOUR + 1, True)])
def test_P11_more_starts_than_a_few_within_an_hour_are_told(
    starts: int, is_told: bool, bystanders: Bystanders, silent_monitor: BatteryMonitor
) -> None:
    now_s = 10_000.0
    long_ago = (now_s - 3600.0,) * 9
    lately = tuple(now_s - 3599.0 + n for n in range(starts))

    seen = bystanders.sensors(silent_monitor, long_ago + lately).seen(now_s)

    assert (Alert.CONTROL_RESTARTING in seen.alerts) is is_told


def test_P12_the_pis_own_watchdog_reboots_a_kernel_that_hangs() -> None:
    # How long the relays are open meanwhile is for hardware to show; the README says what is expected.
    conf = configparser.ConfigParser()
    conf.read(INSTALL / "10-solarshed-watchdog.conf")

    assert 1 <= int(conf["Manager"]["RuntimeWatchdogSec"].removesuffix("s")) <= 15


def test_P13_under_voltage_and_throttling_are_told(bystanders: Bystanders, silent_monitor: BatteryMonitor) -> None:
    sensors = bystanders.sensors(silent_monitor, ())
    until(lambda: bystanders.health.newest is not None)

    seen = sensors.seen(time.monotonic())

    assert {Alert.PI_HEALTH, Alert.SENSOR_DEGRADED} <= seen.alerts
    assert seen.health is not None
    assert seen.health.under_voltage_now
    assert seen.health.throttled_now


def test_T10_a_thermometer_outside_that_hangs_is_counted_and_told_in_the_log_and_raises_nothing(
    bystanders: Bystanders, silent_monitor: BatteryMonitor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = Bus(tmp_path / "air")
    outside.directory.mkdir()
    outside.pipe()
    reader = Thermometer(SENSOR_ID, str(outside.directory), 0.01, 30.0, place=Place.OUTSIDE)
    sensors = bystanders.sensors(silent_monitor, (), outside=reader)
    until(lambda: reader._began_s is not None)
    before = bystanders.sensors(silent_monitor, ()).seen(time.monotonic())

    asked_s = time.monotonic()
    seen = sensors.seen(asked_s + 6.0)
    took_s = time.monotonic() - asked_s
    outside.give(GOOD_20_69)
    reader.close()

    assert took_s < 0.5
    assert seen.outside_temperature_c is None
    assert seen.counts["outside_thermometer_errors"] == 1
    assert "outside_thermometer_errors" not in before.counts
    assert seen.alerts == before.alerts
    assert any(text.startswith(f"outside thermometer {SENSOR_ID} gives no temp") for text in caplog.messages)


def test_what_comes_and_goes_is_one_alert(bystanders: Bystanders, silent_monitor: BatteryMonitor) -> None:
    starts = (10_000.0,) * (MOST_STARTS_AN_HOUR + 1)
    sensors = bystanders.sensors(silent_monitor, starts)

    during = sensors.seen(10_000.0 + 3599.0)
    lingering = sensors.seen(10_000.0 + 3599.0 + LINGER_S - 1.0)
    over = sensors.seen(10_000.0 + 3599.0 + LINGER_S)

    assert Alert.CONTROL_RESTARTING in during.alerts
    assert Alert.CONTROL_RESTARTING in lingering.alerts
    assert Alert.CONTROL_RESTARTING not in over.alerts


def test_P15_two_hundred_kills_leave_a_state_and_an_outbox_that_can_be_read(tmp_path: Path) -> None:
    # A power cut also loses what the card had not written yet: that needs the hardware rig. A kill does not.
    chance = random.Random(15)
    Outbox(tmp_path).close()
    for n in range(200):
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                write_for_ever(tmp_path, writable)
            finally:
                os._exit(1)
        if n % 2:
            os.read(readable, 1)  # so that it has written something; the others may be killed before
        time.sleep(chance.uniform(0.0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(readable)
        os.close(writable)

        text = state_file.read(tmp_path)
        assert text is not None or not (tmp_path / state_file.FILE_NAME).exists()
    assert not (tmp_path / state_file.REFUSED_NAME).exists()
    outbox = Outbox(tmp_path)
    ids = [row.id for row in outbox.oldest(Stream.TELEMETRY, 1_000_000)]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) >= 100
    outbox.close()


def write_for_ever(directory: Path, written: int) -> None:
    outbox = Outbox(directory)
    state = initial_state(0.0)
    for n in range(1, 1_000_000):
        state = moved(state, Position.GRID if n % 2 else Position.BATTERY, float(n))
        state_file.write(directory, state_file.text_of(state, Reason.BATTERY_LOW, "this boot", ()))
        outbox.append([(Stream.TELEMETRY, '{"n":1}')])
        if n == 1:
            os.write(written, b"1")


def test_C4_where_the_pi_does_not_know_the_time_an_override_is_timed_by_what_the_cloud_said(
    bystanders: Bystanders, silent_monitor: BatteryMonitor, tmp_path: Path
) -> None:
    clock = VirtualClock()
    clock.offset_ms, clock.is_synchronised = 0, False  # 1970
    sensors = bystanders.sensors(silent_monitor, (), clock)
    wish = Wish(Mode.GRID, 1_795_460_000.0)
    letter = Letter(knows_wish=True, wish=wish, cloud_time=(1_795_460_000 - 3600, 5000.0))
    put(tmp_path / "run", LETTER_NAME, encode_letter(letter))
    until(lambda: bystanders.mailbox.letter == letter)

    began, before, after = (sensors.seen(now_s).override for now_s in (5060.0, 5000.0 + 3599.0, 5000.0 + 3600.0))

    assert began is not None
    assert began.ends_at_s == 5000.0 + 3600.0
    assert before is not None
    assert after is None


def test_C5_what_the_cloud_said_in_another_boot_is_not_believed(
    bystanders: Bystanders, silent_monitor: BatteryMonitor, tmp_path: Path
) -> None:
    clock = VirtualClock()
    clock.is_synchronised = False
    sensors = bystanders.sensors(silent_monitor, (), clock)
    letter = Letter(knows_wish=True, wish=Wish(Mode.GRID, 1_795_460_000.0), cloud_time=(1_795_450_000, 90_000.0))
    put(tmp_path / "run", LETTER_NAME, encode_letter(letter))
    until(lambda: bystanders.mailbox.letter == letter)

    override = sensors.seen(60.0).override

    assert override is not None
    assert not override.is_timed
    assert override.ends_at_s == 60.0 + MAX_DURATION_S
