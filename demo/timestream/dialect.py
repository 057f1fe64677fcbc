"""Timestream SQL in, DuckDB SQL out.

Timestream's language is close to Trino's, so Trino's grammar reads it. What differs is handled here: duration literals
(`15m`), `bin`, `ago`, `now`, the `from_` and `to_` functions, the `measure_value::TYPE` columns, and names of unnamed
result columns. A function that is not known to be Timestream's is refused, so that a query that runs here runs there.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from .catalog import Table
from .engine import SCHEMA
from .errors import ServiceError, ValidationError

TableFinder = Callable[[str, str], Table]

_UNITS = {"us": "MICROSECOND", "ms": "MILLISECOND", "s": "SECOND", "m": "MINUTE", "h": "HOUR", "d": "DAY"}
# sqlglot underlines the place of an error for a terminal.
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9]*m")
_DURATION = re.compile(r"([0-9]+)(us|ms|s|m|h|d)")
_SINGLE_MEASURE_TYPES = {"double", "bigint", "varchar", "boolean"}

# Functions that Trino's grammar does not know by itself, with how many arguments each takes.
_ARGUMENT_COUNTS = {
    "ago": 1,
    "bin": 2,
    "from_milliseconds": 1,
    "from_nanoseconds": 1,
    "to_milliseconds": 1,
    "to_nanoseconds": 1,
    "parse_duration": 1,
}


@dataclass(frozen=True)
class Translation:
    """DuckDB SQL and the names of its result columns; None when only the store knows them (`SELECT *`)."""

    sql: str
    column_names: list[str] | None


def translate(query: str, find_table: TableFinder, now_ns: int) -> Translation:
    """The DuckDB SQL for one Timestream query, in which `now()` is `now_ns`.

    Raises:
        ValidationError: it is not one SELECT, does not parse, or uses something unknown or not allowed.
    """
    try:
        tree = _parse(query)
        names = _name_columns(tree)
        _translate_tables(tree, find_table)
        _translate_measure_values(tree)
        _translate_expressions(tree, now_ns)
        return Translation(tree.sql("duckdb", identify=True), names)
    except (SqlglotError, RecursionError) as error:
        raise ValidationError(f"The query cannot be read: {_TERMINAL_CODES.sub('', str(error))}") from error


def _parse(query: str) -> exp.Query:
    trees = sqlglot.parse(_expand_durations(query), read="trino")
    tree = trees[0] if len(trees) == 1 else None
    if not isinstance(tree, exp.Select | exp.SetOperation):
        raise ValidationError("Only a single SELECT, with or without WITH, is accepted")
    return tree


def _expand_durations(query: str) -> str:
    """`query` with each duration literal (a number and a unit without a space) as a standard INTERVAL."""
    tokens = sqlglot.tokenize(query, read="trino")
    pieces: list[str] = []
    done = 0
    for before, number, unit in zip([None, *tokens], tokens, tokens[1:], strict=False):
        _check_double_colon(before, number, unit)
        if number.token_type is TokenType.NUMBER and unit.start == number.end + 1 and _is_word(unit):
            pieces += [query[done : number.start], _interval_sql(number.text + unit.text)]
            done = unit.end + 1
    return "".join(pieces) + query[done:]


def _is_word(token: Token) -> bool:
    return token.text.isidentifier() and token.token_type is not TokenType.IDENTIFIER


def _interval_sql(duration: str) -> str:
    found = _DURATION.fullmatch(duration)
    if not found:
        raise ValidationError(f"{duration!r} is no duration: it is a whole number with one of {', '.join(_UNITS)}")
    return f"INTERVAL '{found[1]}' {_UNITS[found[2]]}"


def _check_double_colon(before: Token | None, colons: Token, after: Token) -> None:
    if colons.token_type is not TokenType.DCOLON:
        return
    is_measure = before is not None and before.text.lower() == "measure_value"
    if not is_measure or after.text.lower() not in _SINGLE_MEASURE_TYPES:
        raise ValidationError("'::' belongs to measure_value::TYPE columns only: use CAST(... AS TYPE)")


def _name_columns(tree: exp.Query) -> list[str] | None:
    """The names of the result columns; an expression without one is `_col` with its place, from 0."""
    selects = tree.selects
    if any(column.is_star for column in selects):
        return None
    return [_column_name(column, place) for place, column in enumerate(selects)]


def _column_name(column: exp.Expr, place: int) -> str:
    measure_type = _measure_value_type(column)
    if measure_type:
        return f"measure_value::{measure_type}"
    if isinstance(column, exp.Alias | exp.Column):
        return column.alias_or_name
    return f"_col{place}"


def _translate_tables(tree: exp.Query, find_table: TableFinder) -> None:
    cte_names = {cte.alias_or_name.casefold() for cte in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        if not isinstance(table.this, exp.Identifier):
            raise ValidationError(f"A table function is not accepted: {table.sql('trino')}")
        if not table.db and not table.catalog and table.name.casefold() in cte_names:
            continue
        if not table.db or table.catalog:
            raise ValidationError(f'Table {table.sql("trino")} must be written as "database"."table"')
        _replace_table(table, find_table)
    for column in tree.find_all(exp.Column):
        column.set("db", None)


def _replace_table(table: exp.Table, find_table: TableFinder) -> None:
    """Puts the columns that a user sees of the stored table in the place of `table`."""
    try:
        found = find_table(table.db, table.name)
    except ServiceError as error:
        raise ValidationError(error.message) from error
    columns = [exp.column(exp.to_identifier(name, quoted=True)) for name in found.visible_columns()]
    source = exp.table_(exp.to_identifier(found.storage_name, quoted=True), db=SCHEMA)
    alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
    subquery = exp.Subquery(this=exp.select(*columns).from_(source), alias=alias.copy())
    subquery.set("joins", table.args.get("joins"))
    table.replace(subquery)


def _translate_measure_values(tree: exp.Query) -> None:
    for cast in list(tree.find_all(exp.Cast)):
        measure_type = _measure_value_type(cast)
        if measure_type:
            qualifier = cast.this.table or None
            cast.replace(exp.column(exp.to_identifier(f"measure_value::{measure_type}", quoted=True), qualifier))


def _measure_value_type(node: exp.Expr) -> str | None:
    """`double` for `measure_value::double`, which Trino's grammar takes for a cast, and so on."""
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Column) and node.this.name == "measure_value":
        return str(node.to.sql("trino")).lower()
    return None


