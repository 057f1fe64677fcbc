"""What the sensors said, as `decide` gets it: finite values with where they came from, when, and how finely. Pure.

A value gets here after its adapter has checked it (checksum, shape, range); what is too old, implausible or too coarse
for the band does not get here at all. A single sample moves nothing: `observe` wants two that agree.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

# What a 48 V bank can show. Outside of it an instrument is absent, starting or broken; never "low".
_LEAST_PLAUSIBLE_V = 30.0
_MOST_PLAUSIBLE_V = 70.0


def is_plausible_battery_voltage(voltage_v: float) -> bool:
    """Whether a 48 V bank can have this voltage at all."""
    return _LEAST_PLAUSIBLE_V <= voltage_v <= _MOST_PLAUSIBLE_V


class AcMode(StrEnum):
    """What an inverter says of its AC input. AC_DROP: there, but not (yet) taken."""

    NO_AC = "no_ac"
    AC_DROP = "ac_drop"
    AC_USE = "ac_use"


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
class AcReading:
    """What the inverters' AC input does, at a monotonic time."""

    mode: AcMode
    at_s: float
    source: str


class Readings(NamedTuple):
    """The newest valid sample of each quantity; None where there is none, or none that is fresh.

    `is_daylight` is None where no location is set or the time of day is not known.
    """

    battery_voltage_v: Reading | None = None
    box_temperature_c: Reading | None = None
    soc_percent: Reading | None = None
    ac: AcReading | None = None
    is_daylight: bool | None = None


@dataclass(frozen=True, slots=True)
class VoltageSample:
    """A device's battery voltage, and the step in which that device reports it."""

    reading: Reading
    step_v: float


def best_voltage(samples: Iterable[VoltageSample], band_v: float) -> Reading | None:
    """The first plausible one, `samples` being in order of preference; None where there is none.

    A source that reports in steps of more than half the band between low and recover cannot tell them apart: what it
    says there is noise, and it is left out. Nothing is ever averaged.
    """
    for sample in samples:
        if is_plausible_battery_voltage(sample.reading.value) and 2 * sample.step_v <= band_v:
            return sample.reading
    return None


class Stuck:
    """Notices a sensor that has said exactly the same for too long. It warns only: a quiet night may look like this."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._said: object
        self._since_s: float | None = None

    def watch(self, said: object, now_s: float) -> bool:
        """Whether `said` has been the same for the limit. None = silent, which is another fault."""
        if self._since_s is None or said != self._said:
            self._said, self._since_s = said, now_s
        return said is not None and now_s - self._since_s >= self._limit_s
