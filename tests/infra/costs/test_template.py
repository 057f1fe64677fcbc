"""What the sheet takes from the templates, against the templates."""

from typing import Any

import pytest

from contract import store
from infra.costs import calls
from tests.cdk_fixture import Json, Synthesized

# One worker synthesizes for all tests of templates.
pytestmark = pytest.mark.xdist_group("cdk")


def properties(resources: dict[str, Json]) -> list[Any]:
    """The properties of all of them."""
    return [resource["Properties"] for resource in resources.values()]


def functions(stacks: Synthesized) -> dict[str, Json]:
    """The Lambdas' properties by capability."""
    found = properties(stacks.resources("AWS::Lambda::Function"))
    return {each["Handler"].split(".")[1]: each for each in found if each["Handler"].startswith("cloud.")}


def test_the_lambdas_have_the_memory_that_is_paid(stacks: Synthesized) -> None:
    found = functions(stacks)

    assert {name: each["MemorySize"] for name, each in found.items()} == {
        "telemetry": calls.TELEMETRY_MEMORY_MB,
        "alerts": calls.ALERTS_MEMORY_MB,
        "heartbeat": calls.HEARTBEAT_MEMORY_MB,
        # Called at deployments only.
        "timestream": 256,
    }
    assert all(each["Architectures"] == ["arm64"] for each in found.values())


def test_two_queues_have_readers(stacks: Synthesized) -> None:
    sources = {each["BatchSize"]: each for each in properties(stacks.resources("AWS::Lambda::EventSourceMapping"))}

    assert len(sources) == 2
    assert sources[calls.TELEMETRY_BATCH]["MaximumBatchingWindowInSeconds"] == calls.TELEMETRY_WINDOW_S


def test_each_of_four_rules_has_one_action(stacks: Synthesized) -> None:
    rules = properties(stacks.resources("AWS::IoT::TopicRule"))

    assert len(rules) == 4
    assert all(len(rule["TopicRulePayload"]["Actions"]) == 1 for rule in rules)


def test_alarms_watch_as_many_metrics_as_are_paid(stacks: Synthesized) -> None:
    alarms = properties(stacks.resources("AWS::CloudWatch::Alarm"))

    watched = sum(
        sum("MetricStat" in each for each in alarm["Metrics"]) if "Metrics" in alarm else 1 for alarm in alarms
    )
    assert watched == calls.ALARM_METRICS


def test_there_are_as_many_schedules_and_secrets_as_are_paid(stacks: Synthesized) -> None:
    schedules = properties(stacks.resources("AWS::Scheduler::Schedule"))

    assert [each["ScheduleExpression"] for each in schedules] == ["rate(5 minutes)"] * calls.SCHEDULES
    assert calls.HOURS * 60 / 5 == calls.RUNS
    assert len(stacks.resources("AWS::SecretsManager::Secret")) == calls.SECRETS


def test_the_table_of_incidents_is_paid_by_request(stacks: Synthesized) -> None:
    (table,) = properties(stacks.resources("AWS::DynamoDB::Table"))

    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_timestream_keeps_samples_in_memory_for_as_long_as_is_paid(stacks: Synthesized) -> None:
    tables = {each["TableName"]: each for each in properties(stacks.resources("AWS::Timestream::Table"))}

    hours = tables[store.TABLE]["RetentionProperties"]["MemoryStoreRetentionPeriodInHours"]
    assert hours == str(calls.MEMORY_STORE_HOURS)


def test_the_hourly_table_is_filled_as_often_as_is_paid_and_as_far_back(stacks: Synthesized) -> None:
    (query,) = properties(stacks.resources("AWS::Timestream::ScheduledQuery"))

    assert query["ScheduleConfiguration"]["ScheduleExpression"] == f"rate({calls.ROLLUP_EVERY_HOURS} hours)"
    assert f"- {calls.ROLLUP_WINDOW_HOURS}h " in query["QueryString"]


def test_statuses_are_kept_for_as_long_as_is_paid(stacks: Synthesized) -> None:
    buckets = properties(stacks.resources("AWS::S3::Bucket"))

    rules = [rule for bucket in buckets for rule in bucket.get("LifecycleConfiguration", {}).get("Rules", [])]
    assert [rule["ExpirationInDays"] for rule in rules if rule.get("Prefix") == "status/"] == [calls.STATUS_DAYS]


def test_nothing_is_deployed_that_the_sheet_does_not_know(stacks: Synthesized) -> None:
    """A new kind of resource may cost something: put it into the sheet, or here if it is free."""
    paid = {
        "AWS::CloudWatch::Alarm",
        "AWS::DynamoDB::Table",
        "AWS::IoT::TopicRule",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
        "AWS::S3::Bucket",
        "AWS::SNS::Topic",
        "AWS::SQS::Queue",
        "AWS::Scheduler::Schedule",
        "AWS::SecretsManager::Secret",
        "AWS::Timestream::ScheduledQuery",
        "AWS::Timestream::Table",
    }
    free = {
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::IoT::Policy",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Permission",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Subscription",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
        "AWS::Timestream::Database",
        "Custom::TimestreamColumns",
    }
    assert {resource["Type"] for resource in stacks.resources().values()} <= paid | free
