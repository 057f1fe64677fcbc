"""What every Lambda of ours has in common: Python on ARM, a role and a log of its own, JSON logs."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.accepted import accept_nag
from infra.allow import allow
from infra.bundle import lambda_code
from infra.deployment import Deployment


class PythonFunction(lambda_.Function):
    """The Lambda in `cloud/<capability>`, as `Function` in `scope`. It may write its own log, and what `may` says."""

    def __init__(
        self,
        scope: Construct,
        *,
        capability: str,
        description: str,
        timeout_s: int,
        memory_mb: int,
        environment: dict[str, str],
        deployment: Deployment,
    ) -> None:
        log_group = logs.LogGroup(
            scope, "Logs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=deployment.removal_policy
        )
        # The managed policy that the CDK takes by default allows all logs of the account, and making new ones.
        self._own_role = iam.Role(scope, "FunctionRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.may(["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])
        super().__init__(
            scope,
            "Function",
            description=description,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"cloud.{capability}.handler.handler",
            code=lambda_code(capability),
            timeout=cdk.Duration.seconds(timeout_s),
            memory_size=memory_mb,
            role=self._own_role,
            log_group=log_group,
            # Traces cost by their number, and there is nothing behind these Lambdas that the logs do not show.
            tracing=lambda_.Tracing.DISABLED,
            environment={
                "POWERTOOLS_SERVICE_NAME": capability,
                "POWERTOOLS_LOG_LEVEL": "INFO",
                "POWERTOOLS_METRICS_NAMESPACE": "Solarshed",
                **environment,
            },
        )
        accept_nag(self, "L1", "the bundles are tested for Python 3.13, which AWS supports until 2029")

    def may(self, actions: list[str], resources: list[str], *, why_all: str = "") -> None:
        """Allow it these actions (see `allow`)."""
        allow(self._own_role, actions, resources, why_all=why_all)
