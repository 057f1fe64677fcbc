"""The telemetry Lambda: a batch of queue messages in, the ids of those to deliver again out.

A message that cannot be understood, and one whose points could not be written now, is reported as failed: the queue
delivers it again, and after some times puts it on the dead-letter queue. Points that the store refuses for good are
not tried again; they are kept in a bucket, one object each, under a name that a repetition overwrites.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cloud.telemetry.arrival import timed_by_arrival
from cloud.telemetry.points import Key, Point, points_of
from cloud.telemetry.timestream import CLIENT_CONFIG, TimestreamWriter
from cloud.telemetry.writer import Rejected, StoreError, Writer
from contract import store
from contract.messages import MessageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)


KeepRejected = Callable[[Rejected], None]


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Entry point, called by the queue's event source mapping."""
    return store_batch(event["Records"], _writer(), _keep_rejected)


def store_batch(records: Iterable[dict[str, Any]], writer: Writer, keep_rejected: KeepRejected) -> dict[str, Any]:
    """Write every message's points; the result names the messages that must be delivered again."""
    failed: set[str] = set()
    # The newest version of each point, and who brought it: one call must not carry the same point twice.
    points: dict[Key, Point] = {}
    brought_by: dict[Key, set[str]] = {}
    for record in records:
        try:
            of_this_message = _points(json.loads(record["body"]))
        except (MessageError, ValueError, RecursionError) as e:
            log.error("message %s refused: %s", record["messageId"], e)
            failed.add(record["messageId"])
            continue
        for point in of_this_message:
            if point.key not in points or points[point.key].version < point.version:
                points[point.key] = point
            brought_by.setdefault(point.key, set()).add(record["messageId"])

    pending = list(points.values())
    for start in range(0, len(pending), writer.max_points):
        chunk = pending[start : start + writer.max_points]
        try:
            for rejected in writer.write(chunk):
                log.error("point %s refused by the store: %s", rejected.point.key, rejected.reason)
                keep_rejected(rejected)
        except (StoreError, ClientError, BotoCoreError) as e:
            log.warning("%d points not written, to be delivered again: %s", len(chunk), e)
            for point in chunk:
                failed |= brought_by[point.key]
    log.info("%d points, %d messages to be delivered again", len(points), len(failed))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in sorted(failed)]}


def _points(message: Any) -> list[Point]:  # noqa: ANN401 - any JSON
    """The points of a message, by the rule's time of arrival where the device had no time; see `arrival`."""
    points = points_of(message)
    received_ms = message.get("received_ms")
    # What was on the queue when the rule learnt to say it has none.
    return points if not isinstance(received_ms, int) else timed_by_arrival(points, received_ms)


@cache
def _writer() -> Writer:
    if os.environ.get("SOLARSHED_STORE") == store.INFLUXDB:
        # Whoever has the other engine does not wait for its modules at a cold start.
        from cloud.telemetry.influxdb import InfluxWriter, influx_from

        return InfluxWriter(influx_from(os.environ))
    return TimestreamWriter(os.environ["SOLARSHED_DATABASE"], os.environ["SOLARSHED_TABLE"])


@cache
def _s3() -> S3Client:
    client: S3Client = boto3.client("s3", config=CLIENT_CONFIG)
    return client


def _keep_rejected(rejected: Rejected) -> None:
    point = rejected.point
    _s3().put_object(
        Bucket=os.environ["SOLARSHED_REJECTED_BUCKET"],
        Key=f"rejected/{point.thing}/{point.source}/{point.time_ms}-{point.version}.json",
        Body=json.dumps(
            {"reason": rejected.reason, "site": point.site, "measure": point.measure, "values": point.values}
        ).encode(),
        ContentType="application/json",
    )
