"""The whole cloud half but the table, which has a stack of its own. Read `SolarshedStack` as the diagram."""

import aws_cdk as cdk
from constructs import Construct

from infra.deployment import Deployment
from infra.heartbeat import Heartbeat
from infra.identity import DeviceIdentity
from infra.telemetry import Telemetry


class SolarshedStack(cdk.Stack):
    """Who may connect, and what happens to each kind of message that a device publishes."""

    def __init__(self, scope: Construct, id_: str, *, deployment: Deployment) -> None:
        super().__init__(
            scope,
            id_,
            synthesizer=deployment.synthesizer(),
            description="Solarshed: device identity, telemetry, heartbeat",
        )
        identity = DeviceIdentity(self, "DeviceIdentity")
        telemetry = Telemetry(self, "Telemetry", deployment=deployment)
        heartbeat = Heartbeat(self, "Heartbeat", deployment=deployment)

        self._output("DevicePolicyName", identity.policy_name)
        self._output("TelemetryQueueUrl", telemetry.queue.queue_url)
        self._output("TelemetryDeadLettersUrl", telemetry.dead_letters.queue_url)
        self._output("HeartbeatBucketName", heartbeat.bucket.bucket_name)

    def _output(self, name: str, value: str) -> None:
        cdk.CfnOutput(self, name, value=value)
