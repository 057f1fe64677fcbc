"""What a run of the heartbeat Lambda takes over 10,000 and 100,000 things: `make bench`, with the network left out.

The real handler with real clients of boto3 that are answered in the same process (see `zero_latency`), in a process of
its own for each size. All things beat, and the run before has noted all of them: it lists them, reads and judges each
heartbeat, and notes what it has seen, as it does every five minutes.

The goal is that it grows with the number of things and not faster. Ten times the things may take

- at most 1.25 times ten times as long: the garbage collector has more to look at, and the machine has other things to
  do; a sort or a pass over all things for each thing would take 10 times as long, not 1.25;
- at most ten times the calls, with no allowance: they are counted, not measured;
- at most 1.25 times ten times the memory, of what a run adds to the process that has imported everything: sets and
  dictionaries grow by doubling, and may be just before it or just after.

A run ends before its Lambda's timeout, whose seconds stand beside those measured. A Lambda of 1024 MB has 0.58 of a
processor (AWS: one at 1769 MB), and its network is not in it: sixteen threads wait for that at the same time.
"""

import io
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.awsrequest import AWSPreparedRequest

from cloud.heartbeat.verdict import Memory, encode
from contract import heartbeat
from infra.costs.calls import NAMES_IN_LIST, heartbeat_run
from tests.bench.table import Goal, Measured, NotMeasuredError, Of, Row, in_digits
from tests.bench.zero_latency import Answer, ZeroLatency

SMALL, TIMES = 10_000, 10
QUICK_SMALL = 110
# That of the function; see infra.heartbeat.
TIMEOUT_S = 240

_GROWTH = Goal(Of.RATIO, 1.25)
_EXACTLY = Goal(Of.RATIO, 1.0)
_ROOT = Path(__file__).resolve().parents[2]
_MODULE = "tests.bench.heartbeats"
_BUCKET = "heartbeats"
_MB = 1024


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took. `boto3_percent` is boto3's part of the processor time, that of the answers left out."""

    things: int
    duration_s: float
    calls: int
    added_mb: float
    boto3_percent: float


