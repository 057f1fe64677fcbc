"""Plays PagerDuty's Events API v2: `POST /v2/enqueue` on loopback, with its checks, incidents, and bad days.

An event that follows the published schema is answered with 202 and opens, joins or resolves an incident; any other one
is answered with 400 and the reasons.
"""

import json
import logging
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self

from demo.http_server import HOST, LocalServer

PATH = "/v2/enqueue"

MAX_EVENT_BYTES = 512 * 1024
MAX_DEDUP_KEY = 255
MAX_SUMMARY = 1024
ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES = ("critical", "error", "warning", "info")

_ROUTING_KEY = re.compile(r"[0-9A-Za-z]{32}")
_LINGER_OFF = struct.pack("ii", 1, 0)
_DRIP_EVERY_S = 0.02

_log = logging.getLogger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A status instead of the proper answer, such as `Answer(429, {"Retry-After": "3"})`. The event is not taken."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = "{}"


class Trouble(Enum):
    """What may happen instead of a proper answer. The event is taken only where it says so."""

    RESET = auto()
    CLOSED = auto()
    NOT_JSON = auto()
    NO_DEDUP_KEY = auto()
    SLOW_HEAD = auto()
    SLOW_BODY = auto()
    ENDLESS_BODY = auto()
    TAKEN_THEN_SILENT = auto()
    TAKEN_THEN_RESET = auto()


Bad = Answer | Trouble


@dataclass(frozen=True)
class Event:
    """One that was taken. `time_s` is when, in epoch seconds; `content` is all of it but the routing key."""

    time_s: float
    action: str
    dedup_key: str
    content: Json

    @property
    def payload(self) -> Json:
        """Empty in most that resolve."""
        payload: Json = self.content.get("payload") or {}
        return payload

    @property
    def summary(self) -> str | None:
        return self.payload.get("summary")

    @property
    def severity(self) -> str | None:
        return self.payload.get("severity")


@dataclass
class Incident:
    """What a human would see. Times are epoch seconds; `count` is how many events it had."""

    dedup_key: str
    opened_s: float
    severity: str
    summary: str
    resolved_s: float | None = None
    acknowledged_s: float | None = None
    count: int = 1

    @property
    def is_open(self) -> bool:
        return self.resolved_s is None


class PagerDuty:
    """A running server; close it, or use it in a `with`. `url` is where it is.

    `accepted_keys` are the routing keys that it knows; None stands for any. `requests` counts all that came, in vain or
    not. `events` and `incidents` are in the order of their arrival.
    """

    def __init__(self, port: int, time_s: Callable[[], float]) -> None:
        self.accepted_keys: frozenset[str] | None = None
        self._time_s = time_s
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._incidents: list[Incident] = []
        self._requests = 0
        self._bad: Bad | None = None
        self._bad_times: int | None = 0
        self._server = _Server(port, self)
        self.url = f"http://{HOST}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="pagerduty")
        self._thread.start()

    @property
    def events(self) -> list[Event]:
        with self._lock:
            return list(self._events)

    @property
    def incidents(self) -> list[Incident]:
        with self._lock:
            return list(self._incidents)

    @property
    def open_incidents(self) -> list[str]:
        """The dedup keys of those that are not resolved."""
        return sorted(incident.dedup_key for incident in self.incidents if incident.is_open)

    @property
    def requests(self) -> int:
        with self._lock:
            return self._requests

    def answer_badly(self, bad: Bad, times: int | None = 1) -> None:
        """Answer the next `times` requests so, or with None all until `answer_well`."""
        with self._lock:
            self._bad, self._bad_times = bad, times

    def answer_well(self) -> None:
        """From now on."""
        with self._lock:
            self._bad, self._bad_times = None, 0

    def close(self) -> None:
        """Stop at once, also what hangs. Again is harmless."""
        if self._thread.is_alive():
            self._server.closing.set()
            self._server.shutdown()
            self._thread.join()
            self._server.end_connections(socket.SHUT_RDWR)
            self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "listening" if self._thread.is_alive() else "closed"
        return f"<pagerduty {self.url}, {state}, {len(self.incidents)} incidents>"

    def next_trouble(self) -> Bad | None:
        """What to answer the request that has come; None is properly."""
        with self._lock:
            self._requests += 1
            if self._bad_times == 0:
                return None
            if self._bad_times is not None:
                self._bad_times -= 1
            return self._bad

    def take(self, body: bytes) -> tuple[HTTPStatus, Json]:
        """The proper answer to `body`, with its effect on the incidents."""
        errors, event = self._check(body)
        if errors:
            answer = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
            return HTTPStatus.BAD_REQUEST, answer
        with self._lock:
            number = len(self._events)
            dedup_key = event.get("dedup_key") or f"{number:032x}"
            content = {name: value for name, value in event.items() if name != "routing_key"}
            taken = Event(self._time_s(), event["event_action"], dedup_key, content)
            self._events.append(taken)
            self._apply(taken)
        return HTTPStatus.ACCEPTED, {"status": "success", "message": "Event processed", "dedup_key": dedup_key}

    def _check(self, body: bytes) -> tuple[list[str], Json]:
        if len(body) > MAX_EVENT_BYTES:
            return [f"the event has more than {MAX_EVENT_BYTES} bytes"], {}
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            return ["the event is not JSON"], {}
        if not isinstance(event, dict):
            return ["the event is not an object"], {}
        errors = errors_of(event)
        if not errors and self.accepted_keys is not None and event["routing_key"] not in self.accepted_keys:
            errors = ["'routing_key' is not known"]
        return errors, event

    def _apply(self, event: Event) -> None:
        standing = [each for each in self._incidents if each.is_open and each.dedup_key == event.dedup_key]
        for incident in standing:
            incident.count += 1
            if event.action == "resolve":
                incident.resolved_s = event.time_s
            elif event.action == "acknowledge":
                incident.acknowledged_s = event.time_s
        if event.action == "trigger" and not standing:
            self._incidents.append(
                Incident(event.dedup_key, event.time_s, event.payload["severity"], event.payload["summary"])
            )


