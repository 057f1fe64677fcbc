"""The shed: sun, panels, bank, inverter, relays, box and house put together. No input, no output, no clock.

Times are simulated seconds since midnight of the first day. Currents are positive into the bank.
"""

from dataclasses import dataclass, field, replace
from math import ceil

from demo.shed.battery import Battery, BatterySettings
from demo.shed.box import Box, BoxSettings
from demo.shed.charger import Charger, ChargerMode, ChargerSettings
from demo.shed.household import Household
from demo.shed.inverter import AcMode, Inverter, InverterSettings, OperatingMode
from demo.shed.weather import HOUR_S, Weather, day_number, hour_of_day

LONGEST_STEP_S = 10.0
GRID_VOLTAGE_V = 121.0
NO_AC_VOLTAGE_V = 2.0


@dataclass(frozen=True, slots=True)
class ShedSettings:
    """Everything about a shed that does not change while it runs."""

    seed: int = 1
    start_hour: float = 18.0
    start_soc: float = 0.92
    battery: BatterySettings = field(default_factory=BatterySettings)
    charger: ChargerSettings = field(default_factory=ChargerSettings)
    inverter: InverterSettings = field(default_factory=InverterSettings)
    box: BoxSettings = field(default_factory=BoxSettings)


@dataclass(slots=True)
class Today:
    """Counters since midnight, as an MX and a FLEXnet DC keep them. The inverter's are negative when it draws."""

    charger_ah: float = 0.0
    charger_wh: float = 0.0
    inverter_ah: float = 0.0
    inverter_wh: float = 0.0
    charged_ah: float = 0.0
    discharged_ah: float = 0.0
    charged_wh: float = 0.0
    discharged_wh: float = 0.0
    least_soc: float = 1.0


@dataclass(slots=True)
class Ledger:
    """Energy since the start, Wh. Panels and grid give; the house, heat and gas take; the bank stores."""

    panels_wh: float = 0.0
    grid_wh: float = 0.0
    house_wh: float = 0.0
    lost_wh: float = 0.0
    stored_wh: float = 0.0


@dataclass(frozen=True, slots=True)
class ShedState:
    """What can be seen of the shed at one moment; `today` is a copy."""

    time_s: float
    sun: float
    soc: float
    battery_voltage_v: float
    battery_current_a: float
    charger_mode: ChargerMode
    charger_current_a: float
    panel_power_w: float
    panel_voltage_v: float
    inverter_dc_current_a: float
    house_w: float
    operating_mode: OperatingMode
    ac_mode: AcMode
    ac_input_voltage_v: float
    ac_input_current_a: float
    ac_output_voltage_v: float
    low_battery_cut_out: bool
    ambient_c: float
    cloud_cover: float
    box_temperature_c: float
    fan_working: bool
    grid_present: bool
    days_since_full: float
    today: Today

    @property
    def day(self) -> int:
        """The simulated day, counted from 1."""
        return day_number(self.time_s)

    @property
    def hour(self) -> float:
        """The simulated hour of the day, in [0, 24)."""
        return hour_of_day(self.time_s)


