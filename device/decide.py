"""Where the relays should be, and why. Pure: no I/O, no clock, no logging.

The rules, highest first; the first that applies decides:

1. over_temperature    the box was at or above trip in two consecutive samples; held until it is at or below clear and
                       the least cooling time is over                                           -> BATTERY (heat)
2. battery_low         the battery was at or below low for the low hold; latched until rule 3   -> GRID    (energy)
3. battery_recovered   the battery was at or above recover for the recover hold                 -> BATTERY
4. hold                none of these                                                            -> as it is

The least times on grid and on battery bind rules 2 and 3 only; no timer delays rule 1. Until there has been a complete
set of readings the relays stay open (`no_data`), at most for the boot grace.
"""

from dataclasses import dataclass, replace

from contract.positions import Position, Reason
from device.readings import Reading, Readings

# Consecutive samples at or above trip that it takes; one may be a bad one that passed its checksum.
HOT_SAMPLES_TO_TRIP = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds and times of the rules; `device.settings` checks their bounds."""

    battery_low_voltage_v: float
    battery_recover_voltage_v: float
    low_hold_s: float
    recover_hold_s: float
    least_time_on_grid_s: float
    least_time_on_battery_s: float
    over_temperature_trip_c: float
    over_temperature_clear_c: float
    least_cooling_time_s: float
    boot_grace_s: float


@dataclass(frozen=True, slots=True)
class State:
    """What a decision must remember. Times are monotonic seconds; None = not so now."""

    started_s: float
    position: Position
    position_since_s: float
    readings_complete: bool = False
    hot_samples: int = 0
    last_temperature_at_s: float | None = None
    over_temperature_since_s: float | None = None
    low_since_s: float | None = None
    recovered_since_s: float | None = None
    battery_is_low: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the relays should be, why, when that could change at the earliest (None: nothing is pending)."""

    position: Position
    reason: Reason
    next_change_at_s: float | None
    state: State


def initial_state(now_s: float) -> State:
    """The state of a process that has just started: relays open, all times still to run."""
    return State(started_s=now_s, position=Position.BATTERY, position_since_s=now_s)


def decide(readings: Readings, state: State, limits: Limits, now_s: float) -> Decision:
    """One decision. `state` is the one that the previous decision returned."""
    state = _observe(readings, state, limits, now_s)

    if state.over_temperature_since_s is not None:
        return _over_temperature(readings.box_temperature_c, state, limits, now_s)

    grace_ends_at_s = state.started_s + limits.boot_grace_s
    if not state.readings_complete and now_s < grace_ends_at_s:
        return _decision(Position.BATTERY, Reason.NO_DATA, grace_ends_at_s, state, now_s)

    return _by_battery(state, limits, now_s)


def _over_temperature(temperature: Reading | None, state: State, limits: Limits, now_s: float) -> Decision:
    cools_until_s = _after(state.over_temperature_since_s, limits.least_cooling_time_s)
    is_cool = temperature is not None and temperature.value <= limits.over_temperature_clear_c
    return _decision(Position.BATTERY, Reason.OVER_TEMPERATURE, cools_until_s if is_cool else None, state, now_s)


def _by_battery(state: State, limits: Limits, now_s: float) -> Decision:
    on_grid = state.position is Position.GRID
    dwell_s = limits.least_time_on_grid_s if on_grid else limits.least_time_on_battery_s
    may_leave_at_s = state.position_since_s + dwell_s
    low_at_s = _after(state.low_since_s, limits.low_hold_s)
    recovered_at_s = _after(state.recovered_since_s, limits.recover_hold_s)
    if on_grid:
        recovered_at_s = _later(recovered_at_s, may_leave_at_s)

    recovered = _is_past(recovered_at_s, now_s)
    is_low = (state.battery_is_low or _is_past(low_at_s, now_s)) and not recovered
    state = replace(state, battery_is_low=is_low)

    if is_low and (on_grid or now_s >= may_leave_at_s):
        on_grid_since_s = state.position_since_s if on_grid else now_s
        may_return_at_s = _later(recovered_at_s, on_grid_since_s + limits.least_time_on_grid_s)
        return _decision(Position.GRID, Reason.BATTERY_LOW, may_return_at_s, state, now_s)
    if recovered:
        return _decision(Position.BATTERY, Reason.BATTERY_RECOVERED, None, state, now_s)
    if on_grid:
        return _decision(Position.GRID, Reason.HOLD, recovered_at_s, state, now_s)
    to_grid_at_s = may_leave_at_s if is_low else _later(low_at_s, may_leave_at_s)
    # On battery already, the end of the recover hold changes only the reason.
    return _decision(Position.BATTERY, Reason.HOLD, _earlier(to_grid_at_s, recovered_at_s), state, now_s)


def _observe(readings: Readings, state: State, limits: Limits, now_s: float) -> State:
    """`state` after these readings: what has been so, and since when. Moves nothing."""
    voltage, temperature = readings.battery_voltage_v, readings.box_temperature_c
    is_low = voltage is not None and voltage.value <= limits.battery_low_voltage_v
    is_recovered = voltage is not None and voltage.value >= limits.battery_recover_voltage_v
    state = replace(
        state,
        readings_complete=state.readings_complete or (voltage is not None and temperature is not None),
        low_since_s=_since(state.low_since_s, is_low, now_s),
        recovered_since_s=_since(state.recovered_since_s, is_recovered, now_s),
    )
    return state if temperature is None else _observe_temperature(temperature, state, limits, now_s)


def _observe_temperature(temperature: Reading, state: State, limits: Limits, now_s: float) -> State:
    hot_samples = state.hot_samples
    if temperature.at_s != state.last_temperature_at_s:
        hot_samples = hot_samples + 1 if temperature.value >= limits.over_temperature_trip_c else 0

    since_s = state.over_temperature_since_s
    if hot_samples >= HOT_SAMPLES_TO_TRIP:
        since_s = now_s if since_s is None else since_s
    elif since_s is not None and temperature.value <= limits.over_temperature_clear_c:
        since_s = since_s if now_s < since_s + limits.least_cooling_time_s else None
    return replace(
        state,
        hot_samples=hot_samples,
        last_temperature_at_s=temperature.at_s,
        over_temperature_since_s=since_s,
    )


def _decision(
    position: Position, reason: Reason, next_change_at_s: float | None, state: State, now_s: float
) -> Decision:
    if position is not state.position:
        state = replace(state, position=position, position_since_s=now_s)
    return Decision(position, reason, next_change_at_s, state)


def _since(since_s: float | None, is_so: bool, now_s: float) -> float | None:
    if not is_so:
        return None
    return now_s if since_s is None else since_s


def _after(since_s: float | None, duration_s: float) -> float | None:
    return None if since_s is None else since_s + duration_s


def _later(at_s: float | None, not_before_s: float) -> float | None:
    return None if at_s is None else max(at_s, not_before_s)


def _earlier(one_s: float | None, other_s: float | None) -> float | None:
    return min((at_s for at_s in (one_s, other_s) if at_s is not None), default=None)


def _is_past(at_s: float | None, now_s: float) -> bool:
    return at_s is not None and now_s >= at_s
