"""Does every few seconds what the deployed schedules do every few minutes: the demo's day is short.

It reads the schedules from the emulator, as the CDK has deployed them, and hands each target its input. Timestream's
scheduled query, which the emulator does not have, is run as the synthesized stack says it.
"""

import itertools
import threading
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from demo.emulator import Emulator
from demo.processes import DemoError

EVERY_S = 2.0
_ROLL_UP_EVERY_ROUNDS = 5
_STOP_TIMEOUT_S = 1.0


class ShortenedSchedules:
    """A thread that serves all schedules; the emulator does so as well, at their own pace."""

    def __init__(self, emulator: Emulator, roll_up: Callable[[], object], every_s: float = EVERY_S) -> None:
        """`roll_up` runs the scheduled query."""
        self._roll_up = roll_up
        self._lambda = emulator.client("lambda")
        self._sqs = emulator.client("sqs")
        self._targets = _targets(emulator.client("scheduler"))
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)
        self._failure: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End. Harmless when repeated, or before `start`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    def check(self) -> None:
        """Raise DemoError if a target could not be served."""
        if self._failure is not None:
            raise DemoError(f"a schedule's target could not be called: {self._failure}") from self._failure

    def _run(self) -> None:
        for number in itertools.count():
            if self._stopping.wait(self._every_s):
                return
            try:
                for target in self._targets:
                    self._serve(target)
                if number % _ROLL_UP_EVERY_ROUNDS == 0:
                    self._roll_up()
            except (ClientError, BotoCoreError, DemoError) as e:
                # The emulator may have been stopped a moment before.
                self._failure = None if self._stopping.is_set() else e
                return

    def _serve(self, target: dict[str, Any]) -> None:
        arn, text = target["Arn"], target.get("Input", "{}")
        match arn.split(":")[2]:
            case "lambda":
                self._lambda.invoke(FunctionName=arn, InvocationType="Event", Payload=text.encode())
            case "sqs":
                url = self._sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
                self._sqs.send_message(QueueUrl=url, MessageBody=text)


def _targets(scheduler: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a boto3 client
    listed = [one for page in scheduler.get_paginator("list_schedules").paginate() for one in page["Schedules"]]
    targets = [scheduler.get_schedule(Name=one["Name"], GroupName=one["GroupName"])["Target"] for one in listed]
    unknown = [target["Arn"] for target in targets if target["Arn"].split(":")[2] not in ("lambda", "sqs")]
    if unknown:
        raise DemoError(f"the stand-in for schedules knows no target like {', '.join(unknown)}")
    return targets
