import pytest

from cloud.heartbeat import words
from contract.alerts import CloudAlert
from tests.cloud.heartbeat.world import BEGIN_MS


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (900, "15 min"),
        (3569, "59 min"),
        (3599, "1 h"),
        (7800, "2 h 10 min"),
        (90_000, "25 h"),
        (259_200, "3 days"),
    ],
)
def test_a_duration_is_shown_as_far_as_it_matters(seconds: int, shown: str) -> None:
    assert words.duration(seconds * 1000) == shown


def test_a_time_is_utc_with_the_date_where_it_is_not_todays() -> None:
    assert words.clock(BEGIN_MS, BEGIN_MS + 1000) == "14:00 UTC"
    assert words.clock(BEGIN_MS - 86_400_000, BEGIN_MS) == "2026-11-22 14:00 UTC"


def test_each_alert_has_words_for_its_end() -> None:
    assert [words.back(alert, "shed", 90_000) for alert in CloudAlert] == [
        "shed is back after 2 min of silence",
        "shed sees again after 2 min of blindness",
    ]


def test_L21_what_could_steer_a_terminal_is_not_shown() -> None:
    shown = words.blind("shed", {"beat": BEGIN_MS}, BEGIN_MS + 1_000_000, None, "\x1b[31mred\n")

    assert shown == "shed sends heartbeats, but is blind: no heartbeat could be read for 17 min (?[31mred?)"
