"""The classic device shadow on a ScriptedBroker: answers as AWS IoT does, until a test orders otherwise."""

import json
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, NoReturn

from contract import topics
from tests.peers.broker import Publish, ScriptedBroker

_MAX_STATE_BYTES = 8 * 1024
_MESSAGES = {
    400: "Invalid JSON",
    404: "No shadow exists with name: '{thing}'",
    409: "Version conflict",
    413: "The payload exceeds the maximum size allowed",
    429: "Too many requests",
    500: "Internal service failure",
}

State = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """A get or an update of the device. `code` is 200, or why it was rejected; None = it got no answer."""

    at_s: float
    document: State
    code: int | None


class ScriptedShadow:
    """The shadow of one thing. Its attributes may be set at any time."""

    def __init__(self, broker: ScriptedBroker, thing: str) -> None:
        """There is none at first; `wish` or the device's first update makes one."""
        self.desired: State = {}
        self.reported: State = {}
        self.version = 0
        self.exists = False

        self.gets: list[Request] = []
        self.updates: list[Request] = []

        self.ignores_gets = False
        self.ignores_updates = False
        # How often each answer is sent.
        self.copies = 1
        # The client token in each answer, instead of the request's own.
        self.stale_answer_to: str | None = None

        self._thing = thing
        self._broker = broker
        self._instead: deque[bytes] = deque()
        self._get_rejections: deque[int] = deque()
        self._update_rejections: deque[int] = deque()
        broker.listeners.append(self._on_publish)

    def wish(self, desired: State | None) -> None:
        """Update `desired` as the owner does: merged into what stands there; None removes."""
        self._broker.do(lambda: self._update({"state": {"desired": desired}}))

    def delete(self, *, forgets_version: bool = False) -> None:
        """Delete the shadow as the owner does. AWS forgets the version after 48 hours."""

        def delete() -> None:
            answer = {"version": self.version, "timestamp": _now_s()}
            self.desired, self.reported, self.exists = {}, {}, False
            if forgets_version:
                self.version = 0
            self._send("delete/accepted", answer)

        self._broker.do(delete)

    def document(self, *, version: int | None = None, client_token: str | None = None) -> bytes:
        """The answer to a get, if wanted with another version."""
        state = {"desired": self.desired, "reported": self.reported, "delta": difference(self.desired, self.reported)}
        return self._encode({name: part for name, part in state.items() if part}, version, client_token)

    def answer_gets_with(self, *payloads: bytes) -> None:
        """Send these, one for each of the next gets, as the accepted document."""
        self._instead.extend(payloads)

    def reject_gets(self, code: int, times: int = 1) -> None:
        """Reject the next ones, with a code such as 404, 429 or 500."""
        self._get_rejections.extend([code] * times)

    def reject_updates(self, code: int, times: int = 1) -> None:
        """Reject the next ones of the device, with a code such as 409, 413, 429 or 500."""
        self._update_rejections.extend([code] * times)

    def send_delta(self, state: State, *, version: int | None = None) -> None:
        """Publish a delta that the document knows nothing of."""
        self._broker.do(lambda: self._send_raw("update/delta", self._encode(state, version)))

    def send_raw(self, what: str, payload: bytes) -> None:
        """Publish any bytes on a topic of the shadow, such as `update/delta` or `get/accepted`."""
        self._broker.do(lambda: self._send_raw(what, payload))

    def storm(self, desired: list[State], per_second: float) -> None:
        """Wish for one after the other, at this rate; returns when all have been published."""
        begun_s = time.monotonic()
        for number, state in enumerate(desired):
            time.sleep(max(0.0, begun_s + number / per_second - time.monotonic()))
            self.wish(state)

    def _on_publish(self, publish: Publish) -> None:
        if publish.topic == topics.shadow(self._thing, "get"):
            self._on_get(publish.payload)
        elif publish.topic == topics.shadow(self._thing, "update"):
            self._on_update(publish.payload)

    def _on_get(self, payload: bytes) -> None:
        # The payload may be empty.
        request = _parsed(payload) or {}
        code: int | None = 200 if self.exists else 404
        if self.ignores_gets:
            code = None
        elif self._get_rejections:
            code = self._get_rejections.popleft()
        elif self._instead:
            code = 200
        self.gets.append(Request(time.monotonic(), request, code))
        if code == 200:
            raw = self._instead.popleft() if self._instead else None
            self._send_raw("get/accepted", raw or self.document(client_token=request.get("clientToken")))
        elif code is not None:
            self._reject("get", code, request)

    def _on_update(self, payload: bytes) -> None:
        request = _parsed(payload)
        code: int | None = 400
        if self.ignores_updates:
            code = None
        elif self._update_rejections:
            code = self._update_rejections.popleft()
        elif request is not None:
            code = self._update(request)
        self.updates.append(Request(time.monotonic(), request or {}, code))
        if code not in (None, 200):
            self._reject("update", code, request or {})

    def _update(self, request: State) -> int:
        """Take it up and tell everybody, or return why not."""
        state = request.get("state")
        if not isinstance(state, dict):
            return 400
        if request.get("version") not in (None, self.version):
            return 409
        desired = merged(self.desired, state.get("desired", {}))
        reported = merged(self.reported, state.get("reported", {}))
        if len(json.dumps([desired, reported]).encode()) > _MAX_STATE_BYTES:
            return 413
        self.desired, self.reported = desired, reported
        self.exists = True
        self.version += 1
        client_token = request.get("clientToken")
        self._send_raw("update/accepted", self._encode(state, None, client_token))
        if delta := difference(desired, reported):
            self._send_raw("update/delta", self._encode(delta, None, client_token))
        return 200

    def _reject(self, what: str, code: int | None, request: State) -> None:
        message = _MESSAGES.get(code or 0, "Rejected").format(thing=self._thing)
        answer = {"code": code, "message": message, "timestamp": _now_s()}
        self._send(f"{what}/rejected", answer | self._token(request.get("clientToken")))

    def _encode(self, state: State, version: int | None = None, client_token: str | None = None) -> bytes:
        now_s = _now_s()
        document = {
            "state": state,
            "metadata": _stamped(state, now_s),
            "version": self.version if version is None else version,
            "timestamp": now_s,
        }
        return json.dumps(document | self._token(client_token)).encode()

    def _token(self, client_token: str | None) -> State:
        stated = self.stale_answer_to or client_token
        return {} if stated is None else {"clientToken": stated}

    def _send(self, what: str, answer: State) -> None:
        self._send_raw(what, json.dumps(answer).encode())

    def _send_raw(self, what: str, payload: bytes) -> None:
        for _ in range(self.copies):
            self._broker.send(topics.shadow(self._thing, what), payload)


