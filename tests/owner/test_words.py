import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from contract.positions import Position, Reason
from contract.shadow import LONGEST_OVERRIDE_S
from device.override import MAX_DURATION_S
from owner import words

NOW_S = datetime(2026, 11, 23, 16, 30, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def _two_hours_east() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC-2"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("1h90m", 9000), ("1h1m1s", 3661), ("24h", 86400)],
)
def test_a_duration_is_read_with_its_units(text: str, seconds: int) -> None:
    assert words.duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "2 h", "-1h", "1.5h", "h", "2h ", "30m1h", "0s", "0h", "2H", "٣h", "1h1h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write one such as 90s, 45m, 2h or 1h30m"):
        words.duration_s(text)


@pytest.mark.parametrize("text", ["24h1s", "25h", "1441m", "9999999h"])
def test_H7_more_than_the_device_keeps_an_override_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ValueError, match="too long: the device ends every override after 24 h; write 24h at most"):
        words.duration_s(text)


def test_the_longest_override_is_the_devices() -> None:
    assert LONGEST_OVERRIDE_S == MAX_DURATION_S


def test_a_time_is_shown_as_this_machines_with_the_date_where_it_is_not_todays() -> None:
    assert words.clock(NOW_S, NOW_S) == "18:30"
    assert words.clock(NOW_S + 6 * 3600, NOW_S) == "2026-11-24 00:30"


def test_an_end_says_how_far_away_it_is() -> None:
    assert words.until(NOW_S + 7200, NOW_S) == "until 20:30 (in 2 h)"
    assert words.until(NOW_S - 1200, NOW_S) == "until 18:10 (20 min ago)"


def test_every_reason_and_position_has_words() -> None:
    assert {words.why(reason) for reason in Reason} == set(words.REASONS.values())
    assert len(words.REASONS) == len(Reason)
    assert [words.relays(position) for position in Position] == ["relays closed", "relays open"]


def test_a_reason_of_a_newer_device_is_shown_as_it_is() -> None:
    assert words.why("full_moon") == "full_moon"
    assert words.relays("sideways") == "position sideways"


def test_L21_what_could_steer_a_terminal_is_not_shown() -> None:
    assert words.printable("\x1b[31mred\n") == "?[31mred?"
    assert len(words.printable("x" * 1000)) == 200
