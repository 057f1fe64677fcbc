"""Encodes the status pages that a MATE sends: LF, 47 characters, CR.

Source: OutBack's Mate Serial Communication Guide Rev 4.04 (2008-10-21), checked against captured pages. Independent of
the decoder in `device/` on purpose: the two check each other. A value that does not fit its field is cut to the nearest
that does.
"""

from demo.shed.inverter import AcMode
from demo.shed.physics import ShedState

FX_PORT = 1
MX_PORT = 2
FNDC_PORT = 3

# An FX on a 48 V bank measures in steps of 0.4 V; the guide counts in tenths.
FX_STEP_TENTHS = 4

FX_LOW_BATTERY_ERROR = 8
# Reserved by the guide, and set in its examples and in every captured FX page.
FX_MISC = 8
MX_AUX_MANUAL = 3

_FLAG_CHARGE_MET = 1
_FLAGS_NEGATIVE = (8, 16, 32)
_EXTRA_NEGATIVE = 64
_SHUNT_C_DISABLED = "001"
_BATTERY_TEMPERATURE_OFFSET_C = 10


def burst(state: ShedState, number: int) -> bytes:
    """The three pages of one second, FX, MX, FLEXnet DC. `number` counts bursts: the last page's extra data rotates."""
    return fx_of(state) + mx_of(state) + fndc_of(state, number)


def fx_of(state: ShedState) -> bytes:
    """The inverter's page."""
    is_on_grid = state.ac_mode is AcMode.AC_USE
    output_a = 0.0 if is_on_grid or state.ac_output_voltage_v == 0.0 else state.house_w / state.ac_output_voltage_v
    charge_w = max(0.0, state.inverter_dc_current_a) * state.battery_voltage_v
    return fx_page(
        port=FX_PORT,
        inverter_current_a=output_a,
        charger_current_a=charge_w / state.ac_input_voltage_v if is_on_grid else 0.0,
        buy_current_a=state.ac_input_current_a,
        ac_input_voltage_v=state.ac_input_voltage_v,
        ac_output_voltage_v=state.ac_output_voltage_v,
        operating_mode=state.operating_mode,
        errors=FX_LOW_BATTERY_ERROR if state.low_battery_cut_out else 0,
        ac_mode=state.ac_mode,
        battery_tenths_v=round(state.battery_voltage_v * 10 / FX_STEP_TENTHS) * FX_STEP_TENTHS,
    )


def mx_of(state: ShedState) -> bytes:
    """The charge controller's page."""
    return mx_page(
        port=MX_PORT,
        charger_current_a=state.charger_current_a,
        panel_current_a=state.panel_power_w / state.panel_voltage_v,
        panel_voltage_v=state.panel_voltage_v,
        daily_kwh=state.today.charger_wh / 1000.0,
        charger_mode=state.charger_mode,
        battery_voltage_v=state.battery_voltage_v,
        daily_ah=state.today.charger_ah,
    )


def fndc_of(state: ShedState, number: int) -> bytes:
    """The battery monitor's page: shunt A is the inverter's, B the charge controller's, C is not fitted."""
    extras = fndc_extras(state)
    extra_id = sorted(extras)[number % len(extras)]
    return fndc_page(
        port=FNDC_PORT,
        shunt_currents_a=(state.inverter_dc_current_a, state.charger_current_a, 0.0),
        extra_id=extra_id,
        extra_value=extras[extra_id],
        battery_voltage_v=state.battery_voltage_v,
        soc_percent=state.soc * 100.0,
        battery_temperature_c=state.ambient_c,
        is_full=state.days_since_full == 0.0,
    )


def fndc_extras(state: ShedState) -> dict[int, int]:
    """Extra data by its identifier: Ah and % as they are, kWh in hundredths, days in tenths."""
    today = state.today
    return {
        0: round(today.inverter_ah),
        1: round(today.inverter_wh / 10.0),
        2: round(today.charger_ah),
        3: round(today.charger_wh / 10.0),
        6: round(state.days_since_full * 10.0),
        7: round(today.least_soc * 100.0),
        8: round(today.charged_ah),
        9: round(today.discharged_ah),
        10: round(today.charged_wh / 10.0),
        11: round(today.discharged_wh / 10.0),
    }


