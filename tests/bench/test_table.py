"""What `make bench` prints and writes. How fast anything is, is not tested here."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.bench import __main__ as bench
from tests.bench.table import Goal, Measured, NotMeasuredError, Of, Row, in_digits, table

MOST_28_MB = Goal(Of.OURS, 28.0)
MOST_HALF = Goal(Of.RATIO, 0.5)
LEAST_864 = Goal(Of.OURS, 864.0, is_least=True)


def row(ours: float = 1.0, other: float | None = 2.0, goal: Goal | None = None) -> Row:
    return Row(2, "memory", "MB", ours, other, "a script", goal)


@pytest.mark.parametrize(
    ("measured", "share", "verdict"),
    [
        (row(28.0, goal=MOST_28_MB), 1.0, "met"),
        (row(28.1, goal=MOST_28_MB), 28.1 / 28, "MISSED"),
        (row(1.0, 2.0, MOST_HALF), 1.0, "met"),
        (row(1.1, 2.0, MOST_HALF), 1.1, "MISSED"),
        (row(864.0, goal=LEAST_864), 1.0, "met"),
        (row(432.0, goal=LEAST_864), 2.0, "MISSED"),
        (row(), None, "no goal"),
    ],
    ids=["ours at", "ours above", "ratio at", "ratio above", "least at", "least below", "none"],
)
def test_a_goal_is_met_at_its_bound_and_missed_beyond(measured: Row, share: float | None, verdict: str) -> None:
    assert measured.share_of_goal == pytest.approx(share)
    assert measured.verdict == verdict


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.01234, "0.0123"), (1.0, "1.00"), (9.999, "10.0"), (12.34, "12.3"), (1234.5, "1,234")],
    ids=str,
)
def test_numbers_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert in_digits(value) == text


def test_the_table_ends_with_what_was_missed_and_what_was_not_measured() -> None:
    lines = table([row(30.0, 20.0, MOST_28_MB), row(1.0, 4.0, MOST_HALF), row()], [("drain", "no broker")]).splitlines()

    assert " ".join(lines[2].split()) == "2 memory 30.0 MB 20.0 MB a script 1.50 x at most 28.0 MB MISSED"
    assert lines[3].endswith("0.250 x  at most 0.500 x  met")
    assert lines[4].endswith("no goal")
    assert lines[5:] == [
        "",
        "1 of 2 goals met",
        "MISSED: memory: 30.0 MB, the goal is at most 28.0 MB",
        "NOT MEASURED: drain: no broker",
    ]


def fake(monkeypatch: pytest.MonkeyPatch, name: str, outcome: Measured | Exception) -> None:
    module = ModuleType(name)

    def measure(*, quick: bool) -> Measured:
        assert quick
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    module.measure = measure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"tests.bench.{name}", module)


def test_table_json_and_picture_hold_the_same_rows_and_one_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, "drain", NotMeasuredError("no broker\nits log"))
    fake(monkeypatch, "decoding", Measured((row(3.0, 4.0, MOST_HALF),), "details"))

    status = bench.main(["drain", "decoding", "--quick", "--output", str(tmp_path / "new")])

    out, err = capsys.readouterr()
    assert status == 1
    assert "details" in out
    assert out.endswith("MISSED: memory: 0.750 x, the goal is at most 0.500 x\nNOT MEASURED: drain: no broker\n")
    assert "drain not measured: no broker" in err
    written = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert [(each["ours"], each["other"], each["ratio"], each["is_met"]) for each in written["rows"]] == [
        (3.0, 4.0, 0.75, False)
    ]
    assert written["not_measured"] == {"drain": "no broker"}
    assert (tmp_path / "new" / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_a_benchmark_that_there_is_not_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["speed"])

    assert ended.value.code == 2
    assert "no benchmark is called speed; there are processes, reaction" in capsys.readouterr().err