def merged(old: State, new: State | None) -> State:
    """`old` with `new` in it: objects are merged, null removes, anything else replaces."""
    if new is None:
        return {}
    result = dict(old)
    for name, value in new.items():
        before = result.pop(name, None)
        if isinstance(value, dict):
            result[name] = merged(before if isinstance(before, dict) else {}, value)
        elif value is not None:
            result[name] = value
    return result


def difference(desired: State, reported: State) -> State:
    """What of `desired` is not so in `reported`."""
    delta: State = {}
    for name, value in desired.items():
        actual = reported.get(name)
        if isinstance(value, dict) and isinstance(actual, dict):
            if inner := difference(value, actual):
                delta[name] = inner
        elif name not in reported or json.dumps(actual) != json.dumps(value):
            delta[name] = value
    return delta


def _stamped(value: object, now_s: int) -> object:
    """The metadata: a timestamp in place of each value."""
    if isinstance(value, dict):
        return {name: _stamped(inner, now_s) for name, inner in value.items()}
    if isinstance(value, list):
        return [_stamped(inner, now_s) for inner in value]
    return {"timestamp": now_s}


def _parsed(payload: bytes) -> State | None:
    """The JSON object, or None: like AWS IoT it takes no NaN."""
    try:
        document = json.loads(payload, parse_constant=_refuse_constant)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _now_s() -> int:
    return int(time.time())
