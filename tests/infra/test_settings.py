"""The owner's settings: what is taken, and what is refused, with a remedy."""

import itertools
import json
from typing import TYPE_CHECKING

import boto3
import pytest

from contract import store
from infra import TIMESTREAM_REGIONS
from tests.cdk_fixture import CONTEXT, Synthesized, synthesize

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


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("memory_store_days", "14", 14),
        ("memory_store_days", 365.0, 365),
        ("magnetic_store_days", "73000", 73_000),
        ("rollup_every_hours", "1", 1),
        ("grafana_workspace", "true", True),
        ("grafana_principal", "123456789012", "123456789012"),
        (
            "grafana_principal",
            "arn:aws:iam::123456789012:role/path/grafana",
            "arn:aws:iam::123456789012:role/path/grafana",
        ),
    ],
)
def test_settings_of_the_store_are_taken(cdk_environment: None, name: str, value: object, taken: object) -> None:
    assert getattr(deployment(**{name: value}), name) == taken


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"memory_store_days": "0"}, "^memory_store_days = '0' is not usable: give a whole number from 1 to 365$"),
        ({"memory_store_days": "366"}, "from 1 to 365$"),
        ({"magnetic_store_days": "73001"}, "from 1 to 73000$"),
        ({"rollup_every_hours": "25"}, "from 1 to 24$"),
        ({"store": "postgres"}, "^store = 'postgres' is not usable: give one of timestream, influxdb$"),
        ({"store": True}, "give one of timestream, influxdb$"),
        ({"grafana_workspace": "yes"}, "^grafana_workspace = 'yes' is neither true nor false"),
        ({"grafana_principal": "grafana"}, "^grafana_principal = 'grafana' is not usable: give an AWS account's 12"),
        ({"grafana_principal": 123456789012}, "give an AWS account's 12 digits, or a role's ARN$"),
        ({"grafana_principal": "arn:aws:iam::123456789012:role/*"}, "or a role's ARN$"),
        ({"grafana_principal": "*"}, "or a role's ARN$"),
        ({"grafana_principal": "123456789012", "grafana_external_id": "x y"}, "^grafana_external_id = 'x y' is not"),
        ({"grafana_external_id": "12345"}, r"is for nobody: give -c grafana_principal=\.\.\. too"),
        (
            {"grafana_principal": "008923505280"},
            r"everyone who has a Grafana Cloud: give -c grafana_external_id=\.\.\.",
        ),
    ],
    ids=str,
)
def test_settings_of_the_store_that_cannot_be_used_are_refused(
    cdk_environment: None, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        deployment(**settings)


def test_D9_a_region_without_timestream_is_refused_with_the_remedy(
    cdk_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDK_DEFAULT_REGION", "eu-north-1")

    with pytest.raises(
        ValueError,
        match=r"^Timestream for LiveAnalytics is not offered in eu-north-1: give -c store=influxdb, or deploy to",
    ):
        deployment()
    assert deployment(store="influxdb").engine == "influxdb"
    # The emulator is nowhere.
    assert deployment(local="true").engine == "timestream"


@pytest.mark.parametrize("region", ["us-east-1", "ap-south-1", ""])
def test_D9_a_region_with_timestream_or_one_that_is_not_known_is_not_refused(
    cdk_environment: None, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("CDK_DEFAULT_REGION", region)

    assert deployment().engine == "timestream"


def test_the_regions_are_those_that_boto3_knows() -> None:
    session = boto3.session.Session()
    known = [session.get_available_regions("timestream-write", partition) for partition in ("aws", "aws-us-gov")]

    assert sorted(TIMESTREAM_REGIONS) == sorted(itertools.chain(*known))


def test_the_cdks_command_line_is_told_in_one_sentence(cdk_environment: None) -> None:
    from infra.app import main

    with pytest.raises(SystemExit) as refusal:
        main({"alarm_email": "me"})

    # What exit is given as text goes to stderr, with status 1.
    assert refusal.value.code == "solarshed: alarm_email = 'me' is no e-mail address: give one, such as you@example.org"


# Where they appear

OF_THE_STORE = {
    "memory_store_days": "14",
    "magnetic_store_days": "730",
    "rollup_every_hours": "1",
    "grafana_principal": "008923505280",
    "grafana_external_id": "12345",
}


@pytest.fixture(scope="module")
def all_set(cdk_environment: None) -> Synthesized:
    return synthesize(**USABLE, **OF_THE_STORE, silent_after_minutes="45")


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


def test_the_tables_keep_what_is_set_and_are_rolled_up_as_often(all_set: Synthesized) -> None:
    tables = {
        t["Properties"]["TableName"]: t["Properties"] for t in all_set.resources("AWS::Timestream::Table").values()
    }
    (query,) = all_set.resources("AWS::Timestream::ScheduledQuery").values()

    assert tables[store.TABLE]["RetentionProperties"] == {
        "MemoryStoreRetentionPeriodInHours": str(14 * 24),
        "MagneticStoreRetentionPeriodInDays": "730",
    }
    assert tables[store.HOURLY_TABLE]["RetentionProperties"]["MagneticStoreRetentionPeriodInDays"] == "730"
    assert query["Properties"]["ScheduleConfiguration"] == {"ScheduleExpression": "rate(1 hour)"}


def test_grafana_elsewhere_takes_the_role_with_what_it_must_say(all_set: Synthesized) -> None:
    roles = [role["Properties"] for role in all_set.resources("AWS::IAM::Role").values()]
    (trust,) = [
        statement
        for role in roles
        for statement in role["AssumeRolePolicyDocument"]["Statement"]
        if "AWS" in statement["Principal"]
    ]

    assert "008923505280" in json.dumps(trust["Principal"]["AWS"])
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": "12345"}}


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
