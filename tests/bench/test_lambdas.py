"""The benchmarks of the Lambdas: that they run, and that what they count is right. How fast anything is, is not tested
here; how many calls a Lambda makes is, in tests/infra/costs/test_calls.py."""

import math
import os
from collections import Counter
from pathlib import Path

import boto3
import pytest

from cloud.telemetry.timestream import MAX_RECORDS, TimestreamWriter
from infra.costs.calls import heartbeat_run
from tests.bench import heartbeats, imports, store
from tests.bench.table import NotMeasuredError
from tests.bench.zero_latency import Answer, ZeroLatency

# Of a shed with an FX, two MX, a FLEXnet DC and the Pi: the decision is one too.
POINTS_IN_SAMPLE = 6
WELL = {"things": 3, "left": 0, "blind": 0, "unreadable": 0, "memory_lost": 0, "failures": 0}


# The endpoint


def test_clients_are_answered_and_counted_without_a_network_and_only_meanwhile() -> None:
    aws = ZeroLatency(
        {"ListTopics": lambda _: Answer(b"<Answer><ListTopicsResult/></Answer>", {"content-type": "text/xml"})}
    )
    before = dict(os.environ)

    with aws.in_place_of_aws(BENCH="1"):
        client = boto3.client("sns")
        client.list_topics()
        client.list_topics()
        assert os.environ["BENCH"] == "1"

    assert aws.calls == Counter(ListTopics=2)
    assert 0.0 < aws.answering_s < aws.boto3_s
    assert dict(os.environ) == before
    aws.forget()
    assert (aws.calls.total(), aws.boto3_s) == (0, 0.0)


def test_a_call_that_has_no_answer_fails() -> None:
    with ZeroLatency({}).in_place_of_aws(), pytest.raises(KeyError, match="ListTopics"):
        boto3.client("sns").list_topics()


# Store


def test_what_is_stored_is_whole_batches_and_boto3_alone_makes_the_same_calls() -> None:
    aws = store.endpoint()
    (batch,) = store.batches(1)
    points = store.MESSAGES_IN_BATCH * store.SAMPLES_IN_MESSAGE * POINTS_IN_SAMPLE
    calls = math.ceil(points / MAX_RECORDS)

    with aws.in_place_of_aws():
        parameters = store.calls_of(batch, TimestreamWriter("database", "table"))

    assert len(batch) == store.MESSAGES_IN_BATCH
    assert aws.calls == {"DescribeEndpoints": 1, "WriteRecords": calls}
    assert len(parameters) == calls
    assert sum(len(each["Records"]) for each in parameters) == points


def test_store_is_measured() -> None:
    measured = store.measure(quick=True)

    rate, share = measured.rows
    assert rate.other is not None
    assert min(rate.ours, rate.other) > 0.0
    assert 0.0 < share.ours < 100.0
    assert measured.details.startswith("250 samples in 2 batches of 25 messages: 16 WriteRecords in ")


# Heartbeats


def test_heartbeats_are_measured_with_the_calls_that_the_cost_sheet_has() -> None:
    measured = heartbeats.measure(quick=True)

    duration, calls, memory, run = measured.rows
    few = heartbeats.QUICK_SMALL
    many = few * heartbeats.TIMES
    # More than one list holds.
    assert many > 1000
    assert (calls.ours, calls.other) == (heartbeat_run(many).total(), 10 * heartbeat_run(few).total())
    assert calls.is_met
    assert duration.other is not None
    assert duration.other > 0.0
    assert duration.ours == run.ours > 0.0
    assert memory.ours > 0.0


@pytest.mark.parametrize(("name", "count"), [("things", 2), ("left", 1), ("memory_lost", 1), ("failures", 1)])
def test_a_run_that_has_not_done_everything_is_no_result(name: str, count: int) -> None:
    heartbeats.check(3, WELL, heartbeat_run(3))

    with pytest.raises(NotMeasuredError, match=f"'{name}': {count}"):
        heartbeats.check(3, WELL | {name: count}, heartbeat_run(3))


def test_a_run_with_a_call_more_is_no_result() -> None:
    with pytest.raises(NotMeasuredError, match="other calls"):
        heartbeats.check(3, WELL, heartbeat_run(3) + Counter(GetObject=1))


def test_what_went_wrong_in_the_process_of_a_run_is_told() -> None:
    with pytest.raises(NotMeasuredError, match=r"0 things: .*NotMeasuredError: a run over 0 things makes other calls"):
        heartbeats.run_apart(0)


# Imports and bundles


@pytest.mark.xdist_group("cdk")
def test_imports_and_bundles_are_measured(cdk_environment: None) -> None:
    from infra.heartbeat import _TIMEOUT_S

    measured = imports.measure(quick=True)

    assert [row.what.rpartition(" ")[2] for row in measured.rows] == [*imports.CAPABILITIES, "alerts"]
    assert all(row.ours > 0.0 for row in measured.rows)
    assert len({row.other for row in measured.rows[:-1]}) == 1
    assert heartbeats.TIMEOUT_S == _TIMEOUT_S


@pytest.mark.xdist_group("cdk")
def test_a_bundle_is_as_large_as_its_files(cdk_environment: None) -> None:
    bundle = imports.bundle("telemetry")

    sources = [*Path("cloud/telemetry").glob("*.py"), Path("cloud/__init__.py"), *Path("contract").glob("*.py")]
    assert bundle.files == len(sources)
    assert bundle.unzipped_kb == sum(path.stat().st_size for path in sources) / 1024
    assert 0.0 < bundle.zipped_kb < bundle.unzipped_kb


def test_a_module_that_cannot_be_imported_is_no_result_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "CAPABILITIES", ("nothing",))

    with pytest.raises(NotMeasuredError, match=r"No module named 'cloud\.nothing'"):
        imports.imports_ms(rounds=1)
