"""The watchers are watched: CloudWatch alarms -> a topic -> e-mail or PagerDuty, with none of our Lambdas between.

Ten metrics are watched, which is what CloudWatch gives for nothing; each further one costs $0.10 a month.
"""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.deployment import Deployment

_PERIOD = cdk.Duration.minutes(5)
_LATE = cdk.Duration.minutes(15)


class Watch(Construct):
    """The topic that the alarms speak to, when they start and when they end, and the alarms."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
        super().__init__(scope, id_)
        self.topic = deployment.topic(self, "Topic")
        self._action = actions.SnsAction(self.topic)
        self._let_alarms_publish()
        self._subscribe(deployment)

    def _let_alarms_publish(self) -> None:
        stack = cdk.Stack.of(self)
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                # Not the alarms of another account.
                conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
            )
        )

    def _subscribe(self, deployment: Deployment) -> None:
        if deployment.alarm_email is not None:
            self.topic.add_subscription(subscriptions.EmailSubscription(deployment.alarm_email))
        if deployment.pagerduty_alarm_url is not None:
            self.topic.add_subscription(subscriptions.UrlSubscription(deployment.pagerduty_alarm_url))
        if not (deployment.local or deployment.alarm_email):
            cdk.Annotations.of(self).add_warning_v2(
                "solarshed:nobody-is-told",
                "nobody gets the text of an alert that PagerDuty refuses (its integration for Amazon CloudWatch "
                "understands alarms only): give -c alarm_email=you@example.org",
            )

    def errors_of(self, function: lambda_.Function, capability: str) -> None:
        """Say that the Lambda fails."""
        self._alarm(
            f"{capability}Errors",
            function.metric_errors(period=_PERIOD, statistic="Sum"),
            description=f"The {capability} Lambda fails. Its log group says why.",
        )

    def runs_of(self, function: lambda_.Function, capability: str) -> None:
        """Say that the Lambda, which a schedule starts every five minutes, has not run for 15."""
        self._alarm(
            f"{capability}NotRun",
            # Three short periods: of one long one CloudWatch would go on looking at the last that had data.
            function.metric_invocations(period=_PERIOD, statistic="Sum"),
            periods=3,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            # A Lambda that is not called reports nothing, rather than 0.
            missing=cloudwatch.TreatMissingData.BREACHING,
            description=f"The {capability} Lambda has not run for 15 minutes: nobody looks whether a device is silent. "
            "See whether its schedule is enabled, and what its queue of errors holds.",
        )

    def dead_letters_in(self, queue: sqs.Queue, capability: str) -> None:
        """Say that there is something in a queue that ought to stay empty."""
        self._alarm(
            f"{capability}DeadLetters",
            queue.metric_approximate_number_of_messages_visible(period=_PERIOD, statistic="Maximum"),
            description=f"Something of {capability} could not be delivered and lies in its dead-letter queue. Read it, "
            "mend the cause, then send it again or delete it: until the queue is empty, no further one is told.",
        )

    def age_in(self, queue: sqs.Queue, capability: str) -> None:
        """Say that nobody has taken the oldest message out of the queue for 15 minutes."""
        self._alarm(
            f"{capability}Late",
            queue.metric_approximate_age_of_oldest_message(period=_PERIOD, statistic="Maximum"),
            threshold=_LATE.to_seconds(),
            description=f"The {capability} queue is not emptied: something in it is older than 15 minutes. See whether "
            "its Lambda runs, and what the log group says.",
        )

    def retries_in(self, queue: sqs.Queue, capability: str) -> None:
        """Say that for 15 minutes there has always been something that a Lambda had in hand and could not finish.

        The age of the oldest message does not tell: SQS leaves out what has been received more than three times.
        """
        self._alarm(
            f"{capability}Retried",
            queue.metric_approximate_number_of_messages_not_visible(period=_PERIOD, statistic="Minimum"),
            periods=3,
            description=f"The {capability} Lambda has tried the same again and again for 15 minutes: PagerDuty does "
            "not take what it sends. Look at the devices yourself meanwhile; the log group says why.",
        )

    def _alarm(
        self,
        id_: str,
        metric: cloudwatch.IMetric,
        *,
        description: str,
        threshold: float = 1,
        periods: int = 1,
        comparison: cloudwatch.ComparisonOperator = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            id_,
            metric=metric,
            alarm_description=description,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=comparison,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(self._action)
        alarm.add_ok_action(self._action)
