"""When a thing that sends heartbeats is blind. Times are seconds in these tests, and heartbeats come every 300 s."""

from collections.abc import Mapping

import pytest

from cloud.heartbeat.beats import Beat
from cloud.heartbeat.verdict import Limits, Memory, decode, encode, judge

SEES = {"battery_voltage": 0.4, "box_temperature": 1.1}
LIMITS = Limits(silent_after_ms=900_000, blind_after_ms=900_000)


def a_beat(count: int, ages_s: Mapping[str, float] = SEES, boot_id: str = "4f1d", time_s: int | None = None) -> Beat:
    time_ms = (count if time_s is None else time_s) * 1000
    return Beat(time_ms, boot_id, True, count, "grid", "hold", (), ages_s)


class Judge:
    """Remembers, as the bucket does, between heartbeats."""

    def __init__(self) -> None:
        self.memory: Memory | None = None
        self.is_certain = False

    def says(self, at_s: int, beat: Beat | None) -> dict[str, int]:
        """Each trouble that has lasted too long, and since when (s)."""
        judgement = judge(at_s * 1000, beat, self.memory, LIMITS)
        (self.memory,) = decode(encode({"shed": judgement.memory})).values()
        assert self.memory == judgement.memory
        self.is_certain = judgement.is_certain
        return {name: since_ms // 1000 for name, since_ms in judgement.blind_since_ms.items()}


@pytest.mark.parametrize("name", SEES)
@pytest.mark.parametrize(("age_s", "is_blind"), [(899.0, False), (900.0, False), (900.001, True), (901.0, True)])
def test_L9_a_reading_is_too_old_beyond_the_limit(name: str, age_s: float, is_blind: bool) -> None:
    says = Judge().says(10_000, a_beat(1, {**SEES, name: age_s}))

    assert says.keys() == ({name} if is_blind else set())


def test_a_reading_that_is_too_old_is_blindness_since_it_was_read() -> None:
    assert Judge().says(10_000, a_beat(1, {**SEES, "box_temperature": 1200.0})) == {"box_temperature": 8800}


@pytest.mark.parametrize("name", SEES)
@pytest.mark.parametrize(("last_s", "is_blind"), [(899, False), (900, False), (901, True)])
def test_L9_a_reading_that_is_absent_is_blindness_beyond_the_limit(name: str, last_s: int, is_blind: bool) -> None:
    absent = {other: age_s for other, age_s in SEES.items() if other != name}
    judge = Judge()
    judge.says(0, a_beat(1))

    for count, at_s in enumerate((1000, 1300, 1600), start=2):
        assert judge.says(at_s, a_beat(count, absent)) == {}
    assert judge.says(1000 + last_s, a_beat(5, absent)) == ({name: 1000} if is_blind else {})


def test_a_reading_that_comes_back_begins_anew() -> None:
    judge = Judge()
    for count, at_s in enumerate((0, 300, 600), start=1):
        judge.says(at_s, a_beat(count, {}))

    assert judge.says(900, a_beat(4)) == {}
    assert judge.says(1200, a_beat(5, {})) == {}
    assert judge.says(2100, a_beat(6, {})) == {}
    assert judge.says(2101, a_beat(7, {})) == {"battery_voltage": 1200, "box_temperature": 1200}


def test_a_reading_that_was_too_old_and_then_disappears_is_the_same_blindness() -> None:
    judge = Judge()
    judge.says(0, a_beat(1, {**SEES, "battery_voltage": 1000.0}))

    assert judge.says(300, a_beat(2, {"box_temperature": 1.1})) == {"battery_voltage": -1000}


@pytest.mark.parametrize(("last_s", "is_blind"), [(899, False), (900, False), (901, True)])
def test_L9_decisions_that_stand_still_are_blindness_beyond_the_limit(last_s: int, is_blind: bool) -> None:
    judge = Judge()
    for at_s in (0, 300, 600):
        assert judge.says(at_s, a_beat(7)) == {}

    assert judge.says(last_s, a_beat(7)) == ({"decisions": 0} if is_blind else {})


def test_a_control_that_starts_anew_before_each_heartbeat_is_blindness() -> None:
    judge = Judge()
    said = [judge.says(at_s, a_beat(1, time_s=at_s)) for at_s in (0, 300, 600, 900, 1200)]

    assert said == [{}, {}, {}, {}, {"decisions": 0}]


def test_a_control_that_was_started_anew_once_is_not_blind() -> None:
    judge = Judge()
    for at_s in range(0, 6000, 300):
        assert judge.says(at_s, a_beat(at_s % 2000 + 1, time_s=at_s)) == {}
        assert judge.is_certain


def test_the_same_count_after_a_reboot_is_a_new_one() -> None:
    judge = Judge()
    said = [judge.says(at_s, a_beat(1, boot_id=f"boot {at_s}")) for at_s in range(0, 3000, 300)]

    assert not any(said)


def test_C6_a_pi_that_starts_with_its_clock_behind_is_believed() -> None:
    judge = Judge()
    judge.says(0, a_beat(500, time_s=90_000))

    assert judge.says(300, a_beat(1, {"battery_voltage": 901.0}, boot_id="next", time_s=0)).keys() == {
        "battery_voltage"
    }
    assert judge.is_certain


def test_what_was_before_a_silence_does_not_count() -> None:
    judge = Judge()
    judge.says(0, a_beat(7, {}))

    assert judge.says(3600, a_beat(7, {})) == {}
    assert not judge.is_certain, "what was blind before may well be so still"
    assert judge.says(4500, a_beat(7, {})) == {}
    assert judge.says(4501, a_beat(7, {})).keys() == {"battery_voltage", "box_temperature", "decisions"}


@pytest.mark.parametrize(("last_s", "is_blind"), [(900, False), (901, True)])
def test_L13_heartbeats_that_cannot_be_read_for_long_are_blindness(last_s: int, is_blind: bool) -> None:
    judge = Judge()
    said = [judge.says(at_s, None) for at_s in (0, 300, 600)]

    assert said == [{}, {}, {}]
    assert not judge.is_certain
    assert judge.says(last_s, None) == ({"beat": 0} if is_blind else {})


def test_L13_a_heartbeat_that_cannot_be_read_tells_nothing_and_hides_nothing() -> None:
    judge = Judge()
    judge.says(0, a_beat(1, {}))
    for at_s in (300, 600):
        judge.says(at_s, None)
        assert not judge.is_certain

    assert judge.says(901, a_beat(2, {})) == {"battery_voltage": 0, "box_temperature": 0}
    assert judge.is_certain
    assert judge.says(1201, None) == {}


def test_L2_an_old_heartbeat_after_a_new_one_tells_nothing() -> None:
    judge = Judge()
    judge.says(0, a_beat(5, time_s=1000))

    for _ in "twice":
        assert judge.says(300, a_beat(4, {"battery_voltage": 5000.0}, time_s=700)) == {}
        assert not judge.is_certain
    assert judge.says(600, a_beat(6, time_s=1300)) == {}
    assert judge.is_certain


def test_L2_one_that_is_older_again_is_believed_its_clock_was_set_when_control_started_anew() -> None:
    judge = Judge()
    judge.says(0, a_beat(500, time_s=90_000))
    judge.says(300, a_beat(1, time_s=300))

    old = {**SEES, "battery_voltage": 901.0}
    assert judge.says(600, a_beat(301, old, time_s=600)) == {"battery_voltage": -301}
    assert judge.is_certain


def test_C6_a_clock_that_is_set_back_makes_no_heartbeat_old() -> None:
    judge = Judge()
    judge.says(0, a_beat(5, time_s=90_000))

    assert judge.says(300, a_beat(6, {"battery_voltage": 901.0}, time_s=3_600)).keys() == {"battery_voltage"}
    assert judge.is_certain


def test_L14_a_heartbeat_that_is_judged_again_is_judged_the_same() -> None:
    judge = Judge()
    for count, at_s in enumerate((0, 300, 600, 901), start=1):
        first = judge.says(at_s, a_beat(count, {}))
        kept = judge.memory
        assert judge.says(at_s, a_beat(count, {})) == first
        assert judge.memory == kept


CORRUPT = {
    "nothing": b"",
    "no text": b"\xff",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "no row": b'{"shed": 1}',
    "a short row": b'{"shed": [1, "b", 2, 3]}',
    "a long row": b'{"shed": [1, "b", 2, 3, {}, 4]}',
    "a wrong type": b'{"shed": [1, 2, 2, 3, {}]}',
    "a time in words": b'{"shed": [1, "b", 2, 3, {"beat": "now"}]}',
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_a_memory_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(content)
