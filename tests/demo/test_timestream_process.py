"""The endpoint as a process and as an object: start, end, discovery, persistence, many callers at once."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import boto3
import pytest

from demo.timestream.catalog import Retention
from demo.timestream.server import INJECT_TARGET, Endpoint, serve

ROOT = Path(__file__).parents[2]
OPTIONS: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}


@contextmanager
def running_process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its URL; it is killed at the end if it has not ended itself."""
    command = [sys.executable, "-m", "demo.timestream", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(r"listening on (http://127\.0\.0\.1:[0-9]+)\n", process.stdout.readline())
            assert found
            yield process, found[1]
        finally:
            process.kill()


def record(time_ms: int, thing: str = "shed") -> dict[str, Any]:
    return {
        "Dimensions": [{"Name": "thing", "Value": thing}],
        "MeasureName": "decision",
        "MeasureValueType": "MULTI",
        "MeasureValues": [{"Name": "voltage_v", "Type": "DOUBLE", "Value": "54.0"}],
        "Time": str(time_ms),
    }


def now_ms() -> int:
    return time.time_ns() // 10**6


def write(url: str, *records: Any) -> None:  # noqa: ANN401 (boto3 has its own type for each dict)
    with closing(boto3.client("timestream-write", endpoint_url=url, **OPTIONS)) as client:
        client.write_records(DatabaseName="solarshed", TableName="telemetry", Records=list(records))


def count(url: str) -> str:
    with closing(boto3.client("timestream-query", endpoint_url=url, **OPTIONS)) as client:
        answer = client.query(QueryString='SELECT count(*) FROM "solarshed"."telemetry"')
    return str(answer["Rows"][0]["Data"][0]["ScalarValue"])


def create(endpoint: Endpoint) -> None:
    endpoint.engine.create_database("solarshed")
    endpoint.engine.create_table("solarshed", "telemetry", Retention())


def test_what_was_written_to_a_file_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "timestream.duckdb"
    sample = record(now_ms())
    with serve(path=path) as endpoint:
        create(endpoint)
        write(endpoint.url, sample)

    with serve(path=path) as endpoint:
        write(endpoint.url, sample, record(now_ms() + 1))

        assert count(endpoint.url) == "2"
        assert endpoint.engine.count_rows("solarshed", "telemetry") == 2
        assert endpoint.engine.table("solarshed", "telemetry").retention == Retention()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_where_it_listens_and_ends_cleanly(signal_number: signal.Signals) -> None:
    with running_process("--port", "0") as (process, url), ExitStack() as stack:
        client = stack.enter_context(closing(boto3.client("timestream-write", endpoint_url=url, **OPTIONS)))
        client.create_database(DatabaseName="solarshed")

        # The client's connection is still open.
        process.send_signal(signal_number)

        assert process.wait(timeout=10) == 0


def test_a_killed_process_has_kept_what_it_answered_for(tmp_path: Path) -> None:
    path = tmp_path / "timestream.duckdb"
    with running_process("--path", str(path)) as (_, url):
        with closing(boto3.client("timestream-write", endpoint_url=url, **OPTIONS)) as client:
            client.create_database(DatabaseName="solarshed")
            client.create_table(DatabaseName="solarshed", TableName="telemetry")
        write(url, record(now_ms()))

    with serve(path=path) as endpoint:
        assert count(endpoint.url) == "1"


def test_clients_find_the_endpoint_by_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as endpoint, ExitStack() as stack:
        monkeypatch.setenv("AWS_ENDPOINT_URL_TIMESTREAM_WRITE", endpoint.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_TIMESTREAM_QUERY", endpoint.url)
        create(endpoint)
        writer = stack.enter_context(closing(boto3.client("timestream-write", **OPTIONS)))
        reader = stack.enter_context(closing(boto3.client("timestream-query", **OPTIONS)))
        sample: Any = record(now_ms())

        # This way boto3 asks DescribeEndpoints first, and goes on where the answer leads.
        writer.write_records(DatabaseName="solarshed", TableName="telemetry", Records=[sample])
        answer = reader.query(QueryString='SELECT thing FROM "solarshed"."telemetry"')

        assert answer["Rows"][0]["Data"] == [{"ScalarValue": "shed"}]


def test_many_callers_write_and_query_at_once() -> None:
    started_ms = now_ms()

    def write_batches(url: str, thing: str) -> None:
        for batch in range(5):
            write(url, *[record(started_ms - 100 * batch - i, thing) for i in range(100)])
            count(url)

    with serve() as endpoint, ThreadPoolExecutor(6) as pool:
        create(endpoint)
        for done in [pool.submit(write_batches, endpoint.url, f"shed{i}") for i in range(6)]:
            done.result()

        assert count(endpoint.url) == "3000"


def test_the_same_batch_from_many_callers_is_stored_once() -> None:
    started_ms = now_ms()
    batch = [record(started_ms - i) for i in range(100)]

    with serve() as endpoint, ThreadPoolExecutor(6) as pool:
        create(endpoint)
        for done in [pool.submit(write, endpoint.url, *batch) for _ in range(6)]:
            done.result()

        assert count(endpoint.url) == "100"


def test_an_endpoint_may_be_closed_twice() -> None:
    endpoint = serve()

    endpoint.close()
    endpoint.close()

    assert "closed" in repr(endpoint)


def test_a_taken_port_is_an_error_at_once() -> None:
    with serve() as endpoint, pytest.raises(OSError, match="in use"):
        serve(int(endpoint.url.rpartition(":")[2]))


def post(url: str, target: str, body: bytes) -> Any:  # noqa: ANN401 (JSON)
    request = urllib.request.Request(url, body, {"X-Amz-Target": target})  # noqa: S310 (our own URL)
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return json.load(response)


def test_errors_can_be_injected_over_http_too() -> None:
    with serve() as endpoint:
        create(endpoint)
        post(
            endpoint.url,
            INJECT_TARGET,
            b'{"Operation": "WriteRecords", "Error": "InternalServerException", "Count": 1}',
        )

        with pytest.raises(HTTPError) as caught:
            post(endpoint.url, "Timestream_20181101.WriteRecords", b"{}")
        caught.value.close()

        assert caught.value.code == 500


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"DatabaseName": "solarshed", "TableName": ["x"]}'])
def test_a_body_of_another_shape_is_answered_with_an_error(body: bytes) -> None:
    with serve() as endpoint:
        create(endpoint)

        with pytest.raises(HTTPError) as caught:
            post(endpoint.url, "Timestream_20181101.WriteRecords", body)
        error = json.load(caught.value)
        caught.value.close()

        assert caught.value.code == 400
        assert "SerializationException" in error["__type"]
