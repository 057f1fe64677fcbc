"""The device's clocks: monotonic for durations, UTC for timestamps, and whether the latter can be trusted."""

import ctypes
import math
import time
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# adjtimex(2): asked with all-zero `modes` it only reads, and returns TIME_ERROR while the clock is not synchronised.
_TIMEX_BYTES = 512  # struct timex has 208 on 64-bit Linux
_TIME_ERROR = 5


# Whether the clock is kept right changes some times in a boot; it is asked several times for each decision.
_SYNCHRONISED_EVERY_S = 10.0

_adjtimex = ctypes.CDLL(None).adjtimex


class Clock(Protocol):
    """What the loop needs to know about time; tests and replay turn it by hand."""

    def monotonic_s(self) -> float: ...

    def time_ms(self) -> int: ...

    def synchronised(self) -> bool: ...


class SystemClock:
    """The kernel's clocks."""

    def __init__(self) -> None:
        self._synchronised = False
        self._asked_at_s = -math.inf

    def monotonic_s(self) -> float:
        """Seconds that only grow, whatever happens to the time of day."""
        return time.monotonic()

    def time_ms(self) -> int:
        """Epoch milliseconds, UTC, by a clock that is wrong after boot until it is synchronised."""
        return time.time_ns() // 1_000_000

    def synchronised(self) -> bool:
        """Whether a time service keeps the time of day right, by the kernel's own word of the last ten seconds."""
        now_s = time.monotonic()
        if now_s >= self._asked_at_s + _SYNCHRONISED_EVERY_S:
            state: int = _adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
            self._synchronised, self._asked_at_s = 0 <= state < _TIME_ERROR, now_s
        return self._synchronised


def boot_id() -> str:
    """The kernel's name for this boot; "unknown" where it has none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
