import json
from dataclasses import dataclass
from typing import Any

import pytest

from contract.alerts import SEVERITY, Alert
from contract.positions import Position, Reason
from contract.store import DECISION_MEASURES, SSR_1, SSR_2
from device.battery_monitor import TimedPage
from device.decide import Decision
from device.health import Health
from device.journal import Entry, Journal
from device.loop import Seen
from device.mate import FndcPage, FxPage, MxPage
from device.override import Override
from device.readings import AcMode, AcReading, Reading, Readings
from device.relays import Levels
from tests.device.bench import state_of
from tests.device.limits import LIMITS


@dataclass
class TurnedByHand:
    """A clock."""

    now_s: float = 500.0
    is_synchronised: bool = True

    def monotonic_s(self) -> float:
        return self.now_s

    def time_ms(self) -> int:
        return 1_700_000_000_000 + round(self.now_s * 1000)

    def synchronised(self) -> bool:
        return self.is_synchronised


class Bench:
    """A journal on a clock that is turned by hand."""

    def __init__(self) -> None:
        self.clock = TurnedByHand()
        self.journal = Journal(self.clock, "boot-1", LIMITS, sample_interval_s=60.0, heartbeat_interval_s=300.0)

    def record(
        self,
        decision: Decision,
        voltage_v: float | None = 51.25,
        temperature_c: float | None = 24.5,
        pages: list[TimedPage] | None = None,
    ) -> Entry:
        readings = Readings(
            None if voltage_v is None else Reading(voltage_v, self.clock.now_s - 0.25, "mx2"),
            None if temperature_c is None else Reading(temperature_c, self.clock.now_s - 1.5, "28-1"),
        )
        return self.journal.record(decision, Seen(readings, pages=tuple(pages or [])))


def decision(position: Position, reason: Reason, *, low: bool = False) -> Decision:
    active = {Alert.BATTERY_LOW: low, Alert.OVER_TEMPERATURE: reason is Reason.OVER_TEMPERATURE}
    return Decision(
        position=position,
        reason=reason,
        alerts=frozenset(alert for alert, is_so in active.items() if is_so),
        override_is_suppressed=False,
        next_change_at_s=None,
        state=state_of(position),
    )


HOLD = decision(Position.BATTERY, Reason.HOLD)
LOW = decision(Position.GRID, Reason.BATTERY_LOW, low=True)._replace(next_change_at_s=2240.5)
LOW_BUT_WAITING = decision(Position.BATTERY, Reason.HOLD, low=True)
RECOVERED = decision(Position.BATTERY, Reason.BATTERY_RECOVERED)
TOO_HOT = decision(Position.BATTERY, Reason.OVER_TEMPERATURE)
TOO_HOT_AND_LOW = decision(Position.BATTERY, Reason.OVER_TEMPERATURE, low=True)


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def parsed(text: str | None) -> dict[str, Any]:
    assert text is not None
    message: dict[str, Any] = json.loads(text, parse_constant=refuse_constant)
    return message


def alerts_of(entry: Entry) -> list[tuple[str, str]]:
    return [(alert["alert"], alert["action"]) for alert in map(parsed, entry.alerts)]


# Samples


def test_the_first_decision_leads_to_a_sample_and_a_heartbeat() -> None:
    entry = Bench().record(HOLD)

    assert entry.sample is not None
    assert entry.heartbeat is not None
    assert entry.alerts == ()


def test_without_a_change_there_is_a_sample_at_each_interval_and_not_before() -> None:
    bench = Bench()
    bench.record(HOLD)

    sampled_at = []
    for second in range(1, 181):
        bench.clock.now_s += 1.0
        if bench.record(HOLD).sample is not None:
            sampled_at.append(second)

    assert sampled_at == [60, 120, 180]


