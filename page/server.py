"""Serves the page and its small JSON API on 127.0.0.1.

GET /api/page                       the dashboards with their panels, the ranges, the note, what time it is
GET /api/panel/<id>?RANGE           one panel's data, times in epoch milliseconds, for at most `points` points
GET /api/events?RANGE               what changed, as sentences; `is_cut` if there was more than is told
GET /api/now                        the newest sample, why, since when, how old
GET /api/overrides                  what the owner has asked for and what the device says of it, while it is not over
GET /api/incidents                  what the alerts have made of themselves in PagerDuty, newest first

RANGE is `range=1h`, which ends now, or `from=MS&to=MS`.

An error is `{"error": SENTENCE}`: 400 for a wrong range, 404 for a wrong address, 503 while the store, or for
the overrides the thing's shadow, does not answer.
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
from typing import Any
from urllib.parse import parse_qs, urlsplit

from contract.errors import SolarshedError
from dashboard.look import Look
from page.incidents import Incidents
from page.source import Source, SourceError, Window
from page.view import MOST_POINTS, PANELS, RANGES, View, wall_clock_ms, window
from page.wishes import NoAnswerError, Overrides

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8080
_DEFAULT_LOOK = Look()

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
_DEFAULT_RANGE = "24h"
# Before the year 2200: what is later would not be a date in a browser.
_MOST_MS = 7_258_118_400_000


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
    source: Source,
    *,
    look: Look = _DEFAULT_LOOK,
    port: int = DEFAULT_PORT,
    note: str = "",
    overrides: Overrides | None = None,
    incidents: Incidents | None = None,
    now_ms: Callable[[], int] = wall_clock_ms,
) -> Page:
    """Show what `source` knows of `thing` on 127.0.0.1:`port` (0: any free one), with `note` as a line on the page.

    Without `overrides` the page says nothing of the owner's wishes, without `incidents` nothing of whom it has woken.

    Raises:
        PortInUseError: something else listens there.
        ValueError: `thing` is no thing's name.
    """
    view = View(source, thing, look, now_ms)

    class Handler(_Handler):
        api = _Api(view, note, overrides, incidents, now_ms)

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
        view: View,
        note: str,
        overrides: Overrides | None,
        incidents: Incidents | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._view = view
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
                case ["page"]:
                    return self._page()
                case ["panel", panel_id] if panel_id in PANELS:
                    return self._view.panel(PANELS[panel_id], self._window(query))
                case ["events"]:
                    ended = self._overrides.known() if self._overrides else ()
                    return self._view.events(self._window(query), ended)
                case ["now"]:
                    return self._view.now()
                case ["overrides"] if self._overrides is not None:
                    return {"now_ms": self._now_ms(), **self._overrides.now()}
                case ["incidents"] if self._incidents is not None:
                    newest_first = sorted(self._incidents(), key=lambda one: one.opened_ms, reverse=True)
                    return {"now_ms": self._now_ms(), "incidents": [one.as_json() for one in newest_first]}
        except (SourceError, NoAnswerError) as error:
            raise _RequestError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        raise _RequestError(HTTPStatus.NOT_FOUND, "There is nothing at this address.")

    def _page(self) -> dict[str, Any]:
        return {
            "thing": self._view.thing,
            "now_ms": self._now_ms(),
            "note": self._note,
            "ranges": [asdict(span) for span in RANGES],
            "dashboards": self._view.dashboards(),
            "has_overrides": self._overrides is not None,
            "has_incidents": self._incidents is not None,
        }

    def _window(self, query: dict[str, list[str]]) -> Window:
        points = _whole(query, "points", 1, MOST_POINTS, MOST_POINTS)
        if "from" not in query and "to" not in query:
            asked = query.get("range", [_DEFAULT_RANGE])[-1]
            if asked not in _RANGES:
                raise _RequestError(HTTPStatus.BAD_REQUEST, f"The range is one of {', '.join(_RANGES)}.")
            now_ms = self._now_ms()
            return window(now_ms - 1000 * _RANGES[asked].span_s, now_ms, points)
        from_ms, to_ms = (_whole(query, name, 0, _MOST_MS) for name in ("from", "to"))
        if from_ms >= to_ms:
            raise _RequestError(HTTPStatus.BAD_REQUEST, "A range begins before it ends.")
        return window(from_ms, to_ms, points)


def _whole(query: dict[str, list[str]], name: str, low: int, high: int, default: int | None = None) -> int:
    text = query.get(name, ["" if default is None else str(default)])[-1]
    if not text.isascii() or not text.isdecimal() or len(text) > 16 or not low <= int(text) <= high:
        raise _RequestError(HTTPStatus.BAD_REQUEST, f"{name} is a whole number from {low} to {high}.")
    return int(text)


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


def _static_file(path: str) -> tuple[str, bytes]:
    """A file below `static/`, found by name in a listing, so that no path leads out of it."""
    wanted = "index.html" if path == "/" else path.removeprefix("/")
    files = {file.relative_to(_STATIC).as_posix(): file for file in _STATIC.rglob("*") if file.is_file()}
    if wanted not in files or files[wanted].suffix not in _CONTENT_TYPES:
        raise _RequestError(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
    return _CONTENT_TYPES[files[wanted].suffix], files[wanted].read_bytes()
