"""A device that answers its shadow as contract/shadow.py says, without relays or sensors."""

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from contract.shadow import Mode, OverrideState, Wish, wish_of

if TYPE_CHECKING:
    from mypy_boto3_iot_data import IoTDataPlaneClient

Json = dict[str, Any]
Answer = Callable[[Wish], Json]


def obedient(wish: Wish) -> Json:
    """Does at once what it is asked."""
    if wish.mode is Mode.AUTO:
        return {"mode": "auto", "reason": "hold", "override": {**wish.as_json(), "state": OverrideState.ENDED}}
    override = {**wish.as_json(), "state": OverrideState.ACTIVE, "ends_at": wish.until_s}
    return {"mode": wish.mode, "position": wish.mode, "reason": "override", "override": override}


def hot(wish: Wish) -> Json:
    """Keeps its relays open, whatever it is asked."""
    override = {**wish.as_json(), "state": OverrideState.SUPPRESSED}
    return {"mode": wish.mode, "position": "battery", "reason": "over_temperature", "override": override}


REPORT: Json = {
    "position": "battery",
    "reason": "battery_recovered",
    "since": 1795452801,
    "mode": "auto",
    "readings": {
        "battery_voltage_v": {"value": 51.24, "age_s": 0.4, "source": "mx2"},
        "box_temperature_c": {"value": 22.5, "age_s": 1.1, "source": "28-000005e2fdc3"},
        "soc_percent": {"value": 83.0, "age_s": 0.4, "source": "fndc3"},
    },
    "alerts": ["battery_low"],
    "software": "0.1.0",
    "boot_id": "stand-in",
    "clock_synchronised": True,
}


class StandIn:
    """Reports once, then answers each wish with what `answer` makes of it. A wish for auto it takes away."""

    def __init__(self, iot_data: "IoTDataPlaneClient", thing: str, answer: Answer = obedient) -> None:
        self._iot_data = iot_data
        self._thing = thing
        self._answer = answer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.report({**REPORT, "time": int(time.time())})

    def report(self, reported: Json, **sides: Json) -> None:
        payload = {"state": {"reported": reported, **sides}}
        self._iot_data.update_thing_shadow(thingName=self._thing, payload=json.dumps(payload))

    def shadow(self) -> Json:
        answer: Json = json.load(self._iot_data.get_thing_shadow(thingName=self._thing)["payload"])
        return answer

    def _run(self) -> None:
        answered = None
        while not self._ended.wait(0.1):
            wish = wish_of(self.shadow()["state"].get("desired"))
            if wish is None or wish == answered:
                continue
            sides: dict[str, Json] = {"desired": {"override": None}} if wish.mode is Mode.AUTO else {}
            self.report(self._answer(wish), **sides)
            answered = wish

    def __enter__(self) -> "StandIn":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
