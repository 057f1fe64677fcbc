"""What the page says in words."""

import pytest

from contract.positions import Reason
from contract.words import reason_in_full, reason_in_short
from page.words import EventKind, alert_events, alert_names, override_ended, transfer_event


def test_a_transfer_is_one_sentence_with_its_reason() -> None:
    event = transfer_event("grid: battery_low")

    assert (event.kind, event.text) == (EventKind.GRID, "To GRID: battery low")
    assert transfer_event("battery: stopped").kind == EventKind.BATTERY


def test_alerts_are_raised_and_cleared_one_by_one() -> None:
    events = alert_events("raised battery_low, cleared over_temperature")

    assert [(event.kind, event.text) for event in events] == [
        (EventKind.ALERT_RAISED, "Alert battery low raised"),
        (EventKind.ALERT_CLEARED, "Alert over temperature cleared"),
    ]
    assert alert_events("") == []


@pytest.mark.parametrize(
    ("because", "lasted_s", "text"),
    [
        ("its time is over", 10.0, "The owner's override has ended: its time is over (GRID for 10 s)"),
        ("the owner ended it", 7200.0, "The owner's override has ended: the owner ended it (GRID for 2 h)"),
        (None, None, "The owner's override has ended (GRID, never in force)"),
    ],
)
def test_the_end_of_an_override_says_why_and_how_long_it_was_in_force(
    because: str | None, lasted_s: float | None, text: str
) -> None:
    event = override_ended("grid", because, lasted_s)

    assert (event.kind, event.text) == (EventKind.OVERRIDE_ENDED, text)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words_for_people(reason: Reason) -> None:
    assert "_" not in reason_in_short(reason)
    assert reason_in_full(reason).endswith(".")


def test_a_reason_of_a_newer_device_is_shown_by_its_name() -> None:
    assert reason_in_short("moon_too_bright") == "moon too bright"
    assert "moon too bright" in reason_in_full("moon_too_bright")


def test_an_empty_list_of_alerts_has_no_names() -> None:
    assert alert_names("") == []
    assert alert_names("battery_low,over_temperature") == ["battery_low", "over_temperature"]
