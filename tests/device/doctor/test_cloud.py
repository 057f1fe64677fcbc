import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.finding import Finding, Verdict
from device.doctor import Machine
from device.doctor.cloud import check_certificate, check_endpoint
from device.settings import Uplink
from tests.device.doctor.authority import Authority
from tests.device.doctor.findings import NOW, assert_failed, assert_warned


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


def uplink(authority: Authority, certificate: Path, port: int = 8883) -> Uplink:
    return Uplink(
        endpoint="localhost",
        port=port,
        certificate=str(certificate),
        private_key=str(certificate.with_suffix(".key")),
        ca=str(authority.pem),
    )


def test_a_shed_that_reports_to_no_one_has_nothing_to_check(machine: Machine) -> None:
    assert check_certificate(Uplink(), machine).verdict is Verdict.SKIPPED
    assert check_endpoint(Uplink(), machine).verdict is Verdict.SKIPPED


def test_a_certificate_that_fits_is_fine(machine: Machine, authority: Authority) -> None:
    finding = check_certificate(uplink(authority, authority.issue("shed")), machine)

    assert finding == Finding(Verdict.OK, "belongs to the key, valid until 2036-11-20")


def test_N11_a_certificate_that_is_missing_fails(machine: Machine, authority: Authority, tmp_path: Path) -> None:
    finding = check_certificate(uplink(authority, tmp_path / "missing.pem"), machine)

    assert_failed(finding, "uplink.certificate", "provision this device, or correct the path")
    assert "No such file or directory" in finding.sentence


def test_N11_a_certificate_of_another_key_fails(machine: Machine, authority: Authority) -> None:
    other = authority.issue("other").with_suffix(".key")
    settings = replace(uplink(authority, authority.issue("shed")), private_key=str(other))

    assert_failed(check_certificate(settings, machine), "does not belong to the key", "put back the key")


