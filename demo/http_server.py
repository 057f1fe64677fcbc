"""An HTTP server on loopback that can be ended while clients hold connections open for reuse."""

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"


class LocalServer(ThreadingHTTPServer):
    """Keeps its open connections, so that it can close them. Port 0 takes a free one."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__((HOST, port), handler)
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._open_lock:
            self._open.add(connection)
        return connection, address

    def close_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._open_lock:
            self._open -= {request}
        super().close_request(request)

    def end_connections(self, how: int = socket.SHUT_RD) -> None:
        """Tell every open connection that no more requests are read; what is being answered is finished.

        With `socket.SHUT_RDWR` that ends as well.
        """
        with self._open_lock:
            for connection in self._open:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(how)
