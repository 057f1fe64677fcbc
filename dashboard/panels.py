"""The one list of panels: what each shows, of which query, and which of the two dashboards it stands on.

Grafana's JSON (`dashboard.grafana`) and the page of one machine (`page/`) are both made of it, so that they show the
same. `NOW` answers at a glance: is it on solar, why, and is anything wrong? `HISTORY` is for a week, a month, a year.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from contract import store
from contract.positions import Position, Reason
from contract.words import reason_in_short
from dashboard.queries import Aggregate, Daily, DailyMaximum, Events, Newest, Quantity, Query, Total, Trend
from dashboard.units import Unit

DECISION = store.MEASURE_DECISION


class Kind(StrEnum):
    """How a panel is drawn."""

    STAT = "stat"
    GAUGE = "gauge"
    LINES = "lines"
    BARS = "bars"
    STATES = "states"
    TABLE = "table"


class Colour(StrEnum):
    """What a colour means; Grafana and the page's style sheet each have their own for it."""

    GRID = "grid"
    BATTERY = "battery"
    SOLAR = "solar"
    TEMPERATURE = "temperature"
    COLD = "cold"
    GOOD = "good"
    WARNING = "warning"
    DANGER = "danger"
    QUIET = "quiet"


@dataclass(frozen=True)
class Series:
    """A column of a panel's query: its name in words, its colour, and whether it is a limit to compare with."""

    column: str
    title: str
    colour: Colour | None = None
    is_limit: bool = False


@dataclass(frozen=True)
class Word:
    """What a value is called, and its colour."""

    text: str
    colour: Colour


@dataclass(frozen=True)
class Step:
    """From `value` on (in the store's unit), the colour is `colour`."""

    value: float
    colour: Colour


class Over(StrEnum):
    """A range of a panel's own, as Grafana writes it. `TOTAL` is as long as the store keeps anything by default."""

    TODAY = "now/d"
    MONTH = "30d"
    TOTAL = "1825d"


@dataclass(frozen=True)
class Panel:
    """One panel. `series` names the columns of `query`; a query by source has a line for each source and column.

    `over` is a range of its own, one of `Over`, whatever the dashboard's is. `low` and `high` bound a gauge, and are on
    an axis at least. `words` name values that are states, `when_unknown` names the lack of one. `is_optional`: the page
    leaves the panel out where nothing is known.
    """

    id: str
    title: str
    kind: Kind
    query: Query
    series: tuple[Series, ...]
    unit: Unit = Unit.NONE
    decimals: int | None = None
    width: int = 12
    height: int = 7
    low: float | None = None
    high: float | None = None
    steps: tuple[Step, ...] = ()
    words: Mapping[str, Word] = field(default_factory=dict)
    when_unknown: Word | None = None
    over: Over | None = None
    help: str = ""
    is_optional: bool = False


@dataclass(frozen=True)
class Annotation:
    """Events that are marked on all charts over time."""

    title: str
    query: Events
    colour: Colour


@dataclass(frozen=True)
class Row:
    """Panels under one heading. `is_headline`: the page says them at the top, on both dashboards."""

    title: str
    panels: tuple[Panel, ...]
    is_headline: bool = False


@dataclass(frozen=True)
class Dashboard:
    """One dashboard. `span` is what it shows at first, `least_interval` the narrowest bin, `table` its table."""

    uid: str
    title: str
    description: str
    span: str
    refresh: str
    least_interval: str
    table: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> Iterator[Panel]:
        """All of them, in order."""
        for row in self.rows:
            yield from row.panels


_POSITIONS = {
    Position.GRID.value: Word("GRID", Colour.GRID),
    Position.BATTERY.value: Word("BATTERY (solar)", Colour.BATTERY),
}
_REASON_COLOURS = {
    Reason.OVER_TEMPERATURE: Colour.DANGER,
    Reason.THERMOMETER_LOST: Colour.DANGER,
    Reason.RELAY_FAULT: Colour.DANGER,
    Reason.INTERNAL_ERROR: Colour.DANGER,
    Reason.OVERRIDE: Colour.WARNING,
    Reason.BATTERY_MONITOR_LOST: Colour.WARNING,
    Reason.RELAY_CHATTER: Colour.WARNING,
    Reason.NO_DATA: Colour.WARNING,
    Reason.STOPPED: Colour.WARNING,
    Reason.BATTERY_LOW: Colour.GRID,
    Reason.BATTERY_RECOVERED: Colour.BATTERY,
    Reason.HOLD: Colour.QUIET,
}
_REASONS = {reason.value: Word(reason_in_short(reason), _REASON_COLOURS[reason]) for reason in Reason}
_CLOSED = {"1": Word("closed", Colour.GRID), "0": Word("open", Colour.BATTERY)}
_DAYLIGHT = {"true": Word("daylight", Colour.SOLAR), "false": Word("night", Colour.QUIET)}
_YES_NO = {"true": Word("yes", Colour.DANGER), "false": Word("no", Colour.GOOD)}

