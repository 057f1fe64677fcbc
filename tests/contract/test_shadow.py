import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.shadow import MAX_ANSWER_BYTES, Mode, ShadowError, Wish, ignored, parse, wish_of

UNTIL = 1_795_460_000


@pytest.mark.parametrize("mode", ["grid", "battery", "auto"])
def test_a_wish_is_read_as_it_was_written(mode: str) -> None:
    written = {"mode": mode, "until": UNTIL}

    wish = wish_of({"override": written})

    assert wish == Wish(Mode(mode), float(UNTIL))
    assert wish is not None
    assert wish.as_json() == written


def test_auto_needs_no_end() -> None:
    wish = wish_of({"override": {"mode": "auto"}})

    assert wish == Wish(Mode.AUTO, None)
    assert wish is not None
    assert wish.as_json() == {"mode": "auto"}


@pytest.mark.parametrize("desired", [None, {}, {"override": None}, {"something": 1}])
def test_where_nothing_is_asked_for_there_is_no_wish(desired: object) -> None:
    assert wish_of(desired) is None


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("on", "write an object"),
        (1, "write an object"),
        ([], "write an object"),
        (True, "write an object"),
        ({}, "override.mode is null"),
        ({"mode": "on", "until": UNTIL}, 'override.mode is "on"; write one of grid, battery, auto'),
        ({"mode": True, "until": UNTIL}, "override.mode is true"),
        ({"mode": 1, "until": UNTIL}, "override.mode is 1"),
        ({"mode": ["grid"], "until": UNTIL}, "override.mode is"),
        ({"mode": "GRID", "until": UNTIL}, "override.mode is"),
        ({"mode": "grid"}, "override.until is missing"),
        ({"mode": "grid", "until": None}, "override.until is missing"),
        ({"mode": "grid", "until": True}, "override.until is true"),
        ({"mode": "auto", "until": True}, "override.until is true"),
        ({"mode": "grid", "until": str(UNTIL)}, "override.until is"),
        ({"mode": "grid", "until": [UNTIL]}, "override.until is"),
        ({"mode": "grid", "until": {}}, "override.until is"),
        ({"mode": "grid", "until": 0}, "override.until is 0"),
        ({"mode": "grid", "until": -UNTIL}, "override.until is"),
        ({"mode": "grid", "until": UNTIL * 1000}, "looks like milliseconds"),
        ({"mode": "grid", "until": 10**400}, "override.until is"),
    ],
)
def test_H2_a_wish_of_wrong_types_is_refused_with_the_remedy(override: object, says: str) -> None:
    with pytest.raises(ShadowError) as refused:
        wish_of({"override": override})

    assert says in str(refused.value)
    assert len(str(refused.value)) < 200


def test_H2_a_desired_that_is_no_object_is_refused() -> None:
    with pytest.raises(ShadowError, match="no object"):
        wish_of([])


def test_H1_H9_what_means_nothing_is_named_and_a_threshold_means_nothing() -> None:
    desired = {"override": {"mode": "auto", "why": "x"}, "battery": {"low_voltage_v": 10}, "interval": 5}

    assert wish_of(desired) == Wish(Mode.AUTO, None)
    assert ignored(desired) == ["battery", "interval", "override.why"]


def test_H1_ten_names_at_most_are_told_and_each_is_short_and_printable() -> None:
    names = ignored({f"{number}\x00{'x' * 5000}": 1 for number in range(100)})

    assert len(names) == 10
    assert all(len(name) <= 60 and name.isprintable() for name in names)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": {"until": 1, "until": 2}}', "twice"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"[" * 50_000, "deep"),
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[]", "no JSON object"),
        (b'"grid"', "no JSON object"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too long"),
        (b'{"a": "' + b"x" * 1_000_000 + b'"}', "1000009 bytes"),
    ],
)
def test_H3_H4_a_document_that_could_be_misread_is_refused(payload: bytes, says: str) -> None:
    with pytest.raises(ShadowError) as refused:
        parse(payload)

    assert says in str(refused.value)


def test_H4_the_size_is_looked_at_before_anything_else() -> None:
    parse(b'{"a":"' + b"x" * (MAX_ANSWER_BYTES - 8) + b'"}')

    with pytest.raises(ShadowError):
        parse(b"\xff" * (MAX_ANSWER_BYTES + 1))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


WISHES = st.dictionaries(st.sampled_from(["mode", "until"]), JSON)


@given(desired=JSON | st.fixed_dictionaries({"override": JSON | WISHES}))
def test_whatever_is_desired_it_is_a_wish_or_none_or_refused(desired: object) -> None:
    wish = None
    with suppress(ShadowError):
        wish = wish_of(desired)

    assert wish is None or wish.mode is Mode.AUTO or wish.until_s is not None
    json.dumps(ignored(desired))


@given(payload=st.binary(max_size=200))
def test_H4_no_bytes_make_it_fail_otherwise(payload: bytes) -> None:
    try:
        document = parse(payload)
    except ShadowError:
        return
    assert isinstance(document, dict)
