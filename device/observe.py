"""What has been so, and since when: the memory between decisions. Pure; moves nothing.

Every condition on a reading needs two samples in a row that agree on it, so that one bad sample that passed its
checksum moves nothing. A threshold belongs to the side that acts: "at or below low".
"""

from enum import StrEnum
from typing import NamedTuple, TypedDict

from contract.positions import Position
from device.limits import Limits
from device.readings import AcMode, AcReading, Reading, Readings

# A bound for memory, above any number of transfers that is allowed in a day.
_REMEMBERED_TRANSFERS = 100


class RelayFault(StrEnum):
    """What latches rule 3."""

    NOT_OBEYING = "not_obeying"
    STUCK_CLOSED = "stuck_closed"


class AcSymptom(StrEnum):
    """What an inverter's AC input says about the relays."""

    FINE = "fine"
    STUCK_CLOSED = "stuck_closed"
    ABSENT = "absent"
    REJECTED = "rejected"


class Streak(NamedTuple):
    """Samples in a row that say the same: since the time of the first one, and whether a second one agrees with it."""

    since_s: float | None = None
    agrees: bool = False

    def held_at_s(self, hold_s: float) -> float | None:
        """When it will have lasted for `hold_s`; None while only one sample says so, or none."""
        return self.since_s + hold_s if self.agrees and self.since_s is not None else None


class Heard(NamedTuple):
    """When a sensor was last heard, and whether that was the first time after a silence."""

    at_s: float
    after_silence: bool = False


_NO_STREAK = Streak()


class State(NamedTuple):
    """What a decision must remember. Times are monotonic seconds; None = not so now.

    A tuple, because a decision makes several from one another: of a dataclass that takes four times as long.
    """

    started_s: float
    position: Position
    position_since_s: float
    thermometer: Heard
    monitor: Heard
    transfers_at_s: tuple[float, ...] = ()
    is_chattering: bool = False
    readings_complete: bool = False
    last_voltage_v: float | None = None
    hot: Streak = _NO_STREAK
    cool: Streak = _NO_STREAK
    over_temperature_since_s: float | None = None
    low: Streak = _NO_STREAK
    recovered: Streak = _NO_STREAK
    critical: Streak = _NO_STREAK
    battery_is_low: bool = False
    battery_is_critical: bool = False
    fault: RelayFault | None = None
    ac: Streak = _NO_STREAK
    ac_symptom: AcSymptom | None = None
    ac_trouble: AcSymptom | None = None
    ac_came_through: bool = False


class _Changes(TypedDict, total=False):
    """Members of a State that one kind of reading changes."""

    thermometer: Heard
    monitor: Heard
    last_voltage_v: float | None
    hot: Streak
    cool: Streak
    over_temperature_since_s: float | None
    low: Streak
    recovered: Streak
    critical: Streak
    fault: RelayFault | None
    ac: Streak
    ac_symptom: AcSymptom | None
    ac_trouble: AcSymptom | None
    ac_came_through: bool


def initial_state(now_s: float) -> State:
    """The state of a Pi that has just started: relays open, all times still to run."""
    return State(
        started_s=now_s,
        position=Position.BATTERY,
        position_since_s=now_s,
        thermometer=Heard(now_s),
        monitor=Heard(now_s),
    )


# What the readings say


def observe(readings: Readings, state: State, limits: Limits, now_s: float) -> State:
    """`state` after these readings: what has been so, and since when. Moves nothing."""
    # None of the three looks at what another one changes.
    changes = _observe_battery(readings, state, limits)
    changes |= _observe_temperature(readings.box_temperature_c, state, limits, now_s)
    changes |= _observe_ac(readings.ac, state, limits, now_s)
    return _latch(readings, state._replace(**changes), limits, now_s)


