import math
from itertools import permutations

import pytest

from device.readings import (
    AcMode,
    AcReading,
    Reading,
    Readings,
    Stuck,
    VoltageSample,
    best_voltage,
    is_plausible_battery_voltage,
)

BAND_V = 2.1


def sample(voltage_v: float, source: str = "mx2", step_v: float = 0.1) -> VoltageSample:
    return VoltageSample(Reading(voltage_v, 7.0, source), step_v)


# What is a reading


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_R1_a_reading_that_is_not_finite_cannot_exist(value: float) -> None:
    with pytest.raises(ValueError, match=r"^mx2 read -?(nan|inf): only finite values are readings$"):
        Reading(value, 1.0, "mx2")


@pytest.mark.parametrize("value", [0.0, -10.125, 5e-324, 1e308])
def test_a_finite_value_is_a_reading(value: float) -> None:
    reading = Reading(value, 1.0, "mx2")

    assert (reading.value, reading.at_s, reading.source) == (value, 1.0, "mx2")


@pytest.mark.parametrize(
    "value",
    [Reading(50.0, 1.0, "mx2"), AcReading(AcMode.NO_AC, 1.0, "fx1"), Readings(), sample(50.0)],
    ids=lambda value: type(value).__name__,
)
def test_what_has_been_read_does_not_change(value: object) -> None:
    for name in type(value).__annotations__:
        # What a frozen dataclass raises is one of these too.
        with pytest.raises(AttributeError):
            setattr(value, name, math.nan)
    assert not hasattr(value, "__dict__")


def test_nothing_is_known_until_something_is() -> None:
    nothing = Readings()

    assert nothing.battery_voltage_v is None
    assert nothing.box_temperature_c is None
    assert nothing.soc_percent is None
    assert nothing.ac is None
    assert nothing.is_daylight is None


def test_ac_modes_have_the_names_that_an_inverters_page_has() -> None:
    assert [mode.value for mode in AcMode] == ["no_ac", "ac_drop", "ac_use"]
    assert AcReading(AcMode("ac_use"), 1.0, "fx1") == AcReading(AcMode.AC_USE, 1.0, "fx1")


# What a 48 V bank can show


@pytest.mark.parametrize("voltage_v", [30.0, 30.1, 48.0, 69.9, 70.0])
def test_a_voltage_that_a_48_v_bank_can_have_is_plausible(voltage_v: float) -> None:
    assert is_plausible_battery_voltage(voltage_v)


@pytest.mark.parametrize("voltage_v", [-48.0, 0.0, 5.0, 29.9, 70.1, 99.9, math.nan, math.inf])
def test_S11_a_voltage_that_a_48_v_bank_cannot_have_is_not(voltage_v: float) -> None:
    assert not is_plausible_battery_voltage(voltage_v)


# Which voltage is believed


@pytest.mark.parametrize("voltage_v", [30.0, 70.0])
def test_the_ends_of_what_is_plausible_are_believed(voltage_v: float) -> None:
    assert best_voltage([sample(voltage_v)], BAND_V) == Reading(voltage_v, 7.0, "mx2")


@pytest.mark.parametrize("voltage_v", [0.0, 29.9, 70.1])
def test_S11_what_is_not_plausible_is_not_believed(voltage_v: float) -> None:
    assert best_voltage([sample(voltage_v)], BAND_V) is None


@pytest.mark.parametrize("voltages_v", list(permutations([50.0, 51.0, 52.0])))
def test_the_first_one_is_believed_whatever_the_others_say(voltages_v: tuple[float, ...]) -> None:
    samples = [sample(voltage_v, f"mx{port}") for port, voltage_v in enumerate(voltages_v)]

    assert best_voltage(iter(samples), BAND_V) == Reading(voltages_v[0], 7.0, "mx0")


