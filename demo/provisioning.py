"""Makes the demo's thing: key and request here, certificate from the emulated AWS IoT, settings for the device."""

from pathlib import Path

from demo.emulator import Emulator
from device.identity import make_key_and_request
from device.settings import Uplink
from owner.provision import register


def provision(emulator: Emulator, thing: str, policy: str, directory: Path) -> Uplink:
    """Register `thing` with a certificate signed from a request made here. Its files go to `directory`."""
    uplink = Uplink(
        # The emulator's certificate is for localhost, so is the name that the device checks it against.
        endpoint="localhost",
        port=emulator.mqtt_port,
        certificate=str(directory / f"{thing}.pem"),
        private_key=str(directory / f"{thing}.key"),
        ca=str(directory / "ca.pem"),
    )
    request = make_key_and_request(thing, Path(uplink.private_key))
    register(emulator.client("iot"), thing, policy, request, Path(uplink.certificate))
    Path(uplink.ca).write_bytes(emulator.certificate_authority())
    return uplink
