"""The templates as a whole: every rule here holds for all resources of its kind, those that come later included."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloud.alerts.secret import PLACEHOLDER
from cloud.alerts.store import FLAPPING_INDEX
from contract import heartbeat, store, topics
from contract.alerts import Alert, AlertMessage
from contract.messages import SCHEMA, encode_telemetry
from contract.status import State, Status, status_of
from infra import STACK, TIMESTREAM_STACK
from owner import cloud_check
from tests.cdk_fixture import ALARM_EMAIL, ROOT, Json, Synthesized, synthesize

# One worker synthesizes for all of these.
pytestmark = pytest.mark.xdist_group("cdk")

OWN_NAME = "${iot:Connection.Thing.ThingName}"


def properties(resources: dict[str, Json]) -> dict[str, Json]:
    return {id_: resource.get("Properties", {}) for id_, resource in resources.items()}


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 (an IAM member: one or several)
    return value if isinstance(value, list) else [value]


def id_of(reference: Any) -> str:  # noqa: ANN401 (an intrinsic)
    """The logical id that `Ref` or `Fn::GetAtt` names, or the output of another stack."""
    if "Fn::GetStackOutput" in reference:
        return str(reference["Fn::GetStackOutput"]["OutputName"])
    return str(reference["Ref"] if "Ref" in reference else reference["Fn::GetAtt"][0])


def text(value: Any) -> str:  # noqa: ANN401 (a string or Fn::Join)
    """A string with its references in angle brackets, without their colons."""
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return str(separator).join(text(part) for part in parts)
    return f"<{id_of(value).removeprefix('AWS::')}>"


def referred(value: Any) -> Iterator[str]:  # noqa: ANN401 (any part of a template)
    """The names of all intrinsics and conditions in it."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from referred(member)
    elif isinstance(value, list):
        for member in value:
            yield from referred(member)


def refuses_plain_http(policies: list[Json], owner: str, member: str, action: str) -> bool:
    """Whether a resource policy of `owner` denies everyone everything that does not come by TLS."""
    return any(
        statement["Effect"] == "Deny"
        and statement["Action"] == action
        and statement["Principal"] in ("*", {"AWS": "*"})
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for policy in policies
        if owner in {id_of(reference) for reference in as_list(policy[member])}
        for statement in policy["PolicyDocument"]["Statement"]
    )


def test_each_kind_that_is_looped_over_is_there(stacks: Synthesized) -> None:
    kinds = {resource["Type"] for resource in stacks.resources().values()}

    assert kinds >= {
        "AWS::CloudWatch::Alarm",
        "AWS::DynamoDB::Table",
        "AWS::IAM::Policy",
        "AWS::IoT::Policy",
        "AWS::IoT::TopicRule",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
        "AWS::S3::Bucket",
        "AWS::SNS::Subscription",
        "AWS::SNS::Topic",
        "AWS::SQS::Queue",
        "AWS::Scheduler::Schedule",
        "AWS::SecretsManager::Secret",
        "AWS::Timestream::Table",
    }


def test_every_capability_in_cloud_is_a_lambda(stacks: Synthesized) -> None:
    capabilities = {path.parent.name for path in (ROOT / "cloud").glob("*/__init__.py")}

    handlers = {function["Handler"] for function in properties(stacks.resources("AWS::Lambda::Function")).values()}

    assert handlers == {f"cloud.{capability}.handler.handler" for capability in capabilities}


# Lambdas and queues


def test_I1_every_lambda_logs_to_a_group_that_forgets(stacks: Synthesized) -> None:
    groups = properties(stacks.resources("AWS::Logs::LogGroup"))

    for function in properties(stacks.resources("AWS::Lambda::Function")).values():
        assert id_of(function["LoggingConfig"]["LogGroup"]) in groups
    for id_, group in groups.items():
        assert group["RetentionInDays"] <= 31, id_


def test_no_lambda_is_traced_and_every_lambda_logs_under_its_own_name(stacks: Synthesized) -> None:
    for id_, function in properties(stacks.resources("AWS::Lambda::Function")).items():
        variables = function["Environment"]["Variables"]
        assert function.get("TracingConfig", {"Mode": "PassThrough"}) == {"Mode": "PassThrough"}, id_
        assert variables["POWERTOOLS_SERVICE_NAME"] == function["Handler"].split(".")[1], id_
        assert (variables["POWERTOOLS_LOG_LEVEL"], variables["POWERTOOLS_METRICS_NAMESPACE"]) == ("INFO", "Solarshed")


def test_every_lambda_is_python_3_13_on_arm(stacks: Synthesized) -> None:
    for function in properties(stacks.resources("AWS::Lambda::Function")).values():
        assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])


def test_I1_every_lambda_ends_within_a_sixth_of_its_queues_visibility(stacks: Synthesized) -> None:
    functions = properties(stacks.resources("AWS::Lambda::Function"))
    queues = properties(stacks.resources("AWS::SQS::Queue"))

    for mapping in properties(stacks.resources("AWS::Lambda::EventSourceMapping")).values():
        timeout_s = functions[id_of(mapping["FunctionName"])]["Timeout"]
        assert 6 * timeout_s <= queues[id_of(mapping["EventSourceArn"])]["VisibilityTimeout"]


