"""What `device/install` puts on a Pi, as systemd sees it."""

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from device.settings import DEFAULT_PATH, Control

ROOT = Path(__file__).parent.parent.parent
INSTALL = ROOT / "device/install"
README = (ROOT / "README.md").read_text()
SERVICES = ["control", "uplink"]


def settings_of(path: Path) -> dict[str, list[str]]:
    """Every setting of a unit file or systemd configuration, with all its values in order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def unit(service: str) -> dict[str, list[str]]:
    return settings_of(INSTALL / f"solarshed-{service}.service")


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze; on Debian: apt-get install systemd")
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "LANG": "C"},
        check=False,
    )


@pytest.mark.parametrize("service", SERVICES)
def test_systemd_has_nothing_to_say_against_a_unit(service: str, tmp_path: Path) -> None:
    name = f"solarshed-{service}.service"
    text = (INSTALL / name).read_text()
    # The one thing that a machine without an installation lacks.
    assert "\nExecStart=/opt/solarshed/bin/solarshed " in text
    (tmp_path / name).write_text(text.replace("/opt/solarshed/bin/solarshed", "/bin/true"))

    done = systemd_analyze("verify", "--man=no", tmp_path / name)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_is_as_exposed_as_the_readme_says_and_no_more(service: str) -> None:
    version = systemd_analyze("--version").stdout.split()[1]
    stated = re.search(rf"`solarshed-{service}` (\d\.\d)", README)
    readme_speaks_of = re.search(r"\(systemd (\d+), 0 best", README)
    assert stated
    assert readme_speaks_of
    if version != readme_speaks_of[1]:
        pytest.skip(f"systemd {version} counts otherwise than {readme_speaks_of[1]}, of which the README speaks")

    name = INSTALL / f"solarshed-{service}.service"
    # It counts in tenths, and fails above the threshold.
    done = systemd_analyze(
        "security", "--offline=true", "--no-pager", f"--threshold={stated[1].replace('.', '')}", name
    )

    assert f"Overall exposure level for {name.name}: {stated[1]} " in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_started_again_and_systemd_never_gives_up(service: str) -> None:
    found = unit(service)

    assert found["Restart"] == ["always"]
    assert found["RestartSec"] == ["2"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert "RestartPreventExitStatus" not in found


@pytest.mark.parametrize(("service", "least_s", "most_s"), [("control", 15, 30), ("uplink", 60, 180)])
def test_a_service_that_hangs_is_ended(service: str, least_s: int, most_s: int) -> None:
    found = unit(service)

    assert found["Type"] == ["notify"]
    assert found["NotifyAccess"] == ["main"]
    assert least_s <= int(found["WatchdogSec"][0]) <= most_s


def test_the_watchdog_waits_for_the_slowest_tick_that_the_settings_allow() -> None:
    slowest_tick_s = next(f.metadata["high"] for f in fields(Control) if f.name == "tick_s")

    assert int(unit("control")["WatchdogSec"][0]) >= 3 * slowest_tick_s


def test_control_may_use_the_pins_and_usb_serial_adapters_and_nothing_else() -> None:
    found = unit("control")

    assert found["DevicePolicy"] == ["closed"]
    # 188 is ttyUSB, 166 is ttyACM: the numbers that the kernel's list of devices gives them for good.
    assert found["DeviceAllow"] == ["char-gpiochip rw", "char-188 rw", "char-166 rw"]
    assert found["SupplementaryGroups"] == ["gpio dialout"]


def test_uplink_has_no_device() -> None:
    found = unit("uplink")

    assert found["PrivateDevices"] == ["yes"]
    assert found["DevicePolicy"] == ["closed"]
    assert "DeviceAllow" not in found
    assert "SupplementaryGroups" not in found


def test_control_can_open_no_network_socket_and_waits_for_nobody() -> None:
    found = unit("control")

    assert found["RestrictAddressFamilies"] == ["AF_UNIX"]
    for order in ("After", "Wants", "Requires", "Requisite", "BindsTo", "PartOf", "Conflicts", "OnFailure"):
        assert order not in found


def test_uplink_does_not_hang_on_control_and_does_not_end_with_it() -> None:
    text = (INSTALL / "solarshed-uplink.service").read_text()

    named = [line for line in text.splitlines() if "solarshed-control" in line]
    assert all(line.startswith("#") for line in named)
    assert unit("uplink")["After"] == ["network-online.target"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_as_its_own_user_without_any_privilege(service: str) -> None:
    found = unit(service)

    assert (found["User"], found["Group"]) == (["solarshed"], ["solarshed"])
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["CapabilityBoundingSet"] == [""]
    assert "AmbientCapabilities" not in found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_a_command_that_exists_with_the_default_settings(service: str) -> None:
    (command,) = unit(service)["ExecStart"]
    program, verb = command.split()
    shown = subprocess.run(
        [sys.executable, "-m", "solarshed", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout

    assert program == "/opt/solarshed/bin/solarshed"
    assert verb == service
    assert f"\n    {verb} " in shown
    assert str(DEFAULT_PATH) == "/etc/solarshed/config.toml"
    assert f" {DEFAULT_PATH}\n" in README


def test_control_may_ask_whether_the_clock_is_synchronised() -> None:
    found = unit("control")

    # The last word counts: @privileged, taken away before, holds these calls.
    assert found["SystemCallFilter"][-1] == "adjtimex clock_adjtime clock_adjtime64"
    assert "ProtectClock" not in found


def test_lgpio_finds_a_folder_that_it_can_write_to() -> None:
    found = unit("control")

    assert found["WorkingDirectory"] == [f"/run/{found['RuntimeDirectory'][0]}"]


def test_the_services_share_their_folders_and_neither_takes_them_away() -> None:
    for service in SERVICES:
        found = unit(service)
        assert (found["StateDirectory"], found["RuntimeDirectory"]) == (["solarshed"], ["solarshed"])
        assert found["RuntimeDirectoryPreserve"] == ["yes"]


def test_when_memory_or_the_processor_is_short_control_comes_first() -> None:
    control, uplink = unit("control"), unit("uplink")

    assert int(control["OOMScoreAdjust"][0]) < 0 < int(uplink["OOMScoreAdjust"][0])
    assert int(control["CPUWeight"][0]) > 100 > int(uplink["CPUWeight"][0])
    assert "MemoryMax" in uplink


def test_the_hardware_watchdog_asks_for_no_more_than_a_pi_counts_to() -> None:
    found = settings_of(INSTALL / "10-solarshed-watchdog.conf")

    assert found == {"RuntimeWatchdogSec": ["15"], "RebootWatchdogSec": ["15"]}


def test_the_udev_rule_does_nothing_until_it_is_filled_in() -> None:
    lines = (INSTALL / "99-solarshed.rules").read_text().splitlines()

    assert all(line.startswith("#") for line in lines)
    assert sum('SYMLINK+="solarshed-mate"' in line for line in lines) == 2


def test_the_readme_installs_files_that_are_there() -> None:
    (section,) = re.findall(r"^## Install on a Raspberry Pi\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)

    named = set(re.findall(r"(?:device/install|locks|docs)/[\w.*-]+", section))
    assert {"device/install/*.service", "locks/device.txt", "docs/hardware.md"} <= named
    for pattern in named:
        assert list(ROOT.glob(pattern)), f"{pattern} is in the README and not in the tree"


def pins_of(lock: str) -> dict[str, str]:
    """Package and version of every line of a lock."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "locks" / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", ["device.txt", "demo.txt"])
