"""A simulated month in the stand-in for Timestream: every sample, and the hours as the deployed roll-up makes them.

Tests that ask for it are of xdist's group "cdk", so that it is loaded once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mypy_boto3_timestream_query import TimestreamQueryClient

    from cloud.telemetry.points import Point
    from tests.cdk_fixture import Synthesized

_OPTIONS: dict[str, Any] = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}


@dataclass(frozen=True)
class MonthTable:
    """Read it by `client`; `points` are what was stored."""

    client: "TimestreamQueryClient"
    points: "list[Point]"


@pytest.fixture(scope="session")
def month_of_minutes(stacks: "Synthesized") -> Iterator[MonthTable]:
    """The two tables, with the scheduled query of the synthesized stack run every other day."""
    # Every test run loads this module; only those with such a test need all this.
    import boto3

    from cloud.timestream.columns import declare
    from contract import store
    from demo.timestream.catalog import Retention
    from demo.timestream.scheduled import find, run
    from demo.timestream.server import serve
    from infra.costs.shed import DAY_S
    from tests import month

    with serve(clock_ns=lambda: month.END_MS * 10**6) as endpoint:
        reader = boto3.client("timestream-query", endpoint_url=endpoint.url, **_OPTIONS)
        writer = boto3.client("timestream-write", endpoint_url=endpoint.url, **_OPTIONS)
        endpoint.engine.create_database(store.DATABASE)
        for table in (store.TABLE, store.HOURLY_TABLE):
            endpoint.engine.create_table(store.DATABASE, table, Retention(168, 1825, magnetic_writes=True))
            declare(writer, store.DATABASE, table, month.END_MS)
        points = month.points()
        month.load_timestream(endpoint.engine, points)
        rollup = find(stacks.directory)
        for day in range(2, month.DAYS + 1, 2):
            run(rollup, reader, writer, month.END_MS - (month.DAYS - day) * DAY_S * 1000)
        yield MonthTable(reader, points)
        reader.close()
        writer.close()
