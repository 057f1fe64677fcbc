"""The serial port, and the MATE that speaks there."""

import errno
import fcntl
import re
import struct
import termios
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import serial

from contract.finding import Finding, Verdict, failed, ok, skipped, warning
from device.battery_monitor import BAUD, open_port
from device.doctor.machine import Machine, is_usable, names_in
from device.doctor.port_holder import Holder, control_runs, holder_of, taken_by
from device.mate import Page, PageReader, Refusal
from device.readings import is_plausible_battery_voltage
from device.settings import Monitor

_READ_TIMEOUT_S = 0.1
# Pages that may be refused before the line counts as noisy; the one that was under way at the start is not counted.
_MOST_REFUSED = 0.1
_MOST_LISTENED_BYTES = 65536
# Once a page has come, all devices have had their turn within two seconds.
_LISTEN_ON_S = 2.0


def check_port(port: str, machine: Machine) -> Finding:
    """Whether the serial port is there and may be used."""
    path = Path(port)
    adapters = machine.root / "dev/serial/by-id"
    names = names_in(adapters) or []
    if not path.exists():
        there = " or ".join(f'"{adapters / name}"' for name in names)
        return failed(
            f"monitor.serial_port {port} is not there",
            f"write monitor.serial_port = {there}"
            if there
            else f"no adapter is in {adapters}: plug it in and see `dmesg`",
        )
    if not is_usable(path):
        return failed(
            f"monitor.serial_port {port} may not be used by this user",
            "run doctor with sudo, or join the group: sudo usermod -aG dialout $USER, then log in again",
        )
    return ok(f"{port} is there")


def check_battery_monitor(monitor: Monitor, machine: Machine) -> Finding:
    """Whether a MATE speaks there, and what it says."""
    port, path = monitor.serial_port, Path(monitor.serial_port)
    if not path.exists() or not is_usable(path):
        return skipped("needs the serial port above")
    proc = machine.root / "proc"
    try:
        line = open_port(port, _READ_TIMEOUT_S)
    except (serial.SerialException, OSError, termios.error) as e:
        if isinstance(e, OSError) and e.errno in (errno.EAGAIN, errno.EBUSY):
            # Another user's program keeps hidden what it has open, not how it was started.
            return taken_by(holder_of(path, proc) or Holder("another program", is_control=control_runs(proc)))
        return failed(
            f"{port} cannot be opened: {e}", "see that it is a serial port; unplug the adapter and plug it in again"
        )
    with line:
        lines = _modem_lines(line)
        if lines not in (None, (True, False)):
            return failed(
                f"the adapter does not set DTR and clear RTS as it was told ({_shown(lines)})",
                "take another adapter (an FTDI or a PL2303): these lines power the MATE's port",
            )
        heard = _listen(line, machine.listen_s)
    finding = _judged(heard, monitor.devices, machine.listen_s)
    # One that has not locked the port takes away a part of what comes.
    thief = None if finding.verdict is Verdict.OK else holder_of(path, proc)
    return finding if thief is None else taken_by(thief)


@dataclass
class _Heard:
    """What came over the line."""

    reader: PageReader
    raw: bytes = b""
    pages: dict[str, Page] = field(default_factory=dict)

    @property
    def refused(self) -> Counter[Refusal]:
        """Without the page that was under way when listening began."""
        return self.reader.refused - Counter({Refusal.LENGTH: 1})


def _listen(line: serial.Serial, seconds: float) -> _Heard:
    heard = _Heard(PageReader())
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        data = line.read(line.in_waiting or 1)
        heard.raw = (heard.raw + data)[:_MOST_LISTENED_BYTES]
        for page in heard.reader.feed(data):
            if not heard.pages:
                end_s = min(end_s, time.monotonic() + _LISTEN_ON_S)
            heard.pages[f"{page.device}{page.port}"] = page
    return heard


def _judged(heard: _Heard, expected: tuple[str, ...], listened_s: float) -> Finding:
    if not heard.raw:
        return failed(
            f"nothing at all comes from the MATE within {listened_s:g} s",
            "set SETUP/MATE/PAGE2/COMM/PC to ON on the MATE and press none of its buttons; see the cable (straight, "
            "to the MATE's 9 pins); try another adapter, this one may not power the MATE's isolated port",
        )
    if not heard.pages:
        return _no_page(heard)
    said = ", ".join(f"{name} {page.battery_voltage_v:.1f} V" for name, page in sorted(heard.pages.items()))
    if not any(is_plausible_battery_voltage(page.battery_voltage_v) for page in heard.pages.values()):
        return failed(f"no plausible battery voltage: {said}", "this is for a 48 V bank; see the devices' own displays")
    missing = [device for device in expected if device not in heard.pages]
    if missing:
        return failed(
            f"no page of {', '.join(missing)}, which monitor.devices names; there are {said}",
            "see the device's cable to the HUB, do COMM/REPOLL on the MATE, or correct monitor.devices",
        )
    refused = heard.refused.total()
    if refused > _MOST_REFUSED * (refused + heard.reader.read):
        return warning(
            f"{said}, but {refused} of {refused + heard.reader.read} pages are damaged ({_causes(heard)})",
            "shorten the cable, keep it away from the inverter's, and see its ground wire",
        )
    return ok(f"battery by {said}")


def _no_page(heard: _Heard) -> Finding:
    # A MATE3 begins each line with a port of two digits and a device type; a MATE with one character.
    if re.search(rb"[\r\n][0-9]{2},[0-9],", heard.raw):
        return failed(
            "this is a MATE3's data stream, which is not read yet", "connect a MATE or MATE2, whose pages are"
        )
    arrived = f"{len(heard.raw)} bytes arrive, but no valid page"
    causes = _causes(heard)
    if heard.reader.refused[Refusal.CHECKSUM] > heard.reader.refused.total() / 2:
        return failed(f"{arrived} ({causes})", "noise: shorten the cable, and see its ground wire and its plugs")
    return failed(
        arrived + (f" ({causes})" if causes else ""),
        f"see that this adapter's other end is a MATE or MATE2 (they speak {BAUD} baud, 8N1) and nothing else",
    )


def _causes(heard: _Heard) -> str:
    return ", ".join(f"{count} {cause}" for cause, count in sorted((heard.refused or heard.reader.refused).items()))


def _modem_lines(line: serial.Serial) -> tuple[bool, bool] | None:
    """DTR and RTS as the driver has them; None where it does not say (a pseudo-terminal)."""
    try:
        (bits,) = struct.unpack("I", fcntl.ioctl(line.fileno(), termios.TIOCMGET, bytes(4)))
    except OSError:
        return None
    return bool(bits & termios.TIOCM_DTR), bool(bits & termios.TIOCM_RTS)


def _shown(lines: tuple[bool, bool] | None) -> str:
    return ", ".join(
        f"{name} {'set' if on else 'cleared'}" for name, on in zip(("DTR", "RTS"), lines or (), strict=False)
    )
