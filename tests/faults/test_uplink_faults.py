"""Row P8 and invariant I1: uplink is killed, stopped or hangs, and the real control decides on time."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from contract import topics
from contract.messages import decode_telemetry
from device.mailbox import LETTER_NAME
from device.outbox import FILE_NAME, Stream
from tests.device.running import COOL_C, HOT_C, LOW_V, Shed, until
from tests.peers.broker import ScriptedBroker

THING = "shed"
HEARTBEAT = topics.topic(THING, topics.HEARTBEAT)
TELEMETRY = topics.topic(THING, topics.TELEMETRY)
INSTALL = Path(__file__).parent.parent.parent / "device/install"
# As control is set here.
TICK_S = 0.05
SAMPLES_EVERY_MS = 500
# How late a decision may be on a machine that does other things too.
LATE_MS = 300

# Holds the outbox's write lock until it is killed, as an uplink that is stopped within a transaction.
HOLD_THE_LOCK = """
import sqlite3, sys, time
outbox = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
outbox.execute("BEGIN IMMEDIATE")
outbox.execute("DELETE FROM telemetry WHERE id < 0")
print("held", flush=True)
time.sleep(600)
"""


class Rig:
    """Control on grid because the battery is low, and uplink with a broker that does what it is told."""

    def __init__(self, shed: Shed, broker: ScriptedBroker, directory: Path) -> None:
        self.shed = shed
        self.broker = broker
        identity = broker.uplink(directory / "identity")
        self._config = directory / "uplink.toml"
        self._config.write_text(
            f'thing = "{THING}"\nstate_directory = "{shed.state}"\nruntime_directory = "{shed.runtime}"\n[uplink]\n'
            f'endpoint = "localhost"\nport = {identity.port}\ncertificate = "{identity.certificate}"\n'
            f'private_key = "{identity.private_key}"\nca = "{identity.ca}"\n'
        )
        self.processes: list[subprocess.Popen[bytes]] = []

    def start_uplink(self, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        return self._start("-m", "solarshed", "uplink", "--config", str(self._config), environment=environment)

    def hold_the_lock(self) -> subprocess.Popen[bytes]:
        """Another process that has begun to write to the outbox, and is stopped then."""
        process = self._start("-c", HOLD_THE_LOCK, str(self.shed.state / FILE_NAME))
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.send_signal(signal.SIGSTOP)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate(timeout=10)

    def _start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | dict(environment or {}),
        )
        self.processes.append(process)
        return process

    def beats(self) -> list[int]:
        """How many decisions there had been, as the cloud has heard."""
        return [json.loads(publish.payload)["decision_count"] for publish in self.broker.published(HEARTBEAT)]


class Supervisor:
    """The socket on which systemd would listen."""

    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)
        self._pings = 0

    def pings(self) -> int:
        while True:
            try:
                self._pings += b"WATCHDOG=1" in self._socket.recv(4096)
            except BlockingIOError:
                return self._pings

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with closing(Supervisor(tmp_path)) as supervisor:
        yield supervisor


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    shed = Shed(tmp_path)
    with closing(shed), ScriptedBroker() as broker, closing(Rig(shed, broker, tmp_path)) as rig:
        shed.mate.voltage_v = LOW_V
        shed.start()
        until(shed.on_grid)
        yield rig


def decides_on_time(rig: Rig) -> tuple[int, int]:
    """See that heat opens the relays within a second, and cold lets them close again; from when to when, epoch ms."""
    began_ms = time.time_ns() // 1_000_000
    for _ in range(2):
        rig.shed.thermometer.write(HOT_C)
        until(rig.shed.on_battery, timeout_s=1.0)
        rig.shed.thermometer.write(COOL_C)
        until(rig.shed.on_grid, timeout_s=5.0)
    return began_ms, time.time_ns() // 1_000_000


def check_samples(rig: Rig, window_ms: tuple[int, int]) -> None:
    """See that in this time no sample is missing or late, whether it has been delivered yet or not."""
    began_ms, ended_ms = window_ms

    def times_ms() -> list[int]:
        # First what waits: it may be delivered in the meantime.
        waiting = [row["time_ms"] for row in rig.shed.rows(Stream.TELEMETRY)]
        delivered = [
            sample["time_ms"]
            for publish in rig.broker.published(TELEMETRY)
            for sample in decode_telemetry(json.loads(publish.payload))
        ]
        return sorted({*waiting, *delivered})

    until(lambda: max(times_ms(), default=0) > ended_ms)
    within = [time_ms for time_ms in times_ms() if began_ms - SAMPLES_EVERY_MS <= time_ms]
    late_ms = [later - earlier - SAMPLES_EVERY_MS for earlier, later in pairwise(within)]
    assert max(late_ms) <= LATE_MS


Fault = Callable[[Rig, subprocess.Popen[bytes]], None]


def kill(_rig: Rig, uplink: subprocess.Popen[bytes]) -> None:
    uplink.kill()
    uplink.wait(10)


def stop(_rig: Rig, uplink: subprocess.Popen[bytes]) -> None:
    uplink.send_signal(signal.SIGSTOP)


def freeze_the_broker(rig: Rig, _uplink: subprocess.Popen[bytes]) -> None:
    rig.broker.freeze()


def start_anew(rig: Rig, _uplink: subprocess.Popen[bytes]) -> None:
    rig.start_uplink()


def go_on(_rig: Rig, uplink: subprocess.Popen[bytes]) -> None:
    uplink.send_signal(signal.SIGCONT)


def thaw_the_broker(rig: Rig, _uplink: subprocess.Popen[bytes]) -> None:
    rig.broker.thaw()


@pytest.mark.parametrize(
    ("begin", "end"),
    [(kill, start_anew), (stop, go_on), (freeze_the_broker, thaw_the_broker)],
    ids=["killed", "stopped", "broker hangs"],
)
def test_P8_uplink_is_gone_and_control_decides_on_time_and_the_cloud_sees_it_come_back(
    begin: Fault, end: Fault, rig: Rig
) -> None:
    uplink = rig.start_uplink()
    until(lambda: len(rig.beats()) >= 2)

    begin(rig, uplink)
    window_ms = decides_on_time(rig)
    heard = rig.beats()
    end(rig, uplink)
    until(lambda: len(rig.beats()) > len(heard), timeout_s=30)

    # The cloud heard nothing in the meantime, while decisions went on at their pace.
    missed = rig.beats()[len(heard)] - heard[-1]
    assert missed * TICK_S * 1000 >= 0.5 * (window_ms[1] - window_ms[0])
    check_samples(rig, window_ms)


def test_P8_uplink_stopped_within_a_write_to_the_outbox_delays_no_decision_and_no_sample_is_lost(rig: Rig) -> None:
    until(lambda: rig.shed.heartbeat() is not None)
    uplink = rig.start_uplink()
    until(lambda: bool(rig.beats()))
    uplink.send_signal(signal.SIGSTOP)
    holder = rig.hold_the_lock()

    window_ms = decides_on_time(rig)
    with (
        closing(sqlite3.connect(rig.shed.state / FILE_NAME, timeout=0)) as third,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        third.execute("BEGIN IMMEDIATE")
    holder.kill()
    uplink.send_signal(signal.SIGCONT)

    check_samples(rig, window_ms)


def test_P8_uplink_hangs_within_its_letter_and_control_goes_on_with_the_one_before(rig: Rig) -> None:
    uplink = rig.start_uplink()
    until((rig.shed.runtime / LETTER_NAME).exists)
    uplink.send_signal(signal.SIGSTOP)
    (rig.shed.runtime / f".{LETTER_NAME}.{uplink.pid}.tmp").write_text('{"version":1,"knows')

    check_samples(rig, decides_on_time(rig))

    uplink.send_signal(signal.SIGCONT)
    until(lambda: bool(rig.beats()))


def test_P8_uplink_that_hangs_falls_silent_and_the_unit_lets_systemd_kill_and_restart_it(
    rig: Rig, supervisor: Supervisor
) -> None:
    uplink = rig.start_uplink(environment={"NOTIFY_SOCKET": supervisor.address})
    until(lambda: supervisor.pings() >= 2)

    uplink.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    before = supervisor.pings()
    time.sleep(1.5)
    after = supervisor.pings()
    uplink.send_signal(signal.SIGCONT)
    until(lambda: supervisor.pings() > after)

    assert before == after
    unit = (INSTALL / "solarshed-uplink.service").read_text()
    assert re.search(r"^WatchdogSec=\d+", unit, re.MULTILINE)
    assert re.search(r"^Restart=always", unit, re.MULTILINE)
