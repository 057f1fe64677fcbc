"""The CDK app.

cdk deploy --all                              into your AWS account
cdk deploy Solarshed --exclusively -c local=true   into the demo's emulator, which has no Timestream

The settings that `-c name=value` or the context in `cdk.json` may have are those of `infra.deployment.Deployment`.
"""

import sys
from collections.abc import Mapping

import aws_cdk as cdk

from contract import store
from infra import INFLUXDB_STACK, STACK, TIMESTREAM_STACK
from infra.deployment import Deployment, DeploymentError
from infra.influxdb import InfluxDbStack
from infra.stack import SolarshedStack
from infra.timestream import TimestreamStack


def make_app(context: Mapping[str, object] | None = None) -> cdk.App:
    """The app with its two stacks: what the sheds talk to, and the time series engine that was chosen.

    The CDK's command line brings the context; without it, give what it would bring.

    Raises:
        DeploymentError: the context says something that cannot be used.
    """
    app = cdk.App(context=context)
    deployment = Deployment.of(app.node)
    if deployment.engine == store.INFLUXDB:
        influxdb = InfluxDbStack(app, INFLUXDB_STACK, deployment=deployment)
        shed = SolarshedStack(app, STACK, deployment=deployment, influxdb=influxdb)
        shed.add_stack_dependency(influxdb, "telemetry has nowhere to go before the database exists")
    else:
        tables = TimestreamStack(app, TIMESTREAM_STACK, deployment=deployment)
        shed = SolarshedStack(app, STACK, deployment=deployment)
        shed.add_stack_dependency(tables, "telemetry has nowhere to go before the tables exist")
    return app


def main(context: Mapping[str, object] | None = None) -> None:
    """Synthesize the app, for the CDK's command line."""
    try:
        app = make_app(context)
    except DeploymentError as e:
        sys.exit(f"solarshed: {e}")
    app.synth()


if __name__ == "__main__":
    main()
