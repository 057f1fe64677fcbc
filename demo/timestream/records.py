"""The records of a WriteRecords request: merged with the common attributes, checked, parsed. No storage here.

A request that is malformed is a ValidationError and stores nothing. A record that is well formed but holds what the
service cannot store becomes a Rejection, and the other records go on.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from .errors import Rejection, ValidationError

MAX_RECORDS = 100
MAX_DIMENSIONS = 128
MAX_DIMENSION_NAME_BYTES = 60
MAX_MEASURE_NAME_BYTES = 256
MAX_MEASURES_PER_RECORD = 256
MAX_VALUE_BYTES = 2048
MAX_RECORD_BYTES = 2048

MULTI = "MULTI"
SCALAR_TYPES = ("DOUBLE", "BIGINT", "VARCHAR", "BOOLEAN")
MULTI_TYPES = (*SCALAR_TYPES, "TIMESTAMP")

_FIXED_VALUE_BYTES = {"DOUBLE": 8, "BIGINT": 8, "TIMESTAMP": 8, "BOOLEAN": 1}
_NS_PER_UNIT = {"NANOSECONDS": 1, "MICROSECONDS": 10**3, "MILLISECONDS": 10**6, "SECONDS": 10**9}
_MAX_INT64 = 2**63 - 1
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_RESERVED_NAMES = {"time", "measure_name", "measure_value"}

Value = float | int | str | bool


@dataclass(frozen=True)
class Measure:
    """One measured value and the column it goes to. A TIMESTAMP is held in nanoseconds since the epoch."""

    column: str
    type_name: str
    value: Value


@dataclass(frozen=True)
class Record:
    """A record that can be stored. `record_index` is its place in the request, `kind` its MeasureValueType."""

    record_index: int
    dimensions: tuple[tuple[str, str], ...]
    measure_name: str
    kind: str
    time_ns: int
    version: int
    measures: tuple[Measure, ...]

    def series_hash(self) -> int:
        """A 64-bit hash of dimensions and measure name: with the time, the identity of a record."""
        return _hash64([self.dimensions, self.measure_name])

    def values_hash(self) -> int:
        """A 64-bit hash of the values: equal for a record that is sent twice."""
        return _hash64(sorted((m.column, m.type_name, repr(m.value)) for m in self.measures))


class _RejectedValueError(ValueError):
    """A value that cannot be stored; its text is the Reason."""


def parse_records(request: Mapping[str, Any]) -> tuple[list[Record], list[Rejection]]:
    """The storable records of a WriteRecords request, and the refusals of the others.

    Raises:
        ValidationError: the request is malformed.
    """
    raw_records = request.get("Records")
    if not isinstance(raw_records, list) or not 1 <= len(raw_records) <= MAX_RECORDS:
        raise ValidationError(f"Records must hold between 1 and {MAX_RECORDS} records")
    common = request.get("CommonAttributes") or {}
    records: list[Record] = []
    rejections: list[Rejection] = []
    for index, raw in enumerate(raw_records):
        merged = _merge(common, raw)
        try:
            records.append(_parse_record(index, merged))
        except _RejectedValueError as error:
            rejections.append(Rejection(index, str(error)))
    return records, rejections


def _merge(common: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **common,
        **raw,
        "Dimensions": [*(common.get("Dimensions") or []), *(raw.get("Dimensions") or [])],
        "MeasureValues": [*(common.get("MeasureValues") or []), *(raw.get("MeasureValues") or [])],
    }


def _parse_record(index: int, raw: Mapping[str, Any]) -> Record:
    unit_ns = _parse_time_unit(raw)
    kind = raw.get("MeasureValueType") or "DOUBLE"
    measure_name = raw.get("MeasureName")
    if not measure_name:
        raise ValidationError(f"record {index} has no MeasureName")
    dimensions = _parse_dimensions(index, raw["Dimensions"])
    time_ns = _parse_time(index, raw.get("Time"), unit_ns)
    version = _parse_version(index, raw.get("Version"))
    measures = _parse_measures(index, kind, raw, unit_ns)
    record = Record(index, dimensions, measure_name, kind, time_ns, version, measures)
    _check_size(record)
    return record


def _parse_time_unit(raw: Mapping[str, Any]) -> int:
    unit = raw.get("TimeUnit") or "MILLISECONDS"
    if unit not in _NS_PER_UNIT:
        raise ValidationError(f"TimeUnit {unit!r} is none of {', '.join(_NS_PER_UNIT)}")
    return _NS_PER_UNIT[unit]


def _parse_dimensions(index: int, raw: list[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    if not raw:
        raise ValidationError(f"record {index} has no dimension, and needs at least one")
    dimensions: dict[str, str] = {}
    for dimension in raw:
        name, value = dimension.get("Name"), dimension.get("Value")
        if not name or not value:
            raise ValidationError(f"record {index} has a dimension with an empty name or value")
        if name in dimensions:
            raise ValidationError(f"record {index} has dimension {name!r} twice, common attributes included")
        if (dimension.get("DimensionValueType") or "VARCHAR") != "VARCHAR":
            raise ValidationError(f"dimension {name!r} has another type than VARCHAR")
        _check_column_name(name)
        dimensions[name] = value
    return tuple(sorted(dimensions.items()))


def _check_column_name(name: str) -> None:
    lowered = name.casefold()
    if lowered in _RESERVED_NAMES or lowered.startswith(("ts_", "measure_value")) or ":" in name:
        raise ValidationError(f"{name!r} is a reserved column name, starts like one, or holds a colon")


def _parse_time(index: int, raw: object, unit_ns: int) -> int:
    if not isinstance(raw, str) or not raw.isascii() or not raw.isdigit() or int(raw) * unit_ns > _MAX_INT64:
        raise ValidationError(f"record {index} has a Time that is no whole number since the epoch: {raw!r}")
    return int(raw) * unit_ns


def _parse_version(index: int, raw: object) -> int:
    version = 1 if raw is None else raw
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= _MAX_INT64:
        raise ValidationError(f"record {index} has Version {raw!r}: a whole number of at least 1 was expected")
    return version


def _parse_measures(index: int, kind: str, raw: Mapping[str, Any], unit_ns: int) -> tuple[Measure, ...]:
    if kind == MULTI:
        if raw.get("MeasureValue") is not None:
            raise ValidationError(f"record {index} is MULTI and has a MeasureValue: it belongs in MeasureValues")
        return _parse_multi(index, raw["MeasureValues"], unit_ns)
    if kind not in SCALAR_TYPES:
        raise ValidationError(f"{kind!r} is no type of a single measure: it is one of {', '.join(SCALAR_TYPES)}")
    if raw["MeasureValues"]:
        raise ValidationError(f"record {index} has MeasureValues, which only MULTI takes, and is {kind}")
    value = _check_value_text(index, raw.get("MeasureValue"))
    return (Measure(f"measure_value::{kind.lower()}", kind, _parse_value(kind, value, unit_ns)),)


def _parse_multi(index: int, raw: list[Mapping[str, Any]], unit_ns: int) -> tuple[Measure, ...]:
    if not raw:
        raise _RejectedValueError("A MULTI record needs at least one entry in MeasureValues")
    texts: dict[str, tuple[str, str]] = {}
    for measure in raw:
        name, type_name = measure.get("Name"), measure.get("Type")
        if not name or name in texts:
            raise ValidationError(f"record {index} has a measure without a name, or {name!r} twice")
        if type_name not in MULTI_TYPES:
            raise ValidationError(f"measure {name!r} has type {type_name!r}: it is one of {', '.join(MULTI_TYPES)}")
        _check_column_name(name)
        texts[name] = (type_name, _check_value_text(index, measure.get("Value")))
    return tuple(
        Measure(name, type_name, _parse_value(type_name, text, unit_ns)) for name, (type_name, text) in texts.items()
    )


def _check_value_text(index: int, raw: object) -> str:
    if not isinstance(raw, str) or not 1 <= len(raw.encode()) <= MAX_VALUE_BYTES:
        raise ValidationError(f"record {index} has a value that is no text of 1 to {MAX_VALUE_BYTES} bytes")
    return raw


def _parse_value(type_name: str, text: str, unit_ns: int) -> Value:
    match type_name:
        case "DOUBLE":
            return _parse_double(text)
        case "BIGINT":
            return _parse_bigint(text, 1)
        case "TIMESTAMP":
            return _parse_bigint(text, unit_ns)
        case "BOOLEAN" if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        case "BOOLEAN":
            raise _RejectedValueError(f"{text!r} is no BOOLEAN")
        case _:
            return text


def _parse_double(text: str) -> float:
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise _RejectedValueError(f"{text!r} is no finite DOUBLE")
    return number


def _parse_bigint(text: str, factor: int) -> int:
    number = int(text) * factor if _INTEGER.fullmatch(text) else None
    if number is None or not -_MAX_INT64 - 1 <= number <= _MAX_INT64:
        raise _RejectedValueError(f"{text!r} is no whole number of 64 bits")
    return number


def _check_size(record: Record) -> None:
    if len(record.dimensions) > MAX_DIMENSIONS:
        raise _RejectedValueError(f"The record has more than {MAX_DIMENSIONS} dimensions")
    if len(record.measures) > MAX_MEASURES_PER_RECORD:
        raise _RejectedValueError(f"The record has more than {MAX_MEASURES_PER_RECORD} measures")
    for name, _ in record.dimensions:
        if len(name.encode()) > MAX_DIMENSION_NAME_BYTES:
            raise _RejectedValueError(f"Dimension name {name!r} has more than {MAX_DIMENSION_NAME_BYTES} bytes")
    for name in (record.measure_name, *(measure.column for measure in record.measures)):
        if len(name.encode()) > MAX_MEASURE_NAME_BYTES:
            raise _RejectedValueError(f"Measure name {name!r} has more than {MAX_MEASURE_NAME_BYTES} bytes")
    if _record_bytes(record) > MAX_RECORD_BYTES:
        raise _RejectedValueError(f"The record has more than {MAX_RECORD_BYTES} bytes")


def _record_bytes(record: Record) -> int:
    dimensions = sum(len(name.encode()) + len(value.encode()) for name, value in record.dimensions)
    measures = sum(len(m.column.encode()) + _value_bytes(m) for m in record.measures)
    return 8 + len(record.measure_name.encode()) + dimensions + measures


def _value_bytes(measure: Measure) -> int:
    return _FIXED_VALUE_BYTES.get(measure.type_name) or len(str(measure.value).encode())


def _hash64(content: object) -> int:
    digest = blake2b(json.dumps(content).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
