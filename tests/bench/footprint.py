"""What `solarshed uplink` costs a Pi in memory and processor time: `make bench`, beside a bare client of the SDK.

Goals: at most 40 MB of memory, and at most 0.5 % of a core at one sample a minute.

Both connect over mutual TLS to the emulated AWS IoT Core, in the same minutes. Uplink gets what a shed gives it: a
sample a minute, a heartbeat, and a new report from control every ten seconds, of which it tells the shadow one a
minute. The bare client, the same SDK with the same keep-alive, stays connected and does nothing else. Starting is not
counted into the processor time; memory is the most that there ever was (VmHWM).

Exit status: 0 measured, whether or not the goals are met; 1 it could not be measured, and stderr says why.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.errors import SolarshedError
from demo.emulator import ACCOUNT, REGION, Emulator
from demo.processes import Process
from demo.provisioning import provision
from demo.settings import write_settings
from device.mailbox import REPORT_NAME, put
from device.outbox import Outbox, Stream
from device.settings import Uplink

GOAL_MB = 40.0
GOAL_CORE_PERCENT = 0.5
DEFAULT_SECONDS = 120.0
SETTLE_S = 10.0
SAMPLE_EVERY_S = 60.0
REPORT_EVERY_S = 10.0

_POLICY = "SolarshedFootprint"
_BARE = """
import sys, threading
from awsiot import mqtt5_client_builder
endpoint, port, certificate, key, ca, name = sys.argv[1:]
client = mqtt5_client_builder.mtls_from_path(
    endpoint=endpoint, port=int(port), cert_filepath=certificate, pri_key_filepath=key, ca_filepath=ca, client_id=name,
    keep_alive_interval_sec=30, on_lifecycle_connection_success=lambda _: print("connected", flush=True),
)
client.start()
threading.Event().wait()
"""


@dataclass(frozen=True)
class Footprint:
    """What one process took."""

    name: str
    peak_mb: float
    core_percent: float


def measure(seconds: float, directory: Path) -> list[Footprint]:
    """Run both for `seconds`, side by side."""
    emulator = Emulator(directory, {})
    processes: list[Process] = []
    try:
        emulator.start()
        emulator.client("iot").create_policy(policyName=_POLICY, policyDocument=_policy())
        uplink = provision(emulator, "shed", _POLICY, directory)
        bare = provision(emulator, "bare", _POLICY, directory)
        config = directory / "config.toml"
        settings = write_settings(config, directory, directory / "state", directory / "run", uplink)
        processes = [_start_uplink(config, directory), _start_bare(bare, directory)]
        for process in processes:
            process.wait_for_line("connected", 30.0)
        with_outbox = Outbox(settings.state_directory)
        try:
            _feed(with_outbox, settings.runtime_directory, SETTLE_S)
            before = [_cpu_s(process.pid) for process in processes]
            began_s = time.monotonic()
            _feed(with_outbox, settings.runtime_directory, seconds)
            took_s = time.monotonic() - began_s
        finally:
            with_outbox.close()
        return [
            Footprint(process.name, _peak_mb(process.pid), 100 * (_cpu_s(process.pid) - cpu_s) / took_s)
            for process, cpu_s in zip(processes, before, strict=True)
        ]
    finally:
        for process in processes:
            process.kill()
        emulator.stop()


def _start_uplink(config: Path, directory: Path) -> Process:
    command: list[str | Path] = [sys.executable, "-m", "solarshed", "uplink", "--config", config]
    return Process("solarshed uplink", command, os.environ, directory / "uplink.log")


def _start_bare(uplink: Uplink, directory: Path) -> Process:
    arguments = [uplink.endpoint, str(uplink.port), uplink.certificate, uplink.private_key, uplink.ca, "bare"]
    return Process("bare client", [sys.executable, "-c", _BARE, *arguments], os.environ, directory / "bare.log")


def _feed(outbox: Outbox, runtime: Path, seconds: float) -> None:
    """What control gives uplink in that time."""
    began_s = time.monotonic()
    sample_at_s = report_at_s = began_s
    while (now_s := time.monotonic()) < began_s + seconds:
        time_ms = time.time_ns() // 1_000_000
        if now_s >= sample_at_s:
            sample_at_s += SAMPLE_EVERY_S
            outbox.append([(Stream.TELEMETRY, _sample(time_ms))], json.dumps({"schema": 1, "time_ms": time_ms}))
        if now_s >= report_at_s:
            report_at_s += REPORT_EVERY_S
            report = {"position": "grid", "reason": "battery_low", "time": time_ms // 1000}
            put(runtime, REPORT_NAME, json.dumps(report))
        time.sleep(0.05)


def _sample(time_ms: int) -> str:
    measures = {f"measure_{number}_v": 12.5 + number for number in range(40)}
    return json.dumps({"time_ms": time_ms, "position": "grid", "reason": "battery_low", "measures": measures})


def _cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"process {pid} has no VmHWM")


def _policy() -> str:
    resource = f"arn:aws:iot:{REGION}:{ACCOUNT}:*"
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def report(footprints: Sequence[Footprint], seconds: float) -> str:
    ours, bare = footprints
    lines = [
        f"What uplink takes, {seconds:g} s at a sample a minute, beside a client of the SDK that only stays connected",
        "",
        "                    peak MB   % of a core",
        *(f"{each.name:<18}  {each.peak_mb:>7.1f}  {each.core_percent:>12.3f}" for each in footprints),
        f"{'goal':<18}  {GOAL_MB:>7.1f}  {GOAL_CORE_PERCENT:>12.3f}",
        f"{'ratio to bare':<18}  {ours.peak_mb / bare.peak_mb:>7.2f}",
        "",
    ]
    for what, value, goal in (
        ("memory", ours.peak_mb, GOAL_MB),
        ("processor time", ours.core_percent, GOAL_CORE_PERCENT),
    ):
        lines.append(f"goal {'met' if value <= goal else 'MISSED'}: {what} at most {goal:g}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.footprint", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="how long to look (default %(default)g)")
    args = parser.parse_args(arguments)
    if not args.seconds > 0:
        parser.error("--seconds must be above 0")
    print(f"measuring for {args.seconds + SETTLE_S:g} s ...", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory() as directory:
            footprints = measure(args.seconds, Path(directory))
    except (SolarshedError, OSError) as e:
        print(f"not measured: {e}", file=sys.stderr)
        return 1
    print(report(footprints, args.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
