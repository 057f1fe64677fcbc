"""Writes points to Amazon Timestream for LiveAnalytics as multi-measure records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from cloud.telemetry.points import Point, Value
from cloud.telemetry.writer import Rejected
from contract import store

if TYPE_CHECKING:
    from mypy_boto3_timestream_write import TimestreamWriteClient
    from mypy_boto3_timestream_write.type_defs import MeasureValueTypeDef, RecordTypeDef

# WriteRecords takes no more in one call.
MAX_RECORDS = 100

# A call takes 16 s at the most; should several be that slow, the queue delivers the batch again. boto3 does not check
# each value of each record once more: nearly half of a worker's time went there, and the service checks it too.
CLIENT_CONFIG = Config(
    connect_timeout=2,
    read_timeout=6,
    retries={"mode": "standard", "total_max_attempts": 2},
    parameter_validation=False,
)


class TimestreamWriter:
    """Writes to one table."""

    max_points = MAX_RECORDS

    def __init__(self, database: str, table: str, client: TimestreamWriteClient | None = None) -> None:
        self._database = database
        self._table = table
        self._client: TimestreamWriteClient = client or boto3.client("timestream-write", config=CLIENT_CONFIG)

    def write(self, points: Sequence[Point]) -> list[Rejected]:
        """Write at most `max_points` points in one call; those that are not returned are stored.

        A point that is already stored as it is, or in a higher version, counts as stored: a replay changes nothing.

        Raises:
            botocore.exceptions.ClientError, BotoCoreError: throttled or unreachable; try again.
        """
        try:
            self._client.write_records(
                DatabaseName=self._database, TableName=self._table, Records=[_record(point) for point in points]
            )
        except self._client.exceptions.ValidationException as e:
            # Over one record that it cannot read, the service refuses the whole call: find it, store the others.
            if len(points) == 1:
                return [Rejected(points[0], str(e))]
            half = len(points) // 2
            return self.write(points[:half]) + self.write(points[half:])
        except self._client.exceptions.RejectedRecordsException as e:
            refused: list[dict[str, Any]] = e.response["RejectedRecords"]  # type: ignore[typeddict-item]
            return [
                Rejected(points[r["RecordIndex"]], str(r.get("Reason")))
                for r in refused
                if r.get("ExistingVersion", 0) <= points[r["RecordIndex"]].version
            ]
        return []


def _record(point: Point) -> RecordTypeDef:
    return {
        "Dimensions": [
            {"Name": store.DIMENSION_SITE, "Value": point.site},
            {"Name": store.DIMENSION_THING, "Value": point.thing},
            {"Name": store.DIMENSION_SOURCE, "Value": point.source},
        ],
        "MeasureName": point.measure,
        "MeasureValueType": "MULTI",
        "MeasureValues": [_measure(name, value) for name, value in point.values.items()],
        "Time": str(point.time_ms),
        "TimeUnit": "MILLISECONDS",
        "Version": point.version,
    }


def _measure(name: str, value: Value) -> MeasureValueTypeDef:
    if isinstance(value, bool):
        return {"Name": name, "Type": "BOOLEAN", "Value": "true" if value else "false"}
    if isinstance(value, int):
        return {"Name": name, "Type": "BIGINT", "Value": str(value)}
    if isinstance(value, float):
        # repr keeps every digit; 54.0 stays a DOUBLE because its type is stated, not guessed.
        return {"Name": name, "Type": "DOUBLE", "Value": repr(value)}
    return {"Name": name, "Type": "VARCHAR", "Value": value}
