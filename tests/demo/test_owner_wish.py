"""The demo's stand-in for the owner: when and what it asks, and what it tells."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import pytest

from contract.shadow import Mode
from demo import owner_wish
from demo.narrator import iso
from demo.owner_wish import EmulatedAccount, OwnerStandIn, clock, fate, mode_to_ask
from demo.processes import DemoError
from demo.report import override_as_json
from page.wishes import Override
from tests.page.page_overrides import GivenOverrides

UNTIL_MS = 1795457410_000
ON_BATTERY = {"position": "battery", "reason": "hold", "measures": {"battery_voltage_v": 51.2}}
ASKED = Override("battery", UNTIL_MS, asked_ms=UNTIL_MS - 10_000)
ACTIVE = replace(ASKED, state="active", ends_at_ms=UNTIL_MS, applied_ms=UNTIL_MS - 9000)
ENDED = replace(ACTIVE, state="ended", because="its time is over", ends_at_ms=None, ended_ms=UNTIL_MS)


def on_grid(voltage_v: float | None) -> dict[str, Any]:
    measures = {"battery_low_voltage_v": 49.9, "battery_voltage_v": voltage_v}
    known = {name: value for name, value in measures.items() if value is not None}
    return {"position": "grid", "reason": "battery_low", "measures": known}


class IotData:
    """The shadow of a device that has reported; keeps what is wished."""

    def __init__(self) -> None:
        self.wishes: list[dict[str, Any]] = []

    def get_thing_shadow(self, **_: str) -> dict[str, Any]:
        shadow = {"state": {"reported": {"position": "battery"}}, "version": 1, "timestamp": 1795457400}
        return {"payload": BytesIO(json.dumps(shadow).encode())}

    def update_thing_shadow(self, *, payload: bytes, **_: str) -> dict[str, Any]:
        self.wishes.append(json.loads(payload)["state"]["desired"]["override"])
        return {"payload": BytesIO(b'{"version": 2}')}


class FakeAccount(EmulatedAccount):
    """An account with nothing in it but a shadow."""

    def __init__(self, iot_data: Any) -> None:  # noqa: ANN401 - as much of a boto3 client as is needed
        super().__init__("http://127.0.0.1:1")
        self.__dict__["iot_data"] = iot_data


@dataclass
class Scene:
    """A stand-in that has been made, and everything around it."""

    sample: dict[str, Any] | None = field(default_factory=lambda: dict(ON_BATTERY))
    overrides: GivenOverrides = field(default_factory=GivenOverrides)
    iot_data: IotData = field(default_factory=IotData)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        account = FakeAccount(self.iot_data)
        self.owner = OwnerStandIn(account, "shed", self.overrides, lambda: self.sample, self.said.append)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(owner_wish, "FIRST_AFTER_S", 0.1)
    monkeypatch.setattr(owner_wish, "EVERY_S", 0.3)
    monkeypatch.setattr(owner_wish, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(owner_wish, "_ASK_AGAIN_AFTER_S", 0.05)
    made = Scene()
    yield made
    made.owner.stop()


def wait_until(holds: Any) -> None:  # noqa: ANN401 - a condition
    deadline_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_it_asks_for_ten_seconds_by_the_shadow_and_again_later(scene: Scene) -> None:
    scene.owner.start()

    wait_until(lambda: len(scene.iot_data.wishes) == 2)

    assert scene.iot_data.wishes[0] == {"mode": "grid", "until": 1795457410}


def test_it_leaves_an_override_that_stands_alone(scene: Scene) -> None:
    scene.overrides.standing = [ACTIVE]
    scene.owner.start()

    time.sleep(0.3)
    assert scene.iot_data.wishes == []
    scene.overrides.standing = []

    wait_until(lambda: scene.iot_data.wishes)


@pytest.mark.parametrize(
    ("sample", "mode"),
    [
        (ON_BATTERY, Mode.GRID),
        (on_grid(50.2), Mode.BATTERY),
        (on_grid(49.9), Mode.GRID),
        (on_grid(None), Mode.GRID),
    ],
)
def test_it_asks_for_the_other_position_but_not_for_a_low_battery(sample: dict[str, Any], mode: Mode) -> None:
    assert mode_to_ask(sample) is mode


def test_each_step_is_told_once(scene: Scene) -> None:
    scene.owner.start()
    for step in (ASKED, ACTIVE, ACTIVE, ENDED):
        scene.overrides.ended = [step]
        time.sleep(0.1)
    wait_until(lambda: len(scene.said) >= 3)

    until = clock(UNTIL_MS)
    assert scene.said == [
        f"OWNER    asks by shadow: battery until {until}",
        f"OWNER    override in force: battery until {until}",
        "OWNER    override has ended by itself: its time is over",
    ]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (replace(ASKED, state="suppressed", because="the box is too hot"), "override suppressed: the box is too hot"),
        (
            replace(ENDED, because="the owner ended it", ended_ms=UNTIL_MS - 5000),
            "override has ended: the owner ended it",
        ),
        (replace(ASKED, state="waiting"), "override waiting"),
        (
            replace(ACTIVE, ends_at_ms=UNTIL_MS - 60_000),
            f"override in force: battery until {clock(UNTIL_MS - 60_000)}",
        ),
    ],
)
def test_what_the_device_says_is_told_in_its_words(override: Override, words: str) -> None:
    assert fate(override) == words


def test_a_refusal_is_told_once(scene: Scene) -> None:
    scene.overrides.refused = "override.mode is 7"
    scene.owner.start()
    wait_until(lambda: scene.said)
    time.sleep(0.1)

    assert scene.said == ["OWNER    the device refuses what was asked by shadow: override.mode is 7"]


def test_no_answer_is_told_once_and_it_goes_on_when_there_is_one(scene: Scene) -> None:
    scene.overrides.cut = True
    scene.owner.start()
    time.sleep(0.3)
    assert scene.said == ["OWNER    The shadow does not answer: nobody is there."]
    assert scene.iot_data.wishes == []

    scene.overrides.cut = False

    wait_until(lambda: scene.iot_data.wishes)
    scene.owner.check()


def test_what_cannot_go_on_ends_the_demo(scene: Scene) -> None:
    scene.sample = {"position": "grid"}  # no measures: not what a device publishes
    scene.owner.start()
    wait_until(lambda: not any(thread.name == "owner" for thread in threading.enumerate()))

    with pytest.raises(DemoError, match=r"the owner's stand-in has failed: KeyError\('measures'\)"):
        scene.owner.check()


def test_stopping_before_the_start_and_twice_is_harmless(scene: Scene) -> None:
    scene.owner.stop()
    scene.owner.start()
    scene.owner.stop()
    scene.owner.stop()


def test_the_report_has_what_the_device_reported_and_null_for_the_rest() -> None:
    assert override_as_json(ENDED) == {
        "mode": "battery",
        "until": iso(UNTIL_MS),
        "asked": iso(UNTIL_MS - 10_000),
        "applied": iso(UNTIL_MS - 9000),
        "ended": iso(UNTIL_MS),
        "state": "ended",
    }
    unanswered = override_as_json(ASKED)
    assert (unanswered["applied"], unanswered["ended"], unanswered["state"]) == (None, None, None)
