"""The whole line on this machine, and a storm over it: what `test_chaos.py` starts, breaks and mends."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from contract import topics
from contract.alerts import dedup_key
from contract.messages import CLEAR, RAISE
from contract.positions import Position
from contract.shadow import OVERRIDE, Mode
from demo.emulator import Emulator
from demo.provisioning import provision
from demo.report import Stored, stored_samples
from demo.shed.pins import PINS_VARIABLE
from demo.shed.thermometer import SENSOR_ID
from device.outbox import Outbox, Stream
from tests.cloud_fixture import Cloud
from tests.device.running import CONFIG, COOL_C, HIGH_V, HOT_C, IN_BAND_V, LOW_V, Shed
from tests.peers.proxy import TcpProxy

THING = "stormy-shed"

# Control with a time of day that counts as right, as on a Pi with a time service. Where the machine of the tests has
# none, control goes by what the cloud said it was, which is late by as long as that answer was held up on its way.
_CONTROL = """
import sys
from device.clock import SystemClock
SystemClock.synchronised = lambda self: True
import solarshed
sys.exit(solarshed.main())
"""
_UPLINK = """
[uplink]
endpoint = "{endpoint}"
port = {port}
certificate = "{certificate}"
private_key = "{private_key}"
ca = "{ca}"
"""
# Many transfers within a minute are what a storm is about.
_CHATTER = "[relays]\nmost_transfers = 100\nmost_transfers_within_s = 60.0\n"

# What happens step by step while other things go on: yields how many seconds to wait until the next step.
Steps = Iterator[float]

_LOOK_S = 0.1
# With an emulator that is being restarted.
_TIME_TO_PAGE_MS = 10_000
# The emulator's restarts are spread over the storm: twice in a short one is enough.
_RESTART_EVERY_S = 37.5


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Life:
    """When a process was started and ended, epoch. It ends when it was killed, or had stopped as it was asked to."""

    began_ms: int
    ended_ms: int | None = None


class Program:
    """A process that is started again and again. All that it ever says is in one log."""

    def __init__(self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.lives: list[Life] = []
        self._command = command
        self._log = log
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=os.environ | self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        self.lives.append(Life(now_ms()))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal.

        Raises:
            AssertionError: it has ended by itself.
        """
        assert self._process is not None
        assert self._process.poll() is None, f"it has ended with {self._process.returncode}:\n{self.words[-2000:]}"
        self._process.send_signal(number)

    def kill(self) -> None:
        self.lives[-1] = replace(self.lives[-1], ended_ms=now_ms())
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(30)

    def exit_status(self) -> int | None:
        """How it ended; None while it runs."""
        assert self._process is not None
        status = self._process.poll()
        if status is not None and self.lives[-1].ended_ms is None:
            self.lives[-1] = replace(self.lives[-1], ended_ms=now_ms())
        return status

    def stop(self) -> int:
        """Ask it to end, and return how it did."""
        self.send(signal.SIGTERM)
        wait_until(lambda: self.exit_status() is not None, timeout_s=30.0)
        status = self.exit_status()
        assert status is not None
        return status

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)


@dataclass(frozen=True)
class Asked:
    """A wish of the owner's, whether or not the cloud has taken it."""

    mode: Mode
    asked_ms: int
    until_s: int | None

    @property
    def document(self) -> bytes:
        # null removes what an earlier wish left there.
        override = {"mode": self.mode, "until": self.until_s}
        return json.dumps({"state": {"desired": {OVERRIDE: override}}}).encode()

    def allows(self, sample: Stored, late_ms: int) -> bool:
        """Whether this wish may be why the relays are where the sample has them."""
        is_wished = self.until_s is not None and sample.position == self.mode
        return is_wished and self.asked_ms <= sample.time_ms <= (self.until_s or 0) * 1000 + late_ms


@dataclass(frozen=True)
class Episode:
    """An alert's, as it reached the cloud, epoch. It is not cleared yet without `cleared_ms`."""

    raised_ms: int
    cleared_ms: int | None = None

    @property
    def must_page(self) -> bool:
        """Whether there was time to page before it was over: what waited for the network may arrive all at once, and
        what clears an alert may then be dealt with first."""
        return self.cleared_ms is None or self.cleared_ms - self.raised_ms > _TIME_TO_PAGE_MS


