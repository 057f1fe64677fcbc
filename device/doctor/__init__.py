"""`solarshed doctor`: checks what goes wrong in practice on a Pi, and says the remedy for each.

It moves no relay and takes no pin. It reads the sensors as control does, so the battery monitor's port must be free.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from contract.finding import Finding, Verdict, failed, ok, print_finding, print_summary, skipped
from device.doctor.cloud import check_certificate, check_endpoint
from device.doctor.finding import halves
from device.doctor.machine import Machine
from device.doctor.one_wire import check_bus, check_outside_thermometer, check_thermometer
from device.doctor.pi import check_clock, check_gpio, check_pi, check_state_directory
from device.doctor.serial_mate import check_battery_monitor, check_port
from device.health import pi_health
from device.settings import Settings, SettingsError, load

__all__ = ["Machine", "run"]


def run(config: Path, out: TextIO, machine: Machine) -> int:
    """Print a line a check as each ends, then a summary. The exit status: 1 if any failed, else 0."""
    settings: Settings | None = None
    try:
        settings = load(config)
        first = ok(f"{config} is valid")
    except SettingsError as e:
        first = failed(*halves(str(e), "correct the file"))
    print_finding("settings", first, out)
    verdicts = Counter([first.verdict])
    for subject, check in _checks(settings, machine):
        finding = _looked(check, machine.hangs_after_s)
        print_finding(subject, finding, out)
        verdicts[finding.verdict] += 1
    print_summary(verdicts, out)
    return 1 if verdicts[Verdict.FAILED] else 0


def _checks(settings: Settings | None, machine: Machine) -> Iterator[tuple[str, Callable[[], Finding]]]:
    yield "clock", lambda: check_clock(machine)
    if settings is None:
        yield "pi", lambda: check_pi(pi_health(machine.root, machine.root))
        for subject in ("state directory", "1-wire bus", "thermometer", "battery monitor", "relays", "uplink"):
            yield subject, lambda: skipped("needs a valid settings file")
        return
    yield "pi", lambda: check_pi(pi_health(settings.state_directory, machine.root))
    yield "state directory", lambda: check_state_directory(settings.state_directory, machine)
    yield "1-wire bus", lambda: check_bus(Path(settings.thermometer.directory))
    yield "thermometer", lambda: check_thermometer(settings.thermometer, machine)
    if settings.thermometer.outside_sensor_id:
        yield "outside sensor", lambda: check_outside_thermometer(settings.thermometer, machine)
    yield "serial port", lambda: check_port(settings.monitor.serial_port, machine)
    yield "battery monitor", lambda: check_battery_monitor(settings.monitor, machine)
    yield "relays", lambda: check_gpio(settings.relays.pins, machine)
    yield "certificate", lambda: check_certificate(settings.uplink, machine)
    yield "endpoint", lambda: check_endpoint(settings.uplink, machine)


def _looked(check: Callable[[], Finding], hangs_after_s: float) -> Finding:
    """What `check` finds. One that hangs (a disk, a driver, a name server) is left behind."""
    results: queue.SimpleQueue[Finding] = queue.SimpleQueue()

    def look() -> None:
        try:
            results.put(check())
        except Exception as e:  # noqa: BLE001 - the boundary of one check: a check that breaks hides no other
            results.put(failed(f"the check broke: {type(e).__name__}: {e}", "report this; it is a fault of doctor"))

    threading.Thread(target=look, name="doctor", daemon=True).start()
    try:
        return results.get(timeout=hangs_after_s)
    except queue.Empty:
        return failed(
            f"no answer within {hangs_after_s:g} s: what it looks at hangs", "see `dmesg`; unplug it, or reboot the Pi"
        )
