"""Telemetry: IoT rule -> queue (with dead letters) -> Lambda -> Timestream; refused records to a bucket."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from contract import store, topics
from infra.allow import allow
from infra.deployment import Deployment
from infra.function import PythonFunction
from infra.rule import send_to, topic_rule

_TIMEOUT_S = 30
# AWS asks for at least six times the function's timeout, so that a slow batch is not delivered twice at once.
_VISIBILITY_S = 6 * _TIMEOUT_S
_RECEIVES_BEFORE_DEAD_LETTER = 5
_REJECTED_PREFIX = "rejected/"


class Telemetry(Construct):
    """Stores what devices publish on `dt/solarshed/<thing>/telemetry`."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
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
        self.function = self._function(rejected, deployment)
        self.function.may(
            ["s3:PutObject"],
            [rejected.arn_for_objects(f"{_REJECTED_PREFIX}*")],
            why_all="a refused record is named by what it is",
        )
        self._allow_writes()
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
            # The name comes from the topic, which the device policy ties to the certificate. A payload's own `thing` is
            # not selected, so it cannot stand in the way.
            sql="SELECT schema, shared, fields, samples, topic(3) AS thing "
            f"FROM '{topics.every_thing(topics.TELEMETRY)}'",
            action=send_to(self.queue, role.role_arn),
            error_action=send_to(self.dead_letters, role.role_arn),
        )

    def _function(self, rejected: s3.Bucket, deployment: Deployment) -> PythonFunction:
        return PythonFunction(
            self,
            capability="telemetry",
            description="Writes telemetry samples to Timestream",
            timeout_s=_TIMEOUT_S,
            memory_mb=256,
            environment={
                "SOLARSHED_DATABASE": store.DATABASE,
                "SOLARSHED_TABLE": store.TABLE,
                "SOLARSHED_REJECTED_BUCKET": rejected.bucket_name,
            },
            deployment=deployment,
        )

    def _allow_writes(self) -> None:
        table = cdk.Stack.of(self).format_arn(
            service="timestream", resource=f"database/{store.DATABASE}/table", resource_name=store.TABLE
        )
        self.function.may(["timestream:WriteRecords"], [table])
        self.function.may(["timestream:DescribeEndpoints"], ["*"], why_all="AWS takes no other resource for it")
