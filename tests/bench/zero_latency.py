"""AWS without a network: real clients of boto3, whose requests are answered in this process.

boto3 builds, signs and parses as ever; only the sending is left out. botocore emits `before-send` with the request
that is ready, and takes what a handler of it returns for the answer (botocore's list of events, "before-send"): no
socket is opened, so what is measured around it is processor time of this machine.
"""

import io
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient

# Worth nothing, and good enough to sign with.
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_UNWANTED = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint says to one call."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Answers = Mapping[str, Callable[[AWSPreparedRequest], Answer]]


class ZeroLatency:
    """Answers calls by their operation's name, such as GetObject; one that has no answer fails.

    `calls` counts them. `boto3_s` is the processor time of all threads within boto3's calls, but for what the answers
    themselves take, which is `answering_s`.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.answering_s = 0.0
        self._within_calls_s = 0.0

    @property
    def boto3_s(self) -> float:
        return self._within_calls_s - self.answering_s

    def forget(self) -> None:
        """Begin to count anew."""
        self.calls.clear()
        self.answering_s = self._within_calls_s = 0.0

    @contextmanager
    def in_place_of_aws(self, **environment: str) -> Iterator[None]:
        """Meanwhile the clients that are made from boto3's default session are answered here, with `environment`."""
        call: Callable[..., Any] = BaseClient._make_api_call  # type: ignore[attr-defined]

        def timed(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - any answer
            began_s = time.thread_time()
            try:
                return call(client, operation, parameters)
            finally:
                self._note(within_calls_s=time.thread_time() - began_s)

        with (
            patch.dict(os.environ, {**_ENVIRONMENT, **environment}),
            patch.object(BaseClient, "_make_api_call", timed),
            patch.object(boto3, "DEFAULT_SESSION", None),
        ):
            for name in _UNWANTED:
                os.environ.pop(name, None)
            boto3.setup_default_session()
            session: Any = boto3.DEFAULT_SESSION
            session.events.register("before-send", self._answer)
            yield

    def _answer(self, request: AWSPreparedRequest, event_name: str, **_: object) -> AWSResponse:
        began_s = time.thread_time()
        operation = event_name.rpartition(".")[2]
        answer = self._answers[operation](request)
        headers: Any = {"content-length": str(len(answer.body)), **answer.headers}
        response = AWSResponse(request.url, 200, headers, _Raw(answer.body))
        self._note(operation, answering_s=time.thread_time() - began_s)
        return response

    def _note(self, operation: str | None = None, *, within_calls_s: float = 0.0, answering_s: float = 0.0) -> None:
        with self._lock:
            self._within_calls_s += within_calls_s
            self.answering_s += answering_s
            if operation is not None:
                self.calls[operation] += 1


class _Raw(io.BytesIO):
    """As much of urllib3's response as botocore reads."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()
