"""The shadow of one thing, as AWS has it now."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from contract import shadow
from contract.errors import SolarshedError
from owner.session import Account, error_code
from owner.words import printable

# No time, voltage or temperature is larger; what cannot be compared (NaN) is not smaller either.
_LARGEST = 1e11
_NOT_FOUND = "ResourceNotFoundException"


class NotReportedError(SolarshedError, LookupError):
    """The thing does not exist, or has never said anything."""


@dataclass(frozen=True, slots=True)
class Section:
    """A JSON object of the shadow, read with care: whoever may write the shadow may have written anything."""

    fields: dict[str, Any]

    def text(self, name: str) -> str | None:
        """A text, without what could steer a terminal; None where there is none."""
        value = self.fields.get(name)
        return printable(value) if isinstance(value, str) else None

    def number(self, name: str) -> float | None:
        """A number that can be one of ours; None where there is none."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            return None
        return float(value)

    def time(self, name: str) -> float | None:
        """Epoch seconds; None where there are none."""
        time_s = self.number(name)
        return time_s if time_s is not None and time_s >= 0 else None

    def texts(self, name: str) -> list[str]:
        """The texts of a list."""
        value = self.fields.get(name)
        return [printable(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []

    def section(self, name: str) -> "Section":
        """An object in it; an empty one where there is none."""
        value = self.fields.get(name)
        return Section(value if isinstance(value, dict) else {})

    def __bool__(self) -> bool:
        return bool(self.fields)


@dataclass(frozen=True, slots=True)
class Shadow:
    """Both sides of it. Times are epoch seconds by AWS's clock: `now_s` when it was read, `heard_at_s` when the device
    last reported anything, `refused_at_s` when it last reported a refusal; None for never."""

    desired: Section
    reported: Section
    version: int
    now_s: float
    heard_at_s: float | None
    refused_at_s: float | None

    @property
    def heard_s_ago(self) -> float | None:
        """The age of the newest report."""
        return None if self.heard_at_s is None else max(0.0, self.now_s - self.heard_at_s)


def read(account: Account, thing: str) -> Shadow:
    """The shadow of `thing`.

    Raises:
        NotReportedError: there is none.
        ClientError, BotoCoreError: within `Account.plainly`.
    """
    try:
        answer = account.iot_data.get_thing_shadow(thingName=thing)
    except ClientError as e:
        if error_code(e) != _NOT_FOUND:
            raise
        raise NotReportedError(_why_there_is_none(account, thing)) from None
    return parse(answer["payload"].read())


def parse(payload: bytes) -> Shadow:
    """A shadow from what AWS IoT answers to GetThingShadow.

    Raises:
        NotReportedError: it cannot be read.
    """
    try:
        document = Section(shadow.parse(payload))
    except shadow.ShadowError as e:
        raise NotReportedError(f"AWS's answer about the shadow cannot be read: {e}; try again") from None
    state, metadata = document.section("state"), document.section("metadata").section("reported")
    return Shadow(
        desired=state.section("desired"),
        reported=state.section("reported"),
        version=int(document.number("version") or 0),
        now_s=document.time("timestamp") or 0.0,
        heard_at_s=max(_timestamps(metadata.fields), default=None),
        refused_at_s=max(_timestamps(metadata.fields.get("refused")), default=None),
    )


def wish(account: Account, thing: str, override: dict[str, Any]) -> int:
    """Write `override` as the thing's wish; the shadow's version from then on."""
    payload = json.dumps({"state": {"desired": {shadow.OVERRIDE: override}}})
    answer = account.iot_data.update_thing_shadow(thingName=thing, payload=payload.encode())
    return int(Section(shadow.parse(answer["payload"].read())).number("version") or 0)


def _timestamps(metadata: object) -> Iterator[float]:
    """Every leaf of the metadata is {"timestamp": epoch seconds}."""
    if isinstance(metadata, list):
        for item in metadata:
            yield from _timestamps(item)
    elif isinstance(metadata, dict):
        for name, value in metadata.items():
            time_s = Section(metadata).time(name) if name == "timestamp" else None
            if time_s is not None:
                yield time_s
            else:
                yield from _timestamps(value)


def _why_there_is_none(account: Account, thing: str) -> str:
    try:
        account.iot.describe_thing(thingName=thing)
    except ClientError as e:
        if error_code(e) != _NOT_FOUND:
            raise
        return (
            f"there is no thing {thing} in {account.region}; make it with `solarshed provision {thing}`, or name the "
            "--profile and --region that it is in"
        )
    return (
        f"{thing} has never reported; start solarshed-uplink on its Pi, and see `journalctl -u solarshed-uplink` there "
        "if it stays silent"
    )
