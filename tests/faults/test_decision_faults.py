"""Rows R of the fault catalogue: decision and relays. The invariants are checked after each test (see conftest.py).

R2 is tests/device/test_decision_table.py, R3 the dense tests in tests/device/test_decide*.py, R17 stands in
tests/device/test_settings.py as well, and R18 is `make mutate`.
"""

import ast
import math
import random
import tomllib
from pathlib import Path
from unittest.mock import patch

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockPin

from contract.alerts import Alert
from contract.positions import Position, Reason
from device.decide import decide
from device.loop import MOST_FAILURES
from device.observe import RelayFault
from device.override import received
from device.readings import AcMode, Reading
from device.relays import MOST_CORRECTIONS, RelayError, Relays
from device.settings import SettingsError, parse
from tests.faults.rig import PINS, Rig, transfers

ROOT = Path(__file__).parent.parent.parent
HOUR_S = 3600


def go_to_grid(rig: Rig) -> None:
    rig.run(300)
    rig.voltage_v = 49.0
    assert rig.run(61).position is Position.GRID


def positions(rig: Rig) -> set[Position]:
    return {tick.decision.position for tick in rig.history}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_R1_a_value_that_is_not_finite_cannot_become_a_reading(value: float) -> None:
    with pytest.raises(ValueError, match="only finite values are readings"):
        Reading(value, 1.0, "mx2")


def test_R1_a_sensor_that_says_nan_opens_the_relays_and_the_loop_goes_on(rig: Rig) -> None:
    go_to_grid(rig)
    rig.voltage_v = math.nan

    failed = rig.tick()
    rig.voltage_v = 49.0
    after = rig.tick()

    assert (failed.position, failed.reason) == (Position.BATTERY, Reason.INTERNAL_ERROR)
    assert after.reason is not Reason.INTERNAL_ERROR


