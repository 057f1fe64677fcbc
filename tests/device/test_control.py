"""The real `solarshed control` in a process of its own, on a pseudo-terminal, a 1-wire directory and pins in a file."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.shed.mate import fx_page, mx_page
from demo.shed.pins import INPUT, PINS_VARIABLE, PinsView, open_pins
from demo.shed.serial_line import SerialLine
from demo.shed.thermometer import SENSOR_ID, Thermometer
from device import control
from device.control import OutboxWriter
from device.journal import Entry
from device.outbox import FILE_NAME, Outbox, Stream

PINS = (17, 27)
LOW_V, IN_BAND_V, HIGH_V = 49.0, 51.0, 53.0
COOL_C, HOT_C = 21.0, 41.0

CONFIG = """
state_directory = "{state}"
[battery]
low_hold_s = 0.3
recover_hold_s = 0.3
least_time_on_grid_s = 0.5
least_time_on_battery_s = 0.2
[box]
least_cooling_time_s = 0.5
[monitor]
serial_port = "{port}"
stale_after_s = 1.0
[thermometer]
sensor_id = "28-{sensor}"
directory = "{w1}"
period_s = 0.1
stale_after_s = 1.0
[control]
tick_s = 0.05
sample_interval_s = 0.5
heartbeat_interval_s = 1.0
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
            self._line.send(chance.randbytes(200) if self.noise else pages(self.voltage_v))


def pages(voltage_v: float) -> bytes:
    fx = fx_page(
        port=1,
        inverter_current_a=3.0,
        charger_current_a=0.0,
        buy_current_a=0.0,
        ac_input_voltage_v=0.0,
        ac_output_voltage_v=120.0,
        operating_mode=2,
        ac_mode=0,
        battery_tenths_v=480,
    )
    mx = mx_page(
        port=2,
        charger_current_a=8.5,
        panel_current_a=6.0,
        panel_voltage_v=75.0,
        daily_kwh=1.5,
        charger_mode=2,
        battery_voltage_v=voltage_v,
        daily_ah=33.0,
    )
    return fx + mx


