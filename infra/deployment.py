"""Where the stacks go, what the owner set, and what every bucket, queue and topic of ours has in common."""

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct, Node

from contract import store
from contract.errors import SolarshedError
from infra import TIMESTREAM_REGIONS
from infra.accepted import accept_nag

_DAY_S = 24 * 3600
_SILENT_AFTER_MINUTES = 15
# A beat comes every 5 minutes: one that is late must not wake anyone.
_LEAST_SILENT_MINUTES = 10
_BLIND_AFTER_S = 15 * 60

_MEMORY_STORE_DAYS = 7
_MAGNETIC_STORE_DAYS = 5 * 365
# Those of `aws timestream-write`: at most a year and two centuries.
_MOST_MEMORY_STORE_DAYS = 365
_MOST_MAGNETIC_STORE_DAYS = 73_000
_ROLLUP_EVERY_HOURS = 3

# Whose account assumes a role for everyone who has a Grafana Cloud: only the external id tells them apart.
_GRAFANA_CLOUD_ACCOUNT = "008923505280"

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


_PRINCIPAL = re.compile(r"[0-9]{12}|arn:aws[a-z-]*:iam::[0-9]{12}:(root|(role|user)/[\w+=,.@/-]{1,512})", re.ASCII)
# IAM's own rule for it.
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)


class DeploymentError(SolarshedError, ValueError):
    """A setting of the deployment cannot be used."""


@dataclass(frozen=True)
class Deployment:
    """AWS, or the demo's emulator, and the owner's settings: the CDK's context, from `cdk.json` or `-c name=value`.

    The emulator speaks plain HTTP, so a policy that refuses everything but TLS would refuse everything there; and it
    is thrown away, so nothing is kept when its stacks go.

        alarm_email            told when something is wrong with the alerts themselves
        pagerduty_alarm_url    the same, to PagerDuty's integration for CloudWatch
        alert_email            told every alert, besides PagerDuty
        pagerduty_events_url   where PagerDuty's events go, if not to its service in the US
        dashboard_url          linked in every incident
        silent_after_minutes   a device is silent when no heartbeat came for so long
        store                  the time series engine: `timestream` (for LiveAnalytics) or `influxdb`
        memory_store_days      how long Timestream keeps samples where they are quickly written
        magnetic_store_days    how long it keeps them at all
        rollup_every_hours     how often the hourly table is brought up to date; each time costs money
        grafana_workspace      make a workspace of Amazon Managed Grafana
        grafana_principal      who may read the tables instead of such workspaces: an AWS account, or a role's ARN
        grafana_external_id    what that account must say besides; Grafana Cloud shows one
    """

    local: bool = False
    alarm_email: str | None = None
    alert_email: str | None = None
    pagerduty_alarm_url: str | None = None
    pagerduty_events_url: str | None = None
    dashboard_url: str | None = None
    silent_after_s: int = _SILENT_AFTER_MINUTES * 60
    blind_after_s: int = _BLIND_AFTER_S
    engine: str = store.TIMESTREAM
    memory_store_days: int = _MEMORY_STORE_DAYS
    magnetic_store_days: int = _MAGNETIC_STORE_DAYS
    rollup_every_hours: int = _ROLLUP_EVERY_HOURS
    grafana_workspace: bool = False
    grafana_principal: str | None = None
    grafana_external_id: str | None = None

    @classmethod
    def of(cls, node: Node) -> "Deployment":
        """What the context of the app says.

        Raises:
            DeploymentError: it says something that cannot be used.
        """
        context = _Context(node)
        local = context.yes_or_no("local")
        silent_after_minutes = context.whole_number(
            "silent_after_minutes", _SILENT_AFTER_MINUTES, _LEAST_SILENT_MINUTES, _DAY_S // 60
        )
        silent_after_s, blind_after_s = 60 * silent_after_minutes, _BLIND_AFTER_S
        if local:
            # The demo's days are short, and so are its times.
            silent_after_s = context.whole_number("silent_after_s", silent_after_s, 1, _DAY_S)
            blind_after_s = context.whole_number("blind_after_s", blind_after_s, 1, _DAY_S)
        schemes = ("https", "http") if local else ("https",)
        engine = context.one_of("store", store.ENGINES)
        if engine == store.TIMESTREAM and not local:
            _check_region(os.environ.get("CDK_DEFAULT_REGION"))
        grafana_principal, grafana_external_id = _grafana_reader(context)
        grafana_workspace = context.yes_or_no("grafana_workspace")
        if grafana_workspace and (engine != store.TIMESTREAM or grafana_principal is not None):
            raise DeploymentError(
                "grafana_workspace = true is a workspace that reads Timestream by a role of its own: leave it out with "
                "store = influxdb, and leave grafana_principal out with it"
            )
        return cls(
            local=local,
            alarm_email=context.email("alarm_email"),
            alert_email=context.email("alert_email"),
            pagerduty_alarm_url=context.url("pagerduty_alarm_url", schemes),
            pagerduty_events_url=context.url("pagerduty_events_url", schemes),
            dashboard_url=context.url("dashboard_url", schemes),
            silent_after_s=silent_after_s,
            blind_after_s=blind_after_s,
            engine=engine,
            memory_store_days=context.whole_number("memory_store_days", _MEMORY_STORE_DAYS, 1, _MOST_MEMORY_STORE_DAYS),
            magnetic_store_days=context.whole_number(
                "magnetic_store_days", _MAGNETIC_STORE_DAYS, 1, _MOST_MAGNETIC_STORE_DAYS
            ),
            rollup_every_hours=context.whole_number("rollup_every_hours", _ROLLUP_EVERY_HOURS, 1, 24),
            grafana_workspace=grafana_workspace,
            grafana_principal=grafana_principal,
            grafana_external_id=grafana_external_id,
        )

    @property
    def removal_policy(self) -> cdk.RemovalPolicy:
        """What becomes of stateful resources when their stack is destroyed."""
        # A first deployment that fails leaves nothing behind: what has a name would stand in the way of the next one.
        return cdk.RemovalPolicy.DESTROY if self.local else cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE

    def synthesizer(self) -> cdk.IStackSynthesizer:
        """The emulator's IAM refuses the bootstrap stack's roles, but not the caller's own credentials."""
        return cdk.CliCredentialsStackSynthesizer() if self.local else cdk.DefaultStackSynthesizer()

    def bucket(self, scope: Construct, id_: str) -> s3.Bucket:
        """An encrypted bucket that is never public and speaks TLS only."""
        bucket = s3.Bucket(
            scope,
            id_,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=not self.local,
            removal_policy=self.removal_policy,
        )
        accept_nag(
            bucket,
            "S1",
            "an access log would be a bucket more, to watch and to pay, about one or two roles that do nothing else",
        )
        return bucket

    def queue(
        self,
        scope: Construct,
        id_: str,
        *,
        visibility_timeout: cdk.Duration | None = None,
        dead_letter_queue: sqs.DeadLetterQueue | None = None,
    ) -> sqs.Queue:
        """An encrypted queue that keeps what nobody takes for 14 days, the longest there is, and speaks TLS only."""
        return sqs.Queue(
            scope,
            id_,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=not self.local,
            retention_period=cdk.Duration.days(14),
            visibility_timeout=visibility_timeout,
            dead_letter_queue=dead_letter_queue,
        )

    def last_queue(self, scope: Construct, id_: str) -> sqs.Queue:
        """A queue for what failed everywhere else. `infra.watch` raises an alarm when it is not empty."""
        queue = self.queue(scope, id_)
        accept_nag(queue, "SQS3", "it is where the others' dead letters end; an alarm says so")
        return queue

    def topic(self, scope: Construct, id_: str) -> sns.Topic:
        """A topic that speaks TLS only.

        It is not encrypted at rest: CloudWatch's alarms may not use AWS's own key for SNS, a key of ours would cost a
        dollar a month and be one thing more that an alert needs, and what passes through holds no secret.
        """
        return sns.Topic(scope, id_, enforce_ssl=not self.local)


