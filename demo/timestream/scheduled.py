"""Runs a scheduled query as Timestream does on its schedule: the SQL and the mapping of the synthesized template.

It goes through unchanged boto3 clients. What the service would refuse of a mapping is refused here too: a column that
the query does not return, one of another type, a dimension without a value.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.processes import DemoError
from infra import TIMESTREAM_STACK

from .records import MAX_RECORDS

if TYPE_CHECKING:
    from mypy_boto3_timestream_query import TimestreamQueryClient
    from mypy_boto3_timestream_write import TimestreamWriteClient

Properties = Mapping[str, Any]

_RUNTIME = "@scheduled_runtime"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def find(cdk_out: Path) -> Properties:
    """The properties of the one scheduled query in the synthesized Timestream stack.

    Raises:
        DemoError: there is none, or several.
    """
    template = json.loads((cdk_out / f"{TIMESTREAM_STACK}.template.json").read_text())
    found = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::Timestream::ScheduledQuery"]
    if len(found) != 1:
        raise DemoError(f"{len(found)} scheduled queries in {cdk_out}, where one was expected; synthesize it anew")
    properties: Properties = found[0]
    return properties


def run(
    properties: Properties,
    query_client: "TimestreamQueryClient",
    write_client: "TimestreamWriteClient",
    now_ms: int,
) -> int:
    """Run it as if it had been scheduled for `now_ms`, and write what comes of it. How many records that were.

    Records of an earlier run are overwritten: the time of the run is their version.

    Raises:
        DemoError: the mapping does not fit the query's result.
        botocore.exceptions.ClientError: the query or a record is refused.
    """
    target = properties["TargetConfiguration"]["TimestreamConfiguration"]
    sql = properties["QueryString"].replace(_RUNTIME, f"from_milliseconds({now_ms})")
    records: list[Any] = []
    for page in query_client.get_paginator("query").paginate(QueryString=sql):
        mapping = _Mapping.checked(target, {info["Name"]: info["Type"]["ScalarType"] for info in page["ColumnInfo"]})
        records += [mapping.record(row, now_ms) for row in _rows(page)]
    for start in range(0, len(records), MAX_RECORDS):
        write_client.write_records(
            DatabaseName=target["DatabaseName"],
            TableName=target["TableName"],
            Records=records[start : start + MAX_RECORDS],
        )
    return len(records)


def _rows(page: Mapping[str, Any]) -> Iterator[dict[str, str | None]]:
    names = [info["Name"] for info in page["ColumnInfo"]]
    for row in page["Rows"]:
        yield dict(zip(names, (datum.get("ScalarValue") for datum in row["Data"]), strict=True))


@dataclass(frozen=True)
class _Mapping:
    """Which column of the result becomes what of a record."""

    time: str
    measure_name: str
    dimensions: tuple[str, ...]
    measures: Mapping[str, tuple[str, str]]
    """Name and type in the record, by the result's column."""

    @classmethod
    def checked(cls, target: Mapping[str, Any], columns: Mapping[str, str]) -> "_Mapping":
        attributes = target["MultiMeasureMappings"]["MultiMeasureAttributeMappings"]
        mapping = cls(
            target["TimeColumn"],
            target["MeasureNameColumn"],
            tuple(each["Name"] for each in target["DimensionMappings"]),
            {
                each["SourceColumn"]: (
                    each.get("TargetMultiMeasureAttributeName", each["SourceColumn"]),
                    each["MeasureValueType"],
                )
                for each in attributes
            },
        )
        wanted = {
            mapping.time: "TIMESTAMP",
            **dict.fromkeys((mapping.measure_name, *mapping.dimensions), "VARCHAR"),
            **{column: type_ for column, (_, type_) in mapping.measures.items()},
        }
        # A column in which nothing was known has no type.
        misfits = [name for name, type_ in wanted.items() if columns.get(name) not in {type_, "UNKNOWN"}]
        left_over = set(columns) - set(wanted)
        if misfits or left_over:
            raise DemoError(
                f"the scheduled query's result does not fit its mapping: {', '.join([*misfits, *sorted(left_over)])}; "
                "see infra/rollup.py"
            )
        return mapping

    def record(self, row: Mapping[str, str | None], version: int) -> dict[str, Any]:
        """The record of one row; what is NULL in it is left out."""
        identity = {name: row[name] for name in (self.time, self.measure_name, *self.dimensions)}
        if None in identity.values():
            raise DemoError(f"a row of the scheduled query has no {', '.join(n for n in identity if row[n] is None)}")
        return {
            "Dimensions": [{"Name": name, "Value": row[name]} for name in self.dimensions],
            "MeasureName": row[self.measure_name],
            "MeasureValueType": "MULTI",
            "MeasureValues": [
                {"Name": name, "Type": type_, "Value": row[column]}
                for column, (name, type_) in self.measures.items()
                if row[column] is not None
            ],
            "Time": str(_ms(str(row[self.time]))),
            "TimeUnit": "MILLISECONDS",
            "Version": version,
        }


def _ms(timestamp: str) -> int:
    """Epoch milliseconds of a result's TIMESTAMP, such as `2026-11-23 11:00:00.000000000`."""
    since = datetime.fromisoformat(timestamp[:26]).replace(tzinfo=UTC) - _EPOCH
    return round(since.total_seconds() * 1000)
