"""What a battery's rest voltage says about its state of charge, by chemistry. 48 V banks. Pure after the table is read.

Sources: lead-acid, Xantrex DR manual 975-0012-01-02, table B-6 (25 C, three hours at rest); LiFePO4, a community table
for A123 cells, 16 in series. Under load a bank reads lower, while charging higher: a monitor that counts ampere-hours
knows better.
"""

import csv
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from contract.errors import SolarshedError

_TABLES = {
    "lead_acid": ("rest_voltage_lead_acid.csv", "v_48"),
    "lifepo4": ("rest_voltage_lifepo4.csv", "v_16s_computed"),
}
CHEMISTRIES = tuple(_TABLES)

# A voltage whose smallest step is worth more charge than this cannot tell one depth of discharge from another.
MOST_PERCENT_PER_STEP = 5.0


class ChemistryError(SolarshedError, ValueError):
    """The voltage cannot tell this state of charge; the text says why."""


@dataclass(frozen=True, slots=True)
class _Point:
    soc_percent: float
    voltage_v: float


def rest_voltage_v(chemistry: str, soc_percent: float, step_v: float) -> float:
    """The bank's voltage at rest at this state of charge, to 0.01 V.

    Raises:
        ChemistryError: the table does not reach so far, or the curve is so flat there that one step of the source
            (`step_v`) is worth more than MOST_PERCENT_PER_STEP.
    """
    for below, above in pairwise(_points(chemistry)):
        if below.soc_percent <= soc_percent <= above.soc_percent:
            break
    else:
        least, *_, most = (point.soc_percent for point in _points(chemistry))
        raise ChemistryError(f"the table of {chemistry} has {least:g} % to {most:g} % of charge")
    percent_per_volt = (above.soc_percent - below.soc_percent) / (above.voltage_v - below.voltage_v)
    percent_per_step = round(percent_per_volt * step_v, 3)
    if percent_per_step > MOST_PERCENT_PER_STEP:
        raise ChemistryError(
            f"at {soc_percent:g} % of charge one step of {step_v:g} V is worth {percent_per_step:.1f} % of a "
            f"{chemistry} bank, more than {MOST_PERCENT_PER_STEP:g} %"
        )
    return round(below.voltage_v + (soc_percent - below.soc_percent) / percent_per_volt, 2)


def _points(chemistry: str) -> list[_Point]:
    """The table, by rising charge. A voltage that is only bounded ("<46.4") is no point of the curve."""
    file_name, column = _TABLES[chemistry]
    with Path(__file__).with_name(file_name).open(encoding="ascii", newline="") as file:
        rows = [(float(row["soc_pct"]), row[column]) for row in csv.DictReader(file)]
    return sorted(
        (_Point(soc, float(volts)) for soc, volts in rows if not volts.startswith("<")), key=lambda p: p.soc_percent
    )
