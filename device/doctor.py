"""`solarshed doctor`: checks what goes wrong in practice on a Pi, and says the remedy for each.

It moves no relay and takes no pin. It reads the sensors as control does, so the battery monitor's port must be free.
"""

import errno
import fcntl
import itertools
import os
import queue
import re
import shutil
import socket
import ssl
import stat
import struct
import subprocess
import tempfile
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TextIO

import serial

from device.battery_monitor import BAUD, open_port
from device.clock import SystemClock
from device.health import MOST_CPU_TEMPERATURE_C, Health, pi_health, trouble
from device.mate import Page, PageReader, Refusal
from device.readings import is_plausible_battery_voltage
from device.settings import Monitor, Settings, SettingsError, Thermometer, Uplink, load
from device.thermometer import MEANING, Cause, ThermometerError
from device.thermometer import Thermometer as ThermometerReader

_BOOT_CONFIG = "/boot/firmware/config.txt"
_W1_REMEDY = f"add the line dtoverlay=w1-gpio to {_BOOT_CONFIG} and reboot"
_POWER_REMEDY = "use a supply of 5.1 V and 3 A (Pi 5: 5 A) with a short, thick cable"
_READ_TIMEOUT_S = 0.1
_AWS_ALPN_PORT, _AWS_ALPN = 443, "x-amzn-mqtt-ca"
# OpenSSL's X509_V_ERR_ numbers.
_VERIFY_REMEDIES = {
    9: "not valid yet: set the clock right, see above",
    10: "expired: set the clock right, see above",
    62: "see that uplink.endpoint is spelled right",
    64: "see that uplink.endpoint is spelled right",
}
# Where a unit's StateDirectory= is.
_MADE_BY_SYSTEMD = Path("/var/lib")
_EXPIRES_SOON = timedelta(days=30)
# Pages that may be refused before the line counts as noisy; the one that was under way at the start is not counted.
_MOST_REFUSED = 0.1
_MOST_LISTENED_BYTES = 65536
# Once a page has come, all devices have had their turn within two seconds.
_LISTEN_ON_S = 2.0
# A single read may fail on a long wire.
_READS_TO_FAIL = 3


class Verdict(StrEnum):
    """How a check ended, as it is printed."""

    OK = "ok"
    WARNING = "warn"
    SKIPPED = "skip"
    FAILED = "FAIL"


@dataclass(frozen=True)
class Finding:
    """What a check found, in one sentence, and what to do about it."""

    verdict: Verdict
    sentence: str
    remedy: str = ""


def _ok(sentence: str) -> Finding:
    return Finding(Verdict.OK, sentence)


def _warning(sentence: str, remedy: str) -> Finding:
    return Finding(Verdict.WARNING, sentence, remedy)


def _skipped(sentence: str, remedy: str = "") -> Finding:
    return Finding(Verdict.SKIPPED, sentence, remedy)


def _failed(sentence: str, remedy: str) -> Finding:
    return Finding(Verdict.FAILED, sentence, remedy)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Machine:
    """Where to look and how long to wait; tests turn these."""

    root: Path = Path("/")
    synchronised: Callable[[], bool] = field(default=SystemClock().synchronised)
    now: Callable[[], datetime] = _utc_now
    listen_s: float = 5.0
    thermometer_wait_s: float = 6.0
    connect_timeout_s: float = 5.0
    hangs_after_s: float = 30.0


def run(config: Path, out: TextIO, machine: Machine) -> int:
    """Print a line a check as each ends, then a summary. The exit status: 1 if any failed, else 0."""
    settings: Settings | None = None
    try:
        settings = load(config)
        first = _ok(f"{config} is valid")
    except SettingsError as e:
        first = _failed(*_halves(str(e), "correct the file"))
    _print("settings", first, out)
    verdicts = Counter([first.verdict])
    for subject, check in _checks(settings, machine):
        finding = _looked(check, machine.hangs_after_s)
        _print(subject, finding, out)
        verdicts[finding.verdict] += 1
    print(f"\n{_summary(verdicts)}", file=out, flush=True)
    return 1 if verdicts[Verdict.FAILED] else 0


