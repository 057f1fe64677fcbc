"""`dashboard render`: for a person who imports the files, and for a program that reads them."""

import json
import os
import stat
from pathlib import Path

import pytest

from dashboard import files
from dashboard.grafana import render
from dashboard.look import Engine, Look
from solarshed import main


def test_it_prints_one_json_object_of_both_dashboards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "render", "--engine", "influxdb", "--fahrenheit", "--utc-offset", "5.5"]) == 0

    assert json.loads(capsys.readouterr().out) == render(Look(Engine.INFLUXDB, fahrenheit=True, utc_offset_h=5.5))


def test_it_writes_a_file_of_each_and_the_same_bytes_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "dashboards"

    assert main(["dashboard", "render", "--output", str(folder)]) == 0

    now, history = folder / "solarshed-now.json", folder / "solarshed-history.json"
    assert capsys.readouterr().out.splitlines() == [str(now), str(history)]
    assert json.loads(now.read_text()) == render(Look())["solarshed-now"]
    before = now.read_bytes(), history.read_bytes()
    main(["dashboard", "render", "--output", str(folder)])
    assert (now.read_bytes(), history.read_bytes()) == before
    assert sorted(path.name for path in folder.iterdir()) == ["solarshed-history.json", "solarshed-now.json"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(now.stat().st_mode) == 0o666 & ~umask


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write({"one": {"title": "old"}}, tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(files.WriteError, match="No space left on device; name a folder that you may write to"):
        files.write({"one": {"title": "new"}}, tmp_path)

    assert json.loads((tmp_path / "one.json").read_text()) == {"title": "old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_to_is_an_error_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    assert main(["dashboard", "render", "--output", str(tmp_path / "file")]) == 1

    error = capsys.readouterr().err
    assert error.startswith("solarshed dashboard: ")
    assert "name a folder that you may write to" in error


def test_a_library_that_is_missing_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "grafana_client", None)

    assert main(["dashboard", "render"]) == 1

    assert "grafana_client is not installed here" in capsys.readouterr().err


@pytest.mark.parametrize("hours", ["99", "0.1"], ids=["too far", "no quarter"])
def test_an_offset_that_no_clock_has_is_refused(hours: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "render", "--utc-offset", hours]) == 1

    assert "give -12 to 14 in quarters" in capsys.readouterr().err
