"""What the owner asks for, for a while: load on grid, or on battery. Pure.

How long it lasts is counted by the monotonic clock, so that no step of the time of day prolongs, ends or repeats it.
The owner's `until` is a time of day, and means something only while the clock is synchronised: until then the override
is bounded by MAX_DURATION_S alone, and from the first synchronised moment by both.
"""

from dataclasses import dataclass, replace

from contract.positions import Position
from contract.shadow import LONGEST_OVERRIDE_S

MAX_DURATION_S = float(LONGEST_OVERRIDE_S)
LEFT_ON_AFTER_S = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Override:
    """One wish. `ends_at_s` and `since_s` are monotonic; `until_ms` is the owner's time of day, epoch, UTC."""

    position: Position
    until_ms: int
    since_s: float
    ends_at_s: float
    is_timed: bool = False

    def is_active(self, now_s: float) -> bool:
        """Whether it still holds. Once over it stays over: monotonic time does not go back."""
        return now_s < self.ends_at_s


def received(position: Position, until_ms: int, now_s: float, time_ms: int, synchronised: bool) -> Override:
    """The override that begins now. One whose time is over already is never active."""
    override = Override(position, until_ms, since_s=now_s, ends_at_s=now_s + MAX_DURATION_S)
    return timed(override, now_s, time_ms, synchronised)


def timed(override: Override, now_s: float, time_ms: int, synchronised: bool) -> Override:
    """`override` with its end known from the first synchronised moment on; what the clock does later is ignored."""
    if override.is_timed or not synchronised:
        return override
    until_s = now_s + (override.until_ms - time_ms) / 1000
    return replace(override, ends_at_s=min(override.ends_at_s, until_s), is_timed=True)
