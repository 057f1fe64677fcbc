"""Goals 3 and 4: how soon the relays open when the box is too hot, and how punctual decisions are, in the real control.

Goal 3: from the second valid sample at or above trip to both pins low at most 50 ms at the 99th percentile. A reaction
that waited for the next tick would take any time up to a tick. Goal 4: at one decision a second, 99.9 of 100 begin at
most 20 ms after they are due.

What stands in for what:

- The thermometer: `w1_slave` is a FIFO. Control's read of it waits, as it does for a conversion of the DS18B20, until
  its text is written, with the bytes and the checksum of a real one. The clock starts just before that write.
- The pins: gpiozero's mock pins in a file mapped into both processes, looked at every 0.1 ms; the clock stops when both
  are seen low. A GPIO write of a Pi, some microseconds, and the opening of the relays are not in it.
- The MATE: a pseudo-terminal that says "low battery" ten times a second, so that the relays close whenever they may.
- A round: cool samples until the relays are closed, a hot one, and a second hot one at any phase of the tick. No round
  is left out as a warm-up: the first one counts, as it does in a shed. The least times between transfers are zero, and
  ticks are shorter than a shed's 1 s, because a round takes three of them.

`idle` is that and nothing else. `loaded` adds, for all of the time:

- The uplink flooding: two processes with an `Outbox` each, on the file that control appends to. The one appends and
  deletes ten rows at a time, at full speed while the write lock is free, the other one reads them at full speed.
- The disk stalled: control runs with an `os.fsync` that takes 30 s, and a third process holds the outbox's write lock
  for four fifths of the time (never to let it go would stop the flood).
- A machine that is busy: a process for each core that only computes. All of them have the priority that control has;
  the installed service has a higher one (`Nice=-10`).

Punctuality is measured in the same minutes, on further control processes that decide once a second, with disks and
locks like that of the first: many of them, because there is only one decision a second. Each notes in memory when each
of its decisions began. Beside them as many loops that do nothing but sleep until their next second is due. All of these
have the installed service's priority where the user may give it (root); where not, the row says so.

The limit beside goal 3 is the sensor's own: a conversion with 12 bits takes up to 750 ms, so a hot box is noticed by
its second sample that much later whatever control does.
"""

import json
import math
import multiprocessing
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from demo.shed.pins import PINS_VARIABLE
from demo.shed.serial_line import SerialLine
from demo.shed.thermometer import SENSOR_ID, Thermometer
from device.outbox import FILE_NAME, Outbox, Stream
from tests.bench.fifo_thermometer import FifoThermometer
from tests.bench.table import Goal, Measured, NotMeasuredError, Of, Row
from tests.device.mate_line import fx, mx
from tests.device.running import COOL_C, HOT_C, LOW_V, PINS, Shed

GOAL_MS = 50.0
GOAL_LATE_MS = 20.0
# Maxim's DS18B20 data sheet: the longest conversion with 12 bits.
CONVERSION_MS = 750.0

