"""The nginx of this machine, which is only ever asked what it thinks of a configuration."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from contract.errors import SolarshedError

# Not on every user's PATH.
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin"
# It has proxy_cookie_flags, and takes -e.
_OLDEST = (1, 20, 0)
_TIMEOUT_S = 30.0


class NginxError(SolarshedError, RuntimeError):
    """nginx is missing, too old, or does not accept a configuration; the text has its own words."""


class Nginx:
    """The command at `path`, of `version`."""

    def __init__(self) -> None:
        """Find it.

        Raises:
            NginxError: it is not there, or too old.
        """
        found = shutil.which("nginx") or shutil.which("nginx", path=_SYSTEM_FOLDERS)
        if found is None:
            raise NginxError("there is no nginx on this machine: sudo apt-get install nginx")
        self.path = found
        self.version = parse_version(self._run("-v").stderr)

    def test(self, configuration: Path) -> str:
        """The whole of `configuration`, what it includes too, as nginx has read it.

        Raises:
            NginxError: it does not accept it, and why.
        """
        done = self._run("-T", "-e", "stderr", "-c", str(configuration))
        if done.returncode != 0:
            raise NginxError(_complaint(done.stderr))
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - arguments of our own, no shell
                [self.path, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as e:
            raise NginxError(f"{self.path} cannot be run: {e}; see whether `nginx -v` works") from None


def parse_version(said: str) -> tuple[int, int, int]:
    """What `nginx -v` says, as numbers.

    Raises:
        NginxError: it is too old, or says none.
    """
    match = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said)
    if match is None:
        raise NginxError(f"nginx does not say which version it is, but {said.strip()!r}; install the system's own")
    major, minor, patch = map(int, match.groups())
    if (major, minor, patch) < _OLDEST:
        raise NginxError(f"nginx {major}.{minor}.{patch} is too old; this needs {'.'.join(map(str, _OLDEST))} or newer")
    return major, minor, patch


def files_in(dump: str) -> dict[str, str]:
    """The files of what `test` gave, by path."""
    parts = re.split(r"^# configuration file (.+):$", dump, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _complaint(said: str) -> str:
    """What it objects to, without warnings and without what it says after each objection."""
    lines = [line.strip() for line in said.splitlines()]
    objections = [line for line in lines if re.search(r"\[(emerg|alert|crit|error)\]", line)]
    return "; ".join(objections or lines[-1:] or ["it does not say why"])
