from cloud.heartbeat import words
from contract.alerts import CloudAlert
from tests.cloud.heartbeat.world import BEGIN_MS


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
