import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.telemetry.points import Point, points_of
from contract.alerts import Alert
from contract.messages import MessageError, encode
from contract.store import ALERT_CHANGES, DECISION, DECISION_MEASURES, SSR_1, SSR_2, TRANSFER, Type
from tests.cloud.telemetry.columns import columns

Json = dict[str, Any]

TIME_MS = 1732360000000


def sample(**changes: object) -> Json:
    return {
        "time_ms": TIME_MS,
        "sequence": 17,
        "boot_id": "4f1d",
        "clock_synchronised": True,
        "position": "grid",
        "reason": "battery_low",
        "alerts": ["battery_low"],
        "measures": {"battery_voltage_v": 49.8},
        "devices": {},
        **changes,
    }


def message(*samples: object, **changes: object) -> Json:
    return {**columns(*(samples or [sample()])), "thing": "shed", **changes}


def only_point(**changes: object) -> Point:
    (point,) = points_of(message(sample(**changes)))
    return point


def refusal(content: object) -> str:
    with pytest.raises(MessageError) as error:
        points_of(content)
    return str(error.value)


def without(name: str) -> Json:
    return {member: value for member, value in sample().items() if member != name}


# What becomes of a good message


def test_a_sample_becomes_the_decision_and_a_point_of_each_device() -> None:
    devices = {"mx2": {"pv_power_w": 310.0, "charger_mode": "bulk"}, "fx10": {"aux_on": False}}

    decision, mx, fx = points_of(message(sample(devices=devices)))

    assert decision == Point(
        thing="shed",
        source="control",
        measure="decision",
        time_ms=TIME_MS,
        version=17,
        values={
            "battery_voltage_v": 49.8,
            "position": "grid",
            "reason": "battery_low",
            "on_grid": 1.0,
            "alerts": "battery_low",
            "boot_id": "4f1d",
            "clock_synchronised": True,
            "sequence": 17,
        },
        site="home",
    )
    assert mx == Point("shed", "mx2", "mx", TIME_MS, 17, {"pv_power_w": 310.0, "charger_mode": "bulk"})
    assert fx == Point("shed", "fx10", "fx", TIME_MS, 17, {"aux_on": False})


def test_a_whole_number_of_volts_stays_a_float() -> None:
    # Rule SQL turns 54.0 into 54.
    content = encode(message(sample(measures={"battery_voltage_v": 54}, devices={"mx2": {"pv_power_w": 0}})))

    decision, mx = points_of(json.loads(content))

    assert type(decision.values["battery_voltage_v"]) is float
    assert type(mx.values["pv_power_w"]) is float


