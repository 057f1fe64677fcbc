"""Keeps incidents in DynamoDB: one item each, changed only by whoever has seen its newest version.

incident    "<thing>/<alert>", the partition key
version     counts its changes
state       JSON, the members of `Incident`
flapping    "yes" while it flaps, else absent: the partition key of the sparse index `flapping`
forget_at   epoch seconds after which DynamoDB may delete it; absent while anything of it is shown
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from cloud.alerts.incidents import Episode, Incident, Raise
from contract.alerts import Severity, dedup_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

FLAPPING_INDEX = "flapping"
FORGET_AFTER_S = 400 * 24 * 3600

# A call takes 14 s at the most; what is slower is delivered again.
CLIENT_CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})


@cache
def dynamodb() -> DynamoDBClient:
    """The process's own client."""
    client: DynamoDBClient = boto3.client("dynamodb", config=CLIENT_CONFIG)
    return client


class IncidentTable:
    """The incidents in one table.

    Every method may raise botocore.exceptions.ClientError or BotoCoreError: throttled or unreachable; try again.
    """

    def __init__(self, table: str, client: DynamoDBClient) -> None:
        self._table = table
        self._client = client

    def load(self, thing: str, alert: str) -> tuple[Incident, int]:
        """What is kept, and its version; 0 if nothing is."""
        answer = self._client.get_item(
            TableName=self._table, Key={"incident": {"S": dedup_key(thing, alert)}}, ConsistentRead=True
        )
        item = answer.get("Item")
        if item is None:
            return Incident(thing, alert), 0
        return _decode(thing, alert, item["state"]["S"]), int(item["version"]["N"])

    def save(self, incident: Incident, version: int) -> bool:
        """Keep `incident` as the version after `version`; False, and no change, if somebody else was faster."""
        item: dict[str, AttributeValueTypeDef] = {
            "incident": {"S": dedup_key(incident.thing, incident.alert)},
            "version": {"N": str(version + 1)},
            "state": {"S": _encode(incident)},
        }
        if incident.is_flapping:
            item["flapping"] = {"S": "yes"}
        if incident.is_over:
            item["forget_at"] = {"N": str(incident.changed_ms // 1000 + FORGET_AFTER_S)}
        expected: dict[str, Any] = (
            {
                "ConditionExpression": "version = :version",
                "ExpressionAttributeValues": {":version": {"N": str(version)}},
            }
            if version
            else {"ConditionExpression": "attribute_not_exists(incident)"}
        )
        try:
            self._client.put_item(TableName=self._table, Item=item, **expected)
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def flapping(self) -> Iterator[tuple[str, str]]:
        """Thing and alert of each incident that flaps, as the index knows them: it may lag by a second or so."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=FLAPPING_INDEX,
            KeyConditionExpression="flapping = :yes",
            ExpressionAttributeValues={":yes": {"S": "yes"}},
        )
        for page in pages:
            for item in page["Items"]:
                thing, _, alert = item["incident"]["S"].partition("/")
                yield thing, alert


def _encode(incident: Incident) -> str:
    members = asdict(incident)
    members["open"] = [[each.raised_ms, each.received_ms] for each in incident.open]
    members["closed"] = [[each.raised_ms, each.received_ms] for each in incident.closed]
    del members["thing"], members["alert"]
    return json.dumps(members, separators=(",", ":"))


def _decode(thing: str, alert: str, state: str) -> Incident:
    members = json.loads(state)
    latest = members["latest"]
    return Incident(
        thing,
        alert,
        open=tuple(Episode(*each) for each in members["open"]),
        closed=tuple(Episode(*each) for each in members["closed"]),
        raises_ms=tuple(members["raises_ms"]),
        flapping=members["flapping"],
        changed_ms=members["changed_ms"],
        latest=Raise(latest["summary"], Severity(latest["severity"]), latest["time_ms"], latest["details"]),
        loudest=Severity(members["loudest"]),
    )
