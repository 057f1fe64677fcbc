from pathlib import Path

import pytest

from device.doctor import Machine
from tests.device.doctor.findings import NOW


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that is an empty folder, with little patience."""
    (tmp_path / "root").mkdir()
    return Machine(
        root=tmp_path / "root",
        synchronised=lambda: True,
        now=lambda: NOW,
        listen_s=0.5,
        thermometer_wait_s=0.5,
        connect_timeout_s=1.0,
        hangs_after_s=20.0,
    )


@pytest.fixture(autouse=True)
def no_vcgencmd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
