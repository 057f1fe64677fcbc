"""`solarshed doctor --cloud` against a local HTTP server that answers as AWS does, or as it does when it refuses."""

import io
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

import solarshed as cli
from contract import store
from demo.emulator import free_port
from demo.http_server import HOST, LocalServer
from infra import TIMESTREAM_REGIONS
from owner import cloud_check
from owner.session import Account
from tests.owner.commands import solarshed

Json = dict[str, Any]

IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/me</Arn><UserId>AIDA</UserId><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
EXPIRED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>ExpiredToken</Code><Message>The security token is expired</Message></Error></ErrorResponse>"""

CLOSED = "Only existing Timestream for LiveAnalytics customers can access the service. Reach out to AWS support."
NO_PERMISSION = "User: arn:aws:iam::123456789012:user/me is not authorized to perform: timestream:ListDatabases"


class Aws(LocalServer):
    """A ready account. `answers` maps an operation to status and body; what it does not hold is refused."""

    def __init__(self) -> None:
        super().__init__(0, _Handler)
        self.url = f"http://{HOST}:{self.server_port}"
        self.answers: dict[str, tuple[int, Json | str]] = {
            "GetCallerIdentity": (200, IDENTITY),
            "GetParameter": (200, {"Parameter": {"Name": "version", "Value": "30"}}),
            "DescribeEndpoints": (200, {"Endpoints": [{"Address": self.url, "CachePeriodInMinutes": 1440}]}),
            "ListDatabases": (200, {"Databases": []}),
            "ListDbInstances": (200, {"items": []}),
            "DescribeEndpoint": (200, {"endpointAddress": "abc-ats.iot.us-east-1.amazonaws.com"}),
        }

    def refuse(self, operation: str, code: str, message: str = "no") -> None:
        self.answers[operation] = (400, {"__type": code, "message": message})


class _Handler(BaseHTTPRequestHandler):
    server: Aws

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        target = self.headers.get("X-Amz-Target")
        self._answer(target.rpartition(".")[2] if target else body.partition("Action=")[2].partition("&")[0])

    def do_GET(self) -> None:
        self._answer("DescribeEndpoint")

    def _answer(self, operation: str) -> None:
        status, content = self.server.answers[operation]
        text = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/xml" if isinstance(content, str) else "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Say nothing."""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with Aws() as server:
        for name, value in environment_of(server.url).items():
            monkeypatch.setenv(name, value)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
        server.end_connections()


def environment_of(url: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": url,
        "AWS_MAX_ATTEMPTS": "1",
    }


def checked(region: str | None = "us-east-1", engine: str = store.TIMESTREAM) -> tuple[int, dict[str, str], list[str]]:
    """Exit status; by subject how it ended and what was said; the remedies."""
    out = io.StringIO()
    status = cloud_check.run(lambda: Account(None, region), engine, out)
    lines = out.getvalue().splitlines()
    found = {line[6:22].strip(): f"{line[:5].strip()} {line[23:]}" for line in lines[:-2] if not line.startswith(" ")}
    return status, found, [line.strip().removeprefix("-> ") for line in lines if line.startswith(" ")]


def test_an_account_that_is_ready_is_told_so_with_status_0(aws: Aws) -> None:
    status, found, remedies = checked()

    assert (status, remedies) == (0, [])
    assert found == {
        "region": "ok us-east-1",
        "credentials": "ok account 123456789012, as arn:aws:iam::123456789012:user/me",
        "cdk bootstrap": "ok version 30",
        "timestream": "ok Timestream for LiveAnalytics is open to this account",
        "iot core": "ok devices connect to abc-ats.iot.us-east-1.amazonaws.com",
    }


@pytest.mark.parametrize("operation", ["DescribeEndpoints", "ListDatabases"])
def test_D9_an_account_that_timestream_is_closed_to_is_told_what_to_deploy_instead(aws: Aws, operation: str) -> None:
    aws.refuse(operation, "AccessDeniedException", CLOSED)

    status, found, (remedy,) = checked()

    assert status == 1
    assert found["timestream"] == (
        "FAIL Timestream for LiveAnalytics is not open to this account: it takes no new customers since 2025-06-20"
    )
    assert remedy.startswith("deploy with -c store=influxdb")
    # The others are checked all the same.
    assert found["iot core"].startswith("ok")


def test_a_permission_that_is_missing_is_another_finding_with_a_remedy_of_its_own(aws: Aws) -> None:
    aws.refuse("ListDatabases", "AccessDeniedException", NO_PERMISSION)

    status, found, (remedy,) = checked()

    assert status == 1
    assert found["timestream"].startswith("FAIL your AWS user may not do ListDatabases: User: arn:aws:iam::")
    assert remedy.startswith("allow it that action")
    assert "influxdb" not in remedy


