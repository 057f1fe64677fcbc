"""Units: what a panel shows, under the names that Grafana has for them, and temperatures in the owner's scale."""

from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """A unit, by its id in Grafana's `@grafana/data` value formats. TEMPERATURE is Celsius in the store."""

    NONE = "none"
    VOLT = "volt"
    AMPERE = "amp"
    WATT = "watt"
    PERCENT = "percent"
    TEMPERATURE = "celsius"
    KILOWATT_HOUR = "kwatth"
    AMPERE_HOUR = "amph"
    DURATION = "s"
    AGE = "dateTimeFromNow"
    TEXT = "string"


SYMBOLS = {
    Unit.VOLT: "V",
    Unit.AMPERE: "A",
    Unit.WATT: "W",
    Unit.PERCENT: "%",
    Unit.TEMPERATURE: "°C",
    Unit.KILOWATT_HOUR: "kWh",
    Unit.AMPERE_HOUR: "Ah",
}
FAHRENHEIT_ID = "fahrenheit"
FAHRENHEIT_SYMBOL = "°F"


@dataclass(frozen=True)
class Scale:
    """How temperatures are shown: Celsius as they are stored, or Fahrenheit."""

    fahrenheit: bool = False

    def grafana_id(self, unit: Unit) -> str:
        """Grafana's id of `unit`."""
        return FAHRENHEIT_ID if self.fahrenheit and unit is Unit.TEMPERATURE else unit.value

    def symbol(self, unit: Unit) -> str:
        """What stands behind a number; "" for none."""
        return FAHRENHEIT_SYMBOL if self.fahrenheit and unit is Unit.TEMPERATURE else SYMBOLS.get(unit, "")

    def expression(self, column: str, text: str) -> str:
        """`text`, an expression of either query language with the value of `column`, in the scale."""
        return f"{text} * 1.8 + 32" if self.fahrenheit and is_temperature(column) else text

    def value(self, unit: Unit, value: float) -> float:
        """A fixed value of `unit`, as the store has it, in the scale."""
        return value * 1.8 + 32 if self.fahrenheit and unit is Unit.TEMPERATURE else value

    def of_column(self, column: str, value: float) -> float:
        """A value of `column` in the scale."""
        return value * 1.8 + 32 if self.fahrenheit and is_temperature(column) else value


def is_temperature(column: str) -> bool:
    """Whether a column of the store holds degrees Celsius; names have their unit at the end."""
    return column.endswith("_c")
