"""`solarshed csr`, `provision` and `provision --revoke` against an emulated AWS that enforces IAM and IoT policies."""

import json
import ssl
import stat
import tomllib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from device import identity, settings
from device.identity import make_key_and_request
from device.settings import Uplink
from infra import STACK
from owner import provision
from owner.provision import CERTIFICATE, CONFIG, KEY
from owner.session import Account
from tests.cloud_fixture import Cloud
from tests.owner.commands import solarshed
from tests.owner.stand_in import StandIn
from tests.peers.client import BareClient

pytestmark = [pytest.mark.xdist_group("emulator"), pytest.mark.timeout(240)]

# What the README tells the owner to allow.
OWNERS_ACTIONS = [
    "cloudformation:DescribeStacks",
    "iot:AttachPolicy",
    "iot:AttachThingPrincipal",
    "iot:CreateCertificateFromCsr",
    "iot:CreateThing",
    "iot:DescribeCertificate",
    "iot:DescribeEndpoint",
    "iot:DescribeThing",
    "iot:DetachPolicy",
    "iot:DetachThingPrincipal",
    "iot:GetThingShadow",
    "iot:ListAttachedPolicies",
    "iot:ListThingPrincipals",
    "iot:UpdateCertificate",
    "iot:UpdateThingShadow",
]


@pytest.fixture
def thing() -> str:
    return f"shed-{uuid4().hex[:8]}"


def certificates(cloud: Cloud, thing: str) -> list[str]:
    principals: list[str] = cloud.emulator.client("iot").list_thing_principals(thingName=thing)["principals"]
    return principals


def uplink_of(cloud: Cloud, folder: Path, key: Path) -> Uplink:
    (folder / "ca.pem").write_bytes(cloud.emulator.certificate_authority())
    # The emulator's certificate is for localhost.
    return Uplink("localhost", cloud.emulator.mqtt_port, str(folder / CERTIFICATE), str(key), str(folder / "ca.pem"))


def test_a_thing_is_provisioned_from_the_pis_request_once_and_revoked_for_good(
    cloud: Cloud, thing: str, tmp_path: Path
) -> None:
    environment, key, config = cloud.emulator.client_environment(), tmp_path / "pi.key", tmp_path / "pi.toml"
    config.write_text(f'thing = "{thing}"\n[uplink]\nprivate_key = "{key}"\n')

    on_the_pi = solarshed(environment, "csr", "--config", config)
    again_on_the_pi = solarshed(environment, "csr", "--config", config)
    (tmp_path / "pi.csr").write_text(on_the_pi.stdout)
    first = solarshed(environment, "provision", thing, "--csr", "pi.csr", folder=tmp_path)
    second = solarshed(environment, "provision", thing, "--csr", "-", given=again_on_the_pi.stdout, folder=tmp_path)

    assert (on_the_pi.returncode, first.returncode, second.returncode) == (0, 0, 0), first.stderr + second.stderr
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [first.stdout.strip()] == [second.stdout.strip()] == certificates(cloud, thing)
    assert "made certificate" in first.stderr
    assert "it is used again" in second.stderr
    assert not (tmp_path / thing / KEY).exists()

    uplink = uplink_of(cloud, tmp_path / thing, key)
    identity.check(uplink)
    with BareClient(uplink, thing) as connection:
        assert connection.connected, connection.failure

    revoked = solarshed(environment, "provision", thing, "--revoke")
    revoked_again = solarshed(environment, "provision", thing, "--revoke")

    assert (revoked.returncode, revoked_again.returncode) == (0, 0)
    assert certificates(cloud, thing) == []
    assert "is revoked" in revoked.stderr
    assert revoked_again.stderr == f"{thing} has no certificate: nothing to revoke\n"
    with BareClient(uplink, thing) as connection:
        assert not connection.connected

    # The key may have another certificate; the revoked one in the folder is not taken for it.
    anew = solarshed(environment, "provision", thing, "--csr", "pi.csr", folder=tmp_path)
    assert anew.returncode == 0
    assert certificates(cloud, thing) == [anew.stdout.strip()] != [first.stdout.strip()]
    with BareClient(uplink, thing) as connection:
        assert connection.connected, connection.failure


