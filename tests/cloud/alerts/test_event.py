import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.alerts.event import AlertEvent, Settle, parse
from cloud.alerts.incidents import Raise
from contract.alerts import Severity
from contract.messages import MessageError
from tests.cloud.alerts.messages import NOW_MS, RAISED_MS, SETTLE, Json, alert
from tests.cloud.alerts.test_text import ANYTHING

DAY_MS = 24 * 3600 * 1000


def parsed(message: Json, sent_ms: int | None = None) -> AlertEvent:
    event = parse(json.dumps(message), sent_ms)
    assert isinstance(event, AlertEvent)
    return event


def refusal(message: object) -> str:
    with pytest.raises(MessageError) as raised:
        parse(message if isinstance(message, str) else json.dumps(message), None)
    return str(raised.value)


def test_an_alert_is_read() -> None:
    assert parsed(alert()) == AlertEvent(
        thing="shed",
        alert="battery_low",
        action="raise",
        raised_ms=RAISED_MS,
        time_ms=RAISED_MS,
        received_ms=NOW_MS,
        what=Raise("Shed battery is low", Severity.WARNING, RAISED_MS, {"battery_voltage_v": 47.9}),
    )


def test_the_scheduled_message_is_read() -> None:
    assert parse(json.dumps(SETTLE), None) == Settle()


def test_L20_members_that_are_not_known_are_ignored() -> None:
    assert parsed(alert(added_later=[1], settle=False)) == parsed(alert())


@pytest.mark.parametrize("schema", [0, 2, 1.0, True, "1", None, [1]])
def test_L20_another_schema_is_refused(schema: object) -> None:
    assert "schema" in refusal({**alert(), "schema": schema})


@pytest.mark.parametrize("name", ["a", "a" * 64, "added_later_2"])
def test_L20_an_alert_that_is_not_known_is_taken(name: str) -> None:
    assert parsed(alert(alert=name)).alert == name


@pytest.mark.parametrize("name", ["", "a" * 65, "A", "1a", "a-b", "a/b", "a\n", "ä", 5])
def test_an_alert_of_another_name_is_refused(name: object) -> None:
    assert "alert" in refusal(alert(alert=name))


@pytest.mark.parametrize("severity", list(Severity))
def test_a_severity_is_read(severity: Severity) -> None:
    assert parsed(alert(severity=severity)).what.severity is severity


@pytest.mark.parametrize("severity", ["fatal", None, 5, [], {}])
def test_L20_another_severity_counts_as_critical(severity: object) -> None:
    assert parsed(alert(severity=severity)).what.severity is Severity.CRITICAL


def test_L20_an_older_device_does_not_name_the_episode() -> None:
    assert parsed(alert(raised_ms=None)).raised_ms is None
    assert parsed({**alert(), "raised_ms": None}).raised_ms is None


@pytest.mark.parametrize("received", [{"received_ms": NOW_MS - 1}, {"received_ms": 0}])
def test_when_it_was_received_is_what_the_message_says(received: Json) -> None:
    assert parsed(alert(**received), sent_ms=NOW_MS).received_ms == received["received_ms"]


def test_else_it_was_received_when_it_was_queued_or_when_it_was_sent() -> None:
    without = alert(received_ms=None)

    assert parsed(without, sent_ms=NOW_MS + 1).received_ms == NOW_MS + 1
    assert parsed(without).received_ms == RAISED_MS


@pytest.mark.parametrize("late_ms", [-5 * 60_000, 0, 30 * DAY_MS])
def test_a_plausible_time_of_the_device_is_shown(late_ms: int) -> None:
    assert parsed(alert(time_ms=NOW_MS - late_ms)).what.time_ms == NOW_MS - late_ms


@pytest.mark.parametrize(
    "changes",
    [
        {"time_ms": 0},
        {"time_ms": NOW_MS + 5 * 60_000 + 1},
        {"time_ms": NOW_MS - 30 * DAY_MS - 1},
        {"clock_synchronised": False},
        {"clock_synchronised": None},
    ],
)
def test_else_the_time_of_arrival_is_shown(changes: Json) -> None:
    assert parsed(alert(**changes)).what.time_ms == NOW_MS


