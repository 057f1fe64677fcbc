"""`solarshed replay`: recorded readings through the real decision loop, on a virtual clock.

Columns: `time_s,battery_voltage_v,box_temperature_c,ac_mode`. An empty cell is "no reading at that time". A sensor
whose column the trace does not have at all is taken as not fitted: the rules that need it never apply, and the loop
does not wait for it at the start. A Studer datalog (columns `time_local,batt_v,acin_v,ac_transfer`) is read as well.

A row's readings stand until the next row, but for LONGEST_GAP_S at most; then they are unknown. The loop ticks at
every row, and between rows whenever a hold, a dwell or that gap ends.

What a trace recorded does not change when the decision differs from what happened then. So AC that is in use while the
relays are open says nothing of these relays: replay never takes them for stuck.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from contract.alerts import Alert
from contract.errors import SolarshedError
from contract.positions import Position, Reason
from device.decide import Decision
from device.limits import Limits
from device.loop import Loop, Seen
from device.observe import initial_state
from device.readings import AcMode, AcReading, Reading, Readings, is_plausible_battery_voltage
from device.thermometer import is_plausible_temperature

# Loggers skip a minute now and then; after five the sensor counts as silent.
LONGEST_GAP_S = 300.0

_COLUMNS = ("time_s", "battery_voltage_v", "box_temperature_c", "ac_mode")
_STUDER_COLUMNS = ("time_local", "batt_v", "acin_v", "ac_transfer")
_STUDER_VOLTAGES = ("batt_v", "mppt_batt_v", "inv_batt_v")
_CLOCK_CHANGE_S = 3600.0
_AC_MODES = {"": None, **{str(mode): mode for mode in AcMode}}


class TraceError(SolarshedError, ValueError):
    """The trace cannot be replayed; the text names the line and the remedy."""


class Row(NamedTuple):
    """One line of a trace. None = no reading."""

    time_s: float
    battery_voltage_v: float | None
    box_temperature_c: float | None
    ac_mode: AcMode | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """A recording, and whether it has a thermometer."""

    rows: Iterator[Row]
    has_thermometer: bool


def replay(trace: Trace, limits: Limits) -> Iterator[dict[str, Any]]:
    """One object for each change of position or reason, then one with the key "summary".

    Raises:
        TraceError: a line cannot be used; what came before it has been replayed.
    """
    limits = replace(
        limits,
        has_generator=True,
        # A row stands for so long; only then does a silence begin.
        monitor_lost_after_s=limits.monitor_lost_after_s + LONGEST_GAP_S,
        monitor_lost_after_cap_s=limits.monitor_lost_after_cap_s + LONGEST_GAP_S,
        thermometer_lost_after_s=limits.thermometer_lost_after_s + LONGEST_GAP_S,
    )
    if not trace.has_thermometer:
        limits = replace(limits, boot_grace_s=0.0, thermometer_lost_after_s=math.inf)
    first = next(trace.rows, None)
    if first is None:
        raise TraceError("the trace has no rows")

    tally = _Tally()
    sensors = _RecordedSensors(first)
    loop = Loop(sensors, _NoRelays(), tally, limits, initial_state(first.time_s))
    for time_s in _ticks(first, trace.rows, sensors, tally):
        change = tally.change(loop.tick(time_s), time_s)
        if change is not None:
            yield change
    yield {"summary": tally.summary()}


class _NoRelays:
    def write(self, position: Position) -> None:
        """A recording has no relays."""


class _RecordedSensors:
    def __init__(self, row: Row) -> None:
        self.row = row

    def seen(self, now_s: float) -> Seen:
        row = self.row
        if now_s >= row.time_s + LONGEST_GAP_S:
            return Seen(Readings())
        return Seen(
            Readings(
                battery_voltage_v=_reading(_if_plausible(row.battery_voltage_v), row.time_s),
                box_temperature_c=_reading(_if_plausible_temperature(row.box_temperature_c), row.time_s),
                ac=None if row.ac_mode is None else AcReading(row.ac_mode, row.time_s, "trace"),
            )
        )


def _reading(value: float | None, time_s: float) -> Reading | None:
    return None if value is None else Reading(value, time_s, "trace")


def _if_plausible(voltage_v: float | None) -> float | None:
    return voltage_v if voltage_v is not None and is_plausible_battery_voltage(voltage_v) else None


def _if_plausible_temperature(value_c: float | None) -> float | None:
    return value_c if value_c is not None and is_plausible_temperature(value_c) else None


class _Tally:
    """What has happened so far. Also the loop's recorder, which only has to remember the last decision."""

    def __init__(self) -> None:
        self._position = Position.BATTERY
        self._reason: Reason | None = None
        self._since_s = 0.0
        self._time_s = 0.0
        self._transfers = 0
        self._seconds_in: dict[Position, float] = defaultdict(float)
        self._seconds_by: dict[Reason, float] = defaultdict(float)
        self._active: frozenset[Alert] = frozenset()
        self._raised: Counter[Alert] = Counter()
        self.next_change_at_s: float | None = None

    def record(self, decision: Decision, _seen: Seen) -> None:
        """Called by the loop."""
        self.next_change_at_s = decision.next_change_at_s
        if decision.alerts != self._active:
            self._raised.update(decision.alerts - self._active)
            self._active = decision.alerts

    def change(self, decision: Decision, time_s: float) -> dict[str, Any] | None:
        """The line to print for `decision`; None where it is no change."""
        self._time_s = time_s
        if decision.position is self._position and decision.reason is self._reason:
            return None
        self._settle()
        self._transfers += decision.position is not self._position
        self._position, self._reason, self._since_s = decision.position, decision.reason, time_s
        return {"time_s": time_s, "position": decision.position, "reason": decision.reason}

    def _settle(self) -> None:
        """Count the time since the last change."""
        if self._reason is not None:
            elapsed_s = self._time_s - self._since_s
            self._seconds_in[self._position] += elapsed_s
            self._seconds_by[self._reason] += elapsed_s

    def summary(self) -> dict[str, Any]:
        """The whole trace in numbers."""
        self._settle()
        return {
            "transfers": self._transfers,
            "hours_on_grid": _hours(self._seconds_in[Position.GRID]),
            "hours_on_battery": _hours(self._seconds_in[Position.BATTERY]),
            "hours_by_reason": {reason: _hours(seconds) for reason, seconds in self._seconds_by.items()},
            "alerts_raised": dict(sorted(self._raised.items())),
        }


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 2)


