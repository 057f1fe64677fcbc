"""Pulls the network cable of the simulated shed now and then, so that its silence can be seen to wake somebody."""

import time
from collections.abc import Callable

from demo.processes import Process

# From the moment the page is up. In between the owner's stand-in has had its override.
FIRST_AFTER_S = 50.0
LASTS_S = 16.0
EVERY_S = 180.0


class Cable:
    """Between `solarshed uplink` and the cloud. Pulled, that process is killed: its connection ends without a word.

    Everything happens in the thread that calls `look`: the kernel ends a child with the thread that has started it.
    """

    def __init__(self, start_uplink: Callable[[], Process], say: Callable[[str], None]) -> None:
        self._start_uplink = start_uplink
        self._say = say
        self._uplink = start_uplink()
        self._next_at_s = time.monotonic() + FIRST_AFTER_S
        self.is_pulled = False

    @property
    def process(self) -> Process | None:
        """The uplink, unless it has been killed."""
        return None if self.is_pulled else self._uplink

    def look(self) -> None:
        """Pull it, or put it back, if that is due."""
        now_s = time.monotonic()
        if now_s < self._next_at_s:
            return
        if self.is_pulled:
            self.put_back()
            self._next_at_s = now_s + EVERY_S - LASTS_S
        else:
            self.is_pulled = True
            self._uplink.kill()
            self._say(f"CABLE    the network cable is pulled, for {LASTS_S:g} s")
            self._next_at_s = now_s + LASTS_S

    def put_back(self) -> None:
        """Connect again. Nothing happens if it is not pulled."""
        if self.is_pulled:
            self._uplink = self._start_uplink()
            self.is_pulled = False
            self._say("CABLE    the network cable is back")