_HOT = (Step(-60, Colour.GOOD), Step(30.0, Colour.WARNING), Step(35.0, Colour.DANGER))
_SCARCE = (Step(0, Colour.DANGER), Step(5, Colour.WARNING), Step(15, Colour.GOOD))

POSITION = Panel(
    "position",
    "Running on",
    Kind.STAT,
    Newest(DECISION, ("position",)),
    (Series("position", "running on"),),
    unit=Unit.TEXT,
    width=6,
    height=4,
    words=_POSITIONS,
    help="GRID: the relays are closed and the inverter passes grid power on. BATTERY: they are open.",
)
REASON = Panel(
    "reason",
    "Because",
    Kind.STAT,
    Newest(DECISION, ("reason",)),
    (Series("reason", "because"),),
    unit=Unit.TEXT,
    width=6,
    height=4,
    words=_REASONS,
    help="The rule that decided last.",
)
ALERTS = Panel(
    "alerts",
    "Wrong",
    Kind.STAT,
    # With the position, which every sample has: the newest sample is meant, not the newest with an alert.
    Newest(DECISION, ("alerts", "position")),
    (Series("alerts", "alerts", Colour.DANGER),),
    unit=Unit.TEXT,
    width=6,
    height=4,
    when_unknown=Word("nothing", Colour.GOOD),
    help="The alerts that are active.",
)
AGE = Panel(
    "age",
    "Newest sample",
    Kind.STAT,
    Newest(DECISION, ("sequence",)),
    (Series("time", "newest sample"),),
    unit=Unit.AGE,
    width=6,
    height=4,
    help="A device whose newest sample is old is silent: what stands here need not be so any more.",
)
VOLTAGE_NOW = Panel(
    "voltage-now",
    "Battery",
    Kind.GAUGE,
    Newest(DECISION, ("battery_voltage_v",)),
    (Series("battery_voltage_v", "battery"),),
    unit=Unit.VOLT,
    decimals=1,
    width=6,
    height=5,
    low=44,
    high=60,
    steps=(Step(44, Colour.DANGER), Step(47.0, Colour.WARNING), Step(49.9, Colour.GOOD)),
)
SOC_NOW = Panel(
    "soc-now",
    "State of charge",
    Kind.GAUGE,
    Newest(DECISION, ("soc_percent",)),
    (Series("soc_percent", "state of charge"),),
    unit=Unit.PERCENT,
    decimals=0,
    width=6,
    height=5,
    low=0,
    high=100,
    steps=(Step(0, Colour.DANGER), Step(20, Colour.WARNING), Step(35, Colour.GOOD)),
    help="As a FLEXnet DC counts it.",
    is_optional=True,
)
BOX_NOW = Panel(
    "box-now",
    "Relay box",
    Kind.GAUGE,
    Newest(DECISION, ("box_temperature_c",)),
    (Series("box_temperature_c", "box"),),
    unit=Unit.TEMPERATURE,
    decimals=1,
    width=6,
    height=5,
    low=-10,
    high=50,
    steps=_HOT,
    help="From 35 °C (95 °F) on the relays open.",
)
OUTSIDE_NOW = Panel(
    "outside-now",
    "Outside",
    Kind.GAUGE,
    Newest(DECISION, ("outside_temperature_c",)),
    (Series("outside_temperature_c", "outside"),),
    unit=Unit.TEMPERATURE,
    decimals=1,
    width=6,
    height=5,
    low=-30,
    high=50,
    steps=(Step(-60, Colour.COLD), Step(0, Colour.GOOD), Step(35, Colour.WARNING)),
    is_optional=True,
)
POWER_NOW = Panel(
    "power-now",
    "Power",
    Kind.STAT,
    Newest(DECISION, ("pv_power_w", "load_power_w")),
    (Series("pv_power_w", "solar", Colour.SOLAR), Series("load_power_w", "load", Colour.GRID)),
    unit=Unit.WATT,
    decimals=0,
    width=6,
    height=4,
)
GRID_TODAY = Panel(
    "grid-today",
    "On grid today",
    Kind.STAT,
    Total(Quantity.GRID_TIME_S, long=False),
    (Series(Quantity.GRID_TIME_S, "on grid", Colour.GRID),),
    unit=Unit.DURATION,
    decimals=0,
    width=6,
    height=4,
    over=Over.TODAY,
    help="Of the minutes with samples.",
)
TRANSFERS_TODAY = Panel(
    "transfers-today",
    "Transfers today",
    Kind.STAT,
    Total(Quantity.TRANSFERS, long=False),
    (Series(Quantity.TRANSFERS, "transfers"),),
    decimals=0,
    width=6,
    height=4,
    steps=(Step(0, Colour.GOOD), Step(9, Colour.WARNING), Step(13, Colour.DANGER)),
    over=Over.TODAY,
    help="More than 12 in 24 h, and the load stays on grid.",
)
ENERGY_TODAY = Panel(
    "energy-today",
    "Solar today",
    Kind.STAT,
    Newest("mx", ("daily_kwh",), by_source=True),
    (Series("daily_kwh", "solar", Colour.SOLAR),),
    unit=Unit.KILOWATT_HOUR,
    decimals=1,
    width=6,
    height=4,
    help="As each charge controller counts it since its own midnight.",
)
BAND = Panel(
    "band",
    "Grid or battery, and why",
    Kind.STATES,
    Trend(DECISION, ("position", "reason"), Aggregate.LAST),
    (Series("position", "running on"), Series("reason", "because")),
    unit=Unit.TEXT,
    width=24,
    height=5,
    words={**_POSITIONS, **_REASONS},
)
SSR = Panel(
    "ssr",
    "Solid-state relays",
    Kind.STATES,
    Trend(DECISION, (store.SSR_1, store.SSR_2), Aggregate.LAST),
    (Series(store.SSR_1, "relay 1"), Series(store.SSR_2, "relay 2")),
    width=24,
    height=5,
    words=_CLOSED,
    help="What the two pins read back. They always move together.",
)
VOLTAGE = Panel(
    "voltage",
    "Battery voltage",
    Kind.LINES,
    Trend(DECISION, ("battery_voltage_v", "battery_low_voltage_v", "battery_recover_voltage_v")),
    (
        Series("battery_voltage_v", "battery", Colour.BATTERY),
        Series("battery_low_voltage_v", "low", Colour.DANGER, is_limit=True),
        Series("battery_recover_voltage_v", "recover", Colour.GOOD, is_limit=True),
    ),
    unit=Unit.VOLT,
    decimals=1,
)
TEMPERATURE = Panel(
    "temperature",
    "Temperature inside and outside",
    Kind.LINES,
    Trend(DECISION, ("box_temperature_c", "outside_temperature_c", "over_temperature_trip_c")),
    (
        Series("box_temperature_c", "relay box", Colour.TEMPERATURE),
        Series("outside_temperature_c", "outside", Colour.COLD),
        Series("over_temperature_trip_c", "trip", Colour.DANGER, is_limit=True),
    ),
    unit=Unit.TEMPERATURE,
    decimals=1,
)
POWER = Panel(
    "power",
    "Solar and load",
    Kind.LINES,
    Trend(DECISION, ("pv_power_w", "load_power_w")),
    (Series("pv_power_w", "solar", Colour.SOLAR), Series("load_power_w", "load", Colour.GRID)),
    unit=Unit.WATT,
    decimals=0,
    low=0,
    high=100,
)
SOC = Panel(
    "soc",
    "State of charge",
    Kind.LINES,
    Trend(DECISION, ("soc_percent",)),
    (Series("soc_percent", "state of charge", Colour.BATTERY),),
    unit=Unit.PERCENT,
    decimals=0,
    low=0,
    high=100,
    is_optional=True,
)
DEVICE_VOLTAGES = [
    Panel(
        f"voltage-{measure}",
        f"Battery voltage by {name}",
        Kind.LINES,
        Trend(measure, ("battery_voltage_v",), by_source=True),
        (Series("battery_voltage_v", "battery"),),
        unit=Unit.VOLT,
        decimals=1,
        width=8,
        is_optional=True,
    )
    for measure, name in (("fx", "inverter"), ("mx", "charge controller"), ("fndc", "battery monitor"))
]
CHARGER_CURRENT = Panel(
    "charger-current",
    "Charger current by controller",
    Kind.LINES,
    Trend("mx", ("charger_current_a",), by_source=True),
    (Series("charger_current_a", "into the battery"),),
    unit=Unit.AMPERE,
    decimals=1,
    low=0,
    high=5,
)
PV_VOLTAGE = Panel(
    "pv-voltage",
    "PV voltage by controller",
    Kind.LINES,
    Trend("mx", ("pv_voltage_v",), by_source=True),
    (Series("pv_voltage_v", "PV"),),
    unit=Unit.VOLT,
    decimals=0,
    low=0,
    high=10,
)
PV_CURRENT = Panel(
    "pv-current",
    "PV current by controller",
    Kind.LINES,
    Trend("mx", ("pv_current_a",), by_source=True),
    (Series("pv_current_a", "PV"),),
    unit=Unit.AMPERE,
    decimals=0,
    low=0,
    high=5,
)
DAYLIGHT = Panel(
    "daylight",
    "Daylight",
    Kind.STATES,
    Trend(DECISION, ("is_daylight",), Aggregate.LAST),
    (Series("is_daylight", "daylight"),),
    width=12,
    height=4,
    words=_DAYLIGHT,
    help="By the sun's elevation at the site, where the settings have one. The battery takes over by daylight only.",
    is_optional=True,
)
CLOUD_COVER = Panel(
    "cloud-cover",
    "Cloud cover",
    Kind.LINES,
    Trend(DECISION, ("cloud_cover_percent",)),
    (Series("cloud_cover_percent", "cloud cover", Colour.QUIET),),
    unit=Unit.PERCENT,
    decimals=0,
    width=12,
    height=4,
    low=0,
    high=100,
    help="Where something tells the Pi (weather.json); see the README.",
    is_optional=True,
)
DAILY_ENERGY = Panel(
    "daily-energy",
    "Solar energy a day",
    Kind.BARS,
    DailyMaximum("mx", "daily_kwh"),
    (Series("daily_kwh", "solar"),),
    unit=Unit.KILOWATT_HOUR,
    decimals=1,
    low=0,
    high=1,
)
DAILY_CHARGE = Panel(
    "daily-charge",
    "Charge a day",
    Kind.BARS,
    DailyMaximum("mx", "daily_ah"),
    (Series("daily_ah", "charge"),),
    unit=Unit.AMPERE_HOUR,
    decimals=0,
    low=0,
    high=10,
    is_optional=True,
)
DAILY_GRID_TIME = Panel(
    "daily-grid",
    "Time on grid a day",
    Kind.BARS,
    Daily(Quantity.GRID_TIME_S),
    (Series(Quantity.GRID_TIME_S, "on grid", Colour.GRID),),
    unit=Unit.DURATION,
    decimals=1,
    low=0,
    high=3600,
)
DAILY_TRANSFERS = Panel(
    "daily-transfers",
    "Transfers a day",
    Kind.BARS,
    Daily(Quantity.TRANSFERS),
    (Series(Quantity.TRANSFERS, "transfers", Colour.QUIET),),
    decimals=0,
    low=0,
    high=4,
)
GRID_MONTH = Panel(
    "grid-month",
    "On grid, 30 days",
    Kind.STAT,
    Total(Quantity.GRID_TIME_S, long=True),
    (Series(Quantity.GRID_TIME_S, "on grid", Colour.GRID),),
    unit=Unit.DURATION,
    decimals=1,
    width=8,
    height=4,
    over=Over.MONTH,
)
GRID_TOTAL = Panel(
    "grid-total",
    "On grid, in all",
    Kind.STAT,
    Total(Quantity.GRID_TIME_S, long=True),
    (Series(Quantity.GRID_TIME_S, "on grid", Colour.GRID),),
    unit=Unit.DURATION,
    decimals=1,
    width=8,
    height=4,
    over=Over.TOTAL,
)
TRANSFERS_MONTH = Panel(
    "transfers-month",
    "Transfers, 30 days",
    Kind.STAT,
    Total(Quantity.TRANSFERS, long=True),
    (Series(Quantity.TRANSFERS, "transfers"),),
    decimals=0,
    width=8,
    height=4,
    over=Over.MONTH,
)
PI_NOW = Panel(
    "pi-now",
    "The Pi",
    Kind.STAT,
    Newest("pi", ("disk_free_percent", "memory_available_percent")),
    (Series("disk_free_percent", "disk free"), Series("memory_available_percent", "memory free")),
    unit=Unit.PERCENT,
    decimals=0,
    width=6,
    height=4,
    steps=_SCARCE,
)
THROTTLED_NOW = Panel(
    "throttled-now",
    "Throttled",
    Kind.STAT,
    Newest("pi", ("throttled_now",)),
    (Series("throttled_now", "throttled"),),
    unit=Unit.TEXT,
    width=6,
    height=4,
    words=_YES_NO,
    help="The Pi runs slower, for heat or for want of voltage.",
    is_optional=True,
)
PI_SPACE = Panel(
    "pi-space",
    "Disk and memory of the Pi",
    Kind.LINES,
    Trend("pi", ("disk_free_percent", "memory_available_percent")),
    (
        Series("disk_free_percent", "disk free", Colour.COLD),
        Series("memory_available_percent", "memory free", Colour.SOLAR),
    ),
    unit=Unit.PERCENT,
    decimals=0,
    low=0,
    high=100,
    width=8,
)
PI_HEAT = Panel(
    "pi-heat",
    "CPU temperature of the Pi",
    Kind.LINES,
    Trend("pi", ("cpu_temperature_c",)),
    (Series("cpu_temperature_c", "CPU", Colour.TEMPERATURE),),
    unit=Unit.TEMPERATURE,
    decimals=0,
    width=8,
    is_optional=True,
)
PI_THROTTLED = Panel(
    "pi-throttled",
    "Throttling and supply of the Pi",
    Kind.STATES,
    Trend("pi", ("throttled_now", "under_voltage_now"), Aggregate.LAST),
    (Series("throttled_now", "throttled"), Series("under_voltage_now", "under-voltage")),
    width=8,
    words=_YES_NO,
    is_optional=True,
)
EVENTS = Panel(
    "events",
    "Transfers and alerts",
    Kind.TABLE,
    Events((store.TRANSFER, store.ALERT_CHANGES)),
    (
        Series("time", "when"),
        Series(store.TRANSFER, "to, and why"),
        Series(store.ALERT_CHANGES, "alerts"),
    ),
    unit=Unit.TEXT,
    width=24,
    height=8,
)

