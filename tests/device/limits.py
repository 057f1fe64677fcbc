"""The limits of the tests, stated here and not taken from the settings: production's defaults as design has them."""

from device.decide import Limits

LIMITS = Limits(
    battery_low_voltage_v=49.9,
    battery_recover_voltage_v=52.0,
    low_hold_s=60.0,
    recover_hold_s=300.0,
    least_time_on_grid_s=1800.0,
    least_time_on_battery_s=300.0,
    over_temperature_trip_c=35.0,
    over_temperature_clear_c=30.0,
    least_cooling_time_s=600.0,
    boot_grace_s=60.0,
)
