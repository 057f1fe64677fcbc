"""OutBack MATE / MATE2 status pages: bytes from the serial port in, checked pages out. Pure.

Source: OutBack, "Mate Serial Communication Guide", Rev 4.04 (2008-10-21). A page is LF, 47 characters, CR at 19200
8N1. The checksum is a digit sum, so it misses transposed digits: the shape and the range of every field are checked
as well.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

PAGE_CHARACTERS = 47

# Longer than any page; a line without an end is dropped from its oldest byte on.
_MAX_PENDING_BYTES = 4096


class Refusal(StrEnum):
    """Why a page was refused."""

    LENGTH = "length"
    CHECKSUM = "checksum"
    SHAPE = "shape"
    RANGE = "range"
    UNKNOWN_DEVICE = "unknown_device"


class PageError(ValueError):
    """A page that must not be used."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(f"{refusal}: {detail}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class FxPage:
    """An FX inverter/charger. Currents and AC voltages are real ones, also of a 230 V unit."""

    device = "fx"
    port: int
    battery_voltage_v: float
    inverter_current_a: float
    charger_current_a: float
    buy_current_a: float
    sell_current_a: float
    ac_input_voltage_v: float
    ac_output_voltage_v: float
    operating_mode: str
    ac_mode: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    aux_on: bool


@dataclass(frozen=True, slots=True)
class MxPage:
    """An MX60 or FLEXmax charge controller. `daily_ah` is None where the unit or the MATE's firmware has none."""

    device = "mx"
    port: int
    battery_voltage_v: float
    charger_current_a: float
    pv_current_a: float
    pv_voltage_v: float
    daily_kwh: float
    daily_ah: float | None
    charger_mode: str
    aux_mode: str
    aux_on: bool
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FndcPage:
    """A FLEXnet DC battery monitor. Shunt currents are signed, + = charging; None where the shunt is not fitted.

    `extra` names the one quantity that this page carries besides, `extra_value` is its value. The two relay bits are
    shown raw: OutBack's documents contradict each other on their meaning.
    """

    device = "fndc"
    port: int
    battery_voltage_v: float
    shunt_a_current_a: float | None
    shunt_b_current_a: float | None
    shunt_c_current_a: float | None
    soc_percent: float
    battery_temperature_c: float | None
    charge_parameters_met: bool
    relay_bit_2: bool
    relay_bit_4: bool
    extra: str
    extra_value: float


Page = FxPage | MxPage | FndcPage


def as_json(page: Page) -> dict[str, Any]:
    """The page's fields by their published names, `device` first."""
    return {"device": page.device, **asdict(page)}


class PageReader:
    """Cuts a byte stream into pages, however it is chunked, and counts what it refuses."""

    def __init__(self) -> None:
        self._pending = b""
        self.read = 0
        self.refused: Counter[Refusal] = Counter()

    @property
    def causes(self) -> str:
        """How many pages were refused, by cause, in words; "" for none."""
        return ", ".join(f"{count} {cause}" for cause, count in sorted(self.refused.items()))

    def feed(self, data: bytes) -> list[Page]:
        """The good pages that `data` completes, in order."""
        *lines, self._pending = (self._pending + data).replace(b"\n", b"\r").split(b"\r")
        self._pending = self._pending[-_MAX_PENDING_BYTES:]
        return list(self._decode(lines))

    def finish(self) -> list[Page]:
        """The page that the stream ended with, if it lacks only its CR."""
        last, self._pending = self._pending, b""
        return list(self._decode([last]))

    def _decode(self, lines: list[bytes]) -> Iterator[Page]:
        for line in filter(None, lines):
            try:
                page = decode_page(line)
            except PageError as e:
                self.refused[e.refusal] += 1
            else:
                self.read += 1
                yield page


def decode_page(line: bytes) -> Page:
    """One page, without its LF and CR.

    Raises:
        PageError: it is not a whole, undamaged page of a device we know.
    """
    if len(line) != PAGE_CHARACTERS:
        raise PageError(Refusal.LENGTH, f"{len(line)} characters, {PAGE_CHARACTERS} expected")
    if not line.isascii():
        raise PageError(Refusal.SHAPE, "characters outside ASCII")
    text = line.decode("ascii")
    for device in _DEVICES:
        if device.first <= text[0] <= device.last:
            break
    else:
        raise PageError(Refusal.UNKNOWN_DEVICE, f"address {text[0]!r}")
    if not device.shape.fullmatch(text):
        raise PageError(Refusal.SHAPE, f"not a page of a {device.name}")
    if (checksum := _checksum(line)) != int(text[-3:]):
        raise PageError(Refusal.CHECKSUM, f"{text[-3:]} stated, {checksum:03} computed")
    port = ord(text[0]) - ord(device.first) + device.first_port
    return device.decode(port, [int(field) for field in text[2:].split(",")], text)


