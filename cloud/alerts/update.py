"""Brings one incident, and what PagerDuty shows of it, from one state to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cloud.alerts.incidents import Incident, Page

MOST_ROUNDS = 5


class Contended(Exception):  # noqa: N818 - a fact, not a fault
    """Others were faster every time: the message must be delivered again."""


class Store(Protocol):
    """Where incidents are kept. `save` does nothing and returns False if what is kept is not `version` any more."""

    def load(self, thing: str, alert: str) -> tuple[Incident, int]: ...

    def save(self, incident: Incident, version: int) -> bool: ...


def update(
    store: Store,
    thing: str,
    alert: str,
    change: Callable[[Incident], Incident],
    send: Callable[[Page], None],
    *,
    again: bool,
    restates: bool = False,
) -> None:
    """Apply `change`, and send PagerDuty what follows from it.

    It is sent first and kept then: whoever is stopped in between is called again, and PagerDuty joins what has the same
    dedup key. But whoever has sent something that was not kept, or might have (`again`), may have overtaken somebody
    else's newer state; it sends all of the newest state once more, and keeps that in a version of its own, so that
    somebody who meanwhile sends something else notices in turn. What was sent last is thus always what is kept.

    `restates`: see `Incident.pages_since`.

    Raises:
        Contended: it was not possible in MOST_ROUNDS rounds.
        PagerDutyBusy, PagerDutyRefused: by `send`; nothing is kept of this change.
    """
    is_doubtful = again
    for _ in range(MOST_ROUNDS):
        before, version = store.load(thing, alert)
        after = change(before)
        pages = after.pages() if is_doubtful else after.pages_since(before, restates=restates)
        if not pages and after == before:
            return
        for page in pages:
            is_doubtful = True
            send(page)
        if store.save(after, version):
            return
    raise Contended(f"{thing}/{alert} was changed by others {MOST_ROUNDS} times")
