"""The workspace of Amazon Managed Grafana, which is made only where the owner asks for it."""

import json
from pathlib import Path

import pytest
from cfnlint.api import lint  # type: ignore[import-untyped]
from cfnlint.config import ManualArgs  # type: ignore[import-untyped]

from infra import TIMESTREAM_STACK
from tests.cdk_fixture import ALARM_EMAIL, CONTEXT, Synthesized
from tests.infra.test_lint import OBSOLETE_DEPENDENCY
from tests.infra.test_nag import findings

pytestmark = pytest.mark.xdist_group("cdk")

WORKSPACE = "AWS::Grafana::Workspace"


def test_there_is_none_by_itself(stacks: Synthesized) -> None:
    assert stacks.resources(WORKSPACE) == {}


def test_it_reads_by_the_readers_role_and_breaks_no_rule(cdk_environment: None) -> None:
    from infra.app import make_app
    from infra.timestream import MAINTENANCE_MODE_RULE

    app = make_app({**CONTEXT, "alarm_email": ALARM_EMAIL, "grafana_workspace": "true"})
    nag = findings(app)
    text = (Path(app.synth().directory) / f"{TIMESTREAM_STACK}.template.json").read_text()
    template = json.loads(text)
    resources = template["Resources"]
    ((workspace_id, workspace),) = [
        (name, one["Properties"]) for name, one in resources.items() if one["Type"] == WORKSPACE
    ]
    (reader,) = [name for name in resources if name.startswith("GrafanaReaderRole") and "Policy" not in name]

    assert nag == set()
    assert workspace["RoleArn"] == {"Fn::GetAtt": [reader, "Arn"]}
    assert workspace["PermissionType"] == "CUSTOMER_MANAGED"
    address = ["https://", {"Fn::GetAtt": [workspace_id, "Endpoint"]}]
    assert template["Outputs"]["GrafanaUrl"]["Value"] == {"Fn::Join": ["", address]}
    assert "grafana.amazonaws.com" in json.dumps(resources[reader]["Properties"]["AssumeRolePolicyDocument"])
    found = {match.rule.id for match in lint(text, config=ManualArgs(regions=["us-east-1"]))}
    assert found <= {MAINTENANCE_MODE_RULE, OBSOLETE_DEPENDENCY}


@pytest.mark.parametrize(
    "other", [{"store": "influxdb"}, {"grafana_principal": "123456789012"}], ids=["engine", "whom"]
)
def test_it_is_refused_where_it_could_read_nothing(cdk_environment: None, other: dict[str, str]) -> None:
    from infra.app import make_app
    from infra.deployment import DeploymentError

    with pytest.raises(DeploymentError, match="leave it out with store = influxdb"):
        make_app({**CONTEXT, "grafana_workspace": "true", **other})