def _checks(settings: Settings | None, machine: Machine) -> Iterator[tuple[str, Callable[[], Finding]]]:
    yield "clock", lambda: check_clock(machine)
    if settings is None:
        yield "pi", lambda: check_pi(pi_health(machine.root, machine.root))
        for subject in ("state directory", "1-wire bus", "thermometer", "battery monitor", "relays", "uplink"):
            yield subject, lambda: _skipped("needs a valid settings file")
        return
    yield "pi", lambda: check_pi(pi_health(settings.state_directory, machine.root))
    yield "state directory", lambda: check_state_directory(settings.state_directory, machine)
    yield "1-wire bus", lambda: check_bus(Path(settings.thermometer.directory))
    yield "thermometer", lambda: check_thermometer(settings.thermometer, machine)
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
            results.put(_failed(f"the check broke: {type(e).__name__}: {e}", "report this; it is a fault of doctor"))

    threading.Thread(target=look, name="doctor", daemon=True).start()
    try:
        return results.get(timeout=hangs_after_s)
    except queue.Empty:
        return _failed(
            f"no answer within {hangs_after_s:g} s: what it looks at hangs", "see `dmesg`; unplug it, or reboot the Pi"
        )


def _print(subject: str, finding: Finding, out: TextIO) -> None:
    print(f"{finding.verdict:<5} {subject:<16} {finding.sentence}", file=out, flush=True)
    if finding.remedy:
        print(f"{'':<22} -> {finding.remedy}", file=out, flush=True)


def _summary(verdicts: Counter[Verdict]) -> str:
    words = {Verdict.OK: "ok", Verdict.WARNING: "warned", Verdict.FAILED: "failed", Verdict.SKIPPED: "skipped"}
    counted = ", ".join(f"{verdicts[verdict]} {word}" for verdict, word in words.items() if verdicts[verdict])
    return f"{verdicts.total()} checks: {counted}"


def _halves(text: str, otherwise: str) -> tuple[str, str]:
    """Sentence and remedy of one of our own errors, which have a semicolon between."""
    sentence, semicolon, remedy = text.rpartition("; ")
    if os.strerror(errno.EACCES) in text:
        # The installation lets only root and the services look into /etc/solarshed.
        remedy = "run doctor with sudo"
    return (sentence, remedy) if semicolon else (text, otherwise)


# The Pi


def check_clock(machine: Machine) -> Finding:
    """Whether the time of day can be trusted."""
    shown = f"{machine.now():%Y-%m-%d %H:%M:%S} UTC"
    if machine.synchronised():
        return _ok(f"synchronised, {shown}")
    return _failed(
        f"not synchronised, {shown}: TLS and every timestamp need the right time",
        "sudo timedatectl set-ntp true, see that systemd-timesyncd runs and that the network lets UDP port 123 out",
    )


def check_pi(health: Health) -> Finding:
    """Heat, supply voltage, memory. The disk has a check of its own."""
    if health.cpu_temperature_c is None and health.under_voltage_now is None:
        return _skipped("this machine tells neither its temperature nor its voltage: it is no Raspberry Pi")
    troubles = trouble(replace(health, disk_free_percent=None))
    if troubles:
        return _failed("; ".join(troubles), "; ".join(_pi_remedies(health)))
    occurred = _occurred(health)
    if any(occurred.values()):
        named = " and ".join(name for name, has in occurred.items() if has)
        return _warning(f"{named} since boot, not now", _POWER_REMEDY)
    heat = "" if health.cpu_temperature_c is None else f"CPU {health.cpu_temperature_c:.0f} C, "
    no = "voltage not told" if health.under_voltage_now is None else "no under-voltage and no throttling seen"
    return _ok(heat + no)


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
            return _skipped(f"{directory} is not there yet: the first start of solarshed-control makes it")
        return _failed(
            f"state_directory {directory} is not there", f"sudo install -d -o solarshed -g solarshed {directory}"
        )
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0")
            file.flush()
    except OSError as e:
        return _failed(
            f"state_directory {directory} cannot be written by this user: {e.strerror}",
            "run doctor with sudo; if that says the same, see `df` for a full disk and `dmesg` for one that went "
            "read-only",
        )
    health = pi_health(directory, machine.root)
    troubles = trouble(Health(disk_free_percent=health.disk_free_percent))
    if troubles:
        return _failed(f"state_directory {directory}: {troubles[0]}", "make room: `sudo journalctl --vacuum-size=100M`")
    free_gb = (health.disk_free_bytes or 0.0) / 1e9
    return _ok(f"{directory} is writable, {free_gb:.1f} GB ({health.disk_free_percent or 0.0:.0f} %) free")


# The thermometer


