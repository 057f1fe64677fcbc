"""How fast a connection may publish: AWS IoT Core takes 100 publishes and 512 KB a second from one connection.

Source: AWS General Reference, "AWS IoT Core message broker and protocol limits and quotas". No window of a second holds
more, wherever it begins. A window here is a little longer, because messages may arrive closer together than they left.
"""

from collections import deque
from itertools import accumulate

MOST_PUBLISHES_A_SECOND = 100
MOST_BYTES_A_SECOND = 512_000
HEADROOM_S = 0.1
WINDOW_S = 1.0 + HEADROOM_S
# What a publish has besides its payload: headers, and a topic as long as AWS takes it. Counted with every one.
OVERHEAD_BYTES = 300


class Pace:
    """What has been published within the last window. Times are monotonic seconds and never go back."""

    def __init__(self, most_publishes: int = MOST_PUBLISHES_A_SECOND, most_bytes: int = MOST_BYTES_A_SECOND) -> None:
        """Fewer than AWS takes leave room for those who do not ask."""
        self._most_publishes = most_publishes
        self._most_bytes = most_bytes
        self._published: deque[tuple[float, int]] = deque()

    def has_room(self, size_bytes: int, now_s: float) -> bool:
        """Whether a payload of `size_bytes` may be published now."""
        return self.room_at_s(size_bytes, now_s) <= now_s

    def room_at_s(self, size_bytes: int, now_s: float) -> float:
        """When a payload of `size_bytes` may be published, if nothing else is until then; `now_s` for at once."""
        self._forget(now_s)
        sizes = [size for _, size in self._published]
        # How many of the oldest have to leave the window first.
        excess = sum(sizes) + size_bytes + OVERHEAD_BYTES - self._most_bytes
        leaving = max(0, len(sizes) + 1 - self._most_publishes)
        if excess > 0:
            left = enumerate(accumulate(sizes), start=1)
            leaving = max(leaving, next((count for count, total in left if total >= excess), len(sizes)))
        return now_s if leaving == 0 else self._published[leaving - 1][0] + WINDOW_S

    def note(self, size_bytes: int, now_s: float) -> None:
        """A payload of `size_bytes` is published."""
        self._forget(now_s)
        self._published.append((now_s, size_bytes + OVERHEAD_BYTES))

    def _forget(self, now_s: float) -> None:
        while self._published and self._published[0][0] + WINDOW_S <= now_s:
            self._published.popleft()
