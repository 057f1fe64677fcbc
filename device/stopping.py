"""Being told to stop by a signal, or to look up at once by a thread, in a way that cannot hang.

`threading.Event.set` in a signal handler takes a lock that the very wait it interrupts may hold: the process then waits
for itself, and the relays stay closed. A flag and a pipe need no lock.
"""

import os
import select
import signal
from contextlib import suppress
from types import FrameType


class StopRequest:
    """Set by any of the signals that it is made for, however often and whenever they come. For the main thread."""

    def __init__(self, *signals: signal.Signals) -> None:
        self._requested = False
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        for number in signals:
            signal.signal(number, self._on_signal)

    def is_set(self) -> bool:
        """Whether a signal has come."""
        return self._requested

    def wait(self, timeout_s: float) -> bool:
        """Return when a signal comes or has come, when `wake` is called, or after `timeout_s`; say whether to stop."""
        if not self._requested:
            select.select([self._readable], [], [], max(0.0, timeout_s))
            with suppress(BlockingIOError):  # nothing came: the time is over
                os.read(self._readable, 4096)
        return self._requested

    def wake(self) -> None:
        """End the wait that goes on, or the next one. For any thread."""
        with suppress(BlockingIOError):  # the pipe is full of earlier calls: it is readable already
            os.write(self._writable, b"\0")

    def request(self) -> None:
        """Ask to stop, as a signal does. For any thread."""
        self._requested = True
        self.wake()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.request()
