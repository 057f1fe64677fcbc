"""Which other program has the serial port open."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from contract.finding import Finding, failed, skipped
from device.doctor.machine import names_in


@dataclass(frozen=True)
class Holder:
    """Who has the port open."""

    name: str
    is_control: bool


def taken_by(holder: Holder) -> Finding:
    if holder.is_control:
        return skipped(
            "solarshed control has the port open",
            "to check it: sudo systemctl stop solarshed-control (the relays open), doctor, and start it again",
        )
    return failed(f"{holder.name} has the port open", "stop it: only one program can read the port")


def holder_of(port: Path, proc: Path) -> Holder | None:
    """The program that has `port` open, as far as this user may see; control, if it is among several."""
    device = port.stat()
    holders = [
        Holder(f"process {process.name} ({' '.join(_command(process))[:60]})", _is_control(_command(process)))
        for process in _processes(proc)
        if process.name != str(os.getpid()) and _has_open(process, device)
    ]
    return max(holders, key=lambda holder: holder.is_control, default=None)


def control_runs(proc: Path) -> bool:
    return any(_is_control(_command(process)) for process in _processes(proc))


def _processes(proc: Path) -> list[Path]:
    return [proc / name for name in names_in(proc) or [] if name.isdecimal()]


def _has_open(process: Path, device: os.stat_result) -> bool:
    # Both calls fail on a process that has ended, or is another user's. A container may have the same path for another
    # device, so paths tell nothing.
    for name in names_in(process / "fd") or []:
        try:
            if os.path.samestat((process / "fd" / name).stat(), device):
                return True
        except OSError:
            continue
    return False


def _command(process: Path) -> list[str]:
    try:
        return [word.decode(errors="replace") for word in (process / "cmdline").read_bytes().split(b"\0") if word]
    except OSError:
        return []


def _is_control(words: list[str]) -> bool:
    return any(
        Path(program).name in ("solarshed", "solarshed.py") and verb == "control"
        for program, verb in itertools.pairwise(words)
    )
