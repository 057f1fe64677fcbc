"""The device's private key, its certificate request, and whether key and certificate fit each other.

The key is made here and never leaves this machine; only the request (CSR) goes to AWS IoT, which answers with the
certificate.
"""

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contract.errors import SolarshedError
from device.settings import Uplink


class IdentityError(SolarshedError, ValueError):
    """Key or certificate cannot be used; the text says which and why."""


def make_key_and_request(thing: str, key_path: Path) -> str:
    """Make a P-256 key at `key_path`, readable by its owner only, and return a CSR for `thing` as PEM.

    Raises:
        FileExistsError: there is a key already; a new one would orphan its certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, thing)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode("ascii")


def check(uplink: Uplink) -> None:
    """See that the files of `uplink` are there, can be read, and fit each other.

    Raises:
        IdentityError: they do not.
    """
    certificate = _read("certificate", uplink.certificate)
    private_key = _read("private_key", uplink.private_key)
    ca = _read("ca", uplink.ca)
    try:
        x509.load_pem_x509_certificates(ca)
    except ValueError as e:
        raise IdentityError(f"uplink.ca {uplink.ca} holds no PEM certificate: {e}") from None
    try:
        key_of_certificate = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError as e:
        raise IdentityError(f"uplink.certificate {uplink.certificate} is not a PEM certificate: {e}") from None
    try:
        key = serialization.load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError) as e:
        raise IdentityError(f"uplink.private_key {uplink.private_key} is not a PEM key without password: {e}") from None
    if key.public_key() != key_of_certificate:
        raise IdentityError(
            f"certificate {uplink.certificate} does not belong to the key {uplink.private_key}; "
            "put back the key that its request was made with, or have a new certificate made for this key"
        )


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise IdentityError(f"uplink.{name} {path}: {e.strerror}; provision this device, or correct the path") from None
