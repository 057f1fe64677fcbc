"""The owner's settings: what is taken, and what is refused, with a remedy."""

from typing import TYPE_CHECKING

import pytest

from tests.infra.conftest import CONTEXT, Synthesized, synthesize

if TYPE_CHECKING:
    from infra.deployment import Deployment

pytestmark = pytest.mark.xdist_group("cdk")

USABLE = {
    "alarm_email": "me@example.org",
    "alert_email": "me+alerts@mail.example.org",
    "pagerduty_alarm_url": "https://events.pagerduty.com/integration/0123/enqueue",
    "pagerduty_events_url": "https://events.eu.pagerduty.com",
    "dashboard_url": "https://grafana.example.org/d/shed?orgId=1",
}


def deployment(**settings: object) -> "Deployment":
    import aws_cdk as cdk

    from infra.deployment import Deployment

    return Deployment.of(cdk.App(context=settings).node)


def test_nothing_has_to_be_set(cdk_environment: None) -> None:
    from infra.deployment import Deployment

    assert deployment() == Deployment()


def test_every_setting_is_taken_as_it_is_given(cdk_environment: None) -> None:
    taken = deployment(**USABLE)

    assert {name: getattr(taken, name) for name in USABLE} == USABLE


def test_a_setting_that_is_empty_is_not_set(cdk_environment: None) -> None:
    from infra.deployment import Deployment

    assert deployment(**dict.fromkeys([*USABLE, "local", "silent_after_minutes"], "")) == Deployment()


@pytest.mark.parametrize("minutes", ["10", "11", "15", "1440", 10, 15.0])
def test_L9_the_silence_that_is_too_long_may_be_set(cdk_environment: None, minutes: object) -> None:
    assert deployment(silent_after_minutes=minutes).silent_after_s == 60 * int(str(minutes).removesuffix(".0"))


@pytest.mark.parametrize("minutes", ["9", "1441", "0", "-15", "15.5", 15.5, "15m", "soon", True, [15], "1e2", "9" * 30])
def test_L9_a_silence_that_would_wake_for_one_late_beat_or_for_nothing_is_refused(
    cdk_environment: None, minutes: object
) -> None:
    with pytest.raises(ValueError, match=r"^silent_after_minutes = .*: give a whole number from 10 to 1440$"):
        deployment(silent_after_minutes=minutes)


@pytest.mark.parametrize("name", ["alarm_email", "alert_email"])
@pytest.mark.parametrize("value", ["me", "me@", "@example.org", "me@example", "a@b.org, c@d.org", "me @b.org", 7, True])
def test_what_is_no_e_mail_address_is_refused(cdk_environment: None, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} = .* is no e-mail address: give one"):
        deployment(**{name: value})


@pytest.mark.parametrize("name", ["pagerduty_alarm_url", "pagerduty_events_url", "dashboard_url"])
@pytest.mark.parametrize(
    "value", ["http://example.org", "example.org", "https://", "https://a b", "https://[", "ftp://a", 7]
)
def test_what_is_no_https_address_is_refused(cdk_environment: None, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} = .* is no usable address: give one that starts with https://$"):
        deployment(**{name: value})


@pytest.mark.parametrize("value", ["yes", "True", 1, 0, "1", [True]])
def test_local_is_true_or_false(cdk_environment: None, value: object) -> None:
    with pytest.raises(ValueError, match=r"^local = .*: give -c local=true, or leave it out$"):
        deployment(local=value)


def test_the_emulator_may_have_plain_http_and_short_times(cdk_environment: None) -> None:
    taken = deployment(local="true", pagerduty_events_url="http://127.0.0.1:8/", silent_after_s="20", blind_after_s="9")

    assert (taken.local, taken.pagerduty_events_url) == (True, "http://127.0.0.1:8/")
    assert (taken.silent_after_s, taken.blind_after_s) == (20, 9)


