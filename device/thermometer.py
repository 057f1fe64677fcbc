"""A DS18B20, through w1thermsensor, in a thread of its own: one read takes 750 ms or more.

A read that gives no temperature is counted by its cause. Single ones are normal on a long wire; `is_failing` tells when
they are more than that.
"""

import errno
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from contract.errors import SolarshedError
from device.readings import Reading

log = logging.getLogger(__name__)

# The DS18B20's range. The library passes on what is outside of it: -110 C has been seen on a pulled pin.
_LEAST_C = -55.0
_MOST_C = 125.0
# What it says when its supply breaks down while it measures.
_TOO_LITTLE_POWER_C = 127.9375
# What it says until its first measurement, and after a loss of power.
_POWER_ON_C = 85.0

_MOST_FAILURES_IN_A_ROW = 4
_HUNG_AFTER_S = 5.0

# As the kernel spells it, in small letters: it is the name of a folder.
_SENSOR_ID = re.compile(r"28-[0-9a-f]{12}")
_ANY_SENSOR_ID = re.compile(r"[0-9a-f]{2}-[0-9a-f]{12}")

# The kernel's text: the scratchpad's nine bytes and what the checksum says, the same bytes again and millidegrees.
_TEXT = re.compile(r"((?:[0-9a-f]{2} ){9}): crc=[0-9a-f]{2} YES\n\1t=(-?[0-9]{1,7})\n")
_ALL_ZERO = "00 " * 9
# How far the millidegrees may be from the bytes: a clone with 14 bits shows more digits in one than in the other.
_ROUNDING_C = 0.1

# A folder that vanished before the read, or a sensor that did during it.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO)


class Cause(StrEnum):
    """Why a read gave no temperature."""

    CRC = "crc"
    ALL_ZERO = "all_zero"
    SHAPE = "shape"
    POWER_ON = "power_on"
    POWER = "power"
    RANGE = "range"
    MISSING = "missing"
    IO = "io"
    TIMEOUT = "timeout"


# What each cause means and what to do about it, in words.
MEANING = {
    Cause.CRC: "the checksum is wrong; shorten the cable, twist it, or take 2.2 kilohm in place of 4.7",
    Cause.ALL_ZERO: "it says zeros only; see that the data wire has not come off",
    Cause.SHAPE: "the kernel shows no whole answer of it; see that the plug sits firmly",
    Cause.POWER_ON: "it says 85.0 C, its value at power-on; see that its 3.3 V stays while it measures",
    Cause.POWER: "it says 127.94 C, which means too little power; give it 3.3 V on a wire of its own",
    Cause.RANGE: f"it says what is outside of {_LEAST_C:g} to {_MOST_C:g} C; see its 3.3 V and the 4.7 kilohm",
    Cause.MISSING: "it is not on the 1-wire bus",
    Cause.IO: "the kernel cannot read it; see `dmesg`",
    Cause.TIMEOUT: f"a read takes longer than {_HUNG_AFTER_S:g} s; see `dmesg`, and restart the Pi if it stays so",
}


class Place(StrEnum):
    """Where a thermometer is, as the log calls it."""

    BOX = "thermometer"
    OUTSIDE = "outside thermometer"

    @property
    def setting(self) -> str:
        """The setting with its id."""
        return "thermometer.sensor_id" if self is Place.BOX else "thermometer.outside_sensor_id"


class ThermometerError(SolarshedError, ValueError):
    """The thermometer's id cannot be used; the text says why."""


class _ReadError(Exception):
    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


