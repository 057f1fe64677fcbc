"""The line itself: it forwards, counts, breaks and goes dead on order."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.broker import ScriptedBroker
from tests.peers.client import BareClient
from tests.peers.proxy import TcpProxy


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


@pytest.fixture
def proxy(target: socket.socket) -> Iterator[TcpProxy]:
    with TcpProxy("127.0.0.1", target.getsockname()[1]) as proxy:
        yield proxy


def through(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 5)


def test_it_forwards_both_ways_and_counts(target: socket.socket, proxy: TcpProxy) -> None:
    with through(proxy) as near, target.accept()[0] as far:
        near.sendall(b"hello")
        heard = far.recv(100)
        far.sendall(b"and goodbye")
        answer = near.recv(100)

        assert (heard, answer) == (b"hello", b"and goodbye")
        proxy.wait_until(lambda: (proxy.bytes_up, proxy.bytes_down) == (5, 11))
        assert (proxy.connections, proxy.open_connections) == (1, 1)
    proxy.wait_until(lambda: proxy.open_connections == 0)


def test_what_the_target_says_before_it_closes_arrives(target: socket.socket, proxy: TcpProxy) -> None:
    with through(proxy) as near:
        with target.accept()[0] as far:
            far.sendall(b"goodbye")
        heard = near.recv(100), near.recv(100)

    assert heard == (b"goodbye", b"")


def test_a_cut_line_breaks_and_refuses_until_it_is_restored(target: socket.socket, proxy: TcpProxy) -> None:
    with through(proxy) as near, target.accept()[0] as far:
        near.sendall(b"hello")
        far.recv(100)
        proxy.cut()

        assert near.recv(100) == b""
        assert far.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        through(proxy)

    proxy.restore()

    with through(proxy) as near, target.accept()[0] as far:
        near.sendall(b"again")
        assert far.recv(100) == b"again"


def test_a_black_hole_holds_everything_and_closes_nothing(target: socket.socket, proxy: TcpProxy) -> None:
    with through(proxy) as near, target.accept()[0] as far:
        near.sendall(b"hello")
        far.recv(100)
        proxy.blackhole()
        with through(proxy) as another:
            another.settimeout(0.2)
            far.settimeout(0.2)
            near.sendall(b"held up")

            with pytest.raises(TimeoutError):
                far.recv(100)
            with pytest.raises(TimeoutError):
                another.recv(100)

        near.shutdown(socket.SHUT_WR)
        with pytest.raises(TimeoutError):
            far.recv(100)

        proxy.restore()
        far.settimeout(5)

        assert far.recv(100) == b"held up"
        assert far.recv(100) == b""


def test_a_target_that_is_not_there_looks_like_a_broken_line(target: socket.socket, proxy: TcpProxy) -> None:
    target.close()

    with through(proxy) as near:
        assert near.recv(100) == b""


def test_closing_it_ends_what_is_open(target: socket.socket) -> None:
    proxy = TcpProxy("127.0.0.1", target.getsockname()[1])
    with through(proxy) as near, target.accept()[0]:
        proxy.close()
        proxy.close()

        assert near.recv(100) == b""


def test_mqtt_goes_through_it(tmp_path: Path) -> None:
    with ScriptedBroker() as broker, TcpProxy("127.0.0.1", broker.port) as proxy:
        with BareClient(broker.uplink(tmp_path, port=proxy.port), "shed") as client:
            assert client.publish("a") == 0
        broker.wait_until(lambda: broker.disconnects)
