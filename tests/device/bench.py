"""`decide` on a virtual clock, for the tests of its rules."""

from contract.positions import Position, Reason
from device.decide import Decision, decide
from device.limits import Limits
from device.observe import State, initial_state
from device.override import Override
from device.readings import AcMode, AcReading, Reading, Readings
from tests.device.limits import LIMITS

LOW_V, IN_BAND_V, HIGH_V = 49.0, 51.0, 53.0
COOL_C, WARM_C, HOT_C = 20.0, 33.0, 40.0
START_S = 1000.0


class Bench:
    """Every tick brings fresh samples of what is given; None = no reading."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.now_s = START_S
        self.state = initial_state(self.now_s)
        self.override: Override | None = None
        self.ac: AcMode | None = None
        self.soc_percent: float | None = None
        self.is_daylight: bool | None = None

    def tick(self, voltage_v: float | None = IN_BAND_V, temperature_c: float | None = COOL_C) -> Decision:
        self.readings = Readings(
            battery_voltage_v=sample(voltage_v, self.now_s),
            box_temperature_c=sample(temperature_c, self.now_s),
            soc_percent=sample(self.soc_percent, self.now_s),
            ac=None if self.ac is None else AcReading(self.ac, self.now_s, "fx1"),
            is_daylight=self.is_daylight,
        )
        return self.see(self.readings)

    def see(self, readings: Readings) -> Decision:
        decision = decide(readings, self.override, self.state, self.limits, self.now_s)
        self.state = decision.state
        return decision

    def run(
        self, duration_s: int, voltage_v: float | None = IN_BAND_V, temperature_c: float | None = COOL_C
    ) -> Decision:
        """A tick each second; the last one is `duration_s` from now."""
        for _ in range(duration_s):
            self.now_s += 1.0
            decision = self.tick(voltage_v, temperature_c)
        return decision


def sample(value: float | None, at_s: float) -> Reading | None:
    return None if value is None else Reading(value, at_s, "test")


def outcome(decision: Decision) -> tuple[Position, Reason]:
    return decision.position, decision.reason


def state_of(position: Position, since_s: float = 0.0, **changes: object) -> State:
    """A state in which the relays have been in `position` since `since_s`, all sensors heard then."""
    return initial_state(since_s)._replace(position=position, readings_complete=True, **changes)  # type: ignore[arg-type]


def on_battery(limits: Limits = LIMITS) -> Bench:
    """On battery, with the least time there over."""
    bench = Bench(limits)
    bench.tick()
    bench.run(300)
    return bench


def on_grid(limits: Limits = LIMITS) -> Bench:
    """On grid since this second, with a low battery."""
    bench = on_battery(limits)
    bench.tick(LOW_V)
    decision = bench.run(60, LOW_V)
    assert decision.position is Position.GRID
    return bench


def tripped() -> Bench:
    """Too hot since this second."""
    bench = on_grid()
    decision = bench.run(2, LOW_V, HOT_C)
    assert decision.reason is Reason.OVER_TEMPERATURE
    return bench
