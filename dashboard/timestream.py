"""Queries in Timestream's SQL, with the macros of Grafana's Timestream plugin (grafana-timestream-datasource).

`$__timeFilter` is the dashboard's range, `$__interval_ms` a bin as a duration, such as `60000ms`.
`${site}`, `${thing}` and `${resolution}` (one of the two tables) are the dashboard's variables.
"""

from contract import store
from dashboard.queries import MOST_EVENTS, Aggregate, Daily, DailyMaximum, Events, Newest, Quantity, Query, Total, Trend
from dashboard.units import Scale

CHOSEN_TABLE = "${resolution}"

_BIN = "bin(time, $__interval_ms)"
_AGGREGATES = {
    Aggregate.MEAN: "avg({})",
    Aggregate.MAXIMUM: "max({})",
    Aggregate.LAST: "max_by({}, time)",
}
# Of the table with every sample.
_QUANTITIES = {
    Quantity.GRID_TIME_S: f"60.0 * count(DISTINCT bin(time, 1m)) * avg({store.ON_GRID})",
    Quantity.TRANSFERS: f"count({store.TRANSFER})",
}


def sql(query: Query, scale: Scale, utc_offset_h: float) -> str:
    """The SELECT of `query`. Days begin at midnight by a clock that is `utc_offset_h` ahead of UTC."""
    match query:
        case Trend():
            source = ", source" if query.by_source else ""
            form = _AGGREGATES[query.aggregate]
            values = ", ".join(_named(scale, column, form.format(column)) for column in query.columns)
            return (
                f"SELECT {_BIN} AS binned_time{source}, {values} {_from(CHOSEN_TABLE, query.measure)} "
                f"GROUP BY {_BIN}{source} ORDER BY binned_time{source}"
            )
        case Newest(by_source=True):
            values = ", ".join(_named(scale, column, f"max_by({column}, time)") for column in query.columns)
            return (
                f"SELECT max(time) AS time, source, {values} {_from(store.TABLE, query.measure)} "
                "GROUP BY source ORDER BY source"
            )
        case Newest():
            values = ", ".join(_named(scale, column, column) for column in query.columns)
            return f"SELECT time, {values} {_from(store.TABLE, query.measure)} ORDER BY time DESC LIMIT 1"
        case DailyMaximum():
            day = _day(utc_offset_h)
            value = _named(scale, query.column, f"max({query.column})")
            return (
                f"SELECT {day} AS day, source, {value} {_from(store.HOURLY_TABLE, query.measure)} "
                f"GROUP BY {day}, source ORDER BY day, source"
            )
        case Daily():
            day = _day(utc_offset_h)
            return (
                f"SELECT {day} AS day, sum({query.quantity}) AS {query.quantity} "
                f"{_from(store.HOURLY_TABLE, store.MEASURE_DECISION)} GROUP BY {day} ORDER BY day"
            )
        case Total(long=True):
            return (
                f"SELECT sum({query.quantity}) AS {query.quantity} {_from(store.HOURLY_TABLE, store.MEASURE_DECISION)}"
            )
        case Total():
            return (
                f"SELECT {_QUANTITIES[query.quantity]} AS {query.quantity} {_from(store.TABLE, store.MEASURE_DECISION)}"
            )
        case Events():
            is_set = " OR ".join(f"{column} IS NOT NULL" for column in query.columns)
            return (
                f"SELECT time, {', '.join(query.columns)} {_from(store.TABLE, query.measure)} "
                f"AND ({is_set}) ORDER BY time DESC LIMIT {MOST_EVENTS}"
            )


def things_sql() -> str:
    """The names of the things at `${site}` that have said something in the last 30 days."""
    return _names(store.DIMENSION_THING, f" AND {store.DIMENSION_SITE} = '${{site}}'")


def sites_sql() -> str:
    """The names of the sites with such things."""
    return _names(store.DIMENSION_SITE, "")


def _names(dimension: str, where: str) -> str:
    return (
        f'SELECT DISTINCT {dimension} FROM "{store.DATABASE}"."{store.TABLE}" '
        f"WHERE measure_name = '{store.MEASURE_DECISION}' AND time >= ago(30d){where} ORDER BY {dimension}"
    )


def _named(scale: Scale, column: str, text: str) -> str:
    expression = scale.expression(column, text)
    return column if expression == column else f"{expression} AS {column}"


def _from(table: str, measure: str) -> str:
    return (
        f'FROM "{store.DATABASE}"."{table}" WHERE $__timeFilter AND measure_name = \'{measure}\' '
        f"AND {store.DIMENSION_SITE} = '${{site}}' AND {store.DIMENSION_THING} = '${{thing}}'"
    )


def _day(utc_offset_h: float) -> str:
    minutes = round(utc_offset_h * 60)
    if not minutes:
        return "bin(time, 1d)"
    there, back = ("+", "-") if minutes > 0 else ("-", "+")
    return f"bin(time {there} {abs(minutes)}m, 1d) {back} {abs(minutes)}m"
