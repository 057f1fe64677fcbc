"""Telemetry messages as a hostile device might make them: columns, without a check of what is in them."""

from collections.abc import Iterator
from typing import Any


def columns(*samples: object) -> dict[str, Any]:
    """A message around `samples`; what is no object stands where a row belongs."""
    flat = [dict(_leaves("", sample)) if isinstance(sample, dict) else sample for sample in samples]
    fields = list(dict.fromkeys(path for values in flat if isinstance(values, dict) for path in values))
    rows = [[values.get(path) for path in fields] if isinstance(values, dict) else values for values in flat]
    return {"schema": 2, "shared": {}, "fields": fields, "samples": rows}


def _leaves(before: str, value: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(f"{before}{name}.", inner)
        else:
            yield f"{before}{name}", inner
