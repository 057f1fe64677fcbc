"""`solarshed demo`: starts everything, tells what happens, ends everything."""

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contract.store import DEFAULT_SITE
from dashboard.look import Look
from demo import report as reports
from demo.cable import Cable
from demo.deployment import create_table, deploy, put_routing_key
from demo.emulator import REGION, Emulator, client
from demo.narrator import Narrator
from demo.observer import Observer
from demo.owner_wish import EmulatedAccount, OwnerStandIn
from demo.pagerduty import PagerDuty
from demo.pagerduty import serve as serve_pagerduty
from demo.processes import DemoError, Process, stop_all
from demo.provisioning import provision
from demo.schedules import ShortenedSchedules
from demo.settings import (
    BLIND_AFTER_S,
    CALM_AFTER_S,
    NOTE,
    SHORTENED,
    SILENT_AFTER_S,
    SPEED,
    THING,
    write_settings,
)
from demo.timestream import scheduled
from demo.timestream.server import Endpoint
from demo.timestream.server import serve as serve_timestream
from device.stopping import StopRequest
from device.weather import FILE_NAME as WEATHER_FILE_NAME
from page.incidents import Incident
from page.overrides import ReadShadow, ShadowOverrides, reader
from page.server import Page, serve
from page.timestream import TimestreamSource
from page.wishes import NoAnswerError

LOOK = Look()
_PREFIX = "solarshed-demo-"
_SHED_READY_TIMEOUT_S = 20.0
_CONTROL_READY_TIMEOUT_S = 20.0
# For the samples on their way when the demo ends by itself. Ctrl-C does not wait for them.
_DRAIN_TIMEOUT_S = 20.0
# Everything must be gone within 5 s of Ctrl-C.
_STOP_GRACE_S = 2.5


