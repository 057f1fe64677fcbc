"""A month of minutes of a simulated shed, to draw and to query: the real loop and journal on a virtual clock.

The shed is that of the cost sheet (`infra.costs.shed`), whose weather repeats after three days: so many are simulated,
and repeated. What it has no instruments for is added here: a second charge controller, an outside thermometer, clouds,
daylight. Of the devices only every tenth minute is kept, for speed.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cloud.telemetry.influxdb import InfluxWriter
from cloud.telemetry.points import Point, points_of
from cloud.telemetry.timestream import TimestreamWriter
from contract import store
from contract.messages import encode_telemetry
from demo.timestream.engine import Engine
from device.decide import Decision
from device.journal import Journal
from device.loop import Loop, Seen
from device.observe import initial_state
from device.settings import parse
from infra.costs.shed import BOOT_ID, CYCLE_DAYS, DAY_S, START_MS, Shed, VirtualClock

THING = "shed"
DAYS = 30
END_MS = START_MS + DAYS * DAY_S * 1000
MINUTES_A_DAY = DAY_S // 60
DEVICES_EVERY = 10

_MINUTE_S = 60.0
_SETTINGS = parse(f'thing = "{THING}"\n[thermometer]\nsensor_id = "28-000005e2fdc3"\n[uplink]\nendpoint = "none"\n')


class _Kept:
    """Keeps what the journal says of the newest decision."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.sample = ""

    def record(self, decision: Decision, seen: Seen, /) -> None:
        self.sample = self._journal.record(decision, seen).sample or ""


def points(days: int = DAYS) -> list[Point]:
    """What the telemetry Lambda stores of the last `days` before END_MS, in whole cycles of weather."""
    cycle = [point for batch in _batches() for point in points_of(batch)]
    cycles = range((DAYS - days) // CYCLE_DAYS, DAYS // CYCLE_DAYS)
    return [_moved(point, number) for number in cycles for point in cycle]


def load_timestream(engine: Engine, stored: list[Point]) -> None:
    """Put `stored` into the stand-in's table, as the telemetry Lambda writes them."""
    requests: list[dict[str, Any]] = []

    class Client:
        """Takes the requests of the real writer, to be carried out together."""

        exceptions = _NoExceptions

        def write_records(self, **request: Any) -> None:  # noqa: ANN401 - boto3's own shape
            requests.append(request)

    writer = TimestreamWriter(store.DATABASE, store.TABLE, Client())  # type: ignore[arg-type]
    for start in range(0, len(stored), writer.max_points):
        writer.write(stored[start : start + writer.max_points])
    for start in range(0, len(requests), 50):
        engine.load(requests[start : start + 50])


def load_influxdb(writer: InfluxWriter, stored: list[Point]) -> None:
    """Write `stored`, as the telemetry Lambda does."""
    for start in range(0, len(stored), writer.max_points):
        assert writer.write(stored[start : start + writer.max_points]) == []


class _NoExceptions:
    ValidationException = RejectedRecordsException = ValueError


def _batches() -> Iterator[dict[str, Any]]:
    batch: list[dict[str, Any]] = []
    for sample in samples():
        batch.append(sample)
        if len(batch) == 100:
            yield _message(batch)
            batch = []
    if batch:
        yield _message(batch)


def _message(batch: list[dict[str, Any]]) -> dict[str, Any]:
    return {**json.loads(encode_telemetry(batch)), "thing": THING}


def samples() -> Iterator[dict[str, Any]]:
    """The first cycle of weather, a sample a minute."""
    clock = VirtualClock(0.0)
    limits = _SETTINGS.limits()
    shed = Shed(limits.band_v)
    kept = _Kept(Journal(clock, BOOT_ID, limits, sample_interval_s=_MINUTE_S, heartbeat_interval_s=300.0))
    loop = Loop(shed, shed, kept, limits, initial_state(0.0))
    for number in range(CYCLE_DAYS * MINUTES_A_DAY):
        clock.now_s = number * _MINUTE_S
        loop.tick(clock.now_s)
        sample = {"sequence": number + 1, **json.loads(kept.sample)}
        _add_weather(sample, clock.now_s)
        if number % DEVICES_EVERY:
            sample["devices"] = {}
        yield sample


def _add_weather(sample: dict[str, Any], now_s: float) -> None:
    hour = now_s / 3600 % 24
    sample["measures"]["outside_temperature_c"] = round(4 + 6 * math.sin((hour - 9) / 24 * math.tau), 2)
    sample["measures"]["cloud_cover_percent"] = round(50 + 45 * math.sin(now_s / DAY_S), 0)
    sample["inputs"]["is_daylight"] = 7 <= hour < 17
    first = sample["devices"]["mx2"]
    sample["devices"]["mx3"] = {**first, "pv_voltage_v": first["pv_voltage_v"] + 7}


def _moved(point: Point, cycles: int) -> Point:
    """`point`, so many cycles of weather later."""
    minutes = cycles * CYCLE_DAYS * MINUTES_A_DAY
    return replace(point, time_ms=point.time_ms + minutes * 60_000, version=point.version + minutes)
