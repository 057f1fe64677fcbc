"""A wish in the shadow, and what the device answers to it."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contract.positions import ABOVE_THE_OWNER
from contract.shadow import OVERRIDE, Mode, OverrideState
from contract.words import duration
from owner import shadow
from owner.session import Account, AwsError
from owner.shadow import Section, Shadow
from owner.words import clock, relays, until, why

_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the device says, in words, whether what was asked for is in force now, and whether that may come yet."""

    words: str
    is_in_force: bool
    may_come: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish that was written. `before` is the shadow as it was, `version` the shadow's from then on."""

    mode: Mode
    until_s: int | None
    before: Shadow
    version: int


def run(account: Account, thing: str, mode: Mode, for_s: int, wait_s: float) -> int:
    """Ask `thing` for `mode`, for `for_s` seconds, and wait for its answer. 0: it is in force; 1: it is not (yet).

    Raises:
        NotReportedError, AwsError: nothing was asked, or what became of it cannot be read.
    """
    with account.plainly():
        asked = ask(account, thing, mode, for_s)
    try:
        with account.plainly():
            newest, answer = wait_for_answer(lambda: shadow.read(account, thing), asked, wait_s)
    except AwsError as e:
        raise AwsError(f"the wish is written, but what became of it is unknown: {e}") from None
    if answer is None:
        print(unanswered(thing, asked, newest, wait_s), file=sys.stderr)
        return 1
    print(f"{thing}: {answer.words}")
    return 0 if answer.is_in_force else 1


def ask(account: Account, thing: str, mode: Mode, for_s: int) -> Asked:
    """Write the wish. Its end is counted by AWS's clock: this machine's may be wrong."""
    before = shadow.read(account, thing)
    if not before.reported:
        raise shadow.NotReportedError(
            f"{thing} has never reported; start solarshed-uplink on its Pi, then ask again (nothing was asked now)"
        )
    until_s = None if mode is Mode.AUTO else _unlike(before, mode, int(before.now_s) + for_s)
    # null removes what an earlier wish left there.
    version = shadow.wish(account, thing, {"mode": mode, "until": until_s})
    return Asked(mode, until_s, before, version)


def wait_for_answer(
    read: Callable[[], Shadow], asked: Asked, wait_s: float, sleep: Callable[[float], None] = time.sleep
) -> tuple[Shadow, Answer | None]:
    """The newest shadow, and the device's answer in it; None if none comes within `wait_s`.

    While the device says that the wish has to wait a moment, what it says next is waited for.
    """
    deadline_s = time.monotonic() + wait_s
    while True:
        newest = read()
        answer = answer_in(newest, asked)
        left_s = deadline_s - time.monotonic()
        if (answer is not None and not answer.may_come) or left_s <= 0:
            return newest, answer
        sleep(min(_POLL_S, left_s))


def answer_in(newest: Shadow, asked: Asked) -> Answer | None:
    """What the device says to `asked`; None while it says nothing. An answer to an earlier wish is none."""
    if newest.version <= asked.version:
        return None
    override = newest.reported.section(OVERRIDE)
    if asked.mode is not Mode.AUTO and _is(override, asked.mode, asked.until_s):
        return _fate(newest, override, asked)
    if asked.mode is Mode.AUTO and _has_returned_to_auto(newest, asked):
        return Answer(f"auto: the rules decide; {_position(newest)}", is_in_force=True)
    standing = newest.desired.section(OVERRIDE)
    if standing and not _is(standing, asked.mode, asked.until_s):
        return Answer(f"another wish has come in between: {wish_in_words(standing, newest.now_s)}", is_in_force=False)
    because = newest.reported.section("refused").text("because")
    was_refused = asked.before.reported.section("refused").text("because")
    if because not in (None, was_refused) and (newest.refused_at_s or 0) > (asked.before.refused_at_s or 0):
        return Answer(f"refused: {because}", is_in_force=False)
    return None


