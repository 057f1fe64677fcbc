"""Sun, clouds and the temperature outside the box, as pure functions of a seed and the simulated time."""

from dataclasses import dataclass
from math import cos, pi, sin

from demo.shed.noise import roll, smoothstep, wander

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S

# How much of the sky is cloud, and how often such a day comes.
_DAYS = ((0.35, 0.10), (0.70, 0.30), (0.92, 0.50), (1.00, 0.70))


def day_number(time_s: float) -> int:
    """The day that `time_s` (s since the first midnight) falls on, counted from 1."""
    return int(time_s // DAY_S) + 1


def hour_of_day(time_s: float) -> float:
    """The hour of the day, in [0, 24)."""
    return time_s % DAY_S / HOUR_S


@dataclass(frozen=True, slots=True)
class Weather:
    """A mild season. The first `fair_days` have few clouds, each later day is clear, fair, mixed or dull."""

    seed: int
    sunrise_h: float = 5.25
    sunset_h: float = 18.75
    fair_days: int = 2
    fair_cover: float = 0.25
    ambient_mean_c: float = 19.0
    ambient_swing_c: float = 4.5
    ambient_peak_h: float = 15.0

    def clear_sky(self, time_s: float) -> float:
        """Sunlight without clouds, as a fraction of full sun: a half sine, lower when the sun stands low."""
        day_length_h = self.sunset_h - self.sunrise_h
        height = sin(pi * (hour_of_day(time_s) - self.sunrise_h) / day_length_h)
        is_day = self.sunrise_h < hour_of_day(time_s) < self.sunset_h
        return float(height**1.15) if is_day else 0.0

    def cloud_cover(self, day: int) -> float:
        """How much of the sky is cloud on `day`, 0 to 1."""
        if day <= self.fair_days:
            return self.fair_cover
        draw = roll(f"{self.seed}:day", day)
        return next(cover for share, cover in _DAYS if draw < share)

    def transmittance(self, time_s: float) -> float:
        """The fraction of the clear sky's light that the clouds let through, 0.25 to 1.

        A cloud takes a quarter of an hour or so to pass and has ragged edges.
        """
        drift = wander(f"{self.seed}:cloud", time_s / 1500.0)
        ragged = wander(f"{self.seed}:edge", time_s / 300.0)
        cover = self.cloud_cover(day_number(time_s))
        shade = 1.0 - smoothstep(cover - 0.15, cover + 0.15, 0.8 * drift + 0.2 * ragged)
        return 1.0 - 0.75 * shade

    def sun(self, time_s: float) -> float:
        """Sunlight on the panels as a fraction of full sun, 0 to 1."""
        clear = self.clear_sky(time_s)
        return clear * self.transmittance(time_s) if clear > 0.0 else 0.0

    def ambient_c(self, time_s: float) -> float:
        """Air temperature around the box, degrees Celsius."""
        phase = 2.0 * pi * (hour_of_day(time_s) - self.ambient_peak_h) / 24.0
        return self.ambient_mean_c + self.ambient_swing_c * cos(phase)
