"""Where the heartbeats lie, in the heartbeat bucket, and what the heartbeat Lambda remembers there.

heartbeat/<thing>.json                  the newest one, as it was published (see `contract.messages`); its
                                        LastModified is when it arrived, by AWS's clock
status/<thing>/<session>-<state>.json   see `contract.status`
open/<alert>/<thing>.json               there while `device_silent` or `device_blind` of a thing is raised
watch/counts.json                       what the Lambda has last seen of each thing's decisions and readings
"""

import re

PREFIX = "heartbeat/"
OPEN_PREFIX = "open/"
COUNTS_KEY = "watch/counts.json"

# An attribute of the thing in AWS IoT's registry (which knows no tags of things): epoch seconds, UTC. Until then the
# heartbeat Lambda does not raise anything about it. One in the past stays: what is raised after it is a new episode.
# A thing that is not in the registry is not watched.
PAUSED_UNTIL = "paused_until"

_KEY = re.compile(re.escape(PREFIX) + r"([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.json")

# Milliseconds, written by mistake, have more digits: that thing would not be watched for thousands of years.
_EPOCH_S = re.compile(r"[0-9]{1,10}")


def epoch_s(text: str) -> int | None:
    """The value of PAUSED_UNTIL; None where it is no time, which counts as not paused."""
    return int(text) if _EPOCH_S.fullmatch(text) else None


def key(thing: str) -> str:
    """The name of the object with the newest heartbeat of `thing`."""
    return f"{PREFIX}{thing}.json"


def thing_of(key: str) -> str | None:
    """The thing whose heartbeat `key` holds; None where it is no such name."""
    match = _KEY.fullmatch(key)
    return match and match[1]
