"""Quiet for a while, so that work on a device pages nobody: an attribute of its thing; the heartbeat Lambda obeys.

Held back is only what the cloud raises by itself, `device_silent` and `device_blind`. What the device says is told.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from contract.heartbeat import PAUSED_UNTIL, epoch_s
from owner.session import Account, AwsError, error_code
from owner.words import seconds_in, until

LONGEST_PAUSE_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Pause:
    """Epoch seconds by AWS's clock; `until_s` is 0 for never."""

    until_s: int
    now_s: float

    @property
    def is_in_force(self) -> bool:
        """Whether nothing is raised now."""
        return self.until_s > self.now_s


def pause_s(text: str) -> int:
    """Seconds in `text`, such as 45m, 2h, 1h30m or 3d.

    Raises:
        ValueError: it is none, or longer than a device may go unwatched.
    """
    total_s = seconds_in(text, "dhm")
    if total_s == 0:
        raise ValueError(f"{text!r} is no duration; write one such as 45m, 2h, 1h30m or 3d")
    if total_s > LONGEST_PAUSE_S:
        raise ValueError(f"{text!r} is too long: a pause that is forgotten must end by itself; write 7d at most")
    return total_s


def pause(account: Account, thing: str, for_s: int) -> int:
    """Raise nothing about `thing` for `for_s` seconds from now. What of that is open is cleared by the next run.

    Raises:
        AwsError: it cannot be done.
    """
    with account.plainly():
        now_s = read(account, thing).now_s
        until_s = int(now_s) + for_s
        _write(account, thing, until_s)
    print(
        f"{thing} is paused {until(until_s, now_s)}: silence and blindness of {thing} raise nothing until then; "
        f"its own alerts still do. `solarshed resume {thing}` ends it."
    )
    return 0


def resume(account: Account, thing: str) -> int:
    """End the pause of `thing` now.

    Raises:
        AwsError: it cannot be done.
    """
    with account.plainly():
        paused = read(account, thing)
        if paused.is_in_force:
            # The attribute stays, with its end: what was open before the pause has been cleared under the name that it
            # had. What is still wrong is a new episode from now on; under its old name it would be taken for that one.
            _write(account, thing, int(paused.now_s))
    print(f"{thing} is watched again" if paused.is_in_force else f"{thing} is not paused")
    return 0


def read(account: Account, thing: str) -> Pause:
    """What AWS has. An attribute that is no time is no pause, as for the heartbeat Lambda.

    Raises:
        AwsError: there is no such thing.
        ClientError, BotoCoreError: within `Account.plainly`.
    """
    try:
        answer = account.iot.describe_thing(thingName=thing)
    except ClientError as e:
        if error_code(e) != "ResourceNotFoundException":
            raise
        raise AwsError(
            f"there is no thing {thing} in {account.region}; make it with `solarshed provision {thing}`, or name the "
            "--profile and --region that it is in"
        ) from None
    kept = answer.get("attributes", {}).get(PAUSED_UNTIL, "")
    return Pause(epoch_s(kept) or 0, _now_s(answer["ResponseMetadata"]))


def _write(account: Account, thing: str, until_s: int) -> None:
    account.iot.update_thing(
        thingName=thing, attributePayload={"attributes": {PAUSED_UNTIL: str(until_s)}, "merge": True}
    )


def _now_s(metadata: Mapping[str, Any]) -> float:
    """By AWS's clock, which the heartbeat Lambda goes by: this machine's may be wrong."""
    try:
        return parsedate_to_datetime(metadata["HTTPHeaders"]["date"]).timestamp()
    except (KeyError, ValueError):
        return time.time()
