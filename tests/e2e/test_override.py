"""The owner's wish from the cloud to the pins and back, with control, uplink and the broker as they are.

Rows H of the fault catalogue, with IoT policies enforced. What a real broker never does (H3 to H5, H10, H11) is in
tests/device/uplink/test_service.py.
"""

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import pairwise

import pytest

from contract.shadow import MAX_DOCUMENT_BYTES
from device.mailbox import LETTER_NAME
from tests.cloud_fixture import Cloud
from tests.device import running as running_shed
from tests.device.running import COOL_C, HOT_C
from tests.e2e.whole_shed import Json, WholeShed, now_s

pytestmark = [pytest.mark.xdist_group("emulator"), pytest.mark.timeout(240)]

# What the clocks' whole seconds and the ways there and back may cost.
LATE_S = 3.0
# All tests move one shed's relays, more often than a day allows. Samples are not what this is about.
SETTINGS = running_shed.CONFIG.replace(
    "[relays]", "[relays]\nmost_transfers = 100\nmost_transfers_within_s = 60"
).replace("sample_interval_s = 0.5", "sample_interval_s = 60")


@pytest.fixture(scope="module")
def running(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeShed]:
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(WholeShed(cloud, tmp_path_factory.mktemp("shed"))) as device,
    ):
        patch.setattr(running_shed, "CONFIG", SETTINGS)
        device.shed.start()
        device.until(device.shed.deciding)
        yield device


@pytest.fixture
def device(running: WholeShed) -> Iterator[WholeShed]:
    """On battery, with a network and without a wish."""
    if running.uplink is None:
        running.start_uplink()
    running.until(running.shed.on_battery)
    yield running
    running.network.restore()
    running.shed.thermometer.write(COOL_C)
    running.wish({"mode": "auto", "until": None})


def grid(seconds: float) -> Json:
    return {"mode": "grid", "until": now_s() + seconds}


def battery(seconds: float) -> Json:
    return {"mode": "battery", "until": now_s() + seconds}


def take_up(device: WholeShed, wish: Json) -> None:
    """Wish for grid, and wait until the relays are closed and the owner knows."""
    device.wish(wish)
    device.until(device.shed.on_grid)
    device.until(lambda: device.answer().get("until") == wish["until"] and device.answer()["state"] == "active")


def until_over(device: WholeShed, wish: Json) -> float:
    """Wait until the relays are open again and the owner's wish is gone; when the relays were, epoch."""
    device.until(device.shed.on_battery, timeout_s=30)
    ended_at = time.time()
    device.until(lambda: device.answer().get("until") == wish["until"] and device.answer()["state"] == "ended")
    device.until(lambda: "override" not in device.desired)
    return ended_at


def test_H14_the_first_connection_makes_a_shadow_that_says_everything(running: WholeShed) -> None:
    assert running.shadow() == {}

    running.start_uplink()
    running.until(lambda: running.reported.get("readings", {}).get("battery_voltage_v"))
    running.until(lambda: running.reported["reason"] in ("hold", "battery_recovered"))

    reported = running.reported
    assert (reported["position"], reported["mode"], reported["alerts"]) == ("battery", "auto", [])
    assert abs(reported["since"] - time.time()) < 60
    assert reported["readings"]["battery_voltage_v"]["value"] == 53.0
    assert 0 <= reported["readings"]["battery_voltage_v"]["age_s"] < 2
    assert reported["readings"]["box_temperature_c"]["source"].startswith("28-")
    assert reported["software"]
    assert not {"override", "refused", "ignored"} & reported.keys()
    assert running.desired == {}


def test_a_wish_moves_the_relays_ends_by_itself_and_everything_is_reported(device: WholeShed) -> None:
    asked = grid(6)
    began_s = time.monotonic()
    take_up(device, asked)
    took_s = time.monotonic() - began_s
    in_force = device.shadow()
    ended_at = until_over(device, asked)
    afterwards = device.reported

    assert took_s < 5.0
    reported = in_force["state"]["reported"]
    assert (reported["position"], reported["reason"], reported["mode"]) == ("grid", "override", "grid")
    assert abs(reported["override"]["ends_at"] - asked["until"]) <= 1
    assert abs(reported["next_change_at"] - asked["until"]) <= 1
    assert abs(reported["since"] - (asked["until"] - 6)) <= LATE_S
    assert {"readings", "alerts", "software", "time", "clock_synchronised"} <= reported.keys()
    assert len(json.dumps(in_force["state"])) < MAX_DOCUMENT_BYTES
    assert asked["until"] - 0.2 <= ended_at <= asked["until"] + LATE_S
    assert (afterwards["position"], afterwards["mode"]) == ("battery", "auto")
    assert device.desired == {}


