"""From what one device says in a month to the calls that AWS meters, for so many devices.

The functions that count the calls of a Lambda are held to the Lambda by a test, which runs it and counts; the constants
are held to the synthesized template by another one.

Sources besides the price pages: Lambda developer guide, "Configuring scaling behavior for SQS event source mappings"
(five pollers, which a quiet queue without maximum concurrency may go below); SQS, "Short and long polling" (20 s).
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from infra.costs.assumed import ASSUMED, Assumed
from infra.costs.month import DAYS, DeviceMonth

HOURS = DAYS * 24
SECONDS = HOURS * 3600
_GB = 1e9

# As the template has them.
RUNS = HOURS * 60 // 5
TELEMETRY_MEMORY_MB = 256
TELEMETRY_BATCH = 25
TELEMETRY_WINDOW_S = 1
ALERTS_MEMORY_MB = 256
HEARTBEAT_MEMORY_MB = 1024
ALARM_METRICS = 10
SECRETS = 1
SCHEDULES = 2
MEMORY_STORE_HOURS = 7 * 24
ROLLUP_EVERY_HOURS = 3
ROLLUP_WINDOW_HOURS = 48
STATUS_DAYS = 30

# What S3 lists, and what SQS gives and deletes, in one call.
NAMES_IN_LIST = 1000
MESSAGES_IN_CALL = 10


# The row of what is only paid while somebody looks.
DASHBOARD = "Timestream, one dashboard"


@dataclass(frozen=True)
class Metered:
    """So many of what one price is for, for all devices in a month; `row` is where the sheet shows it."""

    row: str
    price: str
    quantity: float


def heartbeat_run(beating: int, raised: int = 0, still_silent: int = 0, back: int = 0) -> Counter[str]:
    """The calls of one run of the heartbeat Lambda: things that beat (those that are back included), silent ones that
    are raised now, and silent ones that have been raised before."""
    things = beating + raised + still_silent
    listed = max(1, math.ceil(things / NAMES_IN_LIST)) + max(1, math.ceil((still_silent + back) / NAMES_IN_LIST))
    return +Counter(
        {
            # What is open and the heartbeats; the connection of each that is raised.
            "ListObjectsV2": listed + raised,
            # The heartbeats, what is remembered, and the marker of each that is or was silent.
            "GetObject": beating + 1 + raised + still_silent + back,
            "PutObject": 1 + 2 * raised,
            "DeleteObject": back,
            "DescribeThing": raised + still_silent,
            "Publish": raised + back,
        }
    )


def alert_message() -> Counter[str]:
    """The calls for one alert that is raised or cleared; PagerDuty's is none of AWS's."""
    return Counter({"GetItem": 1, "PutItem": 1})


def settle_message() -> Counter[str]:
    """The calls for one scheduled message while nothing flaps."""
    return Counter({"Query": 1})


def messages_in_batch(messages: float, batch: int, window_s: float, assumed: Assumed = ASSUMED) -> float:
    """How many messages Lambda brings at once, of so many a month: what comes within the window to one of the pollers,
    and at least one."""
    return min(float(batch), max(1.0, messages / SECONDS * window_s / assumed.pollers))


def metered(month: DeviceMonth, devices: int, assumed: Assumed = ASSUMED) -> list[Metered]:
    """Everything that is metered in a month of so many devices."""
    fleet = _Fleet(month, devices, assumed)
    return [
        *fleet.iot_core(),
        *fleet.queues(),
        *fleet.functions(),
        *fleet.bucket(),
        *fleet.incidents(),
        *fleet.watching(),
        *fleet.timestream(),
    ]


class _Fleet:
    """So many devices that all do the same."""

    def __init__(self, month: DeviceMonth, devices: int, assumed: Assumed) -> None:
        self._month = month
        self._devices = devices
        self._assumed = assumed
        self._silences = devices * assumed.silences_a_month
        # Raised and cleared: by the devices, and by the heartbeat Lambda about them.
        self._alerts = devices * month.alerts.count + 2 * self._silences
        self._telemetry = devices * month.telemetry.count
        self._in_batch = messages_in_batch(self._telemetry, TELEMETRY_BATCH, TELEMETRY_WINDOW_S, assumed)
        self._batches = self._telemetry / self._in_batch
        # Every run finds all devices beating; what silences change comes on top.
        self._heartbeat = Counter({name: RUNS * count for name, count in heartbeat_run(devices).items()})
        for name, count in self._calls_of_silence().items():
            self._heartbeat[name] += count

    def _calls_of_silence(self) -> dict[str, int]:
        """From the run that raises it, over those that find it raised, to the one that finds the device back."""
        usual = heartbeat_run(1)
        total: Counter[str] = Counter()
        for run, times in (
            (heartbeat_run(0, raised=1), 1),
            (heartbeat_run(0, still_silent=1), self._assumed.silence_runs - 1),
            (heartbeat_run(1, back=1), 1),
        ):
            for name in run | usual:
                total[name] += times * (run[name] - usual[name])
        return {name: math.ceil(count * self._silences) for name, count in total.items()}

    def iot_core(self) -> Iterator[Metered]:
        month, devices = self._month, self._devices
        row = "IoT Core, connection and messages"
        yield Metered(row, "iot.minutes", devices * month.connected_minutes)
        yield Metered(row, "iot.messages", devices * (month.messages - month.shadow_messages))
        yield Metered("IoT Core, rules", "iot.rules", devices * month.published)
        yield Metered("IoT Core, rules", "iot.actions", devices * month.published)
        row = "IoT Core, shadow"
        yield Metered(row, "iot.messages", devices * month.shadow_messages)
        yield Metered(row, "iot.shadow", devices * month.shadow_operations + self._heartbeat["DescribeThing"])

    def queues(self) -> Iterator[Metered]:
        """Each message is sent, received and deleted; and who waits for messages asks all the time."""
        received = self._batches * math.ceil(self._in_batch / MESSAGES_IN_CALL)
        sent = self._devices * self._month.queue_pieces
        alert_messages = self._alerts + RUNS
        polls = 2 * self._assumed.pollers * SECONDS / self._assumed.poll_s
        yield Metered("SQS", "sqs.requests", sent + 2 * received + 3 * alert_messages + polls)
        # What goes from a topic to a queue of the same account is delivered for nothing.
        yield Metered("SNS", "sns.publishes", self._alerts)

    def functions(self) -> Iterator[Metered]:
        assumed = self._assumed
        alert_calls = self._alerts + RUNS
        # Alerts are so rare that each has a call of its own.
        telemetry_s = self._batches * assumed.telemetry_s + self._telemetry * assumed.telemetry_message_s
        alerts_s = alert_calls * assumed.alerts_s + self._alerts * assumed.alerts_message_s
        heartbeat_s = RUNS * (assumed.heartbeat_s + self._devices * assumed.heartbeat_thing_s)
        mb_s = telemetry_s * TELEMETRY_MEMORY_MB + alerts_s * ALERTS_MEMORY_MB + heartbeat_s * HEARTBEAT_MEMORY_MB
        calls = self._batches + RUNS + alert_calls
        yield Metered("Lambda", "lambda.requests", calls)
        yield Metered("Lambda", "lambda.gb_s", mb_s / 1024)
        lines = calls + 2 * self._silences
        log_gb = (calls * assumed.log_bytes_of_call + lines * assumed.log_bytes_of_line) / _GB
        yield Metered("CloudWatch, logs", "cloudwatch.logs", log_gb)
        yield Metered("CloudWatch, logs", "cloudwatch.stored", log_gb)

    def bucket(self) -> Iterator[Metered]:
        month, devices, calls = self._month, self._devices, self._heartbeat
        written = devices * (month.heartbeats.count + month.statuses.count) + calls["PutObject"]
        yield Metered("S3", "s3.puts", written + calls["ListObjectsV2"])
        yield Metered("S3", "s3.gets", calls["GetObject"])
        kept = month.heartbeats.bytes / max(1, month.heartbeats.count) + month.statuses.bytes * STATUS_DAYS / DAYS
        yield Metered("S3", "s3.gb", devices * kept / _GB)

    def incidents(self) -> Iterator[Metered]:
        size = self._assumed.incident_bytes
        calls = alert_message()
        yield Metered("DynamoDB", "dynamodb.writes", self._alerts * calls["PutItem"] * math.ceil(size / 1024))
        # Read consistently; the question of what flaps costs half a unit, also where the answer is "nothing".
        reads = self._alerts * calls["GetItem"] * math.ceil(size / 4096) + RUNS * settle_message()["Query"] / 2
        yield Metered("DynamoDB", "dynamodb.reads", reads)
        gb = self._devices * self._assumed.incidents_of_device * size / _GB
        yield Metered("DynamoDB", "dynamodb.gb", gb)
        yield Metered("DynamoDB", "dynamodb.pitr", gb)

    def watching(self) -> Iterator[Metered]:
        yield Metered("Secrets Manager", "secrets.secrets", SECRETS)
        yield Metered("Secrets Manager", "secrets.calls", min(self._alerts, self._assumed.cold_starts_a_day * DAYS))
        yield Metered("EventBridge Scheduler", "scheduler.invocations", SCHEDULES * RUNS)
        yield Metered("CloudWatch, alarms", "cloudwatch.alarms", ALARM_METRICS)

    def timestream(self) -> Iterator[Metered]:
        month, devices, assumed = self._month, self._devices, self._assumed
        gb_a_month = devices * month.points_bytes / _GB
        # As if each message were written by itself. Of many devices Lambda writes several at once, and rounds up less.
        yield Metered("Timestream, writes", "timestream.writes", devices * month.write_pieces)
        in_memory_gb = gb_a_month * MEMORY_STORE_HOURS / HOURS
        yield Metered("Timestream, memory store", "timestream.memory", in_memory_gb * HOURS)
        yield Metered("Timestream, magnetic store", "timestream.magnetic", gb_a_month * assumed.months_kept)
        yield from self._roll_ups()
        questions = DAYS * assumed.dashboard_hours_a_day * 3600 / assumed.dashboard_asks_every_s
        tcu_hours = questions * assumed.query_s / 3600 * assumed.query_tcu
        yield Metered(DASHBOARD, "timestream.tcu", tcu_hours)
        yield Metered("Data to the internet", "transfer.gb", devices * month.shadow_answers.bytes / _GB)

    def _roll_ups(self) -> Iterator[Metered]:
        """Each run is a query, and writes every hour that it goes back, of each source, anew. What they keep is not
        counted: a sixtieth of the samples."""
        row, runs = "Timestream, hourly roll-ups", HOURS / ROLLUP_EVERY_HOURS
        yield Metered(row, "timestream.tcu", runs * self._assumed.query_s / 3600 * self._assumed.query_tcu)
        sources = self._month.points / max(1, self._month.samples)
        yield Metered(row, "timestream.writes", self._devices * sources * runs * ROLLUP_WINDOW_HOURS)
        yield Metered(row, "sns.publishes", runs)
