"""Reads rows through a boto3 `timestream-query` client.

TimestreamError
  UnavailableError      nothing answers, or the query was refused; says which
  UnknownColumnError    the table has never held a column that the query names
"""

import math
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_timestream_query import TimestreamQueryClient
    from mypy_boto3_timestream_query.type_defs import ColumnInfoTypeDef, DatumTypeDef, QueryResponseTypeDef

Cell = str | float | int | bool | None
Row = dict[str, Cell]

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL_TIMESTREAM_QUERY"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNKNOWN_COLUMN = re.compile(r"[Cc]olumn\W+(\w+)\W+(?:does not exist|cannot be resolved|not found)")


class TimestreamError(Exception):
    """A query without an answer."""


class UnavailableError(TimestreamError):
    """Timestream does not answer, or not this query."""


class UnknownColumnError(TimestreamError):
    """`column` is not in the table. Timestream makes columns as they are first written."""

    def __init__(self, column: str) -> None:
        super().__init__(f"the table has no column {column}")
        self.column = column


def make_client() -> "TimestreamQueryClient":
    """A client that gives up within seconds.

    boto3 reads the endpoint's variable itself, but then runs endpoint discovery too, which remembers a failure for a
    minute; with the endpoint given explicitly there is no discovery, and a restart is noticed at once.

    Raises:
        UnavailableError: region or settings are missing.
    """
    patience = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"})
    endpoint = os.environ.get(ENDPOINT_VARIABLE)
    try:
        client: TimestreamQueryClient = boto3.client("timestream-query", endpoint_url=endpoint, config=patience)
    except (BotoCoreError, ValueError) as error:
        raise UnavailableError(f"no client for Timestream: {error}") from error
    return client


def query(client: "TimestreamQueryClient", sql: str) -> list[Row]:
    """All rows of `sql`, each by column name; times are epoch milliseconds, a number that is not finite is None.

    Raises:
        UnknownColumnError: the table lacks a column.
        UnavailableError: any other reason for no answer.
    """
    rows: list[Row] = []
    try:
        page = client.query(QueryString=sql)
        rows += _rows(page)
        while page.get("NextToken"):
            page = client.query(QueryString=sql, NextToken=page["NextToken"])
            rows += _rows(page)
    except ClientError as error:
        message = error.response.get("Error", {}).get("Message", "no reason given")
        if unknown := _UNKNOWN_COLUMN.search(message):
            raise UnknownColumnError(unknown[1]) from error
        raise UnavailableError(f"Timestream refused the query: {message.rstrip('.')}.") from error
    except BotoCoreError as error:
        raise UnavailableError(f"Timestream does not answer: {str(error).rstrip('.')}.") from error
    return rows


def _rows(page: "QueryResponseTypeDef") -> list[Row]:
    columns = page["ColumnInfo"]
    return [
        {column["Name"]: _cell(datum, column) for column, datum in zip(columns, row["Data"], strict=True)}
        for row in page["Rows"]
    ]


def _cell(datum: "DatumTypeDef", column: "ColumnInfoTypeDef") -> Cell:
    text = datum.get("ScalarValue")
    if text is None:
        return None
    match column["Type"].get("ScalarType"):
        case "TIMESTAMP":
            return _epoch_ms(text)
        case "DOUBLE":
            number = float(text)
            return number if math.isfinite(number) else None
        case "BIGINT" | "INTEGER":
            return int(text)
        case "BOOLEAN":
            return text == "true"
        case _:
            return text


def _epoch_ms(text: str) -> int:
    """`2026-11-23 11:00:00.123000000`, which is UTC, as epoch milliseconds."""
    return (datetime.fromisoformat(text[:23]).replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
