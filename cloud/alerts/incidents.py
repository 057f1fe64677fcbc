"""What PagerDuty should show of one alert of one thing: pure, it knows neither clock nor network.

An incident stands while an episode is open. Episodes are told apart by their names, `raised_ms`, so that duplicates and
messages in a wrong order end where the right order would have ended, whatever a device's clock said. An alert that
comes and goes all the time gets one incident of its own, instead of one for each time, until it has become calm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from contract.alerts import Severity, dedup_key

# Later raises of these are known to be over.
_CLOSED_KEPT = 20
# More than one is open only where messages overtake each other or a clock is wrong.
_OPEN_KEPT = 20
_RAISES_KEPT = 100

_LOUDEST_FIRST = list(Severity)


@dataclass(frozen=True)
class Raise:
    """What a message says of the alert, for a human. `time_ms` is when it happened, as well as that is known."""

    summary: str
    severity: Severity
    time_ms: int
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Episode:
    """Once raised and cleared. `received_ms` is when the first message of it reached AWS, by AWS's clock."""

    raised_ms: int
    received_ms: int

    def is_before(self, other: Episode) -> bool:
        """Whether both clocks agree on it: the device's may be wrong, and a message may be overtaken on its way."""
        return self.raised_ms < other.raised_ms and self.received_ms < other.received_ms


@dataclass(frozen=True)
class Page:
    """An incident that PagerDuty is to open or to resolve. `what` says why; a resolve needs none."""

    dedup_key: str
    opens: bool
    thing: str
    alert: str
    what: Raise


@dataclass(frozen=True)
class Damping:
    """An alert flaps once it was raised and cleared more than `most_pairs` times within `calm_after_s`.

    It has become calm when nothing has changed for `calm_after_s`.
    """

    most_pairs: int = 5
    calm_after_s: float = 3600.0

    @property
    def calm_after_ms(self) -> float:
        return 1000 * self.calm_after_s

    @property
    def window(self) -> str:
        return "an hour" if self.calm_after_s == 3600 else f"{self.calm_after_s / 60:g} minutes"


_NOTHING = Raise("", Severity.INFO, 0)


@dataclass(frozen=True)
class Incident:
    """All that is remembered of one alert of one thing. Times are epoch milliseconds by AWS's clock.

    `flapping` says how often it had come and gone when it began to flap; it is empty while it does not.
    """

    thing: str
    alert: str
    open: tuple[Episode, ...] = ()
    closed: tuple[Episode, ...] = ()
    raises_ms: tuple[int, ...] = ()
    flapping: str = ""
    changed_ms: int = 0
    latest: Raise = _NOTHING
    loudest: Severity = Severity.INFO

    @property
    def is_flapping(self) -> bool:
        return bool(self.flapping)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is shown any more."""
        return not self.open and not self.is_flapping

    def raised(self, raised_ms: int, received_ms: int, what: Raise, damping: Damping) -> Incident:
        """After a message that raises the episode `raised_ms`."""
        if self._knows(raised_ms):
            return self
        episode = Episode(raised_ms, received_ms)
        if any(episode.is_before(known) for known in (*self.open, *self.closed)):
            return self._with_closed([episode], received_ms)
        # By when it happened: what was kept back by a dead line arrives all at once.
        newest_ms = max((what.time_ms, *self.raises_ms))
        recent = tuple(at_ms for at_ms in self.raises_ms if at_ms > newest_ms - damping.calm_after_ms)
        begins = not self.is_flapping and not self.open and len(recent) > damping.most_pairs
        # Of one name a device has one episode at a time: the one before is over, though nobody has cleared it.
        before = [known for known in self.open if known.is_before(episode)]
        return replace(
            self._with_closed(before, received_ms),
            open=(*(known for known in self.open if known not in before), episode)[-_OPEN_KEPT:],
            raises_ms=(*recent, what.time_ms)[-_RAISES_KEPT:],
            flapping=f"{len(recent)} times within {damping.window}" if begins else self.flapping,
            latest=what,
            loudest=_loudest([what.severity, self.loudest] if recent else [what.severity]),
        )

    def cleared(self, raised_ms: int | None, received_ms: int) -> Incident:
        """After a message that clears the episode `raised_ms`, or all that are open if it does not say which."""
        ending = [known for known in self.open if raised_ms in (None, known.raised_ms)]
        if ending:
            return self._with_closed(ending, received_ms)
        if raised_ms is None or self._knows(raised_ms):
            return self
        return self._with_closed([Episode(raised_ms, received_ms)], received_ms)

    def settled(self, now_ms: int, damping: Damping) -> Incident:
        """At `now_ms`: what has been calm for long enough does not flap any more."""
        if not self.is_flapping or now_ms - self.changed_ms < damping.calm_after_ms:
            return self
        return replace(self, flapping="", raises_ms=())

    def pages(self) -> list[Page]:
        """Everything that PagerDuty should show or not show, what opens first."""
        own = self._page(dedup_key(self.thing, self.alert), bool(self.open) and not self.is_flapping, self.latest)
        flapping = self._page(
            dedup_key(self.thing, f"flapping/{self.alert}"),
            self.is_flapping,
            replace(
                self.latest,
                summary=f"{self.alert} of {self.thing} comes and goes: {self.flapping}; last: {self.latest.summary}",
                severity=self.loudest,
            ),
        )
        return sorted((own, flapping), key=lambda page: not page.opens)

    def pages_since(self, before: Incident, *, restates: bool = False) -> list[Page]:
        """What PagerDuty does not know yet, if it knows what was to be shown `before`.

        With `restates` also what it may know wrongly of the incident of its own, unless that flaps: where an episode
        begins, a human may have closed the one before, and where none is open, an event that PagerDuty has taken
        without confirming it may have opened one.
        """
        opened = {page.dedup_key for page in before.pages() if page.opens}
        begins, is_closed = set(self.open) - set(before.open), not self.open and not before.open
        own = dedup_key(self.thing, self.alert) if restates and not self.is_flapping and (begins or is_closed) else None
        return [page for page in self.pages() if page.opens != (page.dedup_key in opened) or page.dedup_key == own]

    def _knows(self, raised_ms: int) -> bool:
        return any(known.raised_ms == raised_ms for known in (*self.open, *self.closed))

    def _with_closed(self, ending: list[Episode], received_ms: int) -> Incident:
        return replace(
            self,
            open=tuple(known for known in self.open if known not in ending),
            closed=(*self.closed, *ending)[-_CLOSED_KEPT:],
            changed_ms=max(self.changed_ms, received_ms),
        )

    def _page(self, key: str, opens: bool, what: Raise) -> Page:
        return Page(key, opens, self.thing, self.alert, what)


def _loudest(severities: Iterable[Severity]) -> Severity:
    return min(severities, key=_LOUDEST_FIRST.index)
