"""From the outbox to the broker: in order, at most once on its way, and deleted when the broker has acknowledged it.
One alert name has one message on its way: what clears it is not sent before what has raised it has arrived.

There are two outboxes: the state directory's, and the runtime directory's for what must get out while the card fails.
Either may not be there, may be put in the place of another one, or may fail, without keeping the other one waiting.

The live heartbeat goes first, then alerts, then telemetry, and each of them is a channel of its own: what the broker
refuses on one is tried again there, more and more slowly, while the others go on. A message that it keeps refusing is
stepped over once in a while. If the one behind it is taken and the message then refused once more, it is to blame and
goes into quarantine; otherwise the channel is closed to this device, or was, and nothing is lost.
"""

import json
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from contract import messages, topics
from device.clock import boot_id
from device.outbox import FILE_NAME, Outbox, Row, Stream
from device.uplink.link import Completion
from device.uplink.pace import Pace

log = logging.getLogger(__name__)

# Un-acknowledged messages at a time. AWS allows 100 a connection; ten fill a slow line and keep little to repeat.
MAX_IN_FLIGHT = 10
# Of those, telemetry's: an alert finds room at once, whatever does not get acknowledged.
MAX_TELEMETRY_IN_FLIGHT = 8
# How long to leave a channel alone after the broker has refused a message on it; doubled each time, up to the most.
REFUSED_PAUSE_S = 30.0
MOST_REFUSED_PAUSE_S = 600.0
# So many refusals of one message make the one behind it worth a try.
REFUSALS_BEFORE_STEPPING_OVER = 3
# A message in quarantine is news for so long.
QUARANTINE_REMEMBERED_S = 86_400.0
# A heartbeat that is older is no sign of life.
HEARTBEAT_LIVES_S = 600.0
# How long to leave an outbox alone that cannot be used, and one from which nothing can be deleted.
REOPEN_AFTER_S = 30.0
DELETE_AGAIN_AFTER_S = 2.0
# Samples that have arrived are deleted together: after so long, or when there are so many. Alerts at once.
DELETE_EVERY_S = 60.0
_DELETE_AT_ROWS = 100
_BOOT = boot_id()


class Publisher(Protocol):
    """What delivery needs of a link."""

    @property
    def connected(self) -> bool: ...

    def publish(self, topic: str, payload: str, token: object) -> None: ...


class _Channel:
    """What is published under one topic, and whether the broker takes it."""

    def __init__(self) -> None:
        # From a refusal until something is taken again; one message at a time meanwhile.
        self.is_doubtful = False
        self._paused_until_s = -math.inf
        self._pause_s = REFUSED_PAUSE_S

    def is_pausing(self, now_s: float) -> bool:
        return now_s < self._paused_until_s

    def refuse(self, now_s: float) -> float | None:
        """Pause, and say for how long; None if it pauses already."""
        self.is_doubtful = True
        if self.is_pausing(now_s):
            return None
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, MOST_REFUSED_PAUSE_S)
        self._paused_until_s = now_s + pause_s
        return pause_s

    def accept(self) -> None:
        self.is_doubtful = False
        self._pause_s = REFUSED_PAUSE_S


