"""Runs a simulated shed in real time, many times faster than life, and shows it as bytes, files and pins."""

import contextlib
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.shed.events import happened
from demo.shed.inverter import InverterSettings
from demo.shed.mate import burst
from demo.shed.physics import LONGEST_STEP_S, Shed, ShedSettings, ShedState
from demo.shed.pins import PinsView
from demo.shed.scenario import FanStory, Scenario
from demo.shed.serial_line import SerialLine
from demo.shed.thermometer import OUTSIDE_SENSOR_ID, Thermometer
from device.stopping import StopRequest

THERMOMETER_INTERVAL_S = 0.5
# A machine that slept, or was stopped, does not have to simulate the days that it missed.
LONGEST_CATCH_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How fast, where, and on which GPIO numbers. Seconds are real ones; `speed` is simulated ones for each of them."""

    directory: Path
    scenario: Scenario
    speed: float = 720.0
    burst_interval_s: float = 0.25
    relay_pins: tuple[int, ...] = (17, 27)
    seed: int = 1
    state_file: Path | None = None
    # Where a program of the owner's would say how much of the sky is cloud, for control to read.
    weather_file: Path | None = None

    def __post_init__(self) -> None:
        if self.speed <= 0.0:
            raise ValueError(f"speed is {self.speed}: it has to be above 0 (1 is real life, 720 a day in two minutes)")
        if self.burst_interval_s <= 0.0:
            raise ValueError(f"burst interval is {self.burst_interval_s} s: it has to be above 0")


class Story:
    """A shed that lives through its scenario, and tells what happens."""

    def __init__(self, scenario: Scenario, seed: int, tell: Callable[[ShedState, str], None]) -> None:
        self.shed = Shed(shed_settings(scenario, seed))
        self._fan = FanStory(scenario.fan_trouble) if scenario.fan_trouble else None
        self._tell = tell
        self._seen = self.shed.state

    def advance(self, duration_s: float, relays_closed: bool) -> None:
        """Let `duration_s` simulated seconds pass."""
        while duration_s > 0.0:
            dt_s = min(duration_s, LONGEST_STEP_S)
            duration_s -= dt_s
            self.shed.step(dt_s, relays_closed)
            if self._fan:
                self._fan.step(dt_s, self.shed)
            self._tell_news()

    def _tell_news(self) -> None:
        now = self.shed.state
        for event in happened(self._seen, now):
            self._tell(now, event)
        self._seen = now


class Runner:
    """Owns what the shed shows to others; `close` removes all of it."""

    def __init__(self, settings: RunSettings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        settings.directory.mkdir(parents=True, exist_ok=True)
        if settings.weather_file:
            settings.weather_file.parent.mkdir(parents=True, exist_ok=True)
        self._story = Story(settings.scenario, settings.seed, self._tell)
        self._pins_file = settings.directory / "pins"
        self._pins = PinsView(self._pins_file)
        self._line = SerialLine(settings.directory / "mate")
        self._w1 = settings.directory / "w1"
        self._thermometer = Thermometer(self._w1)
        self._outside = Thermometer(self._w1, OUTSIDE_SENSOR_ID)
        self._bursts = 0
        self._thermometer_due_s = 0.0
        self._show_weather_and_state()

    def tick(self, elapsed_s: float) -> None:
        """Let `elapsed_s` real seconds pass in the shed, then show its state."""
        relays_closed = self._pins.are_high(self._settings.relay_pins)
        self._story.advance(min(elapsed_s, LONGEST_CATCH_UP_S) * self._settings.speed, relays_closed)
        self._line.send(burst(self._story.shed.state, self._bursts))
        self._bursts += 1
        self._thermometer_due_s -= elapsed_s
        self._show_weather_and_state()

    def close(self) -> None:
        """Remove the line, the thermometers, the pins and both files."""
        self._line.close()
        self._thermometer.close()
        self._outside.close()
        with contextlib.suppress(OSError):
            self._w1.rmdir()
        self._pins.close()
        self._pins_file.unlink(missing_ok=True)
        for file in (self._settings.state_file, self._settings.weather_file):
            if file:
                file.unlink(missing_ok=True)

    def _show_weather_and_state(self) -> None:
        state = self._story.shed.state
        if self._thermometer_due_s <= 0.0:
            self._thermometer.write(state.box_temperature_c)
            self._outside.write(state.ambient_c)
            self._thermometer_due_s = THERMOMETER_INTERVAL_S
        if self._settings.state_file:
            _replace_json(self._settings.state_file, true_state(state))
        if self._settings.weather_file:
            _replace_json(self._settings.weather_file, {"cloud_cover_percent": round(state.cloud_cover * 100.0)})

    def _tell(self, state: ShedState, event: str) -> None:
        time_text = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._say(json.dumps({"time": time_text, "day": state.day, "hour": round(state.hour, 2), "event": event}))


def shed_settings(scenario: Scenario, seed: int) -> ShedSettings:
    """The shed that `scenario` starts with."""
    return ShedSettings(
        seed=seed,
        start_hour=scenario.start_hour,
        start_soc=scenario.start_soc,
        inverter=InverterSettings(qualify_s=scenario.qualify_s),
    )


def true_state(state: ShedState) -> dict[str, Any]:
    """What no sensor shows: the simulated time, the true state of charge, the sun (0 to 1) and the fan."""
    return {
        "day": state.day,
        "hour": round(state.hour, 3),
        "soc_percent": round(state.soc * 100.0, 2),
        "sun": round(state.sun, 3),
        "fan_working": state.fan_working,
    }


def run(settings: RunSettings, say: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT, then remove what was made in the directory. Says `ready` first, then events."""
    stopping = StopRequest(signal.SIGTERM, signal.SIGINT)
    runner = Runner(settings, say)
    try:
        say("ready")
        last_s = time.monotonic()
        while not stopping.wait(last_s + settings.burst_interval_s - time.monotonic()):
            now_s = time.monotonic()
            runner.tick(now_s - last_s)
            last_s = now_s
    finally:
        runner.close()


def _replace_json(path: Path, content: dict[str, Any]) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)