def unanswered(thing: str, asked: Asked, newest: Shadow, wait_s: float) -> str:
    """That the device says nothing, since when, and what becomes of the wish."""
    now_s, heard_s = newest.now_s, newest.heard_at_s or 0.0
    words = [
        f"{thing} has not answered within {duration(wait_s)}; it was last heard at {clock(heard_s, now_s)}, "
        f"{duration(now_s - heard_s)} ago."
    ]
    if asked.until_s is not None:
        words.append(
            f"The wish stays: {thing} takes it up if it comes back before {clock(asked.until_s, now_s)}, "
            f"when it lapses (in {duration(asked.until_s - now_s)})."
        )
        return " ".join(words)
    words.append(f"The wish stays until {thing} comes back.")
    override = newest.reported.section(OVERRIDE)
    ends_at_s = override.time("ends_at") or override.time("until")
    if ends_at_s is not None and ends_at_s > now_s:
        words.append(f"What is in force there ends by itself at {clock(ends_at_s, now_s)}.")
    return " ".join(words)


def wish_in_words(override: Section, now_s: float) -> str:
    """Such as: grid until 18:30 (in 2 h)."""
    mode, until_s = override.text("mode") or "something else", override.time("until")
    return mode if until_s is None or mode == Mode.AUTO else f"{mode} {until(until_s, now_s)}"


def fate_in_words(newest: Shadow) -> str:
    """What became of the newest wish that the device has taken up, such as `active` or `suppressed by ...`."""
    override = newest.reported.section(OVERRIDE)
    state, because = override.text("state"), override.text("because")
    added = f": {because}" if because else ""
    match state:
        case OverrideState.ACTIVE:
            return f"active{_shortened(override, newest.now_s)}"
        case OverrideState.SUPPRESSED:
            reason = newest.reported.text("reason") or "unknown"
            by = f" by {reason}" if reason in ABOVE_THE_OWNER else ""
            return f"suppressed{by}{added or f': {why(reason)}'}"
        case OverrideState.WAITING:
            return f"waiting{added or ': the Pi was started anew and does not know yet what time it is'}"
        case OverrideState.ENDED:
            return f"ended{added}"
        case OverrideState.EXPIRED:
            return f"expired{added or ': it was over before the device heard of it'}"
        case _:
            return f"{state or 'unknown'}{added}"


def _fate(newest: Shadow, override: Section, asked: Asked) -> Answer:
    fate = fate_in_words(newest)
    state = override.text("state")
    if state != OverrideState.ACTIVE:
        is_paused = state == OverrideState.SUPPRESSED and newest.reported.text("reason") not in ABOVE_THE_OWNER
        may_come = is_paused or state == OverrideState.WAITING
        return Answer(f"{asked.mode} is not in force: {fate}", is_in_force=False, may_come=may_come)
    end_s = override.time("ends_at") or asked.until_s or 0
    return Answer(
        f"{asked.mode} {until(end_s, newest.now_s)}: {relays(newest.reported.text('position') or 'unknown')}"
        f"{_shortened(override, newest.now_s)}",
        is_in_force=True,
    )


def _shortened(override: Section, now_s: float) -> str:
    """That the device ends it before the wish's own end."""
    until_s, ends_at_s = override.time("until"), override.time("ends_at")
    if until_s is None or ends_at_s is None or ends_at_s >= until_s - 1:
        return ""
    return f" (asked until {clock(until_s, now_s)}; the device ends it earlier)"


def _position(newest: Shadow) -> str:
    position, reason = newest.reported.text("position"), newest.reported.text("reason")
    return f"{relays(position or 'unknown')}, because {why(reason or 'unknown')}"


def _has_returned_to_auto(newest: Shadow, asked: Asked) -> bool:
    """The device takes the wish away when it has ended what was in force; what it reported before proves nothing."""
    reported = newest.reported
    if not newest.desired.section(OVERRIDE):
        return reported.text("mode") == Mode.AUTO
    was = asked.before.reported.section(OVERRIDE).text("mode")
    return reported.section(OVERRIDE).text("mode") == Mode.AUTO and was != Mode.AUTO


def _is(override: Section, mode: Mode, until_s: int | None) -> bool:
    return override.text("mode") == mode and override.time("until") == until_s


def _unlike(before: Shadow, mode: Mode, until_s: int) -> int:
    """`until_s`, or a second later: no wish that stands or was answered may equal this one, or its answer would be
    taken for this one's."""
    sections: list[Any] = [side.section(OVERRIDE) for side in (before.desired, before.reported)]
    while any(_is(section, mode, until_s) for section in sections):
        until_s += 1
    return until_s
