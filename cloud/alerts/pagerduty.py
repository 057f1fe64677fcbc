"""Sends events to PagerDuty's Events API v2; the only module that knows it, and pdpyras."""

from __future__ import annotations

import email.utils
import random
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote

from requests import Response

from cloud.alerts.errors import PagerDutyBusy, PagerDutyRefused
from cloud.alerts.http_answer import BoundedAnswers
from cloud.alerts.incidents import Page
from cloud.alerts.text import MAX_SUMMARY, REDACTED, cut, shown

with warnings.catch_warnings():
    # Deprecated in favour of `pagerduty`. It says so whenever it is imported.
    warnings.filterwarnings("ignore", 'The package "pdpyras" is deprecated', UserWarning)
    from pdpyras import EventsAPISession, PDClientError, PDHTTPError

DEFAULT_URL = "https://events.pagerduty.com"

MOST_TRIES = 4
FIRST_WAIT_S = 1.0
# What is left of the time for the last try must be worth it.
_LEAST_TRY_S = 0.5

_MAX_REASON = 300


class Key(Protocol):
    """The routing key: see `cloud.alerts.secret`."""

    def get(self) -> str: ...

    def changed(self) -> bool: ...


class PagerDuty:
    """One service of PagerDuty's, which `key` belongs to. `dashboard_url` is shown with each incident."""

    connect_timeout_s = 3.0
    read_timeout_s = 5.0

    def __init__(
        self,
        key: Key,
        url: str = DEFAULT_URL,
        dashboard_url: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._url = url.rstrip("/")
        self._dashboard_url = dashboard_url
        self._sleep = sleep
        self._monotonic_s = monotonic_s
        self._session: EventsAPISession | None = None

    def send(self, page: Page, deadline_s: float) -> None:
        """Send `page`, trying again for as long as it makes sense before `deadline_s` of the monotonic clock.

        Raises:
            PagerDutyBusy: PagerDuty has not confirmed it, though it may have got it; it can be sent again.
            PagerDutyRefused: PagerDuty will not take it, or there is no routing key.
        """
        event = event_of(page, self._dashboard_url)
        key = self._key.get()
        try:
            self._send(event, key, deadline_s)
        except PagerDutyRefused:
            # The key may have been exchanged since it was fetched.
            if not self._key.changed():
                raise
            self._send(event, self._key.get(), deadline_s)

    def _send(self, event: dict[str, Any], key: str, deadline_s: float) -> None:
        tries = 0
        while (left_s := deadline_s - self._monotonic_s()) >= _LEAST_TRY_S:
            try:
                return self._try(event, key, left_s)
            except _NotNow as e:
                # With jitter, so that those who were sent away together do not come back together.
                wait_s = max(e.asked_wait_s, FIRST_WAIT_S * 2**tries * random.uniform(0.5, 1.0))
                tries += 1
                if tries == MOST_TRIES or self._monotonic_s() + wait_s + _LEAST_TRY_S > deadline_s:
                    raise
            self._sleep(wait_s)
        raise PagerDutyBusy("there was no time left to ask PagerDuty")

    def _try(self, event: dict[str, Any], key: str, left_s: float) -> None:
        session = self._session = self._session or _session(self._url)
        session.api_key = key
        session.timeout = (min(self.connect_timeout_s, left_s), min(self.read_timeout_s, left_s))
        try:
            # A copy: pdpyras adds the key to it. A redirect would lead the key elsewhere.
            response: Response = session.post("/v2/enqueue", json=dict(event), allow_redirects=False)
        except PDHTTPError as e:
            # Of a 401. Its text has a part of the key.
            response = e.response
        except PDClientError as e:
            raise _NotNow(f"PagerDuty cannot be reached ({type(e.__cause__).__name__})") from None
        status = response.status_code
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _NotNow(f"PagerDuty answers {status}", _asked_wait_s(response.headers.get("Retry-After", "")))
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            said = shown(response.content.decode(errors="replace").replace(key, REDACTED), _MAX_REASON)
            raise PagerDutyRefused(f"PagerDuty answers {status} to {self._url}: {said}")
        if status != HTTPStatus.ACCEPTED or not _has_dedup_key(response):
            raise _NotNow(f"PagerDuty answers {status}, but does not confirm the event")


class _NotNow(PagerDutyBusy):
    """One try has failed. PagerDuty has asked to be left alone for `asked_wait_s`."""

    def __init__(self, message: str, asked_wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.asked_wait_s = asked_wait_s


def event_of(page: Page, dashboard_url: str | None = None) -> dict[str, Any]:
    """`page` as an event of the Events API v2, without the routing key."""
    event: dict[str, Any] = {"event_action": "trigger" if page.opens else "resolve", "dedup_key": page.dedup_key}
    if not page.opens:
        return event
    event["payload"] = {
        "summary": cut(page.what.summary, MAX_SUMMARY),
        "source": page.thing,
        "severity": page.what.severity,
        "timestamp": datetime.fromtimestamp(page.what.time_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "component": page.thing,
        "group": "solarshed",
        "class": page.alert,
        "custom_details": page.what.details,
    }
    event["client"] = "Solarshed"
    if dashboard_url:
        of_this_thing = f"{dashboard_url}{'&' if '?' in dashboard_url else '?'}var-thing={quote(page.thing)}"
        event["client_url"] = of_this_thing
        event["links"] = [{"href": of_this_thing, "text": f"Dashboard of {page.thing}"}]
    return event


def _session(url: str) -> EventsAPISession:
    session = EventsAPISession("set before each event")
    session.url = url
    # Its own tries know no deadline and no Retry-After, and those of a 429 have no end; ours replace them. Nothing is
    # tried again that is not in `retry`, but for a 429, of which a number of tries must be named and exceeded.
    session.max_network_attempts = 0
    session.max_http_attempts = -1
    session.retry = {HTTPStatus.TOO_MANY_REQUESTS: 1}
    # It would tell of that as of an error, each time.
    session.log.disabled = True
    for scheme in ("http://", "https://"):
        session.mount(scheme, BoundedAnswers())
    return session


def _has_dedup_key(response: Response) -> bool:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and isinstance(answer.get("dedup_key"), str)


def _asked_wait_s(retry_after: str) -> float:
    """A Retry-After header's seconds, or those until its date; 0 if it says neither."""
    if retry_after.isascii() and retry_after.isdigit():
        # More digits than any deadline has.
        return float(retry_after[:9])
    try:
        at = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, at.timestamp() - time.time())