def _check_region(region: str | None) -> None:
    """The CDK's command line knows the region of the profile; without it, AWS will say the same, later."""
    if region and region not in TIMESTREAM_REGIONS:
        raise DeploymentError(
            f"Timestream for LiveAnalytics is not offered in {region}: give -c store={store.INFLUXDB}, or deploy to "
            f"one of {', '.join(TIMESTREAM_REGIONS)}"
        )


def _grafana_reader(context: "_Context") -> tuple[str | None, str | None]:
    """Who may read besides Amazon Managed Grafana, and what they must say."""
    principal = context.matching("grafana_principal", _PRINCIPAL, "an AWS account's 12 digits, or a role's ARN")
    external_id = context.matching("grafana_external_id", _EXTERNAL_ID, "the text that Grafana shows as External ID")
    if external_id and not principal:
        raise DeploymentError(
            f"grafana_external_id = {external_id!r} is for nobody: give -c grafana_principal=... too, such as "
            f"{_GRAFANA_CLOUD_ACCOUNT} for Grafana Cloud"
        )
    if principal and _GRAFANA_CLOUD_ACCOUNT in principal and not external_id:
        raise DeploymentError(
            f"grafana_principal = {principal!r} is everyone who has a Grafana Cloud: give -c grafana_external_id=... "
            "too, the External ID that yours shows for its data source"
        )
    return principal, external_id


class _Context:
    """The CDK's context: text from the command line, any JSON from `cdk.json`. Empty text means: not set."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def _value(self, name: str) -> object:
        value: object = self._node.try_get_context(name)
        return None if value == "" else value

    def yes_or_no(self, name: str) -> bool:
        value = self._value(name)
        if value is None or value is False or value == "false":
            return False
        if value is True or value == "true":
            return True
        raise DeploymentError(f"{name} = {value!r} is neither true nor false: give -c {name}=true, or leave it out")

    def email(self, name: str) -> str | None:
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, str) or not _EMAIL.fullmatch(value):
            raise DeploymentError(f"{name} = {value!r} is no e-mail address: give one, such as you@example.org")
        return value

    def url(self, name: str, schemes: tuple[str, ...]) -> str | None:
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, str) or not _is_url(value, schemes):
            raise DeploymentError(f"{name} = {value!r} is no usable address: give one that starts with {schemes[0]}://")
        return value

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """One of `choices`; the first, where nothing is set."""
        value = self._value(name)
        if value is None:
            return choices[0]
        if not isinstance(value, str) or value not in choices:
            raise DeploymentError(f"{name} = {value!r} is not usable: give one of {', '.join(choices)}")
        return value

    def matching(self, name: str, pattern: re.Pattern[str], remedy: str) -> str | None:
        value = self._value(name)
        if value is None:
            return None
        # A JSON number has lost the zeros that an account may begin with.
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise DeploymentError(f"{name} = {value!r} is not usable: give {remedy}")
        return value

    def whole_number(self, name: str, default: int, low: int, high: int) -> int:
        value = self._value(name)
        if value is None:
            return default
        number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value
        # JSON numbers reach Python as floats: 15 as 15.0.
        if isinstance(number, bool) or not isinstance(number, int | float) or number != int(number):
            number = None
        if number is None or not low <= number <= high:
            raise DeploymentError(f"{name} = {value!r} is not usable: give a whole number from {low} to {high}")
        return int(number)


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and not re.search(r"\s", value)
    except ValueError:
        return False
