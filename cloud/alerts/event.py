"""Reads a message from the queue (see `contract.alerts`), of newer and older devices too; pure."""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

from cloud.alerts.incidents import Raise
from cloud.alerts.text import MAX_SUMMARY, shown, shown_details
from contract import messages, topics
from contract.alerts import Severity
from contract.messages import MessageError
from contract.topics import check_thing_name

_ALERT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ACTIONS = (messages.RAISE, messages.CLEAR)
# Room for the clock of a Pi that has not been set yet (1970) and for some centuries to come.
_MAX_TIME_MS = 1 << 43

# A device that was cut off keeps its alerts for some days; its clock may run ahead by some minutes.
_MOST_LATE_MS = 30 * 24 * 3600 * 1000
_MOST_EARLY_MS = 5 * 60 * 1000


@dataclass(frozen=True)
class Settle:
    """The scheduled message: look whether what came and went has become calm."""


@dataclass(frozen=True)
class AlertEvent:
    """An alert that was raised or cleared. Where `raised_ms`, the name of the episode, is None, it was not said."""

    thing: str
    alert: str
    action: str
    raised_ms: int | None
    time_ms: int
    received_ms: int
    what: Raise


def parse(body: str, sent_ms: int | None) -> AlertEvent | Settle:
    """One message. `sent_ms` is when it was put on the queue, for messages that do not say when they were received.

    Raises:
        MessageError: it does not follow the contract.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise MessageError(f"it is not JSON: {e}") from None
    if not isinstance(message, dict):
        raise MessageError("it is not an object")
    if "base64OriginalPayload" in message:
        message = _of_a_failed_rule(message)
    schema = message.get("schema")
    if schema != messages.SCHEMA or type(schema) is not int:
        raise MessageError(f"schema is {schema!r}: this code knows {messages.SCHEMA}")
    if message.get("settle") is True:
        return Settle()
    return _alert_event(message, sent_ms)


def _of_a_failed_rule(envelope: dict[str, Any]) -> dict[str, Any]:
    """What a device published and the IoT rule could not deliver, as its error action has it: sent back from the dead
    letters. Of the topic (`contract.topics`) comes the thing's name; when it was received is not told."""
    try:
        message = json.loads(base64.b64decode(_text(envelope, "base64OriginalPayload", None), validate=True))
        _, _, thing, channel = _text(envelope, "topic", None).split("/")
    except (ValueError, RecursionError) as e:
        raise MessageError(f"what the rule could not deliver cannot be read: {e}") from None
    if not isinstance(message, dict) or channel != topics.ALERT:
        raise MessageError("what the rule could not deliver is no alert")
    return {name: value for name, value in message.items() if name != "received_ms"} | {"thing": thing}


def _alert_event(message: dict[str, Any], sent_ms: int | None) -> AlertEvent:
    try:
        thing = check_thing_name(_text(message, "thing", None))
    except ValueError as e:
        raise MessageError(str(e)) from None
    alert = _text(message, "alert", None)
    if not _ALERT.fullmatch(alert):
        raise MessageError(f"alert is {alert!r}: a lower-case name of at most 64 characters was expected")
    action = _text(message, "action", None)
    if action not in _ACTIONS:
        raise MessageError(f"action is {action!r}: one of {', '.join(_ACTIONS)} was expected")
    time_ms = _time_ms("time_ms", message.get("time_ms"))
    received_ms = _time_ms("received_ms", message.get("received_ms", time_ms if sent_ms is None else sent_ms))
    raised_ms = message.get("raised_ms")
    return AlertEvent(
        thing,
        alert,
        action,
        None if raised_ms is None else _time_ms("raised_ms", raised_ms),
        time_ms,
        received_ms,
        Raise(
            summary=shown(_text(message, "summary", "").strip(), MAX_SUMMARY) or f"{alert} of {thing}",
            severity=_severity(message.get("severity")),
            time_ms=_plausible(time_ms, received_ms, _flag(message, "clock_synchronised")),
            details=_details(message.get("details", {})),
        ),
    )


def _severity(value: object) -> Severity:
    # Of a newer device: better too loud than not at all.
    return next((severity for severity in Severity if severity == value), Severity.CRITICAL)


def _plausible(time_ms: int, received_ms: int, clock_synchronised: bool) -> int:
    is_near = received_ms - _MOST_LATE_MS <= time_ms <= received_ms + _MOST_EARLY_MS
    return time_ms if clock_synchronised and is_near else received_ms


def _details(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MessageError("details is not an object")
    return shown_details(value)


def _text(message: dict[str, Any], name: str, default: str | None) -> str:
    value = message.get(name, default)
    if not isinstance(value, str):
        raise MessageError(f"{name} is {value!r}: a text was expected")
    return value


def _flag(message: dict[str, Any], name: str) -> bool:
    value = message.get(name, False)
    if not isinstance(value, bool):
        raise MessageError(f"{name} is {value!r}: true or false was expected")
    return value


def _time_ms(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_TIME_MS:
        raise MessageError(f"{name} is {value!r}: epoch milliseconds from 0 to {_MAX_TIME_MS} were expected")
    return value