ANNOTATIONS = (
    Annotation("Transfers", Events((store.TRANSFER,)), Colour.GRID),
    Annotation("Alerts", Events((store.ALERT_CHANGES,)), Colour.DANGER),
)

NOW = Dashboard(
    "solarshed-now",
    "Solarshed: now",
    "Is it on solar, why, and is anything wrong?",
    "24h",
    "1m",
    "1m",
    store.TABLE,
    (
        Row("At a glance", (POSITION, REASON, ALERTS, AGE), is_headline=True),
        Row("Battery and box", (VOLTAGE_NOW, SOC_NOW, BOX_NOW, OUTSIDE_NOW)),
        Row("Today", (POWER_NOW, ENERGY_TODAY, GRID_TODAY, TRANSFERS_TODAY)),
        Row("How it came to this", (BAND, VOLTAGE, TEMPERATURE, POWER, SSR)),
        Row("The Pi", (PI_NOW, THROTTLED_NOW)),
        Row("Events", (EVENTS,)),
    ),
)
HISTORY = Dashboard(
    "solarshed-history",
    "Solarshed: history",
    "A week, a month, a year.",
    "30d",
    "5m",
    "1h",
    store.HOURLY_TABLE,
    (
        Row("Grid and battery", (BAND, SSR, GRID_MONTH, GRID_TOTAL, TRANSFERS_MONTH, DAILY_GRID_TIME, DAILY_TRANSFERS)),
        Row("Battery", (VOLTAGE, SOC, *DEVICE_VOLTAGES)),
        Row("Solar", (POWER, CHARGER_CURRENT, PV_VOLTAGE, PV_CURRENT, DAILY_ENERGY, DAILY_CHARGE)),
        Row("Weather and heat", (TEMPERATURE, DAYLIGHT, CLOUD_COVER)),
        Row("The Pi", (PI_SPACE, PI_HEAT, PI_THROTTLED)),
        Row("Events", (EVENTS,)),
    ),
)
DASHBOARDS = (NOW, HISTORY)