def test_every_change_of_position_or_reason_leads_to_a_sample_at_once() -> None:
    bench = Bench()
    bench.record(HOLD)

    changes = []
    for each in (LOW, RECOVERED, HOLD):
        bench.clock.now_s += 1.0
        changes.append(parsed(bench.record(each).sample))
        bench.clock.now_s += 1.0
        assert bench.record(each).sample is None

    assert [(sample["position"], sample["reason"]) for sample in changes] == [
        ("grid", "battery_low"),
        ("battery", "battery_recovered"),
        ("battery", "hold"),
    ]


def test_a_sample_at_a_change_starts_the_interval_again() -> None:
    bench = Bench()
    bench.record(HOLD)
    bench.clock.now_s += 59.0
    bench.record(LOW)

    bench.clock.now_s += 59.0
    at_59_s = bench.record(LOW)
    bench.clock.now_s += 1.0
    at_60_s = bench.record(LOW)

    assert at_59_s.sample is None
    assert at_60_s.sample is not None


def test_an_entry_is_routine_unless_position_reason_or_an_alert_has_changed() -> None:
    bench = Bench()
    decisions = [HOLD, HOLD, LOW, LOW, RECOVERED, HOLD, HOLD, LOW_BUT_WAITING, LOW_BUT_WAITING]

    entries = []
    for each in decisions:
        entries.append(bench.record(each))
        bench.clock.now_s += 60.0

    assert [entry.is_routine for entry in entries] == [False, True, False, True, False, False, True, False, True]
    assert all(entry.sample is not None for entry in entries)


def test_a_sample_says_what_was_seen_and_decided() -> None:
    bench = Bench()
    bench.clock.is_synchronised = False

    sample = parsed(bench.record(LOW).sample)

    assert sample == {
        "time_ms": 1_700_000_500_000,
        "boot_id": "boot-1",
        "clock_synchronised": False,
        "position": "grid",
        "reason": "battery_low",
        "alerts": ["battery_low"],
        "measures": {
            "battery_voltage_v": 51.25,
            "battery_voltage_age_s": 0.25,
            "box_temperature_c": 24.5,
            "box_temperature_age_s": 1.5,
            "next_change_in_s": 1740.5,
            "battery_low_voltage_v": 49.9,
            "battery_recover_voltage_v": 52.0,
            "over_temperature_trip_c": 35.0,
        },
        "inputs": {"battery_voltage_source": "mx2", "box_temperature_source": "28-1"},
        "devices": {},
        "site": "home",
        "alert_changes": "raised battery_low",
    }


def test_a_sample_names_the_site_of_the_settings() -> None:
    bench = Bench()
    bench.journal = Journal(
        bench.clock, "boot-1", LIMITS, sample_interval_s=60.0, heartbeat_interval_s=300.0, site="cabin"
    )

    assert parsed(bench.record(HOLD).sample)["site"] == "cabin"


def test_the_sample_at_which_the_position_changed_says_where_to_and_why_and_no_other_does() -> None:
    bench = Bench()

    samples = []
    for each in (HOLD, LOW, LOW, RECOVERED, HOLD, TOO_HOT):
        samples.append(parsed(bench.record(each).sample))
        bench.clock.now_s += 60.0

    assert [sample.get("transfer") for sample in samples] == [
        None,
        "grid: battery_low",
        None,
        "battery: battery_recovered",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("was_in", "transfer"),
    [(Position.GRID, "battery: hold"), (Position.BATTERY, None), (None, None)],
    ids=["grid", "battery", "nothing_known"],
)
def test_the_first_sample_says_whether_the_relays_moved_since_the_process_before(
    was_in: Position | None, transfer: str | None
) -> None:
    bench = Bench()
    bench.journal = Journal(
        bench.clock, "boot-1", LIMITS, sample_interval_s=60.0, heartbeat_interval_s=300.0, was_in=was_in
    )

    first, second = bench.record(HOLD), bench.record(LOW)

    assert parsed(first.sample).get("transfer") == transfer
    assert parsed(second.sample)["transfer"] == "grid: battery_low"


