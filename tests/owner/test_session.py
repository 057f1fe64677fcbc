"""The errors that an AWS configuration can give, each in one line with the remedy."""

import os
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, SSOTokenLoadError
from botocore.stub import Stubber

from demo.emulator import free_port
from owner.session import DATA_ENDPOINT, Account, AwsError
from tests.owner.commands import solarshed


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user who has configured AWS, for an endpoint where nobody listens."""
    (tmp_path / "config").write_text("[profile home]\nregion = eu-west-1\n")
    (tmp_path / "credentials").write_text("[home]\naws_access_key_id = test\naws_secret_access_key = test\n")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
    }


def told(environment: dict[str, str], *arguments: str) -> str:
    done = solarshed(environment, "status", "shed", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_no_region_is_told_with_the_remedy(environment: dict[str, str]) -> None:
    assert told(environment) == (
        "solarshed status: no usable AWS region: You must specify a region; name the stack's with --region, such as "
        "us-east-1"
    )


def test_a_region_that_is_no_name_is_told_with_the_remedy(environment: dict[str, str]) -> None:
    del environment["AWS_ENDPOINT_URL"]

    assert "no usable AWS region" in told(environment, "--region", "us east 1")


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_profile_that_is_not_there_is_told_with_the_remedy(by: str, environment: dict[str, str]) -> None:
    arguments = ["--profile", "hom"] if by == "option" else []
    if by == "variable":
        environment["AWS_PROFILE"] = "hom"

    assert told(environment, *arguments) == (
        "solarshed status: The config profile (hom) could not be found; `aws configure list-profiles` shows those "
        "there are"
    )


def test_no_credentials_are_told_with_the_remedy(environment: dict[str, str]) -> None:
    del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]

    assert "no AWS credentials are found; run `aws configure`" in told(environment, "--region", "us-east-1")


def test_half_of_the_credentials_is_told_with_the_remedy(environment: dict[str, str]) -> None:
    del environment["AWS_SECRET_ACCESS_KEY"]

    assert "the AWS credentials cannot be used: Partial credentials" in told(environment, "--region", "us-east-1")


def test_an_aws_that_does_not_answer_is_told_with_the_remedy(environment: dict[str, str]) -> None:
    line = told(environment, "--region", "us-east-1")

    assert "AWS does not answer: Could not connect to the endpoint URL" in line
    assert line.endswith("; see that the network is up and the --region is spelled right")


def test_profile_and_region_come_from_the_ordinary_configuration(environment: dict[str, str]) -> None:
    del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]

    assert "AWS does not answer" in told(environment, "--profile", "home")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    return Account(None, "eu-west-1")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ExpiredTokenException", "your AWS credentials have expired; sign in again"),
        ("InvalidClientTokenId", "AWS does not know these credentials"),
        ("AccessDeniedException", "your AWS user may not do DescribeEndpoint: not for you; allow it that action"),
        ("ThrottlingException", r"AWS refuses DescribeEndpoint \(ThrottlingException\): not for you; see that"),
    ],
)
def test_what_aws_refuses_is_told_with_the_remedy(code: str, words: str, account: Account) -> None:
    with Stubber(account.iot) as stub:
        stub.add_client_error("describe_endpoint", code, "not for you.")

        with pytest.raises(AwsError, match=words), account.plainly():
            account.endpoint()


def test_a_sign_in_that_is_over_is_told_with_the_remedy(account: Account) -> None:
    with pytest.raises(AwsError, match=r"the AWS credentials cannot be used: .*; sign in again"), account.plainly():
        raise SSOTokenLoadError(error_msg="Token for home does not exist")


def test_an_error_of_ours_passes_as_it_is(account: Account) -> None:
    with pytest.raises(KeyError), account.plainly():
        raise KeyError("ours")


def test_the_shadow_is_asked_for_at_the_accounts_own_endpoint(account: Account) -> None:
    with Stubber(account.iot) as stub:
        stub.add_response(
            "describe_endpoint",
            {"endpointAddress": "abc-ats.iot.eu-west-1.amazonaws.com"},
            {"endpointType": DATA_ENDPOINT},
        )

        assert account.iot_data.meta.endpoint_url == "https://abc-ats.iot.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_IOT_DATA_PLANE"])
def test_an_endpoint_that_is_configured_comes_first(
    name: str, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:4566")

    assert account.iot_data.meta.endpoint_url == "http://127.0.0.1:4566"


def test_an_error_without_a_code_is_told_too(account: Account) -> None:
    with pytest.raises(AwsError, match="AWS refuses DescribeThing"), account.plainly():
        raise ClientError({}, "DescribeThing")
