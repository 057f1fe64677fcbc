"""What every Lambda of ours has in common: Python on ARM, a role and a log of its own, JSON logs."""

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.accepted import accept_nag
from infra.allow import allow
from infra.bundle import lambda_code
from infra.deployment import Deployment

# What a Lambda needs to take up and give back its addresses in a network. AWS takes no other resource for them.
_IN_A_NETWORK = [
    *("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"),
    *("ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
]


@dataclass(frozen=True)
class Network:
    """Where a Lambda stands that is not to stand in AWS's own network, and in which group."""

    vpc: ec2.Vpc
    group: ec2.SecurityGroup


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
        network: Network | None = None,
    ) -> None:
        log_group = logs.LogGroup(
            scope, "Logs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=deployment.removal_policy
        )
        # The managed policy that the CDK takes by default allows all logs of the account, and making new ones.
        self._own_role = iam.Role(scope, "FunctionRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.may(["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])
        if network is not None:
            self.may(_IN_A_NETWORK, ["*"], why_all="AWS takes no other resource for them")
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
            vpc=network.vpc if network else None,
            security_groups=[network.group] if network else None,
        )
        accept_nag(self, "L1", "the bundles are tested for Python 3.13, which AWS supports until 2029")

    def may(self, actions: list[str], resources: list[str], *, why_all: str = "") -> None:
        """Allow it these actions (see `allow`)."""
        allow(self._own_role, actions, resources, why_all=why_all)
