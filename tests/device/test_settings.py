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
    assert (settings.control.write_interval_s, settings.control.outbox_most_mb) == (300.0, 64)
    assert (settings.thing, settings.state_directory) == ("shed", Path("/var/lib/solarshed"))
    assert settings.relays.pins == (17, 27)
    assert settings.uplink.port == 8883
    assert (settings.site.name, settings.thermometer.outside_sensor_id) == ("home", "")


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
        serial_port = "/dev/serial/by-id/x"
        stale_after_s = 20
        [thermometer]
        sensor_id = "28-0123456789ab"
        outside_sensor_id = "28-0123456789ac"
        directory = "/w1"
        period_s = 2
        stale_after_s = 30
        [site]
        name = "cabin-2"
        [relays]
        pins = [9, 10]
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
    assert (settings.monitor.serial_port, settings.monitor.stale_after_s) == ("/dev/serial/by-id/x", 20.0)
    assert (settings.thermometer.sensor_id, settings.thermometer.directory) == ("28-0123456789ab", "/w1")
    assert settings.thermometer.outside_sensor_id == "28-0123456789ac"
    assert settings.site.name == "cabin-2"
    assert (settings.thermometer.period_s, settings.thermometer.stale_after_s) == (2.0, 30.0)
    assert settings.relays.pins == (9, 10)
    assert (settings.control.tick_s, settings.control.sample_interval_s) == (0.5, 30.0)
    assert settings.control.heartbeat_interval_s == 120.0
    assert settings.uplink.port == 443
    assert isinstance(settings.uplink.port, int)
    assert (settings.uplink.certificate, settings.uplink.private_key, settings.uplink.ca) == ("/c", "/k", "/a")


