"""The machine that is looked at."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from device.clock import SystemClock


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Machine:
    """Where to look and how long to wait; tests turn these."""

    root: Path = Path("/")
    synchronised: Callable[[], bool] = field(default=SystemClock().synchronised)
    now: Callable[[], datetime] = _utc_now
    listen_s: float = 5.0
    thermometer_wait_s: float = 6.0
    connect_timeout_s: float = 5.0
    hangs_after_s: float = 30.0


def names_in(directory: Path) -> list[str] | None:
    """The names in `directory`, sorted; None where it cannot be listed."""
    try:
        return sorted(path.name for path in directory.iterdir())
    except OSError:
        return None


def is_usable(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)