def fx_page(
    *,
    port: int,
    inverter_current_a: float,
    charger_current_a: float,
    buy_current_a: float,
    ac_input_voltage_v: float,
    ac_output_voltage_v: float,
    operating_mode: int,
    ac_mode: int,
    battery_tenths_v: int,
    errors: int = 0,
    misc: int = FX_MISC,
    warnings: int = 0,
) -> bytes:
    """The page of a 120 V FX; port 0 is one connected without a hub. It sells nothing."""
    fields = [
        _digits(inverter_current_a, 2),
        _digits(charger_current_a, 2),
        _digits(buy_current_a, 2),
        _digits(ac_input_voltage_v, 3, most=256),
        _digits(ac_output_voltage_v, 3, most=256),
        _digits(0, 2),
        _digits(operating_mode, 2),
        _digits(errors, 3, most=255),
        _digits(ac_mode, 2),
        _digits(battery_tenths_v, 3),
        _digits(misc, 3, most=255),
        _digits(warnings, 3, most=255),
    ]
    return _page("0", port, fields)


def mx_page(
    *,
    port: int,
    charger_current_a: float,
    panel_current_a: float,
    panel_voltage_v: float,
    daily_kwh: float,
    charger_mode: int,
    battery_voltage_v: float,
    daily_ah: float,
    aux_mode: int = MX_AUX_MANUAL,
    errors: int = 0,
) -> bytes:
    """The page of an FM60 or FM80, in the layout of MATE revision 4.01 and later (with daily Ah)."""
    whole_a, tenths_a = divmod(_clamped(charger_current_a * 10.0, 999), 10)
    fields = [
        "00",
        _digits(whole_a, 2),
        _digits(panel_current_a, 2),
        _digits(panel_voltage_v, 3, most=255),
        _digits(daily_kwh * 10.0, 3),
        f"0{tenths_a}",
        _digits(aux_mode, 2),
        _digits(errors, 3, most=255),
        _digits(charger_mode, 2),
        _digits(battery_voltage_v * 10.0, 3),
        _digits(daily_ah, 4, most=2000),
        "00",
    ]
    return _page("A", port, fields)


def fndc_page(
    *,
    port: int,
    shunt_currents_a: tuple[float, float, float],
    extra_id: int,
    extra_value: int,
    battery_voltage_v: float,
    soc_percent: float,
    battery_temperature_c: float,
    is_full: bool = False,
) -> bytes:
    """The page of a FLEXnet DC with shunts A and B enabled. Signs travel as flags beside the magnitudes."""
    flags = _FLAG_CHARGE_MET if is_full else 0
    flags += sum(flag for flag, amps in zip(_FLAGS_NEGATIVE, shunt_currents_a, strict=True) if amps <= -0.05)
    fields = [
        *(_digits(abs(amps) * 10.0, 4) for amps in shunt_currents_a),
        _digits(extra_id + (_EXTRA_NEGATIVE if extra_value < 0 else 0), 2),
        _digits(abs(extra_value), 5, most=65535),
        _digits(battery_voltage_v * 10.0, 3),
        _digits(soc_percent, 3, most=100),
        _SHUNT_C_DISABLED,
        _digits(flags, 2),
        _digits(battery_temperature_c + _BATTERY_TEMPERATURE_OFFSET_C, 2, most=70),
    ]
    return _page("`", port, fields)


def _page(direct_address: str, port: int, fields: list[str]) -> bytes:
    """Address, fields and checksum in their frame; the address of port n is n characters after the direct one."""
    if not 0 <= port <= 10:
        raise ValueError(f"port {port} is not one of a MATE hub: take 1 to 10, or 0 for a direct connection")
    text = ",".join([chr(ord(direct_address) + port), *fields])
    checksum = sum(ord(character) - ord("0") for character in text if character != ",")
    return f"\n{text},{checksum:03d}\r".encode("ascii")


def _digits(value: float, width: int, most: int | None = None) -> str:
    return f"{_clamped(value, 10**width - 1 if most is None else most):0{width}d}"


def _clamped(value: float, most: int) -> int:
    return min(most, max(0, round(value)))
