"""Is it alive? IoT rules -> S3, with no code between; every five minutes the heartbeat Lambda looks what is there.

An object's LastModified is the time of the last beat.
"""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sns as sns
from constructs import Construct

from contract import heartbeat, status, topics
from infra.allow import allow
from infra.deployment import Deployment
from infra.function import PythonFunction
from infra.rule import send_to, topic_rule
from infra.schedule import every_five_minutes

_STATUS_DAYS = 30
# It ends before the next one starts.
_TIMEOUT_S = 240


class Heartbeat(Construct):
    """Keeps the newest heartbeat of each thing, and what each connection said of itself (see `contract.heartbeat` for
    the objects' names), and says on the alert topic which device is silent or blind."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment, alert_topic: sns.Topic) -> None:
        super().__init__(scope, id_)
        self.bucket = deployment.bucket(self, "Bucket")
        # One to three objects a connection; only the newest matter.
        self.bucket.add_lifecycle_rule(prefix=status.PREFIX, expiration=cdk.Duration.days(_STATUS_DAYS))
        # What could not be kept, and the runs that failed or never came about.
        self.errors = deployment.last_queue(self, "Errors")
        self._keep_what_things_say()
        self.function = self._function(alert_topic, deployment)
        self._allow_reading_and_remembering()
        self.function.may(["sns:Publish"], [alert_topic.topic_arn])
        self.function.may(
            ["iot:DescribeThing"],
            [self._arn_of_every_thing()],
            why_all="every thing is watched, and which ones there are is known by their heartbeats only",
        )
        self._run_every_five_minutes()

    def _keep_what_things_say(self) -> None:
        role = iam.Role(self, "RuleRole", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        prefixes = (heartbeat.PREFIX, status.PREFIX)
        allow(
            role,
            ["s3:PutObject"],
            [self.bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes],
            why_all="an object is named by its thing, and all things are kept",
        )
        allow(role, ["sqs:SendMessage"], [self.errors.queue_arn])
        self._keep(role, "Rule", topics.HEARTBEAT, heartbeat.key("${topic(3)}"))
        self._keep(role, "StatusRule", topics.STATUS, status.PREFIX + "${topic(3)}/${session}-${state}.json")

    def _keep(self, role: iam.Role, id_: str, channel: str, key: str) -> None:
        topic_rule(
            self,
            id_,
            sql=f"SELECT * FROM '{topics.every_thing(channel)}'",
            action=iot.CfnTopicRule.ActionProperty(
                s3=iot.CfnTopicRule.S3ActionProperty(
                    bucket_name=self.bucket.bucket_name, key=key, role_arn=role.role_arn
                )
            ),
            error_action=send_to(self.errors, role.role_arn),
        )

    def _function(self, alert_topic: sns.Topic, deployment: Deployment) -> PythonFunction:
        return PythonFunction(
            self,
            capability="heartbeat",
            description="Raises device_silent and device_blind",
            timeout_s=_TIMEOUT_S,
            # For the processor that comes with it: hundreds of objects are read at once.
            memory_mb=1024,
            environment={
                "SOLARSHED_HEARTBEAT_BUCKET": self.bucket.bucket_name,
                "SOLARSHED_ALERT_TOPIC": alert_topic.topic_arn,
                "SOLARSHED_SILENT_AFTER_S": str(deployment.silent_after_s),
                "SOLARSHED_BLIND_AFTER_S": str(deployment.blind_after_s),
            },
            deployment=deployment,
        )

    def _allow_reading_and_remembering(self) -> None:
        # Of all its names, not by prefix: S3 answers a read of an object that is not there yet with "access denied",
        # as if it were secret, where listing is allowed under a condition that such a read cannot meet.
        self.function.may(["s3:ListBucket"], [self.bucket.bucket_arn])
        why_all = "an object is named by its thing, and all things are watched"
        beats, opened = (self.bucket.arn_for_objects(f"{p}*") for p in (heartbeat.PREFIX, heartbeat.OPEN_PREFIX))
        counts = self.bucket.arn_for_objects(heartbeat.COUNTS_KEY)
        self.function.may(["s3:GetObject"], [beats, opened, counts], why_all=why_all)
        self.function.may(["s3:PutObject"], [opened, counts], why_all=why_all)
        self.function.may(["s3:DeleteObject"], [opened], why_all=why_all)

    def _arn_of_every_thing(self) -> str:
        return cdk.Stack.of(self).format_arn(service="iot", resource="thing", resource_name="*")

    def _run_every_five_minutes(self) -> None:
        self.function.configure_async_invoke(
            on_failure=destinations.SqsDestination(self.errors),
            # One more try, a minute later. After that the next run does the same, with newer data.
            retry_attempts=1,
            max_event_age=cdk.Duration.minutes(5),
        )
        every_five_minutes(
            self,
            description="Looks which devices are silent",
            target_arn=self.function.function_arn,
            action="lambda:InvokeFunction",
            content="{}",
            dead_letters=self.errors,
        )