def test_a_pi_and_the_demo_get_the_versions_that_were_tested(lock: str) -> None:
    pins, dev = pins_of(lock), pins_of("dev.txt")

    assert pins
    assert pins.items() <= dev.items()


def test_the_lock_for_a_pi_holds_what_control_and_uplink_import_and_what_builds_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = {re.split(r"[<>=;\s]", line)[0] for line in project["project"]["optional-dependencies"]["device"]}
    (builder,) = project["build-system"]["requires"]
    device = pins_of("device.txt")

    assert asked <= device.keys()
    assert builder == f"setuptools=={device['setuptools']}"


def test_the_lock_of_the_demo_holds_what_builds_the_package_and_nothing_of_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    of_dev, of_demo = ({re.split(r"[\[<>=;\s]", line)[0] for line in extras[name]} for name in ("dev", "demo"))
    demo = pins_of("demo.txt")

    assert of_demo - {"solarshed"} <= demo.keys()
    assert project["build-system"]["requires"] == [f"setuptools=={demo['setuptools']}"]
    assert not {"matplotlib", "mypy", "pytest"} & demo.keys()
    assert {"matplotlib", "mypy", "pytest"} <= of_dev


@pytest.mark.parametrize("lock", ["dev.txt", "device.txt", "demo.txt"])
def test_every_package_in_a_lock_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / "locks" / lock).read_text()

    for entry in re.split(r"\n(?=\S)", text)[1:]:
        assert "--hash=sha256:" in entry
    assert "://" not in text
