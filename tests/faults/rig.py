"""The real loop, journal and relays on a virtual clock, with gpiozero's mock pins, for faults that take hours."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin

from contract.alerts import Alert
from contract.positions import Position
from device import state_file
from device.decide import Decision
from device.journal import Entry, Journal
from device.limits import Limits
from device.loop import Loop, Seen
from device.observe import State, initial_state
from device.override import Override
from device.readings import AcMode, AcReading, Reading, Readings
from device.relays import Relays
from tests.device.limits import LIMITS

PINS = (17, 27)
TICK_S = 1.0
BOOT_TIME_MS = 1_700_000_000_000

# Production's rules with times that a search gets through; every limit has a value of its own.
QUICK = replace(
    LIMITS,
    low_hold_s=3.0,
    recover_hold_s=5.0,
    least_time_on_grid_s=11.0,
    least_time_on_battery_s=7.0,
    least_cooling_time_s=4.0,
    boot_grace_s=6.0,
    thermometer_lost_after_s=8.0,
    monitor_lost_after_s=4.0,
    monitor_lost_after_per_volt_s=1.0,
    monitor_lost_after_cap_s=9.0,
    most_transfers=6,
    most_transfers_within_s=120.0,
    ac_settle_s=2.0,
    grid_absent_after_s=3.0,
    grid_rejected_after_s=5.0,
)


class VirtualClock:
    """A Pi's clocks, turned by hand. The time of day can be stepped; the monotonic one cannot."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.offset_ms = BOOT_TIME_MS
        self.is_synchronised = True

    def monotonic_s(self) -> float:
        return self.now_s

    def time_ms(self) -> int:
        return self.offset_ms + int(self.now_s * 1000)

    def synchronised(self) -> bool:
        return self.is_synchronised


@dataclass(frozen=True)
class Tick:
    """One turn of the loop as an outsider sees it."""

    now_s: float
    seen: Seen
    decision: Decision
    pins: tuple[bool, bool]
    entry: Entry
    start: int
    writes: tuple[Position, ...]
    was_disturbed: bool
    # What this life of the process took over, and whether the state file was up to date when the one before ended.
    inherited: frozenset[Alert]
    inherited_all: bool


class Rig:
    """What the sensors say is set by hand and stays so; None = no reading."""

    def __init__(self, limits: Limits = LIMITS, pin_class: type[MockPin] = MockPin) -> None:
        self.limits = limits
        self.clock = VirtualClock()
        self.voltage_v: float | None = 51.0
        self.temperature_c: float | None = 20.0
        self.ac: AcMode | None = None
        # Instead of fresh samples of the three above.
        self.readings: Readings | None = None
        self.override: Override | None = None
        self.alerts: frozenset[Alert] = frozenset()
        self.trouble: Callable[[], None] = lambda: None
        self.expects_disturbance = False
        self.history: list[Tick] = []
        self.kept: str | None = None
        self.boot = 0
        self.start = 0
        self._pin_class = pin_class
        self._seen = Seen(Readings())
        self._entry = Entry(None, None, ())
        self._writes: list[Position] = []
        self._left_pins = (False, False)
        self._newest_kept: str | None = None
        self._inherited: frozenset[Alert] = frozenset()
        self._inherited_all = True
        self._loop: Loop
        self._relays: Relays
        self._begin(initial_state(self.clock.now_s))

    # The three ends of the loop

    def seen(self, now_s: float) -> Seen:
        self.trouble()
        readings = self.readings or Readings(
            battery_voltage_v=_sample(self.voltage_v, now_s),
            box_temperature_c=_sample(self.temperature_c, now_s),
            ac=None if self.ac is None else AcReading(self.ac, now_s, "fx1"),
        )
        self._seen = Seen(
            readings,
            override=self.override,
            alerts=self.alerts,
        )
        return self._seen

    def write(self, position: Position) -> None:
        if not self._writes:
            self._was_disturbed = self.pins != self._left_pins and not self.expects_disturbance
        self._writes.append(position)
        self._relays.write(position)

    def record(self, decision: Decision, seen: Seen) -> None:
        self._seen = seen
        self._entry = self._journal.record(decision, seen)
        self.kept = state_file.text_of(decision.state, decision.reason, self._boot_id, (), self._journal.raised)
        self._newest_kept = self.kept

    # What a test does

    def tick(self) -> Decision:
        self._seen, self._entry, self._writes = Seen(Readings()), Entry(None, None, ()), []
        decision = self._loop.tick(self.clock.now_s)
        self._left_pins = self.pins
        self.history.append(
            Tick(
                self.clock.now_s,
                self._seen,
                decision,
                self.pins,
                self._entry,
                self.start,
                tuple(self._writes),
                self._was_disturbed,
                self._inherited,
                self._inherited_all,
            )
        )
        self.clock.now_s += TICK_S
        return decision

    def run(self, seconds: float) -> Decision:
        """Ticks for so long; the last one's decision."""
        for _ in range(max(1, round(seconds / TICK_S))):
            decision = self.tick()
        return decision

    @property
    def pins(self) -> tuple[bool, bool]:
        one, other = (self._factory.pin(number).state for number in PINS)
        return bool(one), bool(other)

    def use_pins(self, pin_class: type[MockPin]) -> None:
        """Begin again with pins of another kind."""
        self._pin_class = pin_class
        self._begin(initial_state(self.clock.now_s))

    def kill_and_restart(self) -> None:
        """SIGKILL, and systemd starts it again within the same boot."""
        self.clock.now_s += 2.0
        self._resume()

    def reboot(self) -> None:
        """Power lost and back: the monotonic clock starts anew, and the time of day goes on from what was saved."""
        self.boot += 1
        self.clock.offset_ms += int(self.clock.now_s * 1000)
        self.clock.now_s = 20.0
        self._resume()

    def close(self) -> None:
        self._relays.close()
        self._factory.reset()
        Device.pin_factory = None

    @property
    def _boot_id(self) -> str:
        return f"boot {self.boot}"

    def _resume(self) -> None:
        before = state_file.resumed(self.kept, self._boot_id, self.clock.now_s)
        self._inherited, self._inherited_all = frozenset(before.alerts), self.kept == self._newest_kept
        self._begin(before.state, before.alerts)

    def _begin(self, state: State, raised: Mapping[Alert, int | None] | None = None) -> None:
        self.start += 1
        self._factory = Device.pin_factory = MockFactory(pin_class=self._pin_class)
        self._relays = Relays(PINS, state.position)
        self._left_pins = self.pins
        self._writes = []
        self._was_disturbed = False
        self._journal = Journal(
            self.clock,
            self._boot_id,
            self.limits,
            sample_interval_s=60.0,
            heartbeat_interval_s=300.0,
            raised=raised,
        )
        self._loop = Loop(self, self, self, self.limits, state)


def _sample(value: float | None, now_s: float) -> Reading | None:
    return None if value is None else Reading(value, now_s, "rig")


def transfers(history: list[Tick]) -> list[tuple[Tick, Tick]]:
    """Pairs of ticks between which the relays were told to move, within one life of the process."""
    return [
        (before, after)
        for before, after in itertools.pairwise(history)
        if before.start == after.start and before.decision.position is not after.decision.position
    ]
