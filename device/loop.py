"""One decision after the other: read, decide, switch, record. Control and replay run the same loop."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from contract.alerts import Alert
from contract.positions import Position
from device.battery_monitor import TimedPage
from device.decide import Decision, decide, disobeyed, failed, stopped
from device.health import Health
from device.limits import Limits
from device.observe import State
from device.override import Override
from device.readings import Reading, Readings
from device.relays import Levels, RelayError
from device.wishes import NO_WISHES, Wishes

log = logging.getLogger(__name__)

# Decisions in a row that may fail before the process gives up and is started anew.
MOST_FAILURES = 3


class Seen(NamedTuple):
    """What is known at one moment. Only `readings` and `override` decide; the rest is for telemetry and alerts."""

    readings: Readings
    override: Override | None = None
    pages: tuple[TimedPage, ...] = ()
    alerts: frozenset[Alert] = frozenset()
    health: Health | None = None
    # What has gone wrong since the start, by name: refused pages, failed reads, samples that found no room.
    counts: Mapping[str, int] = MappingProxyType({})
    # What the owner has asked for; `override` is what of it is in force.
    wishes: Wishes = NO_WISHES
    # The number of the newest wish that `wishes` takes into account.
    wish_number: int = 0
    outside_temperature_c: Reading | None = None
    cloud_cover_percent: float | None = None
    # What the relays' pins read back once this decision had been carried out.
    relay_levels: Levels | None = None


class Sensors(Protocol):
    """Where readings come from. It never waits."""

    def seen(self, now_s: float) -> Seen: ...


class Switch(Protocol):
    """What moves the relays, and returns what their pins read back; None where nothing can be read."""

    def write(self, position: Position) -> Levels | None: ...


class Recorder(Protocol):
    """What is told of every decision, after it has been carried out. It never waits."""

    def record(self, decision: Decision, seen: Seen, /) -> None: ...


class Loop:
    """Holds the state between decisions, and stands between every error and the relays."""

    def __init__(
        self,
        sensors: Sensors,
        switch: Switch,
        recorder: Recorder,
        limits: Limits,
        state: State,
        wishes: Wishes = NO_WISHES,
    ) -> None:
        self._sensors = sensors
        self._switch = switch
        self._recorder = recorder
        self._limits = limits
        self._state = state
        self._alerts: frozenset[Alert] = frozenset()
        self._other_alerts: frozenset[Alert] = frozenset()
        self._wishes = wishes
        self._failures = 0
        self._complaint = ""
        self._levels: Levels | None = None

    def tick(self, now_s: float) -> Decision:
        """Make and carry out one decision. The relays are written every time, which also undoes a disturbance.

        Raises:
            Exception: the decision has failed MOST_FAILURES times in a row. The relays are open.
        """
        seen, decision, error = self._decide(now_s)
        decision = self._carry_out(decision, now_s)
        self._record(decision, seen)
        if error is not None and self._failures >= MOST_FAILURES:
            raise error
        return decision

    def stop(self, now_s: float) -> None:
        """Open the relays and record that nobody decides any more."""
        decision = self._carry_out(stopped(self._state, self._alerts, now_s), now_s)
        self._record(decision, self._nothing_seen())

    def _decide(self, now_s: float) -> tuple[Seen, Decision, Exception | None]:
        seen: Seen | None = None
        try:
            seen = self._sensors.seen(now_s)
            decision = decide(seen.readings, seen.override, self._state, self._limits, now_s)
        except Exception as e:  # the boundary: whatever goes wrong in there must not leave the relays closed
            self._failures += 1
            log.exception("decision failed, %d in a row; relays open", self._failures)
            return seen or self._nothing_seen(), failed(self._state, self._alerts, now_s), e
        self._failures = 0
        self._alerts, self._other_alerts, self._wishes = decision.alerts, seen.alerts, seen.wishes
        return seen, decision, None

    def _nothing_seen(self) -> Seen:
        """What is known when nobody has looked: no alert and no wish is over because of that."""
        return Seen(Readings(), alerts=self._other_alerts, wishes=self._wishes)

    def _carry_out(self, decision: Decision, now_s: float) -> Decision:
        # Kept before the write: relays that fail must not make the next decision forget how hot the box was.
        self._state = decision.state
        if self._writes(decision.position):
            return decision
        decision = disobeyed(self._state, self._alerts, now_s)
        self._state = decision.state
        self._writes(decision.position)
        return decision

    def _writes(self, position: Position) -> bool:
        try:
            self._levels = self._switch.write(position)
        except RelayError as e:
            self._levels = e.levels
            if str(e) != self._complaint:
                self._complaint = str(e)
                log.critical("relay fault, to be kept open: %s", e)
            return False
        return True

    def _record(self, decision: Decision, seen: Seen) -> None:
        try:
            self._recorder.record(decision, seen if self._levels is None else seen._replace(relay_levels=self._levels))
        except Exception:  # the boundary: what cannot be recorded must not stop the next decision
            log.exception("decision not recorded")
