"""The settings file: TOML in, frozen objects with checked bounds out.

A wrong setting stops the start with a sentence that names the field, the value, the bound and the remedy; nothing
has touched a pin by then.
"""

import difflib
import math
import re
import tomllib
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from contract import store
from contract.errors import SolarshedError
from contract.positions import Position
from contract.topics import check_thing_name
from device.chemistry import CHEMISTRIES, ChemistryError, rest_voltage_v
from device.limits import Limits
from device.thermometer import Place, ThermometerError, check_sensor_id

DEFAULT_PATH = Path("/etc/solarshed/config.toml")

# The steps in which a 48 V bank's voltage is reported; a band narrower than two steps of its source is noise.
STEP_V = {"fndc": 0.1, "mx": 0.1, "fx": 0.4}
LEAST_BAND_C = 1.0
# What binary fractions may make of a band that is just wide enough: 32.3 - 31.3 is below 1.0.
_ROUNDING = 1e-9


# What a GPIO of a Pi does before any program runs, and what else wants it.
_PINS_PULLED_UP = range(2, 9)
_PINS_OF_THE_CONSOLE = (14, 15)
_NUMBERED_SERIAL_PORT = re.compile(r"/dev/tty(USB|ACM)[0-9]+")
_DEVICE_NAME = re.compile(r"(fndc|mx|fx)(10|[0-9])")


class SettingsError(SolarshedError, ValueError):
    """A setting that cannot be used; the text names it and the remedy."""


def _number(default: float, low: float, high: float) -> float:
    value: float = field(default=default, metadata={"low": low, "high": high})
    return value


def _optional_number(low: float, high: float) -> float | None:
    value: float | None = field(default=None, metadata={"low": low, "high": high})
    return value


def _choice(default: str, *others: str) -> str:
    value: str = field(default=default, metadata={"choices": (default, *others)})
    return value


@dataclass(frozen=True)
class Threshold:
    """Volts, and the state of charge that stands for them where one was asked for."""

    voltage_v: float | None
    soc_percent: float | None


@dataclass(frozen=True)
class Battery:
    """When to leave the battery and when to return to it. The defaults are for a 48 V lead-acid bank.

    A threshold may be given as a depth of discharge instead of volts. A FLEXnet DC's state of charge decides then, and
    where there is none, the voltage that the chemistry's table has for it.
    """

    low_voltage_v: float = _number(49.9, 40.0, 64.0)
    recover_voltage_v: float = _number(52.0, 40.0, 64.0)
    critical_voltage_v: float = _number(47.0, 38.0, 62.0)
    low_dod_percent: float | None = _optional_number(1.0, 99.0)
    recover_dod_percent: float | None = _optional_number(1.0, 99.0)
    chemistry: str = _choice("none", *CHEMISTRIES)
    low_hold_s: float = _number(60.0, 0.0, 3600.0)
    recover_hold_s: float = _number(300.0, 0.0, 7200.0)
    least_time_on_grid_s: float = _number(1800.0, 0.0, 86400.0)
    least_time_on_battery_s: float = _number(300.0, 0.0, 3600.0)


@dataclass(frozen=True)
class Box:
    """The relay box's temperature limits. 35.0 C = 95 F, 30.0 C = 86 F."""

    trip_temperature_c: float = _number(35.0, 20.0, 80.0)
    clear_temperature_c: float = _number(30.0, 0.0, 79.0)
    least_cooling_time_s: float = _number(600.0, 0.0, 86400.0)
    thermometer_lost_after_s: float = _number(300.0, 5.0, 3600.0)
    when_thermometer_lost: str = _choice("open", "hold")


@dataclass(frozen=True)
class Monitor:
    """The battery monitor: a MATE on a serial port, and what to do when it falls silent.

    `devices` are those that must report, such as ["fndc3", "mx2", "fx1"]; the number is the port of the HUB, 0 without
    one. Empty: whatever reports.
    """

    serial_port: str = "/dev/serial/by-id/the-name-of-your-adapter"
    devices: tuple[str, ...] = ()
    stale_after_s: float = _number(10.0, 1.0, 60.0)
    stuck_after_s: float = _number(600.0, 60.0, 86400.0)
    lost_after_s: float = _number(120.0, 2.0, 3600.0)
    lost_after_per_volt_s: float = _number(300.0, 0.0, 3600.0)
    lost_after_cap_s: float = _number(1800.0, 2.0, 14400.0)
    when_lost: str = _choice("grid", "hold", "battery")


