"""The encoder's bytes against pages that real devices sent, and those of OutBack's guide."""

import pytest

from demo.shed.inverter import AcMode, OperatingMode
from demo.shed.mate import burst, fndc_extras, fndc_page, fx_of, fx_page, mx_of, mx_page
from demo.shed.physics import Shed, ShedSettings

# Source: github.com/gddk/solarshed, mate2/README.md and mate2/mate2.py (MIT).
CAPTURED_MX = {
    "C,00,00,00,030,004,00,03,000,00,525,0008,00,049": (0.0, 0, 30, 0.4, 0, 52.5, 8),
    "C,00,02,01,112,000,09,03,000,02,556,0001,00,057": (2.9, 1, 112, 0.0, 2, 55.6, 1),
    "C,00,27,15,107,005,08,03,000,01,562,0009,00,081": (27.8, 15, 107, 0.5, 1, 56.2, 9),
    "C,00,33,17,111,011,01,03,000,02,544,0019,00,067": (33.1, 17, 111, 1.1, 2, 54.4, 19),
}


def text_of(page: bytes) -> str:
    assert len(page) == 49
    assert (page[0], page[-1]) == (0x0A, 0x0D)
    return page[1:-1].decode("ascii")


@pytest.mark.parametrize("captured", CAPTURED_MX)
def test_an_mx_page_is_what_an_mx_sent(captured: str) -> None:
    charger_a, panel_a, panel_v, kwh, mode, battery_v, ah = CAPTURED_MX[captured]

    page = mx_page(
        port=2,
        charger_current_a=charger_a,
        panel_current_a=panel_a,
        panel_voltage_v=panel_v,
        daily_kwh=kwh,
        charger_mode=mode,
        battery_voltage_v=battery_v,
        daily_ah=ah,
    )

    assert text_of(page) == captured


def test_an_fx_page_is_the_one_in_the_guide() -> None:
    page = fx_page(
        port=0,
        inverter_current_a=0,
        charger_current_a=0,
        buy_current_a=0,
        ac_input_voltage_v=120,
        ac_output_voltage_v=0,
        operating_mode=OperatingMode.INVERTER_ON,
        ac_mode=AcMode.AC_DROP,
        battery_tenths_v=254,
    )

    assert text_of(page) == "0,00,00,00,120,000,00,02,000,01,254,008,000,025"


def test_a_fndc_page_is_the_one_in_the_guide_with_signs_as_flags() -> None:
    page = fndc_page(
        port=3,
        shunt_currents_a=(-58.3, 59.6, 0.0),
        extra_id=5,
        extra_value=0,
        battery_voltage_v=26.6,
        soc_percent=99,
        battery_temperature_c=25,
    )

    assert text_of(page) == "c,0583,0596,0000,05,00000,266,099,001,08,35,141"


def test_negative_extra_data_sets_the_sign_bit_of_its_identifier() -> None:
    page = fndc_page(
        port=3,
        shunt_currents_a=(0.0, 12.6, 0.0),
        extra_id=0,
        extra_value=-81,
        battery_voltage_v=28.7,
        soc_percent=99,
        battery_temperature_c=23,
    )

    assert text_of(page).split(",")[4:6] == ["64", "00081"]


def test_values_beyond_a_field_are_cut_to_its_bounds() -> None:
    page = mx_page(
        port=10,
        charger_current_a=1234.5,
        panel_current_a=-3.0,
        panel_voltage_v=900.0,
        daily_kwh=1e6,
        charger_mode=2,
        battery_voltage_v=1e6,
        daily_ah=99999,
    )

    assert text_of(page).startswith("K,00,99,00,255,999,09,03,000,02,999,2000,00,")


def test_a_port_that_no_hub_has_is_refused() -> None:
    with pytest.raises(ValueError, match="port 11"):
        fndc_page(
            port=11,
            shunt_currents_a=(0.0, 0.0, 0.0),
            extra_id=0,
            extra_value=0,
            battery_voltage_v=50.0,
            soc_percent=80,
            battery_temperature_c=20,
        )


def test_a_shed_on_battery_shows_a_burst_of_three_pages_that_agree() -> None:
    shed = Shed(ShedSettings(start_hour=21.0, start_soc=0.8))
    shed.advance(600.0, relays_closed=False)
    state = shed.state

    pages = burst(state, 0)
    fx, mx, fndc = (text_of(pages[start : start + 49]).split(",") for start in (0, 49, 98))

    assert (fx[0], mx[0], fndc[0]) == ("1", "C", "c")
    assert fx[7] == "02"
    assert fx[9] == "00"
    assert abs(int(fx[10]) - state.battery_voltage_v * 10) <= 2.001
    assert mx[10] == fndc[6] == f"{state.battery_voltage_v * 10:03.0f}"
    assert int(fndc[1]) == round(-state.battery_current_a * 10)
    assert int(fndc[9]) & 8


def test_the_fx_reports_battery_voltage_in_steps_of_0_4_v_and_the_mx_in_0_1_v() -> None:
    shed = Shed(ShedSettings(start_hour=21.0, start_soc=0.9))
    fx_tenths, mx_tenths = set(), set()

    for _ in range(400):
        shed.advance(30.0, relays_closed=False)
        fx_tenths.add(int(text_of(fx_of(shed.state)).split(",")[10]))
        mx_tenths.add(int(text_of(mx_of(shed.state)).split(",")[10]))

    assert all(tenths % 4 == 0 for tenths in fx_tenths)
    assert len(mx_tenths) > 2 * len(fx_tenths)


def test_a_shed_on_grid_shows_pass_thru_and_what_it_buys() -> None:
    shed = Shed(ShedSettings(start_hour=21.0, start_soc=0.8))
    shed.advance(600.0, relays_closed=True)

    fx = text_of(fx_of(shed.state)).split(",")

    assert (fx[7], fx[9]) == ("10", "02")
    assert fx[1] == "00"
    assert int(fx[3]) == round(shed.state.ac_input_current_a)
    assert fx[4] == fx[5] == "119"


def test_bursts_go_through_all_extra_data_in_turn() -> None:
    state = Shed(ShedSettings()).state
    count = len(fndc_extras(state))

    identifiers = [text_of(burst(state, number)[98:]).split(",")[4] for number in range(2 * count)]

    assert len(set(identifiers)) == count
    assert identifiers[:count] == identifiers[count:]
