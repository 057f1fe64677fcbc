"""The Lambdas' bundles as AWS runs them: their own files and boto3, nothing else of the project or of this machine."""

import importlib.metadata
import json
import os
import re
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
from tests.cdk_fixture import ROOT

pytestmark = pytest.mark.xdist_group("cdk")

# What AWS's Python runtime brings: boto3 and what that needs.
BOTO3 = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3")

POWERTOOLS = {"aws_lambda_powertools", "jmespath", "typing_extensions"}
PAGERDUTY = {"certifi", "charset_normalizer", "idna", "pdpyras", "requests", "urllib3"}
THIRD_PARTY = {
    "telemetry": set[str](),
    "timestream": set[str](),
    "heartbeat": POWERTOOLS,
    "alerts": POWERTOOLS | PAGERDUTY,
}

# Nobody listens there.
NOWHERE = "http://127.0.0.1:9"

RUN_HANDLER = """
import importlib, json, sys
from types import SimpleNamespace

context = SimpleNamespace(
    function_name="name",
    memory_limit_in_mb=256,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:name",
    aws_request_id="request",
    get_remaining_time_in_millis=lambda: 25_000,
)
module = importlib.import_module(sys.argv[1])
event = json.load(sys.stdin)
answer = module.handler(event, context) if event is not None else None
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
sys.stdout.write("\\n" + json.dumps({"answer": answer, "files": [file for file in files if file]}))
"""


def bundle_of(capability: str) -> Path:
    from aws_cdk.aws_lambda import AssetCode

    from infra.bundle import lambda_code

    code = lambda_code(capability)
    assert isinstance(code, AssetCode)
    return Path(code.path)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what AWS's runtime brings, and nothing else of what is installed here."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in BOTO3:
        (folder / name).symlink_to(Path(boto3.__file__).parent.parent / name)
    return folder


def run_handler(
    capability: str, runtime: Path, directory: Path, event: dict[str, Any] | None, **environment: str
) -> dict[str, Any]:
    """Call the handler, or only import it, in a process of its own.

    -S leaves out what is installed here, and the .pth files that would put the project on the path.
    """
    run = subprocess.run(
        [sys.executable, "-S", "-P", "-c", RUN_HANDLER, f"cloud.{capability}.handler"],
        input=json.dumps(event),
        env={
            "PYTHONPATH": os.pathsep.join(map(str, (bundle_of(capability), runtime))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(directory),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": NOWHERE,
            **environment,
        },
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    outcome: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return outcome


def origins(outcome: dict[str, Any], bundle: Path, runtime: Path) -> dict[str, set[str]]:
    """The names of all packages that were loaded, by where they were: "bundle", "runtime" or "python"."""
    found: dict[str, set[str]] = {"bundle": set(), "runtime": set(), "python": set()}
    for file in map(Path, outcome["files"]):
        if file.is_relative_to(bundle):
            found["bundle"].add(file.relative_to(bundle).parts[0].removesuffix(".py"))
        elif file.is_relative_to(runtime):
            found["runtime"].add(file.relative_to(runtime).parts[0].removesuffix(".py"))
        else:
            found["python"].add(file.stem)
    return found


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


def test_the_telemetry_bundle_runs_by_itself_and_stores_what_it_is_sent(
    cdk_environment: None, runtime: Path, tmp_path: Path
) -> None:
    with serve() as endpoint:
        endpoint.engine.create_database(store.DATABASE)
        endpoint.engine.create_table(store.DATABASE, store.TABLE, Retention())

        outcome = run_handler(
            "telemetry",
            runtime,
            tmp_path,
            event(time.time_ns() // 10**6),
            AWS_ENDPOINT_URL_TIMESTREAM_WRITE=endpoint.url,
            SOLARSHED_DATABASE=store.DATABASE,
            SOLARSHED_TABLE=store.TABLE,
            SOLARSHED_REJECTED_BUCKET="not-used",
        )

        assert outcome["answer"] == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
        assert endpoint.engine.count_rows(store.DATABASE, store.TABLE) == 2


@pytest.mark.parametrize("capability", THIRD_PARTY)
def test_every_bundle_has_all_it_imports_but_boto3(
    cdk_environment: None, runtime: Path, tmp_path: Path, capability: str
) -> None:
    outcome = run_handler(capability, runtime, tmp_path, event=None, POWERTOOLS_METRICS_NAMESPACE="Solarshed")

    found = origins(outcome, bundle_of(capability), runtime)
    ours = {"cloud", "contract"}
    assert ours <= found["bundle"] <= ours | THIRD_PARTY[capability]
    assert "boto3" in found["runtime"]
    # What the bundle has goes before what the runtime brings.
    assert not found["bundle"] & found["runtime"]


def test_the_alerts_bundle_runs_by_itself(cdk_environment: None, runtime: Path, tmp_path: Path) -> None:
    outcome = run_handler(
        "alerts",
        runtime,
        tmp_path,
        {"Records": []},
        POWERTOOLS_SERVICE_NAME="alerts",
        POWERTOOLS_METRICS_NAMESPACE="Solarshed",
        SOLARSHED_INCIDENTS_TABLE="incidents",
        SOLARSHED_ROUTING_KEY_SECRET="secret",  # noqa: S106 - its name
        SOLARSHED_WATCH_TOPIC="arn:aws:sns:us-east-1:000000000000:watch",
        SOLARSHED_DEAD_LETTERS_URL=f"{NOWHERE}/dead",
    )

    assert outcome["answer"] == {"batchItemFailures": []}
    found = origins(outcome, bundle_of("alerts"), runtime)
    assert found["bundle"] >= POWERTOOLS - {"typing_extensions"} | PAGERDUTY - {"charset_normalizer"}


def test_charset_normalizer_runs_without_its_compiled_parts(
    cdk_environment: None, runtime: Path, tmp_path: Path
) -> None:
    program = (
        "import charset_normalizer as c; print(c.from_bytes('Nächte über Köln'.encode()).best()); print(c.__file__)"
    )

    run = subprocess.run(
        [sys.executable, "-S", "-P", "-c", program],
        env={"PYTHONPATH": str(bundle_of("alerts")), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert run.stdout.splitlines() == ["Nächte über Köln", str(bundle_of("alerts") / "charset_normalizer/__init__.py")]


def test_what_is_bundled_is_what_is_locked(cdk_environment: None) -> None:
    from infra.bundle import PACKAGES

    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "locks/dev.txt").read_text(), re.MULTILINE))

    for name in {name for packages in PACKAGES.values() for name in packages}:
        assert importlib.metadata.version(name) == locked[name]


def test_a_bundle_is_made_once(cdk_environment: None) -> None:
    assert bundle_of("telemetry") == bundle_of("telemetry")
