"""The site's certificate: a self-signed one that is made, kept and renewed here, or one that was given."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contract.errors import SolarshedError

# The longest that Apple's systems accept, also of a certificate that was trusted by hand.
VALID_FOR = timedelta(days=825)
RENEW_BEFORE = timedelta(days=30)
WARN_BEFORE = timedelta(days=14)

# A client's clock may be behind, and so may a Pi's that has none of its own.
_LEEWAY = timedelta(days=1)
# X.509's bound on a common name, which browsers do not read any more.
_LONGEST_COMMON_NAME = 64


class CertificateError(SolarshedError, ValueError):
    """A certificate or key cannot be used; the text says which, why and the remedy."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key as PEM. `is_new` where it is not in its place yet."""

    certificate_pem: bytes
    key_pem: bytes
    until: datetime
    fingerprint: str
    is_new: bool


def self_signed(names: tuple[str, ...], certificate: Path, key: Path, now: datetime) -> Pair:
    """The pair in these files while it is good for `names` and not about to expire; else a new one, not written yet.

    The key is kept where it can be: whenever one of the two files has been replaced, they belong together.
    """
    private = _own_key(key)
    if private is not None:
        old = _own_certificate(certificate)
        if old is not None and _is_good(old, private, names, now):
            return _pair(old, private, is_new=False)
    else:
        private = ec.generate_private_key(ec.SECP256R1())
    return _pair(_signed(names, private, now), private, is_new=True)


def check_given(certificate: Path, key: Path, names: Iterable[str], now: datetime) -> Pair:
    """The pair in the files that the owner has named, where nginx and a browser would take it for `names`.

    Raises:
        CertificateError: they would not.
    """
    certificate_pem, key_pem = _read(certificate), _read(key)
    # What follows the first is the chain.
    try:
        leaf = x509.load_pem_x509_certificates(certificate_pem)[0]
    except ValueError:
        raise CertificateError(f"{certificate} is no PEM certificate; name the file with the whole chain") from None
    try:
        private = serialization.load_pem_private_key(key_pem, password=None)
    except TypeError:
        raise CertificateError(
            f"the key {key} has a password, which nginx would ask for at each start; take it off: "
            f"openssl pkey -in {key} -out NEW_FILE"
        ) from None
    except ValueError:
        raise CertificateError(f"{key} is no PEM key; name the key that {certificate} was made for") from None
    if private.public_key() != leaf.public_key():
        raise CertificateError(f"the key {key} does not belong to {certificate}; name the two that were made together")
    if now >= leaf.not_valid_after_utc:
        raise CertificateError(
            f"{certificate} has expired at {_day(leaf.not_valid_after_utc)}; renew it, then run again"
        )
    if now < leaf.not_valid_before_utc:
        raise CertificateError(
            f"{certificate} is valid from {_day(leaf.not_valid_before_utc)} on only; see whether this clock is right"
        )
    own = _names_of(leaf)
    missing = [name for name in names if not _covers(own, name)]
    if missing:
        raise CertificateError(
            f"{certificate} is not for {', '.join(missing)} but for {', '.join(sorted(own)) or 'no name'}; "
            "give the names that it is for, or have one made for these"
        )
    return _pair(leaf, private, is_new=False)


def _own_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    except OSError as e:
        raise CertificateError(f"{path}: {e.strerror}; run this with sudo, or move it away") from None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _own_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def _is_good(
    certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, names: tuple[str, ...], now: datetime
) -> bool:
    return (
        certificate.public_key() == key.public_key()
        and _names_of(certificate) == set(names)
        and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE
    )


def _signed(names: tuple[str, ...], key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_LONGEST_COMMON_NAME])])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now - _LEEWAY + VALID_FOR)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        # Trusted by hand, it vouches for this site alone.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names_of(certificate: x509.Certificate) -> set[str]:
    """The host names and IP addresses that it is for, as `check_name` writes them; a wildcard with its star."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    hosts = (name.lower() for name in names.get_values_for_type(x509.DNSName))
    return {*hosts, *map(str, names.get_values_for_type(x509.IPAddress))}


def _covers(own: set[str], name: str) -> bool:
    """Whether `name` is one of `own`; a star stands for one label."""
    return name in own or f"*.{name.partition('.')[2]}" in own


def _pair(certificate: x509.Certificate, key: PrivateKeyTypes, *, is_new: bool) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        certificate.not_valid_after_utc,
        certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        is_new,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise CertificateError(f"{path}: {e.strerror}; name a file that is there, and run this with sudo") from None


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
