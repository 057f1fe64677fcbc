"""What may be asked for, and the text that comes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.nginx import NginxError, files_in, parse_version
from proxy.site import Site, check_name, check_path, check_upstream, listens_on, render, urls

SITE = Site(
    names=("shed.local", "192.168.1.20", "fd00::1"),
    port=30000,
    upstream="http://127.0.0.1:3000",
    certificate=Path("/c.pem"),
    key=Path("/k.pem"),
    is_self_signed=True,
    password_file=None,
    has_ipv6=True,
    nginx_version=(1, 22, 1),
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("shed.local", "shed.local"),
        ("Shed.Example.ORG.", "shed.example.org"),
        ("shed", "shed"),
        ("xn--htte-1ra.example", "xn--htte-1ra.example"),
        ("192.168.1.20", "192.168.1.20"),
        ("[FD00:0::1]", "fd00::1"),
    ],
)
def test_a_name_is_a_host_name_or_an_address(text: str, name: str) -> None:
    assert check_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "shed local",
        "https://shed.local",
        "shed.local:30000",
        "shed_1",
        "-shed",
        "shed..local",
        "*.example.org",
        "hütte.example",
        "192.168.1.300",
        "shed;}",
        "$host",
        f"{'a' * 64}.example",
        ".".join(["abcdefghi"] * 26),
    ],
)
def test_what_no_certificate_can_be_for_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it as in the browser's address line"):
        check_name(text)


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://localhost:3000/", "http://127.0.0.1:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://172.17.0.2", "http://172.17.0.2:80"),
        ("http://192.168.1.7:3000", "http://192.168.1.7:3000"),
    ],
)
def test_an_upstream_is_on_this_machine_or_in_a_private_network(text: str, upstream: str) -> None:
    assert check_upstream(text) == upstream


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3000",
        "127.0.0.1:3000",
        "https://127.0.0.1:3000",
        "http://203.0.113.5:3000",
        "http://8.8.8.8",
        "http://grafana.example:3000",
        "http://127.0.0.1:3000/grafana",
        "http://127.0.0.1:3000/?a=1",
        "http://user:word@127.0.0.1:3000",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://[::1",
        "http://0.0.0.0:3000",
        "http://127.0.0.1;}:3000",
    ],
)
def test_any_other_upstream_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"write http://ADDRESS:PORT"):
        check_upstream(text)


def test_a_path_that_nginx_reads_otherwise_is_refused(tmp_path: Path) -> None:
    assert check_path(tmp_path / "my certificate.pem") == tmp_path / "my certificate.pem"
    for name in ("$host.pem", 'a".pem', "a\n.pem", "a;.pem", "a\\.pem"):
        with pytest.raises(ValueError, match="plain name"):
            check_path(tmp_path / name)


def test_a_link_to_a_certificate_stays_a_link_so_that_a_renewed_one_is_found(tmp_path: Path) -> None:
    (tmp_path / "archive1.pem").touch()
    (tmp_path / "live.pem").symlink_to("archive1.pem")

    assert check_path(tmp_path / "live.pem") == tmp_path / "live.pem"


def test_the_addresses_are_what_is_typed() -> None:
    assert urls(SITE) == ["https://shed.local:30000/", "https://192.168.1.20:30000/", "https://[fd00::1]:30000/"]


def test_a_newer_nginx_is_told_of_http_2_in_its_own_way() -> None:
    older, newer = render(SITE), render(replace(SITE, nginx_version=(1, 26, 3)))

    assert "listen [::]:30000 ssl http2;" in older
    assert "http2 on;" not in older
    assert "listen [::]:30000 ssl;\n    http2 on;" in newer


def test_without_ipv6_it_does_not_listen_there() -> None:
    assert "[::]" not in render(replace(SITE, has_ipv6=False))


def test_a_certificate_that_changes_hands_is_not_demanded_for_a_year() -> None:
    assert "max-age=86400" in render(SITE)
    assert "max-age=31536000" in render(replace(SITE, is_self_signed=False))


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("listen 30000 ssl;", True),
        ("  listen [::]:30000 ssl;", True),
        ("listen 127.0.0.1:30000;", True),
        ("listen *:30000;", True),
        ("listen 3000;", False),
        ("listen 130000;", False),
        ("# listen 30000;", False),
        ("listen 127.0.0.1:80; # 30000", False),
    ],
)
def test_who_listens_on_a_port_is_read_from_the_configuration(text: str, is_so: bool) -> None:
    assert listens_on(f"server {{\n{text}\n}}", 30000) is is_so


def test_the_configurations_files_are_told_apart() -> None:
    dump = "# configuration file /a/nginx.conf:\nevents {}\n\n# configuration file /a/site:\nserver {}\n"

    assert files_in(dump) == {"/a/nginx.conf": "\nevents {}\n\n", "/a/site": "\nserver {}\n"}


def test_nginxs_version_is_read_and_an_old_one_refused() -> None:
    assert parse_version("nginx version: nginx/1.22.1\n") == (1, 22, 1)
    with pytest.raises(NginxError, match=r"nginx 1\.18\.0 is too old; this needs 1\.20\.0"):
        parse_version("nginx version: nginx/1.18.0 (Ubuntu)\n")
    with pytest.raises(NginxError, match="does not say which version"):
        parse_version("nginx: command not understood")
