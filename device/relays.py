"""The two solid-state relays, through gpiozero. `Relays.write` is the only code that moves them."""

import warnings

from contract.errors import SolarshedError
from contract.positions import Position


class RelayError(SolarshedError, OSError):
    """The relays are not where they were told to be."""


class Relays:
    """Two outputs that always move together: high = closed = GRID, low = open = BATTERY."""

    def __init__(self, pins: tuple[int, int]) -> None:
        """Take the pins and drive both low.

        Raises:
            RelayError: there is no GPIO here, a pin is taken, or this user may not use it.
        """
        # gpiozero costs a quarter of a second and looks for a Pi; only the process that switches pays for that.
        import gpiozero

        self._outputs: list[gpiozero.DigitalOutputDevice] = []
        # Its warnings about each GPIO library it tries are said again, in one sentence, by the error below.
        warnings.simplefilter("ignore", gpiozero.PinFactoryFallback)
        try:
            for pin in pins:
                self._outputs.append(gpiozero.DigitalOutputDevice(pin, initial_value=False))
        except Exception as e:  # lgpio's own error, raised for a pin that is taken, has no parent but this
            self.close()
            raise RelayError(
                f"GPIO {pin} cannot be used: {e}; see that this is a Pi, that the user is in group gpio and that no "
                "other program holds the pin"
            ) from e

    def write(self, position: Position) -> None:
        """Drive both relays and read them back.

        Raises:
            RelayError: a write failed or a relay reads back otherwise.
        """
        level = position is Position.GRID
        try:
            for output in self._outputs:
                output.value = level
            levels = [bool(output.value) for output in self._outputs]
        except Exception as e:  # whatever a pin driver raises, the relays' state is unknown
            raise RelayError(f"relays not written: {e}") from e
        if levels != [level, level]:
            raise RelayError(f"relays told {position} ({level}), read back {levels}")

    def close(self) -> None:
        """Turn the pins into inputs: the relays open. Harmless when repeated."""
        for output in self._outputs:
            output.close()
