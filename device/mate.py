"""OutBack MATE / MATE2 status pages: bytes from the serial port in, checked pages out. Pure.

Source: OutBack, "Mate Serial Communication Guide", Rev 4.04 (2008-10-21). A page is LF, 47 characters, CR at 19200
8N1. The checksum is a digit sum, so it misses transposed digits: the shape and the range of every field are checked
as well.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

PAGE_CHARACTERS = 47

_LESS_48 = bytes((character - 48) % 256 for character in range(256))
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


class FxPage(NamedTuple):
    """An FX inverter/charger. Currents and AC voltages are real ones, also of a 230 V unit."""

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

    @property
    def device(self) -> str:
        return "fx"


class MxPage(NamedTuple):
    """An MX60 or FLEXmax charge controller. `daily_ah` is None where the unit or the MATE's firmware has none."""

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

    @property
    def device(self) -> str:
        return "mx"


class FndcPage(NamedTuple):
    """A FLEXnet DC battery monitor. Shunt currents are signed, + = charging; None where the shunt is not fitted.

    `extra` names the one quantity that this page carries besides, `extra_value` is its value. The two relay bits are
    shown raw: OutBack's documents contradict each other on their meaning.
    """

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

    @property
    def device(self) -> str:
        return "fndc"


Page = FxPage | MxPage | FndcPage


def as_json(page: Page) -> dict[str, Any]:
    """The page's fields by their published names, `device` first."""
    return {"device": page.device, **page._asdict()}


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
        return self._decode(lines)

    def finish(self) -> list[Page]:
        """The page that the stream ended with, if it lacks only its CR."""
        last, self._pending = self._pending, b""
        return self._decode([last])

    def _decode(self, lines: list[bytes]) -> list[Page]:
        pages = []
        for line in filter(None, lines):
            try:
                pages.append(decode_page(line))
            except PageError as e:
                self.refused[e.refusal] += 1
        self.read += len(pages)
        return pages


def decode_page(line: bytes) -> Page:
    """One page, without its LF and CR.

    Raises:
        PageError: it is not a whole, undamaged page of a device we know.
    """
    if len(line) != PAGE_CHARACTERS:
        raise PageError(Refusal.LENGTH, f"{len(line)} characters, {PAGE_CHARACTERS} expected")
    if line[0] not in _AT_ADDRESS:
        if not line.isascii():
            raise PageError(Refusal.SHAPE, "characters outside ASCII")
        raise PageError(Refusal.UNKNOWN_DEVICE, f"address {chr(line[0])!r}")
    name, shape, decode, port = _AT_ADDRESS[line[0]]
    if not shape.fullmatch(line):
        raise PageError(Refusal.SHAPE, f"not a page of a {name}")
    fields = [*map(int, line[2:].split(b","))]
    if (checksum := _checksum(line)) != fields[-1]:
        raise PageError(Refusal.CHECKSUM, f"{fields[-1]:03} stated, {checksum:03} computed")
    return decode(port, fields, line)


def _checksum(line: bytes) -> int:
    """The sum of (character - 48) over everything but commas and the checksum itself; the address counts too."""
    return sum(line[:-3].translate(_LESS_48, b","))


def _too_large(name: str, value: int, most: int) -> PageError:
    """For a value above its range. Below it is none: a field has digits only, no sign."""
    return PageError(Refusal.RANGE, f"{name} is {value}, 0 to {most} expected")


def _not_in_guide(name: str, value: int) -> PageError:
    return PageError(Refusal.RANGE, f"{name} is {value}, which the guide does not have")


def _bits(value: int, names: dict[int, str]) -> tuple[str, ...]:
    return tuple(name for bit, name in names.items() if value & bit)


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


def _decode_fx(port: int, fields: list[int], _line: bytes) -> FxPage:
    inverter, charger, buy, ac_in, ac_out, sell, mode, errors, ac_mode, battery, misc, warnings, _sum = fields
    if ac_in > 256:
        raise _too_large("AC input voltage", ac_in, 256)
    if ac_out > 256:
        raise _too_large("AC output voltage", ac_out, 256)
    if mode not in _FX_MODES:
        raise _not_in_guide("operating mode", mode)
    if errors > 255:
        raise _too_large("errors", errors, 255)
    if ac_mode not in _AC_MODES:
        raise _not_in_guide("AC mode", ac_mode)
    if misc > 255:
        raise _too_large("misc", misc, 255)
    if warnings > 255:
        raise _too_large("warnings", warnings, 255)
    volts, amps = (2.0, 0.5) if misc & _FX_MISC_230V else (1.0, 1.0)
    # In the order of the fields: by name would take a tenth longer. Swap any two neighbours, and a test fails.
    return FxPage(
        port,
        battery / 10,
        inverter * amps,
        charger * amps,
        buy * amps,
        sell * amps,
        ac_in * volts,
        ac_out * volts,
        _FX_MODES[mode],
        _AC_MODES[ac_mode],
        _bits(errors, _FX_ERRORS) if errors else (),
        _bits(warnings, _FX_WARNINGS) if warnings else (),
        misc & _FX_MISC_AUX_ON != 0,
    )


