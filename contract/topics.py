"""MQTT topics. The thing's name is its MQTT client id and the third level of every topic.

Topics have at most 7 slashes and 256 bytes on AWS IoT Core.
"""

import re

PREFIX = "dt/solarshed"

TELEMETRY = "telemetry"
HEARTBEAT = "heartbeat"
ALERT = "alert"
STATUS = "status"
CHANNELS = (TELEMETRY, HEARTBEAT, ALERT, STATUS)

_THING_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def topic(thing: str, channel: str) -> str:
    """The topic on which `thing` publishes `channel`, one of CHANNELS."""
    return f"{PREFIX}/{thing}/{channel}"


def shadow(thing: str, what: str) -> str:
    """The topic of the thing's classic shadow for `what`, such as `get` or `update/delta`; AWS IoT names them."""
    return f"$aws/things/{thing}/shadow/{what}"


def every_thing(channel: str) -> str:
    """The topic filter that matches `channel` of every thing."""
    return topic("+", channel)


def check_thing_name(name: str, called: str = "thing name") -> str:
    """Return `name`, or raise ValueError with the remedy. A site's name, as what it is `called`, follows the same rule.

    AWS IoT allows colons too; we do not, because the name also becomes an S3 key and a dedup key.
    """
    if not _THING_NAME.fullmatch(name):
        raise ValueError(
            f"{called} {name!r} is not usable: take 1 to 64 of A-Z a-z 0-9 _ -, starting with a letter or digit"
        )
    return name
