"""L14: whatever the schedule of the runs, the episodes are those that a run every minute finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cloud.heartbeat.world import AGES_S, BEGIN_MS, LIMIT_MS, Name, World, refused

SILENT, BLIND = "device_silent", "device_blind"


@dataclass(frozen=True)
class Run:
    """A run at `at_s`, which goes wrong or is overtaken at its `step`-th call of AWS.

    dies: from then on nothing that it does succeeds. overlaps: a whole other run comes between. returns: the thing
    beats, and then a whole other run comes between.
    """

    at_s: int
    how: str
    step: int


HOWS = ("plain", "doubled", "dies", "overlaps", "returns")

# Gaps between heartbeats, in seconds: none so near beyond the limit that a run every minute could miss it.
gaps_s = st.one_of(st.integers(60, 900), st.integers(961, 1100), st.integers(961, 4000))
runs = st.builds(Run, st.integers(0, 20_000), st.sampled_from(HOWS), st.integers(0, 12))


def play(beats_s: Sequence[int], schedule: Sequence[Run], ages_s: Sequence[dict[str, float]]) -> World:
    """The world after all that. A run comes after a heartbeat of the same second."""
    world = World()
    todo = [(at_s, 0, index) for index, at_s in enumerate(beats_s)]
    todo += [(each.at_s, 1, index) for index, each in enumerate(schedule)]
    for at_s, is_run, index in sorted(todo):
        world.now_ms = BEGIN_MS + at_s * 1000
        if not is_run:
            world.beats(reading_ages_s=ages_s[index])
        else:
            play_run(world, schedule[index])
    return world


def play_run(world: World, this: Run) -> None:
    begun = len(world.calls)
    has_come = False

    def on(_operation: str, _about: str) -> None:
        nonlocal has_come
        if this.how == "dies" and len(world.calls) - begun > this.step:
            raise refused("InternalError")
        if this.how in ("overlaps", "returns") and not has_come and len(world.calls) - begun > this.step:
            has_come = True
            if this.how == "returns":
                world.beats()
            world.run()

    world.on = on
    try:
        world.run()
    except Exception:  # noqa: BLE001 - it has died at its listing
        assert this.how == "dies"
    world.on = lambda _operation, _about: None
    if this.how == "doubled":
        world.run()


def every_minute(until_s: int) -> list[Run]:
    return [Run(at_s, "plain", 0) for at_s in range(0, until_s, 60)]


def episodes(world: World, action: str, alert: str) -> set[Name]:
    return {name for name in world.heard() if name[:2] == (action, alert)}


def silence(begin_s: int) -> Name:
    """The episode of an outage after a heartbeat at `begin_s`."""
    return ("raise", SILENT, BEGIN_MS + begin_s * 1000 + LIMIT_MS)


def assert_all_is_well(world: World, alert: str) -> None:
    """Nothing is open, and everything that was raised has been cleared by its name."""
    assert world.markers() == []
    raised, cleared = (episodes(world, action, alert) for action in ("raise", "clear"))
    assert {name_ms for _, _, name_ms in raised} <= {name_ms for _, _, name_ms in cleared}


@settings(max_examples=80, deadline=None)
@given(st.lists(gaps_s, min_size=1, max_size=6), st.lists(runs, max_size=25))
def test_L14_silence_is_the_same_whatever_the_schedule(gaps: list[int], schedule: list[Run]) -> None:
    beats_s = [sum(gaps[:number]) for number in range(len(gaps) + 1)]
    last = Run(beats_s[-1] + 1, "plain", 0)
    schedule = [each for each in schedule if each.at_s < last.at_s]
    ages_s = [AGES_S] * len(beats_s)

    world = play(beats_s, [*schedule, last], ages_s)
    reference = play(beats_s, [*every_minute(last.at_s), last], ages_s)

    outages_s = [(begin_s, end_s) for begin_s, end_s in pairwise(beats_s) if end_s - begin_s > 900]
    wanted, raised = episodes(reference, "raise", SILENT), episodes(world, "raise", SILENT)
    assert wanted == {silence(begin_s) for begin_s, _ in outages_s}
    # What returned in the middle of a run has cut an outage in two.
    returned_s = [each.at_s for each in schedule if each.how == "returns"]
    assert raised <= wanted | {silence(at_s) for at_s in returned_s}
    for begin_s, end_s in outages_s:
        is_seen = any(each.how in ("plain", "doubled") and begin_s + 900 < each.at_s < end_s for each in schedule)
        if is_seen and not any(begin_s <= at_s < end_s for at_s in returned_s):
            assert silence(begin_s) in raised
    assert_all_is_well(world, SILENT)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([0.4, 400.0, 899.0, 901.0, 1200.0]), min_size=2, max_size=12),
    st.lists(runs, max_size=20),
)
def test_L14_a_blindness_that_ages_tell_has_one_episode_and_ends(ages: list[float], schedule: list[Run]) -> None:
    beats_s = [number * 300 for number in range(len(ages) + 1)]
    ages_s = [*({**AGES_S, "battery_voltage": age_s} for age_s in ages), AGES_S]
    end_s = beats_s[-1] + 1
    schedule = [each for each in schedule if each.at_s < end_s and each.how != "returns"]

    world = play(beats_s, [*schedule, Run(end_s, "plain", 0)], ages_s)

    blind = {
        ("raise", BLIND, BEGIN_MS + beat_s * 1000 - round(age_s * 1000) + LIMIT_MS)
        for beat_s, age_s in zip(beats_s, ages, strict=False)
        if age_s > 900
    }
    raised = episodes(world, "raise", BLIND)
    assert raised <= blind
    for beat_s, age_s in zip(beats_s, ages, strict=False):
        if age_s > 900 and any(each.how == "plain" and beat_s <= each.at_s < beat_s + 300 for each in schedule):
            assert raised
    assert_all_is_well(world, BLIND)
    opened: set[int | None] = set()
    for action, _, name_ms in world.heard():
        opened = opened | {name_ms} if action == "raise" else opened - {name_ms}
        assert len(opened) <= 1
