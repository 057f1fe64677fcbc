"""The physics alone: each part does what such a part does."""

import pytest

from demo.shed.battery import Battery, BatterySettings, rest_voltage_table
from demo.shed.box import Box, BoxSettings
from demo.shed.charger import ChargerMode
from demo.shed.household import Household
from demo.shed.inverter import AcMode, InverterSettings, OperatingMode
from demo.shed.physics import Shed, ShedSettings
from demo.shed.weather import DAY_S, HOUR_S, Weather

MINUTE_S = 60.0


def night_shed(soc: float = 0.8, inverter: InverterSettings | None = None) -> Shed:
    return Shed(ShedSettings(start_hour=21.0, start_soc=soc, inverter=inverter or InverterSettings()))


def test_rest_voltages_rise_with_charge_and_match_the_manual() -> None:
    table = rest_voltage_table()

    assert table[0] == (0.1, 46.4)
    assert table[-1] == (1.0, 50.8)
    assert dict(table)[0.5] == 48.4
    assert [volts for _, volts in table] == sorted(volts for _, volts in table)


def test_a_rested_battery_shows_its_rest_voltage_between_the_table_rows_too() -> None:
    assert Battery(BatterySettings(), soc=0.75).voltage_v == pytest.approx(49.6)


def test_voltage_sags_at_once_under_load_then_slowly_and_rebounds_when_the_load_goes() -> None:
    battery = Battery(BatterySettings(), soc=0.8)

    battery.step(1.0, -40.0)
    at_once_v = battery.voltage_v
    for _ in range(240):
        battery.step(10.0, -40.0)
    loaded_v = battery.voltage_v
    battery.step(1.0, 0.0)
    released_v = battery.voltage_v
    for _ in range(720):
        battery.step(10.0, 0.0)

    assert at_once_v == pytest.approx(50.0 - 0.32, abs=0.01)
    assert loaded_v < at_once_v - 0.2
    assert released_v > loaded_v + 0.3
    assert battery.voltage_v > released_v + 0.2
    assert battery.voltage_v == pytest.approx(battery.rest_voltage_v, abs=0.01)


@pytest.mark.parametrize("voltage_v", [50.5, 52.0, 54.4, 57.6])
def test_the_current_for_a_voltage_brings_the_battery_to_that_voltage(voltage_v: float) -> None:
    battery = Battery(BatterySettings(), soc=0.9)

    battery.step(10.0, battery.current_at(voltage_v, 10.0))

    assert battery.voltage_v == pytest.approx(voltage_v, abs=0.001)


def test_a_full_battery_takes_no_more_and_an_empty_one_gives_no_more() -> None:
    battery = Battery(BatterySettings(), soc=0.99)
    for _ in range(5000):
        battery.step(10.0, 40.0)
    full_soc = battery.soc
    for _ in range(10000):
        battery.step(10.0, -40.0)

    assert full_soc <= 1.0
    assert battery.soc == 0.0
    assert battery.voltage_v < 42.5


def test_night_has_no_sun_and_noon_has_the_most_of_a_clear_sky() -> None:
    weather = Weather(seed=3)
    clear = {hour: weather.clear_sky(hour * HOUR_S) for hour in range(24)}

    assert all(clear[hour] == 0.0 for hour in (*range(6), *range(19, 24)))
    assert max(clear, key=lambda hour: clear[hour]) == 12
    assert clear[12] == pytest.approx(1.0)


def test_weather_and_load_depend_on_seed_and_time_only() -> None:
    times_s = [8 * HOUR_S + 97.0 * step for step in range(200)]

    forwards = [(Weather(5).sun(time_s), Household(5).power_w(time_s)) for time_s in times_s]
    backwards = [(Weather(5).sun(time_s), Household(5).power_w(time_s)) for time_s in reversed(times_s)]
    other_seed = [(Weather(6).sun(time_s), Household(6).power_w(time_s)) for time_s in times_s]

    assert forwards == backwards[::-1]
    assert forwards != other_seed


def test_the_house_draws_between_250_w_and_2200_w_and_most_in_the_evening() -> None:
    household = Household(seed=2)
    hourly_w = [household.power_w(MINUTE_S * minute) for minute in range(24 * 60)]
    evening_w, night_w = hourly_w[19 * 60 : 22 * 60], hourly_w[2 * 60 : 5 * 60]

    assert min(hourly_w) >= 250.0
    assert max(hourly_w) <= 2200.0
    assert sum(evening_w) > 3 * sum(night_w)


