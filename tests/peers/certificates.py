"""Throw-away certificates: P-256 keys made once a process, for `localhost` and 127.0.0.1 only."""

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# From and until when a certificate is valid, in days from now.
VALID = (-1, 30)
EXPIRED = (-30, -1)
NOT_YET_VALID = (1, 30)

_AUTHORITY_VALID = (-60, 60)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, as PEM."""

    pem: bytes
    private_key: bytes


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def authority_pem(authority: str = "peers") -> bytes:
    """The CA certificate of that name."""
    return _authority(authority).certificate.public_bytes(serialization.Encoding.PEM)


@cache
def server_certificate(valid_days: tuple[float, float] = VALID, authority: str = "peers") -> Certificate:
    """A server's, signed by the CA of that name."""
    return _signed("localhost", ExtendedKeyUsageOID.SERVER_AUTH, valid_days, authority)


@cache
def client_certificate(
    thing: str = "shed", valid_days: tuple[float, float] = VALID, authority: str = "peers"
) -> Certificate:
    """A device's, signed by the CA of that name."""
    return _signed(thing, ExtendedKeyUsageOID.CLIENT_AUTH, valid_days, authority)


def server_context(certificate: Certificate, trusted_authority: str = "peers") -> ssl.SSLContext:
    """TLS 1.2 or later, with a client certificate demanded that `trusted_authority` has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority_pem(trusted_authority).decode())
    with tempfile.NamedTemporaryFile() as file:  # the ssl module takes nothing but a file
        Path(file.name).write_bytes(certificate.private_key + certificate.pem)
        context.load_cert_chain(file.name)
    return context


@cache
def _authority(name: str) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"throw-away CA {name}")
    builder = (
        _builder(subject, subject, key.public_key(), _AUTHORITY_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _Authority(builder.sign(key, hashes.SHA256()), key)


def _signed(
    common_name: str, usage: x509.ObjectIdentifier, valid_days: tuple[float, float], authority: str
) -> Certificate:
    signer = _authority(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    of_signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    certificate = (
        _builder(_name(common_name), signer.certificate.subject, key.public_key(), valid_days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(of_signer, critical=False)
        .sign(signer.key, hashes.SHA256())
    )
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(certificate.public_bytes(serialization.Encoding.PEM), private_key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid_days: tuple[float, float]
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    first, last = valid_days
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=first))
        .not_valid_after(now + timedelta(days=last))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
