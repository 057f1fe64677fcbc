"""Stands in for the owner: asks for an override now and then, by the real shadow, as `solarshed override` does.

Also says in the terminal what becomes of overrides, his and those that you ask for from another shell.
"""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from contract.errors import SolarshedError
from contract.positions import Position
from contract.shadow import Mode, OverrideState
from demo.emulator import REGION
from demo.processes import DemoError
from owner.override import ask
from owner.session import Account
from page.wishes import NoAnswerError, Override, Overrides

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_iot_data import IoTDataPlaneClient

# From the moment the page is up; a demo of a minute shows one begin and end.
FIRST_AFTER_S = 35.0
EVERY_S = 90.0
LASTS_S = 10

_LOOK_EVERY_S = 1.0
# When it could not be asked, or somebody else's override stands.
_ASK_AGAIN_AFTER_S = 10.0
_STOP_TIMEOUT_S = 1.0
# The device reports whole seconds.
_EARLY_MS = 1000
_IMPATIENT = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1})

Sample = Mapping[str, Any]


class EmulatedAccount(Account):
    """The owner's account: the emulator at `url`, whatever this machine's AWS configuration says."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = boto3.session.Session(
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106
        )

    @cached_property
    def iot(self) -> "IoTClient":
        """AWS IoT's registry."""
        client: IoTClient = self._session.client("iot", endpoint_url=self._url, config=_IMPATIENT)
        return client

    @cached_property
    def iot_data(self) -> "IoTDataPlaneClient":
        """The shadows."""
        client: IoTDataPlaneClient = self._session.client("iot-data", endpoint_url=self._url, config=_IMPATIENT)
        return client


class OwnerStandIn:
    """A thread that asks for `thing` in `account`. `newest_sample` is what the owner sees on the page."""

    def __init__(
        self,
        account: Account,
        thing: str,
        overrides: Overrides,
        newest_sample: Callable[[], Sample | None],
        say: Callable[[str], None],
    ) -> None:
        self._account = account
        self._thing = thing
        self._overrides = overrides
        self._newest_sample = newest_sample
        self._say = say
        self._told: dict[tuple[str, int], Override] = {}
        self._refused: str | None = None
        self._complaint = ""
        self._ask_at_s = time.monotonic() + FIRST_AFTER_S
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="owner", daemon=True)

    def start(self) -> None:
        """Begin; the first wish comes after FIRST_AFTER_S."""
        self._ask_at_s = time.monotonic() + FIRST_AFTER_S
        self._thread.start()

    def stop(self) -> None:
        """Ask for nothing more. Harmless when repeated, or before `start`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    def check(self) -> None:
        """Raise DemoError if the stand-in has failed."""
        if self._failure is not None:
            raise DemoError(f"the owner's stand-in has failed: {self._failure!r}") from self._failure

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_LOOK_EVERY_S):
                self._round()
        except Exception as e:  # noqa: BLE001 - the thread's boundary: `check` tells it
            self._failure = e

    def _round(self) -> None:
        try:
            standing, refused = self._look()
            if time.monotonic() >= self._ask_at_s:
                self._ask_unless(bool(standing) or refused is not None)
        except (SolarshedError, NoAnswerError) as e:
            self._ask_at_s = max(self._ask_at_s, time.monotonic() + _LOOK_EVERY_S)
            self._complain(str(e))
        else:
            self._complaint = ""

    def _look(self) -> tuple[list[Any], str | None]:
        """Tell what is new. What stands now, and why the device refuses what was asked."""
        now = self._overrides.now()
        for override in self._overrides.known():
            self._tell(override)
        if now["refused"] not in (None, self._refused):
            self._say(f"OWNER    the device refuses what was asked by shadow: {now['refused']}")
        self._refused = now["refused"]
        return now["standing"], now["refused"]

    def _ask_unless(self, is_busy: bool) -> None:
        sample = self._newest_sample()
        if is_busy or sample is None:
            self._ask_at_s = time.monotonic() + _ASK_AGAIN_AFTER_S
            return
        with self._account.plainly():
            ask(self._account, self._thing, mode_to_ask(sample), LASTS_S)
        self._ask_at_s = time.monotonic() + EVERY_S

    def _tell(self, override: Override) -> None:
        before = self._told.get(override.key)
        self._told[override.key] = override
        if before is None:
            self._say(f"OWNER    asks by shadow: {override.mode} until {clock(override.until_ms)}")
        if override.state is not None and (before is None or _news(override) != _news(before)):
            self._say(f"OWNER    {fate(override)}")

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            self._say(f"OWNER    {complaint}")


def mode_to_ask(sample: Sample) -> Mode:
    """The other position, so that something moves; but not the battery while its voltage is low or unknown."""
    if sample["position"] == Position.BATTERY:
        return Mode.GRID
    voltage_v, low_v = (sample["measures"].get(name) for name in ("battery_voltage_v", "battery_low_voltage_v"))
    is_fit = voltage_v is not None and low_v is not None and voltage_v > low_v
    return Mode.BATTERY if is_fit else Mode.GRID


def fate(override: Override) -> str:
    """What the device says of it, as a line of the terminal."""
    added = f": {override.because}" if override.because else ""
    match override.state:
        case OverrideState.ACTIVE:
            end_ms = override.until_ms if override.ends_at_ms is None else override.ends_at_ms
            return f"override in force: {override.mode} until {clock(end_ms)}"
        case OverrideState.ENDED:
            in_time = override.ended_ms is not None and override.ended_ms >= override.until_ms - _EARLY_MS
            return f"override has ended{' by itself' if in_time else ''}{added}"
        case _:
            return f"override {override.state}{added}"


def clock(time_ms: int) -> str:
    """Epoch milliseconds as this machine's time of day."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC).astimezone():%H:%M:%S}"


def _news(override: Override) -> tuple[str | None, str | None]:
    return override.state, override.because
