"""Columns are declared in the project's own Timestream; a real HTTP server hears what CloudFormation is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from typing import Any

import boto3
import pytest
from botocore.config import Config
from mypy_boto3_timestream_write import TimestreamWriteClient

from cloud.timestream import handler as lambda_
from cloud.timestream.columns import TABLES
from cloud.timestream.handler import PHYSICAL_ID, respond
from contract import store
from demo.http_server import HOST, LocalServer
from demo.timestream.catalog import Column
from demo.timestream.server import Endpoint
from tests.cloud.conftest import RETENTION

Json = dict[str, Any]


class _Listener(BaseHTTPRequestHandler):
    server: "CloudFormation"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.content_types.append(self.headers.get("Content-Type"))
        status = 503 if self.server.failures else 200
        if self.server.failures:
            self.server.failures -= 1
        else:
            self.server.heard.append(json.loads(body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Say nothing."""


class CloudFormation(LocalServer):
    """Hears what it is told, after the next `failures` calls."""

    def __init__(self) -> None:
        super().__init__(0, _Listener)
        self.heard: list[Json] = []
        self.content_types: list[str | None] = []
        self.failures = 0

    def event(self, request_type: str, **changes: object) -> Json:
        return {
            "RequestType": request_type,
            "ResponseURL": f"http://{HOST}:{self.server_port}/answer?signed=1",
            "StackId": "arn:stack",
            "RequestId": "r-1",
            "LogicalResourceId": "Columns",
            "ResourceProperties": {"ServiceToken": "arn:function", "Database": store.DATABASE},
            **changes,
        }


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    server = CloudFormation()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.end_connections()
    server.server_close()


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[TimestreamWriteClient]:
    endpoint.engine.create_table(store.DATABASE, store.HOURLY_TABLE, RETENTION)
    with closing(boto3.client("timestream-write", config=Config(retries={"total_max_attempts": 1}))) as made:
        yield made


def columns(endpoint: Endpoint, table: str) -> dict[str, str]:
    found = endpoint.engine.table(store.DATABASE, table).columns.values()
    return {column.name: column.type_name for column in found if isinstance(column, Column)}


ANSWER = {"PhysicalResourceId": PHYSICAL_ID, "StackId": "arn:stack", "RequestId": "r-1", "LogicalResourceId": "Columns"}


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_every_column_of_both_tables_is_declared_by_one_record_each(
    client: TimestreamWriteClient, endpoint: Endpoint, cloudformation: CloudFormation, request_type: str
) -> None:
    respond(cloudformation.event(request_type), client, pause_s=0)

    assert cloudformation.heard == [{"Status": "SUCCESS", "Reason": "declared", **ANSWER}]
    assert cloudformation.content_types == [""]
    for table, expected in TABLES.items():
        assert columns(endpoint, table) == {**dict.fromkeys(store.DIMENSIONS, "VARCHAR"), **expected}
        assert endpoint.engine.count_rows(store.DATABASE, table) == 1
    with closing(boto3.client("timestream-query")) as reader:
        sql = f'SELECT measure_name, thing, grid_time_s FROM "{store.DATABASE}"."{store.HOURLY_TABLE}"'
        (row,) = reader.query(QueryString=sql)["Rows"]
    assert [datum.get("ScalarValue") for datum in row["Data"]] == [store.MEASURE_COLUMNS, "-", "0.0"]


def test_nothing_is_done_when_the_stack_goes(
    client: TimestreamWriteClient, endpoint: Endpoint, cloudformation: CloudFormation
) -> None:
    respond(cloudformation.event("Delete", PhysicalResourceId=PHYSICAL_ID), client, pause_s=0)

    assert [answer["Status"] for answer in cloudformation.heard] == ["SUCCESS"]
    assert endpoint.engine.count_rows(store.DATABASE, store.TABLE) == 0


def test_a_table_that_is_known_a_little_later_is_waited_for(
    client: TimestreamWriteClient, endpoint: Endpoint, cloudformation: CloudFormation
) -> None:
    endpoint.inject("WriteRecords", "AccessDeniedException", count=3)

    respond(cloudformation.event("Create"), client, pause_s=0)

    assert [answer["Status"] for answer in cloudformation.heard] == ["SUCCESS"]


def test_what_stays_refused_is_told_with_its_reason(
    client: TimestreamWriteClient, endpoint: Endpoint, cloudformation: CloudFormation
) -> None:
    endpoint.inject("WriteRecords", "AccessDeniedException", count=100)

    respond(cloudformation.event("Create"), client, pause_s=0)

    (answer,) = cloudformation.heard
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith("the columns are not declared: AccessDeniedException")


def test_a_column_of_another_type_fails_at_once_with_its_reason(
    client: TimestreamWriteClient, endpoint: Endpoint, cloudformation: CloudFormation
) -> None:
    measure: Any = {"Name": "sequence", "Type": "VARCHAR", "Value": "one"}
    client.write_records(
        DatabaseName=store.DATABASE,
        TableName=store.TABLE,
        Records=[
            {
                "Dimensions": [{"Name": "thing", "Value": "shed"}],
                "MeasureName": "decision",
                "MeasureValueType": "MULTI",
                "MeasureValues": [measure],
                "Time": str(endpoint.engine.now_ns() // 10**6),
            }
        ],
    )

    respond(cloudformation.event("Update"), client, pause_s=60)

    assert cloudformation.heard[0]["Status"] == "FAILED"
    assert "RejectedRecordsException" in cloudformation.heard[0]["Reason"]


def test_an_event_that_lacks_what_it_must_have_is_answered_too(
    client: TimestreamWriteClient, cloudformation: CloudFormation
) -> None:
    respond(cloudformation.event("Create", ResourceProperties={}), client, pause_s=0)

    assert cloudformation.heard[0]["Status"] == "FAILED"
    assert "KeyError" in cloudformation.heard[0]["Reason"]


def test_an_answer_that_is_not_taken_is_given_again(
    client: TimestreamWriteClient, cloudformation: CloudFormation
) -> None:
    cloudformation.failures = 2

    respond(cloudformation.event("Create"), client, pause_s=0)

    assert len(cloudformation.heard) == 1


def test_an_answer_that_cannot_be_given_fails_the_call_so_that_lambda_calls_again(
    client: TimestreamWriteClient, cloudformation: CloudFormation
) -> None:
    cloudformation.failures = 100

    with pytest.raises(OSError, match="503"):
        respond(cloudformation.event("Create"), client, pause_s=0)


def test_the_entry_point_finds_its_client_itself(client: TimestreamWriteClient, cloudformation: CloudFormation) -> None:
    lambda_.handler(cloudformation.event("Create"), None)

    assert [answer["Status"] for answer in cloudformation.heard] == ["SUCCESS"]
