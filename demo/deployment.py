"""Deploys this project's own CDK app into the emulator with the CDK's command line, as a user deploys it to AWS."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloud.timestream.columns import declare
from demo.emulator import ACCOUNT, REGION, Emulator
from demo.processes import DemoError, Process
from infra import STACK, TIMESTREAM_STACK

_ROOT = Path(__file__).resolve().parent.parent
_CDK = _ROOT / "node_modules" / ".bin" / "cdk"
_TIMEOUT_S = 180.0


def deploy(
    emulator: Emulator,
    directory: Path,
    is_stopping: Callable[[], bool] = lambda: False,
    settings: Mapping[str, object] | None = None,
) -> dict[str, str] | None:
    """Deploy the main stack and return its outputs, or None if `is_stopping` said so meanwhile.

    `directory` gets the synthesized templates. `settings` are those of `infra.deployment.Deployment`.

    The Timestream stack is synthesized only: the emulator has no Timestream (see `create_table`).

    Raises:
        DemoError: the CDK failed; its last lines are in the text.
    """
    if not _CDK.exists():
        raise DemoError(f"the CDK's command line is not in {_CDK.parent}; run `make setup`")
    # What `cdk bootstrap` would make, but for its roles, which the emulator's IAM refuses.
    emulator.client("s3").create_bucket(Bucket=f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}")
    outputs = directory / "outputs.json"
    context = {"local": "true", **(settings or {})}
    command: list[str | Path] = [
        _CDK,
        *("deploy", STACK, "--exclusively", "--require-approval", "never", "--progress", "events"),
        *(word for name, value in context.items() for word in ("--context", f"{name}={value}")),
        *("--output", directory / "cdk.out", "--outputs-file", outputs, "--no-notices"),
        *("--app", f"{sys.executable} -m infra.app"),
    ]
    process = Process("cdk deploy", command, _environment(emulator, directory), directory / "deploy.log")
    status = process.wait(_TIMEOUT_S, is_stopping)
    if status is None:
        return None
    if status != 0:
        raise DemoError(f"cdk deploy failed:\n{process.last_lines(30)}")
    values: dict[str, str] = json.loads(outputs.read_text())[STACK]
    return values


def _environment(emulator: Emulator, directory: Path) -> dict[str, str]:
    return {
        **emulator.client_environment(),
        # The CDK runs the app with the `node` and the `python` that it finds first.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(_ROOT),
        # The CDK keeps caches: the command line in CDK_HOME, its library in the user's home. Neither may stay.
        "CDK_HOME": str(directory / "cdk-home"),
        "HOME": str(directory),
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_DISABLE_VERSION_CHECK": "true",
        # The CDK's own check of the template takes as long as the deployment; the tests and a real deployment have it.
        "CDK_VALIDATION": "false",
        "NODE_DISABLE_COMPILE_CACHE": "1",
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(_ROOT / ".cache" / "jsii"),
    }


def put_routing_key(emulator: Emulator, outputs: Mapping[str, str], key: str) -> None:
    """Give the alerts Lambda PagerDuty's integration key, as the owner does once after the first deploy."""
    emulator.client("secretsmanager").put_secret_value(SecretId=outputs["RoutingKeySecretName"], SecretString=key)


def create_table(timestream: Any, directory: Path, now_ms: int | None = None) -> None:  # noqa: ANN401 - a boto3 client
    """Create the database and the tables as the synthesized Timestream stack describes them, with their columns.

    `now_ms` is for a stand-in whose clock is not this machine's.
    """
    template = json.loads((directory / "cdk.out" / f"{TIMESTREAM_STACK}.template.json").read_text())
    resources = template["Resources"].values()
    (database,) = [r["Properties"] for r in resources if r["Type"] == "AWS::Timestream::Database"]
    timestream.create_database(DatabaseName=database["DatabaseName"])
    for table in [r["Properties"] for r in resources if r["Type"] == "AWS::Timestream::Table"]:
        retention = {name: int(value) for name, value in table["RetentionProperties"].items()}
        # Its bucket for late records that are refused is a reference into the stack, which the stand-in does not have.
        writes = {"EnableMagneticStoreWrites": table["MagneticStoreWriteProperties"]["EnableMagneticStoreWrites"]}
        timestream.create_table(
            DatabaseName=table["DatabaseName"],
            TableName=table["TableName"],
            RetentionProperties=retention,
            MagneticStoreWriteProperties=writes,
        )
        # As the stack's custom resource does.
        declare(timestream, table["DatabaseName"], table["TableName"], now_ms or time.time_ns() // 10**6)
