import errno
import io
import os
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from contract.finding import Finding, Verdict
from demo.shed.thermometer import w1_slave
from device import doctor
from device.doctor import Machine
from tests.device.doctor.findings import show
from tests.device.mate_line import fndc, mate_that_says
from tests.device.one_wire import SENSOR_ID


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f"""
        state_directory = "{tmp_path / "state"}"
        [monitor]
        serial_port = "{tmp_path / "mate"}"
        [thermometer]
        sensor_id = "{SENSOR_ID}"
        directory = "{tmp_path / "w1"}"
    """)
    return path


def test_a_shed_where_all_is_well_ends_with_0_and_a_line_a_check(
    machine: Machine, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.health._disk_free", lambda _: (25.0, 7.25e9))
    (tmp_path / "state").mkdir()
    show(tmp_path / "w1" / SENSOR_ID / "w1_slave", w1_slave(22.25))
    show(machine.root / "dev/gpiochip0")
    out = io.StringIO()

    with mate_that_says(tmp_path / "mate", fndc(50.2)):
        status = doctor.run(config, out, machine)

    assert status == 0
    *lines, blank, summary = out.getvalue().splitlines()
    assert [line[:22] for line in lines] == [
        "ok    settings        ",
        "ok    clock           ",
        "skip  pi              ",
        "ok    state directory ",
        "ok    1-wire bus      ",
        "ok    thermometer     ",
        "ok    serial port     ",
        "ok    battery monitor ",
        "ok    relays          ",
        "skip  certificate     ",
        "skip  endpoint        ",
    ]
    assert (blank, summary) == ("", "11 checks: 8 ok, 3 skipped")


def test_a_sensor_outside_has_a_line_of_its_own_where_one_is_set(machine: Machine, config: Path) -> None:
    text = config.read_text().replace("[thermometer]", '[thermometer]\noutside_sensor_id = "28-0000ffffffff"')
    config.write_text(text)
    out = io.StringIO()

    doctor.run(config, out, machine)

    assert "\nwarn  outside sensor   thermometer.outside_sensor_id 28-0000ffffffff is not on the bus" in out.getvalue()


def test_what_fails_ends_with_1_and_has_its_remedy_on_the_next_line(machine: Machine, config: Path) -> None:
    out = io.StringIO()

    status = doctor.run(config, out, machine)

    lines = out.getvalue().splitlines()
    assert status == 1
    for line, following in pairwise(lines):
        if line.startswith("FAIL"):
            assert following.startswith(" " * 22 + " -> ")
    assert lines[-1] == "11 checks: 2 ok, 5 failed, 4 skipped"


def test_R17_without_usable_settings_the_rest_is_looked_at_as_far_as_it_goes(machine: Machine, tmp_path: Path) -> None:
    out = io.StringIO()

    status = doctor.run(tmp_path / "none.toml", out, machine)

    first, remedy, *_ = out.getvalue().splitlines()
    assert status == 1
    assert first == f"FAIL  settings         settings file {tmp_path / 'none.toml'}: No such file or directory"
    assert remedy.endswith("-> write one, or name one with --config")
    assert "ok    clock" in out.getvalue()
    assert "skip  thermometer      needs a valid settings file" in out.getvalue()


def test_a_user_who_may_not_read_the_settings_is_told_to_use_sudo(
    machine: Machine, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_text", refuse)
    out = io.StringIO()

    doctor.run(config, out, machine)

    first, second, *_ = out.getvalue().splitlines()
    assert first.startswith(f"FAIL  settings         settings file {config}: Permission denied")
    assert second.endswith("-> run doctor with sudo")


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ('[monitor]\nserial_port = "/dev/ttyUSB0"', "`ls -l /dev/serial/by-id`"),
        ("[relays]\npins = [4, 17]", "take one from 9 to 27"),
    ],
)
def test_R17_a_port_that_may_change_and_a_pin_that_is_pulled_up_are_told_with_the_settings(
    setting: str, remedy: str, machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(setting)
    out = io.StringIO()

    status = doctor.run(tmp_path / "config.toml", out, machine)

    first, second, *_ = out.getvalue().splitlines()
    assert status == 1
    assert first.startswith("FAIL  settings")
    assert remedy in second


def test_a_check_that_hangs_fails_and_the_others_go_on(
    machine: Machine, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()

    def hanging(_: Machine) -> Finding:
        done.wait(20.0)
        return Finding(Verdict.OK, "too late")

    monkeypatch.setattr(doctor, "check_clock", hanging)
    out = io.StringIO()

    doctor.run(config, out, replace(machine, hangs_after_s=1.0))

    done.set()
    assert "FAIL  clock            no answer within 1 s: what it looks at hangs" in out.getvalue()
    assert "relays" in out.getvalue()
    assert "too late" not in out.getvalue()


def test_a_check_that_breaks_fails_and_the_others_go_on(
    machine: Machine, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Machine) -> Finding:
        raise ValueError("of doctor's own making")

    monkeypatch.setattr(doctor, "check_clock", broken)
    out = io.StringIO()

    status = doctor.run(config, out, machine)

    assert status == 1
    assert "FAIL  clock            the check broke: ValueError: of doctor's own making" in out.getvalue()
    assert "relays" in out.getvalue()


def test_each_line_is_out_before_the_next_check_begins(machine: Machine, config: Path) -> None:
    class Slow(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed = self.getvalue().count("\n")

    out = Slow()

    doctor.run(config, out, machine)

    assert out.flushed == out.getvalue().count("\n")


def test_control_does_not_load_doctor() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import device.control, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    ).stdout.split()

    assert "device.control" in loaded
    assert "device.doctor" not in loaded
