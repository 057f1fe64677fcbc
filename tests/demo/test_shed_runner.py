"""The whole simulator: in this process without a clock, and as a real process behind a real pseudo-terminal."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from demo.shed.pins import HIGH, open_pins
from demo.shed.runner import Runner, RunSettings
from demo.shed.scenario import SCENARIOS
from demo.shed.serial_line import MOST_UNREAD_BYTES, SerialLine
from demo.shed.thermometer import OUTSIDE_SENSOR_ID, SENSOR_ID

PAGE_BYTES = 49


@pytest.fixture
def line(tmp_path: Path) -> Iterator[SerialLine]:
    serial_line = SerialLine(tmp_path / "mate")
    yield serial_line
    serial_line.close()


def test_a_serial_port_at_19200_reads_what_the_line_sends(line: SerialLine, tmp_path: Path) -> None:
    with serial.Serial(str(tmp_path / "mate"), 19200, timeout=2) as port:
        line.send(b"\none\r\ntwo\r")

        assert port.read(10) == b"\none\r\ntwo\r"


def test_bursts_that_nobody_reads_are_dropped_whole_and_block_nothing(line: SerialLine, tmp_path: Path) -> None:
    burst = bytes(range(147))
    reader = os.open(tmp_path / "mate", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)

    sent = [line.send(burst) for _ in range(200) if _settle()]
    unread = os.read(reader, 65536)
    sent_after = line.send(burst)
    os.close(reader)

    assert sent.count(True) == MOST_UNREAD_BYTES // len(burst)
    assert not any(sent[sent.count(True) :])
    assert unread == burst * sent.count(True)
    assert sent_after


def _settle() -> bool:
    """Give the kernel a moment to move bytes across the terminal."""
    time.sleep(0.001)
    return True


def test_a_reader_may_go_and_another_may_come(line: SerialLine, tmp_path: Path) -> None:
    for text in (b"\nfirst\r", b"\nsecond\r"):
        with serial.Serial(str(tmp_path / "mate"), 19200, timeout=2) as port:
            line.send(text)

            assert port.read(len(text)) == text


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    settings = RunSettings(tmp_path, SCENARIOS["calm"], state_file=tmp_path / "state.json")
    made = Runner(settings, lambda _: None)
    yield made
    if (tmp_path / "mate").is_symlink():
        made.close()


def ac_mode(port: serial.Serial) -> str:
    return port.read(3 * PAGE_BYTES)[:PAGE_BYTES].decode("ascii").split(",")[9]


def test_closing_both_relays_makes_ac_appear_and_opening_one_makes_it_go(runner: Runner, tmp_path: Path) -> None:
    with open_pins(tmp_path / "pins") as pins, serial.Serial(str(tmp_path / "mate"), 19200, timeout=2) as port:
        seen = []
        for left, right in [(0, 0), (HIGH, 0), (HIGH, HIGH), (HIGH, HIGH), (0, HIGH)]:
            pins[17], pins[27] = left, right
            runner.tick(0.25)
            seen.append(ac_mode(port))

    assert seen == ["00", "00", "01", "02", "00"]


def test_the_state_file_shows_the_simulated_hour(runner: Runner, tmp_path: Path) -> None:
    runner.tick(5.0)

    state = json.loads((tmp_path / "state.json").read_text())

    assert set(state) == {"day", "hour", "soc_percent", "sun", "fan_working"}
    assert (state["day"], state["hour"]) == (1, 19.0)


def test_the_air_outside_is_on_the_same_bus_and_the_clouds_are_in_a_file(tmp_path: Path) -> None:
    weather_file = tmp_path / "run/weather.json"
    runner = Runner(RunSettings(tmp_path / "shed", SCENARIOS["calm"], weather_file=weather_file), lambda _: None)
    try:
        for _ in range(4):
            runner.tick(0.25)
        outside = (tmp_path / f"shed/w1/28-{OUTSIDE_SENSOR_ID}/w1_slave").read_text()
        box = (tmp_path / f"shed/w1/28-{SENSOR_ID}/w1_slave").read_text()
        clouds = json.loads(weather_file.read_text())
    finally:
        runner.close()

    outside_c, box_c = (int(text.rpartition("t=")[2]) / 1000 for text in (outside, box))
    assert 14.5 <= outside_c < box_c
    assert clouds == {"cloud_cover_percent": 25}
    assert list((tmp_path / "run").iterdir()) == []


def test_a_machine_that_slept_does_not_simulate_the_days_it_missed(runner: Runner, tmp_path: Path) -> None:
    runner.tick(3600.0)

    assert json.loads((tmp_path / "state.json").read_text())["hour"] == 19.0


def test_closing_removes_all_that_it_made(runner: Runner, tmp_path: Path) -> None:
    runner.tick(0.25)
    runner.close()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"speed": 0.0}, {"burst_interval_s": -1.0}])
def test_impossible_settings_are_refused(tmp_path: Path, settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RunSettings(tmp_path, SCENARIOS["calm"], **settings)  # type: ignore[arg-type]


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "demo.shed", "--directory", str(directory), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_program_says_ready_shows_pages_tells_events_and_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start(directory, "--speed", "3600", "--burst-interval", "0.05", "--start-hour", "23.9")
    try:
        assert process.stdout
        first_line = process.stdout.readline()
        with serial.Serial(str(directory / "mate"), 19200, timeout=2) as port:
            received = port.read(6 * PAGE_BYTES)
        event = json.loads(process.stdout.readline())
        shown = sorted(path.name for path in directory.iterdir())
        process.send_signal(signal.SIGTERM)
        asked_s = time.monotonic()
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()

    assert first_line == "ready\n"
    assert received.count(b"\r") == 6
    assert (event["event"], event["day"]) == ("day 2", 2)
    assert shown == ["mate", "pins", "w1"]
    assert time.monotonic() - asked_s < 1.5
    assert (process.returncode, errors) == (0, "")
    assert list(directory.iterdir()) == []


def test_the_program_ends_when_its_reader_has_gone(tmp_path: Path) -> None:
    process = start(tmp_path, "--speed", "7200", "--burst-interval", "0.05", "--start-hour", "23.9")
    try:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        status = process.wait(10)
        errors = process.stderr.read()
        process.stderr.close()
    finally:
        process.kill()

    assert (status, errors) == (1, "")
    assert list(tmp_path.iterdir()) == []


def test_an_hour_that_no_day_has_is_a_wrong_usage(tmp_path: Path) -> None:
    process = start(tmp_path, "--start-hour", "24")
    _, errors = process.communicate(timeout=10)

    assert process.returncode == 2
    assert "hour of the day" in errors
