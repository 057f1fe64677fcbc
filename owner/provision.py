"""A thing and its certificate. Every step may be done again: what broke off half-way, the next run completes."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from contract.errors import SolarshedError
from device.identity import make_key_and_request
from infra import STACK
from owner.session import Account, AwsError, error_code
from owner.words import printable

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

KEY, CERTIFICATE, CONFIG = "private.key", "certificate.pem", "config.toml"

_ON_THE_PI = Path("/etc/solarshed")
_POLICY_OUTPUT = "DevicePolicyName"
_HEADER = "# Made by `solarshed provision`"

Say = Callable[[str], None]


def _silent(_words: str) -> None:
    """Say nothing."""


class ProvisionError(SolarshedError, ValueError):
    """What was given cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One of AWS IoT's. The id is the last part of the ARN."""

    arn: str
    pem: str
    status: str

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self.arn.rpartition("/")[2]


def run(account: Account, thing: str, csr: str | None, folder: Path) -> int:
    """Make or complete `thing`; its files go to `folder`. `csr` is a file, or - for standard input; None has the key
    made in `folder` as well.

    Raises:
        ProvisionError, IdentityError, AwsError: it cannot be done; nothing is left that a second run would not use.
    """
    # What can be wrong or missing comes first, so that nothing is made in vain.
    _check_folder(folder)
    request = None if csr is None else read_request(csr)
    with account.plainly():
        policy, endpoint = policy_name(account), account.endpoint()
        _make_folder(folder)
        if request is None:
            request = make_key_and_request(thing, folder / KEY)
        _note_other_name(request, thing)
        certificate = register(account.iot, thing, policy, request, folder / CERTIFICATE, _say)
        for other in _active(account.iot, thing):
            if other.id != certificate.id:
                _say(f"also active for {thing}: certificate {other.id[:12]}...; --revoke retires all of them")
    _write(folder / CONFIG, config_of(thing, endpoint))
    _say(f"wrote {folder / CERTIFICATE} and {folder / CONFIG}")
    _say_what_is_next(folder, has_key=csr is None)
    print(certificate.arn)
    return 0


def register(iot: "IoTClient", thing: str, policy: str, request: str, path: Path, say: Say = _silent) -> Certificate:
    """Make `thing` and give it an active certificate for the key of `request`, with `policy`; its PEM goes to `path`.

    A certificate that the thing has already is used again, and so is the one at `path`: a run that broke off may have
    left it there before it could attach it.
    """
    _make_thing(iot, thing, say)
    key = x509.load_pem_x509_csr(request.encode()).public_key()
    certificate = next(_with_key(key, _candidates(iot, thing, _certificate_at(path))), None)
    if certificate is None:
        made = iot.create_certificate_from_csr(certificateSigningRequest=request, setAsActive=True)
        certificate = Certificate(made["certificateArn"], made["certificatePem"], "ACTIVE")
        say(f"made certificate {certificate.id[:12]}..., active")
    else:
        say(f"certificate {certificate.id[:12]}... is for this key and active: it is used again")
    _write(path, certificate.pem)
    iot.attach_thing_principal(thingName=thing, principal=certificate.arn)
    iot.attach_policy(policyName=policy, target=certificate.arn)
    say(f"it is {thing}'s, and has the policy {policy}")
    return certificate


def revoke(account: Account, thing: str) -> int:
    """Retire all certificates of `thing`: no device can connect with one again, ever. The thing and its data stay.

    Raises:
        AwsError: it cannot be done.
    """
    with account.plainly():
        try:
            certificates = list(_certificates(account.iot, thing))
        except ClientError as e:
            if error_code(e) != "ResourceNotFoundException":
                raise
            raise AwsError(
                f"there is no thing {thing} in {account.region}; see its spelling, --profile and --region"
            ) from None
        for certificate in certificates:
            _retire(account.iot, thing, certificate)
    if not certificates:
        _say(f"{thing} has no certificate: nothing to revoke")
    else:
        _say(f"whoever is connected with one is cut off within minutes; `solarshed provision {thing}` makes a new one")
    return 0


def policy_name(account: Account) -> str:
    """The policy that the deployed stack has for devices.

    Raises:
        AwsError: the stack is not there, or has none.
    """
    deploy = "deploy it first (`npx cdk deploy --all`), or name the --profile and --region that it is in"
    try:
        (stack,) = account.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    except ClientError as e:
        # CloudFormation has no code of its own for a stack that is not there.
        if error_code(e) != "ValidationError":
            raise
        raise AwsError(f"there is no stack {STACK} in {account.region}; {deploy}") from None
    for output in stack.get("Outputs", []):
        if output["OutputKey"] == _POLICY_OUTPUT:
            return str(output["OutputValue"])
    raise AwsError(f"the stack {STACK} in {account.region} has no output {_POLICY_OUTPUT}; {deploy}")


def read_request(csr: str) -> str:
    """The PEM of a certificate request in the file `csr`, or on standard input for -.

    Raises:
        ProvisionError: it is none.
    """
    name = "standard input" if csr == "-" else csr
    try:
        pem = sys.stdin.read(65536) if csr == "-" else Path(csr).read_text(encoding="ascii")
        request = x509.load_pem_x509_csr(pem.encode())
    except OSError as e:
        raise ProvisionError(f"{csr}: {e.strerror}; name what `solarshed csr` wrote on the Pi") from None
    except ValueError:
        raise ProvisionError(f"{name} is no certificate request; make one on the Pi with `solarshed csr`") from None
    if not request.is_signature_valid:
        raise ProvisionError(f"the request in {name} is damaged; make it again on the Pi with `solarshed csr`")
    return pem


