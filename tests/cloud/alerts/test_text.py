"""L21: what a device says is shown without secrets, control characters and excess."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.alerts.text import cut, shown, shown_details
from tests.cloud.alerts.messages import Json

# Made up here, so that no scanner takes this file for a leak.
ACCESS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
PRIVATE_KEY = "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIE\nowIB\n-----END RSA PRIVATE " + "KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key {ACCESS_KEY} leaked", "key [redacted] leaked"),
        (f"key {ACCESS_KEY.replace('AKIA', 'ASIA')}.", "key [redacted]."),
        (f"a {PRIVATE_KEY} b", "a [redacted] b"),
        (f"a {PRIVATE_KEY[:40]} cut off", "a [redacted]"),
        ("Authorization: Bearer abc.DEF-123456", "Authorization: [redacted]"),
        ("0123456789abcdefABCDEF0123456789", "[redacted]"),
        ("password=hunter2, then", "password=[redacted], then"),
        ("Password: 'hunter 2' then", "Password: [redacted] then"),
        ('{"client_secret": "hunter 2", "a": 1}', '{"client_secret": [redacted], "a": 1}'),
        ("routing_key=abc&x=1", "routing_key=[redacted]&x=1"),
        ("aws_secret_access_key = abc/def+1", "aws_secret_access_key = [redacted]"),
        ("secret='not closed", "secret=[redacted]"),
    ],
)
def test_L21_a_secret_is_redacted(text: str, expected: str) -> None:
    assert shown(text, 1000) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Shed battery is low: 47.9 V",
        "boot 4f1d0c3a-8b1e-4b7e-9d57-6a2c9f0d1e2b",
        "the keypad and the passwords are fine",
        "AKIA is too short",
        "0123456789abcdef0123456789abcdef0",
        "Bearer of bad news",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert shown(text, 1000) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\nb", "a\\nb"), ("\x00\x1b[31m", "\\x00\\x1b[31m"), ("\u202eevil", "\\u202eevil"), ("\ud800", "\\ud800")],
)
def test_L21_what_does_not_print_is_shown_as_its_escape(text: str, expected: str) -> None:
    assert shown(text, 1000) == expected


def test_L21_a_text_is_cut_after_it_was_redacted() -> None:
    assert shown(f"{'x' * 10} {ACCESS_KEY}", 20) == "xxxxxxxxxx [redacte…"
    assert cut("x" * 20, 20) == "x" * 20
    assert cut("x" * 21, 20) == "x" * 19 + "…"


@pytest.mark.parametrize(
    "text",
    [
        "secret" * 50_000,
        "secret" + " " * 300_000,
        "password=" * 30_000,
        'secret="' * 40_000,
        "secret='" * 40_000,
        "-----BEGIN PRIVATE KEY-----" * 10_000,
        "-----BEGIN " * 30_000,
        "bearer " * 40_000,
        "A" * 300_000,
        "0" * 300_000,
    ],
)
def test_L21_no_text_takes_long(text: str) -> None:
    began_s = time.process_time()

    shown(text, 1024)

    # A quadratic one would take minutes.
    assert time.process_time() - began_s < 2.0


def test_details_that_are_all_right_are_shown_as_they_are() -> None:
    details: Json = {
        "voltage_v": 47.9,
        "count": 3,
        "ok": True,
        "not": None,
        "words": ["a", {"b": "c"}],
        "deep": {"x": {}},
    }

    assert shown_details(details) == details


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"password": "hunter2"}, {"password": "[redacted]"}),
        ({"secret": {"a": 1}, "token": 17}, {"secret": "[redacted]", "token": "[redacted]"}),
        ({"token_valid": True, "secret_absent": None}, {"token_valid": True, "secret_absent": None}),
        ({"a\nb": "c\nd"}, {"a\\nb": "c\\nd"}),
        ({"n": float("nan"), "i": float("inf")}, {"n": "nan", "i": "inf"}),
        ({"n": 10**18}, {"n": "1" + "0" * 18}),
        ({"a": {"b": {"c": {"d": {}}}}}, {"a": {"b": {"c": {"d": "..."}}}}),
        ({"a": [[[[1]]]]}, {"a": [[["..."]]]}),
        ({"a": "x" * 600}, {"a": "x" * 511 + "…"}),
        ({"n" * 65: 1}, {"n" * 63 + "…": 1}),
    ],
)
def test_L21_details_are_tidied(details: Json, expected: Json) -> None:
    assert shown_details(details) == expected


def test_L21_details_have_at_most_32_members_at_each_level() -> None:
    many = {f"m{number:02}": [0] * 50 for number in range(50)}

    tidied = shown_details(many)

    assert len(tidied) == 32
    assert len(tidied["m00"]) == 32


def test_L21_large_details_are_cut() -> None:
    large = {f"m{number:02}": "x" * 500 for number in range(32)}
    assert list(shown_details({"a": large})) == ["a"]

    larger = {"a": large, "b": "x" * 500}
    assert list(shown_details(larger)) == ["cut"]
    assert len(shown_details(larger)["cut"]) == 4096


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=8), ANYTHING))
def test_L21_whatever_the_details_they_are_small_printable_json(details: Json) -> None:
    content = json.dumps(shown_details(details), allow_nan=False)

    assert len(content) <= 16 * 1024
    assert content.isprintable()


def test_L21_an_integration_key_of_letters_and_digits_is_redacted_and_a_long_word_is_not() -> None:
    assert shown("key R03ABCDEFGHIJKLMNOPQRSTUVWXYZ012 here", 100) == "key [redacted] here"
    assert shown("a" * 32, 100) == "a" * 32
