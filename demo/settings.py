"""The demo's device settings: production's rules and thresholds, with times shortened to fit a day of two minutes."""

import json
from pathlib import Path

from device.settings import Settings, Uplink, parse

THING = "shed"
SPEED = 720
SENSOR_ID = "28-000005e2fdc3"
OUTSIDE_SENSOR_ID = "28-000005e2fe71"

NOTE = "Simulated shed: a day passes in 2 minutes. Thresholds are production's, timers are shortened to match."
# Of the cloud half. A heartbeat comes every 5 s; a day, and with it what comes and goes daily, takes two minutes.
SILENT_AFTER_S = 10
BLIND_AFTER_S = 30
CALM_AFTER_S = 5
SHORTENED = (
    "low hold 1 s (production: 60 s), recover hold 2 s (5 min), least time on grid 4 s (30 min) and on battery 2 s "
    "(5 min), cooling 2 s (10 min), AC feedback 2 to 5 s (10 s to 5 min), a lost sensor 4 to 10 s (2 to 30 min), "
    "transfers counted over 2 min (a day), an override moves the relays 1 s after they moved (1 min), "
    "a sample a second (a minute), a heartbeat every 5 s (5 min), silent after 10 s (15 min), looked for every 2 s "
    "(5 min)"
)


def write_settings(path: Path, shed: Path, state: Path, runtime: Path, uplink: Uplink) -> Settings:
    """Write the settings file for `solarshed control` and `solarshed uplink`, and return what it says."""

    def quoted(value: object) -> str:
        # A JSON string is a TOML string too.
        return json.dumps(str(value))

    text = f"""\
thing = {quoted(THING)}
state_directory = {quoted(state)}
runtime_directory = {quoted(runtime)}

[battery]
low_hold_s = 1
recover_hold_s = 2
least_time_on_grid_s = 4
least_time_on_battery_s = 2

[box]
least_cooling_time_s = 2
thermometer_lost_after_s = 6

[monitor]
serial_port = {quoted(shed / "mate")}
stale_after_s = 3
lost_after_s = 4
lost_after_per_volt_s = 1
lost_after_cap_s = 10

[thermometer]
sensor_id = {quoted(SENSOR_ID)}
outside_sensor_id = {quoted(OUTSIDE_SENSOR_ID)}
directory = {quoted(shed / "w1")}
period_s = 0.5
stale_after_s = 3

[relays]
most_transfers = 24
most_transfers_within_s = 120
override_pause_s = 1

[feedback]
settle_s = 2
grid_absent_after_s = 5
grid_rejected_after_s = 5

[control]
tick_s = 0.25
sample_interval_s = 1
heartbeat_interval_s = 5
write_interval_s = 0
boot_grace_s = 10

[uplink]
endpoint = {quoted(uplink.endpoint)}
port = {uplink.port}
certificate = {quoted(uplink.certificate)}
private_key = {quoted(uplink.private_key)}
ca = {quoted(uplink.ca)}
"""
    path.write_text(text)
    return parse(text)
