"""The two solid-state relays, through gpiozero. `Relays.write` is the only code that moves them."""

import logging
import warnings

from contract.errors import SolarshedError
from contract.positions import Position

log = logging.getLogger(__name__)

# How often since the start the pins may have been found otherwise than they were left, and put right.
MOST_CORRECTIONS = 3

# What each relay's pin reads, in the order of the settings: True = high = closed.
Levels = tuple[bool, bool]


class RelayError(SolarshedError, OSError):
    """The relays are not where they were told to be. `levels`: what they read back in the end, None where unknown."""

    def __init__(self, text: str, levels: Levels | None = None) -> None:
        super().__init__(text)
        self.levels = levels


class Relays:
    """Two outputs that always move together: high = closed = GRID, low = open = BATTERY."""

    def __init__(self, pins: tuple[int, int], position: Position = Position.BATTERY) -> None:
        """Take the pins and drive both to `position`, with nothing else in between where the GPIO library allows it.

        Raises:
            RelayError: there is no GPIO here, a pin is taken, or this user may not use it.
        """
        # gpiozero costs a quarter of a second and looks for a Pi; only the process that switches pays for that.
        import gpiozero

        self._level = position is Position.GRID
        self._corrections = 0
        self._outputs: list[gpiozero.DigitalOutputDevice] = []
        # Its warnings about each GPIO library it tries are said again, in one sentence, by the error below.
        warnings.simplefilter("ignore", gpiozero.PinFactoryFallback)
        try:
            for pin in pins:
                self._outputs.append(gpiozero.DigitalOutputDevice(pin, initial_value=self._level))
        except Exception as e:  # lgpio's own error, raised for a pin that is taken, has no parent but this
            self.close()
            raise RelayError(
                f"GPIO {pin} cannot be used: {e}; see that this is a Pi, that the user is in group gpio and that no "
                "other program holds the pin"
            ) from e

    def write(self, position: Position) -> Levels:
        """Drive both relays and return what they read back; once more where that fails.

        Raises:
            RelayError: a write failed twice, a relay reads back otherwise, or the pins had to be put right more than
                MOST_CORRECTIONS times: something else drives them.
        """
        self._notice_disturbance()
        self._level = position is Position.GRID
        try:
            levels = self._drive()
        except RelayError as e:
            self._count(str(e))
            levels = self._drive()
        if self._corrections > MOST_CORRECTIONS:
            raise RelayError(
                f"relays put right {self._corrections} times; see that nothing else drives their pins", levels
            )
        return levels

    def close(self) -> None:
        """Turn the pins into inputs: the relays open. Harmless when repeated."""
        for output in self._outputs:
            output.close()

    def _drive(self) -> Levels:
        try:
            for output in self._outputs:
                output.value = self._level
        except Exception as e:  # whatever a pin driver raises, the relays' state is unknown
            raise RelayError(f"relays not written: {e}") from e
        levels = self._levels()
        if levels != (self._level, self._level):
            raise RelayError(f"relays told {self._level}, read back {list(levels)}", levels)
        return levels

    def _notice_disturbance(self) -> None:
        try:
            levels = self._levels()
        except RelayError as e:
            self._count(str(e))
            return
        if levels != (self._level, self._level):
            self._count(f"relays left {self._level}, found {list(levels)}")

    def _levels(self) -> Levels:
        try:
            first, second = (bool(output.value) for output in self._outputs)
        except Exception as e:  # as above
            raise RelayError(f"relays not read: {e}") from e
        return first, second

    def _count(self, what: str) -> None:
        self._corrections += 1
        log.warning("%s; writing again", what)