UNIT = Path(__file__).resolve().parents[2] / "device/install/solarshed-control.service"
TICK_S = 0.25
ROUNDS = 110
# Nothing much happens when nothing goes on: fewer rounds show it.
IDLE_ROUNDS = 40
# Decisions once a second, and of so many processes: in the time of the rounds there are more than a thousand.
BEAT_S = 1.0
BEATS = 12
INSTALLED_NICE = re.search(r"^Nice=(-?[0-9]+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)[1]  # type: ignore[index]

START_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 20.0
OPEN_TIMEOUT_S = 5.0
END_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.0001

LOCKED_S, UNLOCKED_S = 0.4, 0.1
ROWS_AT_A_TIME = 10
STALL_S = 30.0
STALLED = "disk stalled"

CONFIG = """
state_directory = "{state}"
runtime_directory = "{runtime}"
[battery]
low_hold_s = 0.0
least_time_on_battery_s = 0.0
[box]
least_cooling_time_s = 0.0
thermometer_lost_after_s = 60.0
[monitor]
serial_port = "{port}"
[thermometer]
sensor_id = "28-{sensor}"
directory = "{w1}"
period_s = 0.1
[relays]
pins = [{pins}]
most_transfers = 100
most_transfers_within_s = 60.0
[control]
tick_s = {tick_s}
sample_interval_s = 0.5
heartbeat_interval_s = 1.0
boot_grace_s = 1.0
"""

_STALL = f"""
import os, sys, time

def stall(_descriptor):
    print({STALLED!r}, file=sys.stderr, flush=True)
    time.sleep({STALL_S})

os.fsync = stall
"""

CONTROL_WITH_A_STALLED_DISK = f"""{_STALL}
import solarshed
sys.exit(solarshed.main(sys.argv[1:]))
"""

# The first argument is the file to write the times into at the end.
CONTROL_THAT_NOTES = f"""{_STALL}
import json
import solarshed
from device.loop import Loop

begun_s = []
tick = Loop.tick

def noted(self, now_s):
    begun_s.append(time.monotonic())
    return tick(self, now_s)

Loop.tick = noted
status = solarshed.main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump(begun_s, file)
sys.exit(status)
"""

SLEEPING_LOOP = f"""
import json, signal, sys, time

def end(*_):
    raise SystemExit

signal.signal(signal.SIGTERM, end)
begun_s = []
try:
    due_s = time.monotonic()
    while True:
        begun_s.append(time.monotonic())
        due_s += {BEAT_S}
        time.sleep(max(0.0, due_s - time.monotonic()))
finally:
    with open(sys.argv[1], "w") as file:
        json.dump(begun_s, file)
"""

# Histogram: upper edges of its bins.
EDGES_MS = (
    1.0,
    2.0,
    3.0,
    5.0,
    7.0,
    10.0,
    15.0,
    20.0,
    30.0,
    GOAL_MS,
    75.0,
    100.0,
    200.0,
    500.0,
    OPEN_TIMEOUT_S * 1000.0,
)
BAR_WIDTH = 60


class Box(Shed):
    """A relay box with a low battery, and the control process whose reaction is measured."""

    def __init__(self, directory: Path, tick_s: float) -> None:
        super().__init__(directory)
        self._tick_s = tick_s
        self.sensor = FifoThermometer(directory / "w1")
        self.mate.voltage_v = LOW_V
        self._chance = random.Random(1)

    def run_control(self, *, is_disk_stalled: bool) -> None:
        config = self.directory / "config.toml"
        config.write_text(
            CONFIG.format(
                state=self.state,
                runtime=self.runtime,
                port=self.directory / "mate",
                sensor=SENSOR_ID,
                w1=self.directory / "w1",
                pins=", ".join(map(str, PINS)),
                tick_s=self._tick_s,
            ),
            encoding="utf-8",
        )
        program = ["-c", CONTROL_WITH_A_STALLED_DISK] if is_disk_stalled else ["-m", "solarshed"]
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *program, "control", "--config", config],
                env=os.environ | {"GPIOZERO_PIN_FACTORY": "solarshed-demo", PINS_VARIABLE: str(self.pins)},
                stderr=stderr,
            )
        self.sensor.sample(COOL_C, START_TIMEOUT_S)

    def reaction_ms(self) -> float:
        """One round.

        Raises:
            TimeoutError: control does not do what it is there for.
        """
        self._sample_until_closed()
        self.sensor.sample(HOT_C)
        self.sensor.begin(OPEN_TIMEOUT_S)
        time.sleep(self._chance.uniform(0.0, self._tick_s))
        if not self.on_grid():
            raise TimeoutError("the relays opened after a single hot sample")
        hot_at_s = self.sensor.end(HOT_C)
        while not self.on_battery():
            if time.monotonic() - hot_at_s > OPEN_TIMEOUT_S:
                raise TimeoutError(f"the relays did not open within {OPEN_TIMEOUT_S:g} s of the second hot sample")
            time.sleep(LOOK_EVERY_S)
        return (time.monotonic() - hot_at_s) * 1000.0

    def _sample_until_closed(self) -> None:
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        while not self.on_grid():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the relays did not close within {CLOSE_TIMEOUT_S:g} s")
            self.sensor.sample(COOL_C)

    def close(self) -> None:
        super().close()
        self.sensor.close()


# The load: each function is a process


