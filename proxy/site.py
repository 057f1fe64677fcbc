"""The text of the nginx site. Pure: what it needs to know of the machine is in `Site`.

TLS as in Mozilla's "intermediate" recommendation (version 5.7), without its DHE suites, which a P-256 certificate or a
browser of this decade never uses.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

GRAFANA, PAGE = "http://127.0.0.1:3000", "http://127.0.0.1:8080"

# The first line of the site: a file without it is somebody else's.
HEADER = "# Made by `solarshed https`"

_DAY_S = 86_400
# From here on nginx warns of `listen ... http2`.
_HTTP2_DIRECTIVE_SINCE = (1, 25, 1)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_NAME = 253
# What nginx takes literally in a quoted path; "$" would be a variable.
_PLAIN_PATH = re.compile(r"[\w./@+:, =~-]+", re.ASCII)

# Where a proxy may speak plain HTTP: this machine, and the network behind the router (a container's bridge, say).
_NEAR = tuple(
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)


@dataclass(frozen=True, slots=True)
class Site:
    """What the site is made of. `password_file` is None for Grafana, which has a login of its own."""

    names: tuple[str, ...]
    port: int
    upstream: str
    certificate: Path
    key: Path
    is_self_signed: bool
    password_file: Path | None
    has_ipv6: bool
    nginx_version: tuple[int, int, int]


def check_name(text: str) -> str:
    """`text` as a host name in lower case or an IP address in its usual form.

    Raises:
        ValueError: it is neither; the text is a sentence.
    """
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdecimal():
        raise ValueError(
            f"{text!r} is neither a host name nor an IP address; write it as in the browser's address line, without "
            "https:// and port, such as shed.local or 192.168.1.20"
        )
    return name


def check_upstream(text: str) -> str:
    """`text` as http://ADDRESS:PORT.

    Raises:
        ValueError: it is nothing that may stand behind the site; the text is a sentence.
    """
    remedy = f"write http://ADDRESS:PORT, such as {GRAFANA}"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError(f"{text!r} is no address of a web server; {remedy}") from None
    if url.scheme != "http" or not url.hostname or port == 0:
        raise ValueError(f"{text!r} is no address of a web server that speaks plain HTTP; {remedy}")
    if url.path not in ("", "/") or url.query or url.fragment or url.username is not None:
        raise ValueError(f"{text!r} has more than an address and a port; {remedy}")
    # nginx would try ::1 too, where the page does not listen.
    host = "127.0.0.1" if url.hostname == "localhost" else url.hostname
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{host!r} is a name, which nginx would look up only once; {remedy}") from None
    if not any(address in network for network in _NEAR):
        raise ValueError(
            f"{host} is not on this machine nor in a private network, and what is sent there could be read on its way; "
            f"{remedy}"
        )
    return f"http://{_in_url(str(address))}:{port or 80}"


def check_path(path: Path) -> Path:
    """`path` from the root on. Links in it stay: a renewed certificate is where its link points to.

    Raises:
        ValueError: nginx could not be told this path; the text is a sentence.
    """
    absolute = path.absolute()
    if not _PLAIN_PATH.fullmatch(str(absolute)):
        raise ValueError(f"{str(path)!r} has signs in it that nginx reads otherwise; give it a plain name")
    return absolute


def urls(site: Site) -> list[str]:
    """What is typed into a browser, for each name."""
    return [f"https://{_in_url(name)}:{site.port}/" for name in site.names]


def render(site: Site) -> str:
    """The site, for the `http` part of nginx's configuration."""
    addresses = [str(site.port), *([f"[::]:{site.port}"] if site.has_ipv6 else [])]
    is_grafana = site.password_file is None
    if site.nginx_version >= _HTTP2_DIRECTIVE_SINCE:
        listen = [*(f"listen {address} ssl;" for address in addresses), "http2 on;"]
    else:
        listen = [f"listen {address} ssl http2;" for address in addresses]
    return _SITE.substitute(
        header=HEADER,
        own_hosts=_lines(*(f'"~^{re.escape(_in_url(name))}$" 0;' for name in site.names)),
        zone=_GRAFANA_ZONE if is_grafana else _PAGE_ZONE,
        listen=_lines(*listen),
        server_names=" ".join(map(_in_url, site.names)),
        port=site.port,
        certificate=site.certificate,
        key=site.key,
        ciphers=_CIPHERS,
        # Who has made a self-signed certificate trusted is locked out by the next one for so long.
        hsts_s=_DAY_S if site.is_self_signed else 365 * _DAY_S,
        access=_lines(*(_GRAFANA_ACCESS if site.password_file is None else _page_access(site.password_file))),
        upstream=site.upstream,
        what="Grafana" if is_grafana else "The page",
        remedy="sudo systemctl status grafana-server" if is_grafana else "solarshed page",
    )


def listens_on(text: str, port: int) -> bool:
    """Whether this part of an nginx configuration listens on `port`."""
    return re.search(rf"^\s*listen\s+(?:\S+:)?{port}(?![\d.:])", text, re.MULTILINE) is not None


