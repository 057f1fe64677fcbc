"""`solarshed uplink`: the process. Moves no relay and delays no decision."""

import logging
import signal
import time

from contract.alerts import Alert
from device import identity, mailbox
from device.mailbox import LETTER_NAME, REPORT_NAME, Letter, MailError, Post
from device.settings import Settings, SettingsError
from device.stopping import StopRequest
from device.uplink.delivery import Delivery
from device.uplink.link import Completion, Connected, Event, Link, Lost, Message, Subscribed, Timing
from device.uplink.pace import MOST_BYTES_A_SECOND, MOST_PUBLISHES_A_SECOND, Pace
from device.uplink.shadow import Asked, Shadow
from device.watchdog import Watchdog

log = logging.getLogger(__name__)

_POLL_S = 0.5
# A broker that drops the connection so soon, so often in a row, may mean what it was sent.
_SHORT_LIVED_S = 5.0
_MOST_SHORT_LIVED = 3
# Of AWS's limits, for the shadow and the status, which do not wait for room.
_RESERVED_PUBLISHES = 5
_RESERVED_BYTES = 20_000


class Uplink:
    """Everything between the shared files and the broker. For one thread; `round` never waits longer than half a
    second."""

    def __init__(self, settings: Settings, timing: Timing | None = None) -> None:
        self._pace = Pace(MOST_PUBLISHES_A_SECOND - _RESERVED_PUBLISHES, MOST_BYTES_A_SECOND - _RESERVED_BYTES)
        self.link = Link(settings.thing, settings.uplink, timing, directory=settings.state_directory)
        self.delivery = Delivery(
            settings.thing, (settings.state_directory, settings.runtime_directory), self.link, self._pace
        )
        self.shadow = Shadow(settings.thing, self.link, self._pace)
        self._runtime_directory = settings.runtime_directory
        self._reports = Post(settings.runtime_directory, REPORT_NAME)
        self._letter: Letter | None = None
        self._complaint = ""
        self._connected_at_s = 0.0
        self._short_lived = 0

    def round(self) -> None:
        """Send what is due, and take what has come."""
        now_s = time.monotonic()
        self.link.tick(now_s)
        self.delivery.send(now_s)
        self._look_for_report()
        if self.link.connected:
            self.shadow.tick(now_s)
        for event in self.link.take(min(_POLL_S, self.delivery.due_in_s(time.monotonic()))):
            self._take(event, time.monotonic())
        self._write_letter(time.monotonic())

    def stop(self) -> None:
        """Say goodbye and let go of everything. What is not acknowledged by now stays in the outbox."""
        self.link.stop()
        waiting = self.delivery.waiting()
        self.delivery.close()
        log.info("stopped; %d messages wait in the outbox", waiting)

    def _take(self, event: Event, now_s: float) -> None:
        match event:
            case Completion(token=Asked() as asked):
                self.shadow.settle(asked, event.error, refused=event.refused, now_s=now_s)
            case Completion():
                self.delivery.settle(event, now_s)
            case Connected():
                self._pace.note(0, now_s)  # the link has said `online`
                self._connected_at_s = now_s
                self.shadow.connected()
            case Subscribed():
                self.shadow.subscribed(event.error, now_s)
            case Message():
                self.shadow.hear(event.topic, event.payload, now_s)
            case Lost():
                self._note_loss(event, now_s)
        if isinstance(event, Completion) and event.unanswered and self.link.connected:
            # Acknowledgements have stopped coming on a line that looks alive.
            self.link.reconnect("a publish was not acknowledged", now_s)
            self.shadow.lost()

    def _note_loss(self, lost: Lost, now_s: float) -> None:
        self.shadow.lost()
        is_short = lost.was_connected and now_s - self._connected_at_s < _SHORT_LIVED_S and not lost.taken_over
        self._short_lived = self._short_lived + 1 if is_short else 0
        if lost.was_connected and (lost.not_authorized or self._short_lived >= _MOST_SHORT_LIVED):
            self._short_lived = 0
            self.delivery.connection_refused(now_s, is_certain=lost.not_authorized)
        elif not is_short:
            self.delivery.connection_lost()

    def _look_for_report(self) -> None:
        try:
            text = self._reports.news()
            if text is not None:
                report = mailbox.decode_report(text)
                counts = report.get("counts")
                # Counting looks at the whole file, which is small only while it is being emptied.
                if isinstance(counts, dict) and self.link.connected:
                    counts["messages_waiting"] = self.delivery.waiting()
                self.shadow.report(report)
        except (OSError, MailError) as e:
            self._complain(f"{self._runtime_directory / REPORT_NAME}: {e}; the shadow is not told what control does")

    def _write_letter(self, now_s: float) -> None:
        """Tell control what stands in the cloud, when that has changed."""
        noticed = {
            Alert.DUPLICATE_CLIENT_ID: self.link.is_duplicated(now_s),
            Alert.DELIVERY_REFUSED: self.delivery.is_refused(now_s),
            Alert.SHADOW_UNAVAILABLE: not self.shadow.is_available,
        }
        letter = Letter(
            knows_wish=self.shadow.knows_wish,
            wish=self.shadow.wish,
            wish_number=self.shadow.wish_number,
            cloud_time=self.shadow.cloud_time,
            alerts=frozenset(alert for alert, is_so in noticed.items() if is_so),
            counts={
                "connections": self.link.connections,
                "messages_refused": self.delivery.counts["messages_refused"],
            },
        )
        if letter == self._letter:
            return
        try:
            mailbox.put(self._runtime_directory, LETTER_NAME, mailbox.encode_letter(letter))
        except OSError as e:
            self._complain(f"{self._runtime_directory / LETTER_NAME}: {e.strerror}; control does not hear of overrides")
        else:
            self._letter = letter

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("%s", complaint)


def run(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT. What is not acknowledged by then stays in the outbox.

    Raises:
        SettingsError, IdentityError: it cannot start.
    """
    if not settings.uplink.endpoint:
        raise SettingsError("uplink.endpoint is empty; write your account's AWS IoT data endpoint there")
    identity.check_apart(settings.uplink)
    stopping = StopRequest(signal.SIGTERM, signal.SIGINT)
    watchdog = Watchdog()
    uplink = Uplink(settings)
    try:
        while not stopping.is_set():
            uplink.round()
            watchdog.ready(f"delivering as {settings.thing}")
            watchdog.alive()
    finally:
        watchdog.stopping()
        uplink.stop()
