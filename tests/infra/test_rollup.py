"""The scheduled query that would be deployed, run in the project's own Timestream: its SQL, its mapping, its result."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from mypy_boto3_timestream_query import TimestreamQueryClient

from cloud.telemetry.points import Point
from cloud.telemetry.timestream import TimestreamWriter
from contract import store
from demo.deployment import create_table
from demo.processes import DemoError
from demo.timestream.scheduled import find, run
from demo.timestream.server import Endpoint, serve
from tests.cdk_fixture import Json, Synthesized

pytestmark = pytest.mark.xdist_group("cdk")

# 2026-11-23 11:00:00 UTC; the hour before it is full, the one that it begins is empty.
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
NOW_MS = 1_795_431_600_000
THIS_HOUR = NOW_MS
LAST_HOUR = NOW_MS - HOUR_MS

OPTIONS: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}


class Bench:
    """Both tables as the stack describes them, at NOW_MS, and the query that fills one from the other."""

    def __init__(self, endpoint: Endpoint, cdk_out: Path, query: TimestreamQueryClient, write: Any) -> None:  # noqa: ANN401
        self.endpoint = endpoint
        self.properties: Json = dict(find(cdk_out))
        self._query = query
        self._write = write
        create_table(write, cdk_out.parent, NOW_MS)

    def sample(self, time_ms: int, measure: str = "decision", source: str = "control", **values: Any) -> None:  # noqa: ANN401
        point = Point("shed", source, measure, time_ms, 1, values, "home")
        assert TimestreamWriter(store.DATABASE, store.TABLE, self._write).write([point]) == []

    def run(self, now_ms: int = NOW_MS + MINUTE_MS) -> int:
        return run(self.properties, self._query, self._write, now_ms)

    def hours(self, *columns: str, measure: str = "decision") -> list[tuple[str | None, ...]]:
        """The hourly table's records, oldest first: hours before NOW_MS, then these columns."""
        sql = (
            f"SELECT to_milliseconds(time), {', '.join(columns)} "
            f'FROM "{store.DATABASE}"."{store.HOURLY_TABLE}" WHERE measure_name = \'{measure}\' ORDER BY time'
        )
        rows = [[d.get("ScalarValue") for d in row["Data"]] for row in self._query.query(QueryString=sql)["Rows"]]
        return [(str((NOW_MS - int(time or "")) // HOUR_MS), *values) for time, *values in rows]


@pytest.fixture(scope="module")
def cdk_out(stacks: Synthesized, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo finds the templates."""
    link = tmp_path_factory.mktemp("deployed") / "cdk.out"
    link.symlink_to(stacks.directory)
    return link


@pytest.fixture
def bench(cdk_out: Path) -> Iterator[Bench]:
    with (
        serve(clock_ns=lambda: (NOW_MS + 2 * MINUTE_MS) * 10**6) as endpoint,
        closing(boto3.client("timestream-query", endpoint_url=endpoint.url, **OPTIONS)) as query,
        closing(boto3.client("timestream-write", endpoint_url=endpoint.url, **OPTIONS)) as write,
    ):
        yield Bench(endpoint, cdk_out, query, write)


def test_both_tables_are_there_with_every_column_before_anything_is_written(bench: Bench) -> None:
    for table in (store.TABLE, store.HOURLY_TABLE):
        found = bench.endpoint.engine.table(store.DATABASE, table)
        assert set(store.COLUMNS) <= {column.name for column in found.columns.values()}
        assert found.retention.magnetic_writes
        assert found.retention.magnetic_days == 5 * 365


def test_nothing_rolls_up_to_nothing(bench: Bench) -> None:
    assert bench.run() == 0
    assert bench.hours("reason") == []


def test_of_numbers_the_average_of_counters_the_highest_of_texts_the_last(bench: Bench) -> None:
    for minute, (volts, kwh, mode) in enumerate([(50.0, 1.0, "bulk"), (51.0, 3.0, "float"), (52.0, 2.0, "absorb")]):
        values = {"pv_voltage_v": volts, "daily_kwh": kwh, "charger_mode": mode}
        bench.sample(LAST_HOUR + minute * MINUTE_MS, "mx", "mx2", **values)

    assert bench.run() == 1

    assert bench.hours("site", "thing", "source", "pv_voltage_v", "daily_kwh", "charger_mode", measure="mx") == [
        ("1", "home", "shed", "mx2", "51.0", "3.0", "absorb")
    ]


def test_a_text_that_the_last_sample_does_not_have_is_gone_and_an_event_is_not(bench: Bench) -> None:
    bench.sample(LAST_HOUR, alerts="battery_low", transfer="grid: battery_low", on_grid=1.0)
    bench.sample(LAST_HOUR + MINUTE_MS, on_grid=1.0)

    bench.run()

    assert bench.hours("alerts", store.TRANSFER) == [("1", None, "grid: battery_low")]


def test_time_on_grid_is_its_share_of_the_minutes_with_samples(bench: Bench) -> None:
    # Forty minutes of sixty, of which ten on grid; the change is a sample more within its minute.
    for minute in range(40):
        bench.sample(LAST_HOUR + minute * MINUTE_MS, on_grid=float(minute < 10))
    bench.sample(LAST_HOUR + 9 * MINUTE_MS + 500, on_grid=1.0, transfer="grid: battery_low")
    bench.sample(LAST_HOUR + 10 * MINUTE_MS + 500, on_grid=0.0, transfer="battery: battery_recovered")

    bench.run()

    ((_, covered_s, grid_time_s, transfers),) = bench.hours(store.COVERED_S, store.GRID_TIME_S, store.TRANSFERS)
    assert (covered_s, transfers) == ("2400.0", "2.0")
    assert float(str(grid_time_s)) == pytest.approx(2400 * 11 / 42)


def test_what_is_of_a_decision_only_is_unknown_of_a_device(bench: Bench) -> None:
    bench.sample(LAST_HOUR, "pi", "pi0", cpu_temperature_c=48.0)

    bench.run()

    columns = (store.COVERED_S, store.GRID_TIME_S, store.TRANSFERS)
    assert bench.hours(*columns, measure="pi") == [("1", "60.0", None, None)]


def test_the_hour_that_has_begun_is_there_and_grows_with_the_next_run(bench: Bench) -> None:
    bench.sample(THIS_HOUR, battery_voltage_v=50.0)
    bench.run()
    bench.sample(THIS_HOUR + MINUTE_MS, battery_voltage_v=52.0)

    bench.run(NOW_MS + 2 * MINUTE_MS)

    assert bench.hours("battery_voltage_v", store.COVERED_S) == [("0", "51.0", "120.0")]


def test_the_same_run_again_changes_nothing(bench: Bench) -> None:
    bench.sample(LAST_HOUR, battery_voltage_v=50.0)

    assert bench.run() == bench.run() == 1

    assert bench.hours("battery_voltage_v") == [("1", "50.0")]


@pytest.mark.parametrize(("hours_ago", "taken"), [(48, True), (49, False)], ids=["two days", "more"])
def test_what_comes_up_to_a_day_late_is_rolled_up_and_later_only_if_asked_for(
    bench: Bench, hours_ago: int, taken: bool
) -> None:
    late_ms = NOW_MS - hours_ago * HOUR_MS
    bench.sample(late_ms, battery_voltage_v=50.0)

    assert bench.run() == taken

    if not taken:
        # As `aws timestream-query execute-scheduled-query --invocation-time` does.
        bench.run(late_ms + HOUR_MS)
    assert bench.hours("battery_voltage_v") == [(str(hours_ago), "50.0")]


def test_other_measures_and_the_columns_own_record_are_left_out(bench: Bench) -> None:
    bench.sample(LAST_HOUR, "visitor", "visitor1", battery_voltage_v=50.0)

    assert bench.run() == 0


def test_two_things_and_two_sources_stay_apart(bench: Bench) -> None:
    for source in ("mx1", "mx2"):
        bench.sample(LAST_HOUR, "mx", source, daily_ah=1.0)

    assert bench.run() == 2


def test_a_mapping_that_does_not_fit_the_query_is_refused(bench: Bench) -> None:
    bench.sample(LAST_HOUR, battery_voltage_v=50.0)
    bench.properties["QueryString"] = bench.properties["QueryString"].replace(
        "avg(battery_voltage_v)", "max_by(reason, time)"
    )

    with pytest.raises(DemoError, match=r"does not fit its mapping: battery_voltage_v; see infra/rollup\.py"):
        bench.run()


def test_a_dimension_without_a_value_is_refused(bench: Bench) -> None:
    bench.sample(LAST_HOUR, battery_voltage_v=50.0)
    bench.properties["QueryString"] = bench.properties["QueryString"].replace(
        "SELECT site,", "SELECT NULLIF(site, 'home') AS site,"
    )

    with pytest.raises(DemoError, match="has no site"):
        bench.run()


def test_a_folder_without_the_query_says_so(tmp_path: Path) -> None:
    (tmp_path / "SolarshedTimestream.template.json").write_text('{"Resources": {}}')

    with pytest.raises(DemoError, match="0 scheduled queries in"):
        find(tmp_path)


# What is deployed


def test_the_query_runs_as_often_as_is_set_and_its_failures_are_kept_and_mailed(stacks: Synthesized) -> None:
    (query,) = [each["Properties"] for each in stacks.resources("AWS::Timestream::ScheduledQuery").values()]
    topic = query["NotificationConfiguration"]["SnsConfiguration"]["TopicArn"]["Ref"]
    subscriptions = [each["Properties"] for each in stacks.resources("AWS::SNS::Subscription").values()]

    assert query["ScheduleConfiguration"] == {"ScheduleExpression": "rate(3 hours)"}
    assert query["ErrorReportConfiguration"]["S3Configuration"]["EncryptionOption"] == "SSE_S3"
    # A fixed name would be in the way of the next one, which is made before this one is deleted.
    assert "ScheduledQueryName" not in query
    (mail,) = [each for each in subscriptions if each["TopicArn"] == {"Ref": topic}]
    assert (mail["Protocol"], mail["FilterPolicyScope"]) == ("email", "MessageBody")
    assert "AUTO_TRIGGER_FAILURE" in mail["FilterPolicy"]["type"]


def test_the_query_waits_until_its_columns_are_declared(stacks: Synthesized) -> None:
    (query,) = stacks.resources("AWS::Timestream::ScheduledQuery").values()
    ((columns, declared),) = stacks.resources("Custom::TimestreamColumns").items()

    assert columns in query["DependsOn"]
    assert set(stacks.resources("AWS::Timestream::Table")) <= set(declared["DependsOn"])