def _in_url(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _lines(*directives: str) -> str:
    return "\n".join(f"    {directive}" for directive in directives)


class _Text(Template):
    """With % for what is put in: $ is nginx's."""

    delimiter = "%"


# Of an upstream's answer only those headers pass that are not set below: each comes exactly once. $host is what was
# asked for, in lower case and without port. The regular expressions keep long names out of nginx's hash tables.
_SITE = _Text("""\
%header, which replaces this file whenever it runs.

# Hosts that are meant: a page of elsewhere that has pointed its own name here gets nothing.
map $host $solarshed_is_stranger {
    default 1;
%own_hosts
}

# Websockets (Grafana Live), and no other protocol.
map $http_upgrade $solarshed_upgrade {
    default "";
    "~*^websocket$" websocket;
}
map $solarshed_upgrade $solarshed_connection {
    default upgrade;
    "" close;
}

# The upstream's own policy holds as well: a comma parts two policies.
map $upstream_http_content_security_policy $solarshed_content_security_policy {
    default "$upstream_http_content_security_policy, frame-ancestors 'none'";
    "" "frame-ancestors 'none'";
}
map $upstream_http_referrer_policy $solarshed_referrer_policy {
    default $upstream_http_referrer_policy;
    "" same-origin;
}

%zone

server {
%listen
    server_name %server_names;
    server_tokens off;

    ssl_certificate "%certificate";
    ssl_certificate_key "%key";
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers %ciphers;
    # All of them are good: a phone takes the one that it is fast with.
    ssl_prefer_server_ciphers off;
    ssl_session_cache off;
    ssl_session_tickets off;

    add_header Strict-Transport-Security "max-age=%hsts_s" always;
    add_header X-Content-Type-Options nosniff always;
    add_header X-Frame-Options DENY always;
    add_header Content-Security-Policy $solarshed_content_security_policy always;
    add_header Referrer-Policy $solarshed_referrer_policy always;
    proxy_hide_header Strict-Transport-Security;
    proxy_hide_header X-Content-Type-Options;
    proxy_hide_header X-Frame-Options;
    proxy_hide_header Content-Security-Policy;
    proxy_hide_header Referrer-Policy;
    proxy_cookie_flags ~ secure;

    # Plain HTTP on this port.
    error_page 497 =308 https://$host:%port$request_uri;
    if ($solarshed_is_stranger) {
        return 421 "solarshed https was not given this name.\\n";
    }

    client_max_body_size 10m;
    client_header_timeout 15s;
    client_body_timeout 15s;
    send_timeout 30s;
    proxy_connect_timeout 5s;
    # A year's query takes its time; Grafana Live says something every 25 s.
    proxy_read_timeout 90s;

    proxy_http_version 1.1;
    proxy_set_header Upgrade $solarshed_upgrade;
    proxy_set_header Connection $solarshed_connection;
    # What a client says of itself in these is not passed on.
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto https;
%access

    location / {
        proxy_pass %upstream;
    }

    error_page 502 503 504 @unreachable;
    location @unreachable {
        default_type "text/html; charset=utf-8";
        return 502 '<!doctype html><html lang="en"><meta name="viewport" content="width=device-width">\\n\
<meta http-equiv="refresh" content="10"><title>No answer</title>\\n\
<h1>%what does not answer</h1>\\n<p>It may be starting: this page tries again every 10 seconds.</p>\\n\
<p>If it stays so, on that machine: <code>%remedy</code></p></html>\\n';
    }
}
""")

_CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)

# A password can be tried at the login, and with each request of the API.
_GRAFANA_ZONE = """\
# Where somebody tries a password from; empty, and so not limited, for all other requests.
map $http_authorization $solarshed_basic_from {
    default "";
    "~*^basic " $binary_remote_addr;
}
map "$request_method $uri" $solarshed_login_from {
    default $solarshed_basic_from;
    "~*^POST /(login|api/login|api/user/password)" $binary_remote_addr;
}
limit_req_zone $solarshed_login_from zone=solarshed:1m rate=10r/m;"""
_GRAFANA_ACCESS = (
    "# Grafana compares it with where a request says that it comes from.",
    "proxy_set_header Host $http_host;",
    "limit_req zone=solarshed burst=5 nodelay;",
    "limit_req_status 429;",
)

_PAGE_ZONE = "limit_req_zone $binary_remote_addr zone=solarshed:1m rate=20r/s;"


def _page_access(password_file: Path) -> tuple[str, ...]:
    return (
        "# The page answers to localhost only, and has no login.",
        "proxy_set_header Host $proxy_host;",
        'proxy_set_header Authorization "";',
        'auth_basic "solarshed";',
        f'auth_basic_user_file "{password_file}";',
        "# Every request brings the password; opening the page is some dozens at once.",
        "limit_req zone=solarshed burst=100 nodelay;",
        "limit_req_status 429;",
    )
