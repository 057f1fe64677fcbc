"""Reads one heartbeat (see `contract.messages`), of newer and older devices too; pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract.messages import SCHEMA, MessageError, check_number

# Ours have 300 bytes.
MAX_BYTES = 64 * 1024

# What the rules decide on, by the names that a heartbeat has for them.
READINGS = ("battery_voltage", "box_temperature")

_MAX_TEXT = 64
_MAX_ALERTS = 32
# Room for the clock of a Pi that has not been set yet (1970) and for some centuries to come.
_MAX_TIME_MS = 1 << 43
_MAX_AGE_S = 1e9


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat. `time_ms` is the device's clock; `reading_ages_s` has those of READINGS that there are."""

    time_ms: int
    boot_id: str
    clock_synchronised: bool
    decision_count: int
    position: str
    reason: str
    alerts: tuple[str, ...]
    reading_ages_s: Mapping[str, float]

    def details(self) -> dict[str, Any]:
        """As an alert shows it."""
        return {
            "time_ms": self.time_ms,
            "boot_id": self.boot_id,
            "clock_synchronised": self.clock_synchronised,
            "decision_count": self.decision_count,
            "position": self.position,
            "reason": self.reason,
            "alerts": list(self.alerts),
            "reading_ages_s": dict(self.reading_ages_s),
        }


def parse(body: bytes) -> Beat:
    """The heartbeat in `body`. Members and readings that are not known are ignored.

    Raises:
        MessageError: it does not follow the contract; the text says why.
    """
    if len(body) > MAX_BYTES:
        raise MessageError(f"it has more than {MAX_BYTES} bytes")
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise MessageError(f"it is not JSON: {e}") from None
    if not isinstance(message, dict):
        raise MessageError("it is not an object")
    schema = message.get("schema")
    if schema != SCHEMA or type(schema) is not int:
        raise MessageError(f"schema is {str(schema)[:_MAX_TEXT]!r}: this code knows {SCHEMA}")
    ages_s, alerts = message.get("reading_ages_s"), message.get("alerts", [])
    if not isinstance(ages_s, dict):
        raise MessageError("reading_ages_s is not an object")
    if not isinstance(alerts, list):
        raise MessageError("alerts is not a list")
    synchronised = message.get("clock_synchronised")
    if not isinstance(synchronised, bool):
        raise MessageError("clock_synchronised is neither true nor false")
    return Beat(
        time_ms=_whole("time_ms", message.get("time_ms"), _MAX_TIME_MS),
        boot_id=_text("boot_id", message.get("boot_id")),
        clock_synchronised=synchronised,
        decision_count=_whole("decision_count", message.get("decision_count"), 1 << 53),
        position=_text("position", message.get("position")),
        reason=_text("reason", message.get("reason")),
        alerts=tuple(_text("an alert", alert) for alert in alerts[:_MAX_ALERTS]),
        reading_ages_s={name: _age_s(name, ages_s[name]) for name in READINGS if name in ages_s},
    )


def _age_s(name: str, value: object) -> float:
    age_s = check_number(name, value)
    if not 0 <= age_s <= _MAX_AGE_S:
        raise MessageError(f"the age of {name} is {age_s} s: 0 to {_MAX_AGE_S:.0f} was expected")
    return age_s


def _whole(name: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise MessageError(f"{name} is not a whole number from 0 to {most}")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_TEXT or not value.isprintable():
        raise MessageError(f"{name} is not a text of 1 to {_MAX_TEXT} printable characters")
    return value
