"""The DS18B20 in the relay box, through w1thermsensor, in a thread of its own: one read takes 750 ms or more."""

import logging
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

from contract.errors import SolarshedError
from device.readings import Reading

log = logging.getLogger(__name__)

# The DS18B20's range. The library passes on what is outside of it: -110 C has been seen on a pulled pin.
_LEAST_C = -55.0
_MOST_C = 125.0

# As the kernel spells it, in small letters: it is the name of a folder.
_SENSOR_ID = re.compile(r"28-[0-9a-f]{12}")


class ThermometerError(SolarshedError, ValueError):
    """The thermometer's id cannot be used; the text says why."""


class Thermometer:
    """Keeps the newest valid temperature. `reading` never waits for the sensor."""

    def __init__(self, sensor_id: str, directory: str, period_s: float, stale_after_s: float) -> None:
        """Start reading the sensor with this id, and no other.

        Raises:
            ThermometerError: the id is not that of a DS18B20.
        """
        self._id = sensor_id
        self._serial_number = _serial_number(sensor_id)
        self._sensor_class = _sensor_class(directory)
        self._period_s = period_s
        self._stale_after_s = stale_after_s
        self._newest: Reading | None = None
        self._failing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="thermometer", daemon=True)
        self._thread.start()

    def reading(self, now_s: float) -> Reading | None:
        """The newest valid temperature in C that is not older than the limit, else None."""
        newest = self._newest
        return newest if newest is not None and now_s - newest.at_s <= self._stale_after_s else None

    def close(self) -> None:
        """Stop reading. A read that hangs in the kernel is left behind: the thread is a daemon."""
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.wait(self._period_s):
            value = self._read()
            if value is not None:
                self._newest = Reading(value, time.monotonic(), self._id)

    def _read(self) -> float | None:
        from w1thermsensor import Sensor, W1ThermSensorError

        try:
            # With type and id the library looks at that one file; with less it lists the bus, and one bad entry
            # hides all. It refuses to be made while the sensor is away, so it is made anew for each read.
            value = float(self._sensor_class(Sensor.DS18B20, self._serial_number).get_temperature())
            if not _LEAST_C <= value <= _MOST_C:
                raise ValueError(f"{value} C is outside {_LEAST_C} to {_MOST_C} C")  # noqa: TRY301 - one place to log
        except (W1ThermSensorError, OSError, ValueError, IndexError) as e:
            # IndexError: a file with one line only. ValueError covers bytes that are not hexadecimal or not UTF-8.
            if not self._failing:
                log.warning("thermometer %s: %s %s", self._id, type(e).__name__, e)
            self._failing = True
            return None
        if self._failing:
            log.info("thermometer %s reads again", self._id)
        self._failing = False
        return value


def _serial_number(sensor_id: str) -> str:
    if not _SENSOR_ID.fullmatch(sensor_id):
        raise ThermometerError(
            f"thermometer.sensor_id = {sensor_id!r} is not a DS18B20's; write 28- and twelve hexadecimal digits, "
            "as `ls /sys/bus/w1/devices` shows it"
        )
    return sensor_id.removeprefix("28-")


def _sensor_class(directory: str) -> Any:  # noqa: ANN401 - the library has no types
    # The library runs modprobe when imported unless told not to; the Pi's device tree overlay loads the modules.
    os.environ["W1THERMSENSOR_NO_KERNEL_MODULE"] = "1"
    from w1thermsensor import W1ThermSensor

    class SensorInDirectory(W1ThermSensor):  # type: ignore[misc]
        BASE_DIRECTORY = Path(directory)

    return SensorInDirectory