def test_N11_a_certificate_that_is_none_fails(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed")
    certificate.write_text("not PEM")

    finding = check_certificate(uplink(authority, certificate), machine)

    assert_failed(finding, "is not a PEM certificate", "provision this device again")


@pytest.mark.parametrize(("left", "verdict"), [(0, Verdict.FAILED), (1, Verdict.WARNING), (29, Verdict.WARNING)])
def test_N11_a_certificate_that_ends_soon_or_has_ended_is_told(
    left: int, verdict: Verdict, machine: Machine, authority: Authority
) -> None:
    certificate = authority.issue("shed", end=NOW + timedelta(days=left))

    finding = check_certificate(uplink(authority, certificate), machine)

    assert finding.verdict is verdict
    assert f"{NOW + timedelta(days=left):%Y-%m-%d}" in finding.sentence
    assert finding.remedy == "have a new certificate made for this key"


def test_a_certificate_that_ends_in_thirty_days_is_fine(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed", end=NOW + timedelta(days=30))

    assert check_certificate(uplink(authority, certificate), machine).verdict is Verdict.OK


def test_C2_a_certificate_that_is_not_valid_yet_points_to_the_clock(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed", begin=NOW + timedelta(days=1))

    finding = check_certificate(uplink(authority, certificate), machine)

    assert_failed(finding, "valid from 2026-11-24 on", "set the clock right")


def test_a_key_that_everyone_can_read_warns(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed")
    certificate.with_suffix(".key").chmod(0o644)

    finding = check_certificate(uplink(authority, certificate), machine)

    assert_warned(finding, "can be read by every user", "chmod o-rwx")


def test_a_key_that_the_services_group_can_read_is_fine(machine: Machine, authority: Authority) -> None:
    certificate = authority.issue("shed")
    certificate.with_suffix(".key").chmod(0o640)

    assert check_certificate(uplink(authority, certificate), machine).verdict is Verdict.OK


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """One that takes a connection on this machine and does what `talk` says; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # Without an end of its own it would wait for a client that never comes.
        listening.settimeout(10.0)

        def serve() -> None:
            try:
                with listening.accept()[0] as connection:
                    connection.settimeout(10.0)
                    talk(connection)
            except OSError:
                return  # the client has gone, which is what the test is about

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def tls(certificate: Path, clients: Path, version: ssl.TLSVersion, *, waits: bool = True) -> Callable[..., None]:
    """A TLS server as AWS IoT is one: it wants a certificate, and then MQTT."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    context.load_verify_locations(clients)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            if waits:
                secure.recv(1)

    return talk


BOTH_VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@BOTH_VERSIONS
def test_an_endpoint_that_accepts_us_is_fine(version: ssl.TLSVersion, machine: Machine, authority: Authority) -> None:
    with server(tls(authority.issue("localhost"), authority.pem, version)) as port:
        finding = check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert finding == Finding(Verdict.OK, f"localhost:{port} answers, TLS is fine")


@BOTH_VERSIONS
def test_N11_an_endpoint_that_does_not_know_our_certificate_fails(
    version: ssl.TLSVersion, machine: Machine, authority: Authority, tmp_path: Path
) -> None:
    elsewhere = Authority(tmp_path, "elsewhere")

    with server(tls(authority.issue("localhost"), elsewhere.pem, version)) as port:
        finding = check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, "it refuses our certificate (", "is active, has the stack's policy")
    assert "alert unknown ca" in finding.sentence


def test_N11_an_endpoint_that_hangs_up_on_us_fails(machine: Machine, authority: Authority) -> None:
    hangs_up = tls(authority.issue("localhost"), authority.pem, ssl.TLSVersion.TLSv1_3, waits=False)

    with server(hangs_up) as port:
        finding = check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, "it refuses our certificate (it closes the connection)", "is active")


@pytest.mark.parametrize(
    ("by", "name", "words", "remedy"),
    [
        ("elsewhere", "localhost", "unable to get local issuer", "leave it out for the system's own"),
        ("ca", "other.example", "Hostname mismatch", "uplink.endpoint is spelled right"),
    ],
)
def test_an_endpoint_whose_certificate_is_not_right_fails(
    by: str, name: str, words: str, remedy: str, machine: Machine, authority: Authority, tmp_path: Path
) -> None:
    issuer = authority if by == "ca" else Authority(tmp_path, by)

    with server(tls(issuer.issue(name), authority.pem, ssl.TLSVersion.TLSv1_3)) as port:
        finding = check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, f"its certificate is not accepted: {words}", remedy)


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC), "certificate has expired"),
        (datetime(2099, 1, 1, tzinfo=UTC), datetime(2099, 2, 1, tzinfo=UTC), "certificate is not yet valid"),
    ],
)
def test_C2_an_endpoint_whose_certificate_is_of_another_time_points_to_the_clock(
    begin: datetime, end: datetime, words: str, machine: Machine, authority: Authority
) -> None:
    of_another_time = authority.issue("localhost", begin=begin, end=end)

    with server(tls(of_another_time, authority.pem, ssl.TLSVersion.TLSv1_3)) as port:
        finding = check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, f"its certificate is not accepted: {words}", "set the clock right")


def test_an_endpoint_that_speaks_no_tls_fails(machine: Machine, authority: Authority) -> None:
    def http(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with server(http) as port:
        finding = check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, "what answers does not speak TLS", "uplink.port (8883)")


def test_N10_an_endpoint_that_never_answers_fails_in_time(machine: Machine, authority: Authority) -> None:
    with server(lambda connection: assert_gone(connection)) as port:
        finding = check_endpoint(
            uplink(authority, authority.issue("shed"), port), replace(machine, connect_timeout_s=0.3)
        )

    assert_failed(finding, "no answer within 0.3 s", "try port 443")


def assert_gone(connection: socket.socket) -> None:
    """Read what comes until the other side has gone."""
    while connection.recv(65536):
        pass


def test_an_endpoint_that_refuses_the_connection_fails(machine: Machine, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    finding = check_endpoint(uplink(authority, authority.issue("shed"), port), machine)

    assert_failed(finding, f"localhost:{port}: the connection is refused", "uplink.port (8883)")


@pytest.mark.parametrize(
    ("error", "sentence", "remedy"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "cannot be resolved", "describe-endpoint"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable", "`ip route`"),
    ],
)
def test_N10_a_network_that_is_down_fails(
    error: OSError,
    sentence: str,
    remedy: str,
    machine: Machine,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("socket.create_connection", fail)

    finding = check_endpoint(uplink(authority, authority.issue("shed")), machine)

    assert_failed(finding, sentence, remedy)


def test_without_a_certificate_there_is_no_handshake_to_try(
    machine: Machine, authority: Authority, tmp_path: Path
) -> None:
    finding = check_endpoint(uplink(authority, tmp_path / "missing.pem"), machine)

    assert finding.verdict is Verdict.SKIPPED
