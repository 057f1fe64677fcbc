import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from device.watchdog import Watchdog


class Systemd:
    """The other end: a datagram socket, as systemd has one."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(address)

    def heard(self) -> list[str]:
        """Every message that has come since the last call."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def is_flooded(self) -> None:
        """Let its queue be full, as when it hangs."""
        taken = 1
        while taken:  # one sender's own buffer is full before the queue is
            taken = 0
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as noise, suppress(BlockingIOError):
                noise.setblocking(False)
                while True:
                    noise.sendto(b"X=1", self.address)
                    taken += 1

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    listening = Systemd(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
    yield listening
    listening.close()


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_ready_is_said_once_with_a_status_line(systemd: Systemd) -> None:
    watchdog = Watchdog()

    watchdog.ready("deciding every 1 s")
    watchdog.ready("deciding every 1 s")

    assert systemd.heard() == ["READY=1\nSTATUS=deciding every 1 s"]


def test_alive_is_said_at_most_once_a_second(systemd: Systemd) -> None:
    clock = Clock()
    watchdog = Watchdog(clock)
    counts = []

    for _ in range(61):
        watchdog.alive()
        counts.append(len(systemd.heard()))
        clock.now_s += 0.25

    assert counts[:9] == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert sum(counts) == 16


def test_alive_is_the_message_that_restarts_the_timer(systemd: Systemd) -> None:
    Watchdog().alive()

    assert systemd.heard() == ["WATCHDOG=1"]


def test_stopping_and_a_new_status_are_said_each_time(systemd: Systemd) -> None:
    watchdog = Watchdog()

    watchdog.status("GRID: battery_low")
    watchdog.status("BATTERY: battery_recovered")
    watchdog.stopping()

    assert systemd.heard() == ["STATUS=GRID: battery_low", "STATUS=BATTERY: battery_recovered", "STOPPING=1"]


def test_a_status_that_has_not_changed_is_not_said_again(systemd: Systemd) -> None:
    watchdog = Watchdog()

    watchdog.ready("battery: no_data")
    watchdog.status("battery: no_data")
    watchdog.status("battery: hold")
    watchdog.status("battery: hold")

    assert systemd.heard() == ["READY=1\nSTATUS=battery: no_data", "STATUS=battery: hold"]


def test_a_status_cannot_carry_a_second_message(systemd: Systemd) -> None:
    watchdog = Watchdog()

    watchdog.ready("a\nWATCHDOG=trigger")
    watchdog.status("b\r\nMAINPID=1")

    assert systemd.heard() == ["READY=1\nSTATUS=a WATCHDOG=trigger", "STATUS=b MAINPID=1"]


def test_an_abstract_address_is_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"solarshed-test{tmp_path}"
    listening = Systemd("\0" + name)
    monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)

    Watchdog().alive()

    assert listening.heard() == ["WATCHDOG=1"]
    listening.close()


@pytest.mark.parametrize(
    "address", [None, "", "/nobody/listens/here", "@solarshed-nobody", "vsock:2:1", "/" + "x" * 200]
)
def test_it_does_nothing_where_nobody_listens(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    watchdog = Watchdog()

    watchdog.ready("ready")
    watchdog.alive()
    watchdog.status("status")
    watchdog.stopping()


def test_a_systemd_that_hangs_delays_nothing(systemd: Systemd) -> None:
    watchdog = Watchdog()
    systemd.is_flooded()

    began_s = time.monotonic()
    for _ in range(100):
        watchdog.ready("ready")
        watchdog.alive()

    assert time.monotonic() - began_s < 1.0


def test_what_a_hanging_systemd_did_not_take_is_said_when_it_listens_again(systemd: Systemd) -> None:
    clock = Clock()
    watchdog = Watchdog(clock)
    systemd.is_flooded()
    watchdog.ready("ready")
    watchdog.alive()
    systemd.heard()

    watchdog.ready("ready")
    watchdog.alive()

    assert systemd.heard() == ["READY=1\nSTATUS=ready", "WATCHDOG=1"]


def test_a_systemd_that_restarts_is_found_again(systemd: Systemd) -> None:
    clock = Clock()
    watchdog = Watchdog(clock)
    watchdog.alive()
    systemd.close()
    Path(systemd.address).unlink()
    clock.now_s += 1
    watchdog.alive()

    again = Systemd(systemd.address)
    watchdog.alive()

    assert again.heard() == ["WATCHDOG=1"]
    again.close()
