"""systemd's notify protocol, sd_notify(3): says when the service is ready, alive and stopping.

Without NOTIFY_SOCKET (a terminal, the demo) it does nothing. It never raises and never waits: a systemd that hangs must
not delay a decision. What it could not say it says at the next call.
"""

import os
import socket
import time
from collections.abc import Callable

# A ping at every tick would be twenty a second with the shortest tick; systemd counts in tens of seconds.
_LEAST_TIME_BETWEEN_PINGS_S = 1.0


class Watchdog:
    """Tells systemd how this process is. Call `alive` only after work that proves it, such as a completed decision."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte that an abstract address begins with.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._monotonic_s = monotonic_s
        self._ready = False
        self._said = ""
        self._pinged_at_s = -_LEAST_TIME_BETWEEN_PINGS_S

    def ready(self, text: str) -> None:
        """Say once that the start is over, however often it is called; `text` is what `systemctl status` shows."""
        if not self._ready:
            self._ready = self._send(f"READY=1\nSTATUS={_one_line(text)}")
            self._said = text

    def alive(self) -> None:
        """Restart systemd's timer; at most once a second."""
        now_s = self._monotonic_s()
        if now_s - self._pinged_at_s >= _LEAST_TIME_BETWEEN_PINGS_S and self._send("WATCHDOG=1"):
            self._pinged_at_s = now_s

    def status(self, text: str) -> None:
        """Change the line that `systemctl status` shows; the same text again is not sent."""
        if text != self._said and self._send(f"STATUS={_one_line(text)}"):
            self._said = text

    def stopping(self) -> None:
        """Say that the end has begun, so that the stop is not taken for a failure."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        if not self._address:
            return False
        try:
            # Made for each message: nothing to keep, to close or to renew when systemd restarts itself.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.setblocking(False)
                notify.sendto(message.encode(), self._address)
        except OSError:  # nobody listens, the queue is full, or no descriptor is left
            return False
        return True


def _one_line(text: str) -> str:
    """A line break would begin a message of its own."""
    return " ".join(text.splitlines())
