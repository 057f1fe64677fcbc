"""Whether Grafana has what we want it to have. To all that it keeps it adds fields of its own: no difference."""

from collections.abc import Iterator, Mapping
from typing import Any


def differences(wanted: Any, found: Any, at: str = "") -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Where `found` says otherwise than `wanted`, in words. What only `found` has is its own; null is absent."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for name, value in wanted.items():
            yield from differences(value, found.get(name), f"{at}.{name}" if at else name)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{at}[{number}]")
    elif wanted != found and not (_is_empty(wanted) and _is_empty(found)):
        yield f"{at} is {_short(found)}, not {_short(wanted)}"


def _is_empty(value: object) -> bool:
    return value is None or value in ("", [], {})


def _short(value: object) -> str:
    text = "missing" if _is_empty(value) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