def _forever(parent_pid: int) -> Iterator[None]:
    """Until the benchmark ends this process, or has gone itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the benchmark, which ends what it began
    while os.getppid() == parent_pid:
        yield


def _compute(parent_pid: int) -> None:
    for _ in _forever(parent_pid):
        sum(range(10_000))


def _flood_by_writing(parent_pid: int, directory: Path, written: "Synchronized[int]") -> None:
    rows = [(Stream.TELEMETRY, json.dumps({"reading": number, "is": "a flood" * 20})) for number in range(100)]
    with closing(Outbox(directory)) as outbox:
        for _ in _forever(parent_pid):
            try:
                outbox.append(rows[:ROWS_AT_A_TIME])
                oldest = outbox.oldest(Stream.TELEMETRY, ROWS_AT_A_TIME)
                outbox.delete(Stream.TELEMETRY, [row.id for row in oldest])
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
            else:
                written.value += ROWS_AT_A_TIME


def _flood_by_reading(parent_pid: int, directory: Path, read: "Synchronized[int]") -> None:
    with closing(Outbox(directory)) as outbox:
        for _ in _forever(parent_pid):
            outbox.oldest(Stream.TELEMETRY, ROWS_AT_A_TIME)
            read.value += 1


def _hold_the_locks(parent_pid: int, directories: list[Path], held_ms: "Synchronized[int]") -> None:
    with ExitStack() as stack:
        connections = [
            stack.enter_context(closing(sqlite3.connect(each / FILE_NAME, isolation_level=None, timeout=10.0)))
            for each in directories
        ]
        for _ in _forever(parent_pid):
            for connection in connections:
                connection.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED_S)
            for connection in connections:
                connection.execute("ROLLBACK")
            held_ms.value += round(LOCKED_S * 1000)
            time.sleep(UNLOCKED_S)


@contextmanager
def load(directory: Path, others: Sequence[Path]) -> Iterator[Callable[[], str]]:
    """Flood the outbox in `directory`, lock it and those in `others`, and compute meanwhile.

    What it gives says in words how much of it there was.
    """
    context = multiprocessing.get_context("spawn")
    for each in (directory, *others):
        each.mkdir(parents=True, exist_ok=True)
        Outbox(each).close()
    floods = {work: context.Value("q", 0) for work in (_flood_by_writing, _flood_by_reading)}
    held = context.Value("q", 0)
    counts = [*floods.values(), held]
    processes = [
        context.Process(target=work, args=(os.getpid(), directory, count), daemon=True)
        for work, count in floods.items()
    ]
    processes.append(
        context.Process(target=_hold_the_locks, args=(os.getpid(), [directory, *others], held), daemon=True)
    )
    processes += [
        context.Process(target=_compute, args=(os.getpid(),), daemon=True) for _ in range(os.cpu_count() or 1)
    ]
    try:
        for process in processes:
            process.start()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not all(count.value for count in counts):
            if time.monotonic() > deadline_s:
                raise TimeoutError("the load did not begin")
            time.sleep(0.01)
        before = [count.value for count in counts]
        began_s = time.monotonic()

        def in_words() -> str:
            lasted_s = time.monotonic() - began_s
            written, read, held_ms = (
                (count.value - then) / lasted_s for count, then in zip(counts, before, strict=True)
            )
            return (
                f"flood: {written:.0f} rows/s written and deleted, {read:.0f} reads/s; "
                f"write lock held {held_ms / 10:.0f} % of the time; {os.cpu_count()} processes computing"
            )

        yield in_words
        if not all(process.is_alive() for process in processes):
            raise NotMeasuredError("a process of the load ended by itself")
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()


# What is measured


@dataclass(frozen=True)
class Distribution:
    """What came out in one condition."""

    condition: str
    circumstances: str
    values_ms: tuple[float, ...]

    def percentile_ms(self, percent: float) -> float:
        """The smallest value that this part of all does not exceed (nearest rank)."""
        ordered = sorted(self.values_ms)
        return ordered[max(0, math.ceil(round(percent / 100.0 * len(ordered), 6)) - 1)]


def measure(*, quick: bool) -> Measured:
    """Goals 3 and 4.

    Raises:
        NotMeasuredError: control did not do what it is there for, or the load was none.
    """
    rounds, idle_rounds, beats = (3, 3, 2) if quick else (ROUNDS, IDLE_ROUNDS, BEATS)
    at_rest = idle(idle_rounds)
    busy, control_late, bare_late = loaded(rounds, beats)
    goal = Goal(Of.OURS, GOAL_MS)
    sensor = "the sensor's own conversion"
    reactions = [
        Row(3, f"heat to relays open, {each.condition}, p99", "ms", each.percentile_ms(99), CONVERSION_MS, sensor, goal)
        for each in (at_rest, busy)
    ]
    priority = "installed priority" if os.geteuid() == 0 else "PRIORITY OF ALL"
    punctuality = Row(
        4,
        f"a decision's lateness at 1 Hz, loaded, {priority}, p99.9",
        "ms",
        control_late.percentile_ms(99.9),
        bare_late.percentile_ms(99.9),
        "a loop that only sleeps",
        Goal(Of.OURS, GOAL_LATE_MS),
    )
    return Measured((*reactions, punctuality), report([at_rest, busy, control_late, bare_late]))


def idle(rounds: int) -> Distribution:
    """With nothing else of ours going on.

    Raises:
        NotMeasuredError: control did not do what it is there for.
    """
    with tempfile.TemporaryDirectory() as directory, closing(Box(Path(directory), TICK_S)) as box:
        return Distribution("idle", "nothing else of this benchmark", _measure(box, "idle", rounds, is_stalled=False))


def loaded(rounds: int, beats: int) -> tuple[Distribution, Distribution, Distribution]:
    """With the uplink flooding, the disk stalled and the machine busy: reactions, and lateness of control and of loops
    that only sleep.

    Raises:
        NotMeasuredError: control did not do what it is there for, or the load was none.
    """
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(Box(Path(directory), TICK_S)) as box,
        Beats(Path(directory) / "beats", beats) as timed,
        load(box.state, timed.states) as in_words,
    ):
        began_s = time.monotonic()
        reactions_ms = _measure(box, "loaded", rounds, is_stalled=True)
        if STALLED not in box.words:
            raise NotMeasuredError("the disk was not stalled: control has not called os.fsync")
        ended_s = time.monotonic()
        words = f"{in_words()}; os.fsync takes {STALL_S:g} s"
        timed.end()
        control_ms, bare_ms = timed.lateness_ms(began_s, ended_s)
    return (
        Distribution("loaded", words, reactions_ms),
        Distribution("lateness", f"{beats} controls that decide once a second, in the same minutes", control_ms),
        Distribution("sleeping loop", f"lateness of {beats} loops that only sleep, in the same minutes", bare_ms),
    )


def _measure(box: Box, condition: str, rounds: int, *, is_stalled: bool) -> tuple[float, ...]:
    reactions_ms: list[float] = []
    try:
        box.run_control(is_disk_stalled=is_stalled)
        for done in range(1, rounds + 1):
            reactions_ms.append(box.reaction_ms())
            print(f"\r{condition}: round {done} of {rounds}", end="", file=sys.stderr, flush=True)
    except TimeoutError as e:
        words = "\n".join(box.words.splitlines()[-10:])
        raise NotMeasuredError(f"{condition}, round {len(reactions_ms) + 1}: {e}; control said last:\n{words}") from e
    finally:
        print(file=sys.stderr)
    return tuple(reactions_ms)


class Beats:
    """Control processes that decide once a second and note when, and as many loops that only sleep.

    The MATEs that they listen to are a process of their own, so that none of this disturbs who measures.
    """

    def __init__(self, directory: Path, count: int) -> None:
        self.states = [directory / str(number) / "state" for number in range(count)]
        self._folders = [state.parent for state in self.states]
        self._sleepers = [directory / f"sleeper-{number}" for number in range(count)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._mates: BaseProcess | None = None

    def __enter__(self) -> "Beats":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for folder in self._folders:
            folder.mkdir(parents=True)
            Thermometer(folder / "w1").write(COOL_C)
            config = CONFIG.format(
                state=folder / "state",
                runtime=folder / "run",
                port=folder / "mate",
                sensor=SENSOR_ID,
                w1=folder / "w1",
                pins=", ".join(map(str, PINS)),
                tick_s=BEAT_S,
            )
            (folder / "config.toml").write_text(config, encoding="utf-8")
        context = multiprocessing.get_context("spawn")
        links = [folder / "mate" for folder in self._folders]
        self._mates = context.Process(target=_speak, args=(os.getpid(), links), daemon=True)
        self._mates.start()
        _wait_until(lambda: all(link.exists() for link in links), "the MATEs")
        for folder in self._folders:
            command: list[str | Path] = [sys.executable, "-c", CONTROL_THAT_NOTES, folder / "ticks"]
            command += ["control", "--config", folder / "config.toml"]
            environment = {"GPIOZERO_PIN_FACTORY": "solarshed-demo", PINS_VARIABLE: str(folder / "pins")}
            self._run(command, folder / "stderr", environment)
        for path in self._sleepers:
            self._run([sys.executable, "-c", SLEEPING_LOOP, path], path.with_suffix(".stderr"), {})
        _wait_until(lambda: all("deciding every" in (each / "stderr").read_text() for each in self._folders), "control")

    def _run(self, command: list[str | Path], log: Path, environment: dict[str, str]) -> None:
        with log.open("wb") as stderr:
            prioritised = ["nice", "-n", INSTALLED_NICE, *command]
            self._processes.append(subprocess.Popen(prioritised, env=os.environ | environment, stderr=stderr))

    def end(self) -> None:
        """End them all, and have them write down what they have noted."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            if process.wait(END_TIMEOUT_S):
                raise NotMeasuredError(f"a process that notes its ticks ended with status {process.returncode}")

    def lateness_ms(self, began_s: float, ended_s: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of everything that was due in between: of the control processes, and of the loops that only sleep."""
        ticks = [folder / "ticks" for folder in self._folders]
        control, sleepers = (
            tuple(1000 * late_s for path in paths for late_s in lateness_s(_numbers(path), began_s, ended_s))
            for paths in (ticks, self._sleepers)
        )
        return control, sleepers

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        if self._mates is not None:
            self._mates.terminate()
            self._mates.join()


def _speak(parent_pid: int, links: list[Path]) -> None:
    lines = [SerialLine(link) for link in links]
    for _ in _forever(parent_pid):
        for line in lines:
            line.send(fx(48.0) + mx(LOW_V))
        time.sleep(BEAT_S)


def _wait_until(is_so: Callable[[], bool], who: str) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise NotMeasuredError(f"{who} did not start within {START_TIMEOUT_S:g} s")
        time.sleep(0.05)


def _numbers(path: Path) -> list[float]:
    numbers: list[float] = json.loads(path.read_text(encoding="ascii"))
    return numbers


def lateness_s(begun_s: Sequence[float], from_s: float, until_s: float) -> Iterator[float]:
    """How late each of these was that was due in between.

    Due is the first one, and then one each BEAT_S; after one that was late by more than that, the count begins anew, as
    control's own does.
    """
    due_s = begun_s[0]
    for at_s in begun_s[1:]:
        due_s += BEAT_S
        if from_s <= due_s < until_s:
            yield at_s - due_s
        if at_s - due_s > BEAT_S:
            due_s = at_s


# What is printed


def report(distributions: Sequence[Distribution]) -> str:
    head = f"{'':<14}  count   p50 ms   p99 ms  p99.9 ms   max ms"
    lines = [
        f"{each.condition:<14}  {len(each.values_ms):>5}  {each.percentile_ms(50):>7.2f}  "
        f"{each.percentile_ms(99):>7.2f}  {each.percentile_ms(99.9):>8.2f}  {max(each.values_ms):>7.2f}"
        for each in distributions
    ]
    histograms = [f"\n{each.condition}: {each.circumstances}\n{histogram(each.values_ms)}" for each in distributions]
    return "\n".join([head, *lines, *histograms])


def histogram(values_ms: Sequence[float]) -> str:
    """A line for each bin, from the first to the last one that has something; a bar's length is the count."""
    bins = []
    low_ms = -math.inf
    for high_ms in EDGES_MS:
        bins.append((max(low_ms, 0.0), high_ms, sum(low_ms < each <= high_ms for each in values_ms)))
        low_ms = high_ms
    filled = [index for index, (_, _, count) in enumerate(bins) if count]
    most = max(count for _, _, count in bins)
    return "\n".join(
        f"  {low_ms:>6g} to {high_ms:>4g} ms  {count:>4}  {'#' * math.ceil(count / most * BAR_WIDTH)}".rstrip()
        for low_ms, high_ms, count in bins[filled[0] : filled[-1] + 1]
    )
