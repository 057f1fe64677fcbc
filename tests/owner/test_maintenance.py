"""`solarshed pause` and `resume`: what they do to the registry, then as a user runs them against an emulated AWS."""

import os
import time
from collections.abc import Iterator
from email.utils import formatdate
from uuid import uuid4

import pytest
from botocore.stub import Stubber
from moto import mock_aws

from contract.heartbeat import PAUSED_UNTIL
from owner import maintenance
from owner.session import Account, AwsError
from owner.status import pause_in_words
from tests.cloud_fixture import Cloud
from tests.owner.commands import solarshed
from tests.owner.stand_in import StandIn

HOUR_S = 3600


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """One in which there is a thing `shed`, with an attribute of the owner's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with mock_aws():
        account = Account(None, "eu-west-1")
        account.iot.create_thing(thingName="shed", attributePayload={"attributes": {"site": "garden"}})
        yield account


def attributes(account: Account) -> dict[str, str]:
    return account.iot.describe_thing(thingName="shed")["attributes"]


# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("3d", 259200), ("1d1h1m", 90060), ("7d", 604800), ("168h", 604800)],
)
def test_a_duration_is_read_with_its_units(text: str, seconds: int) -> None:
    assert maintenance.pause_s(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "2 h", "-1h", "1.5h", "h", "90s", "30m1h", "0m", "2H", "\u0663h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write one such as 45m, 2h, 1h30m or 3d"):
        maintenance.pause_s(text)


@pytest.mark.parametrize("text", ["7d1m", "8d", "169h", "9999999d"])
def test_L12_a_pause_of_more_than_a_week_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ValueError, match="too long: a pause that is forgotten must end by itself; write 7d at most"):
        maintenance.pause_s(text)


# The registry


def test_a_pause_is_written_beside_what_is_there(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    begun_s = int(time.time())

    assert maintenance.pause(account, "shed", 2 * HOUR_S) == 0

    kept = attributes(account)
    assert kept.keys() == {"site", PAUSED_UNTIL}
    assert begun_s + 2 * HOUR_S - 1 <= int(kept[PAUSED_UNTIL]) <= time.time() + 2 * HOUR_S
    said = capsys.readouterr().out
    assert said.startswith("shed is paused until ")
    assert said.endswith(
        "(in 2 h): silence and blindness of shed raise nothing until then; its own alerts still do. "
        "`solarshed resume shed` ends it.\n"
    )


def test_a_later_pause_takes_the_place_of_an_earlier_one(account: Account) -> None:
    maintenance.pause(account, "shed", 5 * HOUR_S)
    maintenance.pause(account, "shed", HOUR_S)

    assert int(attributes(account)[PAUSED_UNTIL]) <= time.time() + HOUR_S


def test_resume_ends_the_pause_now_and_keeps_when_that_was(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    maintenance.pause(account, "shed", HOUR_S)
    capsys.readouterr()

    assert maintenance.resume(account, "shed") == 0

    assert capsys.readouterr().out == "shed is watched again\n"
    kept = attributes(account)
    assert kept["site"] == "garden"
    assert time.time() - 5 <= int(kept[PAUSED_UNTIL]) <= time.time()


@pytest.mark.parametrize("kept", [None, "1", "soon", "1795460000000"])
def test_resume_of_what_is_not_paused_changes_nothing(
    kept: str | None, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {"site": "garden"} if kept is None else {"site": "garden", PAUSED_UNTIL: kept}
    account.iot.update_thing(thingName="shed", attributePayload={"attributes": before, "merge": True})

    assert maintenance.resume(account, "shed") == 0

    assert capsys.readouterr().out == "shed is not paused\n"
    assert attributes(account) == before


def test_a_thing_that_is_not_there_is_told_with_the_remedy(account: Account) -> None:
    remedy = "there is no thing hut in eu-west-1; make it with `solarshed provision hut`"

    with pytest.raises(AwsError, match=remedy):
        maintenance.pause(account, "hut", 60)
    with pytest.raises(AwsError, match=remedy):
        maintenance.resume(account, "hut")


def test_a_user_who_may_not_is_told_which_action(account: Account) -> None:
    with Stubber(account.iot) as stub:
        stub.add_client_error("describe_thing", "AccessDeniedException", "not for you.")

        with pytest.raises(AwsError, match="your AWS user may not do DescribeThing: not for you; allow it that action"):
            maintenance.pause(account, "shed", 60)


@pytest.mark.parametrize("ahead_s", [-86400, 86400])
def test_C6_a_pause_is_counted_by_awss_clock(ahead_s: int, account: Account) -> None:
    aws_s = int(time.time()) + ahead_s
    answer = {"attributes": {}, "ResponseMetadata": {"HTTPHeaders": {"date": formatdate(aws_s, usegmt=True)}}}
    wanted = {"attributes": {PAUSED_UNTIL: str(aws_s + 60)}, "merge": True}
    with Stubber(account.iot) as stub:
        stub.add_response("describe_thing", answer, {"thingName": "shed"})
        stub.add_response("update_thing", {}, {"thingName": "shed", "attributePayload": wanted})

        maintenance.pause(account, "shed", 60)


@pytest.mark.parametrize("headers", [{}, {"date": "tomorrow"}])
def test_where_aws_does_not_say_what_time_it_is_this_machines_clock_counts(
    headers: dict[str, str], account: Account
) -> None:
    with Stubber(account.iot) as stub:
        stub.add_response("describe_thing", {"ResponseMetadata": {"HTTPHeaders": headers}}, {"thingName": "shed"})

        assert abs(maintenance.read(account, "shed").now_s - time.time()) < 5


# Status


def test_status_says_until_when_a_thing_is_paused(account: Account) -> None:
    assert pause_in_words(account, "shed") is None
    maintenance.pause(account, "shed", 2 * HOUR_S)
    words = pause_in_words(account, "shed")
    maintenance.resume(account, "shed")

    assert words is not None
    assert words.startswith("until ")
    assert words.endswith("(in 2 h): its silence raises nothing")
    assert pause_in_words(account, "shed") is None


def test_status_of_a_user_who_may_not_see_it_says_so(account: Account) -> None:
    with Stubber(account.iot) as stub:
        stub.add_client_error("describe_thing", "AccessDeniedException", "not for you.")

        words = pause_in_words(account, "shed")

    assert words is not None
    assert words.startswith("unknown: your AWS user may not do DescribeThing: not for you")


# As a user runs them


@pytest.mark.xdist_group("emulator")
@pytest.mark.timeout(240)
def test_pause_and_resume_are_told_by_status(cloud: Cloud) -> None:
    environment, thing = cloud.emulator.client_environment(), f"shed-{uuid4().hex[:8]}"
    cloud.emulator.client("iot").create_thing(thingName=thing)
    StandIn(cloud.emulator.client("iot-data"), thing)

    paused = solarshed(environment, "pause", thing, "--for", "1h30m")
    while_paused = solarshed(environment, "status", thing)
    resumed = solarshed(environment, "resume", thing)
    after = solarshed(environment, "status", thing)

    assert [done.returncode for done in (paused, while_paused, resumed, after)] == [0, 0, 0, 0]
    assert paused.stdout.startswith(f"{thing} is paused until ")
    (line,) = [line for line in while_paused.stdout.splitlines() if line.startswith("  paused ")]
    assert line.endswith("(in 1 h 30 min): its silence raises nothing")
    assert resumed.stdout == f"{thing} is watched again\n"
    assert "paused" not in after.stdout


@pytest.mark.xdist_group("emulator")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("arguments", [["pause", "nowhere", "--for", "2h"], ["resume", "nowhere"]], ids=lambda a: a[0])
def test_a_thing_that_is_nowhere_is_told_in_one_line(arguments: list[str], cloud: Cloud) -> None:
    done = solarshed(cloud.emulator.client_environment(), *arguments)

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"solarshed {arguments[0]}: there is no thing nowhere in us-east-1; make it with")
