import errno
import io
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import serial
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo.shed.mate import fndc_page, mx_page
from demo.shed.serial_line import SerialLine
from demo.shed.thermometer import w1_slave
from device import doctor
from device.battery_monitor import BatteryMonitor
from device.doctor import Finding, Machine, Verdict
from device.health import Health
from device.mate import PageReader
from device.settings import Monitor, Thermometer, Uplink

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SENSOR_ID = "28-000005e2fdc3"
OTHER_ID = "28-0000ffffffff"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that is an empty folder, with little patience."""
    (tmp_path / "root").mkdir()
    return Machine(
        root=tmp_path / "root",
        synchronised=lambda: True,
        now=lambda: NOW,
        listen_s=0.5,
        thermometer_wait_s=0.5,
        connect_timeout_s=1.0,
        hangs_after_s=20.0,
    )


@pytest.fixture(autouse=True)
def no_vcgencmd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def show(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def assert_failed(finding: Finding, sentence: str, remedy: str) -> None:
    assert finding.verdict is Verdict.FAILED
    assert sentence in finding.sentence
    assert remedy in finding.remedy


def assert_warned(finding: Finding, sentence: str, remedy: str) -> None:
    assert finding.verdict is Verdict.WARNING
    assert sentence in finding.sentence
    assert remedy in finding.remedy


# The Pi


def test_a_synchronised_clock_is_fine(machine: Machine) -> None:
    finding = doctor.check_clock(machine)

    assert finding == Finding(Verdict.OK, "synchronised, 2026-11-23 12:00:00 UTC")


def test_C1_a_clock_that_nobody_sets_fails(machine: Machine) -> None:
    finding = doctor.check_clock(replace(machine, synchronised=lambda: False))

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
    assert_failed(doctor.check_pi(health), sentence, remedy)


def test_P13_an_under_voltage_that_is_over_warns() -> None:
    past = Health(cpu_temperature_c=50.0, under_voltage_now=False, under_voltage_since_boot=True)

    assert_warned(doctor.check_pi(past), "under-voltage since boot, not now", "supply of 5.1 V")


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

    finding = doctor.check_pi(Health(cpu_temperature_c=50.0, under_voltage_now=False))

    assert finding.verdict is expected


def test_a_machine_that_is_no_pi_is_skipped_and_a_healthy_one_is_fine() -> None:
    healthy = Health(cpu_temperature_c=48.3, under_voltage_now=False, throttled_now=False)

    assert doctor.check_pi(Health(load_1min=0.1)).verdict is Verdict.SKIPPED
    assert doctor.check_pi(healthy) == Finding(Verdict.OK, "CPU 48 C, no under-voltage and no throttling seen")


def test_a_state_directory_that_is_missing_fails(machine: Machine, tmp_path: Path) -> None:
    finding = doctor.check_state_directory(tmp_path / "state", machine)

    assert_failed(
        finding, f"state_directory {tmp_path / 'state'} is not there", f"-o solarshed -g solarshed {tmp_path}"
    )


def test_the_state_directory_that_systemd_makes_may_be_missing_before_the_first_start(machine: Machine) -> None:
    finding = doctor.check_state_directory(Path("/var/lib/solarshed-of-nobody"), machine)

    assert finding.verdict is Verdict.SKIPPED
    assert "the first start of solarshed-control makes it" in finding.sentence


def test_P5_a_state_directory_that_cannot_be_written_fails(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)

    finding = doctor.check_state_directory(tmp_path, machine)

    assert_failed(finding, "cannot be written by this user: Read-only file system", "`dmesg`")


def test_P4_a_disk_that_is_nearly_full_fails(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.health._disk_free", lambda _: (4.0, 1e9))

    finding = doctor.check_state_directory(tmp_path, machine)

    assert_failed(finding, "disk 4.00 % free, below 5 %", "make room")


def test_a_state_directory_that_can_be_written_is_fine_and_left_empty(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.health._disk_free", lambda _: (25.0, 7.25e9))
    (tmp_path / "state").mkdir()

    finding = doctor.check_state_directory(tmp_path / "state", machine)

    assert finding == Finding(Verdict.OK, f"{tmp_path / 'state'} is writable, 7.2 GB (25 %) free")
    assert list((tmp_path / "state").iterdir()) == []


# The thermometer


@pytest.mark.parametrize(
    ("present", "sentence", "remedy"),
    [
        (None, "there is no 1-wire bus: ", "dtoverlay=w1-gpio to /boot/firmware/config.txt and reboot"),
        ([], "has no w1_bus_master", "dtoverlay=w1-gpio to /boot/firmware/config.txt and reboot"),
        (["w1_bus_master1"], "the 1-wire bus has no DS18B20", "4.7 kilohm"),
        (["00-800000000000", "w1_bus_master1"], "only noise (00-...)", "4.7 kilohm"),
    ],
)
def test_T9_a_bus_without_a_sensor_fails(present: list[str] | None, sentence: str, remedy: str, tmp_path: Path) -> None:
    for name in present or []:
        (tmp_path / "w1" / name).mkdir(parents=True)
    if present == []:
        (tmp_path / "w1").mkdir()

    assert_failed(doctor.check_bus(tmp_path / "w1"), sentence, remedy)


def test_a_bus_names_its_sensors(tmp_path: Path) -> None:
    for name in (SENSOR_ID, OTHER_ID, "w1_bus_master1"):
        (tmp_path / name).mkdir()

    assert doctor.check_bus(tmp_path) == Finding(Verdict.OK, f"{SENSOR_ID}, {OTHER_ID} on the bus")


def thermometer(directory: Path, sensor_id: str = SENSOR_ID) -> Thermometer:
    return Thermometer(sensor_id=sensor_id, directory=str(directory))


def test_a_sensor_that_reads_is_fine_and_shows_its_temperature(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / SENSOR_ID / "w1_slave", w1_slave(22.5))

    finding = doctor.check_thermometer(thermometer(tmp_path), machine)

    assert finding == Finding(Verdict.OK, f"{SENSOR_ID} reads 22.5 C (72.5 F)")


def test_T11_a_wrong_id_fails_and_names_those_that_are_there(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / OTHER_ID / "w1_slave", w1_slave(22.25))

    finding = doctor.check_thermometer(thermometer(tmp_path), machine)

    assert_failed(finding, f"thermometer.sensor_id {SENSOR_ID} is not on the bus", f"write one that is: {OTHER_ID}")


def test_a_wrong_id_on_an_empty_bus_points_to_the_bus(machine: Machine, tmp_path: Path) -> None:
    finding = doctor.check_thermometer(thermometer(tmp_path / "missing"), machine)

    assert_failed(finding, "is not on the bus", "see the 1-wire bus above")


def test_an_id_that_is_none_fails(machine: Machine, tmp_path: Path) -> None:
    finding = doctor.check_thermometer(thermometer(tmp_path, "10-000005e2fdc3"), machine)

    assert_failed(finding, "'10-000005e2fdc3' is not a DS18B20's", "28- and twelve hexadecimal digits")


def slave(scratchpad: str, millidegrees: int) -> str:
    return f"{scratchpad} : crc={scratchpad[-2:]} YES\n{scratchpad} t={millidegrees}\n"


UNREADABLE = {
    "T1": (
        "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n63 01 4b 46 7f ff 0d 10 15 t=-62\n",
        "checksum",
        "shorten the cable",
    ),
    "T2": (slave("50 05 4b 46 7f ff 0c 10 1c", 85000), "value at power-on", "3.3 V"),
    "T4": (slave("ff 07 4b 46 7f ff 0c 10 a6", 127937), "too little power", "3.3 V"),
    "T5": (slave("00 00 00 00 00 00 00 00 00", 0), "zeros only", "data wire"),
    "T7": (slave("20 f9 4b 46 7f ff 0c 10 00", -110000), "outside of -55 to 125 C", "4.7 kilohm"),
    "T8": ("4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n", "no whole answer", "plug"),
}


@pytest.mark.parametrize(("content", "cause", "remedy"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_sensor_that_does_not_read_fails_with_its_own_cause(
    content: str, cause: str, remedy: str, machine: Machine, tmp_path: Path
) -> None:
    show(tmp_path / SENSOR_ID / "w1_slave", content)

    assert_failed(doctor.check_thermometer(thermometer(tmp_path), machine), cause, remedy)


def test_T9_a_sensor_whose_file_has_gone_fails(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / SENSOR_ID).mkdir()

    finding = doctor.check_thermometer(thermometer(tmp_path), machine)

    assert_failed(finding, "it is not on the 1-wire bus", "plug")


def test_T12_two_failures_before_a_temperature_are_none(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / SENSOR_ID / "w1_slave", UNREADABLE["T1"][0])
    fresh = tmp_path / "fresh"
    fresh.write_text(w1_slave(22.5))
    threading.Timer(0.25, lambda: fresh.replace(tmp_path / SENSOR_ID / "w1_slave")).start()

    finding = doctor.check_thermometer(thermometer(tmp_path), replace(machine, thermometer_wait_s=5.0))

    assert finding.verdict is Verdict.OK


def test_T10_a_sensor_that_hangs_fails(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / SENSOR_ID).mkdir()
    pipe = tmp_path / SENSOR_ID / "w1_slave"
    os.mkfifo(pipe)  # opening it waits for a writer

    finding = doctor.check_thermometer(thermometer(tmp_path), machine)

    assert_failed(finding, "a read takes longer", "restart the Pi")
    pipe.write_text(w1_slave(20.0))  # let the thread go


# The serial port


def test_a_port_that_is_missing_fails_and_names_the_adapters(machine: Machine) -> None:
    adapters = machine.root / "dev/serial/by-id"
    show(adapters / "usb-Prolific-if00-port0")

    finding = doctor.check_port("/dev/none", machine)

    assert_failed(
        finding, "/dev/none is not there", f'write monitor.serial_port = "{adapters / "usb-Prolific-if00-port0"}"'
    )


def test_a_port_that_is_missing_with_no_adapter_at_all_says_so(machine: Machine) -> None:
    finding = doctor.check_port("/dev/none", machine)

    assert_failed(finding, "/dev/none is not there", "no adapter is in")


def test_a_port_that_may_not_be_used_fails(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show(tmp_path / "port")
    monkeypatch.setattr("os.access", lambda *_: False)

    finding = doctor.check_port(str(tmp_path / "port"), machine)

    assert_failed(finding, "may not be used by this user", "usermod -aG dialout")


def test_a_port_that_is_there_is_fine(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / "usb-Prolific")

    assert doctor.check_port(str(tmp_path / "usb-Prolific"), machine).verdict is Verdict.OK


# The battery monitor


def mx(voltage_v: float) -> bytes:
    return mx_page(
        port=2,
        charger_current_a=8.5,
        panel_current_a=6.0,
        panel_voltage_v=75.0,
        daily_kwh=1.5,
        charger_mode=2,
        battery_voltage_v=voltage_v,
        daily_ah=33.0,
    )


def fndc(voltage_v: float) -> bytes:
    return fndc_page(
        port=3,
        shunt_currents_a=(-12.3, 8.6, 0.0),
        extra_id=0,
        extra_value=42,
        battery_voltage_v=voltage_v,
        soc_percent=83.0,
        battery_temperature_c=20.0,
    )


@contextmanager
def mate_that_says(link: Path, burst: bytes) -> Iterator[str]:
    """A serial port on which `burst` comes again and again."""
    line = SerialLine(link)
    done = threading.Event()

    def speak() -> None:
        while not done.wait(0.03):
            line.send(burst)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield str(link)
    finally:
        done.set()
        thread.join()
        line.close()


def heard_from(burst: bytes, machine: Machine, tmp_path: Path) -> Finding:
    with mate_that_says(tmp_path / "mate", burst) as port:
        return doctor.check_battery_monitor(Monitor(port), machine)


def test_a_mate_that_speaks_is_fine_and_shows_its_devices(machine: Machine, tmp_path: Path) -> None:
    finding = heard_from(mx(50.1) + fndc(50.2), machine, tmp_path)

    assert finding == Finding(Verdict.OK, "battery by fndc3 50.2 V, mx2 50.1 V")


def test_S14_a_device_that_must_report_and_does_not_fails(machine: Machine, tmp_path: Path) -> None:
    with mate_that_says(tmp_path / "mate", mx(50.1)) as port:
        finding = doctor.check_battery_monitor(Monitor(port, devices=("fx1", "mx2", "fndc3")), machine)

    assert_failed(finding, "no page of fx1, fndc3, which monitor.devices names; there are mx2 50.1 V", "COMM/REPOLL")


def test_a_mate_that_is_silent_fails(machine: Machine, tmp_path: Path) -> None:
    finding = heard_from(b"", machine, tmp_path)

    assert_failed(finding, "nothing at all comes from the MATE within 0.5 s", "SETUP/MATE/PAGE2/COMM/PC to ON")


@pytest.mark.parametrize("burst", [bytes(range(128, 250)), b"hello\r\n", b"no end of line"], ids=["8 bit", "text", "-"])
def test_S5_bytes_that_are_no_pages_fail(burst: bytes, machine: Machine, tmp_path: Path) -> None:
    finding = heard_from(burst, machine, tmp_path)

    assert_failed(finding, "bytes arrive, but no valid page", "19200 baud, 8N1")


def test_S5_the_causes_of_refused_pages_are_counted(machine: Machine, tmp_path: Path) -> None:
    assert " length)" in heard_from(b"\x00\xf8\r\n\x80\xff\n", machine, tmp_path).sentence


def test_S4_pages_with_wrong_checksums_only_are_noise(machine: Machine, tmp_path: Path) -> None:
    finding = heard_from(mx(50.1).replace(b"501", b"502"), machine, tmp_path)

    assert_failed(finding, "checksum)", "shorten the cable")


def test_S4_a_few_good_pages_among_many_damaged_ones_warn(machine: Machine, tmp_path: Path) -> None:
    finding = heard_from(mx(50.1) + mx(50.1).replace(b"501", b"502"), machine, tmp_path)

    assert_warned(finding, "mx2 50.1 V, but ", "shorten the cable")
    assert "checksum)" in finding.sentence


def test_S3_a_page_that_was_under_way_is_not_counted_as_damaged() -> None:
    heard = doctor._Heard(PageReader(), raw=b"not empty")
    heard.pages["mx2"], *_ = heard.reader.feed(mx(50.1)[30:] + mx(50.1) * 5)

    finding = doctor._judged(heard, (), 5.0)

    assert heard.reader.refused.total() == 1
    assert finding == Finding(Verdict.OK, "battery by mx2 50.1 V")


def test_a_mate3_is_told_by_name(machine: Machine, tmp_path: Path) -> None:
    finding = heard_from(b"00,4,0000,0126,0000,02,00023,287,099,001,00,33,062\r\n", machine, tmp_path)

    assert_failed(finding, "MATE3's data stream", "MATE or MATE2")


@pytest.mark.parametrize("voltage_v", [0.0, 12.6, 25.2])
def test_S11_a_voltage_that_no_48_v_bank_has_fails(voltage_v: float, machine: Machine, tmp_path: Path) -> None:
    finding = heard_from(mx(voltage_v), machine, tmp_path)

    assert_failed(finding, f"no plausible battery voltage: mx2 {voltage_v:.1f} V", "48 V bank")


def test_the_port_is_given_back(machine: Machine, tmp_path: Path) -> None:
    with mate_that_says(tmp_path / "mate", mx(50.1)) as port:
        doctor.check_battery_monitor(Monitor(port), machine)

        BatteryMonitor(port, 10.0).close()


@pytest.mark.parametrize("lines", [(False, False), (True, True)])
def test_an_adapter_that_does_not_power_the_port_fails(
    lines: tuple[bool, bool], machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pseudo-terminal has no such lines; this stands for what an adapter's driver says of them.
    monkeypatch.setattr(doctor, "_modem_lines", lambda _: lines)

    finding = heard_from(mx(50.1), machine, tmp_path)

    shown = f"DTR {'set' if lines[0] else 'cleared'}, RTS {'set' if lines[1] else 'cleared'}"
    assert_failed(finding, f"does not set DTR and clear RTS as it was told ({shown})", "another adapter")


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
        finding = doctor.check_battery_monitor(Monitor(port), machine)

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
        finding = doctor.check_battery_monitor(Monitor(port), machine)

    assert_failed(finding, f"{name} has the port open", "stop it")


def test_S15_a_port_that_says_it_is_busy_is_another_programs(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TIOCEXCL, which minicom sets; root is let in all the same.
    def refuse(_: str, _timeout_s: float) -> None:
        raise serial.SerialException(errno.EBUSY, "could not open port")

    monkeypatch.setattr(doctor, "open_port", refuse)

    assert_failed(heard_from(mx(50.1), machine, tmp_path), "another program has the port open", "stop it")


@pytest.mark.parametrize("burst", [b"", mx(50.1) + mx(50.1)[:20] + b"\r"], ids=["silent", "damaged"])
def test_S15_a_program_that_takes_away_a_part_of_what_comes_is_named(
    burst: bytes, machine: Machine, tmp_path: Path
) -> None:
    with mate_that_says(tmp_path / "mate", burst) as port:
        holder(machine, "cat /dev/ttyUSB0", port)
        finding = doctor.check_battery_monitor(Monitor(port), machine)

    assert_failed(finding, "process 77777 (cat /dev/ttyUSB0) has the port open", "stop it")


def test_a_program_with_the_same_path_for_another_device_is_not_blamed(machine: Machine, tmp_path: Path) -> None:
    with mate_that_says(tmp_path / "mate", b"") as port, mate_that_says(tmp_path / "other", b"") as other:
        holder(machine, "minicom in a container", other)
        finding = doctor.check_battery_monitor(Monitor(port), machine)

    assert "nothing at all comes" in finding.sentence


def test_what_is_no_serial_port_fails(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / "file")

    finding = doctor.check_battery_monitor(Monitor(str(tmp_path / "file")), machine)

    assert_failed(finding, "cannot be opened", "see that it is a serial port")


def test_without_a_port_there_is_nothing_to_listen_to(machine: Machine, tmp_path: Path) -> None:
    assert doctor.check_battery_monitor(Monitor(str(tmp_path / "none")), machine).verdict is Verdict.SKIPPED


# The relays


def test_without_a_gpio_chip_it_fails(machine: Machine) -> None:
    assert_failed(doctor.check_gpio((17, 27), machine), "no /dev/gpiochip0", "Raspberry Pi")


def test_a_gpio_chip_that_may_not_be_used_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    show(machine.root / "dev/gpiochip0")
    monkeypatch.setattr("os.access", lambda *_: False)

    assert_failed(doctor.check_gpio((17, 27), machine), "gpiochip0 may not be used", "usermod -aG gpio")


def test_a_gpio_chip_that_may_be_used_is_fine_and_no_pin_is_taken(machine: Machine) -> None:
    show(machine.root / "dev/gpiochip4")

    finding = doctor.check_gpio((9, 27), machine)

    assert finding == Finding(Verdict.OK, "GPIO 9 and 27 can be asked for (not taken, nothing moved)")


# The cloud


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem = self._directory / f"{name}.pem"
        self.pem.write_bytes(self._certificate(name, self._key.public_key(), is_authority=True))

    def issue(self, name: str, end: datetime = NOW + timedelta(days=3650), begin: datetime | None = None) -> Path:
        """NAME.pem and NAME.key; the path of the first."""
        key = ec.generate_private_key(ec.SECP256R1())
        path = self._directory / f"{self._name}-{name}.pem"
        path.write_bytes(self._certificate(name, key.public_key(), end=end, begin=begin))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.with_suffix(".key").touch(0o600)
        path.with_suffix(".key").write_bytes(pem)
        return path

    def _certificate(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        *,
        is_authority: bool = False,
        end: datetime = NOW + timedelta(days=3650),
        begin: datetime | None = None,
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(begin or datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(end)
        builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


def uplink(authority: Authority, certificate: Path, port: int = 8883) -> Uplink:
    return Uplink(
        endpoint="localhost",
        port=port,
        certificate=str(certificate),
        private_key=str(certificate.with_suffix(".key")),
        ca=str(authority.pem),
    )


def test_a_shed_that_reports_to_no_one_has_nothing_to_check(machine: Machine) -> None:
    assert doctor.check_certificate(Uplink(), machine).verdict is Verdict.SKIPPED
    assert doctor.check_endpoint(Uplink(), machine).verdict is Verdict.SKIPPED


def test_a_certificate_that_fits_is_fine(machine: Machine, authority: Authority) -> None:
    finding = doctor.check_certificate(uplink(authority, authority.issue("shed")), machine)

    assert finding == Finding(Verdict.OK, "belongs to the key, valid until 2036-11-20")


def test_N11_a_certificate_that_is_missing_fails(machine: Machine, authority: Authority, tmp_path: Path) -> None:
    finding = doctor.check_certificate(uplink(authority, tmp_path / "missing.pem"), machine)

    assert_failed(finding, "uplink.certificate", "provision this device, or correct the path")
    assert "No such file or directory" in finding.sentence


def test_N11_a_certificate_of_another_key_fails(machine: Machine, authority: Authority) -> None:
    other = authority.issue("other").with_suffix(".key")
    settings = replace(uplink(authority, authority.issue("shed")), private_key=str(other))

    assert_failed(doctor.check_certificate(settings, machine), "does not belong to the key", "put back the key")


def test_N11_a_certificate_that_is_none_fails(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed")
    certificate.write_text("not PEM")

    finding = doctor.check_certificate(uplink(authority, certificate), machine)

    assert_failed(finding, "is not a PEM certificate", "provision this device again")


@pytest.mark.parametrize(("left", "verdict"), [(0, Verdict.FAILED), (1, Verdict.WARNING), (29, Verdict.WARNING)])
def test_N11_a_certificate_that_ends_soon_or_has_ended_is_told(
    left: int, verdict: Verdict, machine: Machine, authority: Authority
) -> None:
    certificate = authority.issue("shed", end=NOW + timedelta(days=left))

    finding = doctor.check_certificate(uplink(authority, certificate), machine)

    assert finding.verdict is verdict
    assert f"{NOW + timedelta(days=left):%Y-%m-%d}" in finding.sentence
    assert finding.remedy == "have a new certificate made for this key"


def test_a_certificate_that_ends_in_thirty_days_is_fine(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed", end=NOW + timedelta(days=30))

    assert doctor.check_certificate(uplink(authority, certificate), machine).verdict is Verdict.OK


def test_C2_a_certificate_that_is_not_valid_yet_points_to_the_clock(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed", begin=NOW + timedelta(days=1))

    finding = doctor.check_certificate(uplink(authority, certificate), machine)

    assert_failed(finding, "valid from 2026-11-24 on", "set the clock right")


def test_a_key_that_everyone_can_read_warns(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed")
    certificate.with_suffix(".key").chmod(0o644)

    finding = doctor.check_certificate(uplink(authority, certificate), machine)

    assert_warned(finding, "can be read by every user", "chmod o-rwx")


def test_a_key_that_the_services_group_can_read_is_fine(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed")
    certificate.with_suffix(".key").chmod(0o640)

    assert doctor.check_certificate(uplink(authority, certificate), machine).verdict is Verdict.OK


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """One that takes a connection on this machine and does what `talk` says; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # Without an end of its own it would wait for a client that never comes.
        listening.settimeout(10.0)

        def serve() -> None:
            try:
                with listening.accept()[0] as connection:
                    connection.settimeout(10.0)
                    talk(connection)
            except OSError:
                return  # the client has gone, which is what the test is about

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def tls(certificate: Path, clients: Path, version: ssl.TLSVersion, *, waits: bool = True) -> Callable[..., None]:
    """A TLS server as AWS IoT is one: it wants a certificate, and then MQTT."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    context.load_verify_locations(clients)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            if waits:
                secure.recv(1)

    return talk


BOTH_VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@BOTH_VERSIONS
def test_an_endpoint_that_accepts_us_is_fine(version: ssl.TLSVersion, machine: Machine, authority: Authority) -> None:
    with server(tls(authority.issue("localhost"), authority.pem, version)) as port:
        finding = doctor.check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert finding == Finding(Verdict.OK, f"localhost:{port} answers, TLS is fine")


@BOTH_VERSIONS
def test_N11_an_endpoint_that_does_not_know_our_certificate_fails(
    version: ssl.TLSVersion, machine: Machine, authority: Authority, tmp_path: Path
) -> None:
    elsewhere = Authority(tmp_path, "elsewhere")

    with server(tls(authority.issue("localhost"), elsewhere.pem, version)) as port:
        finding = doctor.check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, "it refuses our certificate (", "is active, has the stack's policy")
    assert "alert unknown ca" in finding.sentence


def test_N11_an_endpoint_that_hangs_up_on_us_fails(machine: Machine, authority: Authority) -> None:
    hangs_up = tls(authority.issue("localhost"), authority.pem, ssl.TLSVersion.TLSv1_3, waits=False)

    with server(hangs_up) as port:
        finding = doctor.check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, "it refuses our certificate (it closes the connection)", "is active")


@pytest.mark.parametrize(
    ("by", "name", "words", "remedy"),
    [
        ("elsewhere", "localhost", "unable to get local issuer", "AmazonRootCA1.pem"),
        ("ca", "other.example", "Hostname mismatch", "uplink.endpoint is spelled right"),
    ],
)
def test_an_endpoint_whose_certificate_is_not_right_fails(
    by: str, name: str, words: str, remedy: str, machine: Machine, authority: Authority, tmp_path: Path
) -> None:
    issuer = authority if by == "ca" else Authority(tmp_path, by)

    with server(tls(issuer.issue(name), authority.pem, ssl.TLSVersion.TLSv1_3)) as port:
        finding = doctor.check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, f"its certificate is not accepted: {words}", remedy)


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC), "certificate has expired"),
        (datetime(2099, 1, 1, tzinfo=UTC), datetime(2099, 2, 1, tzinfo=UTC), "certificate is not yet valid"),
    ],
)
def test_C2_an_endpoint_whose_certificate_is_of_another_time_points_to_the_clock(
    begin: datetime, end: datetime, words: str, machine: Machine, authority: Authority
) -> None:
    of_another_time = authority.issue("localhost", begin=begin, end=end)

    with server(tls(of_another_time, authority.pem, ssl.TLSVersion.TLSv1_3)) as port:
        finding = doctor.check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, f"its certificate is not accepted: {words}", "set the clock right")


def test_an_endpoint_that_speaks_no_tls_fails(machine: Machine, authority: Authority) -> None:
    def http(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with server(http) as port:
        finding = doctor.check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, "what answers does not speak TLS", "uplink.port (8883)")


def test_N10_an_endpoint_that_never_answers_fails_in_time(machine: Machine, authority: Authority) -> None:
    with server(lambda connection: assert_gone(connection)) as port:
        finding = doctor.check_endpoint(
            uplink(authority, authority.issue("shed"), port), replace(machine, connect_timeout_s=0.3)
        )

    assert_failed(finding, "no answer within 0.3 s", "try port 443")


def assert_gone(connection: socket.socket) -> None:
    """Read what comes until the other side has gone."""
    while connection.recv(65536):
        pass


def test_an_endpoint_that_refuses_the_connection_fails(machine: Machine, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    finding = doctor.check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, f"localhost:{port}: the connection is refused", "uplink.port (8883)")


@pytest.mark.parametrize(
    ("error", "sentence", "remedy"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "cannot be resolved", "describe-endpoint"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable", "`ip route`"),
    ],
)
def test_N10_a_network_that_is_down_fails(
    error: OSError,
    sentence: str,
    remedy: str,
    machine: Machine,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("socket.create_connection", fail)

    finding = doctor.check_endpoint(uplink(authority, authority.issue("shed")), machine)

    assert_failed(finding, sentence, remedy)


def test_without_a_certificate_there_is_no_handshake_to_try(
    machine: Machine, authority: Authority, tmp_path: Path
) -> None:
    finding = doctor.check_endpoint(uplink(authority, tmp_path / "missing.pem"), machine)

    assert finding.verdict is Verdict.SKIPPED


# All of it


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
        cwd=Path(__file__).parents[2],
    ).stdout.split()

    assert "device.control" in loaded
    assert "device.doctor" not in loaded