_MX_CHARGER_MODES = {0: "silent", 1: "float", 2: "bulk", 3: "absorb", 4: "equalize"}
# 27 and 63 are not in the guide but occur in real data.
_MX_AUX_MODES = {mode: f"undocumented_{mode}" for mode in range(64)} | {
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
_COMMA = ord(",")


def _decode_mx(port: int, fields: list[int], line: bytes) -> MxPage:
    _unused, amps, pv_amps, pv_volts, kwh, tenths, aux, errors, mode, battery, amp_hours, _unused2, _sum = fields
    has_amp_hours = line[_MX_OLD_LAYOUT_COMMA] != _COMMA and amp_hours != _MX_NO_DAILY_AH
    if pv_volts > 255:
        raise _too_large("PV voltage", pv_volts, 255)
    if tenths > 9:
        raise _too_large("tenths of an ampere", tenths, 9)
    if errors > 255:
        raise _too_large("errors", errors, 255)
    if mode not in _MX_CHARGER_MODES:
        raise _not_in_guide("charger mode", mode)
    if has_amp_hours and amp_hours > 2000:
        raise _too_large("daily Ah", amp_hours, 2000)
    # In the order of the fields: by name would take a tenth longer. Swap any two neighbours, and a test fails.
    return MxPage(
        port,
        battery / 10,
        (amps * 10 + tenths) / 10,
        float(pv_amps),
        float(pv_volts),
        kwh / 10,
        float(amp_hours) if has_amp_hours else None,
        _MX_CHARGER_MODES[mode],
        _MX_AUX_MODES[aux & 63],
        aux & _MX_AUX_ACTIVE != 0,
        _bits(errors, _MX_ERRORS) if errors else (),
    )


# Extra data of a FLEXnet DC: id -> name, and what one count is worth.
_FNDC_EXTRAS = {extra: (f"reserved_{extra}", 1) for extra in range(64)} | {
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
_FNDC_SHUNT_A_NEGATIVE = 8
_FNDC_SHUNT_B_NEGATIVE = 16
_FNDC_SHUNT_C_NEGATIVE = 32
# A digit a shunt, 1 = not fitted: 011 is A alone.
_FNDC_DISABLED = {int(f"{a}{b}{c}"): (a, b, c) for a, b, c in itertools.product((0, 1), repeat=3)}
_FNDC_NO_TEMPERATURE = 99


def _decode_fndc(port: int, fields: list[int], _line: bytes) -> FndcPage:
    amps_a, amps_b, amps_c, extra_id, extra, battery, soc, disabled, flags, temperature, _sum = fields
    if extra > 65535:
        raise _too_large("extra data", extra, 65535)
    if soc > 100:
        raise _too_large("state of charge", soc, 100)
    if disabled not in _FNDC_DISABLED:
        raise PageError(Refusal.RANGE, f"shunts disabled is {disabled:03}, digits 0 or 1 expected")
    if flags > 63:
        raise _too_large("status flags", flags, 63)
    if temperature > 70 and temperature != _FNDC_NO_TEMPERATURE:
        raise _too_large("battery temperature", temperature, 70)
    no_a, no_b, no_c = _FNDC_DISABLED[disabled]
    extra_name, counts_per_unit = _FNDC_EXTRAS[extra_id & 63]
    # In the order of the fields: by name would take a tenth longer. Swap any two neighbours, and a test fails.
    return FndcPage(
        port,
        battery / 10,
        None if no_a else (-amps_a if flags & _FNDC_SHUNT_A_NEGATIVE else amps_a) / 10,
        None if no_b else (-amps_b if flags & _FNDC_SHUNT_B_NEGATIVE else amps_b) / 10,
        None if no_c else (-amps_c if flags & _FNDC_SHUNT_C_NEGATIVE else amps_c) / 10,
        float(soc),
        None if temperature == _FNDC_NO_TEMPERATURE else float(temperature - 10),
        flags & 1 != 0,
        flags & 2 != 0,
        flags & 4 != 0,
        extra_name,
        (-extra if extra_id & _FNDC_EXTRA_NEGATIVE else extra) / counts_per_unit,
    )


class _Device(NamedTuple):
    name: str
    shape: re.Pattern[bytes]
    decode: Callable[[int, list[int], bytes], Page]
    port: int


def _shape(*digits: int) -> str:
    return "," + ",".join(f"[0-9]{{{n}}}" for n in digits)


def _devices(
    name: str, addresses: str, first_port: int, shape: str, decode: Callable[[int, list[int], bytes], Page]
) -> dict[int, _Device]:
    pattern = re.compile(f"[{addresses}]{shape}".encode("ascii"))
    return {
        ord(address): _Device(name, pattern, decode, port) for port, address in enumerate(addresses, start=first_port)
    }


_MX_COMMON = _shape(2, 2, 2, 3, 3, 2, 2, 3, 2, 3)
_AT_ADDRESS = {
    **_devices("FX", "0123456789:", 0, _shape(2, 2, 2, 3, 3, 2, 2, 3, 2, 3, 3, 3, 3), _decode_fx),
    **_devices("MX", "ABCDEFGHIJK", 0, f"{_MX_COMMON}(?:{_shape(4, 2, 3)}|{_shape(3, 3, 3)})", _decode_mx),
    **_devices("FLEXnet DC", "abcdefghij", 1, _shape(4, 4, 4, 2, 5, 3, 3, 3, 2, 2, 3), _decode_fndc),
}
