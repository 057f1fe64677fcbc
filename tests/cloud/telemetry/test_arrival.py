"""Rows of fault D7: what becomes of a sample whose device did not know the time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.telemetry.arrival import timed_by_arrival
from cloud.telemetry.points import Point, Value

NOW_MS = 1_795_431_600_000
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
# Two minutes after a boot without a clock.
IN_1970_MS = 2 * MINUTE_MS


def decision(time_ms: int, sequence: int, *, synchronised: bool = False, boot: str = "4f1d") -> Point:
    values: dict[str, Value] = {"boot_id": boot, "clock_synchronised": synchronised, "battery_voltage_v": 49.8}
    return Point("shed", "control", "decision", time_ms, sequence, values)


def times(points: list[Point]) -> list[int]:
    return [point.time_ms for point in points]


def test_D7_samples_of_1970_are_put_at_their_arrival_at_their_distance_and_keep_the_flag() -> None:
    points = [decision(IN_1970_MS, 1), decision(IN_1970_MS + MINUTE_MS, 2)]

    timed = timed_by_arrival(points, NOW_MS)

    assert times(timed) == [NOW_MS - MINUTE_MS, NOW_MS]
    assert [point.values for point in timed] == [point.values for point in points]
    assert len({point.key for point in timed}) == 2


def test_D7_what_the_devices_said_goes_with_its_sample() -> None:
    mx = Point("shed", "mx2", "mx", IN_1970_MS, 1, {"pv_current_a": 3.0})

    assert times(timed_by_arrival([decision(IN_1970_MS, 1), mx], NOW_MS)) == [NOW_MS, NOW_MS]


def test_D7_a_clock_that_goes_on_from_the_last_shutdown_is_taken_at_its_word() -> None:
    points = [decision(NOW_MS - 3 * DAY_MS, 1)]

    assert timed_by_arrival(points, NOW_MS) == points


@pytest.mark.parametrize("off_ms", [-50 * 365 * DAY_MS, 60 * MINUTE_MS], ids=["long ago", "in the future"])
def test_D7_a_clock_that_says_it_is_synchronised_is_taken_at_its_word(off_ms: int) -> None:
    points = [decision(NOW_MS + off_ms, 1, synchronised=True)]

    assert timed_by_arrival(points, NOW_MS) == points


@pytest.mark.parametrize(
    ("off_ms", "believed"),
    [
        (MINUTE_MS, True),
        (MINUTE_MS + 1, False),
        (-400 * DAY_MS, True),
        (-400 * DAY_MS - 1, False),
    ],
    ids=["a minute ahead", "more", "400 days old", "older"],
)
def test_D7_what_can_be_true_is_from_400_days_ago_to_a_minute_ahead(off_ms: int, believed: bool) -> None:
    (timed,) = timed_by_arrival([decision(NOW_MS + off_ms, 1)], NOW_MS)

    assert timed.time_ms == (NOW_MS + off_ms if believed else NOW_MS)


def test_D7_after_the_clock_was_set_the_same_message_goes_on_by_the_devices_time() -> None:
    points = [decision(IN_1970_MS, 1), decision(NOW_MS - 5000, 2, synchronised=True)]

    assert times(timed_by_arrival(points, NOW_MS)) == [NOW_MS, NOW_MS - 5000]


def test_D7_two_boots_without_a_clock_are_each_put_at_the_arrival() -> None:
    points = [decision(IN_1970_MS + 7, 1, boot="a"), decision(IN_1970_MS + 90 * DAY_MS, 2, boot="b")]

    assert times(timed_by_arrival(points, NOW_MS)) == [NOW_MS, NOW_MS]


@given(st.lists(st.tuples(st.integers(0, 1 << 43), st.booleans()), max_size=20), st.integers(NOW_MS, 2 * NOW_MS))
def test_D7_the_same_message_again_is_timed_alike_and_no_unsynchronised_sample_is_in_the_future(
    samples: list[tuple[int, bool]], received_ms: int
) -> None:
    points = [decision(time_ms, i, synchronised=known) for i, (time_ms, known) in enumerate(samples, 1)]

    timed = timed_by_arrival(points, received_ms)

    assert timed == timed_by_arrival(points, received_ms)
    for before, after in zip(points, timed, strict=True):
        if before.values["clock_synchronised"]:
            assert after == before
        else:
            assert after.time_ms <= received_ms + MINUTE_MS
