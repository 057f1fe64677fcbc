"""The hourly table is filled by a scheduled query of Timestream itself: its SQL, and what it may do.

Each run makes the hours of the last WINDOW_HOURS anew, the one that has begun included, and overwrites what was there:
whatever arrives up to a day late is in. What arrives later is in TABLE only, until somebody runs the query for that
time (`aws timestream-query execute-scheduled-query --invocation-time ...`).

Sources: Timestream developer guide, "Working with scheduled queries" (`@scheduled_runtime`), "Data model mappings for
scheduled queries", "Scheduled query notification messages" (a query whose run is refused is disabled).
"""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_timestream as timestream
from constructs import Construct

from contract import store
from contract.store import Type
from infra.allow import allow
from infra.deployment import Deployment

# A day that something may be late, and the longest time between two runs.
WINDOW_HOURS = 48

_HOUR = "hour"
_ERRORS_PREFIX = "roll-up-errors"
# Events, which most samples have none of: the last that there was. Of all else the last sample's, unknown if it was.
_EVENTS = (store.TRANSFER, store.ALERT_CHANGES)


def sql() -> str:
    """What is run: one row for each hour of each source."""
    columns = ",\n  ".join(f"{expression} AS {name}" for name, expression in _expressions().items())
    measures = ", ".join(f"'{measure}'" for measure in store.MEASURES)
    dimensions = ", ".join(store.DIMENSIONS)
    # A record from before there were sites has none, and a dimension must not be NULL.
    return (
        f"SELECT {dimensions}, measure_name, bin(time, 1h) AS {_HOUR},\n  {columns}\n"
        f'FROM "{store.DATABASE}"."{store.TABLE}"\n'
        f"WHERE time >= bin(@scheduled_runtime, 1h) - {WINDOW_HOURS}h AND time <= @scheduled_runtime\n"
        f"  AND measure_name IN ({measures}) AND {store.DIMENSION_SITE} IS NOT NULL\n"
        f"GROUP BY {dimensions}, measure_name, bin(time, 1h)"
    )


def _expressions() -> dict[str, str]:
    covered_s = "60.0 * count(DISTINCT bin(time, 1m))"
    return {
        **{name: _rolled_up(name, type_) for name, type_ in store.COLUMNS.items()},
        store.COVERED_S: covered_s,
        # Of a decision: nothing else has `on_grid`.
        store.GRID_TIME_S: f"{covered_s} * avg({store.ON_GRID})",
        store.TRANSFERS: f"CASE WHEN measure_name = '{store.MEASURE_DECISION}' "
        f"THEN CAST(count({store.TRANSFER}) AS DOUBLE) END",
    }


def _rolled_up(name: str, type_: Type) -> str:
    if name in store.COUNTS_UP:
        return f"max({name})"
    if type_ is Type.DOUBLE:
        return f"avg({name})"
    when = f"CASE WHEN {name} IS NOT NULL THEN time END" if name in _EVENTS else "time"
    return f"max_by({name}, {when})"


class RollUp(Construct):
    """The scheduled query, its role, and the topic that it tells how a run went."""

    def __init__(self, scope: Construct, id_: str, *, errors: s3.Bucket, deployment: Deployment) -> None:
        super().__init__(scope, id_)
        topic = deployment.topic(self, "Topic")
        self._tell_the_owner(topic, deployment.alarm_email)
        role = self._role(topic, errors)
        # No name: whatever changes in it, CloudFormation makes another one and then deletes this one.
        self.query = timestream.CfnScheduledQuery(
            self,
            "Query",
            query_string=sql(),
            schedule_configuration={"scheduleExpression": _every(deployment.rollup_every_hours)},
            notification_configuration={"snsConfiguration": {"topicArn": topic.topic_arn}},
            error_report_configuration={
                "s3Configuration": {
                    "bucketName": errors.bucket_name,
                    "objectKeyPrefix": _ERRORS_PREFIX,
                    "encryptionOption": "SSE_S3",
                }
            },
            scheduled_query_execution_role_arn=role.role_arn,
            target_configuration={"timestreamConfiguration": _target()},
        )
        self.query.node.add_dependency(role)

    def _tell_the_owner(self, topic: sns.Topic, alarm_email: str | None) -> None:
        if alarm_email is None:
            return
        # By the message itself: what attributes it has is not documented.
        bad = sns.FilterOrPolicy.filter(
            sns.SubscriptionFilter.string_filter(
                allowlist=["AUTO_TRIGGER_FAILURE", "MANUAL_TRIGGER_FAILURE", "SCHEDULED_QUERY_UPDATE"]
            )
        )
        topic.add_subscription(
            subscriptions.EmailSubscription(alarm_email, filter_policy_with_message_body={"type": bad})
        )

    def _role(self, topic: sns.Topic, errors: s3.Bucket) -> iam.Role:
        stack = cdk.Stack.of(self)
        role = iam.Role(
            self,
            "Role",
            # Not for the queries of another account that name this role.
            assumed_by=iam.ServicePrincipal(
                "timestream.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": stack.account}}
            ),
        )
        allow(role, ["timestream:Select"], [table_arn(stack, store.TABLE)])
        allow(role, ["timestream:WriteRecords"], [table_arn(stack, store.HOURLY_TABLE)])
        anything = "AWS takes no other resource for it; it shows no table's data"
        allow(role, ["timestream:DescribeEndpoints", "timestream:SelectValues"], ["*"], why_all=anything)
        allow(role, ["sns:Publish"], [topic.topic_arn])
        allow(role, ["s3:GetBucketAcl"], [errors.bucket_arn])
        report = errors.arn_for_objects(f"{_ERRORS_PREFIX}/*")
        allow(role, ["s3:PutObject"], [report], why_all="Timestream names a report by its run")
        return role


def table_arn(stack: cdk.Stack, table: str) -> str:
    """The ARN of one of the two tables."""
    return stack.format_arn(service="timestream", resource=f"database/{store.DATABASE}/table", resource_name=table)


def _every(hours: int) -> str:
    return f"rate({hours} {'hour' if hours == 1 else 'hours'})"


def _target() -> dict[str, object]:
    types = {**store.COLUMNS, **store.HOURLY_ONLY}
    return {
        "databaseName": store.DATABASE,
        "tableName": store.HOURLY_TABLE,
        "timeColumn": _HOUR,
        "dimensionMappings": [{"name": name, "dimensionValueType": "VARCHAR"} for name in store.DIMENSIONS],
        # The measure name of each row becomes that of its record.
        "measureNameColumn": "measure_name",
        "multiMeasureMappings": {
            "multiMeasureAttributeMappings": [
                {"sourceColumn": name, "measureValueType": type_.value} for name, type_ in types.items()
            ]
        },
    }
