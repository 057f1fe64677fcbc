"""What a cold start of each Lambda spends on its imports, beside a bare boto3 client: `python -m tests.bench.imports`.

Goal: a handler's module is there in at most 1.5 times the time that `boto3.client("dynamodb")` takes.

Each is measured in fresh interpreters, in turn with the bare client, so that whatever else the machine does meets both.
The interpreter's own start is counted into neither. Compiled files exist; `site` and its .pth files, which AWS's
runtime has not, are left out.

Exit status: 0 measured, whether or not the goal is met; 1 it could not be measured, and stderr says why.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GOAL_RATIO = 1.5
DEFAULT_PAIRS = 15
HANDLERS = ("cloud.telemetry.handler", "cloud.alerts.handler", "cloud.heartbeat.handler")

_ROOT = Path(__file__).resolve().parents[2]
_BARE = 'import boto3; boto3.client("dynamodb", region_name="us-east-1")'
_TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


@dataclass(frozen=True)
class Imports:
    """Medians of one handler's module, and of the bare client in the same minutes."""

    name: str
    handler_ms: float
    bare_ms: float

    @property
    def ratio(self) -> float:
        return self.handler_ms / self.bare_ms


def measure(name: str, pairs: int) -> Imports:
    """Import the module `name` and make the bare client, `pairs` times in turn.

    Raises:
        subprocess.CalledProcessError: it cannot be imported.
    """
    statements = (f"import {name}", _BARE)
    for statement in statements:
        _ms(statement)  # leaves the compiled files
    of_handler, of_bare = zip(*([_ms(statement) for statement in statements] for _ in range(pairs)), strict=True)
    return Imports(name, statistics.median(of_handler), statistics.median(of_bare))


def _ms(statement: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), sysconfig.get_path("purelib")])
    command = [sys.executable, "-S", "-P", "-c", _TIMED.format(statement)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return 1000 * float(answer.stdout)


def report(measured: Sequence[Imports], pairs: int) -> str:
    lines = [
        f"What a Lambda's imports take, median of {pairs}, beside a client of boto3 in the same minutes",
        "",
        f"{'':<26}  {'ms':>7}  {'bare ms':>7}  {'ratio':>5}",
        *(f"{each.name:<26}  {each.handler_ms:>7.0f}  {each.bare_ms:>7.0f}  {each.ratio:>5.2f}" for each in measured),
        f"{'goal':<26}  {'':>7}  {'':>7}  {GOAL_RATIO:>5.2f}",
        "",
    ]
    for each in measured:
        verdict = "met" if each.ratio <= GOAL_RATIO else "MISSED"
        lines.append(f"goal {verdict}: {each.name} at most {GOAL_RATIO:g} times the client")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.imports", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=DEFAULT_PAIRS, help="of fresh interpreters (default %(default)d)")
    args = parser.parse_args(arguments)
    if args.pairs < 1:
        parser.error("--pairs must be at least 1")
    handlers = [name for name in HANDLERS if _exists(name)]
    print(f"starting {2 * (args.pairs + 1) * len(handlers)} interpreters ...", file=sys.stderr)
    try:
        measured = [measure(name, args.pairs) for name in handlers]
    except subprocess.CalledProcessError as e:
        print(f"not measured: {e.stderr or e}", file=sys.stderr)
        return 1
    print(report(measured, args.pairs))
    return 0


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
