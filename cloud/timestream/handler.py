"""The Lambda behind a custom resource of the Timestream stack: declares the columns when the stack is made or changed.

CloudFormation waits for an answer at the address that it gives. It gets one in every case: an error too is said there,
with its reason, so that the deployment ends at once and not after an hour. Source: CloudFormation user guide, "Custom
resource request and response reference".
"""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cloud.timestream.columns import TABLES, declare

if TYPE_CHECKING:
    from mypy_boto3_timestream_write import TimestreamWriteClient

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)

# It stands for no resource of its own, so it is always the same: another one would be a replacement.
PHYSICAL_ID = "solarshed-timestream-columns"

_CLIENT_CONFIG = Config(connect_timeout=2, read_timeout=6, retries={"mode": "standard", "total_max_attempts": 3})
# A role and a table that have just been made are not known everywhere at once.
_NOT_YET = {"AccessDeniedException", "ResourceNotFoundException", "ThrottlingException", "InternalServerException"}
_TRIES = 8
_PAUSE_S = 5.0
_ANSWER_TIMEOUT_S = 10
_ANSWER_TRIES = 3
# CloudFormation takes 4 KB in all.
_MOST_REASON = 1000


def handler(event: dict[str, Any], _context: object) -> None:
    """Entry point, called by CloudFormation.

    Raises:
        OSError: the answer could not be delivered; Lambda calls again.
    """
    client = boto3.client("timestream-write", config=_CLIENT_CONFIG)
    respond(event, client, pause_s=_PAUSE_S)


def respond(event: dict[str, Any], client: TimestreamWriteClient, *, pause_s: float) -> None:
    """Do what CloudFormation asks, and tell it how that went."""
    reason = ""
    try:
        if event["RequestType"] != "Delete":
            for table in TABLES:
                _declare(client, event["ResourceProperties"]["Database"], table, pause_s)
    except Exception as e:
        log.exception("the columns are not declared")
        reason = f"the columns are not declared: {type(e).__name__}: {e}"[:_MOST_REASON]
    _answer(event, reason, pause_s)


def _declare(client: TimestreamWriteClient, database: str, table: str, pause_s: float) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            return declare(client, database, table, time.time_ns() // 10**6)
        except (ClientError, BotoCoreError) as e:
            code = e.response["Error"]["Code"] if isinstance(e, ClientError) else ""
            if not tries_left or code not in _NOT_YET:
                raise
            log.info("%s: %s; once more", table, e)
            time.sleep(pause_s)
    return None


def _answer(event: dict[str, Any], reason: str, pause_s: float) -> None:
    body = {
        "Status": "FAILED" if reason else "SUCCESS",
        "Reason": reason or "declared",
        "PhysicalResourceId": PHYSICAL_ID,
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    # The address is signed for an empty content type.
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's address
        event["ResponseURL"], json.dumps(body).encode(), {"Content-Type": ""}, method="PUT"
    )
    for tries_left in reversed(range(_ANSWER_TRIES)):
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_S):  # noqa: S310 - CloudFormation's address
                return
        except OSError as e:
            if not tries_left:
                raise
            log.warning("CloudFormation is not told: %s; once more", e)
            time.sleep(pause_s)
