"""The page's rows from the files of control, as on a Pi without a network."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from contract import store
from dashboard.look import Look
from dashboard.panels import DASHBOARDS
from dashboard.queries import Daily, DailyMaximum, Events, Newest, Quantity, Total, Trend
from device.mailbox import REPORT_NAME
from device.outbox import FILE_NAME, Message, Outbox, Stream
from page.outbox import OutboxSource
from page.source import Row, UnavailableError, Window
from page.view import PANELS, View, window
from tests import month

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


@pytest.fixture(scope="module")
def samples() -> list[dict[str, Any]]:
    """Three days, a minute apart."""
    return list(month.samples())


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path, is_appender=True)


def put(outbox: Outbox, samples: list[dict[str, Any]]) -> None:
    """As control does: the outbox numbers them itself."""
    texts = [json.dumps({name: value for name, value in one.items() if name != "sequence"}) for one in samples]
    outbox.append([Message(Stream.TELEMETRY, text, is_routine=True) for text in texts])


def source(folder: Path, look: Look | None = None) -> OutboxSource:
    return OutboxSource("shed", folder, folder / "run", look or Look())


def whole(samples: list[dict[str, Any]], bin_ms: int = MINUTE_MS) -> Window:
    return Window(samples[0]["time_ms"], samples[-1]["time_ms"], bin_ms)


def test_every_panel_has_its_rows(tmp_path: Path, outbox: Outbox, samples: list[dict[str, Any]]) -> None:
    put(outbox, samples)
    end_ms = samples[-1]["time_ms"]
    view = View(source(tmp_path), "shed", Look(), lambda: end_ms)

    for one in DASHBOARDS:
        for panel in one.panels:
            answer = view.panel(panel, window(samples[0]["time_ms"], end_ms, 1500))
            drawn = [answer[name] for name in ("values", "series", "rows") if name in answer]
            assert drawn, panel.id
            assert drawn[0], panel.id
    json.dumps(view.now(), allow_nan=False)


def test_bins_are_averages_and_a_source_each(tmp_path: Path, outbox: Outbox, samples: list[dict[str, Any]]) -> None:
    put(outbox, samples[:60])
    rows = source(tmp_path).rows(
        Trend(store.MEASURE_DECISION, ("battery_voltage_v",)), whole(samples[:60], 30 * MINUTE_MS)
    )
    by_source = source(tmp_path).rows(Trend("mx", ("pv_voltage_v",), by_source=True), whole(samples[:60], DAY_MS))

    volts = [one["measures"]["battery_voltage_v"] for one in samples[:60]]
    assert [row["battery_voltage_v"] for row in rows] == pytest.approx([sum(volts[:30]) / 30, sum(volts[30:]) / 30])
    assert [row["source"] for row in by_source] == ["mx2", "mx3"]


def test_what_is_counted_is_counted_as_in_the_store(
    tmp_path: Path, outbox: Outbox, samples: list[dict[str, Any]]
) -> None:
    put(outbox, samples)
    rows = source(tmp_path, Look(utc_offset_h=-8))
    shown = whole(samples)

    on_grid_s = 60 * sum(one["position"] == "grid" for one in samples)
    transfers = sum("transfer" in one for one in samples)
    (grid,) = rows.rows(Total(Quantity.GRID_TIME_S, long=False), shown)
    (moved,) = rows.rows(Total(Quantity.TRANSFERS, long=False), shown)
    days = rows.rows(Daily(Quantity.TRANSFERS), shown)
    energy = rows.rows(DailyMaximum("mx", "daily_kwh"), shown)
    assert on_grid_s > 0
    assert grid[store.GRID_TIME_S] == pytest.approx(on_grid_s)
    assert (moved[store.TRANSFERS], sum(float(str(day[store.TRANSFERS])) for day in days)) == (transfers, transfers)
    assert {int(str(day["day"])) % DAY_MS for day in days} == {8 * 60 * MINUTE_MS}
    assert len(energy) == 2 * len(days) == 8
    assert len(rows.rows(Events((store.TRANSFER,)), shown)) == transfers


def test_what_has_been_delivered_meanwhile_stays_on_the_page(
    tmp_path: Path, outbox: Outbox, samples: list[dict[str, Any]]
) -> None:
    put(outbox, samples[:3])
    rows = source(tmp_path)
    query = Trend(store.MEASURE_DECISION, ("battery_voltage_v",))
    assert len(rows.rows(query, whole(samples))) == 3

    outbox.delete(Stream.TELEMETRY, [row.id for row in outbox.oldest(Stream.TELEMETRY, 10)])
    put(outbox, samples[3:5])

    assert len(rows.rows(query, whole(samples))) == 5
    assert outbox.waiting(Stream.TELEMETRY) == 2


REPORT: dict[str, Any] = {
    "position": "grid",
    "reason": "battery_low",
    "alerts": ["battery_low"],
    "readings": {"battery_voltage_v": {"value": 49.1, "age_s": 0.2, "source": "fx1"}, "soc_percent": None},
}


def newest(rows: OutboxSource, end_ms: int, *columns: str) -> Row:
    (row,) = rows.rows(Newest(store.MEASURE_DECISION, columns), Window(0, end_ms + DAY_MS, MINUTE_MS))
    return row


def test_the_newest_is_what_control_reports_even_with_an_empty_outbox(
    tmp_path: Path, outbox: Outbox, samples: list[dict[str, Any]]
) -> None:
    put(outbox, samples[:2])
    end_ms = samples[1]["time_ms"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / REPORT_NAME).write_text(json.dumps({**REPORT, "time": end_ms // 1000 + 30}))

    row = newest(source(tmp_path), end_ms, "position", "reason", "alerts")
    assert row == {"time": end_ms + 30_000, "position": "grid", "reason": "battery_low", "alerts": "battery_low"}
    assert newest(source(tmp_path), end_ms, "battery_voltage_v")["battery_voltage_v"] == 49.1
    # What the report does not say is the newest sample's.
    assert newest(source(tmp_path), end_ms, "pv_power_w")["time"] == end_ms


@pytest.mark.parametrize("text", ["", "{", "[]", '{"time": "soon"}', '{"time": 1, "readings": []}', "null"])
def test_a_report_that_cannot_be_read_is_left_out(
    tmp_path: Path, outbox: Outbox, samples: list[dict[str, Any]], text: str
) -> None:
    put(outbox, samples[:1])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / REPORT_NAME).write_text(text)

    assert newest(source(tmp_path), samples[0]["time_ms"], "position")["position"] == samples[0]["position"]


def test_a_sample_that_cannot_be_read_is_left_out(
    tmp_path: Path, outbox: Outbox, samples: list[dict[str, Any]]
) -> None:
    outbox.append([Message(Stream.TELEMETRY, text) for text in ("{", "[]", '{"time_ms": "x"}')])
    put(outbox, samples[:1])

    assert len(source(tmp_path).rows(Trend(store.MEASURE_DECISION, ("on_grid",)), whole(samples))) == 1


def test_temperatures_are_in_the_owners_scale(tmp_path: Path, outbox: Outbox, samples: list[dict[str, Any]]) -> None:
    put(outbox, samples[:1])
    celsius = samples[0]["measures"]["box_temperature_c"]

    row = newest(source(tmp_path, Look(fahrenheit=True)), samples[0]["time_ms"], "box_temperature_c")
    assert row["box_temperature_c"] == pytest.approx(celsius * 1.8 + 32)


def test_without_an_outbox_there_are_no_rows_and_nothing_is_made(tmp_path: Path) -> None:
    assert source(tmp_path).rows(PANELS["voltage"].query, Window(0, 1, 1)) == []
    assert list(tmp_path.iterdir()) == []


def test_an_outbox_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 100)

    with pytest.raises(UnavailableError, match=r"outbox .* not a database"):
        source(tmp_path).rows(PANELS["voltage"].query, Window(0, 1, 1))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_the_command_shows_the_outbox_without_a_cloud_library(
    tmp_path: Path, outbox: Outbox, samples: list[dict[str, Any]]
) -> None:
    put(outbox, samples[:5])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "config.toml"
    config.write_text(
        f'thing = "shed"\nstate_directory = "{tmp_path}"\nruntime_directory = "{tmp_path / "run"}"\n'
        '[thermometer]\nsensor_id = "28-000005e2fdc3"\n[uplink]\nendpoint = "none"\n'
    )
    # As on a Pi: what is not installed there must not be asked for.
    program = (
        "import sys\n"
        "for name in ('boto3', 'botocore', 'grafana_foundation_sdk', 'aws_cdk'): sys.modules[name] = None\n"
        "import solarshed\n"
        f"sys.exit(solarshed.main(['page', '--config', {str(config)!r}, '--port', '{port}']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
        with urlopen(f"http://127.0.0.1:{port}/api/page", timeout=10) as answer:
            described = json.load(answer)
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
    assert "outbox" in described["note"]
    assert not (tmp_path / "run").exists()