def test_a_transfer_whose_sample_could_not_be_made_is_in_the_next_one() -> None:
    bench = Bench()
    bench.record(HOLD)

    with pytest.raises(ValueError, match="not JSON compliant"):
        bench.journal.record(LOW, Seen(Readings(), cloud_cover_percent=float("nan")))
    entry = bench.record(LOW)

    assert parsed(entry.sample)["transfer"] == "grid: battery_low"
    assert not entry.is_routine


def test_the_sample_at_which_alerts_were_raised_or_cleared_says_which() -> None:
    bench = Bench()

    samples = []
    for each in (HOLD, TOO_HOT_AND_LOW, TOO_HOT_AND_LOW, LOW, HOLD):
        samples.append(parsed(bench.record(each).sample))
        bench.clock.now_s += 60.0

    assert [sample.get("alert_changes") for sample in samples] == [
        None,
        "raised battery_low, raised over_temperature",
        None,
        "cleared over_temperature",
        "cleared battery_low",
    ]


def test_what_is_raised_and_cleared_at_once_is_one_text_with_a_word_for_each() -> None:
    bench = Bench()
    bench.record(TOO_HOT)

    assert parsed(bench.record(LOW).sample)["alert_changes"] == "raised battery_low, cleared over_temperature"


@pytest.mark.parametrize(
    ("levels", "measures"),
    [
        ((True, False), {"ssr_1_closed": 1.0, "ssr_2_closed": 0.0}),
        ((False, True), {"ssr_1_closed": 0.0, "ssr_2_closed": 1.0}),
        (None, {}),
    ],
    ids=["first", "second", "unknown"],
)
def test_each_relay_is_shown_as_its_pin_read_back(levels: Levels | None, measures: dict[str, float]) -> None:
    sample = parsed(Bench().journal.record(HOLD, Seen(Readings(), relay_levels=levels)).sample)

    assert {name: value for name, value in sample["measures"].items() if name.startswith("ssr")} == measures


def test_the_temperature_outside_and_the_clouds_are_measures_where_they_are_known() -> None:
    seen = Seen(Readings(), outside_temperature_c=Reading(-3.25, 499.0, "28-2"), cloud_cover_percent=40.0)

    measures = parsed(Bench().journal.record(HOLD, seen).sample)["measures"]

    assert (measures["outside_temperature_c"], measures["cloud_cover_percent"]) == (-3.25, 40.0)


def test_the_inputs_say_where_they_came_from_and_what_is_no_number() -> None:
    now_s = 500.0
    seen = Seen(
        Readings(
            battery_voltage_v=Reading(51.0, now_s, "fndc3"),
            soc_percent=Reading(80.0, now_s, "fndc3"),
            ac=AcReading(AcMode.AC_DROP, now_s, "fx1"),
            is_daylight=False,
        ),
        override=Override(Position.GRID, 0, now_s, now_s + 60.0),
        health=Health(cpu_temperature_c=48.5, under_voltage_now=True),
    )

    sample = parsed(Bench().journal.record(HOLD._replace(override_is_suppressed=True), seen).sample)

    assert sample["inputs"] == {
        "battery_voltage_source": "fndc3",
        "soc_source": "fndc3",
        "ac_mode": "ac_drop",
        "ac_source": "fx1",
        "is_daylight": False,
        "override": "grid",
        "override_is_suppressed": True,
    }
    assert sample["devices"] == {"pi0": {"cpu_temperature_c": 48.5, "under_voltage_now": True}}


@pytest.mark.parametrize(("at_s", "in_s"), [(None, None), (500.0, 0.0), (499.0, 0.0), (560.04, 60.0)])
def test_the_next_change_is_told_in_seconds_from_the_sample(at_s: float | None, in_s: float | None) -> None:
    sample = parsed(Bench().record(HOLD._replace(next_change_at_s=at_s)).sample)

    assert sample["measures"].get("next_change_in_s") == in_s


