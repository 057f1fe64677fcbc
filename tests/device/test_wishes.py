"""What the owner asks for: taken up once, ended in time, never taken up again."""

from dataclasses import replace

import pytest

from contract.positions import Position
from contract.shadow import Mode, OverrideState, Wish
from device.override import MAX_DURATION_S
from device.wishes import MOST_REMEMBERED, NO_WISHES, Wishes, advanced, asked, rebooted

TIME_MS = 1_795_452_000_000
HOUR_S = 3600.0


def wish(mode: str = "grid", hours: float = 2.0) -> Wish:
    return Wish(Mode(mode), TIME_MS / 1000 + hours * HOUR_S)


AUTO = Wish(Mode.AUTO, None)


class Owner:
    """A Pi's clocks and what control remembers; the time of day can be stepped."""

    def __init__(self, wishes: Wishes = NO_WISHES) -> None:
        self.wishes = wishes
        self.now_s = 100.0
        self.offset_ms = TIME_MS - 100_000
        self.synchronised = True

    @property
    def time_ms(self) -> int:
        return self.offset_ms + round(self.now_s * 1000)

    def asks(self, wish: Wish | None) -> Wishes:
        self.wishes = asked(self.wishes, wish, self.now_s, self.time_ms, synchronised=self.synchronised)
        return self.later(0.0)

    def later(self, seconds: float) -> Wishes:
        self.now_s += seconds
        self.wishes = advanced(self.wishes, self.now_s, self.time_ms, synchronised=self.synchronised)
        return self.wishes


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.mark.parametrize(("mode", "position"), [("grid", Position.GRID), ("battery", Position.BATTERY)])
def test_a_wish_begins_an_override_and_is_in_force(mode: str, position: Position, owner: Owner) -> None:
    wishes = owner.asks(wish(mode))

    assert wishes.active is not None
    assert wishes.active.position is position
    assert (wishes.newest, wishes.state, wishes.because) == (wish(mode), OverrideState.ACTIVE, "")
    assert wishes.mode is Mode(mode)
    assert wishes.ends_at_ms == TIME_MS + 7_200_000


def test_without_a_wish_the_rules_decide(owner: Owner) -> None:
    assert owner.asks(None) == NO_WISHES
    assert owner.wishes.mode is Mode.AUTO


def test_it_ends_by_itself_to_the_second_and_says_so(owner: Owner) -> None:
    owner.asks(wish())

    before = owner.later(7199.999)
    after = owner.later(0.001)

    assert before.mode is Mode.GRID
    assert after.mode is Mode.AUTO
    assert (after.active, after.state, after.because) == (None, OverrideState.ENDED, "its time is over")
    assert (after.newest, after.ends_at_ms) == (wish(), None)


def test_the_same_wish_again_and_again_changes_nothing(owner: Owner) -> None:
    first = owner.asks(wish())

    owner.later(60.0)

    assert owner.asks(wish()) == first


def test_H8_a_wish_that_is_over_is_not_taken_up_again_however_often_it_comes(owner: Owner) -> None:
    owner.asks(wish())
    over = owner.later(7200.0)
    owner.offset_ms -= 86_400_000  # the clock is stepped back by a day: it looks unexpired

    assert owner.asks(wish()) == over
    assert owner.asks(None) == over
    assert owner.asks(wish()) == over


def test_H8_an_old_wish_in_place_of_one_in_force_ends_that_and_begins_nothing(owner: Owner) -> None:
    owner.asks(wish("grid", 1.0))
    owner.later(3600.0)
    owner.asks(wish("battery", 5.0))

    wishes = owner.asks(wish("grid", 1.0))

    assert (wishes.active, wishes.newest, wishes.state) == (None, wish("grid", 1.0), OverrideState.ENDED)
    assert wishes.because == "its time is over"


def test_H8_the_last_few_are_remembered(owner: Owner) -> None:
    for number in range(MOST_REMEMBERED + 1):
        owner.asks(wish("grid", (number + 1) / 3600))
        owner.later(1.0)

    assert owner.wishes.over == tuple(wish("grid", (number + 1) / 3600) for number in range(1, MOST_REMEMBERED + 1))


