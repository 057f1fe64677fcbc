from pathlib import Path

import pytest

from contract.positions import Position, Reason
from tests.device.decision_table import Case, answer, cases, markdown

DOCS = Path(__file__).parent.parent.parent / "docs/decision-table.md"


def by_the_rules(case: Case) -> tuple[Position, Reason]:
    """The rules as the design states them, written once more without the code's help."""
    on_grid = case.relays == "closed"
    stays = Position.GRID if on_grid else Position.BATTERY
    if case.temperature == "high":
        return Position.BATTERY, Reason.OVER_TEMPERATURE
    if case.temperature == "unknown":
        return Position.BATTERY, Reason.THERMOMETER_LOST
    if case.fault == "yes":
        return Position.BATTERY, Reason.RELAY_FAULT
    if case.override in ("grid", "battery"):
        return Position(case.override), Reason.OVERRIDE
    may_close = on_grid or case.dwell == "out"
    if case.voltage in ("unknown", "never seen"):
        return (Position.GRID, Reason.BATTERY_MONITOR_LOST) if may_close else (stays, Reason.HOLD)
    if case.voltage == "below":
        return (Position.GRID, Reason.BATTERY_LOW) if may_close else (stays, Reason.HOLD)
    if case.voltage == "above" and (not on_grid or case.dwell == "out"):
        return Position.BATTERY, Reason.BATTERY_RECOVERED
    return stays, Reason.HOLD


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: "-".join(vars(case).values()).replace(" ", "_"))
def test_R2_every_combination_has_the_answer_of_the_rules(case: Case) -> None:
    decision = answer(case)

    assert (decision.position, decision.reason) == by_the_rules(case)


def test_R2_the_table_in_the_docs_is_what_the_code_says() -> None:
    assert DOCS.read_text(encoding="utf-8") == markdown(), "run: make docs"
    assert len(list(cases())) == 5 * 3 * 4 * 2 * 2 * 2
