import random

import pytest

from device.uplink.pace import HEADROOM_S, MOST_BYTES_A_SECOND, MOST_PUBLISHES_A_SECOND, OVERHEAD_BYTES, WINDOW_S, Pace


def test_N6_the_limits_are_aws_iots_and_the_window_is_longer_than_a_second() -> None:
    assert (MOST_PUBLISHES_A_SECOND, MOST_BYTES_A_SECOND) == (100, 512_000)
    assert WINDOW_S == 1.0 + HEADROOM_S
    assert HEADROOM_S > 0.0


def test_N6_a_window_holds_a_hundred_publishes_and_the_next_one_goes_when_the_first_has_left_it() -> None:
    pace = Pace()
    for number in range(MOST_PUBLISHES_A_SECOND):
        assert pace.has_room(10, number * 0.001)
        pace.note(10, number * 0.001)

    assert not pace.has_room(10, 0.5)
    assert pace.room_at_s(10, 0.5) == WINDOW_S
    assert not pace.has_room(10, WINDOW_S - 0.0001)
    assert pace.has_room(10, WINDOW_S)


def test_N6_a_window_holds_512_kb_and_not_a_byte_more() -> None:
    pace = Pace()
    pace.note(MOST_BYTES_A_SECOND - 1000 - OVERHEAD_BYTES, 0.0)

    assert pace.has_room(1000 - OVERHEAD_BYTES, 0.1)
    assert not pace.has_room(1001 - OVERHEAD_BYTES, 0.1)


def test_N6_so_many_leave_the_window_as_a_large_message_needs() -> None:
    pace = Pace()
    for number in range(10):
        pace.note(50_000, number * 0.1)

    assert pace.room_at_s(1000, 0.95) == 0.95
    assert pace.room_at_s(50_000, 0.95) == WINDOW_S
    assert pace.room_at_s(100_000, 0.95) == pytest.approx(WINDOW_S + 0.1)


def test_what_is_larger_than_a_window_waits_for_an_empty_one() -> None:
    pace = Pace()
    assert pace.has_room(2 * MOST_BYTES_A_SECOND, 0.0)
    pace.note(10, 0.0)

    assert pace.room_at_s(2 * MOST_BYTES_A_SECOND, 0.5) == WINDOW_S


@pytest.mark.parametrize("seed", range(5))
def test_N6_no_second_ever_holds_more_wherever_it_begins(seed: int) -> None:
    chance = random.Random(seed)
    largest = chance.choice([200, 20_000, 120_000])
    pace, published, now_s = Pace(), [], 0.0
    for _ in range(1000):
        size = chance.randrange(largest)
        now_s = max(now_s, pace.room_at_s(size, now_s))
        assert pace.has_room(size, now_s)
        pace.note(size, now_s)
        published.append((now_s, size))
        now_s += chance.choice([0.0, 0.0, 0.001, 0.1])

    for start_s, _ in published:
        second = [size for at_s, size in published if start_s <= at_s <= start_s + 1.0]
        assert len(second) <= 100
        assert sum(second) <= 512_000
