"""What the chart, the cost and the first point of `make bench` say. How much or how fast anything is, is not tested."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from cloud.telemetry.points import Point
from demo.emulator import free_port
from demo.processes import DemoError
from device import settings
from infra.costs.calls import metered
from infra.costs.month import DeviceMonth, Sent, count_days
from infra.costs.sheet import column
from tests.bench import cost, first_point
from tests.bench.chart import write_chart
from tests.bench.cost import Direct, count_direct, flat, metered_directly, usd
from tests.bench.first_point import Started, clone_with_changes, newcomers, start
from tests.bench.table import Goal, NotMeasuredError, Of, Row

MISSED_RGB = (0xD1, 0x55, 0x2C)
TIME_MS = 1_793_515_260_000
SAMPLE = (
    Point("shed-0001", "control", "decision", TIME_MS, 7, {"position": "grid", "soc_percent": 48.0, "sequence": 7}),
    Point("shed-0001", "fx1", "fx", TIME_MS, 7, {"aux_on": False, "boot_id": "b", "buy_current_a": 2.5}),
)


def row(ours: float, *, what: str = "waits", goal: Goal | None = Goal(Of.OURS, 10.0)) -> Row:  # noqa: B008 - frozen
    return Row(3, what, "s", ours, 4.0, "the peer", goal)


def pixels(path: Path) -> NDArray[numpy.uint8]:
    return numpy.asarray(numpy.rint(255 * imread(path)[:, :, :3]), dtype=numpy.uint8)


# The chart


def test_a_chart_is_1200_pixels_wide_and_grows_with_its_rows(tmp_path: Path) -> None:
    write_chart(tmp_path / "one.png", [row(5.0)], "today")
    write_chart(tmp_path / "nine.png", [row(5.0)] * 9, "today")

    one, nine = pixels(tmp_path / "one.png"), pixels(tmp_path / "nine.png")

    assert one.shape[1] == nine.shape[1] == 1200
    assert nine.shape[0] - one.shape[0] == pytest.approx(8 * 44, abs=2)


@pytest.mark.parametrize(("ours", "is_missed"), [(10.0, False), (10.1, True), (0.0, False), (float("inf"), True)])
def test_only_a_missed_goal_has_the_colour_of_missed_ones(ours: float, is_missed: bool, tmp_path: Path) -> None:
    write_chart(tmp_path / "c.png", [row(ours)], "today")

    assert bool((pixels(tmp_path / "c.png") == MISSED_RGB).all(axis=2).any()) is is_missed


def test_rows_without_a_goal_stand_below_and_alone_they_are_all_there_is(tmp_path: Path) -> None:
    write_chart(tmp_path / "with.png", [row(5.0), row(7.0, goal=None)], "today")
    write_chart(tmp_path / "only.png", [row(7.0, what="no formula: $^$", goal=None)], "today")
    write_chart(tmp_path / "without.png", [row(5.0)], "today")

    heights = [pixels(tmp_path / f"{name}.png").shape[0] for name in ("only", "without", "with")]

    assert heights == sorted(set(heights))


# The cost


def test_each_value_is_a_record_with_the_time_and_the_dimensions_and_a_message_is_one_call() -> None:
    direct = Direct()

    direct.add(SAMPLE)

    payload = (
        '{"time_ms":1793515260000,"position":"grid","soc_percent":48.0,"fx1_aux_on":false,"fx1_buy_current_a":2.5}'
    )
    dimensions = len("site") + len("home") + len("thing") + len("shed-0001")
    named = len("position") + len("soc_percent") + len("fx1_aux_on") + len("fx1_buy_current_a")
    values = len("grid") + 8 + 1 + 8
    assert direct == Direct(
        telemetry=Sent(1, len("dt/solarshed/shed-0001/telemetry") + len(payload), 1),
        records=4,
        records_bytes=4 * (8 + dimensions) + named + values,
        write_pieces=1,
    )
    assert direct.times(3).records_bytes == 3 * direct.records_bytes


def test_a_call_is_counted_for_each_kilobyte_that_it_begins_with_time_and_dimensions_once() -> None:
    in_common = 8 + len("site") + len("home") + len("thing") + len("shed-0001")
    pieces = []
    for length in (1024 - in_common - 1, 1024 - in_common):
        direct = Direct()
        direct.add([replace(SAMPLE[0], values={"ab": "x" * (length - 1)})])
        pieces.append(direct.write_pieces)

    assert pieces == [1, 2]


def test_a_hundred_values_are_written_by_an_action_and_one_more_is_not() -> None:
    def sample(count: int) -> list[Point]:
        return [replace(SAMPLE[0], values={f"value_{number}": 1.0 for number in range(count)})]

    Direct().add(sample(100))
    with pytest.raises(NotMeasuredError, match="100 values, not 101"):
        Direct().add(sample(101))


def test_what_serves_only_our_delivery_is_not_counted_against_the_other_one() -> None:
    assert flat(SAMPLE) == {"position": "grid", "soc_percent": 48.0, "fx1_aux_on": False, "fx1_buy_current_a": 2.5}


def test_the_other_way_changes_what_telemetry_costs_and_nothing_else() -> None:
    month = count_days(settings.parse(""), 0.25)
    direct = Direct(Sent(100, 5000, 100), 400, 40_000, 100)

    ours, other = column(month, 100).usd, usd(metered_directly(month, direct, 100), 100)

    assert ours == pytest.approx(usd(metered(month, 100), 100))
    assert {name for name in ours if abs(ours[name] - other[name]) > 1e-9} == {
        "IoT Core, connection and messages",
        "IoT Core, rules",
        "SQS",
        "Lambda",
        "CloudWatch, logs",
        "Timestream, writes",
        "Timestream, memory store",
        "Timestream, magnetic store",
    }
    assert all(value >= 0.0 for value in other.values())


def test_telemetry_alone_is_what_is_left_of_a_sheet_without_it() -> None:
    ours = DeviceMonth(telemetry=Sent(70, 800, 90), points_bytes=100, write_pieces=110, queue_pieces=120)
    nothing = usd(metered_directly(ours, Direct(), 1), 1)
    said = usd(metered_directly(ours, Direct(Sent(10, 100, 20), 30, 3_000_000_000, 50), 1), 1)

    more = {name: value - nothing[name] for name, value in said.items()}

    # A run every 5 minutes and two alerts, three requests each; five pollers of one queue, every 20 s.
    assert nothing["SQS"] == pytest.approx((3 * (30 * 24 * 12 + 2) + 5 * 30 * 24 * 60 * 3) * 0.4e-6)
    # 3 GB, of which 7 days of 30 are in the memory store, and 12 months in the magnetic one.
    assert {name: value for name, value in more.items() if value} == pytest.approx(
        {
            "IoT Core, connection and messages": 20 * 1.0e-6,
            "IoT Core, rules": 20 * (0.15e-6 + 0.15e-6),
            "Timestream, writes": 50 * 0.5e-6,
            "Timestream, memory store": 3.0 * 7 / 30 * 720 * 0.036,
            "Timestream, magnetic store": 3.0 * 12 * 0.03,
        }
    )


def test_a_minute_with_two_samples_has_one_message() -> None:
    assert count_direct(settings.parse("[control]\nsample_interval_s = 30\n"), 1).telemetry.count == 24 * 60


def test_a_month_has_a_message_a_minute_and_the_rows_and_their_arithmetic_are_told() -> None:
    measured = cost.measure(quick=True)

    assert [(each.number, each.unit) for each in measured.rows] == [(11, "USD")] * 4
    assert all(each.other for each in measured.rows)
    assert "other: 43,200 messages of " in measured.details
    assert "Timestream, memory store" in measured.details
    assert "IoT Core, shadow" not in measured.details


# The first point

PAGE = """
import http.server, json, signal, subprocess, sys, time
shown = json.loads(sys.argv[2])
sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
def end(*_):
    sleeper.kill()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("Solarshed", "Starting:", "    1.5 s  emulated AWS   up", "    6.0 s  CDK app   deployed into it", sep="\\n")
