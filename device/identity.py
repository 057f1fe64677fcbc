"""The device's private key, its certificate request, and whether key and certificate fit each other.

The key is made here and never leaves this machine; only the request (CSR) goes to AWS IoT, which answers with the
certificate. What uplink asks here is found out by short-lived processes: OpenSSL would stay in its memory with 5 MB,
cryptography with 10 MB. So both are loaded where they are used.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from contract.errors import SolarshedError
from device.settings import Uplink

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

# What OpenSSL says of two that do not fit; the last one where they are not even of one kind.
_NOT_EACH_OTHERS = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


_APART_TIMEOUT_S = 30.0
_CHECK = """
import sys
from device.identity import IdentityError, check
from device.settings import Uplink
certificate, private_key, ca = sys.argv[1:]
try:
    check(Uplink(certificate=certificate, private_key=private_key, ca=ca))
except IdentityError as e:
    print(e)
"""
_PRINT_EXPIRY = """
import sys
from pathlib import Path
from cryptography import x509
print(x509.load_pem_x509_certificate(Path(sys.argv[1]).read_bytes()).not_valid_after_utc.isoformat())
"""


class IdentityError(SolarshedError, ValueError):
    """Key or certificate cannot be used; the text says which and why."""


def make_key_and_request(thing: str, key_path: Path) -> str:
    """A CSR for `thing` as PEM, signed with the key at `key_path`.

    Where there is no key yet, a P-256 one is made, readable by its owner only. One that is there is never replaced: a
    new key would orphan its certificate.

    Raises:
        IdentityError: the key cannot be read or made.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import NameOID

    _make_key_once(key_path)
    try:
        key = serialization.load_pem_private_key(_read("private_key", str(key_path)), password=None)
    except (ValueError, TypeError) as e:
        raise IdentityError(f"{key_path} is not a PEM key without password: {e}; move it away, and run again") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise IdentityError(f"{key_path} is neither an elliptic-curve nor an RSA key; move it away, and run again")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, thing)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode("ascii")


def check(uplink: Uplink) -> None:
    """See that the files of `uplink` are there, can be read, and fit each other. No CA means the system's trust store.

    Raises:
        IdentityError: they do not.
    """
    import ssl

    _read("certificate", uplink.certificate)
    _read("private_key", uplink.private_key)
    if uplink.ca:
        _read("ca", uplink.ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if uplink.ca:
        _load_certificates(context, uplink.ca, f"uplink.ca {uplink.ca} holds no PEM certificate")
    # The same file once more below: a certificate and a key that cannot be read give the same error there.
    _load_certificates(context, uplink.certificate, f"uplink.certificate {uplink.certificate} is not a PEM certificate")
    not_a_key = f"uplink.private_key {uplink.private_key} is not a PEM key without password"

    def refuse() -> NoReturn:
        raise IdentityError(f"{not_a_key}: it has one")

    try:
        context.load_cert_chain(uplink.certificate, uplink.private_key, password=refuse)
    except ssl.SSLError as e:
        if e.reason in _NOT_EACH_OTHERS:
            raise IdentityError(
                f"certificate {uplink.certificate} does not belong to the key {uplink.private_key}; "
                "put back the key that its request was made with, or have a new certificate made for this key"
            ) from None
        raise IdentityError(f"{not_a_key}: {_why(e)}") from None


def check_apart(uplink: Uplink) -> None:
    """`check`, by a process of its own. Where none can be started the files count as good: the broker will tell.

    Raises:
        IdentityError: see `check`.
    """
    try:
        problem = _said_apart(_CHECK, uplink.certificate, uplink.private_key, uplink.ca)
    except (OSError, subprocess.SubprocessError) as e:
        log.warning("key and certificate could not be checked: %s", e)
        return
    if problem:
        raise IdentityError(problem)


def expiry(uplink: Uplink) -> datetime | None:
    """When the certificate ends, UTC; None where that cannot be read (`check` says why)."""
    try:
        return datetime.fromisoformat(_said_apart(_PRINT_EXPIRY, uplink.certificate))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _said_apart(program: str, *arguments: str) -> str:
    """What a Python program prints.

    Raises:
        OSError, subprocess.SubprocessError: it could not be started, failed, or took too long.
    """
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=_APART_TIMEOUT_S, text=True)  # noqa: S603
    return done.stdout.strip()


def _make_key_once(path: Path) -> None:
    """A whole key or none, whatever is killed; and of two who make it at once, one does."""
    if path.exists():
        return
    import tempfile

    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        # Its mode is 0600 from the first moment on.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
            _link(Path(file.name), path)
    except OSError as e:
        raise IdentityError(
            f"the key {path} cannot be made: {e.strerror}; make its folder, or run this as a user who may write there"
        ) from None


def _link(temporary: Path, path: Path) -> None:
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _load_certificates(context: ssl.SSLContext, path: str, problem: str) -> None:
    import ssl

    try:
        context.load_verify_locations(path)
    except ssl.SSLError as e:
        raise IdentityError(f"{problem}: {_why(e)}") from None


def _why(error: ssl.SSLError) -> str:
    return (error.reason or "it cannot be read").lower().replace("_", " ")


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise IdentityError(f"uplink.{name} {path}: {e.strerror}; provision this device, or correct the path") from None
