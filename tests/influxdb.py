"""A real InfluxDB (Debian's `influxdb`, version 1) on this machine, for as long as a test or a module needs it."""

import json
import shutil
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from demo.emulator import free_port

USER, PASSWORD = "owner", "a password"

_STARTS_WITHIN_S = 20.0
_CONFIG = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{directory}/meta"
  logging-enabled = false
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{http_port}"
  auth-enabled = {auth}
  log-enabled = false
[logging]
  level = "error"
"""


@dataclass(frozen=True)
class Influxd:
    """A running server. With `auth`, USER is its administrator."""

    url: str
    auth: bool

    def query(self, influxql: str, database: str = "", epoch: str = "ms") -> list[dict[str, Any]]:
        """The series of one statement's answer: `name`, `tags`, `columns`, `values`; times are of the unit `epoch`.

        Raises:
            RuntimeError: the server refuses the statement; the text says why.
        """
        asked = {"q": influxql, "epoch": epoch, **({"db": database} if database else {})}
        request = Request(f"{self.url}/query", urlencode(asked).encode())  # noqa: S310 - our own server
        if self.auth:
            request.add_header("Authorization", "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        try:
            with urlopen(request, timeout=20) as response:  # noqa: S310 - our own server
                (result,) = json.load(response)["results"]
        except HTTPError as e:
            raise RuntimeError(e.read().decode()) from None
        if "error" in result:
            raise RuntimeError(result["error"])
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def create_database(self, name: str) -> None:
        """Make an empty database; one of that name is dropped."""
        self.query(f'DROP DATABASE "{name}"')
        self.query(f'CREATE DATABASE "{name}"')


@contextmanager
def influxd(*, auth: bool = False) -> Iterator[Influxd]:
    """An empty server on free ports of 127.0.0.1. Where none is installed, the test is skipped with the remedy."""
    program = shutil.which("influxd")
    if program is None:
        pytest.skip("no influxd here: sudo apt-get install influxdb")
    with tempfile.TemporaryDirectory(prefix="solarshed-influxd-") as folder:
        config, http_port = Path(folder, "influxdb.conf"), free_port()
        config.write_text(
            _CONFIG.format(directory=folder, rpc_port=free_port(), http_port=http_port, auth=str(auth).lower())
        )
        log_path = Path(folder, "log")
        with log_path.open("wb") as log:
            process = subprocess.Popen([program, "-config", str(config)], stdout=log, stderr=log, cwd=folder)
        try:
            url = f"http://127.0.0.1:{http_port}"
            _wait_for(url, process, log_path)
            server = Influxd(url, auth)
            if auth:
                server.query(f"CREATE USER \"{USER}\" WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until_s = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            with urlopen(f"{url}/ping", timeout=1):  # noqa: S310 - our own server
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError(f"influxd does not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)
