"""One run: looks at every thing, raises what is wrong with it, and clears what is not wrong any more.

What a run does follows from the data that it finds. An episode's name is made of them too, so that runs which come
twice, at the same time or not at all say the same, and what is said twice is one episode to whoever hears it.

What is open is listed before the heartbeats: what a run takes for over has then a heartbeat newer than its marker.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloud.heartbeat import verdict, words
from cloud.heartbeat.beats import MAX_BYTES, Beat, parse
from cloud.heartbeat.bucket import Bucket, Listing, Marker, Open
from cloud.heartbeat.registry import Standing
from cloud.heartbeat.verdict import Judgement, Limits, Memory
from contract.alerts import AlertMessage, CloudAlert
from contract.messages import CLEAR, RAISE, MessageError

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

THREADS = 16
# What is not read by then waits for the next run; what has been found is still told.
_ENOUGH_MS = 20_000
_NOTICEABLE_SKEW_MS = 60_000
_MAX_ERROR = 200

_SILENT, _BLIND = CloudAlert.DEVICE_SILENT, CloudAlert.DEVICE_BLIND


@dataclass(frozen=True)
class Ports:
    """Where a run looks, and where it tells. `publish` takes one alert message; all of them may raise anything."""

    bucket: Bucket
    standing: Callable[[str], Standing]
    publish: Callable[[dict[str, Any]], None]
    log: logging.Logger | Logger


# What a run counts. Left: not read, for want of time.
COUNTED = (
    "things",
    "silent",
    "blind",
    "unreadable",
    "paused",
    "unregistered",
    "left",
    "memory_lost",
    "registry_failures",
    "raised",
    "cleared",
    "failures",
)


@dataclass
class Report:
    """What came of a run: counts by name, of COUNTED. `failures` are those over which an alert may not have got out.
    `skew_ms` is the largest difference between AWS's clock and a device's, of those that say that theirs is right."""

    counts: Counter[str] = field(default_factory=Counter)
    skew_ms: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, number: int = 1) -> None:
        """May be called by all threads."""
        with self._lock:
            self.counts[what] += number


@dataclass(frozen=True)
class _Seen:
    """A heartbeat's content, or why it cannot be read."""

    beat: Beat | None
    error: str


@dataclass(frozen=True)
class _Episode:
    """`raised_ms`, but for a pause, which it does not begin before."""

    alert: CloudAlert
    thing: str
    raised_ms: int
    beat_ms: int


def run(ports: Ports, limits: Limits, remaining_ms: Callable[[], int]) -> Report:
    """Look at all things once. `remaining_ms` says how long this may still take.

    Raises:
        ClientError, BotoCoreError: it cannot be listed what there is.
    """
    is_open = ports.bucket.open()
    return _Run(ports, limits, remaining_ms, is_open, ports.bucket.beats()).run()


