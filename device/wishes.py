"""What the owner has asked for, and what became of it: takes wishes up, ends them, and remembers those that are over.

Pure. A wish comes from the shadow as it stands there now, again and again; only one that is new begins an override. One
whose time is over is remembered, so that it is not taken up again however late the cloud repeats it.
"""

from dataclasses import dataclass, replace

from contract.positions import Position
from contract.shadow import Mode, OverrideState, Wish
from device.override import MAX_DURATION_S, Override, received, timed

MOST_REMEMBERED = 8

_BY_OWNER = "the owner ended it"
_TIME_IS_OVER = "its time is over"
_WAS_OVER = "it was over before it arrived"
_REBOOTED = "the Pi was booted anew before it knew what time it was"

_POSITIONS = {Mode.GRID: Position.GRID, Mode.BATTERY: Position.BATTERY}


@dataclass(frozen=True, slots=True)
class Wishes:
    """The newest wish that was taken up, its `state`, and the override that came of it.

    `active` is there while `state` is ACTIVE. `ends_at_ms` is its end by the time of day, epoch, UTC, once that is
    known. While the state is WAITING it is all that is known of the end. `over` are those not to be taken up again.
    """

    newest: Wish | None = None
    state: OverrideState | None = None
    because: str = ""
    active: Override | None = None
    ends_at_ms: int | None = None
    over: tuple[Wish, ...] = ()

    @property
    def mode(self) -> Mode:
        """The mode in force."""
        return Mode.AUTO if self.active is None else Mode(self.active.position)


NO_WISHES = Wishes()


def asked(wishes: Wishes, wish: Wish | None, now_s: float, time_ms: int, *, synchronised: bool) -> Wishes:
    """What follows from the wish that stands now; None = there is none. `now_s` is monotonic, `time_ms` epoch."""
    stands = wishes.state in (OverrideState.ACTIVE, OverrideState.WAITING)
    if wish is None:
        return _ended(wishes, _BY_OWNER) if stands else wishes
    if wish == wishes.newest and (stands or wish.mode is Mode.AUTO):
        return wishes
    if wish.until_s is None or wish.mode is Mode.AUTO:
        return _ended(replace(wishes, newest=wish), _BY_OWNER)
    if wish in wishes.over:
        return wishes if wish == wishes.newest else _ended(replace(wishes, newest=wish), _TIME_IS_OVER)
    override = received(_POSITIONS[wish.mode], round(wish.until_s * 1000), now_s, time_ms, synchronised)
    begun = _begun(wishes, wish, override)
    if not override.is_active(now_s):
        return _forgotten(begun, OverrideState.EXPIRED, _WAS_OVER)
    return begun if not override.is_timed else replace(begun, ends_at_ms=_ends_at_ms(override, now_s, time_ms))


def advanced(wishes: Wishes, now_s: float, time_ms: int, *, synchronised: bool) -> Wishes:
    """The same a moment later: an override's end becomes known, or comes."""
    if wishes.state is OverrideState.WAITING and synchronised:
        wishes = _resumed(wishes, now_s)
    if wishes.active is None:
        return wishes
    override = timed(wishes.active, now_s, time_ms, synchronised)
    if override.is_timed and not wishes.active.is_timed:
        wishes = replace(wishes, ends_at_ms=_ends_at_ms(override, now_s, time_ms))
    if not override.is_active(now_s):
        return _forgotten(wishes, OverrideState.ENDED, _TIME_IS_OVER)
    return replace(wishes, active=override)


def rebooted(wishes: Wishes) -> Wishes:
    """What is left of it in another boot, where monotonic times mean nothing and the time of day is not known yet."""
    if wishes.state is not OverrideState.ACTIVE:
        return wishes
    if wishes.ends_at_ms is None:
        return _forgotten(wishes, OverrideState.ENDED, _REBOOTED)
    return replace(wishes, state=OverrideState.WAITING, active=None)


def _begun(wishes: Wishes, wish: Wish, override: Override) -> Wishes:
    if wishes.active is not None and wishes.active.position is override.position:
        # Prolonged: how long it has been on is counted from its beginning.
        override = replace(override, since_s=wishes.active.since_s)
    return replace(wishes, newest=wish, state=OverrideState.ACTIVE, because="", active=override, ends_at_ms=None)


def _resumed(wishes: Wishes, now_s: float) -> Wishes:
    """After a reboot, when the time of day has become known: an override that may last a day, to be timed by it."""
    if wishes.newest is None or wishes.ends_at_ms is None:
        return _forgotten(wishes, OverrideState.ENDED, _TIME_IS_OVER)
    position = _POSITIONS[wishes.newest.mode]
    override = Override(position, wishes.ends_at_ms, since_s=now_s, ends_at_s=now_s + MAX_DURATION_S)
    return replace(wishes, state=OverrideState.ACTIVE, active=override)


def _ends_at_ms(override: Override, now_s: float, time_ms: int) -> int:
    return time_ms + round((override.ends_at_s - now_s) * 1000)


def _ended(wishes: Wishes, because: str) -> Wishes:
    return replace(wishes, state=OverrideState.ENDED, because=because, active=None, ends_at_ms=None)


def _forgotten(wishes: Wishes, state: OverrideState, because: str) -> Wishes:
    """Ended, and not to be taken up again."""
    ended = replace(_ended(wishes, because), state=state)
    if wishes.newest is None or wishes.newest in wishes.over:
        return ended
    return replace(ended, over=(*wishes.over, wishes.newest)[-MOST_REMEMBERED:])
