"""The connection to AWS IoT Core: awsiotsdk's MQTT 5 client over mutual TLS, behind one small class."""

import logging
import queue
import threading
from dataclasses import dataclass

from awscrt import mqtt5
from awsiot import mqtt5_client_builder

from device.settings import Uplink

log = logging.getLogger(__name__)

# The SDK's defaults are 1200 s and none: a half-open connection would go unnoticed for twenty minutes.
KEEP_ALIVE_S = 30
PING_TIMEOUT_S = 10
ACK_TIMEOUT_S = 15
CONNACK_TIMEOUT_S = 15
LEAST_RECONNECT_DELAY_S = 1
MOST_RECONNECT_DELAY_S = 60
_STOP_TIMEOUT_S = 3.0

# Reason codes from here on are refusals (MQTT 5, section 2.4).
_FIRST_FAILURE_CODE = 128


@dataclass(frozen=True)
class Completion:
    """How a publish ended. `error` None = the broker has acknowledged it."""

    token: object
    error: str | None
    refused: bool = False


class Link:
    """One client that connects by itself, again and again. What is not acknowledged is reported, never queued."""

    def __init__(self, thing: str, uplink: Uplink) -> None:
        self.completions: queue.Queue[Completion] = queue.Queue()
        self._connected = threading.Event()
        self._stopped = threading.Event()
        self._failures = 0
        self._where = f"{uplink.endpoint}:{uplink.port}"
        self._client = mqtt5_client_builder.mtls_from_path(
            endpoint=uplink.endpoint,
            port=uplink.port,
            cert_filepath=uplink.certificate,
            pri_key_filepath=uplink.private_key,
            ca_filepath=uplink.ca,
            client_id=thing,
            keep_alive_interval_sec=KEEP_ALIVE_S,
            ping_timeout_ms=PING_TIMEOUT_S * 1000,
            ack_timeout_sec=ACK_TIMEOUT_S,
            connack_timeout_ms=CONNACK_TIMEOUT_S * 1000,
            min_reconnect_delay_ms=LEAST_RECONNECT_DELAY_S * 1000,
            max_reconnect_delay_ms=MOST_RECONNECT_DELAY_S * 1000,
            retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.FULL,
            session_behavior=mqtt5.ClientSessionBehaviorType.CLEAN,
            # The client's own queue lives in memory. The outbox keeps what must arrive, so nothing is queued here.
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
            on_lifecycle_connection_success=self._on_connected,
            on_lifecycle_connection_failure=self._on_failed,
            on_lifecycle_disconnection=self._on_disconnected,
            on_lifecycle_stopped=lambda _: self._stopped.set(),
        )

    @property
    def connected(self) -> bool:
        """Whether a publish has a chance now."""
        return self._connected.is_set()

    def start(self) -> None:
        """Begin to connect, and to reconnect whenever the connection is lost."""
        self._client.start()

    def stop(self) -> None:
        """Disconnect in an orderly way, within three seconds."""
        self._client.stop()
        self._stopped.wait(_STOP_TIMEOUT_S)

    def publish(self, topic: str, payload: str, token: object) -> None:
        """Publish at QoS 1. How it ended arrives in `completions` with `token`."""
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        self._client.publish(packet).add_done_callback(lambda future: self._complete(token, topic, future))

    def _complete(self, token: object, topic: str, future: object) -> None:
        try:
            code = future.result().puback.reason_code  # type: ignore[attr-defined]
        except Exception as e:  # noqa: BLE001 - whatever the SDK raises, the message has not been acknowledged
            self.completions.put(Completion(token, str(e)))
            return
        refused = code >= _FIRST_FAILURE_CODE
        error = f"publish to {topic} refused: {code.name}" if refused else None
        self.completions.put(Completion(token, error, refused))

    def _on_connected(self, _data: object) -> None:
        self._failures = 0
        self._connected.set()
        log.info("connected to %s", self._where)

    def _on_failed(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning(
                "no connection to %s: %s; trying again. If it lasts: see that the network is up, the endpoint and the "
                "time of day are right, and that the certificate is active and has the stack's policy",
                self._where,
                data.exception,
            )

    def _on_disconnected(self, data: mqtt5.LifecycleDisconnectData) -> None:
        self._connected.clear()
        log.info("disconnected from %s: %s", self._where, data.exception)
