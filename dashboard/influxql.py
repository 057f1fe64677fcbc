"""Queries in InfluxQL, as InfluxDB 1.x has it and 2.x by its compatibility API, with Grafana's macros.

`$timeFilter` is the dashboard's range, `$__interval` a bin such as `1m`; `${site}` and `${thing}` are the dashboard's
variables. There is no hourly table: the engine is quick enough without.
"""

from contract import store
from dashboard.queries import MOST_EVENTS, Aggregate, Daily, DailyMaximum, Events, Newest, Quantity, Query, Total, Trend
from dashboard.units import Scale

_AGGREGATES = {Aggregate.MEAN: "mean", Aggregate.MAXIMUM: "max", Aggregate.LAST: "last"}


def influxql(query: Query, scale: Scale, utc_offset_h: float) -> str:
    """The SELECT of `query`. Days begin at midnight by a clock that is `utc_offset_h` ahead of UTC."""
    match query:
        case Trend():
            function = _AGGREGATES[query.aggregate]
            values = ", ".join(_named(scale, column, f'{function}("{column}")') for column in query.columns)
            source = f', "{store.DIMENSION_SOURCE}"' if query.by_source else ""
            return f"SELECT {values} {_from(query.measure)} GROUP BY time($__interval){source} fill(none)"
        case Newest(by_source=True):
            values = ", ".join(_named(scale, column, f'last("{column}")') for column in query.columns)
            return f'SELECT {values} {_from(query.measure)} GROUP BY "{store.DIMENSION_SOURCE}"'
        case Newest():
            values = ", ".join(_named(scale, column, f'"{column}"') for column in query.columns)
            return f"SELECT {values} {_from(query.measure)} ORDER BY time DESC LIMIT 1"
        case DailyMaximum():
            value = _named(scale, query.column, f'max("{query.column}")')
            return (
                f"SELECT {value} {_from(query.measure)} "
                f'GROUP BY time(1d{_offset(utc_offset_h)}), "{store.DIMENSION_SOURCE}" fill(none)'
            )
        case Daily(quantity=Quantity.TRANSFERS):
            # With the samples, so that a day without a transfer has a row and a day without a sample has none.
            counts = f'count("{store.TRANSFER}") AS "{query.quantity}", count("{store.ON_GRID}") AS "samples"'
            days = f"GROUP BY time(1d{_offset(utc_offset_h)}) fill(none)"
            counted = f"SELECT {counts} {_from(store.MEASURE_DECISION)} {days}"
            return f'SELECT "{query.quantity}" FROM ({counted}) WHERE $timeFilter'
        case Daily():
            days = f"GROUP BY time(1d{_offset(utc_offset_h)}) fill(none)"
            return f"{_quantity(query.quantity, '1m')} {days}"
        case Total():
            return _quantity(query.quantity, "1h" if query.long else "1m")
        case Events():
            values = ", ".join(f'"{column}"' for column in query.columns)
            return f"SELECT {values} {_from(query.measure)} ORDER BY time DESC LIMIT {MOST_EVENTS}"


def things_influxql() -> str:
    """The names of the things at `${site}`."""
    where = f"WHERE \"{store.DIMENSION_SITE}\" = '${{site}}'"
    return f'SHOW TAG VALUES FROM "{store.MEASURE_DECISION}" WITH KEY = "{store.DIMENSION_THING}" {where}'


def sites_influxql() -> str:
    """The names of the sites."""
    return f'SHOW TAG VALUES FROM "{store.MEASURE_DECISION}" WITH KEY = "{store.DIMENSION_SITE}"'


def _quantity(quantity: Quantity, share_of: str) -> str:
    """`quantity`, of which the time on grid is counted by its share of each `share_of` with samples."""
    match quantity:
        case Quantity.GRID_TIME_S:
            seconds = {"1m": 60, "1h": 3600}[share_of]
            shares = (
                f'SELECT mean("{store.ON_GRID}") AS "share" {_from(store.MEASURE_DECISION)} '
                f"GROUP BY time({share_of}) fill(none)"
            )
            return f'SELECT sum("share") * {seconds} AS "{quantity}" FROM ({shares}) WHERE $timeFilter'
        case Quantity.TRANSFERS:
            return f'SELECT count("{store.TRANSFER}") AS "{quantity}" {_from(store.MEASURE_DECISION)}'


def _named(scale: Scale, column: str, text: str) -> str:
    expression = scale.expression(column, text)
    return expression if expression == f'"{column}"' else f'{expression} AS "{column}"'


def _from(measure: str) -> str:
    return (
        f'FROM "{measure}" WHERE $timeFilter AND "{store.DIMENSION_SITE}" = \'${{site}}\' '
        f"AND \"{store.DIMENSION_THING}\" = '${{thing}}'"
    )


def _offset(utc_offset_h: float) -> str:
    minutes = round(utc_offset_h * 60)
    return f", {-minutes}m" if minutes else ""
