import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.messages import MAX_DEPTH, MessageError, decode_telemetry, encode_telemetry
from tests.device.minutes import as_objects

Json = dict[str, Any]

NAMES = st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), max_size=5)
SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
SAMPLES = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS | st.lists(SCALARS | st.none(), max_size=3),
        lambda inner: st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def decoded(text: str) -> list[Json]:
    return decode_telemetry(json.loads(text))


def message(fields: object, *rows: object) -> Json:
    return {"schema": 2, "shared": {}, "fields": fields, "samples": list(rows)}


@given(st.lists(SAMPLES, max_size=4))
def test_what_was_encoded_comes_back_whatever_the_samples_have_in_common(samples: list[Json]) -> None:
    if all(depth_of(sample) <= MAX_DEPTH for sample in samples):
        assert decoded(encode_telemetry(samples)) == samples


def depth_of(value: object) -> int:
    return 1 + max(map(depth_of, value.values()), default=0) if isinstance(value, dict) else 0


def test_names_and_what_is_in_all_samples_are_said_once_and_other_values_stand_in_columns() -> None:
    samples = [
        {
            "boot_id": "4f1d",
            "time_ms": 1,
            "measures": {"battery_voltage_v": 49.8},
            "alerts": [],
            "devices": {"mx2": {"aux_on": True}},
        },
        {"boot_id": "4f1d", "time_ms": 2, "measures": {}, "alerts": ["battery_low"], "position": "grid"},
    ]

    assert json.loads(encode_telemetry(samples)) == {
        "schema": 2,
        "shared": {"boot_id": "4f1d"},
        "fields": [
            "time_ms",
            "measures.battery_voltage_v",
            "alerts",
            "devices.mx2.aux_on",
            "measures",
            "position",
        ],
        "samples": [[1, 49.8, [], True, None, None], [2, None, ["battery_low"], None, {}, "grid"]],
    }


def test_what_is_not_known_is_left_out() -> None:
    assert decoded(encode_telemetry([{"a": None, "b": 1, "c": {"d": None}}])) == [{"b": 1}]


def test_a_message_without_samples_has_none() -> None:
    assert decoded(encode_telemetry([])) == []
    assert decoded(encode_telemetry([{}, {}])) == [{}, {}]


def test_three_days_of_realistic_samples_go_over_the_line_in_five_seconds() -> None:
    hundred = as_objects(100)

    size_bytes = len(encode_telemetry(hundred).encode())

    # 512 KB a second for five seconds, for 4320 samples.
    assert size_bytes / 100 <= 450
    assert decoded(encode_telemetry(hundred)) == hundred


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": float("-inf")}])
def test_I6_a_number_that_is_not_finite_is_never_encoded(value: object) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        encode_telemetry([{"v": value}])


def test_a_name_with_a_dot_is_refused_because_it_would_come_back_as_two() -> None:
    with pytest.raises(MessageError, match=r"'a\.b' holds a dot"):
        encode_telemetry([{"devices": {"a.b": 1}}])


@pytest.mark.parametrize(("depth", "is_taken"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_objects_are_nested_only_so_deep(depth: int, is_taken: bool) -> None:
    sample: Json = {"v": 1}
    for _ in range(depth - 1):
        sample = {"o": sample}
    path = ".".join(["o"] * (depth - 1) + ["v"])

    if is_taken:
        assert decoded(encode_telemetry([sample])) == [sample]
    else:
        with pytest.raises(MessageError, match="nested deeper"):
            encode_telemetry([sample])
        with pytest.raises(MessageError, match="a path of more than"):
            decode_telemetry(message([path], [1]))


@pytest.mark.parametrize("schema", [0, 1, 3, True, "2", None, [2]])
def test_L20_another_schema_is_refused(schema: object) -> None:
    with pytest.raises(MessageError, match="this code knows 2"):
        decode_telemetry({"schema": schema, "fields": [], "samples": []})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"schema": 2, "fields": [], "samples": []}, "shared is not an object"),
        (message([]) | {"shared": [1]}, "shared is not an object"),
        (message(["a"], [1]) | {"shared": {"a": 1}}, "the same path is named twice"),
        (message(["a.b"], [1]) | {"shared": {"a": 1}}, "a.b clashes"),
        (message([], []) | {"shared": {"a": {"b": 1}}}, "a is an object"),
        (message(None), "fields is not a list of texts"),
        (message({"a": 1}), "fields is not a list of texts"),
        (message("ab", [1, 2]), "fields is not a list of texts"),
        (message(["a", 1], [1, 2]), "fields is not a list of texts"),
        (message(["a", "a"], [1, 2]), "the same path is named twice"),
        ({"schema": 2, "shared": {}, "fields": []}, "samples is not a list"),
        ({"schema": 2, "shared": {}, "fields": [], "samples": {}}, "samples is not a list"),
        (message(["a"], {"a": 1}), "not a list of 1 values"),
        (message(["a"], "x"), "not a list of 1 values"),
        (message(["a"], [1], [1, 2]), "not a list of 1 values"),
        (message(["a"], []), "not a list of 1 values"),
        (message(["a", "a.b"], [1, 2]), "a.b clashes"),
        (message(["a", "a.b"], [{}, 2]), "a.b clashes"),
        (message(["a", "a.b"], [[], 2]), "a.b clashes"),
        (message(["a.b", "a"], [1, {}]), "a clashes"),
        (message(["a.b", "a"], [1, 2]), "a clashes"),
        (message(["a.b.c", "a.b"], [1, 2]), "a.b clashes"),
        (message(["a"], [{"b": 1}]), "a is an object"),
    ],
)
def test_L20_what_is_malformed_is_refused_whole(content: Json, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        decode_telemetry(content)


@pytest.mark.parametrize("values", [(1, True), (1, 1.0), (0.0, -0.0), ([1], [True]), ("1", 1)])
def test_what_only_looks_the_same_is_not_shared(values: tuple[object, object]) -> None:
    samples = [{"v": value} for value in values]

    assert repr(decoded(encode_telemetry(samples))) == repr(samples)


def test_what_is_shared_is_in_every_sample_even_where_nothing_else_is() -> None:
    samples: list[Json] = [{"alerts": [], "inputs": {"ac_mode": "no_ac"}}] * 3

    assert decoded(encode_telemetry(samples)) == samples


def test_a_path_and_one_through_it_may_take_turns() -> None:
    content = message(["devices", "devices.mx2.aux_on"], [{}, None], [None, True], [None, None])

    assert decode_telemetry(content) == [{"devices": {}}, {"devices": {"mx2": {"aux_on": True}}}, {}]


def test_members_that_are_not_known_are_ignored() -> None:
    assert decode_telemetry({**message(["a"], [1]), "note": "of a newer device"}) == [{"a": 1}]


ANYTHING = st.recursive(
    st.none() | SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=8
)


@given(ANYTHING, ANYTHING, ANYTHING)
def test_arbitrary_json_raises_nothing_but_a_message_error(shared: object, fields: object, rows: object) -> None:
    try:
        samples = decode_telemetry({"schema": 2, "shared": shared, "fields": fields, "samples": rows})
    except MessageError:
        return
    assert all(isinstance(sample, dict) for sample in samples)