class Bucket:
    """S3, with so many heartbeats that have just come, and what the run before has noted of them."""

    def __init__(self, things: int) -> None:
        now = datetime.now(UTC)
        self._now = now.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        date = format_datetime(now.replace(microsecond=0), usegmt=True)
        self._headers = {
            "date": date,
            "last-modified": date,
            "content-type": "application/octet-stream",
            "etag": '"0123456789abcdef0123456789abcdef"',
            "x-amz-id-2": "x" * 76,
            "x-amz-request-id": "X" * 16,
            "x-amz-server-side-encryption": "AES256",
            "accept-ranges": "bytes",
            "server": "AmazonS3",
        }
        self._names = [f"shed-{number:06}" for number in range(things)]
        now_ms = round(now.timestamp() * 1000)
        before = Memory(now_ms - 300_000, "4f1d", 411, now_ms - 300_000, {"decisions": now_ms - 300_000})
        # Of all at once it would leave room in this process, which the run would then fill unseen.
        rows = (encode({name: before})[1:-1] for name in self._names)
        self._counts = b"{" + b",".join(rows) + b"}"
        self._beat = json.dumps(
            {
                "schema": 1,
                "time_ms": now_ms,
                "boot_id": "4f1d",
                "clock_synchronised": True,
                "decision_count": 412,
                "position": "battery",
                "reason": "hold",
                "alerts": [],
                "reading_ages_s": {"battery_voltage": 0.4, "box_temperature": 1.1},
            }
        ).encode()
        self.aws = ZeroLatency({"ListObjectsV2": self._list, "GetObject": self._get, "PutObject": self._put})

    def _list(self, request: AWSPreparedRequest) -> Answer:
        query = parse_qs(urlsplit(request.url).query)
        names = self._names if query["prefix"] == [heartbeat.PREFIX] else []
        first = int(query.get("continuation-token", ["0"])[0])
        following = first + NAMES_IN_LIST
        next_page = f"<NextContinuationToken>{following}</NextContinuationToken>" if following < len(names) else ""
        contents = "".join(map(self._listed, names[first:following]))
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{_BUCKET}</Name>'
            f"<MaxKeys>{NAMES_IN_LIST}</MaxKeys><IsTruncated>{'true' if next_page else 'false'}</IsTruncated>"
            f"{next_page}{contents}</ListBucketResult>"
        )
        return Answer(text.encode(), {**self._headers, "content-type": "application/xml"})

    def _listed(self, name: str) -> str:
        return (
            f"<Contents><Key>{heartbeat.key(name)}</Key><LastModified>{self._now}</LastModified>"
            "<ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag>"
            f"<Size>{len(self._beat)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    def _get(self, request: AWSPreparedRequest) -> Answer:
        is_counts = urlsplit(request.url).path.endswith(heartbeat.COUNTS_KEY)
        return Answer(self._counts if is_counts else self._beat, self._headers)

    def _put(self, _request: AWSPreparedRequest) -> Answer:
        return Answer(b"", self._headers)


class _Context:
    """Lambda's, with time that does not run out: all are read, however slow this machine is."""

    def get_remaining_time_in_millis(self) -> int:
        return TIMEOUT_S * 1000


def run(things: int) -> Run:
    """One run in this process, which must not have imported the handler.

    Raises:
        NotMeasuredError: it did not do what it does in five minutes that are like the ones before.
    """
    bucket = Bucket(things)
    environment = {
        "SOLARSHED_HEARTBEAT_BUCKET": _BUCKET,
        "SOLARSHED_ALERT_TOPIC": "arn:aws:sns:us-east-1:000000000000:alerts",
    }
    # Powertools' logger writes to what is standard output when it is made.
    with bucket.aws.in_place_of_aws(**environment), redirect_stdout(io.StringIO()) as log:
        from cloud.heartbeat import handler

        handler._s3()
        before_mb = _peak_mb()
        cpu_s, began_s = time.process_time(), time.monotonic()
        handler.handler({}, _Context())
        duration_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    check(things, json.loads(log.getvalue().splitlines()[-1]), bucket.aws.calls)
    percent = 100 * bucket.aws.boto3_s / (cpu_s - bucket.aws.answering_s)
    return Run(things, duration_s, bucket.aws.calls.total(), _peak_mb() - before_mb, percent)


def check(things: int, said: Mapping[str, Any], calls: Counter[str]) -> None:
    """That a run, which `said` so in its log, has looked at so many things and found them well.

    Raises:
        NotMeasuredError: it has not.
    """
    expected = {"things": things, "left": 0, "blind": 0, "unreadable": 0, "memory_lost": 0, "failures": 0}
    counts = {name: said[name] for name in expected}
    if counts != expected:
        raise NotMeasuredError(f"a run over {things} things that are well says {counts}")
    if calls != heartbeat_run(things):
        raise NotMeasuredError(f"a run over {things} things makes other calls than the cost sheet has: {dict(calls)}")


def _peak_mb() -> float:
    """The most memory that this process ever had (VmHWM in proc(5))."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / _MB
    raise NotMeasuredError("this system does not say how much memory a process has had")


def run_apart(things: int) -> Run:
    """One run in a fresh process.

    Raises:
        NotMeasuredError: it was no run like others; the text says why.
    """
    done = subprocess.run(
        [sys.executable, "-m", _MODULE, str(things)], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NotMeasuredError(f"{things} things: {(done.stderr.strip() or 'no word of it').splitlines()[-1]}")
    return Run(**json.loads(done.stdout))


def measure(*, quick: bool) -> Measured:
    few = QUICK_SMALL if quick else SMALL
    small, large = (run_apart(things) for things in (few, few * TIMES))
    what = f"heartbeat Lambda, {large.things:,} things"
    other_is = f"{TIMES} x {small.things:,} things"
    return Measured(
        (
            Row(7, f"{what}: time", "s", large.duration_s, TIMES * small.duration_s, other_is, _GROWTH),
            Row(7, f"{what}: calls", "calls", large.calls, TIMES * small.calls, other_is, _EXACTLY),
            Row(7, f"{what}: memory", "MB", large.added_mb, TIMES * small.added_mb, other_is, _GROWTH),
            Row(7, f"{what}: a run", "s", large.duration_s, TIMEOUT_S, "its timeout"),
        ),
        "\n".join(
            f"{each.things:>7,} things: {in_digits(each.duration_s)} s, {each.calls:,} calls, "
            f"{in_digits(each.added_mb)} MB more than before it; {in_digits(1000 * each.duration_s / each.things)} ms "
            f"a thing, {each.boto3_percent:.0f} % of it in boto3"
            for each in (small, large)
        ),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(run(int(sys.argv[1])))))
