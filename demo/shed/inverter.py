"""The FX inverter: carries the load from the bank, and prefers AC at its input as soon as it has qualified it."""

from dataclasses import dataclass
from enum import IntEnum


class AcMode(IntEnum):
    """Numbered as in FX pages."""

    NO_AC = 0
    AC_DROP = 1
    AC_USE = 2


class OperatingMode(IntEnum):
    """Numbered as in FX pages."""

    INVERTER_OFF = 0
    INVERTER_ON = 2
    CHARGE = 3
    PASS_THRU = 10


@dataclass(frozen=True, slots=True)
class InverterSettings:
    """`qualify_s` is how long AC must be there before the inverter takes it."""

    efficiency: float = 0.92
    idle_w: float = 25.0
    output_voltage_v: float = 120.0
    qualify_s: float = 30.0
    cut_out_v: float = 42.0
    cut_in_v: float = 50.0
    grid_charge_a: float = 0.0
    charge_efficiency: float = 0.85


class Inverter:
    """The inverter's state."""

    def __init__(self, settings: InverterSettings) -> None:
        self.settings = settings
        self.ac_mode = AcMode.NO_AC
        self.is_cut_out = False
        self._qualified_s = 0.0

    @property
    def operating_mode(self) -> OperatingMode:
        """What it does now."""
        if self.ac_mode is AcMode.AC_USE:
            return OperatingMode.CHARGE if self.settings.grid_charge_a > 0.0 else OperatingMode.PASS_THRU
        return OperatingMode.INVERTER_OFF if self.is_cut_out else OperatingMode.INVERTER_ON

    @property
    def is_inverting(self) -> bool:
        """Whether the bank carries the load."""
        return self.operating_mode is OperatingMode.INVERTER_ON

    def watch(self, dt_s: float, ac_is_present: bool, battery_voltage_v: float) -> None:
        """Look at the input and the bank for `dt_s`: transfer, go back to inverting, or cut out at an empty bank."""
        self._qualified_s = self._qualified_s + dt_s if ac_is_present else 0.0
        if not ac_is_present:
            self.ac_mode = AcMode.NO_AC
        else:
            is_qualified = self._qualified_s >= self.settings.qualify_s
            self.ac_mode = AcMode.AC_USE if is_qualified else AcMode.AC_DROP
        if battery_voltage_v <= self.settings.cut_out_v:
            self.is_cut_out = True
        elif battery_voltage_v >= self.settings.cut_in_v:
            self.is_cut_out = False

    def drawn_a(self, load_w: float, battery_voltage_v: float) -> float:
        """The DC current that carrying `load_w` takes from the bank, A."""
        if not self.is_inverting:
            return 0.0
        return (load_w / self.settings.efficiency + self.settings.idle_w) / battery_voltage_v
