"""The two files that uplink and control tell each other by."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.alerts import Alert
from contract.shadow import Mode, Wish
from device import mailbox
from device.mailbox import LETTER_NAME, REPORT_NAME, Letter, Mailbox, MailError, Post, decode_letter, encode_letter, put

LETTER = Letter(
    knows_wish=True,
    wish=Wish(Mode.GRID, 1_795_460_000.5),
    wish_number=17,
    cloud_time=(1_795_450_000, 5000.5),
    alerts=frozenset({Alert.DUPLICATE_CLIENT_ID}),
    counts={"connections": 3},
)


def until(is_so: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "did not come to pass"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "_POLL_S", 0.01)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Mailbox]:
    box = Mailbox(tmp_path / "run")
    yield box
    box.close()


@pytest.mark.parametrize("letter", [LETTER, Letter(), Letter(knows_wish=True), Letter(wish=Wish(Mode.AUTO, None))])
def test_a_letter_is_read_as_it_was_written(letter: Letter) -> None:
    assert decode_letter(encode_letter(letter)) == letter


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"version": None},
        {"knows_wish": 1},
        {"wish": "grid"},
        {"wish": {"mode": "grid"}},
        {"wish": {"mode": "on", "until": 1}},
        {"wish_number": "1"},
        {"wish_number": None},
        {"cloud_time": 1_795_450_000},
        {"cloud_time": [1_795_450_000]},
        {"cloud_time": [1_795_450_000.5, 5000.5]},
        {"cloud_time": [1_795_450_000, True]},
        {"alerts": None},
        {"alerts": ["boredom"]},
        {"alerts": [1]},
        {"counts": []},
        {"counts": {"connections": "3"}},
        {"counts": {"connections": True}},
        {"counts": {str(number): 1 for number in range(21)}},
    ],
)
def test_another_letter_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(MailError):
        decode_letter(json.dumps(json.loads(encode_letter(LETTER)) | changed))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 50_000])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(MailError):
        decode_letter(text)


def test_a_file_is_news_once_and_again_when_it_was_replaced(tmp_path: Path) -> None:
    post = Post(tmp_path, LETTER_NAME)
    assert post.news() is None

    put(tmp_path, LETTER_NAME, "one")
    assert [post.news(), post.news()] == ["one", None]
    put(tmp_path, LETTER_NAME, "two")
    assert [post.news(), post.news()] == ["two", None]


def test_a_file_that_is_taken_away_is_no_news(tmp_path: Path) -> None:
    put(tmp_path, LETTER_NAME, "one")
    post = Post(tmp_path, LETTER_NAME)
    post.news()

    (tmp_path / LETTER_NAME).unlink()

    assert post.news() is None


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 16385])
def test_H4_a_file_that_is_no_text_or_too_large_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / LETTER_NAME).write_bytes(content)

    with pytest.raises(MailError):
        Post(tmp_path, LETTER_NAME).news()


def test_whoever_reads_while_it_is_written_sees_a_whole_one(tmp_path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        for number in range(300):
            put(tmp_path, LETTER_NAME, str(number) * 5000)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while not done.is_set():
        seen |= {len(set(text)) for text in [_read(tmp_path)] if text}
    thread.join()

    assert seen <= {1, 2, 3}
    assert list(tmp_path.glob(".*")) == []


def _read(directory: Path) -> str:
    try:
        text = (directory / LETTER_NAME).read_text()
    except FileNotFoundError:
        return ""
    number = text[: len(text) // 5000]
    assert text == number * 5000
    return text


def test_before_the_first_letter_nothing_is_known(box: Mailbox) -> None:
    assert box.letter == Letter()


def test_a_letter_arrives(box: Mailbox, tmp_path: Path) -> None:
    put(tmp_path / "run", LETTER_NAME, encode_letter(LETTER))

    until(lambda: box.letter == LETTER)


def test_a_report_is_written_and_only_when_it_is_new(box: Mailbox, tmp_path: Path) -> None:
    path = tmp_path / "run" / REPORT_NAME
    box.report('{"position":"grid"}')
    until(path.exists)
    identity = path.stat().st_ino, path.stat().st_mtime_ns

    box.report('{"position":"grid"}')
    time.sleep(0.1)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == identity
    box.report('{"position":"battery"}')

    until(lambda: path.read_text() == '{"position":"battery"}')


def test_the_last_report_is_written_on_closing(tmp_path: Path) -> None:
    box = Mailbox(tmp_path)
    box.report('{"reason":"stopped"}')
    box.close()

    assert (tmp_path / REPORT_NAME).read_text() == '{"reason":"stopped"}'


def test_a_letter_that_cannot_be_used_is_told_once_and_the_one_before_stands(
    box: Mailbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "run", LETTER_NAME, encode_letter(LETTER))
    until(lambda: box.letter == LETTER)

    put(tmp_path / "run", LETTER_NAME, '{"version":9}')
    until(lambda: "version 9" in caplog.text)
    time.sleep(0.1)

    assert box.letter == LETTER
    assert len(caplog.records) == 1


def test_P5_a_runtime_directory_that_cannot_be_used_is_told_once_and_used_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("a file in its place")
    box = Mailbox(tmp_path / "run")
    box.report("{}")
    until(lambda: bool(caplog.records))
    time.sleep(0.1)
    told = len(caplog.records)
    (tmp_path / "run").unlink()

    until((tmp_path / "run" / REPORT_NAME).exists)
    box.close()

    assert told == 1
    assert "overrides from afar wait" in caplog.text


def test_putting_what_cannot_be_put_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / LETTER_NAME).mkdir()

    with pytest.raises(OSError, match=LETTER_NAME):
        put(tmp_path, LETTER_NAME, "text")

    assert [path.name for path in tmp_path.iterdir()] == [LETTER_NAME]
