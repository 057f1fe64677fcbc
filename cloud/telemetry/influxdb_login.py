"""How a Lambda is let into InfluxDB: by what a secret holds, read when it is first needed.

| the secret holds                                 | is sent                                |
|--------------------------------------------------|----------------------------------------|
| `token`                                          | the token                              |
| `username`, `password`, `organization`, `bucket` | a token of our own (version 2)         |
| `username`, `password`                           | name and password (version 1)          |

Timestream for InfluxDB, which is version 2, makes a secret of the second kind for each instance.

In version 2 a person's password opens a session, not the write API. So the second kind signs in and takes the token
that it made before, found by its description, or makes one that may write to the bucket and read from it. Source:
InfluxDB OSS 2.7 API reference: `/api/v2/signin`, `/buckets`, `/authorizations`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import boto3

from cloud.telemetry.timestream import CLIENT_CONFIG
from cloud.telemetry.writer import StoreError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

    from cloud.telemetry.influxdb import Answer, Influx

DESCRIPTION = "solarshed telemetry"

_JSON = {"Content-Type": "application/json"}


class Credentials(Protocol):
    """What opens a server. `where` is where they come from, in words."""

    @property
    def where(self) -> str: ...

    def header(self, influx: Influx) -> str:
        """The value of the header `Authorization`.

        Raises:
            StoreError, botocore.exceptions.ClientError, BotoCoreError: there is none now.
        """
        ...

    def forget(self) -> None:
        """They were refused: look for others the next time."""
        ...


class SecretCredentials:
    """Those that a secret in Secrets Manager holds, kept until they are refused."""

    def __init__(self, secret_id: str, client: SecretsManagerClient | None = None) -> None:
        self.where = f"the secret {secret_id}"
        self._secret_id = secret_id
        self._client = client
        self._kept: str | None = None

    def header(self, influx: Influx) -> str:
        """The value of the header `Authorization`; see Credentials."""
        if self._kept is None:
            self._kept = self._fetch(influx)
        return self._kept

    def forget(self) -> None:
        """They were refused: read the secret again the next time."""
        self._kept = None

    def _fetch(self, influx: Influx) -> str:
        client: SecretsManagerClient = self._client or boto3.client("secretsmanager", config=CLIENT_CONFIG)
        self._client = client
        text = client.get_secret_value(SecretId=self._secret_id).get("SecretString", "")
        try:
            held = json.loads(text)
        except ValueError:
            held = None
        match held:
            case {"token": str(token)}:
                return f"Token {token}"
            case {"username": str(user), "password": str(password), "organization": str(), "bucket": str(bucket)}:
                return f"Token {_own_token(influx, user, password, bucket)}"
            case {"username": str(user), "password": str(password)}:
                return _basic(user, password)
            case _:
                raise StoreError(
                    f"{self.where} says nothing that InfluxDB understands: put a JSON object there with a token, or "
                    "with a username and a password"
                )


def _basic(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def _own_token(influx: Influx, user: str, password: str, bucket_name: str) -> str:
    """The token that this function made when it first ran, or a new one.

    Where a server shows no token after it was made (hashed ones, from 2.9 on), each cold start makes a new one.
    """
    answer = influx.call("POST", "/api/v2/signin", None, {"Authorization": _basic(user, password)})
    if answer.status != HTTPStatus.NO_CONTENT or not answer.cookie:
        raise _refused("sign in", answer)
    session = {"Cookie": answer.cookie}
    buckets = _members(influx, session, "buckets", {"name": bucket_name})
    if not buckets:
        raise StoreError(f"InfluxDB has no bucket {bucket_name}: make it, or name one that is there in the secret")
    bucket = buckets[0]
    for known in _members(influx, session, "authorizations", {"orgID": bucket["orgID"]}):
        if known.get("description") == DESCRIPTION and known.get("status") == "active" and known.get("token"):
            return str(known["token"])
    return _new_token(influx, session, bucket)


def _new_token(influx: Influx, session: dict[str, str], bucket: dict[str, Any]) -> str:
    resource = {"type": "buckets", "id": bucket["id"], "orgID": bucket["orgID"]}
    wish = {
        "orgID": bucket["orgID"],
        "description": DESCRIPTION,
        "permissions": [{"action": action, "resource": resource} for action in ("read", "write")],
    }
    answer = influx.call("POST", "/api/v2/authorizations", json.dumps(wish).encode(), {**session, **_JSON})
    if answer.status != HTTPStatus.CREATED:
        raise _refused("make a token", answer)
    return str(_read(answer)["token"])


def _members(influx: Influx, session: dict[str, str], name: str, query: dict[str, str]) -> list[dict[str, Any]]:
    answer = influx.call("GET", f"/api/v2/{name}?{urlencode(query)}", None, session)
    if answer.status == HTTPStatus.NOT_FOUND:
        return []
    if answer.status != HTTPStatus.OK:
        raise _refused(f"list {name}", answer)
    return list(_read(answer)[name])


def _read(answer: Answer) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads(answer.text)
    except ValueError:
        raise StoreError("the server answers what is not its API: see that the address is that of InfluxDB 2") from None
    return body


def _refused(what: str, answer: Answer) -> StoreError:
    return StoreError(
        f"InfluxDB does not let us {what} ({answer.status} {answer.text}): see that the secret holds the instance's "
        "first user as it is now, or put a token there"
    )
