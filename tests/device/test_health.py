import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from device.health import Health, HealthMonitor, pi_health, trouble

TEMPERATURE = "sys/class/thermal/thermal_zone0/temp"
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
THROTTLED_PI5 = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
WIRELESS = """\
Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   54.  -56.  -256        0      0      0     13      0        0
"""
MEMINFO = "MemTotal:         948280 kB\nMemFree:          120000 kB\nMemAvailable:     474140 kB\n"


class Machine:
    """A /proc and a /sys in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def show(self, path: str, content: str | bytes) -> None:
        """A reader sees the old content or the new one."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        fresh = self.root / "fresh"
        fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
        fresh.replace(self.root / path)

    def health(self) -> Health:
        return pi_health(self.root, self.root)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_pi_tells_everything_by_its_name_and_unit(machine: Machine) -> None:
    machine.show(TEMPERATURE, "48312\n")
    machine.show(THROTTLED, "50005\n")
    machine.show("proc/loadavg", "0.42 0.30 0.20 1/123 4567\n")
    machine.show("proc/meminfo", MEMINFO)
    machine.show("proc/uptime", "86400.25 300000.00\n")
    machine.show("proc/net/wireless", WIRELESS)

    measures = machine.health().as_measures()

    disk_percent, disk_bytes = measures.pop("disk_free_percent"), measures.pop("disk_free_bytes")
    assert 0.0 < disk_percent <= 100.0
    assert disk_bytes > 0.0
    assert measures == {
        "cpu_temperature_c": 48.312,
        "under_voltage_now": True,
        "under_voltage_since_boot": True,
        "throttled_now": True,
        "throttled_since_boot": True,
        "load_1min": 0.42,
        "memory_available_percent": 50.0,
        "uptime_s": 86400.25,
        "wifi_signal_dbm": -56.0,
    }


def test_what_a_machine_does_not_have_is_absent_and_not_zero(tmp_path: Path) -> None:
    health = pi_health(tmp_path / "missing", tmp_path)

    assert health == Health()
    assert health.as_measures() == {}


GARBAGE: list[str | bytes] = ["", "\n", "xyz", "nan", "inf", "-", "1_0", "³", b"\xff\xfe\x00", b"\0" * 70000, "9" * 400]


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: repr(content)[:12])
@pytest.mark.parametrize(
    "path",
    [TEMPERATURE, THROTTLED, "proc/loadavg", "proc/meminfo", "proc/uptime", "proc/net/wireless"],
    ids=lambda path: path.rpartition("/")[2],
)
def test_garbage_in_a_file_is_absent(path: str, content: str | bytes, machine: Machine) -> None:
    machine.show(path, content)

    measures = machine.health().as_measures()

    assert set(measures) == {"disk_free_percent", "disk_free_bytes"}


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (TEMPERATURE, "151000"),
        (TEMPERATURE, "-56000"),
        (THROTTLED, "123456789"),
        (THROTTLED, "-1"),
        ("proc/loadavg", "-0.1 0 0"),
        ("proc/uptime", "-1 0"),
        ("proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 0 kB\n"),
        ("proc/meminfo", "MemTotal: 100 kB\n"),
        ("proc/meminfo", "MemAvailable: 100 kB\n"),
        ("proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 101 kB\n"),
        ("proc/net/wireless", WIRELESS.replace("-56.", "0.")),
        ("proc/net/wireless", WIRELESS.replace("-56.", "-256.")),
        ("proc/net/wireless", WIRELESS.replace("-56.", "200.")),
        ("proc/net/wireless", " wlan0: 0000\n"),
    ],
)
def test_what_makes_no_sense_is_absent(path: str, content: str, machine: Machine) -> None:
    machine.show(path, content)

    assert set(machine.health().as_measures()) == {"disk_free_percent", "disk_free_bytes"}


def test_a_directory_in_the_place_of_a_file_is_absent(machine: Machine) -> None:
    (machine.root / TEMPERATURE).mkdir(parents=True)

    assert machine.health().cpu_temperature_c is None


@pytest.mark.parametrize(("shown", "expected_c"), [("0", 0.0), ("-12500", -12.5), ("150000\n", 150.0)])
def test_cold_and_hot_are_read_as_they_are(shown: str, expected_c: float, machine: Machine) -> None:
    machine.show(TEMPERATURE, shown)

    assert machine.health().cpu_temperature_c == expected_c


@pytest.mark.parametrize(
    ("word", "flags"),
    [
        ("0", (False, False, False, False)),
        ("1", (True, True, False, False)),
        ("4", (False, False, True, True)),
        ("a", (False, False, False, False)),  # frequency capped, soft temperature limit
        ("10000", (False, True, False, False)),
        ("40000", (False, False, False, True)),
        ("a0000", (False, False, False, False)),
        ("0x50005", (True, True, True, True)),
    ],
)
@pytest.mark.parametrize("path", [THROTTLED, THROTTLED_PI5], ids=["pi 4", "pi 5"])
def test_P13_the_firmwares_bits_are_told_apart(path: str, word: str, flags: tuple[bool, ...], machine: Machine) -> None:
    machine.show(path, f"{word}\n")

    health = machine.health()

    assert flags == (
        health.under_voltage_now,
        health.under_voltage_since_boot,
        health.throttled_now,
        health.throttled_since_boot,
    )


