"""What a day, a decision and a page cost, as counts: they say the same on every machine, however busy it is.

A change that makes one of them larger is noticed here, and either mended or written down. The bounds of calls and bytes
are some tenth above what Python 3.11 counts; a day's numbers are what the simulated shed of the cost sheet comes to.
"""

import gc
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import cast

import pytest

from device import settings
from device.control import JournalRecorder
from device.decide import Decision
from device.journal import Entry, Journal
from device.loop import Loop
from device.mailbox import Mailbox
from device.mate import PageReader
from device.observe import initial_state
from device.storage import Storage
from infra.costs.calls import heartbeat_run
from infra.costs.month import DeviceMonth, count_days
from infra.costs.shed import BOOT_ID, CYCLE_DAYS, DAY_S, Shed, VirtualClock
from tests.device.mate_line import fndc, fx, mx

SETTINGS = settings.parse("")
TICK_S = 10.0
DEVICE = str(Path(settings.__file__).parent)


class Disk:
    """Takes the place of storage and of the mailbox, and counts what they are given."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self._state = ""

    def put(self, entry: Entry) -> None:
        self.counted["batches"] += 1
        self.counted["changes"] += entry.sample is not None and not entry.is_routine

    def keep(self, state_text: str) -> None:
        self.counted["states written"] += state_text != self._state
        self._state = state_text

    def report(self, text: str) -> None:
        self.counted["reports"] += 1


class Control:
    """The real loop, journal and recorder of control, on a virtual clock."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.clock = VirtualClock(0.0)
        limits = SETTINGS.limits()
        shed = Shed(limits.band_v)
        journal = Journal(self.clock, BOOT_ID, limits, sample_interval_s=60.0, heartbeat_interval_s=300.0)
        recorder = JournalRecorder(
            journal, cast("Storage", self.disk), cast("Mailbox", self.disk), self.clock, BOOT_ID, ()
        )
        self._loop = Loop(shed, shed, recorder, limits, initial_state(0.0))

    def tick(self) -> Decision:
        decision = self._loop.tick(self.clock.now_s)
        self.clock.now_s += TICK_S
        return decision

    def run(self, seconds: float) -> "Control":
        until_s = self.clock.now_s + seconds
        while self.clock.now_s < until_s:
            self.tick()
        return self


def calls(work: Callable[[], object]) -> int:
    """How many functions the device's code is and calls meanwhile; the simulated shed's own are not counted."""
    count = 0

    def count_call(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call") and frame.f_code.co_filename.startswith(DEVICE)

    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.fixture(scope="module")
def days() -> DeviceMonth:
    """The three days after which the weather repeats: two transfers, and a connection lost each day."""
    return count_days(SETTINGS, CYCLE_DAYS)


# Three days on the wire


def test_the_messages_of_three_days(days: DeviceMonth) -> None:
    assert {
        "samples": days.samples,
        "of changes": days.samples_changed,
        "telemetry": days.telemetry.count,
        "heartbeats": days.heartbeats.count,
        "alerts": days.alerts.count,
        "shadow updates": days.shadow_updates.count,
        "shadow gets": days.shadow_gets.count,
        "metered by IoT Core": days.messages,
    } == {
        "samples": 4321,
        "of changes": 7,
        "telemetry": 871,
        "heartbeats": 864,
        "alerts": 2,
        "shadow updates": 4320,
        "shadow gets": 3,
        "metered by IoT Core": 14718,
    }


def test_the_bytes_of_three_days(days: DeviceMonth) -> None:
    assert days.telemetry.bytes / days.samples <= 650
    assert days.heartbeats.bytes / days.heartbeats.count <= 300
    assert days.shadow_updates.bytes / days.shadow_updates.count <= 850


def test_the_writes_of_three_days_to_the_store(days: DeviceMonth) -> None:
    assert days.points == 5 * days.samples
    assert days.points_bytes / days.points <= 350
    assert days.write_pieces <= 1.85 * days.samples


def test_the_calls_of_the_heartbeat_function_grow_with_the_devices_and_no_faster() -> None:
    few, many = heartbeat_run(10_000), heartbeat_run(100_000)

    assert few["GetObject"] == 10_001
    assert all(many[name] <= 10 * count for name, count in few.items())


# Three days on the card


def test_the_writes_of_three_days_to_the_card() -> None:
    control = Control().run(3600.0)
    control.disk.counted.clear()

    counted = control.run(CYCLE_DAYS * DAY_S).disk.counted

    # A batch waits for others or for five minutes before it is written; reports go to the runtime directory, in memory.
    assert counted == {"batches": 4991, "changes": 7, "states written": 2, "reports": 25920}


# A decision, and a page


def test_the_calls_of_a_decision() -> None:
    control = Control().run(3600.0)

    counted = sorted(calls(control.tick) for _ in range(60))

    # Of those that nothing follows from; and of the one a minute with a sample.
    assert counted[30] <= 195
    assert counted[-1] <= 350


def test_a_decision_leaves_nothing_behind_and_takes_little_meanwhile() -> None:
    control = Control().run(3600.0)
    gc.collect()
    before = sys.getallocatedblocks()
    control.run(1000 * TICK_S)
    gc.collect()
    left = sys.getallocatedblocks() - before

    tracemalloc.start()
    try:
        control.run(60.0)
        began, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        control.run(600.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # One object more or less in a cache; a leak would be a thousand.
    assert left < 100
    assert peak - began <= 50_000


@pytest.mark.parametrize("page", [fx(52.4), mx(52.4), fndc(52.4)], ids=["fx", "mx", "fndc"])
def test_the_calls_of_a_page(page: bytes) -> None:
    reader = PageReader()

    assert calls(lambda: reader.feed(page)) <= 34
