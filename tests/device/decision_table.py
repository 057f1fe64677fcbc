"""Prints what `decide` answers to every combination of its inputs, as docs/decision-table.md has it.

    .venv/bin/python -m tests.device.decision_table > docs/decision-table.md     (or: make docs)

Every condition has lasted for longer than its hold or its grace; only the dwell is varied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from contract.positions import Position
from device.decide import Decision, decide
from device.observe import Heard, RelayFault, State, Streak, initial_state
from device.override import Override
from device.readings import Reading, Readings
from tests.device.limits import LIMITS

NOW_S = 100_000.0
LONG_S = 10_000.0
SINCE_S = {"in": 200.0, "out": 5_000.0}

VOLTAGES = {"below": 49.0, "in band": 51.0, "above": 53.0, "unknown": None, "never seen": None}
TEMPERATURES = {"fine": 20.0, "high": 40.0, "unknown": None}
OVERRIDES = {"none": None, "grid": Position.GRID, "battery": Position.BATTERY, "expired": Position.GRID}
RELAYS = {"closed": Position.GRID, "open": Position.BATTERY}
FAULTS = {"no": None, "yes": RelayFault.NOT_OBEYING}


@dataclass(frozen=True)
class Case:
    """One combination, in the words of the table."""

    fault: str
    temperature: str
    voltage: str
    override: str
    relays: str
    dwell: str


def cases() -> Iterator[Case]:
    """All of them, in the order of the printed table."""
    for values in product(FAULTS, TEMPERATURES, VOLTAGES, OVERRIDES, RELAYS, SINCE_S):
        yield Case(*values)


def answer(case: Case) -> Decision:
    """What the real `decide` says."""
    voltage_v, temperature_c = VOLTAGES[case.voltage], TEMPERATURES[case.temperature]
    readings = Readings(
        battery_voltage_v=None if voltage_v is None else Reading(voltage_v, NOW_S, "table"),
        box_temperature_c=None if temperature_c is None else Reading(temperature_c, NOW_S, "table"),
    )
    return decide(readings, _override(case.override), _state(case), LIMITS, NOW_S)


def _state(case: Case) -> State:
    def lasting(is_so: bool) -> Streak:
        return Streak(NOW_S - LONG_S, agrees=True) if is_so else Streak()

    heard, silent = Heard(NOW_S - 1.0), Heard(NOW_S - LONG_S)
    return initial_state(NOW_S - LONG_S)._replace(
        position=RELAYS[case.relays],
        position_since_s=NOW_S - SINCE_S[case.dwell],
        monitor=silent if case.voltage in ("unknown", "never seen") else heard,
        thermometer=silent if case.temperature == "unknown" else heard,
        last_voltage_v=None if case.voltage == "never seen" else VOLTAGES[case.voltage] or 51.0,
        readings_complete=case.voltage != "never seen",
        low=lasting(case.voltage == "below"),
        recovered=lasting(case.voltage == "above"),
        hot=lasting(case.temperature == "high"),
        cool=lasting(case.temperature == "fine"),
        fault=FAULTS[case.fault],
    )


def _override(name: str) -> Override | None:
    position = OVERRIDES[name]
    if position is None:
        return None
    ends_at_s = NOW_S if name == "expired" else NOW_S + 3600.0
    return Override(position, until_ms=0, since_s=NOW_S - 600.0, ends_at_s=ends_at_s, is_timed=True)


def markdown() -> str:
    """The whole page."""
    lines = [
        "# What is decided, case by case",
        "",
        "Made by `make docs` from the real `decide` with the default settings, and held against it by a test. Every",
        "condition has lasted for longer than its hold or grace; *in* and *out* say whether the relays moved so lately",
        "that the least time in their position still runs. *closed* is on grid, *open* is on battery, and a cell says",
        "where the relays go or stay, and why.",
    ]
    for fault, temperature in product(FAULTS, TEMPERATURES):
        what = "a relay fault is latched" if fault == "yes" else "no relay fault"
        lines += ["", f"## Box {temperature}, {what}", ""]
        columns = [f"{relays}, dwell {dwell}" for relays, dwell in product(RELAYS, SINCE_S)]
        lines.append("| battery | override | " + " | ".join(columns) + " |")
        lines.append("|---" * (2 + len(columns)) + "|")
        for voltage, override in product(VOLTAGES, OVERRIDES):
            cells = [
                answer(Case(fault, temperature, voltage, override, relays, dwell))
                for relays, dwell in product(RELAYS, SINCE_S)
            ]
            texts = [f"{cell.position.upper()} `{cell.reason}`" for cell in cells]
            lines.append(f"| {voltage} | {override} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
