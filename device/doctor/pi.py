"""The Pi itself: its clock, heat and supply, its disk, its GPIO chip."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from contract.finding import Finding, failed, ok, skipped, warning
from device.doctor.machine import Machine, is_usable
from device.health import MOST_CPU_TEMPERATURE_C, Health, pi_health, trouble

_POWER_REMEDY = "use a supply of 5.1 V and 3 A (Pi 5: 5 A) with a short, thick cable"
# Where a unit's StateDirectory= is.
_MADE_BY_SYSTEMD = Path("/var/lib")


def check_clock(machine: Machine) -> Finding:
    """Whether the time of day can be trusted."""
    shown = f"{machine.now():%Y-%m-%d %H:%M:%S} UTC"
    if machine.synchronised():
        return ok(f"synchronised, {shown}")
    return failed(
        f"not synchronised, {shown}: TLS and every timestamp need the right time",
        "sudo timedatectl set-ntp true, see that systemd-timesyncd runs and that the network lets UDP port 123 out",
    )


def check_pi(health: Health) -> Finding:
    """Heat, supply voltage, memory. The disk has a check of its own."""
    if health.cpu_temperature_c is None and health.under_voltage_now is None:
        return skipped("this machine tells neither its temperature nor its voltage: it is no Raspberry Pi")
    troubles = trouble(replace(health, disk_free_percent=None))
    if troubles:
        return failed("; ".join(troubles), "; ".join(_pi_remedies(health)))
    occurred = _occurred(health)
    if any(occurred.values()):
        named = " and ".join(name for name, has in occurred.items() if has)
        return warning(f"{named} since boot, not now", _POWER_REMEDY)
    heat = "" if health.cpu_temperature_c is None else f"CPU {health.cpu_temperature_c:.0f} C, "
    no = "voltage not told" if health.under_voltage_now is None else "no under-voltage and no throttling seen"
    return ok(heat + no)


def _pi_remedies(health: Health) -> Iterator[str]:
    if health.under_voltage_now or health.throttled_now:
        yield _POWER_REMEDY
    if health.throttled_now or (health.cpu_temperature_c or 0.0) >= MOST_CPU_TEMPERATURE_C:
        yield "give it air or a heat sink"
    if trouble(Health(memory_available_percent=health.memory_available_percent)):
        yield "see with `top` what takes the memory"


def _occurred(health: Health) -> dict[str, bool]:
    """What has happened since boot, by the firmware's own memory where there is the tool to ask it."""
    word = _word_of_vcgencmd()
    return {
        "under-voltage": bool(health.under_voltage_since_boot) or bool(word & 1 << 16),
        "throttling": bool(health.throttled_since_boot) or bool(word & 1 << 18),
    }


def _word_of_vcgencmd() -> int:
    """The word of `vcgencmd get_throttled`; 0 where that does not answer. The kernel's copy forgets, this does not."""
    tool = shutil.which("vcgencmd")
    if tool is None:
        return 0
    try:
        done = subprocess.run([tool, "get_throttled"], capture_output=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return 0
    word = re.fullmatch(rb"throttled=0x([0-9a-fA-F]{1,8})\s*", done.stdout)
    return int(word[1], 16) if word else 0


def check_state_directory(directory: Path, machine: Machine) -> Finding:
    """Whether control can keep its state and the outbox there."""
    if not directory.exists():
        if directory.parent == _MADE_BY_SYSTEMD:
            return skipped(f"{directory} is not there yet: the first start of solarshed-control makes it")
        return failed(
            f"state_directory {directory} is not there", f"sudo install -d -o solarshed -g solarshed {directory}"
        )
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0")
            file.flush()
    except OSError as e:
        return failed(
            f"state_directory {directory} cannot be written by this user: {e.strerror}",
            "run doctor with sudo; if that says the same, see `df` for a full disk and `dmesg` for one that went "
            "read-only",
        )
    health = pi_health(directory, machine.root)
    troubles = trouble(Health(disk_free_percent=health.disk_free_percent))
    if troubles:
        return failed(f"state_directory {directory}: {troubles[0]}", "make room: `sudo journalctl --vacuum-size=100M`")
    free_gb = (health.disk_free_bytes or 0.0) / 1e9
    return ok(f"{directory} is writable, {free_gb:.1f} GB ({health.disk_free_percent or 0.0:.0f} %) free")


def check_gpio(pins: tuple[int, ...], machine: Machine) -> Finding:
    """Whether this user may use the GPIO chip. Takes no pin."""
    chips = sorted((machine.root / "dev").glob("gpiochip*"))
    if not chips:
        return failed("there is no /dev/gpiochip0", "run this on a Raspberry Pi with Raspberry Pi OS 12 or newer")
    if not any(is_usable(chip) for chip in chips):
        return failed(
            f"{chips[0]} may not be used by this user",
            "run doctor with sudo, or join the group: sudo usermod -aG gpio $USER, then log in again",
        )
    named = " and ".join(map(str, pins))
    return ok(f"GPIO {named} can be asked for (not taken, nothing moved)")
