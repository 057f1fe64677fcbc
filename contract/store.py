"""The Timestream table: what the telemetry Lambda writes, and what Grafana and the page read.

One database and one table for all sheds. Every record has the dimensions `thing` and `source`, the device's time and
a multi-measure value; a record is identified by dimensions, measure name and time, and the highest version wins.

| measure_name | source                    | one record for        | columns                                          |
|--------------|---------------------------|-----------------------|--------------------------------------------------|
| decision     | control                   | each sample           | DECISION_MEASURES, position, reason, alerts, ... |
| fx           | fx0, fx1 ... fx10         | each inverter         | what `solarshed decode mate` names               |
| mx           | mx0, mx1 ... mx10         | each charge controller| the same                                         |
| fndc         | fndc1 ... fndc10          | each FLEXnet DC       | the same                                         |
| pi           | pi0                       | the Pi itself         | `device.health.Health`, and counts of errors     |

Every physical value is DOUBLE. `position`, `reason`, `alerts` (active ones, comma-separated, NULL for none) and
`boot_id` are VARCHAR, `sequence` is BIGINT, `clock_synchronised` is BOOLEAN.
"""

DATABASE = "solarshed"
TABLE = "telemetry"

DIMENSION_THING = "thing"
DIMENSION_SOURCE = "source"

MEASURE_DECISION = "decision"
SOURCE_CONTROL = "control"

# Physical values of a decision; a sample holds those that are known. The last three are the settings in force,
# so that a chart can draw its lines without knowing the device's configuration.
DECISION_MEASURES = (
    "battery_voltage_v",
    "battery_voltage_age_s",
    "battery_current_a",
    "soc_percent",
    "box_temperature_c",
    "box_temperature_age_s",
    "pv_power_w",
    "load_power_w",
    "next_change_in_s",
    "battery_low_voltage_v",
    "battery_recover_voltage_v",
    "over_temperature_trip_c",
)
