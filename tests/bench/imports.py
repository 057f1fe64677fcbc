"""What a cold start of each Lambda spends on its imports, beside a bare boto3 client, and how large its bundle is.

Goal: a handler's module is there in at most 1.5 times the time that `boto3.client("dynamodb")` takes.

Each is measured in fresh interpreters, in turn with the others and the bare client, so that whatever else the machine
does meets all of them. The interpreter's own start is not counted. Compiled files exist; `site` and its .pth files,
which AWS's runtime has not, are left out.

Bundles are those that infra.bundle makes for a deployment, without boto3, which AWS's runtime brings. AWS takes 250 MB
unzipped, and unpacks them at each cold start (AWS Lambda, "Lambda quotas").
"""

import io
import os
import statistics
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from tests.bench.table import Goal, Measured, NotMeasuredError, Of, Row, in_digits

ROUNDS = 11
CAPABILITIES = ("telemetry", "alerts", "heartbeat", "timestream")

_GOAL = Goal(Of.RATIO, 1.5)
_MOST_UNZIPPED_KB = 250 * 1024

_ROOT = Path(__file__).resolve().parents[2]
_BARE = 'import boto3; boto3.client("dynamodb", region_name="us-east-1")'
_TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is uploaded for one Lambda."""

    capability: str
    files: int
    unzipped_kb: float
    zipped_kb: float


def measure(*, quick: bool) -> Measured:
    of_handlers, bare_ms = imports_ms(rounds=1 if quick else ROUNDS)
    bundles = [bundle(capability) for capability in CAPABILITIES]
    largest = max(bundles, key=lambda each: each.unzipped_kb)
    rows = [
        Row(8, f"cold import, {capability}", "ms", ms, bare_ms, "import boto3, one client", _GOAL)
        for capability, ms in of_handlers.items()
    ]
    rows.append(
        Row(8, f"largest bundle, {largest.capability}", "KB", largest.unzipped_kb, _MOST_UNZIPPED_KB, "AWS's limit")
    )
    details = (
        f"{each.capability:<10} {each.files:>4} files, {in_digits(each.unzipped_kb)} KB, "
        f"zipped {in_digits(each.zipped_kb)} KB"
        for each in bundles
    )
    return Measured(tuple(rows), "\n".join(details))


def imports_ms(rounds: int) -> tuple[dict[str, float], float]:
    """The median of each handler's module, by capability, and of the bare client in the same minutes.

    Raises:
        NotMeasuredError: one of them cannot be imported.
    """
    statements = {capability: f"import cloud.{capability}.handler" for capability in CAPABILITIES} | {"": _BARE}
    for statement in statements.values():
        _ms(statement)  # leaves the compiled files
    took_ms: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(rounds):
        for name, statement in statements.items():
            took_ms[name].append(_ms(statement))
    medians = {name: statistics.median(each) for name, each in took_ms.items()}
    return medians, medians.pop("")


def _ms(statement: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), sysconfig.get_path("purelib")])
    command = [sys.executable, "-S", "-P", "-c", _TIMED.format(statement)]
    try:
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as e:
        raise NotMeasuredError(f"{statement}: {e.stderr.strip().splitlines()[-1:] or e}") from e
    return 1000 * float(answer.stdout)


def bundle(capability: str) -> Bundle:
    """The bundle of `capability`, made and packed as for a deployment."""
    # The CDK starts node when it is imported, the one that `make setup` installs: not while imports are measured.
    beside_python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with patch.dict(os.environ, {"PATH": beside_python, "JSII_RUNTIME_PACKAGE_CACHE_ROOT": f"{_ROOT}/.cache/jsii"}):
        from aws_cdk.aws_lambda import AssetCode

        from infra.bundle import lambda_code

        code = lambda_code(capability)
    if not isinstance(code, AssetCode):
        raise NotMeasuredError(f"the bundle of {capability} is no folder")
    files = sorted(path for path in Path(code.path).rglob("*") if path.is_file())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(code.path))
    unzipped_kb = sum(path.stat().st_size for path in files) / 1024
    return Bundle(capability, len(files), unzipped_kb, len(packed.getvalue()) / 1024)
