"""A whole device at the emulated cloud: the real control with its pins, the real uplink, and a network to be cut."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from contract.shadow import OVERRIDE
from demo.provisioning import provision
from tests.cloud_fixture import Cloud
from tests.device.running import HIGH_V, Shed
from tests.peers.proxy import TcpProxy

Json = dict[str, Any]

_UPLINK = """
thing = "{thing}"
state_directory = "{state}"
runtime_directory = "{runtime}"
[uplink]
endpoint = "localhost"
port = {port}
certificate = "{certificate}"
private_key = "{private_key}"
ca = "{ca}"
"""


class WholeShed:
    """A provisioned shed. The rules keep it on battery, which is full, so that grid is the owner's doing."""

    def __init__(self, cloud: Cloud, directory: Path) -> None:
        self.cloud = cloud
        self.thing = f"shed-{uuid4().hex[:8]}"
        self.shed = Shed(directory)
        self.shed.mate.voltage_v = HIGH_V
        self.network = TcpProxy("127.0.0.1", cloud.emulator.mqtt_port)
        self.identity = provision(cloud.emulator, self.thing, cloud.outputs["DevicePolicyName"], directory)
        self.config = directory / "uplink.toml"
        self.go_through(self.network)
        self.uplink: subprocess.Popen[bytes] | None = None
        self._words = directory / "uplink.stderr"
        self._iot_data = cloud.emulator.client("iot-data")

    def go_through(self, network: TcpProxy) -> None:
        """Which line the next uplink uses."""
        self.config.write_text(
            _UPLINK.format(
                thing=self.thing,
                state=self.shed.state,
                runtime=self.shed.runtime,
                port=network.port,
                certificate=self.identity.certificate,
                private_key=self.identity.private_key,
                ca=self.identity.ca,
            )
        )

    def start_uplink(self) -> subprocess.Popen[bytes]:
        with self._words.open("ab") as words:
            self.uplink = subprocess.Popen(
                [sys.executable, "-m", "solarshed", "uplink", "--config", self.config], stderr=words
            )
        return self.uplink

    @property
    def words(self) -> str:
        """What uplink has logged."""
        return self._words.read_text() if self._words.exists() else ""

    def close(self) -> None:
        if self.uplink is not None and self.uplink.poll() is None:
            self.uplink.kill()
            self.uplink.wait(10)
        self.network.close()
        self.shed.close()

    def until(self, is_so: Callable[[], object], timeout_s: float = 20.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline_s, (
                f"it did not come to pass: {self.shadow().get('state')}\n{self.words[-1000:]}"
            )
            time.sleep(0.05)

    # The owner's side

    def wish(self, override: object, **more: object) -> int:
        """Write the owner's wish; the shadow's version from then on."""
        payload = json.dumps({"state": {"desired": {OVERRIDE: override} | more}})
        answer = self._iot_data.update_thing_shadow(thingName=self.thing, payload=payload)
        version: int = json.load(answer["payload"])["version"]
        return version

    def shadow(self) -> Json:
        """All of it; empty where there is none."""
        try:
            answer: Json = json.load(self._iot_data.get_thing_shadow(thingName=self.thing)["payload"])
        except self._iot_data.exceptions.ResourceNotFoundException:
            return {}
        return answer

    def delete_shadow(self) -> None:
        self._iot_data.delete_thing_shadow(thingName=self.thing)

    @property
    def version(self) -> int:
        version: int = self.shadow().get("version", 0)
        return version

    @property
    def reported(self) -> Json:
        reported: Json = self.shadow().get("state", {}).get("reported", {})
        return reported

    @property
    def desired(self) -> Json:
        desired: Json = self.shadow().get("state", {}).get("desired", {})
        return desired

    def answer(self) -> Json:
        """What the device says of the newest wish that it has taken up."""
        override: Json = self.reported.get(OVERRIDE, {})
        return override

    def refusal(self) -> str | None:
        """Why the device refuses what stands in desired."""
        refused: Json | None = self.reported.get("refused")
        return None if refused is None else refused["because"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of the owner's commands, such as `override`, as on his laptop."""
        verb, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", "solarshed", verb, self.thing, *rest],
            env=self.cloud.emulator.client_environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )


def now_s() -> int:
    """Epoch seconds, whole ones as AWS tells them."""
    return int(time.time())
