"""The messages that a device publishes, as JSON.

Units are in the names (`battery_voltage_v`). Times are epoch milliseconds in UTC by the device's clock, with a
flag that says whether that clock was synchronised. A value that is not known is absent, never null or zero.

A telemetry message carries a batch:

    {"schema": 1, "samples": [SAMPLE, ...]}

and a sample is what one decision saw and decided:

    {"time_ms": 1732360000000, "sequence": 17, "boot_id": "...", "clock_synchronised": true,
     "position": "grid", "reason": "battery_low", "alerts": ["battery_low"],
     "measures": {"battery_voltage_v": 49.8, "box_temperature_c": 31.2, "next_change_in_s": 1740.0, ...},
     "inputs": {"battery_voltage_source": "mx2", "ac_mode": "ac_use", ...},
     "devices": {"mx2": {"pv_power_w": 310.0, ...}, "pi0": {"cpu_temperature_c": 48.3, ...}}}

`next_change_in_s` is when position or reason change at the earliest if the sensors go on saying what they say; absent
if nothing is pending. `inputs` says where the deciding values came from, and what decided that is no number.

A heartbeat is the newest finished decision; it is never queued, only replaced:

    {"schema": 1, "time_ms": ..., "boot_id": "...", "clock_synchronised": true, "decision_count": 412,
     "position": "battery", "reason": "hold", "alerts": [],
     "reading_ages_s": {"battery_voltage": 0.4, "box_temperature": 1.1}}

An alert is raised once and cleared once:

    {"schema": 1, "time_ms": ..., "boot_id": "...", "clock_synchronised": true, "alert": "battery_low",
     "action": "raise", "severity": "warning", "summary": "...", "details": {...}}
"""

import json
import math
from collections.abc import Iterable
from typing import Any

SCHEMA = 1

# AWS IoT Core refuses a publish of more than 128 KiB. Room is left for the envelope.
MAX_PAYLOAD_BYTES = 120 * 1024

MAX_SAMPLES_PER_MESSAGE = 100

RAISE = "raise"
CLEAR = "clear"


class MessageError(ValueError):
    """A message that does not follow this contract; says which field and why."""


def encode(message: dict[str, Any]) -> str:
    """`message` as compact JSON.

    Raises:
        ValueError: it holds NaN or infinity, which JSON does not have.
    """
    return json.dumps(message, separators=(",", ":"), allow_nan=False)


def encode_telemetry(encoded_samples: Iterable[str]) -> str:
    """A telemetry message around samples that are JSON text already."""
    return f'{{"schema":{SCHEMA},"samples":[{",".join(encoded_samples)}]}}'


def check_number(name: str, value: object) -> float:
    """`value` as a finite float. A bool is not a number here, though it is an int in Python.

    Raises:
        MessageError: it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MessageError(f"{name} is {value!r}: a number was expected")
    try:
        number = float(value)
    except OverflowError:
        raise MessageError(f"{name} is too large a number") from None
    if not math.isfinite(number):
        raise MessageError(f"{name} is {value!r}: a finite number was expected")
    return number
