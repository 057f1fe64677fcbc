"""Things, their heartbeats and AWS as the heartbeat Lambda finds them, in memory and with a clock of its own."""

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from cloud.heartbeat import registry
from cloud.heartbeat.bucket import Bucket
from cloud.heartbeat.verdict import Limits
from cloud.heartbeat.watch import Ports, Report, run

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_s3 import S3Client

Json = dict[str, Any]
Name = tuple[str, str, int | None]

BEGIN_MS = int(datetime(2026, 11, 23, 14, 0, tzinfo=UTC).timestamp()) * 1000
LIMIT_MS = 900_000
LIMITS = Limits(LIMIT_MS, LIMIT_MS)
AGES_S = {"battery_voltage": 0.4, "box_temperature": 1.1}


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "not now"}}, "Operation")


def beat(count: int = 1, **changes: object) -> Json:
    """A heartbeat as a device sends it."""
    return {
        "schema": 1,
        "time_ms": BEGIN_MS + count * 1000,
        "boot_id": "4f1d",
        "clock_synchronised": True,
        "decision_count": count,
        "position": "grid",
        "reason": "battery_low",
        "alerts": ["battery_low"],
        "reading_ages_s": AGES_S,
        **changes,
    }


class World:
    """`on` is called before each call of AWS, with its name and what it is about; it may raise."""

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.things: dict[str, dict[str, str]] = {}
        self.published: list[Json] = []
        self.calls: list[tuple[str, str]] = []
        self.on: Callable[[str, str], None] = lambda _operation, _about: None
        self.page_size = 1000
        self.page: Json = {}
        self._lock = threading.Lock()
        self._count = 0

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def beats(self, thing: str = "shed", content: Json | bytes | None = None, **changes: object) -> None:
        """A heartbeat of `thing` arrives now, after one more decision."""
        self.things.setdefault(thing, {})
        self._count += 1
        if content is None:
            content = {**beat(self._count), "time_ms": self.now_ms, **changes}
        self.put(f"heartbeat/{thing}.json", content)

    def put(self, key: str, content: Json | bytes = b"{}") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.objects[key] = (body, self.now_ms)

    def run(self, remaining_ms: int = 240_000) -> Report:
        return run(self.ports(), LIMITS, lambda: remaining_ms)

    def ports(self) -> Ports:
        client = cast("S3Client", _S3(self))
        iot = cast("IoTClient", _Iot(self))
        standing = partial(registry.standing, iot)
        return Ports(Bucket(client, "heartbeats"), standing, self._publish, logging.getLogger())

    def heard(self) -> list[Name]:
        """What was published: (action, alert, raised_ms), in its order."""
        return [(m["action"], m["alert"], m.get("raised_ms")) for m in self.published]

    def summaries(self) -> list[str]:
        return [message["summary"] for message in self.published]

    def markers(self) -> list[str]:
        return [key for key in self.objects if key.startswith("open/")]

    def called(self, operation: str) -> list[str]:
        return [about for name, about in self.calls if name == operation]

    def call(self, operation: str, about: str) -> None:
        with self._lock:
            self.calls.append((operation, about))
        self.on(operation, about)

    def _publish(self, message: Json) -> None:
        self.call("publish", message["thing"])
        self.published.append(json.loads(json.dumps(message)))


class _S3:
    def __init__(self, world: World) -> None:
        self._world = world

    def get_paginator(self, _operation: str) -> "_S3":
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[Json]:  # noqa: N803 - botocore's
        self._world.call("list", Prefix)
        at = datetime.fromtimestamp(self._world.now_ms / 1000, UTC)
        page: Json = {
            "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(at, usegmt=True)}},
            **self._world.page,
        }
        found = sorted((k, v) for k, v in self._world.objects.items() if k.startswith(Prefix))
        if not found:
            yield page
        for start in range(0, len(found), self._world.page_size):
            contents = [
                {"Key": key, "Size": len(body), "LastModified": datetime.fromtimestamp(at_ms // 1000, UTC)}
                for key, (body, at_ms) in found[start : start + self._world.page_size]
            ]
            yield {**page, "Contents": contents}

    def get_object(self, *, Bucket: str, Key: str) -> Json:  # noqa: N803
        self._world.call("get", Key)
        if Key not in self._world.objects:
            raise refused("NoSuchKey")
        return {"Body": io.BytesIO(self._world.objects[Key][0])}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:  # noqa: N803
        self._world.call("put", Key)
        self._world.put(Key, Body)

    def delete_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        self._world.call("delete", Key)
        self._world.objects.pop(Key, None)


class _Iot:
    def __init__(self, world: World) -> None:
        self._world = world

    def describe_thing(self, *, thingName: str) -> Json:  # noqa: N803
        self._world.call("describe", thingName)
        if thingName not in self._world.things:
            raise refused("ResourceNotFoundException")
        return {"thingName": thingName, "attributes": dict(self._world.things[thingName])}
