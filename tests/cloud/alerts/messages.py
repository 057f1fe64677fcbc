"""Messages as the queue delivers them."""

import json
import time
from typing import Any

Json = dict[str, Any]

NOW_MS = time.time_ns() // 10**6
RAISED_MS = NOW_MS - 5000


def alert(action: str = "raise", raised_ms: int | None = RAISED_MS, **changes: object) -> Json:
    """One of `battery_low` of the thing `shed`; what is changed to None is left out."""
    message = {
        "schema": 1,
        "thing": "shed",
        "alert": "battery_low",
        "action": action,
        "raised_ms": raised_ms,
        "time_ms": RAISED_MS,
        "received_ms": NOW_MS,
        "boot_id": "4f1d",
        "clock_synchronised": True,
        "severity": "warning",
        "summary": "Shed battery is low",
        "details": {"battery_voltage_v": 47.9},
        **changes,
    }
    return {name: value for name, value in message.items() if value is not None}


SETTLE: Json = {"schema": 1, "settle": True}


def record(message_id: str, message: Json | str, *, receives: int = 1, attributes: Json | None = None) -> Json:
    """A record of the event that Lambda gets."""
    return {
        "messageId": message_id,
        "body": message if isinstance(message, str) else json.dumps(message),
        "attributes": {"ApproximateReceiveCount": str(receives), "SentTimestamp": str(NOW_MS)},
        "messageAttributes": attributes or {},
    }
