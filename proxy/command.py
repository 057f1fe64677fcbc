"""What `solarshed https` does: nothing is put in place that nginx would not start with."""

import errno
import http.client
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from contract.errors import SolarshedError
from proxy import certificate, password
from proxy.changes import File, Link, put_in_place
from proxy.nginx import Nginx, NginxError, files_in
from proxy.site import HEADER, Site, listens_on, render, urls

_PROBE_TIMEOUT_S = 2.0


class HttpsError(SolarshedError, RuntimeError):
    """The site cannot be put in place; everything is as it was."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the owner asks for. `given` is a certificate and its key; without, a self-signed one is made."""

    names: tuple[str, ...]
    upstream: str
    is_page: bool
    port: int
    given: tuple[Path, Path] | None
    nginx_folder: Path
    wants_new_password: bool = False


@dataclass(frozen=True, slots=True)
class _Places:
    """Where things go in nginx's folder. `link` is None where nginx reads the site's own place."""

    configuration: Path
    site: Path
    link: Path | None
    certificate: Path
    key: Path
    passwords: Path

    @property
    def read_by_nginx(self) -> Path:
        return self.link or self.site


def show(wish: Wish) -> int:
    """Print the site, and change nothing.

    Raises:
        NginxError, HttpsError: nginx is missing, or its folder is.
    """
    print(render(_site(wish, _places(wish.nginx_folder), Nginx())), end="")
    return 0


def run(wish: Wish, now: datetime) -> int:
    """Put the site in place, and say what is to be done next. nginx goes on with what it has until it is reloaded.

    Raises:
        HttpsError, NginxError, CertificateError, PlaceError: it cannot be done; everything is as it was.
    """
    nginx = Nginx()
    places = _places(wish.nginx_folder)
    _check_ours(places)
    _check_may_write(places)
    _check_port(wish, places, nginx)
    _probe(wish)
    site = _site(wish, places, nginx)
    pair = (
        certificate.check_given(*wish.given, wish.names, now)
        if wish.given
        else certificate.self_signed(wish.names, places.certificate, places.key, now)
    )
    new_password = _new_password(wish, places)
    wanted = _files(wish, places, site, pair, new_password)
    _try_apart(nginx, site, wanted)

    def check() -> None:
        try:
            dump = nginx.test(places.configuration)
        except NginxError as e:
            raise NginxError(f"nginx does not accept it, so everything is as it was: {e}") from None
        if str(places.read_by_nginx) not in files_in(dump):
            raise HttpsError(
                f"{places.configuration} does not include {places.read_by_nginx}, so everything is as it was; add to "
                f"its http part: include {places.read_by_nginx.parent}/*;"
            )

    changed = put_in_place(wanted, check)
    _say(wish, site, pair, new_password, now, has_changed=bool(changed))
    return 0


def _places(folder: Path) -> _Places:
    folder = folder.absolute()
    configuration = folder / "nginx.conf"
    if not configuration.is_file():
        raise HttpsError(f"there is no {configuration}; name nginx's folder with --nginx")
    if (folder / "sites-available").is_dir() and (folder / "sites-enabled").is_dir():
        site, link = folder / "sites-available/solarshed", folder / "sites-enabled/solarshed"
    elif (folder / "conf.d").is_dir():
        site, link = folder / "conf.d/solarshed.conf", None
    else:
        raise HttpsError(f"{folder} has no folder for sites; make one, conf.d, and include conf.d/*.conf in nginx.conf")
    own = folder / "solarshed"
    return _Places(configuration, site, link, own / "certificate.pem", own / "private.key", own / "passwords")


def _site(wish: Wish, places: _Places, nginx: Nginx) -> Site:
    certificate_path, key_path = wish.given or (places.certificate, places.key)
    return Site(
        names=wish.names,
        port=wish.port,
        upstream=wish.upstream,
        certificate=certificate_path,
        key=key_path,
        is_self_signed=wish.given is None,
        password_file=places.passwords if wish.is_page else None,
        has_ipv6=_has_ipv6(),
        nginx_version=nginx.version,
    )


def _files(
    wish: Wish, places: _Places, site: Site, pair: certificate.Pair, new_password: str | None
) -> list[File | Link]:
    """In the order in which each needs only what is there already."""
    files: list[File | Link] = []
    if wish.given is None:
        files += [File(places.key, pair.key_pem, 0o600), File(places.certificate, pair.certificate_pem)]
    if new_password is not None:
        files.append(File(places.passwords, password.hashed(new_password).encode()))
    files.append(File(places.site, render(site).encode()))
    if places.link:
        files.append(Link(places.link, places.site))
    return files


def _new_password(wish: Wish, places: _Places) -> str | None:
    """One that is to be put in place; None where there is one, or none is needed."""
    if not wish.is_page or (places.passwords.exists() and not wish.wants_new_password):
        return None
    return password.make()


