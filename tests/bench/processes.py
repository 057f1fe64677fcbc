"""Goals 1 and 2: what `solarshed control` and `solarshed uplink` take of a Pi, in processor time and memory.

`control` runs as installed, a decision a second, connected to what stands in for a shed:

- a MATE with an FX, an MX and a FLEXnet DC, each saying a page a second, all of them changing. Their bytes come at
  19200 baud, eight at a time, as the UART of a Pi hands them over: whole pages at once would be cheaper to read;
- a DS18B20 whose temperature changes, and whose every read takes the 750 ms of a conversion;
- gpiozero's mock pins.

What the kernel of a Pi does for a pin, a UART or the 1-wire bus, whose bits it times by waiting, is not in it.

Beside it `tests/bench/cron_script.py` runs every ten seconds, which cron would do once a minute. Its processor time is
that of the whole process, interpreter and all.

`uplink` and the bare client connect over mutual TLS to the emulated AWS IoT Core. Uplink gets what a shed gives it: a
sample a minute, a heartbeat, a new report from control every ten seconds. The bare client, the same SDK with the same
keep-alive, stays connected and does nothing else.

All of them run in the same minutes. Starting is not counted into processor time; memory is the most that there ever was
(VmHWM). On two cores nobody waits for another: together they take a few per cent of one.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from demo.emulator import ACCOUNT, REGION, Emulator
from demo.processes import Process
from demo.provisioning import provision
from demo.settings import write_settings
from demo.shed.pins import PINS_VARIABLE
from demo.shed.serial_line import SerialLine
from demo.shed.thermometer import SENSOR_ID
from device.mailbox import REPORT_NAME, put
from device.outbox import Outbox, Stream
from device.settings import Uplink
from tests.bench.decoding import burst
from tests.bench.fifo_thermometer import FifoThermometer
from tests.bench.table import Goal, Measured, NotMeasuredError, Of, Row

GOAL_CPU_RATIO = 0.5
GOAL_CONTROL_MB = 28.0
GOAL_UPLINK_RATIO = 1.25

SECONDS = 90.0
SETTLE_S = 15.0
CRON_RUNS = 8
CRON_EVERY_S = 10.0
SAMPLE_EVERY_S = 60.0
REPORT_EVERY_S = 10.0
# As a PL011's receive FIFO gives them, at 19200 baud with ten bits a byte.
FIFO_BYTES = 8
# Maxim's DS18B20 data sheet: the longest conversion with 12 bits.
CONVERSION_S = 0.75
BYTE_S = 10 / 19200

_CPUCLOCK_SCHED = 2
_SCRIPT = Path(__file__).with_name("cron_script.py")
_POLICY = "SolarshedFootprint"
_CONFIG = """
state_directory = "{state}"
runtime_directory = "{runtime}"
[battery]
# In the minutes after a transfer more is computed: they are over, as they are in most minutes of a month.
least_time_on_battery_s = 0.0
[monitor]
serial_port = "{port}"
[thermometer]
sensor_id = "28-{sensor}"
directory = "{w1}"
"""
_BARE = """
import sys, threading
from awsiot import mqtt5_client_builder
endpoint, port, certificate, key, ca, name = sys.argv[1:]
client = mqtt5_client_builder.mtls_from_path(
    endpoint=endpoint, port=int(port), cert_filepath=certificate, pri_key_filepath=key, ca_filepath=ca, client_id=name,
    keep_alive_interval_sec=30, on_lifecycle_connection_success=lambda _: print("connected", flush=True),
)
client.start()
threading.Event().wait()
"""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one process took."""

    peak_mb: float
    cpu_s_a_minute: float


