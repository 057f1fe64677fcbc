"""Who may read the tables: a role for Grafana, and nothing else."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from contract import store
from infra.allow import allow
from infra.deployment import Deployment
from infra.rollup import table_arn


class GrafanaReader(Construct):
    """The role, for whom the owner names; without a name, for Amazon Managed Grafana's workspaces of this account.

    A workspace takes it as its own role. Grafana Cloud and a Grafana of one's own assume it: `grafana_principal` is the
    account or role that they come from, and `grafana_external_id` what Grafana Cloud shows for this purpose.
    """

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
        super().__init__(scope, id_)
        self.role = iam.Role(
            self,
            "Role",
            description="Solarshed: lets Grafana read the time series tables",
            assumed_by=self._whom(deployment.grafana_principal),
            external_ids=[deployment.grafana_external_id] if deployment.grafana_external_id else None,
        )
        stack = cdk.Stack.of(self)
        database = stack.format_arn(service="timestream", resource="database", resource_name=store.DATABASE)
        tables = [table_arn(stack, table) for table in (store.TABLE, store.HOURLY_TABLE)]
        allow(self.role, ["timestream:Select", "timestream:DescribeTable", "timestream:ListMeasures"], tables)
        allow(self.role, ["timestream:DescribeDatabase", "timestream:ListTables"], [database])
        allow(
            self.role,
            [
                *("timestream:CancelQuery", "timestream:DescribeEndpoints", "timestream:ListDatabases"),
                "timestream:SelectValues",
            ],
            ["*"],
            why_all="AWS takes no other resource for it; it shows no table's data",
        )

    def _whom(self, principal: str | None) -> iam.IPrincipal:
        if principal is None:
            stack = cdk.Stack.of(self)
            workspaces = stack.format_arn(service="grafana", resource="/workspaces", resource_name="*")
            return iam.ServicePrincipal(
                "grafana.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "StringLike": {"aws:SourceArn": workspaces},
                },
            )
        return iam.ArnPrincipal(principal) if principal.startswith("arn:") else iam.AccountPrincipal(principal)
