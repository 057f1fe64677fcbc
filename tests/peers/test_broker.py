"""The broker itself, seen by a bare client of the SDK: it is believed when it says no, and when it says nothing."""

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path

import pytest
from awscrt import mqtt5

from device.settings import Uplink
from tests.peers.broker import Answer, Door, HangUp, Later, Publish, ScriptedBroker
from tests.peers.certificates import EXPIRED, NOT_YET_VALID, Certificate, client_certificate, server_certificate
from tests.peers.client import BareClient

NOT_AUTHORIZED = 0x87
UNAVAILABLE = 0x88
SHUTTING_DOWN = 0x8B
TAKEN_OVER = 0x8E

WILL = mqtt5.PublishPacket(topic="will", payload=b"offline", qos=mqtt5.QoS.AT_LEAST_ONCE)


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    with ScriptedBroker() as broker:
        yield broker


@pytest.fixture
def uplink(broker: ScriptedBroker, tmp_path: Path) -> Uplink:
    return broker.uplink(tmp_path)


def test_a_client_connects_over_mutual_tls_and_says_who_it_is(broker: ScriptedBroker, uplink: Uplink) -> None:
    with BareClient(uplink, "shed", keep_alive_interval_sec=33, will=WILL) as client:
        assert client.failure is None
        assert broker.connected == ["shed"]
    broker.wait_until(lambda: broker.tcp_closes)

    connect = broker.connects[0]
    assert (connect.client_id, connect.packet.keep_alive_s) == ("shed", 33)
    assert connect.will is not None
    assert (connect.will.topic, connect.will.payload, connect.will.qos) == ("will", b"offline", 1)


def test_messages_go_both_ways(broker: ScriptedBroker, uplink: Uplink) -> None:
    with BareClient(uplink, "shed") as client:
        assert broker.send("a/b", "nobody hears it") is None
        assert client.subscribe("a/+") == [1]
        assert client.publish("c/d", b"up") == 0
        used = broker.send("a/b", "down")
        broker.wait_until(lambda: broker.acknowledgements)
        broker.send("a/b", "down", packet_id=used, dup=True)
        broker.send("a/b", b"", qos=0)
        broker.wait_until(lambda: len(client.messages) == 3 and len(broker.acknowledgements) == 2)

    assert client.messages == [("a/b", b"down"), ("a/b", b"down"), ("a/b", b"")]
    assert [event.packet_id for event in broker.acknowledgements] == [used, used]
    assert broker.subscribes[0].filters == ("a/+",)
    assert [(p.topic, p.payload, p.packet.qos, p.packet.dup) for p in broker.publishes] == [("c/d", b"up", 1, False)]


def test_a_large_message_arrives_whole(broker: ScriptedBroker, uplink: Uplink) -> None:
    content = bytes(range(256)) * 4096
    with BareClient(uplink, "shed") as client:
        client.subscribe("a")
        broker.send("a", content)
        broker.wait_until(lambda: client.messages)

    assert client.messages == [("a", content)]


def test_a_second_connection_of_the_same_name_takes_over(broker: ScriptedBroker, uplink: Uplink) -> None:
    with BareClient(uplink, "shed", will=WILL) as first, BareClient(uplink, "shed"):
        broker.wait_until(lambda: first.disconnects and broker.wills)

        assert first.disconnects == [TAKEN_OVER]
        assert broker.connected == ["shed"]
        assert [(p.topic, p.payload, p.is_will) for p in broker.publishes] == [("will", b"offline", True)]


def test_a_broken_connection_has_a_last_will_and_an_orderly_one_has_none(
    broker: ScriptedBroker, uplink: Uplink
) -> None:
    with BareClient(uplink, "dropped", will=WILL) as client:
        broker.drop()
        broker.wait_until(lambda: client.disconnects)
    with BareClient(uplink, "reset", will=WILL) as client:
        broker.drop(reset=True)
        broker.wait_until(lambda: client.disconnects)
    with BareClient(uplink, "told", will=WILL) as client:
        broker.disconnect(SHUTTING_DOWN)
        broker.wait_until(lambda: client.disconnects == [SHUTTING_DOWN])
    with BareClient(uplink, "orderly", will=WILL):
        pass
    broker.wait_until(lambda: len(broker.tcp_closes) == 4)

    assert [will.client_id for will in broker.wills] == ["dropped", "reset", "told"]
    assert [(event.client_id, event.reason_code) for event in broker.disconnects] == [("orderly", 0)]


def test_a_last_will_may_come_late(broker: ScriptedBroker, uplink: Uplink) -> None:
    broker.will_delay_s = 0.3
    with BareClient(uplink, "shed", will=WILL):
        broker.drop()
        assert broker.wills == []
        broker.wait_until(lambda: broker.wills)


@pytest.mark.parametrize("code", [NOT_AUTHORIZED, UNAVAILABLE])
def test_it_refuses_to_connect(broker: ScriptedBroker, uplink: Uplink, code: int) -> None:
    broker.connack = code

    with BareClient(uplink, "shed", will=WILL) as client:
        assert client.failure is not None
        assert int(client.failure.connack_packet.reason_code) == code
    assert broker.wills == []


def test_it_says_nothing_to_a_connect(broker: ScriptedBroker, uplink: Uplink) -> None:
    broker.connack = None

    with BareClient(uplink, "shed", connack_timeout_ms=200) as client:
        assert client.failure is not None
        assert "CONNACK" in str(client.failure.exception)
    assert len(broker.connects) == 1


def test_the_door_is_shut(broker: ScriptedBroker, uplink: Uplink) -> None:
    broker.door = Door.HANGS_UP

    with BareClient(uplink, "shed") as client:
        assert client.failure is not None
    assert broker.tcp_opens
    assert broker.connects == []


