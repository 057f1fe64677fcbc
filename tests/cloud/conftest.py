"""AWS as the Lambdas find it in a test: credentials that are worth nothing, and the project's own Timestream."""

from collections.abc import Iterator

import pytest

from contract import store
from demo.timestream.catalog import Retention
from demo.timestream.server import Endpoint, serve

RETENTION = Retention(memory_h=7 * 24, magnetic_days=5 * 365, magnetic_writes=True)


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """An empty table over HTTP, where boto3 finds it by the environment."""
    with serve() as running:
        running.engine.create_database(store.DATABASE)
        running.engine.create_table(store.DATABASE, store.TABLE, RETENTION)
        monkeypatch.setenv("AWS_ENDPOINT_URL_TIMESTREAM_WRITE", running.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_TIMESTREAM_QUERY", running.url)
        yield running
