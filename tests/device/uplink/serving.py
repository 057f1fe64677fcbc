"""Uplink's whole service in a thread, between a scripted broker and the shared files. The test plays control."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from contract import topics
from contract.alerts import Alert
from contract.messages import decode_telemetry
from contract.shadow import Wish
from device.mailbox import HEARD, LETTER_NAME, REPORT_NAME, Letter, decode_letter, put
from device.outbox import Outbox, Stream
from device.settings import parse
from device.uplink.link import Timing
from device.uplink.service import Uplink
from tests.peers.broker import Publish, ScriptedBroker
from tests.peers.shadow import ScriptedShadow, State

THING = "shed"
TELEMETRY, HEARTBEAT, ALERT, STATUS = (topics.topic(THING, channel) for channel in topics.CHANNELS)

QUICK = Timing(
    keep_alive_s=1,
    ping_timeout_s=0.3,
    ack_timeout_s=1,
    connack_timeout_s=1.0,
    least_pause_s=0.01,
    most_pause_s=0.05,
    stuck_after_s=4.0,
)


class Served:
    """A shed's uplink with its broker, its shadow and its outbox. It is not started yet."""

    def __init__(self, directory: Path, broker: ScriptedBroker) -> None:
        self.broker = broker
        self.shadow = ScriptedShadow(broker, THING)
        self.state, self.runtime = directory / "state", directory / "run"
        self.outbox = Outbox(self.state)
        self.uplink = broker.uplink(directory / "identity")
        self.timing = QUICK
        self.rounds = 0
        self.longest_round_s = 0.0
        self.failure: Exception | None = None
        # What the cloud has got.
        self.taken: list[Publish] = []
        broker.listeners.append(self.taken.append)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink")

    def __repr__(self) -> str:
        return f"<Served: {self.rounds} rounds, ended by {self.failure!r}, {self.letter}, {self.broker!r}>"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(10)
        self.outbox.close()
        assert not self._thread.is_alive(), "uplink did not stop"

    def until(self, is_so: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline_s, f"it did not come to pass: {self!r}"
            time.sleep(0.01)

    def until_rounds(self, count: int) -> None:
        """Wait for so many rounds more."""
        rounds = self.rounds + count
        self.until(lambda: self.rounds >= rounds)

    def until_asked(self, more_often_than: int) -> None:
        """Wait until it has asked more often what stands in the shadow."""
        self.until(lambda: len(self.shadow.gets) > more_often_than)

    def until_reported(self, **values: object) -> None:
        """Wait until the shadow says that these are so."""
        self.until(lambda: self.shadow.reported | values == self.shadow.reported)

    def holds(self, is_so: Callable[[], object], for_s: float) -> None:
        """See that it is so all the time."""
        deadline_s = time.monotonic() + for_s
        while time.monotonic() < deadline_s:
            assert is_so(), f"it did not last: {self!r}"
            time.sleep(0.01)

    # Control's side

    @property
    def letter(self) -> Letter:
        path = self.runtime / LETTER_NAME
        return decode_letter(path.read_text()) if path.exists() else Letter()

    def wish(self) -> Wish | None:
        """What control is told to be the owner's wish."""
        return self.letter.wish

    def tells(self, alert: Alert) -> bool:
        """Whether control is told that it is so."""
        return alert in self.letter.alerts

    def report(self, **values: object) -> None:
        """What control does is so from now on."""
        report: State = {"position": "battery", "reason": "hold", "mode": "auto", "override": None, "time": 1}
        report[HEARD] = self.letter.wish_number
        put(self.runtime, REPORT_NAME, json.dumps(report | values))

    def report_override(self, override: State, state: str) -> None:
        """What has become of the wish."""
        self.report(override={"until": None} | override | {"state": state, "ends_at": None, "because": None})

    def append(self, count: int, stream: Stream = Stream.TELEMETRY) -> None:
        self.outbox.append([(stream, json.dumps({"number": number})) for number in range(count)])

    # What has come of it

    def arrived(self) -> list[int]:
        """The numbers of the samples that the cloud has got, repetitions included."""
        return [number for publish in self.acknowledged(TELEMETRY) for number in sequences(publish)]

    def acknowledged(self, topic: str) -> list[Publish]:
        return [publish for publish in list(self.taken) if publish.topic == topic]

    def _run(self) -> None:
        settings = parse(f'thing = "{THING}"\nstate_directory = "{self.state}"\nruntime_directory = "{self.runtime}"')
        uplink = Uplink(replace(settings, uplink=self.uplink), self.timing)
        try:
            while not self._stopping.is_set():
                began_s = time.monotonic()
                uplink.round()
                self.longest_round_s = max(self.longest_round_s, time.monotonic() - began_s)
                self.rounds += 1
        except Exception as e:  # noqa: BLE001 - it ends the process, and that is for the test to see
            self.failure = e
        finally:
            uplink.stop()


def sequences(publish: Publish) -> list[int]:
    """The numbers of the samples in a message."""
    message: dict[str, Any] = json.loads(publish.payload)
    return [sample["sequence"] for sample in decode_telemetry(message)]
