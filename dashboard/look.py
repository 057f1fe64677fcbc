"""What the owner may choose of how the dashboards look."""

from dataclasses import dataclass
from enum import StrEnum

from contract.errors import SolarshedError
from dashboard.units import Scale

# The data source that `dashboard push` makes, and that every panel names.
DATA_SOURCE_UID = "solarshed"


class LookError(SolarshedError, ValueError):
    """A choice that cannot be shown."""


class Engine(StrEnum):
    """Which store Grafana reads: Timestream for LiveAnalytics, or Timestream for InfluxDB (InfluxQL)."""

    TIMESTREAM = "timestream"
    INFLUXDB = "influxdb"


@dataclass(frozen=True)
class Look:
    """`utc_offset_h`: how far the shed's clock is ahead of UTC; its days begin at that midnight.

    Raises:
        LookError: there is no such offset.
    """

    engine: Engine = Engine.TIMESTREAM
    fahrenheit: bool = False
    utc_offset_h: float = 0.0

    def __post_init__(self) -> None:
        if not -12 <= self.utc_offset_h <= 14 or (self.utc_offset_h * 4) % 1:
            raise LookError(f"UTC offset {self.utc_offset_h:g} h: give -12 to 14 in quarters, such as -8 or 5.5")

    @property
    def scale(self) -> Scale:
        """The scale of temperatures."""
        return Scale(self.fahrenheit)
