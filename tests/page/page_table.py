"""A Timestream table for tests of the page: the stand-in of the demo, written and read through boto3."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import EndpointConnectionError

from cloud.timestream.columns import declare
from contract import store
from dashboard.look import Look
from demo.timestream.server import serve as serve_timestream
from page.timestream import TimestreamSource

if TYPE_CHECKING:
    from mypy_boto3_timestream_query import TimestreamQueryClient
    from mypy_boto3_timestream_write import TimestreamWriteClient
    from mypy_boto3_timestream_write.type_defs import MeasureValueTypeDef, RecordTypeDef

THING = "shed"
OPTIONS: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}
SETTINGS = {
    "battery_low_voltage_v": 49.9,
    "battery_recover_voltage_v": 52.0,
    "over_temperature_trip_c": 35.0,
}
MEASURES = {"battery_voltage_v": 51.2, "box_temperature_c": 25.0, "pv_power_w": 640.0, "load_power_w": 310.0}


@dataclass(frozen=True)
class Sample:
    """One decision as it is stored. An empty text and an absent number are not stored, as in the real table."""

    time_ms: int
    position: str = "battery"
    reason: str = "hold"
    alerts: str = ""
    # What has happened by this sample, as the device says it.
    transfer: str = ""
    alert_changes: str = ""
    thing: str = THING
    numbers: dict[str, float] = field(default_factory=lambda: {**MEASURES, **SETTINGS})

    def record(self) -> "RecordTypeDef":
        """As `WriteRecords` takes it."""
        values: list[MeasureValueTypeDef] = [
            {"Name": name, "Value": str(value), "Type": "DOUBLE"} for name, value in self.numbers.items()
        ]
        texts = {
            "position": self.position,
            "reason": self.reason,
            "alerts": self.alerts,
            store.TRANSFER: self.transfer,
            store.ALERT_CHANGES: self.alert_changes,
        }
        values += [{"Name": name, "Value": text, "Type": "VARCHAR"} for name, text in texts.items() if text]
        return {
            "Dimensions": [
                {"Name": store.DIMENSION_SITE, "Value": store.DEFAULT_SITE},
                {"Name": store.DIMENSION_THING, "Value": self.thing},
                {"Name": store.DIMENSION_SOURCE, "Value": store.SOURCE_CONTROL},
            ],
            "MeasureName": store.MEASURE_DECISION,
            "MeasureValueType": "MULTI",
            "MeasureValues": values,
            "Time": str(self.time_ms),
            "TimeUnit": "MILLISECONDS",
        }


class QueryClient:
    """The real query client, whose network can be cut; keeps the SQL it was asked."""

    def __init__(self, client: "TimestreamQueryClient") -> None:
        self._client = client
        self.cut = False
        self.asked: list[str] = []

    def query(self, **request: Any) -> Any:  # noqa: ANN401 - boto3's own shape
        self.asked.append(request["QueryString"])
        if self.cut:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
        return self._client.query(**request)


@dataclass(frozen=True)
class Table:
    """The table: `write` samples into it, read it through `client`."""

    client: Any
    writer: "TimestreamWriteClient"

    @property
    def source(self) -> TimestreamSource:
        """What the page reads."""
        return self.source_of(Look())

    def source_of(self, look: Look) -> TimestreamSource:
        """The same, as `look` has it."""
        return TimestreamSource(self.client, THING, store.DEFAULT_SITE, look)

    def write(self, *samples: Sample) -> None:
        """Store `samples`, at most 100 a request."""
        records = [sample.record() for sample in samples]
        for start in range(0, len(records), 100):
            self.writer.write_records(
                DatabaseName=store.DATABASE, TableName=store.TABLE, Records=records[start : start + 100]
            )


def told(samples: Iterable[Sample]) -> list[Sample]:
    """`samples` of one device, each with what has changed since the one before, as a device says it."""
    found: list[Sample] = []
    for sample in samples:
        before = found[-1] if found else sample
        was, now = ({name for name in one.alerts.split(",") if name} for one in (before, sample))
        changes = [f"raised {name}" for name in sorted(now - was)] + [f"cleared {name}" for name in sorted(was - now)]
        moved = sample.position != before.position
        transfer = f"{sample.position}: {sample.reason}" if moved else ""
        found.append(replace(sample, transfer=transfer, alert_changes=", ".join(changes)))
    return found


@contextmanager
def empty_table(*, declared: bool = True) -> Iterator[Table]:
    """A new endpoint with database and tables, and nothing in them; their columns are `declared`."""
    with serve_timestream() as endpoint:
        reader = boto3.client("timestream-query", endpoint_url=endpoint.url, **OPTIONS)
        writer = boto3.client("timestream-write", endpoint_url=endpoint.url, **OPTIONS)
        writer.create_database(DatabaseName=store.DATABASE)
        for table in (store.TABLE, store.HOURLY_TABLE):
            writer.create_table(DatabaseName=store.DATABASE, TableName=table)
            if declared:
                declare(writer, store.DATABASE, table, time.time_ns() // 10**6)
        try:
            yield Table(QueryClient(reader), writer)
        finally:
            reader.close()
            writer.close()
