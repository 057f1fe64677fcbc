"""What a device says in a month: the count against the real parts that it follows by their rule."""

import json
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from cloud.telemetry.points import Point
from device import control, settings, storage
from device.journal import Entry
from device.outbox import Outbox, Stream
from device.storage import Storage
from device.uplink.delivery import Delivery
from device.uplink.link import Timing
from device.uplink.pace import Pace
from infra.costs import month
from infra.costs.month import DeviceMonth, Sent, count_days, count_month, pieces, record_bytes
from infra.costs.shed import DAY_S

DEFAULTS = settings.parse("")
# The evening before the night in which the battery gets low.
DULL_EVENING_S = 1.75 * DAY_S


def counts(counted: DeviceMonth) -> dict[str, int]:
    values = {f.name: getattr(counted, f.name) for f in fields(counted)}
    return {name: value.count if isinstance(value, Sent) else value for name, value in values.items()}


@pytest.fixture(scope="module")
def counted() -> DeviceMonth:
    return count_month(DEFAULTS)


def test_a_month_is_full_of_minutes_and_of_beats(counted: DeviceMonth) -> None:
    assert counted.connected_minutes == 30 * 24 * 60
    assert counted.heartbeats.count == 30 * 24 * 12
    assert 0 <= counted.samples - 30 * 24 * 60 <= 60
    assert counted.connections == 30


def test_the_battery_gets_low_in_every_third_night_and_is_told_once_each_way(counted: DeviceMonth) -> None:
    assert counted.alerts.count == 2 * 10
    assert counted.samples_changed >= 2 * 10


def test_five_routine_samples_make_a_message_that_is_metered_as_one(counted: DeviceMonth) -> None:
    assert counted.telemetry.count < counted.samples / 4.9
    assert counted.telemetry.pieces == counted.telemetry.count
    assert counted.queue_pieces == counted.telemetry.count


def test_a_sample_is_a_decision_three_devices_and_the_pi(counted: DeviceMonth) -> None:
    assert counted.points == 5 * counted.samples


def test_the_shadow_is_told_once_a_minute_and_asked_once_a_connection(counted: DeviceMonth) -> None:
    assert 0 <= counted.shadow_updates.count - 30 * 24 * 60 <= 60
    assert counted.shadow_gets.count == counted.connections
    assert counted.shadow_answers.count == counted.shadow_updates.count + counted.shadow_gets.count
    assert counted.shadow_operations == counted.shadow_answers.count


def test_I7_a_decision_every_second_says_no_more_than_one_every_30_seconds() -> None:
    coarse = counts(count_days(DEFAULTS, 0.5, begin_s=DULL_EVENING_S))

    fine = counts(count_days(DEFAULTS, 0.5, step_s=1.0, begin_s=DULL_EVENING_S))

    assert coarse["alerts"] == fine["alerts"] == 1
    for name in ("samples", "samples_changed", "telemetry", "heartbeats", "shadow_updates", "shadow_answers"):
        assert abs(coarse[name] - fine[name]) <= 1, name
    assert coarse["write_pieces"] == pytest.approx(fine["write_pieces"], rel=0.01)


def test_the_times_are_those_of_the_code() -> None:
    assert Timing().keep_alive_s == month.KEEP_ALIVE_S
    assert month.REPORT_EVERY_S == control.REPORT_EVERY_S
    assert month.MOST_SAMPLES_WAITING == storage._MOST_IN_BATCH


@pytest.mark.parametrize(("size", "expected"), [(0, 1), (1, 1), (5120, 1), (5121, 2), (10240, 2), (10241, 3)])
def test_a_piece_that_is_begun_counts(size: int, expected: int) -> None:
    assert pieces(size, 5120) == expected


def test_a_record_is_as_large_as_the_guide_of_timestream_says() -> None:
    point = Point("shed", "mx2", "mx", 1, 1, {"volts": 54.0, "aux_on": True, "mode": "bulk", "sequence": 7})

    dimensions = len("site" + "home" + "thing" + "shed" + "source" + "mx2")
    values = len("volts") + 8 + len("aux_on") + 1 + len("mode") + len("bulk") + len("sequence") + 8
    assert record_bytes(point) == 8 + dimensions + len("mx") + values


# The rule that the count follows, by storage and delivery themselves


class Link:
    """Takes what is published."""

    connected = True

    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []

    def publish(self, topic: str, payload: str, token: object) -> None:
        self.published.append((topic.rpartition("/")[2], payload))


def until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


def sample(number: int) -> str:
    return json.dumps({"time_ms": 60_000 * number, "measures": {"battery_voltage_v": 51.0}})


def sent_by(entries: list[Entry], directory: Path) -> list[tuple[str, int]]:
    """What real storage and real delivery make of these entries: channel, and how many samples."""
    directory.mkdir(exist_ok=True)
    (directory / "run").mkdir()
    keeper = Storage(directory, directory / "run", write_interval_s=DEFAULTS.control.write_interval_s)
    try:
        for entry in entries:
            keeper.put(entry)
        until(lambda: not keeper._samples and not keeper._alerts and not keeper._heartbeat and not keeper._writing)
    finally:
        keeper.close()
    link = Link()
    delivery = Delivery("shed", [directory], link, Pace())
    delivery.send(time.monotonic())
    delivery.close()
    return [
        (channel, len(json.loads(payload)["samples"]) if channel == "telemetry" else 1)
        for channel, payload in link.published
    ]


def test_samples_wait_for_the_heartbeat_and_are_one_message(tmp_path: Path) -> None:
    routine = [Entry(sample(number), None, (), is_routine=True) for number in range(1, 5)]
    beat = json.dumps({"time_ms": time.time_ns() // 10**6})

    assert sent_by([*routine, Entry(sample(5), beat, (), is_routine=True)], tmp_path) == [
        ("heartbeat", 1),
        ("telemetry", 5),
    ]


def test_a_change_takes_the_samples_along_that_wait(tmp_path: Path) -> None:
    routine = [Entry(sample(number), None, (), is_routine=True) for number in range(1, 3)]
    alert = json.dumps({"alert": "battery_low"})

    assert sent_by([*routine, Entry(sample(3), None, (alert,))], tmp_path) == [("alert", 1), ("telemetry", 3)]


def test_routine_samples_alone_are_not_written(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    keeper = Storage(tmp_path, tmp_path / "run", write_interval_s=DEFAULTS.control.write_interval_s)
    try:
        keeper.put(Entry(sample(1), None, (), is_routine=True))
        time.sleep(0.3)

        outbox = Outbox(tmp_path, is_appender=True)
        assert outbox.waiting(Stream.TELEMETRY) == 0
        outbox.close()
    finally:
        keeper.close()