@pytest.mark.parametrize("implausible_v", [0.0, 29.9, 70.1])
def test_S14_the_next_one_is_believed_when_the_first_cannot_be(implausible_v: float) -> None:
    samples = [sample(implausible_v, "fndc3"), sample(implausible_v, "mx2"), sample(50.0, "fx1", 0.4)]

    assert best_voltage(samples, BAND_V) == Reading(50.0, 7.0, "fx1")


def test_S14_the_next_one_is_believed_when_the_first_is_too_coarse() -> None:
    samples = [sample(50.4, "fx1", 0.4), sample(50.3, "mx2", 0.1)]

    assert best_voltage(samples, 0.5) == Reading(50.3, 7.0, "mx2")


@pytest.mark.parametrize(
    ("step_v", "band_v", "is_fine_enough"),
    [
        (0.1, 0.2, True),
        (0.1, 0.19, False),
        (0.4, 0.79, False),
        (0.4, 0.8, True),
        (0.4, 0.81, True),
        (0.4, math.inf, True),
    ],
)
def test_a_source_must_tell_the_ends_of_the_band_apart(step_v: float, band_v: float, is_fine_enough: bool) -> None:
    assert (best_voltage([sample(50.0, step_v=step_v)], band_v) is not None) == is_fine_enough


def test_an_implausible_voltage_is_not_believed_for_being_fine_nor_a_coarse_one_for_being_plausible() -> None:
    assert best_voltage([sample(0.0, step_v=0.1)], 10.0) is None
    assert best_voltage([sample(50.0, step_v=5.1)], 10.0) is None


def test_without_samples_no_voltage_is_known() -> None:
    assert best_voltage([], BAND_V) is None


# What has been the same for too long


@pytest.mark.parametrize("began_s", [0.0, 5.0, 1e6])
def test_T13_the_same_is_stuck_from_exactly_the_limit_on(began_s: float) -> None:
    stuck = Stuck(600.0)

    said = [stuck.watch(20.5, began_s + after_s) for after_s in (0.0, 300.0, 599.999, 600.0, 600.001, 9000.0)]

    assert said == [False, False, False, True, True, True]


def test_T13_anything_else_begins_anew() -> None:
    stuck = Stuck(600.0)
    stuck.watch(20.5, 0.0)
    assert stuck.watch(20.5, 600.0)

    assert not stuck.watch(20.5625, 601.0)
    assert not stuck.watch(20.5625, 1200.999)
    assert stuck.watch(20.5625, 1201.0)


def test_T13_what_comes_back_is_counted_from_when_it_came_back() -> None:
    stuck = Stuck(600.0)
    stuck.watch(20.5, 0.0)
    stuck.watch(20.5625, 599.0)

    assert not stuck.watch(20.5, 600.0)
    assert not stuck.watch(20.5, 1199.0)
    assert stuck.watch(20.5, 1200.0)


def test_T13_silence_is_not_stuck_however_long_it_lasts() -> None:
    stuck = Stuck(600.0)

    assert not stuck.watch(None, 0.0)
    assert not stuck.watch(None, 600.0)
    assert not stuck.watch(None, 1e9)


def test_T13_a_sensor_that_was_silent_for_a_moment_begins_anew() -> None:
    stuck = Stuck(600.0)
    stuck.watch(20.5, 0.0)
    stuck.watch(None, 300.0)

    assert not stuck.watch(20.5, 301.0)
    assert not stuck.watch(20.5, 900.999)
    assert stuck.watch(20.5, 901.0)


def test_S12_pages_are_compared_by_what_they_say() -> None:
    stuck = Stuck(600.0)

    assert not stuck.watch({"mx2": sample(50.1)}, 0.0)
    assert stuck.watch({"mx2": sample(50.1)}, 600.0)
    assert not stuck.watch({"mx2": sample(50.2)}, 601.0)
    assert not stuck.watch({"mx2": sample(50.2), "fx1": sample(50.0)}, 1201.0)


def test_a_limit_of_zero_calls_everything_stuck_but_silence() -> None:
    stuck = Stuck(0.0)

    assert stuck.watch(0.0, 5.0)
    assert not stuck.watch(None, 5.0)