# What is wrong, and what the sentence must hold: the field, the value, the bound or the remedy.
REFUSED = [
    ("[battery]\nlow_voltage_v = 52.0", ["battery.recover_voltage_v = 52.0", "battery.low_voltage_v = 52.0", "raise"]),
    (
        "[battery]\nlow_voltage_v = 53.0",
        ["52.0 must be at least 0.2 V (two steps of what reports it) above", "53.0", "lower the other"],
    ),
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
    ("[control]\nwrite_interval_s = 3601", ["control.write_interval_s = 3601", "from 0 to 3600"]),
    ("[control]\noutbox_most_mb = 0", ["control.outbox_most_mb = 0", "a whole number from 1 to 1024"]),
    ("[control]\noutbox_most_mb = 1025", ["control.outbox_most_mb = 1025", "a whole number from 1 to 1024"]),
    ("[control]\noutbox_most_mb = 64.0", ["control.outbox_most_mb = 64.0", "a whole number from 1 to 1024"]),
    ("[control]\nheartbeat_interval_s = 401", ["control.heartbeat_interval_s = 401", "from 1 to 400"]),
    ("[control]\nboot_grace_s = 601", ["control.boot_grace_s = 601", "from 0 to 600"]),
    ("[relays]\npins = [17, 17]", ["relays.pins = [17, 17]", "same pin twice", "each relay needs its own"]),
    ("[relays]\npins = [17, 28]", ["relays.pins = [17, 28]", "from 9 to 27"]),
    ("[relays]\npins = [1, 17]", ["relays.pins = [1, 17]", "from 9 to 27"]),
    ("[relays]\npins = [17, 8]", ["relays.pins", "GPIO 8 is pulled up while the Pi starts", "take one from 9 to 27"]),
    ("[relays]\npins = [14, 17]", ["GPIO 14 is the serial console's", "such as 17 or 27"]),
    ("[relays]\npins = [15, 17]", ["GPIO 15 is the serial console's"]),
    ("[relays]\nmost_transfers = 3", ["relays.most_transfers = 3", "from 4 to 100"]),
    ("[relays]\nmost_transfers = 5.5", ["relays.most_transfers = 5.5", "whole number"]),
    ("[battery]\ncritical_voltage_v = 49.8", ["battery.critical_voltage_v = 49.8", "at least 0.2 V below", "49.9"]),
    ("[battery]\nlow_dod_percent = 65", ["battery.low_dod_percent", "battery.recover_dod_percent", "write both"]),
    ("[battery]\nrecover_dod_percent = 40", ["battery.recover_dod_percent is given without battery.low_dod_percent"]),
    (
        "[battery]\nlow_dod_percent = 65\nrecover_dod_percent = 40",
        ["battery.chemistry is missing", "lead_acid, lifepo4"],
    ),
    ('[battery]\nchemistry = "agm"', ["battery.chemistry = 'agm'", "'none', 'lead_acid', 'lifepo4'"]),
    (
        '[battery]\nchemistry = "lead_acid"\nlow_dod_percent = 40\nrecover_dod_percent = 40',
        ["battery.low_dod_percent = 40 must be above battery.recover_dod_percent = 40", "swap them"],
    ),
    (
        '[battery]\nchemistry = "lifepo4"\nlow_dod_percent = 80\nrecover_dod_percent = 45',
        [
            "battery.recover_dod_percent = 45",
            "at 55 % of charge",
            "14.",
            "more than 5 %",
            "FLEXnet DC in monitor.devices",
        ],
    ),
    (
        '[monitor]\ndevices = ["fx1"]\n[battery]\nchemistry = "lead_acid"\nlow_dod_percent = 45\n'
        "recover_dod_percent = 20",
        ["battery.low_dod_percent = 45", "one step of 0.4 V is worth 10.0 %"],
    ),
    (
        '[battery]\nchemistry = "lead_acid"\nlow_dod_percent = 95\nrecover_dod_percent = 40',
        ["battery.low_dod_percent = 95", "the table of lead_acid has 10 % to 100 % of charge"],
    ),
    (
        '[battery]\nlow_voltage_v = 51.3\n[monitor]\ndevices = ["fx1", "fx2"]',
        ["must be at least 0.8 V (two steps of what reports it)"],
    ),
    ('[thermometer]\nsensor_id = "28-xyz"', ["thermometer.sensor_id = '28-xyz' is not a DS18B20's", "small letters"]),
    ('[thermometer]\nsensor_id = "28-000005E2FDC3"', ["'28-000005E2FDC3' is not", "small letters"]),
    ('state_directory = ""', ["state_directory = '' must be a path from the root"]),
    ('runtime_directory = "run"', ["runtime_directory = 'run' must be a path from the root"]),
    ('state_directory = "/a\\u0000b"', ["state_directory", "holds a character that cannot be seen"]),
    ("[battery]\nleast_time_on_battery_s = 3601", ["from 0 to 3600"]),
    ('[monitor]\ndevices = ["mx1", "mx1"]', ["monitor.devices", "names a device twice"]),
    ('[monitor]\ndevices = ["mx11"]', ["monitor.devices = ['mx11']", "port from 0 to 10", '["mx2", "fx1"]']),
    ('[monitor]\ndevices = "mx1"', ["monitor.devices = 'mx1'", "must be a list"]),
    ('[monitor]\nserial_port = "/dev/ttyUSB0"', ["'/dev/ttyUSB0' may be another adapter", "/dev/serial/by-id"]),
    ('[monitor]\nserial_port = "/dev/ttyACM1"', ["/dev/serial/by-id"]),
    ("[monitor]\nlost_after_s = 10", ["monitor.lost_after_s = 10 must be above monitor.stale_after_s = 10"]),
    (
        "[monitor]\nlost_after_cap_s = 119",
        ["monitor.lost_after_cap_s = 119 must be at least monitor.lost_after_s = 120"],
    ),
    ('[monitor]\nwhen_lost = "open"', ["monitor.when_lost = 'open'", "'grid', 'hold', 'battery'"]),
    ("[box]\nthermometer_lost_after_s = 10", ["must be above thermometer.stale_after_s = 10"]),
    ('[box]\nwhen_thermometer_lost = "grid"', ["'open', 'hold'"]),
    ("[thermometer]\nperiod_s = 10", ["thermometer.stale_after_s = 10 must be above thermometer.period_s = 10"]),
    ("[feedback]\ngenerator = 1", ["feedback.generator = 1 must be true or false"]),
    ("[site]\nlatitude_deg = 48", ["site.latitude_deg is given without site.longitude_deg", "or neither"]),
    ("[site]\nlongitude_deg = 11", ["site.longitude_deg is given without site.latitude_deg"]),
    ("[site]\nlatitude_deg = 91\nlongitude_deg = 0", ["site.latitude_deg = 91", "from -90 to 90"]),
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
    (
        '[thermometer]\noutside_sensor_id = "28-xyz"',
        ["thermometer.outside_sensor_id = '28-xyz' is not a DS18B20's", "small letters"],
    ),
    (
        '[thermometer]\nsensor_id = "28-000005e2fdc3"\noutside_sensor_id = "28-000005e2fdc3"',
        ["thermometer.outside_sensor_id = '28-000005e2fdc3' is the sensor in the box", "another one"],
    ),
    ("[thermometer]\noutside_sensor_id = 5", ["thermometer.outside_sensor_id = 5 must be a text in quotes"]),
    ('[site]\nname = "cabin/1"', ["site.name 'cabin/1' is not usable", "A-Z a-z 0-9 _ -"]),
    ('[site]\nname = ""', ['site.name = "" is empty', "'home'"]),
    ("[site]\nname = 5", ["site.name = 5 must be a text in quotes"]),
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


@pytest.mark.parametrize("pins", [(9, 13), (26, 27)])
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


# Depth of discharge


def test_a_depth_of_discharge_is_turned_into_the_chemistrys_rest_voltage() -> None:
    limits = parse(
        '[battery]\nchemistry = "lead_acid"\nlow_dod_percent = 65\nrecover_dod_percent = 40\ncritical_voltage_v = 46.5'
    ).limits()

    assert (limits.battery_low_voltage_v, limits.battery_recover_voltage_v) == (47.6, 48.8)
    assert (limits.battery_low_soc_percent, limits.battery_recover_soc_percent) == (35.0, 60.0)


def test_where_the_curve_is_flat_a_flexnet_dc_decides_alone() -> None:
    limits = parse(
        '[monitor]\ndevices = ["fndc1"]\n[battery]\nchemistry = "lifepo4"\nlow_dod_percent = 70\n'
        "recover_dod_percent = 45"
    ).limits()

    assert limits.battery_recover_voltage_v is None
    assert (limits.battery_low_soc_percent, limits.battery_recover_soc_percent) == (30.0, 55.0)
    assert limits.band_v == float("inf")


def test_the_band_is_counted_without_binary_dust() -> None:
    assert parse("[battery]\nlow_voltage_v = 49.9\nrecover_voltage_v = 50.3").limits().band_v == 0.4


@pytest.mark.parametrize(("text", "position"), [("grid", "grid"), ("battery", "battery"), ("hold", None)])
def test_where_a_lost_monitor_leaves_the_load_is_a_setting(text: str, position: str | None) -> None:
    assert parse(f'[monitor]\nwhen_lost = "{text}"').limits().monitor_lost_position == position


def test_whether_a_lost_thermometer_opens_the_relays_is_a_setting() -> None:
    assert parse("").limits().thermometer_lost_opens
    assert not parse('[box]\nwhen_thermometer_lost = "hold"').limits().thermometer_lost_opens


def test_the_finest_device_that_must_report_says_how_narrow_a_band_may_be() -> None:
    assert parse('[monitor]\ndevices = ["fx1", "mx2"]').step_v() == 0.1
    assert parse('[monitor]\ndevices = ["fx10"]').step_v() == 0.4