def test_alerts_that_are_no_decisions_are_told_too() -> None:
    bench = Bench()
    failing = Seen(Readings(), alerts=frozenset({Alert.STORAGE_FAILING}))

    raised = bench.journal.record(HOLD, failing)
    again = bench.journal.record(HOLD, failing)
    cleared = bench.journal.record(HOLD, Seen(Readings()))

    assert alerts_of(raised) == [("storage_failing", "raise")]
    assert parsed(raised.sample)["alerts"] == parsed(raised.heartbeat)["alerts"] == ["storage_failing"]
    assert alerts_of(again) == []
    assert alerts_of(cleared) == [("storage_failing", "clear")]


def test_P4_what_was_refused_failed_or_dropped_is_counted_among_the_pis_own_measures() -> None:
    seen = Seen(Readings(), counts={"pages_refused": 3, "samples_dropped": 0})

    sample = parsed(Bench().journal.record(HOLD, seen).sample)

    assert sample["devices"] == {"pi0": {"pages_refused": 3, "samples_dropped": 0}}


def test_what_a_process_before_has_raised_is_cleared_by_this_one_once_it_has_had_time_to_look() -> None:
    bench = Bench()
    bench.journal = Journal(
        bench.clock,
        "boot-1",
        LIMITS,
        sample_interval_s=60.0,
        heartbeat_interval_s=300.0,
        raised={Alert.THERMOMETER_LOST: None, Alert.BATTERY_LOW: 1_700_000_000_000},
    )

    at_once = bench.record(LOW)
    bench.clock.now_s += 299.0
    before = bench.record(LOW)
    bench.clock.now_s += 1.0
    after = bench.record(LOW)
    later = bench.record(HOLD)

    assert alerts_of(at_once) == alerts_of(before) == []
    assert parsed(at_once.sample)["alerts"] == ["battery_low", "thermometer_lost"]
    assert alerts_of(after) == [("thermometer_lost", "clear")]
    assert alerts_of(later) == [("battery_low", "clear")]
    assert "raised_ms" not in parsed(after.alerts[0])
    assert parsed(later.alerts[0])["raised_ms"] == 1_700_000_000_000
    assert bench.journal.raised == {}


def test_what_ails_the_pi_is_said_in_the_alert() -> None:
    seen = Seen(Readings(), alerts=frozenset({Alert.PI_HEALTH}), health=Health(under_voltage_now=True))

    (alert,) = Bench().journal.record(HOLD, seen).alerts

    assert "The Pi is not well (under-voltage: the Pi gets less than 4.63 V)" in parsed(alert)["summary"]


@pytest.mark.parametrize("alert", Alert)
def test_every_alert_has_its_words_and_its_severity(alert: Alert) -> None:
    bench = Bench()

    raised = parsed(bench.record(HOLD._replace(alerts=frozenset({alert}))).alerts[0])
    cleared = parsed(bench.record(HOLD).alerts[0])

    assert raised["severity"] == cleared["severity"] == SEVERITY[alert]
    assert raised["summary"] != cleared["summary"]
    assert "51.2 V" in raised["summary"] or "51.3 V" in raised["summary"]


def test_what_is_not_known_is_absent() -> None:
    sample = parsed(Bench().record(HOLD, voltage_v=None, temperature_c=None).sample)

    assert sample["measures"].keys() == {
        "battery_low_voltage_v",
        "battery_recover_voltage_v",
        "over_temperature_trip_c",
    }


def test_T6_a_box_at_zero_degrees_is_a_measure() -> None:
    sample = parsed(Bench().record(HOLD, temperature_c=0.0).sample)

    assert sample["measures"]["box_temperature_c"] == 0.0


# What devices say