def test_R4_a_sawtooth_across_low_for_an_hour_moves_nothing_and_one_with_pauses_no_more_than_the_dwells_allow(
    rig: Rig,
) -> None:
    for _ in range(HOUR_S // 2):
        rig.voltage_v = 49.0 if rig.voltage_v == 53.0 else 53.0
        rig.run(2)
    moved = len(transfers(rig.history))
    chance = random.Random(4)
    for _ in range(60):
        rig.voltage_v = chance.choice([49.0, 53.0])
        rig.run(chance.choice([30, 90, 400, 900]))

    seconds = len(rig.history)
    assert moved == 0
    assert 2 <= len(transfers(rig.history)) <= min(12, 2 * seconds / (1800 + 300) + 1)


def test_R5_at_boot_without_a_reading_the_relays_are_open_whatever_was_known_before(rig: Rig) -> None:
    go_to_grid(rig)
    rig.voltage_v = rig.temperature_c = None

    rig.reboot()
    first = rig.tick()

    assert (first.position, first.reason) == (Position.BATTERY, Reason.NO_DATA)
    assert rig.pins == (False, False)


def test_R6_a_lost_voltage_is_held_until_the_end_of_the_grace_and_then_the_grid_takes_over(rig: Rig) -> None:
    # The grace is counted from the last sample, and the first tick at its end acts: "no voltage for 120 s" holds then.
    rig.run(600)
    rig.voltage_v = 49.9
    rig.tick()
    rig.voltage_v = None

    at_119_s = rig.run(119)
    at_120_s = rig.run(1)

    assert (at_119_s.position, at_119_s.reason) == (Position.BATTERY, Reason.HOLD)
    assert (at_120_s.position, at_120_s.reason) == (Position.GRID, Reason.BATTERY_MONITOR_LOST)


def test_R7_the_owner_wants_battery_while_it_is_critical_and_the_grid_stays(rig: Rig) -> None:
    rig.voltage_v = 46.5
    rig.run(400)
    clock = rig.clock
    rig.override = received(
        Position.BATTERY, clock.time_ms() + 3_600_000, clock.now_s, clock.time_ms(), synchronised=True
    )

    decision = rig.run(600)

    assert (decision.position, decision.reason) == (Position.GRID, Reason.BATTERY_LOW)
    assert decision.override_is_suppressed


class Disobedient(MockPin):  # type: ignore[misc]
    """GPIO 27 raises on the writes that are counted in `raises`, and stays low while `stuck`."""

    raises = 0
    stuck = False

    def _set_state(self, value: bool) -> None:
        if self._number == PINS[1] and value:
            if Disobedient.raises:
                Disobedient.raises -= 1
                raise OSError(5, "Input/output error")
            value = not Disobedient.stuck
        super()._set_state(value)


@pytest.fixture
def disobedient() -> type[Disobedient]:
    Disobedient.raises, Disobedient.stuck = 0, False
    return Disobedient


@pytest.fixture
def rig_that_disobeys(rig: Rig, disobedient: type[Disobedient]) -> Rig:
    """The rig of conftest.py with other pins, so that its invariants are checked too."""
    rig.use_pins(disobedient)
    return rig


def test_R8_one_write_that_raises_is_repeated_at_once(rig_that_disobeys: Rig) -> None:
    rig = rig_that_disobeys
    rig.run(300)
    Disobedient.raises = 1
    rig.voltage_v = 49.0

    decision = rig.run(61)

    assert (decision.position, rig.pins) == (Position.GRID, (True, True))
    assert decision.state.fault is None


def test_R8_a_write_that_raises_twice_opens_both_and_latches_the_fault(rig_that_disobeys: Rig) -> None:
    rig = rig_that_disobeys
    rig.run(300)
    Disobedient.raises = 2
    rig.voltage_v = 49.0

    decision = rig.run(61)
    later = rig.run(HOUR_S)

    assert (decision.position, decision.reason) == (Position.BATTERY, Reason.RELAY_FAULT)
    assert rig.pins == (False, False)
    assert decision.state.fault is later.state.fault is RelayFault.NOT_OBEYING
    assert Alert.RELAY_FAULT in later.alerts


def test_R9_a_pin_that_reads_back_otherwise_latches_the_fault(rig_that_disobeys: Rig) -> None:
    rig = rig_that_disobeys
    rig.run(300)
    Disobedient.stuck = True
    rig.voltage_v = 49.0

    decision = rig.run(61)

    assert decision.state.fault is RelayFault.NOT_OBEYING
    assert rig.pins == (False, False)


def test_R9_pins_that_something_else_drives_are_put_right_and_too_often_is_a_fault(rig: Rig) -> None:
    rig.expects_disturbance = True
    go_to_grid(rig)

    faults = []
    for _ in range(MOST_CORRECTIONS + 1):
        Device.pin_factory.pin(PINS[0]).state = False
        faults.append(rig.tick().state.fault)

    assert faults == [None] * MOST_CORRECTIONS + [RelayFault.NOT_OBEYING]
    assert rig.pins == (False, False)


def test_R9_pins_that_cannot_even_be_read_are_written_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpiozero.pins.mock import MockFactory

    Device.pin_factory = MockFactory()
    relays = Relays(PINS, Position.GRID)

    def broken(_pin: MockPin) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(MockPin, "_get_state", broken)
    with pytest.raises(RelayError, match="relays not read"):
        relays.write(Position.BATTERY)
    monkeypatch.undo()

    assert not Device.pin_factory.pin(17).state
    assert not Device.pin_factory.pin(27).state
    relays.close()
    Device.pin_factory.reset()
    Device.pin_factory = None


def test_R10_open_relays_with_ac_still_there_are_welded_and_moved_no_more(rig: Rig) -> None:
    go_to_grid(rig)
    rig.ac = AcMode.AC_USE
    rig.voltage_v = 53.0
    rig.run(1800)

    decision = rig.run(15)
    rig.voltage_v = 49.0
    later = rig.run(2 * HOUR_S)

    assert decision.state.fault is RelayFault.STUCK_CLOSED
    assert Alert.RELAY_STUCK_CLOSED in later.alerts
    assert (later.position, later.reason) == (Position.BATTERY, Reason.RELAY_FAULT)


def test_R11_closed_relays_without_ac_are_told_and_not_toggled(rig: Rig) -> None:
    # With one AC input there is no telling an open relay from an outage, so there is no `relay_open`: `grid_absent`
    # says both. Several inverters count as one input: AC at any of them is AC (see battery_monitor.ac_reading).
    go_to_grid(rig)
    rig.ac = AcMode.NO_AC

    decision = rig.run(2 * HOUR_S)

    assert Alert.GRID_ABSENT in decision.alerts
    assert len(transfers(rig.history)) == 1
    assert decision.state.fault is None


def test_R12_feedback_that_chatters_moves_nothing_and_latches_nothing(rig: Rig) -> None:
    go_to_grid(rig)
    for n in range(HOUR_S // 2):
        rig.ac = (AcMode.AC_USE, AcMode.NO_AC, AcMode.AC_DROP, None)[n % 4]
        rig.tick()

    assert len(transfers(rig.history)) == 1
    assert rig.history[-1].decision.state.fault is None
    assert not {Alert.GRID_ABSENT, Alert.GRID_REJECTED} & rig.history[-1].decision.alerts


def test_R12_feedback_stuck_at_in_use_from_boot_on_is_tested_by_the_next_scheduled_transfer(rig: Rig) -> None:
    rig.ac = AcMode.AC_USE
    at_boot = rig.run(400)
    go_to_grid(rig)
    rig.voltage_v = 53.0
    rig.run(1801)

    after = rig.run(15)

    assert at_boot.state.fault is None
    assert Alert.RELAY_STUCK_CLOSED in at_boot.alerts
    assert after.state.fault is RelayFault.STUCK_CLOSED


def test_R13_a_welded_relay_outlives_restart_and_reboot_and_one_that_disobeyed_is_tried_again(
    rig_that_disobeys: Rig,
) -> None:
    rig = rig_that_disobeys
    go_to_grid(rig)
    rig.ac = AcMode.AC_USE
    rig.voltage_v = 53.0
    rig.run(1815)
    rig.kill_and_restart()
    restarted = rig.run(60)
    rig.reboot()
    rebooted = rig.run(60)

    other = Rig(rig.limits, disobedient_pins())
    Disobedient.stuck = True
    other.voltage_v = 49.0
    other.run(400)
    faulty = other.history[-1].decision
    Disobedient.stuck = False
    other.kill_and_restart()
    again = other.run(400)

    assert restarted.state.fault is rebooted.state.fault is RelayFault.STUCK_CLOSED
    assert faulty.state.fault is RelayFault.NOT_OBEYING
    assert (again.position, again.state.fault) == (Position.GRID, None)


def disobedient_pins() -> type[Disobedient]:
    return Disobedient


def test_R15_a_restart_while_the_relays_are_closed_takes_the_pins_closed(rig: Rig) -> None:
    go_to_grid(rig)

    rig.kill_and_restart()
    at_the_start = rig.pins
    first = rig.tick()

    # gpiozero's mock, like its lgpio driver, makes an output of a pin before it sets the level; what a relay sees of
    # that only hardware can show. Nothing of ours opens it: the first level that is set is the decided one.
    for number in PINS:
        assert [state.state for state in Device.pin_factory.pin(number).states] == [False, True]
    assert at_the_start == (True, True)
    assert first.position is Position.GRID


def test_R16_a_decision_that_raises_opens_the_relays_and_the_loop_goes_on(rig: Rig) -> None:
    go_to_grid(rig)

    with patch("device.loop.decide", side_effect=ZeroDivisionError):
        failed = [rig.tick() for _ in range(MOST_FAILURES - 1)]
    after = rig.tick()

    assert {(d.position, d.reason) for d in failed} == {(Position.BATTERY, Reason.INTERNAL_ERROR)}
    assert all({Alert.INTERNAL_ERROR, Alert.BATTERY_LOW} <= d.alerts for d in failed)
    assert after.reason is not Reason.INTERNAL_ERROR
    assert Alert.INTERNAL_ERROR not in after.alerts


def test_R16_three_in_a_row_end_the_process_with_open_relays(rig: Rig) -> None:
    go_to_grid(rig)
    calls = iter([ZeroDivisionError, None, *[ZeroDivisionError] * MOST_FAILURES])

    def sometimes(*args: object) -> object:
        if error := next(calls):
            raise error
        return decide(*args)  # type: ignore[arg-type]

    with patch("device.loop.decide", side_effect=sometimes):
        rig.run(MOST_FAILURES + 1)  # not three in a row yet
        with pytest.raises(ZeroDivisionError):
            rig.tick()

    assert rig.pins == (False, False)


def test_R16_a_decision_that_cannot_be_recorded_is_carried_out_and_the_next_one_made(rig: Rig) -> None:
    rig.run(300)
    rig.voltage_v = 49.0
    with patch.object(rig, "record", side_effect=ValueError("not JSON")):
        rig._loop.tick(rig.clock.now_s)
        rig.clock.now_s += 1.0

    decision = rig.run(61)

    assert decision.position is Position.GRID


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[battery]\nlow_voltage_v = 53", r"battery.recover_voltage_v = 52.0 must be at least 0.2 V .* above"),
        ("[battery]\nleast_time_on_grid_s = -1", r"battery.least_time_on_grid_s = -1 is out of bounds; write .* 0 to"),
        ("[relays]\npins = [17, 17]", r"relays.pins = \[17, 17\] names the same pin twice; each relay needs its own"),
        ("[relays]\npins = [17, 0]", r"relays.pins = \[17, 0\] must be GPIO numbers from 9 to 27"),
        ("[relays]\npins = [17, 14]", r"GPIO 14 is the serial console's; take another one"),
        ("[relays]\npins = [3, 17]", r"GPIO 3 is pulled up while the Pi starts"),
    ],
)
def test_R17_settings_that_cannot_be_right_refuse_to_start(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse(text)


def test_I2_only_the_relays_module_touches_gpio_and_only_the_loop_tells_it_to() -> None:
    importers, writers = set(), set()
    for path in sorted((ROOT / "device").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) and any(a.name in ("gpiozero", "lgpio", "RPi") for a in node.names):
                importers.add(path.name)
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("self._switch.write", "relays.write"):
                writers.add(path.name)

    assert importers == {"relays.py"}
    assert writers == {"loop.py"}


def test_the_story_of_a_bad_day_visits_every_position(rig: Rig) -> None:
    go_to_grid(rig)
    rig.temperature_c = 40.0
    rig.run(2)
    rig.temperature_c = 20.0
    rig.run(700)

    assert positions(rig) == {Position.GRID, Position.BATTERY}
    assert [after.decision.reason for _, after in transfers(rig.history)] == [
        Reason.BATTERY_LOW,
        Reason.OVER_TEMPERATURE,
        Reason.BATTERY_LOW,
    ]


def test_R18_the_whole_safety_core_is_mutated_and_every_mutant_that_may_survive_has_its_reason() -> None:
    # `make mutate` does it; it takes too long for each run of the tests.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    allowed = tomllib.loads((ROOT / "tests/allowed_mutants.toml").read_text(encoding="utf-8"))["mutant"]

    core = {f"device/{name}.py" for name in ("decide", "observe", "override", "wishes", "readings", "relays")}
    assert set(settings["only_mutate"]) == core
    assert all(len(entry["reason"]) > 20 for entry in allowed)
    for path in settings["pytest_add_cli_args_test_selection"]:
        assert (ROOT / path).exists()
    assert "pragma: no" not in "".join((ROOT / path).read_text(encoding="utf-8") for path in core)