def _latch(readings: Readings, state: State, limits: Limits, now_s: float) -> State:
    """What becomes so and stays so until something else ends it."""
    recovered = has_recovered(readings.is_daylight, state, limits, now_s)
    is_low, is_critical = state.battery_is_low, state.battery_is_critical
    if battery_sample(readings, limits) is not None:
        is_low = is_low or _is_past(state.low.held_at_s(limits.low_hold_s), now_s)
    if readings.battery_voltage_v is not None:
        is_critical = is_critical or _is_past(state.critical.held_at_s(limits.low_hold_s), now_s)
    is_complete = readings.battery_voltage_v is not None and readings.box_temperature_c is not None

    transfers_at_s = tuple([at_s for at_s in state.transfers_at_s if now_s < at_s + limits.most_transfers_within_s])
    no_way_back = len(transfers_at_s) + 2 > limits.most_transfers
    wants_to_leave_grid = recovered and state.position is Position.GRID
    too_often = len(transfers_at_s) > limits.most_transfers or (no_way_back and wants_to_leave_grid)
    return state._replace(
        readings_complete=state.readings_complete or is_complete,
        battery_is_low=is_low and not recovered,
        battery_is_critical=is_critical and not recovered,
        transfers_at_s=transfers_at_s,
        is_chattering=too_often or (state.is_chattering and no_way_back),
    )


def _observe_battery(readings: Readings, state: State, limits: Limits) -> _Changes:
    voltage = readings.battery_voltage_v
    soc = readings.soc_percent
    low = _at_or_below(voltage, limits.battery_low_voltage_v, soc, limits.battery_low_soc_percent)
    recovered = _at_or_above(voltage, limits.battery_recover_voltage_v, soc, limits.battery_recover_soc_percent)
    heard = battery_sample(readings, limits)
    critical = _at_or_below(voltage, limits.battery_critical_voltage_v, None, None)
    return _Changes(
        monitor=_heard(state.monitor, heard, monitor_lost_at_s(state, limits)),
        last_voltage_v=state.last_voltage_v if voltage is None else voltage.value,
        # Silence neither ends nor completes these: a line that is bad most of the time must not put off the grid.
        low=state.low if heard is None else _extended(state.low, low),
        recovered=_extended(state.recovered, recovered),
        critical=state.critical if voltage is None else _extended(state.critical, critical),
    )


def battery_sample(readings: Readings, limits: Limits) -> Reading | None:
    """What says that the battery is seen: its voltage, or where that cannot tell low, its state of charge."""
    return readings.soc_percent if limits.battery_low_voltage_v is None else readings.battery_voltage_v


def _observe_temperature(temperature: Reading | None, state: State, limits: Limits, now_s: float) -> _Changes:
    if temperature is None:
        return _Changes()
    hot = _extended(state.hot, _if(temperature, temperature.value >= limits.over_temperature_trip_c))
    cool = _extended(state.cool, _if(temperature, temperature.value <= limits.over_temperature_clear_c))
    since_s = state.over_temperature_since_s
    if since_s is None and hot.agrees:
        since_s = now_s
    elif since_s is not None and cool.agrees and now_s >= since_s + limits.least_cooling_time_s:
        since_s = None
    return _Changes(
        thermometer=_heard(state.thermometer, temperature, thermometer_lost_at_s(state, limits)),
        hot=hot,
        cool=cool,
        over_temperature_since_s=since_s,
    )


def _observe_ac(ac: AcReading | None, state: State, limits: Limits, now_s: float) -> _Changes:
    """What the inverters' AC input says of the relays. A page from before the last transfer says nothing."""
    if ac is None or ac.at_s <= state.position_since_s:
        return _Changes(ac_symptom=None)
    symptom = _symptom(ac.mode, state.position, limits)
    streak = _extended(state.ac if symptom is state.ac_symptom else _NO_STREAK, ac)
    is_sure = _is_past(streak.held_at_s(_ac_is_sure_after_s(symptom, limits)), now_s)
    in_use = ac.mode is AcMode.AC_USE
    came_through = in_use if state.position is Position.GRID else state.ac_came_through and in_use
    is_welded = is_sure and symptom is AcSymptom.STUCK_CLOSED and came_through
    return _Changes(
        ac=streak,
        ac_symptom=symptom,
        ac_trouble=symptom if is_sure else state.ac_trouble,
        ac_came_through=came_through,
        fault=RelayFault.STUCK_CLOSED if is_welded else state.fault,
    )


def _symptom(mode: AcMode, position: Position, limits: Limits) -> AcSymptom:
    if position is Position.BATTERY:
        stuck = mode is AcMode.AC_USE and not limits.has_generator
        return AcSymptom.STUCK_CLOSED if stuck else AcSymptom.FINE
    if mode is AcMode.NO_AC:
        return AcSymptom.ABSENT
    return AcSymptom.REJECTED if mode is AcMode.AC_DROP else AcSymptom.FINE


