"""The page's JSON API over the Timestream stand-in."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import pytest
from page.panels import PANELS, RANGES

from page.incidents import Incident
from page.server import Page, PortInUseError, serve
from page.timestream import ENDPOINT_VARIABLE
from page.wishes import Override
from tests.page.page_overrides import GivenOverrides
from tests.page.page_table import MEASURES, SETTINGS, THING, Sample, Table, empty_table

MINUTE_MS = 60_000


@pytest.fixture
def table() -> Iterator[Table]:
    with empty_table() as made:
        yield made


@pytest.fixture
def page(table: Table) -> Iterator[Page]:
    with serve(THING, port=0, note="a note", client=table.client) as served:
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


def test_panels_describe_themselves_without_their_sql(page: Page) -> None:
    answer = ask(page, "/api/panels")

    assert (answer["thing"], answer["note"], answer["default_range"]) == (THING, "a note", "15m")
    assert [panel["id"] for panel in answer["panels"]] == ["battery", "position", "temperature", "power"]
    assert [span["id"] for span in answer["ranges"]] == ["5m", "15m", "1h", "6h", "24h", "7d"]


def test_lines_hold_the_measured_values_and_their_limits(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(*(Sample(start + i * MINUTE_MS) for i in range(5)))

    answer = ask(page, "/api/panel/battery?range=15m")

    assert answer["times"] == [(start + i * MINUTE_MS) // 1000 * 1000 for i in range(5)]
    assert answer["columns"]["battery_voltage_v"] == [MEASURES["battery_voltage_v"]] * 5
    assert answer["columns"]["battery_low_voltage_v"] == [SETTINGS["battery_low_voltage_v"]] * 5
    assert answer["to_ms"] - answer["from_ms"] == 15 * MINUTE_MS


def test_a_chart_never_gets_more_than_1500_points() -> None:
    assert all(span.span_s / span.bin_s <= 1500 for span in RANGES)


def test_long_ranges_are_averaged(page: Page, table: Table) -> None:
    bin_start = (now_ms() - 2 * 3600_000) // MINUTE_MS * MINUTE_MS
    table.write(*(Sample(bin_start + i * 1000, numbers={"box_temperature_c": 20.0 + i}) for i in range(3)))

    answer = ask(page, "/api/panel/temperature?range=24h")

    assert answer["times"] == [bin_start]
    assert answer["columns"]["box_temperature_c"] == [21.0]


def test_all_pages_of_a_long_result_are_read(page: Page, table: Table) -> None:
    start = now_ms() - 1200 * 15_000
    table.write(*(Sample(start + i * 15_000) for i in range(1200)))

    assert len(ask(page, "/api/panel/power?range=6h")["times"]) == 1200


def test_a_line_breaks_where_samples_are_missing(page: Page, table: Table) -> None:
    start = now_ms() - 14 * MINUTE_MS
    table.write(*(Sample(start + i * MINUTE_MS) for i in (0, 1, 2, 10, 11)))

    assert ask(page, "/api/panel/power?range=15m")["columns"]["pv_power_w"].index(None) == 3


def test_a_column_that_no_sample_has_carried_yet_is_empty(page: Page, table: Table) -> None:
    table.write(Sample(now_ms() - 1000, numbers={"pv_power_w": 5.0}))

    columns = ask(page, "/api/panel/power?range=5m")["columns"]

    assert columns == {"pv_power_w": [5.0], "load_power_w": [None]}


def test_states_join_equal_samples_and_claim_nothing_for_a_silence(page: Page, table: Table) -> None:
    start = now_ms() - 14 * MINUTE_MS
    at = [start + i * MINUTE_MS for i in range(14)]
    table.write(
        *(Sample(at[i]) for i in (0, 1)),
        *(Sample(at[i], "grid", "battery_low") for i in (2, 3, 4)),
        *(Sample(at[i], "grid", "battery_low") for i in (10, 11, 12)),
    )

    answer = ask(page, "/api/panel/position?range=15m")

    assert answer["times"] == [at[0], at[2], at[10]]
    assert answer["until"] == [at[2], at[4], at[12]]
    assert answer["columns"]["position"] == ["battery", "grid", "grid"]
    assert answer["columns"]["reason_words"] == ["nothing calls for a change", "battery low", "battery low"]


def test_events_are_sentences_newest_first(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(
        Sample(start),
        Sample(start + MINUTE_MS, "grid", "battery_low", "battery_low"),
        Sample(start + 2 * MINUTE_MS, "grid", "hold"),
    )

    answer = ask(page, "/api/events?range=15m")

    assert [event["text"] for event in answer["events"]] == [
        "Still on GRID: nothing calls for a change",
        "Alert battery low cleared",
        "To GRID: battery low",
        "Alert battery low raised",
    ]
    assert answer["more"] == 0


@pytest.fixture
def overrides() -> GivenOverrides:
    return GivenOverrides()


@pytest.fixture
def page_with_overrides(table: Table, overrides: GivenOverrides) -> Iterator[Page]:
    with serve(THING, port=0, client=table.client, overrides=overrides) as served:
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
    assert ask(page_with_overrides, "/api/panels")["has_overrides"] is True


def test_without_a_shadow_only_the_overrides_have_no_answer(
    page_with_overrides: Page, overrides: GivenOverrides, table: Table
) -> None:
    table.write(Sample(now_ms() - 1000))
    overrides.cut = True

    assert "shadow does not answer" in ask(page_with_overrides, "/api/overrides", 503)["error"]
    assert ask(page_with_overrides, "/api/now")["sample"] is not None
    assert ask(page_with_overrides, "/api/events?range=15m")["events"] == []


def test_a_page_without_a_source_of_overrides_says_so_and_has_no_such_address(page: Page) -> None:
    assert ask(page, "/api/panels")["has_overrides"] is False
    ask(page, "/api/overrides", 404)


def test_incidents_are_told_newest_first_and_named_in_words(table: Table) -> None:
    older = Incident("shed/over_temperature", "critical", "Shed box is too hot", 1000, 7000)
    newer = Incident("shed/flapping/battery_low", "warning", "It comes and goes", 2000)
    with serve(THING, port=0, client=table.client, incidents=lambda: [older, newer]) as page:
        answer = ask(page, "/api/incidents")

        assert ask(page, "/api/panels")["has_incidents"] is True
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
    assert ask(page, "/api/panels")["has_incidents"] is False
    ask(page, "/api/incidents", 404)


def test_the_end_of_an_override_is_an_event_in_its_place(
    page_with_overrides: Page, overrides: GivenOverrides, table: Table
) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(
        Sample(start),
        Sample(start + MINUTE_MS, "grid", "override"),
        Sample(start + 2 * MINUTE_MS, "battery", "battery_recovered"),
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


def test_only_the_newest_fifty_events_are_sent(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(*(Sample(start + i * 1000, "grid" if i % 2 else "battery") for i in range(61)))

    answer = ask(page, "/api/events?range=15m")

    assert (len(answer["events"]), answer["more"]) == (50, 10)


def test_now_says_position_reason_since_when_alerts_and_values(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(
        Sample(start),
        Sample(start + MINUTE_MS, "grid", "battery_low"),
        Sample(start + 2 * MINUTE_MS, "grid", "hold", "over_temperature,something_new"),
    )

    sample = ask(page, "/api/now")["sample"]

    assert (sample["position"], sample["reason"]) == ("grid", "hold")
    assert (sample["since_ms"], sample["since_known"]) == (start + MINUTE_MS, True)
    assert sample["switched_because"] == "battery low"
    assert [alert["severity"] for alert in sample["alerts"]] == ["critical", "warning"]
    assert sample["values"]["battery_voltage_v"] == MEASURES["battery_voltage_v"]
    assert 180 <= sample["age_s"] < 190
    assert sample["silent_after_s"] == 180


def test_since_is_a_lower_bound_where_no_switch_is_known(page: Page, table: Table) -> None:
    start = now_ms() - 5 * MINUTE_MS
    table.write(Sample(start), Sample(start + MINUTE_MS))

    sample = ask(page, "/api/now")["sample"]

    assert (sample["since_ms"], sample["since_known"]) == (start, False)


def test_an_empty_table_is_no_error(page: Page) -> None:
    assert ask(page, "/api/now")["sample"] is None
    assert ask(page, "/api/events?range=1h")["events"] == []
    assert [ask(page, f"/api/panel/{panel.id}?range=1h")["times"] for panel in PANELS] == [[]] * len(PANELS)


def test_another_thing_is_not_shown(page: Page, table: Table) -> None:
    table.write(Sample(now_ms() - 1000, thing="other"))

    assert ask(page, "/api/now")["sample"] is None


@pytest.mark.parametrize("bad_range", ["2h", "", "1h)%20OR%20(1=1", "15m'"])
def test_a_range_that_is_not_offered_is_refused_unasked(page: Page, table: Table, bad_range: str) -> None:
    assert "5m, 15m" in ask(page, f"/api/panel/battery?range={bad_range}", 400)["error"]
    assert table.client.asked == []


@pytest.mark.parametrize("name", ["shed' OR '1'='1", "", "a b", "-shed"])
def test_a_thing_with_a_hostile_name_is_refused(table: Table, name: str) -> None:
    with pytest.raises(ValueError, match="not usable"):
        serve(name, port=0, client=table.client)


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

    for path in ("/api/now", "/api/events", "/api/panel/battery"):
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

        with serve(THING, port=0) as page:
            assert "Timestream does not answer" in ask(page, "/api/now", 503)["error"]


def test_a_taken_port_is_refused_with_the_remedy(page: Page, table: Table) -> None:
    port = urlsplit(page.url).port or 0

    with pytest.raises(PortInUseError, match="choose another with --port"):
        serve(THING, port=port, client=table.client)


def test_the_command_says_in_one_line_that_its_port_is_taken(page: Page) -> None:
    port = str(urlsplit(page.url).port)
    command = [sys.executable, "-m", "page", "--thing", THING, "--port", port]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={"AWS_DEFAULT_REGION": "us-east-1"}, check=False
    )

    assert done.returncode == 1
    assert done.stderr == f"page: port {port} of 127.0.0.1 is taken: choose another with --port\n"


def test_closing_twice_is_harmless(table: Table) -> None:
    page = serve(THING, port=0, client=table.client)
    page.close()
    page.close()
