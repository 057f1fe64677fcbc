"""The settings file: TOML in, frozen objects with checked bounds out.

A wrong setting stops the start with a sentence that names the field, the value, the bound and the remedy; nothing
has touched a pin by then.
"""

import difflib
import math
import tomllib
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from contract.errors import SolarshedError
from contract.topics import check_thing_name
from device.decide import Limits

DEFAULT_PATH = Path("/etc/solarshed/config.toml")

# A band narrower than two steps of its source is noise: 0.1 V from a charge controller or a FLEXnet DC.
LEAST_BAND_V = 0.2
LEAST_BAND_C = 1.0
# What binary fractions may make of a band that is just wide enough: 32.3 - 31.3 is below 1.0.
_ROUNDING = 1e-9


class SettingsError(SolarshedError, ValueError):
    """A setting that cannot be used; the text names it and the remedy."""


def _number(default: float, low: float, high: float) -> float:
    value: float = field(default=default, metadata={"low": low, "high": high})
    return value


@dataclass(frozen=True)
class Battery:
    """When to leave the battery and when to return to it. The defaults are for a 48 V lead-acid bank."""

    low_voltage_v: float = _number(49.9, 40.0, 64.0)
    recover_voltage_v: float = _number(52.0, 40.0, 64.0)
    low_hold_s: float = _number(60.0, 0.0, 3600.0)
    recover_hold_s: float = _number(300.0, 0.0, 7200.0)
    least_time_on_grid_s: float = _number(1800.0, 0.0, 86400.0)
    least_time_on_battery_s: float = _number(300.0, 0.0, 86400.0)


@dataclass(frozen=True)
class Box:
    """The relay box's temperature limits. 35.0 C = 95 F, 30.0 C = 86 F."""

    trip_temperature_c: float = _number(35.0, 20.0, 80.0)
    clear_temperature_c: float = _number(30.0, 0.0, 79.0)
    least_cooling_time_s: float = _number(600.0, 0.0, 86400.0)


@dataclass(frozen=True)
class Monitor:
    """The battery monitor: a MATE on a serial port."""

    serial_port: str = "/dev/serial/by-id/the-name-of-your-adapter"
    stale_after_s: float = _number(10.0, 1.0, 60.0)


@dataclass(frozen=True)
class Thermometer:
    """The DS18B20 in the box: its id as the kernel spells it, 28- and twelve hexadecimal digits."""

    sensor_id: str = "28-000000000000"
    directory: str = "/sys/bus/w1/devices"
    period_s: float = _number(1.0, 0.1, 30.0)
    stale_after_s: float = _number(10.0, 1.0, 300.0)


@dataclass(frozen=True)
class Relays:
    """GPIO numbers (BCM) of the two solid-state relays."""

    pins: tuple[int, int] = (17, 27)


@dataclass(frozen=True)
class Control:
    """The control process's own times."""

    tick_s: float = _number(1.0, 0.05, 5.0)
    sample_interval_s: float = _number(60.0, 0.5, 3600.0)
    heartbeat_interval_s: float = _number(300.0, 1.0, 900.0)
    boot_grace_s: float = _number(60.0, 0.0, 600.0)


@dataclass(frozen=True)
class Uplink:
    """Where and as whom to connect. The private key was made on this machine and never leaves it."""

    endpoint: str = ""
    port: int = 8883
    certificate: str = "/etc/solarshed/certificate.pem"
    private_key: str = "/etc/solarshed/private.key"
    ca: str = "/etc/solarshed/ca.pem"


@dataclass(frozen=True)
class Settings:
    """Everything in the settings file."""

    thing: str
    state_directory: Path
    battery: Battery
    box: Box
    monitor: Monitor
    thermometer: Thermometer
    relays: Relays
    control: Control
    uplink: Uplink

    def limits(self) -> Limits:
        """The thresholds and times as the rules name them."""
        return Limits(
            battery_low_voltage_v=self.battery.low_voltage_v,
            battery_recover_voltage_v=self.battery.recover_voltage_v,
            low_hold_s=self.battery.low_hold_s,
            recover_hold_s=self.battery.recover_hold_s,
            least_time_on_grid_s=self.battery.least_time_on_grid_s,
            least_time_on_battery_s=self.battery.least_time_on_battery_s,
            over_temperature_trip_c=self.box.trip_temperature_c,
            over_temperature_clear_c=self.box.clear_temperature_c,
            least_cooling_time_s=self.box.least_cooling_time_s,
            boot_grace_s=self.control.boot_grace_s,
        )


_SECTIONS: dict[str, type] = {
    "battery": Battery,
    "box": Box,
    "monitor": Monitor,
    "thermometer": Thermometer,
    "relays": Relays,
    "control": Control,
    "uplink": Uplink,
}
_TOP_LEVEL = ("thing", "state_directory")


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
    state_directory = Path(_typed("state_directory", document.get("state_directory", "/var/lib/solarshed"), str))
    settings = Settings(thing=thing, state_directory=state_directory, **sections)
    _check_together(settings)
    return settings


def _check_together(settings: Settings) -> None:
    battery, box = settings.battery, settings.box
    if battery.recover_voltage_v - battery.low_voltage_v < LEAST_BAND_V - _ROUNDING:
        raise SettingsError(
            f"battery.recover_voltage_v = {battery.recover_voltage_v} must be at least {LEAST_BAND_V} V above "
            f"battery.low_voltage_v = {battery.low_voltage_v}; raise the one or lower the other"
        )
    if box.trip_temperature_c - box.clear_temperature_c < LEAST_BAND_C - _ROUNDING:
        raise SettingsError(
            f"box.clear_temperature_c = {box.clear_temperature_c} must be at least {LEAST_BAND_C} C below "
            f"box.trip_temperature_c = {box.trip_temperature_c}; lower the one or raise the other"
        )


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
    if "low" in f.metadata:
        return _bounded(name, value, f.metadata["low"], f.metadata["high"])
    if f.type is int:
        return _whole(name, value, 1, 65535)
    text = _typed(name, value, str)
    if not text and f.default:
        raise SettingsError(f'{name} = "" is empty; write one, such as {f.default!r}')
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
        raise SettingsError(f"{name} = {value!r} must be GPIO numbers from 2 to 27 (BCM numbering)")
    if pins[0] == pins[1]:
        raise SettingsError(f"{name} = {value!r} names the same pin twice; each relay needs its own")
    return (pins[0], pins[1])


def _typed(name: str, value: object, cls: type[T]) -> T:
    if not isinstance(value, cls):
        raise SettingsError(f"{name} = {value!r} must be a text in quotes")
    return value


def _refuse_unknown(prefix: str, given: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known here: {', '.join(known)}"
            raise SettingsError(f"unknown setting {prefix}{key}; {hint}")