def fx(**changed: Any) -> FxPage:  # noqa: ANN401 - any field of a page
    fields: dict[str, Any] = {
        "port": 1,
        "battery_voltage_v": 51.2,
        "inverter_current_a": 5.0,
        "charger_current_a": 0.0,
        "buy_current_a": 0.0,
        "sell_current_a": 0.0,
        "ac_input_voltage_v": 0.0,
        "ac_output_voltage_v": 120.0,
        "operating_mode": "inverter_on",
        "ac_mode": "no_ac",
        "errors": (),
        "warnings": (),
        "aux_on": False,
    }
    return FxPage(**fields | changed)


def mx(port: int = 2, **changed: Any) -> MxPage:  # noqa: ANN401 - any field of a page
    fields: dict[str, Any] = {
        "port": port,
        "battery_voltage_v": 51.3,
        "charger_current_a": 8.5,
        "pv_current_a": 6.0,
        "pv_voltage_v": 75.0,
        "daily_kwh": 1.5,
        "daily_ah": None,
        "charger_mode": "bulk",
        "aux_mode": "manual",
        "aux_on": True,
        "errors": (),
    }
    return MxPage(**fields | changed)


def fndc(**changed: Any) -> FndcPage:  # noqa: ANN401 - any field of a page
    fields: dict[str, Any] = {
        "port": 3,
        "battery_voltage_v": 51.4,
        "shunt_a_current_a": -12.3,
        "shunt_b_current_a": 8.6,
        "shunt_c_current_a": None,
        "soc_percent": 83.0,
        "battery_temperature_c": None,
        "charge_parameters_met": False,
        "relay_bit_2": False,
        "relay_bit_4": False,
        "extra": "shunt_a_ah",
        "extra_value": 42.0,
    }
    return FndcPage(**fields | changed)


def measures_of(*pages: FxPage | MxPage | FndcPage) -> dict[str, float]:
    sample = parsed(Bench().record(HOLD, pages=[TimedPage(page, 499.0) for page in pages]).sample)
    measures: dict[str, float] = sample["measures"]
    return measures


def test_each_device_has_its_own_measures_without_what_it_does_not_know() -> None:
    pages = [TimedPage(fx(errors=("low_battery", "stacking")), 499.0), TimedPage(mx(), 499.0), TimedPage(fndc(), 499.0)]

    devices = parsed(Bench().record(HOLD, pages=pages).sample)["devices"]

    assert devices.keys() == {"fx1", "mx2", "fndc3"}
    assert devices["fx1"]["operating_mode"] == "inverter_on"
    assert devices["fx1"]["errors"] == "low_battery,stacking"
    assert devices["fx1"]["aux_on"] is False
    assert devices["mx2"]["charger_current_a"] == 8.5
    assert devices["fndc3"]["shunt_a_current_a"] == -12.3
    for absent in ("device", "port", "warnings", "daily_ah", "shunt_c_current_a", "battery_temperature_c"):
        assert all(absent not in measures for measures in devices.values())


def test_pv_power_is_the_sum_over_the_charge_controllers() -> None:
    assert measures_of(mx(2), mx(4, pv_current_a=2.0, pv_voltage_v=50.0))["pv_power_w"] == 6.0 * 75.0 + 100.0
    assert measures_of(mx(pv_current_a=0.0))["pv_power_w"] == 0.0
    assert "pv_power_w" not in measures_of(fx())


def test_the_load_of_an_inverting_fx_is_what_it_makes() -> None:
    assert measures_of(fx())["load_power_w"] == 600.0
    assert measures_of(fx(), fx(port=4, inverter_current_a=1.0))["load_power_w"] == 720.0
    assert "load_power_w" not in measures_of(mx(), fndc())


def test_the_load_of_an_fx_on_grid_is_what_it_buys_but_for_its_charger() -> None:
    passing_through = fx(
        inverter_current_a=0.0,
        buy_current_a=9.0,
        charger_current_a=4.0,
        ac_input_voltage_v=118.0,
        ac_mode="ac_use",
        operating_mode="pass_through",
    )

    assert measures_of(passing_through)["load_power_w"] == 5.0 * 118.0


