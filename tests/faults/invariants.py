"""What holds after every fault, judged by book-keeping of its own from what went in and what came out."""

import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from contract.alerts import Alert
from contract.positions import Position, Reason
from device.limits import Limits
from device.observe import RelayFault
from tests.faults.rig import Tick, transfers

# Which reasons may close the relays, and which may open them; those that wait for nothing.
CLOSING = {Reason.OVERRIDE, Reason.BATTERY_MONITOR_LOST, Reason.BATTERY_LOW}
AT_ONCE = {
    Reason.OVER_TEMPERATURE,
    Reason.THERMOMETER_LOST,
    Reason.RELAY_FAULT,
    Reason.NO_DATA,
    Reason.INTERNAL_ERROR,
    Reason.STOPPED,
}
OPENING = AT_ONCE | {Reason.OVERRIDE, Reason.BATTERY_MONITOR_LOST, Reason.BATTERY_RECOVERED}
# What stands above battery_low in the table.
ABOVE_LOW = AT_ONCE | {Reason.OVERRIDE, Reason.BATTERY_MONITOR_LOST}

MOST_STATE_CHARACTERS = 20_000


def check_invariants(history: Sequence[Tick], limits: Limits) -> None:
    """All of them."""
    for check in INVARIANTS.values():
        check(list(history), limits)


def loop_ticks_on_time(history: list[Tick], _limits: Limits) -> None:
    """I1, on a virtual clock: no tick is left out, whatever failed in it."""
    for before, after in pairwise(history):
        if before.start == after.start:
            assert 0.0 < after.now_s - before.now_s <= 2.0, f"at {after.now_s}"


def one_path_writes_the_relays(history: list[Tick], _limits: Limits) -> None:
    """I2: the pins are as the last write left them whenever the next one comes."""
    for tick in history:
        assert not tick.was_disturbed, f"at {tick.now_s}"
        assert tick.writes, f"not written at {tick.now_s}"


def every_change_has_its_reason(history: list[Tick], _limits: Limits) -> None:
    """I3: what moved the relays may move them that way, and the change was published at once."""
    for _, after in transfers(history):
        decision = after.decision
        assert decision.reason in (CLOSING if decision.position is Position.GRID else OPENING), f"at {after.now_s}"
        assert after.entry.sample is not None, f"at {after.now_s}"
        published = json.loads(after.entry.sample)
        assert (published["position"], published["reason"]) == (decision.position, decision.reason)


def relays_agree(history: list[Tick], _limits: Limits) -> None:
    """I4: both are where the decision says, or a fault is latched."""
    for tick in history:
        if tick.decision.state.fault is None:
            told = tick.decision.position == Position.GRID
            assert tick.pins == (told, told), f"at {tick.now_s}"


def no_transfer_inside_a_dwell(history: list[Tick], limits: Limits) -> None:
    """I5: but for heat; the owner's wish waits for its pause only."""
    moved_at_s: dict[int, float] = {}
    for before, after in transfers(history):
        stayed_s = after.now_s - moved_at_s.get(before.start, -math.inf)
        moved_at_s[before.start] = after.now_s
        if after.decision.reason in AT_ONCE:
            continue
        to_grid = after.decision.position is Position.GRID
        least_s = limits.least_time_on_battery_s if to_grid else limits.least_time_on_grid_s
        if after.decision.reason is Reason.OVERRIDE:
            least_s = limits.override_pause_s
        assert stayed_s >= least_s, f"at {after.now_s}"


