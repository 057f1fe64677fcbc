"""Alerts: IoT rule and heartbeat Lambda -> topic -> queue (with dead letters) -> Lambda -> PagerDuty."""

import json

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from contract import messages, topics
from infra.accepted import accept_nag
from infra.allow import allow
from infra.deployment import Deployment
from infra.function import PythonFunction
from infra.rule import send_to, topic_rule
from infra.schedule import every_five_minutes

_TIMEOUT_S = 30
# AWS asks for at least six times the function's timeout, so that a slow batch is not delivered twice at once.
_VISIBILITY_S = 6 * _TIMEOUT_S
# Two hours, at three minutes each, for PagerDuty to come back.
_RECEIVES_BEFORE_DEAD_LETTER = 40
# The fewest that AWS allows. Alerts are few, and more at once would only compete for the same incident.
_AT_ONCE = 2

_FLAPPING_INDEX = "flapping"
# The name of the secret, for the owner to find it by.
ROUTING_KEY_NAME = "solarshed/pagerduty-routing-key"
_PLACEHOLDER = "put-the-integration-key-here"


class Alerts(Construct):
    """One topic for the alerts of all devices, and one incident in PagerDuty for each."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment, watch_topic: sns.Topic) -> None:
        super().__init__(scope, id_)
        self.topic = deployment.topic(self, "Topic")
        # What a rule, a subscription, a schedule or the Lambda could not deliver.
        self.dead_letters = deployment.last_queue(self, "DeadLetters")
        self.queue = deployment.queue(
            self,
            "Queue",
            visibility_timeout=cdk.Duration.seconds(_VISIBILITY_S),
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=_RECEIVES_BEFORE_DEAD_LETTER
            ),
        )
        self._subscribe(deployment.alert_email)
        self._rule()
        self.incidents = self._table(deployment)
        # By this attribute, which is the ARN: the emulator takes a plain reference for the name.
        self._routing_key_arn = self._secret(deployment).attr_id
        self.function = self._function(deployment, watch_topic)
        self._allow_everything_it_does(watch_topic)
        self.function.add_event_source(
            event_sources.SqsEventSource(
                self.queue, batch_size=10, max_concurrency=_AT_ONCE, report_batch_item_failures=True
            )
        )
        every_five_minutes(
            self,
            description="Has the incidents closed that have been quiet for long enough",
            target_arn=self.queue.queue_arn,
            action="sqs:SendMessage",
            content=json.dumps({"schema": messages.SCHEMA, "settle": True}),
            dead_letters=self.dead_letters,
        )

    def _subscribe(self, alert_email: str | None) -> None:
        self.topic.add_subscription(
            subscriptions.SqsSubscription(self.queue, raw_message_delivery=True, dead_letter_queue=self.dead_letters)
        )
        if alert_email is not None:
            self.topic.add_subscription(subscriptions.EmailSubscription(alert_email))

    def _rule(self) -> None:
        role = iam.Role(self, "RuleRole", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        allow(role, ["sns:Publish"], [self.topic.topic_arn])
        allow(role, ["sqs:SendMessage"], [self.dead_letters.queue_arn])
        topic_rule(
            self,
            "Rule",
            # The name comes from the topic, which the device policy ties to the certificate, and the time of arrival
            # from AWS. Of what a payload says of them nothing is selected.
            sql="SELECT schema, alert, action, raised_ms, time_ms, boot_id, clock_synchronised, severity, summary, "
            "details, topic(3) AS thing, timestamp() AS received_ms "
            f"FROM '{topics.every_thing(topics.ALERT)}'",
            action=iot.CfnTopicRule.ActionProperty(
                sns=iot.CfnTopicRule.SnsActionProperty(
                    target_arn=self.topic.topic_arn, role_arn=role.role_arn, message_format="RAW"
                )
            ),
            error_action=send_to(self.dead_letters, role.role_arn),
        )

    def _table(self, deployment: Deployment) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            "Incidents",
            partition_key=dynamodb.Attribute(name="incident", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.DEFAULT,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="forget_at",
            deletion_protection=not deployment.local,
            removal_policy=deployment.removal_policy,
        )
        # Only incidents that wait to be closed have the attribute, so it holds few.
        table.add_global_secondary_index(
            index_name=_FLAPPING_INDEX,
            partition_key=dynamodb.Attribute(name="flapping", type=dynamodb.AttributeType.STRING),
            projection_type=dynamodb.ProjectionType.ALL,
        )
        return table

    def _secret(self, deployment: Deployment) -> secretsmanager.CfnSecret:
        secret = secretsmanager.CfnSecret(
            self,
            "RoutingKey",
            name=ROUTING_KEY_NAME,
            # The owner puts PagerDuty's key in its place. CloudFormation writes a secret only when its template says
            # something new, so this text, the name and the description must stay as they are.
            description="PagerDuty's integration key (Events API v2)",
            secret_string=_PLACEHOLDER,
        )
        secret.apply_removal_policy(deployment.removal_policy)
        accept_nag(secret, "SMG4", "PagerDuty issues the key, and only a person can exchange it there")
        return secret

    def _function(self, deployment: Deployment, watch_topic: sns.Topic) -> PythonFunction:
        optional = {
            "SOLARSHED_PAGERDUTY_URL": deployment.pagerduty_events_url,
            "SOLARSHED_DASHBOARD_URL": deployment.dashboard_url,
        }
        return PythonFunction(
            self,
            capability="alerts",
            description="Opens and closes incidents in PagerDuty",
            timeout_s=_TIMEOUT_S,
            memory_mb=256,
            environment={
                "SOLARSHED_INCIDENTS_TABLE": self.incidents.table_name,
                # Not the ARN: a message that asks for the key names this.
                "SOLARSHED_ROUTING_KEY_SECRET": ROUTING_KEY_NAME,
                "SOLARSHED_WATCH_TOPIC": watch_topic.topic_arn,
                "SOLARSHED_DEAD_LETTERS_URL": self.dead_letters.queue_url,
                **{name: value for name, value in optional.items() if value is not None},
            },
            deployment=deployment,
        )

    def _allow_everything_it_does(self, watch_topic: sns.Topic) -> None:
        self.function.may(["dynamodb:GetItem", "dynamodb:PutItem"], [self.incidents.table_arn])
        self.function.may(["dynamodb:Query"], [f"{self.incidents.table_arn}/index/{_FLAPPING_INDEX}"])
        self.function.may(["secretsmanager:GetSecretValue"], [self._routing_key_arn])
        self.function.may(["sqs:SendMessage"], [self.dead_letters.queue_arn])
        # The second way, for what PagerDuty refuses.
        self.function.may(["sns:Publish"], [watch_topic.topic_arn])