def test_without_a_request_key_and_certificate_are_made_in_a_folder_for_copying(
    cloud: Cloud, thing: str, tmp_path: Path
) -> None:
    done = solarshed(cloud.emulator.client_environment(), "provision", thing, folder=tmp_path)
    again = solarshed(cloud.emulator.client_environment(), "provision", thing, folder=tmp_path)

    folder = tmp_path / thing
    assert (done.returncode, again.returncode, done.stdout) == (0, 0, again.stdout)
    assert sorted(file.name for file in folder.iterdir()) == [CERTIFICATE, CONFIG, KEY]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o600
    assert f"scp {thing}/{CERTIFICATE} {thing}/{KEY} PI:" in done.stderr
    identity.check(uplink_of(cloud, folder, folder / KEY))

    chosen = settings.parse((folder / CONFIG).read_text())
    endpoint = cloud.emulator.client("iot").describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    assert chosen.thing == thing
    assert f"{chosen.uplink.endpoint}:{chosen.uplink.port}" == endpoint
    assert chosen.uplink.certificate == "/etc/solarshed/certificate.pem"
    assert "ca" not in tomllib.loads((folder / CONFIG).read_text())["uplink"]


def account(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Account:
    for name, value in cloud.emulator.client_environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return Account(None, None)


class LineIsCutError(RuntimeError):
    """The owner's laptop is closed."""


@pytest.mark.parametrize("step", ["attach_thing_principal", "attach_policy"])
def test_P2_a_run_that_broke_off_is_completed_by_the_next_without_a_second_certificate(
    step: str, cloud: Cloud, thing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = account(cloud, monkeypatch)
    before = len(cloud.emulator.client("iot").list_certificates()["certificates"])

    def cut(**_: object) -> None:
        raise LineIsCutError

    monkeypatch.setattr(broken.iot, step, cut)
    with pytest.raises(LineIsCutError):
        provision.run(broken, thing, None, tmp_path)

    assert provision.run(account(cloud, monkeypatch), thing, None, tmp_path) == 0

    iot = cloud.emulator.client("iot")
    (arn,) = certificates(cloud, thing)
    assert len(iot.list_certificates()["certificates"]) == before + 1
    assert [p["policyName"] for p in iot.list_attached_policies(target=arn)["policies"]] == [
        cloud.outputs["DevicePolicyName"]
    ]


def test_another_active_certificate_of_the_thing_is_named(
    cloud: Cloud, thing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = account(cloud, monkeypatch)
    provision.run(owner, thing, None, tmp_path / "one")
    first = capsys.readouterr().out.strip()

    provision.run(owner, thing, None, tmp_path / "two")

    said = capsys.readouterr().err
    assert f"also active for {thing}: certificate {first.rpartition('/')[2][:12]}" in said
    assert len(certificates(cloud, thing)) == 2


def test_a_request_for_another_name_is_mentioned_and_an_existing_thing_keeps_its_attributes(
    cloud: Cloud, thing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    iot = cloud.emulator.client("iot")
    iot.create_thing(thingName=thing, attributePayload={"attributes": {"place": "hill"}})
    (tmp_path / "pi.csr").write_text(make_key_and_request("hut-2", tmp_path / "pi.key"))

    provision.run(account(cloud, monkeypatch), thing, str(tmp_path / "pi.csr"), tmp_path / "out")

    assert (
        f'the request was made for hut-2: the settings on that Pi must say thing = "{thing}"' in capsys.readouterr().err
    )
    assert iot.describe_thing(thingName=thing)["attributes"] == {"place": "hill"}


def test_a_region_without_the_stack_is_told_and_nothing_is_made(cloud: Cloud, thing: str, tmp_path: Path) -> None:
    environment = cloud.emulator.client_environment()

    done = solarshed(environment, "provision", thing, "--region", "eu-west-1", folder=tmp_path)

    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert done.stderr == (
        f"solarshed provision: there is no stack {STACK} in eu-west-1; deploy it first (`npx cdk deploy --all`), or "
        "name the --profile and --region that it is in\n"
    )


def test_a_request_that_cannot_be_used_is_told_and_nothing_is_made(cloud: Cloud, thing: str, tmp_path: Path) -> None:
    environment = cloud.emulator.client_environment()

    done = solarshed(environment, "provision", thing, "--csr", "-", given="not PEM", folder=tmp_path)

    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert done.stderr == (
        "solarshed provision: standard input is no certificate request; make one on the Pi with `solarshed csr`\n"
    )
    iot = cloud.emulator.client("iot")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing(thingName=thing)


def test_revoking_a_thing_that_is_not_there_is_told(cloud: Cloud) -> None:
    done = solarshed(cloud.emulator.client_environment(), "provision", "nowhere", "--revoke")

    assert done.returncode == 1
    assert "there is no thing nowhere in us-east-1; see its spelling" in done.stderr


def test_the_actions_that_the_readme_names_are_enough(cloud: Cloud, thing: str, tmp_path: Path) -> None:
    environment = restricted(cloud, OWNERS_ACTIONS)

    provisioned = solarshed(environment, "provision", thing, folder=tmp_path)
    with StandIn(cloud.emulator.client("iot-data"), thing):
        overridden = solarshed(environment, "override", thing, "grid", "--for", "1h")
        shown = solarshed(environment, "status", thing)
    revoked = solarshed(environment, "provision", thing, "--revoke")

    for done in (provisioned, overridden, shown, revoked):
        assert done.returncode == 0, done.stderr


def test_an_action_that_is_not_allowed_is_told_with_its_name(cloud: Cloud, thing: str, tmp_path: Path) -> None:
    allowed = [action for action in OWNERS_ACTIONS if action != "iot:CreateCertificateFromCsr"]

    done = solarshed(restricted(cloud, allowed), "provision", thing, folder=tmp_path)

    assert done.returncode == 1
    assert "solarshed provision: your AWS user may not do CreateCertificateFromCsr: " in done.stderr


def restricted(cloud: Cloud, actions: list[str]) -> dict[str, str]:
    """The environment of a user who may do `actions` and nothing else."""
    iam: Any = cloud.emulator.client("iam")
    name = f"owner-{uuid4().hex[:8]}"
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="solarshed", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        **cloud.emulator.client_environment(),
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


@pytest.mark.parametrize("content", ["", "not PEM", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"])
def test_a_file_that_is_no_request_is_told_with_the_remedy(content: str, tmp_path: Path) -> None:
    (tmp_path / "pi.csr").write_text(content)

    with pytest.raises(provision.ProvisionError, match=r"pi\.csr is no certificate request; make one on the Pi"):
        provision.read_request(str(tmp_path / "pi.csr"))


def test_a_request_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(provision.ProvisionError, match=r"No such file or directory; name what `solarshed csr` wrote"):
        provision.read_request(str(tmp_path / "pi.csr"))


def test_a_request_whose_signature_is_wrong_is_told_with_the_remedy(tmp_path: Path) -> None:
    request = make_key_and_request("shed", tmp_path / "pi.key")
    der = bytearray(ssl.PEM_cert_to_DER_cert(request.replace(" REQUEST", "")))
    der[-1] ^= 1
    (tmp_path / "pi.csr").write_text(ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST"))

    with pytest.raises(provision.ProvisionError, match="is damaged; make it again"):
        provision.read_request(str(tmp_path / "pi.csr"))


def test_a_settings_file_that_somebody_wrote_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('thing = "shed"\n')

    with pytest.raises(provision.ProvisionError, match="was not made by `solarshed provision`; name another folder"):
        provision._check_folder(tmp_path)


def test_an_endpoint_without_a_port_leaves_the_port_to_its_default() -> None:
    text = provision.config_of("shed", "abc-ats.iot.us-east-1.amazonaws.com")

    chosen = settings.parse(text)
    assert (chosen.uplink.endpoint, chosen.uplink.port) == ("abc-ats.iot.us-east-1.amazonaws.com", 8883)
    assert "port" not in tomllib.loads(text)["uplink"]
