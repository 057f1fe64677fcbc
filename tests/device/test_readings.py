import math

import pytest

from device.readings import Reading, is_plausible_battery_voltage


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_R1_a_reading_that_is_not_finite_cannot_exist(value: float) -> None:
    with pytest.raises(ValueError, match=r"mx2 read .*: only finite values are readings"):
        Reading(value, 1.0, "mx2")


@pytest.mark.parametrize("value", [0.0, -10.125, 5e-324, 1e308])
def test_a_finite_value_is_a_reading(value: float) -> None:
    assert Reading(value, 1.0, "mx2").value == value


@pytest.mark.parametrize("voltage_v", [30.0, 30.1, 48.0, 69.9, 70.0])
def test_a_voltage_that_a_48_v_bank_can_have_is_plausible(voltage_v: float) -> None:
    assert is_plausible_battery_voltage(voltage_v)


@pytest.mark.parametrize("voltage_v", [-48.0, 0.0, 5.0, 29.9, 70.1, 99.9, math.nan, math.inf])
def test_S11_a_voltage_that_a_48_v_bank_cannot_have_is_not(voltage_v: float) -> None:
    assert not is_plausible_battery_voltage(voltage_v)