def test_H7_a_wish_that_was_over_before_it_came_is_refused_and_remembered(owner: Owner) -> None:
    wishes = owner.asks(wish("grid", 0.0))

    assert (wishes.active, wishes.state) == (None, OverrideState.EXPIRED)
    assert wishes.because == "it was over before it arrived"
    assert wishes.over == (wish("grid", 0.0),)
    assert owner.asks(wish("grid", 0.0)) == wishes


def test_H7_a_wish_for_ten_years_is_capped_at_a_day(owner: Owner) -> None:
    wishes = owner.asks(wish("grid", 87_600))

    assert wishes.ends_at_ms == TIME_MS + 86_400_000
    assert owner.later(MAX_DURATION_S - 0.001).mode is Mode.GRID
    assert owner.later(0.001).state is OverrideState.ENDED


@pytest.mark.parametrize("ending", [None, AUTO, Wish(Mode.AUTO, 1.0)])
def test_the_owner_ends_it(ending: Wish | None, owner: Owner) -> None:
    owner.asks(wish())

    wishes = owner.asks(ending)

    assert (wishes.active, wishes.state, wishes.because) == (None, OverrideState.ENDED, "the owner ended it")
    assert wishes.newest == (ending or wish())
    assert wishes.ends_at_ms is None
    assert owner.asks(ending) == wishes


def test_auto_without_an_override_is_answered_too(owner: Owner) -> None:
    wishes = owner.asks(AUTO)

    assert (wishes.newest, wishes.state) == (AUTO, OverrideState.ENDED)


def test_what_the_owner_ended_he_may_ask_for_again(owner: Owner) -> None:
    owner.asks(wish())
    owner.asks(AUTO)

    assert owner.asks(wish()).mode is Mode.GRID
    owner.asks(None)
    assert owner.asks(wish()).mode is Mode.GRID


def test_another_wish_replaces_the_one_in_force(owner: Owner) -> None:
    owner.asks(wish("grid"))
    owner.later(60.0)

    wishes = owner.asks(wish("battery", 3.0))

    assert wishes.mode is Mode.BATTERY
    assert wishes.active is not None
    assert wishes.active.since_s == owner.now_s
    assert wishes.ends_at_ms == TIME_MS + 3 * 3_600_000


def test_a_prolonged_override_counts_from_its_beginning(owner: Owner) -> None:
    owner.asks(wish("grid"))
    owner.later(60.0)

    wishes = owner.asks(wish("grid", 3.0))

    assert wishes.active is not None
    assert wishes.active.since_s == 100.0
    assert wishes.active.ends_at_s == 100.0 + 3 * HOUR_S


def test_C3_a_clock_that_is_stepped_neither_ends_nor_prolongs_it(owner: Owner) -> None:
    owner.asks(wish())
    owner.offset_ms += 86_400_000
    assert owner.later(3600.0).mode is Mode.GRID

    owner.offset_ms -= 3 * 86_400_000

    assert owner.later(3599.0).mode is Mode.GRID
    assert owner.later(1.0).mode is Mode.AUTO


def test_C4_without_a_synchronised_clock_the_day_binds_and_from_then_on_both(owner: Owner) -> None:
    owner.synchronised = False
    owner.offset_ms = -100_000  # 1970
    wishes = owner.asks(wish())
    assert (wishes.mode, wishes.ends_at_ms) == (Mode.GRID, None)
    owner.later(3600.0)

    owner.synchronised = True
    owner.offset_ms = TIME_MS - 100_000
    wishes = owner.later(0.0)

    assert wishes.ends_at_ms == TIME_MS + 7_200_000
    assert owner.later(3599.0).mode is Mode.GRID
    assert owner.later(1.0).mode is Mode.AUTO


def test_C4_a_clock_that_is_never_synchronised_lets_it_last_a_day(owner: Owner) -> None:
    owner.synchronised = False
    owner.asks(wish())

    assert owner.later(MAX_DURATION_S - 0.001).mode is Mode.GRID
    assert owner.later(0.001).mode is Mode.AUTO