@pytest.mark.parametrize("summary", ["", " \n", None])
def test_an_alert_without_words_is_told_by_its_name(summary: object) -> None:
    assert parsed(alert(summary=summary)).what.summary == "battery_low of shed"


def test_L21_a_summary_of_10_KB_is_cut_to_1024_characters() -> None:
    assert len(parsed(alert(summary="x" * 10_240)).what.summary) == 1024
    assert len(parsed(alert(summary="\x00" * 10_240)).what.summary) == 1024


def test_L21_secrets_and_control_characters_are_not_shown() -> None:
    what = parsed(alert(summary="password=hunter2\n", details={"token": "abc"})).what

    assert (what.summary, what.details) == ("password=[redacted]", {"token": "[redacted]"})


def test_an_alert_without_details_has_none() -> None:
    assert parsed(alert(details=None)).what.details == {}


@pytest.mark.parametrize("thing", ["", "a/b", "../x", "shed+", "s" * 65, "shed\n", 5, None])
def test_a_thing_name_that_is_no_thing_name_is_refused(thing: object) -> None:
    assert "thing" in refusal({**alert(), "thing": thing})


@pytest.mark.parametrize("action", ["", "RAISE", "resolve", 5, None])
def test_another_action_is_refused(action: object) -> None:
    assert "action" in refusal({**alert(), "action": action})


@pytest.mark.parametrize("name", ["raised_ms", "time_ms", "received_ms"])
def test_a_time_is_a_whole_number_from_0_to_2_to_the_43(name: str) -> None:
    for time_ms in (0, 2**43):
        parsed({**alert(), name: time_ms})
    wrong: object
    for wrong in (-1, 2**43 + 1, 1.5, "1", True, []):
        assert name in refusal({**alert(), name: wrong})


def test_a_time_is_required() -> None:
    assert "time_ms" in refusal(alert(time_ms=None))


@pytest.mark.parametrize("change", [{"summary": 5}, {"details": []}, {"details": "x"}, {"clock_synchronised": 1}])
def test_another_type_is_refused(change: Json) -> None:
    assert next(iter(change)) in refusal(alert(**change))


@pytest.mark.parametrize("body", ["", "{", "[" * 100_000, '{"schema": 1' + "0" * 5000 + "}", "[]", "5", "null"])
def test_L18_what_is_no_object_is_refused(body: str) -> None:
    refusal(body)


@given(st.sampled_from([*alert(), "settle"]), ANYTHING)
def test_L18_whatever_stands_in_a_member_it_is_read_or_refused(name: str, value: object) -> None:
    try:
        parse(json.dumps({**alert(), name: value}), NOW_MS)
    except MessageError as e:
        assert str(e)  # noqa: PT017 - either is right


def of_a_failed_rule(content: object, topic: str = "dt/solarshed/shed/alert") -> str:
    """As the error action of an IoT rule has it."""
    payload = base64.b64encode(json.dumps(content).encode()).decode()
    return json.dumps({"ruleName": "rule", "topic": topic, "base64OriginalPayload": payload, "failures": []})


def test_L18_what_the_rule_could_not_deliver_can_be_sent_back() -> None:
    published = {name: value for name, value in alert().items() if name not in ("thing", "received_ms")}

    event = parse(of_a_failed_rule({**published, "thing": "forged", "received_ms": 1}), NOW_MS)

    assert isinstance(event, AlertEvent)
    assert (event.thing, event.alert, event.received_ms) == ("shed", "battery_low", NOW_MS)


@pytest.mark.parametrize(
    "body",
    [
        of_a_failed_rule(alert(), "dt/solarshed/shed/telemetry"),
        of_a_failed_rule(alert(), "somewhere/else"),
        of_a_failed_rule([1]),
        json.dumps({"topic": "dt/solarshed/shed/alert", "base64OriginalPayload": "***"}),
        json.dumps({"topic": "dt/solarshed/shed/alert", "base64OriginalPayload": 7}),
    ],
    ids=["another channel", "another topic", "a list", "no base64", "a number"],
)
def test_L18_what_is_no_alert_in_such_an_envelope_is_refused(body: str) -> None:
    with pytest.raises(MessageError, match=r"what the rule could not deliver|a text was expected"):
        parse(body, NOW_MS)
