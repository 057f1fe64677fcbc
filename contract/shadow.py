"""The classic device shadow: what the owner wishes, and what the device answers.

The owner writes a wish, for a while:

    {"state": {"desired": {"override": {"mode": "grid", "until": 1795460000}}}}

`mode` is `grid` (relays closed), `battery` (relays open) or `auto` (the rules decide; ends an override, `until` may be
left out). `until` is epoch seconds, UTC. A wish that is anything else is refused whole. Whatever else stands in
`desired` is ignored, and named in `reported.ignored`: no threshold can be set from afar.

The device answers in `reported`; a value that is not known is absent:

    {"position": "grid", "reason": "override", "since": 1795452801, "next_change_at": 1795460000, "mode": "grid",
     "override": {"mode": "grid", "until": 1795460000, "state": "active", "ends_at": 1795460000},
     "readings": {"battery_voltage_v": {"value": 51.2, "age_s": 0.4, "source": "mx2"}, ...},
     "alerts": ["sensor_degraded"], "software": "0.1.0", "boot_id": "...", "time": 1795452805,
     "clock_synchronised": true, "counts": {"messages_waiting": 3, ...},
     "refused": {"because": "..."}, "ignored": ["interval"]}

`mode` is the mode in force. `override` is the newest wish that the device has taken up, with what became of it (see
`OverrideState`) and, where it needs words, `because`. `refused` is there while a wish stands that is none. When an
override has ended the device removes `desired.override`; one that it refused as malformed stays until the owner
changes it.
"""

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

OVERRIDE = "override"

# What the device says on the shadow's topics, what is answered to it, and what it hears when somebody else has written.
REQUESTS = ("get", "update")
ANSWERS = ("get/accepted", "get/rejected", "update/accepted", "update/rejected")
NEWS = ("update/delta", "delete/accepted")

# What of a report may change all the time, and is worth a message once a minute only.
PASSING = ("since", "next_change_at", "readings", "time", "counts")

# The device ends every override then, whatever `until` says.
LONGEST_OVERRIDE_S = 24 * 3600

# What AWS IoT takes of a shadow's state.
MAX_DOCUMENT_BYTES = 8 * 1024
# What may come back of it: desired, reported, their difference, and a timestamp of each leaf.
MAX_ANSWER_BYTES = 64 * 1024
# Later times are milliseconds by mistake; this is the year 5138.
_LATEST_UNTIL_S = 100_000_000_000


class Mode(StrEnum):
    """What the owner may ask for."""

    GRID = "grid"
    BATTERY = "battery"
    AUTO = "auto"


class OverrideState(StrEnum):
    """What became of a wish.

    SUPPRESSED: it stands, but a safety rule is in force. WAITING: the Pi was booted anew and does not know yet what
    time it is. ENDED: its time is over, or the owner ended it. EXPIRED: it was over before the device heard of it.
    """

    ACTIVE = "active"
    SUPPRESSED = "suppressed"
    WAITING = "waiting"
    ENDED = "ended"
    EXPIRED = "expired"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it, so that the wish can be removed."""
        return self in (OverrideState.ENDED, OverrideState.EXPIRED)


class ShadowError(ValueError):
    """A document that does not follow this contract; says what is wrong with it and what to write instead."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An override as the owner asks for it. `until_s` is epoch seconds; None only with AUTO."""

    mode: Mode
    until_s: float | None

    def as_json(self) -> dict[str, Any]:
        """As it stands in `desired.override`."""
        return {"mode": self.mode} | ({} if self.until_s is None else {"until": _plain(self.until_s)})


def parse(payload: bytes) -> dict[str, Any]:
    """The JSON object in a shadow message.

    Raises:
        ShadowError: it is too large, no JSON object, or JSON that two readers could understand differently.
    """
    if len(payload) > MAX_ANSWER_BYTES:
        raise ShadowError(f"the document has {len(payload)} bytes; {MAX_ANSWER_BYTES} are expected at most")
    try:
        document = json.loads(payload.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise ShadowError("the document is not UTF-8 text") from None
    except RecursionError:
        raise ShadowError("the document is nested too deeply") from None
    except json.JSONDecodeError as e:
        raise ShadowError(f"the document is no JSON: {e.msg}") from None
    except ShadowError:
        raise
    except ValueError:  # a number with thousands of digits
        raise ShadowError("the document has a number that is too long") from None
    if not isinstance(document, dict):
        raise ShadowError("the document is no JSON object")
    return document


def wish_of(desired: object) -> Wish | None:
    """The wish in `desired`; None where there is none.

    Raises:
        ShadowError: there is one that cannot be used.
    """
    if desired is None:
        return None
    if not isinstance(desired, dict):
        raise ShadowError("desired is no object")
    override = desired.get(OVERRIDE)
    if override is None:
        return None
    if not isinstance(override, dict):
        raise ShadowError(f'override is {_shown(override)}; write an object, such as {{"mode": "grid", "until": ...}}')
    mode = _mode(override.get("mode"))
    until_s = _until_s(override.get("until"), is_needed=mode is not Mode.AUTO)
    return Wish(mode, until_s)


def ignored(desired: object) -> list[str]:
    """The names in `desired` that mean nothing to the device, at most ten of them, shortened."""
    if not isinstance(desired, dict):
        return []
    names = [name for name in desired if name != OVERRIDE]
    override = desired.get(OVERRIDE)
    if isinstance(override, dict):
        names += [f"{OVERRIDE}.{name}" for name in override if name not in ("mode", "until")]
    return [_printable(name, 60) for name in sorted(names)[:10]]


def _mode(value: object) -> Mode:
    if not isinstance(value, str) or value not in list(Mode):
        raise ShadowError(f"override.mode is {_shown(value)}; write one of {', '.join(Mode)}")
    return Mode(value)


def _until_s(value: object, *, is_needed: bool) -> float | None:
    if value is None and not is_needed:
        return None
    if value is None:
        raise ShadowError("override.until is missing; write when it is to end, in epoch seconds")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ShadowError(f"override.until is {_shown(value)}; write epoch seconds, as a number")
    if value >= _LATEST_UNTIL_S:
        raise ShadowError(f"override.until is {_shown(value)}, which looks like milliseconds; write epoch seconds")
    return float(value)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ShadowError("the document has the same name twice in one object")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ShadowError(f"the document has {name}, which is no JSON")


def _plain(number: float) -> float:
    return int(number) if number.is_integer() else number


def _shown(value: object) -> str:
    """A wrong value, short enough to be reported."""
    return _printable(json.dumps(value, default=str), 60)


def _printable(text: str, most: int) -> str:
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean if len(clean) <= most else clean[: most - 3] + "..."
