"""Relay positions and the reasons for them, as they are logged, published and stored."""

from enum import StrEnum


class Position(StrEnum):
    """What the load runs on. GRID = both relays closed, BATTERY = both relays open (de-energised)."""

    GRID = "grid"
    BATTERY = "battery"


class Reason(StrEnum):
    """Why the relays are where they are; the rules in their order, highest first."""

    OVER_TEMPERATURE = "over_temperature"
    BATTERY_LOW = "battery_low"
    BATTERY_RECOVERED = "battery_recovered"
    HOLD = "hold"
    NO_DATA = "no_data"
