"""The MX charge controller: takes the panels' maximum power until the bank reaches absorb, then holds, then floats."""

from dataclasses import dataclass
from enum import IntEnum


class ChargerMode(IntEnum):
    """Numbered as in MX pages."""

    SILENT = 0
    FLOAT = 1
    BULK = 2
    ABSORB = 3


@dataclass(frozen=True, slots=True)
class ChargerSettings:
    """3 kW of panels and the usual set points of a flooded 48 V bank."""

    array_w: float = 3000.0
    efficiency: float = 0.97
    wake_w: float = 15.0
    absorb_v: float = 57.6
    float_v: float = 54.4
    absorb_time_s: float = 2 * 3600.0
    panel_voltage_v: float = 98.0
    open_circuit_v: float = 122.0
    night_panel_voltage_v: float = 3.0


class Charger:
    """The controller's state. `current_a` is DC into the bank and the inverter."""

    def __init__(self, settings: ChargerSettings) -> None:
        self.settings = settings
        self.mode = ChargerMode.SILENT
        self.current_a = 0.0
        self.panel_power_w = 0.0
        self.panel_voltage_v = settings.night_panel_voltage_v
        self._absorbed_s = 0.0

    @property
    def target_v(self) -> float:
        """The battery voltage that the controller does not go above, V."""
        return self.settings.float_v if self.mode is ChargerMode.FLOAT else self.settings.absorb_v

    def offer_a(self, sun: float, battery_voltage_v: float) -> float:
        """The most that the panels can give into the bank at this sunlight (0 to 1), A."""
        self._wake_or_sleep(sun)
        if self.mode is ChargerMode.SILENT:
            return 0.0
        return self.settings.array_w * sun * self.settings.efficiency / battery_voltage_v

    def deliver(self, dt_s: float, current_a: float, sun: float, battery_voltage_v: float) -> None:
        """Give `current_a` for `dt_s` at the voltage that the bank has then, and choose the stage that follows."""
        self.current_a = current_a
        self.panel_power_w = current_a * battery_voltage_v / self.settings.efficiency
        self.panel_voltage_v = self._panel_voltage_v(sun)
        if self.mode is ChargerMode.BULK and battery_voltage_v >= self.settings.absorb_v - 0.05:
            self.mode = ChargerMode.ABSORB
        if self.mode is ChargerMode.ABSORB:
            self._absorbed_s += dt_s
            if self._absorbed_s >= self.settings.absorb_time_s:
                self.mode = ChargerMode.FLOAT

    def _wake_or_sleep(self, sun: float) -> None:
        is_awake = self.settings.array_w * sun >= self.settings.wake_w
        if not is_awake:
            self.mode = ChargerMode.SILENT
        elif self.mode is ChargerMode.SILENT:
            self.mode = ChargerMode.BULK
            self._absorbed_s = 0.0

    def _panel_voltage_v(self, sun: float) -> float:
        """Panels that give less than they could float up towards their open circuit."""
        available_w = self.settings.array_w * sun
        if available_w < self.settings.wake_w:
            return self.settings.night_panel_voltage_v
        unused = max(0.0, 1.0 - self.panel_power_w / available_w)
        return self.settings.panel_voltage_v + unused * (self.settings.open_circuit_v - self.settings.panel_voltage_v)
