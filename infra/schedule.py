"""What happens every five minutes: EventBridge Scheduler, with a queue for what it could not deliver."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.allow import allow

_MINUTES = 5


def every_five_minutes(
    scope: Construct, *, description: str, target_arn: str, action: str, content: str, dead_letters: sqs.Queue
) -> None:
    """Send `content` to the target, which takes it by the IAM action `action`.

    What could not be delivered until the next turn is not tried any more: the next one does all that this one had to.
    """
    stack = cdk.Stack.of(scope)
    group = stack.format_arn(service="scheduler", resource="schedule-group", resource_name="default")
    role = iam.Role(
        scope,
        "ScheduleRole",
        # Not for the schedules of another account that name this role.
        assumed_by=iam.ServicePrincipal(
            "scheduler.amazonaws.com",
            conditions={"StringEquals": {"aws:SourceAccount": stack.account, "aws:SourceArn": group}},
        ),
    )
    allow(role, [action], [target_arn])
    allow(role, ["sqs:SendMessage"], [dead_letters.queue_arn])
    schedule = scheduler.CfnSchedule(
        scope,
        "Schedule",
        description=description,
        schedule_expression=f"rate({_MINUTES} minutes)",
        flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
        target=scheduler.CfnSchedule.TargetProperty(
            arn=target_arn,
            role_arn=role.role_arn,
            input=content,
            retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                maximum_event_age_in_seconds=_MINUTES * 60, maximum_retry_attempts=5
            ),
            dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(arn=dead_letters.queue_arn),
        ),
    )
    # The first turn must find its permissions.
    schedule.node.add_dependency(role)
