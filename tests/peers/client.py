"""A bare awsiotsdk MQTT 5 client, as another device would be."""

import threading
from typing import Any, Self

from awscrt import mqtt5
from awsiot import mqtt5_client_builder

from device.settings import Uplink

_TIMEOUT_S = 10.0


class BareClient:
    """Connects on `with`, once, and tells what happened in lists.

    A server's certificate that it does not trust it reports only after 10 to 30 s: the SDK delays that on purpose. For
    such a broker there is `try_for`.
    """

    def __init__(self, uplink: Uplink, client_id: str, **options: Any) -> None:  # noqa: ANN401 - the SDK's options
        self.disconnects: list[int | None] = []
        self.messages: list[tuple[str, bytes]] = []
        self.failure: mqtt5.LifecycleConnectFailureData | None = None
        self._ended = threading.Event()
        self._stopped = threading.Event()
        self.client = mqtt5_client_builder.mtls_from_path(
            endpoint=uplink.endpoint,
            port=uplink.port,
            cert_filepath=uplink.certificate,
            pri_key_filepath=uplink.private_key,
            ca_filepath=uplink.ca,
            client_id=client_id,
            min_reconnect_delay_ms=60_000,
            max_reconnect_delay_ms=60_000,
            retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.NONE,
            on_lifecycle_connection_success=lambda _: self._ended.set(),
            on_lifecycle_connection_failure=self._on_failure,
            on_lifecycle_disconnection=self._on_disconnection,
            on_lifecycle_stopped=lambda _: self._stopped.set(),
            on_publish_received=self._on_message,
            **options,
        )

    def __enter__(self) -> Self:
        assert self._has_ended(_TIMEOUT_S), "neither connected nor failed"
        return self

    def __exit__(self, *_: object) -> None:
        # Without a packet the SDK sends no DISCONNECT.
        self.client.stop(mqtt5.DisconnectPacket())
        assert self._stopped.wait(_TIMEOUT_S), "did not stop"

    @property
    def connected(self) -> bool:
        """Whether the attempt ended in a connection."""
        return self._ended.is_set() and self.failure is None

    def try_for(self, time_s: float) -> bool:
        """Try to connect so long, then give up; return whether that ended in a connection or a failure.

        The SDK ends an attempt that hangs when that times out, not when it is told to: nobody waits for it here.
        """
        has_ended = self._has_ended(time_s)
        self.client.stop()
        return has_ended

    def publish(self, topic: str, payload: bytes = b"{}", timeout_s: float = _TIMEOUT_S) -> int:
        """Publish at QoS 1 and return the PUBACK's reason code; raises what the SDK raises."""
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        return int(self.client.publish(packet).result(timeout_s).puback.reason_code)

    def subscribe(self, *topic_filters: str) -> list[int]:
        """Subscribe at QoS 1 and return the SUBACK's reason codes; raises what the SDK raises."""
        wanted = [mqtt5.Subscription(topic_filter, mqtt5.QoS.AT_LEAST_ONCE) for topic_filter in topic_filters]
        answer = self.client.subscribe(mqtt5.SubscribePacket(wanted)).result(_TIMEOUT_S)
        return [int(code) for code in answer.reason_codes]

    def _has_ended(self, timeout_s: float) -> bool:
        self.client.start()
        return self._ended.wait(timeout_s)

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        self.failure = data
        self._ended.set()

    def _on_disconnection(self, data: mqtt5.LifecycleDisconnectData) -> None:
        packet = data.disconnect_packet
        self.disconnects.append(None if packet is None else int(packet.reason_code))

    def _on_message(self, data: mqtt5.PublishReceivedData) -> None:
        self.messages.append((data.publish_packet.topic, bytes(data.publish_packet.payload or b"")))
