"""The owner's AWS account, as the ordinary AWS configuration names it, and AWS's errors in one sentence each."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    InvalidRegionError,
    LoginError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotocoreConnectionError,
)

from contract.errors import SolarshedError
from owner.words import printable

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_iot_data import IoTDataPlaneClient

# The account's own endpoint, with a certificate of Amazon Trust Services.
DATA_ENDPOINT = "iot:Data-ATS"

_IMPATIENT = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3})

_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_UNKNOWN_KEY = (
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
)
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedException",
    "ForbiddenException",
    "UnauthorizedOperation",
)


class AwsError(SolarshedError, RuntimeError):
    """AWS cannot be asked, or refuses; the text says why and what to do."""


class Account:
    """One AWS account and region. Everything that it does is to be done within `plainly`."""

    def __init__(self, profile: str | None, region: str | None) -> None:
        with self.plainly():
            self._session = boto3.session.Session(profile_name=profile, region_name=region)

    @property
    def region(self) -> str:
        """Such as us-east-1."""
        return str(self.iot.meta.region_name)

    @cached_property
    def iot(self) -> "IoTClient":
        """AWS IoT's registry: things, certificates, policies."""
        client: IoTClient = self._session.client("iot", config=_IMPATIENT)
        return client

    @cached_property
    def cloudformation(self) -> Any:  # noqa: ANN401 - the one call of it needs no stubs of its own
        """The stacks."""
        return self._session.client("cloudformation", config=_IMPATIENT)

    @cached_property
    def iot_data(self) -> "IoTDataPlaneClient":
        """The shadows. botocore's own endpoint for them is meant for tests only; one that is configured comes first."""
        client: IoTDataPlaneClient = self._session.client("iot-data", config=_IMPATIENT)
        without = Config(ignore_configured_endpoint_urls=True)  # type: ignore[call-arg] # the stubs lack it
        if client.meta.endpoint_url == self._session.client("iot-data", config=without).meta.endpoint_url:
            client = self._session.client("iot-data", config=_IMPATIENT, endpoint_url=f"https://{self.endpoint()}")
        return client

    def client(self, service: str) -> Any:  # noqa: ANN401 - whichever it is
        """A client of another service, by boto3's name of it."""
        return self._session.client(service, config=_IMPATIENT)

    def endpoint(self) -> str:
        """Host, or host:port, of the account's device gateway."""
        return self.iot.describe_endpoint(endpointType=DATA_ENDPOINT)["endpointAddress"]

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """What AWS or botocore objects to becomes an AwsError.

        Raises:
            AwsError: see there.
        """
        try:
            yield
        except (BotoCoreError, ClientError) as e:
            raise AwsError(_refusal(e) if isinstance(e, ClientError) else _obstacle(e)) from None


def error_code(error: ClientError) -> str:
    """AWS's name of it, such as ResourceNotFoundException."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _refusal(error: ClientError) -> str:
    code, action = error_code(error), error.operation_name
    message = printable(str(error.response.get("Error", {}).get("Message", "")), 300).rstrip(".")
    if code in _EXPIRED:
        return "your AWS credentials have expired; sign in again, such as with `aws sso login`"
    if code in _UNKNOWN_KEY:
        return f"AWS does not know these credentials ({code}); see `aws sts get-caller-identity`, or name a --profile"
    if code in _DENIED:
        return (
            f"your AWS user may not do {action}: {message}; allow it that action (the README lists all), or name "
            "another --profile"
        )
    return f"AWS refuses {action} ({code}): {message}; see that --profile and --region are the ones of the stack"


def _obstacle(error: BotoCoreError) -> str:
    words = printable(str(error), 300).rstrip(".")
    match error:
        case ProfileNotFound():
            return f"{words}; `aws configure list-profiles` shows those there are"
        case NoRegionError() | InvalidRegionError():
            return f"no usable AWS region: {words}; name the stack's with --region, such as us-east-1"
        case NoCredentialsError():
            return "no AWS credentials are found; run `aws configure` or `aws sso login`, or name a --profile"
        case PartialCredentialsError() | CredentialRetrievalError() | TokenRetrievalError() | SSOError() | LoginError():
            return f"the AWS credentials cannot be used: {words}; sign in again, such as with `aws sso login`"
        case HTTPClientError() | BotocoreConnectionError():
            return f"AWS does not answer: {words}; see that the network is up and the --region is spelled right"
        case _:
            return f"AWS cannot be asked: {words}; see your AWS configuration"