@dataclass(frozen=True)
class Thermometer:
    """The DS18B20 in the box: its id as the kernel spells it, 28- and twelve hexadecimal digits.

    `outside_sensor_id`: of another one on the same bus, outside of the box, which decides nothing; "" = none.
    """

    sensor_id: str = "28-000000000000"
    outside_sensor_id: str = ""
    directory: str = "/sys/bus/w1/devices"
    period_s: float = _number(1.0, 0.1, 30.0)
    stale_after_s: float = _number(10.0, 1.0, 300.0)
    stuck_after_s: float = _number(86400.0, 60.0, 604800.0)


@dataclass(frozen=True)
class Relays:
    """GPIO numbers (BCM) of the two solid-state relays, and how often they may move."""

    pins: tuple[int, int] = (17, 27)
    most_transfers: int = field(default=12, metadata={"low": 4, "high": 100})
    most_transfers_within_s: float = _number(86400.0, 60.0, 86400.0)
    override_pause_s: float = _number(60.0, 1.0, 3600.0)


@dataclass(frozen=True)
class Feedback:
    """How long an inverter's AC input must contradict the relays. Needs an FX; without one nothing of this applies.

    `generator`: AC reaches the inverter past the relays too, so that AC while they are open means nothing.
    """

    settle_s: float = _number(10.0, 2.0, 600.0)
    grid_absent_after_s: float = _number(60.0, 5.0, 3600.0)
    grid_rejected_after_s: float = _number(300.0, 5.0, 3600.0)
    generator: bool = False


@dataclass(frozen=True)
class Site:
    """The place, by the name under which its sheds are stored, and where it is, in degrees.

    With the latter the battery takes over by daylight only.
    """

    name: str = store.DEFAULT_SITE
    latitude_deg: float | None = _optional_number(-90.0, 90.0)
    longitude_deg: float | None = _optional_number(-180.0, 180.0)


@dataclass(frozen=True)
class Control:
    """The control process's own times."""

    tick_s: float = _number(1.0, 0.05, 5.0)
    sample_interval_s: float = _number(60.0, 0.5, 3600.0)
    heartbeat_interval_s: float = _number(300.0, 1.0, 400.0)
    write_interval_s: float = _number(300.0, 0.0, 3600.0)
    outbox_most_mb: int = field(default=64, metadata={"low": 1, "high": 1024})
    boot_grace_s: float = _number(60.0, 0.0, 600.0)


@dataclass(frozen=True)
class Uplink:
    """Where and as whom to connect. The private key was made on this machine and never leaves it.

    `ca` is the authority that signed the endpoint's certificate; empty: any that this system trusts.
    """

    endpoint: str = ""
    port: int = 8883
    certificate: str = "/etc/solarshed/certificate.pem"
    private_key: str = "/etc/solarshed/private.key"
    ca: str = ""


