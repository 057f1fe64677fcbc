"""Child processes that end when they are told to, with everything they started themselves."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from contract.errors import SolarshedError

# prctl(2): what the kernel sends a process when its parent ends, however that happens.
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl


def _end_with_the_demo() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class DemoError(SolarshedError, OSError):
    """The demo cannot go on; the text says what failed and, where known, the remedy."""


class Process:
    """A child in a process group of its own: Ctrl-C in the terminal reaches only the demo, which ends it in order."""

    def __init__(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_the_demo,
            )

    @property
    def pid(self) -> int:
        """The child's process id, which is its group's id too."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raise DemoError, with the last lines it said, if the child has ended by itself."""
        if not self.running:
            raise DemoError(f"{self.name} ended with status {self._process.returncode}:\n{self.last_lines()}")

    def last_lines(self, count: int = 15) -> str:
        """The end of what the child printed."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-count:])

    def wait_for_line(self, text: str, timeout_s: float) -> None:
        """Return when the child has printed `text`; raise DemoError when it ends first or takes longer."""
        deadline = time.monotonic() + timeout_s
        while text not in self._log.read_text(errors="replace"):
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{self.name} did not say {text!r} within {timeout_s:g} s:\n{self.last_lines()}")
            time.sleep(0.05)

    def wait(self, timeout_s: float, is_stopping: Callable[[], bool]) -> int | None:
        """The child's exit status, or None, and the child killed, if `is_stopping` says so meanwhile.

        Raises:
            DemoError: it took longer, and was killed.
        """
        deadline = time.monotonic() + timeout_s
        while (status := self._process.poll()) is None:
            if is_stopping():
                self.kill()
                return None
            if time.monotonic() > deadline:
                self.kill()
                raise DemoError(f"{self.name} took more than {timeout_s:g} s:\n{self.last_lines()}")
            time.sleep(0.05)
        return status

    def terminate(self) -> None:
        """Ask the child to end."""
        if self.running:
            self._process.terminate()

    def kill(self, grace_s: float = 0.0) -> None:
        """End the child and all that it started, by force after `grace_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def stop_all(processes: Sequence[Process], grace_s: float) -> None:
    """Ask all to end at once, give them `grace_s` together, then end what is left by force."""
    deadline = time.monotonic() + grace_s
    for process in processes:
        process.terminate()
    for process in processes:
        process.kill(max(0.0, deadline - time.monotonic()))
