"""Is it alive? IoT rules -> S3, with no code between. An object's LastModified is the time of the last beat."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from constructs import Construct

from contract import status, topics
from infra.deployment import Deployment
from infra.rule import send_to, topic_rule

_PREFIX = "heartbeat/"
_STATUS_DAYS = 30


class Heartbeat(Construct):
    """Keeps the newest heartbeat of each thing as `heartbeat/<thing>.json`, and what each connection said of itself as
    `status/<thing>/<session>-<state>.json`, for `contract.status` to put in order."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
        super().__init__(scope, id_)
        self.bucket = deployment.bucket(self, "Bucket")
        # One to three objects a connection; only the newest matter.
        self.bucket.add_lifecycle_rule(prefix=status.PREFIX, expiration=cdk.Duration.days(_STATUS_DAYS))
        self._errors = deployment.queue(self, "Errors")
        self._role = iam.Role(self, "RuleRole", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        # `grant_put` would allow six actions, one with a wildcard.
        iam.Grant.add_to_principal(
            grantee=self._role,
            actions=["s3:PutObject"],
            resource_arns=[self.bucket.arn_for_objects(f"{prefix}*") for prefix in (_PREFIX, status.PREFIX)],
        )
        self._errors.grant_send_messages(self._role)
        self._keep("Rule", topics.HEARTBEAT, _PREFIX + "${topic(3)}.json")
        self._keep("StatusRule", topics.STATUS, status.PREFIX + "${topic(3)}/${session}-${state}.json")

    def _keep(self, id_: str, channel: str, key: str) -> None:
        topic_rule(
            self,
            id_,
            sql=f"SELECT * FROM '{topics.every_thing(channel)}'",
            action=iot.CfnTopicRule.ActionProperty(
                s3=iot.CfnTopicRule.S3ActionProperty(
                    bucket_name=self.bucket.bucket_name, key=key, role_arn=self._role.role_arn
                )
            ),
            error_action=send_to(self._errors, self._role.role_arn),
        )
