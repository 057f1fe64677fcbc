"""Decisions about readings that a test brings, by the real loop; the invariants are checked when the test is over."""

from typing import ClassVar

from contract.positions import Position
from device.decide import Decision
from device.limits import Limits
from device.observe import State, initial_state
from device.readings import Readings
from tests.device.limits import LIMITS
from tests.faults.rig import Rig


class Control(Rig):
    """Has been in `position` for a day, with all sensors heard until `now_s`."""

    made: ClassVar[list["Control"]] = []

    def __init__(self, position: Position, now_s: float, limits: Limits = LIMITS) -> None:
        super().__init__(limits)
        self.clock.now_s = now_s
        self._first = initial_state(now_s)._replace(
            position=position, position_since_s=now_s - 86400.0, readings_complete=True
        )
        self._begin(self._first)
        Control.made.append(self)

    @property
    def state(self) -> State:
        return self.history[-1].decision.state if self.history else self._first

    def decide(self, readings: Readings, now_s: float) -> Decision:
        self.readings, self.clock.now_s, self._loop._limits = readings, now_s, self.limits
        return self.tick()