class _Run:
    def __init__(
        self,
        ports: Ports,
        limits: Limits,
        remaining_ms: Callable[[], int],
        is_open: set[Open],
        listing: Listing,
    ) -> None:
        self._bucket = ports.bucket
        self._ports = ports
        self._log = ports.log
        self._limits = limits
        self._remaining_ms = remaining_ms
        self._open = is_open
        self._beats = listing.beats
        self._now_ms = listing.now_ms
        self._report = Report()
        self._report.count("things", len(listing.beats))
        if listing.strange:
            self._log.warning("%d objects under the heartbeats have no thing's name", listing.strange)

    def run(self) -> Report:
        silent = {
            thing for thing, stored in self._beats.items() if self._now_ms - stored.at_ms > self._limits.silent_after_ms
        }
        self._report.count("silent", len(silent))
        with ThreadPoolExecutor(THREADS) as self._pool:
            # Silence first: it needs no content, and nothing that a device has sent can stand in its way.
            self._each(sorted(silent), self._on_silent)
            self._each(sorted(self._beats.keys() - silent), self._on_beating)
            self._each(sorted({thing for _, thing in self._open} - self._beats.keys()), self._on_forgotten)
            self._look_into(sorted(self._beats.keys() - silent))
        return self._report

    def _each(self, things: Iterable[str], look: Callable[[str], None]) -> None:
        """`look` at every thing, several at a time; what goes wrong with one stops no other."""

        def look_safely(thing: str) -> None:
            try:
                look(thing)
            except Exception:  # noqa: BLE001 - the boundary of one thing
                self._fail("%s could not be looked at", thing)

        # A job for each thread, not for each thing: a hundred thousand jobs took a quarter of the memory.
        waiting = deque(things)

        def look_at_waiting(_: int) -> None:
            for thing in _taken(waiting):
                look_safely(thing)

        list(self._pool.map(look_at_waiting, range(min(THREADS, len(waiting)))))

    def _fail(self, message: str, *arguments: object) -> None:
        self._log.exception(message, *arguments)
        self._report.count("failures")

    # Silence

    def _on_silent(self, thing: str) -> None:
        beat_ms = self._beats[thing].at_ms
        standing = self._watched(thing)
        if standing is not None:
            episode = _Episode(_SILENT, thing, beat_ms + self._limits.silent_after_ms, beat_ms)
            self._settle(episode, standing, lambda: self._tell_silent(thing, beat_ms))

    def _tell_silent(self, thing: str, beat_ms: int) -> tuple[str, Beat | None, dict[str, Any]]:
        """What is known adds to the alert; what cannot be found out does not hold it up."""
        seen, connection = _Seen(None, ""), None
        try:
            seen = self._read(thing)
            connection = self._bucket.connection(thing)
        except Exception:  # noqa: BLE001 - the boundary: an alert that says less is better than none
            self._log.exception("what %s last said could not be looked up", thing)
        details: dict[str, Any] = {}
        if connection is not None:
            details["connection"] = {"state": connection.state, "at_ms": connection.at_ms}
        return words.silent(thing, beat_ms, self._now_ms, seen.beat, connection), seen.beat, details

    def _on_beating(self, thing: str) -> None:
        if (_SILENT, thing) in self._open:
            marker = self._bucket.marker(_SILENT, thing)
            if marker is not None:
                self._clear_back(_SILENT, thing, marker, self._beats[thing].at_ms)

    def _on_forgotten(self, thing: str) -> None:
        self._clear_all(thing, words.forgotten(thing))

    # Blindness

    def _look_into(self, things: list[str]) -> None:
        kept = self._memories()
        before = kept or {}
        seen: dict[str, _Seen] = {}

        def read(thing: str) -> None:
            if self._remaining_ms() < _ENOUGH_MS:
                self._report.count("left")
            else:
                seen[thing] = self._read(thing)

        self._each(things, read)
        if left := self._report.counts["left"]:
            self._log.error("time ran short: %d heartbeats were not read", left)
            self._report.count("failures")
        judgements = {
            thing: verdict.judge(self._beats[thing].at_ms, seen[thing].beat, before.get(thing), self._limits)
            for thing in seen
        }
        self._note_skew(seen)
        self._report.count("blind", sum(1 for judgement in judgements.values() if judgement.blind_since_ms))
        self._each(judgements, lambda thing: self._on_judged(thing, seen[thing], judgements[thing]))
        after = {thing: memory for thing, memory in before.items() if thing in self._beats}
        after |= {thing: judgement.memory for thing, judgement in judgements.items()}
        # What could not be read may well be whole: it is not replaced by less.
        if kept is not None and after != before:
            self._keep(after)

    def _read(self, thing: str) -> _Seen:
        try:
            if self._beats[thing].size_bytes > MAX_BYTES:
                raise MessageError(f"it has {self._beats[thing].size_bytes} bytes")  # noqa: TRY301 - as if parsed
            return _Seen(parse(self._bucket.beat(thing)), "")
        except MessageError as e:
            self._log.warning("the heartbeat of %s cannot be read: %.200s", thing, e)
            self._report.count("unreadable")
            return _Seen(None, str(e)[:_MAX_ERROR])

    def _on_judged(self, thing: str, seen: _Seen, judgement: Judgement) -> None:
        if judgement.blind_since_ms:
            standing = self._watched(thing)
            if standing is not None:
                since_ms, beat_ms = judgement.blind_since_ms, self._beats[thing].at_ms
                begun_ms = min(since_ms.values()) + self._limits.blind_after_ms
                summary = words.blind(thing, since_ms, beat_ms, seen.beat, seen.error)
                details = {"blind_since_ms": dict(since_ms)}
                self._settle(
                    _Episode(_BLIND, thing, begun_ms, beat_ms), standing, lambda: (summary, seen.beat, details)
                )
        elif (_BLIND, thing) in self._open:
            if not judgement.is_certain:
                self._watched(thing)
            elif (marker := self._bucket.marker(_BLIND, thing)) is not None:
                self._clear_back(_BLIND, thing, marker, self._beats[thing].at_ms)

    def _note_skew(self, seen: dict[str, _Seen]) -> None:
        for thing, each in seen.items():
            if each.beat is not None and each.beat.clock_synchronised:
                skew_ms = each.beat.time_ms - self._beats[thing].at_ms
                self._report.skew_ms = max(self._report.skew_ms, abs(skew_ms))
                if abs(skew_ms) > _NOTICEABLE_SKEW_MS:
                    self._log.warning("the clock of %s differs from AWS's by %.0f s", thing, skew_ms / 1000)

    def _memories(self) -> dict[str, Memory] | None:
        """None where they cannot be looked up."""
        try:
            content = self._bucket.memory()
            return {} if content is None else verdict.decode(content)
        except ValueError as e:
            self._log.error("what the runs before have noted cannot be read, and begins anew: %s", e)
            self._report.count("memory_lost")
            return {}
        except Exception:  # noqa: BLE001 - the boundary: what needs no memory is still judged
            self._fail("what the runs before have noted could not be looked up")
        return None

    def _keep(self, memories: dict[str, Memory]) -> None:
        try:
            self._bucket.put_memory(verdict.encode(memories))
        except Exception:  # noqa: BLE001 - the boundary: it is the last thing that a run does, and the next one can do without
            self._fail("what this run has noted could not be kept")

    # Alerts

    def _watched(self, thing: str) -> Standing | None:
        """What the registry says; None where nothing is to be raised about the thing, and what was open is cleared."""
        try:
            standing = self._ports.standing(thing)
        except Exception:  # noqa: BLE001 - the boundary: rather one alert too many
            self._log.exception("the registry does not say whether %s is paused: it counts as watched", thing)
            self._report.count("registry_failures")
            return Standing(is_registered=True)
        if standing.unreadable is not None:
            self._log.warning("%s is not paused: %r is no time in epoch seconds", thing, standing.unreadable)
        if not standing.is_registered:
            self._report.count("unregistered")
            self._clear_all(thing, words.unregistered(thing))
            return None
        if standing.paused_until_ms > self._now_ms:
            self._report.count("paused")
            self._clear_all(thing, words.paused(thing, standing.paused_until_ms, self._now_ms))
            return None
        return standing

    def _settle(
        self, episode: _Episode, standing: Standing, tell: Callable[[], tuple[str, Beat | None, dict[str, Any]]]
    ) -> None:
        """Raise what is not raised yet. An episode that no run has seen the end of is cleared first."""
        alert, thing = episode.alert, episode.thing
        raised_ms = max(episode.raised_ms, standing.paused_until_ms)
        marker = self._bucket.marker(alert, thing) if (alert, thing) in self._open else None
        if marker is not None and marker.raised_ms is not None:
            has_beaten = alert is _SILENT and marker.beat_ms != episode.beat_ms
            if not has_beaten and standing.paused_until_ms <= marker.raised_ms:
                if marker.is_published:
                    return
                raised_ms = marker.raised_ms
            else:
                self._clear_back(alert, thing, marker, max(episode.beat_ms, standing.paused_until_ms))
        elif marker is not None:
            return
        summary, beat, details = tell()
        details |= {"last_beat_ms": episode.beat_ms, "age_s": round((self._now_ms - episode.beat_ms) / 1000)}
        if beat is not None:
            details["last_beat"] = beat.details()
        self._raise(episode, raised_ms, beat, summary, details)

    def _raise(
        self, episode: _Episode, raised_ms: int, beat: Beat | None, summary: str, details: dict[str, Any]
    ) -> None:
        """The marker is put twice: whatever breaks off between, the next run knows that the message may have gone out,
        and with which name; and that it may not have. Without either the message goes out all the same."""
        alert, thing = episode.alert, episode.thing
        try:
            self._bucket.put_marker(alert, thing, Marker(raised_ms, episode.beat_ms, is_published=False), summary)
        except Exception:  # noqa: BLE001 - the boundary: nothing stands between a silent device and its owner
            self._fail("it could not be noted that %s of %s is being raised", alert, thing)
        self._publish(alert, RAISE, thing, raised_ms, raised_ms, "" if beat is None else beat.boot_id, summary, details)
        self._bucket.put_marker(alert, thing, Marker(raised_ms, episode.beat_ms, is_published=True), summary)
        self._report.count("raised")

    def _clear_back(self, alert: CloudAlert, thing: str, marker: Marker, time_ms: int) -> None:
        """Clear what a newer heartbeat, which came at `time_ms`, has ended."""
        lasted_ms = None
        if marker.raised_ms is not None and marker.beat_ms is not None:
            blind_ms = marker.raised_ms - self._limits.blind_after_ms
            lasted_ms = time_ms - (marker.beat_ms if alert is _SILENT else blind_ms)
        self._clear(alert, thing, marker, time_ms, words.back(alert, thing, lasted_ms))

    def _clear_all(self, thing: str, summary: str) -> None:
        for alert in CloudAlert:
            if (alert, thing) in self._open:
                marker = self._bucket.marker(alert, thing)
                if marker is not None:
                    self._clear(alert, thing, marker, self._now_ms, summary)

    def _clear(self, alert: CloudAlert, thing: str, marker: Marker, time_ms: int, summary: str) -> None:
        """Where the marker cannot be read, the message names no episode, which clears all of that alert."""
        self._publish(alert, CLEAR, thing, marker.raised_ms, time_ms, "", summary, {})
        self._bucket.remove_marker(alert, thing)
        self._report.count("cleared")

    def _publish(
        self,
        alert: CloudAlert,
        action: str,
        thing: str,
        raised_ms: int | None,
        time_ms: int,
        boot_id: str,
        summary: str,
        details: dict[str, Any],
    ) -> None:
        # The times are AWS's.
        message = AlertMessage(alert, action, raised_ms, time_ms, boot_id, True, summary, details)
        self._ports.publish({**message.as_json(), "thing": thing, "received_ms": self._now_ms})
        self._log.info("%s of %s: %s, %s", alert, thing, action, summary)


def _taken(waiting: deque[str]) -> Iterator[str]:
    """What is waiting, each for whichever thread asks first."""
    while True:
        try:
            yield waiting.popleft()
        except IndexError:
            return
