"""What cdk-nag's AWS Solutions rules say of the stacks. Accepted findings stand with their reason where they occur.

It runs here and not in the app, so that a deployment needs nothing of it.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cdk_fixture import ALARM_EMAIL, CONTEXT, Json

if TYPE_CHECKING:
    import aws_cdk as cdk

pytestmark = pytest.mark.xdist_group("cdk")

NAG = "AwsSolutions"


def findings(app: "cdk.App") -> set[tuple[str, str]]:
    """The rules that are violated, and where."""
    import aws_cdk as cdk
    from cdk_nag import AwsSolutionsChecks

    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    try:
        report = Path(app.synth().directory) / "validation-report.json"
    except RuntimeError as e:
        # The text that the CDK ends with says where the report is.
        (path,) = re.findall(r"found in: (.*validation-report\.json)", str(e))
        report = Path.cwd() / path
    plugins: list[Json] = json.loads(report.read_text())["pluginReports"]
    (nag,) = [plugin for plugin in plugins if plugin["pluginName"] == NAG]
    return {
        (violation["ruleName"], construct["constructPath"])
        for violation in nag["violations"]
        for construct in violation["violatingConstructs"]
    }


def test_I6_cdk_nag_finds_nothing_that_is_not_accepted(cdk_environment: None) -> None:
    from infra.app import make_app

    assert findings(make_app({**CONTEXT, "alarm_email": ALARM_EMAIL})) == set()


def test_I6_cdk_nag_would_find_a_bad_resource(cdk_environment: None) -> None:
    import aws_cdk as cdk
    from aws_cdk import aws_iam as iam
    from aws_cdk import aws_sqs as sqs

    app = cdk.App(context=CONTEXT)
    stack = cdk.Stack(app, "Bad")
    role = iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    role.add_to_policy(iam.PolicyStatement(actions=["sqs:*"], resources=["*"]))
    sqs.Queue(stack, "Queue")

    assert findings(app) == {
        ("AwsSolutions-IAM5[Action::sqs:*]", "Bad/Role/DefaultPolicy/Resource"),
        ("AwsSolutions-IAM5[Resource::*]", "Bad/Role/DefaultPolicy/Resource"),
        ("AwsSolutions-SQS3", "Bad/Queue/Resource"),
        ("AwsSolutions-SQS4", "Bad/Queue/Resource"),
    }


def test_a_pattern_without_a_reason_is_found(cdk_environment: None) -> None:
    import aws_cdk as cdk
    from aws_cdk import aws_iam as iam
    from aws_cdk import aws_s3 as s3

    from infra.allow import allow

    app = cdk.App(context=CONTEXT)
    stack = cdk.Stack(app, "Stack")
    bucket = s3.Bucket.from_bucket_arn(stack, "Bucket", "arn:aws:s3:::some")
    role = iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    allow(role, ["s3:PutObject"], [bucket.arn_for_objects("with/*")], why_all="a reason")
    allow(role, ["s3:PutObject"], [bucket.arn_for_objects("without/*")])

    assert findings(app) == {
        ("AwsSolutions-IAM5[Resource::arn:aws:s3:::some/without/*]", "Stack/Role/DefaultPolicy/Resource")
    }
