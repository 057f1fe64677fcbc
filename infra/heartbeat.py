"""Heartbeat: IoT rule -> S3, with no code between. An object's LastModified is the time of the last beat."""

from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from constructs import Construct

from contract import topics
from infra.deployment import Deployment
from infra.rule import send_to, topic_rule

_PREFIX = "heartbeat/"


class Heartbeat(Construct):
    """Keeps the newest heartbeat of each thing as `heartbeat/<thing>.json`."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
        super().__init__(scope, id_)
        self.bucket = deployment.bucket(self, "Bucket")
        errors = deployment.queue(self, "Errors")
        role = iam.Role(self, "RuleRole", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        # `grant_put` would allow six actions, one with a wildcard.
        iam.Grant.add_to_principal(
            grantee=role, actions=["s3:PutObject"], resource_arns=[self.bucket.arn_for_objects(f"{_PREFIX}*")]
        )
        errors.grant_send_messages(role)
        topic_rule(
            self,
            "Rule",
            sql=f"SELECT * FROM '{topics.every_thing(topics.HEARTBEAT)}'",
            action=iot.CfnTopicRule.ActionProperty(
                s3=iot.CfnTopicRule.S3ActionProperty(
                    bucket_name=self.bucket.bucket_name,
                    key=_PREFIX + "${topic(3)}.json",
                    role_arn=role.role_arn,
                )
            ),
            error_action=send_to(errors, role.role_arn),
        )
