"""The thermometer's file, read by the library that reads the real one."""

import os
from pathlib import Path

import pytest

# Looked at when the library is imported; without it, it would load kernel modules.
os.environ["W1THERMSENSOR_NO_KERNEL_MODULE"] = "1"

from w1thermsensor import Sensor, W1ThermSensor

from demo.shed.thermometer import SENSOR_ID, Thermometer, w1_slave

# Captured from sensors, found on raspberrypi.org (forum t=91982) and in public samples.
CAPTURED = {
    20.6875: "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n4b 01 4b 46 7f ff 05 10 e1 t=20687\n",
    3.9375: "3f 00 4b 46 7f ff 01 10 47 : crc=47 YES\n3f 00 4b 46 7f ff 01 10 47 t=3937\n",
    25.8125: "9d 01 4b 46 7f ff 03 10 57 : crc=57 YES\n9d 01 4b 46 7f ff 03 10 57 t=25812\n",
    18.625: "2a 01 4b 46 7f ff 06 10 16 : crc=16 YES\n2a 01 4b 46 7f ff 06 10 16 t=18625\n",
}


@pytest.mark.parametrize("temperature_c", CAPTURED)
def test_the_file_is_what_a_real_sensor_showed(temperature_c: float) -> None:
    assert w1_slave(temperature_c) == CAPTURED[temperature_c]


@pytest.mark.parametrize("temperature_c", [-10.125, 0.0, 21.3, 34.99, 35.0, 124.9])
def test_the_library_reads_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature_c: float
) -> None:
    monkeypatch.setattr(W1ThermSensor, "BASE_DIRECTORY", tmp_path)
    Thermometer(tmp_path).write(temperature_c)

    read_c = W1ThermSensor(Sensor.DS18B20, SENSOR_ID).get_temperature()

    assert read_c == round(temperature_c * 16) / 16


def test_only_the_sensor_and_its_file_are_to_be_seen(tmp_path: Path) -> None:
    thermometer = Thermometer(tmp_path)
    thermometer.write(20.0)
    thermometer.write(21.0)

    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        f"28-{SENSOR_ID}",
        f"28-{SENSOR_ID}/w1_slave",
    ]


def test_a_closed_thermometer_leaves_nothing_behind(tmp_path: Path) -> None:
    thermometer = Thermometer(tmp_path)
    thermometer.write(20.0)

    thermometer.close()
    thermometer.close()

    assert list(tmp_path.iterdir()) == []
