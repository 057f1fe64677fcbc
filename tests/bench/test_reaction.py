"""The benchmark itself: that it measures what it says, and how it says it. How fast anything is, is not tested here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import reaction
from tests.bench.reaction import Distribution, NotMeasuredError, histogram, verdict

ROUNDS = 3


def distribution(*reactions_ms: float) -> Distribution:
    return Distribution("idle", "", reactions_ms)


def test_each_round_opens_the_relays_and_the_report_has_its_form(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.reaction", "--rounds", str(ROUNDS), "--json", tmp_path / "numbers.json"],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=Path(__file__).parent.parent.parent,
    )

    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert [each["condition"] for each in numbers["conditions"]] == ["idle", "loaded"]
    for each in numbers["conditions"]:
        assert len(each["reactions_ms"]) == each["rounds"] == ROUNDS
        assert 0.0 < each["p50_ms"] <= each["p99_ms"] <= each["max_ms"] == max(each["reactions_ms"])
        assert f"{each['condition']}: round {ROUNDS} of {ROUNDS}" in done.stderr
    assert (numbers["goal_ms"], numbers["sensor_limit_ms"]) == (50.0, 750.0)
    rows = re.findall(
        r"^(idle|loaded) +3 +([0-9.]+) +([0-9.]+) +([0-9.]+) +50 +([0-9.]+) +750$", done.stdout, re.MULTILINE
    )
    assert [row[0] for row in rows] == ["idle", "loaded"]
    assert [float(row[2]) for row in rows] == [round(each["p99_ms"], 2) for each in numbers["conditions"]]
    bars = [int(count) for count in re.findall(r"^ +[0-9.]+ to +[0-9.]+ ms +([0-9]+)", done.stdout, re.MULTILINE)]
    assert sum(bars) == 2 * ROUNDS
    assert re.search(
        r"^loaded: flood: .* write lock held [1-9][0-9]* % of the time; .* os.fsync takes", done.stdout, re.MULTILINE
    )
    assert done.stdout.splitlines()[-1].startswith("goal met:" if numbers["is_goal_met"] else "goal MISSED:")


def test_a_percentile_is_the_smallest_reaction_that_so_many_do_not_exceed() -> None:
    hundred = distribution(*(float(each) for each in reversed(range(1, 101))))

    assert hundred.percentile_ms(50.0) == 50.0
    assert hundred.percentile_ms(99.0) == 99.0
    assert distribution(7.0).percentile_ms(99.0) == 7.0


@pytest.mark.parametrize(("slowest_ms", "words"), [(50.0, "goal met"), (50.1, "goal MISSED")])
def test_the_goal_is_met_at_its_bound_and_missed_above(slowest_ms: float, words: str) -> None:
    assert verdict([distribution(1.0), distribution(1.0, slowest_ms)]).startswith(f"{words}:")


def test_a_histogram_has_a_line_for_each_bin_between_the_first_and_the_last_that_are_filled() -> None:
    lines = histogram([1.5, 4.0, 4.5]).splitlines()

    assert [line.split() for line in lines] == [
        ["1", "to", "2", "ms", "1", "#" * 30],
        ["2", "to", "3", "ms", "0"],
        ["3", "to", "5", "ms", "2", "#" * 60],
    ]


def test_what_could_not_be_measured_is_a_failure_that_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never_opens(rounds: int, tick_s: float) -> Distribution:
        raise NotMeasuredError("idle, round 1: the relays did not open")

    monkeypatch.setattr(reaction, "idle", never_opens)

    assert reaction.main(["--rounds", "1"]) == 1
    assert capsys.readouterr().err == "not measured: idle, round 1: the relays did not open\n"