def test_D9_a_region_without_timestream_is_told_before_it_is_asked(aws: Aws) -> None:
    aws.refuse("ListDatabases", "AccessDeniedException", "nobody must have asked")

    status, found, (remedy,) = checked("eu-north-1")

    assert status == 1
    assert found["timestream"] == "FAIL Timestream for LiveAnalytics is not offered in eu-north-1"
    assert remedy.startswith("deploy with -c store=influxdb")
    assert remedy.endswith(", ".join(TIMESTREAM_REGIONS))


def test_whoever_deploys_the_other_engine_is_told_of_that_one(aws: Aws) -> None:
    aws.refuse("ListDatabases", "AccessDeniedException", CLOSED)

    status, found, _ = checked("eu-north-1", store.INFLUXDB)

    assert status == 0
    assert found["influxdb"] == "ok Timestream for InfluxDB is open to this account"
    assert "timestream" not in found


def test_an_account_without_cdk_bootstrap_is_told_to_run_it(aws: Aws) -> None:
    aws.refuse("GetParameter", "ParameterNotFound")

    status, found, (remedy,) = checked()

    assert status == 1
    assert found["cdk bootstrap"] == "FAIL the CDK has nothing here yet to deploy with"
    assert "npx cdk bootstrap" in remedy


@pytest.mark.parametrize("version", ["5", "new"])
def test_a_bootstrap_that_is_too_old_is_told(aws: Aws, version: str) -> None:
    aws.answers["GetParameter"] = (200, {"Parameter": {"Name": "version", "Value": version}})

    _, found, (remedy,) = checked()

    assert found["cdk bootstrap"] == f"FAIL what the CDK deploys with is version {version}, and 6 is needed"
    assert "npx cdk bootstrap" in remedy


def test_credentials_that_have_expired_are_told_and_nothing_else_is_asked(aws: Aws) -> None:
    aws.answers["GetCallerIdentity"] = (403, EXPIRED)

    status, found, (remedy,) = checked()

    assert status == 1
    assert found["credentials"] == "FAIL your AWS credentials have expired"
    assert remedy.startswith("sign in again")
    assert [found[name] for name in ("cdk bootstrap", "timestream", "iot core")] == ["skip needs what failed above"] * 3


def test_no_credentials_are_told(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    status, found, (remedy,) = checked()

    assert (status, found["credentials"]) == (1, "FAIL no AWS credentials are found")
    assert remedy.startswith("run `aws configure`")


@pytest.mark.parametrize("region", [None, "us east 1"], ids=["none", "no name"])
def test_no_usable_region_is_told(aws: Aws, monkeypatch: pytest.MonkeyPatch, region: str | None) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")

    status, found, (remedy,) = checked(region)

    assert status == 1
    assert found["region"].startswith("FAIL no usable AWS region")
    assert "--region" in remedy
    assert "credentials" not in found


def test_a_profile_that_is_not_there_is_told(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "hom")

    status, found, (remedy,) = checked()

    assert (status, found["region"]) == (1, "FAIL The config profile (hom) could not be found")
    assert "list-profiles" in remedy


def test_no_network_is_told(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{free_port()}")

    status, found, (remedy,) = checked()

    assert status == 1
    assert found["credentials"].startswith("FAIL AWS does not answer: Could not connect")
    assert remedy.startswith("see that the network is up")


@pytest.mark.parametrize("answer", [(200, "<html>Sign in to the hotel</html>"), (200, "no XML at all")], ids=str)
def test_what_answers_in_the_place_of_aws_is_no_traceback(aws: Aws, answer: tuple[int, str]) -> None:
    aws.answers["GetCallerIdentity"] = answer

    status, found, remedies = checked()

    assert status == 1
    assert found["credentials"].startswith("FAIL what answers is not AWS: ")
    assert remedies == ["see that no proxy is in between, and AWS_ENDPOINT_URL is not set"]


# The command


def test_the_command_prints_findings_on_stdout_with_status_1_when_one_failed(aws: Aws, tmp_path: Path) -> None:
    aws.refuse("ListDatabases", "AccessDeniedException", CLOSED)
    environment = {**os.environ, **environment_of(aws.url), "HOME": str(tmp_path)}

    done = solarshed(environment, "doctor", "--cloud", "--region", "us-east-1")
    other = solarshed(environment, "doctor", "--cloud", "--region", "us-east-1", "--store", "influxdb")

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1] == "5 checks: 4 ok, 1 failed"
    assert (other.returncode, other.stdout.splitlines()[-1]) == (0, "5 checks: 5 ok")


@pytest.mark.parametrize("option", ["--store=influxdb", "--profile=home", "--region=us-east-1"])
def test_what_is_for_the_cloud_needs_cloud(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["doctor", option])

    assert exit_info.value.code == 2
    assert "--store, --profile and --region are for --cloud" in capsys.readouterr().err
