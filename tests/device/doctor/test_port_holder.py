import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serial

from contract.finding import Verdict
from device.battery_monitor import BatteryMonitor
from device.doctor import Machine, serial_mate
from device.doctor.serial_mate import check_battery_monitor
from device.settings import Monitor
from tests.device.doctor.findings import assert_failed, show
from tests.device.mate_line import mate_that_says, mx


def holder(machine: Machine, command: str, opened: str | None) -> None:
    """A process in /proc; another user's shows its command, but not what it has open."""
    show(machine.root / "proc/77777/cmdline", command.replace(" ", "\0") + "\0")
    if opened is not None:
        (machine.root / "proc/77777/fd").mkdir()
        (machine.root / "proc/77777/fd/3").symlink_to("/dev/null")
        (machine.root / "proc/77777/fd/4").symlink_to("socket:[4711]")
        (machine.root / "proc/77777/fd/5").symlink_to(opened)


@contextmanager
def locked_mate(link: Path) -> Iterator[str]:
    """A port that someone reads as control does."""
    with mate_that_says(link, mx(50.1)) as port:
        monitor = BatteryMonitor(port, 10.0)
        yield port
        monitor.close()


@pytest.mark.parametrize(
    "command",
    [
        "/opt/solarshed/bin/python /opt/solarshed/bin/solarshed control --config x",
        "python3 -m solarshed control",
        "python /home/pi/solarshed.py control",
    ],
)
@pytest.mark.parametrize("is_seen", [True, False])
def test_S15_a_port_that_control_reads_is_skipped_politely(
    is_seen: bool, command: str, machine: Machine, tmp_path: Path
) -> None:
    with locked_mate(tmp_path / "mate") as port:
        holder(machine, command, port if is_seen else None)
        finding = check_battery_monitor(Monitor(port), machine)

    assert finding.verdict is Verdict.SKIPPED
    assert finding.sentence == "solarshed control has the port open"
    assert "sudo systemctl stop solarshed-control" in finding.remedy


@pytest.mark.parametrize(
    ("is_seen", "name"), [(True, "process 77777 (python3 -m solarshed uplink)"), (False, "another program")]
)
def test_S15_a_port_that_another_program_has_locked_fails_and_names_it(
    is_seen: bool, name: str, machine: Machine, tmp_path: Path
) -> None:
    with locked_mate(tmp_path / "mate") as port:
        holder(machine, "python3 -m solarshed uplink", port if is_seen else None)
        finding = check_battery_monitor(Monitor(port), machine)

    assert_failed(finding, f"{name} has the port open", "stop it")


def test_S15_a_port_that_says_it_is_busy_is_another_programs(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TIOCEXCL, which minicom sets; root is let in all the same.
    def refuse(_: str, _timeout_s: float) -> None:
        raise serial.SerialException(errno.EBUSY, "could not open port")

    monkeypatch.setattr(serial_mate, "open_port", refuse)

    with mate_that_says(tmp_path / "mate", mx(50.1)) as port:
        finding = check_battery_monitor(Monitor(port), machine)

    assert_failed(finding, "another program has the port open", "stop it")


@pytest.mark.parametrize("burst", [b"", mx(50.1) + mx(50.1)[:20] + b"\r"], ids=["silent", "damaged"])
def test_S15_a_program_that_takes_away_a_part_of_what_comes_is_named(
    burst: bytes, machine: Machine, tmp_path: Path
) -> None:
    with mate_that_says(tmp_path / "mate", burst) as port:
        holder(machine, "cat /dev/ttyUSB0", port)
        finding = check_battery_monitor(Monitor(port), machine)

    assert_failed(finding, "process 77777 (cat /dev/ttyUSB0) has the port open", "stop it")


def test_a_program_with_the_same_path_for_another_device_is_not_blamed(machine: Machine, tmp_path: Path) -> None:
    with mate_that_says(tmp_path / "mate", b"") as port, mate_that_says(tmp_path / "other", b"") as other:
        holder(machine, "minicom in a container", other)
        finding = check_battery_monitor(Monitor(port), machine)

    assert "nothing at all comes" in finding.sentence
