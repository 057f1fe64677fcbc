"""The 1-wire bus and the thermometer on it."""

import time
from dataclasses import replace
from pathlib import Path

from contract.finding import Finding, Verdict, failed, ok
from device.doctor.finding import halves
from device.doctor.machine import Machine, names_in
from device.settings import Thermometer
from device.thermometer import MEANING, Cause, Place, ThermometerError
from device.thermometer import Thermometer as ThermometerReader

_BOOT_CONFIG = "/boot/firmware/config.txt"
_W1_REMEDY = f"add the line dtoverlay=w1-gpio to {_BOOT_CONFIG} and reboot"
# A single read may fail on a long wire.
_READS_TO_FAIL = 3


def check_bus(directory: Path) -> Finding:
    """Whether the kernel has a 1-wire bus."""
    names = names_in(directory)
    if names is None:
        return failed(f"there is no 1-wire bus: {directory} is missing", _W1_REMEDY)
    sensors = [name for name in names if name.startswith("28-")]
    if not sensors and not any(name.startswith("w1_bus_master") for name in names):
        return failed(f"there is no 1-wire bus: {directory} has no w1_bus_master", _W1_REMEDY)
    if not sensors:
        noise = any(name.startswith("00-") for name in names)
        return failed(
            "the 1-wire bus has no DS18B20" + (", only noise (00-...)" if noise else ""),
            "see that the data wire is on GPIO 4, with 4.7 kilohm between it and 3.3 V, and that power and ground are "
            "not swapped",
        )
    return ok(f"{', '.join(sensors)} on the bus")


def check_thermometer(thermometer: Thermometer, machine: Machine, place: Place = Place.BOX) -> Finding:
    """Whether the sensor that the settings have for this place reads as control reads it."""
    sensor_id = thermometer.sensor_id if place is Place.BOX else thermometer.outside_sensor_id
    present = [name for name in names_in(Path(thermometer.directory)) or [] if name.startswith("28-")]
    try:
        reader = ThermometerReader(sensor_id, thermometer.directory, 0.1, machine.thermometer_wait_s, place=place)
    except ThermometerError as e:
        return failed(*halves(str(e), ""))
    try:
        if sensor_id not in present:
            return failed(
                f"{place.setting} {sensor_id} is not on the bus",
                f"write one that is: {', '.join(present)}" if present else "see the 1-wire bus above",
            )
        celsius = _first_temperature(reader, machine.thermometer_wait_s)
    finally:
        reader.close()
    if celsius is not None:
        return ok(f"{sensor_id} reads {celsius:.1f} C ({celsius * 1.8 + 32.0:.1f} F)")
    cause = max(reader.errors, key=lambda cause: reader.errors[cause], default=Cause.TIMEOUT)
    meaning, remedy = halves(MEANING[cause], "see that the plug sits firmly; the kernel finds it again by itself")
    return failed(f"{sensor_id} does not read: {meaning}", remedy)


def check_outside_thermometer(thermometer: Thermometer, machine: Machine) -> Finding:
    """The same of the sensor outside, which is no more than a warning: nothing is decided by it."""
    finding = check_thermometer(thermometer, machine, Place.OUTSIDE)
    return replace(finding, verdict=Verdict.WARNING) if finding.verdict is Verdict.FAILED else finding


def _first_temperature(reader: ThermometerReader, wait_s: float) -> float | None:
    deadline_s = time.monotonic() + wait_s
    while time.monotonic() < deadline_s and reader.errors.total() < _READS_TO_FAIL:
        reading = reader.reading(time.monotonic())
        if reading is not None:
            return reading.value
        time.sleep(0.02)
    return None
