"""The owner's commands as a user runs them, in an environment that is given."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def solarshed(
    environment: Mapping[str, str], *arguments: str | Path, given: str = "", folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `solarshed` with `arguments` in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "solarshed", *map(str, arguments)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=folder or ROOT,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done
