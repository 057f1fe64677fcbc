"""Says in the terminal what happens, a line per notable event, from what the device publishes."""

import json
import threading
from datetime import UTC, datetime
from typing import Any

from contract import messages, topics


class Narrator:
    """Prints; also remembers the alerts and the newest heartbeat, for the report, and the newest sample."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.decisions = 0
        self.newest_sample: dict[str, Any] | None = None
        self._sequence = 0
        self._position: str | None = None
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """One line, with the time of day."""
        with self._lock:
            print(f"{datetime.now(UTC).astimezone():%H:%M:%S}  {text}", flush=True)

    def hear(self, topic: str, payload: str) -> None:
        """Take a message that a device has published."""
        message = json.loads(payload)
        match topic.rpartition("/")[2]:
            case topics.TELEMETRY:
                for sample in messages.decode_telemetry(message):
                    self._on_sample(sample)
            case topics.ALERT:
                self._on_alert(message)
            case topics.HEARTBEAT:
                self.decisions = message["decision_count"]

    def _on_sample(self, sample: dict[str, Any]) -> None:
        # After a connection has broken some arrive once more.
        if sample["sequence"] <= self._sequence:
            return
        self._sequence = sample["sequence"]
        self.newest_sample = sample
        position = sample["position"]
        if position != self._position:
            self._position = position
            on = "GRID   " if position == "grid" else "BATTERY"
            seen = sample["measures"]
            voltage, box = seen.get("battery_voltage_v"), seen.get("box_temperature_c")
            at = f"battery {voltage:.1f} V" if voltage is not None else "battery unknown"
            hot = f", box {box:.1f} C" if box is not None else ""
            self.say(f"{on}  {sample['reason'].replace('_', ' ')} ({at}{hot})")

    def _on_alert(self, message: dict[str, Any]) -> None:
        word = "ALERT  " if message["action"] == messages.RAISE else "cleared"
        self.alerts.append({"time": iso(message["time_ms"]), "alert": message["alert"], "action": message["action"]})
        self.say(f"{word}  {message['alert']}: {message['summary']}")


def iso(time_ms: int) -> str:
    """Epoch milliseconds as UTC in ISO 8601."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