print("sleeper", sleeper.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = {"id": "power", "kind": "lines"}, {"id": "now", "kind": "stat"}
        page = {"dashboards": [{"rows": [{"panels": known[::-1]}]}]}
        body = json.dumps(page if self.path == "/api/page" else shown).encode()
        is_known = self.path in ("/api/page", "/api/panel/power?range=5m&points=600")
        self.send_response(200 if is_known else 404)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def shown(value: float | None, *, time_ms: int = 1 << 43, is_limit: bool = False) -> str:
    known = "null" if value is None else str(value)
    return (
        f'{{"times": [{time_ms}], "series": [{{"is_limit": {str(is_limit).lower()}, "values": [{known}]}},'
        f' {{"is_limit": true, "values": [1.0]}}]}}'
    )


def run(temporary: Path, panel: str, timeout_s: float) -> Started:
    port = free_port()
    return start([sys.executable, "-c", PAGE, str(port), panel], port, temporary, os.environ, timeout_s)


def has_ended(temporary: Path) -> bool:
    """Whether what PAGE has started has; the kernel may take a moment to it."""
    pid = int((temporary / "demo.log").read_text().rpartition("sleeper ")[2])
    deadline_s = time.monotonic() + 10.0
    while (status := Path(f"/proc/{pid}/stat")).exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def test_the_first_value_ends_the_run_and_all_that_it_has_started(tmp_path: Path) -> None:
    started = run(tmp_path, shown(12.5), 20.0)

    assert 0.0 < started.setting_up_s <= started.total_s < 20.0
    assert started.steps == ((1.5, "emulated AWS   up"), (6.0, "CDK app   deployed into it"))
    assert started.deploying_s == 4.5
    assert has_ended(tmp_path)


@pytest.mark.parametrize(
    "panel",
    [shown(None), shown(12.5, time_ms=1), shown(12.5, is_limit=True)],
    ids=["a gap", "of another run", "a limit only"],
)
def test_what_is_no_value_of_this_run_is_no_point(panel: str, tmp_path: Path) -> None:
    with pytest.raises(NotMeasuredError, match="no point within 1 s"):
        run(tmp_path, panel, 1.0)

    assert has_ended(tmp_path)


def test_a_demo_that_ends_by_itself_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="ended with status 3"):
        start([sys.executable, "-c", "raise SystemExit(3)"], free_port(), tmp_path, os.environ, 20.0)


