"""Section P of the fault catalogue, as far as it is about what is kept: the state file and the outboxes."""

import base64
import csv
import errno
import gzip
import itertools
import json
import logging
import os
import queue
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from contract.messages import decode_telemetry
from contract.positions import Position, Reason
from device import outbox as outbox_module
from device import state_file, storage
from device.decide import Decision
from device.journal import Entry
from device.loop import Loop, Seen
from device.observe import RelayFault, State, initial_state
from device.outbox import DAMAGED_NAME, FILE_NAME, Message, Outbox, OutboxError, Stream
from device.readings import Reading, Readings
from device.settings import parse
from device.storage import Storage
from device.uplink.delivery import Delivery
from device.uplink.link import Completion
from device.uplink.pace import Pace
from tests.faults.invariants import check_invariants
from tests.faults.rig import Rig

BOOT = "6e0f9e4c-6f39-4d9b-b4f3-60e3e3a9d6a1"
TRACE = Path(__file__).parent.parent / "data/trace_48v_2016-01.csv.gz"


def until(is_so: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "did not come to pass"
        time.sleep(0.01)


def state_text(since_s: float, boot: str = BOOT, **changes: Any) -> str:  # noqa: ANN401 - fields of State
    return state_file.text_of(initial_state(since_s)._replace(**changes), Reason.HOLD, boot, ())


# P1. A pin cannot be read without claiming it, and claiming it as an input would open the relay. So a restart does not
# ask the pins where they are: it takes the state file's word and decides again. What the file does not know yet (it was
# killed before writing) is recomputed from the readings; dwell is as the file says, and without a file it begins anew.


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def run_until_moved(rig: Rig, to: Position) -> str | None:
    """Tick until the relays move; what the file said at the tick before."""
    before = rig.kept
    while rig.tick().position is not to:
        before = rig.kept
    return before


@pytest.mark.parametrize("is_persisted", [True, False])
@pytest.mark.parametrize(
    ("voltage_v", "temperature_c", "position", "reason"),
    [
        (49.0, 20.0, Position.GRID, Reason.BATTERY_LOW),
        (53.0, 20.0, Position.BATTERY, Reason.BATTERY_RECOVERED),
        (49.0, 40.0, Position.BATTERY, Reason.OVER_TEMPERATURE),
    ],
)
def test_P1_killed_between_the_relays_and_the_state_file_the_outcome_is_the_same_as_if_it_had_been_written(
    voltage_v: float, temperature_c: float, position: Position, reason: Reason, is_persisted: bool, rig: Rig
) -> None:
    rig.voltage_v = 49.0 if position is Position.GRID else 51.0
    rig.run(400)
    if position is Position.BATTERY:
        rig.voltage_v = 49.0
        run_until_moved(rig, Position.GRID)
        rig.run(1800)
    rig.voltage_v, rig.temperature_c = voltage_v, temperature_c
    before = rig.kept if rig.tick().position is position else run_until_moved(rig, position)

    if not is_persisted:
        rig.kept = before
    rig.kill_and_restart()
    decision = rig.run(400)

    assert (decision.position, decision.reason) == (position, reason)
    check_invariants(rig.history, rig.limits)


def test_P1_dwell_goes_on_as_the_file_says_and_begins_anew_without_one(rig: Rig) -> None:
    rig.run(299)
    rig.voltage_v = 49.0
    rig.kill_and_restart()
    with_file = rig.run(62)

    rig.kept = None
    rig.voltage_v = 51.0
    rig.kill_and_restart()
    rig.voltage_v = 49.0
    without = rig.run(299)
    then = rig.run(2)

    assert with_file.position is Position.GRID
    assert without.position is Position.BATTERY
    assert then.position is Position.GRID


# P2


CRASH = """
import json, os, signal, sys
from pathlib import Path
from device import state_file

directory, texts = Path(sys.argv[1]), json.loads(sys.argv[2])

def write_all_but_die_at(point):
    passed = -1

    def pass_point():
        nonlocal passed
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            pass_point()
            if name == "write" and len(args[1]) > 1:
                half = len(args[1]) // 2
                real(args[0], args[1][:half])
                pass_point()
                return half
            result = real(*args, **kwargs)
            pass_point()
            return result

        setattr(os, name, call)

    for name in ("mkdir", "open", "write", "fsync", "close", "replace", "unlink"):
        dying(name)
    for text in texts[1:]:
        state_file.write(directory, text)
    os._exit(0)

outcomes = []
for point in range(10_000):
    state_file.write(directory, texts[0])
    child = os.fork()
    if child == 0:
        write_all_but_die_at(point)
    _, status = os.waitpid(child, 0)
    on_disk = (directory / "state.json").read_text()
    assert state_file.read(directory) == on_disk
    outcomes.append(texts.index(on_disk))
    state_file.write(directory, texts[0])
    assert os.listdir(directory) == ["state.json"]
    if not os.WIFSIGNALED(status):
        break
print(json.dumps(outcomes))
"""


def test_P2_killed_at_each_step_of_a_write_the_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    texts = [state_text(float(number), transfers_at_s=tuple(map(float, range(number * 30)))) for number in range(4)]

    done = subprocess.run(
        [sys.executable, "-c", CRASH, tmp_path, json.dumps(texts)], capture_output=True, text=True, timeout=100
    )

    assert done.stderr == ""
    outcomes = json.loads(done.stdout)
    assert len(outcomes) > 60
    # The later it is killed, the newer what is there; never anything else.
    assert outcomes[0] == 0
    assert all(later - earlier in (0, 1) for earlier, later in itertools.pairwise(outcomes))
    assert outcomes[-1] == 3


def test_P2_the_outbox_survives_a_kill_at_any_moment_with_whole_messages(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from device.outbox import Outbox, Stream

outbox = Outbox(Path(sys.argv[1]), is_appender=True)
print("ready", flush=True)
number = 0
while True:
    number += 1
    outbox.append([(Stream.TELEMETRY, f"sample {number}"), (Stream.ALERT, f"alert {number}")], f"beat {number}")
"""
    for turn in range(5):
        process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.03 * (turn + 1))
        process.kill()
        process.communicate()

        outbox = Outbox(tmp_path, is_appender=True)
        assert outbox.appended(Stream.TELEMETRY) == outbox.appended(Stream.ALERT)
        assert outbox.waiting(Stream.TELEMETRY) == outbox.appended(Stream.TELEMETRY)
        outbox.close()
    assert not (tmp_path / DAMAGED_NAME).exists()


# P3. Quarantine of each kind of garbage, character for character, is in tests/device/test_state_file.py.


def empty(path: Path) -> None:
    path.write_text("")


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(500))


def half(path: Path) -> None:
    path.write_text(state_text(1.0)[:100])


def older(path: Path) -> None:
    path.write_text(state_text(1.0).replace('"version":3', '"version":1'))


def newer(path: Path) -> None:
    path.write_text(state_text(1.0).replace('"version":3', '"version":4'))


def directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("spoil", [empty, garbage, half, older, newer, directory])
def test_P3_a_state_file_that_cannot_be_used_is_put_aside_and_control_starts_afresh_with_one_warning(
    spoil: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(tmp_path / state_file.FILE_NAME)

    before = state_file.resumed(state_file.read(tmp_path), BOOT, 50.0)
    state_file.write(tmp_path, state_text(60.0))

    assert before == state_file.Resumed(initial_state(50.0), ())
    assert before.state.position is Position.BATTERY
    assert (tmp_path / state_file.REFUSED_NAME).exists()
    assert state_file.read(tmp_path) == state_text(60.0)
    assert len(caplog.records) == 1


def test_P3_a_state_file_of_another_user_is_put_aside_like_garbage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # To whoever runs the tests as root every file is readable: the refusal is told instead of provoked.
    def refuse(_path: Path, _mode: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    state_file.write(tmp_path, state_text(1.0))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        assert state_file.read(tmp_path) is None
    state_file.write(tmp_path, state_text(60.0))

    assert (tmp_path / state_file.REFUSED_NAME).read_text() == state_text(1.0)
    assert state_file.read(tmp_path) == state_text(60.0)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / state_file.FILE_NAME} is not used: Permission denied; moved to state.json.refused; "
        "control starts afresh"
    ]


def test_P3_a_newer_outbox_is_refused_and_not_moved_because_it_is_not_damaged(tmp_path: Path) -> None:
    Outbox(tmp_path).close()
    newer_one = sqlite3.connect(tmp_path / FILE_NAME)
    newer_one.execute("PRAGMA user_version = 3")
    newer_one.close()

    with pytest.raises(OutboxError, match="has version 3, this software knows 2"):
        Outbox(tmp_path, is_appender=True)

    assert not (tmp_path / DAMAGED_NAME).exists()


def test_P3_a_welded_relay_is_remembered_over_a_reboot(tmp_path: Path) -> None:
    state_file.write(tmp_path, state_text(1.0, fault=RelayFault.STUCK_CLOSED))

    before = state_file.resumed(state_file.read(tmp_path), "another boot", 5.0)

    assert before.state.fault is RelayFault.STUCK_CLOSED


# P4 and P5: the disk does not take data. The alert has the name that the design gives to both: storage_failing. Samples
# are dropped only when more than a day of them waits; tests/device/test_storage.py counts that, so here none is.


@dataclass
class Disk:
    """What is wrong with the state directory's disk; None = nothing. SQLite's own errors are provoked, not made up."""

    state: Path
    trouble: int | None = None

    def spoil(self, database: sqlite3.Connection) -> None:
        if self.trouble == errno.ENOSPC:
            database.execute("PRAGMA max_page_count = 1")
        if self.trouble == errno.EROFS:
            database.execute("PRAGMA query_only = ON")

    @property
    def error(self) -> OSError:
        assert self.trouble is not None
        return OSError(self.trouble, os.strerror(self.trouble))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(storage, "RETRY_S", 0.1)
    disk = Disk(tmp_path / "state")
    write, append = os.write, Outbox._append

    def limited_write(descriptor: int, content: bytes) -> int:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if disk.trouble is not None and path.is_relative_to(disk.state):
            raise disk.error
        return write(descriptor, content)

    def limited_append(outbox: Outbox, rows: list[Message], heartbeat: str | None) -> None:
        if outbox._path.parent == disk.state:
            disk.spoil(outbox._db)
        append(outbox, rows, heartbeat)

    monkeypatch.setattr(os, "write", limited_write)
    monkeypatch.setattr(Outbox, "_append", limited_append)
    return disk


@pytest.fixture
def storages() -> Iterator[Callable[..., Storage]]:
    """Makes storages that are closed whatever happens."""
    with ExitStack() as stack:

        def make(state: Path, runtime: Path) -> Storage:
            made = Storage(state, runtime)
            stack.callback(made.close)
            return made

        yield make


class Line:
    """A link that acknowledges at once."""

    connected = True

    def __init__(self) -> None:
        self.completions: queue.Queue[Completion] = queue.Queue()
        self.published: list[tuple[str, str]] = []

    def publish(self, topic: str, payload: str, token: object) -> None:
        self.published.append((topic.rpartition("/")[2], payload))
        self.completions.put(Completion(token, None))


def deliver(delivery: Delivery, line: Line) -> list[tuple[str, str]]:
    """What one round of uplink publishes, everything acknowledged."""
    before = len(line.published)
    delivery.send(time.monotonic())
    while not line.completions.empty():
        delivery.settle(line.completions.get(), time.monotonic())
    return line.published[before:]


def sample(number: int, size: int = 3000) -> str:
    # What a random text says cannot be packed.
    padding = base64.b64encode(random.Random(number).randbytes(size)).decode()
    return f'{{"n":{number},"pad":"{padding}"}}'


def delivery_of(line: Line, *directories: Path) -> Delivery:
    return Delivery("shed", directories, line, Pace())


def numbers_of(payload: str) -> list[int]:
    message = json.loads(payload)
    return [each["n"] for each in decode_telemetry(message)] if "samples" in message else []


@pytest.mark.parametrize("trouble", [errno.ENOSPC, errno.EROFS])
def test_P4_P5_a_card_that_takes_nothing_is_told_over_the_network_and_recovers_by_itself(
    trouble: int, disk: Disk, storages: Callable[..., Storage], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer, line = storages(tmp_path / "state", tmp_path / "run"), Line()
    delivery = delivery_of(line, tmp_path / "state", tmp_path / "run")
    writer.keep(state_text(1.0))
    writer.put(Entry(sample(1), '{"beat":1}', ('{"alert":"before"}',)))
    until(lambda: len(deliver(delivery, line)) > 0)
    until(lambda: not deliver(delivery, line))
    until(lambda: state_file.read(tmp_path / "state") == state_text(1.0))

    disk.trouble = trouble
    writer.keep(state_text(2.0))
    # Larger than what the first one has left free in the file.
    writer.put(Entry(sample(2, 30_000), '{"beat":2}', ()))
    until(lambda: writer.is_failing)
    writer.put(Entry(sample(3), None, ('{"alert":"storage_failing"}',)))
    writer.put(Entry(sample(4), '{"beat":4}', ()))
    told: list[tuple[str, str]] = []

    def is_told() -> bool:
        told.extend(deliver(delivery, line))
        return ("alert", '{"sequence":1,"alert":"storage_failing"}') in told and ("heartbeat", '{"beat":4}') in told

    until(is_told)
    assert state_file.read(tmp_path / "state") == state_text(1.0)
    assert [channel for channel, _ in told].count("telemetry") == 0

    disk.trouble = None
    until(lambda: not writer.is_failing)
    until(lambda: any(channel == "telemetry" for channel, _ in deliver(delivery, line)))

    sent = [payload for channel, payload in line.published if channel == "telemetry"]
    numbers = [number for payload in sent for number in numbers_of(payload)]
    assert numbers == [1, 2, 3, 4]
    assert writer.dropped == 0
    until(lambda: state_file.read(tmp_path / "state") == state_text(2.0))
    until(lambda: [r.levelname for r in caplog.records if r.name == "device.storage"] == ["WARNING", "INFO"])
    delivery.close()


LIMITED = """
import json, resource, signal, sys, time
from pathlib import Path
from device import storage, state_file
from device.journal import Entry
from device.outbox import Outbox, Stream

storage.RETRY_S = 0.1
directory = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def until(is_so):
    give_up_at_s = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < give_up_at_s
        time.sleep(0.01)

def on_disk(where):
    outbox = Outbox(directory / where)
    rows = [len(outbox.oldest(stream, 100)) for stream in Stream]
    outbox.close()
    return rows

writer = storage.Storage(directory / "state", directory / "run")
limit(0)
writer.keep(sys.argv[2])
slowest_s = 0.0
for number in range(20):
    before_s = time.monotonic()
    writer.put(Entry('{"n":%d}' % number, '{"beat":%d}' % number, ('{"alert":%d}' % number,)))
    slowest_s = max(slowest_s, time.monotonic() - before_s)
    time.sleep(0.02)
until(lambda: writer.is_failing)
limit(resource.RLIM_INFINITY)
until(lambda: not writer.is_failing)
until(lambda: on_disk("state")[0] == 20)
writer.close()
alerts = on_disk("state")[1] + (on_disk("run")[1] if (directory / "run").exists() else 0)
print(json.dumps([on_disk("state")[0], alerts, writer.dropped, slowest_s, state_file.read(directory / "state")]))
"""


def test_P4_where_no_file_can_grow_at_all_nothing_is_lost_and_nobody_waits(tmp_path: Path) -> None:
    # The kernel refuses every write of the process (RLIMIT_FSIZE), the runtime directory's too.
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path, state_text(1.0)], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    samples, alerts, dropped, slowest_s, state = json.loads(done.stdout)
    assert (samples, alerts, dropped, state) == (20, 20, 0, state_text(1.0))
    assert slowest_s < 0.5


FULL_LOG = """
import logging, sys
from pathlib import Path
from contract.positions import Position
from device.loop import Loop, Seen
from device.observe import initial_state
from device.readings import Reading, Readings
from device.relays import RelayError
from device.settings import parse
from device.storage import Storage

logging.basicConfig(level=logging.INFO, stream=sys.stderr)

class Ends:
    def seen(self, now_s):
        return Seen(Readings(Reading(49.0, now_s, "mx2"), Reading(20.0, now_s, "28-1")))
    def write(self, position):
        self.written = position
        logging.info("told %s", position)
        if position is Position.GRID:
            raise RelayError("does not obey")
    def record(self, decision, seen):
        raise OSError("not recorded")

directory = Path(sys.argv[1])
directory.write_text("not a directory")
writer = Storage(directory, directory)
writer.keep("{}")
ends = Ends()
loop = Loop(ends, ends, ends, parse("").limits(), initial_state(0.0))
decisions = [loop.tick(float(second)).reason for second in range(1000)]
writer.close()
print(len(decisions), decisions[-1], ends.written, writer.is_failing)
"""


def test_P4_a_log_that_takes_nothing_stops_no_decision(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", FULL_LOG, tmp_path / "state"], stdout=subprocess.PIPE, stderr=full, timeout=60
        )

    assert done.stdout.split() == [b"1000", b"relay_fault", b"battery", b"True"]


# P6


def test_P6_a_damaged_outbox_is_moved_aside_and_uplink_goes_on_with_the_new_one(
    storages: Callable[..., Storage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(outbox_module, "_CHECK_EVERY_S", 0.0)
    line = Line()
    line.connected = False
    delivery = delivery_of(line, tmp_path)
    writer = storages(tmp_path, tmp_path / "run")
    for number in range(50):
        writer.put(Entry(sample(number), None, ()))
    until(lambda: (tmp_path / FILE_NAME).exists())

    def all_are_there() -> bool:
        delivery.send(time.monotonic())
        return delivery.waiting() == 50

    until(all_are_there)
    checkpoint = sqlite3.connect(tmp_path / FILE_NAME)
    checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpoint.close()
    with (tmp_path / FILE_NAME).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096 * 10)

    writer.put(Entry(sample(99), None, ('{"alert":"after"}',)))
    until(lambda: (tmp_path / DAMAGED_NAME).exists())
    line.connected = True
    until(lambda: len(deliver(delivery, line)) == 2)
    writer.put(Entry(sample(100), None, ()))
    until(lambda: len(deliver(delivery, line)) == 1)

    numbers = [number for _, text in line.published for number in numbers_of(text)]
    assert numbers == [99, 100]
    (record,) = [record for record in caplog.records if record.name == "device.outbox"]
    assert "moved to outbox.sqlite.damaged with an unknown number of messages that were not delivered" in record.message
    assert not writer.is_failing
    delivery.close()


def test_P6_a_locked_outbox_delays_nobody_and_is_written_when_it_is_free(
    storages: Callable[..., Storage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_BUSY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(storage, "RETRY_S", 0.1)
    Outbox(tmp_path / "state").close()
    other = sqlite3.connect(tmp_path / "state" / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = storages(tmp_path / "state", tmp_path / "run")

    writer.put(Entry(sample(1), None, ('{"alert":"now"}',)))
    until(lambda: writer.is_failing)
    until(lambda: (tmp_path / "run" / FILE_NAME).exists())
    other.execute("COMMIT")
    other.close()
    until(lambda: not writer.is_failing)
    writer.close()

    state, runtime = Outbox(tmp_path / "state"), Outbox(tmp_path / "run")
    assert [row.payload for row in state.oldest(Stream.TELEMETRY, 9)] == [sample(1)]
    assert [row.payload for row in runtime.oldest(Stream.ALERT, 9)] == ['{"alert":"now"}']
    assert not (tmp_path / "state" / DAMAGED_NAME).exists()
    state.close()
    runtime.close()


# P14


MOST_STATE_BYTES_A_DAY = 100_000
MOST_STATE_WRITES_A_DAY = 48
MOST_STATE_WRITES_AN_HOUR = 6
DAY_S = 86_400


class Wear:
    """The loop's three ends: recorded volts as an MX says them (tenths), no relays, a state file that is counted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.voltage_v: float | None = None
        self.kept = ""
        self.bytes: Counter[int] = Counter()
        self.writes: Counter[int] = Counter()
        self.writes_an_hour: Counter[int] = Counter()

    def seen(self, now_s: float) -> Seen:
        voltage = None if self.voltage_v is None else Reading(round(self.voltage_v, 1), now_s, "mx2")
        return Seen(Readings(voltage, Reading(20.0, now_s, "28-1")))

    def write(self, position: Position) -> None:
        """A recording has no relays."""

    def record(self, decision: Decision, seen: Seen) -> None:
        text = state_file.text_of(decision.state, decision.reason, BOOT, (0.123456789,))
        if text != self.kept:
            # As `Storage` does: only changes. It may leave out some of them, and never writes more.
            state_file.write(self.directory, text)
            self.kept = text
            self.bytes[self.day] += len(text)
            self.writes[self.day] += 1
            self.writes_an_hour[self.hour] += 1

    def run(self, rows: list[tuple[float, float | None]], state: State, tick_s: float) -> dict[int, State]:
        """Tick through `rows`; the state at the beginning of each day."""
        beginnings: dict[int, State] = {}
        now_s = 0.0
        loop = Loop(self, self, self, parse("").limits(), state)
        for (at_s, voltage_v), (next_s, next_v) in itertools.pairwise(rows):
            now_s = max(now_s, at_s)
            while now_s < next_s:
                self.day, self.hour = int(now_s // DAY_S), int(now_s // 3600)
                self.voltage_v = voltage_v
                if voltage_v is not None and next_v is not None:
                    self.voltage_v = voltage_v + (next_v - voltage_v) * (now_s - at_s) / (next_s - at_s)
                # A Pi's monotonic seconds have more digits than a recording's.
                decision = loop.tick(now_s + 0.123456789)
                beginnings.setdefault(self.day, decision.state)
                now_s += tick_s
        return beginnings


def recorded() -> list[tuple[float, float | None]]:
    with gzip.open(TRACE, "rt", encoding="utf-8") as file:
        rows = [(datetime.fromisoformat(row["time_local"]), row["batt_v"]) for row in csv.DictReader(file)]
    start = rows[0][0]
    return [((time - start).total_seconds(), float(volts) if volts else None) for time, volts in rows]


def test_P14_on_the_worst_of_16_days_the_state_file_is_written_a_few_times(tmp_path: Path) -> None:
    """Measured: 5 writes and 1.7 KB on the worst day, 3 writes in the worst hour.

    The file system adds its own: each of these writes is two syncs and some blocks of the journal. What could make it
    worse is a battery that dithers about recover with pauses of just five minutes: 574 changes of reason, 0.2 MB.
    """
    rows = recorded()
    by_minutes = Wear(tmp_path / "minutes")
    beginnings = by_minutes.run(rows, initial_state(0.0), tick_s=60.0)
    worst = max(by_minutes.bytes, key=lambda day: by_minutes.bytes[day])

    day = [row for row in rows if worst * DAY_S <= row[0] <= (worst + 1) * DAY_S]
    by_seconds = Wear(tmp_path / "seconds")
    by_seconds.run(day, beginnings[worst], tick_s=1.0)

    for wear in (by_minutes, by_seconds):
        assert max(wear.bytes.values()) <= MOST_STATE_BYTES_A_DAY
        assert max(wear.writes.values()) <= MOST_STATE_WRITES_A_DAY
        assert max(wear.writes_an_hour.values()) <= MOST_STATE_WRITES_AN_HOUR
    # The recording does make it write: transfers are among what is kept.
    assert by_seconds.writes[worst] >= 2


OUTBOX_WEAR = """
import sys
from pathlib import Path
from device.outbox import Message, Outbox, Stream
from device.uplink.delivery import Delivery
from device.uplink.link import Completion
from device.uplink.pace import Pace
from tests.device.minutes import entries

class Line:
    connected = True
    def publish(self, topic, payload, token):
        delivery.settle(Completion(token, None), now_s)

def written():
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])

directory, batch_minutes = Path(sys.argv[1]), int(sys.argv[2])
day = list(entries(1440))
control = Outbox(directory, is_appender=True)
delivery = Delivery("shed", [directory], Line(), Pace())
before = written()
waiting = []
for minute, entry in enumerate(day):
    now_s = 60.0 * minute
    waiting.append(Message(Stream.TELEMETRY, entry.sample, is_routine=True))
    if len(waiting) == batch_minutes or entry.heartbeat is not None:
        control.append(waiting, entry.heartbeat)
        waiting = []
    delivery.send(now_s)
print(written() - before)
"""


def bytes_a_day(directory: Path, batch_minutes: int) -> int:
    directory.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", OUTBOX_WEAR, directory, str(batch_minutes)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return int(done.stdout)


def test_P14_five_minutes_in_one_write_cost_the_card_a_fraction_of_a_write_each_minute(tmp_path: Path) -> None:
    """Measured with realistic samples of 1.8 KB, each delivered as soon as it is written: 4.8 MB a day instead of 19.

    SQLite writes whole pages: the samples', the sequence's and the heartbeat's, and some again when the rows are
    deleted, first to its log and then to the file. The messages themselves are 0.3 MB, packed.
    """
    each_minute, together = bytes_a_day(tmp_path / "each", 1), bytes_a_day(tmp_path / "together", 5)

    assert 1_000_000 < together < 7_000_000
    assert together < each_minute / 2.5
