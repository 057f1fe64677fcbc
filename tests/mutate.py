"""`make mutate`: runs every line and branch of the safety core, then breaks it in every small way that mutmut knows.

What is broken, and by which tests it must be noticed, stands in pyproject.toml under [tool.mutmut]. A mutant that no
test can tell from the original is allowed with a reason in tests/allowed_mutants.toml, by its function and the lines
that it changes. Exit status 1: something is not covered, a mutant survived, or one that is allowed is no more.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SETTINGS = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
ALLOWED = Path(__file__).parent / "allowed_mutants.toml"
# A mutant that times out, or makes the tests crash, was noticed.
UNNOTICED = {"survived", "no tests", "suspicious", "skipped", "not checked"}
_RESULT = re.compile(r"\s*(?P<name>\S+): (?P<status>.+?)\s*$")


@dataclass(frozen=True)
class Mutant:
    """A change that went unnoticed."""

    function: str
    removed: str
    added: str


def main() -> int:
    """Measure the coverage, run mutmut and judge what it reports."""
    if not _is_covered():
        print("mutate: lines or branches of the safety core are not run by its tests; see above", file=sys.stderr)
        return 1
    subprocess.run([sys.executable, "-m", "mutmut", "run", "--max-children", "2"], check=False)
    report = _mutmut("results", "--all", "true")
    statuses = [match.groupdict() for line in report.splitlines() if (match := _RESULT.match(line))]
    if not statuses:
        print("mutate: mutmut reported nothing; see what it printed above", file=sys.stderr)
        return 1
    unnoticed = [_mutant(result["name"]) for result in statuses if result["status"] in UNNOTICED]
    allowed = list(_allowed())

    surviving = [mutant for mutant in unnoticed if mutant not in allowed]
    stale = [mutant for mutant in allowed if mutant not in unnoticed]
    for mutant in surviving:
        print(f"survived: {mutant.function}\n  - {mutant.removed}\n  + {mutant.added}")
    for mutant in stale:
        print(f"allowed, but noticed or gone: {mutant.function}\n  - {mutant.removed}\n  + {mutant.added}")
    allowed_count = len(unnoticed) - len(surviving)
    print(f"{len(statuses)} mutants, {allowed_count} allowed to survive, {len(surviving)} survived besides")
    return 1 if surviving or stale else 0


def _is_covered() -> bool:
    only = "--include=" + ",".join(SETTINGS["only_mutate"])
    tests = [*SETTINGS["pytest_add_cli_args"], "-q", *SETTINGS["pytest_add_cli_args_test_selection"]]
    coverage = [sys.executable, "-m", "coverage"]
    with tempfile.TemporaryDirectory() as directory:
        data = f"--data-file={directory}/coverage"
        ran = subprocess.run([*coverage, "run", data, "--branch", only, "-m", "pytest", *tests], check=False)
        report = subprocess.run([*coverage, "report", data, "--show-missing", "--fail-under=100"], check=False)
    return ran.returncode == 0 and report.returncode == 0


def _mutant(name: str) -> Mutant:
    lines = [line for line in _mutmut("show", name).splitlines() if not line.startswith(("---", "+++"))]
    return Mutant(
        function=re.sub(r"__mutmut_\d+$", "", name),
        removed=" ".join(line[1:].strip() for line in lines if line.startswith("-")),
        added=" ".join(line[1:].strip() for line in lines if line.startswith("+")),
    )


def _allowed() -> Iterator[Mutant]:
    for entry in tomllib.loads(ALLOWED.read_text(encoding="utf-8")).get("mutant", []):
        if not entry["reason"].strip():
            raise ValueError(f"{ALLOWED.name}: {entry['function']} is allowed without a reason")
        yield Mutant(entry["function"], entry["removed"], entry["added"])


def _mutmut(*arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
