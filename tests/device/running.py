"""Runs the real `solarshed control`, on a pseudo-terminal, a 1-wire directory and pins in a file."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from demo.shed.pins import INPUT, PINS_VARIABLE, PinsView, open_pins
from demo.shed.serial_line import SerialLine
from demo.shed.thermometer import SENSOR_ID, Thermometer
from device.outbox import Outbox, Stream
from tests.device.mate_line import fx, mx

PINS = (17, 27)
LOW_V, IN_BAND_V, HIGH_V = 49.0, 51.0, 53.0
COOL_C, HOT_C = 21.0, 41.0

CONFIG = """
state_directory = "{state}"
runtime_directory = "{runtime}"
[battery]
low_hold_s = 0.3
recover_hold_s = 0.3
least_time_on_grid_s = 0.5
least_time_on_battery_s = 0.2
[box]
least_cooling_time_s = 0.5
thermometer_lost_after_s = 5.0
[monitor]
serial_port = "{port}"
stale_after_s = 1.0
lost_after_s = 2.0
lost_after_per_volt_s = 0.0
lost_after_cap_s = 2.0
[thermometer]
sensor_id = "28-{sensor}"
directory = "{w1}"
period_s = 0.1
stale_after_s = 1.0
[relays]
override_pause_s = 1.0
[control]
tick_s = 0.05
sample_interval_s = 0.5
heartbeat_interval_s = 1.0
write_interval_s = 0.0
boot_grace_s = 1.0
"""


class Writer:
    """Says what a MATE says, ten times a second, in a thread of its own."""

    def __init__(self, link: Path) -> None:
        self.voltage_v = IN_BAND_V
        self.noise = False
        self._line = SerialLine(link)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._thread.join()
            self._line.close()

    def _run(self) -> None:
        chance = random.Random(1)
        while not self._closing.wait(0.1):
            self._line.send(chance.randbytes(200) if self.noise else fx(48.0) + mx(self.voltage_v))


class Shed:
    """What control is connected to, and control."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.runtime = directory / "run"
        self.pins = directory / "pins"
        self.mate = Writer(directory / "mate")
        self.thermometer = Thermometer(directory / "w1")
        self.thermometer.write(COOL_C)
        self._view = PinsView(self.pins)
        self._stderr = directory / "stderr"
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, *, port: Path | None = None, sensor: str = SENSOR_ID, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        config = self.directory / "config.toml"
        port = port or self.directory / "mate"
        config.write_text(
            CONFIG.format(state=self.state, runtime=self.runtime, port=port, sensor=sensor, w1=self.directory / "w1"),
            encoding="utf-8",
        )
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "solarshed", "control", "--config", config],
                env=os.environ
                | {"GPIOZERO_PIN_FACTORY": "solarshed-demo", PINS_VARIABLE: str(self.pins)}
                | dict(environment or {}),
                stderr=stderr,
            )
        return self.process

    @property
    def words(self) -> str:
        return self._stderr.read_text(encoding="utf-8")

    def on_grid(self) -> bool:
        return self._view.are_high(PINS)

    def on_battery(self) -> bool:
        return not self._view.is_high(PINS[0]) and not self._view.is_high(PINS[1])

    def pins_are_inputs(self) -> bool:
        with open_pins(self.pins) as pins:
            return all(pins[number] == INPUT for number in PINS)

    def deciding(self) -> bool:
        return "deciding every" in self.words

    def rows(self, stream: Stream, directory: Path | None = None) -> list[dict[str, Any]]:
        outbox = Outbox(directory or self.state)
        rows = [json.loads(row.payload) for row in outbox.oldest(stream, 10_000)]
        outbox.close()
        return rows

    def heartbeat(self) -> dict[str, Any] | None:
        outbox = Outbox(self.state)
        newest = outbox.heartbeat()
        outbox.close()
        return None if newest is None else json.loads(newest[1])

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.mate.close()
        self._view.close()


def until(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "did not come to pass"
        time.sleep(0.02)
