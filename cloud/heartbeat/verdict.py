"""Is a thing silent, or blind, and since when? Pure; all times are epoch milliseconds by AWS's clock.

Silent: its last heartbeat is older than the limit, by LastModified alone. Exactly the limit is not silent yet.

Blind: heartbeats come, but for longer than the limit

    battery_voltage, box_temperature   that reading is old, or there has been none
    decisions                          the decision count has stood still, or control starts anew before each heartbeat
    beat                               what comes is no heartbeat that this code can read

Only time in which heartbeats came is counted: after a silence the device has the whole limit again to find its sensors.

Of what one heartbeat alone cannot tell, `Memory` has since when it is so. It holds nothing but what some heartbeat
said: what overlapping runs write over one another is at worst one heartbeat older, as if a run had been skipped. What
is lost begins anew, which makes a verdict later.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cloud.heartbeat.beats import READINGS, Beat

DECISIONS = "decisions"
UNREADABLE = "beat"
# Not a trouble: the heartbeat that came last was older than one before.
_OLDER = "older"


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond these a thing is silent, or blind."""

    silent_after_ms: int
    blind_after_ms: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What the newest heartbeat that was judged said of one thing. `beat_ms` is when it came, `time_ms` what the
    device's clock said. `since_ms` has since when there is no reading, when the newest decision was first told, and
    since when heartbeats cannot be read."""

    beat_ms: int
    boot_id: str
    decision_count: int
    time_ms: int
    since_ms: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Judgement:
    """`blind_since_ms`: each trouble that has lasted too long, and since when. Where there is none and it is not
    `is_certain`, the heartbeat tells neither that the thing sees nor that it does not."""

    memory: Memory
    is_certain: bool
    blind_since_ms: Mapping[str, int]


def judge(beat_ms: int, beat: Beat | None, memory: Memory | None, limits: Limits) -> Judgement:
    """What the heartbeat that came at `beat_ms` tells. `beat` is None where it cannot be read."""
    newest = memory or Memory(beat_ms, "", 0, 0, {})
    since_ms = newest.since_ms
    if beat_ms - newest.beat_ms > limits.silent_after_ms:
        since_ms = {}
    is_older = beat is not None and _is_older(beat, newest) and since_ms.get(_OLDER, beat_ms) == beat_ms
    if beat is None or is_older:
        doubt = UNREADABLE if beat is None else _OLDER
        since_ms = {**since_ms, doubt: since_ms.get(doubt, beat_ms)}
        newest = Memory(beat_ms, newest.boot_id, newest.decision_count, newest.time_ms, since_ms)
        unreadable = {name: ms for name, ms in since_ms.items() if name == UNREADABLE}
        return Judgement(newest, is_certain=False, blind_since_ms=_too_long(beat_ms, unreadable, limits))
    has_decided = (newest.boot_id, newest.decision_count) != (beat.boot_id, beat.decision_count)
    decided_ms = beat_ms if has_decided else since_ms.get(DECISIONS, beat_ms)
    unread_ms = _unread_ms(beat_ms, beat, since_ms, limits)
    known_ms = {**unread_ms, DECISIONS: decided_ms}
    blind_since_ms = _too_long(beat_ms, known_ms, limits)
    return Judgement(
        Memory(beat_ms, beat.boot_id, beat.decision_count, beat.time_ms, known_ms),
        # After a silence an absent reading has the whole limit again: what is said to be blind may well be so still.
        is_certain=bool(blind_since_ms) or not unread_ms,
        blind_since_ms=blind_since_ms,
    )


def _unread_ms(beat_ms: int, beat: Beat, since_ms: Mapping[str, int], limits: Limits) -> dict[str, int]:
    """Since when there is no reading that is young enough. Its absence counts from the first heartbeat without it: what
    those that no run has seen said of it is not known."""
    unread_ms: dict[str, int] = {}
    for name in READINGS:
        age_s = beat.reading_ages_s.get(name)
        if age_s is None:
            unread_ms[name] = since_ms.get(name, beat_ms)
        elif (age_ms := round(age_s * 1000)) > limits.blind_after_ms:
            unread_ms[name] = beat_ms - age_ms
    return unread_ms


def _too_long(beat_ms: int, since_ms: Mapping[str, int], limits: Limits) -> dict[str, int]:
    return {name: ms for name, ms in since_ms.items() if beat_ms - ms > limits.blind_after_ms}


def _is_older(beat: Beat, newest: Memory) -> bool:
    """Whether it was overtaken on its way. A lower count alone may be a control that was started anew, an earlier time
    alone a clock that was set; should both have come together, the next heartbeat is believed."""
    return (
        beat.boot_id == newest.boot_id and beat.decision_count < newest.decision_count and beat.time_ms < newest.time_ms
    )


def encode(memories: Mapping[str, Memory]) -> bytes:
    """As they are kept: {thing: [beat_ms, boot_id, decision_count, time_ms, since_ms]}."""
    rows = {
        thing: [m.beat_ms, m.boot_id, m.decision_count, m.time_ms, dict(m.since_ms)]
        for thing, m in sorted(memories.items())
    }
    return json.dumps(rows, separators=(",", ":"), sort_keys=True).encode()


def decode(body: bytes) -> dict[str, Memory]:
    """What `encode` made.

    Raises:
        ValueError: it is something else.
    """
    try:
        rows = json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(rows, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - content, not a caller's mistake
    return {thing: _memory(row) for thing, row in rows.items()}


def _memory(row: object) -> Memory:
    match row:
        case [int(beat_ms), str(boot_id), int(decision_count), int(time_ms), dict(since_ms)] if all(
            isinstance(ms, int) for ms in since_ms.values()
        ):
            return Memory(beat_ms, boot_id, decision_count, time_ms, since_ms)
    raise ValueError(f"{str(row)[:100]!r} is no memory of a thing")
