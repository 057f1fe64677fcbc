"""A real nginx in a folder laid out as Debian's, what may stand behind it, and a client that shows each header."""

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

NAME = "shed.local"
_START_TIMEOUT_S = 10.0


def need_nginx() -> None:
    """Skip without it (in CI that is a failure)."""
    if not (shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")):
        pytest.skip("nginx is missing: apt-get install nginx")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def nginx_folder(folder: Path, more: str = "") -> Path:
    """As Debian's: its sites, linked, are included; `more` is in the http part."""
    for name in ("sites-available", "sites-enabled"):
        (folder / name).mkdir(parents=True)
    # nginx makes these two itself, whenever it is asked.
    own = folder.with_name(f"{folder.name}-own")
    own.mkdir()
    (folder / "nginx.conf").write_text(
        f"""daemon off; worker_processes 1; pid {own}/nginx.pid; error_log {own}/error.log;
events {{ worker_connections 128; }}
http {{
    access_log off;
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    {more}
    include {folder}/sites-enabled/*;
}}
"""
    )
    return folder


@contextmanager
def running(folder: Path, port: int) -> Iterator[None]:
    """nginx with this folder's configuration, from its first answer on `port` to the end of the block."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen(
        [program, "-e", "stderr", "-c", folder / "nginx.conf"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stderr
    try:
        for _ in range(int(_START_TIMEOUT_S / 0.02)):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"nginx has ended: {process.stderr.read().decode()}")
        else:
            pytest.fail("nginx does not listen")
        yield
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


class Upstream(BaseHTTPRequestHandler):
    """As Grafana: headers of its own, a cookie, a login, a websocket that gives back what it gets."""

    server_version = "grafana"
    asked: "list[dict[str, str]]"

    def do_GET(self) -> None:
        self.asked.append({name.lower(): value for name, value in self.headers.items()})
        if self.headers.get("Upgrade") == "websocket":
            self.send_response_only(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.wfile.write(self.rfile.read(5).upper())
            self.close_connection = True
            return
        self._answer(404 if self.path == "/missing" else 200)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def do_POST(self) -> None:
        self._answer(401)

    def _answer(self, status: int) -> None:
        body = b"from upstream\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Frame-Options", "sameorigin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Strict-Transport-Security", "max-age=1; includeSubDomains")
        self.send_header("Content-Security-Policy", "default-src 'self'")
        self.send_header("Referrer-Policy", "origin")
        self.send_header("Set-Cookie", "grafana_session=1; Path=/; HttpOnly")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


@contextmanager
def upstream(server_says: str = "grafana") -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Its URL, and the headers of each GET that has reached it."""

    class Handler(Upstream):
        server_version = server_says
        sys_version = ""
        asked: "list[dict[str, str]]" = []  # noqa: RUF012 - one list for this server

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", Handler.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def trusting(certificate: Path) -> ssl.SSLContext:
    """A client that trusts this certificate, and no other."""
    return ssl.create_default_context(cafile=str(certificate))


def secure(port: int, context: ssl.SSLContext, name: str = NAME) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname=name)


def ask(
    port: int,
    context: ssl.SSLContext | None,
    target: str = "GET /",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Status, headers and body; without a context over plain HTTP. A GET follows nothing."""
    connection = secure(port, context) if context else socket.create_connection(("127.0.0.1", port), 10)
    asked = {"Host": f"{NAME}:{port}", "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
    with connection:
        connection.sendall(f"{target} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        response = http.client.HTTPResponse(connection)
        response.begin()
        with response:
            return response.status, response.msg, b"" if response.status == 101 else response.read()


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port
