"""`solarshed demo` as a person runs it: as a process of its own, told only what the README tells."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from demo.emulator import free_port

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(300)]

SOLARSHED = Path(sys.executable).with_name("solarshed")


@dataclass
class Run:
    """A demo that has been started, and what it printed so far."""

    process: subprocess.Popen[str]
    port: int
    temporary: Path
    printed: str = ""

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.printed:
            line = self.process.stdout.readline()
            assert line, f"the demo ended before it said {text!r}:\n{self.printed}"
            self.printed += line

    def close(self) -> None:
        """Kill what still runs and let go of its output."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> int:
        output, _ = self.process.communicate(timeout=180)
        self.printed += output
        return self.process.returncode

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def left_behind(self) -> list[str]:
        """Processes that still carry the marker this demo's children inherited, and files in its temporary folder."""
        marker = f"TMPDIR={self.temporary}".encode()
        left = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                if marker in environment.read_bytes():
                    left.append(environment.parent.joinpath("cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return left + [str(path) for path in self.temporary.rglob("*")]


def start(temporary: Path, *arguments: str | Path) -> Run:
    port = free_port()
    process = subprocess.Popen(
        [SOLARSHED, "demo", "--port", str(port), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    return Run(process, port, temporary)


@pytest.fixture
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="demo-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any], dict[str, Any]]:
    """A demo of 90 s that has ended by itself: the run, its report, and what the page said while it ran."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "tmp").mkdir()
    run = start(folder / "tmp", "--for", "90", "--report", folder / "report.json")
    try:
        run.read_until("over temperature")
        page = {
            "now": run.get("/api/now"),
            "events": run.get("/api/events?range=15m"),
            "page": run.get("/api/page"),
        }
        run.read_until("override in force")
        page["overrides"] = run.get("/api/overrides")
        run.read_until("override has ended")
        page["events after"] = run.get("/api/events?range=15m")
        run.read_until("PAGER    resolve shed/device_silent")
        page["incidents"] = run.get("/api/incidents")
        status = run.end()
    finally:
        run.close()
    assert status == 0, run.printed
    return run, json.loads((folder / "report.json").read_text()), page


Finished = tuple[Run, dict[str, Any], dict[str, Any]]


def test_the_report_shows_a_transfer_to_grid_and_back_and_one_for_heat(finished: Finished) -> None:
    _, report, _ = finished

    transfers = [(transfer["position"], transfer["reason"]) for transfer in report["transfers"]]

    assert ("grid", "battery_low") in transfers
    assert ("battery", "over_temperature") in transfers
    assert ("battery", "battery_recovered") in transfers


def test_every_sample_taken_is_stored(finished: Finished) -> None:
    _, report, _ = finished

    assert report["telemetry"]["samples"] >= 60
    assert report["telemetry"]["stored"] == report["telemetry"]["samples"]
    assert report["telemetry"]["lost"] == 0


def test_heartbeats_alerts_and_decisions_are_counted(finished: Finished) -> None:
    _, report, _ = finished

    raised = [alert["alert"] for alert in report["alerts"] if alert["action"] == "raise"]

    assert report["heartbeats"] >= 10
    assert report["decisions"] >= 200
    assert raised[:2] == ["battery_low", "over_temperature"]


def test_an_override_by_shadow_was_applied_and_ended_by_itself(finished: Finished) -> None:
    run, report, page = finished

    override = report["overrides"][0]
    asked, applied, ended, until = (
        datetime.fromisoformat(override[moment]) for moment in ("asked", "applied", "ended", "until")
    )
    by_owner = [transfer for transfer in report["transfers"] if transfer["reason"] == "override"]

    assert asked <= applied < ended
    assert timedelta(0) <= ended - until <= timedelta(seconds=3)
    assert override["state"] == "ended"
    assert [transfer["position"] for transfer in by_owner] == [override["mode"]]
    assert f"asks by shadow: {override['mode']} until " in run.printed
    assert "override has ended by itself: its time is over" in run.printed
    assert [one["state"] for one in page["overrides"]["standing"]] == ["active"]
    assert "override_ended" in [event["kind"] for event in page["events after"]["events"]]


def test_heat_and_a_pulled_cable_each_page_once_and_are_resolved(finished: Finished) -> None:
    run, report, page = finished

    for alert in ("over_temperature", "device_silent"):
        events = [event for event in report["pagerduty"] if event["dedup_key"] == f"shed/{alert}"]
        assert [event["action"] for event in events] == ["trigger", "resolve"], alert
        (incident,) = [one for one in page["incidents"]["incidents"] if one["dedup_key"] == f"shed/{alert}"]
        assert incident["resolved_ms"] > incident["opened_ms"]
        assert f"PAGER    trigger shed/{alert}: {incident['summary']}" in run.printed
    assert "the network cable is pulled" in run.printed


def test_what_the_terminal_tells_to_type_is_what_the_owner_types(finished: Finished) -> None:
    run, _, _ = finished

    commands = [line.split() for line in run.printed.splitlines() if line.startswith("  AWS_ENDPOINT_URL=")]

    assert [command[-5:] for command in commands] == [
        ["override", "shed", "grid", "--for", "20s"],
        [*commands[1][-5:-2], "status", "shed"],
    ]
    assert all(str(SOLARSHED) in command for command in commands)


def test_the_terminal_says_what_started_where_the_page_is_and_what_happened(finished: Finished) -> None:
    run, report, _ = finished

    for part in ("Timestream", "AWS", "CDK app", "certificate", "simulated shed", "solarshed control"):
        assert part in run.printed
    assert report["page"] in run.printed
    assert "a day passes in 2 minutes" in run.printed
    for event in (
        "GRID     battery low",
        "BATTERY  over temperature",
        "ALERT    over_temperature",
        "BATTERY  battery rec",
    ):
        assert event in run.printed


def test_the_page_knew_while_it_ran(finished: Finished) -> None:
    _, _, page = finished

    assert page["now"]["sample"]["position"] in ("grid", "battery")
    assert page["events"]["events"]


def test_nothing_is_left_behind(finished: Finished) -> None:
    run, _, _ = finished

    assert run.left_behind() == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", run.port)) != 0


@pytest.mark.parametrize(("said", "then_s"), [("The page:", 2), ("emulated AWS", 1)], ids=["running", "starting"])
def test_ctrl_c_ends_everything_within_five_seconds(temporary: Path, said: str, then_s: float) -> None:
    run = start(temporary)
    try:
        run.read_until(said)
        time.sleep(then_s)
        began = time.monotonic()
        run.process.send_signal(signal.SIGINT)
        status = run.end()
        took_s = time.monotonic() - began
    finally:
        run.close()

    assert status == 0
    assert took_s < 5
    assert run.left_behind() == []


def test_an_occupied_port_is_one_line_with_the_remedy(temporary: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = subprocess.run(
            [SOLARSHED, "demo", "--port", str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
            check=False,
        )

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "--port" in ended.stderr
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("report", ["nowhere/report.json", "."])
def test_a_report_that_cannot_be_written_is_refused_before_anything_starts(temporary: Path, report: str) -> None:
    ended = subprocess.run(
        [SOLARSHED, "demo", "--for", "1", "--report", temporary / report],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert "--report" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_what_a_killed_demo_left_is_removed_by_the_next_one(temporary: Path) -> None:
    killed = start(temporary)
    killed.read_until("device certificate")
    killed.close()
    deadline = time.monotonic() + 10
    while any("solarshed-demo" not in left for left in killed.left_behind()) and time.monotonic() < deadline:
        time.sleep(0.2)  # the children hear of their parent's end from the kernel
    assert [left for left in killed.left_behind() if not left.startswith(str(temporary))] == []

    run = start(temporary, "--for", "1")
    assert run.end() == 0

    assert run.left_behind() == []
