"""Reads rows through a boto3 `timestream-query` client."""

import math
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from contract import store
from contract.topics import check_thing_name
from dashboard.look import Look
from dashboard.queries import Query
from dashboard.timestream import sql
from page.source import Cell, Row, UnavailableError, Window

if TYPE_CHECKING:
    from mypy_boto3_timestream_query import TimestreamQueryClient
    from mypy_boto3_timestream_query.type_defs import ColumnInfoTypeDef, DatumTypeDef, QueryResponseTypeDef

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL_TIMESTREAM_QUERY"

# A bin as wide as an hour or wider is read from the table of hours.
_HOUR_MS = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNKNOWN_COLUMN = re.compile(r"[Cc]olumn\W+(\w+)\W+(?:does not exist|cannot be resolved|not found)")


class TimestreamSource:
    """Answers from the store, with the very SQL that Grafana's panels have."""

    def __init__(self, client: "TimestreamQueryClient", thing: str, site: str, look: Look) -> None:
        self._client = client
        self._variables = {"thing": check_thing_name(thing), "site": check_thing_name(site)}
        self._look = look

    def rows(self, query: Query, window: Window) -> list[Row]:
        """See `Source`. An empty table, which has no columns yet, has no rows."""
        text = sql(query, self._look.scale, self._look.utc_offset_h)
        try:
            return ask(self._client, expand(text, window, self._variables))
        except _UnknownColumnError:
            return []


def expand(text: str, window: Window, variables: Mapping[str, str]) -> str:
    """`text` with its macros and variables, as Grafana's Timestream plugin fills them in (its `macros.go`).

    The table is chosen by the width of a bin, unless `variables` says which.
    """
    table = store.HOURLY_TABLE if window.bin_ms >= _HOUR_MS else store.TABLE
    for name, value in {"resolution": table, **variables}.items():
        text = text.replace("${" + name + "}", value)
    in_range = f"time BETWEEN from_milliseconds({window.from_ms:d}) AND from_milliseconds({window.to_ms:d})"
    return text.replace("$__timeFilter", in_range).replace("$__interval_ms", f"{window.bin_ms:d}ms")


class _UnknownColumnError(Exception):
    """The table lacks a column: Timestream makes them as they are first written."""


def make_client(profile: str | None = None, region: str | None = None) -> "TimestreamQueryClient":
    """A client that gives up within seconds, of the owner's AWS configuration.

    boto3 reads the endpoint's variable itself, but then runs endpoint discovery too, which remembers a failure for a
    minute; with the endpoint given explicitly there is no discovery, and a restart is noticed at once.

    Raises:
        UnavailableError: region or settings are missing.
    """
    patience = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"})
    endpoint = os.environ.get(ENDPOINT_VARIABLE)
    try:
        session = boto3.session.Session(profile_name=profile, region_name=region)
        client: TimestreamQueryClient = session.client("timestream-query", endpoint_url=endpoint, config=patience)
    except (BotoCoreError, ValueError) as error:
        raise UnavailableError(f"no client for Timestream: {error}") from error
    return client


def ask(client: "TimestreamQueryClient", text: str) -> list[Row]:
    """All rows of `text`, which is SQL, each by column name.

    Times are epoch milliseconds, a number that is not finite is None.

    Raises:
        UnavailableError: there is no answer, or the query was refused; says which.
    """
    rows: list[Row] = []
    try:
        page = client.query(QueryString=text)
        rows += _rows(page)
        while page.get("NextToken"):
            page = client.query(QueryString=text, NextToken=page["NextToken"])
            rows += _rows(page)
    except ClientError as error:
        message = error.response.get("Error", {}).get("Message", "no reason given")
        if _UNKNOWN_COLUMN.search(message):
            raise _UnknownColumnError(message) from error
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