def config_of(thing: str, endpoint: str) -> str:
    """The lines of the device's settings file that say who it is and where to connect."""
    host, _, port = endpoint.partition(":")
    return "\n".join(
        (
            f"{_HEADER}. These lines belong into {_ON_THE_PI / CONFIG} on the Pi.",
            f"thing = {json.dumps(thing)}",
            "",
            "[uplink]",
            f"endpoint = {json.dumps(host)}",
            *([f"port = {port}"] if port else []),
            f'certificate = "{_ON_THE_PI / CERTIFICATE}"',
            f'private_key = "{_ON_THE_PI / KEY}"',
            "",
        )
    )


def _make_thing(iot: "IoTClient", thing: str, say: Say) -> None:
    try:
        iot.create_thing(thingName=thing)
    except ClientError as e:
        # It has attributes or a type, which are not ours.
        if error_code(e) != "ResourceAlreadyExistsException":
            raise
    say(f"thing {thing} is there")


def _candidates(iot: "IoTClient", thing: str, known: str | None) -> Iterator[Certificate]:
    yield from _active(iot, thing)
    if known is None:
        return
    # AWS IoT's id of a certificate is its fingerprint.
    fingerprint = x509.load_pem_x509_certificate(known.encode()).fingerprint(SHA256()).hex()
    with suppress(iot.exceptions.ResourceNotFoundException):
        certificate = _described(iot, fingerprint)
        if certificate.status == "ACTIVE":
            yield certificate


def _with_key(key: object, certificates: Iterator[Certificate]) -> Iterator[Certificate]:
    for certificate in certificates:
        if _public_key(certificate) == key:
            yield certificate


def _public_key(certificate: Certificate) -> CertificatePublicKeyTypes:
    return x509.load_pem_x509_certificate(certificate.pem.encode()).public_key()


def _active(iot: "IoTClient", thing: str) -> Iterator[Certificate]:
    return (certificate for certificate in _certificates(iot, thing) if certificate.status == "ACTIVE")


def _certificates(iot: "IoTClient", thing: str) -> Iterator[Certificate]:
    """All that are attached to `thing`. What is no certificate (a Cognito identity) is not ours."""
    for page in iot.get_paginator("list_thing_principals").paginate(thingName=thing):
        for principal in page["principals"]:
            if ":cert/" in principal:
                yield _described(iot, principal.rpartition("/")[2])


def _described(iot: "IoTClient", certificate_id: str) -> Certificate:
    described = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
    return Certificate(described["certificateArn"], described["certificatePem"], described["status"])


def _retire(iot: "IoTClient", thing: str, certificate: Certificate) -> None:
    # First what shuts it out. Detaching it from the thing comes last: until then a second run finds it.
    if certificate.status != "REVOKED":
        iot.update_certificate(certificateId=certificate.id, newStatus="REVOKED")
    for page in iot.get_paginator("list_attached_policies").paginate(target=certificate.arn):
        for policy in page["policies"]:
            iot.detach_policy(policyName=policy["policyName"], target=certificate.arn)
    iot.detach_thing_principal(thingName=thing, principal=certificate.arn)
    _say(f"certificate {certificate.id[:12]}... is revoked, and no longer {thing}'s")


def _check_folder(folder: Path) -> None:
    """A settings file that somebody wrote is not to be lost: its name is one of ours."""
    config = folder / CONFIG
    try:
        is_ours = not config.exists() or config.read_text(encoding="utf-8").startswith(_HEADER)
    except (OSError, ValueError):
        is_ours = False
    if not is_ours:
        raise ProvisionError(f"{config} was not made by `solarshed provision`; name another folder with --out")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise ProvisionError(f"the folder {folder} cannot be made: {e.strerror}; name another with --out") from None


def _certificate_at(path: Path) -> str | None:
    """The PEM of the certificate at `path`; None where there is none that can be read."""
    try:
        pem = path.read_text(encoding="ascii")
        x509.load_pem_x509_certificate(pem.encode())
    except (OSError, ValueError):
        return None
    return pem


def _write(path: Path, text: str) -> None:
    """The old file or the new one at any moment, never a part."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as e:
        raise ProvisionError(
            f"{path} cannot be written: {e.strerror}; make room, or name another folder with --out"
        ) from None


def _note_other_name(request: str, thing: str) -> None:
    names = x509.load_pem_x509_csr(request.encode()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    for name in (printable(str(attribute.value)) for attribute in names):
        if name != thing:
            _say(f'the request was made for {name}: the settings on that Pi must say thing = "{thing}"')


def _say_what_is_next(folder: Path, *, has_key: bool) -> None:
    names = [CERTIFICATE, *([KEY] if has_key else [])]
    _say("next, with the Pi's name for PI:")
    _say(f"  scp {' '.join(str(folder / name) for name in names)} PI:")
    for name in names:
        _say(f"  ssh PI sudo install -m 640 -g solarshed {name} {_ON_THE_PI / name}")
    if has_key:
        _say(f"  ssh PI shred -u {KEY}      # and delete {folder / KEY} here: the Pi needs it alone")
    _say(f"  put the lines of {folder / CONFIG} into {_ON_THE_PI / CONFIG} on the Pi, then there:")
    _say("  sudo solarshed doctor && sudo systemctl enable --now solarshed-uplink")


def _say(words: str) -> None:
    print(words, file=sys.stderr)
