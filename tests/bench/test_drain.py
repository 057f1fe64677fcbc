"""The benchmark itself: that it measures what it says, and how it says it. How fast anything is, is not tested here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import drain
from tests.bench.drain import NotMeasuredError, Published, Run, busiest_second, verdict

ROWS = 300
RUNS = ["paced", "bare", "unpaced", "bare unpaced"]


@pytest.mark.xdist_group("emulator")
def test_every_row_gets_out_within_the_limits_and_the_report_has_its_form(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.drain", "--rows", str(ROWS), "--json", tmp_path / "numbers.json"],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=Path(__file__).parents[2],
    )

    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert [run["name"] for run in numbers["runs"]] == RUNS
    assert {run["rows"] for run in numbers["runs"]} == {ROWS}
    assert {run["messages"] for run in numbers["runs"]} == {ROWS // 100}
    assert all(run["duration_s"] > 0.0 for run in numbers["runs"])
    assert numbers["busiest_second"]["publishes"] <= 100
    assert numbers["busiest_second"]["bytes"] <= 512_000
    rows = re.findall(r"^([a-z ]+?) +300 +3 +([0-9]+) ", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == RUNS
    assert len({size for _, size in rows}) == 1
    assert re.search(
        r"^paced / bare SDK: [0-9.]+ of its rows/s; both without limits: [0-9.]+$", done.stdout, re.MULTILINE
    )
    assert done.stdout.splitlines()[-1] == "not judged: three days (4320 rows) in at most 5 s; these were 300"


@pytest.mark.parametrize(("duration_s", "words"), [(5.0, "goal met"), (5.01, "goal MISSED")])
def test_the_goal_is_met_at_its_bound_and_missed_above(duration_s: float, words: str) -> None:
    assert verdict(Run("paced", 4320, 44, 2_000_000, duration_s)).startswith(f"{words}:")


def test_the_busiest_second_may_begin_anywhere() -> None:
    published = [Published(at_s, "t", "x" * 99) for at_s in (0.0, 0.9, 1.2, 1.8, 2.5)]

    assert busiest_second(published) == (3, 300)


def test_what_could_not_be_measured_is_a_failure_that_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stays(rows: int) -> None:
        raise NotMeasuredError("paced: 7 of 9 rows did not get out")

    monkeypatch.setattr(drain, "measure", stays)

    assert drain.main(["--rows", "9"]) == 1
    assert capsys.readouterr().err == "not measured: paced: 7 of 9 rows did not get out\n"
