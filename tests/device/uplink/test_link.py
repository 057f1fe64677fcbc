"""The link against a broker that refuses, falls silent, freezes and lets others in: faults N4, N5 and N9 to N14."""

import json
import logging
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract import topics
from contract.status import State, Status, newest
from device.settings import Uplink
from device.uplink.link import (
    DUPLICATE_REMEMBERED_S,
    SESSION_NAME,
    Completion,
    Connected,
    Event,
    Link,
    Lost,
    Message,
    Subscribed,
    Timing,
)
from tests.peers.broker import Door, HangUp, Publish, ScriptedBroker
from tests.peers.certificates import EXPIRED, client_certificate, server_certificate
from tests.peers.client import BareClient
from tests.peers.proxy import TcpProxy

THING = "shed"
STATUS = topics.topic(THING, topics.STATUS)
TELEMETRY = topics.topic(THING, topics.TELEMETRY)

NOT_AUTHORIZED = 0x87
SHUTTING_DOWN = 0x8B
TAKEN_OVER = 0x8E

QUICK = Timing(
    keep_alive_s=1,
    ping_timeout_s=0.3,
    ack_timeout_s=1,
    connack_timeout_s=0.3,
    least_pause_s=0.01,
    most_pause_s=0.02,
)


class Longest(random.Random):
    """No luck at all: each pause is as long as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Shortest(random.Random):
    """Each pause is as short as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Driven:
    """A link and what it has told. `ahead_s` is how far the clock that it is shown is ahead of the real one."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.events: list[Event] = []
        # Between these two the link has noted its last loss. What it then does until it answers takes its time.
        self.lost_after_s = self.lost_before_s = 0.0

    def turn(self, ahead_s: float = 0.0) -> None:
        self.turn_at(time.monotonic() + ahead_s)

    def turn_at(self, now_s: float) -> None:
        begun_s = time.monotonic()
        self.link.tick(now_s)
        news = self.link.take(0.02)
        if any(isinstance(event, Lost) for event in news):
            self.lost_after_s, self.lost_before_s = begun_s, time.monotonic()
        self.events += news

    def until(self, is_so: Callable[[], object], timeout_s: float = 8.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline_s, f"it did not come to pass: {self.events}"
            self.turn()

    def until_connected(self) -> None:
        """Go on until it is connected once more."""
        self.until_connected_at(0.0)

    def is_connected(self) -> bool:
        return self.link.connected

    def is_duplicated(self, ahead_s: float = 0.0) -> bool:
        return self.link.is_duplicated(time.monotonic() + ahead_s)

    def until_connected_at(self, ahead_s: float) -> None:
        """Go on until it is connected once more, with the clock so far ahead."""
        known = self.link.connections
        deadline_s = time.monotonic() + 8
        while self.link.connections == known:
            assert time.monotonic() < deadline_s, f"not connected: {self.events}"
            self.turn(ahead_s)

    def all(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def tries_within(self, pause_s: float) -> bool:
        """Whether it begins an attempt less than `pause_s` after its last loss, where each fails at once."""
        return self._fails_at(self.lost_after_s + pause_s - 0.001, 0.25)

    def tries_after(self, pause_s: float) -> bool:
        """Whether it begins an attempt as soon as `pause_s` have passed since its last loss, where each fails at
        once."""
        return self._fails_at(self.lost_before_s + pause_s, 8)

    def _fails_at(self, now_s: float, timeout_s: float) -> bool:
        known = len(self.all(Lost))
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s and len(self.all(Lost)) == known:
            self.turn_at(now_s)
        return len(self.all(Lost)) > known


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    with ScriptedBroker() as broker:
        yield broker


@pytest.fixture
def uplink(broker: ScriptedBroker, tmp_path: Path) -> Uplink:
    return broker.uplink(tmp_path)


@pytest.fixture
def drive() -> Iterator[Callable[..., Driven]]:
    driven: list[Driven] = []

    def drive(uplink: Uplink, timing: Timing = QUICK, jitter: random.Random | None = None) -> Driven:
        driven.append(Driven(Link(THING, uplink, timing, jitter)))
        return driven[-1]

    yield drive
    for each in driven:
        each.link.stop()


Drive = Callable[..., Driven]


def statuses(publishes: list[Publish]) -> list[tuple[int, str]]:
    """Session and state of each status, in order of arrival."""
    texts = [json.loads(publish.payload) for publish in list(publishes) if publish.topic == STATUS]
    return [(text["session"], text["state"]) for text in texts]


ENDLESS = """
import sys, time
from pathlib import Path
from device.settings import Uplink
from device.uplink.link import Link, Lost, Timing

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

