import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device.settings import Settings, SettingsError, load, parse

SOLARSHED = [sys.executable, "-m", "solarshed"]


def refusal_of(text: str) -> str:
    with pytest.raises(SettingsError) as error:
        parse(text)
    return str(error.value)


def test_the_defaults_are_the_documented_ones() -> None:
    settings = parse("")

    limits = settings.limits()
    assert (limits.battery_low_voltage_v, limits.low_hold_s) == (49.9, 60.0)
    assert (limits.battery_recover_voltage_v, limits.recover_hold_s) == (52.0, 300.0)
    assert (limits.least_time_on_grid_s, limits.least_time_on_battery_s) == (1800.0, 300.0)
    assert (limits.over_temperature_trip_c, limits.over_temperature_clear_c) == (35.0, 30.0)
    assert limits.least_cooling_time_s == 600.0
    assert limits.boot_grace_s == settings.control.boot_grace_s == 60.0
    assert (settings.control.sample_interval_s, settings.control.heartbeat_interval_s) == (60.0, 300.0)
    assert (settings.thing, settings.state_directory) == ("shed", Path("/var/lib/solarshed"))
    assert settings.relays.pins == (17, 27)
    assert settings.uplink.port == 8883


def test_every_section_can_be_set() -> None:
    settings = parse("""
        thing = "hut-2"
        state_directory = "/srv/state"
        [battery]
        low_voltage_v = 48
        recover_voltage_v = 50.5
        low_hold_s = 1
        recover_hold_s = 2
        least_time_on_grid_s = 3
        least_time_on_battery_s = 4
        [box]
        trip_temperature_c = 45.0
        clear_temperature_c = 38.5
        least_cooling_time_s = 5
        [monitor]
        serial_port = "/dev/ttyUSB3"
        stale_after_s = 20
        [thermometer]
        sensor_id = "28-0123456789ab"
        directory = "/w1"
        period_s = 2
        stale_after_s = 30
        [relays]
        pins = [5, 6]
        [control]
        tick_s = 0.5
        sample_interval_s = 30
        heartbeat_interval_s = 120
        boot_grace_s = 10
        [uplink]
        endpoint = "example.iot.eu-central-1.amazonaws.com"
        port = 443
        certificate = "/c"
        private_key = "/k"
        ca = "/a"
    """)

    limits = settings.limits()
    assert (limits.battery_low_voltage_v, limits.battery_recover_voltage_v) == (48.0, 50.5)
    assert (limits.low_hold_s, limits.recover_hold_s) == (1.0, 2.0)
    assert (limits.least_time_on_grid_s, limits.least_time_on_battery_s) == (3.0, 4.0)
    assert (limits.over_temperature_trip_c, limits.over_temperature_clear_c) == (45.0, 38.5)
    assert (limits.least_cooling_time_s, limits.boot_grace_s) == (5.0, 10.0)
    assert (settings.thing, settings.state_directory) == ("hut-2", Path("/srv/state"))
    assert (settings.monitor.serial_port, settings.monitor.stale_after_s) == ("/dev/ttyUSB3", 20.0)
    assert (settings.thermometer.sensor_id, settings.thermometer.directory) == ("28-0123456789ab", "/w1")
    assert (settings.thermometer.period_s, settings.thermometer.stale_after_s) == (2.0, 30.0)
    assert settings.relays.pins == (5, 6)
    assert (settings.control.tick_s, settings.control.sample_interval_s) == (0.5, 30.0)
    assert settings.control.heartbeat_interval_s == 120.0
    assert settings.uplink.port == 443
    assert isinstance(settings.uplink.port, int)
    assert (settings.uplink.certificate, settings.uplink.private_key, settings.uplink.ca) == ("/c", "/k", "/a")


