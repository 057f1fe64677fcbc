"""How soon the relays open when the box is too hot: `make bench`, on the real `solarshed control`.

The goal: from the second valid sample at or above trip to both pins low at most 50 ms at the 99th percentile, with the
uplink flooding and the disk stalled. A reaction that waited for the next tick would take any time up to a tick.

What stands in for what:

- The thermometer: `w1_slave` is a FIFO. Control's read of it waits, as it does for a conversion of the DS18B20, until
  its text is written, with the bytes and the checksum of a real one. The clock starts just before that write.
- The pins: gpiozero's mock pins in a file mapped into both processes, looked at every 0.1 ms; the clock stops when both
  are seen low. A GPIO write of a Pi, some microseconds, and the opening of the relays are not in it.
- The MATE: a pseudo-terminal that says "low battery" ten times a second, so that the relays close whenever they may.
- A round: cool samples until the relays are closed, a hot one, and a second hot one at any phase of the tick. No round
  is left out as a warm-up: the first one counts, as it does in a shed. The least times between transfers are zero, and
  ticks are shorter than a shed's 1 s, because a round takes three of them; `--tick-s 1` measures with those.

`idle` is that and nothing else. `loaded` adds, for all of the time:

- The uplink flooding: two processes with an `Outbox` each, on the file that control appends to. The one appends and
  deletes ten rows at a time, at full speed while the write lock is free, the other one reads them at full speed.
- The disk stalled: control runs with an `os.fsync` that takes 30 s, and a third process holds the outbox's write lock
  for four fifths of the time (never to let it go would stop the flood).
- A machine that is busy: a process for each core that only computes. All of them have the priority that control has.

The limit beside the goal is the sensor's own: a conversion with 12 bits takes up to 750 ms, so a hot box is noticed by
its second sample that much later whatever control does.

Exit status: 0 measured, whether or not the goal is met; 1 it could not be measured, and stderr says why.
"""

import argparse
import errno
import json
import math
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from demo.shed.pins import PINS_VARIABLE
from demo.shed.thermometer import SENSOR_ID, w1_slave
from device.outbox import FILE_NAME, Outbox, Stream
from tests.device.running import COOL_C, HOT_C, LOW_V, PINS, Shed

GOAL_MS = 50.0
GOAL_PERCENT = 99.0
# Maxim's DS18B20 data sheet: the longest conversion with 12 bits.
CONVERSION_MS = 750.0

DEFAULT_TICK_S = 0.25
DEFAULT_ROUNDS = 200
# Nothing much happens when nothing goes on: fewer rounds show it.
MOST_IDLE_ROUNDS = 40

START_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 20.0
OPEN_TIMEOUT_S = 5.0
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

CONTROL_WITH_A_STALLED_DISK = f"""
import os, sys, time

def stall(_descriptor):
    print({STALLED!r}, file=sys.stderr, flush=True)
    time.sleep({STALL_S})

os.fsync = stall

import solarshed
sys.exit(solarshed.main(sys.argv[1:]))
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


class NotMeasuredError(Exception):
    """There is no result; the text says why."""


class FifoThermometer:
    """A DS18B20 in a 1-wire directory whose conversions end when they are told to."""

    def __init__(self, directory: Path, sensor_id: str = SENSOR_ID) -> None:
        self._file = directory / f"28-{sensor_id}" / "w1_slave"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._pipe: int | None = None
        self._put_a_fresh_one()

    def begin(self, timeout_s: float) -> None:
        """Wait until somebody reads.

        Raises:
            TimeoutError: nobody does.
        """
        deadline_s = time.monotonic() + timeout_s
        while self._pipe is None:
            try:
                self._pipe = os.open(self._file, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    raise
                if time.monotonic() > deadline_s:
                    raise TimeoutError("nobody reads the thermometer") from None
                time.sleep(0.0005)
        # The next read gets a pipe of its own, so that two answers never run into one another.
        self._put_a_fresh_one()

    def end(self, temperature_c: float) -> float:
        """Give the read that waits its answer; say when that was, in monotonic seconds."""
        assert self._pipe is not None, "no read has begun"
        text = w1_slave(temperature_c).encode("ascii")
        at_s = time.monotonic()
        os.write(self._pipe, text)
        os.close(self._pipe)
        self._pipe = None
        return at_s

    def sample(self, temperature_c: float, timeout_s: float = OPEN_TIMEOUT_S) -> float:
        """Wait for a read and answer it at once; say when that was, in monotonic seconds.

        Raises:
            TimeoutError: nobody reads.
        """
        self.begin(timeout_s)
        return self.end(temperature_c)

    def close(self) -> None:
        """Let go of a read that waits. May be called again."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _put_a_fresh_one(self) -> None:
        fresh = self._file.with_name("fresh")
        os.mkfifo(fresh)
        fresh.replace(self._file)


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


