"""Writes points to InfluxDB by the line protocol and the write API of its first version, which its second one has too.

A point is one line: measurement = measure, tags `site`, `thing`, `source`, time in milliseconds. Sources: InfluxDB 1.8
documentation, "Line protocol reference" and "/write HTTP endpoint"; InfluxDB 2.7, "1.x compatibility API".

What differs from Timestream: a line with the same tags and time as a stored one merges into it, field by field, and the
last one to arrive wins; there are no versions. The same line again changes nothing. Of one call's points of one key
only the highest version is sent. A correction that a queue delivers before what it corrects is lost; a device never
sends one, because no two of its samples have the same time and another sequence.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, urlencode, urlsplit

from cloud.telemetry.influxdb_login import Credentials, SecretCredentials
from cloud.telemetry.points import Point, Value
from cloud.telemetry.writer import Rejected, StoreError
from contract import store

# A line has about 500 bytes, and InfluxDB recommends so many for one call.
MAX_POINTS = 5000

_CONNECT_AND_READ_S = 6.0
# Timestream's rule, for the same reason: a clock that is ahead must not put points where nobody looks for them.
_MAX_FUTURE_MS = 15 * 60 * 1000
_MAX_ANSWER_BYTES = 64 * 1024

_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
_NOT_LET_IN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What a server says."""

    status: int
    reason: str
    text: str
    cookie: str = ""


class Influx:
    """One server, database and user. TLS is verified wherever the address is https."""

    def __init__(self, url: str, database: str, credentials: Credentials) -> None:
        self._url = urlsplit(url)
        self._database = database
        self._credentials = credentials

    def write(self, lines: bytes) -> Answer:
        """The server's answer to these lines; that it does not let us in is tried once more with new credentials.

        Raises:
            StoreError: it does not answer, or refuses us.
        """
        for is_last in (False, True):
            answer = self._post(lines)
            if answer.status not in _NOT_LET_IN:
                return answer
            if not is_last:
                log.info("InfluxDB answers %d: the credentials are fetched again", answer.status)
                self._credentials.forget()
        raise StoreError(
            f"InfluxDB does not let us write ({answer.status} {answer.text}): see that {self._credentials.where} holds "
            f"a token or user that may write to the database {self._database}"
        )

    def _post(self, lines: bytes) -> Answer:
        query = urlencode({"db": self._database, "precision": "ms"}, quote_via=quote)
        headers = {"Content-Type": "text/plain; charset=utf-8", "Authorization": self._credentials.header(self)}
        return self.call("POST", f"/write?{query}", lines, headers)

    def call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """One call, on a connection of its own.

        Raises:
            StoreError: the server does not answer, or answers what is no HTTP.
        """
        connection = self._connection()
        try:
            connection.request(method, self._url.path.rstrip("/") + path, body, dict(headers))
            response = connection.getresponse()
            text = response.read(_MAX_ANSWER_BYTES).decode(errors="replace")
            cookie = response.getheader("Set-Cookie", "").partition(";")[0]
            return Answer(response.status, response.reason, _error_in(text) if response.status >= 400 else text, cookie)
        except (OSError, http.client.HTTPException) as e:
            raise StoreError(
                f"InfluxDB at {self._url.hostname} does not answer ({type(e).__name__}: {e}): see that its instance "
                "runs and its security group lets this function in"
            ) from e
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=_CONNECT_AND_READ_S)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=_CONNECT_AND_READ_S, context=context)


def influx_from(environment: Mapping[str, str]) -> Influx:
    """The server that a Lambda's environment names."""
    return Influx(
        environment["SOLARSHED_INFLUXDB_URL"],
        environment["SOLARSHED_DATABASE"],
        SecretCredentials(environment["SOLARSHED_INFLUXDB_SECRET"]),
    )


class InfluxWriter:
    """Writes to one database. `now_ms` is the time by which a point is in the future."""

    max_points = MAX_POINTS

    def __init__(self, influx: Influx, now_ms: Callable[[], int] = lambda: time.time_ns() // 10**6) -> None:
        self._influx = influx
        self._now_ms = now_ms

    def write(self, points: Sequence[Point]) -> list[Rejected]:
        """Write points; those that are not returned are stored.

        Raises:
            StoreError: throttled, unreachable, or not let in; try again. What was stored by then is stored again.
        """
        latest_ms = self._now_ms() + _MAX_FUTURE_MS
        newest = {point.key: point for point in sorted(points, key=lambda point: point.version)}
        ahead = [point for point in newest.values() if point.time_ms > latest_ms]
        rejected = [Rejected(point, "The time is more than 15 minutes in the future") for point in ahead]
        return rejected + self._write([point for point in newest.values() if point.time_ms <= latest_ms])

    def _write(self, points: Sequence[Point]) -> list[Rejected]:
        if not points:
            return []
        answer = self._influx.write("\n".join(map(line_of, points)).encode())
        if answer.status < 300:
            return []
        if answer.status not in _REFUSED:
            raise StoreError(f"InfluxDB answers {answer.status} {answer.reason}: {answer.text}; it is tried again")
        if len(points) == 1:
            return [Rejected(points[0], answer.text or answer.reason)]
        # It does not say which lines it refused. The others it has stored, or not: once more does not matter.
        half = len(points) // 2
        return self._write(points[:half]) + self._write(points[half:])


def line_of(point: Point) -> str:
    """The point in line protocol."""
    tags = (
        (store.DIMENSION_SITE, point.site),
        (store.DIMENSION_SOURCE, point.source),
        (store.DIMENSION_THING, point.thing),
    )
    series = ",".join([_escaped(point.measure), *(f"{name}={_escaped(value)}" for name, value in tags)])
    fields = ",".join(f"{_escaped(name)}={_field(value)}" for name, value in point.values.items())
    return f"{series} {fields} {point.time_ms}"


def _escaped(name: str) -> str:
    """A measurement, tag or field name. It ends in no backslash: `points` and `contract.topics` let none in."""
    return name.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def _field(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, float):
        # repr keeps every digit, and a field without an i is a float.
        return repr(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _error_in(text: str) -> str:
    """What is said in an answer's body: version 1 calls it `error`, version 2 `message`."""
    try:
        body = json.loads(text)
    except ValueError:
        return text.strip()
    return str(body.get("error") or body.get("message") or text) if isinstance(body, dict) else text
