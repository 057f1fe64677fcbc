"""The telemetry Lambda's bundle as AWS runs it: its own files and boto3, nothing else of the project."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

from contract import store
from contract.messages import encode_telemetry
from demo.timestream.catalog import Retention
from demo.timestream.server import serve

pytestmark = pytest.mark.xdist_group("cdk")

# What AWS's Python runtime brings, and what botocore takes besides where it is installed.
BOTO3 = {"boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"}
OPTIONAL = {"awscrt", "_awscrt", "certifi"}

RUN_HANDLER = """
import json, sys
from cloud.telemetry.handler import handler

answer = handler(json.load(sys.stdin), None)
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
json.dump({"answer": answer, "files": [file for file in files if file]}, sys.stdout)
"""


@pytest.fixture
def bundle(cdk_environment: None) -> Path:
    from aws_cdk.aws_lambda import AssetCode

    from infra.bundle import lambda_code

    code = lambda_code("telemetry")
    assert isinstance(code, AssetCode)
    return Path(code.path)


def run_handler(bundle: Path, directory: Path, url: str, event: dict[str, Any]) -> dict[str, Any]:
    """Call the handler in a process of its own. -S leaves out the .pth files that would put the project on the path."""
    packages = Path(boto3.__file__).parent.parent
    environment = {
        "PYTHONPATH": os.pathsep.join(map(str, (bundle, packages))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(directory),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_TIMESTREAM_WRITE": url,
        "SOLARSHED_DATABASE": store.DATABASE,
        "SOLARSHED_TABLE": store.TABLE,
        "SOLARSHED_REJECTED_BUCKET": "not-used",
    }
    run = subprocess.run(
        [sys.executable, "-S", "-P", "-c", RUN_HANDLER],
        input=json.dumps(event),
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    outcome: dict[str, Any] = json.loads(run.stdout)
    return outcome


def origin(file: str, bundle: Path) -> str:
    """The folder of the bundle, the installed package or the standard library that a module was loaded from."""
    path = Path(file)
    if path.is_relative_to(bundle):
        return f"bundle: {path.relative_to(bundle).parts[0]}"
    packages = Path(boto3.__file__).parent.parent
    return path.relative_to(packages).parts[0].partition(".")[0] if path.is_relative_to(packages) else "python"


def event(time_ms: int) -> dict[str, Any]:
    sample = {
        "time_ms": time_ms,
        "sequence": 1,
        "boot_id": "4f1d",
        "clock_synchronised": True,
        "position": "grid",
        "reason": "battery_low",
        "alerts": ["battery_low"],
        "measures": {"battery_voltage_v": 54},
        "devices": {"mx2": {"pv_power_w": 310}},
    }
    good = json.loads(encode_telemetry([sample])) | {"thing": "shed"}
    return {"Records": [{"messageId": "a", "body": json.dumps(good)}, {"messageId": "bad", "body": "{"}]}


def test_the_bundle_runs_by_itself_and_stores_what_it_is_sent(bundle: Path, tmp_path: Path) -> None:
    with serve() as endpoint:
        endpoint.engine.create_database(store.DATABASE)
        endpoint.engine.create_table(store.DATABASE, store.TABLE, Retention())

        outcome = run_handler(bundle, tmp_path, endpoint.url, event(time.time_ns() // 10**6))

        assert outcome["answer"] == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
        assert endpoint.engine.count_rows(store.DATABASE, store.TABLE) == 2
    origins = {origin(file, bundle) for file in outcome["files"]}
    assert origins <= {"python", "bundle: cloud", "bundle: contract", *BOTO3, *OPTIONAL}
    assert origins >= {"bundle: cloud", "bundle: contract", "boto3"}


def test_a_bundle_is_made_once(bundle: Path) -> None:
    from aws_cdk.aws_lambda import AssetCode

    from infra.bundle import lambda_code

    again = lambda_code("telemetry")

    assert isinstance(again, AssetCode)
    assert Path(again.path) == bundle