def _hold_the_lock(parent_pid: int, directory: Path, held_ms: "Synchronized[int]") -> None:
    with closing(sqlite3.connect(directory / FILE_NAME, isolation_level=None, timeout=10.0)) as connection:
        for _ in _forever(parent_pid):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED_S)
            connection.execute("ROLLBACK")
            held_ms.value += round(LOCKED_S * 1000)
            time.sleep(UNLOCKED_S)


@contextmanager
def load(directory: Path) -> Iterator[Callable[[], str]]:
    """Flood, lock and compute meanwhile. What it gives says in words how much of it there was."""
    context = multiprocessing.get_context("spawn")
    directory.mkdir(parents=True, exist_ok=True)
    Outbox(directory).close()
    counts = {work: context.Value("q", 0) for work in (_flood_by_writing, _flood_by_reading, _hold_the_lock)}
    processes = [
        context.Process(target=work, args=(os.getpid(), directory, count), daemon=True)
        for work, count in counts.items()
    ]
    processes += [
        context.Process(target=_compute, args=(os.getpid(),), daemon=True) for _ in range(os.cpu_count() or 1)
    ]
    try:
        for process in processes:
            process.start()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not all(count.value for count in counts.values()):
            if time.monotonic() > deadline_s:
                raise TimeoutError("the load did not begin")
            time.sleep(0.01)
        before = {work: count.value for work, count in counts.items()}
        began_s = time.monotonic()

        def in_words() -> str:
            lasted_s = time.monotonic() - began_s
            written, read, held_ms = ((count.value - before[work]) / lasted_s for work, count in counts.items())
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
    """The reactions of one condition."""

    condition: str
    circumstances: str
    reactions_ms: tuple[float, ...]

    def percentile_ms(self, percent: float) -> float:
        """The smallest reaction that this part of all does not exceed (nearest rank)."""
        ordered = sorted(self.reactions_ms)
        return ordered[max(0, math.ceil(percent / 100.0 * len(ordered)) - 1)]

    @property
    def is_goal_met(self) -> bool:
        return self.percentile_ms(GOAL_PERCENT) <= GOAL_MS

    def as_json(self) -> dict[str, object]:
        p99_ms = self.percentile_ms(GOAL_PERCENT)
        return {
            "condition": self.condition,
            "circumstances": self.circumstances,
            "rounds": len(self.reactions_ms),
            "p50_ms": self.percentile_ms(50.0),
            "p99_ms": p99_ms,
            "max_ms": max(self.reactions_ms),
            "p99_to_goal": p99_ms / GOAL_MS,
            "is_goal_met": self.is_goal_met,
            "reactions_ms": self.reactions_ms,
        }


def idle(rounds: int, tick_s: float) -> Distribution:
    """With nothing else of ours going on.

    Raises:
        NotMeasuredError: control did not do what it is there for.
    """
    with tempfile.TemporaryDirectory() as directory, closing(Box(Path(directory), tick_s)) as box:
        return Distribution("idle", "nothing else of this benchmark", _measure(box, "idle", rounds, is_stalled=False))


