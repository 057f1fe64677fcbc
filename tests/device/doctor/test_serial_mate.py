from pathlib import Path

import pytest

from contract.finding import Finding, Verdict
from device.battery_monitor import BatteryMonitor
from device.doctor import Machine, serial_mate
from device.doctor.serial_mate import check_battery_monitor, check_port
from device.mate import PageReader
from device.settings import Monitor
from tests.device.doctor.findings import assert_failed, assert_warned, show
from tests.device.mate_line import fndc, mate_that_says, mx


def test_a_port_that_is_missing_fails_and_names_the_adapters(machine: Machine) -> None:
    adapters = machine.root / "dev/serial/by-id"
    show(adapters / "usb-Prolific-if00-port0")

    finding = check_port("/dev/none", machine)

    assert_failed(
        finding, "/dev/none is not there", f'write monitor.serial_port = "{adapters / "usb-Prolific-if00-port0"}"'
    )


def test_a_port_that_is_missing_with_no_adapter_at_all_says_so(machine: Machine) -> None:
    finding = check_port("/dev/none", machine)

    assert_failed(finding, "/dev/none is not there", "no adapter is in")


def test_a_port_that_may_not_be_used_fails(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show(tmp_path / "port")
    monkeypatch.setattr("os.access", lambda *_: False)

    finding = check_port(str(tmp_path / "port"), machine)

    assert_failed(finding, "may not be used by this user", "usermod -aG dialout")


def test_a_port_that_is_there_is_fine(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / "usb-Prolific")

    assert check_port(str(tmp_path / "usb-Prolific"), machine).verdict is Verdict.OK


def heard_from(burst: bytes, machine: Machine, tmp_path: Path) -> Finding:
    with mate_that_says(tmp_path / "mate", burst) as port:
        return check_battery_monitor(Monitor(port), machine)


def test_a_mate_that_speaks_is_fine_and_shows_its_devices(machine: Machine, tmp_path: Path) -> None:
    finding = heard_from(mx(50.1) + fndc(50.2), machine, tmp_path)

    assert finding == Finding(Verdict.OK, "battery by fndc3 50.2 V, mx2 50.1 V")


def test_S14_a_device_that_must_report_and_does_not_fails(machine: Machine, tmp_path: Path) -> None:
    with mate_that_says(tmp_path / "mate", mx(50.1)) as port:
        finding = check_battery_monitor(Monitor(port, devices=("fx1", "mx2", "fndc3")), machine)

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
    heard = serial_mate._Heard(PageReader(), raw=b"not empty")
    heard.pages["mx2"], *_ = heard.reader.feed(mx(50.1)[30:] + mx(50.1) * 5)

    finding = serial_mate._judged(heard, (), 5.0)

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
        check_battery_monitor(Monitor(port), machine)

        BatteryMonitor(port, 10.0).close()


@pytest.mark.parametrize("lines", [(False, False), (True, True)])
def test_an_adapter_that_does_not_power_the_port_fails(
    lines: tuple[bool, bool], machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pseudo-terminal has no such lines; this stands for what an adapter's driver says of them.
    monkeypatch.setattr(serial_mate, "_modem_lines", lambda _: lines)

    finding = heard_from(mx(50.1), machine, tmp_path)

    shown = f"DTR {'set' if lines[0] else 'cleared'}, RTS {'set' if lines[1] else 'cleared'}"
    assert_failed(finding, f"does not set DTR and clear RTS as it was told ({shown})", "another adapter")


def test_what_is_no_serial_port_fails(machine: Machine, tmp_path: Path) -> None:
    show(tmp_path / "file")

    finding = check_battery_monitor(Monitor(str(tmp_path / "file")), machine)

    assert_failed(finding, "cannot be opened", "see that it is a serial port")


def test_without_a_port_there_is_nothing_to_listen_to(machine: Machine, tmp_path: Path) -> None:
    assert check_battery_monitor(Monitor(str(tmp_path / "none")), machine).verdict is Verdict.SKIPPED
