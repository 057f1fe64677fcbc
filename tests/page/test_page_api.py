"""The page's JSON API over the Timestream stand-in."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from contract import store
from dashboard.look import Look
from dashboard.panels import DASHBOARDS
from dashboard.queries import MOST_EVENTS
from page.incidents import Incident
from page.server import Page, PortInUseError, serve
from page.timestream import ENDPOINT_VARIABLE, TimestreamSource, make_client
from page.view import MOST_POINTS, PANELS, RANGES, View, window
from page.wishes import Override
from tests.page.page_overrides import GivenOverrides
from tests.page.page_table import MEASURES, SETTINGS, THING, Sample, Table, empty_table, told

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS


@pytest.fixture
def table() -> Iterator[Table]:
    with empty_table() as made:
        yield made


@pytest.fixture
def page(table: Table) -> Iterator[Page]:
    with serve(THING, table.source, port=0, note="a note") as served:
        yield served


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def request(page: Page, path: str, method: str = "GET", host: str | None = None) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(urlsplit(page.url).netloc, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host} if host else {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def ask(page: Page, path: str, status: int = 200) -> dict[str, Any]:
    response, body = request(page, path)
    assert response.status == status, body
    answer: dict[str, Any] = json.loads(body)
    return answer


def test_the_page_lists_the_panels_of_both_dashboards_without_their_queries(page: Page) -> None:
    answer = ask(page, "/api/page")

    assert (answer["thing"], answer["note"]) == (THING, "a note")
    assert [span["id"] for span in answer["ranges"]] == ["5m", "15m", "1h", "6h", "24h", "7d", "30d", "1y"]
    for shown, one in zip(answer["dashboards"], DASHBOARDS, strict=True):
        assert [row["title"] for row in shown["rows"]] == [row.title for row in one.rows]
        panels = [panel for row in shown["rows"] for panel in row["panels"]]
        assert [(panel["id"], panel["kind"]) for panel in panels] == [(panel.id, panel.kind) for panel in one.panels]
        assert "SELECT" not in json.dumps(shown)


def test_lines_hold_the_measured_values_and_their_limits(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(*(Sample(start + i * MINUTE_MS) for i in range(5)))

    answer = ask(page, "/api/panel/voltage?range=15m")

    assert answer["times"] == [(start + i * MINUTE_MS) // 1000 * 1000 for i in range(5)]
    values = {series["column"]: series["values"] for series in answer["series"]}
    assert values["battery_voltage_v"] == [MEASURES["battery_voltage_v"]] * 5
    assert values["battery_low_voltage_v"] == [SETTINGS["battery_low_voltage_v"]] * 5
    assert [series["is_limit"] for series in answer["series"]] == [False, True, True]
    assert answer["to_ms"] - answer["from_ms"] == 15 * MINUTE_MS


def test_a_chart_never_gets_more_than_1500_points() -> None:
    for span in RANGES:
        for points in (1, 400, MOST_POINTS, 10_000):
            bins = 1000 * span.span_s / window(0, 1000 * span.span_s, points).bin_ms
            assert bins <= min(points, MOST_POINTS) or span.span_s / 86_400 >= points


def test_long_ranges_are_averaged(page: Page, table: Table) -> None:
    bin_start = (now_ms() - 2 * 3600_000) // MINUTE_MS * MINUTE_MS
    table.write(*(Sample(bin_start + i * 1000, numbers={"box_temperature_c": 20.0 + i}) for i in range(3)))

    answer = ask(page, "/api/panel/temperature?range=24h")

    assert answer["times"] == [bin_start]
    assert answer["series"][0]["values"] == [21.0]


def test_all_pages_of_a_long_result_are_read(page: Page, table: Table) -> None:
    start = now_ms() - 1200 * 15_000
    table.write(*(Sample(start + i * 15_000) for i in range(1200)))

    assert len(ask(page, "/api/panel/power?range=6h")["times"]) == 1200


def test_a_line_breaks_where_samples_are_missing(page: Page, table: Table) -> None:
    start = now_ms() - 14 * MINUTE_MS
    table.write(*(Sample(start + i * MINUTE_MS) for i in (0, 1, 2, 10, 11)))

    assert ask(page, "/api/panel/power?range=15m")["series"][0]["values"].index(None) == 3


def test_a_value_that_no_sample_has_carried_is_not_known(page: Page, table: Table) -> None:
    table.write(Sample(now_ms() - 1000, numbers={"pv_power_w": 5.0}))

    series = ask(page, "/api/panel/power?range=5m")["series"]

    assert [(one["column"], one["values"]) for one in series] == [("pv_power_w", [5.0]), ("load_power_w", [None])]


def test_states_join_equal_samples_and_claim_nothing_for_a_silence(page: Page, table: Table) -> None:
    start = (now_ms() - 14 * MINUTE_MS) // 1000 * 1000
    at = [start + i * MINUTE_MS for i in range(14)]
    table.write(
        *(Sample(at[i]) for i in (0, 1)),
        *(Sample(at[i], "grid", "battery_low") for i in (2, 3, 4)),
        *(Sample(at[i], "grid", "battery_low") for i in (10, 11, 12)),
    )

    position, reason = ask(page, "/api/panel/band?range=15m")["series"]

    spans = [(span["from"], span["until"], span["value"]) for span in position["spans"]]
    assert spans == [
        (at[0], at[2], "battery"),
        (at[2], at[4] + 1000, "grid"),
        (at[10], at[12] + 1000, "grid"),
    ]
    assert [span["value"] for span in reason["spans"]] == ["hold", "battery_low", "battery_low"]


def test_events_are_sentences_newest_first(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(
        *told(
            [
                Sample(start),
                Sample(start + MINUTE_MS, "grid", "battery_low", "battery_low"),
                Sample(start + 2 * MINUTE_MS, "grid", "hold"),
            ]
        )
    )

    for path in ("/api/events?range=15m", "/api/panel/events?range=15m"):
        answer = ask(page, path)
        events = answer.get("events") or [event for row in answer["rows"] for event in row["events"]]
        assert [event["text"] for event in events] == [
            "Alert battery low cleared",
            "To GRID: battery low",
            "Alert battery low raised",
        ]


def test_a_stat_is_the_newest_sample_however_narrow_the_range(page: Page, table: Table) -> None:
    table.write(Sample(now_ms() - 3600_000), Sample(now_ms() - 1800_000, alerts="battery_low"))

    (volts,) = ask(page, "/api/panel/voltage-now?range=5m")["values"]
    assert volts == {"title": "battery", "value": MEASURES["battery_voltage_v"]}
    assert ask(page, "/api/panel/alerts?range=5m")["values"][0]["value"] == "battery_low"


def test_what_is_counted_today_is_counted_since_the_sheds_midnight(table: Table) -> None:
    hour_ms = 60 * MINUTE_MS
    end_ms = now_ms() // hour_ms * hour_ms
    changes = range(20, -1, -1)
    table.write(*told(Sample(end_ms - i * 15 * MINUTE_MS, "grid" if i % 2 else "battery") for i in changes))

    for hours in (2, 4):
        # A clock by which it is so many hours past midnight.
        offset_h = (hours - end_ms // hour_ms % 24 + 12) % 24 - 12
        view = View(table.source, THING, Look(utc_offset_h=offset_h), lambda: end_ms)
        answer = view.panel(PANELS["transfers-today"], window(0, 1000, 1))
        assert end_ms - answer["from_ms"] == hours * hour_ms
        assert answer["values"][0]["value"] == 4 * hours + 1


def test_from_bins_of_an_hour_on_the_table_of_hours_is_read(page: Page, table: Table) -> None:
    ask(page, "/api/panel/voltage?range=30d&points=400")
    ask(page, "/api/panel/voltage?range=30d&points=1500")

    coarse, fine = table.client.asked
    assert f'"{store.HOURLY_TABLE}"' in coarse
    assert f'"{store.TABLE}"' in fine


@pytest.mark.parametrize(
    "query",
    ["from=5&to=5", "from=9&to=5", "from=1", "to=1", "from=-1&to=5", "from=x&to=5", f"from=1&to={10**15}", "points=0"],
)
def test_a_range_that_is_none_is_refused_unasked(page: Page, table: Table, query: str) -> None:
    ask(page, f"/api/panel/voltage?{query}", 400)

    assert table.client.asked == []


def test_temperatures_and_their_bounds_are_in_the_owners_scale(table: Table) -> None:
    table.write(Sample(now_ms() - 1000))
    with serve(THING, table.source_of(Look(fahrenheit=True)), look=Look(fahrenheit=True), port=0) as page:
        panels = {p["id"]: p for d in ask(page, "/api/page")["dashboards"] for row in d["rows"] for p in row["panels"]}
        (box,) = ask(page, "/api/panel/box-now")["values"]

    assert (panels["box-now"]["unit"], panels["box-now"]["high"]) == ("°F", 122.0)
    assert panels["box-now"]["steps"][-1]["value"] == 95.0
    assert box["value"] == pytest.approx(MEASURES["box_temperature_c"] * 1.8 + 32)


def test_a_table_without_columns_is_an_empty_one() -> None:
    with empty_table(declared=False) as table, serve(THING, table.source, port=0) as page:
        assert ask(page, "/api/now")["sample"] is None
        assert ask(page, "/api/panel/voltage?range=1h")["times"] == []


@pytest.fixture
def overrides() -> GivenOverrides:
    return GivenOverrides()


@pytest.fixture
def page_with_overrides(table: Table, overrides: GivenOverrides) -> Iterator[Page]:
    with serve(THING, table.source, port=0, overrides=overrides) as served:
        yield served


def test_overrides_that_stand_are_told_as_the_device_reports_them(
    page_with_overrides: Page, overrides: GivenOverrides
) -> None:
    overrides.standing = [Override("grid", now_ms() + 8000, state="suppressed", because="the box is too hot")]
    overrides.refused = "override.mode is 7"

    answer = ask(page_with_overrides, "/api/overrides")

    (one,) = answer["standing"]
    assert (one["mode"], one["state"], one["because"]) == ("grid", "suppressed", "the box is too hot")
    assert answer["refused"] == "override.mode is 7"
    assert abs(answer["now_ms"] - now_ms()) < 5000
    assert ask(page_with_overrides, "/api/page")["has_overrides"] is True


def test_without_a_shadow_only_the_overrides_have_no_answer(
    page_with_overrides: Page, overrides: GivenOverrides, table: Table
) -> None:
    table.write(Sample(now_ms() - 1000))
    overrides.cut = True

    assert "shadow does not answer" in ask(page_with_overrides, "/api/overrides", 503)["error"]
    assert ask(page_with_overrides, "/api/now")["sample"] is not None
    assert ask(page_with_overrides, "/api/events?range=15m")["events"] == []


def test_a_page_without_a_source_of_overrides_says_so_and_has_no_such_address(page: Page) -> None:
    assert ask(page, "/api/page")["has_overrides"] is False
    ask(page, "/api/overrides", 404)


def test_incidents_are_told_newest_first_and_named_in_words(table: Table) -> None:
    older = Incident("shed/over_temperature", "critical", "Shed box is too hot", 1000, 7000)
    newer = Incident("shed/flapping/battery_low", "warning", "It comes and goes", 2000)
    with serve(THING, table.source, port=0, incidents=lambda: [older, newer]) as page:
        answer = ask(page, "/api/incidents")

        assert ask(page, "/api/page")["has_incidents"] is True
    assert [one["alert"] for one in answer["incidents"]] == ["battery low comes and goes", "over temperature"]
    assert answer["incidents"][1] == {
        "dedup_key": "shed/over_temperature",
        "alert": "over temperature",
        "severity": "critical",
        "summary": "Shed box is too hot",
        "opened_ms": 1000,
        "resolved_ms": 7000,
    }


def test_a_page_without_a_source_of_incidents_says_so_and_has_no_such_address(page: Page) -> None:
    assert ask(page, "/api/page")["has_incidents"] is False
    ask(page, "/api/incidents", 404)


def test_the_end_of_an_override_is_an_event_in_its_place(
    page_with_overrides: Page, overrides: GivenOverrides, table: Table
) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(
        *told(
            [
                Sample(start),
                Sample(start + MINUTE_MS, "grid", "override"),
                Sample(start + 2 * MINUTE_MS, "battery", "battery_recovered"),
            ]
        )
    )
    end_ms = start + 2 * MINUTE_MS - 400
    over = Override("grid", end_ms, state="ended", because="its time is over")
    overrides.ended = [
        replace(over, until_ms=1, ended_ms=start - 3600_000),
        replace(over, applied_ms=end_ms - 45_000, ended_ms=end_ms),
        replace(over, until_ms=2, ended_ms=start + 3 * MINUTE_MS),
    ]
    overrides.standing = [Override("battery", now_ms() + 5000)]

    events = ask(page_with_overrides, "/api/events?range=15m")["events"]

    assert [event["text"] for event in events] == [
        "The owner's override has ended: its time is over (GRID, never in force)",
        "To BATTERY: battery recovered",
        "The owner's override has ended: its time is over (GRID for 45 s)",
        "To GRID: the owner's wish",
    ]
    assert events[2]["kind"] == "override_ended"


def test_only_the_newest_events_are_sent_and_that_there_were_more_is_said(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(*told(Sample(start + i * 1000, "grid" if i % 2 else "battery") for i in range(MOST_EVENTS + 11)))

    answer = ask(page, "/api/events?range=15m")

    assert (len(answer["events"]), answer["is_cut"]) == (MOST_EVENTS, True)


def test_now_says_position_reason_since_when_and_alerts(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(
        *told(
            [
                Sample(start),
                Sample(start + MINUTE_MS, "grid", "battery_low"),
                Sample(start + 2 * MINUTE_MS, "grid", "hold", "over_temperature,something_new"),
            ]
        )
    )

    sample = ask(page, "/api/now")["sample"]

    assert (sample["position"], sample["reason"]) == ("grid", "hold")
    assert sample["since_ms"] == start + MINUTE_MS
    assert sample["switched_because"] == "battery low"
    assert [alert["severity"] for alert in sample["alerts"]] == ["critical", "warning"]
    assert 180 <= sample["age_s"] < 190
    assert sample["silent_after_s"] == 180


def test_where_no_transfer_is_known_none_is_claimed(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(Sample(start), Sample(start + MINUTE_MS))

    assert ask(page, "/api/now")["sample"]["since_ms"] is None


def test_an_empty_table_is_no_error(page: Page) -> None:
    assert ask(page, "/api/now")["sample"] is None
    assert ask(page, "/api/events?range=1h")["events"] == []
    for name in PANELS:
        ask(page, f"/api/panel/{name}?range=1h")
    assert ask(page, "/api/panel/voltage?range=1h")["times"] == []


def test_another_thing_is_not_shown(page: Page, table: Table) -> None:
    table.write(Sample(now_ms() - 1000, thing="other"))

    assert ask(page, "/api/now")["sample"] is None


@pytest.mark.parametrize("bad_range", ["2h", "", "1h)%20OR%20(1=1", "15m'"])
def test_a_range_that_is_not_offered_is_refused_unasked(page: Page, table: Table, bad_range: str) -> None:
    assert "5m, 15m" in ask(page, f"/api/panel/voltage?range={bad_range}", 400)["error"]
    assert table.client.asked == []


@pytest.mark.parametrize("name", ["shed' OR '1'='1", "", "a b", "-shed"])
def test_a_thing_with_a_hostile_name_is_refused(table: Table, name: str) -> None:
    with pytest.raises(ValueError, match="not usable"):
        serve(name, table.source, port=0)


@pytest.mark.parametrize(
    "path", ["/api/panel/nothing", "/api/", "/nothing.html", "/../server.py", "/%2e%2e/server.py", "/vendor"]
)
def test_other_addresses_are_not_found(page: Page, path: str) -> None:
    ask(page, path, 404)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_a_rebound_name_gets_nothing(page: Page, host: str) -> None:
    response, body = request(page, "/api/now", host=host or " ")

    assert response.status == 421
    assert b"sample" not in body


def test_localhost_is_answered_too(page: Page) -> None:
    response, _ = request(page, "/api/now", host="localhost:8080")

    assert response.status == 200


def test_answers_carry_security_headers_and_data_is_not_stored(page: Page) -> None:
    api, _ = request(page, "/api/now")
    html, body = request(page, "/")
    head, empty = request(page, "/", method="HEAD")

    assert api.getheader("Cache-Control") == "no-store"
    assert "default-src 'none'" in (html.getheader("Content-Security-Policy") or "")
    assert "unsafe" not in (html.getheader("Content-Security-Policy") or "")
    assert html.getheader("X-Content-Type-Options") == "nosniff"
    assert (head.getheader("Content-Length"), empty) == (str(len(body)), b"")


def test_without_timestream_the_api_says_so(page: Page, table: Table) -> None:
    table.client.cut = True

    for path in ("/api/now", "/api/events", "/api/panel/voltage"):
        assert "Timestream does not answer" in ask(page, path, 503)["error"]


def test_an_endpoint_of_the_environment_that_does_not_listen_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
    ):
        monkeypatch.setenv(name, value)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv(ENDPOINT_VARIABLE, f"http://127.0.0.1:{taken.getsockname()[1]}")

        source = TimestreamSource(make_client(), THING, store.DEFAULT_SITE, Look())
        with serve(THING, source, port=0) as page:
            assert "Timestream does not answer" in ask(page, "/api/now", 503)["error"]


def test_a_taken_port_is_refused_with_the_remedy(page: Page, table: Table) -> None:
    port = urlsplit(page.url).port or 0

    with pytest.raises(PortInUseError, match="choose another with --port"):
        serve(THING, table.source, port=port)


def test_the_command_says_in_one_line_that_its_port_is_taken(page: Page, tmp_path: Path) -> None:
    port = str(urlsplit(page.url).port)
    command = [sys.executable, "-m", "solarshed", "page", "--thing", THING, "--port", port]
    account = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"HOME": str(tmp_path), **account})

    assert done.returncode == 1
    assert done.stderr == f"solarshed page: port {port} of 127.0.0.1 is taken: choose another with --port\n"


def test_closing_twice_is_harmless(table: Table) -> None:
    page = serve(THING, table.source, port=0)
    page.close()
    page.close()
