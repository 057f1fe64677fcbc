"""Whether a device is connected, as the real broker hears it and the rule keeps it: rows N13 and N14."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contract import topics
from contract.status import PREFIX, State, Status, newest, status_of
from demo.observer import Observer
from tests.cloud_fixture import Cloud
from tests.e2e.whole_shed import WholeShed
from tests.peers.client import BareClient
from tests.peers.proxy import TcpProxy

pytestmark = [pytest.mark.xdist_group("emulator"), pytest.mark.timeout(240)]

OBSERVERS_POLICY = "SolarshedDemoObserver"
NOT_AUTHORIZED = 0x87


def forget_observer(cloud: Cloud) -> None:
    """Take the policy away that an observer leaves behind: the next one makes it anew."""
    iot = cloud.emulator.client("iot")
    if OBSERVERS_POLICY not in [policy["policyName"] for policy in iot.list_policies()["policies"]]:
        return
    for target in iot.list_targets_for_policy(policyName=OBSERVERS_POLICY)["targets"]:
        iot.detach_policy(policyName=OBSERVERS_POLICY, target=target)
    iot.delete_policy(policyName=OBSERVERS_POLICY)


@pytest.fixture
def device(cloud: Cloud, tmp_path: Path) -> Iterator[WholeShed]:
    """A provisioned shed whose uplink is not started, and an observer that puts what the rules would."""
    forget_observer(cloud)
    observer = Observer(cloud.emulator, tmp_path, lambda _topic, _text: None)
    observer.start()
    with closing(WholeShed(cloud, tmp_path)) as device:
        yield device
    observer.stop()
    forget_observer(cloud)


@pytest.fixture
def statuses(cloud: Cloud, device: WholeShed) -> Callable[[], list[Status]]:
    """What the bucket tells of this device's connections, by the objects' names."""
    s3, bucket = cloud.emulator.client("s3"), cloud.outputs["HeartbeatBucketName"]

    def listed() -> list[Status]:
        objects = s3.list_objects_v2(Bucket=bucket, Prefix=f"{PREFIX}{device.thing}/").get("Contents", [])
        found = [status_of(each["Key"]) for each in objects]
        return [status for status in found if status is not None]

    return listed


def states(statuses: list[Status]) -> list[State]:
    """In the order of the sessions."""
    return [status.state for status in sorted(statuses, key=lambda each: (each.session, list(State).index(each.state)))]


def state(statuses: list[Status]) -> State | None:
    """What counts of all that is kept."""
    latest = newest(statuses)
    return None if latest is None else latest.state


def test_N13_N14_a_killed_uplink_is_offline_the_next_one_online_and_an_orderly_stop_says_so(
    device: WholeShed, statuses: Callable[[], list[Status]]
) -> None:
    process = device.start_uplink()
    device.until(lambda: states(statuses()) == [State.ONLINE])
    process.kill()
    process.wait(10)
    device.until(lambda: states(statuses()) == [State.ONLINE, State.OFFLINE])
    assert state(statuses()) is State.OFFLINE

    process = device.start_uplink()
    device.until(lambda: state(statuses()) is State.ONLINE)
    assert states(statuses()) == [State.ONLINE, State.OFFLINE, State.ONLINE]

    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    device.until(lambda: state(statuses()) is State.STOPPING)
    assert states(statuses()) == [State.ONLINE, State.OFFLINE, State.ONLINE, State.STOPPING]


def test_N13_a_last_will_that_comes_after_the_next_connection_does_not_win(
    cloud: Cloud, device: WholeShed, statuses: Callable[[], list[Status]]
) -> None:
    process = device.start_uplink()
    device.until(lambda: states(statuses()) == [State.ONLINE])
    # The line is dead, and nobody tells the broker that the device is gone.
    device.network.blackhole()
    process.kill()
    process.wait(10)

    with TcpProxy("127.0.0.1", cloud.emulator.mqtt_port) as another_way:
        device.go_through(another_way)
        process = device.start_uplink()
        device.until(lambda: len(statuses()) == 3)
        device.network.cut()

        assert states(statuses()) == [State.ONLINE, State.OFFLINE, State.ONLINE]
        assert state(statuses()) is State.ONLINE
        process.terminate()
        process.wait(10)


def test_a_device_may_tell_its_own_status_and_nobody_elses(device: WholeShed) -> None:
    with BareClient(device.identity, device.thing) as client:
        own = client.publish(topics.topic(device.thing, topics.STATUS), b'{"session":1,"state":"online"}')
        others = client.publish(topics.topic("another-shed", topics.STATUS), b'{"session":1,"state":"online"}')

    assert own < NOT_AUTHORIZED
    assert others == NOT_AUTHORIZED
