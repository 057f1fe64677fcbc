"""IoT topic rules: each has one action, and an error action that keeps what the first one could not deliver."""

from aws_cdk import aws_iot as iot
from aws_cdk import aws_sqs as sqs
from constructs import Construct

# Without it a rule gets the first version of the SQL, 2015-10-08.
_SQL_VERSION = "2016-03-23"


def topic_rule(
    scope: Construct,
    id_: str,
    *,
    sql: str,
    action: iot.CfnTopicRule.ActionProperty,
    error_action: iot.CfnTopicRule.ActionProperty,
) -> iot.CfnTopicRule:
    """A rule in the SQL version that this project uses."""
    return iot.CfnTopicRule(
        scope,
        id_,
        topic_rule_payload=iot.CfnTopicRule.TopicRulePayloadProperty(
            sql=sql, aws_iot_sql_version=_SQL_VERSION, actions=[action], error_action=error_action
        ),
    )


def send_to(queue: sqs.Queue, role_arn: str) -> iot.CfnTopicRule.ActionProperty:
    """The action that puts the rule's result, as JSON text, on `queue`."""
    return iot.CfnTopicRule.ActionProperty(
        sqs=iot.CfnTopicRule.SqsActionProperty(queue_url=queue.queue_url, role_arn=role_arn, use_base64=False)
    )
