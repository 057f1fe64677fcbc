"""The state machine alone: what follows from which messages, in which order."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.alerts.incidents import Damping, Episode, Incident, Raise
from contract.alerts import Severity

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
YEAR_2026_MS = 1_795_464_000_000
YEAR_2030_MS = 1_900_000_000_000

DAMPING = Damping()
NEW = Incident("shed", "over_temperature")
HOT = Raise("box is hot", Severity.CRITICAL, 0)


def raised(incident: Incident, episode: int, at_ms: int = 0, what: Raise = HOT) -> Incident:
    return incident.raised(episode, at_ms, replace(what, time_ms=at_ms), DAMPING)


def pages(before: Incident, after: Incident) -> list[tuple[str, bool]]:
    return [(page.dedup_key, page.opens) for page in after.pages_since(before)]


OWN = "shed/over_temperature"
FLAPPING = "shed/flapping/over_temperature"


def test_the_first_raise_opens_and_its_clear_resolves() -> None:
    open_ = raised(NEW, 1)
    over = open_.cleared(1, 10)

    assert pages(NEW, open_) == [(OWN, True)]
    assert pages(open_, over) == [(OWN, False)]
    assert (NEW.is_over, open_.is_over, over.is_over) == (True, False, True)
    assert open_.pages_since(NEW)[0].what == HOT


def test_L1_a_duplicate_changes_nothing() -> None:
    open_ = raised(NEW, 1)
    over = open_.cleared(1, 10)

    assert raised(open_, 1, 5) == open_
    assert over.cleared(1, 20) == over
    assert raised(over, 1, 20) == over


def test_L2_a_raise_that_comes_after_its_own_clear_wakes_nobody() -> None:
    cleared = NEW.cleared(1, 10)
    late = raised(cleared, 1, 20)

    assert pages(NEW, cleared) == []
    assert late == cleared


def test_L2_the_clear_of_one_episode_leaves_a_later_one_open() -> None:
    both = raised(raised(NEW, 1, 0), 2, 10)

    assert both.cleared(1, 20).open == (Episode(2, 10),)
    assert pages(both, both.cleared(2, 20)) == [(OWN, False)]


def test_the_episode_before_is_over_when_the_alert_is_raised_anew_without_a_clear() -> None:
    # The device was killed in between.
    anew = raised(raised(NEW, 1, 0), 2, 10)

    assert (anew.open, anew.closed) == ((Episode(2, 10),), (Episode(1, 0),))


def test_a_raise_that_was_overtaken_by_the_next_one_is_over() -> None:
    later = raised(NEW, 2, 10)
    overtaken = raised(later, 1, 5)

    assert (overtaken.open, overtaken.closed) == ((Episode(2, 10),), (Episode(1, 5),))
    assert raised(later.cleared(2, 20), 1, 5).open == ()


@pytest.mark.parametrize("second_ms", [0, YEAR_2026_MS, YEAR_2030_MS])
@pytest.mark.parametrize("first_ms", [1, YEAR_2026_MS + 1, YEAR_2030_MS + 1])
def test_L2_a_clock_that_jumps_does_not_matter(first_ms: int, second_ms: int) -> None:
    first = raised(NEW, first_ms, 0)
    assert pages(NEW, first) == [(OWN, True)]

    second = raised(first.cleared(first_ms, 10), second_ms, 20)
    assert second.open == (Episode(second_ms, 20),)
    assert pages(second, second.cleared(second_ms, 30)) == [(OWN, False)]

    # The clear of the first one comes last.
    late_clear = raised(first, second_ms, 20).cleared(first_ms, 30)
    assert late_clear.open == (Episode(second_ms, 20),)


def test_episodes_of_the_same_moment_of_arrival_are_all_open() -> None:
    # A clock that went back, and a backlog that came at once: rather one page too many than one too few.
    assert len(raised(raised(NEW, 2, 10), 1, 10).open) == 2
    assert len(raised(raised(NEW, 1, 10), 2, 10).open) == 2


def test_a_clear_of_an_older_software_clears_all_that_is_open() -> None:
    both = raised(raised(NEW, 2, 0), 1, 10)
    assert len(both.open) == 2

    over = both.cleared(None, 20)

    assert over.open == ()
    assert pages(both, over) == [(OWN, False)]
    assert over.cleared(None, 30) == over


def test_L8_an_incident_that_lasts_over_midnight_or_a_week_is_one() -> None:
    open_ = raised(NEW, 1)

    for at_ms in range(0, 8 * 24 * HOUR_MS, HOUR_MS):
        assert raised(open_, 1, at_ms) == open_
        assert open_.settled(at_ms, DAMPING) == open_


def test_the_last_20_closed_episodes_are_remembered_and_at_most_20_open_ones() -> None:
    incident = NEW
    for episode in range(25):
        incident = raised(incident, episode, episode).cleared(episode, episode)
    assert [each.raised_ms for each in incident.closed] == list(range(5, 25))

    for episode in range(200, 100, -1):
        incident = raised(incident, episode, 1000 - episode)
    assert [each.raised_ms for each in incident.open] == list(range(120, 100, -1))


def test_the_changes_of_an_incident_are_those_that_were_not_known() -> None:
    assert raised(NEW, 1, 10).changed_ms == 10
    assert raised(NEW, 1, 10).cleared(1, 20).changed_ms == 20
    assert NEW.cleared(1, 30).changed_ms == 30
    # What is received later may be handled earlier.
    assert raised(NEW, 1, 20).cleared(1, 10).changed_ms == 20


# Flapping


def flap(incident: Incident, times: int, start_ms: int = 0, every_ms: int = MINUTE_MS) -> Incident:
    for number in range(times):
        at_ms = start_ms + number * every_ms
        incident = raised(incident, at_ms, at_ms).cleared(at_ms, at_ms + every_ms // 2)
    return incident


@pytest.mark.parametrize("times", [0, 1, 4, 5])
def test_L11_up_to_5_pairs_within_an_hour_do_not_flap(times: int) -> None:
    before = flap(NEW, times)

    assert pages(before, raised(before, HOUR_MS - 1, HOUR_MS - 1)) == [(OWN, True)]


def test_L11_after_6_pairs_the_next_raise_opens_one_incident_of_another_name() -> None:
    before = flap(NEW, 6)
    after = raised(before, HOUR_MS - 1, HOUR_MS - 1)

    assert not before.is_flapping
    assert pages(before, after) == [(FLAPPING, True)]
    (page,) = after.pages_since(before)
    assert page.what.summary == ("over_temperature of shed comes and goes: 6 times within an hour; last: box is hot")


def test_L11_a_pair_of_an_hour_ago_counts_no_more() -> None:
    before = flap(NEW, 6)

    assert raised(before, HOUR_MS, HOUR_MS).is_flapping is False
    assert raised(before, HOUR_MS - 1, HOUR_MS - 1).is_flapping is True


def test_L11_what_a_dead_line_has_kept_back_does_not_flap_because_it_arrives_all_at_once() -> None:
    incident = NEW
    for day in range(8):
        happened = replace(HOT, time_ms=day * 24 * HOUR_MS)
        incident = incident.raised(day, 9 * 24 * HOUR_MS, happened, DAMPING).cleared(day, 9 * 24 * HOUR_MS)

    assert not incident.is_flapping


def test_an_episode_that_begins_is_sent_though_the_one_before_was_never_cleared() -> None:
    before = raised(NEW, 1, 1)
    after = raised(before, 2, 2)

    assert [(page.dedup_key, page.opens) for page in after.pages_since(before, restates=True)] == [(OWN, True)]
    assert after.pages_since(after, restates=True) == []


@pytest.mark.parametrize(
    "before", [NEW, NEW.cleared(1, 1), raised(NEW, 1, 1).cleared(1, 2)], ids=["new", "early", "over"]
)
def test_where_none_is_open_a_message_has_the_incident_resolved_once_more(before: Incident) -> None:
    """PagerDuty may have taken a trigger that it has not confirmed."""
    after = before.cleared(1, 3)

    assert [(page.dedup_key, page.opens) for page in after.pages_since(before, restates=True)] == [(OWN, False)]


def test_L11_while_it_flaps_raises_and_clears_send_nothing() -> None:
    flapping = flap(NEW, 7)
    assert flapping.is_flapping

    more = flap(flapping, 50, start_ms=HOUR_MS)

    assert pages(flapping, more) == []
    assert more.pages_since(flapping, restates=True) == []
    assert more.is_over is False


def test_L11_an_incident_that_is_open_does_not_begin_to_flap() -> None:
    open_ = raised(flap(NEW, 5), 10 * MINUTE_MS, 10 * MINUTE_MS)

    assert pages(open_, raised(open_, 11 * MINUTE_MS, 11 * MINUTE_MS)) == []


def test_L11_flapping_is_as_loud_as_the_loudest_raise() -> None:
    incident = NEW
    for number, severity in enumerate([Severity.WARNING, Severity.ERROR, *[Severity.INFO] * 5]):
        incident = raised(incident, number, number, replace(HOT, severity=severity)).cleared(number, number)

    assert incident.pages()[0].what.severity is Severity.ERROR


def test_the_loudest_raise_of_earlier_days_is_forgotten() -> None:
    before = flap(NEW, 1)
    later_ms = 2 * HOUR_MS

    assert raised(before, later_ms, later_ms, replace(HOT, severity=Severity.INFO)).loudest is Severity.INFO


def test_L11_after_an_hour_without_a_change_flapping_is_resolved() -> None:
    flapping = flap(NEW, 7)
    at_ms = flapping.changed_ms + HOUR_MS

    assert flapping.settled(at_ms - 1, DAMPING) == flapping
    calm = flapping.settled(at_ms, DAMPING)
    assert pages(flapping, calm) == [(FLAPPING, False)]
    assert calm.is_over
    assert pages(calm, raised(calm, at_ms, at_ms)) == [(OWN, True)]


def test_L11_if_it_stands_when_it_becomes_calm_its_own_incident_opens_first() -> None:
    flapping = raised(flap(NEW, 7), HOUR_MS, HOUR_MS)

    calm = flapping.settled(3 * HOUR_MS, DAMPING)

    assert pages(flapping, calm) == [(OWN, True), (FLAPPING, False)]
    assert pages(calm, calm.cleared(HOUR_MS, 4 * HOUR_MS)) == [(OWN, False)]


def test_a_late_message_does_not_shorten_the_hour() -> None:
    flapping = flap(NEW, 7, start_ms=HOUR_MS)

    assert flapping.cleared(1, 0).changed_ms == flapping.changed_ms


@pytest.mark.parametrize(
    ("calm_after_s", "words"), [(3600.0, "an hour"), (90.0, "1.5 minutes"), (7200.0, "120 minutes")]
)
def test_the_limits_can_be_set(calm_after_s: float, words: str) -> None:
    damping = Damping(most_pairs=1, calm_after_s=calm_after_s)
    incident = NEW
    for at_ms in range(3):
        incident = incident.raised(at_ms, at_ms, HOT, damping).cleared(at_ms, at_ms)

    assert incident.flapping == f"2 times within {words}"
    assert incident.settled(round(1000 * calm_after_s) + 1, damping) == incident
    assert not incident.settled(round(1000 * calm_after_s) + 2, damping).is_flapping


def test_no_more_raises_are_kept_than_are_of_use() -> None:
    assert len(flap(NEW, 300, every_ms=2).raises_ms) == 100


# Any order


@pytest.mark.parametrize("order", list(itertools.permutations(["raise 1", "clear 1", "raise 2", "clear 2"])))
def test_L2_two_episodes_end_resolved_in_whatever_order_they_come(order: tuple[str, ...]) -> None:
    # Received in the order in which they were sent, delivered by the queue in another.
    received_ms = {"raise 1": 10, "clear 1": 20, "raise 2": 30, "clear 2": 40}
    shown: set[str] = set()
    incident = NEW
    for message in order:
        before = incident
        action, episode = message.split()
        if action == "raise":
            incident = raised(incident, int(episode), received_ms[message])
        else:
            incident = incident.cleared(int(episode), received_ms[message])
        for key, opens in pages(before, incident):
            assert opens != (key in shown)
            shown ^= {key}

    assert incident.open == ()
    assert shown == set()


@given(
    st.permutations([(action, episode) for episode in range(4) for action in ("raise", "clear")]),
    st.sets(st.sampled_from(range(4)), max_size=1),
)
def test_L2_in_whatever_order_messages_come_only_what_is_not_cleared_is_open(
    order: list[tuple[str, int]], uncleared: set[int]
) -> None:
    # Clocks that jumped: the names of the episodes say nothing about their order.
    names = {0: 50, 1: YEAR_2030_MS, 2: 0, 3: YEAR_2026_MS}
    incident = NEW
    for action, episode in order:
        if action == "raise":
            incident = raised(incident, names[episode], 7)
        elif episode not in uncleared:
            incident = incident.cleared(names[episode], 7)

    assert {each.raised_ms for each in incident.open} == {names[episode] for episode in uncleared}