def _checksum(line: bytes) -> int:
    """The sum of (character - 48) over everything but commas and the checksum itself; the address counts too."""
    summed = line[:-3].replace(b",", b"")
    return sum(summed) - 48 * len(summed)


def _in_range(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise PageError(Refusal.RANGE, f"{name} is {value}, {low} to {high} expected")
    return value


def _named(name: str, value: int, names: dict[int, str]) -> str:
    if value not in names:
        raise PageError(Refusal.RANGE, f"{name} is {value}, which the guide does not have")
    return names[value]


def _bits(value: int, names: dict[int, str]) -> tuple[str, ...]:
    return tuple(name for bit, name in names.items() if value & bit) if value else ()


_FX_MODES = {
    0: "inverter_off",
    1: "search",
    2: "inverter_on",
    3: "charge",
    4: "silent",
    5: "float",
    6: "equalize",
    7: "charger_off",
    8: "support",
    9: "sell_enabled",
    10: "pass_through",
    90: "fx_error",
    91: "ags_error",
    92: "com_error",
}
_AC_MODES = {0: "no_ac", 1: "ac_drop", 2: "ac_use"}
_FX_ERRORS = {
    1: "low_ac_output",
    2: "stacking",
    4: "over_temperature",
    8: "low_battery",
    16: "phase_loss",
    32: "high_battery",
    64: "shorted_output",
    128: "back_feed",
}
_FX_WARNINGS = {
    1: "ac_input_frequency_high",
    2: "ac_input_frequency_low",
    4: "ac_input_voltage_high",
    8: "ac_input_voltage_low",
    16: "buy_current_over_input_size",
    32: "temperature_sensor_failed",
    64: "communication_error",
    128: "fan_failure",
}
_FX_MISC_230V = 1
_FX_MISC_AUX_ON = 128


def _decode_fx(port: int, fields: list[int], _text: str) -> FxPage:
    inverter, charger, buy, ac_in, ac_out, sell, mode, errors, ac_mode, battery, misc, warnings, _sum = fields
    volts, amps = (2.0, 0.5) if misc & _FX_MISC_230V else (1.0, 1.0)
    _in_range("errors", errors, 0, 255)
    _in_range("misc", misc, 0, 255)
    _in_range("warnings", warnings, 0, 255)
    return FxPage(
        port=port,
        battery_voltage_v=battery / 10,
        inverter_current_a=inverter * amps,
        charger_current_a=charger * amps,
        buy_current_a=buy * amps,
        sell_current_a=sell * amps,
        ac_input_voltage_v=_in_range("AC input voltage", ac_in, 0, 256) * volts,
        ac_output_voltage_v=_in_range("AC output voltage", ac_out, 0, 256) * volts,
        operating_mode=_named("operating mode", mode, _FX_MODES),
        ac_mode=_named("AC mode", ac_mode, _AC_MODES),
        errors=_bits(errors, _FX_ERRORS),
        warnings=_bits(warnings, _FX_WARNINGS),
        aux_on=bool(misc & _FX_MISC_AUX_ON),
    )


_MX_CHARGER_MODES = {0: "silent", 1: "float", 2: "bulk", 3: "absorb", 4: "equalize"}
_MX_AUX_MODES = {
    0: "disabled",
    1: "diversion",
    2: "remote",
    3: "manual",
    4: "vent_fan",
    5: "pv_trigger",
    6: "float",
    7: "error_output",
    8: "night_light",
    9: "pwm_diversion",
    10: "low_battery",
}
_MX_ERRORS = {32: "shorted_battery_sensor", 64: "too_hot", 128: "high_voc"}
_MX_AUX_ACTIVE = 64
_MX_NO_DAILY_AH = 9999
# A MATE before 4.01 sends 000,000 where a later one sends AAAA,00: this is where the older one has its comma.
_MX_OLD_LAYOUT_COMMA = 39


def _decode_mx(port: int, fields: list[int], text: str) -> MxPage:
    _unused, amps, pv_amps, pv_volts, kwh, tenths, aux, errors, mode, battery, amp_hours, _unused2, _sum = fields
    has_amp_hours = text[_MX_OLD_LAYOUT_COMMA] != "," and amp_hours != _MX_NO_DAILY_AH
    _in_range("errors", errors, 0, 255)
    _in_range("PV voltage", pv_volts, 0, 255)
    return MxPage(
        port=port,
        battery_voltage_v=battery / 10,
        charger_current_a=(amps * 10 + _in_range("tenths of an ampere", tenths, 0, 9)) / 10,
        pv_current_a=float(pv_amps),
        pv_voltage_v=float(pv_volts),
        daily_kwh=kwh / 10,
        daily_ah=float(_in_range("daily Ah", amp_hours, 0, 2000)) if has_amp_hours else None,
        charger_mode=_named("charger mode", mode, _MX_CHARGER_MODES),
        # 27 and 63 are not in the guide but occur in real data.
        aux_mode=_MX_AUX_MODES.get(aux & 63, f"undocumented_{aux & 63}"),
        aux_on=bool(aux & _MX_AUX_ACTIVE),
        errors=_bits(errors, _MX_ERRORS),
    )


# Extra data of a FLEXnet DC: id -> name, and what one count is worth.
_FNDC_EXTRAS = {
    0: ("shunt_a_ah", 1),
    1: ("shunt_a_kwh", 100),
    2: ("shunt_b_ah", 1),
    3: ("shunt_b_kwh", 100),
    4: ("shunt_c_ah", 1),
    5: ("shunt_c_kwh", 100),
    6: ("days_since_full", 10),
    7: ("todays_minimum_soc_percent", 1),
    8: ("todays_net_input_ah", 1),
    9: ("todays_net_output_ah", 1),
    10: ("todays_net_input_kwh", 100),
    11: ("todays_net_output_kwh", 100),
    12: ("corrected_net_battery_ah", 1),
    13: ("corrected_net_battery_kwh", 100),
}
_FNDC_EXTRA_NEGATIVE = 64
_FNDC_SHUNT_A_NEGATIVE = 8  # B and C: the next two bits
_FNDC_NO_TEMPERATURE = 99


def _decode_fndc(port: int, fields: list[int], _text: str) -> FndcPage:
    *amps, extra_id, extra, battery, soc, disabled, flags, temperature, _sum = fields
    if temperature != _FNDC_NO_TEMPERATURE:
        _in_range("battery temperature", temperature, 0, 70)
    _in_range("status flags", flags, 0, 63)
    disabled_digits = [_in_range("shunt disabled", int(digit), 0, 1) for digit in f"{disabled:03}"]
    _in_range("extra data", extra, 0, 65535)
    currents = [
        None if disabled_digits[n] else (-amps[n] if flags & (_FNDC_SHUNT_A_NEGATIVE << n) else amps[n]) / 10
        for n in range(3)
    ]
    name, counts_per_unit = _FNDC_EXTRAS.get(extra_id & 63, (f"reserved_{extra_id & 63}", 1))
    return FndcPage(
        port=port,
        battery_voltage_v=battery / 10,
        shunt_a_current_a=currents[0],
        shunt_b_current_a=currents[1],
        shunt_c_current_a=currents[2],
        soc_percent=float(_in_range("state of charge", soc, 0, 100)),
        battery_temperature_c=None if temperature == _FNDC_NO_TEMPERATURE else float(temperature - 10),
        charge_parameters_met=bool(flags & 1),
        relay_bit_2=bool(flags & 2),
        relay_bit_4=bool(flags & 4),
        extra=name,
        extra_value=(-extra if extra_id & _FNDC_EXTRA_NEGATIVE else extra) / counts_per_unit,
    )


@dataclass(frozen=True)
class _Device:
    name: str
    first: str
    last: str
    first_port: int
    shape: re.Pattern[str]
    decode: Callable[[int, list[int], str], Page]


def _shape(*digits: int) -> str:
    return "," + ",".join(f"[0-9]{{{n}}}" for n in digits)


_MX_COMMON = _shape(2, 2, 2, 3, 3, 2, 2, 3, 2, 3)
_DEVICES = (
    _Device("FX", "0", ":", 0, re.compile("[0-:]" + _shape(2, 2, 2, 3, 3, 2, 2, 3, 2, 3, 3, 3, 3)), _decode_fx),
    _Device("MX", "A", "K", 0, re.compile(f"[A-K]{_MX_COMMON}(?:{_shape(4, 2, 3)}|{_shape(3, 3, 3)})"), _decode_mx),
    _Device("FLEXnet DC", "a", "j", 1, re.compile("[a-j]" + _shape(4, 4, 4, 2, 5, 3, 3, 3, 2, 2, 3)), _decode_fndc),
)
