"""The HTTP endpoint: the AWS JSON 1.0 protocol over an engine, on loopback only. Signatures are not checked."""

import json
import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from demo.http_server import HOST, LocalServer

from .catalog import Retention
from .engine import Engine
from .errors import ServiceError, ValidationError
from .queries import Queries

TARGET_PREFIX = "Timestream_20181101."

# Not the service's: makes the next calls of an operation fail, so that a caller's retries can be seen at work.
INJECT_TARGET = "SolarshedDemo.InjectErrors"

MAX_BODY_BYTES = 4 * 1024 * 1024

_INJECTABLE_STATUSES = {"ThrottlingException": 400, "InternalServerException": 500, "AccessDeniedException": 400}

_log = logging.getLogger(__name__)

Request = dict[str, Any]
Operation = Callable[[Request], dict[str, Any]]


class Service:
    """The operations, by name. `injected` holds the errors that the next calls of an operation get instead."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        self._url = url
        self._queries = Queries(engine)
        self._injected: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._operations: dict[str, Operation] = {
            "DescribeEndpoints": self._describe_endpoints,
            "CreateDatabase": self._create_database,
            "DescribeDatabase": self._describe_database,
            "CreateTable": self._create_table,
            "DescribeTable": self._describe_table,
            "ListTables": self._list_tables,
            "WriteRecords": self._write_records,
            "Query": self._queries.query,
            "CancelQuery": self._queries.cancel,
        }

    def inject(self, operation: str, error_type: str = "ThrottlingException", count: int = 1) -> None:
        """Makes the next `count` calls of `operation` fail with `error_type`, without any effect.

        Raises:
            ValidationError: the operation or the error is not known.
        """
        if operation not in self._operations or error_type not in _INJECTABLE_STATUSES:
            raise ValidationError(
                f"cannot inject {error_type!r} into {operation!r}: the errors are {', '.join(_INJECTABLE_STATUSES)}"
            )
        with self._lock:
            self._injected.setdefault(operation, []).extend([error_type] * count)

    def answer(self, target: str, request: Request) -> dict[str, Any]:
        """Runs what the X-Amz-Target header names.

        Raises:
            ServiceError: what the service would answer.
        """
        if target == INJECT_TARGET:
            self.inject(request["Operation"], request["Error"], request["Count"])
            return {}
        name = target.removeprefix(TARGET_PREFIX)
        operation = self._operations.get(name)
        if operation is None or name == target:
            raise ServiceError("UnknownOperationException", f"This stand-in has no operation {target!r}")
        self._raise_injected(name)
        return operation(request)

    def _raise_injected(self, name: str) -> None:
        with self._lock:
            waiting = self._injected.get(name)
            error_type = waiting.pop(0) if waiting else None
        if error_type:
            raise ServiceError(error_type, "Injected", _INJECTABLE_STATUSES[error_type])

    def _describe_endpoints(self, _request: Request) -> dict[str, Any]:
        # With a scheme, which the service's own answer has not: without it, boto3 would go on by https.
        return {"Endpoints": [{"Address": self._url, "CachePeriodInMinutes": 1440}]}

    def _create_database(self, request: Request) -> dict[str, Any]:
        return {"Database": self._engine.create_database(request.get("DatabaseName", ""))}

    def _describe_database(self, request: Request) -> dict[str, Any]:
        return {"Database": self._engine.describe_database(request.get("DatabaseName", ""))}

    def _create_table(self, request: Request) -> dict[str, Any]:
        retention = Retention.parse(request)
        table = self._engine.create_table(request.get("DatabaseName", ""), request.get("TableName", ""), retention)
        return {"Table": table.body()}

    def _describe_table(self, request: Request) -> dict[str, Any]:
        return {"Table": self._engine.table(request.get("DatabaseName", ""), request.get("TableName", "")).body()}

    def _list_tables(self, request: Request) -> dict[str, Any]:
        return {"Tables": [table.body() for table in self._engine.list_tables(request.get("DatabaseName"))]}

    def _write_records(self, request: Request) -> dict[str, Any]:
        return {"RecordsIngested": self._engine.write_records(request)}


class _Server(LocalServer):
    service: Service

    def __init__(self, port: int) -> None:
        super().__init__(port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"Message": "Content-Length is missing or too large"})
            return
        body = self.rfile.read(int(length))
        try:
            self._send(HTTPStatus.OK, self._answer(body))
        except ServiceError as error:
            self._send(error.http_status, error.body())

    def _answer(self, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)
        except ValueError as error:
            raise ServiceError("SerializationException", f"The body is not JSON: {error}") from error
        try:
            return self.server.service.answer(self.headers.get("X-Amz-Target", ""), request)
        except ServiceError:
            raise
        except (AttributeError, KeyError, TypeError) as error:
            _log.exception("a request has another shape than the service's")
            raise ServiceError("SerializationException", f"The request has the wrong shape: {error}") from error

    def _send(self, http_status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(http_status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-amzn-RequestId", uuid4().hex.upper())
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        _log.debug(format, *args)


class Endpoint:
    """A running endpoint: `url` is where, `engine` what is stored. Close it, or use it in a `with`."""

    def __init__(self, engine: Engine, port: int) -> None:
        self.engine = engine
        self._server = _Server(port)
        self.url = f"http://{HOST}:{self._server.server_port}"
        self._server.service = Service(engine, self.url)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="timestream")
        self._thread.start()

    def inject(self, operation: str, error_type: str = "ThrottlingException", count: int = 1) -> None:
        """Makes the next `count` calls of `operation` (such as `WriteRecords`) fail with `error_type`."""
        self._server.service.inject(operation, error_type, count)

    def close(self) -> None:
        """Finishes what is being answered, then stops. Again is harmless."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.end_connections()
            self._server.server_close()
            self.engine.close()

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "listening" if self._thread.is_alive() else "closed"
        return f"<timestream.Endpoint {self.url}, {state}>"


def serve(port: int = 0, path: Path | None = None, clock_ns: Callable[[], int] = time.time_ns) -> Endpoint:
    """Starts an endpoint on 127.0.0.1; port 0 takes a free one. Without `path` it forgets everything at the end."""
    engine = Engine(path, clock_ns)
    try:
        return Endpoint(engine, port)
    except OSError:
        engine.close()
        raise
