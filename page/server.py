"""Serves the page and its small JSON API on 127.0.0.1.

GET /api/panels                     what to draw, the ranges, the note
GET /api/panel/<id>?range=1h        one panel's data, times in epoch milliseconds
GET /api/events?range=1h            what changed, as sentences
GET /api/now                        the newest sample, why, since when, how old
GET /api/overrides                  what the owner has asked for and what the device says of it, while it is not over
GET /api/incidents                  what the alerts have made of themselves in PagerDuty, newest first

An error is `{"error": SENTENCE}`: 400 for a wrong range, 404 for a wrong address, 503 while Timestream, or for the
overrides the thing's shadow, does not answer.
"""

import errno
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from contract.errors import SolarshedError
from page.history import History, wall_clock_ms
from page.incidents import Incidents
from page.overrides import NoAnswerError, Overrides
from page.panels import DEFAULT_RANGE, PANELS, RANGES, Range
from page.timestream import TimestreamError, make_client

if TYPE_CHECKING:
    from mypy_boto3_timestream_query import TimestreamQueryClient

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8080

# A page of another origin that has rebound its name to 127.0.0.1 sends its own name here.
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost"})

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_STATIC = Path(__file__).parent / "static"
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_RANGES = {span.id: span for span in RANGES}
_PANELS = {panel.id: panel for panel in PANELS}


class PortInUseError(SolarshedError, OSError):
    """The port is taken; says how to take another."""


class _RequestError(Exception):
    """An answer that is not 200, in a sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Page:
    """A running page at `url`. Close it, or use it in a `with`."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="page", daemon=True)
        self._thread.start()
        self.url = f"http://{ADDRESS}:{server.server_address[1]}/"

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> None:
        """Return when the page is closed."""
        self._thread.join()

    def close(self) -> None:
        """Stop answering and free the port. May be called twice."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def serve(
    thing: str,
    *,
    port: int = DEFAULT_PORT,
    note: str = "",
    client: "TimestreamQueryClient | None" = None,
    overrides: Overrides | None = None,
    incidents: Incidents | None = None,
    now_ms: Callable[[], int] = wall_clock_ms,
) -> Page:
    """Show `thing` on 127.0.0.1:`port` (0: any free one), with `note` as a line on the page.

    Without `overrides` the page says nothing of the owner's wishes, without `incidents` nothing of whom it has woken.

    Raises:
        PortInUseError: something else listens there.
        UnavailableError: no client can be made.
        ValueError: `thing` is no thing's name.
    """
    history = History(client or make_client(), thing, now_ms)

    class Handler(_Handler):
        api = _Api(history, note, overrides, incidents, now_ms)

    try:
        return Page(_Server((ADDRESS, port), Handler))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortInUseError(f"port {port} of {ADDRESS} is taken: choose another with --port") from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: "socket | tuple[bytes, socket]", client_address: object) -> None:
        """Report on stderr, unless a browser only went away before its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Api:
    """The JSON answers, by path."""

    def __init__(
        self,
        history: History,
        note: str,
        overrides: Overrides | None,
        incidents: Incidents | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._history = history
        self._note = note
        self._overrides = overrides
        self._incidents = incidents
        self._now_ms = now_ms

    def answer(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        """The answer to `GET path?query`.

        Raises:
            _RequestError: there is none, and why.
        """
        try:
            match path.removeprefix("/api/").split("/"):
                case ["panels"]:
                    return self._panels()
                case ["panel", panel_id] if panel_id in _PANELS:
                    return self._history.panel(_PANELS[panel_id], _range(query))
                case ["events"]:
                    return self._history.events(_range(query), self._overrides.known() if self._overrides else ())
                case ["now"]:
                    return self._history.now()
                case ["overrides"] if self._overrides is not None:
                    return {"now_ms": self._now_ms(), **self._overrides.now()}
                case ["incidents"] if self._incidents is not None:
                    newest_first = sorted(self._incidents(), key=lambda one: one.opened_ms, reverse=True)
                    return {"now_ms": self._now_ms(), "incidents": [one.as_json() for one in newest_first]}
        except (TimestreamError, NoAnswerError) as error:
            raise _RequestError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        raise _RequestError(HTTPStatus.NOT_FOUND, "There is nothing at this address.")

    def _panels(self) -> dict[str, Any]:
        return {
            "thing": self._history.thing,
            "note": self._note,
            "default_range": DEFAULT_RANGE.id,
            "ranges": [asdict(span) for span in RANGES],
            "panels": [asdict(panel) for panel in PANELS],
            "has_overrides": self._overrides is not None,
            "has_incidents": self._incidents is not None,
        }


class _Handler(BaseHTTPRequestHandler):
    api: _Api
    server_version = "solarshed"
    sys_version = ""
    path = ""  # until a request line has been read, which may fail

    def do_GET(self) -> None:
        try:
            content_type, body = self._answer()
            self._send(HTTPStatus.OK, content_type, body)
        except _RequestError as error:
            self._send(error.status, "application/json", json.dumps({"error": str(error)}).encode())

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def _answer(self) -> tuple[str, bytes]:
        if self.headers.get("Host", "").partition(":")[0] not in LOCAL_HOSTS:
            raise _RequestError(HTTPStatus.MISDIRECTED_REQUEST, "This page answers to localhost only.")
        url = urlsplit(self.path)
        if url.path.startswith("/api/"):
            answer = self.api.answer(url.path, parse_qs(url.query, keep_blank_values=True))
            return "application/json", json.dumps(answer, allow_nan=False).encode()
        return _static_file(url.path)

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        for name, value in SECURITY_HEADERS.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store" if self.path.startswith("/api/") else "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """The page asks every two seconds: nobody reads that log."""


def _range(query: dict[str, list[str]]) -> Range:
    asked = query.get("range", [DEFAULT_RANGE.id])[-1]
    if asked not in _RANGES:
        raise _RequestError(HTTPStatus.BAD_REQUEST, f"The range is one of {', '.join(_RANGES)}.")
    return _RANGES[asked]


def _static_file(path: str) -> tuple[str, bytes]:
    """A file below `static/`, found by name in a listing, so that no path leads out of it."""
    wanted = "index.html" if path == "/" else path.removeprefix("/")
    files = {file.relative_to(_STATIC).as_posix(): file for file in _STATIC.rglob("*") if file.is_file()}
    if wanted not in files or files[wanted].suffix not in _CONTENT_TYPES:
        raise _RequestError(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
    return _CONTENT_TYPES[files[wanted].suffix], files[wanted].read_bytes()