def errors_of(event: Json) -> list[str]:
    """What the published schema forbids in `event`; nothing if it is all right. Unknown members are."""
    errors = []
    if not isinstance(event.get("routing_key"), str) or not _ROUTING_KEY.fullmatch(event["routing_key"]):
        errors.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    action = event.get("event_action")
    if action not in ACTIONS:
        errors.append(f"'event_action' is not one of {', '.join(ACTIONS)}")
    key = event.get("dedup_key")
    if key is None:
        if action in ("acknowledge", "resolve"):
            errors.append("'dedup_key' is missing or blank")
    elif not isinstance(key, str) or not 1 <= len(key) <= MAX_DEDUP_KEY:
        errors.append(f"'dedup_key' is not a text of 1 to {MAX_DEDUP_KEY} characters")
    if action == "trigger" or "payload" in event:
        errors += _errors_of_payload(event.get("payload"))
    errors += [f"'{name}' is not a text" for name in ("client", "client_url") if not _is_text_or_absent(event, name)]
    for name, required in (("links", "href"), ("images", "src")):
        members = event.get(name, [])
        if not isinstance(members, list) or not all(_has_address(each, required) for each in members):
            errors.append(f"'{name}' is not a list of objects with '{required}'")
    return errors


def _errors_of_payload(payload: object) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing or no object"]
    errors = []
    summary, source = payload.get("summary"), payload.get("source")
    if not isinstance(summary, str) or not 1 <= len(summary) <= MAX_SUMMARY:
        errors.append(f"'payload.summary' is not a text of 1 to {MAX_SUMMARY} characters")
    if not isinstance(source, str) or not source:
        errors.append("'payload.source' is missing or blank")
    if payload.get("severity") not in SEVERITIES:
        errors.append(f"'payload.severity' is not one of {', '.join(SEVERITIES)}")
    if "timestamp" in payload and not _is_iso_8601(payload["timestamp"]):
        errors.append("'payload.timestamp' is not ISO 8601")
    errors += [
        f"'payload.{name}' is not a text"
        for name in ("component", "group", "class")
        if not _is_text_or_absent(payload, name)
    ]
    if not isinstance(payload.get("custom_details", {}), dict):
        errors.append("'payload.custom_details' is not an object")
    return errors


def _is_text_or_absent(members: Json, name: str) -> bool:
    return isinstance(members.get(name, ""), str)


def _has_address(member: object, name: str) -> bool:
    return isinstance(member, dict) and isinstance(member.get(name), str) and bool(member[name])


def _is_iso_8601(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value) is not None
    except ValueError:
        return False


class _Server(LocalServer):
    def __init__(self, port: int, peer: PagerDuty) -> None:
        super().__init__(port, _Handler)
        self.peer = peer
        self.closing = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        # More than is allowed is read, so that it can be refused properly.
        if not length.isdigit() or int(length) > 2 * MAX_EVENT_BYTES:
            self.close_connection = True
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"{}")
            return
        body = self.rfile.read(int(length))
        if self.path != PATH:
            self._send(HTTPStatus.NOT_FOUND, b"{}")
            return
        bad = self.server.peer.next_trouble()
        if bad is None:
            status, answer = self.server.peer.take(body)
            self._send(status, json.dumps(answer).encode())
        elif isinstance(bad, Answer):
            self._send(bad.status, bad.body.encode(), bad.headers)
        else:
            with suppress(OSError):  # the client has had enough
                self._misbehave(bad, body)

    def _misbehave(self, trouble: Trouble, body: bytes) -> None:
        if trouble is Trouble.NOT_JSON:
            self._send(HTTPStatus.ACCEPTED, b"<html>Accepted</html>")
            return
        if trouble is Trouble.NO_DEDUP_KEY:
            self._send(HTTPStatus.ACCEPTED, b'{"status": "success"}')
            return
        self.close_connection = True
        if trouble in (Trouble.TAKEN_THEN_SILENT, Trouble.TAKEN_THEN_RESET):
            self.server.peer.take(body)
        if trouble in (Trouble.RESET, Trouble.TAKEN_THEN_RESET):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
            # At once: the server would end it politely first.
            os.close(self.connection.detach())
        elif trouble is Trouble.TAKEN_THEN_SILENT:
            self.server.closing.wait()
        elif trouble is Trouble.SLOW_HEAD:
            self._pour(b"HTTP/1.1 202 Accepted\r\nX-Slow: ", b"x", _DRIP_EVERY_S)
        elif trouble is Trouble.SLOW_BODY:
            self._pour(b"HTTP/1.1 202 Accepted\r\nContent-Length: 10000000\r\n\r\n", b" ", _DRIP_EVERY_S)
        elif trouble is Trouble.ENDLESS_BODY:
            self._pour(b"HTTP/1.1 202 Accepted\r\n\r\n", b" " * 65536, 0.0)

    def _pour(self, head: bytes, each: bytes, every_s: float) -> None:
        self.connection.sendall(head)
        while not self.server.closing.wait(every_s):
            self.connection.sendall(each)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        _log.debug(format, *args)


def serve(port: int = 0, time_s: Callable[[], float] = time.time) -> PagerDuty:
    """Start it on 127.0.0.1; port 0 takes a free one."""
    return PagerDuty(port, time_s)
