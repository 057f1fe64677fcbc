"""Writes what control says to the disk, in threads of its own, so that no disk delays a decision.

There are two places. The state directory, on the card, is where everything goes. The runtime directory is in memory:
while the card fails or hangs, alerts and the heartbeat go to an outbox there, so that uplink can say that it does.
Samples wait in this process meanwhile.

Samples without news wait in this process anyway, to be written together: a card wears by the number of writes. Whatever
is news (a change, an alert, a heartbeat) takes them all along, in their order and in one transaction.

The two outboxes are delivered independently, so an alert of the one may overtake an earlier one of the other, and one
that was being written to a card that hangs may arrive twice: an alert's `time_ms` says which of two is the newer.
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from device import state_file
from device.journal import Entry
from device.outbox import DEFAULT_MOST_BYTES, Dropped, Message, Outbox, Stream

log = logging.getLogger(__name__)

# Messages that wait for a disk that does not take them: about a day of minutes. The oldest samples go first.
MOST_WAITING = 1500
RETRY_S = 2.0
# A write that has not returned for so long hangs.
HANGING_AFTER_S = 5.0
# As much as one transaction takes of a backlog. So many samples wait no longer, whatever the write interval.
_MOST_IN_BATCH = 100
# Of the runtime directory's outbox: it is in memory.
RUNTIME_MOST_BYTES = 8 * 1024 * 1024
# How often it is looked whether a write hangs.
_POLL_S = 2.0
_CLOSE_TIMEOUT_S = 2.0
# As much of that as the state directory gets; the rest is for saving the alerts.
_CLOSE_PRIMARY_S = 1.5


class _Part(StrEnum):
    """What can fail by itself."""

    STATE_FILE = "state file"
    OUTBOX = "outbox"
    HANGING = "hanging"


# A text with its number, by which what two threads put back comes into its order again.
_Numbered = tuple[int, str]


@dataclass(frozen=True, slots=True)
class _Sample:
    """A sample that waits. `due_s`: when it is to be written at the latest, by the monotonic clock."""

    text: str
    is_routine: bool
    due_s: float


@dataclass
class _Batch:
    """What is on its way to an outbox. Its alerts and heartbeat may be taken out while a write hangs."""

    alerts: list[_Numbered]
    samples: list[_Sample]
    heartbeat: _Numbered | None

    def __bool__(self) -> bool:
        return bool(self.alerts or self.samples or self.heartbeat)

    def write_to(self, outbox: Outbox) -> None:
        """All of it or nothing.

        Raises:
            OSError, sqlite3.Error: see `Outbox.append`.
        """
        rows = [Message(Stream.ALERT, alert) for _, alert in self.alerts]
        rows += [Message(Stream.TELEMETRY, sample.text, sample.is_routine) for sample in self.samples]
        heartbeat = self.heartbeat
        outbox.append(rows, heartbeat and heartbeat[1])


class _Opened:
    """The outbox of a directory, opened when needed and given up after every error. For one thread."""

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._outbox: Outbox | None = None
        self.dropped: dict[str, int] = {}

    def write(self, batch: _Batch) -> None:
        """Write `batch`.

        Raises:
            OSError, sqlite3.Error: it could not be written; nothing of it was.
        """
        try:
            if self._outbox is not None and not self._outbox.is_current():
                self.close()
            self._outbox = self._outbox or Outbox(self._directory, is_appender=True, most_bytes=self._most_bytes)
            batch.write_to(self._outbox)
        except (OSError, sqlite3.Error):
            self.close()
            raise
        with suppress(sqlite3.Error):  # it is written, whether or not the counts can be read
            self.dropped = self._outbox.dropped()

    def close(self) -> None:
        """Let go of the file."""
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None


class Storage:
    """Takes entries and the newest state, never makes anybody wait, and outlasts a disk that fails.

    `dropped` counts the messages that were given up because more than MOST_WAITING waited: routine samples, the others
    when there was none of those, and alerts only when there was no sample left to drop.
    """

    def __init__(
        self,
        directory: Path,
        runtime_directory: Path,
        *,
        write_interval_s: float = 0.0,
        outbox_most_bytes: int = DEFAULT_MOST_BYTES,
    ) -> None:
        """`write_interval_s`: how long a routine sample may wait to be written together with others."""
        self.dropped = 0
        self._directory = directory
        self._runtime_directory = runtime_directory
        self._write_interval_s = write_interval_s
        self._outbox = _Opened(directory, outbox_most_bytes)
        self._runtime_outbox = _Opened(runtime_directory, min(outbox_most_bytes, RUNTIME_MOST_BYTES))
        # Guards everything below; nobody holds it while waiting for a disk or the log.
        self._changed = threading.Condition()
        self._taken = 0
        self._alerts: deque[_Numbered] = deque()
        self._samples: deque[_Sample] = deque()
        # Everything that waits is to be written now, in as many batches as it takes.
        self._is_flushing = False
        self._heartbeat: _Numbered | None = None
        self._state_text: str | None = None
        self._kept_text: str | None = None
        self._writing: _Batch | None = None
        self._writing_since_s: float | None = None
        self._failing: set[_Part] = set()
        self._failing_since_s = 0.0
        self._dropped_before = 0

        self._closing = threading.Event()
        self._closing_spare = threading.Event()
        self._primary = threading.Thread(target=self._run_primary, name="storage", daemon=True)
        self._spare = threading.Thread(target=self._run_spare, name="storage-runtime", daemon=True)
        self._primary.start()
        self._spare.start()

    @property
    def is_failing(self) -> bool:
        """Whether the state directory does not take what it is given: a write failed, or has been hanging for long."""
        with self._changed:
            return bool(self._failing) or self._is_hanging()

    @property
    def counts(self) -> dict[str, int]:
        """What has been given up: `samples_dropped` by this process, `Outbox.dropped` of both as of the last write."""
        files = (self._outbox.dropped, self._runtime_outbox.dropped)
        return {"samples_dropped": self.dropped} | {
            what.value: sum(dropped.get(what, 0) for dropped in files) for what in Dropped
        }

    def put(self, entry: Entry) -> None:
        """Take an entry to be written: soon, or within the write interval if it is a routine sample. Never waits."""
        with self._changed:
            for alert in entry.alerts:
                self._alerts.append(self._numbered(alert))
            if entry.sample is not None:
                due_s = time.monotonic() + self._write_interval_s
                self._samples.append(_Sample(entry.sample, entry.is_routine, due_s))
                self._is_flushing = self._is_flushing or not entry.is_routine
            if entry.heartbeat is not None:
                self._heartbeat = self._numbered(entry.heartbeat)
            self._drop_what_is_too_much()
            self._changed.notify_all()

    def keep(self, state_text: str) -> None:
        """Take the newest state to be written soon, in place of any before it. Never waits."""
        with self._changed:
            if state_text != self._state_text:
                self._state_text = state_text
                self._changed.notify_all()

    def close(self) -> None:
        """Write what waits, as far as the disks take it within two seconds."""
        give_up_at_s = time.monotonic() + _CLOSE_TIMEOUT_S
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        self._primary.join(_CLOSE_PRIMARY_S)
        self._closing_spare.set()
        self._spare.join(max(0.0, give_up_at_s - time.monotonic()))

    # The state directory

    def _run_primary(self) -> None:
        while self._wait_for_work():
            if not self._write_round():
                if self._closing.is_set():
                    break
                self._closing.wait(RETRY_S)
        self._outbox.close()

    def _wait_for_work(self) -> bool:
        """Wait until there is something to write; false when there is nothing and there will be nothing."""
        with self._changed:
            while not self._has_work() and not self._closing.is_set():
                self._changed.wait(self._samples[0].due_s - time.monotonic() if self._samples else None)
            return self._has_work()

    def _has_work(self) -> bool:
        return self._is_batch_due() or self._state_text != self._kept_text

    def _is_batch_due(self) -> bool:
        if self._alerts or self._heartbeat:
            return True
        return bool(self._samples) and (
            self._is_flushing
            or self._closing.is_set()
            or len(self._samples) >= _MOST_IN_BATCH
            or time.monotonic() >= self._samples[0].due_s
        )

    def _write_round(self) -> bool:
        """Write the state and a batch, each whether or not the other one can be; say whether all went well."""
        with self._changed:
            self._writing_since_s = time.monotonic()
            state_text = self._state_text
            batch = self._writing = self._take(_MOST_IN_BATCH if self._is_batch_due() else 0)
            has_alerts = bool(batch.alerts)
        try:
            # Alerts before the state that knows of them: who is killed in between tells of them twice, not never.
            batch_is_written = not has_alerts or self._write_batch(batch)
            # The state waits for them; where the card does not take them, the spare thread saves them soon.
            state_is_kept = batch_is_written and self._keep_state(state_text)
            if not has_alerts:
                batch_is_written = self._write_batch(batch)
        finally:
            with self._changed:
                self._writing = self._writing_since_s = None
        self._works(_Part.HANGING)
        return state_is_kept and batch_is_written

    def _keep_state(self, text: str | None) -> bool:
        if text is None or text == self._kept_text:
            return True
        try:
            state_file.write(self._directory, text)
        except OSError as e:
            with self._changed:
                self._kept_text = None  # whatever comes next is to be tried, be it what was there before
            self._fails(_Part.STATE_FILE, f"{state_file.FILE_NAME} not written: {e}")
            return False
        with self._changed:
            self._kept_text = text
        self._works(_Part.STATE_FILE)
        return True

    def _write_batch(self, batch: _Batch) -> bool:
        if not batch:
            return True
        try:
            self._outbox.write(batch)
        except (OSError, sqlite3.Error) as e:
            with self._changed:
                self._put_back(batch)
            self._fails(_Part.OUTBOX, f"outbox not written: {e}")
            return False
        self._works(_Part.OUTBOX)
        return True

    # The runtime directory

    def _run_spare(self) -> None:
        is_complained_of = False
        while not self._closing_spare.wait(RETRY_S if is_complained_of else _POLL_S):
            self._notice_hanging()
            if not self.is_failing:
                is_complained_of = False
                continue
            is_complained_of = not self._save_alerts(be_quiet=is_complained_of)
        # What the state directory has not taken by now, it does not take any more.
        self._save_alerts(be_quiet=is_complained_of)
        self._runtime_outbox.close()

    def _save_alerts(self, *, be_quiet: bool) -> bool:
        """Write alerts and the heartbeat to the runtime directory's outbox; say whether that went well."""
        with self._changed:
            batch = self._take_alerts()
        if not batch:
            return True
        try:
            self._runtime_outbox.write(batch)
        except (OSError, sqlite3.Error) as e:
            with self._changed:
                self._put_back(batch)
            if not be_quiet:
                log.warning("the runtime directory cannot be used either, alerts wait in memory: %s", e)
            return False
        return True

    def _notice_hanging(self) -> None:
        with self._changed:
            is_first = self._is_hanging() and self._mark_failing(_Part.HANGING)
        if is_first:
            self._warn(f"a write has been hanging for more than {HANGING_AFTER_S:g} s")

    def _is_hanging(self) -> bool:
        since_s = self._writing_since_s
        return since_s is not None and time.monotonic() - since_s > HANGING_AFTER_S

    # What waits. The caller holds the lock.

    def _numbered(self, text: str) -> _Numbered:
        self._taken += 1
        return self._taken, text

    def _take(self, most: int) -> _Batch:
        alerts = [self._alerts.popleft() for _ in range(min(most, len(self._alerts)))]
        samples = [self._samples.popleft() for _ in range(min(most - len(alerts), len(self._samples)))]
        heartbeat, self._heartbeat = self._heartbeat, None
        self._is_flushing = bool(self._samples) and (self._is_flushing or heartbeat is not None or bool(alerts))
        return _Batch(alerts, samples, heartbeat)

    def _take_alerts(self) -> _Batch:
        """Alerts and the heartbeat, those of a write that hangs included."""
        batch = _Batch([], [], None)
        if self._writing is not None and (self._is_hanging() or self._closing_spare.is_set()):
            batch.alerts, self._writing.alerts = self._writing.alerts, []
            batch.heartbeat, self._writing.heartbeat = self._writing.heartbeat, None
        batch.alerts += self._alerts
        self._alerts.clear()
        if self._heartbeat is not None:
            batch.heartbeat, self._heartbeat = self._heartbeat, None
        return batch

    def _put_back(self, batch: _Batch) -> None:
        self._alerts = deque(sorted([*batch.alerts, *self._alerts]))
        self._samples.extendleft(reversed(batch.samples))
        self._is_flushing = self._is_flushing or bool(batch.samples)
        heartbeats = [each for each in (self._heartbeat, batch.heartbeat) if each is not None]
        self._heartbeat = max(heartbeats, default=None)
        self._drop_what_is_too_much()

    def _drop_what_is_too_much(self) -> None:
        while len(self._alerts) + len(self._samples) > MOST_WAITING:
            if not self._samples:
                self._alerts.popleft()
            else:
                del self._samples[next((n for n, sample in enumerate(self._samples) if sample.is_routine), 0)]
            self.dropped += 1

    # Outages: one warning at the beginning of each, one line at its end.

    def _fails(self, part: _Part, why: str) -> None:
        with self._changed:
            is_first = self._mark_failing(part)
        if is_first:
            self._warn(why)

    def _mark_failing(self, part: _Part) -> bool:
        """Whether this begins an outage. The caller holds the lock."""
        is_first = not self._failing
        self._failing.add(part)
        if is_first:
            self._failing_since_s = self._writing_since_s or time.monotonic()
            self._dropped_before = self.dropped
        return is_first

    def _warn(self, why: str) -> None:
        log.warning(
            "state directory %s fails: %s; deciding goes on, alerts go through %s, up to %d samples wait in memory",
            self._directory,
            why,
            self._runtime_directory,
            MOST_WAITING,
        )

    def _works(self, part: _Part) -> None:
        with self._changed:
            was_failing = bool(self._failing)
            self._failing.discard(part)
            is_over = was_failing and not self._failing
            lasted_s = time.monotonic() - self._failing_since_s
            dropped = self.dropped - self._dropped_before
        if is_over:
            log.info(
                "state directory %s works again after %.0f s; %d messages were dropped",
                self._directory,
                lasted_s,
                dropped,
            )
