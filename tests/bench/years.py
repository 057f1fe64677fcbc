"""Goal 9: a year of minutes through `solarshed replay`: the real loop and `decide`, on a virtual clock.

The year is made up: each day the battery goes down to low and up to recovered, and the box gets hot on every ninth one,
so that all of it is decided: some two transfers a day, AC that comes and goes, trips. It is read from a CSV file, as a
user's trace is. Beside it the same file is only read and its numbers converted, without any decision.
"""

import csv
import io
import json
import math
import random
import sys
import tempfile
import time
from pathlib import Path

from device import replay
from device.settings import parse
from tests.bench.table import Goal, Measured, NotMeasuredError, Of, Row

GOAL_S = 10.0
DAYS = 365
MINUTES_A_DAY = 1440
_HOT_EVERY_DAYS = 9
_HEAD = ("time_s", "battery_voltage_v", "box_temperature_c", "ac_mode")


def measure(*, quick: bool) -> Measured:
    days = 10 if quick else DAYS
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory) / "year.csv"
        write_trace(trace, days)
        began_s = time.perf_counter()
        rows = _read(trace)
        read_s = time.perf_counter() - began_s
        print(f"replaying {rows} minutes", file=sys.stderr)
        out = io.StringIO()
        began_s = time.perf_counter()
        replay.run(trace, parse("").limits(), out)
        replayed_s = time.perf_counter() - began_s
    *changes, last = map(json.loads, out.getvalue().splitlines())
    transfers = last["summary"]["transfers"]
    if rows != days * MINUTES_A_DAY or transfers < days:
        raise NotMeasuredError(f"{rows} rows and {transfers} transfers are not {days} days of this shed")
    # A shorter trace is scaled, so that the goal stays what it says.
    scale = DAYS / days
    return Measured(
        (
            Row(
                9,
                "replay a year of minutes",
                "s",
                replayed_s * scale,
                read_s * scale,
                "reading the file, no decision",
                Goal(Of.OURS, GOAL_S),
            ),
            Row(
                9,
                "decisions through loop and decide",
                "/s",
                rows / replayed_s,
                1.0,
                "a shed's rate",
                Goal(Of.OURS, DAYS * MINUTES_A_DAY / GOAL_S, is_least=True),
            ),
        ),
        f"{rows} rows, {len(changes)} changes of position or reason, {transfers} transfers",
    )


def write_trace(path: Path, days: int) -> None:
    """A CSV file of so many days, a row a minute."""
    chance = random.Random(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEAD)
        for minute in range(days * MINUTES_A_DAY):
            hour = minute / 60 % 24
            is_hot = minute // MINUTES_A_DAY % _HOT_EVERY_DAYS == 0
            voltage_v = 51.2 + 3.2 * math.sin((hour - 9) / 24 * math.tau) + chance.choice((-0.1, 0.0, 0.1))
            box_c = 22 + 9 * math.sin((hour - 10) / 24 * math.tau) + (6 if is_hot else 0)
            writer.writerow((minute * 60, f"{voltage_v:.1f}", f"{box_c:.2f}", "ac_use" if hour > 17 else "ac_drop"))


def _read(path: Path) -> int:
    count = 0
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            _numbers = [float(row[name]) for name in _HEAD[:3]]
            count += 1
    return count
