"""Rows C of the fault catalogue: clocks. Durations are monotonic; the time of day is for those who read it later."""

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud.telemetry.points import points_of
from contract.messages import encode_telemetry
from contract.positions import Position, Reason
from device import control
from device.clock import SystemClock
from device.daylight import is_daylight
from device.decide import Decision, failed
from device.observe import initial_state
from device.override import received, timed
from device.settings import Uplink
from device.stopping import StopRequest
from device.uplink.link import Link, Timing
from device.watchdog import Watchdog
from tests.faults.rig import Rig

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


def samples(rig: Rig) -> list[dict[str, object]]:
    return [json.loads(tick.entry.sample) for tick in rig.history if tick.entry.sample]


def test_C1_a_step_of_three_days_changes_no_timer_and_what_came_before_is_marked(rig: Rig) -> None:
    rig.clock.is_synchronised = False
    rig.run(300)
    rig.voltage_v = 49.0
    rig.run(30)

    rig.clock.offset_ms += 3 * DAY_MS
    rig.clock.is_synchronised = True
    at_59_s = rig.run(30)
    at_60_s = rig.run(1)

    assert at_59_s.position is Position.BATTERY
    assert at_60_s.position is Position.GRID
    marks = [bool(sample["clock_synchronised"]) for sample in samples(rig)]
    assert marks == sorted(marks)
    assert set(marks) == {False, True}


def test_C1_a_step_does_not_end_or_prolong_an_override(rig: Rig) -> None:
    clock = rig.clock
    rig.run(300)
    rig.override = received(Position.GRID, clock.time_ms() + 100_000, clock.now_s, clock.time_ms(), synchronised=True)
    rig.run(50)

    clock.offset_ms += 3 * DAY_MS
    rig.override = timed(rig.override, clock.now_s, clock.time_ms(), synchronised=True)
    at_99_s = rig.run(50)
    at_100_s = rig.run(1)

    assert at_99_s.reason is Reason.OVERRIDE
    assert at_100_s.reason is not Reason.OVERRIDE


def test_C2_booted_in_1970_control_decides_as_ever(rig: Rig) -> None:
    rig.clock.offset_ms = 0
    rig.clock.is_synchronised = False
    rig.run(300)
    rig.voltage_v = 49.0

    decision = rig.run(61)

    assert decision.position is Position.GRID
    assert all(isinstance(sample["time_ms"], int) and sample["time_ms"] > 0 for sample in samples(rig))


