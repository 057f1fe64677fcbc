import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from device.identity import IdentityError, check, check_apart, expiry, make_key_and_request
from device.settings import Uplink


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def certificate_for(key_path: Path) -> bytes:
    """What AWS IoT answers a request with, as far as this machine looks at it."""
    key = private_key(key_path)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AWS IoT Certificate")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=9999))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def uplink(tmp_path: Path) -> Uplink:
    """Key, certificate and CA that fit each other."""
    key = tmp_path / "private.key"
    make_key_and_request("shed", key)
    (tmp_path / "certificate.pem").write_bytes(certificate_for(key))
    (tmp_path / "ca.pem").write_bytes(certificate_for(key))
    return Uplink(certificate=str(tmp_path / "certificate.pem"), private_key=str(key), ca=str(tmp_path / "ca.pem"))


def test_the_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    make_key_and_request("shed", tmp_path / "private.key")

    assert stat.S_IMODE((tmp_path / "private.key").stat().st_mode) == 0o600
    assert isinstance(private_key(tmp_path / "private.key").curve, ec.SECP256R1)


def test_the_request_is_the_keys_own_for_that_thing_and_holds_no_key(tmp_path: Path) -> None:
    pem = make_key_and_request("hut-2", tmp_path / "private.key")

    request = x509.load_pem_x509_csr(pem.encode())
    (name,) = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "hut-2"
    assert request.is_signature_valid
    assert request.public_key() == private_key(tmp_path / "private.key").public_key()
    assert "PRIVATE" not in pem


def test_a_key_that_is_there_stays_and_signs_the_next_request_too(tmp_path: Path) -> None:
    first = x509.load_pem_x509_csr(make_key_and_request("shed", tmp_path / "private.key").encode())
    before = (tmp_path / "private.key").read_bytes()

    second = x509.load_pem_x509_csr(make_key_and_request("shed", tmp_path / "private.key").encode())

    assert (tmp_path / "private.key").read_bytes() == before
    assert second.public_key() == first.public_key()
    assert [file.name for file in tmp_path.iterdir()] == ["private.key"]


def test_two_who_make_the_key_at_once_get_requests_for_the_same_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        requests = list(pool.map(lambda _: make_key_and_request("shed", tmp_path / "private.key"), range(8)))

    the_key = private_key(tmp_path / "private.key").public_key()
    assert all(x509.load_pem_x509_csr(request.encode()).public_key() == the_key for request in requests)


@pytest.mark.parametrize("content", [b"", b"not PEM"])
def test_a_request_from_a_file_that_is_no_key_is_refused_and_the_file_stays(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "private.key").write_bytes(content)

    with pytest.raises(IdentityError, match=r"private\.key is not a PEM key without password: .*; move it away"):
        make_key_and_request("shed", tmp_path / "private.key")

    assert (tmp_path / "private.key").read_bytes() == content


def test_a_key_where_nothing_can_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"private\.key cannot be made: No such file or directory; make its folder"):
        make_key_and_request("shed", tmp_path / "missing" / "private.key")


def test_files_that_fit_each_other_are_accepted(uplink: Uplink) -> None:
    check(uplink)


def test_without_a_ca_the_systems_trust_store_is_meant(uplink: Uplink) -> None:
    check(replace(uplink, ca=""))


def test_checking_needs_no_cryptography_library(uplink: Uplink) -> None:
    program = (
        "import sys; from device.identity import check; from device.settings import Uplink; "
        f"check(Uplink(certificate={uplink.certificate!r}, private_key={uplink.private_key!r}, ca={uplink.ca!r})); "
        "print('cryptography' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_N11_the_end_of_the_certificate_is_known_in_utc(uplink: Uplink) -> None:
    assert expiry(uplink) == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=9999)


@pytest.mark.parametrize("content", [None, b"not PEM"])
def test_N11_the_end_of_a_certificate_that_cannot_be_read_is_unknown(content: bytes | None, uplink: Uplink) -> None:
    Path(uplink.certificate).unlink()
    if content is not None:
        Path(uplink.certificate).write_bytes(content)

    assert expiry(uplink) is None


def test_a_key_of_another_kind_than_the_certificates_is_refused(uplink: Uplink) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    Path(uplink.private_key).write_bytes(pem)

    with pytest.raises(IdentityError, match="does not belong to the key"):
        check(uplink)


def test_a_certificate_of_another_key_is_refused_with_the_remedy(uplink: Uplink, tmp_path: Path) -> None:
    make_key_and_request("shed", tmp_path / "other.key")
    wrong = replace(uplink, private_key=str(tmp_path / "other.key"))

    with pytest.raises(IdentityError) as error:
        check(wrong)

    assert f"certificate {wrong.certificate} does not belong to the key {wrong.private_key}" in str(error.value)
    assert "put back the key" in str(error.value)


@pytest.mark.parametrize("name", ["certificate", "private_key", "ca"])
def test_N11_a_file_that_is_not_there_is_named_with_the_remedy(name: str, uplink: Uplink, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")

    with pytest.raises(IdentityError) as error:
        check(replace(uplink, **{name: missing}))  # type: ignore[arg-type]

    assert f"uplink.{name} {missing}: No such file or directory" in str(error.value)
    assert "provision this device, or correct the path" in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [("certificate", "is not a PEM certificate"), ("private_key", "is not a PEM key without password")],
)
@pytest.mark.parametrize("content", [b"", b"not PEM", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_that_is_not_pem_is_named(name: str, words: str, content: bytes, uplink: Uplink, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_bytes(content)

    with pytest.raises(IdentityError, match=words) as error:
        check(replace(uplink, **{name: str(tmp_path / "bad.pem")}))  # type: ignore[arg-type]

    assert f"uplink.{name} {tmp_path / 'bad.pem'}" in str(error.value)


def test_a_key_with_a_password_is_refused(uplink: Uplink, tmp_path: Path) -> None:
    key = private_key(Path(uplink.private_key))
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    (tmp_path / "locked.key").write_bytes(locked)

    with pytest.raises(IdentityError, match="is not a PEM key without password"):
        check(replace(uplink, private_key=str(tmp_path / "locked.key")))


def test_a_certificate_authority_that_is_no_pem_is_refused(uplink: Uplink) -> None:
    Path(uplink.ca).write_text("not a certificate")

    with pytest.raises(IdentityError, match=r"uplink\.ca .* holds no PEM certificate"):
        check(uplink)


# Apart, so that uplink stays small


def test_what_is_wrong_with_them_is_said_by_the_process_apart_as_well(uplink: Uplink) -> None:
    check_apart(uplink)
    wrong = replace(uplink, private_key=str(Path(uplink.private_key).with_name("other.key")))
    make_key_and_request("shed", Path(wrong.private_key))

    with pytest.raises(IdentityError) as apart:
        check_apart(wrong)
    with pytest.raises(IdentityError) as here:
        check(wrong)

    assert str(apart.value) == str(here.value)


def test_where_no_process_can_be_started_they_count_as_good_and_the_log_says_so(
    uplink: Uplink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")

    check_apart(replace(uplink, certificate="/nowhere"))

    (record,) = caplog.records
    assert record.message.startswith("key and certificate could not be checked: ")


def test_uplink_loads_neither_openssl_nor_what_reads_versions_and_keys() -> None:
    loaded = "import sys, solarshed, device.uplink.service; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert not {"ssl", "cryptography", "importlib.metadata", "email", "zipfile", "boto3"} & set(done.stdout.split())