class Thermometer:
    """Keeps the newest valid temperature. Neither `reading` nor `is_failing` ever waits for the sensor.

    `errors` counts the reads that gave no temperature, by cause; it is a new object after each.
    """

    def __init__(
        self,
        sensor_id: str,
        directory: str,
        period_s: float,
        stale_after_s: float,
        on_sample: Callable[[float], None] | None = None,
        place: Place = Place.BOX,
    ) -> None:
        """Start reading the sensor with this id, and no other.

        `on_sample` is called with each valid temperature in C, in the thermometer's thread, as soon as `reading` gives
        it. It must not wait and not raise.

        Raises:
            ThermometerError: the id is not that of a DS18B20.
        """
        self._id = sensor_id
        self._place = place
        self._serial_number = _serial_number(sensor_id, place)
        self._directory = Path(directory)
        self._sensor_class = _sensor_class(self._directory)
        self._sensor: Any = None
        self._period_s = period_s
        self._stale_after_s = stale_after_s
        self._on_sample = on_sample
        self._newest: Reading | None = None
        self.errors: Counter[Cause] = Counter()
        self._lock = threading.Lock()
        self._began_s: float | None = None
        self._hangs = False
        self._failures_in_a_row = 0
        self._failing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=place, daemon=True)
        self._thread.start()

    def reading(self, now_s: float) -> Reading | None:
        """The newest valid temperature in C that is not older than the limit, else None."""
        newest = self._newest
        return newest if newest is not None and now_s - newest.at_s <= self._stale_after_s else None

    def is_failing(self, now_s: float) -> bool:
        """Whether more than four reads in a row gave nothing, or one has been going on for more than 5 s.

        One that gives a temperature ends it.
        """
        self._watch(now_s)
        return self._failing

    def close(self) -> None:
        """Stop reading. A read that hangs in the kernel is left behind: the thread is a daemon."""
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.wait(self._period_s):
            with self._lock:
                self._began_s = time.monotonic()
            try:
                value_c = self._temperature_c()
            except _ReadError as e:
                self._end(e.cause, time.monotonic())
                continue
            now_s = time.monotonic()
            if self._end(None, now_s):
                self._newest = Reading(value_c, now_s, self._id)
                if self._on_sample is not None:
                    self._on_sample(value_c)

    def _temperature_c(self) -> float:
        """One read. It takes as long as the kernel takes.

        Raises:
            _ReadError: it gave no temperature.
        """
        from w1thermsensor import NoSensorFoundError, ResetValueError, Sensor

        sensor, self._sensor = self._sensor, None
        try:
            # With type and id the library looks at that one file; with less it lists the bus, and one bad entry
            # hides all. It refuses to be made while the sensor is away, so it is made anew after each failure.
            sensor = sensor or self._sensor_class(Sensor.DS18B20, self._serial_number)
            value_c = float(sensor.get_temperature())
        except NoSensorFoundError as e:
            raise _ReadError(Cause.MISSING) from e
        except ResetValueError as e:
            raise _ReadError(Cause.POWER_ON) from e
        except OSError as e:
            raise _ReadError(Cause.MISSING if e.errno in _GONE else Cause.IO) from e
        if abs(value_c - sensor.stated_c) > _ROUNDING_C:
            raise _ReadError(Cause.SHAPE)
        if value_c == _TOO_LITTLE_POWER_C:
            raise _ReadError(Cause.POWER)
        if not _LEAST_C <= value_c <= _MOST_C:
            raise _ReadError(Cause.RANGE)
        self._sensor = sensor
        return value_c

    # What is counted. A read that hangs is noticed by whoever asks, because its own thread cannot.

    def _watch(self, now_s: float) -> None:
        with self._lock:
            hangs = not self._hangs and self._began_s is not None and now_s - self._began_s > _HUNG_AFTER_S
            self._hangs = self._hangs or hangs
            begins = hangs and self._begins_to_fail()
        if hangs:
            self._failed(Cause.TIMEOUT, begins=begins)

    def _end(self, cause: Cause | None, now_s: float) -> bool:
        """The end of a read. Whether it gave a temperature that may be used: not after a hang, it may be an old one."""
        self._watch(now_s)
        with self._lock:
            hung, self._hangs, self._began_s = self._hangs, False, None
            if hung:
                return False
            was_failing = self._failing
            if cause is None:
                self._failing, self._failures_in_a_row = False, 0
            else:
                self._failures_in_a_row += 1
            begins = self._failures_in_a_row > _MOST_FAILURES_IN_A_ROW and self._begins_to_fail()
        if cause is not None:
            self._failed(cause, begins=begins)
            return False
        if was_failing:
            log.info("%s %s reads again", self._place, self._id)
        return True

    def _begins_to_fail(self) -> bool:
        """Whether it was not failing before. The caller holds the lock."""
        was_failing, self._failing = self._failing, True
        return not was_failing

    def _failed(self, cause: Cause, *, begins: bool) -> None:
        # Without the lock: listing the bus or the log may take its time, and whoever decides asks `is_failing`.
        if begins:
            self._warn(cause)
        with self._lock:
            self.errors = self.errors + Counter([cause])

    def _warn(self, cause: Cause) -> None:
        meaning = MEANING[cause]
        if cause is Cause.MISSING:
            meaning = f"{meaning}, {_others(self._directory, self._id, self._place)}"
        log.warning("%s %s gives no temperature (%s): %s", self._place, self._id, cause, meaning)


