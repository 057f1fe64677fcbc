"""What the peers have in common: a port of 127.0.0.1, and an asyncio loop in a thread of its own."""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

_START_STOP_TIMEOUT_S = 10.0
_TLS_SHUTDOWN_TIMEOUT_S = 0.5
_LINGER_OFF = struct.pack("ii", 1, 0)

T = TypeVar("T")


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Reader(asyncio.StreamReader):
    """What came before the connection broke can still be read: a client's DISCONNECT is often followed by a RST."""

    def set_exception(self, exc: Exception) -> None:
        self.feed_eof()


class Peer:
    """A server that a test starts, misleads and closes. What goes wrong in itself is raised when it is closed."""

    def __init__(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        self.failures: list[BaseException] = []
        # Bound, but never listening: it keeps the port ours while nobody listens on it.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._on_loop_complaint)
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__, daemon=True)
        self._thread.start()
        self.do(self._listen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def do(self, function: Callable[[], T]) -> T:
        """Call `function` in the loop's thread, where the peer's state lives, and return what it returns."""
        if threading.current_thread() is self._thread:
            return function()

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(_START_STOP_TIMEOUT_S)

    def wait_until(self, is_so: Callable[[], object], timeout_s: float = 5.0) -> None:
        """Wait for what a test expects of the peer's records.

        Raises:
            AssertionError: it did not come to pass in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline_s, f"it did not come to pass within {timeout_s:g} s: {self!r}"
            time.sleep(0.01)

    def close(self) -> None:
        """End every connection and the thread. May be called again.

        Raises:
            ExceptionGroup: the peer itself, or what a test has set in it, has failed meanwhile.
        """
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_START_STOP_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_STOP_TIMEOUT_S)
        self._loop.close()
        self._reserved.close()
        if self.failures:
            raise BaseExceptionGroup(f"{type(self).__name__} failed", self.failures)

    async def _serve(self, accepted: socket.socket) -> None:
        """Serve one TCP connection to its end."""
        raise NotImplementedError

    def _end_connections(self) -> None:
        """Close what no task holds."""

    async def _stream(self, accepted: socket.socket, context: ssl.SSLContext | None = None) -> Stream:
        """Read and write on an accepted connection, over TLS where there is a context.

        Raises:
            OSError: the TLS handshake failed.
        """
        reader = _Reader()
        protocol = asyncio.StreamReaderProtocol(reader)
        shutdown_timeout_s = None if context is None else _TLS_SHUTDOWN_TIMEOUT_S
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=context, ssl_shutdown_timeout=shutdown_timeout_s
            )
        except BaseException:
            accepted.close()
            raise
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen()
            self._accept()

    def _accept(self) -> None:
        """Take new connections from now on."""
        if self._listener is not None:
            self._loop.add_reader(self._listener, self._accept_one)

    def _accept_no_more(self) -> None:
        """Let new connections wait in the kernel: for them the line is up and nobody answers."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener)

    def _refuse(self) -> None:
        """Have the kernel refuse new connections."""
        if self._listener is not None:
            self._accept_no_more()
            self._listener.close()
            self._listener = None

    def _accept_one(self) -> None:
        if self._listener is None:
            return
        try:
            accepted, _ = self._listener.accept()
        except BlockingIOError:
            return
        accepted.setblocking(False)
        self._begin(self._serve(accepted))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)

    def _on_loop_complaint(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # A line that breaks is what these peers are for.
        if not isinstance(error, OSError):
            self.failures.append(error or RuntimeError(context["message"]))

    async def _end(self) -> None:
        self._refuse()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._end_connections()
        await self._loop.shutdown_default_executor()
        for _ in range(3):  # asyncio closes an aborted transport's socket in a later round
            await asyncio.sleep(0)


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Have a TCP connection end with RST, as from a router that has forgotten it."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound
