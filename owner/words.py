"""Times, durations and names as the owner writes and reads them. Needs nothing but the standard library."""

import re
from datetime import UTC, datetime

from contract.positions import Position, Reason
from contract.shadow import LONGEST_OVERRIDE_S
from contract.words import duration

_UNITS_S = {"d": 24 * 3600, "h": 3600, "m": 60, "s": 1}

RELAYS = {Position.GRID: "relays closed", Position.BATTERY: "relays open"}

REASONS = {
    Reason.OVER_TEMPERATURE: "the relay box is too hot",
    Reason.THERMOMETER_LOST: "the thermometer of the relay box gives no reading",
    Reason.RELAY_FAULT: "a relay fault is latched: look at the relays, then run `solarshed clear-fault` on the Pi",
    Reason.OVERRIDE: "you asked for it",
    Reason.BATTERY_MONITOR_LOST: "the battery monitor gives no reading",
    Reason.BATTERY_LOW: "the battery is low",
    Reason.BATTERY_RECOVERED: "the battery has recovered",
    Reason.HOLD: "nothing asks for a change",
    Reason.NO_DATA: "not all readings have come in yet",
    Reason.RELAY_CHATTER: "the relays have moved too often today",
    Reason.INTERNAL_ERROR: "the decision itself failed: see `journalctl -u solarshed-control` on the Pi",
    Reason.STOPPED: "control was stopped on the Pi",
}


def seconds_in(text: str, units: str) -> int:
    """Seconds in `text`: whole numbers, each with one of `units` (such as "hms", largest first); 0 if it is none."""
    match = re.fullmatch("".join(f"(?:([0-9]{{1,7}}){unit})?" for unit in units), text)
    numbers = match.groups(default="0") if match else ()
    return sum(int(number) * _UNITS_S[unit] for number, unit in zip(numbers, units, strict=False))


def duration_s(text: str) -> int:
    """Seconds in `text`, such as 90s, 45m, 2h or 1h30m.

    Raises:
        ValueError: it is none, or longer than the device keeps an override.
    """
    total_s = seconds_in(text, "hms")
    if total_s == 0:
        raise ValueError(f"{text!r} is no duration; write one such as 90s, 45m, 2h or 1h30m")
    if total_s > LONGEST_OVERRIDE_S:
        raise ValueError(f"{text!r} is too long: the device ends every override after 24 h; write 24h at most")
    return total_s


def clock(time_s: float, now_s: float) -> str:
    """Epoch seconds as this machine's time of day, with the date where it is not today's."""
    time, now = (datetime.fromtimestamp(seconds, UTC).astimezone() for seconds in (time_s, now_s))
    return f"{time:%H:%M}" if time.date() == now.date() else f"{time:%Y-%m-%d %H:%M}"


def until(time_s: float, now_s: float) -> str:
    """Such as: until 18:30 (in 2 h); or, where it is past: until 18:30 (20 min ago)."""
    left_s = time_s - now_s
    return f"until {clock(time_s, now_s)} ({f'in {duration(left_s)}' if left_s > 0 else f'{duration(-left_s)} ago'})"


def why(reason: str) -> str:
    """A reason in words; one that this program does not know yet stays as it is."""
    return REASONS[Reason(reason)] if reason in list(Reason) else reason


def relays(position: str) -> str:
    """How the relays stand for that: relays closed, relays open."""
    return RELAYS[Position(position)] if position in list(Position) else f"position {position}"


def printable(text: str, most: int = 200) -> str:
    """`text` without what could steer a terminal, shortened."""
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean if len(clean) <= most else clean[: most - 3] + "..."
