"""The tables of the time series store: what the telemetry Lambda writes, and what Grafana and the page read.

One database for all sheds. Every record has the dimensions `site`, `thing` and `source`, the device's time and a
multi-measure value; a record is identified by dimensions, measure name and time, and the highest version wins.

| measure_name | source                    | one record for        | columns                                  |
|--------------|---------------------------|-----------------------|------------------------------------------|
| decision     | control                   | each sample           | `DECISION`                               |
| fx           | fx0, fx1 ... fx10         | each inverter         | `FX`, and what else the MATE says of it  |
| mx           | mx0, mx1 ... mx10         | each charge controller| `MX`, the same                           |
| fndc         | fndc1 ... fndc10          | each FLEXnet DC       | `FNDC`, the same                         |
| pi           | pi0                       | the Pi itself         | `PI`, the same of `device.health.Health` |

Every physical value is DOUBLE. A column is NULL where nothing is known.

`TABLE` holds every sample. `HOURLY_TABLE` holds one record an hour of each source, under the same names: of a DOUBLE
its average (of what counts up over a day its maximum), of a text the last one; besides, `COVERED_S`, `GRID_TIME_S` and
`TRANSFERS` of a decision. Where an engine needs no such table to be quick, there is none.
"""

from collections.abc import Mapping
from enum import StrEnum

# The engines that may hold it: Timestream for LiveAnalytics, and Timestream for InfluxDB.
TIMESTREAM = "timestream"
INFLUXDB = "influxdb"
ENGINES = (TIMESTREAM, INFLUXDB)

DATABASE = "solarshed"
TABLE = "telemetry"
HOURLY_TABLE = "telemetry_hourly"

DIMENSION_SITE = "site"
DIMENSION_THING = "thing"
DIMENSION_SOURCE = "source"
DIMENSIONS = (DIMENSION_SITE, DIMENSION_THING, DIMENSION_SOURCE)

# Of a device whose settings name no site.
DEFAULT_SITE = "home"

MEASURE_DECISION = "decision"
SOURCE_CONTROL = "control"


class Type(StrEnum):
    """A column's type, by Timestream's name."""

    DOUBLE = "DOUBLE"
    BIGINT = "BIGINT"
    BOOLEAN = "BOOLEAN"
    VARCHAR = "VARCHAR"


# Physical values of a decision; a sample holds those that are known. The last three are the settings in force,
# so that a chart can draw its lines without knowing the device's configuration.
DECISION_MEASURES = (
    "battery_voltage_v",
    "battery_voltage_age_s",
    "battery_current_a",
    "soc_percent",
    "box_temperature_c",
    "box_temperature_age_s",
    "outside_temperature_c",
    "cloud_cover_percent",
    "pv_power_w",
    "load_power_w",
    "next_change_in_s",
    "battery_low_voltage_v",
    "battery_recover_voltage_v",
    "over_temperature_trip_c",
)

# What each relay's pin read back after the decision was carried out, 1 = closed.
SSR_1 = "ssr_1_closed"
SSR_2 = "ssr_2_closed"
# 1 while the position is grid: its average is the share of time on grid.
ON_GRID = "on_grid"
# Only in the sample at which the position changed: where to and why, `grid: battery_low`.
TRANSFER = "transfer"
# Only in the sample at which alerts were raised or cleared: `raised battery_low, cleared over_temperature`.
ALERT_CHANGES = "alert_changes"

DECISION: Mapping[str, Type] = {
    **dict.fromkeys(DECISION_MEASURES, Type.DOUBLE),
    ON_GRID: Type.DOUBLE,
    SSR_1: Type.DOUBLE,
    SSR_2: Type.DOUBLE,
    "position": Type.VARCHAR,
    "reason": Type.VARCHAR,
    # Active ones, comma-separated, NULL for none.
    "alerts": Type.VARCHAR,
    TRANSFER: Type.VARCHAR,
    ALERT_CHANGES: Type.VARCHAR,
    "is_daylight": Type.BOOLEAN,
    "boot_id": Type.VARCHAR,
    "sequence": Type.BIGINT,
    "clock_synchronised": Type.BOOLEAN,
}

FX: Mapping[str, Type] = {
    "battery_voltage_v": Type.DOUBLE,
    "inverter_current_a": Type.DOUBLE,
    "charger_current_a": Type.DOUBLE,
    "buy_current_a": Type.DOUBLE,
    "sell_current_a": Type.DOUBLE,
    "ac_input_voltage_v": Type.DOUBLE,
    "ac_output_voltage_v": Type.DOUBLE,
    "operating_mode": Type.VARCHAR,
    "ac_mode": Type.VARCHAR,
    "errors": Type.VARCHAR,
    "warnings": Type.VARCHAR,
}
MX: Mapping[str, Type] = {
    "battery_voltage_v": Type.DOUBLE,
    "charger_current_a": Type.DOUBLE,
    "pv_current_a": Type.DOUBLE,
    "pv_voltage_v": Type.DOUBLE,
    "daily_kwh": Type.DOUBLE,
    "daily_ah": Type.DOUBLE,
    "charger_mode": Type.VARCHAR,
    "errors": Type.VARCHAR,
}
FNDC: Mapping[str, Type] = {
    "battery_voltage_v": Type.DOUBLE,
    "shunt_a_current_a": Type.DOUBLE,
    "shunt_b_current_a": Type.DOUBLE,
    "shunt_c_current_a": Type.DOUBLE,
    "soc_percent": Type.DOUBLE,
    "battery_temperature_c": Type.DOUBLE,
}
PI: Mapping[str, Type] = {
    "cpu_temperature_c": Type.DOUBLE,
    "disk_free_percent": Type.DOUBLE,
    "memory_available_percent": Type.DOUBLE,
    "load_1min": Type.DOUBLE,
    "uptime_s": Type.DOUBLE,
    "wifi_signal_dbm": Type.DOUBLE,
    "throttled_now": Type.BOOLEAN,
    "under_voltage_now": Type.BOOLEAN,
}

# The columns that panels and roll-ups may name, by measure. Timestream makes a column when it is first written, and
# refuses a query that names one before: these are declared when the table is made (`cloud/timestream`).
MEASURES: Mapping[str, Mapping[str, Type]] = {
    MEASURE_DECISION: DECISION,
    "fx": FX,
    "mx": MX,
    "fndc": FNDC,
    "pi": PI,
}
COLUMNS: Mapping[str, Type] = {name: type_ for columns in MEASURES.values() for name, type_ in columns.items()}

# Of the hourly table only. Seconds of the hour with samples, and of those on grid; transfers in the hour.
COVERED_S = "covered_s"
GRID_TIME_S = "grid_time_s"
TRANSFERS = "transfers"
HOURLY_ONLY: Mapping[str, Type] = {COVERED_S: Type.DOUBLE, GRID_TIME_S: Type.DOUBLE, TRANSFERS: Type.DOUBLE}
# Counts up over a day and starts anew: the last value of an hour is its highest.
COUNTS_UP = frozenset({"daily_kwh", "daily_ah"})

# Who declares the columns, as a measure of its own that nothing else reads.
MEASURE_COLUMNS = "columns"