@dataclass(eq=False)
class _Progress:
    """How far one stream of one file has been sent. A file that replaces it begins anew: its ids may mean others."""

    sent_up_to: int = 0
    # Something has failed: from the oldest again, as soon as none is on its way.
    repeats: bool = False
    # Acknowledged, but not deleted yet.
    arrived: set[int] = field(default_factory=set)
    # To go into quarantine, with the reason.
    condemned: dict[int, str] = field(default_factory=dict)
    # The rows of the oldest message that was refused, and how often it was.
    suspect: tuple[int, ...] = ()
    refusals: int = 0
    is_stepped_over: bool = False
    # The one behind it has been taken: the next refusal is the last one.
    is_on_trial: bool = False

    def next_rows(self, outbox: Outbox, stream: Stream, limit: int) -> list[Row]:
        """Up to `limit` rows that may form the next message, in order; [] if there are none.

        Rows that were refused together stay together, and apart from others.
        """
        rows = self._rows_behind(outbox, stream, limit)
        if not self.suspect or not rows or rows[0].id > self.suspect[-1]:
            return rows
        older = [row for row in rows if row.id < self.suspect[0]]
        if older:
            return older
        is_due = self.refusals >= REFUSALS_BEFORE_STEPPING_OVER and not self.is_on_trial
        if is_due and not self.is_stepped_over:
            before, self.sent_up_to = self.sent_up_to, self.suspect[-1]
            behind = self._rows_behind(outbox, stream, limit)
            if behind:
                return behind
            self.sent_up_to = before
        return [row for row in rows if row.id <= self.suspect[-1]]

    def _rows_behind(self, outbox: Outbox, stream: Stream, limit: int) -> list[Row]:
        while found := outbox.oldest(stream, limit, after_id=self.sent_up_to):
            rows = [row for row in found if row.id not in self.arrived and row.id not in self.condemned]
            if rows:
                return rows
            self.sent_up_to = found[-1].id
        return []

    def note_sent(self, ids: tuple[int, ...]) -> None:
        """These rows are on their way."""
        self.sent_up_to = ids[-1]
        self.is_stepped_over = bool(self.suspect) and ids[0] > self.suspect[-1]

    def accept(self, ids: tuple[int, ...]) -> None:
        """These rows have arrived."""
        self.arrived.update(ids)
        if not self.suspect or ids[-1] < self.suspect[0]:
            return
        if ids[0] <= self.suspect[-1]:
            self._clear_suspect()
        elif self.refusals >= REFUSALS_BEFORE_STEPPING_OVER and not self.is_on_trial:
            self.is_on_trial = self.repeats = True

    def refuse(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """The broker has refused a message of these rows. What is returned is refused for what it is."""
        if not self.suspect or ids[-1] < self.suspect[0]:
            self._clear_suspect()
            self.suspect, self.refusals = ids, 1
        elif ids[0] <= self.suspect[-1]:
            self.refusals += 1
            if self.is_on_trial:
                return self._clear_suspect()
        return ()

    def _clear_suspect(self) -> tuple[int, ...]:
        suspect, self.suspect = self.suspect, ()
        self.refusals = 0
        self.is_stepped_over = self.is_on_trial = False
        return suspect


class _Source:
    """The outbox of one directory, as far as there is one, and how far it has been sent."""

    def __init__(self, directory: Path) -> None:
        self.outbox: Outbox | None = None
        self.beat: tuple[int, str] | None = None
        self.progress = {stream: _Progress() for stream in Stream}
        self._path = directory / FILE_NAME
        self._open_at_s = 0.0
        self._delete_at_s = 0.0
        self._samples_deleted_at_s = -math.inf
        self._complaint = ""

    def look(self, now_s: float) -> str | None:
        """See to it that the file in the directory is the one that is open; return its heartbeat if that is new.

        Raises:
            OSError, sqlite3.Error: it cannot be used.
        """
        if self.outbox is not None and not self.outbox.is_current():
            self.close()
        if self.outbox is None and now_s >= self._open_at_s and self._path.exists():
            self.outbox = Outbox(self._path.parent)
        newest = None if self.outbox is None else self.outbox.heartbeat()
        if newest is None or newest == self.beat:
            return None
        self.beat = newest
        return newest[1]

    def tidy(self, now_s: float, *, is_last: bool = False) -> int:
        """Delete what has arrived, and put into quarantine what is condemned; return how many rows that are.

        Where it fails (the card is read-only) they are only not sent again.
        """
        if self.outbox is None or (now_s < self._delete_at_s and not is_last):
            return 0
        try:
            quarantined = self._quarantine_condemned(self.outbox)
            self._delete_arrived(self.outbox, now_s, is_last=is_last)
        except sqlite3.Error as e:
            self._delete_at_s = now_s + DELETE_AGAIN_AFTER_S
            self._complain("messages that have arrived cannot be deleted from", e)
            return 0
        self._complaint = ""
        return quarantined

    def _quarantine_condemned(self, outbox: Outbox) -> int:
        count = 0
        for stream, progress in self.progress.items():
            for why in dict.fromkeys(progress.condemned.values()):
                ids = [id_ for id_, reason in progress.condemned.items() if reason == why]
                count += outbox.quarantine(stream, sorted(ids), why)
            progress.condemned.clear()
        return count

    def _delete_arrived(self, outbox: Outbox, now_s: float, *, is_last: bool) -> None:
        for stream, progress in self.progress.items():
            is_early = now_s < self._samples_deleted_at_s + DELETE_EVERY_S and len(progress.arrived) < _DELETE_AT_ROWS
            if not progress.arrived or (stream is Stream.TELEMETRY and is_early and not is_last):
                continue
            outbox.delete(stream, sorted(progress.arrived))
            progress.arrived.clear()
            if stream is Stream.TELEMETRY:
                self._samples_deleted_at_s = now_s

    def waiting(self) -> int:
        """How many messages wait that have not arrived.

        Raises:
            sqlite3.Error: that cannot be told.
        """
        outbox = self.outbox
        if outbox is None:
            return 0
        return sum(
            max(0, outbox.waiting(stream) - len(progress.arrived) - len(progress.condemned))
            for stream, progress in self.progress.items()
        )

    def give_up(self, error: Exception, now_s: float) -> None:
        """Leave it alone for a while."""
        self.close()
        self._open_at_s = now_s + REOPEN_AFTER_S
        self._complain("cannot use", error)

    def close(self) -> None:
        """Let go of the file. What of it is on its way is forgotten."""
        if self.outbox is not None:
            self.outbox.close()
            self.outbox = None
        self.progress = {stream: _Progress() for stream in Stream}

    def _complain(self, what: str, error: Exception) -> None:
        complaint = f"{what} {self._path}: {error}"
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("%s; trying again", complaint)


@dataclass(frozen=True, eq=False)
class _Sent:
    """A message on its way: rows of a file that was open then, or a heartbeat, which has none."""

    channel: str
    ids: tuple[int, ...] = ()
    beat: int = 0
    source: _Source | None = None
    progress: _Progress | None = None
    alert: str | None = None


class Delivery:
    """Sends rows in order, forgets them when they are acknowledged, and sends again what was not.

    Row numbers begin anew in the runtime directory after each boot, and in a file that replaces a damaged one. That is
    harmless: the cloud compares them between samples of one device time only, and knows an alert by its name and time.
    """

    def __init__(
        self,
        thing: str,
        directories: Sequence[Path],
        link: Publisher,
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Deliver what is in the outboxes of `directories`, the one that matters most first.

        `pace` may be shared with others who publish over `link`. `clock` tells how long a call of `send` has taken
        already; a small machine takes its time to make a message.
        """
        self._thing = thing
        # By name, each once: the same outbox twice would arrive twice.
        self._sources = [_Source(directory) for directory in dict.fromkeys(directories)]
        self._link = link
        self._pace = pace
        self._clock = clock
        self._channels = {channel: _Channel() for channel in (topics.HEARTBEAT, *Stream)}
        self._in_flight: set[_Sent] = set()
        # What went down with the connection since the last publish.
        self._went_down: set[_Sent] = set()
        self._is_one_at_a_time = False
        self._held_until_s = -math.inf
        self._heartbeat = ""
        self._beat = 0
        self._beat_is_due = False
        self._quarantined_at_s = -math.inf
        self._refused = 0
        self._quarantined = 0

    def send(self, now_s: float) -> None:
        """Publish what waits, as far as the pace allows: the live heartbeat, then alerts, then telemetry."""
        began_s = self._clock()
        self._look(now_s)
        self._held_until_s = -math.inf if self._held_until_s <= now_s else self._held_until_s
        if not self._link.connected:
            return

        def time_s() -> float:
            return now_s + self._clock() - began_s

        if self._beat_is_due and self._may_send(topics.HEARTBEAT, now_s):
            if not self._publish(self._heartbeat, _Sent(topics.HEARTBEAT, beat=self._beat), time_s()):
                return
            self._beat_is_due = False
        for stream in (Stream.ALERT, Stream.TELEMETRY):
            for source in self._sources:
                try:
                    while self._may_send(stream, now_s) and self._send_next(source, stream, time_s):
                        pass
                except sqlite3.Error as e:
                    source.give_up(e, now_s)

    def due_in_s(self, now_s: float) -> float:
        """How soon `send` can publish what only the pace has held back; infinity if that is nothing."""
        return math.inf if self._held_until_s == -math.inf else max(0.0, self._held_until_s - now_s)

    def settle(self, completion: Completion, now_s: float) -> None:
        """Take note of how one publish ended."""
        sent = completion.token
        if not isinstance(sent, _Sent):
            raise TypeError(f"{sent!r} is not of this delivery")
        self._in_flight.discard(sent)
        if completion.error is None:
            self._note_arrival(sent, now_s)
        elif completion.refused:
            self._note_refusal(sent, completion.error, now_s)
        else:
            self._went_down.add(sent)
            self._note_failure(sent)
            log.info("not acknowledged, to be sent again: %s", completion.error)

    def connection_refused(self, now_s: float, *, is_certain: bool = True) -> None:
        """The broker has ended the connection instead of refusing a message, as some do.

        Whatever was on its way counts as refused once. To find out what it is about, it goes one at a time until
        something is acknowledged. Where it is not certain, because the line may only be bad, nothing is blamed: it goes
        on slowly.
        """
        self._is_one_at_a_time = True
        for sent in self._in_flight | self._went_down:
            error = f"the broker ended the connection over a publish to {sent.channel}"
            self._note_refusal(sent, error, now_s, is_certain=is_certain)
        self._went_down.clear()

    def connection_lost(self) -> None:
        """A connection that was good has ended: what went down with it is not to blame."""
        self._went_down.clear()

    def is_refused(self, now_s: float) -> bool:
        """Whether the broker refuses a channel, or a message has gone into quarantine within the last day."""
        is_news = now_s < self._quarantined_at_s + QUARANTINE_REMEMBERED_S
        return is_news or any(channel.is_doubtful for channel in self._channels.values())

    @property
    def counts(self) -> dict[str, int]:
        """What the broker has not taken since the start: refusals, and messages that are in quarantine for it."""
        return {"messages_refused": self._refused, "messages_quarantined": self._quarantined}

    def waiting(self) -> int:
        """How many messages wait, as far as that can be told."""
        try:
            return sum(source.waiting() for source in self._sources)
        except sqlite3.Error:
            return 0

    def close(self) -> None:
        """Delete what has arrived, and let go of the files."""
        for source in self._sources:
            source.tidy(math.inf, is_last=True)
            source.close()

    def _look(self, now_s: float) -> None:
        # The last one counts. Where both are new, the state directory's is: its card has begun to work again.
        for source in reversed(self._sources):
            try:
                heartbeat = source.look(now_s)
            except (OSError, sqlite3.Error) as e:
                source.give_up(e, now_s)
                continue
            self._tidy(source, now_s)
            if heartbeat is not None and _is_live(heartbeat):
                self._heartbeat = heartbeat
                self._beat += 1
                self._beat_is_due = True

    def _tidy(self, source: _Source, now_s: float) -> None:
        quarantined = source.tidy(now_s)
        if quarantined:
            self._quarantined += quarantined
            self._quarantined_at_s = now_s

    # How a message ended

    def _note_arrival(self, sent: _Sent, now_s: float) -> None:
        self._channels[sent.channel].accept()
        self._is_one_at_a_time = False
        if sent.source is None or sent.progress is None:
            return
        sent.progress.accept(sent.ids)
        self._tidy(sent.source, now_s)

    def _note_failure(self, sent: _Sent) -> None:
        if sent.progress is None:
            self._beat_is_due = self._beat_is_due or sent.beat == self._beat
        else:
            sent.progress.repeats = True

    def _note_refusal(self, sent: _Sent, error: str, now_s: float, *, is_certain: bool = True) -> None:
        self._refused += 1
        pause_s = self._channels[sent.channel].refuse(now_s)
        if pause_s is not None:
            log.error(
                "%s; see that the stack's policy is attached to this device's certificate, and the certificate to the "
                "thing %s. Nothing is lost; trying again in %g s",
                error,
                self._thing,
                pause_s,
            )
        self._note_failure(sent)
        if is_certain and sent.progress is not None and (guilty := sent.progress.refuse(sent.ids)):
            self._condemn(sent.progress, sent.channel, guilty, "refused by the broker, which took the one behind it")

    def _condemn(self, progress: _Progress, channel: str, ids: Sequence[int], why: str) -> None:
        progress.condemned |= dict.fromkeys(ids, why)
        log.error(
            "%d messages of %s, from number %d on, are not delivered: %s; they are kept in the table `quarantine` of "
            "%s: look at them there, and tell the makers",
            len(ids),
            channel,
            ids[0],
            why,
            FILE_NAME,
        )

    # What is next

    def _may_send(self, channel: str, now_s: float) -> bool:
        state = self._channels[channel]
        if state.is_pausing(now_s) or (channel == Stream.TELEMETRY and now_s < self._held_until_s):
            return False
        if self._is_one_at_a_time:
            return not self._in_flight
        of_channel = sum(sent.channel == channel for sent in self._in_flight)
        if state.is_doubtful and of_channel > 0:
            return False
        rows = sum(sent.channel != topics.HEARTBEAT for sent in self._in_flight)
        return channel == topics.HEARTBEAT or (
            rows < MAX_IN_FLIGHT and (channel != Stream.TELEMETRY or of_channel < MAX_TELEMETRY_IN_FLIGHT)
        )

    def _send_next(self, source: _Source, stream: Stream, time_s: Callable[[], float]) -> bool:
        """Send one message, or find out why there is none to be sent; whether it is worth to go on."""
        if source.outbox is None:
            return False
        progress = source.progress[stream]
        if progress.repeats:
            # What is still on its way may yet be acknowledged; sent again now, it would arrive twice.
            if any(sent.progress is progress for sent in self._in_flight):
                return False
            progress.repeats, progress.sent_up_to = False, 0
        limit = messages.MAX_SAMPLES_PER_MESSAGE if stream is Stream.TELEMETRY else 1
        before = progress.sent_up_to
        rows = progress.next_rows(source.outbox, stream, limit)
        if not rows:
            return False
        ids, payload = self._message(progress, stream, rows)
        if payload is not None:
            alert = _alert_name(payload) if stream is Stream.ALERT else None
            # What clears an alert must not overtake what has raised it.
            if alert is not None and any(sent.alert == alert for sent in self._in_flight):
                progress.sent_up_to = before
                return False
            if not self._publish(payload, _Sent(stream, ids, 0, source, progress, alert), time_s()):
                progress.sent_up_to = before
                return False
            progress.note_sent(ids)
        return True

    def _message(self, progress: _Progress, stream: Stream, rows: Sequence[Row]) -> tuple[tuple[int, ...], str | None]:
        """As many of the first rows as one message takes, and the message; without one, they have been condemned."""
        content = [(row.id, _numbered(row)) for row in rows]
        unreadable = [id_ for id_, fields in content if fields is None]
        if unreadable:
            self._condemn(progress, stream, unreadable, "not readable")
        good = [(id_, fields) for id_, fields in content if fields is not None]
        while good:
            ids = tuple(id_ for id_, _ in good)
            payload = _encoded(stream, [fields for _, fields in good])
            if payload is not None and len(payload.encode()) <= messages.MAX_PAYLOAD_BYTES:
                return ids, payload
            if len(good) == 1:
                why = "does not follow the contract" if payload is None else "larger than AWS takes"
                self._condemn(progress, stream, ids, why)
            good = good[: len(good) // 2]
        return (), None

    def _publish(self, payload: str, sent: _Sent, now_s: float) -> bool:
        """Publish unless that would be too fast; whether it was done."""
        size_bytes = len(payload.encode())
        if not self._pace.has_room(size_bytes, now_s):
            self._held_until_s = self._pace.room_at_s(size_bytes, now_s)
            return False
        self._pace.note(size_bytes, now_s)
        self._went_down.clear()
        self._in_flight.add(sent)
        self._link.publish(topics.topic(self._thing, sent.channel), payload, sent)
        return True


def _is_live(heartbeat: str) -> bool:
    """Whether it is of this boot and young: an older one, found at a start, would say that a dead device is alive."""
    try:
        fields = json.loads(heartbeat)
    except (ValueError, RecursionError):
        return False
    if not isinstance(fields, dict):
        return False
    time_ms = fields.get("time_ms")
    is_old = isinstance(time_ms, int) and time.time_ns() // 1_000_000 - time_ms > HEARTBEAT_LIVES_S * 1000
    return not is_old and fields.get("boot_id", _BOOT) == _BOOT


def _numbered(row: Row) -> dict[str, Any] | None:
    """The row's JSON object with its sequence number as first member; None if it is no object."""
    try:
        content = json.loads(row.payload)
    except (ValueError, RecursionError):
        return None
    return {"sequence": row.id} | content | {"sequence": row.id} if isinstance(content, dict) else None


def _alert_name(payload: str) -> str | None:
    name = json.loads(payload).get("alert")
    return name if isinstance(name, str) else None


def _encoded(stream: Stream, contents: Sequence[dict[str, Any]]) -> str | None:
    """The message as JSON text; None if it cannot be one."""
    try:
        return messages.encode_telemetry(contents) if stream is Stream.TELEMETRY else messages.encode(contents[0])
    except ValueError:
        return None