@dataclass(frozen=True)
class Settings:
    """Everything in the settings file.

    `state_directory` is on the card; `runtime_directory` is in memory (a tmpfs), for what must get out while the card
    fails.
    """

    thing: str
    state_directory: Path
    runtime_directory: Path
    battery: Battery
    box: Box
    monitor: Monitor
    thermometer: Thermometer
    relays: Relays
    feedback: Feedback
    site: Site
    control: Control
    uplink: Uplink

    def limits(self) -> Limits:
        """The thresholds and times as the rules name them."""
        low, recover = self.thresholds()
        return Limits(
            battery_low_voltage_v=low.voltage_v,
            battery_recover_voltage_v=recover.voltage_v,
            battery_low_soc_percent=low.soc_percent,
            battery_recover_soc_percent=recover.soc_percent,
            battery_critical_voltage_v=self.battery.critical_voltage_v,
            low_hold_s=self.battery.low_hold_s,
            recover_hold_s=self.battery.recover_hold_s,
            least_time_on_grid_s=self.battery.least_time_on_grid_s,
            least_time_on_battery_s=self.battery.least_time_on_battery_s,
            over_temperature_trip_c=self.box.trip_temperature_c,
            over_temperature_clear_c=self.box.clear_temperature_c,
            least_cooling_time_s=self.box.least_cooling_time_s,
            thermometer_lost_after_s=self.box.thermometer_lost_after_s,
            thermometer_lost_opens=self.box.when_thermometer_lost == "open",
            monitor_lost_after_s=self.monitor.lost_after_s,
            monitor_lost_after_per_volt_s=self.monitor.lost_after_per_volt_s,
            monitor_lost_after_cap_s=self.monitor.lost_after_cap_s,
            monitor_lost_position=None if self.monitor.when_lost == "hold" else Position(self.monitor.when_lost),
            boot_grace_s=self.control.boot_grace_s,
            most_transfers=self.relays.most_transfers,
            most_transfers_within_s=self.relays.most_transfers_within_s,
            override_pause_s=self.relays.override_pause_s,
            ac_settle_s=self.feedback.settle_s,
            grid_absent_after_s=self.feedback.grid_absent_after_s,
            grid_rejected_after_s=self.feedback.grid_rejected_after_s,
            has_generator=self.feedback.generator,
        )

    def thresholds(self) -> tuple[Threshold, Threshold]:
        """Low and recover: as volts, or what the named chemistry makes of a depth of discharge.

        Raises:
            SettingsError: the voltage cannot tell the depth of discharge.
        """
        battery = self.battery
        if battery.low_dod_percent is None or battery.recover_dod_percent is None:
            return Threshold(battery.low_voltage_v, None), Threshold(battery.recover_voltage_v, None)
        return (
            self._by_depth("battery.low_dod_percent", battery.low_dod_percent),
            self._by_depth("battery.recover_dod_percent", battery.recover_dod_percent),
        )

    def _by_depth(self, name: str, dod_percent: float) -> Threshold:
        soc_percent = 100.0 - dod_percent
        try:
            return Threshold(rest_voltage_v(self.battery.chemistry, soc_percent, self.step_v()), soc_percent)
        except ChemistryError as e:
            if any(device.startswith("fndc") for device in self.monitor.devices):
                # The FLEXnet DC counts ampere-hours. While it is silent nothing else can tell.
                return Threshold(None, soc_percent)
            raise SettingsError(
                f"{name} = {dod_percent:g} cannot be told from the voltage: {e}; choose another depth, write volts, or "
                "name a FLEXnet DC in monitor.devices"
            ) from None

    def step_v(self) -> float:
        """The finest step in which the devices that must report say the battery's voltage."""
        kinds = [device.rstrip("0123456789") for device in self.monitor.devices] or list(STEP_V)
        return min(STEP_V[kind] for kind in kinds)


_SECTIONS: dict[str, type] = {
    "battery": Battery,
    "box": Box,
    "monitor": Monitor,
    "thermometer": Thermometer,
    "relays": Relays,
    "feedback": Feedback,
    "site": Site,
    "control": Control,
    "uplink": Uplink,
}
_TOP_LEVEL = ("thing", "state_directory", "runtime_directory")


def load(path: Path) -> Settings:
    """Read and check the settings file at `path`.

    Raises:
        SettingsError: it is missing, not TOML, or holds a setting that cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise SettingsError(f"settings file {path}: {e.strerror}; write one, or name one with --config") from None
    except UnicodeDecodeError:
        raise SettingsError(f"settings file {path} is not UTF-8 text") from None
    try:
        return parse(text)
    except SettingsError as e:
        raise SettingsError(f"settings file {path}: {e}") from None


def parse(text: str) -> Settings:
    """Settings from TOML text; what is not stated has its default.

    Raises:
        SettingsError: see `load`.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise SettingsError(f"not TOML: {e}") from None
    _refuse_unknown("", document, (*_TOP_LEVEL, *_SECTIONS))
    sections: dict[str, Any] = {name: _section(name, cls, document.get(name, {})) for name, cls in _SECTIONS.items()}
    try:
        thing = check_thing_name(_typed("thing", document.get("thing", "shed"), str))
    except ValueError as e:
        raise SettingsError(str(e)) from None
    state_directory = _directory("state_directory", document.get("state_directory", "/var/lib/solarshed"))
    runtime_directory = _directory("runtime_directory", document.get("runtime_directory", "/run/solarshed"))
    settings = Settings(thing=thing, state_directory=state_directory, runtime_directory=runtime_directory, **sections)
    _check_together(settings)
    return settings


