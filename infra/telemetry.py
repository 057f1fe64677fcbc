"""Telemetry: IoT rule -> queue (with dead letters) -> Lambda -> time series store; refused records to a bucket."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from contract import store, topics
from infra.allow import allow
from infra.deployment import Deployment
from infra.function import Network, PythonFunction
from infra.influxdb import InfluxDbStack
from infra.rule import send_to, topic_rule

_TIMEOUT_S = 30
# AWS asks for at least six times the function's timeout, so that a slow batch is not delivered twice at once.
_VISIBILITY_S = 6 * _TIMEOUT_S
_RECEIVES_BEFORE_DEAD_LETTER = 5
_REJECTED_PREFIX = "rejected/"


class Telemetry(Construct):
    """Stores what devices publish on `dt/solarshed/<thing>/telemetry`: in InfluxDB where it is given, or Timestream."""

    def __init__(
        self, scope: Construct, id_: str, *, deployment: Deployment, influxdb: InfluxDbStack | None = None
    ) -> None:
        super().__init__(scope, id_)
        self.dead_letters = deployment.last_queue(self, "DeadLetters")
        self.queue = deployment.queue(
            self,
            "Queue",
            visibility_timeout=cdk.Duration.seconds(_VISIBILITY_S),
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=_RECEIVES_BEFORE_DEAD_LETTER
            ),
        )
        self._rule()
        rejected = deployment.bucket(self, "RejectedRecords")
        self.function = self._function(rejected, deployment, influxdb)
        self.function.may(
            ["s3:PutObject"],
            [rejected.arn_for_objects(f"{_REJECTED_PREFIX}*")],
            why_all="a refused record is named by what it is",
        )
        if influxdb is None:
            self._allow_writes_to_timestream()
        else:
            self.function.may(["secretsmanager:GetSecretValue"], [influxdb.secret.secret_full_arn or ""])
        self.function.add_event_source(
            event_sources.SqsEventSource(
                self.queue,
                batch_size=25,
                max_batching_window=cdk.Duration.seconds(1),
                report_batch_item_failures=True,
            )
        )

    def _rule(self) -> None:
        role = iam.Role(self, "RuleRole", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        allow(role, ["sqs:SendMessage"], [self.queue.queue_arn, self.dead_letters.queue_arn])
        topic_rule(
            self,
            "Rule",
            # The name comes from the topic, which the device policy ties to the certificate, and the time of arrival
            # from AWS. Of what a payload says of them nothing is selected.
            sql="SELECT schema, shared, fields, samples, topic(3) AS thing, timestamp() AS received_ms "
            f"FROM '{topics.every_thing(topics.TELEMETRY)}'",
            action=send_to(self.queue, role.role_arn),
            error_action=send_to(self.dead_letters, role.role_arn),
        )

    def _function(self, rejected: s3.Bucket, deployment: Deployment, influxdb: InfluxDbStack | None) -> PythonFunction:
        return PythonFunction(
            self,
            capability="telemetry",
            description="Writes telemetry samples to the time series store",
            timeout_s=_TIMEOUT_S,
            memory_mb=256,
            environment={
                "SOLARSHED_STORE": deployment.engine,
                "SOLARSHED_DATABASE": store.DATABASE,
                "SOLARSHED_REJECTED_BUCKET": rejected.bucket_name,
                **_environment(influxdb),
            },
            deployment=deployment,
            network=Network(influxdb.vpc, influxdb.clients) if influxdb else None,
        )

    def _allow_writes_to_timestream(self) -> None:
        table = cdk.Stack.of(self).format_arn(
            service="timestream", resource=f"database/{store.DATABASE}/table", resource_name=store.TABLE
        )
        self.function.may(["timestream:WriteRecords"], [table])
        self.function.may(["timestream:DescribeEndpoints"], ["*"], why_all="AWS takes no other resource for it")


def _environment(influxdb: InfluxDbStack | None) -> dict[str, str]:
    """Where the engine is."""
    if influxdb is None:
        return {"SOLARSHED_TABLE": store.TABLE}
    return {"SOLARSHED_INFLUXDB_URL": influxdb.url, "SOLARSHED_INFLUXDB_SECRET": influxdb.secret.secret_arn}