def check_bus(directory: Path) -> Finding:
    """Whether the kernel has a 1-wire bus."""
    names = _names(directory)
    if names is None:
        return _failed(f"there is no 1-wire bus: {directory} is missing", _W1_REMEDY)
    sensors = [name for name in names if name.startswith("28-")]
    if not sensors and not any(name.startswith("w1_bus_master") for name in names):
        return _failed(f"there is no 1-wire bus: {directory} has no w1_bus_master", _W1_REMEDY)
    if not sensors:
        noise = any(name.startswith("00-") for name in names)
        return _failed(
            "the 1-wire bus has no DS18B20" + (", only noise (00-...)" if noise else ""),
            "see that the data wire is on GPIO 4, with 4.7 kilohm between it and 3.3 V, and that power and ground are "
            "not swapped",
        )
    return _ok(f"{', '.join(sensors)} on the bus")


def check_thermometer(thermometer: Thermometer, machine: Machine) -> Finding:
    """Whether the sensor in the settings reads as control reads it."""
    present = [name for name in _names(Path(thermometer.directory)) or [] if name.startswith("28-")]
    try:
        reader = ThermometerReader(thermometer.sensor_id, thermometer.directory, 0.1, machine.thermometer_wait_s)
    except ThermometerError as e:
        return _failed(*_halves(str(e), ""))
    try:
        if thermometer.sensor_id not in present:
            return _failed(
                f"thermometer.sensor_id {thermometer.sensor_id} is not on the bus",
                f"write one that is: {', '.join(present)}" if present else "see the 1-wire bus above",
            )
        celsius = _first_temperature(reader, machine.thermometer_wait_s)
    finally:
        reader.close()
    if celsius is not None:
        return _ok(f"{thermometer.sensor_id} reads {celsius:.1f} C ({celsius * 1.8 + 32.0:.1f} F)")
    cause = max(reader.errors, key=lambda cause: reader.errors[cause], default=Cause.TIMEOUT)
    meaning, remedy = _halves(MEANING[cause], "see that the plug sits firmly; the kernel finds it again by itself")
    return _failed(f"{thermometer.sensor_id} does not read: {meaning}", remedy)


def _first_temperature(reader: ThermometerReader, wait_s: float) -> float | None:
    deadline_s = time.monotonic() + wait_s
    while time.monotonic() < deadline_s and reader.errors.total() < _READS_TO_FAIL:
        reading = reader.reading(time.monotonic())
        if reading is not None:
            return reading.value
        time.sleep(0.02)
    return None


def _names(directory: Path) -> list[str] | None:
    """The names in `directory`, sorted; None where it cannot be listed."""
    try:
        return sorted(path.name for path in directory.iterdir())
    except OSError:
        return None


# The battery monitor


def check_port(port: str, machine: Machine) -> Finding:
    """Whether the serial port is there and may be used."""
    path = Path(port)
    adapters = machine.root / "dev/serial/by-id"
    names = _names(adapters) or []
    if not path.exists():
        there = " or ".join(f'"{adapters / name}"' for name in names)
        return _failed(
            f"monitor.serial_port {port} is not there",
            f"write monitor.serial_port = {there}"
            if there
            else f"no adapter is in {adapters}: plug it in and see `dmesg`",
        )
    if not _usable(path):
        return _failed(
            f"monitor.serial_port {port} may not be used by this user",
            "run doctor with sudo, or join the group: sudo usermod -aG dialout $USER, then log in again",
        )
    return _ok(f"{port} is there")


def check_battery_monitor(monitor: Monitor, machine: Machine) -> Finding:
    """Whether a MATE speaks there, and what it says."""
    port, path = monitor.serial_port, Path(monitor.serial_port)
    if not path.exists() or not _usable(path):
        return _skipped("needs the serial port above")
    proc = machine.root / "proc"
    try:
        line = open_port(port, _READ_TIMEOUT_S)
    except (serial.SerialException, OSError, termios.error) as e:
        if isinstance(e, OSError) and e.errno in (errno.EAGAIN, errno.EBUSY):
            # Another user's program keeps hidden what it has open, not how it was started.
            return _is_taken(_holder(path, proc) or _Holder("another program", is_control=_control_runs(proc)))
        return _failed(
            f"{port} cannot be opened: {e}", "see that it is a serial port; unplug the adapter and plug it in again"
        )
    with line:
        lines = _modem_lines(line)
        if lines not in (None, (True, False)):
            return _failed(
                f"the adapter does not set DTR and clear RTS as it was told ({_shown(lines)})",
                "take another adapter (an FTDI or a PL2303): these lines power the MATE's port",
            )
        heard = _listen(line, machine.listen_s)
    finding = _judged(heard, monitor.devices, machine.listen_s)
    # One that has not locked the port takes away a part of what comes.
    thief = None if finding.verdict is Verdict.OK else _holder(path, proc)
    return finding if thief is None else _is_taken(thief)


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
        return _failed(
            f"nothing at all comes from the MATE within {listened_s:g} s",
            "set SETUP/MATE/PAGE2/COMM/PC to ON on the MATE and press none of its buttons; see the cable (straight, "
            "to the MATE's 9 pins); try another adapter, this one may not power the MATE's isolated port",
        )
    if not heard.pages:
        return _no_page(heard)
    said = ", ".join(f"{name} {page.battery_voltage_v:.1f} V" for name, page in sorted(heard.pages.items()))
    if not any(is_plausible_battery_voltage(page.battery_voltage_v) for page in heard.pages.values()):
        return _failed(
            f"no plausible battery voltage: {said}", "this is for a 48 V bank; see the devices' own displays"
        )
    missing = [device for device in expected if device not in heard.pages]
    if missing:
        return _failed(
            f"no page of {', '.join(missing)}, which monitor.devices names; there are {said}",
            "see the device's cable to the HUB, do COMM/REPOLL on the MATE, or correct monitor.devices",
        )
    refused = heard.refused.total()
    if refused > _MOST_REFUSED * (refused + heard.reader.read):
        return _warning(
            f"{said}, but {refused} of {refused + heard.reader.read} pages are damaged ({_causes(heard)})",
            "shorten the cable, keep it away from the inverter's, and see its ground wire",
        )
    return _ok(f"battery by {said}")


