import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from contract.finding import Finding, Verdict
from demo.shed.thermometer import w1_slave
from device.doctor import Machine
from device.doctor.one_wire import check_bus, check_outside_thermometer, check_thermometer
from device.settings import Thermometer
from tests.device.doctor.findings import assert_failed, assert_warned, show
from tests.device.one_wire import OTHER_ID, SENSOR_ID


@pytest.mark.parametrize(
    ("present", "sentence", "remedy"),
    [
        (None, "there is no 1-wire bus: ", "dtoverlay=w1-gpio to /boot/firmware/config.txt and reboot"),
        ([], "has no w1_bus_master", "dtoverlay=w1-gpio to /boot/firmware/config.txt and reboot"),
        (["w1_bus_master1"], "the 1-wire bus has no DS18B20", "4.7 kilohm"),
        (["00-800000000000", "w1_bus_master1"], "only noise (00-...)", "4.7 kilohm"),
    ],
)
def test_T9_a_bus_without_a_sensor_fails(present: list[str] | None, sentence: str, remedy: str, tmp_path: Path) -> None:
    for name in present or []:
        (tmp_path / "w1" / name).mkdir(parents=True)
    if present == []:
        (tmp_path / "w1").mkdir()

    assert_failed(check_bus(tmp_path / "w1"), sentence, remedy)


def test_a_bus_names_its_sensors(tmp_path: Path) -> None:
    for name in (SENSOR_ID, OTHER_ID, "w1_bus_master1"):
        (tmp_path / name).mkdir()

    assert check_bus(tmp_path) == Finding(Verdict.OK, f"{SENSOR_ID}, {OTHER_ID} on the bus")


def thermometer(directory: Path, sensor_id: str = SENSOR_ID) -> Thermometer:
    return Thermometer(sensor_id=sensor_id, directory=str(directory))


def test_a_sensor_that_reads_is_fine_and_shows_its_temperature(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / SENSOR_ID / "w1_slave", w1_slave(22.5))

    finding = check_thermometer(thermometer(tmp_path), machine)

    assert finding == Finding(Verdict.OK, f"{SENSOR_ID} reads 22.5 C (72.5 F)")


def test_T11_a_wrong_id_fails_and_names_those_that_are_there(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / OTHER_ID / "w1_slave", w1_slave(22.25))

    finding = check_thermometer(thermometer(tmp_path), machine)

    assert_failed(finding, f"thermometer.sensor_id {SENSOR_ID} is not on the bus", f"write one that is: {OTHER_ID}")


def test_a_wrong_id_on_an_empty_bus_points_to_the_bus(machine: Machine, tmp_path: Path) -> None:
    finding = check_thermometer(thermometer(tmp_path / "missing"), machine)

    assert_failed(finding, "is not on the bus", "see the 1-wire bus above")


def test_an_id_that_is_none_fails(machine: Machine, tmp_path: Path) -> None:
    finding = check_thermometer(thermometer(tmp_path, "10-000005e2fdc3"), machine)

    assert_failed(finding, "'10-000005e2fdc3' is not a DS18B20's", "28- and twelve hexadecimal digits")


def both(directory: Path) -> Thermometer:
    return Thermometer(sensor_id=SENSOR_ID, outside_sensor_id=OTHER_ID, directory=str(directory))


def test_the_sensor_outside_is_looked_at_as_well(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / SENSOR_ID / "w1_slave", w1_slave(22.5))
    show(tmp_path / OTHER_ID / "w1_slave", w1_slave(-3.5))

    finding = check_outside_thermometer(both(tmp_path), machine)

    assert finding == Finding(Verdict.OK, f"{OTHER_ID} reads -3.5 C (25.7 F)")


def test_a_sensor_outside_that_does_not_read_is_no_more_than_a_warning(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / SENSOR_ID / "w1_slave", w1_slave(22.5))

    finding = check_outside_thermometer(both(tmp_path), machine)

    assert_warned(finding, f"thermometer.outside_sensor_id {OTHER_ID} is not on the bus", SENSOR_ID)


def slave(scratchpad: str, millidegrees: int) -> str:
    return f"{scratchpad} : crc={scratchpad[-2:]} YES\n{scratchpad} t={millidegrees}\n"


UNREADABLE = {
    "T1": (
        "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n63 01 4b 46 7f ff 0d 10 15 t=-62\n",
        "checksum",
        "shorten the cable",
    ),
    "T2": (slave("50 05 4b 46 7f ff 0c 10 1c", 85000), "value at power-on", "3.3 V"),
    "T4": (slave("ff 07 4b 46 7f ff 0c 10 a6", 127937), "too little power", "3.3 V"),
    "T5": (slave("00 00 00 00 00 00 00 00 00", 0), "zeros only", "data wire"),
    "T7": (slave("20 f9 4b 46 7f ff 0c 10 00", -110000), "outside of -55 to 125 C", "4.7 kilohm"),
    "T8": ("4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n", "no whole answer", "plug"),
}


@pytest.mark.parametrize(("content", "cause", "remedy"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_sensor_that_does_not_read_fails_with_its_own_cause(
    content: str, cause: str, remedy: str, machine: Machine, tmp_path: Path
) -> None:
    show(tmp_path / SENSOR_ID / "w1_slave", content)

    assert_failed(check_thermometer(thermometer(tmp_path), machine), cause, remedy)


def test_T9_a_sensor_whose_file_has_gone_fails(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / SENSOR_ID).mkdir()

    finding = check_thermometer(thermometer(tmp_path), machine)

    assert_failed(finding, "it is not on the 1-wire bus", "plug")


def test_T12_two_failures_before_a_temperature_are_none(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / SENSOR_ID / "w1_slave", UNREADABLE["T1"][0])
    fresh = tmp_path / "fresh"
    fresh.write_text(w1_slave(22.5))
    threading.Timer(0.25, lambda: fresh.replace(tmp_path / SENSOR_ID / "w1_slave")).start()

    finding = check_thermometer(thermometer(tmp_path), replace(machine, thermometer_wait_s=5.0))

    assert finding.verdict is Verdict.OK


def test_T10_a_sensor_that_hangs_fails(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / SENSOR_ID).mkdir()
    pipe = tmp_path / SENSOR_ID / "w1_slave"
    os.mkfifo(pipe)  # opening it waits for a writer

    finding = check_thermometer(thermometer(tmp_path), machine)

    assert_failed(finding, "a read takes longer", "restart the Pi")
    pipe.write_text(w1_slave(20.0))  # let the thread go
