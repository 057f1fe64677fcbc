"""Relay positions and the reasons for them, as they are logged, published and stored."""

from enum import StrEnum


class Position(StrEnum):
    """What the load runs on. GRID = both relays closed, BATTERY = both relays open (de-energised)."""

    GRID = "grid"
    BATTERY = "battery"


class Reason(StrEnum):
    """Why the relays are where they are: the eight rules in their order, highest first, and what stands beside them."""

    OVER_TEMPERATURE = "over_temperature"
    THERMOMETER_LOST = "thermometer_lost"
    RELAY_FAULT = "relay_fault"
    OVERRIDE = "override"
    BATTERY_MONITOR_LOST = "battery_monitor_lost"
    BATTERY_LOW = "battery_low"
    BATTERY_RECOVERED = "battery_recovered"
    HOLD = "hold"
    # Before the first complete set of readings: below rule 3, because a relay fault needs no reading.
    NO_DATA = "no_data"
    # Rule 7 would apply, but the relays have moved too often today.
    RELAY_CHATTER = "relay_chatter"
    # The decision itself failed: the loop opened the relays in its stead.
    INTERNAL_ERROR = "internal_error"
    # Control has ended in an orderly way.
    STOPPED = "stopped"


# What stands above the owner's wish for as long as it lasts.
ABOVE_THE_OWNER = (
    Reason.OVER_TEMPERATURE,
    Reason.THERMOMETER_LOST,
    Reason.RELAY_FAULT,
    Reason.NO_DATA,
    Reason.INTERNAL_ERROR,
    Reason.STOPPED,
)
