"""What uplink and control tell each other: two small files in the runtime directory, which is in memory.

`uplink.json` is uplink's letter to control: the owner's wish as it stands in the cloud, and what uplink has noticed.
`report.json` is control's answer: what uplink puts in the shadow's `reported`. Each is replaced whole, so a reader sees
the old one or the new one and nobody ever waits for a lock, a card or the other process. Neither outlives a boot:
uplink asks the cloud anew after each, and control keeps the override itself in its state file.
"""

import json
import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.alerts import Alert
from contract.shadow import ShadowError, Wish, wish_of

log = logging.getLogger(__name__)

LETTER_NAME = "uplink.json"
REPORT_NAME = "report.json"
# In a report, for uplink alone, which takes it out: the number of the newest wish that it takes into account.
HEARD = "heard"

_VERSION = 1
_MOST_BYTES = 16384
_MOST_COUNTS = 20
# As often as control decides. A thread that wakes up takes ten times as long as one more system call.
_POLL_S = 1.0
_CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Letter:
    """From uplink to control. `knows_wish` False: the cloud has not been asked yet, so no wish means nothing.

    `cloud_time`: what time it was in the cloud when it answered, and when it was asked: epoch and monotonic seconds.
    """

    knows_wish: bool = False
    wish: Wish | None = None
    # Which of uplink's looks at the cloud this is: control says in its report which one it has heard.
    wish_number: int = 0
    cloud_time: tuple[int, float] | None = None
    alerts: frozenset[Alert] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)


class MailError(ValueError):
    """A file that is not what the other process writes; says why."""


def encode_letter(letter: Letter) -> str:
    """The letter's text."""
    return json.dumps(
        {
            "version": _VERSION,
            "knows_wish": letter.knows_wish,
            "wish": None if letter.wish is None else letter.wish.as_json(),
            "wish_number": letter.wish_number,
            "cloud_time": letter.cloud_time,
            "alerts": sorted(letter.alerts),
            "counts": dict(letter.counts),
        }
    )


def decode_letter(text: str) -> Letter:
    """What the text says.

    Raises:
        MailError: it is not what `encode_letter` writes.
    """
    fields = _object(text)
    if fields.get("version") != _VERSION:
        raise MailError(f"it has version {fields.get('version')!r}, this software knows {_VERSION}")
    knows_wish, names, counts = fields.get("knows_wish"), fields.get("alerts"), fields.get("counts")
    if not isinstance(knows_wish, bool) or not isinstance(names, list) or not isinstance(counts, dict):
        raise MailError("it has a wrong value")
    wish_number = fields.get("wish_number")
    if type(wish_number) is not int:
        raise MailError("its wish_number is none")
    if len(counts) > _MOST_COUNTS or not all(type(count) is int for count in counts.values()):
        raise MailError("its counts are no numbers")
    try:
        wish = wish_of({"override": fields.get("wish")})
        alerts = frozenset(Alert(name) for name in names)
    except (ShadowError, ValueError) as e:
        raise MailError(str(e)) from None
    return Letter(knows_wish, wish, wish_number, _cloud_time(fields.get("cloud_time")), alerts, counts)


def _cloud_time(value: object) -> tuple[int, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or type(value[0]) is not int or type(value[1]) is not float:
        raise MailError("its cloud_time is none")
    return value[0], value[1]


def decode_report(text: str) -> dict[str, Any]:
    """The report, as an object for JSON.

    Raises:
        MailError: it is none.
    """
    return _object(text)


def put(directory: Path, name: str, text: str) -> None:
    """Put the file in place of what is there, in one step.

    Raises:
        OSError: the runtime directory cannot be used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f".{name}.{os.getpid()}.tmp"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(directory / name)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


class Post:
    """One file of the other process, read again when it has changed."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory / name
        self._seen: tuple[int, int, int] | None = None

    def news(self) -> str | None:
        """Its text if it is new since the last call; None otherwise, and where there is none.

        Raises:
            OSError: it cannot be read.
            MailError: it is too large, or no text.
        """
        try:
            if _identity(self._path.stat()) == self._seen:
                return None
            with self._path.open("rb") as file:
                # Of what is open now, which may be another one again.
                self._seen = _identity(os.fstat(file.fileno()))
                content = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        if len(content) > _MOST_BYTES:
            raise MailError(f"it has more than {_MOST_BYTES} bytes")
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise MailError("it is not UTF-8 text") from None


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


class Mailbox:
    """Control's end, in a thread of its own, so that no directory delays a decision."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._post = Post(directory, LETTER_NAME)
        self._letter = Letter()
        self._report: str | None = None
        self._written: str | None = None
        self._complaint = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mailbox", daemon=True)
        self._thread.start()

    @property
    def letter(self) -> Letter:
        """The newest letter that could be read; an empty one before the first."""
        return self._letter

    def report(self, text: str) -> None:
        """Take the newest report, to be written soon in place of any before it. Never waits."""
        self._report = text

    def close(self) -> None:
        """Write what is to be written, as far as that takes no longer than a second."""
        self._closing.set()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            is_last = self._closing.wait(_POLL_S)
            self._round()
            if is_last:
                return

    def _round(self) -> None:
        complaint = ""
        try:
            text = self._post.news()
            if text is not None:
                self._letter = decode_letter(text)
        except (OSError, MailError) as e:
            complaint = f"{LETTER_NAME}: {e}"
        try:
            report = self._report
            if report is not None and report != self._written:
                put(self._directory, REPORT_NAME, report)
                self._written = report
        except OSError as e:
            complaint = f"{REPORT_NAME}: {e}"
        if complaint and complaint != self._complaint:
            log.warning("%s: %s; overrides from afar wait until that works", self._directory, complaint)
        self._complaint = complaint or ""


def _object(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise MailError("it is no JSON") from None
    if not isinstance(fields, dict):
        raise MailError("it is no object")
    return fields
