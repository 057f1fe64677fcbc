"""The CDK app.

cdk deploy --all                              into your AWS account
cdk deploy Solarshed --exclusively -c local=true   into the demo's emulator, which has no Timestream
"""

import aws_cdk as cdk

from infra import STACK, TIMESTREAM_STACK
from infra.deployment import Deployment
from infra.stack import SolarshedStack
from infra.timestream import TimestreamStack


def make_app(*, local: bool) -> cdk.App:
    """The app with its two stacks, for AWS or for the demo's emulator."""
    app = cdk.App()
    deployment = Deployment(local=local)
    table = TimestreamStack(app, TIMESTREAM_STACK, deployment=deployment)
    shed = SolarshedStack(app, STACK, deployment=deployment)
    shed.add_stack_dependency(table, "telemetry has nowhere to go before the table exists")
    return app


def _context_says_local() -> bool:
    return bool(cdk.App().node.try_get_context("local") == "true")


if __name__ == "__main__":
    make_app(local=_context_says_local()).synth()
