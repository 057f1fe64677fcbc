"""How many samples a second one worker of the telemetry Lambda stores: `make bench`, with the network left out.

The handler's own `store_batch` and its writer to Timestream, in one thread, with a real client of boto3 that is
answered in the same process (see `zero_latency`). Batches are the largest that the queue brings, 25 messages, of five
samples each: an FX, two MX, a FLEXnet DC and a Pi, as the real journal words them, with what the IoT rule adds.

Beside it the same calls with the same client, by boto3 alone, from records that are ready: in turn with ours, batch by
batch, so that whatever else the machine does meets both. That ratio is at most 1; what lacks is our share of the time.

No goal: a household has a sample a minute.
"""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from botocore.awsrequest import AWSPreparedRequest

from cloud.telemetry.handler import store_batch
from cloud.telemetry.timestream import TimestreamWriter
from cloud.telemetry.writer import Rejected
from contract import store
from contract.messages import encode_telemetry
from tests.bench.table import Measured, NotMeasuredError, Row, in_digits
from tests.bench.zero_latency import Answer, ZeroLatency
from tests.device.minutes import START_MS, as_objects

BATCHES = 32
MESSAGES_IN_BATCH = 25
SAMPLES_IN_MESSAGE = 5
_SAMPLES_IN_BATCH = MESSAGES_IN_BATCH * SAMPLES_IN_MESSAGE

_JSON = {"content-type": "application/x-amz-json-1.0", "x-amzn-requestid": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_ENDPOINT = json.dumps(
    {"Endpoints": [{"Address": "ingest-cell1.timestream.us-east-1.amazonaws.com", "CachePeriodInMinutes": 1440}]}
).encode()
_TAKEN = json.dumps({"RecordsIngested": {"Total": 100, "MemoryStore": 100, "MagneticStore": 0}}).encode()

Call = dict[str, Any]


def endpoint() -> ZeroLatency:
    """Timestream, which takes everything."""
    return ZeroLatency({"DescribeEndpoints": _where, "WriteRecords": _take})


def _where(_request: AWSPreparedRequest) -> Answer:
    return Answer(_ENDPOINT, _JSON)


def _take(_request: AWSPreparedRequest) -> Answer:
    return Answer(_TAKEN, _JSON)


def batches(count: int) -> Iterator[list[dict[str, Any]]]:
    """The queue's records, by batch."""
    said = as_objects(count * _SAMPLES_IN_BATCH)
    samples = [{**sample, "sequence": number} for number, sample in enumerate(said, 1)]
    messages = [
        {
            "messageId": str(start),
            "body": json.dumps(
                {
                    **json.loads(encode_telemetry(samples[start : start + SAMPLES_IN_MESSAGE])),
                    "thing": "shed",
                    "received_ms": START_MS + 60_000 * (len(samples) + 60),
                }
            ),
        }
        for start in range(0, len(samples), SAMPLES_IN_MESSAGE)
    ]
    for start in range(0, len(messages), MESSAGES_IN_BATCH):
        yield messages[start : start + MESSAGES_IN_BATCH]


def keep_none(rejected: Rejected) -> None:
    """For a store that refuses nothing.

    Raises:
        NotMeasuredError: it has refused something.
    """
    raise NotMeasuredError(f"a point was refused: {rejected.reason}")


def measure(*, quick: bool) -> Measured:
    aws = endpoint()
    ready = list(batches(2 if quick else BATCHES))
    ours_s = alone_s = cpu_s = boto3_s = 0.0
    calls = 0
    with aws.in_place_of_aws():
        writer = TimestreamWriter(store.DATABASE, store.TABLE)
        client = writer._client
        _store(ready[0], writer)  # asks where the endpoint is
        for batch in ready:
            aws.forget()
            began_cpu_s, began_s = time.thread_time(), time.perf_counter()
            _store(batch, writer)
            ours_s += time.perf_counter() - began_s
            cpu_s += time.thread_time() - began_cpu_s - aws.answering_s
            boto3_s += aws.boto3_s
            calls += aws.calls.total()

            parameters = calls_of(batch, writer)
            began_s = time.perf_counter()
            for each in parameters:
                client.write_records(**each)
            alone_s += time.perf_counter() - began_s
    count = len(ready) * _SAMPLES_IN_BATCH
    share_percent = 100 * (1 - boto3_s / cpu_s)
    return Measured(
        (
            Row(7, "Store Lambda, one worker", "samples/s", count / ours_s, count / alone_s, "boto3's calls alone"),
            Row(7, "Store Lambda, outside boto3", "% of its time", share_percent),
        ),
        f"{count:,} samples in {len(ready)} batches of {MESSAGES_IN_BATCH} messages: {calls} WriteRecords in "
        f"{in_digits(ours_s)} s; a batch takes {in_digits(1000 * cpu_s / len(ready))} ms of the processor, "
        f"{in_digits(1000 * boto3_s / len(ready))} ms of it in boto3",
    )


def _store(batch: Sequence[dict[str, Any]], writer: TimestreamWriter) -> None:
    if failed := store_batch(batch, writer, keep_none)["batchItemFailures"]:
        raise NotMeasuredError(f"{len(failed)} of {len(batch)} messages were not stored")


def calls_of(batch: Sequence[dict[str, Any]], writer: TimestreamWriter) -> list[Call]:
    """The parameters of the calls that the handler makes for `batch`."""
    made: list[Call] = []

    def note(params: Call, **_: object) -> None:
        made.append(params)

    events = writer._client.meta.events
    events.register("provide-client-params.timestream-write.WriteRecords", note)
    try:
        _store(batch, writer)
    finally:
        events.unregister("provide-client-params.timestream-write.WriteRecords", note)
    return made