def main(*, seconds: float | None, report: Path | None, port: int) -> int:
    """Run until `seconds` have passed, or Ctrl-C, and write the report if one is asked for.

    Raises:
        DemoError, OSError: a part did not start or ended by itself; everything else has been ended by then.
    """
    stopping = StopRequest(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if report is not None and (report.is_dir() or not report.resolve().parent.is_dir()):
        raise DemoError(f"--report {report} cannot be written; name a file in a folder that is there")

    _remove_what_killed_demos_left()
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    demo = Demo(directory, port)
    try:
        demo.start(stopping)
        demo.watch(stopping, seconds)
        if report is not None:
            reports.write(report, demo.end_and_report(wait=not stopping.is_set()))
            demo.narrator.say(f"report written to {report}")
    finally:
        _say_if_anyone_listens("stopping everything ...")
        demo.stop()
        shutil.rmtree(directory, ignore_errors=True)
        _say_if_anyone_listens("stopped.")
    return 0


def _remove_what_killed_demos_left() -> None:
    """A demo that was killed could not tidy up; the process id in a folder's name says whether its demo still runs."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _say_if_anyone_listens(text: str) -> None:
    """Print, even where the terminal is gone: what comes after must happen all the same."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _not_yet() -> bytes | None:
    raise NoAnswerError("The demo is still starting.")


def _how_to_be_the_owner(url: str, command: Path) -> str:
    environment = (
        f"AWS_ENDPOINT_URL={url} AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION={REGION}"
    )
    return (
        "Be the owner, from another shell:\n"
        f"  {environment} {command} override {THING} grid --for 20s\n"
        f"  {environment} {command} status {THING}\n"
    )


class Demo:
    """All the parts. What has been started is stopped by `stop`, whatever happened in between."""

    def __init__(self, directory: Path, port: int) -> None:
        self.narrator = Narrator()
        self._directory = directory
        self._state = directory / "state"
        self._port = port
        self._processes: list[Process] = []
        self._emulator: Emulator | None = None
        self._timestream: Endpoint | None = None
        self._pagerduty: PagerDuty | None = None
        self._paged = 0
        self._observer: Observer | None = None
        self._schedules: ShortenedSchedules | None = None
        self._cable: Cable | None = None
        self._page: Page | None = None
        self._read_shadow: ReadShadow = _not_yet
        self._overrides = ShadowOverrides(lambda: self._read_shadow())
        self._owner: OwnerStandIn | None = None

    def start(self, stopping: StopRequest) -> None:
        """Start every part in turn. Returns early when `stopping` is set."""
        for step in self._steps(stopping):
            if stopping.is_set():
                return
            print(f"  {step}", flush=True)

    def _steps(self, stopping: StopRequest) -> Iterator[str]:
        """Each step yields what it has started, once that works."""
        began = time.monotonic()

        def done(text: str) -> str:
            return f"{time.monotonic() - began:5.1f} s  {text}"

        print(f"Solarshed on one machine. {NOTE}\nTimers: {SHORTENED}.\nStarting:", flush=True)
        self._timestream = serve_timestream()
        # The page comes first because its port is the one that may be taken.
        self._page = serve(
            THING,
            TimestreamSource(self._client("timestream-query"), THING, DEFAULT_SITE, LOOK),
            look=LOOK,
            port=self._port,
            note=NOTE,
            overrides=self._overrides,
            incidents=self._incidents,
        )
        yield done(f"stand-in for Timestream   {self._timestream.url}")

        self._pagerduty = serve_pagerduty()
        yield done(f"stand-in for PagerDuty    {self._pagerduty.url}")

        self._emulator = Emulator(
            self._directory,
            {
                "AWS_ENDPOINT_URL_TIMESTREAM_WRITE": self._timestream.url,
                "SOLARSHED_PAGERDUTY_URL": self._pagerduty.url,
                "SOLARSHED_CALM_AFTER_S": str(CALM_AFTER_S),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        self._emulator.start()
        yield done(f"emulated AWS              {self._emulator.url}, MQTT on port {self._emulator.mqtt_port}")

        settings = {"silent_after_s": SILENT_AFTER_S, "blind_after_s": BLIND_AFTER_S, "dashboard_url": self._page.url}
        outputs = deploy(self._emulator, self._directory, stopping.is_set, settings)
        if outputs is None:
            return
        put_routing_key(self._emulator, outputs, secrets.token_hex(16))
        create_table(self._client("timestream-write"), self._directory)
        yield done("this project's CDK app    deployed into it")

        uplink = provision(self._emulator, THING, outputs["DevicePolicyName"], self._directory)
        self._observer = Observer(self._emulator, self._directory, self.narrator.hear)
        self._observer.start()
        yield done("device certificate        signed; stand-in for the rules' S3 action listens")

        shed = self._directory / "shed"
        shed.mkdir()
        config = self._directory / "config.toml"
        runtime = self._state / "run"
        write_settings(config, shed, self._state, runtime, uplink)
        weather = runtime / WEATHER_FILE_NAME
        simulator = self._start(
            "the simulated shed",
            [sys.executable, "-m", "demo.shed", "--directory", shed, "--speed", str(SPEED), "--weather-file", weather],
        )
        simulator.wait_for_line("ready", _SHED_READY_TIMEOUT_S)
        yield done("simulated shed            serial line, thermometer and pins")

        command = Path(sys.executable).with_name("solarshed")
        pins = {"GPIOZERO_PIN_FACTORY": "solarshed-demo", "SOLARSHED_DEMO_PINS": str(shed / "pins")}
        control = self._start("solarshed control", [command, "control", "--config", config], pins)
        control.wait_for_line("deciding", _CONTROL_READY_TIMEOUT_S)
        self._cable = Cable(
            lambda: self._run("solarshed uplink", [command, "uplink", "--config", config]), self.narrator.say
        )
        yield done("solarshed control, solarshed uplink")
        self._schedules = ShortenedSchedules(
            self._emulator, self._roll_up_by(scheduled.find(self._directory / "cdk.out"))
        )
        self._schedules.start()
        account = EmulatedAccount(self._emulator.url)
        self._read_shadow = reader(account, THING)
        self._owner = OwnerStandIn(
            account, THING, self._overrides, lambda: self.narrator.newest_sample, self.narrator.say
        )
        self._owner.start()
        print(f"\nThe page: {self._page.url}?range=5m    (Ctrl-C ends everything)\n", flush=True)
        print(_how_to_be_the_owner(self._emulator.url, command), flush=True)

    def watch(self, stopping: StopRequest, seconds: float | None) -> None:
        """Return after `seconds`, or when `stopping` is set.

        Raises:
            DemoError: a part has ended by itself.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while not stopping.wait(0.2):
            for process in self._running():
                process.check()
            for part in (self._owner, self._schedules):
                if part is not None:
                    part.check()
            if self._cable is not None:
                self._cable.look()
            self._tell_of_pages()
            if deadline is not None and time.monotonic() >= deadline:
                return

    def end_and_report(self, *, wait: bool) -> Any:  # noqa: ANN401 - JSON
        """Stop deciding, wait until all that was sampled is stored (or not), and say what happened."""
        if (
            self._page is None
            or self._observer is None
            or self._owner is None
            or self._cable is None
            or self._pagerduty is None
        ):
            raise DemoError("stopped before everything had started; there is nothing to report")
        self._owner.stop()
        # What has been sampled must get out.
        self._cable.put_back()
        by_name = {process.name: process for process in self._processes}
        stop_all([by_name["solarshed control"]], _STOP_GRACE_S)
        query = self._client("timestream-query")
        reports.wait_until_stored(query, THING, self._state, _DRAIN_TIMEOUT_S if wait else 1.0)
        with contextlib.suppress(NoAnswerError):
            self._overrides.look()
        return reports.report(
            query,
            THING,
            self._state,
            self.narrator,
            self._observer.heartbeats,
            self._overrides.known(),
            self._pagerduty.events,
            self._page.url,
        )

    def stop(self) -> None:
        """End everything that was started, in at most 5 s. Harmless when repeated."""
        for thread in (self._schedules, self._owner, self._observer):
            if thread is not None:
                thread.stop()
        stop_all(list(reversed(self._running())), _STOP_GRACE_S)
        for server in (self._page, self._timestream, self._pagerduty):
            if server is not None:
                server.close()

    def _incidents(self) -> list[Incident]:
        """What the page shows of PagerDuty's stand-in."""
        made = [] if self._pagerduty is None else self._pagerduty.incidents
        return [
            Incident(
                one.dedup_key,
                one.severity,
                one.summary,
                round(one.opened_s * 1000),
                None if one.resolved_s is None else round(one.resolved_s * 1000),
            )
            for one in made
        ]

    def _roll_up_by(self, properties: scheduled.Properties) -> Callable[[], int]:
        """What fills the table of hours."""
        query, write = self._client("timestream-query"), self._client("timestream-write")
        return lambda: scheduled.run(properties, query, write, time.time_ns() // 10**6)

    def _tell_of_pages(self) -> None:
        """In the terminal, what PagerDuty's stand-in has been told since the last time."""
        events = [] if self._pagerduty is None else self._pagerduty.events
        for event in events[self._paged :]:
            words = f": {event.summary}" if event.summary else ""
            self.narrator.say(f"PAGER    {event.action} {event.dedup_key}{words}")
        self._paged = len(events)

    def _running(self) -> list[Process]:
        emulator = [self._emulator.process] if self._emulator and self._emulator.process else []
        uplink = [] if self._cable is None or self._cable.process is None else [self._cable.process]
        return emulator + self._processes + uplink

    def _start(self, name: str, command: list[str | Path], more: dict[str, str] | None = None) -> Process:
        """A process that is checked, and stopped in the end."""
        process = self._run(name, command, more)
        self._processes.append(process)
        return process

    def _run(self, name: str, command: list[str | Path], more: dict[str, str] | None = None) -> Process:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(more or {})}
        log = self._directory / f"{name.replace(' ', '-')}.log"
        return Process(name, command, environment, log)

    def _client(self, service: str) -> Any:  # noqa: ANN401 - one of boto3's many client types
        assert self._timestream is not None  # noqa: S101 - it is started first
        return client(service, self._timestream.url)