# What is wrong, and what the sentence must hold: the field, the value, the bound or the remedy.
REFUSED = [
    ("[battery]\nlow_voltage_v = 52.0", ["battery.recover_voltage_v = 52.0", "battery.low_voltage_v = 52.0", "raise"]),
    ("[battery]\nlow_voltage_v = 53.0", ["52.0 must be at least 0.2 V above", "53.0", "lower the other"]),
    ("[battery]\nlow_voltage_v = 51.9", ["battery.low_voltage_v = 51.9", "at least 0.2 V"]),
    ("[battery]\nlow_voltage_v = 39.9", ["battery.low_voltage_v = 39.9", "from 40 to 64"]),
    ("[battery]\nrecover_voltage_v = 64.1", ["battery.recover_voltage_v = 64.1", "from 40 to 64"]),
    ("[battery]\nlow_hold_s = -1", ["battery.low_hold_s = -1", "from 0 to 3600"]),
    ("[battery]\nleast_time_on_grid_s = -0.1", ["battery.least_time_on_grid_s = -0.1", "from 0 to 86400"]),
    ("[battery]\nlow_voltage_v = nan", ["battery.low_voltage_v = nan", "from 40 to 64"]),
    ("[battery]\nlow_voltage_v = inf", ["battery.low_voltage_v = inf", "from 40 to 64"]),
    ("[battery]\nlow_voltage_v = true", ["battery.low_voltage_v = True is not a number", "from 40 to 64"]),
    ('[battery]\nlow_voltage_v = "49.9"', ["battery.low_voltage_v = '49.9' is not a number", "from 40 to 64"]),
    (f"[battery]\nlow_voltage_v = 1{'0' * 400}", ["battery.low_voltage_v = 1000", "from 40 to 64"]),
    ("[battery]\nlow_voltage = 49.9", ["unknown setting battery.low_voltage;", "did you mean battery.low_voltage_v?"]),
    ("[battery]\nxyz = 1", ["unknown setting battery.xyz", "known here: low_voltage_v"]),
    ("[batery]\nlow_voltage_v = 49.9", ["unknown setting batery", "did you mean battery?"]),
    ("battery = 48", ["[battery] must be a section"]),
    ("[box]\nclear_temperature_c = 34.5", ["box.clear_temperature_c = 34.5", "1.0 C below", "35.0", "lower"]),
    ("[box]\ntrip_temperature_c = 90", ["box.trip_temperature_c = 90", "from 20 to 80"]),
    ("[box]\nleast_cooling_time_s = false", ["box.least_cooling_time_s = False is not a number", "from 0 to 86400"]),
    ("[monitor]\nstale_after_s = 0.9", ["monitor.stale_after_s = 0.9", "from 1 to 60"]),
    ("[monitor]\nserial_port = 1", ["monitor.serial_port = 1 must be a text in quotes"]),
    ("[thermometer]\nperiod_s = 0", ["thermometer.period_s = 0", "from 0.1 to 30"]),
    ("[control]\ntick_s = 6", ["control.tick_s = 6", "from 0.05 to 5"]),
    ("[control]\nheartbeat_interval_s = 901", ["control.heartbeat_interval_s = 901", "from 1 to 900"]),
    ("[control]\nboot_grace_s = 601", ["control.boot_grace_s = 601", "from 0 to 600"]),
    ("[relays]\npins = [17, 17]", ["relays.pins = [17, 17]", "same pin twice", "each relay needs its own"]),
    ("[relays]\npins = [17, 28]", ["relays.pins = [17, 28]", "from 2 to 27"]),
    ("[relays]\npins = [1, 17]", ["relays.pins = [1, 17]", "from 2 to 27"]),
    ("[relays]\npins = [17]", ["relays.pins = [17]", "two GPIO numbers, such as [17, 27]"]),
    ("[relays]\npins = [17, 22, 27]", ["relays.pins = [17, 22, 27]", "two GPIO numbers"]),
    ("[relays]\npins = 17", ["relays.pins = 17", "two GPIO numbers"]),
    ("[relays]\npins = [true, 17]", ["relays.pins = [True, 17]", "two GPIO numbers"]),
    ("[relays]\npins = [17.0, 27.0]", ["relays.pins = [17.0, 27.0]", "two GPIO numbers"]),
    ("[uplink]\nport = 0", ["uplink.port = 0", "from 1 to 65535"]),
    ('[monitor]\nserial_port = ""', ["monitor.serial_port", "is empty", "/dev/serial/by-id"]),
    ("[uplink]\nport = 65536", ["uplink.port = 65536", "from 1 to 65535"]),
    ("[uplink]\nport = true", ["uplink.port = True must be a whole number", "from 1 to 65535"]),
    ("[uplink]\nport = 8883.5", ["uplink.port = 8883.5 must be a whole number", "from 1 to 65535"]),
    ('thing = "shed/1"', ["thing name 'shed/1' is not usable", "A-Z a-z 0-9 _ -"]),
    ('thing = ""', ["thing name '' is not usable", "1 to 64"]),
    (f'thing = "{"a" * 65}"', ["is not usable", "1 to 64"]),
    ("thing = 7", ["thing = 7 must be a text in quotes"]),
    ("state_directory = 7", ["state_directory = 7 must be a text in quotes"]),
    ("thing_name = 'x'", ["unknown setting thing_name", "did you mean thing?"]),
    ("[battery", ["not TOML"]),
    ("thing = 'a'\nthing = 'b'", ["not TOML"]),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=lambda part: part[:40] if isinstance(part, str) else "")
