from typing import cast

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from mypy_boto3_secretsmanager import SecretsManagerClient

from cloud.alerts.errors import PagerDutyBusy, PagerDutyRefused
from cloud.alerts.secret import PLACEHOLDER, RoutingKey
from tests.cloud.alerts.conftest import KEY, Cloud


class Fails:
    """Secrets Manager on a bad day."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_secret_value(self, **_: str) -> object:
        raise self._error


def failing(error: Exception) -> RoutingKey:
    return RoutingKey("arn", cast(SecretsManagerClient, Fails(error)))


def aws_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetSecretValue")


@pytest.mark.parametrize("around", ["", " ", "\n"])
def test_the_key_is_what_the_secret_holds(cloud: Cloud, around: str) -> None:
    cloud.put_key(around + KEY + around)

    assert RoutingKey(cloud.secret_id, cloud.secrets).get() == KEY


def test_L17_the_key_is_fetched_once_and_anew_when_asked(cloud: Cloud) -> None:
    key = RoutingKey(cloud.secret_id, cloud.secrets)
    assert key.get() == KEY

    cloud.put_key("f" * 32)

    assert key.get() == KEY
    assert key.changed() is True
    assert key.get() == "f" * 32
    assert key.changed() is False


@pytest.mark.parametrize("content", [PLACEHOLDER, " ", "0" * 31, "0" * 33, "0" * 31 + "-", '{"key": "x"}'])
def test_L17_what_is_no_key_is_refused_with_the_remedy(cloud: Cloud, content: str) -> None:
    cloud.put_key(content)

    with pytest.raises(PagerDutyRefused) as raised:
        RoutingKey(cloud.secret_id, cloud.secrets).get()

    assert "put the 32-character integration key" in str(raised.value)
    assert cloud.secret_id in str(raised.value)
    assert content not in str(raised.value) or content == " "


def test_L17_a_secret_of_bytes_is_refused() -> None:
    with mock_aws():
        client = boto3.client("secretsmanager")
        client.create_secret(Name="bytes", SecretBinary=b"0" * 32)

        with pytest.raises(PagerDutyRefused):
            RoutingKey("bytes", client).get()

        client.close()


def test_L17_a_secret_that_is_not_there_is_refused_with_the_remedy(cloud: Cloud) -> None:
    with pytest.raises(PagerDutyRefused, match=r"ResourceNotFoundException.*put the 32-character"):
        RoutingKey("another", cloud.secrets).get()


@pytest.mark.parametrize("code", ["AccessDeniedException", "DecryptionFailure", "InvalidRequestException"])
def test_L17_a_secret_that_may_not_be_read_is_refused(code: str) -> None:
    with pytest.raises(PagerDutyRefused, match=code):
        failing(aws_error(code)).get()


@pytest.mark.parametrize(
    "error",
    [aws_error("ThrottlingException"), aws_error("InternalServiceError"), EndpointConnectionError(endpoint_url="x")],
    ids=["throttled", "broken", "unreachable"],
)
def test_a_secret_that_cannot_be_read_now_is_tried_later(error: Exception) -> None:
    with pytest.raises(PagerDutyBusy):
        failing(error).get()


def test_what_was_refused_is_not_kept(cloud: Cloud) -> None:
    cloud.put_key(PLACEHOLDER)
    key = RoutingKey(cloud.secret_id, cloud.secrets)
    with pytest.raises(PagerDutyRefused):
        key.get()

    cloud.put_key(KEY)

    assert key.get() == KEY
