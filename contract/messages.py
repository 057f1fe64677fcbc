"""The messages that a device publishes, as JSON.

Units are in the names (`battery_voltage_v`). Times are epoch milliseconds in UTC by the device's clock, with a
flag that says whether that clock was synchronised. A value that is not known is absent, never null or zero.

A sample is what one decision saw and decided:

    {"time_ms": 1732360000000, "sequence": 17, "boot_id": "...", "clock_synchronised": true,
     "position": "grid", "reason": "battery_low", "alerts": ["battery_low"],
     "measures": {"battery_voltage_v": 49.8, "box_temperature_c": 31.2, "next_change_in_s": 1740.0, ...},
     "inputs": {"battery_voltage_source": "mx2", "ac_mode": "ac_use", ...},
     "devices": {"mx2": {"pv_power_w": 310.0, ...}, "pi0": {"cpu_temperature_c": 48.3, ...}},
     "site": "home", "transfer": "grid: battery_low", "alert_changes": "raised battery_low, cleared over_temperature"}

`site` is the place's name, `contract.store.DEFAULT_SITE` where an older device says none. `transfer` is only in the
sample at which the position changed: where to and why. `alert_changes` is only in the one at which alerts were raised
or cleared.

A telemetry message carries a batch of samples as a table, so that names are said once a message, not once a sample:

    {"schema": 2, "shared": {"boot_id": "...", "clock_synchronised": true, "position": "grid", ...},
     "fields": ["sequence", "time_ms", "measures.battery_voltage_v", "devices.mx2.pv_power_w", ...],
     "samples": [[17, 1732360000000, 49.8, 310.0, ...], ...]}

A field is the path to a value, with "." between the names of nested objects. A row has one value for each field, null
where that sample has none. What all samples have in common is said once, in `shared`, by the same kind of path. Lists
and empty objects are values. No sample has both a value and something below it.

`next_change_in_s` is when position or reason change at the earliest if the sensors go on saying what they say; absent
if nothing is pending. `inputs` says where the deciding values came from, and what decided that is no number.

A heartbeat is the newest finished decision; it is never queued, only replaced:

    {"schema": 1, "time_ms": ..., "boot_id": "...", "clock_synchronised": true, "decision_count": 412,
     "position": "battery", "reason": "hold", "alerts": [],
     "reading_ages_s": {"battery_voltage": 0.4, "box_temperature": 1.1}}

Of alerts tells `contract.alerts`.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

# Of heartbeats and alerts.
SCHEMA = 1
TELEMETRY_SCHEMA = 2

# AWS IoT Core refuses a publish of more than 128 KiB. Room is left for the envelope.
MAX_PAYLOAD_BYTES = 120 * 1024

MAX_SAMPLES_PER_MESSAGE = 100
# Samples have three. A path of thousands would cost whoever decodes it more than its bytes.
MAX_DEPTH = 8

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


def encode_telemetry(samples: Sequence[dict[str, Any]]) -> str:
    """A telemetry message with `samples`; what is None in them is left out.

    Raises:
        MessageError: a name holds a ".", or objects are nested deeper than MAX_DEPTH.
        ValueError: it holds NaN or infinity, which JSON does not have.
    """
    flat = [dict(_leaves((), sample)) for sample in samples]
    paths = dict.fromkeys(path for values in flat for path in values)
    shared = {path: flat[0][path] for path in paths if _is_shared(path, flat)}
    fields = [path for path in paths if path not in shared]
    rows = [[values.get(path) for path in fields] for values in flat]
    return encode({"schema": TELEMETRY_SCHEMA, "shared": shared, "fields": fields, "samples": rows})


def decode_telemetry(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The samples of a telemetry message, in its order. Members of it that are not known are ignored.

    Raises:
        MessageError: it does not follow the contract.
    """
    schema = message.get("schema")
    if schema != TELEMETRY_SCHEMA:
        raise MessageError(f"schema is {schema!r}: this code knows {TELEMETRY_SCHEMA}")
    shared, fields, rows = (message.get(name) for name in ("shared", "fields", "samples"))
    if not isinstance(shared, dict):
        raise MessageError("shared is not an object")
    if not isinstance(fields, list) or not all(isinstance(field, str) for field in fields):
        raise MessageError("fields is not a list of texts")
    if not isinstance(rows, list):
        raise MessageError("samples is not a list")
    paths = _paths([*shared, *fields])
    return [_sample(paths, [*shared.values()], len(fields), row) for row in rows]


def _is_shared(path: str, flat: Sequence[dict[str, object]]) -> bool:
    # Not by ==, to which 1, 1.0 and true are the same.
    first = repr(flat[0].get(path))
    return len(flat) > 1 and all(path in values and repr(values[path]) == first for values in flat)


def _leaves(path: tuple[str, ...], value: object) -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict) or (path and not value):
        if value is not None:
            yield ".".join(path), value
        return
    if len(path) == MAX_DEPTH:
        raise MessageError(f"{'.'.join(path)} is nested deeper than {MAX_DEPTH} objects")
    for name, inner in value.items():
        if "." in name:
            raise MessageError(f"{name!r} holds a dot, which stands between names")
        yield from _leaves((*path, name), inner)


def _paths(fields: Sequence[str]) -> list[list[str]]:
    if len(set(fields)) < len(fields):
        raise MessageError("the same path is named twice")
    paths = [field.split(".") for field in fields]
    if any(len(path) > MAX_DEPTH for path in paths):
        raise MessageError(f"there is a path of more than {MAX_DEPTH} names")
    return paths


def _sample(paths: list[list[str]], shared: list[Any], count: int, row: object) -> dict[str, Any]:
    if not isinstance(row, list) or len(row) != count:
        raise MessageError(f"a sample is not a list of {count} values")
    sample: dict[str, Any] = {}
    # Objects that have come to be by a path through them, and not as a value of their own.
    opened: set[int] = set()
    for path, value in zip(paths, [*shared, *row], strict=True):
        if value is not None:
            _put(sample, opened, path, value)
    return sample


def _put(sample: dict[str, Any], opened: set[int], path: list[str], value: object) -> None:
    if isinstance(value, dict) and value:
        raise MessageError(f"{'.'.join(path)} is an object: its members were expected as fields of their own")
    inside = sample
    for name in path[:-1]:
        if name not in inside:
            inside[name] = {}
            opened.add(id(inside[name]))
        inside = inside[name]
        if id(inside) not in opened:
            raise MessageError(f"{'.'.join(path)} clashes with a value that it passes through")
    if path[-1] in inside:
        raise MessageError(f"{'.'.join(path)} clashes with a path through it")
    inside[path[-1]] = value


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
