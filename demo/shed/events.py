"""Names what happened in the shed between two moments."""

from collections.abc import Iterator

from demo.shed.inverter import AcMode
from demo.shed.physics import ShedState


def happened(before: ShedState, after: ShedState) -> Iterator[str]:
    """The notable events between `before` and `after`, in words."""
    if after.day != before.day:
        yield f"day {after.day}"
    if (after.sun > 0.0) != (before.sun > 0.0):
        yield "sunrise" if after.sun > 0.0 else "sunset"
    if after.fan_working != before.fan_working:
        yield "fan repaired" if after.fan_working else "fan failed"
    if after.grid_present != before.grid_present:
        yield "grid back" if after.grid_present else "grid lost"
    if after.low_battery_cut_out != before.low_battery_cut_out:
        yield "inverter cut out, battery empty" if after.low_battery_cut_out else "inverter back"
    yield from _ac_events(before.ac_mode, after.ac_mode)


def _ac_events(before: AcMode, after: AcMode) -> Iterator[str]:
    if before is AcMode.NO_AC and after is not AcMode.NO_AC:
        yield "ac appeared"
    if before is not AcMode.AC_USE and after is AcMode.AC_USE:
        yield "ac transferred"
    if before is not AcMode.NO_AC and after is AcMode.NO_AC:
        yield "ac gone"
