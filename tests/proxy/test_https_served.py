"""The site as a browser finds it, served by a real nginx."""

import base64
import re
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from page import server as page_server
from solarshed import main
from tests.proxy.real_nginx import (
    NAME,
    ask,
    free_port,
    need_nginx,
    nginx_folder,
    running,
    secure,
    trusting,
    upstream,
)

# One nginx of each kind for the module.
pytestmark = pytest.mark.xdist_group("https")

ONCE = {
    "Strict-Transport-Security": "max-age=86400",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Served:
    port: int
    context: ssl.SSLContext
    asked: list[dict[str, str]]
    # What the command has printed.
    said: str = ""

    @property
    def basic(self) -> dict[str, str]:
        """The header for the password that was printed."""
        (password,) = re.findall(r"^password +(\S+) for the user solarshed;", self.said, re.MULTILINE)
        return basic("solarshed", password)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """nginx's workers, which are not root, must get into it; pytest's own folders are closed to them."""
    need_nginx()
    made = Path(tempfile.mkdtemp(prefix="solarshed-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def grafana(folder: Path) -> Iterator[Served]:
    with upstream() as (url, asked):
        port = free_port()
        nginx = nginx_folder(folder / "grafana")
        assert main(["https", NAME, "127.0.0.1", "--upstream", url, "--port", str(port), "--nginx", str(nginx)]) == 0
        with running(nginx, port):
            yield Served(port, trusting(nginx / "solarshed/certificate.pem"), asked)


@pytest.fixture(scope="module")
def nobody_behind(folder: Path) -> Iterator[Served]:
    port, nginx = free_port(), nginx_folder(folder / "nobody")
    gone = f"http://127.0.0.1:{free_port()}"
    assert main(["https", NAME, "--upstream", gone, "--port", str(port), "--nginx", str(nginx)]) == 0
    with running(nginx, port):
        yield Served(port, trusting(nginx / "solarshed/certificate.pem"), [])


@pytest.fixture
def page(folder: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Served]:
    port, nginx = free_port(), nginx_folder(Path(tempfile.mkdtemp(dir=folder)) / "nginx")
    nginx.parent.chmod(0o755)
    # Only its own files are asked for, for which it needs no source.
    with page_server.serve("shed", cast(Any, None), port=0) as local:
        wish = ["https", NAME, "--page", "--upstream", local.url, "--port", str(port), "--nginx", str(nginx)]
        assert main(wish) == 0
        with running(nginx, port):
            yield Served(port, trusting(nginx / "solarshed/certificate.pem"), [], capsys.readouterr().out)


def only(version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """A client that itself would take anything, so that a refusal is the server's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("name", ["TLSv1", "TLSv1_1"])
def test_tls_older_than_1_2_is_refused_by_the_server(name: str, grafana: Served) -> None:
    context = only(ssl.TLSVersion[name], "ALL")

    with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_PROTOCOL_VERSION"):
        secure(grafana.port, context)


@pytest.mark.parametrize(("name", "said"), [("TLSv1_2", "TLSv1.2"), ("TLSv1_3", "TLSv1.3")])
def test_tls_1_2_and_1_3_are_taken_from_the_same_client(name: str, said: str, grafana: Served) -> None:
    with secure(grafana.port, only(ssl.TLSVersion[name], "ALL")) as connection:
        assert connection.version() == said


@pytest.mark.parametrize("ciphers", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-GCM-SHA256"])
def test_a_cipher_without_authentication_or_forward_secrecy_is_refused(ciphers: str, grafana: Served) -> None:
    context = only(ssl.TLSVersion.TLSv1_2, ciphers)

    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        secure(grafana.port, context)


def test_a_strong_cipher_is_taken_from_the_same_client(grafana: Served) -> None:
    with secure(grafana.port, only(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256")) as connection:
        assert connection.cipher() == ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2", 128)


@pytest.mark.parametrize("name", [NAME, "127.0.0.1"])
def test_a_client_that_trusts_the_certificate_accepts_it_for_each_name(name: str, grafana: Served) -> None:
    with secure(grafana.port, grafana.context, name) as connection:
        assert connection.getpeercert()


def test_http_2_is_spoken(grafana: Served) -> None:
    context = only(ssl.TLSVersion.TLSv1_3, "ALL")
    context.set_alpn_protocols(["h2", "http/1.1"])

    with secure(grafana.port, context) as connection:
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/missing", 404)])
def test_each_security_header_comes_once_whatever_grafana_sends(path: str, status: int, grafana: Served) -> None:
    answered, headers, body = ask(grafana.port, grafana.context, f"GET {path}")

    assert (answered, body) == (status, b"from upstream\n")
    for name, value in ONCE.items():
        assert headers.get_all(name) == [value], name
    assert headers.get_all("Content-Security-Policy") == ["default-src 'self', frame-ancestors 'none'"]
    assert headers.get_all("Referrer-Policy") == ["origin"]
    assert headers.get_all("Server") == ["nginx"]
    assert headers.get_all("Set-Cookie") == ["grafana_session=1; Path=/; HttpOnly; Secure"]


def test_a_grafana_that_does_not_answer_is_told_in_words_with_status_502(nobody_behind: Served) -> None:
    status, headers, body = ask(nobody_behind.port, nobody_behind.context)

    assert status == 502
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"Grafana does not answer" in body
    assert b'http-equiv="refresh"' in body
    for name, value in ONCE.items():
        assert headers.get_all(name) == [value], name
    assert headers.get_all("Content-Security-Policy") == ["frame-ancestors 'none'"]
    assert headers.get_all("Referrer-Policy") == ["same-origin"]


def test_grafana_hears_the_name_that_was_asked_for_and_who_asks_whatever_the_client_claims(grafana: Served) -> None:
    ask(grafana.port, grafana.context, headers={"X-Forwarded-For": "192.0.2.1", "X-Real-IP": "192.0.2.1"})

    heard = grafana.asked[-1]
    assert heard["host"] == f"{NAME}:{grafana.port}"
    assert heard["x-forwarded-for"] == heard["x-real-ip"] == "127.0.0.1"
    assert heard["x-forwarded-proto"] == "https"
    assert heard["connection"] == "close"


def test_a_websocket_passes_through_both_ways(grafana: Served) -> None:
    with secure(grafana.port, grafana.context) as connection:
        asked = f"GET /api/live/ws HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        connection.sendall(asked.encode() + b"hello")
        said = b"".join(iter(lambda: connection.recv(4096), b""))

    assert said.startswith(b"HTTP/1.1 101 ")
    assert said.endswith(b"\r\n\r\nHELLO")


def test_no_other_protocol_can_be_asked_for_behind_the_sites_back(grafana: Served) -> None:
    status, _, _ = ask(grafana.port, grafana.context, headers={"Upgrade": "h2c", "Connection": "Upgrade"})

    assert status == 200
    assert "upgrade" not in grafana.asked[-1]
    assert grafana.asked[-1]["connection"] == "close"


def test_a_name_that_the_site_was_not_given_gets_nothing_of_grafana(grafana: Served) -> None:
    before = len(grafana.asked)

    status, headers, body = ask(grafana.port, grafana.context, headers={"Host": "rebound.example"})

    assert status == 421
    assert b"from upstream" not in body
    assert headers.get_all("X-Frame-Options") == ["DENY"]
    assert len(grafana.asked) == before


def test_plain_http_on_the_port_is_sent_to_https(grafana: Served) -> None:
    status, headers, _ = ask(grafana.port, None, "GET /d/now?from=1")

    assert (status, headers["Location"]) == (308, f"https://{NAME}:{grafana.port}/d/now?from=1")


# Each way to try a password fills the same bucket: the site is made anew for each.
@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("POST /login", {}),
        ("POST //%6Cogin", {}),
        ("GET /api/org", basic("admin", "guess")),
    ],
    ids=["login", "login written otherwise", "password for the API"],
)
def test_passwords_can_be_tried_a_few_times_a_minute_and_all_else_is_not_limited(
    target: str, headers: dict[str, str], folder: Path
) -> None:
    port, nginx = free_port(), nginx_folder(Path(tempfile.mkdtemp(dir=folder)) / "nginx")
    with upstream() as (url, _):
        assert main(["https", NAME, "--upstream", url, "--port", str(port), "--nginx", str(nginx)]) == 0
        with running(nginx, port):
            context = trusting(nginx / "solarshed/certificate.pem")

            tries = [ask(port, context, target, headers) for _ in range(8)]
            others = [ask(port, context, "GET /login")[0] for _ in range(20)]

    statuses = [status for status, _, _ in tries]
    assert 429 not in statuses[:6]
    assert statuses[6:] == [429, 429]
    assert tries[-1][1].get_all("X-Frame-Options") == ["DENY"]
    assert set(others) == {200}


def test_the_local_page_is_shown_to_who_has_the_password(page: Served) -> None:
    status, headers, body = ask(page.port, page.context, headers=page.basic)

    assert status == 200
    assert b"<!doctype html>" in body.lower()
    policy = page_server.SECURITY_HEADERS["Content-Security-Policy"]
    assert headers.get_all("Content-Security-Policy") == [f"{policy}, frame-ancestors 'none'"]
    assert headers.get_all("Referrer-Policy") == ["no-referrer"]
    for name, value in ONCE.items():
        assert headers.get_all(name) == [value], name


@pytest.mark.parametrize(
    "headers", [{}, basic("solarshed", "guess"), basic("root", "")], ids=["none", "wrong", "other"]
)
def test_the_local_page_is_not_shown_without_the_password(headers: dict[str, str], page: Served) -> None:
    status, answered, body = ask(page.port, page.context, headers=headers)

    assert status == 401
    assert answered["WWW-Authenticate"] == 'Basic realm="solarshed"'
    assert answered.get_all("X-Frame-Options") == ["DENY"]
    assert b"doctype" not in body.lower()


def test_opening_the_page_is_not_limited_but_a_flood_is(page: Served) -> None:
    with secure(page.port, page.context) as connection:
        for _ in range(300):
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        seen = b""
        while seen.count(b"HTTP/1.1 ") < 300:
            seen += connection.recv(65536)
    statuses = re.findall(rb"HTTP/1.1 (\d+) ", seen)

    assert statuses[:60] == [b"401"] * 60
    assert b"429" in statuses
