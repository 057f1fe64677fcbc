"""The whole cloud half but the time series store, which has a stack of its own. `SolarshedStack` is the diagram."""

import aws_cdk as cdk
from constructs import Construct

from infra.alerts import ROUTING_KEY_NAME, Alerts
from infra.deployment import Deployment
from infra.heartbeat import Heartbeat
from infra.identity import DeviceIdentity
from infra.influxdb import InfluxDbStack
from infra.telemetry import Telemetry
from infra.watch import Watch


class SolarshedStack(cdk.Stack):
    """Who may connect, what happens to each kind of message that a device publishes, and who watches all that."""

    def __init__(
        self, scope: Construct, id_: str, *, deployment: Deployment, influxdb: InfluxDbStack | None = None
    ) -> None:
        super().__init__(
            scope,
            id_,
            synthesizer=deployment.synthesizer(),
            description="Solarshed: device identity, telemetry, heartbeat, alerts",
        )
        watch = Watch(self, "Watch", deployment=deployment)
        identity = DeviceIdentity(self, "DeviceIdentity")
        telemetry = Telemetry(self, "Telemetry", deployment=deployment, influxdb=influxdb)
        alerts = Alerts(self, "Alerts", deployment=deployment, watch_topic=watch.topic)
        heartbeat = Heartbeat(self, "Heartbeat", deployment=deployment, alert_topic=alerts.topic)

        watch.errors_of(telemetry.function, "Telemetry")
        watch.errors_of(alerts.function, "Alerts")
        watch.errors_of(heartbeat.function, "Heartbeat")
        watch.runs_of(heartbeat.function, "Heartbeat")
        watch.dead_letters_in(telemetry.dead_letters, "Telemetry")
        watch.dead_letters_in(alerts.dead_letters, "Alerts")
        watch.dead_letters_in(heartbeat.errors, "Heartbeat")
        watch.age_in(telemetry.queue, "Telemetry")
        watch.age_in(alerts.queue, "Alerts")
        watch.retries_in(alerts.queue, "Alerts")

        self._output("DevicePolicyName", identity.policy_name)
        self._output("TelemetryQueueUrl", telemetry.queue.queue_url)
        self._output("TelemetryDeadLettersUrl", telemetry.dead_letters.queue_url)
        self._output("HeartbeatBucketName", heartbeat.bucket.bucket_name)
        self._output("HeartbeatFunctionName", heartbeat.function.function_name)
        self._output("AlertTopicArn", alerts.topic.topic_arn)
        self._output("AlertsQueueUrl", alerts.queue.queue_url)
        self._output("AlertsDeadLettersUrl", alerts.dead_letters.queue_url)
        self._output("AlertsFunctionName", alerts.function.function_name)
        self._output("IncidentsTableName", alerts.incidents.table_name)
        self._output("RoutingKeySecretName", ROUTING_KEY_NAME)
        self._output("WatchTopicArn", watch.topic.topic_arn)

    def _output(self, name: str, value: str) -> None:
        cdk.CfnOutput(self, name, value=value)