def _ticks(first: Row, rows: Iterator[Row], sensors: _RecordedSensors, tally: _Tally) -> Iterator[float]:
    """When the loop has to look: at each row, which `sensors` show from then on, and in between at what is due."""
    yield first.time_s
    for row in rows:
        now_s = sensors.row.time_s
        gap_ends_s = now_s + LONGEST_GAP_S
        while True:
            now_s = min(_if_after(now_s, gap_ends_s), _if_after(now_s, tally.next_change_at_s))
            if now_s >= row.time_s:
                break
            yield now_s
        sensors.row = row
        yield row.time_s


def _if_after(now_s: float, time_s: float | None) -> float:
    return math.inf if time_s is None or time_s <= now_s else time_s


def read_trace(file: TextIO) -> Trace:
    """The trace in a CSV file; its rows are read as they are asked for.

    Raises:
        TraceError: the file is not a trace.
    """
    reader = csv.DictReader(file)
    columns = reader.fieldnames or []
    if "time_local" in columns and "batt_v" in columns:
        return Trace(_checked(_studer_rows(reader)), has_thermometer=False)
    if "time_s" not in columns or "battery_voltage_v" not in columns:
        raise TraceError(
            f"the first line must name the columns {','.join(_COLUMNS)} (at least the first two), "
            f"or be a Studer datalog's with {','.join(_STUDER_COLUMNS)}"
        )
    return Trace(_checked(_own_rows(reader)), has_thermometer="box_temperature_c" in columns)


def _own_rows(lines: csv.DictReader[str]) -> Iterator[tuple[int, Row]]:
    for line in lines:
        ac_mode = line.get("ac_mode") or ""
        if ac_mode not in _AC_MODES:
            raise TraceError(f"line {lines.line_num}: ac_mode is {ac_mode!r}; write no_ac, ac_drop or ac_use")
        time_s = _number(lines.line_num, "time_s", line["time_s"])
        if time_s is None:
            raise TraceError(f"line {lines.line_num}: time_s is empty")
        yield (
            lines.line_num,
            Row(
                time_s,
                _number(lines.line_num, "battery_voltage_v", line["battery_voltage_v"]),
                _number(lines.line_num, "box_temperature_c", line.get("box_temperature_c")),
                _AC_MODES[ac_mode],
            ),
        )


def _studer_rows(lines: csv.DictReader[str]) -> Iterator[tuple[int, Row]]:
    """Seconds count from the first row.

    The battery voltage is the shunt monitor's, or where that instrument is absent (it logs zeros then) the charge
    controller's or the inverter's. A minute that was logged twice counts once. The times are local: where they go back
    by about an hour, clocks were set back.
    """
    start: datetime | None = None
    last_s = -math.inf
    set_back_s = 0.0
    for line in lines:
        try:
            time = datetime.fromisoformat(line["time_local"]).replace(tzinfo=UTC)
        except (TypeError, ValueError):
            raise TraceError(
                f"line {lines.line_num}: time_local is {line['time_local']!r}, not a date and time"
            ) from None
        start = start or time
        time_s = (time - start).total_seconds() + set_back_s
        if _CLOCK_CHANGE_S / 2 < last_s - time_s <= _CLOCK_CHANGE_S:
            set_back_s += _CLOCK_CHANGE_S
            time_s += _CLOCK_CHANGE_S
        if 0.0 <= last_s - time_s <= _CLOCK_CHANGE_S:
            continue  # logged twice
        last_s = time_s
        volts = [_number(lines.line_num, name, line.get(name)) for name in _STUDER_VOLTAGES]
        yield lines.line_num, Row(time_s, next(filter(None, map(_if_plausible, volts)), None), None)


def _checked(rows: Iterable[tuple[int, Row]]) -> Iterator[Row]:
    last_s = -math.inf
    for line_number, row in rows:
        if row.time_s <= last_s:
            raise TraceError(f"line {line_number}: its time is not after the line before; sort the trace by time")
        last_s = row.time_s
        yield row


def _number(line_number: int, name: str, text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TraceError(f"line {line_number}: {name} is {text!r}, not a number; leave the cell empty for no reading")
    return value


def run(path: Path, limits: Limits, out: TextIO) -> None:
    """Replay the file at `path` and print a JSON line per change, then the summary.

    Raises:
        TraceError: the file cannot be replayed.
    """
    try:
        file = path.open(encoding="utf-8-sig", newline="")
    except OSError as e:
        raise TraceError(f"{path}: {e.strerror}; name a CSV file") from None
    with file:
        try:
            trace = read_trace(file)
            for line in replay(trace, limits):
                print(json.dumps(line), file=out)
        except (UnicodeDecodeError, csv.Error) as e:
            raise TraceError(f"{path} is not a CSV file in UTF-8: {e}") from None
    if not trace.has_thermometer:
        print("no box temperature in this trace: over_temperature never applied", file=sys.stderr)
