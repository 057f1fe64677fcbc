"""`solarshed https`, with a real nginx that is asked and not started."""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from proxy import changes, command, nginx
from proxy.certificate import CertificateError
from solarshed import main
from tests.proxy.certificates import write_pair
from tests.proxy.real_nginx import NAME, free_port, need_nginx, nginx_folder, upstream

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GONE = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    need_nginx()
    return nginx_folder(tmp_path / "nginx")


@pytest.fixture
def port() -> int:
    return free_port()


def https(folder: Path, port: int, *more: str, names: tuple[str, ...] = (NAME,)) -> int:
    return main(["https", *names, "--nginx", str(folder), "--port", str(port), "--upstream", GONE, *more])


def wish(folder: Path, port: int, *names: str, given: tuple[Path, Path] | None = None) -> command.Wish:
    return command.Wish(names or (NAME,), GONE, is_page=False, port=port, given=given, nginx_folder=folder)


def contents(folder: Path) -> dict[str, object]:
    """Every file below, with its bytes, and every link and folder."""
    return {
        path.relative_to(folder).as_posix(): path.readlink()
        if path.is_symlink()
        else (path.read_bytes(), path.stat().st_mode)
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }


def certificate_in(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "solarshed/certificate.pem").read_bytes())


def test_a_new_user_gets_a_site_a_certificate_and_the_next_command(
    folder: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert https(folder, port, names=("Shed.local", "192.168.1.20")) == 0

    said = capsys.readouterr()
    fingerprint = subprocess.run(
        ["openssl", "x509", "-in", folder / "solarshed/certificate.pem", "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.partition("=")[2]
    assert f"https://shed.local:{port}/ https://192.168.1.20:{port}/, to Grafana at {GONE}" in said.out
    assert f"SHA-256      {fingerprint}" in said.out
    assert re.search(r"\(self-signed, new\), until \d{4}-\d\d-\d\d, 823 days", said.out)
    assert said.out.endswith("next: sudo systemctl reload-or-restart nginx\n")
    assert said.err == f"note: nothing answers at {GONE} now; the site says so until it does\n"
    assert (folder / "sites-enabled/solarshed").resolve() == folder / "sites-available/solarshed"
    assert stat.S_IMODE((folder / "solarshed/private.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "solarshed").stat().st_mode) == 0o755


def test_the_certificate_is_for_a_server_of_these_names_and_vouches_for_no_other(folder: Path, port: int) -> None:
    command.run(wish(folder, port, NAME, "fd00::1"), NOW)

    made = certificate_in(folder)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == [NAME, "fd00::1"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.not_valid_after_utc - made.not_valid_before_utc == timedelta(days=825)


@pytest.mark.parametrize("more", [[], ["--page"], ["--given"], ["--page", "--given"]], ids=" ".join)
@pytest.mark.parametrize("has_ipv6", [True, False], ids=["dual stack", "IPv4"])
@pytest.mark.parametrize("names", [(NAME,), ("a" * 63 + ".example.org", "10.0.0.1", "fd00::1")], ids=["one", "many"])
def test_nginx_finds_nothing_to_warn_of_whatever_is_asked_for(
    more: list[str],
    has_ipv6: bool,
    names: tuple[str, ...],
    folder: Path,
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "_has_ipv6", lambda: has_ipv6)
    given = None
    if "--given" in more:
        given = write_pair(tmp_path / "given", [NAME, names[0]], NOW, NOW + timedelta(days=90))
        names = names[:1]
    command.run(command.Wish(names, GONE, "--page" in more, port, given, folder), NOW)

    tested = subprocess.run(
        [nginx.Nginx().path, "-t", "-e", "stderr", "-c", folder / "nginx.conf"], capture_output=True, text=True
    )

    assert tested.returncode == 0
    assert not re.search(r"\[(?!notice)", tested.stderr), tested.stderr


def test_a_second_run_changes_nothing(folder: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    https(folder, port, "--page")
    before = contents(folder)
    capsys.readouterr()

    assert https(folder, port, "--page") == 0

    said = capsys.readouterr().out
    assert contents(folder) == before
    assert "(self-signed, kept)" in said
    assert "all of it was in place already" in said
    assert "password     as before" in said


def test_a_certificate_is_renewed_in_its_last_30_days_with_the_same_key(folder: Path, port: int) -> None:
    command.run(wish(folder, port), NOW)
    first, key = certificate_in(folder), (folder / "solarshed/private.key").read_bytes()
    end = first.not_valid_after_utc

    command.run(wish(folder, port), end - timedelta(days=30, seconds=1))
    assert certificate_in(folder) == first

    command.run(wish(folder, port), end - timedelta(days=30))
    assert certificate_in(folder).not_valid_after_utc > end
    assert (folder / "solarshed/private.key").read_bytes() == key


def test_another_name_makes_another_certificate(folder: Path, port: int) -> None:
    command.run(wish(folder, port), NOW)
    first = certificate_in(folder)

    command.run(wish(folder, port, NAME, "shed.example.org"), NOW)

    assert certificate_in(folder) != first
    assert "server_name shed.local shed.example.org;" in (folder / "sites-available/solarshed").read_text()


@pytest.mark.parametrize("name", ["certificate.pem", "private.key"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("garbled")], ids=["deleted", "garbled"])
def test_a_lost_certificate_or_key_is_made_anew(
    damage: Callable[[Path], object], name: str, folder: Path, port: int
) -> None:
    command.run(wish(folder, port), NOW)
    damage(folder / "solarshed" / name)

    assert command.run(wish(folder, port), NOW) == 0

    nginx.Nginx().test(folder / "nginx.conf")


def test_a_key_that_cannot_be_read_is_not_replaced(folder: Path, port: int) -> None:
    (folder / "solarshed/private.key").mkdir(parents=True)
    before = contents(folder)

    with pytest.raises(CertificateError, match=r"private\.key: Is a directory; run this with sudo, or move it away"):
        command.run(wish(folder, port), NOW)

    assert contents(folder) == before


def test_the_pages_password_is_made_once_shown_once_and_only_its_hash_is_kept(
    folder: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def password_of(said: str) -> str:
        (found,) = re.findall(r"^password +((?:[a-z0-9]{4}-){4}[a-z0-9]{4}) for", said, re.MULTILINE)
        return str(found)

    https(folder, port, "--page")
    first = password_of(capsys.readouterr().out)
    kept = (folder / "solarshed/passwords").read_text()
    https(folder, port, "--page", "--new-password")
    second = password_of(capsys.readouterr().out)

    assert first != second
    assert first not in kept
    assert (folder / "solarshed/passwords").read_text() != kept


def test_print_shows_the_site_and_changes_nothing(folder: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)

    assert https(folder, port, "--print") == 0

    assert f"listen {port} ssl" in capsys.readouterr().out
    assert contents(folder) == before


def test_where_sites_have_no_folders_it_goes_to_conf_d(folder: Path, port: int) -> None:
    shutil.rmtree(folder / "sites-available")
    (folder / "conf.d").mkdir()
    text = (folder / "nginx.conf").read_text()
    (folder / "nginx.conf").write_text(text.replace("sites-enabled/*", "conf.d/*.conf"))

    assert https(folder, port) == 0

    assert (folder / "conf.d/solarshed.conf").is_file()


def test_a_given_certificate_is_used_where_it_is(
    folder: Path, port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    certificate, key = write_pair(tmp_path / "given", ["*.example.org"], now, now + timedelta(days=13))

    status = https(folder, port, "--certificate", str(certificate), "--key", str(key), names=("shed.example.org",))

    assert status == 0
    said = capsys.readouterr()
    assert f"warning: {certificate} expires {now + timedelta(days=13):%Y-%m-%d %H:%M} UTC; renew it" in said.err
    assert f'ssl_certificate "{certificate}";' in (folder / "sites-available/solarshed").read_text()
    assert not (folder / "solarshed").exists()


def _expired(given: Path) -> tuple[Path, Path]:
    return write_pair(given, [NAME], NOW - timedelta(days=90), NOW)


def _not_yet(given: Path) -> tuple[Path, Path]:
    return write_pair(given, [NAME], NOW + timedelta(seconds=1), NOW + timedelta(days=90))


def _for_others(given: Path) -> tuple[Path, Path]:
    return write_pair(given, ["*.shed.local", "hut.local"], NOW, NOW + timedelta(days=90))


def _for_nobody(given: Path) -> tuple[Path, Path]:
    return write_pair(given, [], NOW, NOW + timedelta(days=90))


def _of_another(given: Path) -> tuple[Path, Path]:
    certificate, _ = _good(given)
    return certificate, _good(given.with_name("another"))[1]


def _locked(given: Path) -> tuple[Path, Path]:
    return write_pair(given, [NAME], NOW, NOW + timedelta(days=90), password=b"word")


def _swapped(given: Path) -> tuple[Path, Path]:
    certificate, key = _good(given)
    return key, certificate


def _no_key(given: Path) -> tuple[Path, Path]:
    certificate, _ = _good(given)
    return certificate, certificate


def _missing(given: Path) -> tuple[Path, Path]:
    certificate, _ = _good(given)
    return certificate, given / "missing.pem"


def _good(given: Path) -> tuple[Path, Path]:
    return write_pair(given, [NAME], NOW, NOW + timedelta(days=90))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_expired, "has expired at 2026-11-24 12:00 UTC; renew it"),
        (_not_yet, "is valid from .* only; see whether this clock is right"),
        (_for_others, r"is not for shed\.local but for \*\.shed\.local, hut\.local; give the names"),
        (_for_nobody, "but for no name"),
        (_of_another, "does not belong to .*; name the two that were made together"),
        (_locked, "has a password, .* take it off: openssl pkey"),
        (_swapped, "is no PEM certificate"),
        (_no_key, "is no PEM key"),
        (_missing, "missing.pem: No such file or directory; name a file"),
    ],
)
def test_a_given_certificate_that_would_not_do_is_refused_and_nothing_is_created(
    make: Callable[[Path], tuple[Path, Path]], words: str, folder: Path, port: int, tmp_path: Path
) -> None:
    given = make(tmp_path / "given")
    before = contents(folder)

    with pytest.raises(CertificateError, match=words):
        command.run(wish(folder, port, given=given), NOW)

    assert contents(folder) == before


def test_an_expired_certificate_is_one_line_with_status_1(
    folder: Path, port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate, key = write_pair(tmp_path / "given", [NAME], yesterday - timedelta(days=90), yesterday)

    assert https(folder, port, "--certificate", str(certificate), "--key", str(key)) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert f"solarshed https: {certificate} has expired at {yesterday:%Y-%m-%d %H:%M} UTC; renew it" in said.err


def test_a_missing_nginx_is_told_with_the_remedy_and_nothing_is_created(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = nginx_folder(tmp_path / "nginx")
    before = contents(folder)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nginx, "_SYSTEM_FOLDERS", str(tmp_path))

    assert https(folder, port) == 1

    assert "there is no nginx on this machine: sudo apt-get install nginx" in capsys.readouterr().err
    assert contents(folder) == before


def test_a_missing_library_is_told_with_the_remedy() -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None; from solarshed import main; sys.exit(main(['https', 'a']))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr == "solarshed https: cryptography is not installed here: pip install 'solarshed[owner]'\n"


def test_an_nginx_that_cannot_be_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nginx").write_text("#!/missing/interpreter\n")
    (tmp_path / "nginx").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(nginx.NginxError, match=r"cannot be run: .*; see whether `nginx -v` works"):
        nginx.Nginx()


def test_a_setting_that_nginx_refuses_beside_the_rest_puts_back_all_that_was(folder: Path, port: int) -> None:
    command.run(wish(folder, port), NOW)
    # Only the whole shows it: the zone is declared twice.
    (folder / "sites-enabled/other").write_text("limit_req_zone $uri zone=solarshed:1m rate=1r/s;\n")
    before = contents(folder)

    with pytest.raises(nginx.NginxError, match=r"so everything is as it was: .*\[emerg\].*solarshed"):
        command.run(wish(folder, port, "hut.local"), NOW)

    assert contents(folder) == before


def test_of_a_first_run_that_fails_nothing_is_left(folder: Path, port: int) -> None:
    (folder / "sites-enabled/other").write_text("nonsense;\n")
    before = contents(folder)

    with pytest.raises(nginx.NginxError, match='unknown directive "nonsense"'):
        command.run(wish(folder, port), NOW)

    assert contents(folder) == before


def test_a_site_that_nginx_would_not_read_is_taken_back(folder: Path, port: int) -> None:
    text = (folder / "nginx.conf").read_text()
    (folder / "nginx.conf").write_text(text.replace("sites-enabled/*;", "sites-enabled/*.conf;"))
    before = contents(folder)

    with pytest.raises(command.HttpsError, match=r"does not include .*sites-enabled/solarshed.*; add to its http part"):
        command.run(wish(folder, port), NOW)

    assert contents(folder) == before


def test_a_site_that_nginx_refuses_by_itself_never_leaves_the_temporary_folder(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "render", lambda site: "nonsense;\n")
    before = contents(folder)

    with pytest.raises(nginx.NginxError, match=r"nothing was changed: .*nonsense"):
        command.run(wish(folder, port), NOW)

    assert contents(folder) == before


def test_a_disk_that_is_full_half_way_leaves_everything_as_it_was(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.run(wish(folder, port), NOW)
    before = contents(folder)
    real = os.fsync
    calls = iter([real])

    def full(descriptor: int) -> None:
        # The new certificate fits, the site not; what was is put back all the same.
        step = next(calls, None)
        if step is None:
            monkeypatch.setattr(os, "fsync", real)
            raise OSError(28, "No space left on device")
        step(descriptor)

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(changes.PlaceError, match=r"sites-available/solarshed cannot be written: No space left"):
        command.run(wish(folder, port, "hut.local"), NOW)

    assert contents(folder) == before


@pytest.mark.parametrize("place", ["sites-available/solarshed", "sites-enabled/solarshed"])
def test_what_somebody_else_has_written_is_not_replaced(place: str, folder: Path, port: int) -> None:
    (folder / place).write_text("# mine\n")
    before = contents(folder)

    with pytest.raises(command.HttpsError, match=f"{place} (was|is) not .*; move it away, then run again"):
        command.run(wish(folder, port), NOW)

    assert contents(folder) == before


def test_a_port_that_another_program_has_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        assert https(folder, taken) == 1

    assert f"port {taken} is taken: `sudo ss -ltnp sport = :{taken}` says by whom" in capsys.readouterr().err
    assert not (folder / "solarshed").exists()


def test_a_port_that_another_site_of_nginx_has_is_refused_with_the_sites_file(folder: Path, port: int) -> None:
    other = folder / "sites-enabled/default"
    other.write_text(f"server {{\n    listen {port};\n}}\n")

    with pytest.raises(command.HttpsError, match=rf"{other} has nginx listen on port {port} already; take it out"):
        command.run(wish(folder, port), NOW)


def test_the_upstreams_own_port_is_refused(folder: Path) -> None:
    with pytest.raises(command.HttpsError, match="cannot have its port 9; choose another with --port"):
        command.run(wish(folder, 9), NOW)


def test_the_local_page_is_not_put_up_without_a_password(
    folder: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with upstream("solarshed") as (url, _):
        without = main(["https", NAME, "--nginx", str(folder), "--port", str(port), "--upstream", url])
        assert "is the local page, which has no login; add --page" in capsys.readouterr().err
        assert not (folder / "solarshed").exists()
        with_password = main(["https", NAME, "--page", "--nginx", str(folder), "--port", str(port), "--upstream", url])

    assert (without, with_password) == (1, 0)


def test_a_folder_that_is_not_nginxs_is_told(tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    need_nginx()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/nginx.conf").touch()

    assert https(tmp_path, port) == 1
    assert "nginx.conf; name nginx's folder with --nginx" in capsys.readouterr().err
    assert https(tmp_path / "bare", port) == 1
    assert "has no folder for sites; make one" in capsys.readouterr().err


def test_who_may_not_write_there_is_told_to_use_sudo(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere: what the system says to others is said here.
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder / "sites-available")

    with pytest.raises(
        command.HttpsError, match="sites-available cannot be written to by this user; run this with sudo"
    ):
        command.run(wish(folder, port), NOW)


@pytest.mark.parametrize(
    "more",
    [
        ["https://shed.local"],
        [NAME, "--upstream", "https://grafana.example"],
        [NAME, "--port", "0"],
        [NAME, "--port", "65536"],
        [NAME, "--certificate", "c.pem"],
        [NAME, "--key", "k.pem"],
        [NAME, "--certificate", "$c.pem", "--key", "k.pem"],
        [NAME, "--new-password"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_status_2(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["https", *more])

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: solarshed https ")
