"""The templates as a whole: every rule here holds for all resources of its kind, those that come later included."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract import store, topics
from contract.messages import encode_telemetry
from contract.status import State, Status, status_of
from infra import STACK, TIMESTREAM_STACK
from tests.infra.conftest import ROOT, Json, Synthesized, synthesize

# One worker synthesizes for all of these.
pytestmark = pytest.mark.xdist_group("cdk")

OWN_NAME = "${iot:Connection.Thing.ThingName}"


def properties(resources: dict[str, Json]) -> dict[str, Json]:
    return {id_: resource["Properties"] for id_, resource in resources.items()}


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 (an IAM member: one or several)
    return value if isinstance(value, list) else [value]


def id_of(reference: Any) -> str:  # noqa: ANN401 (an intrinsic)
    """The logical id that `Ref` or `Fn::GetAtt` names."""
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
        and statement["Principal"] == {"AWS": "*"}
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for policy in policies
        if owner in {id_of(reference) for reference in as_list(policy[member])}
        for statement in policy["PolicyDocument"]["Statement"]
    )


def test_each_kind_that_is_looped_over_is_there(stacks: Synthesized) -> None:
    kinds = {resource["Type"] for resource in stacks.resources().values()}

    assert kinds >= {
        "AWS::IAM::Policy",
        "AWS::IoT::Policy",
        "AWS::IoT::TopicRule",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::S3::Bucket",
        "AWS::SQS::Queue",
        "AWS::Timestream::Table",
    }


# Lambdas and queues


def test_I1_every_lambda_logs_to_a_group_that_forgets(stacks: Synthesized) -> None:
    groups = properties(stacks.resources("AWS::Logs::LogGroup"))

    for function in properties(stacks.resources("AWS::Lambda::Function")).values():
        assert groups[id_of(function["LoggingConfig"]["LogGroup"])]["RetentionInDays"] <= 365


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

    assert set(selected) == {*json.loads(encode_telemetry([])), "topic(3) AS thing"}


def test_the_rules_take_the_things_name_from_where_the_topic_has_it(stacks: Synthesized) -> None:
    level = topics.topic("shed", topics.TELEMETRY).split("/").index("shed") + 1

    for rule in stacks.resources("AWS::IoT::TopicRule").values():
        assert set(re.findall(r"topic\((\d)\)", json.dumps(rule))) == {str(level)}


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


# Buckets and the table


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
        assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain"), id_


def test_I5_no_resource_policy_allows_everyone(stacks: Synthesized) -> None:
    for type_ in ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy"):
        for policy in properties(stacks.resources(type_)).values():
            for statement in policy["PolicyDocument"]["Statement"]:
                assert statement["Effect"] == "Deny" or "*" not in json.dumps(statement["Principal"])


def test_the_table_takes_late_records_and_keeps_five_years(stacks: Synthesized) -> None:
    (table,) = stacks.resources("AWS::Timestream::Table").values()
    (database,) = stacks.resources("AWS::Timestream::Database").values()

    settings = table["Properties"]
    assert settings["DatabaseName"] == database["Properties"]["DatabaseName"] == store.DATABASE
    assert settings["TableName"] == store.TABLE
    assert settings["RetentionProperties"] == {
        "MemoryStoreRetentionPeriodInHours": str(7 * 24),
        "MagneticStoreRetentionPeriodInDays": str(5 * 365),
    }
    late = settings["MagneticStoreWriteProperties"]
    rejected = late["MagneticStoreRejectedDataLocation"]["S3Configuration"]
    assert late["EnableMagneticStoreWrites"] is True
    assert id_of(rejected["BucketName"]) in stacks.resources("AWS::S3::Bucket")
    assert {table["DeletionPolicy"], database["DeletionPolicy"]} == {"Retain"}


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


def test_no_role_has_a_wildcard_action_and_one_action_only_a_wildcard_resource(stacks: Synthesized) -> None:
    everywhere: set[str] = set()
    for statement in statements(stacks, "AWS::IAM::Policy"):
        assert statement["Effect"] == "Allow"
        actions = as_list(statement["Action"])
        assert not [action for action in actions if "*" in action]
        if "*" in as_list(statement["Resource"]):
            everywhere |= set(actions)

    # AWS takes no other resource for it.
    assert everywhere == {"timestream:DescribeEndpoints"}


def test_no_role_has_a_managed_policy_but_the_lambdas_own_log(stacks: Synthesized) -> None:
    for role in properties(stacks.resources("AWS::IAM::Role")).values():
        for arn in role.get("ManagedPolicyArns", []):
            assert text(arn).endswith(":iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")


def test_every_role_is_for_one_service(stacks: Synthesized) -> None:
    for role in properties(stacks.resources("AWS::IAM::Role")).values():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"]["Service"] in {"iot.amazonaws.com", "lambda.amazonaws.com"}


# The stacks


def test_there_are_two_stacks_and_neither_needs_the_others_exports(stacks: Synthesized) -> None:
    assert set(stacks.templates) == {STACK, TIMESTREAM_STACK}
    for template in stacks.templates.values():
        assert not {"Fn::ImportValue", "Fn::GetStackOutput"} & set(referred(template))
        assert not [name for name, output in template.get("Outputs", {}).items() if "Export" in output]


def test_I6_the_stacks_are_the_same_when_synthesized_again(stacks: Synthesized) -> None:
    again = synthesize(local=False)

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


TLS_POLICIES = {"AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy"}
OF_THE_DEPLOYMENT = ("DeletionPolicy", "UpdateReplacePolicy")


def test_the_emulator_gets_the_same_but_for_tls_and_what_is_kept(
    stacks: Synthesized, local_stacks: Synthesized
) -> None:
    def comparable(template: Json) -> Json:
        resources = {
            id_: {
                member: value
                for member, value in resource.items()
                if member not in {*OF_THE_DEPLOYMENT, "Metadata", "DependsOn"}
            }
            for id_, resource in template["Resources"].items()
            if resource["Type"] not in TLS_POLICIES | {"AWS::CDK::Metadata"}
        }
        # What the real synthesizer adds for the bootstrap stack.
        rest = {name: part for name, part in template.items() if name not in {"Resources", "Parameters", "Rules"}}
        return {**rest, "Resources": resources}

    assert {name: comparable(template) for name, template in local_stacks.templates.items()} == {
        name: comparable(template) for name, template in stacks.templates.items()
    }


def test_the_emulator_keeps_nothing(local_stacks: Synthesized) -> None:
    kept = {resource.get("DeletionPolicy", "Delete") for resource in local_stacks.resources().values()}

    assert kept == {"Delete"}
    assert not TLS_POLICIES & {resource["Type"] for resource in local_stacks.resources().values()}


# The Lambdas' bundles


def bundles(stacks: Synthesized) -> dict[str, Path]:
    """The folder of each function's code, by its handler."""
    manifest = json.loads((stacks.directory / f"{STACK}.assets.json").read_text())["files"]
    return {
        function["Handler"]: stacks.directory
        / manifest[function["Code"]["S3Key"].removesuffix(".zip")]["source"]["path"]
        for function in properties(stacks.resources("AWS::Lambda::Function")).values()
    }


def test_every_bundle_holds_the_contract_and_its_own_capability_only(stacks: Synthesized) -> None:
    for handler, bundle in bundles(stacks).items():
        capability = "/".join(handler.split(".")[:2])
        sources = [ROOT / "cloud/__init__.py", *(ROOT / "contract").glob("*.py"), *(ROOT / capability).glob("*.py")]

        held = {path.relative_to(bundle): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}

        assert held == {path.relative_to(ROOT): path.read_bytes() for path in sources}


def test_every_bundle_zips_to_less_than_2_mb(stacks: Synthesized) -> None:
    for bundle in bundles(stacks).values():
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path in bundle.rglob("*"):
                zipped.write(path, path.relative_to(bundle))

        assert len(archive.getvalue()) < 2 * 1024 * 1024