@given(
    st.dictionaries(
        st.sampled_from(DECISION_MEASURES),
        st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_every_physical_value_is_a_float(measures: dict[str, float]) -> None:
    decision, mx = points_of(message(sample(measures=measures, devices={"mx2": {"x": 0, **measures}})))

    assert {name: decision.values[name] for name in measures} == {n: float(v) for n, v in measures.items()}
    assert {type(value) for value in mx.values.values()} == {float}
    assert {type(decision.values[name]) for name in measures} <= {float}


def test_several_samples_keep_their_order() -> None:
    samples = [sample(sequence=sequence, time_ms=TIME_MS + sequence) for sequence in (3, 1, 2)]

    assert [point.version for point in points_of(message(*samples))] == [3, 1, 2]


def test_a_message_without_samples_has_no_points() -> None:
    assert points_of({"schema": 2, "thing": "shed", "shared": {}, "fields": [], "samples": []}) == []


def test_members_that_are_not_known_are_ignored() -> None:
    later = message(sample(added_later={"a": [1]}), note="of a newer device")

    assert points_of(later) == points_of(message())


@pytest.mark.parametrize("devices", [{}, {"mx2": {}}])
def test_a_device_that_says_nothing_makes_no_point(devices: Json) -> None:
    assert only_point(devices=devices).source == "control"


def test_a_sample_without_devices_is_a_decision_only() -> None:
    (point,) = points_of(message(without("devices")))

    assert point.source == "control"


def test_a_measure_cannot_stand_for_what_the_decision_says() -> None:
    assert only_point(measures={"position": 1.0, "sequence": 4.0}).values["position"] == "grid"
    assert only_point(measures={"position": 1.0, "sequence": 4.0}).values["sequence"] == 17


def test_active_alerts_are_one_text_and_absent_when_there_are_none() -> None:
    # The store takes no empty text.
    assert "alerts" not in only_point(alerts=[]).values
    assert only_point(alerts=list(Alert)).values["alerts"] == ",".join(Alert)


def test_points_of_another_sequence_are_the_same_point_in_another_version() -> None:
    earlier, later = points_of(message(sample(sequence=17), sample(sequence=18)))

    assert earlier.key == later.key
    assert (earlier.version, later.version) == (17, 18)


def test_every_point_has_the_samples_site_and_home_where_it_names_none() -> None:
    devices = {"mx2": {"pv_power_w": 310.0}}

    named = points_of(message(sample(site="cabin-2", devices=devices)))
    unnamed = points_of(message(sample(devices=devices)))

    assert [point.site for point in named] == ["cabin-2", "cabin-2"]
    assert [point.site for point in unnamed] == ["home", "home"]
    assert not {point.key for point in named} & {point.key for point in unnamed}


@pytest.mark.parametrize(("position", "on_grid"), [("grid", 1.0), ("battery", 0.0)])
def test_being_on_grid_is_a_number_that_can_be_averaged(position: str, on_grid: float) -> None:
    value = only_point(position=position, measures={"on_grid": 0.5}).values["on_grid"]

    assert (type(value), value) == (float, on_grid)


@pytest.mark.parametrize("is_daylight", [True, False])
def test_daylight_is_stored_where_it_was_known(is_daylight: bool) -> None:
    assert only_point(inputs={"is_daylight": is_daylight}).values["is_daylight"] is is_daylight


@pytest.mark.parametrize("inputs", [{}, {"is_daylight": 1}, {"is_daylight": "yes"}, {"is_daylight": []}, [], "x"])
def test_daylight_that_is_neither_true_nor_false_is_not_known(inputs: object) -> None:
    assert "is_daylight" not in only_point(inputs=inputs).values


def test_a_transfer_and_changes_of_alerts_are_texts_in_the_sample_that_has_them() -> None:
    values = only_point(transfer="grid: battery_low", alert_changes="raised battery_low, cleared pi_health").values

    assert values[TRANSFER] == "grid: battery_low"
    assert values[ALERT_CHANGES] == "raised battery_low, cleared pi_health"
    assert not {TRANSFER, ALERT_CHANGES} & only_point().values.keys()


def test_all_alerts_that_there_are_may_change_at_once() -> None:
    changes = ", ".join(f"cleared {alert}" for alert in Alert)

    assert only_point(alert_changes=changes).values[ALERT_CHANGES] == changes


def test_what_a_sample_may_hold_has_the_type_of_its_column() -> None:
    measures = dict.fromkeys((*DECISION_MEASURES, SSR_1, SSR_2), 1)
    changes = {"transfer": "grid: battery_low", "alert_changes": "raised battery_low"}

    values = only_point(measures=measures, inputs={"is_daylight": True}, **changes).values

    of_type = {float: Type.DOUBLE, str: Type.VARCHAR, bool: Type.BOOLEAN, int: Type.BIGINT}
    assert {name: of_type[type(value)] for name, value in values.items()} == DECISION


# Bounds


@pytest.mark.parametrize("sequence", [1, 2**63 - 1])
def test_a_sequence_of_63_bits_is_the_version(sequence: int) -> None:
    assert only_point(sequence=sequence).version == sequence


@pytest.mark.parametrize("sequence", [0, -1, 2**63, 1.0, "1", True, None])
def test_another_sequence_is_refused(sequence: object) -> None:
    assert "sequence" in refusal(message(sample(sequence=sequence)))


@pytest.mark.parametrize("time_ms", [0, 2**43])
def test_a_time_from_1970_on_is_taken(time_ms: int) -> None:
    assert only_point(time_ms=time_ms).time_ms == time_ms


@pytest.mark.parametrize("time_ms", [-1, 2**43 + 1, 1732360000000.0, "1732360000000", True, None])
def test_another_time_is_refused(time_ms: object) -> None:
    assert "time_ms" in refusal(message(sample(time_ms=time_ms)))


def test_the_largest_time_fits_the_store() -> None:
    # It counts nanoseconds in 63 bits.
    assert only_point(time_ms=2**43).time_ms * 10**6 < 2**63


@pytest.mark.parametrize("member", ["position", "reason", "boot_id"])
def test_a_text_has_1_to_256_characters(member: str) -> None:
    for length in (1, 256):
        assert only_point(**{member: "x" * length}).values[member] == "x" * length
    for length in (0, 257):
        assert member in refusal(message(sample(**{member: "x" * length})))


@pytest.mark.parametrize(("member", "most"), [(TRANSFER, 256), (ALERT_CHANGES, 1024)])
def test_what_has_happened_is_a_text_of_bounded_length(member: str, most: int) -> None:
    assert only_point(**{member: "x" * most}).values[member] == "x" * most
    wrongs: list[object] = ["", "x" * (most + 1), "a\nb", 5, True, ["x"], {}]
    for wrong in wrongs:
        assert member in refusal(message(sample(**{member: wrong})))


# What is refused


@pytest.mark.parametrize("schema", [0, 1, 3, "2", None, [2]])
def test_L20_another_schema_is_refused(schema: object) -> None:
    assert "schema" in refusal(message(schema=schema))


@pytest.mark.parametrize("value", [True, False, "54.0", [54.0], {}])
def test_a_measure_that_is_no_number_is_refused(value: object) -> None:
    assert "battery_voltage_v" in refusal(message(sample(measures={"battery_voltage_v": value})))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
@pytest.mark.parametrize("where", ["measures", "devices"])
def test_D6_a_number_that_is_not_finite_is_refused(where: str, text: str) -> None:
    values = '{"pv_power_w": %s}' % text  # noqa: UP031 - braces are JSON's here
    content = values if where == "measures" else f'{{"mx2": {values}}}'

    # json.loads takes all of these.
    assert "pv_power_w" in refusal(message(sample(**{where: json.loads(content)})))


@pytest.mark.parametrize("thing", ["", "a/b", "../x", "shed+", "#", "s" * 65, "shed\n", "shéd", 5, None, ["shed"]])
def test_a_thing_name_that_is_no_thing_name_is_refused(thing: object) -> None:
    assert "thing" in refusal(message(thing=thing))


@pytest.mark.parametrize("site", ["", "a/b", "../x", "#", "s" * 65, "home\n", "hôme", 5, True, ["home"], {}])
def test_a_site_that_is_no_name_is_refused(site: object) -> None:
    assert "site" in refusal(message(sample(), sample(site=site)))


@pytest.mark.parametrize(
    "source",
    ["", "mx", "2", "MX2", "mx123", "mx-2", "mx2/..", "../mx2", "mx2\n", "mx²", "mx٣", "control", "x" * 40 + "2"],
)
def test_a_source_that_is_no_kind_and_port_is_refused(source: str) -> None:
    assert "devices has" in refusal(message(sample(devices={source: {"pv_power_w": 1.0}})))


@pytest.mark.parametrize("name", ["", "V", "1v", "_v", "v-x", "v x", "v\n", "ü", 'v"; DROP', "v" * 65])
@pytest.mark.parametrize("where", ["measures", "devices"])
def test_a_measure_of_a_hostile_name_is_refused(where: str, name: str) -> None:
    content = {name: 1.0} if where == "measures" else {"mx2": {name: 1.0}}

    assert "a lower-case name" in refusal(message(sample(**{where: content})))


@pytest.mark.parametrize("name", ["time", "measure_name", "measure_value", "ts_version", "site", "thing", "source"])
@pytest.mark.parametrize("where", ["measures", "devices"])
def test_a_measure_named_as_the_stores_own_columns_is_refused(where: str, name: str) -> None:
    content = {name: 1.0} if where == "measures" else {"mx2": {name: 1.0}}

    assert name in refusal(message(sample(**{where: content})))


@pytest.mark.parametrize("text", ["", "\ud800", "a\0", "a\nb", "\x7f", "\u202e"])
def test_L21_a_text_that_is_empty_or_not_printable_is_refused(text: str) -> None:
    for member in ("position", "reason", "boot_id"):
        assert member in refusal(message(sample(**{member: text})))
    assert "alert" in refusal(message(sample(alerts=[text])))
    assert "charger_mode" in refusal(message(sample(devices={"mx2": {"charger_mode": text}})))


def test_more_alerts_than_the_store_takes_are_refused() -> None:
    assert "alerts" in refusal(message(sample(alerts=["battery_low"] * 1000)))


@pytest.mark.parametrize("member", ["time_ms", "sequence", "boot_id", "clock_synchronised", "position", "reason"])
def test_a_sample_without_a_required_member_is_refused(member: str) -> None:
    assert member in refusal(message(without(member)))


@pytest.mark.parametrize("flag", [1, 0, "true", None])
def test_a_flag_is_true_or_false(flag: object) -> None:
    assert "clock_synchronised" in refusal(message(sample(clock_synchronised=flag)))


@pytest.mark.parametrize("other", [1, "x", []])
def test_what_is_no_object_where_one_belongs_is_refused(other: object) -> None:
    for content in (other, message(sample(measures=other)), message(sample(devices=other))):
        assert "is not an object" in refusal(content)


@pytest.mark.parametrize("other", [None, 1, "x", {}])
def test_what_is_no_list_where_one_belongs_is_refused(other: object) -> None:
    assert "samples is not a list" in refusal(message(samples=other))
    assert "a sample is not a list" in refusal(message(samples=[other]))
    assert "alerts is not a list" in refusal(message(sample(alerts=other)))


def test_a_sample_without_measures_is_refused_and_a_measure_that_is_null_is_none() -> None:
    assert "measures is not an object" in refusal(message(without("measures")))
    assert "battery_voltage_v" not in only_point(measures={"battery_voltage_v": None, "soc_percent": 80.0}).values


def test_one_bad_sample_refuses_the_whole_message() -> None:
    refusal(message(sample(), sample(position=None)))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def raises_nothing_but_message_errors(content: object) -> None:
    try:
        points = points_of(content)
    except MessageError:
        return
    assert all(isinstance(point, Point) and point.values for point in points)


@given(ANYTHING)
def test_arbitrary_json_raises_nothing_but_a_message_error(content: object) -> None:
    raises_nothing_but_message_errors(content)


@given(st.sampled_from(sorted(sample())), ANYTHING)
def test_a_sample_with_one_arbitrary_member_raises_nothing_but_a_message_error(member: str, value: object) -> None:
    raises_nothing_but_message_errors(message(sample(**{member: value})))


@given(st.dictionaries(st.sampled_from(["mx2", "fx0", "fndc1"]) | st.text(max_size=4), ANYTHING, max_size=2))
def test_arbitrary_devices_raise_nothing_but_a_message_error(devices: Json) -> None:
    raises_nothing_but_message_errors(message(sample(devices=devices)))
