"""Goal 11: what a device costs a month, beside a rule that writes each of its values to Timestream by itself.

Ours is the cost sheet (`solarshed costs`): five samples a message, over a queue and a Lambda, a record of many measures
for each source. The other one is the same sheet with another way into Timestream: the device publishes what a sample
of ours holds once a minute, flat, and an IoT rule's Timestream action writes it. Neither pays for a queue or a Lambda
of telemetry then. Heartbeats, shadow, alerts, roll-ups, alarms and the dashboard are the same, and cost the same.

What that action does (AWS IoT Core developer guide, "Timestream"): it writes each attribute of the rule's result as a
record of its own, of one measure, with the same dimensions and time; at most 100 of a message.

How that is metered (Timestream developer guide, "Metering and pricing", Writes and Storage): a write for each 1 KB of a
call that is begun, where what all records of the call have in common counts once; stored is each record with its time
and all its dimensions.

Where neither says it, the other one has the cheaper way: the dimensions and the time are common attributes of one call
a message; sources are told apart by a prefix of the name, so that one rule with one action is enough, instead of one
for each source; only whole minutes are sent, no change between them; and what serves only our delivery (which boot,
which number, whether the clock was set) is left out.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cloud.telemetry.points import Point, Value, points_of
from contract import messages, store, topics
from device import settings
from device.decide import Decision
from device.journal import Journal
from device.loop import Loop, Seen
from device.observe import initial_state
from device.settings import Settings
from infra.costs.assumed import ASSUMED
from infra.costs.calls import SECONDS, Metered, metered
from infra.costs.month import DAYS, STEP_S, THING, WRITE_PIECE_BYTES, DeviceMonth, Sent, count_days, pieces
from infra.costs.prices import PRICES
from infra.costs.shed import BOOT_ID, CYCLE_DAYS, DAY_S, Shed, VirtualClock
from tests.bench.table import Goal, Measured, NotMeasuredError, Of, Row

DEVICES = (1, 100, 10_000)
# Of so many the details are told.
SHOWN = 100
GOAL_RATIO = 1.0
MOST_VALUES_OF_ACTION = 100

_MINUTE_S = 60.0
_TIME_BYTES = 8
_ONLY_FOR_OUR_DELIVERY = ("boot_id", "clock_synchronised", "sequence")
_OTHER_IS = "single-measure records by a rule action"
# The rows of the sheet; `metered` names them so too.
_MESSAGES = "IoT Core, connection and messages"
_RULES = "IoT Core, rules"
_QUEUES = "SQS"

UsdByRow = dict[str, float]


@dataclass
class Direct:
    """What one device causes that publishes for the rule's action."""

    telemetry: Sent = field(default_factory=Sent)
    records: int = 0
    records_bytes: int = 0
    write_pieces: int = 0

    def add(self, sample: Sequence[Point]) -> None:
        """One more message, with the values of one sample.

        Raises:
            NotMeasuredError: one action does not write that many.
        """
        values = flat(sample)
        if len(values) > MOST_VALUES_OF_ACTION:
            raise NotMeasuredError(f"a rule's action writes {MOST_VALUES_OF_ACTION} values, not {len(values)}")
        payload = messages.encode({"time_ms": sample[0].time_ms, **values})
        self.telemetry.add(topics.topic(THING, topics.TELEMETRY), payload)
        common_bytes = _common_bytes(sample[0])
        own_bytes = sum(len(name.encode()) + _value_bytes(value) for name, value in values.items())
        self.records += len(values)
        self.records_bytes += len(values) * common_bytes + own_bytes
        self.write_pieces += pieces(common_bytes + own_bytes, WRITE_PIECE_BYTES)

    def times(self, factor: int) -> "Direct":
        """So many times the same."""
        return Direct(
            self.telemetry * factor, self.records * factor, self.records_bytes * factor, self.write_pieces * factor
        )


def flat(sample: Sequence[Point]) -> dict[str, Value]:
    """The values of a sample's points by one name each: those of a device are prefixed with it."""
    return {
        name if point.source == store.SOURCE_CONTROL else f"{point.source}_{name}": value
        for point in sample
        for name, value in point.values.items()
        if name not in _ONLY_FOR_OUR_DELIVERY
    }


def _common_bytes(point: Point) -> int:
    """Of the time and the dimensions, which all records of a message have."""
    dimensions = (store.DIMENSION_SITE, point.site, store.DIMENSION_THING, point.thing)
    return _TIME_BYTES + sum(len(text.encode()) for text in dimensions)


def _value_bytes(value: Value) -> int:
    if isinstance(value, bool):
        return 1
    return len(value.encode()) if isinstance(value, str) else 8


