"""From the outbox to the broker: in order, at most once on its way, and deleted when the broker has acknowledged it.

There are two outboxes: the state directory's, and the runtime directory's for what must get out while the card fails.
Either may not be there, may be put in the place of another one, or may fail, without keeping the other one waiting.
"""

import logging
import queue
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from contract import messages, topics
from device.outbox import FILE_NAME, Outbox, Row, Stream
from device.uplink.link import Completion

log = logging.getLogger(__name__)

# Un-acknowledged messages at a time. AWS allows 100 a connection; ten fill a slow line and keep little to repeat.
MAX_IN_FLIGHT = 10
# How long to leave the broker alone after it has refused a message.
REFUSED_PAUSE_S = 30.0
# How long to leave an outbox alone that cannot be used, and one from which nothing can be deleted.
REOPEN_AFTER_S = 30.0
DELETE_AGAIN_AFTER_S = 2.0


class Publisher(Protocol):
    """What delivery needs of a link."""

    @property
    def connected(self) -> bool: ...

    completions: queue.Queue[Completion]

    def publish(self, topic: str, payload: str, token: object) -> None: ...


class _Source:
    """The outbox of one directory, as far as there is one, and how far it has been sent."""

    def __init__(self, directory: Path) -> None:
        self.outbox: Outbox | None = None
        self.beat: tuple[int, str] | None = None
        self._path = directory / FILE_NAME
        self._open_at_s = 0.0
        self._delete_at_s = 0.0
        self._complaint = ""
        self._begin()

    def _begin(self) -> None:
        self.sent_up_to = dict.fromkeys(Stream, 0)
        self.to_repeat: set[Stream] = set()
        # Acknowledged, but not deleted yet.
        self.arrived: dict[Stream, set[int]] = {stream: set() for stream in Stream}

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

    def delete_arrived(self, now_s: float) -> None:
        """Delete what has been acknowledged. Where that fails (the card is read-only) it is only not sent again."""
        if self.outbox is None or now_s < self._delete_at_s or not any(self.arrived.values()):
            return
        try:
            for stream, ids in self.arrived.items():
                self.outbox.delete(stream, sorted(ids))
                ids.clear()
        except sqlite3.Error as e:
            self._delete_at_s = now_s + DELETE_AGAIN_AFTER_S
            self._complain("messages that have arrived cannot be deleted from", e)
        else:
            self._complaint = ""

    def give_up(self, error: Exception, now_s: float) -> None:
        """Leave it alone for a while."""
        self.close()
        self._open_at_s = now_s + REOPEN_AFTER_S
        self._complain("cannot use", error)

    def close(self) -> None:
        """Let go of the file. What of it is on its way is forgotten: its row numbers may mean others in the next."""
        if self.outbox is not None:
            self.outbox.close()
            self.outbox = None
        self._begin()

    def _complain(self, what: str, error: Exception) -> None:
        complaint = f"{what} {self._path}: {error}"
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("%s; trying again", complaint)


@dataclass(frozen=True)
class _Sent:
    """Rows on their way, of a file that was open then; a heartbeat has none."""

    stream: Stream | None
    ids: tuple[int, ...]
    beat: int = 0
    source: _Source | None = None
    outbox: Outbox | None = None

    def is_of(self, source: _Source, stream: Stream) -> bool:
        """Whether these are rows of what `source` has open."""
        return self.stream is stream and self.outbox is source.outbox


