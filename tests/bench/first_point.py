"""Goal 10: how long a newcomer waits, from the command to the first point in a chart of the demo's page.

Warm is `solarshed demo` in this folder, as it stands. Cold is `make demo` in a new clone of it: without .venv, without
node_modules and with empty caches, so that all packages are downloaded first; the way to the registries is in that
number. What is in this folder and not committed goes along.

A point is there when the page's own API, asked as the page's script asks it, has the first value of the run for the
first of its charts with lines. A browser that is open draws it at its next question, within two seconds.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import SolarshedError
from demo.emulator import free_port
from demo.processes import Process
from tests.bench.table import Measured, NotMeasuredError, Row

# Until a new clone shows a point, packages included; a slow line must not stop the rest of `make bench` for ever.
COLD_TIMEOUT_S = 900.0
WARM_TIMEOUT_S = 180.0
POLL_S = 0.1

_ROOT = Path(__file__).resolve().parents[2]
_DEMO_BEGINS = "Starting:"
_STEP = re.compile(r"^ +([0-9]+\.[0-9]) s  (.+)$", re.MULTILINE)
_DEPLOYED = "deployed into it"
# The demo ends within 5 s; pip and npm at once.
_STOP_GRACE_S = 10.0
_ASK_TIMEOUT_S = 10.0
# As wide as a chart on a screen.
_POINTS = 600
# No proxy: the page is on this machine.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@dataclass(frozen=True)
class Started:
    """One start. `setting_up_s` of `total_s` went by before the demo itself began; `steps` are its own, with the second
    at which each was done."""

    total_s: float
    setting_up_s: float
    steps: tuple[tuple[float, str], ...]

    @property
    def deploying_s(self) -> float | None:
        """How long the step took that deploys."""
        done_s = [0.0, *(at_s for at_s, _ in self.steps)]
        took_s = [at_s - done_s[place] for place, (at_s, text) in enumerate(self.steps) if _DEPLOYED in text]
        return took_s[0] if took_s else None


def measure(*, quick: bool) -> Measured:
    """`quick` leaves out the cold start."""
    print("starting the demo", file=sys.stderr)
    warm = _warm()
    rows = [Row(10, "demo: first chart point, warm", "s", warm.total_s, warm.deploying_s, "of it, cdk deploy")]
    details = [_in_words("warm", warm)]
    if quick:
        return Measured(tuple(rows), details[0])
    print("cloning this folder and starting the demo there, which downloads everything", file=sys.stderr)
    try:
        cold = _cold()
    except (SolarshedError, OSError, subprocess.CalledProcessError, NotMeasuredError) as e:
        return Measured(tuple(rows), details[0], f"cold start: {_reason(e)}")
    rows.append(Row(10, "demo: first chart point, cold, with downloads", "s", cold.total_s, warm.total_s, "warm"))
    return Measured(tuple(rows), "\n\n".join([*details, _in_words("cold, in a new clone", cold)]))


def _warm() -> Started:
    port = free_port()
    command = [str(Path(sys.executable).with_name("solarshed")), "demo", "--port", str(port)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        return start(command, port, Path(directory), os.environ, WARM_TIMEOUT_S)


def _cold() -> Started:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        clone = Path(directory) / "solarshed"
        clone_with_changes(_ROOT, clone)
        port = free_port()
        command: list[str | Path] = ["make", "-C", clone, "demo", f"ARGS=--port {port}"]
        return start(command, port, Path(directory), newcomers(os.environ), COLD_TIMEOUT_S)


def clone_with_changes(root: Path, clone: Path) -> None:
    """A new clone of the repository `root`, with what is changed and what is new there, but for what git ignores.

    Raises:
        subprocess.CalledProcessError: `root` is no repository.
    """
    subprocess.run(["git", "clone", "--quiet", root, clone], check=True, capture_output=True, text=True)
    changed = _names(root, "diff", "--name-only", "HEAD")
    new = _names(root, "ls-files", "--others", "--exclude-standard")
    for name in changed + new:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_file():
            shutil.copy(root / name, clone / name)
        else:
            (clone / name).unlink(missing_ok=True)


def _names(root: Path, *question: str) -> list[str]:
    said = subprocess.run(["git", *question, "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    return [name for name in said.split("\0") if name]


def newcomers(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without what `make bench` and its .venv have added to it."""
    ours = str(Path(sys.executable).parent)
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("MAKE", "MFLAGS", "VIRTUAL_ENV", "PYTHON", "PIP_CACHE", "npm_config_cache", "JSII_"))
    }
    kept["PATH"] = os.pathsep.join(part for part in environment["PATH"].split(os.pathsep) if part != ours)
    return kept


