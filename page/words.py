"""Reasons, alerts and changes in words that a person without the code understands."""

from dataclasses import dataclass
from enum import StrEnum

from contract.positions import Position, Reason
from contract.words import duration


class EventKind(StrEnum):
    """What an event is about; the page gives each its mark."""

    GRID = "grid"
    BATTERY = "battery"
    REASON = "reason"
    ALERT_RAISED = "alert_raised"
    ALERT_CLEARED = "alert_cleared"
    OVERRIDE_ENDED = "override_ended"


@dataclass(frozen=True)
class State:
    """What can change from one sample to the next, as it is stored; `alerts` is comma-separated."""

    position: str
    reason: str
    alerts: str


@dataclass(frozen=True)
class Event:
    """A change between two samples, as a sentence."""

    kind: EventKind
    text: str


_REASONS = {
    Reason.OVER_TEMPERATURE: (
        "box too hot",
        "The box is too hot: the relays stay open until it has cooled.",
    ),
    Reason.THERMOMETER_LOST: (
        "box temperature unknown",
        "The box's thermometer is lost: the relays stay open, because nobody sees how hot they get.",
    ),
    Reason.RELAY_FAULT: (
        "relay fault",
        "The relays do not do as they are told: they are kept open until somebody has looked.",
    ),
    Reason.OVERRIDE: ("the owner's wish", "The owner has asked for it, for a while."),
    Reason.BATTERY_MONITOR_LOST: (
        "battery unknown",
        "Nothing is known of the battery: the grid carries the load, so that it cannot run empty.",
    ),
    Reason.BATTERY_LOW: (
        "battery low",
        "The battery is low: the grid carries the load until it has recovered.",
    ),
    Reason.BATTERY_RECOVERED: (
        "battery recovered",
        "The battery has recovered: sun and battery carry the load.",
    ),
    Reason.HOLD: ("nothing calls for a change", "Nothing calls for a change."),
    Reason.NO_DATA: ("readings incomplete", "The readings are not complete yet."),
    Reason.RELAY_CHATTER: (
        "too many transfers today",
        "The relays have moved too often today: the grid carries the load until that is a day ago.",
    ),
    Reason.INTERNAL_ERROR: ("control failed to decide", "Control failed to decide: the relays are open."),
    Reason.STOPPED: ("control was stopped", "Control was stopped: the relays are open."),
}


def plain(name: str) -> str:
    """A name of the wire as words: `over_temperature` -> `over temperature`."""
    return name.replace("_", " ")


def reason_in_short(reason: str) -> str:
    """`reason` as a phrase that follows a colon; a reason unknown here by its own name."""
    return _REASONS[Reason(reason)][0] if reason in _REASONS else plain(reason)


def reason_in_full(reason: str) -> str:
    """`reason` as a sentence."""
    return _REASONS[Reason(reason)][1] if reason in _REASONS else f"The reason given is: {plain(reason)}."


def alert_names(alerts: str) -> list[str]:
    """The names in a stored, comma-separated list of alerts."""
    return [name.strip() for name in alerts.split(",") if name.strip()]


def events_between(before: State, after: State) -> list[Event]:
    """What happened between two samples: the relays first, then alerts raised, then alerts cleared."""
    return _relay_events(before, after) + _alert_events(alert_names(before.alerts), alert_names(after.alerts))


def override_ended(mode: str, because: str | None, lasted_s: float | None) -> Event:
    """The end of an override that was in force for `lasted_s`, or never was."""
    added = f": {because}" if because else ""
    lasted = ", never in force" if lasted_s is None else f" for {duration(lasted_s)}"
    return Event(EventKind.OVERRIDE_ENDED, f"The owner's override has ended{added} ({mode.upper()}{lasted})")


def _relay_events(before: State, after: State) -> list[Event]:
    why = reason_in_short(after.reason)
    if after.position != before.position:
        kind = EventKind.GRID if after.position == Position.GRID else EventKind.BATTERY
        return [Event(kind, f"To {after.position.upper()}: {why}")]
    if after.reason != before.reason:
        return [Event(EventKind.REASON, f"Still on {after.position.upper()}: {why}")]
    return []


def _alert_events(before: list[str], after: list[str]) -> list[Event]:
    raised = [name for name in after if name not in before]
    cleared = [name for name in before if name not in after]
    return [Event(EventKind.ALERT_RAISED, f"Alert {plain(name)} raised") for name in raised] + [
        Event(EventKind.ALERT_CLEARED, f"Alert {plain(name)} cleared") for name in cleared
    ]
