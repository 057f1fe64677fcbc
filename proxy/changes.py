"""Files put in place together: all of them, or none."""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contract.errors import SolarshedError


class PlaceError(SolarshedError, OSError):
    """A file cannot be put in place; everything is as it was."""


@dataclass(frozen=True, slots=True)
class File:
    """What a file is to contain, and who may read it."""

    path: Path
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link at `path`."""

    path: Path
    target: Path


def put_in_place(wanted: Sequence[File | Link], check: Callable[[], None]) -> list[Path]:
    """Write them in this order, each whole or not at all, then `check`; what is so already is left alone.

    When a step fails, or `check` raises, everything is put back as it was. Returns what has changed.

    Raises:
        PlaceError: a file cannot be written.
    """
    undo: list[Callable[[], None]] = []
    changed = []
    try:
        for one in wanted:
            try:
                if _put(one, undo):
                    changed.append(one.path)
            except OSError as e:
                raise PlaceError(
                    f"{one.path} cannot be written: {e.strerror}; run this with sudo, or make room"
                ) from None
        check()
    except BaseException:
        for step in reversed(undo):
            step()
        raise
    return changed


def _put(one: File | Link, undo: list[Callable[[], None]]) -> bool:
    path = one.path
    if not path.parent.exists():
        path.parent.mkdir()
        undo.append(path.parent.rmdir)
        # nginx's workers read in it, whatever the umask.
        path.parent.chmod(0o755)
    if isinstance(one, Link):
        if path.is_symlink():
            return False
        path.symlink_to(one.target)
        undo.append(path.unlink)
        return True
    if not path.exists():
        undo.append(lambda: path.unlink(missing_ok=True))
    else:
        before = File(path, path.read_bytes(), path.stat().st_mode & 0o7777)
        if before == one:
            return False
        undo.append(lambda: _write(before))
    _write(one)
    return True


def _write(file: File) -> None:
    """The old file or the new one at any moment. Its mode is 0600 until it is the wanted one."""
    descriptor, name = tempfile.mkstemp(dir=file.path.parent, prefix=f".{file.path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as new:
            new.write(file.content)
            new.flush()
            os.fsync(new.fileno())
        temporary.chmod(file.mode)
        temporary.replace(file.path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