def _no_page(heard: _Heard) -> Finding:
    # A MATE3 begins each line with a port of two digits and a device type; a MATE with one character.
    if re.search(rb"[\r\n][0-9]{2},[0-9],", heard.raw):
        return _failed(
            "this is a MATE3's data stream, which is not read yet", "connect a MATE or MATE2, whose pages are"
        )
    arrived = f"{len(heard.raw)} bytes arrive, but no valid page"
    causes = _causes(heard)
    if heard.reader.refused[Refusal.CHECKSUM] > heard.reader.refused.total() / 2:
        return _failed(f"{arrived} ({causes})", "noise: shorten the cable, and see its ground wire and its plugs")
    return _failed(
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


@dataclass(frozen=True)
class _Holder:
    """Who has the port open."""

    name: str
    is_control: bool


def _is_taken(holder: _Holder) -> Finding:
    if holder.is_control:
        return _skipped(
            "solarshed control has the port open",
            "to check it: sudo systemctl stop solarshed-control (the relays open), doctor, and start it again",
        )
    return _failed(f"{holder.name} has the port open", "stop it: only one program can read the port")


def _holder(port: Path, proc: Path) -> _Holder | None:
    """The program that has `port` open, as far as this user may see; control, if it is among several."""
    device = port.stat()
    holders = [
        _Holder(f"process {process.name} ({' '.join(_command(process))[:60]})", _is_control(_command(process)))
        for process in _processes(proc)
        if process.name != str(os.getpid()) and _has_open(process, device)
    ]
    return max(holders, key=lambda holder: holder.is_control, default=None)


def _control_runs(proc: Path) -> bool:
    return any(_is_control(_command(process)) for process in _processes(proc))


def _processes(proc: Path) -> list[Path]:
    return [proc / name for name in _names(proc) or [] if name.isdecimal()]


def _has_open(process: Path, device: os.stat_result) -> bool:
    # Both calls fail on a process that has ended, or is another user's. A container may have the same path for another
    # device, so paths tell nothing.
    for name in _names(process / "fd") or []:
        try:
            if os.path.samestat((process / "fd" / name).stat(), device):
                return True
        except OSError:
            continue
    return False


def _command(process: Path) -> list[str]:
    try:
        return [word.decode(errors="replace") for word in (process / "cmdline").read_bytes().split(b"\0") if word]
    except OSError:
        return []


def _is_control(words: list[str]) -> bool:
    return any(
        Path(program).name in ("solarshed", "solarshed.py") and verb == "control"
        for program, verb in itertools.pairwise(words)
    )


def _usable(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


# The relays


def check_gpio(pins: tuple[int, ...], machine: Machine) -> Finding:
    """Whether this user may use the GPIO chip. Takes no pin."""
    chips = sorted((machine.root / "dev").glob("gpiochip*"))
    if not chips:
        return _failed("there is no /dev/gpiochip0", "run this on a Raspberry Pi with Raspberry Pi OS 12 or newer")
    if not any(_usable(chip) for chip in chips):
        return _failed(
            f"{chips[0]} may not be used by this user",
            "run doctor with sudo, or join the group: sudo usermod -aG gpio $USER, then log in again",
        )
    named = " and ".join(map(str, pins))
    return _ok(f"GPIO {named} can be asked for (not taken, nothing moved)")


# The cloud


def check_certificate(uplink: Uplink, machine: Machine) -> Finding:
    """Whether key, certificate and CA are there, fit each other, and are valid today."""
    if not uplink.endpoint:
        return _skipped("uplink.endpoint is empty: this shed reports to no one")
    from cryptography import x509

    from device import identity

    try:
        identity.check(uplink)
    except identity.IdentityError as e:
        return _failed(*_halves(str(e), "put the right file there, or provision this device again"))
    certificate = x509.load_pem_x509_certificate(Path(uplink.certificate).read_bytes())
    begin, end, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, machine.now()
    renew = "have a new certificate made for this key"
    if now < begin:
        return _failed(f"the certificate is valid from {begin:%Y-%m-%d} on", "set the clock right, see above")
    if end <= now:
        return _failed(f"the certificate expired on {end:%Y-%m-%d}", renew)
    if end - now < _EXPIRES_SOON:
        return _warning(f"the certificate expires on {end:%Y-%m-%d}, in {(end - now).days} days", renew)
    if Path(uplink.private_key).stat().st_mode & stat.S_IROTH:
        return _warning(f"{uplink.private_key} can be read by every user", f"sudo chmod o-rwx {uplink.private_key}")
    return _ok(f"belongs to the key, valid until {end:%Y-%m-%d}")


def check_endpoint(uplink: Uplink, machine: Machine) -> Finding:
    """Whether the endpoint answers and both sides accept each other's certificate. Sends no message."""
    if not uplink.endpoint:
        return _skipped("uplink.endpoint is empty: this shed reports to no one")
    where = f"{uplink.endpoint}:{uplink.port}"
    try:
        context = ssl.create_default_context(cafile=uplink.ca)
        context.load_cert_chain(uplink.certificate, uplink.private_key)
    except OSError:  # ssl.SSLError is one
        return _skipped("needs the certificate above")
    if uplink.port == _AWS_ALPN_PORT:
        context.set_alpn_protocols([_AWS_ALPN])
    try:
        _shake_hands(uplink, context, machine.connect_timeout_s)
    except OSError as e:
        sentence, remedy = _why_no_connection(e, uplink, machine.connect_timeout_s)
        return _failed(f"{where}: {sentence}", remedy)
    return _ok(f"{where} answers, TLS is fine")


def _shake_hands(uplink: Uplink, context: ssl.SSLContext, timeout_s: float) -> None:
    with (
        socket.create_connection((uplink.endpoint, uplink.port), timeout=timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=uplink.endpoint) as secure,
    ):
        # In TLS 1.3 a server says only after the handshake that it refuses our certificate. One that takes it waits
        # for MQTT's first packet, which does not come.
        secure.settimeout(min(1.0, timeout_s))
        try:
            if not secure.recv(1):
                raise ConnectionResetError
        except TimeoutError:
            return


def _why_no_connection(error: OSError, uplink: Uplink, timeout_s: float) -> tuple[str, str]:
    """Cause and remedy. The order matters: each kind of error is an OSError too."""
    if isinstance(error, socket.gaierror):
        return (
            "the name cannot be resolved",
            "see that the network is up and uplink.endpoint is spelled as `aws iot describe-endpoint "
            "--endpoint-type iot:Data-ATS` prints it",
        )
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused", "see uplink.port (8883), and the firewall of the network"
    if isinstance(error, TimeoutError):
        return (
            f"no answer within {timeout_s:g} s",
            "see that the network's firewall lets this port out, or try port 443",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message.rstrip('.')}", _VERIFY_REMEDIES.get(
            error.verify_code,
            f"see that uplink.ca {uplink.ca} is the CA of this endpoint (AWS: AmazonRootCA1.pem)",
        )
    if isinstance(error, ssl.SSLEOFError | ConnectionError) or _alert(error):
        return (
            f"it refuses our certificate ({_alert(error) or 'it closes the connection'})",
            "see in AWS IoT that the certificate is active, has the stack's policy and belongs to this account",
        )
    if isinstance(error, ssl.SSLError):
        return f"what answers does not speak TLS ({_reason(error)})", "see uplink.endpoint and uplink.port (8883)"
    return str(error.strerror or error), "see that the network is up: `ip route`"


def _alert(error: OSError) -> str:
    """What the other side objects to, in TLS's words; "" if it is not that."""
    reason = _reason(error) if isinstance(error, ssl.SSLError) else ""
    return reason if "alert" in reason else ""


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "").lower().replace("_", " ")