class Shed:
    """What control is connected to, and control."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.pins = directory / "pins"
        self.mate = Writer(directory / "mate")
        self.thermometer = Thermometer(directory / "w1")
        self.thermometer.write(COOL_C)
        self._view = PinsView(self.pins)
        self._stderr = directory / "stderr"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, port: Path | None = None, sensor: str = SENSOR_ID) -> subprocess.Popen[bytes]:
        config = self.directory / "config.toml"
        port = port or self.directory / "mate"
        config.write_text(
            CONFIG.format(state=self.state, port=port, sensor=sensor, w1=self.directory / "w1"), encoding="utf-8"
        )
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "solarshed", "control", "--config", config],
                env=os.environ | {"GPIOZERO_PIN_FACTORY": "solarshed-demo", PINS_VARIABLE: str(self.pins)},
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

    def rows(self, stream: Stream) -> list[dict[str, Any]]:
        outbox = Outbox(self.state)
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


@pytest.fixture
def shed(tmp_path: Path) -> Iterator[Shed]:
    shed = Shed(tmp_path)
    yield shed
    shed.close()


def until(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "did not come to pass"
        time.sleep(0.02)


def test_a_low_battery_closes_both_relays_and_a_recovered_one_opens_them(shed: Shed) -> None:
    shed.start()
    until(shed.deciding)
    time.sleep(0.5)
    assert shed.on_battery()

    shed.mate.voltage_v = LOW_V
    until(shed.on_grid)
    shed.mate.voltage_v = HIGH_V
    until(shed.on_battery)
    until(lambda: [row["action"] for row in shed.rows(Stream.ALERT)] == ["raise", "clear"])

    changes = [(row["position"], row["reason"]) for row in shed.rows(Stream.TELEMETRY)]
    assert ("grid", "battery_low") in changes
    assert ("battery", "battery_recovered") in changes[changes.index(("grid", "battery_low")) :]
    assert {row["alert"] for row in shed.rows(Stream.ALERT)} == {"battery_low"}
    at_the_change = shed.rows(Stream.TELEMETRY)[changes.index(("grid", "battery_low"))]
    assert at_the_change["measures"]["battery_voltage_v"] == LOW_V
    assert at_the_change["measures"]["box_temperature_c"] == COOL_C
    assert at_the_change["devices"].keys() == {"fx1", "mx2"}
    assert "GRID: battery_low" in shed.words


def test_a_hot_box_opens_both_relays_though_the_battery_is_low(shed: Shed) -> None:
    shed.mate.voltage_v = LOW_V
    shed.start()
    until(shed.on_grid)

    shed.thermometer.write(HOT_C)
    until(shed.on_battery)
    time.sleep(0.7)
    assert shed.on_battery()

    shed.thermometer.write(COOL_C)
    until(shed.on_grid)
    reasons = [row["reason"] for row in shed.rows(Stream.TELEMETRY)]
    assert "over_temperature" in reasons[reasons.index("battery_low") :]
    alerts = [(row["alert"], row["action"], row["severity"]) for row in shed.rows(Stream.ALERT)]
    assert ("over_temperature", "raise", "critical") in alerts


def test_S5_garbage_on_the_line_never_stops_the_loop(shed: Shed) -> None:
    shed.mate.noise = True
    process = shed.start()
    until(lambda: shed.heartbeat() is not None)
    first = shed.heartbeat()
    until(lambda: shed.heartbeat() != first)
    second = shed.heartbeat()
    assert first is not None
    assert second is not None
    assert second["decision_count"] > first["decision_count"] + 5
    assert "battery_voltage" not in second["reading_ages_s"]
    assert shed.on_battery()

    shed.mate.noise = False
    shed.mate.voltage_v = LOW_V
    until(shed.on_grid)

    assert process.poll() is None


def test_T9_without_a_thermometer_the_battery_is_still_looked_after(shed: Shed) -> None:
    shed.thermometer.close()
    shed.mate.voltage_v = LOW_V

    shed.start()
    until(shed.on_grid)

    reasons = [row["reason"] for row in shed.rows(Stream.TELEMETRY)]
    assert reasons[0] == "no_data"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_P9_a_signal_to_stop_opens_the_relays_and_ends_in_order(number: signal.Signals, shed: Shed) -> None:
    shed.mate.voltage_v = LOW_V
    process = shed.start()
    until(shed.on_grid)

    before_s = time.monotonic()
    process.send_signal(number)
    status = process.wait(10)

    assert status == 0
    assert time.monotonic() - before_s < 5.0
    assert shed.pins_are_inputs()
    assert "stopped; the relays are open" in shed.words
    assert "Traceback" not in shed.words
    assert [row["reason"] for row in shed.rows(Stream.TELEMETRY)].count("battery_low") >= 1


def test_P10_after_a_kill_a_new_process_starts_with_open_relays_and_goes_on_counting(shed: Shed) -> None:
    shed.mate.voltage_v = LOW_V
    process = shed.start()
    until(shed.on_grid)
    until(lambda: len(shed.rows(Stream.TELEMETRY)) > 1)
    process.kill()
    process.wait(10)
    rows_before = len(shed.rows(Stream.TELEMETRY))

    shed.mate.voltage_v = IN_BAND_V
    shed.start()
    until(shed.deciding)
    until(lambda: len(shed.rows(Stream.TELEMETRY)) > rows_before)

    assert shed.on_battery()
    assert shed.stop() == 0


def make_a_file(shed: Shed) -> None:
    shed.state.write_text("not a directory")


def make_it_impossible(shed: Shed) -> None:
    shed.state = Path("/proc/self/solarshed")  # nothing can be made there, not even by root


def make_a_broken_file(shed: Shed) -> None:
    shed.state.mkdir()
    (shed.state / FILE_NAME).write_bytes(b"no database" * 1000)


@pytest.mark.parametrize("spoil", [make_a_file, make_it_impossible, make_a_broken_file])
def test_P5_P6_a_state_directory_that_cannot_be_used_does_not_stop_the_deciding(
    spoil: Callable[[Shed], None], shed: Shed
) -> None:
    spoil(shed)
    shed.mate.voltage_v = LOW_V

    shed.start()
    until(shed.on_grid)
    until(lambda: "outbox not written" in shed.words)
    shed.mate.voltage_v = HIGH_V
    until(shed.on_battery)

    assert shed.stop() == 0
    assert shed.pins_are_inputs()
    assert "Traceback" not in shed.words


def test_P5_what_was_seen_while_the_disk_failed_is_written_when_it_works_again(shed: Shed) -> None:
    shed.state.write_text("not a directory")
    shed.mate.voltage_v = LOW_V
    shed.start()
    until(shed.on_grid)

    shed.state.unlink()
    until(lambda: shed.state.is_dir() and "battery_low" in [row["reason"] for row in shed.rows(Stream.TELEMETRY)])

    assert shed.rows(Stream.TELEMETRY)[0]["position"] == "battery"


def only_line(shed: Shed) -> str:
    assert shed.process is not None
    assert shed.process.wait(30) == 1
    (line,) = shed.words.splitlines()
    return line


def test_S7_a_serial_port_that_is_not_there_stops_the_start_in_one_line_with_the_pins_untouched(shed: Shed) -> None:
    shed.start(port=shed.directory / "ttyUSB9")

    line = only_line(shed)

    assert line.startswith(
        f"solarshed control: serial port {shed.directory / 'ttyUSB9'} cannot be opened: No such file"
    )
    assert "/dev/serial/by-id" in line
    assert shed.pins_are_inputs()


def test_R17_a_sensor_id_that_is_none_stops_the_start_in_one_line_with_the_pins_untouched(shed: Shed) -> None:
    shed.start(sensor="nonsense")

    assert "thermometer.sensor_id = '28-nonsense' is not a DS18B20's" in only_line(shed)
    assert shed.pins_are_inputs()


def test_S15_a_second_control_on_the_same_port_stops_in_one_line(shed: Shed, tmp_path: Path) -> None:
    first = shed.start()
    until(shed.deciding)

    second = subprocess.run(
        [sys.executable, "-m", "solarshed", "control", "--config", shed.directory / "config.toml"],
        env=os.environ | {"GPIOZERO_PIN_FACTORY": "solarshed-demo", PINS_VARIABLE: str(tmp_path / "other-pins")},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert "see that the adapter is plugged in, that no other program has it open" in line
    assert not (tmp_path / "other-pins").exists()
    assert first.poll() is None


def entry(number: int) -> Entry:
    return Entry(sample=f'{{"n":{number}}}', heartbeat=f'{{"beat":{number}}}', alerts=(f'{{"alert":{number}}}',))


def test_the_writer_writes_in_order_and_what_waits_is_written_on_closing(tmp_path: Path) -> None:
    writer = OutboxWriter(tmp_path)

    for number in range(50):
        writer.put(entry(number))
    writer.close()

    outbox = Outbox(tmp_path)
    assert [row.payload for row in outbox.oldest(Stream.TELEMETRY, 99)] == [f'{{"n":{n}}}' for n in range(50)]
    assert outbox.waiting(Stream.ALERT) == 50
    assert outbox.heartbeat() == (50, '{"beat":49}')
    outbox.close()


def test_I7_the_writer_keeps_a_bounded_number_of_entries_and_drops_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_MAX_WAITING_ENTRIES", 10)
    monkeypatch.setattr(control, "_WRITE_RETRY_S", 0.05)
    (tmp_path / "state").write_text("not a directory")
    writer = OutboxWriter(tmp_path / "state")
    writer.put(entry(0))
    time.sleep(0.2)  # the first entry is being tried; the others wait behind it

    for number in range(1, 31):
        writer.put(entry(number))
    (tmp_path / "state").unlink()
    writer.close()

    outbox = Outbox(tmp_path / "state")
    written = [json.loads(row.payload)["n"] for row in outbox.oldest(Stream.TELEMETRY, 99)]
    assert written == [0, *range(21, 31)]
    assert writer.dropped == 20
    outbox.close()


def test_P4_an_entry_that_could_only_be_written_in_part_is_not_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_WRITE_RETRY_S", 0.05)
    Outbox(tmp_path).close()
    disk = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None, timeout=5.0)
    disk.execute("CREATE TRIGGER full BEFORE INSERT ON heartbeat BEGIN SELECT RAISE(ABORT, 'disk full'); END")

    writer = OutboxWriter(tmp_path)
    writer.put(entry(1))
    time.sleep(0.5)
    disk.execute("DROP TRIGGER full")
    writer.close()
    disk.close()

    outbox = Outbox(tmp_path)
    assert outbox.appended(Stream.TELEMETRY) == 1
    assert outbox.appended(Stream.ALERT) == 1
    assert outbox.heartbeat() == (1, '{"beat":1}')
    outbox.close()


def test_P9_signals_one_upon_the_other_open_the_relays_all_the_same(shed: Shed) -> None:
    shed.mate.voltage_v = LOW_V
    process = shed.start()
    until(shed.on_grid)

    for _ in range(20):
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGINT)
    status = process.wait(10)

    assert status == 0
    assert shed.pins_are_inputs()
