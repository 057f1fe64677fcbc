"""What AWS's own tools say of the stacks: cfn-lint of the templates, the CDK's command line of the app."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cfnlint.api import lint  # type: ignore[import-untyped]
from cfnlint.config import ManualArgs  # type: ignore[import-untyped]

from infra import STACK, TIMESTREAM_STACK
from tests.cdk_fixture import ALARM_EMAIL, ROOT, Synthesized

pytestmark = pytest.mark.xdist_group("cdk")

# Two of the few regions that have Timestream for LiveAnalytics.
REGIONS = ["us-east-1", "eu-west-1"]

# The CDK makes a function wait for its role even where it refers to it already.
OBSOLETE_DEPENDENCY = "W3005"


@pytest.mark.parametrize("stack", [STACK, TIMESTREAM_STACK])
def test_cfn_lint_finds_nothing_but_what_is_accepted(stacks: Synthesized, stack: str) -> None:
    from infra.timestream import MAINTENANCE_MODE_RULE

    template = json.dumps(stacks.templates[stack])

    found = lint(template, config=ManualArgs(regions=REGIONS))

    accepted = {MAINTENANCE_MODE_RULE, OBSOLETE_DEPENDENCY}
    assert [str(match) for match in found if match.rule.id not in accepted] == []


def test_cfn_lint_would_find_a_mistake(stacks: Synthesized) -> None:
    template = json.dumps(stacks.templates[STACK]).replace('"python3.13"', '"python2.3"')

    assert "E3030" in {match.rule.id for match in lint(template, config=ManualArgs(regions=REGIONS))}


def test_the_cdks_command_line_synthesizes_without_docker_or_credentials(cdk_environment: None, tmp_path: Path) -> None:
    output = tmp_path / "cdk.out"
    environment = {
        # Neither Docker nor anything else but Python, node and a shell.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(tmp_path),
        "CDK_HOME": str(tmp_path / "cdk-home"),
        "CDK_DOCKER": "false",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_DISABLE_VERSION_CHECK": "true",
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": os.environ["JSII_RUNTIME_PACKAGE_CACHE_ROOT"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    run = subprocess.run(
        [
            *(ROOT / "node_modules/.bin/cdk", "synth", "--quiet", "--no-notices", "--output", output),
            *("--context", f"alarm_email={ALARM_EMAIL}"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stdout + run.stderr
    assert "feature flags" not in run.stdout + run.stderr
    assert {path.name for path in output.glob("*.template.json")} == {
        f"{name}.template.json" for name in (STACK, TIMESTREAM_STACK)
    }
