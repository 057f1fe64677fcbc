"""Reasons, alerts and changes in words that a person without the code understands."""

from dataclasses import dataclass
from enum import StrEnum

from contract.positions import Position
from contract.words import duration, plain, reason_in_short


class EventKind(StrEnum):
    """What an event is about; the page gives each its mark."""

    GRID = "grid"
    BATTERY = "battery"
    ALERT_RAISED = "alert_raised"
    ALERT_CLEARED = "alert_cleared"
    OVERRIDE_ENDED = "override_ended"


@dataclass(frozen=True)
class Event:
    """A change, as a sentence."""

    kind: EventKind
    text: str


def alert_names(alerts: str) -> list[str]:
    """The names in a stored, comma-separated list of alerts."""
    return [name.strip() for name in alerts.split(",") if name.strip()]


def transfer_event(transfer: str) -> Event:
    """What `contract.store.TRANSFER` says, `grid: battery_low`, as a sentence."""
    position, _, reason = transfer.partition(": ")
    kind = EventKind.GRID if position == Position.GRID else EventKind.BATTERY
    return Event(kind, f"To {position.upper()}: {reason_in_short(reason)}")


def alert_events(changes: str) -> list[Event]:
    """What `contract.store.ALERT_CHANGES` says, `raised battery_low, cleared over_temperature`, as sentences."""
    events = []
    for change in alert_names(changes):
        action, _, alert = change.partition(" ")
        kind = EventKind.ALERT_RAISED if action == "raised" else EventKind.ALERT_CLEARED
        events.append(Event(kind, f"Alert {plain(alert)} {action}"))
    return events


def override_ended(mode: str, because: str | None, lasted_s: float | None) -> Event:
    """The end of an override that was in force for `lasted_s`, or never was."""
    added = f": {because}" if because else ""
    lasted = ", never in force" if lasted_s is None else f" for {duration(lasted_s)}"
    return Event(EventKind.OVERRIDE_ENDED, f"The owner's override has ended{added} ({mode.upper()}{lasted})")
