"""Certificates for the tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.device.doctor.findings import NOW


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem = self._directory / f"{name}.pem"
        self.pem.write_bytes(self._certificate(name, self._key.public_key(), is_authority=True))

    def issue(self, name: str, end: datetime = NOW + timedelta(days=3650), begin: datetime | None = None) -> Path:
        """NAME.pem and NAME.key; the path of the first."""
        key = ec.generate_private_key(ec.SECP256R1())
        path = self._directory / f"{self._name}-{name}.pem"
        path.write_bytes(self._certificate(name, key.public_key(), end=end, begin=begin))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.with_suffix(".key").touch(0o600)
        path.with_suffix(".key").write_bytes(pem)
        return path

    def _certificate(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        *,
        is_authority: bool = False,
        end: datetime = NOW + timedelta(days=3650),
        begin: datetime | None = None,
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(begin or datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(end)
        builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
