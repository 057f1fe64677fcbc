"""A 1-wire bus in a directory, and the thermometer that reads from it."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from device.readings import Reading
from device.thermometer import Thermometer

SENSOR_ID = "28-000005e2fdc3"
OTHER_ID = "28-0000ffffffff"
PERIOD_S = 0.01

# Captured files, and constructed ones with a true checksum.
GOOD_20_69 = "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n4b 01 4b 46 7f ff 05 10 e1 t=20687\n"
GOOD_25_81 = "9d 01 4b 46 7f ff 03 10 57 : crc=57 YES\n9d 01 4b 46 7f ff 03 10 57 t=25812\n"
FAILED_CRC = "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n63 01 4b 46 7f ff 0d 10 15 t=-62\n"
POWER_ON = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n"
ALL_ZERO = "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n"


def crc8(data: bytes) -> int:
    remainder = 0
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x8C if remainder & 1 else 0)
    return remainder


def w1_slave(sixteenths: int) -> str:
    """The file of a sensor that measured this, also of one that cannot measure it."""
    scratchpad = sixteenths.to_bytes(2, "little", signed=True) + bytes.fromhex("4b467fff0c10")
    shown = (scratchpad + bytes([crc8(scratchpad)])).hex(" ")
    return f"{shown} : crc={shown[-2:]} YES\n{shown} t={int(sixteenths * 1000 / 16)}\n"


def celsius(temperature_c: float) -> str:
    return w1_slave(round(temperature_c * 16))


class Bus:
    """The sensor's file either stands there (`show`), or gives out one answer for one read (`pipe`, `answer`)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / SENSOR_ID / "w1_slave"
        self.thermometer: Thermometer | None = None
        self.samples: list[float] = []
        self.on_sample: Callable[[float], None] = lambda value_c: None
        self._piped = False

    def show(self, content: str | bytes, sensor_id: str = SENSOR_ID) -> None:
        """A reader sees the old content or the new one, never half of it."""
        folder = self.directory / sensor_id
        folder.mkdir(exist_ok=True)
        fresh = folder / "fresh"
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        fresh.replace(folder / "w1_slave")

    def pipe(self) -> None:
        """Each read waits for its `answer`."""
        self.file.parent.mkdir(exist_ok=True)
        os.mkfifo(self.file)
        self._piped = True

    def start(self, stale_after_s: float = 30.0, period_s: float = PERIOD_S) -> Thermometer:
        self.thermometer = Thermometer(SENSOR_ID, str(self.directory), period_s, stale_after_s, self._sampled)
        return self.thermometer

    def _sampled(self, value_c: float) -> None:
        self.on_sample(value_c)
        self.samples.append(value_c)

    def close(self) -> None:
        if self.thermometer is not None:
            self.thermometer.close()
            if self._piped:
                os.close(os.open(self.file, os.O_RDWR | os.O_NONBLOCK))  # lets go a read that waits

    @property
    def reads(self) -> int:
        """How many have ended; all that follows from one is visible by then."""
        assert self.thermometer is not None
        return len(self.samples) + self.thermometer.errors.total()

    def newest(self) -> Reading | None:
        assert self.thermometer is not None
        return self.thermometer.reading(time.monotonic())

    def is_failing(self) -> bool:
        assert self.thermometer is not None
        return self.thermometer.is_failing(time.monotonic())

    def let_pass(self, reads: int) -> None:
        self._until_reads_are(self.reads + reads)

    def say(self, content: str | bytes) -> None:
        """Show it, and wait for a read that has begun since."""
        self.show(content)
        self.let_pass(2)

    def answer(self, content: str | bytes) -> None:
        """Answer one read."""
        before = self.reads
        self.give(content)
        self._until_reads_are(before + 1)

    def give(self, content: str | bytes) -> None:
        """Give the read that waits its answer."""
        deadline_s = time.monotonic() + 10.0
        while True:
            try:
                pipe = os.open(self.file, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as e:
                if e.errno != errno.ENXIO or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.0005)  # nobody reads yet
            else:
                break
        os.write(pipe, content.encode() if isinstance(content, str) else content)
        os.close(pipe)

    def _until_reads_are(self, count: int) -> None:
        deadline_s = time.monotonic() + 10.0
        while self.reads < count:
            assert time.monotonic() < deadline_s
            time.sleep(0.0005)
