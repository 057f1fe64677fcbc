"""The dashboards as files, for Grafana's import or for a program."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.errors import SolarshedError


class WriteError(SolarshedError, OSError):
    """A file cannot be written."""


def text_of(dashboard: Mapping[str, Any]) -> str:
    """Indented, in the order in which it was made, the same each time."""
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def write(dashboards: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """Writes each to `UID.json` in `folder`, which is made if missing; a file is the old one or the new one, whole.

    Raises:
        WriteError: it cannot.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for uid, dashboard in dashboards.items():
            path = folder / f"{uid}.json"
            _replace(path, text_of(dashboard))
            paths.append(path)
    except OSError as e:
        raise WriteError(f"{folder}: {e.strerror}; name a folder that you may write to") from None
    return paths


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as file:
        temporary = Path(file.name)
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            # As any new file has them; a temporary one is its owner's only.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
