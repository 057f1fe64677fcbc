"""One emulated AWS with this project's stack in it, shared by all tests that ask for it.

They are of xdist's group "emulator", so that one process runs them all and makes it once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from demo.emulator import Emulator
    from demo.pagerduty import PagerDuty
    from demo.timestream.server import Endpoint

# Of the deployed cloud, in seconds: production's quarter of an hour is a long time for a test.
SILENT_AFTER_S = 6
# What a Lambda worked on when the emulator stopped comes back after this; deployed: three minutes.
VISIBLE_AGAIN_AFTER_S = 5
ROUTING_KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Cloud:
    """The cloud half on this machine."""

    emulator: "Emulator"
    timestream: "Endpoint"
    pagerduty: "PagerDuty"
    outputs: dict[str, str]

    def query(self) -> Any:  # noqa: ANN401 - a boto3 client
        """A timestream-query client of the stand-in."""
        from demo.emulator import client

        return client("timestream-query", self.timestream.url)


@contextmanager
def running_cloud(directory: Path) -> Iterator[Cloud]:
    """One emulated AWS of its own, with the stack deployed; it can be stopped and started again."""
    # Every test run loads this module; only those with such a test need all this.
    from demo.deployment import create_table, deploy, put_routing_key
    from demo.emulator import Emulator, client
    from demo.pagerduty import serve as serve_pagerduty
    from demo.timestream.server import serve as serve_timestream

    with serve_timestream() as timestream, serve_pagerduty() as pagerduty:
        pagerduty.accepted_keys = frozenset({ROUTING_KEY})
        elsewhere = {
            "AWS_ENDPOINT_URL_TIMESTREAM_WRITE": timestream.url,
            "SOLARSHED_PAGERDUTY_URL": pagerduty.url,
            # Tests raise alerts more often than sheds do.
            "SOLARSHED_MOST_PAIRS": "1000",
        }
        emulator = Emulator(directory, elsewhere, keep_state=True)
        try:
            emulator.start()
            outputs = deploy(emulator, directory, settings={"silent_after_s": SILENT_AFTER_S})
            assert outputs is not None
            create_table(client("timestream-write", timestream.url), directory)
            put_routing_key(emulator, outputs, ROUTING_KEY)
            for queue in ("TelemetryQueueUrl", "AlertsQueueUrl"):
                emulator.client("sqs").set_queue_attributes(
                    QueueUrl=outputs[queue], Attributes={"VisibilityTimeout": str(VISIBLE_AGAIN_AFTER_S)}
                )
            yield Cloud(emulator, timestream, pagerduty, outputs)
        finally:
            emulator.stop()


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running