def is_plausible_temperature(value_c: float) -> bool:
    """Whether a DS18B20 that works can mean this: in its range, and not exactly its value at power-on."""
    return _LEAST_C <= value_c <= _MOST_C and value_c != _POWER_ON_C


def _others(directory: Path, sensor_id: str, place: Place) -> str:
    """Which sensors are there instead, in words."""
    try:
        names = {path.name for path in directory.iterdir()} - {sensor_id}
    except OSError as e:
        return f"and {directory} cannot be listed ({e.strerror}); see `solarshed doctor`"
    ids = sorted(filter(_ANY_SENSOR_ID.fullmatch, names))
    if not ids:
        return "and no other one is; see the plug, and `solarshed doctor`"
    where = "in the box" if place is Place.BOX else "outside"
    return f"which has {', '.join(ids)}; if that is the one {where}, write it as {place.setting}"


def check_sensor_id(sensor_id: str, place: Place = Place.BOX) -> None:
    """See that this can be a DS18B20's id, as the kernel spells it.

    Raises:
        ThermometerError: it cannot.
    """
    if not _SENSOR_ID.fullmatch(sensor_id):
        raise ThermometerError(
            f"{place.setting} = {sensor_id!r} is not a DS18B20's; write 28- and twelve hexadecimal digits, "
            "as `ls /sys/bus/w1/devices` shows it, in small letters"
        )


def _serial_number(sensor_id: str, place: Place) -> str:
    check_sensor_id(sensor_id, place)
    return sensor_id.removeprefix("28-")


def _sensor_class(directory: Path) -> Any:  # noqa: ANN401 - the library has no types
    # The library runs modprobe when imported unless told not to; the Pi's device tree overlay loads the modules.
    os.environ["W1THERMSENSOR_NO_KERNEL_MODULE"] = "1"
    from w1thermsensor import W1ThermSensor

    class SensorInDirectory(W1ThermSensor):  # type: ignore[misc]
        """Reads the file itself: the library looks at a few of its characters only, and does not say what is wrong."""

        BASE_DIRECTORY = directory

        def get_raw_sensor_strings(self) -> list[str]:
            text: str = self.sensorpath.read_bytes().decode("ascii", "replace")
            self.stated_c = _stated_c(text)
            return text.splitlines()

    return SensorInDirectory


def _stated_c(text: str) -> float:
    """The temperature that a whole and undamaged text states.

    Raises:
        _ReadError: it is none.
    """
    if text.partition("\n")[0].endswith(" NO"):
        raise _ReadError(Cause.CRC)
    stated = _TEXT.fullmatch(text)
    if stated is None:
        raise _ReadError(Cause.SHAPE)
    if stated[1] == _ALL_ZERO:
        raise _ReadError(Cause.ALL_ZERO)
    return int(stated[2]) / 1000