def test_every_batch_may_fail_in_part(stacks: Synthesized) -> None:
    for mapping in properties(stacks.resources("AWS::Lambda::EventSourceMapping")).values():
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_I1_every_queue_with_a_consumer_ends_in_a_dead_letter_queue(stacks: Synthesized) -> None:
    queues = properties(stacks.resources("AWS::SQS::Queue"))

    for mapping in properties(stacks.resources("AWS::Lambda::EventSourceMapping")).values():
        redrive = queues[id_of(mapping["EventSourceArn"])]["RedrivePolicy"]
        assert id_of(redrive["deadLetterTargetArn"]) in queues
        assert redrive["maxReceiveCount"] >= 3


def fed_by_queues(stacks: Synthesized) -> set[str]:
    """The Lambdas that an event source mapping calls, and waits for."""
    return {
        id_of(mapping["FunctionName"])
        for mapping in properties(stacks.resources("AWS::Lambda::EventSourceMapping")).values()
    }


def started_by_schedules(stacks: Synthesized) -> set[str]:
    targets = {id_of(s["Target"]["Arn"]) for s in properties(stacks.resources("AWS::Scheduler::Schedule")).values()}
    return targets & set(stacks.resources("AWS::Lambda::Function"))


def called_by_cloudformation(stacks: Synthesized) -> set[str]:
    """The Lambdas behind custom resources: a deployment waits for their answer, and fails with their reason."""
    custom = [r["Properties"] for r in stacks.resources().values() if r["Type"].startswith("Custom::")]
    return {id_of(properties["ServiceToken"]) for properties in custom}


def test_I1_every_lambda_that_nobody_waits_for_says_where_its_failures_go(stacks: Synthesized) -> None:
    queues = stacks.resources("AWS::SQS::Queue")
    configured = {
        id_of(config["FunctionName"]): config
        for config in properties(stacks.resources("AWS::Lambda::EventInvokeConfig")).values()
    }
    functions = set(stacks.resources("AWS::Lambda::Function"))

    nobody_waits_for = functions - fed_by_queues(stacks) - called_by_cloudformation(stacks) | started_by_schedules(
        stacks
    )

    assert nobody_waits_for
    for function in nobody_waits_for:
        config = configured[function]
        assert id_of(config["DestinationConfig"]["OnFailure"]["Destination"]) in queues
        assert config["MaximumRetryAttempts"] <= 1
        assert config["MaximumEventAgeInSeconds"] <= 600


def test_I1_what_a_schedule_cannot_deliver_is_kept(stacks: Synthesized) -> None:
    queues = stacks.resources("AWS::SQS::Queue")

    for id_, schedule in properties(stacks.resources("AWS::Scheduler::Schedule")).items():
        target = schedule["Target"]
        assert id_of(target["DeadLetterConfig"]["Arn"]) in queues, id_
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 300, id_
        assert schedule["ScheduleExpression"] == "rate(5 minutes)", id_
        assert schedule.get("State", "ENABLED") == "ENABLED", id_


def test_I1_what_a_topic_cannot_deliver_to_a_queue_is_kept(stacks: Synthesized) -> None:
    queues = stacks.resources("AWS::SQS::Queue")
    subscriptions = properties(stacks.resources("AWS::SNS::Subscription")).values()

    to_queues = [subscription for subscription in subscriptions if subscription["Protocol"] == "sqs"]

    assert to_queues
    for subscription in to_queues:
        assert id_of(subscription["RedrivePolicy"]["deadLetterTargetArn"]) in queues
        assert subscription["RawMessageDelivery"] is True
        assert "FilterPolicy" not in subscription


def test_each_lambda_that_a_schedule_starts_ends_before_the_next_one_does(stacks: Synthesized) -> None:
    functions = properties(stacks.resources("AWS::Lambda::Function"))

    assert [functions[id_]["Timeout"] <= 270 for id_ in started_by_schedules(stacks)] == [True]


def test_the_settling_message_is_one_that_the_alerts_lambda_knows(stacks: Synthesized) -> None:
    schedules = properties(stacks.resources("AWS::Scheduler::Schedule")).values()
    queues = stacks.resources("AWS::SQS::Queue")

    sent = [json.loads(s["Target"]["Input"]) for s in schedules if id_of(s["Target"]["Arn"]) in queues]

    assert sent == [{"schema": SCHEMA, "settle": True}]


def test_L5_an_alert_is_tried_for_two_hours(stacks: Synthesized) -> None:
    queues = properties(stacks.resources("AWS::SQS::Queue"))
    subscriptions = properties(stacks.resources("AWS::SNS::Subscription")).values()

    for subscription in subscriptions:
        if subscription["Protocol"] == "sqs":
            queue = queues[id_of(subscription["Endpoint"])]
            assert queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] >= 2 * 3600


def test_every_queue_is_encrypted_speaks_tls_only_and_keeps_for_14_days(stacks: Synthesized) -> None:
    policies = list(properties(stacks.resources("AWS::SQS::QueuePolicy")).values())

    for id_, queue in properties(stacks.resources("AWS::SQS::Queue")).items():
        assert queue["SqsManagedSseEnabled"] is True, id_
        assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600, id_
        assert refuses_plain_http(policies, id_, "Queues", "sqs:*"), id_


# Rules


