"""`solarshed doctor --cloud`: whether an AWS account is ready for a deployment, and the remedy where it is not.

It only asks; nothing is made or changed. Source of what a bootstrapped account has: AWS CDK guide, "Bootstrapping".
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TextIO

from botocore.exceptions import ClientError

from contract import store
from contract.finding import Finding, Verdict, failed, ok, print_finding, print_summary, skipped
from infra import TIMESTREAM_REGIONS
from owner.session import Account, AwsError, error_code
from owner.words import printable

# What the CDK's default synthesizer looks for, and the least that it takes.
_BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
_LEAST_BOOTSTRAP = 6

# Timestream says so in an AccessDenied, which else means that the user lacks a permission.
_CLOSED = re.compile(r"existing\b.{0,60}\bcustomers", re.IGNORECASE)
_OTHER_ENGINE = "deploy with -c store=influxdb (Timestream for InfluxDB; the README says what it costs)"


def run(open_account: Callable[[], Account], engine: str, out: TextIO) -> int:
    """Print a line a check as each ends, then a summary. The exit status: 1 if any failed, else 0.

    `engine` is one of contract.store.ENGINES: the one that is to be deployed.
    """
    verdicts: Counter[Verdict] = Counter()
    for subject, finding in _findings(open_account, engine):
        print_finding(subject, finding, out)
        verdicts[finding.verdict] += 1
    print_summary(verdicts, out)
    return 1 if verdicts[Verdict.FAILED] else 0


def _findings(open_account: Callable[[], Account], engine: str) -> Iterator[tuple[str, Finding]]:
    needs_credentials: list[tuple[str, Callable[[Account], Finding]]] = [
        ("cdk bootstrap", check_bootstrap),
        ("timestream", check_timestream) if engine == store.TIMESTREAM else ("influxdb", check_influxdb),
        ("iot core", check_iot),
    ]
    account: Account | None = None
    try:
        account = open_account()
        finding = _looked(check_region, account)
    except AwsError as e:
        finding = _of(e)
    yield "region", finding
    if account is not None and finding.verdict is Verdict.OK:
        finding = _looked(check_credentials, account)
        yield "credentials", finding
    for subject, check in needs_credentials:
        if account is None or finding.verdict is not Verdict.OK:
            yield subject, skipped("needs what failed above")
        else:
            yield subject, _looked(check, account)


def check_region(account: Account) -> Finding:
    """Which one it is."""
    return ok(account.region)


def check_credentials(account: Account) -> Finding:
    """Whose they are."""
    identity = account.client("sts").get_caller_identity()
    return ok(f"account {identity['Account']}, as {printable(identity['Arn'], 200)}")


def check_bootstrap(account: Account) -> Finding:
    """Whether `cdk bootstrap` has been run, in a version that is new enough."""
    once = "once for each account and region: npx cdk bootstrap"
    try:
        parameter = account.client("ssm").get_parameter(Name=_BOOTSTRAP_PARAMETER)["Parameter"]
    except ClientError as e:
        if error_code(e) != "ParameterNotFound":
            raise
        return failed("the CDK has nothing here yet to deploy with", once)
    version = str(parameter["Value"])
    if not version.isdecimal() or int(version) < _LEAST_BOOTSTRAP:
        return failed(f"what the CDK deploys with is version {version}, and {_LEAST_BOOTSTRAP} is needed", once)
    return ok(f"version {version}")


def check_timestream(account: Account) -> Finding:
    """Whether the account may use Timestream for LiveAnalytics."""
    name = "Timestream for LiveAnalytics"
    if account.region not in TIMESTREAM_REGIONS:
        return failed(
            f"{name} is not offered in {account.region}",
            f"{_OTHER_ENGINE}, or to one of {', '.join(TIMESTREAM_REGIONS)}",
        )
    try:
        account.client("timestream-write").list_databases(MaxResults=1)
    except ClientError as e:
        if not _CLOSED.search(str(e)):
            raise
        return failed(
            f"{name} is not open to this account: it takes no new customers since 2025-06-20",
            f"{_OTHER_ENGINE}, or with the --profile of an account that has used it before",
        )
    return ok(f"{name} is open to this account")


def check_influxdb(account: Account) -> Finding:
    """Whether the account may use Timestream for InfluxDB."""
    account.client("timestream-influxdb").list_db_instances(maxResults=1)
    return ok("Timestream for InfluxDB is open to this account")


def check_iot(account: Account) -> Finding:
    """Whether AWS IoT Core answers, and at which address devices will find it."""
    return ok(f"devices connect to {account.endpoint()}")


def _looked(check: Callable[[Account], Finding], account: Account) -> Finding:
    """What `check` finds, or why AWS does not tell."""
    try:
        with account.plainly():
            return check(account)
    except AwsError as e:
        return _of(e)
    except Exception as e:  # noqa: BLE001 - the boundary of one check: whatever answers, the others are still made
        return failed(
            f"what answers is not AWS: {type(e).__name__}: {printable(str(e), 200)}",
            "see that no proxy is in between, and AWS_ENDPOINT_URL is not set",
        )


def _of(error: AwsError) -> Finding:
    """Its text has a semicolon between sentence and remedy."""
    sentence, _, remedy = str(error).rpartition("; ")
    return failed(sentence, remedy)