def test_a_charger_that_takes_more_than_is_bought_makes_no_negative_load() -> None:
    rounding = fx(
        inverter_current_a=0.0, buy_current_a=4.0, charger_current_a=5.0, ac_input_voltage_v=118.0, ac_mode="ac_use"
    )

    assert measures_of(rounding)["load_power_w"] == 0.0


def test_ac_that_the_inverter_drops_feeds_no_load() -> None:
    dropped = fx(buy_current_a=9.0, ac_input_voltage_v=118.0, ac_mode="ac_drop")

    assert measures_of(dropped)["load_power_w"] == 600.0


def test_the_battery_current_is_the_signed_sum_of_the_fitted_shunts() -> None:
    assert measures_of(fndc())["battery_current_a"] == -3.7
    assert measures_of(fndc())["soc_percent"] == 83.0
    none_fitted = measures_of(fndc(shunt_a_current_a=None, shunt_b_current_a=None))
    assert "battery_current_a" not in none_fitted
    assert "soc_percent" not in measures_of(mx())


def test_every_measure_of_a_sample_is_one_that_the_store_knows() -> None:
    seen = Seen(
        Readings(Reading(51.0, 499.0, "mx2"), Reading(24.0, 499.0, "28-1")),
        pages=tuple(TimedPage(page, 499.0) for page in (fx(), mx(), fndc())),
        outside_temperature_c=Reading(10.0, 499.0, "28-2"),
        cloud_cover_percent=40.0,
        relay_levels=(False, False),
    )

    measures = parsed(Bench().journal.record(HOLD._replace(next_change_at_s=600.0), seen).sample)["measures"]

    assert measures.keys() == {*DECISION_MEASURES, SSR_1, SSR_2}


def test_I6_a_measure_that_is_not_finite_is_never_published() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        measures_of(mx(pv_voltage_v=float("nan")))


# The heartbeat


def test_there_is_a_heartbeat_at_each_interval_and_not_before() -> None:
    bench = Bench()
    bench.record(HOLD)

    beats = {}
    for second in range(1, 601):
        bench.clock.now_s += 1.0
        entry = bench.record(LOW if second > 100 else HOLD)
        if entry.heartbeat is not None:
            beats[second] = parsed(entry.heartbeat)

    assert beats.keys() == {300, 600}
    assert beats[300]["decision_count"] == 301
    assert beats[600]["decision_count"] == 601
    assert (beats[300]["position"], beats[300]["reason"]) == ("grid", "battery_low")


def test_a_heartbeat_says_how_old_each_reading_is() -> None:
    heartbeat = parsed(Bench().record(HOLD).heartbeat)

    assert heartbeat == {
        "schema": 1,
        "time_ms": 1_700_000_500_000,
        "boot_id": "boot-1",
        "clock_synchronised": True,
        "decision_count": 1,
        "position": "battery",
        "reason": "hold",
        "alerts": [],
        "reading_ages_s": {"battery_voltage": 0.25, "box_temperature": 1.5},
    }


def test_a_heartbeat_says_nothing_about_a_reading_that_there_is_not() -> None:
    assert parsed(Bench().record(HOLD, voltage_v=None).heartbeat)["reading_ages_s"] == {"box_temperature": 1.5}
    assert parsed(Bench().record(HOLD, None, None).heartbeat)["reading_ages_s"] == {}


# Alerts


def test_an_alert_is_raised_once_and_cleared_once() -> None:
    bench = Bench()

    entries = [bench.record(each) for each in (HOLD, LOW, LOW, LOW, RECOVERED, RECOVERED, HOLD)]

    assert [alerts_of(entry) for entry in entries] == [
        [],
        [("battery_low", "raise")],
        [],
        [],
        [("battery_low", "clear")],
        [],
        [],
    ]
    assert [parsed(entry.sample)["alerts"] for entry in entries if entry.sample] == [[], ["battery_low"], [], []]