def test_R17_a_bad_setting_is_refused_with_its_name_and_the_remedy(text: str, words: list[str]) -> None:
    sentence = refusal_of(text)

    for word in words:
        assert word in sentence


@pytest.mark.parametrize("trip_c", [32.3, 35.0, 64.1])
def test_the_narrowest_bands_are_accepted_whatever_binary_fractions_make_of_them(trip_c: float) -> None:
    clear_c = round(trip_c - 1.0, 1)

    settings = parse(
        f"[battery]\nlow_voltage_v = 51.8\n[box]\ntrip_temperature_c = {trip_c}\nclear_temperature_c = {clear_c}"
    )

    assert settings.box.clear_temperature_c == clear_c
    assert settings.battery.low_voltage_v == 51.8


@pytest.mark.parametrize("pins", [(2, 3), (26, 27)])
def test_the_outermost_pins_are_accepted(pins: tuple[int, int]) -> None:
    assert parse(f"[relays]\npins = [{pins[0]}, {pins[1]}]").relays.pins == pins


def test_settings_cannot_be_changed_afterwards() -> None:
    settings: Settings = parse("")

    with pytest.raises(AttributeError):
        settings.battery.low_voltage_v = 12.0  # type: ignore[misc]


def missing(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def directory(tmp_path: Path) -> Path:
    return tmp_path


def not_toml(tmp_path: Path) -> Path:
    return written(tmp_path, b"[battery")


def not_utf8(tmp_path: Path) -> Path:
    return written(tmp_path, b'thing = "\xff\xfe"')


def low_above_recover(tmp_path: Path) -> Path:
    return written(tmp_path, b"[battery]\nlow_voltage_v = 53.0")


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    return path


BAD_FILES = [
    (missing, "No such file or directory; write one, or name one with --config"),
    (directory, "Is a directory"),
    (not_toml, "not TOML"),
    (not_utf8, "is not UTF-8 text"),
    (low_above_recover, "battery.low_voltage_v = 53.0"),
]


@pytest.mark.parametrize(("make", "words"), BAD_FILES, ids=lambda part: getattr(part, "__name__", ""))
def test_a_file_that_cannot_be_used_is_named(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    path = make(tmp_path)

    with pytest.raises(SettingsError) as error:
        load(path)

    assert f"settings file {path}" in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize(("make", "words"), BAD_FILES, ids=lambda part: getattr(part, "__name__", ""))
def test_R17_control_does_not_start_with_it_and_says_why_in_one_line(
    make: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    path = make(tmp_path)

    done = subprocess.run([*SOLARSHED, "control", "--config", path], capture_output=True, text=True, timeout=30)

    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("solarshed control: settings file")
    assert words in line
