"""`solarshed override` and `status` against an emulated AWS, with a stand-in for the device."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.cloud_fixture import Cloud
from tests.owner.commands import solarshed
from tests.owner.stand_in import StandIn, hot

if TYPE_CHECKING:
    from mypy_boto3_iot_data import IoTDataPlaneClient

pytestmark = [pytest.mark.xdist_group("emulator"), pytest.mark.timeout(240)]


@pytest.fixture
def iot_data(cloud: Cloud) -> "IoTDataPlaneClient":
    client: IoTDataPlaneClient = cloud.emulator.client("iot-data")
    return client


@pytest.fixture
def thing(cloud: Cloud) -> str:
    name = f"shed-{uuid4().hex[:8]}"
    cloud.emulator.client("iot").create_thing(thingName=name)
    return name


def test_an_override_waits_for_the_devices_answer_and_auto_ends_it(
    cloud: Cloud, thing: str, iot_data: "IoTDataPlaneClient"
) -> None:
    environment = cloud.emulator.client_environment()

    with StandIn(iot_data, thing) as device:
        begun_s = time.time()
        grid = solarshed(environment, "override", thing, "grid", "--for", "1h30m")
        wished = device.shadow()["state"]["desired"]["override"]
        again = solarshed(environment, "override", thing, "grid", "--for", "1h30m")
        auto = solarshed(environment, "override", thing, "auto")
        left = device.shadow()["state"].get("desired")

    assert (grid.returncode, grid.stderr) == (0, "")
    assert grid.stdout.startswith(f"{thing}: grid until ")
    assert grid.stdout.endswith(" (in 1 h 30 min): relays closed\n")
    assert wished["mode"] == "grid"
    assert isinstance(wished["until"], int)
    assert begun_s + 5399 <= wished["until"] <= begun_s + 5460
    assert again.returncode == 0
    assert (auto.returncode, auto.stdout) == (
        0,
        f"{thing}: auto: the rules decide; relays closed, because nothing asks for a change\n",
    )
    assert not left


def test_R7_an_override_that_a_safety_rule_suppresses_is_told_with_status_1(
    cloud: Cloud, thing: str, iot_data: "IoTDataPlaneClient"
) -> None:
    with StandIn(iot_data, thing, hot):
        done = solarshed(cloud.emulator.client_environment(), "override", thing, "grid")

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (f"{thing}: grid is not in force: suppressed by over_temperature: the relay box is too hot\n")


def test_a_device_that_does_not_answer_is_told_with_when_the_wish_lapses(
    cloud: Cloud, thing: str, iot_data: "IoTDataPlaneClient"
) -> None:
    device = StandIn(iot_data, thing)  # it has reported once, and does not run

    done = solarshed(cloud.emulator.client_environment(), "override", thing, "battery", "--for", "45m", "--wait", "1")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{thing} has not answered within 1 s; it was last heard at ")
    assert "The wish stays: " in done.stderr
    assert "when it lapses (in 45 min)." in done.stderr
    assert device.shadow()["state"]["desired"]["override"]["mode"] == "battery"


def test_status_shows_what_the_device_reported_without_colours(
    cloud: Cloud, thing: str, iot_data: "IoTDataPlaneClient"
) -> None:
    StandIn(iot_data, thing)

    done = solarshed(cloud.emulator.client_environment(), "status", thing)

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == f"{thing}: on BATTERY (relays open), because the battery has recovered"
    assert "  battery     51.2 V, 0 s old from mx2" in lines
    assert "\x1b" not in done.stdout


def test_status_as_json_is_for_scripts(cloud: Cloud, thing: str, iot_data: "IoTDataPlaneClient") -> None:
    device = StandIn(iot_data, thing)
    device.report({"reason": "hold"}, desired={"override": {"mode": "grid", "until": 1795460000}})

    done = solarshed(cloud.emulator.client_environment(), "status", thing, "--json")

    shown = json.loads(done.stdout)
    assert list(shown) == ["thing", "heard_s_ago", "reported", "desired"]
    assert shown["thing"] == thing
    assert 0 <= shown["heard_s_ago"] < 60
    assert shown["reported"] == device.shadow()["state"]["reported"]
    assert shown["desired"] == {"override": {"mode": "grid", "until": 1795460000}}


@pytest.mark.parametrize("arguments", [["status", "THING"], ["override", "THING", "grid"]], ids=lambda a: a[0])
def test_H14_a_thing_that_has_never_reported_is_told_with_the_remedy(
    arguments: list[str], cloud: Cloud, thing: str
) -> None:
    done = solarshed(cloud.emulator.client_environment(), *(thing if a == "THING" else a for a in arguments))

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert f"{thing} has never reported; start solarshed-uplink on its Pi" in line


def test_a_wish_alone_is_no_report(cloud: Cloud, thing: str, iot_data: "IoTDataPlaneClient") -> None:
    iot_data.update_thing_shadow(
        thingName=thing, payload=json.dumps({"state": {"desired": {"override": None, "a": 1}}})
    )

    done = solarshed(cloud.emulator.client_environment(), "status", thing)

    assert done.returncode == 1
    assert "has never reported" in done.stderr


@pytest.mark.parametrize("arguments", [["status", "nowhere"], ["override", "nowhere", "grid"]], ids=lambda a: a[0])
def test_a_thing_that_is_not_there_is_told_with_the_remedy(arguments: list[str], cloud: Cloud, tmp_path: Path) -> None:
    done = solarshed(cloud.emulator.client_environment(), *arguments, folder=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no thing nowhere in us-east-1; make it with `solarshed provision nowhere`" in done.stderr
