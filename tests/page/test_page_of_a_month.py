"""The page in a real browser, with a simulated month of minutes behind it. Nothing is written to it here."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Locator, Route, ViewportSize, expect
from playwright.sync_api import Page as Tab

from contract import store
from dashboard.look import Look
from dashboard.panels import DASHBOARDS, HISTORY, NOW, Dashboard, Kind
from page.server import Page, serve
from page.timestream import TimestreamSource
from tests import month
from tests.browser import chromium
from tests.month_fixture import MonthTable

# With the others that load the month, so that this is done once.
# The first one synthesizes the stacks and loads the month, for all.
pytestmark = [pytest.mark.xdist_group("cdk"), pytest.mark.timeout(300)]

DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
SOON_MS = 15_000
# Not midnight, when nothing has happened today yet.
NOW_MS = month.END_MS - 60_000
# Of the requests that a first picture takes: the page, its modules, and the panels in sight.
MOST_REQUESTS_TO_PAINT = 45


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def page(month_of_minutes: MonthTable) -> Iterator[Page]:
    with shown(month_of_minutes, Look()) as served:
        yield served


def shown(table: MonthTable, look: Look) -> Page:
    source = TimestreamSource(table.client, month.THING, store.DEFAULT_SITE, look)
    return serve(month.THING, source, look=look, port=0, now_ms=lambda: NOW_MS)


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    context = browser.new_context(viewport=DESKTOP)
    yield context.new_page()
    context.close()


def panel(tab: Tab, name: str) -> Locator:
    found = tab.locator(f"#boards > :not([hidden]) figure[data-panel={name}]")
    expect(found).to_be_attached(timeout=SOON_MS)
    found.scroll_into_view_if_needed()
    expect(found).to_have_attribute("aria-busy", "false", timeout=SOON_MS)
    return found


def until(holds: Callable[[], bool]) -> None:
    """Return when `holds` comes true."""
    deadline_s = time.monotonic() + 2 * SOON_MS / 1000
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def see_all(tab: Tab) -> None:
    """Scroll through, so that every panel is asked for, until each is drawn."""
    expect(tab.locator("#boards figure").first).to_be_attached(timeout=SOON_MS)
    waiting = "#boards > :not([hidden]) figure[aria-busy=true]"

    def is_drawn() -> bool:
        tab.evaluate("where => document.querySelector(where)?.scrollIntoView({block: 'center'})", waiting)
        return tab.locator(waiting).count() == 0

    until(is_drawn)


def chart(tab: Tab, name: str) -> Locator:
    return panel(tab, name).locator(".plot")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=["now", "history"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_every_panel_of_the_list_is_there_in_its_order_and_has_its_values(
    browser: Browser, page: Page, dashboard: Dashboard, size: ViewportSize
) -> None:
    complaints: list[str] = []
    context = browser.new_context(viewport=size)
    tab = context.new_page()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(f"{page.url}?view={dashboard.uid.removeprefix('solarshed-')}")
    see_all(tab)

    headline = [p.id for row in dashboard.rows for p in row.panels if row.is_headline]
    below = [p.id for row in dashboard.rows for p in row.panels if not row.is_headline]
    found = tab.eval_on_selector_all("#boards > :not([hidden]) figure", "all => all.map(one => one.dataset.panel)")
    assert found == below
    assert all(tab.locator(f"#status [data-panel={name}]").count() == 1 for name in headline)
    assert tab.locator("figure.left-out:visible").count() == 0
    assert tab.locator("#boards > :not([hidden]) .none:visible").all_inner_texts() == []
    assert int(tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")) <= 0
    assert complaints == []
    context.close()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("voltage-now", r"^\d\d\.\d V"),
        ("soc-now", r"^\d+ %"),
        ("box-now", r"^-?\d+\.\d °C"),
        ("power-now", r"solar\s*\d+ W\s*load\s*\d+ W"),
        ("energy-today", r"mx2\s*\d+\.\d kWh\s*mx3\s*\d+\.\d kWh"),
        ("grid-today", r"(\d+ (s|min|h))"),
        ("pi-now", r"disk free\s*\d+ %.*memory free\s*\d+ %"),
        ("throttled-now", "no"),
    ],
)
def test_stats_and_gauges_say_their_values_with_units(tab: Tab, page: Page, name: str, text: str) -> None:
    tab.goto(page.url)

    figure = panel(tab, name)
    expect(figure.locator(".value").first).not_to_have_text("…", timeout=SOON_MS)
    said = " ".join(figure.locator(".reading, .values").first.inner_text().split())
    assert re.search(text, said), said


def test_temperatures_are_in_fahrenheit_where_the_owner_wants_it(tab: Tab, month_of_minutes: MonthTable) -> None:
    with shown(month_of_minutes, Look(fahrenheit=True)) as page:
        tab.goto(page.url)

        expect(panel(tab, "box-now").locator(".reading")).to_contain_text("°F", timeout=SOON_MS)
        expect(panel(tab, "temperature").locator("[data-column=over_temperature_trip_c]")).to_have_text("trip 95.0 °F")


def test_bands_say_in_words_what_was(tab: Tab, page: Page) -> None:
    tab.goto(f"{page.url}?view=history")

    label = chart(tab, "band").get_attribute("aria-label") or ""
    assert "GRID for" in label
    assert "BATTERY (solar) for" in label
    assert "battery low" in label
    assert "closed for" in (chart(tab, "ssr").get_attribute("aria-label") or "")
    assert "daylight for" in (chart(tab, "daylight").get_attribute("aria-label") or "")


def test_each_source_has_a_line_of_its_own(tab: Tab, page: Page) -> None:
    tab.goto(f"{page.url}?view=history")

    legend = panel(tab, "pv-voltage").locator(".legend li")
    expect(legend).to_have_count(2, timeout=SOON_MS)
    colours = legend.locator("i").evaluate_all(
        "all => all.map(one => getComputedStyle(one).backgroundColor + one.dataset.tone)"
    )
    assert len(set(colours)) == 2
    assert [text.split()[0] for text in legend.all_inner_texts()] == ["mx2", "mx3"]


def test_a_drag_zooms_all_charts_and_back_to_now_ends_it(tab: Tab, page: Page) -> None:
    tab.goto(page.url)
    over = chart(tab, "voltage").locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] * 0.25, y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.5, y, steps=5)
    tab.mouse.up()

    expect(tab).to_have_url(re.compile(r"from=\d+&to=\d+"))
    expect(tab.locator("#refresh-words")).to_contain_text("stand still")
    see_all(tab)
    times = re.search(r"from=(\d+)&to=(\d+)", tab.url)
    assert times
    span_h = (int(times[2]) - int(times[1])) / 3_600_000
    assert span_h == pytest.approx(6, rel=0.1)
    for name in ("voltage", "temperature", "power", "band", "ssr"):
        assert any(f"/panel/{name}?from={times[1]}&to={times[2]}" in url for url in asked), name

    tab.get_by_role("button", name="Back to now").click()
    expect(tab).to_have_url(re.compile(r"range=24h$"))
    expect(tab.locator("#refresh-words")).to_contain_text("refresh every")


def test_keys_read_out_points_zoom_and_lead_back(tab: Tab, page: Page) -> None:
    tab.goto(page.url)
    plot = chart(tab, "voltage")
    plot.focus()
    tab.keyboard.press("ArrowLeft")

    expect(tab.locator("#reading")).to_have_text(re.compile(r"battery \d\d\.\d V, low 49\.9 V, recover 52\.0 V"))
    first = tab.locator("#reading").inner_text()
    tab.keyboard.press("PageUp")
    expect(tab.locator("#reading")).not_to_have_text(first)
    expect(tab.locator("#tooltip")).to_be_visible()
    tab.keyboard.press("+")
    expect(tab).to_have_url(re.compile(r"from=\d+&to=\d+"))
    chart(tab, "voltage").focus()
    tab.keyboard.press("Escape")
    expect(tab).to_have_url(re.compile(r"range=24h$"))


def test_the_tooltip_names_time_and_values_and_stays_in_sight(tab: Tab, page: Page) -> None:
    tab.set_viewport_size(PHONE)
    tab.goto(page.url)
    over = chart(tab, "power").locator(".u-over")
    for x in (2, 120, 240):
        over.hover(position={"x": x, "y": 20})
        expect(tab.locator("#tooltip")).to_contain_text(re.compile(r"\d\d:\d\d.*solar .*load", re.DOTALL))
        box = tab.locator("#tooltip").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]


def test_ranges_tabs_and_the_way_back_are_in_the_address(tab: Tab, page: Page) -> None:
    tab.goto(page.url)
    expect(tab.locator("#ranges input:checked")).to_have_value("24h", timeout=SOON_MS)
    tab.get_by_label("7 days", exact=True).check()
    expect(tab).to_have_url(re.compile("range=7d"))
    tab.get_by_role("link", name="History").click()
    expect(tab).to_have_url(re.compile("view=history&range=30d"))
    expect(tab.get_by_role("link", name="History")).to_have_attribute("aria-current", "page")
    expect(panel(tab, "daily-energy")).to_be_visible()

    tab.go_back()
    expect(tab).to_have_url(re.compile("range=7d"))
    expect(tab.locator("#ranges input:checked")).to_have_value("7d")
    tab.reload()
    expect(tab.locator("#ranges input:checked")).to_have_value("7d", timeout=SOON_MS)


def test_refreshing_can_be_paused(tab: Tab, page: Page) -> None:
    tab.goto(f"{page.url}?range=5m")
    panel(tab, "voltage")
    pause = tab.get_by_role("button", name="Pause")
    pause.click()
    expect(pause).to_have_attribute("aria-pressed", "true")
    expect(tab.locator("#refresh-words")).to_have_text("Paused: the charts stand still.")
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.wait_for_timeout(2600)
    assert [url for url in asked if "/panel/voltage?" in url] == []

    pause.click()
    with tab.expect_request(re.compile("/panel/voltage"), timeout=SOON_MS):
        pass


def test_an_error_of_one_panel_is_said_there_and_the_others_go_on(tab: Tab, page: Page) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=503, content_type="application/json", body=json.dumps({"error": "The store is tired."}))

    tab.route(re.compile("/api/panel/voltage\\?"), refuse)
    tab.goto(page.url)

    expect(panel(tab, "voltage").locator(".error")).to_have_text("The store is tired. Trying again.", timeout=SOON_MS)
    expect(panel(tab, "temperature").locator("canvas")).to_be_visible()
    expect(tab.locator("#banner")).to_be_hidden()


def test_events_are_marked_and_listed(tab: Tab, page: Page) -> None:
    tab.goto(f"{page.url}?view=history")

    table = panel(tab, "events")
    expect(table.locator("tbody tr").first).to_be_visible(timeout=SOON_MS)
    assert any("To GRID: battery low" in text for text in table.locator("tbody tr").all_inner_texts())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, page: Page, scheme: Literal["light", "dark"]) -> None:
    context = browser.new_context(viewport=DESKTOP, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(page.url)
    see_all(tab)
    ratios = tab.evaluate(CONTRASTS)
    context.close()

    assert len(ratios) > 60
    assert [found for found in ratios if found["ratio"] < 4.5] == []


def test_the_first_picture_takes_few_requests(browser: Browser, page: Page) -> None:
    """How long it took is printed; the machine of a test is no measure."""
    for name, size in (("phone", PHONE), ("desktop", DESKTOP)):
        context = browser.new_context(viewport=size)
        tab = context.new_page()
        painted = "performance.getEntriesByName('painted')"
        tab.goto(page.url)
        until(lambda: bool(tab.evaluate(f"{painted}.length")))  # noqa: B023 - called at once
        painted_ms = tab.evaluate(f"{painted}[0].startTime")
        requests = "performance.getEntriesByType('resource').filter(one => one.startTime < ms).length"
        before = tab.evaluate(f"ms => {requests}", painted_ms)
        print(f"{name}: all in sight drawn after {painted_ms:.0f} ms, {before} requests")
        context.close()
        assert before <= MOST_REQUESTS_TO_PAINT


def test_both_dashboards_have_panels_of_every_kind_between_them() -> None:
    assert {panel.kind for one in (NOW, HISTORY) for panel in one.panels} == set(Kind)


# The contrast of each piece of text with the ground behind it, by WCAG 2.
CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => [r, g, b].map((c) => linear(c / 255))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !one.checkVisibility({ visibilityProperty: true })) continue;
    const [a, b] = [parse(getComputedStyle(one).color), ground(one)].map(light).sort((x, y) => y - x);
    found.push({ text: walker.currentNode.textContent.trim().slice(0, 40), ratio: (a + 0.05) / (b + 0.05) });
  }
  return found;
}"""