class Delivery:
    """Sends rows in order, forgets them when they are acknowledged, and sends again what was not.

    Row numbers begin anew in the runtime directory after each boot, and in a file that replaces a damaged one. That is
    harmless: the cloud compares them between samples of one device time only, and knows an alert by its name and time.
    """

    def __init__(self, thing: str, directories: Sequence[Path], link: Publisher) -> None:
        """Deliver what is in the outboxes of `directories`, the one that matters most first."""
        self._thing = thing
        # By name, each once: the same outbox twice would arrive twice.
        self._sources = [_Source(directory) for directory in dict.fromkeys(directories)]
        self._link = link
        self._in_flight: set[_Sent] = set()
        self._heartbeat = ""
        self._beat = 0
        self._beat_is_due = False
        self._pause_until_s = 0.0

    def send(self, now_s: float) -> None:
        """Publish what waits: the live heartbeat first, then alerts, then telemetry, oldest first."""
        self._look(now_s)
        if not self._link.connected or now_s < self._pause_until_s:
            return
        if self._beat_is_due:
            self._beat_is_due = False
            self._publish(topics.HEARTBEAT, self._heartbeat, _Sent(None, (), self._beat))
        self._send_all(Stream.ALERT, 1, now_s)
        self._send_all(Stream.TELEMETRY, messages.MAX_SAMPLES_PER_MESSAGE, now_s)

    def settle(self, completion: Completion, now_s: float) -> None:
        """Take note of how one publish ended."""
        sent = completion.token
        if not isinstance(sent, _Sent):
            raise TypeError(f"{sent!r} is not of this delivery")
        self._in_flight.discard(sent)
        if completion.error is None:
            _note_arrival(sent, now_s)
            return
        self._note_failure(sent)
        if completion.refused:
            self._pause_until_s = now_s + REFUSED_PAUSE_S
            log.error(
                "%s; see that the stack's policy is attached to this device's certificate, and the certificate to the "
                "thing %s. Nothing is lost; trying again in %g s",
                completion.error,
                self._thing,
                REFUSED_PAUSE_S,
            )
        else:
            log.info("not acknowledged, to be sent again: %s", completion.error)

    def waiting(self) -> int:
        """How many messages wait, as far as that can be told."""
        outboxes = [source.outbox for source in self._sources if source.outbox is not None]
        try:
            return sum(outbox.waiting(stream) for outbox in outboxes for stream in Stream)
        except sqlite3.Error:
            return 0

    def close(self) -> None:
        """Let go of the files."""
        for source in self._sources:
            source.close()

    def _look(self, now_s: float) -> None:
        # The last one counts. Where both are new, the state directory's is: its card has begun to work again.
        for source in reversed(self._sources):
            try:
                heartbeat = source.look(now_s)
            except (OSError, sqlite3.Error) as e:
                source.give_up(e, now_s)
                continue
            source.delete_arrived(now_s)
            if heartbeat is not None:
                self._heartbeat = heartbeat
                self._beat += 1
                self._beat_is_due = True

    def _note_failure(self, sent: _Sent) -> None:
        if sent.source is None or sent.stream is None:
            self._beat_is_due = self._beat_is_due or sent.beat == self._beat
        elif sent.is_of(sent.source, sent.stream):
            sent.source.to_repeat.add(sent.stream)

    def _send_all(self, stream: Stream, limit: int, now_s: float) -> None:
        for source in self._sources:
            try:
                while len(self._in_flight) < MAX_IN_FLIGHT and self._send_next(source, stream, limit):
                    pass
            except sqlite3.Error as e:
                source.give_up(e, now_s)

    def _send_next(self, source: _Source, stream: Stream, limit: int) -> bool:
        if source.outbox is None:
            return False
        if stream in source.to_repeat:
            # What is still on its way may yet be acknowledged; sent again now, it would arrive twice.
            if any(sent.is_of(source, stream) for sent in self._in_flight):
                return False
            source.to_repeat.discard(stream)
            source.sent_up_to[stream] = 0
        found = source.outbox.oldest(stream, limit, after_id=source.sent_up_to[stream])
        if not found:
            return False
        rows = _that_fit([row for row in found if row.id not in source.arrived[stream]])
        source.sent_up_to[stream] = (rows or found)[-1].id
        if rows:
            payload = _with_sequence(rows[0])
            if stream is Stream.TELEMETRY:
                payload = messages.encode_telemetry(_with_sequence(row) for row in rows)
            self._publish(stream, payload, _Sent(stream, tuple(row.id for row in rows), 0, source, source.outbox))
        return True

    def _publish(self, channel: str, payload: str, sent: _Sent) -> None:
        self._in_flight.add(sent)
        self._link.publish(topics.topic(self._thing, channel), payload, sent)


def _note_arrival(sent: _Sent, now_s: float) -> None:
    if sent.source is not None and sent.stream is not None and sent.is_of(sent.source, sent.stream):
        sent.source.arrived[sent.stream].update(sent.ids)
        sent.source.delete_arrived(now_s)


def _with_sequence(row: Row) -> str:
    """The row's JSON object with its sequence number as first member."""
    return f'{{"sequence":{row.id},{row.payload[1:]}'


def _that_fit(rows: list[Row]) -> list[Row]:
    """The first rows that one message takes; always at least one."""
    size = 64  # the envelope

    def fits(row: Row) -> bool:
        nonlocal size
        size += len(row.payload.encode()) + 32  # room for the sequence number and a comma
        return size <= messages.MAX_PAYLOAD_BYTES

    return list(takewhile(fits, rows)) or rows[:1]
