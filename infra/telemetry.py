"""Telemetry: IoT rule -> queue (with dead letters) -> Lambda -> Timestream; refused records to a bucket."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from contract import store, topics
from infra.bundle import lambda_code
from infra.deployment import Deployment
from infra.rule import send_to, topic_rule

_TIMEOUT_S = 30
# AWS asks for at least six times the function's timeout, so that a slow batch is not delivered twice at once.
_VISIBILITY_S = 6 * _TIMEOUT_S
_RECEIVES_BEFORE_DEAD_LETTER = 5


class Telemetry(Construct):
    """Stores what devices publish on `dt/solarshed/<thing>/telemetry`."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
        super().__init__(scope, id_)
        self.dead_letters = deployment.queue(self, "DeadLetters")
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
        function = self._function(rejected, deployment)
        # `grant_put` would allow six actions, one with a wildcard.
        iam.Grant.add_to_principal(
            grantee=function, actions=["s3:PutObject"], resource_arns=[rejected.arn_for_objects("*")]
        )
        self._allow_writes(function)
        function.add_event_source(
            event_sources.SqsEventSource(
                self.queue,
                batch_size=25,
                max_batching_window=cdk.Duration.seconds(1),
                report_batch_item_failures=True,
            )
        )

    def _rule(self) -> None:
        role = iam.Role(self, "RuleRole", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        self.queue.grant_send_messages(role)
        self.dead_letters.grant_send_messages(role)
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

    def _function(self, rejected: s3.Bucket, deployment: Deployment) -> lambda_.Function:
        return lambda_.Function(
            self,
            "Function",
            description="Writes telemetry samples to Timestream",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler="cloud.telemetry.handler.handler",
            code=lambda_code("telemetry"),
            timeout=cdk.Duration.seconds(_TIMEOUT_S),
            memory_size=256,
            environment={
                "SOLARSHED_DATABASE": store.DATABASE,
                "SOLARSHED_TABLE": store.TABLE,
                "SOLARSHED_REJECTED_BUCKET": rejected.bucket_name,
            },
            log_group=logs.LogGroup(
                self, "Logs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=deployment.removal_policy
            ),
        )

    def _allow_writes(self, function: lambda_.Function) -> None:
        table = cdk.Stack.of(self).format_arn(
            service="timestream", resource=f"database/{store.DATABASE}/table", resource_name=store.TABLE
        )
        function.add_to_role_policy(iam.PolicyStatement(actions=["timestream:WriteRecords"], resources=[table]))
        # DescribeEndpoints knows no resource: AWS accepts only "*" for it.
        function.add_to_role_policy(iam.PolicyStatement(actions=["timestream:DescribeEndpoints"], resources=["*"]))
