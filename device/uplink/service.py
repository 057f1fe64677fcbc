"""`solarshed uplink`: the process. Moves no relay and delays no decision."""

import logging
import queue
import signal
import time

from device import identity
from device.settings import Settings, SettingsError
from device.stopping import StopRequest
from device.uplink.delivery import Delivery, Publisher
from device.uplink.link import Link
from device.watchdog import Watchdog

log = logging.getLogger(__name__)

_POLL_S = 0.5


def run(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT. What is not acknowledged by then stays in the outbox.

    Raises:
        SettingsError, IdentityError: it cannot start.
    """
    if not settings.uplink.endpoint:
        raise SettingsError("uplink.endpoint is empty; write your account's AWS IoT data endpoint there")
    identity.check(settings.uplink)
    stopping = StopRequest(signal.SIGTERM, signal.SIGINT)
    watchdog = Watchdog()

    link = Link(settings.thing, settings.uplink)
    delivery = Delivery(settings.thing, (settings.state_directory, settings.runtime_directory), link)
    link.start()
    try:
        while not stopping.is_set():
            delivery.send(time.monotonic())
            _settle_what_ends(delivery, link)
            watchdog.ready(f"delivering as {settings.thing}")
            watchdog.alive()
    finally:
        watchdog.stopping()
        link.stop()
        log.info("stopped; %d messages wait in the outbox", delivery.waiting())
        delivery.close()


def _settle_what_ends(delivery: Delivery, link: Publisher) -> None:
    """Wait a moment for acknowledgements, then take all that have come."""
    try:
        completion = link.completions.get(timeout=_POLL_S)
        while True:
            delivery.settle(completion, time.monotonic())
            completion = link.completions.get_nowait()
    except queue.Empty:
        pass
