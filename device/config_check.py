"""`solarshed config check`: what a settings file comes to, in a person's units, and where it leaves the defaults."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from device.settings import Settings, Threshold, parse


def lines_about(settings: Settings) -> Iterator[str]:
    """What matters most, then every setting that is not the default."""
    battery, box = settings.battery, settings.box
    low, recover = settings.thresholds()
    yield f"thing              {settings.thing}"
    yield f"battery monitor    {settings.monitor.serial_port}"
    yield f"thermometer        {settings.thermometer.sensor_id}"
    yield f"relays             GPIO {' and '.join(map(str, settings.relays.pins))}"
    yield f"grid when low      {_threshold(low, 'less')} for {battery.low_hold_s:g} s"
    yield f"solar when back    {_threshold(recover, 'more')} for {battery.recover_hold_s:g} s"
    yield f"too hot            {_both(box.trip_temperature_c)} or more, until {_both(box.clear_temperature_c)} or less"
    yield ""
    defaults = dict(_values(parse("")))
    changed = [(name, value) for name, value in _values(settings) if value != defaults[name]]
    yield "not the defaults:" if changed else "everything has its default"
    for name, value in changed:
        yield f"  {name} = {_shown(value)} (default {_shown(defaults[name])})"


def _values(settings: Settings) -> list[tuple[str, object]]:
    """Every setting as `section.field`, in the order of the classes."""
    values: list[tuple[str, object]] = []
    for part in fields(settings):
        value = getattr(settings, part.name)
        if is_dataclass(value):
            values += [(f"{part.name}.{f.name}", getattr(value, f.name)) for f in fields(value)]
        else:
            values.append((part.name, value))
    return values


def _shown(value: object) -> str:
    """As it would stand in the file, nearly."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value) or '""'


def _threshold(threshold: Threshold, side: str) -> str:
    """Volts; with a depth of discharge, the charge that is left, and the volts that stand for it."""
    volts = None if threshold.voltage_v is None else f"{threshold.voltage_v:g} V"
    if threshold.soc_percent is None:
        return f"{volts} or {side}"
    instead = f" ({volts} while no monitor tells the charge)" if volts else ""
    return f"{threshold.soc_percent:g} % charged or {side}{instead}"


def _both(celsius: float) -> str:
    return f"{celsius:.1f} C ({celsius * 1.8 + 32.0:.1f} F)"
