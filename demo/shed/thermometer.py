"""A DS18B20 as Linux shows it: a folder with a file `w1_slave` of two lines.

Sources: Maxim's DS18B20 data sheet (scratchpad, CRC8 with polynomial x^8 + x^5 + x^4 + 1) and captured files.
"""

import shutil
from pathlib import Path

SENSOR_ID = "000005e2fdc3"
OUTSIDE_SENSOR_ID = "000005e2fe71"
LEAST_C, MOST_C = -55.0, 125.0

_ALARM_AND_12_BIT = bytes.fromhex("4b467fff")


class Thermometer:
    """The folder `28-<id>` under `directory`, as /sys/bus/w1/devices would hold it."""

    def __init__(self, directory: Path, sensor_id: str = SENSOR_ID) -> None:
        self._folder = directory / f"28-{sensor_id}"
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, temperature_c: float) -> None:
        """Show `temperature_c`, to the sixteenth of a degree; a reader sees the old file or the new one."""
        fresh = self._folder / "w1_slave.new"
        fresh.write_text(w1_slave(temperature_c), encoding="ascii")
        fresh.replace(self._folder / "w1_slave")

    def close(self) -> None:
        """Take the sensor away, folder and all. May be called again."""
        shutil.rmtree(self._folder, ignore_errors=True)


def w1_slave(temperature_c: float) -> str:
    """The file's text for `temperature_c`, cut to what the sensor can measure."""
    sixteenths = round(min(MOST_C, max(LEAST_C, temperature_c)) * 16)
    count_remain = 16 - sixteenths % 16
    scratchpad = sixteenths.to_bytes(2, "little", signed=True) + _ALARM_AND_12_BIT + bytes([count_remain, 0x10])
    checksum = crc8(scratchpad)
    shown = (scratchpad + bytes([checksum])).hex(" ")
    return f"{shown} : crc={checksum:02x} YES\n{shown} t={int(sixteenths * 1000 / 16)}\n"


def crc8(data: bytes) -> int:
    """The 1-Wire checksum of `data`."""
    remainder = 0
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x8C if remainder & 1 else 0)
    return remainder
