"""The real `solarshed control` in a process of its own: pseudo-terminal, 1-wire directory, pins in a file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from contract.positions import Position, Reason
from demo.shed.pins import PINS_VARIABLE
from demo.shed.thermometer import OUTSIDE_SENSOR_ID, Thermometer
from device import state_file
from device.observe import initial_state
from device.outbox import FILE_NAME, Stream
from tests.bench.fifo_thermometer import FifoThermometer
from tests.device import running
from tests.device.running import COOL_C, HIGH_V, HOT_C, IN_BAND_V, LOW_V, Shed, until


@pytest.fixture
def shed(tmp_path: Path) -> Iterator[Shed]:
    shed = Shed(tmp_path)
    yield shed
    shed.close()


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
    assert at_the_change["devices"].keys() == {"fx1", "mx2", "pi0"}
    assert "GRID: battery_low" in shed.words


WITH_MORE = running.CONFIG.replace(
    "[thermometer]", f'[thermometer]\noutside_sensor_id = "28-{OUTSIDE_SENSOR_ID}"'
).replace("[relays]", '[site]\nname = "cabin"\n[relays]')


def test_a_sample_says_all_that_the_store_has_columns_for(
    shed: Shed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CONFIG", WITH_MORE)
    Thermometer(tmp_path / "w1", OUTSIDE_SENSOR_ID).write(-3.25)
    shed.runtime.mkdir()
    (shed.runtime / "weather.json").write_text(f'{{"cloud_cover_percent": 40, "time": {round(time.time())}}}')
    on_grid = initial_state(5.0)._replace(position=Position.GRID)
    state_file.write(shed.state, state_file.text_of(on_grid, Reason.BATTERY_LOW, "another boot", ()))
    shed.mate.voltage_v = LOW_V

    shed.start()
    until(shed.on_grid)
    until(lambda: "outside_temperature_c" in shed.rows(Stream.TELEMETRY)[-1]["measures"])

    rows = shed.rows(Stream.TELEMETRY)
    closed = next(row for row in rows if row["position"] == "grid")
    assert {row["site"] for row in rows} == {"cabin"}
    # The relays have opened since the boot before.
    assert rows[0]["transfer"].startswith("battery: ")
    assert [row["transfer"] for row in rows[1:] if "transfer" in row] == ["grid: battery_low"]
    assert closed["transfer"] == "grid: battery_low"
    assert "raised battery_low" in [row.get("alert_changes") for row in rows]
    assert (rows[0]["measures"]["ssr_1_closed"], rows[0]["measures"]["ssr_2_closed"]) == (0.0, 0.0)
    assert (closed["measures"]["ssr_1_closed"], closed["measures"]["ssr_2_closed"]) == (1.0, 1.0)
    assert rows[-1]["measures"]["outside_temperature_c"] == -3.25
    assert rows[-1]["measures"]["cloud_cover_percent"] == 40.0
    assert rows[-1]["devices"]["pi0"]["outside_thermometer_errors"] == 0


def test_T10_a_thermometer_outside_that_hangs_delays_no_decision(
    shed: Shed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CONFIG", WITH_MORE)
    hung = tmp_path / f"w1/28-{OUTSIDE_SENSOR_ID}/w1_slave"
    hung.parent.mkdir()
    os.mkfifo(hung)  # opening it waits for a writer
    shed.mate.voltage_v = LOW_V

    shed.start()
    until(shed.on_grid)
    ends: list[int] = []
    until(lambda: _opens(hung, ends))  # from now on it is read, and says nothing
    shed.thermometer.write(HOT_C)
    heated_s = time.monotonic()
    until(shed.on_battery)
    opened_s = time.monotonic()
    until(lambda: shed.rows(Stream.TELEMETRY)[-1]["reason"] == "over_temperature")

    newest = shed.rows(Stream.TELEMETRY)[-1]
    assert opened_s - heated_s < 2.0
    assert newest["measures"]["box_temperature_c"] == HOT_C
    assert "outside_temperature_c" not in newest["measures"]
    assert {row["alert"] for row in shed.rows(Stream.ALERT)} == {"battery_low", "over_temperature"}
    assert shed.stop() == 0
    os.close(ends[0])


def _opens(pipe: Path, ends: list[int]) -> bool:
    with suppress(OSError):  # as long as nobody reads it
        ends.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    return bool(ends)


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
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


def test_P10_R15_after_a_kill_a_new_process_goes_on_with_closed_relays_and_goes_on_counting(shed: Shed) -> None:
    # What the pins of a real Pi do in between, only hardware can show: the demo's pins stay as they were.
    shed.mate.voltage_v = LOW_V
    process = shed.start()
    until(shed.on_grid)
    until(lambda: (shed.state / "state.json").exists() and '"grid"' in (shed.state / "state.json").read_text())
    process.kill()
    process.wait(10)
    rows_before = len(shed.rows(Stream.TELEMETRY))

    shed.mate.voltage_v = IN_BAND_V
    shed.start()
    longest_open_s = 0.0
    open_since_s: float | None = None
    while not shed.deciding():
        if shed.on_grid():
            open_since_s = None
        elif open_since_s is None:
            open_since_s = time.monotonic()
        else:
            longest_open_s = max(longest_open_s, time.monotonic() - open_since_s)
    until(lambda: len(shed.rows(Stream.TELEMETRY)) > rows_before)

    # Two pins become outputs, and then high: gpiozero has no call for both at once. To wait for readings takes longer.
    assert longest_open_s < 0.15
    assert shed.on_grid()
    assert shed.rows(Stream.TELEMETRY)[rows_before]["reason"] == "battery_low"
    assert shed.stop() == 0


def test_P10_after_a_kill_without_readings_the_new_process_opens_the_relays(shed: Shed) -> None:
    shed.mate.voltage_v = LOW_V
    process = shed.start()
    until(shed.on_grid)
    until(lambda: (shed.state / "state.json").exists() and '"grid"' in (shed.state / "state.json").read_text())
    process.kill()
    process.wait(10)
    shed.thermometer.close()

    shed.start()
    until(shed.deciding)
    until(lambda: "BATTERY: no_data" in shed.words)

    assert shed.on_battery()


def make_a_file(shed: Shed) -> None:
    shed.state.write_text("not a directory")


def make_it_impossible(shed: Shed) -> None:
    shed.state = Path("/proc/self/solarshed")  # nothing can be made there, not even by root


def make_a_broken_file(shed: Shed) -> None:
    shed.state.mkdir()
    (shed.state / FILE_NAME).write_bytes(b"no database" * 1000)


@pytest.mark.parametrize("spoil", [make_a_file, make_it_impossible])
def test_P5_a_state_directory_that_cannot_be_used_does_not_stop_the_deciding_and_is_told(
    spoil: Callable[[Shed], None], shed: Shed
) -> None:
    spoil(shed)
    shed.mate.voltage_v = LOW_V

    shed.start()
    until(shed.on_grid)
    until(lambda: "storage_failing" in {row["alert"] for row in shed.rows(Stream.ALERT, shed.runtime)})
    shed.mate.voltage_v = HIGH_V
    until(shed.on_battery)

    assert shed.stop() == 0
    assert shed.pins_are_inputs()
    assert "Traceback" not in shed.words


def test_P6_a_damaged_outbox_is_moved_aside_and_the_deciding_goes_on(shed: Shed) -> None:
    make_a_broken_file(shed)
    shed.mate.voltage_v = LOW_V

    shed.start()
    until(shed.on_grid)
    until(lambda: "battery_low" in [row["reason"] for row in shed.rows(Stream.TELEMETRY)])

    assert (shed.state / "outbox.sqlite.damaged").exists()
    assert "is damaged" in shed.words


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


def test_S7_without_its_serial_port_control_starts_and_the_grid_takes_over_after_the_grace(shed: Shed) -> None:
    shed.start(port=shed.directory / "not-plugged-in")

    until(shed.on_grid)
    until(lambda: "battery_monitor_lost" in {row["alert"] for row in shed.rows(Stream.ALERT)})

    assert f"serial port {shed.directory / 'not-plugged-in'} cannot be opened: No such file" in shed.words
    assert "/dev/serial/by-id" in shed.words
    assert "GRID: battery_monitor_lost" in shed.words


def test_R17_a_sensor_id_that_is_none_stops_the_start_in_one_line_with_the_pins_untouched(shed: Shed) -> None:
    shed.start(sensor="nonsense")

    assert "thermometer.sensor_id = '28-nonsense' is not a DS18B20's" in only_line(shed)
    assert shed.pins_are_inputs()


def second_control(shed: Shed, pins: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "solarshed", "control", "--config", shed.directory / "config.toml"],
        env=os.environ | {"GPIOZERO_PIN_FACTORY": "solarshed-demo", PINS_VARIABLE: str(pins)},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_R14_a_second_control_stops_in_one_line_before_it_touches_a_pin(shed: Shed, tmp_path: Path) -> None:
    first = shed.start()
    until(shed.deciding)

    second = second_control(shed, tmp_path / "other-pins")

    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert "another control runs already" in line
    assert "systemctl stop solarshed-control" in line
    assert not (tmp_path / "other-pins").exists()
    assert first.poll() is None


def test_S15_a_second_control_with_a_state_of_its_own_stops_at_the_serial_port(shed: Shed, tmp_path: Path) -> None:
    first = shed.start()
    until(shed.deciding)
    config = shed.directory / "config.toml"
    config.write_text(config.read_text().replace(str(shed.state), str(tmp_path / "other-state")))

    second = second_control(shed, tmp_path / "other-pins")

    assert second.returncode == 1
    assert "no other program has it open" in second.stderr
    assert not (tmp_path / "other-pins").exists()
    assert first.poll() is None


def test_clear_fault_is_refused_while_control_runs_and_lets_a_latched_fault_go_when_it_does_not(shed: Shed) -> None:
    shed.start()
    until(shed.deciding)
    until((shed.state / "state.json").exists)
    command = [sys.executable, "-m", "solarshed", "clear-fault", "--config", str(shed.directory / "config.toml")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30)
    shed.stop()
    file = shed.state / "state.json"
    file.write_text(file.read_text().replace('"fault":null', '"fault":"stuck_closed"'))

    cleared = subprocess.run(command, capture_output=True, text=True, timeout=30)
    again = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert refused.returncode == 1
    assert "another control runs already" in refused.stderr
    assert (cleared.returncode, cleared.stdout) == (0, "the relay fault is cleared; start control again\n")
    assert (again.returncode, again.stdout) == (0, "no relay fault is latched\n")
    assert '"fault":null' in file.read_text()


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


def test_a_second_hot_sample_is_acted_on_before_the_next_tick(
    shed: Shed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = running.CONFIG.replace("tick_s = 0.05", "tick_s = 5.0").replace("low_hold_s = 0.3", "low_hold_s = 0.0")
    monkeypatch.setattr(running, "CONFIG", config)
    sensor = FifoThermometer(tmp_path / "w1")
    shed.mate.voltage_v = LOW_V
    shed.start()
    while not shed.on_grid():
        sensor.sample(COOL_C, timeout_s=20.0)
    ticked_s = time.monotonic()

    sensor.sample(HOT_C)
    sensor.begin(timeout_s=5.0)
    time.sleep(0.2)
    still_on_grid = shed.on_grid()
    sensor.end(HOT_C)
    until(shed.on_battery)
    opened_s = time.monotonic()

    assert still_on_grid  # one sample is not enough
    assert opened_s - ticked_s < 2.5  # the next tick is 5 s after the one that closed the relays
    until(lambda: "BATTERY: over_temperature" in shed.words)
    assert "deciding every 5 s" in shed.words