@pytest.mark.parametrize(("alarm", "expected"), [("0\n", False), ("1\n", True), ("2\n", None), ("", None)])
def test_P13_without_the_firmwares_word_the_kernels_voltage_alarm_counts(
    alarm: str, expected: bool | None, machine: Machine
) -> None:
    machine.show("sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    machine.show("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1\n")
    machine.show("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    machine.show("sys/class/hwmon/hwmon1/in0_lcrit_alarm", alarm)

    health = machine.health()

    assert (health.under_voltage_now, health.under_voltage_since_boot) == (expected, expected)
    assert (health.throttled_now, health.throttled_since_boot) == (None, None)


# What calls for an alert


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (Health(under_voltage_now=True), ["under-voltage", "4.63 V"]),
        (Health(throttled_now=True), ["throttled"]),
        (Health(cpu_temperature_c=80.0), ["CPU at 80.0 C", "80 C or more"]),
        (Health(disk_free_percent=4.96), ["disk 4.96 % free", "below 5 %"]),
        (Health(memory_available_percent=0.0), ["memory 0.00 % available", "below 5 %"]),
    ],
    ids=lambda part: "" if isinstance(part, list) else next(iter(part.as_measures())),
)
def test_each_trouble_is_one_sentence_with_its_value_and_bound(health: Health, words: list[str]) -> None:
    (sentence,) = trouble(health)

    for word in words:
        assert word in sentence


def test_up_to_the_bounds_there_is_no_trouble() -> None:
    fine = Health(
        cpu_temperature_c=79.9,
        under_voltage_now=False,
        under_voltage_since_boot=True,
        throttled_now=False,
        throttled_since_boot=True,
        memory_available_percent=5.0,
        disk_free_percent=5.0,
    )

    assert trouble(fine) == []
    assert trouble(Health()) == []


# The thread


def test_the_monitor_looks_again_and_again(machine: Machine) -> None:
    machine.show(TEMPERATURE, "40000")
    monitor = HealthMonitor(machine.root, period_s=0.02, root=machine.root)
    until(lambda: monitor.newest is not None and monitor.newest.cpu_temperature_c == 40.0)

    machine.show(TEMPERATURE, "41000")

    until(lambda: monitor.newest is not None and monitor.newest.cpu_temperature_c == 41.0)
    monitor.close()


def test_P13_an_under_voltage_that_the_kernel_forgets_is_remembered(machine: Machine) -> None:
    machine.show(THROTTLED, "50005")
    monitor = HealthMonitor(machine.root, period_s=0.02, root=machine.root)
    until(lambda: monitor.newest is not None and monitor.newest.under_voltage_now is True)

    machine.show(THROTTLED, "0")
    until(lambda: monitor.newest is not None and monitor.newest.under_voltage_now is False)

    newest = monitor.newest
    assert newest is not None
    assert (newest.under_voltage_since_boot, newest.throttled_since_boot) == (True, True)
    assert newest.throttled_now is False
    monitor.close()


def test_P13_an_under_voltage_between_two_looks_counts_as_now_in_the_next(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.health._FLAGS_PERIOD_S", 0.01)
    machine.show(THROTTLED, "0")
    monitor = HealthMonitor(machine.root, period_s=1.0, root=machine.root)
    until(lambda: monitor.newest is not None)
    first = monitor.newest

    machine.show(THROTTLED, "1")
    time.sleep(0.2)
    machine.show(THROTTLED, "0")
    until(lambda: monitor.newest is not first)

    newest = monitor.newest
    assert first is not None
    assert first.under_voltage_now is False
    assert newest is not None
    assert newest.under_voltage_now is True
    monitor.close()


def test_a_look_that_hangs_delays_no_one_and_what_was_seen_before_ceases_to_count(machine: Machine) -> None:
    machine.show(TEMPERATURE, "40000")
    monitor = HealthMonitor(machine.root, period_s=0.1, root=machine.root)
    until(lambda: monitor.newest is not None)
    os.mkfifo(machine.root / "pipe")  # opening it waits for a writer

    (machine.root / "pipe").replace(machine.root / TEMPERATURE)
    until(lambda: monitor.newest is None)
    before_s = time.monotonic()
    monitor.close()

    assert monitor.newest is None
    assert time.monotonic() - before_s < 0.5
    (machine.root / TEMPERATURE).write_text("40000")  # let the thread go


def test_nothing_is_looked_at_after_closing(machine: Machine) -> None:
    monitor = HealthMonitor(machine.root, period_s=0.05, root=machine.root)
    until(lambda: monitor.newest is not None)

    monitor.close()
    monitor.close()

    until(lambda: monitor.newest is None)
