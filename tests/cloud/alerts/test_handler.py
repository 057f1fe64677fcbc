"""The whole handler, against PagerDuty over HTTP and moto's AWS."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cloud.alerts import handler as alerts
from cloud.alerts.incidents import Incident, Page
from cloud.alerts.second_channel import SecondChannel
from cloud.alerts.secret import PLACEHOLDER
from cloud.alerts.store import IncidentTable
from contract.alerts import Alert, AlertMessage
from demo.pagerduty import Answer, Trouble
from tests.cloud.alerts.conftest import KEY, Cloud
from tests.cloud.alerts.messages import NOW_MS, RAISED_MS, SETTLE, Json, alert, record

OWN = "shed/battery_low"
FLAPPING = "shed/flapping/battery_low"
HOUR_MS = 3_600_000
MINUTE_MS = 60_000

THROTTLED = ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "PutItem")


def sent(cloud: Cloud) -> list[tuple[str, str]]:
    return [(event.action, event.dedup_key) for event in cloud.pagerduty.events]


def raises(*things: str) -> list[Json]:
    return [record(thing, alert(thing=thing)) for thing in things]


def emitted_metrics(capsys: pytest.CaptureFixture[str]) -> list[Json]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in lines if "_aws" in line]


# What a shed says


def test_a_raise_opens_an_incident_and_its_clear_resolves_it(cloud: Cloud) -> None:
    cloud.tell(alert())
    (incident,) = cloud.pagerduty.incidents
    assert (incident.dedup_key, incident.severity, incident.summary) == (OWN, "warning", "Shed battery is low")
    assert cloud.pagerduty.events[0].content["client_url"] == "https://grafana.example/d/shed?var-thing=shed"

    cloud.tell(alert("clear"))
    assert sent(cloud) == [("trigger", OWN), ("resolve", OWN)]
    assert (cloud.dead_letters(), cloud.texts()) == ([], [])


def test_what_a_device_sends_is_understood(cloud: Cloud) -> None:
    message = AlertMessage(Alert.BATTERY_LOW, "raise", RAISED_MS, RAISED_MS, "4f1d", True, "low", {"soc_percent": 11})

    cloud.tell({**message.as_json(), "thing": "shed", "received_ms": NOW_MS})

    assert cloud.pagerduty.events[0].payload["custom_details"] == {"soc_percent": 11}


def test_alerts_of_several_things_are_incidents_of_their_own(cloud: Cloud) -> None:
    assert cloud.handle(*raises("shed", "barn"), record("hot", alert(alert="over_temperature"))) == []

    assert cloud.pagerduty.open_incidents == ["barn/battery_low", OWN, "shed/over_temperature"]


def test_L1_L3_the_same_message_again_changes_nothing(cloud: Cloud) -> None:
    cloud.tell(alert(), alert())
    assert sent(cloud) == [("trigger", OWN)]
    cloud.tell(alert("clear"), alert("clear"), alert())

    assert [event for event in sent(cloud) if event[0] == "trigger"] == [("trigger", OWN)]
    (incident,) = cloud.pagerduty.incidents
    assert not incident.is_open


def test_L2_a_clear_before_its_raise_wakes_nobody(cloud: Cloud) -> None:
    cloud.tell(alert("clear"), alert())

    assert {action for action, _ in sent(cloud)} == {"resolve"}
    assert cloud.pagerduty.incidents == []


def test_L2_the_clear_of_an_earlier_episode_leaves_the_incident_open(cloud: Cloud) -> None:
    later = alert(raised_ms=RAISED_MS + 1, received_ms=NOW_MS + 1)

    cloud.tell(alert(), later, alert("clear", received_ms=NOW_MS + 2))

    assert cloud.pagerduty.open_incidents == [OWN]
    assert len(cloud.pagerduty.incidents) == 1


def test_L8_over_midnight_and_a_week_it_is_one_incident(cloud: Cloud) -> None:
    for day in range(8):
        cloud.tell(alert(received_ms=NOW_MS + day * 24 * HOUR_MS))
        cloud.tell(SETTLE)

    assert sent(cloud) == [("trigger", OWN)]


def test_L20_an_older_device_that_does_not_name_the_episode(cloud: Cloud) -> None:
    cloud.tell(alert(raised_ms=None), alert(raised_ms=None))
    cloud.tell(alert("clear", raised_ms=None, time_ms=NOW_MS))

    assert sent(cloud) == [("trigger", OWN), ("resolve", OWN)]


# Flapping


def flap(cloud: Cloud, times: int, start_ms: int) -> None:
    for number in range(times):
        at_ms = start_ms + number * MINUTE_MS
        cloud.tell(alert(raised_ms=at_ms, received_ms=at_ms), alert("clear", raised_ms=at_ms, received_ms=at_ms + 1))


def test_L11_what_comes_and_goes_10_times_is_one_more_incident_until_it_is_calm(cloud: Cloud) -> None:
    flap(cloud, 10, NOW_MS - 2 * HOUR_MS)

    assert [incident.dedup_key for incident in cloud.pagerduty.incidents] == [OWN] * 6 + [FLAPPING]
    assert cloud.pagerduty.open_incidents == [FLAPPING]
    assert "6 times within an hour" in cloud.pagerduty.incidents[-1].summary

    cloud.tell(SETTLE)
    cloud.tell(SETTLE)

    assert cloud.pagerduty.open_incidents == []
    assert sent(cloud)[-1] == ("resolve", FLAPPING)
    assert sent(cloud).count(("resolve", FLAPPING)) == 1


def test_L11_before_it_is_calm_it_goes_on(cloud: Cloud) -> None:
    flap(cloud, 7, NOW_MS - HOUR_MS + 30 * MINUTE_MS)
    before = sent(cloud)

    cloud.tell(SETTLE)

    assert sent(cloud) == before


def test_L11_if_it_stands_when_it_becomes_calm_its_own_incident_is_opened(cloud: Cloud) -> None:
    start_ms = NOW_MS - 3 * HOUR_MS
    flap(cloud, 7, start_ms)
    cloud.tell(alert(raised_ms=1, received_ms=start_ms + HOUR_MS))

    cloud.tell(SETTLE)

    assert sent(cloud)[-2:] == [("trigger", OWN), ("resolve", FLAPPING)]
    assert cloud.pagerduty.incidents[-1].summary == "Shed battery is low"


def test_L11_the_limits_are_set_by_the_environment(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLARSHED_MOST_PAIRS", "2")
    monkeypatch.setenv("SOLARSHED_CALM_AFTER_S", "600")

    flap(cloud, 4, NOW_MS - 20 * MINUTE_MS)
    assert [incident.dedup_key for incident in cloud.pagerduty.incidents] == [OWN] * 3 + [FLAPPING]

    cloud.tell(SETTLE)
    assert cloud.pagerduty.open_incidents == []


# PagerDuty on a bad day


@pytest.mark.parametrize(
    "bad",
    [Answer(429), Answer(429, {"Retry-After": "900"}), Answer(500), Answer(503), Trouble.RESET, Trouble.NOT_JSON],
    ids=str,
)
def test_L4_L5_L7_when_it_is_busy_the_message_is_delivered_again(cloud: Cloud, bad: Answer | Trouble) -> None:
    cloud.pagerduty.answer_badly(bad, times=None)
    assert cloud.handle(record("a", alert())) == ["a"]
    assert cloud.item(OWN) is None

    cloud.pagerduty.answer_well()
    cloud.tell(alert(), receives=2)
    assert cloud.pagerduty.open_incidents == [OWN]


def test_L15_when_it_is_busy_nobody_is_told_by_another_way(cloud: Cloud) -> None:
    cloud.pagerduty.answer_badly(Answer(503), times=None)

    cloud.handle(record("a", alert()))
    cloud.handle(record("a", alert(), receives=2))

    assert (cloud.dead_letters(), cloud.texts()) == ([], [])


def test_L5_when_it_is_busy_no_time_is_lost_with_the_rest_of_the_batch(cloud: Cloud) -> None:
    done = raises("attic")
    assert cloud.handle(*done) == []
    cloud.pagerduty.answer_badly(Answer(503), times=None)
    before = cloud.pagerduty.requests

    # What needs no PagerDuty is done before it.
    assert cloud.handle(*done, *raises("shed", "barn"), record("poison", "{")) == ["shed", "barn", "poison"]

    assert cloud.pagerduty.requests == before + 4


def test_L4_a_lambda_that_has_no_time_left_asks_nobody(cloud: Cloud) -> None:
    assert cloud.handle(*raises("shed", "barn"), remaining_ms=5400) == ["shed", "barn"]
    assert cloud.handle(record("poison", "{"), *raises("shed"), remaining_ms=4900) == ["poison", "shed"]

    assert cloud.pagerduty.requests == 0
    assert cloud.dead_letters() == []


def test_L3_an_event_that_was_taken_without_a_word_is_one_incident(cloud: Cloud) -> None:
    cloud.pagerduty.answer_badly(Trouble.TAKEN_THEN_RESET, times=4)
    assert cloud.handle(record("a", alert())) == ["a"]

    cloud.tell(alert(), receives=2)

    (incident,) = cloud.pagerduty.incidents
    assert incident.count == 5


@pytest.mark.parametrize("status", [400, 401, 403])
def test_L6_what_it_refuses_goes_to_the_dead_letters_and_by_the_second_channel_at_once(
    cloud: Cloud, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.pagerduty.answer_badly(Answer(status, body='{"message": "never"}'), times=None)
    body = json.dumps(alert(), indent=1)

    cloud.tell(body)

    ((kept, why),) = cloud.dead_letters()
    assert kept == body
    assert str(status) in why
    ((subject, text),) = cloud.texts()
    assert subject == "Solarshed: PagerDuty was not told of shed: raise of battery_low"
    assert "warning: Shed battery is low" in text
    assert "never" in text
    assert (cloud.pagerduty.requests, cloud.item(OWN)) == (1, None)
    (metric,) = emitted_metrics(capsys)
    assert metric["PagesRefused"] == [1.0]
    assert metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Solarshed"


def test_L6_a_refused_message_keeps_no_other_back(cloud: Cloud) -> None:
    cloud.pagerduty.answer_badly(Answer(400))

    assert cloud.handle(*raises("shed", "barn")) == []

    assert cloud.pagerduty.open_incidents == ["barn/battery_low"]


def test_L6_a_dead_letter_that_is_sent_back_is_told_after_all(cloud: Cloud) -> None:
    cloud.pagerduty.answer_badly(Answer(400))
    cloud.tell(alert())
    ((body, why),) = cloud.dead_letters()

    back = record("m", body, attributes={"why": {"dataType": "String", "stringValue": why}})
    assert cloud.handle(back) == []

    assert cloud.pagerduty.open_incidents == [OWN]


def test_L16_a_dead_letter_that_is_sent_back_after_its_clear_leaves_nothing_open(cloud: Cloud) -> None:
    cloud.pagerduty.answer_badly(Answer(400))
    cloud.tell(alert(), alert("clear"))
    ((body, _),) = cloud.dead_letters()

    assert cloud.handle(record("m", body, attributes={"why": {"stringValue": "refused"}})) == []

    assert {action for action, _ in sent(cloud)} == {"resolve"}
    assert cloud.pagerduty.incidents == []


def test_L3_L18_one_that_was_taken_without_a_word_until_it_became_a_dead_letter_leaves_nothing_open(
    cloud: Cloud,
) -> None:
    cloud.pagerduty.answer_badly(Trouble.TAKEN_THEN_RESET, times=None)
    assert cloud.handle(record("raise", alert())) == ["raise"]
    cloud.pagerduty.answer_well()
    assert cloud.pagerduty.open_incidents == [OWN]

    # SQS itself has moved it to the dead letters meanwhile: sent back, it looks like a new one.
    cloud.tell(alert("clear"))
    cloud.tell(alert())

    assert cloud.pagerduty.open_incidents == []


# The routing key


def test_L17_a_missing_key_fails_loudly(cloud: Cloud) -> None:
    cloud.put_key(PLACEHOLDER)

    cloud.tell(alert())

    ((_, why),) = cloud.dead_letters()
    ((_, text),) = cloud.texts()
    assert "no routing key" in why
    assert "put the 32-character integration key" in text
    assert "Shed battery is low" in text
    assert cloud.pagerduty.requests == 0


def test_L17_a_key_that_was_put_in_later_is_used_at_once(cloud: Cloud) -> None:
    cloud.put_key(PLACEHOLDER)
    cloud.tell(alert())
    cloud.put_key(KEY)

    cloud.tell(alert())

    assert cloud.pagerduty.open_incidents == [OWN]


def test_L17_a_key_that_was_exchanged_is_fetched_once(cloud: Cloud) -> None:
    cloud.tell(alert())
    other = "f" * 32
    cloud.put_key(other)
    cloud.pagerduty.accepted_keys = frozenset({other})

    cloud.tell(alert("clear"))

    assert cloud.pagerduty.open_incidents == []
    assert (cloud.dead_letters(), cloud.pagerduty.requests) == ([], 3)


def test_L17_a_key_that_cannot_be_read_now_is_read_when_the_message_comes_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(**_: str) -> None:
        raise EndpointConnectionError(endpoint_url="secretsmanager")

    with monkeypatch.context() as patched:
        patched.setattr(cloud.secrets, "get_secret_value", unreachable)
        assert cloud.handle(*raises("shed", "barn")) == ["shed", "barn"]

    assert cloud.handle(*raises("shed", "barn")) == []
    assert cloud.dead_letters() == []


# Messages that cannot be understood

POISON = {
    "empty": "{}",
    "not JSON": "{",
    "deep": "[" * 100_000,
    "a later schema": json.dumps(alert(schema=2)),
    "an earlier schema": json.dumps(alert(schema=0)),
    "no thing": json.dumps(alert(thing=None)),
}


@pytest.mark.parametrize("body", POISON.values(), ids=POISON)
def test_L18_L20_poison_goes_to_the_dead_letters_and_keeps_nothing_back(
    cloud: Cloud, body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cloud.handle(record("poison", body), *raises("barn")) == []

    ((kept, why),) = cloud.dead_letters()
    assert kept == body
    assert 0 < len(why) <= 256
    ((subject, text),) = cloud.texts()
    assert subject == "Solarshed: An alert could not be understood"
    assert body[:100] in text
    assert cloud.pagerduty.open_incidents == ["barn/battery_low"]
    (metric,) = emitted_metrics(capsys)
    assert metric["MessagesRefused"] == [1.0]
    assert "PagesRefused" not in metric


def test_L20_what_cannot_be_understood_is_counted(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.handle(record("a", "{}"), record("b", "{}"), *raises("barn"))

    (metric,) = emitted_metrics(capsys)
    assert metric["MessagesRefused"] == [2.0]


def test_L20_normally_no_metric_is_paid_for(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.tell(alert(), SETTLE)

    assert emitted_metrics(capsys) == []


def test_L21_a_hostile_text_is_harmless_wherever_it_is_shown(cloud: Cloud) -> None:
    hostile = "password=hunter2 \x00\r\nSubject: evil " + "x" * 10_240
    cloud.tell(alert(summary=hostile, details={"token": "hunter2", "n": "\x1b[31m"}))
    cloud.pagerduty.answer_badly(Answer(400), times=2)
    cloud.tell(alert(summary=hostile, thing="barn"), alert(summary=hostile, thing="ü" * 300))

    payload = cloud.pagerduty.events[0].payload
    assert len(payload["summary"]) == 1024
    texts = [payload["summary"], json.dumps(payload), *(text for both in cloud.texts() for text in both)]
    assert not [text for text in texts if "hunter2" in text or "\x00" in text or "\r" in text]


def test_L21_a_long_name_still_has_a_subject(cloud: Cloud) -> None:
    cloud.pagerduty.answer_badly(Answer(400))
    cloud.tell(alert(thing="s" * 64, alert="a" * 64))

    ((subject, _),) = cloud.texts()
    assert len(subject) == 100


# AWS on a bad day


@pytest.mark.parametrize("failing", ["load", "save"])
@pytest.mark.parametrize("error", [THROTTLED, EndpointConnectionError(endpoint_url="x"), ZeroDivisionError()], ids=repr)
def test_what_fails_for_one_incident_keeps_no_other_back(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, failing: str, error: Exception
) -> None:
    proper = getattr(IncidentTable, failing)

    def fail(table: IncidentTable, *arguments: Any) -> object:  # noqa: ANN401 - handed on
        if (arguments[0] if failing == "load" else arguments[0].thing) == "shed":
            raise error
        return proper(table, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(IncidentTable, failing, fail)
        assert cloud.handle(*raises("shed", "barn")) == ["shed"]

    assert cloud.handle(record("shed", alert(), receives=2)) == []
    assert cloud.pagerduty.open_incidents == ["barn/battery_low", OWN]
    assert len(cloud.pagerduty.incidents) == 2


def test_L16_sent_but_not_kept_then_cleared_is_resolved_when_it_comes_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise THROTTLED

    with monkeypatch.context() as patched:
        patched.setattr(IncidentTable, "save", fail)
        assert cloud.handle(record("raise", alert())) == ["raise"]
    assert cloud.pagerduty.open_incidents == [OWN]
    cloud.tell(alert("clear"))
    assert cloud.pagerduty.open_incidents == []

    assert cloud.handle(record("raise", alert(), receives=2)) == []

    assert cloud.pagerduty.open_incidents == []


def test_L1_who_was_overtaken_sends_what_is_kept(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    pagerduty = alerts._pagerduty()
    proper = pagerduty.send
    clears: Iterator[Json] = iter([alert("clear")])

    def overtaken(page: Page, deadline_s: float) -> None:
        for clear in clears:
            cloud.tell(clear)
        proper(page, deadline_s)

    monkeypatch.setattr(pagerduty, "send", overtaken)
    cloud.tell(alert())

    assert ("trigger", OWN) in sent(cloud)
    assert sent(cloud)[-2:].count(("resolve", OWN)) == 1
    assert cloud.pagerduty.open_incidents == []


def test_L1_who_is_always_overtaken_comes_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IncidentTable, "save", lambda *_: False)

    assert cloud.handle(*raises("shed")) == ["shed"]


@pytest.mark.parametrize("failing", ["keep", "tell"])
@pytest.mark.parametrize("body", ["{", json.dumps(alert())], ids=["poison", "refused"])
def test_L6_L18_if_even_the_second_channel_fails_the_message_comes_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, failing: str, body: str
) -> None:
    def fail(*_: object) -> None:
        raise THROTTLED

    cloud.pagerduty.answer_badly(Answer(400), times=0 if body == "{" else 1)
    with monkeypatch.context() as patched:
        patched.setattr(SecondChannel, failing, fail)
        assert cloud.handle(record("a", body), *raises("barn")) == ["a"]

    assert cloud.pagerduty.open_incidents == ["barn/battery_low"]


# Settling on a bad day


def flap_all(cloud: Cloud, *things: str) -> None:
    for thing in things:
        for number in range(7):
            at_ms = NOW_MS - 2 * HOUR_MS + number
            message = alert(thing=thing, raised_ms=at_ms, received_ms=at_ms)
            cloud.tell(message, {**message, "action": "clear"})


def test_what_is_refused_while_settling_is_counted_and_tried_next_time(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    flap_all(cloud, "shed", "barn")
    cloud.pagerduty.answer_badly(Answer(400), times=None)

    cloud.tell(SETTLE)

    assert cloud.texts() == []
    assert cloud.dead_letters() == []
    (metric,) = emitted_metrics(capsys)
    assert metric["PagesRefused"] == [1.0]

    cloud.pagerduty.answer_well()
    cloud.tell(SETTLE)
    assert cloud.pagerduty.open_incidents == []


def test_when_pagerduty_is_busy_settling_is_done_when_it_comes_again(cloud: Cloud) -> None:
    flap_all(cloud, "shed", "barn")
    cloud.pagerduty.answer_badly(Answer(503), times=None)
    assert cloud.handle(record("settle", SETTLE), *raises("attic")) == ["settle", "attic"]

    cloud.pagerduty.answer_well()
    cloud.tell(SETTLE, receives=2)
    assert cloud.pagerduty.open_incidents == []


def test_L16_a_settling_that_was_not_kept_is_corrected_when_it_comes_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    flap_all(cloud, "shed")

    def fail(*_: object) -> bool:
        raise THROTTLED

    with monkeypatch.context() as patched:
        patched.setattr(IncidentTable, "save", fail)
        assert cloud.handle(record("settle", SETTLE)) == ["settle"]
    assert cloud.pagerduty.open_incidents == []
    # It is not calm any more.
    cloud.tell(alert(raised_ms=NOW_MS, received_ms=NOW_MS))

    cloud.tell(SETTLE, receives=2)

    assert cloud.pagerduty.open_incidents == [FLAPPING]


# What is told to whoever reads the log


def test_the_log_is_json_and_says_which_alert(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    cloud.tell(alert())

    (entry,) = [entry for entry in caplog.records if entry.name == "alerts"]
    content = json.loads(alerts.log.registered_formatter.format(entry))
    assert content["service"] == "alerts"
    assert (content["thing"], content["alert"], content["action"]) == ("shed", "battery_low", "raise")
    assert content["function_request_id"] == "request"


def test_the_routing_key_is_in_no_log_no_text_and_no_dead_letter(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    cloud.pagerduty.answer_badly(Answer(400, body=f"what is {KEY}?"))
    cloud.tell(alert())
    cloud.pagerduty.answer_badly(Trouble.RESET, times=None)
    cloud.handle(record("a", alert()))
    cloud.pagerduty.answer_well()
    cloud.tell(alert())

    ours = [entry for entry in caplog.records if not entry.name.startswith(("botocore", "moto"))]
    shown = [capsys.readouterr().out, str(cloud.texts()), str(cloud.dead_letters())]
    shown += [f"{entry.getMessage()} {entry.__dict__}" for entry in ours]
    assert not [text for text in shown if KEY in text]


def test_an_incident_is_kept_as_new_code_can_read_it(cloud: Cloud) -> None:
    cloud.tell(alert())

    item = cloud.item(OWN)
    assert item is not None
    assert item.keys() == {"incident", "version", "state"}
    kept = json.loads(item["state"]["S"])
    assert kept.keys() == set(Incident.__dataclass_fields__) - {"thing", "alert"}