port, *paths = sys.argv[1:]
link = Link("shed", Uplink("localhost", int(port), *paths), Timing(least_pause_s=0.0, most_pause_s=0.0))
attempts, at_first = 0, 0
while attempts < 1000:
    link.tick(time.monotonic())
    attempts += sum(isinstance(event, Lost) for event in link.take(0.002))
    if attempts >= 300 and not at_first:
        at_first = resident_bytes()
print(resident_bytes() - at_first)
link.stop()
"""


def wait_for(broker: ScriptedBroker, count: int) -> None:
    """Wait until so many statuses have arrived."""
    broker.wait_until(lambda: len(broker.published(STATUS)) >= count)


def test_N4_a_thousand_attempts_in_vain_cost_no_memory(broker: ScriptedBroker, uplink: Uplink) -> None:
    with TcpProxy("127.0.0.1", broker.port) as proxy:
        proxy.cut()
        paths = (uplink.certificate, uplink.private_key, uplink.ca)
        process = subprocess.run(
            [sys.executable, "-c", ENDLESS, str(proxy.port), *paths], capture_output=True, text=True, check=True
        )

    # 72 hours are some 8,000 attempts at the longest pauses.
    assert int(process.stdout) < 1_500_000
    assert process.stderr.count("no connection") == 1


def test_N4_pauses_grow_to_a_minute_and_no_further(broker: ScriptedBroker, uplink: Uplink, drive: Drive) -> None:
    broker.door = Door.HANGS_UP
    link = drive(uplink, Timing(), Longest())

    link.until(lambda: link.all(Lost))
    for pause_s in (2, 4, 8, 16, 32, 60, 60, 60):
        assert not link.tries_within(pause_s)
        assert link.tries_after(pause_s)


def test_N4_pauses_are_random_but_never_none(broker: ScriptedBroker, uplink: Uplink, drive: Drive) -> None:
    broker.door = Door.HANGS_UP
    link = drive(uplink, Timing(), Shortest())

    link.until(lambda: link.all(Lost))
    for _ in range(3):
        assert not link.tries_within(1)
        assert link.tries_after(1)


def test_N4_it_connects_when_the_broker_is_there_at_last(broker: ScriptedBroker, tmp_path: Path, drive: Drive) -> None:
    with TcpProxy("127.0.0.1", broker.port) as proxy:
        proxy.cut()
        link = drive(broker.uplink(tmp_path, port=proxy.port))
        link.until(lambda: len(link.all(Lost)) >= 5)
        assert not link.is_connected()

        proxy.restore()
        link.until_connected()

        assert link.is_connected()
        assert not any(lost.was_connected for lost in link.all(Lost))
        link.link.stop()


@pytest.mark.parametrize("code", [NOT_AUTHORIZED, 0x88, None], ids=["not authorized", "unavailable", "silence"])
def test_N4_a_broker_that_does_not_accept_is_asked_again(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive, code: int | None
) -> None:
    broker.connack = code
    link = drive(uplink)
    link.until(lambda: len(link.all(Lost)) >= 2)
    assert [lost.not_authorized for lost in link.all(Lost)[:2]] == [code == NOT_AUTHORIZED] * 2

    broker.connack = 0
    link.until_connected()


@pytest.mark.parametrize(("good_after_s", "pause_s"), [(60, 32), (0, 2)])
def test_N4_pauses_begin_anew_after_a_good_connection_only(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive, good_after_s: float, pause_s: float
) -> None:
    link = drive(uplink, Timing(good_after_s=good_after_s), Longest())
    for _ in range(5):
        link.until_connected_at(61)
        broker.disconnect(SHUTTING_DOWN)
        link.until(lambda: link.all(Lost))
        link.events.clear()
    broker.door = Door.HANGS_UP

    assert not link.tries_within(pause_s)
    assert link.tries_after(pause_s)


def test_N5_who_is_taken_over_stays_away_long_and_says_so(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    link = drive(uplink, Timing(), Longest())
    link.until_connected()

    with BareClient(uplink, THING) as other:
        link.until(lambda: link.all(Lost))
        for pause_s in (0.01, 1, 60, 375):
            assert not link.tries_within(pause_s)

        assert [lost.taken_over for lost in link.all(Lost)] == [True]
        assert not link.is_connected()
        assert other.disconnects == []
        assert len(broker.connects) == 2

        link.until_connected_at(376)
        broker.wait_until(lambda: other.disconnects)

    assert link.is_duplicated()
    assert link.is_duplicated(DUPLICATE_REMEMBERED_S - 60)
    assert not link.is_duplicated(DUPLICATE_REMEMBERED_S)
    assert "no second device or script uses this name" in caplog.text


def test_N5_taken_over_again_it_stays_away_twice_as_long_up_to_an_hour(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive
) -> None:
    link = drive(uplink, Timing(), Shortest())
    link.until_connected()

    for count, pause_s in enumerate((300, 600, 1200, 2400, 3600, 3600), start=1):
        broker.disconnect(TAKEN_OVER)
        link.until(lambda: not link.is_connected())
        link.until(lambda: link.all(Lost))
        for _ in range(5):
            link.turn(pause_s * 0.75 - 2)
        assert len(broker.connects) == count

        assert [lost.taken_over for lost in link.all(Lost)] == [True]
        link.events.clear()
        link.until_connected_at(pause_s * 0.75)


def test_N5_two_links_of_one_name_do_not_throw_each_other_out_again_and_again(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive
) -> None:
    first, second = drive(uplink, Timing()), drive(uplink, Timing())
    first.until_connected()
    second.until_connected()
    deadline_s = time.monotonic() + 1.5
    while time.monotonic() < deadline_s:
        first.turn()
        second.turn()

    assert len(broker.connects) == 2
    assert first.is_duplicated()
    assert second.is_connected()


def test_N9_a_refused_subscription_is_told_with_its_topic(broker: ScriptedBroker, uplink: Uplink, drive: Drive) -> None:
    broker.on_subscribe = lambda topic_filter: NOT_AUTHORIZED if topic_filter == "b" else 1
    link = drive(uplink)
    link.until_connected()

    link.link.subscribe(["a", "b"])
    link.until(lambda: link.all(Subscribed))

    [subscribed] = link.all(Subscribed)
    assert "b (NOT_AUTHORIZED)" in subscribed.error
    assert "a (" not in subscribed.error
    assert link.is_connected()


def test_N9_silence_about_a_subscription_is_a_failure(broker: ScriptedBroker, uplink: Uplink, drive: Drive) -> None:
    broker.on_subscribe = lambda _: None
    link = drive(uplink)
    link.until_connected()

    link.link.subscribe(["a"])
    link.until(lambda: link.all(Subscribed))

    [subscribed] = link.all(Subscribed)
    assert "TIMEOUT" in subscribed.error


def test_N9_a_connection_that_breaks_while_subscribing_leaves_no_subscription(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive
) -> None:
    broker.on_subscribe = lambda _: None
    link = drive(uplink)
    link.until_connected()

    link.link.subscribe(["a"])
    broker.wait_until(lambda: broker.subscribes)
    broker.drop()
    link.until_connected()

    assert all(subscribed.error is not None for subscribed in link.all(Subscribed))


def test_N9_what_is_granted_is_heard(broker: ScriptedBroker, uplink: Uplink, drive: Drive) -> None:
    link = drive(uplink)
    link.until_connected()

    link.link.subscribe(["a/+", "b"])
    link.until(lambda: link.all(Subscribed))
    broker.send("a/1", b"\xff\x00")
    broker.send("b", b"")
    link.until(lambda: len(link.all(Message)) == 2)

    assert link.all(Subscribed) == [Subscribed(None)]
    assert link.all(Message) == [Message("a/1", b"\xff\x00"), Message("b", b"")]
    broker.wait_until(lambda: len(broker.acknowledgements) == 2)


def test_N10_a_frozen_broker_is_noticed_by_its_silence(broker: ScriptedBroker, uplink: Uplink, drive: Drive) -> None:
    link = drive(uplink)
    link.until_connected()

    frozen_at_s = time.monotonic()
    broker.freeze()
    link.until(lambda: link.all(Lost))
    noticed_after_s = time.monotonic() - frozen_at_s

    assert link.all(Lost)[0].was_connected
    assert noticed_after_s < QUICK.keep_alive_s + QUICK.ping_timeout_s + 1
    broker.thaw()
    link.until_connected()


def test_N10_a_half_open_line_is_noticed_and_left(broker: ScriptedBroker, tmp_path: Path, drive: Drive) -> None:
    with TcpProxy("127.0.0.1", broker.port) as proxy:
        link = drive(broker.uplink(tmp_path, port=proxy.port))
        link.until_connected()

        proxy.blackhole()
        link.link.publish(TELEMETRY, "{}", "on the dead line")
        link.until(lambda: link.all(Lost))
        link.until(lambda: link.all(Completion))
        proxy.restore()
        link.until_connected()

        [completion] = link.all(Completion)
        assert (completion.token, completion.refused) == ("on the dead line", False)
        assert completion.error is not None
        link.link.stop()


def test_N10_a_name_that_does_not_resolve_keeps_nobody_waiting(uplink: Uplink, drive: Drive) -> None:
    # Two dots in a row: refused by the resolver itself, so that no test asks a name server.
    link = drive(replace(uplink, endpoint="not..a.name"))

    begun_s = time.monotonic()
    link.link.tick(begun_s)
    tick_s = time.monotonic() - begun_s
    link.until(lambda: len(link.all(Lost)) >= 3)

    assert tick_s < 0.5
    assert "DNS" in link.all(Lost)[0].why


@pytest.mark.parametrize("stage", ["TLS", "CONNACK"])
def test_N10_a_stop_waits_no_longer_than_it_may_for_an_attempt_that_hangs(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive, stage: str
) -> None:
    if stage == "TLS":
        broker.door = Door.SILENT
    broker.connack = None
    link = drive(uplink, Timing(stop_s=0.5))
    link.turn()
    broker.wait_until(lambda: broker.tcp_opens)

    begun_s = time.monotonic()
    link.link.stop()

    assert time.monotonic() - begun_s < 1
    assert not link.is_connected()


@pytest.fixture
def warnings_of(caplog: pytest.LogCaptureFixture) -> Callable[[Driven], str]:
    def warnings_of(link: Driven) -> str:
        caplog.set_level(logging.WARNING)
        link.until(lambda: caplog.records, timeout_s=40)
        for _ in range(10):
            link.turn()
        assert len(caplog.records) == 1, "one cause, one line"
        return caplog.records[0].getMessage()

    return warnings_of


def test_N11_an_expired_certificate_is_named_with_its_day(
    broker: ScriptedBroker, tmp_path: Path, drive: Drive, warnings_of: Callable[[Driven], str]
) -> None:
    uplink = broker.uplink(tmp_path, client_certificate(valid_days=EXPIRED))

    said = warnings_of(drive(uplink))

    assert f"{uplink.certificate} expired on " in said
    assert "solarshed provision" in said


def test_N11_a_broker_that_is_not_trusted_leads_to_the_ca_and_the_clock(
    broker: ScriptedBroker, tmp_path: Path, drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    """Slow: the SDK tells of a certificate that it does not trust only after 10 to 30 s, to slow down who guesses."""
    caplog.set_level(logging.WARNING)
    with ScriptedBroker(server_certificate(EXPIRED)) as expired:
        wrong_ca = drive(broker.uplink(tmp_path / "wrong", authority="other"), replace(QUICK, stop_s=0.1))
        too_late = drive(expired.uplink(tmp_path / "late"), replace(QUICK, stop_s=0.1))
        while not (wrong_ca.all(Lost) and too_late.all(Lost)):
            wrong_ca.turn()
            too_late.turn()
    said = [record.getMessage() for record in caplog.records]

    assert len(said) == 2
    for message in said:
        assert "TLS" in message
        assert "time of day" in message
        assert "ca.pem" in message


@pytest.mark.parametrize("name", ["certificate", "private_key", "ca"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM"], ids=["gone", "empty", "rubbish"])
def test_N11_a_file_that_cannot_be_used_is_named(
    uplink: Uplink, drive: Drive, warnings_of: Callable[[Driven], str], name: str, content: bytes | None
) -> None:
    path = Path(getattr(uplink, name))
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)

    said = warnings_of(drive(uplink))

    assert f"uplink.{name} {path}" in said


def test_N11_a_key_of_another_certificate_is_named(
    uplink: Uplink, drive: Drive, warnings_of: Callable[[Driven], str]
) -> None:
    Path(uplink.private_key).write_bytes(client_certificate("another").private_key)

    said = warnings_of(drive(uplink))

    assert f"does not belong to the key {uplink.private_key}" in said


def test_N11_a_certificate_that_was_replaced_is_used_without_a_restart(
    broker: ScriptedBroker, tmp_path: Path, drive: Drive
) -> None:
    link = drive(broker.uplink(tmp_path, client_certificate(valid_days=EXPIRED)))
    link.until(lambda: len(link.all(Lost)) >= 2)
    assert broker.connects == []

    broker.uplink(tmp_path)
    link.until_connected()


def test_N12_what_is_not_acknowledged_is_told_and_the_next_connection_works(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive
) -> None:
    link = drive(uplink)
    link.until_connected()
    broker.on_publish = lambda publish: None if publish.topic == TELEMETRY else 0

    link.link.publish(TELEMETRY, "{}", 1)
    link.until(lambda: link.all(Completion))

    [completion] = link.all(Completion)
    assert (completion.token, completion.unanswered, completion.refused) == (1, True, False)
    assert link.is_connected()

    broker.on_publish = lambda _: 0
    link.link.reconnect("a publish was not acknowledged", time.monotonic())
    assert not link.is_connected()
    link.until_connected()
    link.link.publish(TELEMETRY, "{}", 2)
    link.until(lambda: len(link.all(Completion)) == 2)

    assert link.all(Completion)[1] == Completion(2, None)
    # Not a stop: until the next connection the cloud has to know that this one is over.
    broker.wait_until(lambda: broker.wills)
    assert [state for _, state in statuses(broker.wills)] == ["offline"]


@pytest.mark.parametrize("ending", ["drop", "timeout"])
def test_N12_each_publish_ends_exactly_once_and_few_are_on_their_way(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive, ending: str
) -> None:
    broker.receive_maximum = 20
    link = drive(uplink)
    link.until_connected()
    broker.on_publish = lambda publish: None if publish.topic == TELEMETRY else 0

    for number in range(200):
        link.link.publish(TELEMETRY, "{}", number)
    broker.wait_until(lambda: len(broker.published(TELEMETRY)) == 20)
    time.sleep(0.2)
    assert len(broker.published(TELEMETRY)) == 20

    if ending == "drop":
        broker.drop()
    else:
        # What the broker leaves no room for is not sent, and its time does not begin: only a new connection helps.
        link.until(lambda: link.all(Completion))
        link.link.reconnect("a publish was not acknowledged", time.monotonic())
    link.until(lambda: len(link.all(Completion)) >= 200)
    for _ in range(5):
        link.turn()

    assert sorted(completion.token for completion in link.all(Completion)) == list(range(200))
    assert all(completion.error is not None for completion in link.all(Completion))


def test_N2_a_connection_that_breaks_before_the_puback_is_no_acknowledgement(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive
) -> None:
    link = drive(uplink)
    link.until_connected()
    broker.on_publish = lambda publish: HangUp() if publish.topic == TELEMETRY else 0

    link.link.publish(TELEMETRY, "{}", 1)
    link.until(lambda: link.all(Completion) and link.all(Lost))

    [completion] = link.all(Completion)
    assert completion.error is not None
    assert not completion.unanswered
    assert len(broker.published(TELEMETRY)) == 1


@pytest.mark.parametrize("answer", [NOT_AUTHORIZED, HangUp(NOT_AUTHORIZED)], ids=["PUBACK", "DISCONNECT"])
def test_N8_a_publish_that_the_policy_forbids_is_told_as_that(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive, answer: int | HangUp
) -> None:
    link = drive(uplink)
    link.until_connected()
    broker.on_publish = lambda publish: answer if publish.topic == TELEMETRY else 0

    link.link.publish(TELEMETRY, "{}", 1)
    link.until(lambda: link.all(Completion))

    [completion] = link.all(Completion)
    if answer == NOT_AUTHORIZED:
        assert completion == Completion(1, f"publish to {TELEMETRY} refused: NOT_AUTHORIZED", refused=True)
        assert link.is_connected()
    else:
        link.until(lambda: link.all(Lost))
        assert link.all(Lost)[0].not_authorized


def test_N13_each_connection_has_a_session_of_its_own_and_the_latest_counts_in_any_order(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive
) -> None:
    broker.will_delay_s = 0.5
    link = drive(uplink)
    link.until_connected()
    wait_for(broker, 1)

    broker.drop()
    link.until_connected()
    broker.wait_until(lambda: broker.wills)

    [(first, _), (second, _), (late, _)] = heard = statuses(broker.publishes)
    assert heard == [(first, "online"), (second, "online"), (first, "offline")]
    assert late == first < second
    told = [Status(THING, session, State(state)) for session, state in heard]
    assert newest(told) == newest(reversed(told)) == Status(THING, second, State.ONLINE)


def test_N13_the_last_will_names_the_session_that_says_it_is_online(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive
) -> None:
    link = drive(uplink)
    for count in range(1, 6):
        link.until_connected()
        wait_for(broker, 2 * count - 1)
        broker.drop(reset=True)
        wait_for(broker, 2 * count)

    sessions = [session for session, _ in statuses(broker.publishes)]
    assert sessions[::2] == sessions[1::2] == sorted(set(sessions))
    assert [state for _, state in statuses(broker.publishes)] == ["online", "offline"] * 5
    assert len(link.all(Connected)) == 5


def test_N13_sessions_grow_while_the_clock_goes_back(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_ns = time.time_ns
    link = drive(uplink)
    link.until_connected()
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() - 3_600_000_000_000)
    broker.drop()
    link.until_connected()

    wills = [connect.will for connect in broker.connects]
    [first, second] = [json.loads(will.payload)["session"] for will in wills if will is not None]
    assert second == first + 1


def test_N13_C1_the_next_process_goes_on_above_the_last_session_though_its_clock_is_behind(
    broker: ScriptedBroker, uplink: Uplink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_ns = time.time_ns
    behind_ns = 0
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() - behind_ns)
    for count in (1, 3):
        link = Link(THING, uplink, QUICK, directory=tmp_path)
        while not link.connected or not (tmp_path / SESSION_NAME).exists():
            link.tick(time.monotonic())
            link.take(0.05)
        wait_for(broker, count)
        link.stop()
        behind_ns += 3_600_000_000_000

    wills = [connect.will for connect in broker.connects]
    [first, second] = [json.loads(will.payload)["session"] for will in wills if will is not None]
    assert second == first + 1


@pytest.mark.parametrize("spoil", [lambda path: path.mkdir(), lambda path: path.write_text("garbage")])
def test_N13_a_number_that_cannot_be_kept_stops_no_connection(
    spoil: Callable[[Path], object], broker: ScriptedBroker, uplink: Uplink, tmp_path: Path
) -> None:
    spoil(tmp_path / SESSION_NAME)
    link = Link(THING, uplink, QUICK, directory=tmp_path)

    while not link.connections:
        link.tick(time.monotonic())
        link.take(0.05)

    link.stop()
    assert [state for _, state in statuses(broker.publishes)] == ["online", "stopping"]


def test_N8_what_is_asked_of_a_connection_that_was_lost_at_once_only_fails(
    broker: ScriptedBroker, uplink: Uplink
) -> None:
    link = Link(THING, uplink, QUICK)
    link.tick(time.monotonic())
    broker.wait_until(lambda: broker.connects)
    broker.wait_until(lambda: broker.published(topics.topic(THING, topics.STATUS)) or broker.connected)
    time.sleep(0.3)  # until the client knows that it is connected, and nobody has taken note
    broker.drop()
    broker.wait_until(lambda: broker.tcp_closes)
    time.sleep(0.3)
    events = link.take(1.0)

    link.subscribe(["a/topic"])
    link.publish("a/topic", "{}", "token")
    later = link.take(1.0)
    link.stop()

    assert [type(event) for event in events][:1] == [Connected]
    assert Lost in [type(event) for event in events]
    assert [(event.token, event.error) for event in later if isinstance(event, Completion)] == [
        ("token", "the connection is gone")
    ]


def test_N14_a_clean_stop_says_stopping_and_leaves_no_last_will(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive
) -> None:
    link = drive(uplink)
    link.until_connected()

    link.link.stop()
    broker.wait_until(lambda: broker.tcp_closes)
    time.sleep(0.1)

    [(session, _), _] = heard = statuses(broker.publishes)
    assert heard == [(session, "online"), (session, "stopping")]
    assert [disconnect.reason_code for disconnect in broker.disconnects] == [0]
    assert broker.wills == []


def test_N14_a_stop_that_nobody_answers_ends_in_time(broker: ScriptedBroker, uplink: Uplink, drive: Drive) -> None:
    link = drive(uplink)
    link.until_connected()
    broker.freeze()

    begun_s = time.monotonic()
    link.link.stop()

    assert time.monotonic() - begun_s < QUICK.stop_s + 0.5
    broker.thaw()


def test_N14_stopped_without_a_connection_there_is_nothing_to_say(
    broker: ScriptedBroker, uplink: Uplink, drive: Drive
) -> None:
    broker.connack = NOT_AUTHORIZED
    link = drive(uplink)
    link.until(lambda: link.all(Lost))

    link.link.stop()
    link.link.stop()

    assert broker.publishes == []
