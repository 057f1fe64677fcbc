"""Makes the demo's thing: key and request here, certificate from the emulated AWS IoT, settings for the device."""

from pathlib import Path

from demo.emulator import Emulator
from device.identity import make_key_and_request
from device.settings import Uplink


def provision(emulator: Emulator, thing: str, policy: str, directory: Path) -> Uplink:
    """Register `thing` with a certificate signed from a request made here. Its files go to `directory`."""
    iot = emulator.client("iot")
    uplink = Uplink(
        # The emulator's certificate is for localhost, so is the name that the device checks it against.
        endpoint="localhost",
        port=emulator.mqtt_port,
        certificate=str(directory / f"{thing}.pem"),
        private_key=str(directory / f"{thing}.key"),
        ca=str(directory / "ca.pem"),
    )
    request = make_key_and_request(thing, Path(uplink.private_key))
    certificate = iot.create_certificate_from_csr(certificateSigningRequest=request, setAsActive=True)
    Path(uplink.certificate).write_text(certificate["certificatePem"])
    Path(uplink.ca).write_bytes(emulator.certificate_authority())
    iot.create_thing(thingName=thing)
    iot.attach_thing_principal(thingName=thing, principal=certificate["certificateArn"])
    iot.attach_policy(policyName=policy, target=certificate["certificateArn"])
    return uplink