def test_I2_every_rule_has_an_error_action_and_the_newer_sql(stacks: Synthesized) -> None:
    queues = stacks.resources("AWS::SQS::Queue")

    for rule in properties(stacks.resources("AWS::IoT::TopicRule")).values():
        payload = rule["TopicRulePayload"]
        assert id_of(payload["ErrorAction"]["Sqs"]["QueueUrl"]) in queues
        assert payload["AwsIotSqlVersion"] == "2016-03-23"
        assert not payload.get("RuleDisabled", False)


def test_every_rule_hears_one_channel_of_every_thing(stacks: Synthesized) -> None:
    rules = properties(stacks.resources("AWS::IoT::TopicRule")).values()

    heard = [re.findall("FROM '(.*)'", rule["TopicRulePayload"]["Sql"]) for rule in rules]

    assert all(len(topic) == 1 and topic[0] in map(topics.every_thing, topics.CHANNELS) for topic in heard)


def test_the_telemetry_rule_selects_all_that_a_message_is_made_of(stacks: Synthesized) -> None:
    rules = properties(stacks.resources("AWS::IoT::TopicRule")).values()
    (sql,) = [r["TopicRulePayload"]["Sql"] for r in rules if topics.TELEMETRY in r["TopicRulePayload"]["Sql"]]

    selected = sql.removeprefix("SELECT ").partition(" FROM ")[0].split(", ")

    assert set(selected) == {
        *json.loads(encode_telemetry([])),
        "topic(3) AS thing",
        "timestamp() AS received_ms",
    }


def test_the_alert_rule_selects_all_that_an_alert_is_made_of(stacks: Synthesized) -> None:
    rules = [r["TopicRulePayload"] for r in properties(stacks.resources("AWS::IoT::TopicRule")).values()]
    (rule,) = [r for r in rules if topics.every_thing(topics.ALERT) in r["Sql"]]
    alert = AlertMessage(Alert.BATTERY_LOW, "raise", 1, 1, "4f1d", clock_synchronised=True, summary="", details={})

    selected = rule["Sql"].removeprefix("SELECT ").partition(" FROM ")[0].split(", ")

    assert set(selected) == {*alert.as_json(), "topic(3) AS thing", "timestamp() AS received_ms"}
    assert [action["Sns"]["MessageFormat"] for action in rule["Actions"]] == ["RAW"]


def test_the_rules_take_the_things_name_from_where_the_topic_has_it(stacks: Synthesized) -> None:
    level = topics.topic("shed", topics.TELEMETRY).split("/").index("shed") + 1

    for rule in stacks.resources("AWS::IoT::TopicRule").values():
        assert set(re.findall(r"topic\((\d)\)", json.dumps(rule))) == {str(level)}


def test_each_heartbeat_is_kept_where_the_contract_says(stacks: Synthesized) -> None:
    keys = [
        action["S3"]["Key"].replace("${topic(3)}", "shed")
        for rule in properties(stacks.resources("AWS::IoT::TopicRule")).values()
        for action in rule["TopicRulePayload"]["Actions"]
        if "S3" in action and topics.every_thing(topics.HEARTBEAT) in rule["TopicRulePayload"]["Sql"]
    ]

    assert keys == [heartbeat.key("shed")]


def test_N13_each_status_is_kept_under_the_name_that_puts_it_in_order(stacks: Synthesized) -> None:
    keys = [
        action["S3"]["Key"]
        for rule in properties(stacks.resources("AWS::IoT::TopicRule")).values()
        for action in rule["TopicRulePayload"]["Actions"]
        if "S3" in action and topics.every_thing(topics.STATUS) in rule["TopicRulePayload"]["Sql"]
    ]
    made = keys[0].replace("${topic(3)}", "shed").replace("${session}", "1795452801234").replace("${state}", "offline")

    assert len(keys) == 1
    assert status_of(made) == Status("shed", 1795452801234, State.OFFLINE)


# The alarms


@dataclass(frozen=True)
class Watched:
    """One metric that an alarm looks at."""

    namespace: str
    metric: str
    resource: str
    alarm: Json


def watched(stacks: Synthesized) -> list[Watched]:
    """Everything that alarms look at."""
    found = []
    for alarm in properties(stacks.resources("AWS::CloudWatch::Alarm")).values():
        (dimension,) = alarm["Dimensions"]
        found.append(Watched(alarm["Namespace"], alarm["MetricName"], id_of(dimension["Value"]), alarm))
    return found


def is_at_the_first(alarm: Json) -> bool:
    """Whether one is enough, at once, and silence is no alarm."""
    return (
        (alarm["Threshold"], alarm["EvaluationPeriods"], alarm["ComparisonOperator"])
        == (1, 1, "GreaterThanOrEqualToThreshold")
        and alarm["TreatMissingData"] == "notBreaching"
        and alarm["Period"] <= 300
    )


def last_queues(stacks: Synthesized) -> set[str]:
    """The queues that no Lambda takes anything from, so that somebody must be told of what is in them."""
    consumed = {
        id_of(mapping["EventSourceArn"])
        for mapping in properties(stacks.resources("AWS::Lambda::EventSourceMapping")).values()
    }
    return set(stacks.resources("AWS::SQS::Queue")) - consumed


