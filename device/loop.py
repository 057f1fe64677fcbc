"""One decision after the other: read, decide, switch, record. Control and replay run the same loop."""

from dataclasses import dataclass
from typing import Protocol

from contract.positions import Position
from device.battery_monitor import TimedPage
from device.decide import Decision, Limits, decide, initial_state
from device.readings import Readings


@dataclass(frozen=True)
class Seen:
    """What the sensors say at one moment. `pages` are for telemetry; only `readings` decide."""

    readings: Readings
    pages: list[TimedPage]


class Sensors(Protocol):
    """Where readings come from. It never waits."""

    def seen(self, now_s: float) -> Seen: ...


class Switch(Protocol):
    """What moves the relays."""

    def write(self, position: Position) -> None: ...


class Recorder(Protocol):
    """What is told of every decision, after it has been carried out. It never waits."""

    def record(self, decision: Decision, seen: Seen, /) -> None: ...


class Loop:
    """Holds the state between decisions."""

    def __init__(self, sensors: Sensors, switch: Switch, recorder: Recorder, limits: Limits, now_s: float) -> None:
        self._sensors = sensors
        self._switch = switch
        self._recorder = recorder
        self._limits = limits
        self._state = initial_state(now_s)

    def tick(self, now_s: float) -> Decision:
        """Make and carry out one decision. The relays are written every time, which also undoes a disturbance.

        Raises:
            RelayError: the relays are not where they should be. The decision is not recorded as done.
        """
        seen = self._sensors.seen(now_s)
        decision = decide(seen.readings, self._state, self._limits, now_s)
        # Kept before the write: relays that fail must not make the next decision forget how hot the box was.
        self._state = decision.state
        self._switch.write(decision.position)
        self._recorder.record(decision, seen)
        return decision
