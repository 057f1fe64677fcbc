"""Where the relays should be, and why. Pure: no I/O, no clock, no logging.

The rules, highest first; the first that applies decides:

1. over_temperature      the box was at or above trip in two samples running; held until two are at or below clear, and
                         for the least cooling time                                              -> BATTERY (heat)
2. thermometer_lost      no valid temperature for its limit, never seen included (setting)       -> BATTERY (heat)
3. relay_fault           a latched fault: the relays do not obey, or AC still comes when open    -> BATTERY (heat)
4. override              the owner's wish, while it lasts                                        -> as asked
5. battery_monitor_lost  no valid voltage for the grace, never seen included (setting)           -> GRID    (energy)
6. battery_low           the battery was at or below low for the low hold; latched until rule 7  -> GRID    (energy)
7. battery_recovered     the battery was at or above recover for the recover hold, by daylight   -> BATTERY
8. hold                  none of these                                                           -> as it is

Besides: until there has been a complete set of readings the relays are open (`no_data`, below rule 3), at most for the
boot grace. Rules 5 to 7 wait for the least times on grid and on battery; no timer delays rules 1 to 3. A battery at or
below critical suppresses an override that asks for the battery. When the relays have moved so often that going to
battery and back would be more transfers a day than allowed, they stay on grid (`relay_chatter`).
"""

from collections.abc import Iterator
from typing import NamedTuple

from contract.alerts import Alert
from contract.positions import Position, Reason
from device.limits import Limits
from device.observe import (
    AcSymptom,
    Heard,
    RelayFault,
    State,
    battery_sample,
    has_recovered,
    may_leave_at_s,
    monitor_is_lost,
    monitor_lost_at_s,
    moved,
    observe,
    thermometer_is_lost,
    thermometer_lost_at_s,
)
from device.override import LEFT_ON_AFTER_S, Override
from device.readings import Readings

_ALERT_OF_TROUBLE = {
    AcSymptom.STUCK_CLOSED: Alert.RELAY_STUCK_CLOSED,
    AcSymptom.ABSENT: Alert.GRID_ABSENT,
    AcSymptom.REJECTED: Alert.GRID_REJECTED,
}
_ALERT_OF_FAULT = {
    RelayFault.STUCK_CLOSED: Alert.RELAY_STUCK_CLOSED,
    RelayFault.NOT_OBEYING: Alert.RELAY_FAULT,
}


class Decision(NamedTuple):
    """Where the relays should be, why, what to alert, and when that could change at the earliest.

    `next_change_at_s` is the next time at which position or reason change while all sensors go on saying what they say;
    None: never, or at the next sample: a condition that one sample has met is not pending yet.
    """

    position: Position
    reason: Reason
    alerts: frozenset[Alert]
    override_is_suppressed: bool
    next_change_at_s: float | None
    state: State


def decide(readings: Readings, override: Override | None, state: State, limits: Limits, now_s: float) -> Decision:
    """One decision. `state` is the one that the previous decision returned."""
    state = observe(readings, state, limits, now_s)
    position, reason = _rule(readings, override, state, limits, now_s)
    state = moved(state, position, now_s)
    return Decision(
        position=position,
        reason=reason,
        alerts=_alerts(override, state, limits, now_s),
        override_is_suppressed=override is not None and override.is_active(now_s) and reason is not Reason.OVERRIDE,
        next_change_at_s=_next_change_at_s(readings, override, state, limits, now_s, (position, reason)),
        state=state,
    )


def failed(state: State, alerts: frozenset[Alert], now_s: float) -> Decision:
    """What stands for a decision that could not be made: relays open, and somebody is told besides what was active."""
    return _opened(Reason.INTERNAL_ERROR, state, alerts | {Alert.INTERNAL_ERROR}, now_s)


def disobeyed(state: State, alerts: frozenset[Alert], now_s: float) -> Decision:
    """What follows when the relays did not do as told: the fault is latched, and they are told to open."""
    state = state._replace(fault=state.fault or RelayFault.NOT_OBEYING)
    return _opened(Reason.RELAY_FAULT, state, alerts | {Alert.RELAY_FAULT}, now_s)


def stopped(state: State, alerts: frozenset[Alert], now_s: float) -> Decision:
    """The last decision of a process that ends: nobody watches the box from now on, so the relays open."""
    return _opened(Reason.STOPPED, state, alerts, now_s)


def _opened(reason: Reason, state: State, alerts: frozenset[Alert], now_s: float) -> Decision:
    return Decision(
        position=Position.BATTERY,
        reason=reason,
        alerts=alerts,
        override_is_suppressed=False,
        next_change_at_s=None,
        state=moved(state, Position.BATTERY, now_s),
    )


# The rules


def _rule(
    readings: Readings, override: Override | None, state: State, limits: Limits, now_s: float
) -> tuple[Position, Reason]:
    if state.over_temperature_since_s is not None:
        return Position.BATTERY, Reason.OVER_TEMPERATURE
    if limits.thermometer_lost_opens and thermometer_is_lost(state, limits, now_s):
        return Position.BATTERY, Reason.THERMOMETER_LOST
    if state.fault is not None:
        return Position.BATTERY, Reason.RELAY_FAULT
    if not state.readings_complete and now_s < state.started_s + limits.boot_grace_s:
        return Position.BATTERY, Reason.NO_DATA
    if override is not None and _override_applies(override, state, limits, now_s):
        return override.position, Reason.OVERRIDE
    return _by_battery(readings, state, limits, now_s)