def test_I4_L18_every_queue_that_nobody_empties_raises_an_alarm_at_the_first_message(stacks: Synthesized) -> None:
    watch = {
        each.resource
        for each in watched(stacks)
        if (each.namespace, each.metric) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
        and is_at_the_first(each.alarm)
        and each.alarm["Statistic"] == "Maximum"
    }

    assert watch == last_queues(stacks) != set()


def test_I4_every_queue_that_redrives_ends_in_one_that_is_watched(stacks: Synthesized) -> None:
    for queue in properties(stacks.resources("AWS::SQS::Queue")).values():
        if "RedrivePolicy" in queue:
            assert id_of(queue["RedrivePolicy"]["deadLetterTargetArn"]) in last_queues(stacks)


def test_I4_every_queue_that_a_lambda_empties_raises_an_alarm_when_it_no_longer_does(stacks: Synthesized) -> None:
    late = {
        each.resource
        for each in watched(stacks)
        if each.metric == "ApproximateAgeOfOldestMessage"
        and (each.alarm["Threshold"], each.alarm["Statistic"]) == (15 * 60, "Maximum")
    }

    assert late == set(stacks.resources("AWS::SQS::Queue")) - last_queues(stacks) != set()


def test_I4_L5_a_queue_whose_messages_are_tried_for_long_raises_an_alarm_meanwhile(stacks: Synthesized) -> None:
    """After three receipts a message no longer counts for the age of the oldest one."""
    queues = properties(stacks.resources("AWS::SQS::Queue"))
    tried_for_long = {
        id_
        for id_, queue in queues.items()
        if "RedrivePolicy" in queue and queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] > 3600
    }
    watch = {
        each.resource
        for each in watched(stacks)
        if each.metric == "ApproximateNumberOfMessagesNotVisible"
        and (each.alarm["Threshold"], each.alarm["Statistic"]) == (1, "Minimum")
        and each.alarm["Period"] * each.alarm["EvaluationPeriods"] == 15 * 60
    }

    assert watch == tried_for_long != set()


def test_I4_every_lambda_raises_an_alarm_at_the_first_error(stacks: Synthesized) -> None:
    watch = {
        each.resource
        for each in watched(stacks)
        if (each.namespace, each.metric) == ("AWS/Lambda", "Errors")
        and is_at_the_first(each.alarm)
        and each.alarm["Statistic"] == "Sum"
    }

    assert watch == set(stacks.resources("AWS::Lambda::Function")) - called_by_cloudformation(stacks)


def test_I4_L19_every_lambda_of_a_schedule_raises_an_alarm_when_it_has_not_run(stacks: Synthesized) -> None:
    alarms = {
        each.resource: each.alarm
        for each in watched(stacks)
        if (each.namespace, each.metric) == ("AWS/Lambda", "Invocations")
    }

    assert set(alarms) == started_by_schedules(stacks)
    for alarm in alarms.values():
        assert (alarm["ComparisonOperator"], alarm["Threshold"], alarm["Statistic"]) == ("LessThanThreshold", 1, "Sum")
        assert alarm["Period"] * alarm["EvaluationPeriods"] == 15 * 60
        # A Lambda that never runs reports nothing at all.
        assert alarm["TreatMissingData"] == "breaching"


def test_I4_L19_every_alarm_says_when_it_starts_and_ends_to_those_who_need_no_lambda(stacks: Synthesized) -> None:
    topics_ = stacks.resources("AWS::SNS::Topic")
    told = set()

    for id_, alarm in properties(stacks.resources("AWS::CloudWatch::Alarm")).items():
        assert alarm["AlarmActions"] == alarm["OKActions"] != [], id_
        assert alarm.get("ActionsEnabled", True) is True
        assert len(alarm["AlarmDescription"]) > 40
        told |= {id_of(action) for action in alarm["AlarmActions"]}

    assert len(told) == 1
    assert told <= set(topics_)
    subscriptions = [
        subscription
        for subscription in properties(stacks.resources("AWS::SNS::Subscription")).values()
        if id_of(subscription["TopicArn"]) in told
    ]
    assert [subscription["Protocol"] for subscription in subscriptions] == ["email"]
    assert not [name for s in subscriptions for name in referred(s["Endpoint"])]