def _ac_is_sure_after_s(symptom: AcSymptom, limits: Limits) -> float:
    if symptom is AcSymptom.ABSENT:
        return limits.grid_absent_after_s
    return limits.grid_rejected_after_s if symptom is AcSymptom.REJECTED else limits.ac_settle_s


# A sample that counts: the one that a condition is true of. None where it is not, or nothing is known.


def _at_or_below(
    voltage: Reading | None, voltage_v: float | None, soc: Reading | None, soc_percent: float | None
) -> Reading | None:
    if soc is not None and soc_percent is not None:
        return _if(soc, soc.value <= soc_percent)
    if voltage is not None and voltage_v is not None:
        return _if(voltage, voltage.value <= voltage_v)
    return None


def _at_or_above(
    voltage: Reading | None, voltage_v: float | None, soc: Reading | None, soc_percent: float | None
) -> Reading | None:
    if soc is not None and soc_percent is not None:
        return _if(soc, soc.value >= soc_percent)
    if voltage is not None and voltage_v is not None:
        return _if(voltage, voltage.value >= voltage_v)
    return None


def _if(sample: Reading, is_so: bool) -> Reading | None:
    return sample if is_so else None


def _extended(streak: Streak, sample: Reading | AcReading | None) -> Streak:
    """The streak with one more sample; ended where there is none. The same sample seen again is not one more."""
    if sample is None:
        return _NO_STREAK
    if streak.since_s is None:
        return Streak(sample.at_s)
    if sample.at_s == streak.since_s:
        return streak
    return Streak(streak.since_s, agrees=True)


def _heard(heard: Heard, sample: Reading | None, lost_at_s: float) -> Heard:
    if sample is None or sample.at_s <= heard.at_s:
        return heard
    return Heard(sample.at_s, after_silence=sample.at_s >= lost_at_s)


# Transfers


def moved(state: State, position: Position, now_s: float) -> State:
    """`state` with the relays in `position` since `now_s`, if they were not there before; the move is remembered."""
    if position is state.position:
        return state
    newest = state.transfers_at_s[-_REMEMBERED_TRANSFERS:]
    return state._replace(position=position, position_since_s=now_s, transfers_at_s=(*newest, now_s))


# When


def has_recovered(is_daylight: bool | None, state: State, limits: Limits, now_s: float) -> bool:
    """Whether rule 7's own conditions hold: what the battery says, and on grid the least time there and daylight."""
    if not _is_past(state.recovered.held_at_s(limits.recover_hold_s), now_s):
        return False
    on_grid = state.position is Position.GRID
    return not on_grid or (is_daylight is not False and now_s >= may_leave_at_s(state, limits))


def may_leave_at_s(state: State, limits: Limits) -> float:
    """When the least time in the present position is over: the dwell of rules 5 to 7."""
    on_grid = state.position is Position.GRID
    return state.position_since_s + (limits.least_time_on_grid_s if on_grid else limits.least_time_on_battery_s)


def thermometer_is_lost(state: State, limits: Limits, now_s: float) -> bool:
    """Rule 2's condition: silent for its limit, or heard for the first time since."""
    return state.thermometer.after_silence or now_s >= thermometer_lost_at_s(state, limits)


def thermometer_lost_at_s(state: State, limits: Limits) -> float:
    """When a thermometer that stays silent counts as lost."""
    return state.thermometer.at_s + limits.thermometer_lost_after_s


def monitor_is_lost(state: State, limits: Limits, now_s: float) -> bool:
    """Rule 5's condition: silent for its grace, or heard for the first time since."""
    return state.monitor.after_silence or now_s >= monitor_lost_at_s(state, limits)


def monitor_lost_at_s(state: State, limits: Limits) -> float:
    """When the grace is over. A bank that was far above low lasts a while: more grace for each volt, up to the cap."""
    grace_s = limits.monitor_lost_after_s
    if state.last_voltage_v is not None and limits.battery_low_voltage_v is not None:
        above_v = max(0.0, state.last_voltage_v - limits.battery_low_voltage_v)
        longer_s = grace_s + above_v * limits.monitor_lost_after_per_volt_s
        grace_s = max(grace_s, min(longer_s, limits.monitor_lost_after_cap_s))
    return state.monitor.at_s + grace_s


def _is_past(at_s: float | None, now_s: float) -> bool:
    return at_s is not None and now_s >= at_s
