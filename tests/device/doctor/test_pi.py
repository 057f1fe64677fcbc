import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from contract.finding import Finding, Verdict
from device.doctor import Machine
from device.doctor.pi import check_clock, check_gpio, check_pi, check_state_directory
from device.health import Health
from tests.device.doctor.findings import assert_failed, assert_warned, show


def test_a_synchronised_clock_is_fine(machine: Machine) -> None:
    finding = check_clock(machine)

    assert finding == Finding(Verdict.OK, "synchronised, 2026-11-23 12:00:00 UTC")


def test_C1_a_clock_that_nobody_sets_fails(machine: Machine) -> None:
    finding = check_clock(replace(machine, synchronised=lambda: False))

    assert_failed(finding, "not synchronised, 2026-11-23", "systemd-timesyncd")


@pytest.mark.parametrize(
    ("health", "sentence", "remedy"),
    [
        (Health(under_voltage_now=True), "less than 4.63 V", "supply of 5.1 V"),
        (Health(under_voltage_now=False, throttled_now=True), "throttled", "give it air"),
        (Health(cpu_temperature_c=81.0), "CPU at 81.0 C", "give it air"),
        (Health(cpu_temperature_c=50.0, memory_available_percent=1.0), "memory 1.00 %", "`top`"),
    ],
)
def test_P13_trouble_of_the_pi_fails(health: Health, sentence: str, remedy: str) -> None:
    assert_failed(check_pi(health), sentence, remedy)


def test_P13_an_under_voltage_that_is_over_warns() -> None:
    past = Health(cpu_temperature_c=50.0, under_voltage_now=False, under_voltage_since_boot=True)

    assert_warned(check_pi(past), "under-voltage since boot, not now", "supply of 5.1 V")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo throttled=0x50000", Verdict.WARNING),
        ("echo throttled=0x0", Verdict.OK),
        ("echo VCHI initialization failed; exit 255", Verdict.OK),
    ],
)
def test_P13_the_firmware_is_asked_for_what_the_kernel_forgets(script: str, expected: Verdict, tmp_path: Path) -> None:
    show(tmp_path / "bin/vcgencmd", f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin/vcgencmd").chmod(0o755)

    finding = check_pi(Health(cpu_temperature_c=50.0, under_voltage_now=False))

    assert finding.verdict is expected


def test_a_machine_that_is_no_pi_is_skipped_and_a_healthy_one_is_fine() -> None:
    healthy = Health(cpu_temperature_c=48.3, under_voltage_now=False, throttled_now=False)

    assert check_pi(Health(load_1min=0.1)).verdict is Verdict.SKIPPED
    assert check_pi(healthy) == Finding(Verdict.OK, "CPU 48 C, no under-voltage and no throttling seen")


def test_a_state_directory_that_is_missing_fails(machine: Machine, tmp_path: Path) -> None:
    finding = check_state_directory(tmp_path / "state", machine)

    assert_failed(
        finding, f"state_directory {tmp_path / 'state'} is not there", f"-o solarshed -g solarshed {tmp_path}"
    )


def test_the_state_directory_that_systemd_makes_may_be_missing_before_the_first_start(machine: Machine) -> None:
    finding = check_state_directory(Path("/var/lib/solarshed-of-nobody"), machine)

    assert finding.verdict is Verdict.SKIPPED
    assert "the first start of solarshed-control makes it" in finding.sentence


def test_P5_a_state_directory_that_cannot_be_written_fails(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)

    finding = check_state_directory(tmp_path, machine)

    assert_failed(finding, "cannot be written by this user: Read-only file system", "`dmesg`")


def test_P4_a_disk_that_is_nearly_full_fails(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.health._disk_free", lambda _: (4.0, 1e9))

    finding = check_state_directory(tmp_path, machine)

    assert_failed(finding, "disk 4.00 % free, below 5 %", "make room")


def test_a_state_directory_that_can_be_written_is_fine_and_left_empty(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.health._disk_free", lambda _: (25.0, 7.25e9))
    (tmp_path / "state").mkdir()

    finding = check_state_directory(tmp_path / "state", machine)

    assert finding == Finding(Verdict.OK, f"{tmp_path / 'state'} is writable, 7.2 GB (25 %) free")
    assert list((tmp_path / "state").iterdir()) == []


def test_without_a_gpio_chip_it_fails(machine: Machine) -> None:
    assert_failed(check_gpio((17, 27), machine), "no /dev/gpiochip0", "Raspberry Pi")


def test_a_gpio_chip_that_may_not_be_used_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    show(machine.root / "dev/gpiochip0")
    monkeypatch.setattr("os.access", lambda *_: False)

    assert_failed(check_gpio((17, 27), machine), "gpiochip0 may not be used", "usermod -aG gpio")


def test_a_gpio_chip_that_may_be_used_is_fine_and_no_pin_is_taken(machine: Machine) -> None:
    show(machine.root / "dev/gpiochip4")

    finding = check_gpio((9, 27), machine)

    assert finding == Finding(Verdict.OK, "GPIO 9 and 27 can be asked for (not taken, nothing moved)")
