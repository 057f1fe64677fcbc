"""Timestream for LiveAnalytics: the database and the table, in a stack of their own.

The service takes no new customers since 2025-06-20; keeping it apart lets another engine take its place without
touching the rest.
"""

import aws_cdk as cdk
from aws_cdk import aws_timestream as timestream
from constructs import Construct

from contract import store
from infra.accepted import accept, accept_nag
from infra.deployment import Deployment

# The CDK's own template check and cfn-lint both warn of it, by the same number.
MAINTENANCE_MODE_RULE = "W3697"
WHY_MAINTENANCE_MODE_IS_ACCEPTED = "the owner chose Timestream; it stands apart so that another engine can replace it"

_MEMORY_STORE_HOURS = 7 * 24
_MAGNETIC_STORE_DAYS = 5 * 365


class TimestreamStack(cdk.Stack):
    """Seven days in the memory store, five years in the magnetic store; late data are written to the latter."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
        super().__init__(
            scope, id_, synthesizer=deployment.synthesizer(), description="Solarshed: the time series table"
        )
        rejected = deployment.bucket(self, "RejectedLateRecords")
        database = timestream.CfnDatabase(self, "Database", database_name=store.DATABASE)
        table = timestream.CfnTable(
            self,
            "Table",
            database_name=store.DATABASE,
            table_name=store.TABLE,
            retention_properties={
                "MemoryStoreRetentionPeriodInHours": str(_MEMORY_STORE_HOURS),
                "MagneticStoreRetentionPeriodInDays": str(_MAGNETIC_STORE_DAYS),
            },
            magnetic_store_write_properties={
                "EnableMagneticStoreWrites": True,
                "MagneticStoreRejectedDataLocation": {
                    "S3Configuration": {"BucketName": rejected.bucket_name, "EncryptionOption": "SSE_S3"}
                },
            },
        )
        table.add_resource_dependency(database)
        database.apply_removal_policy(deployment.removal_policy)
        table.apply_removal_policy(deployment.removal_policy)
        accept(self, f"CloudFormation-Validate::{MAINTENANCE_MODE_RULE}", WHY_MAINTENANCE_MODE_IS_ACCEPTED)
        accept_nag(database, "TS3", "it is encrypted by AWS's own key; one of ours would cost a dollar a month")
