"""`weather.json`, as programs of the owner may and may not write it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from device.health import HealthMonitor
from device.weather import BELIEVED_FOR_S, Weather
from tests.device.running import until

NOW_S = 1_700_000_000


@dataclass
class TurnedByHand:
    """A clock."""

    now_s: float = 500.0

    def monotonic_s(self) -> float:
        return self.now_s

    def time_ms(self) -> int:
        return NOW_S * 1000 + round((self.now_s - 500.0) * 1000)

    def synchronised(self) -> bool:
        return True


class Bench:
    """The file, and who looks at it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "weather.json"
        self.clock = TurnedByHand()
        self.weather = Weather(directory, self.clock)

    def cover_of(self, text: str | bytes) -> float | None:
        self.file.write_bytes(text.encode() if isinstance(text, str) else text)
        return self.look()

    def look(self) -> float | None:
        self.weather.look()
        return self.weather.cloud_cover_percent(self.clock.now_s)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        (f'{{"cloud_cover_percent": 40, "time": {NOW_S}}}', 40.0),
        (f'{{"cloud_cover_percent": 0, "time": {NOW_S - 3599}}}', 0.0),
        (f'{{"cloud_cover_percent": 100.0, "time": {NOW_S + 60}, "wind": "west"}}', 100.0),
    ],
    ids=["now", "an_hour_old_soon", "a_minute_ahead"],
)
def test_what_the_file_says_is_the_cloud_cover(bench: Bench, text: str, percent: float) -> None:
    assert bench.cover_of(text) == percent


def test_nothing_is_known_before_the_first_look_and_without_a_file(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    assert bench.weather.cloud_cover_percent(500.0) is None
    assert bench.look() is None
    assert not caplog.records


def test_without_a_time_in_it_the_files_own_counts(bench: Bench) -> None:
    text = '{"cloud_cover_percent": 40}'
    bench.file.write_text(text)

    os.utime(bench.file, (NOW_S - 3599, NOW_S - 3599))
    young = bench.look()
    os.utime(bench.file, (NOW_S - 3600, NOW_S - 3600))
    old = bench.look()

    assert (young, old) == (40.0, None)


def test_it_is_believed_for_an_hour_whether_or_not_anybody_looks_again(bench: Bench) -> None:
    bench.cover_of(f'{{"cloud_cover_percent": 40, "time": {NOW_S - 600}}}')

    until_s = 500.0 + BELIEVED_FOR_S - 600.0
    assert bench.weather.cloud_cover_percent(until_s - 0.1) == 40.0
    assert bench.weather.cloud_cover_percent(until_s) is None


def test_a_file_that_is_taken_away_is_no_longer_believed(bench: Bench) -> None:
    bench.cover_of(f'{{"cloud_cover_percent": 40, "time": {NOW_S}}}')

    bench.file.unlink()

    assert bench.look() is None


NOT_USABLE = {
    "empty": (b"", "not JSON"),
    "half": (b'{"cloud_cover_percent": 4', "not JSON"),
    "not_text": (b"\xff\xfe\x00", "not JSON"),
    "deeply_nested": (b"[" * 1000, "not JSON"),
    "list": (b"[40]", "not an object"),
    "nothing_of_it": (b"{}", "cloud_cover_percent"),
    "text": (b'{"cloud_cover_percent": "40"}', "cloud_cover_percent"),
    "true": (b'{"cloud_cover_percent": true}', "cloud_cover_percent"),
    "null": (b'{"cloud_cover_percent": null}', "cloud_cover_percent"),
    "nan": (b'{"cloud_cover_percent": NaN}', "cloud_cover_percent"),
    "infinite": (b'{"cloud_cover_percent": 1e999}', "cloud_cover_percent"),
    "enormous": (b'{"cloud_cover_percent": 1' + b"0" * 400 + b"}", "cloud_cover_percent"),
    "negative": (b'{"cloud_cover_percent": -0.1}', "0 to 100"),
    "above": (b'{"cloud_cover_percent": 100.1}', "0 to 100"),
    "time_is_text": (b'{"cloud_cover_percent": 40, "time": "12:00"}', "time is none"),
    "time_is_null": (b'{"cloud_cover_percent": 40, "time": null}', "time is none"),
    "old": (b'{"cloud_cover_percent": 40, "time": %d}' % (NOW_S - 3600), "older than 3600 s"),
    "future": (b'{"cloud_cover_percent": 40, "time": %d}' % (NOW_S + 61), "yet to come"),
    "huge": (b'{"cloud_cover_percent": 40}' + b" " * 1_000_000, "more than 1024 bytes"),
}


@pytest.mark.parametrize(("content", "why"), NOT_USABLE.values(), ids=NOT_USABLE)
def test_anything_else_is_told_once_and_then_as_if_it_were_not_there(
    bench: Bench, caplog: pytest.LogCaptureFixture, content: bytes, why: str
) -> None:
    bench.file.write_bytes(b'{"cloud_cover_percent": 40}')
    os.utime(bench.file, (NOW_S, NOW_S))
    assert bench.look() == 40.0

    bench.file.write_bytes(content)
    os.utime(bench.file, (NOW_S, NOW_S))
    looks = [bench.look() for _ in range(3)]

    assert looks == [None] * 3
    (record,) = caplog.records
    assert why in record.getMessage()
    assert str(bench.file) in record.getMessage()


def test_what_is_wrong_in_another_way_or_again_is_told_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for text in ("{", "[]", f'{{"cloud_cover_percent": 40, "time": {NOW_S}}}', "[]"):
        bench.cover_of(text)

    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "it is not JSON",
        "it is not an object",
        "it is not an object",
    ]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_is_no_file_is_not_waited_for(
    bench: Bench, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
) -> None:
    make(bench.file)

    assert bench.look() is None

    assert caplog.messages == [f"{bench.file} is not used: it is no file"]


def test_a_file_that_may_not_be_read_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("device.weather.os.open", refuse)

    assert bench.look() is None
    assert caplog.messages == [f"{bench.file} is not used: Permission denied"]


# In the thread that looks at the Pi's health


def test_it_is_looked_at_again_and_again_until_closing(tmp_path: Path) -> None:
    looked: list[float] = []
    monitor = HealthMonitor(tmp_path, period_s=0.02, root=tmp_path, look_also=lambda: looked.append(time.monotonic()))

    until(lambda: len(looked) >= 3)
    monitor.close()
    monitor._thread.join(5.0)
    count = len(looked)

    assert not monitor._thread.is_alive()
    assert len(looked) == count