def _translate_expressions(tree: exp.Query, now_ns: int) -> None:
    # From the leaves up: a function's arguments are translated before it is.
    for node in reversed(list(tree.walk())):
        translated = _translate_node(node, now_ns)
        if translated is not node:
            node.replace(translated)


def _translate_node(node: exp.Expr, now_ns: int) -> exp.Expr:
    match node:
        case exp.CurrentTimestamp():
            return _timestamp(now_ns)
        case exp.CurrentDate():
            return exp.cast(_timestamp(now_ns), "date")
        case exp.UnixToTime():
            # By microseconds, which a DOUBLE holds exactly until the year 2255.
            time_us = exp.cast(exp.Round(this=exp.paren(node.this) * exp.Literal.number("1e6")), "bigint")
            return _call("make_timestamp_ns", time_us * 1000)
        case exp.ApproxQuantile():
            return _approx_quantile(node)
        case exp.ArgMax() | exp.ArgMin() if not node.args.get("count"):
            # Trino's answer is NULL where the chosen row has it; DuckDB's max_by would pass that row over.
            name = "arg_max_null" if isinstance(node, exp.ArgMax) else "arg_min_null"
            return _call(name, node.this, node.expression)
        case exp.DateDiff():
            # Trino counts whole units that have passed; DuckDB's date_diff would count the boundaries between.
            return _call("date_sub", exp.Literal.string(node.text("unit").lower()), node.expression, node.this)
        case exp.Literal(is_string=False) if not node.is_int:
            # A decimal literal is a DOUBLE in Timestream; DuckDB would make a DECIMAL of it.
            return node if "e" in node.name.lower() else exp.Literal.number(f"{node.name}e0")
        case exp.DataType() if node.this in _TIMESTAMP_TYPES:
            return _TIMESTAMP_NS.copy()
        case exp.Anonymous():
            return _translate_function(node, now_ns)
        case _:
            return node


_TIMESTAMP_TYPES = {exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPTZ}
_TIMESTAMP_NS = exp.DataType.build("TIMESTAMP_NS", dialect="duckdb")


def _translate_function(call: exp.Anonymous, now_ns: int) -> exp.Expr:
    name = call.name.lower()
    arguments = call.expressions
    if _ARGUMENT_COUNTS.get(name) != len(arguments):
        raise ValidationError(f"Function {name} with {len(arguments)} arguments is not known")
    match name:
        case "ago":
            return exp.cast(exp.Paren(this=exp.Sub(this=_timestamp(now_ns), expression=arguments[0])), _TIMESTAMP_NS)
        case "bin":
            return _bin(*arguments)
        case "from_milliseconds":
            return _call("make_timestamp_ns", exp.cast(arguments[0], "bigint") * 10**6)
        case "from_nanoseconds":
            return _call("make_timestamp_ns", arguments[0])
        case "to_milliseconds":
            return _call("epoch_ms", arguments[0])
        case "to_nanoseconds":
            return _call("epoch_ns", arguments[0])
        case _:
            return _parse_duration(arguments[0])


def _approx_quantile(call: exp.ApproxQuantile) -> exp.Expr:
    if call.args.get("weight") or call.args.get("accuracy"):
        raise ValidationError("This stand-in has approx_percentile with two arguments only")
    # DuckDB takes the percentile as FLOAT only.
    call.set("quantile", exp.cast(call.args["quantile"], "float"))
    return call


def _bin(time: exp.Expr, width: exp.Expr) -> exp.Expr:
    """`time` down to a whole number of `width` since the epoch."""
    width_ns = _call("epoch_ns", width)
    count = exp.Paren(this=exp.IntDiv(this=_call("epoch_ns", time), expression=width_ns))
    return _call("make_timestamp_ns", exp.Mul(this=count, expression=width_ns.copy()))


def _parse_duration(argument: exp.Expr) -> exp.Expr:
    if not argument.is_string:
        raise ValidationError("parse_duration takes a literal, as in parse_duration('15m')")
    return sqlglot.parse_one(_interval_sql(argument.name), read="trino")


def _timestamp(time_ns: int) -> exp.Expr:
    return _call("make_timestamp_ns", exp.Literal.number(time_ns))


def _call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=list(arguments))