def _check_together(settings: Settings) -> None:
    _check_depths(settings.battery)
    _check_band(settings)
    _check_place(settings.site)
    box, monitor = settings.box, settings.monitor
    if monitor.lost_after_cap_s < monitor.lost_after_s:
        raise SettingsError(
            f"monitor.lost_after_cap_s = {monitor.lost_after_cap_s:g} must be at least monitor.lost_after_s = "
            f"{monitor.lost_after_s:g}; raise the one or lower the other"
        )
    if monitor.lost_after_s <= monitor.stale_after_s:
        raise SettingsError(
            f"monitor.lost_after_s = {monitor.lost_after_s:g} must be above monitor.stale_after_s = "
            f"{monitor.stale_after_s:g}; raise the one or lower the other"
        )
    thermometer = settings.thermometer
    if box.thermometer_lost_after_s <= thermometer.stale_after_s:
        raise SettingsError(
            f"box.thermometer_lost_after_s = {box.thermometer_lost_after_s:g} must be above thermometer.stale_after_s "
            f"= {thermometer.stale_after_s:g}; raise the one or lower the other"
        )
    if thermometer.outside_sensor_id == thermometer.sensor_id:
        raise SettingsError(
            f"thermometer.outside_sensor_id = {thermometer.sensor_id!r} is the sensor in the box; write the id of "
            'another one, or "" for none'
        )
    if thermometer.stale_after_s <= thermometer.period_s:
        raise SettingsError(
            f"thermometer.stale_after_s = {thermometer.stale_after_s:g} must be above thermometer.period_s = "
            f"{thermometer.period_s:g}; raise the one or lower the other"
        )
    if box.trip_temperature_c - box.clear_temperature_c < LEAST_BAND_C - _ROUNDING:
        raise SettingsError(
            f"box.clear_temperature_c = {box.clear_temperature_c} must be at least {LEAST_BAND_C} C below "
            f"box.trip_temperature_c = {box.trip_temperature_c}; lower the one or raise the other"
        )


def _check_depths(battery: Battery) -> None:
    low, recover = battery.low_dod_percent, battery.recover_dod_percent
    if (low is None) != (recover is None):
        given, missing = ("low", "recover") if recover is None else ("recover", "low")
        raise SettingsError(
            f"battery.{given}_dod_percent is given without battery.{missing}_dod_percent; write both, or neither"
        )
    if low is None or recover is None:
        return
    if battery.chemistry == "none":
        raise SettingsError(
            f"battery.chemistry is missing: a depth of discharge needs one; write one of {', '.join(CHEMISTRIES)}"
        )
    if low <= recover:
        raise SettingsError(
            f"battery.low_dod_percent = {low:g} must be above battery.recover_dod_percent = {recover:g}: the deeper "
            "discharge is the lower one; swap them"
        )


def _check_band(settings: Settings) -> None:
    low, recover = (threshold.voltage_v for threshold in settings.thresholds())
    critical = settings.battery.critical_voltage_v
    if low is None or recover is None:
        return
    least_v = 2 * settings.step_v()
    if recover - low < least_v - _ROUNDING:
        raise SettingsError(
            f"battery.recover_voltage_v = {recover} must be at least {least_v:g} V (two steps of what reports it) "
            f"above battery.low_voltage_v = {low}; raise the one or lower the other"
        )
    if low - critical < least_v - _ROUNDING:
        raise SettingsError(
            f"battery.critical_voltage_v = {critical} must be at least {least_v:g} V below battery.low_voltage_v = "
            f"{low}; lower the one or raise the other"
        )


def _check_place(site: Site) -> None:
    if (site.latitude_deg is None) != (site.longitude_deg is None):
        given, missing = ("latitude", "longitude") if site.longitude_deg is None else ("longitude", "latitude")
        raise SettingsError(f"site.{given}_deg is given without site.{missing}_deg; write both, or neither")


T = TypeVar("T")


def _section(name: str, cls: type[T], given: object) -> T:
    if not isinstance(given, dict):
        raise SettingsError(f"[{name}] must be a section")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    _refuse_unknown(f"{name}.", given, tuple(known))
    return cls(**{key: _value(f"{name}.{key}", known[key], value) for key, value in given.items()})


