"""Timestream for LiveAnalytics: the database and its two tables, in a stack of their own.

The service takes no new customers since 2025-06-20; keeping it apart lets another engine take its place without
touching the rest (`infra.influxdb`).
"""

import json

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_timestream as timestream
from constructs import Construct

from contract import store
from infra.accepted import accept, accept_nag
from infra.deployment import Deployment
from infra.function import PythonFunction
from infra.grafana import GrafanaWorkspace
from infra.reader import GrafanaReader
from infra.rollup import WINDOW_HOURS, RollUp, table_arn

# The CDK's own template check and cfn-lint both warn of it, by the same number.
MAINTENANCE_MODE_RULE = "W3697"
WHY_MAINTENANCE_MODE_IS_ACCEPTED = "the owner chose Timestream; it stands apart so that another engine can replace it"

# What a run of the roll-up writes is no older; a run for an older time goes to the magnetic store.
_HOURLY_MEMORY_STORE_HOURS = WINDOW_HOURS + 24


class TimestreamStack(cdk.Stack):
    """Every sample, an hourly roll-up for the long run, and a role that may read both.

    New records go to the memory store, those that are older than it keeps to the magnetic store.
    """

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
        super().__init__(
            scope, id_, synthesizer=deployment.synthesizer(), description="Solarshed: the time series tables"
        )
        self._deployment = deployment
        rejected = deployment.bucket(self, "RejectedLateRecords")
        self._database = self._make_database()
        tables = [
            self._table("Table", store.TABLE, 24 * deployment.memory_store_days, rejected),
            self._table("HourlyTable", store.HOURLY_TABLE, _HOURLY_MEMORY_STORE_HOURS, rejected),
        ]
        columns = self._declare_columns(tables)
        roll_up = RollUp(self, "RollUp", errors=rejected, deployment=deployment)
        # A query that names a column which is not there yet is refused.
        roll_up.query.node.add_dependency(columns)
        self.reader = GrafanaReader(self, "GrafanaReader", deployment=deployment)
        accept(self, f"CloudFormation-Validate::{MAINTENANCE_MODE_RULE}", WHY_MAINTENANCE_MODE_IS_ACCEPTED)

        if deployment.grafana_workspace:
            made = GrafanaWorkspace(self, "Grafana", reader=self.reader.role).workspace
            cdk.CfnOutput(self, "GrafanaUrl", value=f"https://{made.attr_endpoint}")
        cdk.CfnOutput(self, "GrafanaReaderRoleArn", value=self.reader.role.role_arn)
        cdk.CfnOutput(self, "RollUpQueryArn", value=roll_up.query.attr_arn)

    def _make_database(self) -> timestream.CfnDatabase:
        database = timestream.CfnDatabase(self, "Database", database_name=store.DATABASE)
        database.apply_removal_policy(self._deployment.removal_policy)
        accept_nag(database, "TS3", "it is encrypted by AWS's own key; one of ours would cost a dollar a month")
        return database

    def _table(self, id_: str, name: str, memory_store_hours: int, rejected: s3.Bucket) -> timestream.CfnTable:
        table = timestream.CfnTable(
            self,
            id_,
            database_name=store.DATABASE,
            table_name=name,
            retention_properties={
                "MemoryStoreRetentionPeriodInHours": str(memory_store_hours),
                "MagneticStoreRetentionPeriodInDays": str(self._deployment.magnetic_store_days),
            },
            magnetic_store_write_properties={
                "EnableMagneticStoreWrites": True,
                "MagneticStoreRejectedDataLocation": {
                    "S3Configuration": {"BucketName": rejected.bucket_name, "EncryptionOption": "SSE_S3"}
                },
            },
        )
        table.add_resource_dependency(self._database)
        table.apply_removal_policy(self._deployment.removal_policy)
        return table

    def _declare_columns(self, tables: list[timestream.CfnTable]) -> cdk.CustomResource:
        columns = Construct(self, "Columns")
        function = PythonFunction(
            columns,
            capability="timestream",
            description="Declares the tables' columns, when they are made and when there are more",
            timeout_s=180,
            memory_mb=256,
            environment={},
            deployment=self._deployment,
        )
        function.may(["timestream:WriteRecords"], [table_arn(self, name) for name in (store.TABLE, store.HOURLY_TABLE)])
        function.may(["timestream:DescribeEndpoints"], ["*"], why_all="AWS takes no other resource for it")
        declared = cdk.CustomResource(
            columns,
            "Declared",
            resource_type="Custom::TimestreamColumns",
            service_token=function.function_arn,
            service_timeout=cdk.Duration.minutes(10),
            # CloudFormation asks again when this text is another one.
            properties={
                "Database": store.DATABASE,
                "Columns": json.dumps({**store.COLUMNS, **store.HOURLY_ONLY}, sort_keys=True),
            },
        )
        declared.node.add_dependency(function, *tables)
        return declared
