"""Pins driven by gpiozero in a real child process, seen from this one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.shed.pins import INPUT, PIN_COUNT, PINS_VARIABLE, PinsView, SharedMockFactory

# Does what a line on its input says, and answers each one.
CHILD = """
import sys
from gpiozero import DigitalOutputDevice
relays = [DigitalOutputDevice(17), DigitalOutputDevice(27)]
print("ready", flush=True)
for line in sys.stdin:
    number, verb = line.split()
    getattr(relays[int(number)], verb)()
    print("done", flush=True)
"""


class Owner:
    """A process that owns the pins."""

    def __init__(self, pins: Path) -> None:
        environment = os.environ | {"GPIOZERO_PIN_FACTORY": "solarshed-demo", PINS_VARIABLE: str(pins)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._hear("ready")

    def tell(self, command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        self._hear("done")

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def _hear(self, word: str) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline().strip() == word


@pytest.fixture
def view(tmp_path: Path) -> Iterator[PinsView]:
    with PinsView(tmp_path / "pins") as pins:
        yield pins


@pytest.fixture
def owner(tmp_path: Path, view: PinsView) -> Iterator[Owner]:
    process = Owner(tmp_path / "pins")
    yield process
    process.close()


def test_pins_that_nobody_owns_are_inputs(tmp_path: Path, view: PinsView) -> None:
    assert (tmp_path / "pins").read_bytes() == bytes([INPUT]) * PIN_COUNT
    assert not view.are_high([17, 27])


def test_both_relays_have_to_be_on(owner: Owner, view: PinsView) -> None:
    seen = [view.are_high([17, 27])]
    for command in ("0 on", "1 on", "0 off", "0 on"):
        owner.tell(command)
        seen.append(view.are_high([17, 27]))

    assert seen == [False, False, True, False, True]


def test_a_closed_device_is_an_input_again(owner: Owner, view: PinsView, tmp_path: Path) -> None:
    owner.tell("0 on")
    owner.tell("0 close")

    assert (tmp_path / "pins").read_bytes()[17] == INPUT
    assert (tmp_path / "pins").read_bytes()[27] == 0


def test_a_process_that_ends_in_order_leaves_its_pins_as_inputs(owner: Owner, tmp_path: Path) -> None:
    owner.tell("0 on")
    owner.tell("1 on")
    owner.close()

    assert (tmp_path / "pins").read_bytes() == bytes([INPUT]) * PIN_COUNT


def test_a_killed_process_leaves_its_relays_as_they_were(owner: Owner, view: PinsView) -> None:
    owner.tell("0 on")
    owner.tell("1 on")
    owner.process.kill()
    owner.process.wait(10)

    assert view.are_high([17, 27])


def test_the_next_owner_opens_the_relays_that_a_killed_one_left_closed(
    owner: Owner, view: PinsView, tmp_path: Path
) -> None:
    owner.tell("0 on")
    owner.tell("1 on")
    owner.process.kill()
    owner.process.wait(10)

    successor = Owner(tmp_path / "pins")
    left_closed = view.is_high(17) or view.is_high(27)
    successor.close()

    assert not left_closed


def test_a_factory_without_a_file_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PINS_VARIABLE, raising=False)

    with pytest.raises(RuntimeError, match=PINS_VARIABLE):
        SharedMockFactory()