class Shed:
    """A shed that runs. `fan_working`, `grid_present` and `relays_welded` may be set at any time."""

    def __init__(self, settings: ShedSettings) -> None:
        self.settings = settings
        self.weather = Weather(settings.seed)
        self.household = Household(settings.seed)
        self.battery = Battery(settings.battery, settings.start_soc)
        self.charger = Charger(settings.charger)
        self.inverter = Inverter(settings.inverter)
        self.time_s = settings.start_hour * HOUR_S
        self.box = Box(settings.box, self.weather.ambient_c(self.time_s))
        self.fan_working = True
        self.grid_present = True
        self.relays_welded = False
        self.ledger = Ledger()
        self._today = Today()
        self._full_at_s = self.time_s
        self._sun = self.weather.sun(self.time_s)
        self._house_w = 0.0
        self._ac_is_present = False
        self._ac_input_current_a = 0.0
        self._inverter_dc_current_a = 0.0
        self._battery_current_a = 0.0

    def advance(self, duration_s: float, relays_closed: bool) -> None:
        """Let `duration_s` pass in steps of at most LONGEST_STEP_S."""
        steps = ceil(duration_s / LONGEST_STEP_S)
        for _ in range(steps):
            self.step(duration_s / steps, relays_closed)

    def step(self, dt_s: float, relays_closed: bool) -> None:
        """Let `dt_s` (at most LONGEST_STEP_S) pass with both relays closed, or at least one open."""
        self._sun = self.weather.sun(self.time_s)
        self._ac_is_present = self.grid_present and (relays_closed or self.relays_welded)
        self.inverter.watch(dt_s, self._ac_is_present, self.battery.voltage_v)
        self._move_current(dt_s)
        self.box.step(dt_s, self._ac_input_current_a, self.weather.ambient_c(self.time_s), self.fan_working)
        self._keep_ledger(dt_s)
        self._count_today(dt_s)
        self.time_s += dt_s

    def _move_current(self, dt_s: float) -> None:
        """Share the currents out between panels, bank, house and grid, and let them flow."""
        voltage_v = self.battery.voltage_v
        self._house_w = self._served_w()
        drawn_a = self.inverter.drawn_a(self._house_w, voltage_v)
        offered_a = self.charger.offer_a(self._sun, voltage_v)
        from_panels_a, from_grid_a = self._limit_charge(dt_s, offered_a, drawn_a)
        self._inverter_dc_current_a = from_grid_a - drawn_a
        self._battery_current_a = from_panels_a + self._inverter_dc_current_a
        self.battery.step(dt_s, self._battery_current_a)
        self.charger.deliver(dt_s, from_panels_a, self._sun, self.battery.voltage_v)
        self._ac_input_current_a = self._input_current_a(from_grid_a)

    def _served_w(self) -> float:
        """What the house gets: all that it wants, or nothing when there is neither grid nor inverter."""
        is_served = self.inverter.is_inverting or self.inverter.ac_mode is AcMode.AC_USE
        return self.household.power_w(self.time_s) if is_served else 0.0

    def _limit_charge(self, dt_s: float, offered_a: float, drawn_a: float) -> tuple[float, float]:
        """The charge currents from panels and grid, A, cut where the bank would pass the charger's target."""
        from_grid_a = self.settings.inverter.grid_charge_a if self.inverter.ac_mode is AcMode.AC_USE else 0.0
        wanted_a, target_v = offered_a + from_grid_a, self.charger.target_v
        if self.battery.voltage_after(dt_s, wanted_a - drawn_a) <= target_v:
            return offered_a, from_grid_a
        room_a = max(0.0, self.battery.current_at(target_v, dt_s) + drawn_a)
        from_panels_a = min(offered_a, room_a)
        return from_panels_a, min(from_grid_a, room_a - from_panels_a)

    def _input_current_a(self, charge_a: float) -> float:
        """AC through the relays, A."""
        if self.inverter.ac_mode is not AcMode.AC_USE:
            return 0.0
        charge_w = charge_a * self.battery.voltage_v / self.settings.inverter.charge_efficiency
        return (self._house_w + charge_w) / self._ac_input_voltage_v()

    def _ac_input_voltage_v(self) -> float:
        if not self._ac_is_present:
            return NO_AC_VOLTAGE_V
        return GRID_VOLTAGE_V - self.settings.box.relays * self.settings.box.relay_drop_v

    def _keep_ledger(self, dt_s: float) -> None:
        """Write down each flow once. Losses come from each device's own efficiency, so that the sum can be checked."""
        hours = dt_s / 3600.0
        self.ledger.panels_wh += self.charger.panel_power_w * hours
        self.ledger.grid_wh += GRID_VOLTAGE_V * self._ac_input_current_a * hours
        self.ledger.house_wh += self._house_w * hours
        self.ledger.stored_wh += self.battery.rest_voltage_v * self.battery.stored_current_a * hours
        self.ledger.lost_wh += (self._lost_converting_w() + self._lost_storing_w()) * hours

    def _lost_converting_w(self) -> float:
        """Heat of charge controller, inverter and relays, W."""
        inverter = self.settings.inverter
        lost_w = self.charger.panel_power_w * (1.0 - self.settings.charger.efficiency)
        if self.inverter.is_inverting:
            lost_w += self._house_w * (1.0 / inverter.efficiency - 1.0) + inverter.idle_w
        charge_w = max(0.0, self._inverter_dc_current_a) * self.battery.voltage_v
        lost_w += charge_w * (1.0 / inverter.charge_efficiency - 1.0)
        return lost_w + self.box.relay_heat_w(self._ac_input_current_a)

    def _lost_storing_w(self) -> float:
        """Heat and gas of the bank, W; below zero for moments in which its polarisation gives something back."""
        current_a = self._battery_current_a
        over_rest_v = self.settings.battery.resistance_ohm * current_a + self.battery.polarisation_v
        gassing_a = current_a - self.battery.stored_current_a
        return over_rest_v * current_a + self.battery.rest_voltage_v * gassing_a

    def _count_today(self, dt_s: float) -> None:
        if day_number(self.time_s + dt_s) != day_number(self.time_s):
            self._today = Today()
        if self.battery.soc >= self.settings.battery.gassing_from_soc:
            self._full_at_s = self.time_s
        today, voltage_v = self._today, self.battery.voltage_v
        hours = dt_s / 3600.0
        today.charger_ah += self.charger.current_a * hours
        today.charger_wh += self.charger.current_a * voltage_v * hours
        today.inverter_ah += self._inverter_dc_current_a * hours
        today.inverter_wh += self._inverter_dc_current_a * voltage_v * hours
        moved_ah = abs(self._battery_current_a) * hours
        if self._battery_current_a > 0.0:
            today.charged_ah += moved_ah
            today.charged_wh += moved_ah * voltage_v
        else:
            today.discharged_ah += moved_ah
            today.discharged_wh += moved_ah * voltage_v
        today.least_soc = min(today.least_soc, self.battery.soc)

    @property
    def state(self) -> ShedState:
        """The shed as it is now."""
        is_on_grid = self.inverter.ac_mode is AcMode.AC_USE
        output_v = self.settings.inverter.output_voltage_v if self.inverter.is_inverting else 0.0
        return ShedState(
            time_s=self.time_s,
            sun=self._sun,
            soc=self.battery.soc,
            battery_voltage_v=self.battery.voltage_v,
            battery_current_a=self._battery_current_a,
            charger_mode=self.charger.mode,
            charger_current_a=self.charger.current_a,
            panel_power_w=self.charger.panel_power_w,
            panel_voltage_v=self.charger.panel_voltage_v,
            inverter_dc_current_a=self._inverter_dc_current_a,
            house_w=self._house_w,
            operating_mode=self.inverter.operating_mode,
            ac_mode=self.inverter.ac_mode,
            ac_input_voltage_v=self._ac_input_voltage_v(),
            ac_input_current_a=self._ac_input_current_a,
            ac_output_voltage_v=self._ac_input_voltage_v() if is_on_grid else output_v,
            low_battery_cut_out=self.inverter.is_cut_out,
            ambient_c=self.weather.ambient_c(self.time_s),
            cloud_cover=self.weather.cloud_cover(day_number(self.time_s)),
            box_temperature_c=self.box.temperature_c,
            fan_working=self.fan_working,
            grid_present=self.grid_present,
            days_since_full=(self.time_s - self._full_at_s) / 86400.0,
            today=replace(self._today),
        )
