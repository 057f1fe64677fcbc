"""Faults, time and restarts in any order: a search for what breaks an invariant, over the real loop."""

from contextlib import suppress

from gpiozero import Device
from gpiozero.pins.mock import MockPin
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from contract.alerts import Alert
from contract.positions import Position
from device.override import received
from device.readings import AcMode
from tests.faults.invariants import check_invariants
from tests.faults.rig import PINS, QUICK, Rig


class FicklePin(MockPin):  # type: ignore[misc]
    """GPIO 27 can be made to stay low, and to raise when it is driven high."""

    stuck_low = False
    raising = False

    def _set_state(self, value: bool) -> None:
        if self._number == PINS[1] and value and FicklePin.raising:
            raise ZeroDivisionError("a driver's own kind of error")
        super()._set_state(value and not (self._number == PINS[1] and FicklePin.stuck_low))


class Shed(RuleBasedStateMachine):
    """Every rule is something that happens to the shed; `run` lets time pass."""

    def __init__(self) -> None:
        super().__init__()
        FicklePin.stuck_low = FicklePin.raising = False
        self.rig = Rig(QUICK, pin_class=FicklePin)
        self.rig.expects_disturbance = True  # the pins are disturbed on purpose

    @rule(voltage_v=st.sampled_from([None, 46.5, 47.0, 49.0, 49.9, 50.0, 51.9, 52.0, 54.0]))
    def voltage_is(self, voltage_v: float | None) -> None:
        self.rig.voltage_v = voltage_v

    @rule(temperature_c=st.sampled_from([None, -10.5, 20.0, 30.0, 30.0625, 34.9375, 35.0, 60.0]))
    def temperature_is(self, temperature_c: float | None) -> None:
        self.rig.temperature_c = temperature_c

    @rule(ac=st.sampled_from([None, *AcMode]))
    def ac_is(self, ac: AcMode | None) -> None:
        self.rig.ac = ac

    @rule(position=st.sampled_from(Position), seconds=st.sampled_from([-5, 3, 30, 100_000]))
    def owner_asks(self, position: Position, seconds: int) -> None:
        clock = self.rig.clock
        self.rig.override = received(
            position, clock.time_ms() + seconds * 1000, clock.now_s, clock.time_ms(), clock.is_synchronised
        )

    @rule()
    def owner_asks_no_more(self) -> None:
        self.rig.override = None

    @rule(seconds=st.sampled_from([1, 1, 2, 3, 5, 8, 13, 40]))
    def run(self, seconds: int) -> None:
        self.rig.run(seconds)

    @rule()
    def killed(self) -> None:
        FicklePin.raising = False  # or it could not even take its pins, and would not start
        self.rig.kill_and_restart()
        self.rig.override = None

    @rule()
    def power_lost(self) -> None:
        FicklePin.raising = False
        self.rig.reboot()
        self.rig.override = None

    @rule(step_ms=st.sampled_from([-3_600_000, 86_400_000, -10_000_000_000]), synchronised=st.booleans())
    def clock_is_set(self, step_ms: int, synchronised: bool) -> None:
        self.rig.clock.offset_ms += step_ms
        self.rig.clock.is_synchronised = synchronised

    @rule(number=st.sampled_from(PINS), level=st.booleans())
    def something_else_drives_a_pin(self, number: int, level: bool) -> None:
        with suppress(ZeroDivisionError):
            Device.pin_factory.pin(number).state = level

    @rule(stuck=st.booleans(), raising=st.booleans())
    def a_relay_disobeys(self, stuck: bool, raising: bool) -> None:
        FicklePin.stuck_low, FicklePin.raising = stuck, raising

    @rule()
    def a_sensor_raises_once(self) -> None:
        def fail() -> None:
            self.rig.trouble = lambda: None
            raise KeyError("in an adapter")

        self.rig.trouble = fail

    @rule(alerts=st.frozensets(st.sampled_from([Alert.STORAGE_FAILING, Alert.PI_HEALTH])))
    def the_pi_complains(self, alerts: frozenset[Alert]) -> None:
        self.rig.alerts = alerts

    def teardown(self) -> None:
        FicklePin.stuck_low = FicklePin.raising = False
        try:
            check_invariants(self.rig.history, self.rig.limits)
        finally:
            self.rig.close()


TestShed = Shed.TestCase
TestShed.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, print_blob=True)