def test_I4_L19_the_alarms_topic_lets_only_cloudwatch_in_and_only_this_accounts(stacks: Synthesized) -> None:
    told = {
        id_of(action)
        for alarm in properties(stacks.resources("AWS::CloudWatch::Alarm")).values()
        for action in alarm["AlarmActions"]
    }
    allowed = [
        statement
        for policy in properties(stacks.resources("AWS::SNS::TopicPolicy")).values()
        if told & {id_of(topic) for topic in policy["Topics"]}
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]

    assert [(s["Action"], s["Principal"], s["Condition"]) for s in allowed] == [
        (
            "sns:Publish",
            {"Service": "cloudwatch.amazonaws.com"},
            {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
        )
    ]


def test_no_more_metrics_are_watched_than_cost_nothing(stacks: Synthesized) -> None:
    assert len(list(watched(stacks))) <= 10


# Buckets, topics, tables and the secret


def test_I5_every_bucket_is_encrypted_private_tls_only_and_kept(stacks: Synthesized) -> None:
    policies = list(properties(stacks.resources("AWS::S3::BucketPolicy")).values())

    for id_, bucket in stacks.resources("AWS::S3::Bucket").items():
        (encryption,) = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        access = bucket["Properties"]["PublicAccessBlockConfiguration"]
        assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in {"AES256", "aws:kms"}, id_
        assert access == dict.fromkeys(
            ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
        )
        assert refuses_plain_http(policies, id_, "Bucket", "s3:*"), id_
        assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain"), id_


def test_I5_every_topic_speaks_tls_only(stacks: Synthesized) -> None:
    policies = list(properties(stacks.resources("AWS::SNS::TopicPolicy")).values())

    for id_ in stacks.resources("AWS::SNS::Topic"):
        assert refuses_plain_http(policies, id_, "Topics", "sns:Publish"), id_


# Queues are left out: what they hold is gone in days anyway.
STATEFUL = {
    "AWS::DynamoDB::Table",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
    "AWS::Timestream::Database",
    "AWS::Timestream::Table",
}


def test_I5_whatever_holds_data_is_kept_when_its_stack_goes(stacks: Synthesized) -> None:
    for id_, resource in stacks.resources().items():
        if resource["Type"] in STATEFUL:
            assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == (
                "RetainExceptOnCreate",
                "Retain",
            ), id_


def test_I5_every_table_can_be_restored_and_is_not_deleted_by_mistake(stacks: Synthesized) -> None:
    for table in properties(stacks.resources("AWS::DynamoDB::Table")).values():
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["DeletionProtectionEnabled"] is True
        assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_the_incidents_table_is_as_the_alerts_lambda_takes_it_to_be(stacks: Synthesized) -> None:
    (table,) = properties(stacks.resources("AWS::DynamoDB::Table")).values()
    (index,) = table["GlobalSecondaryIndexes"]

    assert table["KeySchema"] == [{"AttributeName": "incident", "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "forget_at", "Enabled": True}
    assert index == {
        "IndexName": FLAPPING_INDEX,
        "KeySchema": [{"AttributeName": "flapping", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }


def test_the_secret_stays_as_the_owner_has_filled_it(stacks: Synthesized) -> None:
    """CloudFormation writes a secret whose properties have changed: if this fails, the owner's key is at stake."""
    assert list(properties(stacks.resources("AWS::SecretsManager::Secret")).values()) == [
        {
            "Name": "solarshed/pagerduty-routing-key",
            "Description": "PagerDuty's integration key (Events API v2)",
            "SecretString": PLACEHOLDER,
        }
    ]


def test_the_alerts_lambda_knows_the_secret_by_the_name_that_the_owner_knows(stacks: Synthesized) -> None:
    """A text that asks the owner for the key names what the Lambda was given."""
    (secret,) = properties(stacks.resources("AWS::SecretsManager::Secret")).values()
    outputs = stacks.templates[STACK]["Outputs"]

    given = [
        function["Environment"]["Variables"].get("SOLARSHED_ROUTING_KEY_SECRET", secret["Name"])
        for function in properties(stacks.resources("AWS::Lambda::Function")).values()
    ]

    assert {*given, outputs["RoutingKeySecretName"]["Value"]} == {secret["Name"]}


def test_I5_no_resource_policy_allows_everyone(stacks: Synthesized) -> None:
    for type_ in ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"):
        for policy in properties(stacks.resources(type_)).values():
            for statement in policy["PolicyDocument"]["Statement"]:
                assert statement["Effect"] == "Deny" or "*" not in json.dumps(statement["Principal"])


def tables(stacks: Synthesized) -> dict[str, Json]:
    """Timestream's tables by name."""
    found = stacks.resources("AWS::Timestream::Table").values()
    return {table["Properties"]["TableName"]: table for table in found}


def test_both_tables_take_late_records_and_keep_five_years(stacks: Synthesized) -> None:
    (database,) = stacks.resources("AWS::Timestream::Database").values()

    assert set(tables(stacks)) == {store.TABLE, store.HOURLY_TABLE}
    for table in tables(stacks).values():
        settings = table["Properties"]
        assert settings["DatabaseName"] == database["Properties"]["DatabaseName"] == store.DATABASE
        assert settings["RetentionProperties"]["MagneticStoreRetentionPeriodInDays"] == str(5 * 365)
        late = settings["MagneticStoreWriteProperties"]
        rejected = late["MagneticStoreRejectedDataLocation"]["S3Configuration"]
        assert late["EnableMagneticStoreWrites"] is True
        assert id_of(rejected["BucketName"]) in stacks.resources("AWS::S3::Bucket")
        assert {table["DeletionPolicy"], database["DeletionPolicy"]} == {"RetainExceptOnCreate"}


def test_samples_are_a_week_in_the_memory_store_and_hours_longer_than_a_roll_up_goes_back(stacks: Synthesized) -> None:
    hours = {
        name: int(table["Properties"]["RetentionProperties"]["MemoryStoreRetentionPeriodInHours"])
        for name, table in tables(stacks).items()
    }

    assert hours[store.TABLE] == 7 * 24
    assert hours[store.HOURLY_TABLE] > 48 + 1


# Who may do what


def statements(stacks: Synthesized, type_: str) -> list[Json]:
    return [
        statement
        for policy in properties(stacks.resources(type_)).values()
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def device_may(stacks: Synthesized, action: str) -> set[str]:
    """The topics, topic filters or client names that the device policy allows `action` on."""
    arns = [
        text(arn)
        for statement in statements(stacks, "AWS::IoT::Policy")
        if action in as_list(statement["Action"])
        for arn in as_list(statement["Resource"])
    ]
    return {arn.split(":", 5)[5] for arn in arns}


def test_I3_the_device_policy_has_no_wildcard(stacks: Synthesized) -> None:
    for statement in statements(stacks, "AWS::IoT::Policy"):
        assert statement["Effect"] == "Allow"
        assert "*" not in json.dumps(statement)
        assert not re.search(r"[+#]", " ".join(text(arn) for arn in as_list(statement["Resource"])))


def test_I3_a_device_may_do_four_things_in_its_own_name_only(stacks: Synthesized) -> None:
    found = statements(stacks, "AWS::IoT::Policy")

    actions = {action for statement in found for action in as_list(statement["Action"])}
    assert actions == {"iot:Connect", "iot:Publish", "iot:Subscribe", "iot:Receive"}
    assert all(OWN_NAME in text(arn) for statement in found for arn in as_list(statement["Resource"]))
    assert device_may(stacks, "iot:Connect") == {f"client/{OWN_NAME}"}


def test_I3_a_device_publishes_its_own_channels_and_shadow_only(stacks: Synthesized) -> None:
    channels = {topics.topic(OWN_NAME, channel) for channel in topics.CHANNELS}
    shadow = {f"$aws/things/{OWN_NAME}/shadow/{request}" for request in ("get", "update")}

    assert device_may(stacks, "iot:Publish") == {f"topic/{topic}" for topic in channels | shadow}


def test_I3_a_device_hears_its_own_shadow_only(stacks: Synthesized) -> None:
    answers = ("get/accepted", "get/rejected", "update/accepted", "update/rejected", "update/delta", "delete/accepted")
    shadow = {f"$aws/things/{OWN_NAME}/shadow/{answer}" for answer in answers}

    assert device_may(stacks, "iot:Subscribe") == {f"topicfilter/{topic}" for topic in shadow}
    assert device_may(stacks, "iot:Receive") == {f"topic/{topic}" for topic in shadow}


PATTERNS = {
    # AWS takes no other resource for these; none shows a table's data
    **{f"timestream:{a}": {"*"} for a in ("CancelQuery", "DescribeEndpoints", "ListDatabases", "SelectValues")},
    "iot:DescribeThing": {"thing/*"},  # every thing is watched
    "s3:DeleteObject": {"open/*"},  # an object for each alert that is raised, named by its thing
    "s3:GetObject": {"heartbeat/*", "open/*"},  # an object for each thing
    # The same; one for each refused record, and for each run that was refused.
    "s3:PutObject": {"heartbeat/*", "open/*", "rejected/*", "roll-up-errors/*", "status/*"},
}


def test_no_role_has_a_wildcard_action_and_only_some_have_a_pattern_of_resources(stacks: Synthesized) -> None:
    found: dict[str, set[str]] = {}
    for statement in statements(stacks, "AWS::IAM::Policy"):
        assert statement["Effect"] == "Allow"
        assert not {"NotAction", "NotResource"} & set(statement)
        for action in as_list(statement["Action"]):
            assert "*" not in action
            for arn in map(text, as_list(statement["Resource"])):
                if "*" in arn:
                    found.setdefault(action, set()).add(arn.rpartition(">/")[2].rpartition(":")[2])

    assert found == PATTERNS


def test_no_role_has_a_managed_policy(stacks: Synthesized) -> None:
    for id_, role in properties(stacks.resources("AWS::IAM::Role")).items():
        assert not role.get("ManagedPolicyArns"), id_


def test_every_lambda_has_a_role_of_its_own(stacks: Synthesized) -> None:
    functions = properties(stacks.resources("AWS::Lambda::Function"))

    assert len({id_of(function["Role"]) for function in functions.values()}) == len(functions)


def test_every_role_is_for_one_service(stacks: Synthesized) -> None:
    names = ("grafana", "iot", "lambda", "scheduler", "timestream")
    services = {f"{name}.amazonaws.com" for name in names}

    for role in properties(stacks.resources("AWS::IAM::Role")).values():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"]["Service"] in services


def allowed_to(stacks: Synthesized, capability: str) -> dict[str, set[str]]:
    """What the role of the Lambda in `cloud/<capability>` may do, and with what."""
    functions = properties(stacks.resources("AWS::Lambda::Function")).values()
    (role,) = [id_of(f["Role"]) for f in functions if f["Handler"] == f"cloud.{capability}.handler.handler"]
    allowed: dict[str, set[str]] = {}
    for policy in properties(stacks.resources("AWS::IAM::Policy")).values():
        if role in map(id_of, policy["Roles"]):
            for statement in policy["PolicyDocument"]["Statement"]:
                for action in as_list(statement["Action"]):
                    # A logical id ends in the eight digits that the CDK gives it.
                    arns = {re.sub(r"[0-9A-F]{8}>", ">", text(arn)) for arn in as_list(statement["Resource"])}
                    allowed.setdefault(action, set()).update(arns)
    return allowed


def test_the_columns_lambda_may_write_to_the_two_tables_and_no_more(stacks: Synthesized) -> None:
    table = "arn:<Partition>:timestream:<Region>:<AccountId>:database/solarshed/table/"

    assert allowed_to(stacks, "timestream") == {
        "logs:CreateLogStream": {"<ColumnsLogs>"},
        "logs:PutLogEvents": {"<ColumnsLogs>"},
        "timestream:WriteRecords": {f"{table}{store.TABLE}", f"{table}{store.HOURLY_TABLE}"},
        "timestream:DescribeEndpoints": {"*"},
    }


def reader(stacks: Synthesized) -> tuple[Json, dict[str, set[str]]]:
    """Who may take Grafana's role, and what it may do with what."""
    role_id = id_of(stacks.templates[TIMESTREAM_STACK]["Outputs"]["GrafanaReaderRoleArn"]["Value"])
    (trust,) = stacks.resources()[role_id]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    allowed: dict[str, set[str]] = {}
    for policy in properties(stacks.resources("AWS::IAM::Policy")).values():
        if role_id in map(id_of, policy["Roles"]):
            for statement in policy["PolicyDocument"]["Statement"]:
                for action in as_list(statement["Action"]):
                    allowed.setdefault(action, set()).update(map(text, as_list(statement["Resource"])))
    return trust, allowed


def test_grafana_may_read_the_two_tables_and_no_more(stacks: Synthesized) -> None:
    database = "arn:<Partition>:timestream:<Region>:<AccountId>:database/solarshed"
    both = {f"{database}/table/{table}" for table in (store.TABLE, store.HOURLY_TABLE)}

    trust, allowed = reader(stacks)

    assert trust["Principal"] == {"Service": "grafana.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    assert allowed == {
        **{f"timestream:{action}": both for action in ("Select", "DescribeTable", "ListMeasures")},
        **{f"timestream:{action}": {database} for action in ("DescribeDatabase", "ListTables")},
        **{f"timestream:{a}": {"*"} for a in ("CancelQuery", "DescribeEndpoints", "ListDatabases", "SelectValues")},
    }


def test_the_roll_up_may_read_one_table_and_write_the_other(stacks: Synthesized) -> None:
    (query,) = properties(stacks.resources("AWS::Timestream::ScheduledQuery")).values()
    role = id_of(query["ScheduledQueryExecutionRoleArn"])
    found = [p for p in properties(stacks.resources("AWS::IAM::Policy")).values() if role in map(id_of, p["Roles"])]

    tables_of = {
        action: text(statement["Resource"]).rpartition("/")[2]
        for policy in found
        for statement in policy["PolicyDocument"]["Statement"]
        for action in as_list(statement["Action"])
        if "/table/" in json.dumps(statement["Resource"])
    }

    assert tables_of == {"timestream:Select": store.TABLE, "timestream:WriteRecords": store.HOURLY_TABLE}


ITS_QUEUE = ("ReceiveMessage", "ChangeMessageVisibility", "GetQueueUrl", "DeleteMessage", "GetQueueAttributes")


def test_the_alerts_lambda_may_do_what_it_does_and_no_more(stacks: Synthesized) -> None:
    assert allowed_to(stacks, "alerts") == {
        "logs:CreateLogStream": {"<AlertsLogs>"},
        "logs:PutLogEvents": {"<AlertsLogs>"},
        "dynamodb:GetItem": {"<AlertsIncidents>"},
        "dynamodb:PutItem": {"<AlertsIncidents>"},
        "dynamodb:Query": {f"<AlertsIncidents>/index/{FLAPPING_INDEX}"},
        "secretsmanager:GetSecretValue": {"<AlertsRoutingKey>"},
        "sns:Publish": {"<WatchTopic>"},
        "sqs:SendMessage": {"<AlertsDeadLetters>"},
        **{f"sqs:{action}": {"<AlertsQueue>"} for action in ITS_QUEUE},
    }


def test_the_heartbeat_lambda_may_do_what_it_does_and_no_more(stacks: Synthesized) -> None:
    beats, opened, counts = (
        f"<HeartbeatBucket>/{name}" for name in ("heartbeat/*", f"{heartbeat.OPEN_PREFIX}*", heartbeat.COUNTS_KEY)
    )

    assert allowed_to(stacks, "heartbeat") == {
        "logs:CreateLogStream": {"<HeartbeatLogs>"},
        "logs:PutLogEvents": {"<HeartbeatLogs>"},
        "s3:ListBucket": {"<HeartbeatBucket>"},
        "s3:GetObject": {beats, opened, counts},
        "s3:PutObject": {opened, counts},
        "s3:DeleteObject": {opened},
        "sns:Publish": {"<AlertsTopic>"},
        "iot:DescribeThing": {"arn:<Partition>:iot:<Region>:<AccountId>:thing/*"},
        # Its failures, which Lambda sends in its name.
        **{f"sqs:{a}": {"<HeartbeatErrors>"} for a in ("SendMessage", "GetQueueAttributes", "GetQueueUrl")},
    }


# The stacks


def test_there_are_two_stacks_and_neither_needs_the_others_exports(stacks: Synthesized) -> None:
    assert set(stacks.templates) == {STACK, TIMESTREAM_STACK}
    for template in stacks.templates.values():
        assert not {"Fn::ImportValue", "Fn::GetStackOutput"} & set(referred(template))
        assert not [name for name, output in template.get("Outputs", {}).items() if "Export" in output]


def test_doctor_looks_for_the_bootstrap_that_the_stacks_ask_for(stacks: Synthesized) -> None:
    for template in stacks.templates.values():
        (rule,) = template["Rules"]["CheckBootstrapVersion"]["Assertions"]
        too_old = rule["Assert"]["Fn::Not"][0]["Fn::Contains"][0]
        assert template["Parameters"]["BootstrapVersion"]["Default"] == cloud_check._BOOTSTRAP_PARAMETER
        assert max(map(int, too_old)) == cloud_check._LEAST_BOOTSTRAP - 1


def test_I6_the_stacks_are_the_same_when_synthesized_again(stacks: Synthesized) -> None:
    again = synthesize(alarm_email=ALARM_EMAIL)

    assert again.templates == stacks.templates
    assert files(again.directory) == files(stacks.directory)


def files(directory: Path) -> dict[str, bytes]:
    """What is deployed of a cloud assembly: templates, assets, and where they go."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in {"tree.json", "validation-report.json"}
    }


def test_the_template_check_has_nothing_left_to_say(stacks: Synthesized) -> None:
    report = json.loads((stacks.directory / "validation-report.json").read_text())

    assert [violation for plugin in report["pluginReports"] for violation in plugin["violations"]] == []


OF_THE_DEPLOYMENT = {"DeletionPolicy", "UpdateReplacePolicy", "DeletionProtectionEnabled", "Metadata", "DependsOn"}
RESOURCE_POLICIES = {"AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy"}


def is_of_tls(statement: Json) -> bool:
    return "aws:SecureTransport" in json.dumps(statement.get("Condition"))


def but_for_tls_and_what_is_kept(template: Json) -> Json:
    """The template without what the emulator is spared; policies that say nothing else are left out."""
    resources = {}
    for id_, resource in template["Resources"].items():
        settings = {n: value for n, value in resource.get("Properties", {}).items() if n not in OF_THE_DEPLOYMENT}
        if resource["Type"] in RESOURCE_POLICIES:
            rest = [s for s in settings["PolicyDocument"]["Statement"] if not is_of_tls(s)]
            settings["PolicyDocument"] = {"Statement": [{n: v for n, v in s.items() if n != "Sid"} for s in rest]}
            if not rest:
                continue
        resources[id_] = {"Type": resource["Type"], "Properties": settings}
    # What the real synthesizer adds for the bootstrap stack.
    rest_of_it = {name: part for name, part in template.items() if name not in {"Resources", "Parameters", "Rules"}}
    return {**rest_of_it, "Resources": resources}


def test_the_emulator_gets_the_same_but_for_tls_and_what_is_kept(
    stacks: Synthesized, local_stacks: Synthesized
) -> None:
    assert {name: but_for_tls_and_what_is_kept(template) for name, template in local_stacks.templates.items()} == {
        name: but_for_tls_and_what_is_kept(template) for name, template in stacks.templates.items()
    }


def test_the_emulator_keeps_nothing_and_is_spoken_to_without_tls(local_stacks: Synthesized) -> None:
    for id_, resource in local_stacks.resources().items():
        assert resource.get("DeletionPolicy", "Delete") == "Delete", id_
        assert not resource.get("Properties", {}).get("DeletionProtectionEnabled"), id_
        assert "aws:SecureTransport" not in json.dumps(resource), id_


# The Lambdas' bundles


def bundles(stacks: Synthesized) -> dict[str, Path]:
    """The folder of each function's code, by its handler."""
    manifest: Json = {}
    for name in stacks.templates:
        manifest |= json.loads((stacks.directory / f"{name}.assets.json").read_text())["files"]
    return {
        function["Handler"]: stacks.directory
        / manifest[function["Code"]["S3Key"].removesuffix(".zip")]["source"]["path"]
        for function in properties(stacks.resources("AWS::Lambda::Function")).values()
    }


def sources_of(handler: str) -> dict[Path, bytes]:
    """The files of this project that a bundle must hold."""
    capability = "/".join(handler.split(".")[:2])
    files = [ROOT / "cloud/__init__.py", *(ROOT / "contract").glob("*.py"), *(ROOT / capability).rglob("*.py")]
    return {path.relative_to(ROOT): path.read_bytes() for path in files}


def test_every_bundle_holds_the_contract_and_its_own_capability_only(stacks: Synthesized) -> None:
    for handler, bundle in bundles(stacks).items():
        ours = [*(bundle / "cloud").rglob("*"), *(bundle / "contract").rglob("*")]

        assert {p.relative_to(bundle): p.read_bytes() for p in ours if p.is_file()} == sources_of(handler)


def test_every_bundle_runs_on_any_processor_and_holds_no_tests(stacks: Synthesized) -> None:
    for bundle in bundles(stacks).values():
        files = [path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file()]

        assert {path.suffix for path in files} <= {".py", ".pem"}
        assert not [path for path in files if {"tests", "__pycache__", "boto3", "botocore"} & set(path.parts)]


def test_every_bundle_zips_to_less_than_2_mb(stacks: Synthesized) -> None:
    for handler, bundle in bundles(stacks).items():
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path in bundle.rglob("*"):
                zipped.write(path, path.relative_to(bundle))

        assert len(archive.getvalue()) < 2 * 1024 * 1024, handler
