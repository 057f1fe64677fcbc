"""What the sensors said, as `decide` gets it: a finite value, where it came from, and when."""

import math
from dataclasses import dataclass

# What a 48 V bank can show. Outside of it an instrument is absent, starting or broken; never "low".
_LEAST_PLAUSIBLE_V = 30.0
_MOST_PLAUSIBLE_V = 70.0


def is_plausible_battery_voltage(voltage_v: float) -> bool:
    """Whether a 48 V bank can have this voltage at all."""
    return _LEAST_PLAUSIBLE_V <= voltage_v <= _MOST_PLAUSIBLE_V


@dataclass(frozen=True, slots=True)
class Reading:
    """One valid sample. `at_s` is monotonic; two readings with the same `at_s` are the same sample.

    Raises:
        ValueError: the value is not finite. NaN compares false with everything and would freeze a decision.
    """

    value: float
    at_s: float
    source: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.source} read {self.value!r}: only finite values are readings")


@dataclass(frozen=True, slots=True)
class Readings:
    """The newest valid sample of each quantity; None where there is none, or none that is fresh."""

    battery_voltage_v: Reading | None = None
    box_temperature_c: Reading | None = None
