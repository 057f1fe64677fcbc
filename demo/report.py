"""What happened, as `demo --report` writes it: read back from the store, the outbox, the shadow, the broker and whom
the alerts have paged."""

import json
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from contract import store
from demo.narrator import Narrator, iso
from demo.pagerduty import Event
from device.outbox import Outbox, Stream
from page.wishes import Override


@dataclass(frozen=True)
class Stored:
    """One sample as the store has it."""

    time_ms: int
    sequence: int
    position: str
    reason: str


def stored_samples(timestream_query: Any, thing: str) -> list[Stored]:  # noqa: ANN401 - a boto3 client
    """All samples of `thing` in the store, oldest first."""
    query = (
        f'SELECT to_milliseconds(time) AS t, sequence, position, reason FROM "{store.DATABASE}"."{store.TABLE}" '
        f"WHERE measure_name = '{store.MEASURE_DECISION}' AND thing = '{thing}' ORDER BY time"
    )
    rows: list[Stored] = []
    for page in timestream_query.get_paginator("query").paginate(QueryString=query):
        for row in page["Rows"]:
            time_ms, sequence, position, reason = (cell["ScalarValue"] for cell in row["Data"])
            rows.append(Stored(int(time_ms), int(sequence), position, reason))
    return rows


def wait_until_stored(timestream_query: Any, thing: str, state: Path, timeout_s: float) -> None:  # noqa: ANN401
    """Return when every sample ever taken is in the store, or after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    taken = _samples_taken(state)
    while time.monotonic() < deadline and len(stored_samples(timestream_query, thing)) < taken:
        time.sleep(0.25)


def report(
    timestream_query: Any,  # noqa: ANN401 - a boto3 client
    thing: str,
    state: Path,
    narrator: Narrator,
    heartbeats: int,
    overrides: Iterable[Override],
    paged: Iterable[Event],
    page: str,
) -> Any:  # noqa: ANN401 - JSON
    """The report as an object for JSON."""
    samples = stored_samples(timestream_query, thing)
    taken = _samples_taken(state)
    stored = len({sample.sequence for sample in samples})
    transfers = [
        {"time": iso(now.time_ms), "position": now.position, "reason": now.reason}
        for before, now in pairwise(samples)
        if now.position != before.position
    ]
    return {
        "decisions": narrator.decisions,
        "transfers": transfers,
        "telemetry": {"samples": taken, "stored": stored, "lost": taken - stored},
        "heartbeats": heartbeats,
        "alerts": narrator.alerts,
        "pagerduty": [
            {"time": iso(round(event.time_s * 1000)), "action": event.action, "dedup_key": event.dedup_key}
            for event in paged
        ],
        "overrides": [override_as_json(override) for override in overrides],
        "page": page,
    }


def override_as_json(override: Override) -> dict[str, Any]:
    """One wish and what the device has reported of it; null is what it has not reported."""

    def moment(time_ms: int | None) -> str | None:
        return None if time_ms is None else iso(time_ms)

    return {
        "mode": override.mode,
        "until": iso(override.until_ms),
        "asked": moment(override.asked_ms),
        "applied": moment(override.applied_ms),
        "ended": moment(override.ended_ms),
        "state": override.state,
    }


def _samples_taken(state: Path) -> int:
    """How many samples control has ever put in the outbox."""
    with closing(Outbox(state)) as outbox:
        return outbox.appended(Stream.TELEMETRY)


def write(path: Path, content: Any) -> None:  # noqa: ANN401
    """Write the report as JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n")
