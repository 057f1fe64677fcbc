"""A workspace of Amazon Managed Grafana, for an owner who wants one and has IAM Identity Center."""

from aws_cdk import aws_grafana as grafana
from aws_cdk import aws_iam as iam
from constructs import Construct

# `dashboard push` asks for it or later, and Amazon Managed Grafana has offered it for long.
VERSION = "10.4"


class GrafanaWorkspace(Construct):
    """The workspace, which reads by `reader` and nothing else. People are let in in its console (IAM Identity Center).

    Source: Amazon Managed Grafana, API reference, CreateWorkspace.
    """

    def __init__(self, scope: Construct, id_: str, *, reader: iam.IRole) -> None:
        super().__init__(scope, id_)
        self.workspace = grafana.CfnWorkspace(
            self,
            "Workspace",
            name="solarshed",
            description="Solarshed: dashboards and their alerts",
            account_access_type="CURRENT_ACCOUNT",
            authentication_providers=["AWS_SSO"],
            permission_type="CUSTOMER_MANAGED",
            role_arn=reader.role_arn,
            data_sources=["TIMESTREAM"],
            grafana_version=VERSION,
            # With it the Timestream plugin can be installed and kept up to date from within.
            plugin_admin_enabled=True,
        )