def start(
    command: Sequence[str | Path],
    port: int,
    temporary: Path,
    environment: Mapping[str, str],
    timeout_s: float,
) -> Started:
    """Run `command` until its page on `port` has a point; whatever happens, it has ended after that.

    Its log and its temporary files go to the folder `temporary`.

    Raises:
        SolarshedError: it ended by itself; the text has its last lines.
        NotMeasuredError: no point within `timeout_s`.
    """
    log = temporary / "demo.log"
    began_s, began_ms = time.monotonic(), time.time_ns() // 10**6
    setting_up_s: float | None = None
    process = Process("the demo", command, {**environment, "TMPDIR": str(temporary)}, log)
    try:
        page = PageOf(port, began_ms)
        while True:
            is_there = page.has_point()
            if setting_up_s is None and _DEMO_BEGINS in log.read_text(errors="replace"):
                setting_up_s = time.monotonic() - began_s
            if is_there:
                break
            process.check()
            if time.monotonic() > began_s + timeout_s:
                raise NotMeasuredError(f"no point within {timeout_s:g} s; the last it said: {process.last_lines(1)}")
            time.sleep(POLL_S)
        total_s = time.monotonic() - began_s
        steps = tuple((float(at_s), text) for at_s, text in _STEP.findall(log.read_text(errors="replace")))
        return Started(total_s, setting_up_s or 0.0, steps)
    finally:
        # All of the group: make does not tell what it runs.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.kill(_STOP_GRACE_S)


class PageOf:
    """The API of a page that may not be there yet."""

    def __init__(self, port: int, since_ms: int) -> None:
        """`since_ms`: what is older is none of this run's."""
        self._url = f"http://127.0.0.1:{port}/api"
        self._since_ms = since_ms
        self._chart = ""

    def has_point(self) -> bool:
        """Whether the first chart with lines has a measured value."""
        try:
            if not self._chart:
                self._chart = _first_chart(self._ask("/page"))
            shown = self._ask(f"/panel/{self._chart}?range=5m&points={_POINTS}")
        except OSError:
            return False
        return any(
            value is not None and time_ms >= self._since_ms
            for series in shown["series"]
            if not series["is_limit"]
            for time_ms, value in zip(shown["times"], series["values"], strict=True)
        )

    def _ask(self, path: str) -> Any:  # noqa: ANN401 - JSON
        with _open(self._url + path, timeout=_ASK_TIMEOUT_S) as answer:
            return json.load(answer)


def _first_chart(page: Any) -> str:  # noqa: ANN401 - JSON
    panels = [panel for row in page["dashboards"][0]["rows"] for panel in row["panels"]]
    return str(next(panel["id"] for panel in panels if panel["kind"] == "lines"))


def _reason(error: Exception) -> str:
    """One line: what has failed, and the last that was said about it, but for what make says about itself."""
    said = f"{error}\n{getattr(error, 'stderr', None) or ''}".splitlines()
    lines = [line.strip() for line in said if line.strip() and not line.startswith("make")]
    return ": ".join(dict.fromkeys([lines[0].rstrip(":"), lines[-1]])) if lines else type(error).__name__


def _in_words(name: str, one: Started) -> str:
    lines = [f"{name}: {one.total_s:.1f} s", f"  {one.setting_up_s:6.1f} s  until the demo itself begins"]
    before_s = 0.0
    for at_s, text in one.steps:
        lines.append(f"  {at_s - before_s:6.1f} s  {' '.join(text.split())}")
        before_s = at_s
    return "\n".join([*lines, f"  {one.total_s - one.setting_up_s - before_s:6.1f} s  until the first point"])
