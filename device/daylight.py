"""Whether the sun is up. Pure.

Source: NOAA Global Monitoring Laboratory, "General Solar Position Calculations": the fractional year, the equation of
time and the sun's declination as Fourier series (J. W. Spencer, 1971). Good to a few minutes at sunrise and sunset.
"""

import math
from datetime import UTC, datetime

# The sun's upper edge on the horizon, refraction included: what an almanac calls sunrise.
_SUNRISE_ELEVATION_DEG = -0.833


def is_daylight(time_ms: int, latitude_deg: float, longitude_deg: float) -> bool:
    """Whether the sun is above the horizon at this time (epoch ms, UTC) and place (north and east are positive)."""
    return sun_elevation_deg(time_ms, latitude_deg, longitude_deg) >= _SUNRISE_ELEVATION_DEG


def sun_elevation_deg(time_ms: int, latitude_deg: float, longitude_deg: float) -> float:
    """How high the sun stands, without refraction."""
    time = datetime.fromtimestamp(time_ms / 1000, UTC)
    hour = time.hour + time.minute / 60 + time.second / 3600
    g = 2 * math.pi / 365 * (time.timetuple().tm_yday - 1 + (hour - 12) / 24)
    equation_of_time_min = 229.18 * (
        0.000075
        + 0.001868 * math.cos(g)
        - 0.032077 * math.sin(g)
        - 0.014615 * math.cos(2 * g)
        - 0.040849 * math.sin(2 * g)
    )
    declination = (
        0.006918
        - 0.399912 * math.cos(g)
        + 0.070257 * math.sin(g)
        - 0.006758 * math.cos(2 * g)
        + 0.000907 * math.sin(2 * g)
        - 0.002697 * math.cos(3 * g)
        + 0.00148 * math.sin(3 * g)
    )
    solar_minutes = hour * 60 + equation_of_time_min + 4 * longitude_deg
    hour_angle = math.radians(solar_minutes / 4 - 180)
    latitude = math.radians(latitude_deg)
    sine = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(
        hour_angle
    )
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))
