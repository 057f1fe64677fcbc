"""What a time series store is to the handler, whichever engine it is.

StoreError   the store cannot take anything now, or not from us; the queue delivers again
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud.telemetry.points import Point
from contract.errors import SolarshedError


class StoreError(SolarshedError, RuntimeError):
    """Nothing of this call may be taken as stored; it may be tried again."""


@dataclass(frozen=True)
class Rejected:
    """A point that the store refused for good, and its reason."""

    point: Point
    reason: str


class Writer(Protocol):
    """A time series store that takes up to `max_points` in one call."""

    @property
    def max_points(self) -> int: ...

    def write(self, points: Sequence[Point]) -> list[Rejected]:
        """Write points of different keys; those that are not returned are stored. The same again changes nothing.

        Raises:
            StoreError, botocore.exceptions.ClientError, BotoCoreError: not now; try again.
        """
        ...
