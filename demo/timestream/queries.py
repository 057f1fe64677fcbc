"""Running queries and handing out their results in pages, in the service's shape."""

import re
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import duckdb

from .dialect import translate
from .engine import Engine
from .errors import ValidationError

MAX_ROWS_PER_PAGE = 1000
MAX_QUERY_CHARACTERS = 262144

# Results that wait for their next page. The oldest is given up when more are begun.
MAX_OPEN_RESULTS = 32

_SCALAR_TYPES = {
    "VARCHAR": "VARCHAR",
    "DOUBLE": "DOUBLE",
    "FLOAT": "DOUBLE",
    "BIGINT": "BIGINT",
    "HUGEINT": "BIGINT",
    "INTEGER": "INTEGER",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIME": "TIME",
    "INTERVAL": "INTERVAL_DAY_TO_SECOND",
    '"NULL"': "UNKNOWN",
}
_UNKNOWN_COLUMN = re.compile(r'column "(.+?)" not found')
_US_PER_DAY = 24 * 3600 * 10**6


@dataclass(frozen=True)
class _Result:
    query: str
    column_info: list[dict[str, Any]]
    rows: list[dict[str, Any]]


class Queries:
    """Answers Query and CancelQuery over one engine. Safe for use by several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Result] = OrderedDict()

    def query(self, request: dict[str, Any]) -> dict[str, Any]:
        """One page of a query's result; a NextToken leads to the page after it.

        Raises:
            ValidationError: the query is wrong, or the token is not of this query or is too old.
        """
        query = request.get("QueryString")
        if not isinstance(query, str) or not 1 <= len(query) <= MAX_QUERY_CHARACTERS:
            raise ValidationError(f"QueryString must have 1 to {MAX_QUERY_CHARACTERS} characters")
        page_rows = request.get("MaxRows") or MAX_ROWS_PER_PAGE
        if not isinstance(page_rows, int) or not 1 <= page_rows <= MAX_ROWS_PER_PAGE:
            raise ValidationError(f"MaxRows must be from 1 to {MAX_ROWS_PER_PAGE}")
        if request.get("NextToken"):
            query_id, start, result = self._resume(query, request["NextToken"])
        else:
            query_id, start, result = secrets.token_hex(28).upper(), 0, self._run(query)
        return self._page(query_id, result, start, start + page_rows)

    def cancel(self, request: dict[str, Any]) -> dict[str, Any]:
        """Gives up the pages of a query that have not been fetched.

        Raises:
            ValidationError: no such query has pages left.
        """
        with self._lock:
            if self._open.pop(str(request.get("QueryId")), None) is None:
                raise ValidationError("No query of that QueryId is under way")
        return {"CancellationMessage": "The rest of the result was given up"}

    def _run(self, query: str) -> _Result:
        translation = translate(query, self._engine.table, self._engine.now_ns())
        try:
            with self._engine.cursor() as cursor:
                description = cursor.execute(f"SELECT * FROM ({translation.sql}) AS r LIMIT 0").description
                types = [str(column[1]) for column in description]
                rows = cursor.execute(_as_text(translation.sql, types)).fetchall()
        except duckdb.Error as error:
            raise ValidationError(_reason(error)) from error
        names = translation.column_names or [str(column[0]) for column in description]
        info = [
            {"Name": name, "Type": {"ScalarType": _scalar_type(type_name)}}
            for name, type_name in zip(names, types, strict=True)
        ]
        return _Result(query, info, [_row(row, types) for row in rows])

    def _resume(self, query: str, token: str) -> tuple[str, int, _Result]:
        query_id, _, start = token.partition("-")
        with self._lock:
            result = self._open.get(query_id)
        if result is None or result.query != query or not (start.isascii() and start.isdigit()):
            raise ValidationError("Invalid pagination token: it is of another query, or too old")
        return query_id, int(start), result

    def _page(self, query_id: str, result: _Result, start: int, end: int) -> dict[str, Any]:
        more = end < len(result.rows)
        with self._lock:
            self._open.pop(query_id, None)
            if more:
                self._open[query_id] = result
            while len(self._open) > MAX_OPEN_RESULTS:
                self._open.popitem(last=False)
        progress = min(100.0, 100.0 * end / max(1, len(result.rows)))
        return {
            "QueryId": query_id,
            **({"NextToken": f"{query_id}-{end}"} if more else {}),
            "Rows": result.rows[start:end],
            "ColumnInfo": result.column_info,
            "QueryStatus": {
                "ProgressPercentage": progress,
                "CumulativeBytesScanned": 0,
                "CumulativeBytesMetered": 0,
            },
        }


def _reason(error: duckdb.Error) -> str:
    """What to tell of `error`; an unknown column in the service's words, for clients look for it."""
    unknown = _UNKNOWN_COLUMN.search(str(error))
    if unknown:
        return f"Column '{unknown[1]}' does not exist"
    return f"The query cannot be run: {str(error).splitlines()[0]}"


def _as_text(sql: str, types: list[str]) -> str:
    """`sql` with every column as text: DuckDB's Python types would cut nanoseconds off."""
    places = [f"c{place}" for place in range(len(types))]
    columns = (_text_column(place, type_name) for place, type_name in zip(places, types, strict=True))
    return f"SELECT {', '.join(columns)} FROM ({sql}) AS r({', '.join(places)})"


def _text_column(place: str, type_name: str) -> str:
    if type_name == "INTERVAL":
        return f"epoch_us({place})"
    if type_name.startswith("DECIMAL"):
        return f"CAST(CAST({place} AS DOUBLE) AS VARCHAR)"
    if type_name == "TIMESTAMP WITH TIME ZONE":
        return f"CAST(CAST({place} AS TIMESTAMP) AS VARCHAR)"
    return f"CAST({place} AS VARCHAR)"


def _scalar_type(type_name: str) -> str:
    if type_name.startswith("TIMESTAMP"):
        return "TIMESTAMP"
    if type_name.startswith("DECIMAL"):
        return "DOUBLE"
    if type_name not in _SCALAR_TYPES:
        raise ValidationError(f"This stand-in cannot answer with a column of type {type_name}")
    return _SCALAR_TYPES[type_name]


def _row(row: tuple[Any, ...], types: list[str]) -> dict[str, Any]:
    return {"Data": [_datum(value, type_name) for value, type_name in zip(row, types, strict=True)]}


def _datum(value: str | int | None, type_name: str) -> dict[str, Any]:
    if value is None:
        return {"NullValue": True}
    if isinstance(value, int):
        return {"ScalarValue": _interval(value)}
    if type_name.startswith("TIME"):
        return {"ScalarValue": _nine_decimals(value)}
    return {"ScalarValue": {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(value, value)}


def _nine_decimals(text: str) -> str:
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<9}"


def _interval(duration_us: int) -> str:
    """Days, then hours to nanoseconds: `0 00:01:00.000000000`."""
    sign = "-" if duration_us < 0 else ""
    days, rest_us = divmod(abs(duration_us), _US_PER_DAY)
    seconds, us = divmod(rest_us, 10**6)
    return f"{sign}{days} {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{us * 1000:09}"