def _value(name: str, f: Field[Any], value: object) -> object:
    if name == "relays.pins":
        return _pins(name, value)
    if name == "monitor.devices":
        return _devices(name, value)
    if f.type is bool:
        if not isinstance(value, bool):
            raise SettingsError(f"{name} = {value!r} must be true or false, without quotes")
        return value
    if "choices" in f.metadata:
        if value not in f.metadata["choices"]:
            choices = ", ".join(repr(choice) for choice in f.metadata["choices"])
            raise SettingsError(f"{name} = {value!r} is not known; write one of {choices}")
        return value
    if f.type is int and "low" in f.metadata:
        return _whole(name, value, f.metadata["low"], f.metadata["high"])
    if "low" in f.metadata:
        return _bounded(name, value, f.metadata["low"], f.metadata["high"])
    if f.type is int:
        return _whole(name, value, 1, 65535)
    text = _typed(name, value, str)
    if not text and f.default:
        raise SettingsError(f'{name} = "" is empty; write one, such as {f.default!r}')
    if name == Place.BOX.setting:
        _check_sensor_id(text, Place.BOX)
    if name == Place.OUTSIDE.setting and text:
        _check_sensor_id(text, Place.OUTSIDE)
    if name == "site.name":
        _check_site_name(text)
    if name == "monitor.serial_port" and _NUMBERED_SERIAL_PORT.fullmatch(text):
        raise SettingsError(
            f"{name} = {text!r} may be another adapter after the next start; write the name that "
            "`ls -l /dev/serial/by-id` shows for it"
        )
    return text


def _bounded(name: str, value: object, low: float, high: float) -> float:
    # Only a float is asked: an integer of 400 digits is too large for math.isfinite, and the bounds refuse it.
    is_finite = not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite:
        raise SettingsError(f"{name} = {value!r} is not a number; write one from {low:g} to {high:g}")
    if not low <= value <= high:
        raise SettingsError(f"{name} = {value!r} is out of bounds; write a number from {low:g} to {high:g}")
    return float(value)


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} = {value!r} must be a whole number from {low} to {high}")
    return value


def _pins(name: str, value: object) -> tuple[int, int]:
    pins = value if isinstance(value, list) else []
    if len(pins) != 2 or not all(isinstance(pin, int) and not isinstance(pin, bool) for pin in pins):
        raise SettingsError(f"{name} = {value!r} must be two GPIO numbers, such as [17, 27]")
    if not all(2 <= pin <= 27 for pin in pins):
        raise SettingsError(f"{name} = {value!r} must be GPIO numbers from 9 to 27 (BCM numbering)")
    for pin in pins:
        if pin in _PINS_PULLED_UP:
            raise SettingsError(
                f"{name}: GPIO {pin} is pulled up while the Pi starts, which would close a relay; take one from 9 to 27"
            )
        if pin in _PINS_OF_THE_CONSOLE:
            raise SettingsError(f"{name}: GPIO {pin} is the serial console's; take another one, such as 17 or 27")
    if pins[0] == pins[1]:
        raise SettingsError(f"{name} = {value!r} names the same pin twice; each relay needs its own")
    return (pins[0], pins[1])


def _check_sensor_id(text: str, place: Place) -> None:
    try:
        check_sensor_id(text, place)
    except ThermometerError as e:
        raise SettingsError(str(e)) from None


def _check_site_name(text: str) -> None:
    try:
        check_thing_name(text, "site.name")
    except ValueError as e:
        raise SettingsError(str(e)) from None


def _directory(name: str, value: object) -> Path:
    path = Path(_typed(name, value, str))
    if not path.is_absolute():
        raise SettingsError(f"{name} = {str(value)!r} must be a path from the root, such as /var/lib/solarshed")
    return path


def _devices(name: str, value: object) -> tuple[str, ...]:
    devices = value if isinstance(value, list) else [None]
    for device in devices:
        if not isinstance(device, str) or not _DEVICE_NAME.fullmatch(device):
            raise SettingsError(
                f'{name} = {value!r} must be a list of fndc, mx or fx with a port from 0 to 10, such as ["mx2", "fx1"]'
            )
    if len(set(devices)) < len(devices):
        raise SettingsError(f"{name} = {value!r} names a device twice; name each once")
    return tuple(devices)


def _typed(name: str, value: object, cls: type[T]) -> T:
    if not isinstance(value, cls):
        raise SettingsError(f"{name} = {value!r} must be a text in quotes")
    if isinstance(value, str) and not value.isprintable():
        raise SettingsError(f"{name} = {value!r} holds a character that cannot be seen; write it again")
    return value


def _refuse_unknown(prefix: str, given: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known here: {', '.join(known)}"
            raise SettingsError(f"unknown setting {prefix}{key}; {hint}")
