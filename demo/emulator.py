"""The emulated AWS: ministack, with IAM and IoT policies enforced, on free ports of this machine."""

import os
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3

from demo.processes import DemoError, Process

REGION = "us-east-1"
ACCOUNT = "000000000000"

_START_TIMEOUT_S = 60.0
_STOP_GRACE_S = 3.0
_HANDSHAKE_TIMEOUT_S = 2.0
# What a shell may hold for a real account. None of it may reach the demo.
_PRIVATE_VARIABLES = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN")


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def client(service: str, url: str) -> Any:  # noqa: ANN401 - one of boto3's many client types
    """A boto3 client of an endpoint on this machine, with credentials that are worth nothing elsewhere."""
    return boto3.session.Session().client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106
    )


class Emulator:
    """One ministack. It can be stopped and started again on the same ports, with what it knew."""

    def __init__(self, directory: Path, lambda_environment: Mapping[str, str], *, keep_state: bool = False) -> None:
        self._directory = directory
        self._lambda_environment = dict(lambda_environment)
        self._keep_state = keep_state
        self.port = free_port()
        self.mqtt_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Process | None = None

    def start(self) -> None:
        """Start it and wait until HTTP and MQTT answer.

        Raises:
            DemoError: it did not come up.
        """
        temporary = self._directory / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {
            **self.client_environment(),
            **self._lambda_environment,
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_PORT": str(self.mqtt_port),
            "MINISTACK_HOST": "127.0.0.1",
            "AUTH": "true",
            "PERSIST_STATE": "1" if self._keep_state else "0",
            "S3_PERSIST": "1" if self._keep_state else "0",
            # Where its Lambda workers unpack their code.
            "TMPDIR": str(temporary),
            "STATE_DIR": str(self._directory / "state"),
            "S3_DATA_DIR": str(self._directory / "s3"),
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "INFO",
        }
        log = self._directory / "emulator.log"
        self.process = Process("the AWS emulator", [sys.executable, "-m", "ministack"], environment, log)
        self._wait_until_ready(self.process)

    def _wait_until_ready(self, process: Process) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._is_ready():
            process.check()
            if time.monotonic() > deadline:
                raise DemoError(f"the AWS emulator did not start:\n{process.last_lines()}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/ready", timeout=2) as answer:  # noqa: S310 - http
                return b'"listening"' in answer.read() and self._shakes_hands()
        except (urllib.error.URLError, OSError):
            return False

    def _shakes_hands(self) -> bool:
        """Whether a TLS handshake with the MQTT listener completes.

        The first one makes the listener's certificate, and under Python 3.11.2 (Debian 12's) it never ends: asyncio
        loses what the client said meanwhile. It must not be a device's.
        """
        context = ssl.create_default_context(cadata=self.certificate_authority().decode())
        with socket.create_connection(("127.0.0.1", self.mqtt_port), timeout=_HANDSHAKE_TIMEOUT_S) as connection:
            context.wrap_socket(connection, server_hostname="localhost").close()
        return True

    def stop(self) -> None:
        """Stop it as an operator would; what it knows is kept if that was asked for."""
        if self.process is not None:
            self.process.terminate()
            self.process.kill(10 * _STOP_GRACE_S if self._keep_state else _STOP_GRACE_S)
            self.process = None

    def client_environment(self) -> dict[str, str]:
        """The environment in which every AWS client talks to this emulator and cannot reach a real account."""
        environment = {name: value for name, value in os.environ.items() if name not in _PRIVATE_VARIABLES}
        return {
            **environment,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def client(self, service: str) -> Any:  # noqa: ANN401 - one of boto3's many client types
        """A boto3 client of this emulator."""
        return client(service, self.url)

    def certificate_authority(self) -> bytes:
        """The PEM of the authority that signed the MQTT listener's certificate."""
        with urllib.request.urlopen(f"{self.url}/_ministack/iot/ca.pem", timeout=5) as answer:  # noqa: S310 - http
            return bytes(answer.read())