def loaded(rounds: int, tick_s: float) -> Distribution:
    """With the uplink flooding, the disk stalled and the machine busy.

    Raises:
        NotMeasuredError: control did not do what it is there for, or the load was none.
    """
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(Box(Path(directory), tick_s)) as box,
        load(box.state) as in_words,
    ):
        reactions_ms = _measure(box, "loaded", rounds, is_stalled=True)
        if STALLED not in box.words:
            raise NotMeasuredError("the disk was not stalled: control has not called os.fsync")
        return Distribution("loaded", f"{in_words()}; os.fsync takes {STALL_S:g} s", reactions_ms)


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


# What is printed


def table(distributions: Sequence[Distribution]) -> str:
    lines = ["condition  rounds   p50 ms   p99 ms   max ms   goal ms   p99/goal   sensor's limit ms"]
    for each in distributions:
        p99_ms = each.percentile_ms(GOAL_PERCENT)
        lines.append(
            f"{each.condition:<9}  {len(each.reactions_ms):>6}  {each.percentile_ms(50.0):>7.2f}  {p99_ms:>7.2f}  "
            f"{max(each.reactions_ms):>7.2f}  {GOAL_MS:>8.0f}  {p99_ms / GOAL_MS:>9.2f}  {CONVERSION_MS:>18.0f}"
        )
    return "\n".join(lines)


def histogram(reactions_ms: Sequence[float]) -> str:
    """A line for each bin, from the first to the last one that has something; a bar's length is the count."""
    bins = []
    low_ms = 0.0
    for high_ms in EDGES_MS:
        bins.append((low_ms, high_ms, sum(low_ms < each <= high_ms for each in reactions_ms)))
        low_ms = high_ms
    filled = [index for index, (_, _, count) in enumerate(bins) if count]
    most = max(count for _, _, count in bins)
    return "\n".join(
        f"  {low_ms:>6g} to {high_ms:>4g} ms  {count:>4}  {'#' * math.ceil(count / most * BAR_WIDTH)}".rstrip()
        for low_ms, high_ms, count in bins[filled[0] : filled[-1] + 1]
    )


def verdict(distributions: Sequence[Distribution]) -> str:
    goal = f"p99 of every condition at most {GOAL_MS:g} ms"
    return f"goal met: {goal}" if all(each.is_goal_met for each in distributions) else f"goal MISSED: {goal}"


def report(distributions: Sequence[Distribution], tick_s: float, surroundings: str) -> str:
    parts = [
        "From the second hot sample to both pins low",
        f"{surroundings}; a tick every {tick_s * 1000:g} ms",
        "",
        table(distributions),
    ]
    for each in distributions:
        parts += ["", f"{each.condition}: {each.circumstances}", histogram(each.reactions_ms)]
    return "\n".join([*parts, "", verdict(distributions)])


def _surroundings() -> str:
    """What else this machine does: `idle` is as idle as that."""
    return f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before it began"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reaction", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=DEFAULT_ROUNDS, help="in `loaded`; at most 40 in `idle`")
    parser.add_argument("--tick-s", type=float, default=DEFAULT_TICK_S, help="the time between two ticks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same numbers to FILE")
    args = parser.parse_args(arguments)
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")

    surroundings = _surroundings()
    try:
        distributions = [idle(min(args.rounds, MOST_IDLE_ROUNDS), args.tick_s), loaded(args.rounds, args.tick_s)]
    except NotMeasuredError as e:
        print(f"not measured: {e}", file=sys.stderr)
        return 1
    print(report(distributions, args.tick_s, surroundings))
    if args.json is not None:
        content = {
            "goal_ms": GOAL_MS,
            "goal_percent": GOAL_PERCENT,
            "is_goal_met": all(each.is_goal_met for each in distributions),
            "sensor_limit_ms": CONVERSION_MS,
            "tick_ms": args.tick_s * 1000,
            "surroundings": surroundings,
            "conditions": [each.as_json() for each in distributions],
        }
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
