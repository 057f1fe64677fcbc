"""Makes texts from devices fit to be shown: no secrets, no control characters, no more than asked for."""

import json
import math
import re
from typing import Any

REDACTED = "[redacted]"
# PagerDuty takes no more in a summary.
MAX_SUMMARY = 1024

_MAX_NAME = 64
_MAX_TEXT = 512
_MAX_MEMBERS = 32
_MAX_DEPTH = 4
_MAX_DETAILS = 16 * 1024
_CUT_DETAILS = 4 * 1024

_SENSITIVE = (
    r"(?:password|passwd|passphrase|pwd|secret|token|credential"
    r"|(?:api|access|private|routing|integration|service)[_\- ]?key)"
)
# Every repetition is bounded, or ends what it has begun, so that no text takes more than linear time.
_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9])(?=[A-Za-z]{0,31}[0-9])(?=[0-9]{0,31}[A-Za-z])[0-9A-Za-z]{32}(?![A-Za-z0-9])"
    r"|(?i:\bbearer\s{1,8}[A-Za-z0-9._~+/=-]{8,})",
    re.DOTALL,
)
_PAIRS = re.compile(rf"(?i)({_SENSITIVE}\w{{0,32}}[\"']?\s{{0,8}}[=:]\s{{0,8}})(?:\"[^\"]*\"?|'[^']*'?|[^\s,;&\"']+)")
_NAMES_A_SECRET = re.compile(_SENSITIVE, re.IGNORECASE)


def redacted(text: str) -> str:
    """`text` without AWS access keys, private keys, bearer tokens, integration keys and `password=...`-like pairs."""
    return _PAIRS.sub(rf"\1{REDACTED}", _SECRETS.sub(REDACTED, text))


def visible(text: str) -> str:
    """`text` with everything that does not print, such as a line feed, as its escape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def cut(text: str, most: int) -> str:
    """`text`, or its beginning with an ellipsis where it has more than `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def shown(text: str, most: int) -> str:
    """`text` without secrets and control characters, in at most `most` characters."""
    return cut(visible(redacted(text)), most)


def shown_details(details: dict[str, Any]) -> dict[str, Any]:
    """An alert's details, bounded in number and depth, and to 16 KB of JSON."""
    inside = {_name(name): _shown_value(name, value, 1) for name, value in _some(details)}
    content = json.dumps(inside)
    return inside if len(content) <= _MAX_DETAILS else {"cut": cut(content, _CUT_DETAILS)}


def _shown_value(name: str, value: object, depth: int) -> object:
    if _NAMES_A_SECRET.search(name) and not isinstance(value, bool | None):
        return REDACTED
    if isinstance(value, dict | list) and depth == _MAX_DEPTH:
        return "..."
    if isinstance(value, dict):
        return {_name(inner): _shown_value(inner, each, depth + 1) for inner, each in _some(value)}
    if isinstance(value, list):
        return [_shown_value("", each, depth + 1) for each in value[:_MAX_MEMBERS]]
    if value is None or isinstance(value, bool):
        return value
    # What has no place in JSON, or is longer than a number should be, is shown as a text.
    if isinstance(value, int | float) and math.isfinite(value) and abs(value) < 1e18:
        return value
    return shown(str(value), _MAX_TEXT)


def _some(members: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(members.items())[:_MAX_MEMBERS]


def _name(name: str) -> str:
    return shown(name, _MAX_NAME)
