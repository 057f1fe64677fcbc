"""The owner's wish from uplink's letter to the pins and back into the report, with the real process."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.alerts import Alert
from contract.shadow import Mode, Wish
from device.mailbox import LETTER_NAME, REPORT_NAME, Letter, encode_letter, put
from device.outbox import Stream
from tests.device.running import HIGH_V, HOT_C, Shed, until


@pytest.fixture
def shed(tmp_path: Path) -> Iterator[Shed]:
    shed = Shed(tmp_path)
    yield shed
    shed.close()


def ask(shed: Shed, wish: Wish | None) -> None:
    """What uplink writes when the cloud has answered a moment ago."""
    letter = Letter(knows_wish=True, wish=wish, cloud_time=(int(time.time()), time.monotonic()))
    put(shed.runtime, LETTER_NAME, encode_letter(letter))


def wish(mode: str, seconds: float) -> Wish:
    return Wish(Mode(mode), float(int(time.time()) + seconds))


def report(shed: Shed) -> dict[str, Any]:
    path = shed.runtime / REPORT_NAME
    said: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return said


def override_state(shed: Shed) -> str | None:
    override = report(shed).get("override")
    return None if override is None else override["state"]


def test_a_wish_moves_the_relays_ends_by_itself_and_is_reported(shed: Shed) -> None:
    shed.mate.voltage_v = HIGH_V
    shed.start()
    until(shed.deciding)

    asked = wish("grid", 4)
    ask(shed, asked)
    until(shed.on_grid)
    until(lambda: override_state(shed) == "active")
    in_force = report(shed)
    until(shed.on_battery)
    until(lambda: override_state(shed) == "ended")
    ended_at = time.time()

    assert (in_force["mode"], in_force["reason"], in_force["position"]) == ("grid", "override", "grid")
    assert in_force["override"]["until"] == asked.until_s
    assert abs(in_force["override"]["ends_at"] - (asked.until_s or 0)) <= 1
    assert ended_at >= (asked.until_s or 0) - 0.1
    assert report(shed)["mode"] == "auto"
    assert "override" in [row["reason"] for row in shed.rows(Stream.TELEMETRY)]
    assert shed.stop() == 0
    assert report(shed)["reason"] == "stopped"


def test_the_owner_ends_it(shed: Shed) -> None:
    shed.mate.voltage_v = HIGH_V
    shed.start()
    until(shed.deciding)
    ask(shed, wish("grid", 60))
    until(shed.on_grid)

    ask(shed, Wish(Mode.AUTO, None))
    until(shed.on_battery)
    until(lambda: override_state(shed) == "ended")

    assert report(shed)["override"]["mode"] == "auto"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_C5_an_override_outlives_control_and_ends_when_it_would_have(number: signal.Signals, shed: Shed) -> None:
    shed.mate.voltage_v = HIGH_V
    process = shed.start()
    until(shed.deciding)
    asked = wish("grid", 8)
    ask(shed, asked)
    until(shed.on_grid)
    until(lambda: "until_ms" in (shed.state / "state.json").read_text())
    process.send_signal(number)
    process.wait(10)
    (shed.runtime / LETTER_NAME).unlink()  # uplink is gone as well, and with it all that it knew

    shed.start()
    until(lambda: override_state(shed) == "active" and shed.on_grid())
    until(shed.on_battery)

    assert time.time() >= (asked.until_s or 0) - 0.1
    until(lambda: override_state(shed) == "ended")


def test_H8_one_that_is_over_is_not_taken_up_again_by_the_next_process(shed: Shed) -> None:
    shed.mate.voltage_v = HIGH_V
    process = shed.start()
    until(shed.deciding)
    asked = wish("grid", 3)
    ask(shed, asked)
    until(shed.on_grid)
    until(shed.on_battery)
    until(lambda: '"state":"ended"' in (shed.state / "state.json").read_text())
    process.kill()
    process.wait(10)

    shed.start()
    # The cloud repeats it, and by its clock it has an hour to go.
    letter = Letter(knows_wish=True, wish=asked, cloud_time=(int(time.time()) - 3600, time.monotonic()))
    put(shed.runtime, LETTER_NAME, encode_letter(letter))
    until(shed.deciding)
    time.sleep(2)

    assert shed.on_battery()
    assert override_state(shed) == "ended"


def test_R7_a_safety_rule_wins_and_the_report_says_so(shed: Shed) -> None:
    shed.mate.voltage_v = HIGH_V
    shed.start()
    until(shed.deciding)
    ask(shed, wish("grid", 60))
    until(shed.on_grid)

    shed.thermometer.write(HOT_C)
    until(shed.on_battery)
    until(lambda: (report(shed)["override"] or {}).get("because") == "the box is too hot")

    assert override_state(shed) == "suppressed"
    assert (report(shed)["mode"], report(shed)["reason"]) == ("grid", "over_temperature")


def test_H4_a_letter_that_is_garbage_changes_nothing(shed: Shed) -> None:
    shed.mate.voltage_v = HIGH_V
    shed.start()
    until(shed.deciding)
    ask(shed, wish("grid", 60))
    until(shed.on_grid)

    put(shed.runtime, LETTER_NAME, '{"version":1,"knows_wish":true,"wish":{"mode":"battery"}}')
    until(lambda: "overrides from afar wait" in shed.words)
    time.sleep(0.5)

    assert shed.on_grid()
    assert report(shed)["reason"] == "override"


def test_N5_N8_N9_what_uplink_notices_control_raises_and_counts(shed: Shed) -> None:
    shed.start()
    until(shed.deciding)
    noticed = frozenset({Alert.DUPLICATE_CLIENT_ID, Alert.DELIVERY_REFUSED, Alert.SHADOW_UNAVAILABLE})

    put(shed.runtime, LETTER_NAME, encode_letter(Letter(alerts=noticed, counts={"connections": 3})))
    until(lambda: noticed <= {row["alert"] for row in shed.rows(Stream.ALERT)})
    until(lambda: noticed <= set(report(shed)["alerts"]))

    assert report(shed)["counts"]["connections"] == 3
    assert shed.rows(Stream.TELEMETRY)[-1]["devices"]["pi0"]["connections"] == 3