def measure(*, quick: bool) -> Measured:
    seconds = 5.0 if quick else SECONDS
    settle_s = 3.0 if quick else SETTLE_S
    print(f"running control, uplink and a bare client for {settle_s + seconds:.0f} s", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        watched = [
            stack.enter_context(_control(directory / "control")),
            *stack.enter_context(_uplink_and_bare(directory / "uplink")),
        ]
        time.sleep(settle_s)
        before = [(_cpu_s(process), time.monotonic()) for process in watched]
        cron_cpu_s, cron_mb = _cron_runs(directory / "cron", 2 if quick else CRON_RUNS, 0.0 if quick else CRON_EVERY_S)
        time.sleep(max(0.0, before[0][1] + seconds - time.monotonic()))
        control, uplink, bare = [
            Footprint(_peak_mb(process), 60 * (_cpu_s(process) - cpu_s) / (time.monotonic() - at_s))
            for process, (cpu_s, at_s) in zip(watched, before, strict=True)
        ]
        for process in watched:
            process.check()
    return Measured(
        (
            Row(
                1,
                "control: processor time a minute, 60 decisions",
                "s",
                control.cpu_s_a_minute,
                cron_cpu_s,
                "cron script, 1 decision",
                Goal(Of.RATIO, GOAL_CPU_RATIO),
            ),
            Row(
                2, "control: peak memory", "MB", control.peak_mb, cron_mb, "cron script", Goal(Of.OURS, GOAL_CONTROL_MB)
            ),
            Row(
                2,
                "uplink: peak memory",
                "MB",
                uplink.peak_mb,
                bare.peak_mb,
                "bare awsiotsdk client, connected",
                Goal(Of.RATIO, GOAL_UPLINK_RATIO),
            ),
            Row(
                2,
                "uplink: processor time a minute",
                "s",
                uplink.cpu_s_a_minute,
                60 * 0.005,
                "0.5 % of a core",
                Goal(Of.RATIO, 1.0),
            ),
        ),
        f"a decision takes {control.cpu_s_a_minute / 60 * 1000:.2f} ms of control, {cron_cpu_s * 1000:.0f} ms of the "
        f"script; a core's share: control {control.cpu_s_a_minute / 0.6:.2f} %, "
        f"uplink {uplink.cpu_s_a_minute / 0.6:.2f} %, bare client {bare.cpu_s_a_minute / 0.6:.2f} %",
    )


class Mate:
    """A MATE at the other end of `link`, in a thread of its own: three pages a second, at the line's own pace."""

    def __init__(self, link: Path) -> None:
        self._line = SerialLine(link)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mate")
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._line.close()

    def _run(self) -> None:
        chance = random.Random(1)
        due_s = time.monotonic()
        while not self._closing.wait(due_s - time.monotonic()):
            due_s += 1.0
            pages = burst(chance)
            for start in range(0, len(pages), FIFO_BYTES):
                self._line.send(pages[start : start + FIFO_BYTES])
                time.sleep(FIFO_BYTES * BYTE_S)


class Weather:
    """A thermometer that converts as slowly as a DS18B20 and finds something else each time."""

    def __init__(self, directory: Path) -> None:
        self._thermometer = FifoThermometer(directory)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weather")
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._thermometer.close()

    def _run(self) -> None:
        chance = random.Random(2)
        while not self._closing.is_set():
            with suppress(TimeoutError, BrokenPipeError):  # nobody reads yet, or control has ended
                self._thermometer.begin(0.1)
                self._closing.wait(CONVERSION_S)
                self._thermometer.end(21.0 + chance.randint(-16, 16) / 16)


@contextmanager
def _control(directory: Path) -> Iterator[Process]:
    directory.mkdir()
    config = directory / "config.toml"
    config.write_text(
        _CONFIG.format(
            state=directory / "state",
            runtime=directory / "run",
            port=directory / "mate",
            sensor=SENSOR_ID,
            w1=directory / "w1",
        ),
        encoding="utf-8",
    )
    environment = os.environ | {"GPIOZERO_PIN_FACTORY": "solarshed-demo", PINS_VARIABLE: str(directory / "pins")}
    command: list[str | Path] = [sys.executable, "-m", "solarshed", "control", "--config", config]
    with closing(Mate(directory / "mate")), closing(Weather(directory / "w1")):
        process = Process("solarshed control", command, environment, directory / "log")
        try:
            process.wait_for_line("deciding every", 30.0)
            yield process
        finally:
            process.terminate()
            process.kill(5.0)


@contextmanager
def _uplink_and_bare(directory: Path) -> Iterator[list[Process]]:
    directory.mkdir()
    emulator = Emulator(directory, {})
    processes: list[Process] = []
    try:
        emulator.start()
        emulator.client("iot").create_policy(policyName=_POLICY, policyDocument=_policy())
        uplink = provision(emulator, "shed", _POLICY, directory)
        bare = provision(emulator, "bare", _POLICY, directory)
        config = directory / "config.toml"
        settings = write_settings(config, directory, directory / "state", directory / "run", uplink)
        processes = [_start_uplink(config, directory), _start_bare(bare, directory)]
        for process in processes:
            process.wait_for_line("connected", 30.0)
        with _fed(settings.state_directory, settings.runtime_directory):
            yield processes
    finally:
        for process in processes:
            process.kill()
        emulator.stop()


def _start_uplink(config: Path, directory: Path) -> Process:
    command: list[str | Path] = [sys.executable, "-m", "solarshed", "uplink", "--config", config]
    return Process("solarshed uplink", command, os.environ, directory / "uplink.log")


def _start_bare(uplink: Uplink, directory: Path) -> Process:
    arguments = [uplink.endpoint, str(uplink.port), uplink.certificate, uplink.private_key, uplink.ca, "bare"]
    return Process("bare client", [sys.executable, "-c", _BARE, *arguments], os.environ, directory / "bare.log")


@contextmanager
def _fed(state: Path, runtime: Path) -> Iterator[None]:
    """Give uplink what control gives it, meanwhile."""
    closing_ = threading.Event()
    thread = threading.Thread(target=_feed, args=(state, runtime, closing_.wait), name="feed")
    thread.start()
    try:
        yield
    finally:
        closing_.set()
        thread.join()


def _feed(state: Path, runtime: Path, is_over_after: Callable[[float], bool]) -> None:
    sample_at_s = report_at_s = time.monotonic()
    with closing(Outbox(state)) as outbox:
        while not is_over_after(0.2):
            now_s, time_ms = time.monotonic(), time.time_ns() // 1_000_000
            if now_s >= sample_at_s:
                sample_at_s += SAMPLE_EVERY_S
                outbox.append([(Stream.TELEMETRY, _sample(time_ms))], json.dumps({"schema": 1, "time_ms": time_ms}))
            if now_s >= report_at_s:
                report_at_s += REPORT_EVERY_S
                report = {"position": "grid", "reason": "battery_low", "time": time_ms // 1000}
                put(runtime, REPORT_NAME, json.dumps(report))


def _sample(time_ms: int) -> str:
    measures = {f"measure_{number}_v": 12.5 + number for number in range(40)}
    return json.dumps({"time_ms": time_ms, "position": "grid", "reason": "battery_low", "measures": measures})


def _policy() -> str:
    resource = f"arn:aws:iot:{REGION}:{ACCOUNT}:*"
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _cron_runs(directory: Path, runs: int, every_s: float) -> tuple[float, float]:
    """Mean processor time in seconds of one run of the script, and its peak memory in MB."""
    directory.mkdir()
    cpu_s, peak_kb = 0.0, 0
    with closing(Mate(directory / "mate")):
        for number in range(-1, runs):  # the first one leaves the compiled files, and is not counted
            due_s = time.monotonic() + every_s
            process = subprocess.Popen([sys.executable, _SCRIPT, directory / "mate"], stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            with process.stdout:
                said = process.stdout.read().split()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode or len(said) != 2:
                raise NotMeasuredError(f"the cron script failed with status {process.returncode}")
            if number >= 0:
                cpu_s += used.ru_utime + used.ru_stime
                peak_kb = max(peak_kb, int(said[1]))
                time.sleep(max(0.0, due_s - time.monotonic()))
    return cpu_s / runs, peak_kb * 1024 / 1e6


def _cpu_s(process: Process) -> float:
    """User and system time of a process so far, to the nanosecond; /proc has it in hundredths of a second.

    The clock's number is that of Linux's include/linux/posix-timers_types.h, as clock_getcpuclockid makes it.
    """
    return time.clock_gettime(~process.pid << 3 | _CPUCLOCK_SCHED)


def _peak_mb(process: Process) -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise NotMeasuredError(f"{process.name} has no VmHWM")
