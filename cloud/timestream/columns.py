"""Declares the columns that queries may name.

Timestream has no columns until they are written, and refuses a query that names one before. One record that has them
all is enough; its measure name is `MEASURE_COLUMNS`, which every query leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from contract import store
from contract.store import Type

if TYPE_CHECKING:
    from mypy_boto3_timestream_write import TimestreamWriteClient

TABLES: Mapping[str, Mapping[str, Type]] = {
    store.TABLE: store.COLUMNS,
    store.HOURLY_TABLE: {**store.COLUMNS, **store.HOURLY_ONLY},
}

# What stands in the record. A VARCHAR must not be empty.
_VALUES = {Type.DOUBLE: "0", Type.BIGINT: "0", Type.BOOLEAN: "false", Type.VARCHAR: "-"}


def declare(client: TimestreamWriteClient, database: str, table: str, now_ms: int) -> None:
    """Write the record that declares the columns of one of TABLES, of the time `now_ms`. Again is harmless.

    Raises:
        botocore.exceptions.ClientError, BotoCoreError: it could not be written; a column of another type included.
    """
    client.write_records(
        DatabaseName=database,
        TableName=table,
        Records=[
            {
                "Dimensions": [{"Name": name, "Value": "-"} for name in store.DIMENSIONS],
                "MeasureName": store.MEASURE_COLUMNS,
                "MeasureValueType": "MULTI",
                "MeasureValues": [
                    {"Name": name, "Type": type_.value, "Value": _VALUES[type_]}
                    for name, type_ in TABLES[table].items()
                ],
                "Time": str(now_ms),
                "TimeUnit": "MILLISECONDS",
            }
        ],
    )
