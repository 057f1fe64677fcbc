"""The heartbeat bucket: what things said and when, and what this Lambda remembers. The only module that knows S3.

LastModified and "now" come from S3's own clock, in whole seconds.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cloud.heartbeat.beats import MAX_BYTES
from contract import heartbeat, status
from contract.alerts import CloudAlert
from contract.status import State

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

_MARKER_KEY = re.compile(re.escape(heartbeat.OPEN_PREFIX) + r"([a-z_]+)/([A-Za-z0-9_-]{1,64})\.json")
# A bucket keeps a month of them: with more, the link is so bad that the newest says little.
_MAX_STATUSES = 20_000

Open = tuple[CloudAlert, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """A heartbeat's object. `at_ms` is its LastModified."""

    at_ms: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Listing:
    """All heartbeats by thing, as they were at `now_ms`; `strange` is how many objects there have no thing's name."""

    now_ms: int
    beats: Mapping[str, Stored]
    strange: int


@dataclass(frozen=True, slots=True)
class Connection:
    """What the newest connection last said of itself; `at_ms` is when that reached AWS."""

    state: State
    at_ms: int


@dataclass(frozen=True, slots=True)
class Marker:
    """That an alert of a thing is raised. `raised_ms` names its episode, `beat_ms` is when the last heartbeat before it
    came; both are None where the object cannot be read. `is_published`: the message has certainly gone out."""

    raised_ms: int | None
    beat_ms: int | None
    is_published: bool


class Bucket:
    """Everything here may raise ClientError or BotoCoreError."""

    def __init__(self, client: S3Client, name: str) -> None:
        self._client = client
        self._name = name

    def beats(self) -> Listing:
        """All heartbeats. "Now" is taken before the first of them is read, so no age is too great."""
        beats: dict[str, Stored] = {}
        now_ms, strange = None, 0
        for page in self._pages(heartbeat.PREFIX):
            if now_ms is None:
                now_ms = _date_ms(page)
            for each in page.get("Contents", []):
                thing = heartbeat.thing_of(each["Key"])
                if thing is None:
                    strange += 1
                else:
                    beats[thing] = Stored(_modified_ms(each), each["Size"])
        return Listing(time.time_ns() // 10**6 if now_ms is None else now_ms, beats, strange)

    def beat(self, thing: str) -> bytes:
        """The content of the heartbeat of `thing`, but not much more than MAX_BYTES of it."""
        return self._get(heartbeat.key(thing))

    def connection(self, thing: str) -> Connection | None:
        """None where it is not known."""
        at_ms = {}
        for page in self._pages(f"{status.PREFIX}{thing}/"):
            for each in page.get("Contents", []):
                said = status.status_of(each["Key"])
                if said is not None:
                    at_ms[said] = _modified_ms(each)
            if len(at_ms) > _MAX_STATUSES:
                return None
        newest = status.newest(at_ms)
        return None if newest is None else Connection(newest.state, at_ms[newest])

    def open(self) -> set[Open]:
        """What is raised: pairs of alert and thing."""
        found: set[Open] = set()
        for page in self._pages(heartbeat.OPEN_PREFIX):
            for each in page.get("Contents", []):
                match = _MARKER_KEY.fullmatch(each["Key"])
                if match is not None and match[1] in list(CloudAlert):
                    found.add((CloudAlert(match[1]), match[2]))
        return found

    def marker(self, alert: CloudAlert, thing: str) -> Marker | None:
        """None where there is none any more: another run has removed it."""
        try:
            content = json.loads(self._get(_marker_key(alert, thing)))
        except ClientError as e:
            if _is_missing(e):
                return None
            raise
        except (ValueError, RecursionError):
            content = None
        match content:
            case {"raised_ms": int(raised_ms), "last_beat_ms": int(beat_ms), "published": bool(is_published)}:
                return Marker(raised_ms, beat_ms, is_published)
        return Marker(None, None, is_published=True)

    def put_marker(self, alert: CloudAlert, thing: str, marker: Marker, summary: str) -> None:
        """`summary` is for whoever looks into the bucket."""
        content = {
            "raised_ms": marker.raised_ms,
            "last_beat_ms": marker.beat_ms,
            "published": marker.is_published,
            "summary": summary,
        }
        self._put(_marker_key(alert, thing), json.dumps(content).encode())

    def remove_marker(self, alert: CloudAlert, thing: str) -> None:
        """There may be none."""
        self._client.delete_object(Bucket=self._name, Key=_marker_key(alert, thing))

    def memory(self) -> bytes | None:
        """What `put_memory` has kept; None where there is nothing."""
        try:
            return self._get(heartbeat.COUNTS_KEY, most=-1)
        except ClientError as e:
            if _is_missing(e):
                return None
            raise

    def put_memory(self, content: bytes) -> None:
        """Keep `content` for the next run."""
        self._put(heartbeat.COUNTS_KEY, content)

    def _pages(self, prefix: str) -> Any:  # noqa: ANN401 - pages have no name that can be imported at run time
        return self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)

    def _get(self, key: str, most: int = MAX_BYTES + 1) -> bytes:
        with closing(self._client.get_object(Bucket=self._name, Key=key)["Body"]) as body:
            return body.read(None if most < 0 else most)

    def _put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._name, Key=key, Body=content, ContentType="application/json")


def _marker_key(alert: CloudAlert, thing: str) -> str:
    return f"{heartbeat.OPEN_PREFIX}{alert}/{thing}.json"


def _modified_ms(each: ObjectTypeDef) -> int:
    return round(each["LastModified"].timestamp() * 1000)


def _date_ms(page: Mapping[str, Any]) -> int | None:
    """When S3 made the answer, by the clock that LastModified comes from; None where it does not say."""
    try:
        date = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return None
    return round(date.timestamp() * 1000)


def _is_missing(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") == "NoSuchKey"
