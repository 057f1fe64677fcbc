"""The limits of the tests, stated here and not taken from the settings: production's defaults as design has them."""

from contract.positions import Position
from device.limits import Limits

LIMITS = Limits(
    battery_low_voltage_v=49.9,
    battery_recover_voltage_v=52.0,
    battery_critical_voltage_v=47.0,
    low_hold_s=60.0,
    recover_hold_s=300.0,
    least_time_on_grid_s=1800.0,
    least_time_on_battery_s=300.0,
    over_temperature_trip_c=35.0,
    over_temperature_clear_c=30.0,
    least_cooling_time_s=600.0,
    thermometer_lost_after_s=300.0,
    thermometer_lost_opens=True,
    monitor_lost_after_s=120.0,
    monitor_lost_after_per_volt_s=300.0,
    monitor_lost_after_cap_s=1800.0,
    monitor_lost_position=Position.GRID,
    boot_grace_s=60.0,
    most_transfers=12,
    most_transfers_within_s=86400.0,
    override_pause_s=60.0,
    ac_settle_s=10.0,
    grid_absent_after_s=60.0,
    grid_rejected_after_s=300.0,
    has_generator=False,
)