def measure(*, quick: bool) -> Measured:
    """Both are counted. `quick` takes a bright day for each of the month's."""
    print("counting what one device says in a month, both ways", file=sys.stderr)
    defaults, days = settings.parse(""), 1 if quick else CYCLE_DAYS
    month, direct = count_days(defaults, days).times(DAYS // days), count_direct(defaults, days).times(DAYS // days)
    rows = []
    for devices in DEVICES:
        ours, other = usd(metered(month, devices), devices), usd(metered_directly(month, direct, devices), devices)
        what = f"a device-month of {devices:,}"
        rows.append(_row(f"{what}, all of it", sum(ours.values()), sum(other.values())))
        if devices == SHOWN:
            both = sum(usd(metered_directly(month, Direct(), devices), devices).values())
            rows.append(_row(f"{what}, telemetry alone", sum(ours.values()) - both, sum(other.values()) - both))
            details = _details(month, direct, ours, other)
    return Measured(tuple(rows), details)


def _row(what: str, ours_usd: float, other_usd: float) -> Row:
    return Row(11, what, "USD", ours_usd, other_usd, _OTHER_IS, Goal(Of.RATIO, GOAL_RATIO))


def count_direct(of: Settings, days: int) -> Direct:
    """So many days: a message a minute, with what the sample of that minute holds."""
    device = _Sampled(of)
    for tick in range(round(days * DAY_S / STEP_S)):
        device.decide(tick * STEP_S)
    return device.direct


class _Sampled:
    """The real loop and journal of one device, in the weather of the sheet's shed."""

    def __init__(self, of: Settings) -> None:
        self.direct = Direct()
        limits = of.limits()
        self._clock = VirtualClock(0.0)
        self._journal = Journal(
            self._clock,
            BOOT_ID,
            limits,
            sample_interval_s=of.control.sample_interval_s,
            heartbeat_interval_s=of.control.heartbeat_interval_s,
            site=of.site.name,
        )
        shed = Shed(limits.band_v)
        self._loop = Loop(shed, shed, self, limits, initial_state(0.0))
        self._minute = -1
        self._sequence = 0

    def decide(self, now_s: float) -> None:
        self._clock.now_s = now_s
        self._loop.tick(now_s)

    def record(self, decision: Decision, seen: Seen) -> None:
        """Called after each decision. Of a minute with a change the first sample is taken, as of any other."""
        entry = self._journal.record(decision, seen)
        minute = int(self._clock.now_s // _MINUTE_S)
        if entry.sample is None or minute == self._minute:
            return
        self._minute = minute
        self._sequence += 1
        payload = messages.encode_telemetry([{"sequence": self._sequence, **json.loads(entry.sample)}])
        self.direct.add(points_of({**json.loads(payload), "thing": THING}))


def metered_directly(month: DeviceMonth, direct: Direct, devices: int) -> list[Metered]:
    """The sheet of `month` with its telemetry replaced by `direct`."""
    rest = replace(
        month, telemetry=Sent(), queue_pieces=0, points_bytes=direct.records_bytes, write_pieces=direct.write_pieces
    )
    said = devices * direct.telemetry.pieces
    return [
        *metered(rest, devices),
        Metered(_MESSAGES, "iot.messages", said),
        Metered(_RULES, "iot.rules", said),
        Metered(_RULES, "iot.actions", said),
        # Nobody asks the queue of telemetry, which is not there.
        Metered(_QUEUES, "sqs.requests", -ASSUMED.pollers * SECONDS / ASSUMED.poll_s),
    ]


def usd(quantities: Sequence[Metered], devices: int) -> UsdByRow:
    """US dollars a device, by row of the sheet."""
    by_row: UsdByRow = {}
    for each in quantities:
        by_row[each.row] = by_row.get(each.row, 0.0) + each.quantity * PRICES[each.price].of_one / devices
    return by_row


def _details(month: DeviceMonth, direct: Direct, ours: Mapping[str, float], other: Mapping[str, float]) -> str:
    differ = [name for name in ours if abs(ours[name] - other[name]) >= 0.00005]
    width = max(map(len, differ))
    lines = [
        f"In a month, ours: {_counts(month.telemetry, month.points, month.points_bytes, month.write_pieces)}",
        f"In a month, other: {_counts(direct.telemetry, direct.records, direct.records_bytes, direct.write_pieces)}",
        "",
        f"{f'USD a device-month of {SHOWN}':<{width}}  {'ours':>8}  {'other':>8}  {'ours - other':>12}",
        *(
            f"{name:<{width}}  {ours[name]:>8.4f}  {other[name]:>8.4f}  {ours[name] - other[name]:>+12.4f}"
            for name in differ
        ),
        "",
        "The rest is the same for both: heartbeats, shadow, alerts, alarms, hourly roll-ups, the dashboard.",
        "In favour of the other one: dimensions and time once a call; one action for all sources; no changes between",
        f"the minutes; without {', '.join(_ONLY_FOR_OUR_DELIVERY)}; alarms and roll-ups as cheap as ours.",
    ]
    return "\n".join(lines)


def _counts(sent: Sent, records: int, records_bytes: int, write_pieces: int) -> str:
    return (
        f"{sent.count:,} messages of {sent.bytes / sent.count:,.0f} bytes; {write_pieces:,} writes of 1 KB; "
        f"{records:,} records of {records_bytes / records:,.0f} bytes, {records_bytes / 1e6:,.1f} MB to store"
    )
