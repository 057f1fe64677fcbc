"""Whether a device is connected: `online` when it connects, `stopping` before it ends, `offline` as its last will.

    {"schema": 1, "session": 1795452801234, "state": "online", "time_ms": 1795452801240}

AWS IoT keeps no order between them: the last will of a connection that broke may arrive long after the next one has
begun. So each names its session: epoch milliseconds of when it was begun, by the device's clock, and growing. A rule
keeps each as an object of its own, `status/<thing>/<session>-<state>.json`, and `newest` says from the names alone
which one counts, in whatever order and however often they have arrived.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from contract.messages import SCHEMA, encode

PREFIX = "status/"

_KEY = re.compile(re.escape(PREFIX) + r"([A-Za-z0-9_-]+)/([0-9]{1,16})-([a-z]+)\.json")


class State(StrEnum):
    """In the order in which they come within a session."""

    ONLINE = "online"
    OFFLINE = "offline"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Status:
    """One of them. `session` is epoch milliseconds."""

    thing: str
    session: int
    state: State

    @property
    def key(self) -> str:
        """The name of its object, as the rule makes it."""
        return f"{PREFIX}{self.thing}/{self.session}-{self.state}.json"


def encode_status(session: int, state: State, time_ms: int) -> str:
    """The message. The last will is made before the connection, so its `time_ms` is the session's beginning."""
    return encode({"schema": SCHEMA, "session": session, "state": state, "time_ms": time_ms})


def status_of(key: str) -> Status | None:
    """The status that an object's name tells; None where it is no such name."""
    match = _KEY.fullmatch(key)
    if match is None or match[3] not in list(State):
        return None
    return Status(match[1], int(match[2]), State(match[3]))


def newest(statuses: Iterable[Status]) -> Status | None:
    """The one that counts, of those of one thing: of the latest session the furthest state. An orderly stop outweighs
    the last will that may follow it."""
    return max(statuses, key=lambda status: (status.session, list(State).index(status.state)), default=None)
