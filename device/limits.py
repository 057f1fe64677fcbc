"""The thresholds and times of the rules."""

from dataclasses import dataclass

from contract.positions import Position


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds and times of the rules; `device.settings` checks their bounds.

    A threshold that was given as a depth of discharge has a state of charge as well; where a monitor reports one, that
    decides. Its voltage is None where the chemistry's voltage says too little.
    """

    battery_low_voltage_v: float | None
    battery_recover_voltage_v: float | None
    battery_critical_voltage_v: float
    low_hold_s: float
    recover_hold_s: float
    least_time_on_grid_s: float
    least_time_on_battery_s: float
    over_temperature_trip_c: float
    over_temperature_clear_c: float
    least_cooling_time_s: float
    thermometer_lost_after_s: float
    thermometer_lost_opens: bool
    monitor_lost_after_s: float
    monitor_lost_after_per_volt_s: float
    monitor_lost_after_cap_s: float
    monitor_lost_position: Position | None
    boot_grace_s: float
    most_transfers: int
    most_transfers_within_s: float
    override_pause_s: float
    ac_settle_s: float
    grid_absent_after_s: float
    grid_rejected_after_s: float
    has_generator: bool
    battery_low_soc_percent: float | None = None
    battery_recover_soc_percent: float | None = None

    @property
    def band_v(self) -> float:
        """Volts between low and recover; without end where the voltage does not decide."""
        if self.battery_low_voltage_v is None or self.battery_recover_voltage_v is None:
            return float("inf")
        # Rounded: 50.3 - 49.9 is a little less than 0.4 in binary.
        return round(self.battery_recover_voltage_v - self.battery_low_voltage_v, 6)