def test_C5_after_a_reboot_it_waits_for_the_time_of_day_and_goes_on_to_its_end(owner: Owner) -> None:
    owner.asks(wish())
    pi = Owner(rebooted(owner.wishes))
    pi.now_s, pi.offset_ms, pi.synchronised = 5.0, 0, False
    waiting = pi.later(30.0)
    assert (waiting.mode, waiting.state, waiting.active) == (Mode.AUTO, OverrideState.WAITING, None)
    assert pi.asks(wish()) == waiting

    pi.offset_ms, pi.synchronised = TIME_MS + 3_600_000 - 35_000, True
    wishes = pi.later(0.0)

    assert (wishes.mode, wishes.state) == (Mode.GRID, OverrideState.ACTIVE)
    assert wishes.active is not None
    assert (wishes.active.position, wishes.active.since_s, wishes.active.is_timed) == (Position.GRID, 35.0, True)
    assert wishes.active.until_ms == wishes.ends_at_ms == TIME_MS + 7_200_000
    assert pi.later(3599.0).mode is Mode.GRID
    assert pi.later(1.0).state is OverrideState.ENDED


def test_C5_one_that_ended_while_the_pi_was_off_is_over(owner: Owner) -> None:
    owner.asks(wish())
    pi = Owner(rebooted(owner.wishes))
    pi.offset_ms += 7_200_000

    wishes = pi.later(0.0)

    assert (wishes.active, wishes.state, wishes.over) == (None, OverrideState.ENDED, (wish(),))
    assert wishes.because == "its time is over"


def test_C5_a_reboot_does_not_prolong_it_beyond_a_day_whatever_the_clock_says(owner: Owner) -> None:
    owner.asks(wish("battery", 20.0))
    pi = Owner(rebooted(owner.wishes))
    pi.offset_ms -= 30 * 86_400_000

    wishes = pi.later(0.0)

    assert wishes.active is not None
    assert wishes.active.ends_at_s == pi.now_s + MAX_DURATION_S


def test_C5_one_whose_end_was_never_known_ends_with_the_boot(owner: Owner) -> None:
    owner.synchronised = False
    owner.asks(wish())

    wishes = rebooted(owner.wishes)

    assert (wishes.active, wishes.state, wishes.over) == (None, OverrideState.ENDED, (wish(),))
    assert wishes.because == "the Pi was booted anew before it knew what time it was"


@pytest.mark.parametrize("ending", [None, AUTO])
def test_one_that_waits_can_be_ended(ending: Wish | None, owner: Owner) -> None:
    owner.asks(wish())
    pi = Owner(rebooted(owner.wishes))
    pi.synchronised = False

    wishes = pi.asks(ending)

    assert (wishes.state, wishes.ends_at_ms) == (OverrideState.ENDED, None)


def test_a_reboot_changes_nothing_of_what_is_over(owner: Owner) -> None:
    owner.asks(wish())
    over = owner.later(7200.0)

    assert rebooted(over) == over
    assert rebooted(NO_WISHES) == NO_WISHES


def test_a_wish_is_remembered_once(owner: Owner) -> None:
    owner.asks(wish())
    over = owner.later(7200.0)

    again = replace(over, state=OverrideState.WAITING, ends_at_ms=TIME_MS)

    assert advanced(again, owner.now_s, owner.time_ms, synchronised=True).over == (wish(),)


def test_a_new_one_begins_with_nothing_of_the_one_before(owner: Owner) -> None:
    owner.asks(wish("grid"))
    owner.synchronised = False

    wishes = owner.asks(wish("battery", 3.0))

    assert (wishes.state, wishes.ends_at_ms) == (OverrideState.ACTIVE, None)
    owner.asks(None)
    assert owner.asks(wish("grid", 4.0)).because == ""


def test_C4_the_first_time_that_is_known_counts_whatever_the_clock_does_later(owner: Owner) -> None:
    owner.synchronised = False
    owner.asks(wish())
    owner.synchronised = True
    timed = owner.later(0.0)

    owner.offset_ms -= 86_400_000

    assert owner.later(7199.0).ends_at_ms == timed.ends_at_ms
    assert owner.later(1.0).mode is Mode.AUTO


@pytest.mark.parametrize(
    "spoilt", [{"ends_at_ms": None}, {"newest": None}, {"newest": None, "ends_at_ms": TIME_MS + 10**6}]
)
def test_P3_one_that_waits_without_wish_or_end_is_over(spoilt: dict[str, object], owner: Owner) -> None:
    waiting = Wishes(newest=wish(), state=OverrideState.WAITING, ends_at_ms=TIME_MS + 10**6)

    wishes = Owner(replace(waiting, **spoilt)).later(0.0)  # type: ignore[arg-type]

    assert (wishes.active, wishes.state, wishes.because) == (None, OverrideState.ENDED, "its time is over")
