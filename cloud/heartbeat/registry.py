"""AWS IoT's registry of things: is one still to be watched? The only module that knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from contract.heartbeat import PAUSED_UNTIL, epoch_s

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


@dataclass(frozen=True, slots=True)
class Standing:
    """What the registry says of a thing. `paused_until_ms` is 0 where it is not paused; `unreadable` is what stands
    there instead of a time, which counts as not paused."""

    is_registered: bool
    paused_until_ms: int = 0
    unreadable: str | None = None


def standing(client: IoTClient, thing: str) -> Standing:
    """What is known of `thing`.

    Raises:
        ClientError, BotoCoreError: the registry cannot be asked.
    """
    try:
        attributes = client.describe_thing(thingName=thing).get("attributes", {})
    except ClientError as e:
        if e.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
            return Standing(is_registered=False)
        raise
    until = attributes.get(PAUSED_UNTIL, "0")
    until_s = epoch_s(until)
    if until_s is None:
        return Standing(is_registered=True, unreadable=until)
    return Standing(is_registered=True, paused_until_ms=until_s * 1000)
