"""How often the relays may move, and by daylight only where a place is set."""

from dataclasses import replace

import pytest

from contract.alerts import Alert
from contract.positions import Position, Reason
from tests.device.bench import COOL_C, HIGH_V, HOT_C, IN_BAND_V, LOW_V, Bench, on_battery, on_grid, outcome, state_of
from tests.faults.rig import QUICK

DAY_S = 2000
# Times of seconds instead of minutes, and a day that twelve transfers fit in easily.
SWINGING = replace(QUICK, most_transfers=12, most_transfers_within_s=float(DAY_S))


def swing(bench: Bench, times: int) -> list[Position]:
    """To grid and back to battery, `times` times, about as fast as the rules allow; where it was after each half."""
    positions = []
    for _ in range(times):
        positions.append(bench.run(8, LOW_V).position)
        positions.append(bench.run(12, HIGH_V).position)
    return positions


def test_R4_the_twelfth_transfer_is_the_last_one_and_the_load_stays_on_grid() -> None:
    bench = on_battery(SWINGING)

    positions = swing(bench, 6)
    decision = bench.run(1, HIGH_V)

    assert positions == [Position.GRID, Position.BATTERY] * 5 + [Position.GRID, Position.GRID]
    assert outcome(decision) == (Position.GRID, Reason.RELAY_CHATTER)
    assert Alert.RELAY_CHATTER in decision.alerts
    assert len(bench.state.transfers_at_s) == 11


def test_R4_a_chattering_relay_may_go_back_when_the_first_transfers_are_a_day_ago() -> None:
    bench = on_battery(SWINGING)
    swing(bench, 6)
    first_s = bench.state.transfers_at_s[0]

    before = bench.run(int(first_s + DAY_S - bench.now_s) - 1, HIGH_V)
    after = bench.run(1, HIGH_V)

    assert bench.now_s == first_s + DAY_S
    assert outcome(before) == (Position.GRID, Reason.RELAY_CHATTER)
    assert before.next_change_at_s == bench.now_s
    assert outcome(after) == (Position.BATTERY, Reason.BATTERY_RECOVERED)
    assert Alert.RELAY_CHATTER not in after.alerts
    assert first_s not in bench.state.transfers_at_s


def test_eleven_transfers_alone_are_not_told() -> None:
    bench = on_battery(SWINGING)
    swing(bench, 5)

    decision = bench.run(8, LOW_V)
    in_the_band = bench.run(100, IN_BAND_V)

    assert len(bench.state.transfers_at_s) == 11
    assert decision.position is Position.GRID
    assert Alert.RELAY_CHATTER not in decision.alerts | in_the_band.alerts


def test_a_chattering_relay_that_is_low_again_says_so() -> None:
    bench = on_battery(SWINGING)
    swing(bench, 6)

    decision = bench.run(4, LOW_V)

    assert outcome(decision) == (Position.GRID, Reason.BATTERY_LOW)
    assert Alert.RELAY_CHATTER in decision.alerts


def test_heat_opens_a_chattering_relay_and_the_low_battery_closes_it_again() -> None:
    bench = on_battery(SWINGING)
    swing(bench, 6)

    hot = bench.run(2, LOW_V, HOT_C)
    cooled = bench.run(8, LOW_V, COOL_C)

    assert outcome(hot) == (Position.BATTERY, Reason.OVER_TEMPERATURE)
    assert outcome(cooled) == (Position.GRID, Reason.BATTERY_LOW)
    assert len(bench.state.transfers_at_s) == 13
    assert Alert.RELAY_CHATTER in cooled.alerts


def test_more_transfers_than_allowed_are_told_whatever_caused_them() -> None:
    bench = on_battery(replace(SWINGING, most_transfers=4))
    for _ in range(2):
        bench.run(8, LOW_V)
        bench.run(2, LOW_V, HOT_C)
        at_four = bench.run(3, LOW_V, COOL_C)

    fifth = bench.run(5, LOW_V)

    assert len(bench.state.transfers_at_s) == 5
    assert Alert.RELAY_CHATTER not in at_four.alerts
    assert Alert.RELAY_CHATTER in fifth.alerts


def test_a_lost_monitor_does_not_take_a_chattering_relay_off_grid() -> None:
    bench = on_battery(replace(SWINGING, monitor_lost_position=Position.BATTERY))
    swing(bench, 6)

    decision = bench.run(100, None)

    assert outcome(decision) == (Position.GRID, Reason.HOLD)


def test_remembered_transfers_are_bounded() -> None:
    bench = on_battery(replace(SWINGING, least_cooling_time_s=0.0, least_time_on_battery_s=0.0, most_transfers=4))
    bench.run(61, LOW_V)

    for _ in range(300):
        bench.run(2, LOW_V, HOT_C)
        bench.run(3, LOW_V, COOL_C)

    assert len(bench.state.transfers_at_s) == 101
    assert bench.state.transfers_at_s[-1] == bench.state.position_since_s


@pytest.mark.parametrize(("is_daylight", "position"), [(None, Position.BATTERY), (True, Position.BATTERY)])
def test_by_daylight_or_where_nothing_is_known_of_it_a_recovered_battery_takes_over(
    is_daylight: bool | None, position: Position
) -> None:
    bench = on_grid()
    bench.is_daylight = is_daylight

    decision = bench.run(1800, HIGH_V)

    assert outcome(decision) == (position, Reason.BATTERY_RECOVERED)


def test_by_night_a_recovered_battery_waits_for_the_day() -> None:
    bench = on_grid()
    bench.is_daylight = False

    by_night = bench.run(7200, HIGH_V)
    bench.is_daylight = True
    by_day = bench.run(1, HIGH_V)

    assert outcome(by_night) == (Position.GRID, Reason.BATTERY_LOW)
    assert by_night.next_change_at_s is None
    assert outcome(by_day) == (Position.BATTERY, Reason.BATTERY_RECOVERED)


def test_by_night_a_load_that_is_on_grid_for_no_reason_of_its_own_stays_there() -> None:
    bench = Bench()
    bench.state = state_of(Position.GRID, bench.now_s)
    bench.is_daylight = False

    decision = bench.run(1900, HIGH_V)

    assert outcome(decision) == (Position.GRID, Reason.HOLD)


def test_by_night_a_battery_that_carries_the_load_goes_on() -> None:
    bench = on_battery()
    bench.is_daylight = False

    decision = bench.run(400, HIGH_V)

    assert outcome(decision) == (Position.BATTERY, Reason.BATTERY_RECOVERED)