def test_the_owners_commands_are_answered_by_the_device(device: WholeShed) -> None:
    asked = device.run("override", "grid", "--for", "1h")
    assert device.shed.on_grid()
    said = device.run("status")
    ended = device.run("override", "auto")
    device.until(lambda: not device.desired)

    assert (asked.returncode, asked.stderr) == (0, "")
    assert "relays closed" in asked.stdout
    assert said.returncode == 0
    assert f"{device.thing}: on GRID" in said.stdout
    assert "53.0 V" in said.stdout
    assert (ended.returncode, ended.stderr) == (0, "")
    assert device.shed.on_battery()


def test_H1_H9_names_that_mean_nothing_are_told_and_change_nothing(device: WholeShed) -> None:
    wish = grid(3600) | {"why": "guests"}
    device.wish(wish, battery={"low_voltage_v": 63.0, "recover_voltage_v": 40.0}, interval_s=1)
    device.until(device.shed.on_grid)
    device.until(lambda: "ignored" in device.reported)

    assert device.reported["ignored"] == ["battery", "interval_s", "override.why"]
    assert device.refusal() is None
    device.until(lambda: device.answer().get("state") == "active")
    device.wish({"mode": "auto", "until": None, "why": None}, battery=None, interval_s=None)
    device.until(device.shed.on_battery)


def test_H2_H13_a_malformed_wish_is_refused_whole_and_once_and_an_override_goes_on(device: WholeShed) -> None:
    take_up(device, grid(3600))
    malformed: list[object] = [
        {"mode": "on"},
        {"mode": "battery", "until": str(now_s() + 60)},
        [],
    ]

    for wish in malformed:
        refusal = device.refusal()
        device.wish(wish)
        device.until(lambda before=refusal: device.refusal() not in (None, before))  # type: ignore[misc]
        assert device.refusal().startswith("override")  # type: ignore[union-attr]
        assert device.shed.on_grid()
    for _ in range(2):  # a delta each, and with it another look
        version = device.wish(malformed[-1])
        time.sleep(1.0)

    assert device.version == version
    assert device.desired == {"override": []}
    assert (device.reported["reason"], device.answer()["state"]) == ("override", "active")
    assert device.shed.on_grid()
    assert device.words.count("is refused") == len(malformed)

    device.wish({"mode": "auto"})
    device.until(lambda: device.refusal() is None and device.shed.on_battery())


def test_H7_one_that_is_over_does_not_begin_one_without_an_end_neither_and_ten_years_are_a_day(
    device: WholeShed,
) -> None:
    device.wish(grid(-5))
    device.until(lambda: device.answer().get("state") == "expired")
    device.until(lambda: not device.desired)
    assert device.shed.on_battery()

    # Another mode than the one that was reported: AWS tells the device of differences only.
    device.wish({"mode": "battery"})
    device.until(lambda: "override.until is missing" in (device.refusal() or ""))
    assert device.shed.on_battery()

    ten_years = grid(timedelta(days=3650).total_seconds())
    device.wish(ten_years)
    device.until(lambda: device.answer().get("until") == ten_years["until"])
    device.until(device.shed.on_grid)
    assert device.answer()["state"] == "active"
    assert abs(device.answer()["ends_at"] - (time.time() + 86_400)) < 10
    assert device.refusal() is None


def test_H8_the_same_wish_set_again_after_its_end_begins_nothing_and_is_taken_away(device: WholeShed) -> None:
    asked = grid(4)
    take_up(device, asked)
    until_over(device, asked)
    transfers = moves(device)

    # The note makes AWS tell the device: a wish that equals what is reported makes no delta.
    device.wish(asked, note="again")
    device.until(lambda: "override" not in device.desired)
    device.wish(None, note=None)

    assert device.shed.on_battery()
    assert moves(device) == transfers
    assert device.answer()["state"] == "ended"