def _override_applies(override: Override, state: State, limits: Limits, now_s: float) -> bool:
    if not override.is_active(now_s):
        return False
    if override.position is Position.BATTERY and state.battery_is_critical:
        return False
    # It waits for no dwell, but a storm of wishes is no reason to wear the relays out.
    return override.position is state.position or now_s >= state.position_since_s + limits.override_pause_s


def _by_battery(readings: Readings, state: State, limits: Limits, now_s: float) -> tuple[Position, Reason]:
    on_grid = state.position is Position.GRID
    may_leave = now_s >= may_leave_at_s(state, limits)

    if monitor_is_lost(state, limits, now_s):
        wanted = limits.monitor_lost_position or state.position
        if wanted is state.position or (may_leave and not (on_grid and state.is_chattering)):
            return wanted, Reason.BATTERY_MONITOR_LOST
        return state.position, Reason.HOLD
    recovered = has_recovered(readings.is_daylight, state, limits, now_s)
    if on_grid and recovered and state.is_chattering:
        return Position.GRID, Reason.RELAY_CHATTER
    if state.battery_is_low and (on_grid or may_leave):
        return Position.GRID, Reason.BATTERY_LOW
    if recovered:
        return Position.BATTERY, Reason.BATTERY_RECOVERED
    return state.position, Reason.HOLD


# What is pending


def _alerts(override: Override | None, state: State, limits: Limits, now_s: float) -> frozenset[Alert]:
    active = []
    if state.over_temperature_since_s is not None:
        active.append(Alert.OVER_TEMPERATURE)
    if thermometer_is_lost(state, limits, now_s):
        active.append(Alert.THERMOMETER_LOST)
    if state.battery_is_low:
        active.append(Alert.BATTERY_LOW)
    if state.battery_is_critical:
        active.append(Alert.BATTERY_CRITICAL)
    if monitor_is_lost(state, limits, now_s):
        active.append(Alert.BATTERY_MONITOR_LOST)
    if state.ac_trouble is not None and state.ac_trouble is not AcSymptom.FINE:
        active.append(_ALERT_OF_TROUBLE[state.ac_trouble])
    if state.fault is not None:
        active.append(_ALERT_OF_FAULT[state.fault])
    if state.is_chattering:
        active.append(Alert.RELAY_CHATTER)
    if override is not None and override.is_active(now_s) and now_s >= override.since_s + LEFT_ON_AFTER_S:
        active.append(Alert.OVERRIDE_LEFT_ON)
    return frozenset(active)


def _next_change_at_s(
    readings: Readings,
    override: Override | None,
    state: State,
    limits: Limits,
    now_s: float,
    outcome: tuple[Position, Reason],
) -> float | None:
    """The earliest end of something pending at which the rules say otherwise, found by letting them say it."""
    for at_s in sorted(at_s for at_s in set(_pending(readings, override, state, limits)) if at_s > now_s):
        state = observe(readings, _without_silence(readings, state, limits, at_s), limits, at_s)
        if _rule(readings, override, state, limits, at_s) != outcome:
            return at_s
    return None


def _pending(readings: Readings, override: Override | None, state: State, limits: Limits) -> Iterator[float]:
    """Every time at which something that is going on may end; many of them have no consequence."""
    yield may_leave_at_s(state, limits)
    if not state.readings_complete:
        yield state.started_s + limits.boot_grace_s
    if readings.box_temperature_c is None:
        yield thermometer_lost_at_s(state, limits)
    if battery_sample(readings, limits) is None:
        yield monitor_lost_at_s(state, limits)
    if override is not None:
        yield override.ends_at_s
        yield state.position_since_s + limits.override_pause_s
    if state.over_temperature_since_s is not None:
        yield state.over_temperature_since_s + limits.least_cooling_time_s
    if state.is_chattering:
        # The one whose age makes room for a way to battery and back.
        yield (
            state.transfers_at_s[len(state.transfers_at_s) - limits.most_transfers + 1] + limits.most_transfers_within_s
        )
    ends_at_s = [
        state.low.held_at_s(limits.low_hold_s),
        state.critical.held_at_s(limits.low_hold_s),
        state.recovered.held_at_s(limits.recover_hold_s),
        state.ac.held_at_s(limits.ac_settle_s),  # of what AC feedback can say, only a welded relay changes a decision
    ]
    yield from (at_s for at_s in ends_at_s if at_s is not None)


def _without_silence(readings: Readings, state: State, limits: Limits, at_s: float) -> State:
    """`state` as it is when the sensors that are heard now have been heard until `at_s`."""
    heard = Heard(at_s)
    return state._replace(
        monitor=state.monitor if battery_sample(readings, limits) is None else heard,
        thermometer=state.thermometer if readings.box_temperature_c is None else heard,
    )