@pytest.fixture
def server_of_tomorrow(tmp_path: Path) -> Iterator[tuple[int, Uplink, list[float]]]:
    """A TLS server whose certificate is not valid yet, as every one is for a Pi that believes in 1970."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(tomorrow)
        .not_valid_after(tomorrow + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = tmp_path / "certificate.pem", tmp_path / "private.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key_pem)
    listener = socket.create_server(("127.0.0.1", 0))
    attempts: list[float] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            attempts.append(time.monotonic())
            with suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    uplink = Uplink(endpoint="localhost", port=port, certificate=str(pem), private_key=str(key_pem), ca=str(pem))
    yield port, uplink, attempts
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_C2_a_certificate_that_is_not_valid_yet_is_tried_again(
    server_of_tomorrow: tuple[int, Uplink, list[float]],
) -> None:
    _, uplink, attempts = server_of_tomorrow
    link = Link("shed", uplink, Timing(least_pause_s=0.1, most_pause_s=0.2))

    deadline_s = time.monotonic() + 30.0
    while len(attempts) < 3 and time.monotonic() < deadline_s:
        link.tick(time.monotonic())
        link.take(0.05)
    was_connected = link.connected
    link.stop()

    assert len(attempts) >= 3
    assert not was_connected


def test_C3_a_step_back_repeats_no_override_and_makes_no_age_negative(rig: Rig) -> None:
    clock = rig.clock
    rig.run(300)
    rig.override = received(Position.GRID, clock.time_ms() + 60_000, clock.now_s, clock.time_ms(), synchronised=True)
    rig.run(120)

    clock.offset_ms -= HOUR_MS
    rig.override = timed(rig.override, clock.now_s, clock.time_ms(), synchronised=True)
    decisions = [rig.run(60) for _ in range(70)]

    assert Reason.OVERRIDE not in {decision.reason for decision in decisions}
    for sample in samples(rig):
        measures = sample["measures"]
        assert isinstance(measures, dict)
        assert all(value >= 0 for name, value in measures.items() if name.endswith(("_age_s", "_in_s")))


def test_C3_after_a_step_back_a_sample_does_not_replace_the_one_before_it(rig: Rig) -> None:
    rig.run(60)
    rig.clock.offset_ms -= 60_000
    rig.run(61)
    texts = [tick.entry.sample for tick in rig.history if tick.entry.sample]
    numbered = [{"sequence": number} | json.loads(text) for number, text in enumerate(texts, start=1)]

    points = points_of(json.loads(encode_telemetry(numbered)) | {"thing": "shed"})

    newest = {point.key: point.version for point in points}
    assert len(newest) == len(points)  # though the hour was set back by exactly one sample's distance
    assert max(newest.values()) == len(texts)


def test_C4_until_the_clock_is_synchronised_an_override_is_bounded_by_a_day_of_monotonic_time(rig: Rig) -> None:
    clock = rig.clock
    clock.is_synchronised = False
    rig.run(300)
    rig.override = received(
        Position.GRID, clock.time_ms() + 9 * DAY_MS, clock.now_s, clock.time_ms(), synchronised=False
    )
    ends_at_s = clock.now_s + 86_400.0

    first = rig.run(60)
    clock.now_s = ends_at_s - 300.0
    rig.history.clear()  # a day is jumped over, which is no late tick
    last = rig.run(300)
    over = rig.run(1)

    assert first.reason is last.reason is Reason.OVERRIDE
    assert over.reason is not Reason.OVERRIDE


def test_C5_monotonic_times_of_another_boot_are_not_believed(rig: Rig) -> None:
    rig.run(5_000)
    rig.voltage_v = 49.0
    rig.run(61)

    rig.reboot()
    first = rig.tick()
    at_dwell_end = rig.run(300)

    assert first.position is Position.BATTERY
    assert first.state.position_since_s == 20.0
    assert first.state.transfers_at_s == ()
    assert at_dwell_end.position is Position.GRID


def test_C6_a_clock_that_is_a_day_ahead_changes_no_decision_and_no_age(rig: Rig) -> None:
    # What the cloud makes of it: silence is judged by the time at which S3 received the heartbeat, not by the device's.
    # That Lambda, and its metric of the skew, come with the heartbeat issue.
    rig.run(60)
    rig.clock.offset_ms += DAY_MS

    rig.run(300)

    beats = [json.loads(tick.entry.heartbeat) for tick in rig.history if tick.entry.heartbeat]
    assert beats[-1]["time_ms"] - beats[0]["time_ms"] == DAY_MS + 300_000
    assert beats[-1]["reading_ages_s"] == {"battery_voltage": 0.0, "box_temperature": 0.0}


@pytest.mark.parametrize(
    "edge",
    [
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 0, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    ],
)
def test_C7_summer_time_and_the_years_end_are_minutes_like_others(
    edge: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        before_ms = int((edge - timedelta(minutes=1)).timestamp() * 1000)
        monkeypatch.setattr(time, "time_ns", lambda: before_ms * 1_000_000)
        at_first = SystemClock().time_ms()
        monkeypatch.setattr(time, "time_ns", lambda: (before_ms + 120_000) * 1_000_000)
        at_last = SystemClock().time_ms()
        by_night = [is_daylight(before_ms + minute * 60_000, 52.5, 13.4) for minute in range(3)]
    finally:
        monkeypatch.undo()
        time.tzset()

    assert at_last - at_first == 120_000
    assert by_night == [False] * 3
    assert "TZ" not in os.environ or os.environ["TZ"] != "Europe/Berlin"


class StallingLoop:
    """The second tick takes a minute; then three are left, and the end."""

    def __init__(self, clock: "SteppedClock", stopping: StopRequest) -> None:
        self.clock = clock
        self.stopping = stopping
        self.ticked_at_s: list[float] = []

    def tick(self, now_s: float) -> Decision:
        self.ticked_at_s.append(now_s)
        if len(self.ticked_at_s) == 2:
            self.clock.now_s += 60.0
        if len(self.ticked_at_s) == 5:
            self.stopping._requested = True
        return failed(initial_state(now_s), frozenset(), now_s)


class SteppedClock:
    """Waiting turns it."""

    def __init__(self) -> None:
        self.now_s = 10.0

    def monotonic_s(self) -> float:
        return self.now_s


class SteppedStop(StopRequest):
    def __init__(self, clock: SteppedClock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout_s: float) -> bool:
        self.clock.now_s += max(0.0, timeout_s)
        return self.is_set()


def test_C8_a_stall_of_a_minute_is_followed_by_one_tick_at_once_and_no_burst() -> None:
    clock = SteppedClock()
    stopping = SteppedStop(clock)
    loop = StallingLoop(clock, stopping)

    control._decide_until(stopping, loop, 1.0, clock, Watchdog())  # type: ignore[arg-type]

    assert loop.ticked_at_s == [10.0, 11.0, 71.0, 72.0, 73.0]


def test_C8_after_a_stall_readings_are_as_old_as_they_are(rig: Rig) -> None:
    rig.run(300)
    rig.voltage_v = 49.9
    rig.tick()
    rig.voltage_v = None
    rig.clock.now_s += 119.0  # the process was suspended

    decision = rig._loop.tick(rig.clock.now_s)

    assert decision.reason is Reason.BATTERY_MONITOR_LOST