def _check_ours(places: _Places) -> None:
    """What somebody else made is not to be lost."""
    link = places.link
    try:
        is_ours = not places.site.exists() or places.site.read_text(encoding="utf-8").startswith(HEADER)
    except (OSError, ValueError):
        is_ours = False
    if not is_ours:
        raise HttpsError(f"{places.site} was not made by `solarshed https`; move it away, then run again")
    if link and (link.is_symlink() or link.exists()) and link.resolve() != places.site.resolve():
        raise HttpsError(f"{link} is not a link to {places.site}; move it away, then run again")


def _check_may_write(places: _Places) -> None:
    for folder in (places.configuration.parent, places.site.parent, places.read_by_nginx.parent):
        if not os.access(folder, os.W_OK):
            raise HttpsError(f"{folder} cannot be written to by this user; run this with sudo")


def _check_port(wish: Wish, places: _Places, nginx: Nginx) -> None:
    """Nobody else has it; nginx with a former site of ours may."""
    choose = "choose another with --port"
    if urlsplit(wish.upstream).port == wish.port:
        raise HttpsError(f"{wish.upstream} is to be behind the site and cannot have its port {wish.port}; {choose}")
    try:
        files = files_in(nginx.test(places.configuration))
    except NginxError:
        # It may be our own site that is broken, and is about to be mended; if not, the last check says so.
        files = {}
    for path, text in files.items():
        if path != str(places.read_by_nginx) and listens_on(text, wish.port):
            raise HttpsError(f"{path} has nginx listen on port {wish.port} already; take it out there, or {choose}")
    if places.site.exists() and listens_on(places.site.read_text(encoding="utf-8"), wish.port):
        return
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("", wish.port))
        except OSError as e:
            # Another reason is nginx's to tell.
            if e.errno == errno.EADDRINUSE:
                raise HttpsError(
                    f"port {wish.port} is taken: `sudo ss -ltnp sport = :{wish.port}` says by whom; or {choose}"
                ) from None


def _probe(wish: Wish) -> None:
    """See who is behind the site. The page without a password is for this machine alone."""
    url = urlsplit(wish.upstream)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("HEAD", "/")
        server = connection.getresponse().getheader("Server", "")
    except (OSError, http.client.HTTPException):
        print(f"note: nothing answers at {wish.upstream} now; the site says so until it does", file=sys.stderr)
        return
    finally:
        connection.close()
    if server.startswith("solarshed") and not wish.is_page:
        raise HttpsError(
            f"{wish.upstream} is the local page, which has no login; add --page, which asks for a password"
        )


def _try_apart(nginx: Nginx, site: Site, wanted: Sequence[File | Link]) -> None:
    """Let nginx read the site in a folder of its own, with copies of the files that are not in place yet."""
    with tempfile.TemporaryDirectory(prefix="solarshed-https-") as name:
        folder = Path(name)
        copies = {
            file.path: File(folder / file.path.name, file.content, 0o600) for file in wanted if isinstance(file, File)
        }
        for copy in copies.values():
            copy.path.write_bytes(copy.content)
        trial = replace(
            site,
            certificate=copies[site.certificate].path if site.certificate in copies else site.certificate,
            key=copies[site.key].path if site.key in copies else site.key,
        )
        (folder / "site").write_text(render(trial))
        (folder / "nginx.conf").write_text(
            f"pid {folder}/nginx.pid; error_log stderr; events {{}} http {{ access_log off; include {folder}/site; }}\n"
        )
        try:
            nginx.test(folder / "nginx.conf")
        except NginxError as e:
            raise NginxError(f"nginx does not accept the site, and nothing was changed: {e}") from None


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as attempt:
            attempt.bind(("::", 0))
    except OSError:
        return False
    return True


def _say(
    wish: Wish, site: Site, pair: certificate.Pair, new_password: str | None, now: datetime, *, has_changed: bool
) -> None:
    what = "the local page" if wish.is_page else "Grafana"
    print(f"site         {' '.join(urls(site))}, to {what} at {wish.upstream}")
    kind = "yours" if wish.given else "self-signed, new" if pair.is_new else "self-signed, kept"
    left = (pair.until - now).days
    print(f"certificate  {site.certificate} ({kind}), until {pair.until:%Y-%m-%d}, {left} days")
    print(f"SHA-256      {pair.fingerprint}")
    if new_password is not None:
        print(f"password     {new_password} for the user {password.USER}; it is not shown again (--new-password)")
    elif wish.is_page:
        print(f"password     as before, for the user {password.USER} (another: --new-password)")
    if wish.given is None:
        print("A browser warns of it once: compare the fingerprint before you accept it.")
        print(f"Run this again within its last {certificate.RENEW_BEFORE.days} days: it is renewed then.")
    elif pair.until - now < certificate.WARN_BEFORE:
        print(f"warning: {site.certificate} expires {pair.until:%Y-%m-%d %H:%M} UTC; renew it", file=sys.stderr)
    if not has_changed:
        print("all of it was in place already")
    print("next: sudo systemctl reload-or-restart nginx")
