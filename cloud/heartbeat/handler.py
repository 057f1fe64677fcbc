"""The heartbeat Lambda, the dead man's switch: called every five minutes, whatever the event says.

Where anything went wrong over which an alert may not have got out, it fails in the end, when all that was possible has
been done: CloudWatch counts that, and AWS calls it again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.config import Config

from cloud.heartbeat import registry
from cloud.heartbeat.bucket import Bucket
from cloud.heartbeat.registry import Standing
from cloud.heartbeat.verdict import Limits
from cloud.heartbeat.watch import COUNTED, THREADS, Ports, Report, run

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient

log = Logger(service="heartbeat")

# A call takes 16 s at the most.
_CLIENT_CONFIG = Config(
    connect_timeout=2,
    read_timeout=6,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=THREADS,
)
_SKEW_WORTH_TELLING_S = 60

# boto3 makes no two clients at once.
_making = threading.Lock()


class RunFailedError(RuntimeError):
    """A run that could not do everything; the log says what."""


class Context(Protocol):
    """Of what Lambda gives, what is used."""

    def get_remaining_time_in_millis(self) -> int: ...


def handler(_event: object, context: Context) -> None:
    """Entry point, called by EventBridge Scheduler.

    Raises:
        RunFailedError: an alert may not have got out.
        ClientError, BotoCoreError: nothing could be looked at.
    """
    begun_s = time.monotonic()
    limits = Limits(_limit_ms("SOLARSHED_SILENT_AFTER_S"), _limit_ms("SOLARSHED_BLIND_AFTER_S"))
    ports = Ports(Bucket(_s3(), os.environ["SOLARSHED_HEARTBEAT_BUCKET"]), _standing, _publish, log)
    report = run(ports, limits, context.get_remaining_time_in_millis)
    counts = {name: report.counts[name] for name in COUNTED}
    log.info("run", extra={**counts, "seconds": round(time.monotonic() - begun_s, 3)})
    _emit(report)
    if failures := report.counts["failures"]:
        raise RunFailedError(f"{failures} failures, see the log: an alert may not have got out")


def _limit_ms(name: str) -> int:
    return int(os.environ.get(name, "900")) * 1000


def _emit(report: Report) -> None:
    """Metrics cost money, so there are none while all is well."""
    skew_s = report.skew_ms / 1000
    values = {
        "HeartbeatsUnreadable": (MetricUnit.Count, report.counts["unreadable"]),
        "RunFailures": (MetricUnit.Count, report.counts["failures"] + report.counts["registry_failures"]),
        "ClockSkewSeconds": (MetricUnit.Seconds, skew_s if skew_s > _SKEW_WORTH_TELLING_S else 0),
    }
    metrics = Metrics(namespace="Solarshed", service="heartbeat")
    for name, (unit, value) in values.items():
        if value:
            metrics.add_metric(name, unit, value)
    if any(value for _, value in values.values()):
        metrics.flush_metrics()


def _standing(thing: str) -> Standing:
    with _making:
        client = _iot()
    return registry.standing(client, thing)


def _publish(message: dict[str, Any]) -> None:
    with _making:
        client = _sns()
    client.publish(TopicArn=os.environ["SOLARSHED_ALERT_TOPIC"], Message=json.dumps(message))


@cache
def _s3() -> S3Client:
    client: S3Client = boto3.client("s3", config=_CLIENT_CONFIG)
    return client


@cache
def _sns() -> SNSClient:
    client: SNSClient = boto3.client("sns", config=_CLIENT_CONFIG)
    return client


@cache
def _iot() -> IoTClient:
    client: IoTClient = boto3.client("iot", config=_CLIENT_CONFIG)
    return client
