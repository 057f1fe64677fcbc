"""PagerDuty's routing key, from Secrets Manager."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cloud.alerts.errors import PagerDutyBusy, PagerDutyRefused
from cloud.alerts.store import CLIENT_CONFIG

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

# What the stack puts there, for the owner to replace.
PLACEHOLDER = "put-the-integration-key-here"

_KEY = re.compile(r"[0-9A-Za-z]{32}")
_FOR_GOOD = {
    "AccessDeniedException",
    "DecryptionFailure",
    "InvalidParameterException",
    "InvalidRequestException",
    "ResourceNotFoundException",
}
_REMEDY = (
    "put the 32-character integration key of an Events API v2 integration into the secret {secret}, "
    "then send the dead letters back to their queue"
)


@cache
def secrets_manager() -> SecretsManagerClient:
    """The process's own client."""
    client: SecretsManagerClient = boto3.client("secretsmanager", config=CLIENT_CONFIG)
    return client


class RoutingKey:
    """The routing key that the secret `secret_id` holds. It is fetched when it is first needed, and kept."""

    def __init__(self, secret_id: str, client: SecretsManagerClient) -> None:
        self._secret_id = secret_id
        self._client = client
        self._kept: str | None = None

    def get(self) -> str:
        """The key.

        Raises:
            PagerDutyBusy: Secrets Manager is throttled or cannot be reached.
            PagerDutyRefused: there is no usable key; the text says what to do.
        """
        if self._kept is None:
            self._kept = self._fetch()
        return self._kept

    def changed(self) -> bool:
        """Fetch it anew, after a refusal; whether there is another one now. Raises what `get` raises."""
        before, self._kept = self._kept, None
        return self.get() != before

    def _fetch(self) -> str:
        try:
            answer = self._client.get_secret_value(SecretId=self._secret_id)
        except ClientError as e:
            code = e.response["Error"]["Code"]
            if code in _FOR_GOOD:
                raise PagerDutyRefused(f"the routing key cannot be read ({code}): {self._remedy()}") from None
            raise PagerDutyBusy(f"Secrets Manager answers {code}") from None
        except BotoCoreError as e:
            raise PagerDutyBusy(f"Secrets Manager cannot be reached ({type(e).__name__})") from None
        key = answer.get("SecretString", "").strip()
        if key in ("", PLACEHOLDER):
            raise PagerDutyRefused(f"there is no routing key yet: {self._remedy()}")
        if not _KEY.fullmatch(key):
            raise PagerDutyRefused(f"the routing key is not of 32 letters and digits: {self._remedy()}")
        return key

    def _remedy(self) -> str:
        return _REMEDY.format(secret=self._secret_id)
