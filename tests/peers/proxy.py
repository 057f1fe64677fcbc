"""A line between a device and its broker that can be cut, or go dead without a sign."""

import asyncio
import socket

from tests.peers.peer import Peer

_CHUNK_BYTES = 65536


class TcpProxy(Peer):
    """Forwards each connection to `target_port` of `target_host`, until it is told otherwise."""

    def __init__(self, target_host: str, target_port: int) -> None:
        """Listen on a free port of 127.0.0.1."""
        # Forwarded so far: from the device to the target, and back.
        self.bytes_up = 0
        self.bytes_down = 0
        # How many have been accepted, and are open now.
        self.connections = 0
        self.open_connections = 0
        self._target = (target_host, target_port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        super().__init__()

    def __repr__(self) -> str:
        return (
            f"<TcpProxy on port {self.port}: {self.connections} connections, {self.open_connections} open, "
            f"{self.bytes_up} bytes up, {self.bytes_down} bytes down>"
        )

    def cut(self) -> None:
        """Close every connection and refuse new ones."""

        def cut() -> None:
            self._refuse()
            for task in self._tasks:
                task.cancel()

        self.do(cut)
        self.wait_until(lambda: self.open_connections == 0)

    def blackhole(self) -> None:
        """Forward nothing and close nothing, as a half-open line: both ends take it for a line on which nobody speaks.

        New connections are accepted, and get no answer.
        """
        self.do(self._flowing.clear)

    def restore(self) -> None:
        """Forward again: what has been held up, too."""

        def restore() -> None:
            self._listen()
            self._flowing.set()

        self.do(restore)

    async def _serve(self, accepted: socket.socket) -> None:
        self.connections += 1
        self.open_connections += 1
        writers: list[asyncio.StreamWriter] = []
        try:
            near_reader, near = await self._stream(accepted)
            writers.append(near)
            await self._flowing.wait()
            far_reader, far = await asyncio.open_connection(*self._target)
            writers.append(far)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(near_reader, far, is_up=True))
                both.create_task(self._forward(far_reader, near, is_up=False))
        except* OSError:
            pass  # the target is not there, or one end has broken off: then so does the line
        finally:
            for writer in writers:
                writer.transport.abort()
            self.open_connections -= 1

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_up: bool) -> None:
        while data := await source.read(_CHUNK_BYTES):
            await self._flowing.wait()
            sink.write(data)
            await sink.drain()
            if is_up:
                self.bytes_up += len(data)
            else:
                self.bytes_down += len(data)
        await self._flowing.wait()
        sink.write_eof()