def test_what_clears_an_alert_names_when_it_was_raised() -> None:
    bench = Bench()
    raised = parsed(bench.record(LOW).alerts[0])
    kept = bench.journal.raised
    bench.clock.now_s += 100.0

    cleared = parsed(bench.record(HOLD).alerts[0])

    assert raised["raised_ms"] == cleared["raised_ms"] == raised["time_ms"] == cleared["time_ms"] - 100_000
    assert kept == {Alert.BATTERY_LOW: raised["time_ms"]}


def test_heat_and_a_low_battery_are_alerts_of_their_own() -> None:
    bench = Bench()

    entries = [bench.record(each) for each in (TOO_HOT, TOO_HOT_AND_LOW, LOW, HOLD)]

    assert [alerts_of(entry) for entry in entries] == [
        [("over_temperature", "raise")],
        [("battery_low", "raise")],
        [("over_temperature", "clear")],
        [("battery_low", "clear")],
    ]


def test_alerts_of_one_decision_come_raised_first() -> None:
    bench = Bench()
    bench.record(TOO_HOT)

    assert alerts_of(bench.record(LOW)) == [("battery_low", "raise"), ("over_temperature", "clear")]


def test_an_alert_without_a_change_of_position_leads_to_a_sample() -> None:
    bench = Bench()
    bench.record(HOLD)

    entry = bench.record(LOW_BUT_WAITING)

    assert alerts_of(entry) == [("battery_low", "raise")]
    assert parsed(entry.sample)["alerts"] == ["battery_low"]


@pytest.mark.parametrize(
    ("before", "after", "voltage_v", "temperature_c", "summary"),
    [
        (HOLD, LOW, 49.84, 20.0, "Shed battery is low at 49.8 V: running on grid"),
        (HOLD, LOW_BUT_WAITING, 49.5, 20.0, "Shed battery is low at 49.5 V: relays open, running on battery"),
        (LOW, RECOVERED, 52.0, 20.0, "Shed battery has recovered at 52.0 V: relays open, running on battery"),
        (LOW, RECOVERED, None, None, "Shed battery has recovered: relays open, running on battery"),
        (
            HOLD,
            TOO_HOT,
            51.0,
            35.0,
            "Shed box is too hot at 95 F (35.0 C): relays open, running on battery at 51.0 V",
        ),
        (TOO_HOT, HOLD, None, 30.0, "Shed box has cooled at 86 F (30.0 C): relays open, running on battery"),
        (HOLD, TOO_HOT, None, None, "Shed box is too hot: relays open, running on battery"),
    ],
)
def test_an_alert_says_in_words_what_is_so(
    before: Decision, after: Decision, voltage_v: float | None, temperature_c: float | None, summary: str
) -> None:
    bench = Bench()
    bench.record(before)

    (alert,) = bench.record(after, voltage_v, temperature_c).alerts

    assert parsed(alert)["summary"] == summary


def test_an_alert_follows_the_contract() -> None:
    bench = Bench()

    (alert,) = bench.record(LOW, 49.8, None).alerts

    assert parsed(alert) == {
        "schema": 1,
        "raised_ms": 1_700_000_500_000,
        "time_ms": 1_700_000_500_000,
        "boot_id": "boot-1",
        "clock_synchronised": True,
        "alert": Alert.BATTERY_LOW,
        "action": "raise",
        "severity": "warning",
        "summary": "Shed battery is low at 49.8 V: running on grid",
        "details": {"position": "grid", "reason": "battery_low", "battery_voltage_v": 49.8},
    }


def test_C3_two_samples_of_one_millisecond_have_times_of_their_own() -> None:
    bench = Bench()

    first = bench.record(decision(Position.GRID, Reason.BATTERY_LOW))
    second = bench.record(decision(Position.BATTERY, Reason.STOPPED))

    assert first.sample is not None
    assert second.sample is not None
    assert json.loads(second.sample)["time_ms"] == json.loads(first.sample)["time_ms"] + 1