def test_without_a_cold_start_the_warm_one_counts_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network() -> Started:
        raise DemoError("the demo ended with status 2:\n...\nERROR: no way to the registry\nmake: *** Error 1")

    monkeypatch.setattr(first_point, "_warm", lambda: Started(20.0, 0.5, ((1.0, "a"), (13.5, "deployed into it"))))
    monkeypatch.setattr(first_point, "_cold", no_network)

    measured = first_point.measure(quick=False)

    assert [(each.ours, each.other) for each in measured.rows] == [(20.0, 12.5)]
    assert measured.not_measured == ("cold start: the demo ended with status 2: ERROR: no way to the registry")
    assert first_point.measure(quick=True).not_measured == ""


def test_a_clone_has_what_is_changed_and_new_and_nothing_that_git_ignores(tmp_path: Path) -> None:
    root, clone = tmp_path / "root", tmp_path / "clone"
    root.mkdir()

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)

    git("init", "-q")
    for name, text in ((".gitignore", "*.log\n"), ("kept", "1"), ("changed", "1"), ("gone", "1")):
        (root / name).write_text(text)
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (root / "changed").write_text("2")
    (root / "gone").unlink()
    (root / "folder").mkdir()
    (root / "folder" / "new").write_text("3")
    (root / "made.log").write_text("4")
    (root / "staged").write_text("5")
    git("add", "staged")

    clone_with_changes(root, clone)

    files = [path for path in clone.rglob("*") if path.is_file() and ".git" not in path.relative_to(clone).parts]
    assert {path.relative_to(clone).as_posix(): path.read_text() for path in files} == {
        ".gitignore": "*.log\n",
        "kept": "1",
        "changed": "2",
        "folder/new": "3",
        "staged": "5",
    }


def test_a_newcomer_has_nothing_of_what_make_bench_has_set() -> None:
    ours = str(Path(sys.executable).parent)

    kept = newcomers({"PATH": f"{ours}{os.pathsep}/usr/bin", "MAKEFLAGS": "k", "PIP_CACHE_DIR": "x", "HOME": "/h"})

    assert kept == {"PATH": "/usr/bin", "HOME": "/h"}