def test_ac_is_looked_at_before_the_inverter_transfers_and_is_gone_when_the_relays_open() -> None:
    shed = night_shed()
    shed.advance(MINUTE_S, relays_closed=False)
    on_battery = shed.state

    shed.advance(20.0, relays_closed=True)
    looking = shed.state
    shed.advance(MINUTE_S, relays_closed=True)
    on_grid = shed.state
    shed.advance(10.0, relays_closed=False)
    back = shed.state

    assert (on_battery.ac_mode, on_battery.operating_mode) == (AcMode.NO_AC, OperatingMode.INVERTER_ON)
    assert (looking.ac_mode, looking.operating_mode) == (AcMode.AC_DROP, OperatingMode.INVERTER_ON)
    assert looking.ac_input_voltage_v > 110.0
    assert looking.battery_current_a < -5.0
    assert (on_grid.ac_mode, on_grid.operating_mode) == (AcMode.AC_USE, OperatingMode.PASS_THRU)
    assert on_grid.battery_current_a == 0.0
    assert on_grid.ac_input_current_a == pytest.approx(on_grid.house_w / on_grid.ac_input_voltage_v)
    assert (back.ac_mode, back.operating_mode) == (AcMode.NO_AC, OperatingMode.INVERTER_ON)
    assert back.battery_current_a < -5.0


def test_closed_relays_bring_no_ac_in_an_outage_and_welded_ones_bring_it_always() -> None:
    shed = night_shed()

    shed.grid_present = False
    shed.advance(MINUTE_S, relays_closed=True)
    in_outage = shed.state.ac_mode
    shed.grid_present, shed.relays_welded = True, True
    shed.advance(MINUTE_S, relays_closed=False)

    assert in_outage is AcMode.NO_AC
    assert shed.state.ac_mode is AcMode.AC_USE


def test_the_grid_charges_the_battery_only_where_the_inverter_is_set_to() -> None:
    plain, charging = night_shed(), night_shed(inverter=InverterSettings(grid_charge_a=20.0))
    for shed in (plain, charging):
        shed.advance(2 * HOUR_S, relays_closed=True)

    assert plain.state.battery_current_a == 0.0
    assert charging.state.operating_mode is OperatingMode.CHARGE
    assert charging.state.battery_current_a == pytest.approx(20.0)
    assert charging.state.soc > plain.state.soc + 0.04
    assert charging.state.ac_input_current_a > plain.state.ac_input_current_a + 5.0


def test_an_inverter_left_alone_with_an_empty_battery_cuts_out_and_the_house_is_dark() -> None:
    shed = night_shed(soc=0.06)

    shed.advance(4 * HOUR_S, relays_closed=False)

    assert shed.state.low_battery_cut_out
    assert shed.state.operating_mode is OperatingMode.INVERTER_OFF
    assert shed.state.house_w == 0.0
    assert 0.0 <= shed.state.soc < 0.02


def test_the_charger_goes_from_bulk_to_absorb_to_float_and_sleeps_at_night() -> None:
    shed = Shed(ShedSettings(start_hour=5.0, start_soc=0.85))
    stages: list[ChargerMode] = []
    highest_v = 0.0

    for _ in range(15 * 60):
        shed.advance(MINUTE_S, relays_closed=True)
        highest_v = max(highest_v, shed.state.battery_voltage_v)
        if shed.state.charger_mode not in stages[-1:]:
            stages.append(shed.state.charger_mode)

    silent, bulk = ChargerMode.SILENT, ChargerMode.BULK
    assert stages == [silent, bulk, ChargerMode.ABSORB, ChargerMode.FLOAT, silent]
    assert highest_v == pytest.approx(57.6, abs=0.05)


def test_the_charge_current_tapers_while_absorbing() -> None:
    battery = Battery(BatterySettings(), soc=0.93)
    currents_a = []

    for _ in range(360):
        currents_a.append(battery.current_at(57.6, 10.0))
        battery.step(10.0, currents_a[-1])

    # The first half hour builds up polarisation.
    assert currents_a[180:] == sorted(currents_a[180:], reverse=True)
    assert battery.soc > 0.95


def test_the_box_stays_near_ambient_with_its_fan_and_passes_35_c_without() -> None:
    cooled, uncooled = Box(BoxSettings(), 20.0), Box(BoxSettings(), 20.0)

    for _ in range(1440):
        cooled.step(10.0, relay_current_a=12.0, ambient_c=20.0, fan_working=True)
        uncooled.step(10.0, relay_current_a=12.0, ambient_c=20.0, fan_working=False)

    assert 22.0 < cooled.temperature_c < 26.0
    assert uncooled.temperature_c > 40.0


def test_a_hot_box_cools_when_the_relays_open_and_faster_with_the_fan() -> None:
    still, blown = Box(BoxSettings(), 40.0), Box(BoxSettings(), 40.0)

    for _ in range(360):
        still.step(10.0, relay_current_a=0.0, ambient_c=20.0, fan_working=False)
        blown.step(10.0, relay_current_a=0.0, ambient_c=20.0, fan_working=True)

    assert blown.temperature_c < 22.0 < still.temperature_c < 37.0


def test_the_step_size_hardly_changes_a_day() -> None:
    coarse, fine = Shed(ShedSettings(seed=4)), Shed(ShedSettings(seed=4))

    for _ in range(int(DAY_S / 10)):
        coarse.step(10.0, relays_closed=False)
    for _ in range(int(DAY_S / 5)):
        fine.step(5.0, relays_closed=False)

    assert coarse.state.soc == pytest.approx(fine.state.soc, abs=0.003)
    assert coarse.state.battery_voltage_v == pytest.approx(fine.state.battery_voltage_v, abs=0.05)
