"""Runs several Lambdas at once in an order that a test chooses: each stops before everything that others can see."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cloud.alerts.incidents import Incident, Page


class Crashed(BaseException):
    """A Lambda was ended by AWS."""


@dataclass
class World:
    """Incidents with DynamoDB's condition, and PagerDuty: what it shows is what was sent last."""

    incident: Incident
    version: int = 0
    shown: dict[str, bool] = field(default_factory=dict)
    sent: list[Page] = field(default_factory=list)
    # Called before each step.
    step: Callable[[str], None] = lambda _: None

    def load(self, thing: str, alert: str) -> tuple[Incident, int]:
        self.step("load")
        return self.incident, self.version

    def save(self, incident: Incident, version: int) -> bool:
        self.step("save")
        if version != self.version:
            return False
        self.incident, self.version = incident, version + 1
        return True

    def send(self, page: Page) -> None:
        self.step("send")
        self.sent.append(page)
        self.shown[page.dedup_key] = page.opens

    @property
    def shows_what_is_kept(self) -> bool:
        opened = {key for key, opens in self.shown.items() if opens}
        return opened == {page.dedup_key for page in self.incident.pages() if page.opens}


class _Life:
    """One Lambda in a thread of its own, which moves only while `go` waits for it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._may_go = threading.Semaphore(0)
        self._has_stopped = threading.Semaphore(0)
        self._is_to_crash = False
        self.is_over = False
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._live, daemon=True)

    def begin(self) -> None:
        self.thread.start()
        self._has_stopped.acquire()

    def go(self, *, crash: bool = False) -> None:
        self._is_to_crash = crash
        self._may_go.release()
        self._has_stopped.acquire()
        if self.is_over:
            self.thread.join()

    def pause(self) -> None:
        self._has_stopped.release()
        self._may_go.acquire()
        if self._is_to_crash:
            raise Crashed

    def _live(self) -> None:
        try:
            self._work()
        except BaseException as e:  # noqa: BLE001 - told to the test
            self.error = e
        finally:
            self.is_over = True
            self._has_stopped.release()


# A message's handling: it is told whether it is delivered again.
Work = Callable[[bool], None]


def run(world: World, works: Sequence[Work], choose: Callable[[int], int], crashes: Callable[[], bool]) -> None:
    """Handle all messages at once. `choose(n)` says which of n lives goes on, `crashes` whether it ends there instead.

    Who has crashed or failed comes again when the others are through.
    """
    waiting = [(work, False) for work in works]
    while waiting:
        lives: dict[_Life, Work] = {}
        of_thread: dict[threading.Thread, _Life] = {}
        world.step = lambda _, of_thread=of_thread: of_thread[threading.current_thread()].pause()  # type: ignore[misc]
        for work, again in waiting:
            life = _Life(lambda work=work, again=again: work(again))  # type: ignore[misc]
            lives[life] = work
            of_thread[life.thread] = life
            life.begin()
        waiting = []
        while alive := [life for life in lives if not life.is_over]:
            alive[choose(len(alive))].go(crash=crashes())
        waiting = [(work, True) for life, work in lives.items() if life.error is not None]


def every_schedule(play: Callable[[Callable[[int], int]], None]) -> int:
    """Call `play` with every way to choose there is; how many there were."""
    count = 0
    for choose in _choosers():
        play(choose)
        count += 1
    return count


def _choosers() -> Iterator[Callable[[int], int]]:
    prefix: list[int] = []
    while True:
        taken: list[tuple[int, int]] = []

        def choose(options: int, taken: list[tuple[int, int]] = taken, prefix: list[int] = prefix) -> int:
            choice = prefix[len(taken)] if len(taken) < len(prefix) else 0
            taken.append((choice, options))
            return choice

        yield choose
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return
        prefix = [choice for choice, _ in taken[:-1]] + [taken[-1][0] + 1]
