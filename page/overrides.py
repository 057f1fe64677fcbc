"""The owner's overrides as the page shows them: read from the thing's shadow, remembered as long as this runs.

What became of one is what the device has reported of it (see `contract.shadow`), its times included; only when it was
asked is AWS's word. Nothing is taken from whoever asked.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace

from botocore.exceptions import ClientError

from contract import shadow as contract
from contract.errors import SolarshedError
from contract.shadow import OVERRIDE, Mode, OverrideState, ShadowError
from owner.session import Account, error_code
from owner.shadow import Section, Shadow, parse
from page.wishes import Answer, NoAnswerError, Override, is_over

# So long an answer of the shadow is taken for the present one.
FRESH_FOR_S = 0.9

_REPLACED = "another wish took its place"

# The document that GetThingShadow answers with, None where there is none; raises NoAnswerError.
ReadShadow = Callable[[], bytes | None]


class OverrideLog:
    """Follows one shadow. Pure: `hear` gets each document as it comes."""

    def __init__(self) -> None:
        self.standing: list[Override] = []
        self.refused: str | None = None
        self._known: dict[tuple[str, int], Override] = {}
        # What was over before anybody listened: when it ended is not known, so it is left out.
        self._over_before: tuple[str, int] | None = None
        self._has_heard = False

    def known(self) -> list[Override]:
        """All that have been heard of, oldest first."""
        return list(self._known.values())

    def hear(self, document: bytes) -> None:
        """Take what the shadow says now.

        Raises:
            NotReportedError: it is no shadow.
        """
        newest = parse(document)
        reported = newest.reported.section(OVERRIDE)
        if not self._has_heard and is_over(reported.text("state")):
            self._over_before = _key(reported)
        self._has_heard = True
        time_ms = _milliseconds(newest.reported.time("time"))
        wished = self._take_wish(newest, _asked_ms(document))
        taken_up = self._take_report(reported, time_ms)
        self._end_replaced(reported, taken_up, time_ms)
        self.refused = newest.reported.section("refused").text("because")
        self.standing = [
            self._known[key]
            for key in dict.fromkeys((wished, taken_up))
            if key in self._known and _stands(self._known[key], newest)
        ]

    def _take_wish(self, newest: Shadow, asked_ms: int | None) -> tuple[str, int] | None:
        """The key of the valid wish that stands there, unless it is auto."""
        try:
            wish = contract.wish_of(newest.desired.fields)
        except ShadowError:  # the device says so itself, in `refused`
            return None
        if wish is None or wish.mode is Mode.AUTO or wish.until_s is None:
            return None
        key = str(wish.mode), round(wish.until_s * 1000)
        if key != self._over_before:
            self._known.setdefault(key, Override(*key, asked_ms=asked_ms))
        return key

    def _take_report(self, reported: Section, time_ms: int | None) -> tuple[str, int] | None:
        """The key of what the device has taken up last, unless it is auto."""
        key = _key(reported)
        if key is None or key == self._over_before:
            return None
        known, state = self._known.get(key, Override(*key)), reported.text("state")
        is_first_end = is_over(state) and known.ended_ms is None
        self._known[key] = replace(
            known,
            state=state,
            because=reported.text("because"),
            ends_at_ms=_milliseconds(reported.time("ends_at")),
            applied_ms=time_ms if state == OverrideState.ACTIVE and known.applied_ms is None else known.applied_ms,
            ended_ms=time_ms if is_first_end else known.ended_ms,
        )
        return key

    def _end_replaced(self, reported: Section, taken_up: tuple[str, int] | None, time_ms: int | None) -> None:
        """The device reports on its newest wish only: with the next one, the one before is over."""
        if not reported:
            return
        because = reported.text("because") if reported.text("mode") == Mode.AUTO else _REPLACED
        for key, known in self._known.items():
            if key != taken_up and known.state is not None and not known.is_over:
                self._known[key] = replace(known, state=OverrideState.ENDED.value, because=because, ended_ms=time_ms)


class ShadowOverrides:
    """The overrides of one thing. Safe to use from several threads."""

    def __init__(self, read: ReadShadow, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._monotonic_s = monotonic_s
        self._log = OverrideLog()
        self._looked_at_s = float("-inf")
        self._lock = threading.Lock()

    def look(self) -> None:
        """Read the shadow, unless that was done within the last second.

        Raises:
            NoAnswerError: it cannot be read.
        """
        with self._lock:
            if self._monotonic_s() < self._looked_at_s + FRESH_FOR_S:
                return
            document = self._read()
            if document is not None:
                try:
                    self._log.hear(document)
                except SolarshedError as error:
                    raise NoAnswerError(f"The shadow cannot be read: {error}.") from error
            self._looked_at_s = self._monotonic_s()

    def now(self) -> Answer:
        """`standing`, those that are not over, and `refused`, why the device takes none.

        Raises:
            NoAnswerError: the shadow cannot be read.
        """
        self.look()
        with self._lock:
            return {"standing": [asdict(one) for one in self._log.standing], "refused": self._log.refused}

    def known(self) -> list[Override]:
        """All that have been heard of, oldest first."""
        with self._lock:
            return self._log.known()


def reader(account: Account, thing: str) -> ReadShadow:
    """Reads the shadow of `thing` in `account`."""

    def read() -> bytes | None:
        try:
            with account.plainly():
                return _document(account, thing)
        except SolarshedError as error:
            raise NoAnswerError(f"The shadow cannot be read: {str(error).rstrip('.')}.") from error

    return read


def _document(account: Account, thing: str) -> bytes | None:
    try:
        return account.iot_data.get_thing_shadow(thingName=thing)["payload"].read()
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        return None


def _stands(override: Override, newest: Shadow) -> bool:
    # A wish that nobody has answered lapses; one that has been taken up is over when the device says so.
    return not override.is_over and (override.state is not None or override.until_ms > newest.now_s * 1000)


def _key(override: Section) -> tuple[str, int] | None:
    mode, until_ms = override.text("mode"), _milliseconds(override.time("until"))
    return None if mode is None or mode == Mode.AUTO or until_ms is None else (mode, until_ms)


def _asked_ms(document: bytes) -> int | None:
    """When the wish was written, by AWS's clock: the shadow keeps a timestamp of each value."""
    wish = Section(contract.parse(document)).section("metadata").section("desired").section(OVERRIDE)
    return _milliseconds(wish.section("mode").time("timestamp"))


def _milliseconds(time_s: float | None) -> int | None:
    return None if time_s is None else round(time_s * 1000)