def test_aws_may_not_have_short_times(cdk_environment: None) -> None:
    from infra.deployment import Deployment

    assert deployment(silent_after_s="20", blind_after_s="9") == Deployment()


def test_the_cdks_command_line_is_told_in_one_sentence(cdk_environment: None) -> None:
    from infra.app import main

    with pytest.raises(SystemExit) as refusal:
        main({"alarm_email": "me"})

    # What exit is given as text goes to stderr, with status 1.
    assert refusal.value.code == "solarshed: alarm_email = 'me' is no e-mail address: give one, such as you@example.org"


# Where they appear


@pytest.fixture(scope="module")
def all_set(cdk_environment: None) -> Synthesized:
    return synthesize(**USABLE, silent_after_minutes="45")


def subscribers(stacks: Synthesized, output: str) -> set[tuple[str, str]]:
    """Protocol and address of all who are told by the topic, but for our own queue."""
    topic = next(t["Outputs"][output]["Value"] for t in stacks.templates.values() if output in t.get("Outputs", {}))
    found = [s["Properties"] for s in stacks.resources("AWS::SNS::Subscription").values()]
    return {(s["Protocol"], s["Endpoint"]) for s in found if s["TopicArn"] == topic and s["Protocol"] != "sqs"}


def environment(stacks: Synthesized, capability: str) -> dict[str, object]:
    functions = stacks.resources("AWS::Lambda::Function").values()
    (found,) = [f for f in functions if f["Properties"]["Handler"] == f"cloud.{capability}.handler.handler"]
    variables: dict[str, object] = found["Properties"]["Environment"]["Variables"]
    return variables


def test_each_address_is_told_what_it_is_for(all_set: Synthesized) -> None:
    assert subscribers(all_set, "AlertTopicArn") == {("email", USABLE["alert_email"])}
    assert subscribers(all_set, "WatchTopicArn") == {
        ("email", USABLE["alarm_email"]),
        ("https", USABLE["pagerduty_alarm_url"]),
    }


def test_the_lambdas_are_told_what_is_set(all_set: Synthesized) -> None:
    alerts, heartbeat = environment(all_set, "alerts"), environment(all_set, "heartbeat")

    assert alerts["SOLARSHED_PAGERDUTY_URL"] == USABLE["pagerduty_events_url"]
    assert alerts["SOLARSHED_DASHBOARD_URL"] == USABLE["dashboard_url"]
    assert heartbeat["SOLARSHED_SILENT_AFTER_S"] == str(45 * 60)


def test_nothing_appears_that_is_not_set(stacks: Synthesized) -> None:
    assert subscribers(stacks, "AlertTopicArn") == set()
    assert not {"SOLARSHED_PAGERDUTY_URL", "SOLARSHED_DASHBOARD_URL"} & set(environment(stacks, "alerts"))
    assert environment(stacks, "heartbeat")["SOLARSHED_SILENT_AFTER_S"] == str(15 * 60)


def warnings_of(**settings: object) -> list[str]:
    """What the CDK would say of the watch."""
    import aws_cdk as cdk

    from infra.deployment import Deployment
    from infra.watch import Watch

    stack = cdk.Stack(cdk.App(context={**CONTEXT, **settings}), "Stack")
    watch = Watch(stack, "Watch", deployment=Deployment.of(stack.node))
    return [str(entry.data) for entry in watch.node.metadata if entry.type == "aws:cdk:warning"]


def test_I4_an_owner_whom_no_alarm_can_reach_is_warned(cdk_environment: None) -> None:
    (warning,) = warnings_of()

    assert warning.startswith("nobody gets the text of an alert that PagerDuty refuses")


@pytest.mark.parametrize("reached_by", ["alarm_email", "local"])
def test_I4_an_owner_whom_alarms_reach_is_not_warned(cdk_environment: None, reached_by: str) -> None:
    assert warnings_of(**{reached_by: {**USABLE, "local": True}[reached_by]}) == []