class Tap:
    """Keeps all alerts that the broker has taken: a topic rule and a queue of the test's own.

    They are the emulator's, and so outlive its restarts as the ones that are deployed do.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.messages: dict[int, dict[str, Any]] = {}
        self._sqs = emulator.client("sqs")
        self._url = self._sqs.create_queue(QueueName="chaos-alerts")["QueueUrl"]
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "iot.amazonaws.com"}}
        role = emulator.client("iam").create_role(
            RoleName="chaos-alerts",
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        )["Role"]
        emulator.client("iot").create_topic_rule(
            ruleName="chaos_alerts",
            topicRulePayload={
                "sql": f"SELECT *, timestamp() AS received_ms FROM '{topics.every_thing(topics.ALERT)}'",
                "awsIotSqlVersion": "2016-03-23",
                # The emulator asks who may take the role, and not what it allows.
                "actions": [{"sqs": {"queueUrl": self._url, "roleArn": role["Arn"]}}],
            },
        )

    def listen(self) -> set[int]:
        """The sequence numbers of all alerts so far."""
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                content = json.loads(message["Body"])
                self.messages[content["sequence"]] = content
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return self.sequences

    @property
    def sequences(self) -> set[int]:
        """The same, as far as they have been listened to."""
        return set(self.messages)

    def episodes(self) -> dict[str, list[Episode]]:
        """What they tell of: for each dedup key its episodes in order.

        A device that was killed while it told of an alert tells of it once more: that is the same one.
        """
        told: dict[str, list[Episode]] = {}
        for _, message in sorted(self.messages.items()):
            episodes = told.setdefault(dedup_key(THING, message["alert"]), [])
            is_open = bool(episodes) and episodes[-1].cleared_ms is None
            if message["action"] == RAISE and not is_open:
                episodes.append(Episode(message["received_ms"]))
            elif message["action"] == CLEAR and is_open:
                episodes[-1] = replace(episodes[-1], cleared_ms=message["received_ms"])
        return told


class Line:
    """A shed with control and uplink, the broken road to the cloud, and the cloud."""

    def __init__(self, cloud: Cloud, directory: Path) -> None:
        self.cloud = cloud
        self.tap = Tap(cloud.emulator)
        self.proxy = TcpProxy("127.0.0.1", cloud.emulator.mqtt_port)
        self.shed = Shed(directory)
        self.shed.mate.voltage_v = HIGH_V
        self.outbox = Outbox(self.shed.state)
        self.wishes: list[Asked] = []
        self._iot_data = cloud.emulator.client("iot-data")
        config = self._configure(directory)
        self.control = Program(
            [sys.executable, "-c", _CONTROL, "control", "--config", config],
            directory / "control.log",
            {"GPIOZERO_PIN_FACTORY": "solarshed-demo", PINS_VARIABLE: str(self.shed.pins)},
        )
        self.uplink = Program(
            [sys.executable, "-m", "solarshed", "uplink", "--config", config], directory / "uplink.log"
        )

    def _configure(self, directory: Path) -> Path:
        uplink = provision(self.cloud.emulator, THING, self.cloud.outputs["DevicePolicyName"], directory)
        text = CONFIG.format(
            state=self.shed.state,
            runtime=self.shed.runtime,
            port=directory / "mate",
            sensor=SENSOR_ID,
            w1=directory / "w1",
        ).replace("[relays]\n", _CHATTER)
        broker = _UPLINK.format(
            endpoint=uplink.endpoint,
            port=self.proxy.port,
            certificate=uplink.certificate,
            private_key=uplink.private_key,
            ca=uplink.ca,
        )
        config = directory / "config.toml"
        config.write_text(f'thing = "{THING}"\n{text}{broker}', encoding="utf-8")
        return config

    def close(self) -> None:
        self.control.close()
        self.uplink.close()
        self.outbox.close()
        self.shed.close()
        self.proxy.close()

    def ask(self, mode: Mode, seconds: int) -> Asked:
        """Write a wish into the shadow. One that gets no answer may stand there all the same."""
        asked = Asked(mode, now_ms(), None if mode is Mode.AUTO else int(time.time()) + seconds)
        self.wishes.append(asked)
        self._iot_data.update_thing_shadow(thingName=THING, payload=asked.document)["payload"].read()
        return asked

    def shadow(self) -> dict[str, Any]:
        """Both sides of it, as they stand there now."""
        answer = self._iot_data.get_thing_shadow(thingName=THING)["payload"].read()
        state: dict[str, Any] = json.loads(answer)["state"]
        return state

    def stored(self) -> list[Stored]:
        """Every sample in the store, in the order of time; one that is there twice comes twice."""
        if not self.cloud.timestream.engine.count_rows("solarshed", "telemetry"):
            return []
        return stored_samples(self.cloud.query(), THING)

    def incidents(self) -> dict[str, list[bool]]:
        """What PagerDuty has made of the alerts: for each dedup key its incidents, and whether they are open."""
        made: dict[str, list[bool]] = {}
        for incident in self.cloud.pagerduty.incidents:
            made.setdefault(incident.dedup_key, []).append(incident.is_open)
        return made

    def wrong_incidents(self) -> list[str]:
        """What PagerDuty has made of the alerts, and should not have: exactly one incident of each episode."""
        wrong = []
        made, told = self.incidents(), self.tap.episodes()
        for key in made.keys() | told.keys():
            incidents, episodes = made.get(key, []), told.get(key, [])
            least = sum(episode.must_page for episode in episodes)
            ends_open = bool(episodes) and episodes[-1].cleared_ms is None
            if not least <= len(incidents) <= len(episodes) or any(incidents) != ends_open or any(incidents[:-1]):
                wrong.append(f"{key}: {incidents} of {episodes}")
        return wrong

    def waiting(self) -> int:
        return sum(self.outbox.waiting(stream) for stream in Stream)


class Storm:
    """Breaks one thing after the other at random, several at a time, and mends each of them after a while.

    Each target has one trouble at a time. Everything happens in the thread that calls, but for what takes long.
    """

    def __init__(self, line: Line, seed: int) -> None:
        self._line = line
        self._chance = random.Random(seed)
        self._restart_at_s = time.monotonic()
        # The next step of each target's trouble, and when it is due.
        self._going: dict[str, tuple[float, Steps]] = {}
        self._is_over = False
        # Its threads must last as long as the emulator: the kernel ends that with the thread that has started it.
        self._aside = ThreadPoolExecutor(3, thread_name_prefix="storm")
        self._troubles: tuple[tuple[str, Callable[[], Steps]], ...] = (
            ("uplink", lambda: self._killed(line.uplink)),
            ("uplink", lambda: self._terminated(line.uplink)),
            ("uplink", self._uplink_stopped),
            ("line", self._cut),
            ("line", self._black_hole),
            ("control", lambda: self._killed(line.control)),
            ("control", lambda: self._terminated(line.control)),
            ("emulator", self._emulator_restarted),
        )

    def rage(self, seconds: float) -> None:
        """Break things for so long."""
        self._begin("owner", self._owner())
        self._begin("weather", self._weather())
        end_s = time.monotonic() + seconds
        next_at_s = time.monotonic()
        while time.monotonic() < end_s:
            self._go_on()
            if time.monotonic() >= next_at_s:
                self._break_something()
                next_at_s = time.monotonic() + self._chance.uniform(0.5, 3.0)
            time.sleep(0.02)

    def calm_down(self) -> None:
        """Let every trouble come to its end: all is mended then, and all runs."""
        self._is_over = True
        while self._going:
            self._go_on()
            time.sleep(0.02)

    def close(self) -> None:
        self._is_over = True
        self._aside.shutdown(cancel_futures=True)

    def _break_something(self) -> None:
        target, trouble = self._chance.choice(self._troubles)
        is_too_soon = target == "emulator" and time.monotonic() < self._restart_at_s
        if target not in self._going and not is_too_soon:
            self._begin(target, trouble())

    def _begin(self, target: str, steps: Steps) -> None:
        self._going[target] = (time.monotonic(), steps)

    def _go_on(self) -> None:
        for target, (due_s, steps) in list(self._going.items()):
            if time.monotonic() < due_s:
                continue
            wait_s = next(steps, None)
            if wait_s is None:
                del self._going[target]
            else:
                self._going[target] = (time.monotonic() + wait_s, steps)

    def _tell(self, what: str) -> None:
        """For whoever has to find out what went wrong."""
        now = time.time()
        print(f"{time.strftime('%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03} {what}")

    # The troubles

    def _name(self, program: Program) -> str:
        return "control" if program is self._line.control else "uplink"

    def _killed(self, program: Program) -> Steps:
        self._tell(f"{self._name(program)}: SIGKILL")
        program.kill()
        yield self._chance.uniform(0.1, 1.0)
        program.start()
        self._tell(f"{self._name(program)}: started")

    def _terminated(self, program: Program) -> Steps:
        self._tell(f"{self._name(program)}: SIGTERM")
        program.send(signal.SIGTERM)
        deadline_s = time.monotonic() + 30.0
        while (status := program.exit_status()) is None:
            assert time.monotonic() < deadline_s, f"{self._name(program)} does not end"
            yield _LOOK_S
        # As Python has it, a signal that comes before the process could take note of it.
        assert status in (0, -signal.SIGTERM), f"{self._name(program)} ended with {status}"
        yield self._chance.uniform(0.1, 1.0)
        program.start()
        self._tell(f"{self._name(program)}: started")

    def _uplink_stopped(self) -> Steps:
        self._tell("uplink: SIGSTOP")
        self._line.uplink.send(signal.SIGSTOP)
        yield self._chance.uniform(1.0, 3.0)
        self._line.uplink.send(signal.SIGCONT)
        self._tell("uplink: SIGCONT")

    def _cut(self) -> Steps:
        self._tell("line: cut")
        self._line.proxy.cut()
        yield self._chance.uniform(1.0, 5.0)
        self._line.proxy.restore()
        self._tell("line: restored")

    def _black_hole(self) -> Steps:
        self._tell("line: a black hole")
        self._line.proxy.blackhole()
        yield self._chance.uniform(1.0, 3.0)
        if self._chance.random() < 0.5:
            # What was sent meanwhile is lost: it is not held up only.
            self._tell("line: cut")
            self._line.proxy.cut()
            yield self._chance.uniform(0.2, 2.0)
        self._line.proxy.restore()
        self._tell("line: restored")

    def _emulator_restarted(self) -> Steps:
        self._restart_at_s += _RESTART_EVERY_S
        self._tell("emulator: stopping")
        yield from self._until(self._aside.submit(self._line.cloud.emulator.stop))
        self._tell("emulator: stopped")
        yield self._chance.uniform(0.5, 4.0)
        yield from self._until(self._aside.submit(self._line.cloud.emulator.start))
        self._tell("emulator: started")

    # What goes on meanwhile

    def _owner(self) -> Steps:
        while not self._is_over:
            mode = self._chance.choice((Mode.GRID, Mode.GRID, Mode.BATTERY, Mode.BATTERY, Mode.AUTO))
            yield from self._until(self._aside.submit(self._ask, mode, self._chance.randint(3, 10)))
            yield self._chance.uniform(1.0, 6.0)

    def _ask(self, mode: Mode, seconds: int) -> None:
        try:
            asked = self._line.ask(mode, seconds)
        except (ClientError, BotoCoreError) as e:
            self._tell(f"owner: {mode} not taken: {type(e).__name__}")
        else:
            self._tell(f"owner: {mode} until {asked.until_s}")

    def _weather(self) -> Steps:
        while not self._is_over:
            self._line.shed.mate.voltage_v = self._chance.choice((LOW_V, IN_BAND_V, HIGH_V))
            self._line.shed.thermometer.write(HOT_C if self._chance.random() < 0.1 else COOL_C)
            yield self._chance.uniform(1.0, 4.0)

    def _until(self, done: "Future[None]") -> Steps:
        while not done.done():
            yield _LOOK_S
        done.result()


def rules_say(line: Line, position: Position) -> None:
    """Have the shed's sensors say that the rules want `position`."""
    line.shed.mate.voltage_v = LOW_V if position is Position.GRID else HIGH_V
    line.shed.thermometer.write(COOL_C)


def wait_until(is_so: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it came to pass in time."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.1)
    return True
