"""Who may connect, and what a device may say and hear: its own topics and its own shadow, nothing else."""

import aws_cdk as cdk
from aws_cdk import aws_iot as iot
from constructs import Construct

from contract import shadow, topics

_OWN_NAME = "${iot:Connection.Thing.ThingName}"


class DeviceIdentity(Construct):
    """The IoT policy that every device certificate gets.

    The variable is the name of the thing that the connecting certificate is attached to, so one policy serves all
    devices and each is confined to its own name.
    """

    def __init__(self, scope: Construct, id_: str) -> None:
        super().__init__(scope, id_)
        policy = iot.CfnPolicy(self, "Policy", policy_document=self._document())
        self.policy_name = policy.ref

    def _document(self) -> dict[str, object]:
        own_channels = [topics.topic(_OWN_NAME, channel) for channel in topics.CHANNELS]
        shadow_requests = [topics.shadow(_OWN_NAME, what) for what in shadow.REQUESTS]
        shadow_answers = [topics.shadow(_OWN_NAME, what) for what in (*shadow.ANSWERS, *shadow.NEWS)]
        return {
            "Version": "2012-10-17",
            "Statement": [
                self._allow("iot:Connect", "client", [_OWN_NAME]),
                self._allow("iot:Publish", "topic", own_channels + shadow_requests),
                self._allow("iot:Subscribe", "topicfilter", shadow_answers),
                self._allow("iot:Receive", "topic", shadow_answers),
            ],
        }

    def _allow(self, action: str, kind: str, names: list[str]) -> dict[str, object]:
        stack = cdk.Stack.of(self)
        arns = [stack.format_arn(service="iot", resource=kind, resource_name=name) for name in names]
        return {"Effect": "Allow", "Action": action, "Resource": arns}
