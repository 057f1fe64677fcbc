"""Uplink's side of the classic shadow: hears what the owner wishes, and says what control reports.

A delta, and an update that is not ours, say only that something has changed; what stands there now is always asked for.
So one that was lost, came twice, late or in the wrong order cannot matter, a storm of them is one question a second,
and after the shadow was deleted and made again its new numbering is simply what the next answer says.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from contract import shadow, topics
from contract.messages import encode
from contract.shadow import OVERRIDE, OverrideState, ShadowError, Wish
from device.mailbox import HEARD
from device.uplink.pace import Pace

log = logging.getLogger(__name__)

# Answers come within a second; after so long the question is asked again.
ANSWER_TIMEOUT_S = 15.0
# Between two questions, and between two reports of something new.
LEAST_TIME_BETWEEN_GETS_S = 1.0
LEAST_TIME_BETWEEN_REPORTS_S = 2.0
# A report with nothing new but readings.
REPORT_EVERY_S = 60.0
# After a refusal, doubling.
LEAST_RETRY_S = 10.0
MOST_RETRY_S = 600.0
SUBSCRIBE_AGAIN_AFTER_S = 60.0
# So many questions in a row without an answer, and overrides are taken for unavailable.
_MOST_UNANSWERED = 3

_NO_SHADOW = 404
_CONFLICT = 409
_HEARD = (*shadow.ANSWERS, *shadow.NEWS)


class Asked(StrEnum):
    """What a publish to the shadow was: its token at the link."""

    GET = "get"
    UPDATE = "update"


class Line(Protocol):
    """What the shadow needs of a link."""

    def publish(self, topic: str, payload: str, token: object) -> None: ...

    def subscribe(self, filters: list[str]) -> None: ...


@dataclass
class _Question:
    """A request that has not been answered."""

    token: str
    until_s: float


@dataclass(frozen=True)
class _Update:
    """What was sent as an update."""

    reported: dict[str, Any]
    clears: bool


class Shadow:
    """One at a time: a question and an update. `wish` is what stands in the cloud, once `knows_wish`."""

    def __init__(self, thing: str, line: Line, pace: Pace) -> None:
        self.knows_wish = False
        self.wish: Wish | None = None
        # Grows with each wish that was found to stand there, over restarts too.
        self.wish_number = time.monotonic_ns()
        self.refused: str | None = None
        # What time it was in the cloud when it last answered, and when it was asked: epoch and monotonic seconds. It is
        # later here by what the answer took: an override ends too early by that, never too late.
        self.cloud_time: tuple[int, float] | None = None
        self._ignored: list[str] = []
        self._topics = {what: topics.shadow(thing, what) for what in (*_HEARD, *shadow.REQUESTS)}
        self._what = {topic: what for what, topic in self._topics.items()}
        self._line = line
        self._pace = pace
        self._asked = 0
        self._report: dict[str, Any] | None = None
        self._heard: object = None
        # What the cloud has acknowledged last.
        self._acknowledged: dict[str, Any] | None = None
        self._reported_at_s = float("-inf")
        self._unanswered = 0
        self._retry_s = LEAST_RETRY_S
        self._clear_at_s = float("-inf")
        self._complaint = ""
        self.lost()

    def lost(self) -> None:
        """The connection has ended, and with it every subscription and question."""
        self._is_subscribed = False
        # Before the first look at what stands there nothing is said, nor after a conflict before the next one.
        self._has_looked = False
        self._subscribe_at_s: float | None = None
        self._get: _Question | None = None
        self._get_at_s: float | None = None
        self._got_at_s = float("-inf")
        self._update: _Question | None = None
        self._sent: _Update | None = None
        self._update_at_s = float("-inf")
        self._version: int | None = None
        self._conflicts = 0

    def connected(self) -> None:
        """There is a new connection: subscribe, then ask what stands there."""
        self.lost()
        self._subscribe()

    @property
    def is_available(self) -> bool:
        """Whether the owner can be heard, as far as that is up to the broker."""
        return self._subscribe_at_s is None and self._unanswered < _MOST_UNANSWERED

    def subscribed(self, error: str | None, now_s: float) -> None:
        """Take note of how a subscription ended. Without all of it nothing is asked: the answer could not be heard."""
        if error is not None:
            self._subscribe_at_s = now_s + SUBSCRIBE_AGAIN_AFTER_S
            self._complain(
                f"shadow topics: subscription {error}; overrides from afar wait. See that the stack's policy is "
                "attached to this device's certificate; trying again each minute"
            )
            return
        self._is_subscribed = True
        self._subscribe_at_s = None
        self._get_at_s = now_s

    def report(self, report: Mapping[str, Any]) -> None:
        """Take control's newest report."""
        self._report = dict(report)
        self._heard = self._report.pop(HEARD, None)

    def tick(self, now_s: float) -> None:
        """Ask and report what is due."""
        if self._subscribe_at_s is not None and now_s >= self._subscribe_at_s:
            self._subscribe()
        if not self._is_subscribed:
            return
        self._give_up_waiting(now_s)
        if self._get is None and self._get_at_s is not None and now_s >= self._get_at_s:
            self._ask(now_s)
        if self._update is None and self._has_looked:
            self._say(now_s)

    def settle(self, asked: Asked, error: str | None, *, refused: bool, now_s: float) -> None:
        """Take note of how a publish ended. What the broker has taken is answered by a message."""
        if error is None:
            return
        if refused:
            self._complain(f"{error}; overrides from afar wait. See that the stack's policy is attached")
        if asked is Asked.GET and self._get is not None:
            self._get_unanswered(now_s)
        elif asked is Asked.UPDATE and self._update is not None:
            self._update_failed(now_s)

    def hear(self, topic: str, payload: bytes, now_s: float) -> None:
        """Take a message that has come on one of the shadow's topics."""
        match self._what.get(topic):
            case "update/delta":
                self._on_delta(payload, now_s)
            case "delete/accepted":
                self._ask_soon(now_s)
            case "get/accepted" | "get/rejected" as what if self._get is not None:
                self._on_get(what, payload, now_s)
            case "update/accepted" | "update/rejected" as what:
                self._on_update(what, payload, now_s)

    # Hearing

    def _on_delta(self, payload: bytes, now_s: float) -> None:
        try:
            version = shadow.parse(payload).get("version")
        except ShadowError:
            version = None
        if self._version is None or version != self._version:
            self._ask_soon(now_s)

    def _on_get(self, what: str, payload: bytes, now_s: float) -> None:
        try:
            document = shadow.parse(payload)
        except ShadowError as e:
            # It has no token that could be read. Nothing of it counts, and what stood before goes on.
            self._answered_get()
            self._version = None
            self._ignored = []
            self._refuse(str(e))
            return
        if self._get is None or document.get("clientToken") != self._get.token:
            return
        if what == "get/rejected":
            self._on_get_rejected(document, now_s)
            return
        self._answered_get()
        state, version = document.get("state"), document.get("version")
        self._version = version if type(version) is int else None
        timestamp = document.get("timestamp")
        if type(timestamp) is int:
            self.cloud_time = (timestamp, self._got_at_s)
        desired = state.get("desired") if isinstance(state, dict) else None
        self._take(desired)

    def _on_get_rejected(self, document: dict[str, Any], now_s: float) -> None:
        code = document.get("code")
        if code == _NO_SHADOW:
            self._answered_get()
            self._version = None
            self._acknowledged = None
            self._take(None)
            return
        self._complain(f"the shadow cannot be read: {_words(document)}; trying again")
        self._get_unanswered(now_s)

    def _take(self, desired: object) -> None:
        try:
            wish = shadow.wish_of(desired)
        except ShadowError as e:
            self._refuse(str(e))
            self._ignored = shadow.ignored(desired)
            return
        if wish != self.wish or not self.knows_wish:
            self.wish_number += 1
            log.info("the owner's wish: %s", "none" if wish is None else encode(wish.as_json()))
        self.knows_wish, self.wish, self.refused = True, wish, None
        self._ignored = shadow.ignored(desired)

    def _refuse(self, because: str) -> None:
        if because != self.refused:
            log.warning("the shadow's desired is refused: %s", because)
        self.refused = because

    def _on_update(self, what: str, payload: bytes, now_s: float) -> None:
        try:
            answer = shadow.parse(payload)
        except ShadowError:
            return
        if self._update is None or self._sent is None or answer.get("clientToken") != self._update.token:
            if what == "update/accepted":
                # Somebody else's. It makes no delta where it takes a wish away, or asks again for what was reported.
                self._ask_soon(now_s)
            return
        if what == "update/rejected":
            self._on_update_rejected(answer, now_s)
            return
        sent, self._update, self._sent = self._sent, None, None
        self._acknowledged = sent.reported
        self._retry_s = LEAST_RETRY_S
        self._complaint = ""
        self._conflicts = 0
        if sent.clears:
            self.wish = None
        version = answer.get("version")
        if self._version is not None and version == self._version + 1:
            self._version = version
        else:  # somebody else has changed something in between
            self._ask_soon(now_s)

    def _on_update_rejected(self, answer: dict[str, Any], now_s: float) -> None:
        if answer.get("code") == _CONFLICT:
            # The wish that was to be removed is not the one that stands there now: look again, then once more.
            self._update = self._sent = None
            self._conflicts += 1
            self._has_looked = False
            if self._conflicts > 1:
                self._conflicts = 0
                self._clear_at_s = now_s + REPORT_EVERY_S
            self._ask_soon(now_s)
            return
        self._complain(f"the report is not taken: {_words(answer)}; trying again")
        self._update_failed(now_s)

    # Saying

    def _subscribe(self) -> None:
        self._subscribe_at_s = None
        self._line.subscribe([self._topics[what] for what in _HEARD])

    def _ask_soon(self, now_s: float) -> None:
        due_s = max(now_s, self._got_at_s + LEAST_TIME_BETWEEN_GETS_S)
        if self._get_at_s is None or due_s < self._get_at_s:
            self._get_at_s = due_s

    def _ask(self, now_s: float) -> None:
        self._get = _Question(self._new_token(), now_s + ANSWER_TIMEOUT_S)
        self._get_at_s = None
        self._got_at_s = now_s
        self._publish(Asked.GET, {"clientToken": self._get.token}, now_s)

    def _say(self, now_s: float) -> None:
        if self._report is None or now_s < self._update_at_s:
            return
        reported = self._reported()
        clears = self._may_clear(now_s)
        is_new = clears or self._acknowledged is None or _lasting(reported) != _lasting(self._acknowledged)
        if not is_new and (reported == self._acknowledged or now_s < self._reported_at_s + REPORT_EVERY_S):
            return
        self._reported_at_s = now_s
        self._update_at_s = now_s + LEAST_TIME_BETWEEN_REPORTS_S
        self._update = _Question(self._new_token(), now_s + ANSWER_TIMEOUT_S)
        self._sent = _Update(reported, clears)
        state: dict[str, Any] = {"reported": reported}
        message: dict[str, Any] = {"state": state, "clientToken": self._update.token}
        if clears:
            state["desired"] = {OVERRIDE: None}
            message["version"] = self._version
        self._publish(Asked.UPDATE, message, now_s)

    def _reported(self) -> dict[str, Any]:
        return {
            **(self._report or {}),
            "refused": None if self.refused is None else {"because": self.refused},
            "ignored": self._ignored or None,
        }

    def _may_clear(self, now_s: float) -> bool:
        """Whether the wish that stands there is over by control's own word. After a second conflict in a row that waits
        for a minute, so that two that write the shadow do not keep each other busy."""
        override = (self._report or {}).get(OVERRIDE)
        if self._heard != self.wish_number:
            # It speaks of an earlier wish, which may have been the same, and have ended.
            return False
        if self.wish is None or self._version is None or self._get_at_s is not None or self._get is not None:
            return False
        if self.refused is not None or now_s < self._clear_at_s or not isinstance(override, dict):
            return False
        is_same = {name: override.get(name) for name in ("mode", "until")} == {"until": None} | self.wish.as_json()
        return is_same and OverrideState(str(override.get("state"))).is_over

    def _publish(self, asked: Asked, message: dict[str, Any], now_s: float) -> None:
        payload = encode(message)
        self._pace.note(len(payload), now_s)
        self._line.publish(self._topics[asked], payload, asked)

    def _new_token(self) -> str:
        self._asked += 1
        return f"uplink-{self._asked}"

    # What goes wrong

    def _give_up_waiting(self, now_s: float) -> None:
        if self._get is not None and now_s >= self._get.until_s:
            self._get_unanswered(now_s)
        if self._update is not None and now_s >= self._update.until_s:
            self._update_failed(now_s)

    def _answered_get(self) -> None:
        self._get = None
        self._has_looked = True
        self._unanswered = 0

    def _get_unanswered(self, now_s: float) -> None:
        self._get = None
        self._has_looked = True  # as far as that goes: what control does is told all the same
        self._unanswered += 1
        self._get_at_s = now_s + LEAST_RETRY_S
        if self._unanswered == _MOST_UNANSWERED:
            self._complain("the shadow does not answer; overrides from afar wait")

    def _update_failed(self, now_s: float) -> None:
        self._update = self._sent = None
        self._update_at_s = now_s + self._retry_s
        self._retry_s = min(MOST_RETRY_S, self._retry_s * 2)

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("%s", complaint)


def _lasting(reported: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reported.items() if name not in shadow.PASSING}


def _words(answer: dict[str, Any]) -> str:
    return f"{str(answer.get('code'))[:10]} {str(answer.get('message'))[:200]}"
