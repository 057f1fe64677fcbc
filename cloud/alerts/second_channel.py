"""What becomes of messages that PagerDuty never hears of: they are kept, and a human is told by another way."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import boto3

from cloud.alerts.store import CLIENT_CONFIG
from cloud.alerts.text import shown

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

# The dead letter's attribute that says why it is one.
WHY = "why"

_MAX_WHY = 256
_MAX_SUBJECT = 100
_MAX_TEXT = 2000


@cache
def sns() -> SNSClient:
    """The process's own client."""
    client: SNSClient = boto3.client("sns", config=CLIENT_CONFIG)
    return client


@cache
def sqs() -> SQSClient:
    """The process's own client."""
    client: SQSClient = boto3.client("sqs", config=CLIENT_CONFIG)
    return client


class SecondChannel:
    """The dead-letter queue, and the topic of those who watch over the alerts themselves.

    Every method may raise botocore.exceptions.ClientError or BotoCoreError: throttled or unreachable; try again.
    """

    def __init__(self, dead_letters_url: str, sqs: SQSClient, watch_topic: str, sns: SNSClient) -> None:
        self._dead_letters_url = dead_letters_url
        self._sqs = sqs
        self._watch_topic = watch_topic
        self._sns = sns

    def keep(self, body: str, why: str) -> None:
        """Put `body` on the dead-letter queue as it is."""
        self._sqs.send_message(
            QueueUrl=self._dead_letters_url,
            MessageBody=body,
            MessageAttributes={WHY: {"DataType": "String", "StringValue": shown(why, _MAX_WHY)}},
        )

    def tell(self, subject: str, *lines: str) -> None:
        """Publish a text to those who watch."""
        self._sns.publish(
            TopicArn=self._watch_topic,
            Subject=subject.encode("ascii", "replace").decode()[:_MAX_SUBJECT],
            Message="\n".join(shown(line, _MAX_TEXT) for line in lines),
        )