def test_nobody_comes_to_the_door(broker: ScriptedBroker, uplink: Uplink) -> None:
    broker.door = Door.SILENT

    has_ended = BareClient(uplink, "shed").try_for(0.3)

    assert not has_ended
    assert broker.tcp_opens
    assert broker.connects == []


@pytest.mark.parametrize(
    "certificate",
    [server_certificate(EXPIRED), server_certificate(NOT_YET_VALID), server_certificate(authority="other")],
    ids=["expired", "not yet valid", "of an unknown CA"],
)
def test_a_server_is_not_trusted(broker: ScriptedBroker, uplink: Uplink, certificate: Certificate) -> None:
    broker.certificate = certificate

    has_ended = BareClient(uplink, "shed").try_for(0.3)

    assert not has_ended
    assert broker.tcp_opens
    assert broker.connects == []


@pytest.mark.parametrize(
    "certificate",
    [client_certificate(valid_days=EXPIRED), client_certificate(authority="other")],
    ids=["expired", "of an unknown CA"],
)
def test_a_client_is_not_trusted(broker: ScriptedBroker, tmp_path: Path, certificate: Certificate) -> None:
    with BareClient(broker.uplink(tmp_path, certificate), "shed") as client:
        assert client.failure is not None

    broker.wait_until(lambda: broker.tls_failures)
    assert broker.connects == []


def test_a_subscription_is_refused(broker: ScriptedBroker, uplink: Uplink) -> None:
    broker.on_subscribe = lambda topic_filter: NOT_AUTHORIZED if topic_filter == "forbidden" else 1

    with BareClient(uplink, "shed") as client:
        assert client.subscribe("forbidden", "allowed") == [NOT_AUTHORIZED, 1]
        assert broker.send("forbidden", "") is None
        assert broker.send("allowed", "") is not None


def test_it_says_nothing_to_a_subscribe(broker: ScriptedBroker, uplink: Uplink) -> None:
    broker.on_subscribe = lambda _: None

    with BareClient(uplink, "shed", ack_timeout_sec=1) as client, pytest.raises(Exception, match="TIMEOUT"):
        client.subscribe("a")
    assert broker.subscribes[0].reason_codes is None


def test_a_publish_is_refused(broker: ScriptedBroker, uplink: Uplink) -> None:
    heard: list[Publish] = []
    broker.listeners.append(heard.append)
    broker.on_publish = lambda publish: NOT_AUTHORIZED if publish.topic == "forbidden" else 0

    with BareClient(uplink, "shed") as client:
        assert client.publish("forbidden") == NOT_AUTHORIZED
        assert client.publish("allowed") == 0

    assert [publish.topic for publish in broker.publishes] == ["forbidden", "allowed"]
    assert [publish.topic for publish in heard] == ["allowed"]


def test_it_says_nothing_to_a_publish(broker: ScriptedBroker, uplink: Uplink) -> None:
    broker.on_publish = lambda _: None

    with BareClient(uplink, "shed", ack_timeout_sec=1) as client, pytest.raises(Exception, match="TIMEOUT"):
        client.publish("a")
    assert len(broker.publishes) == 1


def test_it_answers_a_publish_late(broker: ScriptedBroker, uplink: Uplink) -> None:
    broker.on_publish = lambda _: Later(0.3)

    with BareClient(uplink, "shed") as client:
        with pytest.raises(concurrent.futures.TimeoutError):
            client.publish("a", timeout_s=0.1)
        assert client.publish("b") == 0


@pytest.mark.parametrize("answer", [HangUp(), HangUp(reset=True), HangUp(NOT_AUTHORIZED)], ids=str)
def test_it_hangs_up_on_a_publish(broker: ScriptedBroker, uplink: Uplink, answer: Answer) -> None:
    broker.on_publish = lambda _: answer

    with BareClient(uplink, "shed") as client:
        client.client.publish(mqtt5.PublishPacket(topic="a", payload=b"", qos=mqtt5.QoS.AT_LEAST_ONCE))
        broker.wait_until(lambda: client.disconnects)

    assert client.disconnects == [answer.reason_code if isinstance(answer, HangUp) else None]
    assert len(broker.published("a")) == 1


def test_it_answers_pings_until_it_does_not(broker: ScriptedBroker, uplink: Uplink) -> None:
    with BareClient(uplink, "shed", keep_alive_interval_sec=1, ping_timeout_ms=300) as client:
        broker.wait_until(lambda: broker.pings)
        assert client.disconnects == []
        broker.answers_pings = False
        broker.wait_until(lambda: client.disconnects)


def test_frozen_it_reads_and_says_nothing_and_goes_on_when_it_thaws(broker: ScriptedBroker, uplink: Uplink) -> None:
    with BareClient(uplink, "shed") as client:
        broker.freeze()
        with pytest.raises(concurrent.futures.TimeoutError):
            client.publish("a", timeout_s=0.3)
        assert broker.publishes == []
        assert client.disconnects == []

        broker.thaw()

        assert client.publish("b") == 0
        assert [publish.topic for publish in broker.publishes] == ["a", "b"]


def test_what_fails_in_a_test_s_own_answer_is_told_when_it_is_closed(tmp_path: Path) -> None:
    def fail(_: Publish) -> Answer:
        raise LookupError("no answer to that")

    broker = ScriptedBroker()
    broker.on_publish = fail
    with BareClient(broker.uplink(tmp_path), "shed") as client:
        client.client.publish(mqtt5.PublishPacket(topic="a", payload=b"", qos=mqtt5.QoS.AT_LEAST_ONCE))
        broker.wait_until(lambda: broker.failures)

    with pytest.raises(ExceptionGroup):
        broker.close()