def nothing_is_not_finite(history: list[Tick], _limits: Limits) -> None:
    """I6: in what is published and in what is remembered."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} was published")

    for tick in history:
        for text in (tick.entry.sample, tick.entry.heartbeat, *tick.entry.alerts):
            if text is not None:
                json.loads(text, parse_constant=refuse)
        state = tick.decision.state
        for name, value in state._asdict().items():
            assert not isinstance(value, float) or math.isfinite(value), f"{name} at {tick.now_s}"
        at_s = tick.decision.next_change_at_s
        assert at_s is None or (math.isfinite(at_s) and at_s > tick.now_s), f"next change at {tick.now_s}"


def memory_is_bounded(history: list[Tick], _limits: Limits) -> None:
    """I7: what a decision remembers does not grow."""
    for tick in history[:: max(1, len(history) // 50)]:
        assert len(repr(tick.decision.state)) < MOST_STATE_CHARACTERS, f"at {tick.now_s}"


def alerts_are_raised_once_and_cleared_once(history: list[Tick], limits: Limits) -> None:
    """I8: each change of an alert is published, in the tick of the decision that has it.

    Over restarts too: what one process raised the next one clears, when it has had the time to find it anew. Only what
    was raised in the moment of a kill may be raised again; its key in PagerDuty is the same.
    """
    settle_s = max(limits.thermometer_lost_after_s, limits.monitor_lost_after_s)
    active: set[str] = set()
    start, started_at_s = 0, 0.0
    for tick in history:
        if tick.start != start:
            start, started_at_s = tick.start, tick.now_s
            assert active == tick.inherited or not tick.inherited_all, f"at {tick.now_s}"
            active = set(tick.inherited)
        for text in tick.entry.alerts:
            message = json.loads(text)
            assert (message["alert"] in active) is (message["action"] == "clear"), f"{message} at {tick.now_s}"
            active ^= {message["alert"]}
        now = set(tick.decision.alerts) | set(tick.seen.alerts)
        assert now <= active, f"at {tick.now_s}"
        assert active == now or (start > 1 and tick.now_s < started_at_s + settle_s), f"at {tick.now_s}"


def heat_is_told(history: list[Tick], _limits: Limits) -> None:
    """I8: relays that are open for heat have their alert, raised before or in that tick."""
    for tick in history:
        if tick.decision.reason is Reason.OVER_TEMPERATURE:
            assert Alert.OVER_TEMPERATURE in tick.decision.alerts, f"hot and silent at {tick.now_s}"


def heat_opens(history: list[Tick], limits: Limits) -> None:
    """Two hot samples running, and from then on until it has cooled: open. Nothing below hides it."""
    hot = cool = start = 0
    tripped_at_s: float | None = None
    sampled_at_s: float | None = None
    for tick in history:
        if tick.start != start:
            start, hot, cool, tripped_at_s = tick.start, 0, 0, None
        temperature = tick.seen.readings.box_temperature_c
        if tick.decision.reason is Reason.INTERNAL_ERROR or temperature is None:
            continue
        if temperature.at_s != sampled_at_s:
            sampled_at_s = temperature.at_s
            hot = hot + 1 if temperature.value >= limits.over_temperature_trip_c else 0
            cool = cool + 1 if temperature.value <= limits.over_temperature_clear_c else 0
        if tripped_at_s is not None and cool >= 2 and tick.now_s >= tripped_at_s + limits.least_cooling_time_s:
            tripped_at_s = None
        elif tripped_at_s is None and hot >= 2:
            tripped_at_s = tick.now_s
        if tripped_at_s is not None:
            assert tick.decision.position is Position.BATTERY, f"hot and closed at {tick.now_s}"


def a_low_battery_is_taken_off(history: list[Tick], limits: Limits) -> None:
    """Low for the hold, nothing above it in the table, the least time on battery over: closed."""
    low_since_s: float | None = None
    samples = start = 0
    sampled_at_s: float | None = None
    moved_at_s = -math.inf
    before: Tick | None = None
    for tick in history:
        voltage = tick.seen.readings.battery_voltage_v
        is_low = voltage is not None and voltage.value <= (limits.battery_low_voltage_v or 0.0)
        if tick.start != start:
            start, low_since_s, moved_at_s, before = tick.start, None, tick.now_s, None
        if before is not None and before.decision.position is not tick.decision.position:
            moved_at_s = tick.now_s
        before = tick
        if tick.decision.reason is Reason.INTERNAL_ERROR:
            continue
        if not is_low:
            low_since_s = None
            continue
        if low_since_s is None:
            low_since_s, samples = tick.now_s, 0
        samples += voltage is not None and voltage.at_s != sampled_at_s
        sampled_at_s = voltage.at_s if voltage is not None else None
        is_due = samples >= 2 and tick.now_s - low_since_s >= limits.low_hold_s
        may_move = tick.now_s >= moved_at_s + limits.least_time_on_battery_s
        if is_due and may_move and tick.decision.reason not in ABOVE_LOW:
            assert tick.decision.position is Position.GRID, f"low and open at {tick.now_s}"


def faults_stay_latched(history: list[Tick], _limits: Limits) -> None:
    """R13: within one life of the process a latched fault never goes, and keeps the relays open.

    Relays that do not obey may turn out to be welded, which is latched for longer; never the other way.
    """
    for before, after in pairwise(history):
        if before.start == after.start and before.decision.state.fault is not None:
            allowed = {before.decision.state.fault, RelayFault.STUCK_CLOSED}
            assert after.decision.state.fault in allowed, f"at {after.now_s}"
            assert after.decision.position is Position.BATTERY, f"at {after.now_s}"
            assert Position.GRID not in after.writes, f"at {after.now_s}"


INVARIANTS: dict[str, Callable[[list[Tick], Limits], None]] = {
    "I1": loop_ticks_on_time,
    "I2": one_path_writes_the_relays,
    "I3": every_change_has_its_reason,
    "I4": relays_agree,
    "I5": no_transfer_inside_a_dwell,
    "I6": nothing_is_not_finite,
    "I7": memory_is_bounded,
    "I8": alerts_are_raised_once_and_cleared_once,
    "I8 heat": heat_is_told,
    "heat": heat_opens,
    "energy": a_low_battery_is_taken_off,
    "latch": faults_stay_latched,
}
