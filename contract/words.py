"""Reasons, names and lengths of time in words for a person without the code, alike wherever somebody reads them."""

from contract.positions import Reason

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


def duration(seconds: float) -> str:
    """Rounded to what matters: 45 s, 12 min, 1 h 30 min, 3 days."""
    whole_s = max(0, round(seconds))
    if whole_s < 90:
        return f"{whole_s} s"
    minutes = round(whole_s / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{round(minutes / 1440)} days"


def plain(name: str) -> str:
    """A name of the wire as words: `over_temperature` -> `over temperature`."""
    return name.replace("_", " ")


def reason_in_short(reason: str) -> str:
    """`reason` as a phrase that follows a colon; a reason unknown here by its own name."""
    return _REASONS[Reason(reason)][0] if reason in _REASONS else plain(reason)


def reason_in_full(reason: str) -> str:
    """`reason` as a sentence."""
    return _REASONS[Reason(reason)][1] if reason in _REASONS else f"The reason given is: {plain(reason)}."
