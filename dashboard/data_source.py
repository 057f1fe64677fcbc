"""The data source as Grafana's API takes it: how Grafana reaches the store, with which settings and secrets.

A secret cannot be read back, so its fingerprint is kept beside it: only so can a second push tell that nothing changed.
"""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from contract import store
from contract.errors import SolarshedError
from dashboard.look import DATA_SOURCE_UID, Engine

NAME = "Solarshed"
TYPES = {Engine.TIMESTREAM: "grafana-timestream-datasource", Engine.INFLUXDB: "influxdb"}
FINGERPRINT = "solarshedFingerprint"

_MANAGED_HOST = re.compile(r"g-[0-9a-z]+\.grafana-workspace\.([a-z0-9-]+)\.amazonaws\.com")
_CLOUD_DOMAIN = ".grafana.net"
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class DataSourceError(SolarshedError, ValueError):
    """Settings with which Grafana could not reach the store."""


class Auth(StrEnum):
    """How Grafana logs in to AWS, by the names of its AWS plugins."""

    # Whatever the AWS SDK finds where Grafana runs.
    DEFAULT = "default"
    # The role of an Amazon Managed Grafana workspace (or of an EC2 instance).
    WORKSPACE = "ec2_iam_role"
    # Grafana Cloud's own account, which then assumes a role of yours.
    GRAFANA_CLOUD = "grafana_assume_role"
    KEYS = "keys"


@dataclass(frozen=True)
class Timestream:
    """Timestream for LiveAnalytics. The keys are for `Auth.KEYS` only."""

    region: str
    auth: Auth
    assume_role_arn: str | None = None
    external_id: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what Grafana would take, and then fail on at every query."""
        if not _REGION.fullmatch(self.region):
            raise DataSourceError(f"{self.region!r} is no AWS region; give the stack's, such as --region us-east-1")
        if self.assume_role_arn is not None and not _ROLE_ARN.fullmatch(self.assume_role_arn):
            raise DataSourceError(
                f"{self.assume_role_arn!r} is no role's ARN; give the stack's output, "
                "such as --assume-role arn:aws:iam::123456789012:role/NAME"
            )
        if self.auth is Auth.GRAFANA_CLOUD and self.assume_role_arn is None:
            raise DataSourceError(
                "Grafana Cloud reads Timestream by a role in your account: give it with --assume-role ARN, "
                "or choose --auth keys"
            )
        if self.auth is Auth.KEYS and not (self.access_key and self.secret_key):
            raise DataSourceError(
                "--auth keys needs an access key of AWS that may only read: set SOLARSHED_TIMESTREAM_ACCESS_KEY and "
                "SOLARSHED_TIMESTREAM_SECRET_KEY"
            )

    def made(self) -> dict[str, Any]:
        """Its JSON."""
        settings = {
            "authType": self.auth.value,
            "defaultRegion": self.region,
            # In quotes, as the plugin's own editor has names.
            "defaultDatabase": f'"{store.DATABASE}"',
            "defaultTable": f'"{store.TABLE}"',
        }
        if self.assume_role_arn is not None:
            settings["assumeRoleArn"] = self.assume_role_arn
        if self.external_id is not None:
            settings["externalId"] = self.external_id
        secrets = {}
        if self.auth is Auth.KEYS and self.access_key and self.secret_key:
            secrets = {"accessKey": self.access_key, "secretKey": self.secret_key}
        return _made(Engine.TIMESTREAM, "", settings, secrets)


@dataclass(frozen=True)
class InfluxDb:
    """InfluxDB, asked in InfluxQL: 1.x, or 2.x by its compatibility API. `url` is as Grafana reaches it."""

    url: str
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """A token is sent with every query: it must not go over a network unencrypted."""
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            parts, host = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not host or parts.username:
            raise DataSourceError(f"{self.url!r} is no address of an InfluxDB; give one such as https://HOST:8086")
        if self.token and parts.scheme == "http" and host not in _LOOPBACK:
            raise DataSourceError(f"{self.url} would get its token unencrypted; give an https:// address")

    def made(self) -> dict[str, Any]:
        """Its JSON."""
        # Version 1's API by either name: Grafana before 9.5 looks at `database`.
        settings = {"dbName": store.DATABASE, "httpMode": "POST", "version": "InfluxQL"}
        secrets = {}
        if self.token:
            settings["httpHeaderName1"] = "Authorization"
            secrets["httpHeaderValue1"] = f"Token {self.token}"
        return _made(Engine.INFLUXDB, self.url, settings, secrets) | {"database": store.DATABASE}


def auth_for(grafana_url: str) -> Auth:
    """How the Grafana of this address logs in to AWS, unless the owner says otherwise."""
    host = urlsplit(grafana_url).hostname or ""
    if _MANAGED_HOST.fullmatch(host):
        return Auth.WORKSPACE
    return Auth.GRAFANA_CLOUD if host.endswith(_CLOUD_DOMAIN) else Auth.DEFAULT


def region_of(grafana_url: str) -> str | None:
    """The region of an Amazon Managed Grafana, which its address names."""
    found = _MANAGED_HOST.fullmatch(urlsplit(grafana_url).hostname or "")
    return found[1] if found else None


def fingerprint(secrets: dict[str, str]) -> str:
    """Tells one set of secrets from another, and nothing about them: they are long and random."""
    text = "\0".join(f"{name}={value}" for name, value in sorted(secrets.items()))
    return hashlib.sha256(b"solarshed\0" + text.encode()).hexdigest()[:16]


def _made(engine: Engine, url: str, settings: dict[str, str], secrets: dict[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "uid": DATA_SOURCE_UID,
        "name": NAME,
        "type": TYPES[engine],
        "access": "proxy",
        "url": url,
        "isDefault": False,
        "jsonData": settings,
    }
    if secrets:
        settings[FINGERPRINT] = fingerprint(secrets)
        made["secureJsonData"] = secrets
    return made
