"""The benchmarks of the device: that they measure what they say. How fast anything is, is not tested here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import decoding, drain, processes, years
from tests.bench.drain import Published, busiest_second
from tests.bench.reaction import Distribution, histogram, lateness_s
from tests.bench.table import Measured


def numbers(measured: Measured) -> list[int]:
    assert all(row.ours > 0.0 and (row.other is None or row.other > 0.0) for row in measured.rows)
    return [row.number for row in measured.rows]


@pytest.mark.xdist_group("emulator")
def test_control_and_uplink_run_beside_script_and_bare_client() -> None:
    measured = processes.measure(quick=True)

    assert [row.number for row in measured.rows] == [1, 2, 2, 2]
    assert all(row.other for row in measured.rows)
    assert all(10.0 < row.ours < 100.0 for row in measured.rows if row.unit == "MB")


def test_each_round_opens_the_relays_and_each_decision_is_timed(tmp_path: Path) -> None:
    # As `make bench` does it: the processes of its load are made from the program that was started.
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "reaction", "--quick", "--output", tmp_path],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=Path(__file__).parent.parent.parent,
    )

    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [(row["number"], row["unit"]) for row in rows] == [(3, "ms"), (3, "ms"), (4, "ms")]
    assert all(row["ours"] > 0.0 for row in rows)
    assert {row["other"] for row in rows[:2]} == {750.0}
    assert re.search(r"^idle +3 ", done.stdout, re.MULTILINE)
    assert re.search(
        r"^loaded: flood: .* write lock held [1-9][0-9]* % of the time; .* os.fsync takes", done.stdout, re.MULTILINE
    )
    assert re.search(r"^sleeping loop: lateness of 2 loops", done.stdout, re.MULTILINE)


@pytest.mark.xdist_group("emulator")
def test_every_row_gets_out_within_the_limits() -> None:
    measured = drain.measure(quick=True)

    assert numbers(measured) == [6, 6, 6, 6]
    assert all(row.is_met for row in measured.rows[1:3])
    assert measured.details.count(f"  {drain.QUICK_ROWS}  ") == 4


def test_both_loops_read_every_page() -> None:
    assert numbers(decoding.measure(quick=True)) == [5]


def test_the_made_up_year_has_a_transfer_to_grid_and_back_each_day() -> None:
    measured = years.measure(quick=True)

    assert numbers(measured) == [9, 9]
    assert "14400 rows" in measured.details


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    hundred = Distribution("idle", "", tuple(float(each) for each in reversed(range(1, 101))))

    assert (hundred.percentile_ms(50.0), hundred.percentile_ms(99.0)) == (50.0, 99.0)
    assert Distribution("idle", "", tuple(map(float, range(1, 1001)))).percentile_ms(99.9) == 999.0
    assert Distribution("idle", "", (7.0,)).percentile_ms(99.9) == 7.0


def test_lateness_counts_what_was_due_meanwhile_and_begins_anew_after_a_miss() -> None:
    begun_s = [0.0, 1.25, 2.0, 5.5, 6.5, 7.5]

    assert list(lateness_s(begun_s, 0.0, 100.0)) == [0.25, 0.0, 2.5, 0.0, 0.0]
    assert list(lateness_s(begun_s, 2.0, 7.0)) == [0.0, 2.5, 0.0]


def test_a_histogram_has_a_line_for_each_bin_between_the_first_and_the_last_that_are_filled() -> None:
    lines = histogram([1.5, 4.0, 4.5]).splitlines()

    assert [line.split() for line in lines] == [
        ["1", "to", "2", "ms", "1", "#" * 30],
        ["2", "to", "3", "ms", "0"],
        ["3", "to", "5", "ms", "2", "#" * 60],
    ]


def test_the_busiest_second_may_begin_anywhere() -> None:
    published = [Published(at_s, "t", "x" * 99) for at_s in (0.0, 0.9, 1.2, 1.8, 2.5)]

    assert busiest_second(published) == (3, 300)