def moves(device: WholeShed) -> int:
    """How often control has moved the relays since its start, by its own log."""
    on_grid = ["GRID:" in line for line in device.shed.words.splitlines() if "GRID:" in line or "BATTERY:" in line]
    return sum(one is not other for one, other in pairwise(on_grid))


def test_H6_a_shadow_that_was_deleted_is_made_again_and_heard(device: WholeShed) -> None:
    device.delete_shadow()
    assert device.shadow() == {}

    asked = grid(4)
    take_up(device, asked)
    assert device.reported["readings"]["battery_voltage_v"]["value"] == 53.0

    until_over(device, asked)


def test_H12_of_a_storm_of_wishes_the_last_one_wins_and_the_relays_keep_their_pause(device: WholeShed) -> None:
    before, began_s = moves(device), time.monotonic()
    for number in range(99):
        device.wish(battery(3600 + number) if number % 2 else grid(3600 + number))
    last = grid(7200)
    device.wish(last)
    device.until(lambda: device.answer().get("until") == last["until"] and device.answer()["state"] == "active")
    took_s = time.monotonic() - began_s

    assert device.shed.on_grid()
    # relays.override_pause_s is 1 s here.
    assert 1 <= moves(device) - before <= math.ceil(took_s) + 1


def test_H15_one_asked_for_while_the_network_is_cut_comes_when_it_is_back(device: WholeShed) -> None:
    device.network.cut()
    asked = grid(60)
    device.wish(asked)
    device.until(lambda: "disconnected from" in device.words)
    assert device.shed.on_battery()

    device.network.restore()

    device.until(device.shed.on_grid)
    device.until(lambda: device.answer().get("until") == asked["until"])


def test_one_in_force_ends_at_its_time_without_a_network_and_the_wish_goes_when_it_is_back(device: WholeShed) -> None:
    asked = grid(5)
    take_up(device, asked)
    device.network.cut()

    device.until(device.shed.on_battery)
    ended_at = time.time()
    assert asked["until"] - 0.2 <= ended_at <= asked["until"] + LATE_S
    assert device.desired == {"override": asked}
    assert device.answer()["state"] == "active"

    device.network.restore()
    until_over(device, asked)


def test_R7_H16_heat_suppresses_a_wish_and_the_owner_is_told(device: WholeShed) -> None:
    take_up(device, grid(3600))

    device.shed.thermometer.write(HOT_C)
    device.until(device.shed.on_battery, timeout_s=2)
    device.until(lambda: device.answer()["state"] == "suppressed")
    reported = device.reported
    assert (reported["position"], reported["reason"]) == ("battery", "over_temperature")
    assert reported["override"]["because"] == "the box is too hot"
    assert "over_temperature" in reported["alerts"]
    assert device.shed.on_battery()

    device.shed.thermometer.write(COOL_C)
    device.until(device.shed.on_grid)
    device.until(lambda: device.answer()["state"] == "active")


def test_C5_killed_together_control_and_uplink_end_it_when_it_would_have_ended(device: WholeShed) -> None:
    asked = grid(8)
    take_up(device, asked)
    device.until(lambda: "until_ms" in (device.shed.state / "state.json").read_text())
    for process in (device.shed.process, device.uplink):
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    (device.shed.runtime / LETTER_NAME).unlink()

    device.shed.start()
    device.until(lambda: device.shed.deciding() and device.shed.on_grid())
    device.start_uplink()
    ended_at = until_over(device, asked)

    assert asked["until"] - 0.2 <= ended_at <= asked["until"] + LATE_S


@pytest.mark.parametrize("delay_s", [0.0, 0.5])
def test_H10_a_new_wish_at_the_moment_the_old_one_ends_is_never_erased(delay_s: float, device: WholeShed) -> None:
    asked = grid(3)
    device.wish(asked)
    device.until(device.shed.on_grid)
    device.until(device.shed.on_battery)
    time.sleep(delay_s)  # within a second uplink takes the old wish away

    following = grid(3600)
    device.wish(following)
    device.until(device.shed.on_grid)
    device.until(lambda: device.answer().get("until") == following["until"] and device.answer()["state"] == "active")

    assert device.desired == {"override": following}
    assert device.shed.on_grid()
