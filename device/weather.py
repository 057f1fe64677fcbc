"""The sky, where some program of the owner's knows it: `weather.json` in the runtime directory.

    {"cloud_cover_percent": 40, "time": 1732360000}

`time` is when that was so, in epoch seconds; without it the file's own time counts. No sensor of the shed measures
this and nothing is decided by it, so that what is wrong in it is told in the log once, and then is as if it were not
there. The program should write the file in one step: under another name, then rename.
"""

import json
import logging
import os
import stat
from pathlib import Path

from contract.messages import MessageError, check_number
from device.clock import Clock

log = logging.getLogger(__name__)

FILE_NAME = "weather.json"
BELIEVED_FOR_S = 3600.0
# By how much the clock of whoever wrote it may be ahead of this machine's.
_MOST_AHEAD_S = 60.0
_MOST_BYTES = 1024


class _NotUsableError(ValueError):
    """What the file says is not believed; says why."""


class Weather:
    """The newest of what the file said. `look` may wait for whatever the file is on; the rest never waits."""

    def __init__(self, runtime_directory: Path, clock: Clock) -> None:
        self._path = runtime_directory / FILE_NAME
        self._clock = clock
        # The cover, and until when it is believed, monotonic.
        self._newest: tuple[float, float] | None = None
        self._complaint = ""

    def cloud_cover_percent(self, now_s: float) -> float | None:
        """How much of the sky is cloud, 0 to 100; None where nobody says, or has not for an hour."""
        newest = self._newest
        return newest[0] if newest is not None and now_s < newest[1] else None

    def look(self) -> None:
        """Read the file, for one thread. Never raises."""
        try:
            self._newest = self._read()
            self._complaint = ""
        except FileNotFoundError:
            self._newest = None
        except (OSError, _NotUsableError) as e:
            self._newest = None
            # No text from the file: what is wrong anew each second is told once all the same.
            why = (e.strerror or str(e)) if isinstance(e, OSError) else str(e)
            if why != self._complaint:
                self._complaint = why
                log.warning("%s is not used: %s", self._path, why)

    def _read(self) -> tuple[float, float]:
        text, changed_s = _text_of(self._path)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            raise _NotUsableError("it is not JSON") from None
        if not isinstance(content, dict):
            raise _NotUsableError("it is not an object")
        percent = _number(content.get("cloud_cover_percent"))
        since_s = _number(content.get("time", changed_s))
        if percent is None or not 0.0 <= percent <= 100.0:
            raise _NotUsableError("its cloud_cover_percent is none; write a number from 0 to 100")
        if since_s is None:
            raise _NotUsableError("its time is none; write epoch seconds, or leave it out")
        age_s = self._clock.time_ms() / 1000 - since_s
        if age_s < -_MOST_AHEAD_S:
            raise _NotUsableError("its time is yet to come; write epoch seconds, and see this machine's clock")
        if age_s >= BELIEVED_FOR_S:
            raise _NotUsableError(f"it is older than {BELIEVED_FOR_S:g} s")
        return percent, self._clock.monotonic_s() + BELIEVED_FOR_S - age_s


def _number(value: object) -> float | None:
    try:
        return check_number("", value)
    except MessageError:
        return None


def _text_of(path: Path) -> tuple[bytes, float]:
    """What a file says, and when it was changed.

    Raises:
        OSError: it cannot be read.
        _NotUsableError: it is too long, or no file at all.
    """
    # Who opens a pipe waits for whoever writes into it; not so with O_NONBLOCK.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _NotUsableError("it is no file")
        text = os.read(descriptor, _MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(text) > _MOST_BYTES:
        raise _NotUsableError(f"it has more than {_MOST_BYTES} bytes")
    return text, status.st_mtime
