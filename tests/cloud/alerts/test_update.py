"""Messages of one incident that are handled at once: PagerDuty shows in the end what is kept."""

import itertools
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.alerts.errors import PagerDutyBusy
from cloud.alerts.incidents import Damping, Incident, Page, Raise
from cloud.alerts.update import MOST_ROUNDS, Contended, update
from contract.alerts import Severity
from tests.cloud.alerts.schedules import Work, World, every_schedule, run

DAMPING = Damping(most_pairs=1, calm_after_s=1.0)
NEW = Incident("shed", "battery_low")
LOW = Raise("battery is low", Severity.WARNING, 0)

Change = Callable[[Incident], Incident]


def raise_(episode: int, at_ms: int = 0) -> Change:
    return lambda incident: incident.raised(episode, at_ms, LOW, DAMPING)


def clear(episode: int, at_ms: int = 0) -> Change:
    return lambda incident: incident.cleared(episode, at_ms)


def settle(now_ms: int) -> Change:
    return partial(Incident.settled, now_ms=now_ms, damping=DAMPING)


def work(world: World, change: Change) -> Work:
    return lambda again: update(world, "shed", "battery_low", change, world.send, again=again)


def never() -> bool:
    return False


def flapping_world() -> World:
    incident = NEW
    for episode in range(3):
        incident = incident.raised(episode, episode, LOW, DAMPING).cleared(episode, episode)
    assert incident.is_flapping
    return World(incident, 6, {"shed/flapping/battery_low": True})


def test_what_is_sent_is_sent_before_it_is_kept() -> None:
    world = World(NEW)
    steps: list[str] = []
    world.step = steps.append

    work(world, raise_(1))(False)

    assert steps == ["load", "send", "save"]


def test_what_is_known_is_neither_sent_nor_kept() -> None:
    world = World(NEW)
    work(world, raise_(1))(False)

    work(world, raise_(1))(False)

    assert (len(world.sent), world.version) == (1, 1)


def test_L16_a_message_that_comes_again_sends_all_once_more_and_keeps_it_in_a_version_of_its_own() -> None:
    world = World(NEW)
    work(world, raise_(1))(False)

    work(world, raise_(1))(True)

    assert [(page.dedup_key, page.opens) for page in world.sent[1:]] == [
        ("shed/battery_low", True),
        ("shed/flapping/battery_low", False),
    ]
    assert world.version == 2


def test_what_pagerduty_does_not_take_is_not_kept() -> None:
    world = World(NEW)

    def busy(page: Page) -> None:
        raise PagerDutyBusy

    with pytest.raises(PagerDutyBusy):
        update(world, "shed", "battery_low", raise_(1), busy, again=False)

    assert (world.incident, world.version) == (NEW, 0)


@pytest.mark.parametrize("faster", [MOST_ROUNDS - 1, MOST_ROUNDS])
def test_who_is_never_fast_enough_gives_up(faster: int) -> None:
    world = World(NEW)
    left = iter(range(faster))

    def somebody_is_faster(step: str) -> None:
        if step == "save" and next(left, None) is not None:
            world.version += 1

    world.step = somebody_is_faster
    handle = work(world, raise_(1))

    if faster < MOST_ROUNDS:
        handle(False)
        assert world.incident.open
    else:
        with pytest.raises(Contended, match="shed/battery_low"):
            handle(False)


CROWDS: dict[str, tuple[Callable[[], World], list[Change]]] = {
    "the same raise twice": (lambda: World(NEW), [raise_(1), raise_(1)]),
    "a raise and its clear": (lambda: World(NEW), [raise_(1), clear(1)]),
    "the clear of what stands and its duplicate": (
        lambda: World(raise_(1)(NEW), 1, {"shed/battery_low": True}),
        [clear(1), clear(1)],
    ),
    "a clear and the next raise": (
        lambda: World(raise_(1)(NEW), 1, {"shed/battery_low": True}),
        [clear(1, 10), raise_(2, 20)],
    ),
    "a raise while it becomes calm": (flapping_world, [raise_(9, 5000), settle(5001)]),
    "a late raise and two ends of flapping": (flapping_world, [settle(5001), settle(5002)]),
}


@pytest.mark.parametrize(("begin", "changes"), CROWDS.values(), ids=CROWDS)
def test_L1_in_every_order_of_steps_pagerduty_shows_what_is_kept(
    begin: Callable[[], World], changes: list[Change]
) -> None:
    ends = set()

    def play(choose: Callable[[int], int]) -> None:
        world = begin()
        run(world, [work(world, change) for change in changes], choose, never)
        assert world.shows_what_is_kept, world
        ends.add((bool(world.incident.open), world.incident.is_flapping))

    assert every_schedule(play) > 5
    in_turn = set()
    for order in itertools.permutations(changes):
        incident = begin().incident
        for change in order:
            incident = change(incident)
        in_turn.add((bool(incident.open), incident.is_flapping))
    # At once they end as they could have ended one after the other.
    assert ends <= in_turn


def test_L1_the_same_raise_twice_is_kept_once() -> None:
    def play(choose: Callable[[int], int]) -> None:
        world = World(NEW)
        run(world, [work(world, raise_(1)), work(world, raise_(1))], choose, never)
        assert len(world.incident.raises_ms) == 1
        assert world.shown["shed/battery_low"] is True

    every_schedule(play)


@given(st.data())
def test_L16_whoever_crashes_wherever_pagerduty_shows_in_the_end_what_is_kept(data: st.DataObject) -> None:
    messages = data.draw(
        st.lists(st.tuples(st.booleans(), st.integers(1, 3)), min_size=2, max_size=4), label="messages"
    )
    world = World(NEW)
    works = [
        work(world, raise_(episode, 10 * episode) if raises else clear(episode, 10 * episode + 5))
        for raises, episode in messages
    ]
    crashes = iter(data.draw(st.lists(st.booleans(), max_size=20), label="crashes"))
    choices = iter(data.draw(st.lists(st.integers(0, 3), max_size=60), label="choices"))

    run(world, works, lambda options: next(choices, 0) % options, lambda: next(crashes, False))

    assert world.shows_what_is_kept
    cleared = {episode for raises, episode in messages if not raises}
    assert not cleared & {episode.raised_ms for episode in world.incident.open}
    last = max((episode for _, episode in messages), default=0)
    if last not in cleared:
        assert [episode.raised_ms for episode in world.incident.open] == [last]
