"""The alerts Lambda: a batch of queue messages in, the ids of those to deliver again out.

A message is delivered again when PagerDuty or AWS cannot take it now. One that cannot be understood, and one that
PagerDuty refuses for good, goes to the dead-letter queue at once, and its text to the second channel: a human learns of
the alert all the same, and once the cause is gone, the dead letters can be sent back to the queue.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from cloud.alerts.errors import PagerDutyBusy, PagerDutyRefused
from cloud.alerts.event import AlertEvent, Settle, parse
from cloud.alerts.incidents import Damping, Incident
from cloud.alerts.pagerduty import DEFAULT_URL, PagerDuty
from cloud.alerts.second_channel import WHY, SecondChannel, sns, sqs
from cloud.alerts.secret import RoutingKey, secrets_manager
from cloud.alerts.store import IncidentTable, dynamodb
from cloud.alerts.text import shown
from cloud.alerts.update import Contended, update
from contract import messages
from contract.messages import MessageError

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# What is left of the Lambda's time when PagerDuty is asked no more: for keeping what was sent.
RESERVE_S = 5.0

_MAX_REASON = 300

log = Logger(service="alerts")
metrics = Metrics(namespace="Solarshed", service="alerts")


@dataclass
class Desk:
    """Where messages are dealt with, and what came of them."""

    table: IncidentTable
    pagerduty: PagerDuty
    second_channel: SecondChannel
    damping: Damping
    time_ms: Callable[[], int] = lambda: time.time_ns() // 10**6
    messages_refused: int = field(default=0, init=False)
    pages_refused: int = field(default=0, init=False)

    def take(self, records: Sequence[dict[str, Any]], deadline_s: float) -> list[str]:
        """Deal with `records` until `deadline_s` of the monotonic clock; the ids of those to deliver again."""
        failed: list[str] = []
        for number, record in enumerate(records):
            rest = [each["messageId"] for each in records[number:]]
            if time.monotonic() >= deadline_s:
                log.warning("no time is left", extra={"delivered_again": len(rest)})
                return failed + rest
            try:
                self._take_one(record, deadline_s)
            except PagerDutyBusy as e:
                log.warning("PagerDuty cannot be told now", extra={"reason": str(e), "delivered_again": len(rest)})
                return failed + rest
            except (ClientError, BotoCoreError, Contended) as e:
                log.warning("to be delivered again", extra={"message_id": record["messageId"], "reason": str(e)})
                failed.append(record["messageId"])
            except Exception:  # the boundary of one message: one that breaks us hides no other
                log.exception("to be delivered again", extra={"message_id": record["messageId"]})
                failed.append(record["messageId"])
        return failed

    def _take_one(self, record: dict[str, Any], deadline_s: float) -> None:
        again = _may_have_been_sent(record)
        body = record["body"]
        try:
            event = parse(body, _sent_ms(record))
        except MessageError as e:
            self.messages_refused += 1
            # It quotes what the device has said.
            why = shown(str(e), _MAX_REASON)
            log.error("message refused", extra={"reason": why})
            self._refuse(body, why, "An alert could not be understood", body)
            return
        if isinstance(event, Settle):
            self._settle(deadline_s, again=again)
        else:
            self._alert(event, body, deadline_s, again=again)

    def _alert(self, event: AlertEvent, body: str, deadline_s: float, *, again: bool) -> None:
        send = partial(self.pagerduty.send, deadline_s=deadline_s)
        try:
            update(
                self.table,
                event.thing,
                event.alert,
                partial(_after, event, self.damping),
                send,
                again=again,
                restates=True,
            )
        except PagerDutyRefused as e:
            self.pages_refused += 1
            what = f"{event.thing}: {event.action} of {event.alert}"
            log.error("page refused", extra={"thing": event.thing, "alert": event.alert, "reason": str(e)})
            self._refuse(
                body, str(e), f"PagerDuty was not told of {what}", f"{event.what.severity}: {event.what.summary}"
            )
            return
        log.info("done", extra={"thing": event.thing, "alert": event.alert, "action": event.action})

    def _settle(self, deadline_s: float, *, again: bool) -> None:
        send = partial(self.pagerduty.send, deadline_s=deadline_s)
        calm_down = partial(Incident.settled, now_ms=self.time_ms(), damping=self.damping)
        for thing, alert in self.table.flapping():
            try:
                update(self.table, thing, alert, calm_down, send, again=again)
            except PagerDutyRefused as e:
                # The schedule says the same soon again: nothing is lost, and the next ones would be refused too. The
                # second channel has had the text when it was raised.
                self.pages_refused += 1
                log.error("page refused", extra={"thing": thing, "alert": alert, "reason": str(e)})
                return

    def _refuse(self, body: str, why: str, subject: str, text: str) -> None:
        self.second_channel.keep(body, why)
        self.second_channel.tell(
            f"Solarshed: {subject}", f"{subject}.", text, f"Why: {why}", "It is kept on the dead-letter queue."
        )


def _after(event: AlertEvent, damping: Damping, incident: Incident) -> Incident:
    if event.action == messages.CLEAR:
        return incident.cleared(event.raised_ms, event.received_ms)
    # An older software does not name the episode: then a raise does so by its own time.
    raised_ms = event.time_ms if event.raised_ms is None else event.raised_ms
    return incident.raised(raised_ms, event.received_ms, event.what, damping)


def _may_have_been_sent(record: dict[str, Any]) -> bool:
    """Whether some of it may have reached PagerDuty: it is delivered again, or was a dead letter and is sent back."""
    received = int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))
    return received > 1 or WHY in record.get("messageAttributes", {})


def _sent_ms(record: dict[str, Any]) -> int | None:
    sent = record.get("attributes", {}).get("SentTimestamp")
    return None if sent is None else int(sent)


@cache
def _pagerduty() -> PagerDuty:
    return PagerDuty(
        RoutingKey(os.environ["SOLARSHED_ROUTING_KEY_SECRET"], secrets_manager()),
        os.environ.get("SOLARSHED_PAGERDUTY_URL") or DEFAULT_URL,
        os.environ.get("SOLARSHED_DASHBOARD_URL"),
    )


def _desk() -> Desk:
    return Desk(
        IncidentTable(os.environ["SOLARSHED_INCIDENTS_TABLE"], dynamodb()),
        _pagerduty(),
        SecondChannel(os.environ["SOLARSHED_DEAD_LETTERS_URL"], sqs(), os.environ["SOLARSHED_WATCH_TOPIC"], sns()),
        Damping(
            int(os.environ.get("SOLARSHED_MOST_PAIRS", Damping.most_pairs)),
            float(os.environ.get("SOLARSHED_CALM_AFTER_S", Damping.calm_after_s)),
        ),
    )


@log.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Entry point, called by the queue's event source mapping."""
    desk = _desk()
    deadline_s = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_S
    failed = desk.take(event["Records"], deadline_s)
    # Each custom metric is paid for in every month in which it is told.
    counts = {"MessagesRefused": desk.messages_refused, "PagesRefused": desk.pages_refused}
    for name, count in counts.items():
        if count:
            metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
    if any(counts.values()):
        metrics.flush_metrics()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
