"""Decisions one after the other, as control makes them."""

from dataclasses import replace

from contract.positions import Position
from device.decide import Decision, decide
from device.limits import Limits
from device.observe import initial_state
from device.readings import Readings
from tests.device.limits import LIMITS


class Control:
    """Has been in `position` for a day, with all sensors heard until `now_s`."""

    def __init__(self, position: Position, now_s: float, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.state = replace(
            initial_state(now_s), position=position, position_since_s=now_s - 86400.0, readings_complete=True
        )

    def decide(self, readings: Readings, now_s: float) -> Decision:
        decision = decide(readings, None, self.state, self.limits, now_s)
        self.state = decision.state
        return decision
