"""GPIO pins that another process can see: gpiozero's mock pins, mirrored into a small memory-mapped file.

One byte for each GPIO number: 0 low, 1 high, 255 input (the state in which a pin drives nothing). The process that owns
the pins is started with GPIOZERO_PIN_FACTORY=solarshed-demo and SOLARSHED_DEMO_PINS=FILE.

When that process is killed (SIGKILL) or hangs, its last state stays in the file, as the pins of a Pi stay as they were:
nothing opens the relays on its behalf.
"""

import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from gpiozero.pins.mock import MockFactory, MockPin

PINS_VARIABLE = "SOLARSHED_DEMO_PINS"
PIN_COUNT = 64

LOW = 0
HIGH = 1
INPUT = 255


def open_pins(path: Path) -> mmap.mmap:
    """The pins of `path`, shared with every process that opened them. Made, all inputs, if it was not there."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        missing = PIN_COUNT - os.fstat(descriptor).st_size
        if missing > 0:
            os.pwrite(descriptor, bytes([INPUT]) * missing, PIN_COUNT - missing)
        return mmap.mmap(descriptor, PIN_COUNT)
    finally:
        os.close(descriptor)


class SharedMockPin(MockPin):  # type: ignore[misc]
    """A mock pin that shows its function and state in its factory's file."""

    def _set_function(self, value: str) -> None:
        super()._set_function(value)
        self._show()

    def _change_state(self, value: bool) -> bool:
        changed = bool(super()._change_state(value))
        self._show()
        return changed

    def _show(self) -> None:
        if self._function == "input":
            self.factory.show(self._number, INPUT)
        else:
            self.factory.show(self._number, HIGH if self._state else LOW)


class SharedMockFactory(MockFactory):  # type: ignore[misc]
    """Mock pins of a Pi, shown in the file that SOLARSHED_DEMO_PINS names."""

    def __init__(self, revision: str | None = None, pin_class: type[SharedMockPin] = SharedMockPin) -> None:
        path = os.environ.get(PINS_VARIABLE)
        if not path:
            raise RuntimeError(f"{PINS_VARIABLE} is not set: name the file in which the demo's shed looks for pins")
        self._shown = open_pins(Path(path))
        super().__init__(revision=revision, pin_class=pin_class)

    def show(self, number: int, level: int) -> None:
        """Put LOW, HIGH or INPUT on GPIO `number` for others to see."""
        self._shown[number] = level


class PinsView:
    """What the other end of the wires sees."""

    def __init__(self, path: Path) -> None:
        self._shown = open_pins(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_high(self, number: int) -> bool:
        """Whether GPIO `number` is an output and high, so that a relay on it conducts."""
        return self._shown[number] == HIGH

    def are_high(self, numbers: Iterable[int]) -> bool:
        """Whether all of `numbers` are."""
        return all(self.is_high(number) for number in numbers)

    def close(self) -> None:
        """Let go of the file. May be called again."""
        self._shown.close()
