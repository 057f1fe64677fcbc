"""The stacks with the second engine: one app, looked at by cdk-nag, cfn-lint and these tests."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint  # type: ignore[import-untyped]
from cfnlint.config import ManualArgs  # type: ignore[import-untyped]

from contract import store
from infra import INFLUXDB_STACK, STACK
from tests.cdk_fixture import ALARM_EMAIL, CONTEXT, Json, Synthesized
from tests.infra.test_lint import OBSOLETE_DEPENDENCY
from tests.infra.test_nag import findings
from tests.infra.test_stacks import allowed_to, properties, text

pytestmark = pytest.mark.xdist_group("cdk")

# The engine is offered there, Timestream for LiveAnalytics is not.
STOCKHOLM = "eu-north-1"


@dataclass(frozen=True)
class Deployed:
    """What would be deployed, and what cdk-nag says of it."""

    stacks: Synthesized
    nag: set[tuple[str, str]]


@pytest.fixture(scope="module")
def deployed(cdk_environment: None) -> Iterator[Deployed]:
    from infra.app import make_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDK_DEFAULT_REGION", STOCKHOLM)
        app = make_app({**CONTEXT, "alarm_email": ALARM_EMAIL, "store": store.INFLUXDB})
        nag = findings(app)
        directory = Path(app.synth().directory)
        names = [INFLUXDB_STACK, STACK]
        templates = {n: json.loads((directory / f"{n}.template.json").read_text()) for n in names}
        yield Deployed(Synthesized(directory, templates), nag)


def only(deployed: Deployed, type_: str) -> Json:
    (found,) = deployed.stacks.resources(type_).values()
    return found


def telemetry(deployed: Deployed) -> Json:
    functions = properties(deployed.stacks.resources("AWS::Lambda::Function")).values()
    (found,) = [each for each in functions if each["Handler"] == "cloud.telemetry.handler.handler"]
    return found


def test_D9_where_timestream_is_not_offered_the_other_engine_takes_its_place(deployed: Deployed) -> None:
    assert not deployed.stacks.resources("AWS::Timestream::Database")
    assert not deployed.stacks.resources("AWS::Timestream::ScheduledQuery")
    assert only(deployed, "AWS::Timestream::InfluxDBInstance")


def test_I6_cdk_nag_finds_nothing_that_is_not_accepted(deployed: Deployed) -> None:
    assert deployed.nag == set()


@pytest.mark.parametrize("stack", [INFLUXDB_STACK, STACK])
def test_cfn_lint_finds_nothing(deployed: Deployed, stack: str) -> None:
    found = lint(
        json.dumps(deployed.stacks.templates[stack]), config=ManualArgs(regions=["us-east-1", "eu-west-1", STOCKHOLM])
    )

    assert [str(match) for match in found if match.rule.id != OBSOLETE_DEPENDENCY] == []


def test_the_instance_is_the_smallest_private_and_kept(deployed: Deployed) -> None:
    instance = only(deployed, "AWS::Timestream::InfluxDBInstance")
    settings = instance["Properties"]

    assert (settings["DbInstanceType"], settings["AllocatedStorage"]) == ("db.influx.medium", 20)
    assert (settings["DeploymentType"], settings["PubliclyAccessible"]) == ("SINGLE_AZ", False)
    assert settings["Bucket"] == store.DATABASE
    assert (instance["DeletionPolicy"], instance["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    # The password is in the secret only.
    assert "{{resolve:secretsmanager:" in text(settings["Password"])
    assert text(settings["Password"]).endswith(":SecretString:password::}}")


def test_nothing_in_the_network_is_paid_but_one_endpoint_in_one_zone(deployed: Deployed) -> None:
    endpoints = properties(deployed.stacks.resources("AWS::EC2::VPCEndpoint")).values()

    assert sorted(each["VpcEndpointType"] for each in endpoints) == ["Gateway", "Interface"]
    (interface,) = [each for each in endpoints if each["VpcEndpointType"] == "Interface"]
    assert len(interface["SubnetIds"]) == 1
    for type_ in ("AWS::EC2::NatGateway", "AWS::EC2::InternetGateway", "AWS::EC2::EIP"):
        assert not deployed.stacks.resources(type_)


def test_only_the_clients_get_in_and_only_to_two_ports(deployed: Deployed) -> None:
    rules = properties(deployed.stacks.resources("AWS::EC2::SecurityGroupIngress")).values()
    groups = deployed.stacks.resources("AWS::EC2::SecurityGroup")
    (clients,) = [id_ for id_, group in groups.items() if id_.startswith("Clients")]

    assert {(rule["FromPort"], rule["ToPort"]) for rule in rules} == {(8086, 8086), (443, 443)}
    assert {rule["SourceSecurityGroupId"]["Fn::GetAtt"][0] for rule in rules} == {clients}
    assert not any(group["Properties"].get("SecurityGroupIngress") for group in groups.values())


def output_of(deployed: Deployed, reference: Any) -> Any:  # noqa: ANN401 - a part of a template
    """What the other stack puts out, where a template asks for it."""
    name = reference["Fn::GetStackOutput"]["OutputName"]
    return deployed.stacks.templates[INFLUXDB_STACK]["Outputs"][name]["Value"]


def test_the_telemetry_lambda_stands_in_the_network_and_is_told_where_the_database_is(deployed: Deployed) -> None:
    function = telemetry(deployed)
    told = function["Environment"]["Variables"]
    (group,) = function["VpcConfig"]["SecurityGroupIds"]
    scheme, host, port = told["SOLARSHED_INFLUXDB_URL"]["Fn::Join"][1]

    assert output_of(deployed, group)["Fn::GetAtt"][0].startswith("Clients")
    assert (told["SOLARSHED_STORE"], told["SOLARSHED_DATABASE"]) == (store.INFLUXDB, store.DATABASE)
    assert (scheme, port) == ("https://", ":8086")
    assert output_of(deployed, host) == {"Fn::GetAtt": ["Instance", "Endpoint"]}
    assert "SOLARSHED_TABLE" not in told
    secret = output_of(deployed, told["SOLARSHED_INFLUXDB_SECRET"])["Ref"]
    assert secret in deployed.stacks.resources("AWS::SecretsManager::Secret")


def test_no_other_lambda_is_in_the_network(deployed: Deployed) -> None:
    functions = properties(deployed.stacks.resources("AWS::Lambda::Function")).values()

    assert sum("VpcConfig" in function for function in functions) == 1


def test_the_telemetry_lambda_may_read_one_secret_and_nothing_of_timestream(deployed: Deployed) -> None:
    may = allowed_to(deployed.stacks, "telemetry")

    assert len(may["secretsmanager:GetSecretValue"]) == 1
    assert not [action for action in may if action.startswith("timestream:")]
    assert {action for action in may if action.startswith("ec2:")} == {
        *("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"),
        *("ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
    }


def test_the_secret_holds_what_the_lambda_makes_a_token_of(deployed: Deployed) -> None:
    secrets = properties(deployed.stacks.resources("AWS::SecretsManager::Secret")).values()
    (generated,) = [each["GenerateSecretString"] for each in secrets if "GenerateSecretString" in each]

    held = {*json.loads(generated["SecretStringTemplate"]), generated["GenerateStringKey"]}

    assert held == {"username", "password", "organization", "bucket"}
    assert generated["ExcludePunctuation"] is True
