"""A thermometer whose conversions take as long as one likes: a FIFO in the place of its file."""

import errno
import os
import time
from pathlib import Path

from demo.shed.thermometer import SENSOR_ID, w1_slave


class FifoThermometer:
    """A DS18B20 in a 1-wire directory whose conversions end when they are told to."""

    def __init__(self, directory: Path, sensor_id: str = SENSOR_ID) -> None:
        self._file = directory / f"28-{sensor_id}" / "w1_slave"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._pipe: int | None = None
        self._put_a_fresh_one()

    def begin(self, timeout_s: float) -> None:
        """Wait until somebody reads.

        Raises:
            TimeoutError: nobody does.
        """
        deadline_s = time.monotonic() + timeout_s
        while self._pipe is None:
            try:
                self._pipe = os.open(self._file, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    raise
                if time.monotonic() > deadline_s:
                    raise TimeoutError("nobody reads the thermometer") from None
                time.sleep(0.0005)
        # The next read gets a pipe of its own, so that two answers never run into one another.
        self._put_a_fresh_one()

    def end(self, temperature_c: float) -> float:
        """Give the read that waits its answer; say when that was, in monotonic seconds."""
        assert self._pipe is not None, "no read has begun"
        text = w1_slave(temperature_c).encode("ascii")
        at_s = time.monotonic()
        os.write(self._pipe, text)
        os.close(self._pipe)
        self._pipe = None
        return at_s

    def sample(self, temperature_c: float, timeout_s: float = 5.0) -> float:
        """Wait for a read and answer it at once; say when that was, in monotonic seconds.

        Raises:
            TimeoutError: nobody reads.
        """
        self.begin(timeout_s)
        return self.end(temperature_c)

    def close(self) -> None:
        """Let go of a read that waits. May be called again."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _put_a_fresh_one(self) -> None:
        fresh = self._file.with_name("fresh")
        os.mkfifo(fresh)
        fresh.replace(self._file)
