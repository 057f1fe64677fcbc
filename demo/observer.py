"""A second MQTT client, beside the device: does the S3 puts that the emulator's rules cannot, and says what happens.

It has a certificate and an IoT policy of its own, which lets it hear every thing's messages and publish none.
"""

import json
import queue
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from awscrt import mqtt5
from awsiot import mqtt5_client_builder

from contract import topics
from demo.emulator import ACCOUNT, REGION, Emulator
from demo.processes import DemoError
from demo.provisioning import provision

CLIENT_ID = "demo-observer"
_POLICY = "SolarshedDemoObserver"
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class S3Action:
    """The S3 action of one deployed topic rule."""

    topic_filter: str
    bucket: str
    key: str

    def key_for(self, topic: str, message: Mapping[str, Any]) -> str:
        """The object's key: ${topic(n)} becomes the topic's n-th level, and ${name} the message's member."""
        known = {f"topic({number})": level for number, level in enumerate(topic.split("/"), start=1)}
        return re.sub(r"\$\{([^}]+)\}", lambda match: known.get(match[1]) or str(message[match[1]]), self.key)


def deployed_s3_actions(iot: Any) -> list[S3Action]:  # noqa: ANN401 - a boto3 client
    """The S3 actions of the rules that the CDK deployed.

    Raises:
        DemoError: a rule with an S3 action selects anything but whole messages, which this stand-in cannot do.
    """
    actions = []
    for listed in iot.list_topic_rules()["rules"]:
        rule = iot.get_topic_rule(ruleName=listed["ruleName"])["rule"]
        for action in (action["s3"] for action in rule["actions"] if "s3" in action):
            selected, _, topic_filter = rule["sql"].partition(" FROM ")
            if selected != "SELECT *":
                raise DemoError(f"rule {rule['ruleName']}: the stand-in for S3 actions knows only SELECT *")
            actions.append(S3Action(topic_filter.strip("'"), action["bucketName"], action["key"]))
    return actions


class Observer:
    """Hears `dt/solarshed/#`. `tell` gets each message's topic and text, one after the other, off the MQTT thread."""

    def __init__(self, emulator: Emulator, directory: Path, tell: Callable[[str, str], None]) -> None:
        self._s3 = emulator.client("s3")
        iot = emulator.client("iot")
        self._actions = deployed_s3_actions(iot)
        self._tell = tell
        self._heard: queue.Queue[tuple[str, bytes] | None] = queue.Queue()
        self._connected = threading.Event()
        self._failure = "no answer"
        # How many of them have been put.
        self.heartbeats = 0
        iot.create_policy(policyName=_POLICY, policyDocument=json.dumps(_policy()))
        uplink = provision(emulator, CLIENT_ID, _POLICY, directory)
        self._client = mqtt5_client_builder.mtls_from_path(
            endpoint=uplink.endpoint,
            port=uplink.port,
            cert_filepath=uplink.certificate,
            pri_key_filepath=uplink.private_key,
            ca_filepath=uplink.ca,
            client_id=CLIENT_ID,
            on_publish_received=self._on_publish,
            on_lifecycle_connection_success=lambda _: self._connected.set(),
            on_lifecycle_connection_failure=self._on_failed,
        )
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        """Connect and subscribe.

        Raises:
            DemoError: the broker does not take it within half a minute.
        """
        self._thread.start()
        self._client.start()
        if not self._connected.wait(_TIMEOUT_S):
            raise DemoError(f"the demo's observer got no MQTT connection to the emulator: {self._failure}")
        subscription = mqtt5.Subscription(f"{topics.PREFIX}/#", mqtt5.QoS.AT_LEAST_ONCE)
        self._client.subscribe(mqtt5.SubscribePacket([subscription])).result(_TIMEOUT_S)

    def stop(self) -> None:
        """Disconnect, and finish with what has been heard."""
        self._client.stop()
        self._heard.put(None)
        self._thread.join(timeout=2)

    def _on_failed(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        self._failure = str(data.exception)

    def _on_publish(self, data: mqtt5.PublishReceivedData) -> None:
        self._heard.put((data.publish_packet.topic, data.publish_packet.payload))

    def _run(self) -> None:
        while (heard := self._heard.get()) is not None:
            topic, payload = heard
            self._put(topic, payload)
            self._tell(topic, payload.decode())

    def _put(self, topic: str, payload: bytes) -> None:
        for action in self._actions:
            if action.topic_filter == topics.every_thing(topic.rpartition("/")[2]):
                key = action.key_for(topic, json.loads(payload))
                self._s3.put_object(Bucket=action.bucket, Key=key, Body=payload)
                self.heartbeats += topic.endswith(f"/{topics.HEARTBEAT}")


def _policy() -> dict[str, Any]:
    prefix = f"arn:aws:iot:{REGION}:{ACCOUNT}"
    allowed = {
        "iot:Connect": f"client/{CLIENT_ID}",
        "iot:Subscribe": f"topicfilter/{topics.PREFIX}/#",
        "iot:Receive": f"topic/{topics.PREFIX}/*",
    }
    statements = [
        {"Effect": "Allow", "Action": action, "Resource": f"{prefix}:{resource}"}
        for action, resource in allowed.items()
    ]
    return {"Version": "2012-10-17", "Statement": statements}
