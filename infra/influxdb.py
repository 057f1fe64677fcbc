"""The second engine: Timestream for InfluxDB, in a network of its own that has no way to the internet.

Chosen by `-c store=influxdb`, instead of `infra.timestream`. The instance costs the same whether anything is written or
not; the cheapest there is, with what it needs: one of the smallest in one zone, 20 GiB, no NAT gateway. The telemetry
Lambda stands in the same network. From there it reaches S3 by a gateway endpoint, which is free, and Secrets Manager by
an interface endpoint in one zone, which is paid by the hour. Its queue is read and its log is written by Lambda itself,
from outside.

InfluxDB draws a year quickly enough without an hourly table: there is none, and no roll-up.
"""

import json

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_timestream as timestream
from constructs import Construct

from contract import store
from infra.accepted import accept_nag
from infra.deployment import Deployment

PORT = 8086
SECRET_NAME = "solarshed/influxdb"  # noqa: S105 - its name

_CLASS = "db.influx.medium"
_STORAGE_GIB = 20


class InfluxDbStack(cdk.Stack):
    """Network, secret and instance; what the telemetry Lambda needs of them are its attributes."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
        super().__init__(
            scope,
            id_,
            synthesizer=deployment.synthesizer(),
            description="Solarshed: the time series database, InfluxDB instead of Timestream for LiveAnalytics",
        )
        self.vpc = self._network()
        # Who may speak to the database: whatever is in this group.
        self.clients = ec2.SecurityGroup(
            self, "Clients", vpc=self.vpc, description="May speak to InfluxDB", allow_all_outbound=False
        )
        self.secret = self._secret(deployment)
        instance = self._instance(deployment)
        self.url = f"https://{instance.attr_endpoint}:{PORT}"
        self._endpoints()

        cdk.CfnOutput(self, "InfluxDbUrl", value=self.url)
        cdk.CfnOutput(self, "InfluxDbSecretName", value=SECRET_NAME)

    def _network(self) -> ec2.Vpc:
        vpc = ec2.Vpc(
            self,
            "Network",
            ip_addresses=ec2.IpAddresses.cidr("10.71.0.0/24"),
            max_azs=1,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Database", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=26)
            ],
            # It would be made by a Lambda of the CDK's own; whatever we put there has a group of its own.
            restrict_default_security_group=False,
        )
        accept_nag(vpc, "VPC7", "nothing gets in or out but by two endpoints; flow logs would cost more than they tell")
        return vpc

    def _secret(self, deployment: Deployment) -> secretsmanager.Secret:
        """Of the first user, with what `cloud.telemetry.influxdb_login` needs to make a token of its own."""
        secret = secretsmanager.Secret(
            self,
            "User",
            secret_name=SECRET_NAME,
            description="InfluxDB's first user; add a token, and the telemetry Lambda takes that",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template=json.dumps(
                    {"username": "solarshed", "organization": store.DATABASE, "bucket": store.DATABASE}
                ),
                generate_string_key="password",
                password_length=40,
                # The service takes letters and digits only.
                exclude_punctuation=True,
            ),
            removal_policy=deployment.removal_policy,
        )
        accept_nag(secret, "SMG4", "InfluxDB holds the password: exchanging it here alone would lock everyone out")
        return secret

    def _instance(self, deployment: Deployment) -> timestream.CfnInfluxDBInstance:
        group = ec2.SecurityGroup(self, "Database", vpc=self.vpc, description="InfluxDB", allow_all_outbound=False)
        group.add_ingress_rule(self.clients, ec2.Port.tcp(PORT), "from its clients only")
        self.clients.add_egress_rule(group, ec2.Port.tcp(PORT), "to InfluxDB")
        instance = timestream.CfnInfluxDBInstance(
            self,
            "Instance",
            name=store.DATABASE,
            db_instance_type=_CLASS,
            db_storage_type="InfluxIOIncludedT1",
            allocated_storage=_STORAGE_GIB,
            deployment_type="SINGLE_AZ",
            publicly_accessible=False,
            port=PORT,
            username="solarshed",
            password=self.secret.secret_value_from_json("password").unsafe_unwrap(),
            organization=store.DATABASE,
            bucket=store.DATABASE,
            vpc_subnet_ids=[subnet.subnet_id for subnet in self.vpc.isolated_subnets],
            vpc_security_group_ids=[group.security_group_id],
        )
        instance.apply_removal_policy(deployment.removal_policy)
        return instance

    def _endpoints(self) -> None:
        self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        group = ec2.SecurityGroup(
            self, "Secrets", vpc=self.vpc, description="Endpoint of Secrets Manager", allow_all_outbound=False
        )
        group.add_ingress_rule(self.clients, ec2.Port.tcp(443), "from InfluxDB's clients only")
        self.vpc.add_interface_endpoint(
            "SecretsManager",
            service=ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
            security_groups=[group],
            open=False,
        )
        self.clients.add_egress_rule(
            ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "to the two endpoints: nothing else can be reached"
        )
