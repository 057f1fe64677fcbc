"""The time of points whose device did not know what time it was: pure.

A Pi has no clock of its own. Until it is told the time, it goes on from when it was last shut down, or from 1970. A
sample of then says `clock_synchronised` false. It is taken at its word where that can be true; where it cannot, the
time of its arrival at AWS stands in: of each boot, the newest such sample is put there, the others at their distance
before it. The flag stays with the point, so that a reader knows.

A message that a device sends twice, because it did not hear that the first one arrived, arrives twice: its points
that are timed here are then stored twice, some seconds apart. All others are stored once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cloud.telemetry.points import Point

# Nothing is sent before it has happened; a synchronised clock and AWS's differ by less.
_TOLERANCE_MS = 60_000
# An outbox holds about a year; what is older was not measured then, but by a clock that began in 1970.
_OLDEST_MS = 400 * 24 * 3600 * 1000


def timed_by_arrival(points: Sequence[Point], received_ms: int) -> list[Point]:
    """The points of one message that arrived at `received_ms`, each with a time that can be true."""
    boots = {
        point.version: str(point.values["boot_id"])
        for point in points
        if point.values.get("clock_synchronised") is False and not _can_be(point.time_ms, received_ms)
    }
    if not boots:
        return list(points)
    newest_ms: dict[str, int] = {}
    for point in points:
        if point.version in boots:
            boot = boots[point.version]
            newest_ms[boot] = max(newest_ms.get(boot, 0), point.time_ms)
    return [_shifted(point, boots, newest_ms, received_ms) for point in points]


def _can_be(time_ms: int, received_ms: int) -> bool:
    return received_ms - _OLDEST_MS <= time_ms <= received_ms + _TOLERANCE_MS


def _shifted(point: Point, boots: Mapping[int, str], newest_ms: Mapping[str, int], received_ms: int) -> Point:
    """A sample's decision and its devices have one version, and no other sample of the device has it."""
    if point.version not in boots:
        return point
    return replace(point, time_ms=received_ms - (newest_ms[boots[point.version]] - point.time_ms))
