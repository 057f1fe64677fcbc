"""The page in a real browser, over the Timestream stand-in."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from playwright.sync_api import Browser, Locator, ViewportSize, expect
from playwright.sync_api import Page as Tab

from page.incidents import Incident
from page.server import Page, serve
from page.wishes import Override
from tests.browser import chromium
from tests.page.page_overrides import GivenOverrides
from tests.page.page_table import MEASURES, SETTINGS, THING, Sample, Table, empty_table, told

# On one worker, so that there is one browser.
pytestmark = pytest.mark.xdist_group("page_browser")

MINUTE_MS = 60_000
NOTE = "Simulated shed: one day passes in 2 minutes"
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}

# A refresh every two seconds, and a busy machine.
NEWS_MS = 15_000


@dataclass(frozen=True)
class Night:
    tab: Tab
    samples: list[Sample]


def see_all(tab: Tab) -> None:
    """Scroll through, so that every panel is asked for, until each is drawn or left out."""
    waiting = "#boards > :not([hidden]) figure[aria-busy=true]"

    def is_drawn() -> bool:
        tab.evaluate("where => document.querySelector(where)?.scrollIntoView({block: 'center'})", waiting)
        return tab.locator(waiting).count() == 0

    assert_soon(is_drawn, tab)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def table() -> Iterator[Table]:
    with empty_table() as made:
        yield made


@pytest.fixture
def page(table: Table) -> Iterator[Page]:
    with serve(THING, table.source, port=0, note=NOTE) as served:
        yield served


@pytest.fixture
def overrides() -> GivenOverrides:
    return GivenOverrides()


@pytest.fixture
def page_with_overrides(table: Table, overrides: GivenOverrides) -> Iterator[Page]:
    with serve(THING, table.source, port=0, note=NOTE, overrides=overrides) as served:
        yield served


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    context = browser.new_context(viewport=DESKTOP, color_scheme="light")
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def night(browser: Browser) -> Iterator[Night]:
    """An opened page that tests may look at and point at, but not change."""
    with empty_table() as table, serve(THING, table.source, port=0, note=NOTE) as page:
        samples = write_a_night(table)
        tab = browser.new_page(viewport=DESKTOP, color_scheme="light")
        tab.goto(live(page))
        drawn(tab)
        yield Night(tab, samples)
        tab.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def write_a_night(table: Table) -> list[Sample]:
    """Ten minutes: battery, then grid because it was low, then battery again; the newest sample is seconds old."""
    start = now_ms() - 600_000
    stretches = [("battery", "hold")] * 3 + [("grid", "battery_low")] * 4 + [("battery", "battery_recovered")] * 3
    samples = told(
        Sample(start + i * MINUTE_MS + 59_000, position, reason, "battery_low" if reason == "battery_low" else "")
        for i, (position, reason) in enumerate(stretches)
    )
    table.write(*samples)
    return samples


def live(page: Page) -> str:
    """Its address with a range that is refreshed every two seconds."""
    return f"{page.url}?range=15m"


def drawn(tab: Tab) -> None:
    """Everything in sight has been drawn."""
    assert_soon(lambda: bool(tab.evaluate("performance.getEntriesByName('painted').length")), tab)


def panel(tab: Tab, name: str) -> Locator:
    """A panel of the dashboard that is shown, scrolled into sight, so that it is asked for."""
    expect(tab.locator("#boards figure").first).to_be_attached(timeout=NEWS_MS)
    tab.locator(f"#boards > :not([hidden]) figure[data-panel={name}]").scroll_into_view_if_needed()
    return tab.locator(f"#boards > :not([hidden]) figure[data-panel={name}]")


def assert_soon(holds: Callable[[], bool], tab: Tab) -> None:
    """`holds` comes true; a canvas is drawn a frame later than the elements around it."""
    deadline_s = time.monotonic() + NEWS_MS / 1000
    while not holds():
        assert time.monotonic() < deadline_s
        tab.wait_for_timeout(50)


def overflow_px(tab: Tab) -> int:
    return int(tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_the_answer_comes_first_position_reason_since_alerts_and_age(night: Night) -> None:
    expect(night.tab.locator("#headline")).to_have_text("On BATTERY (solar)", timeout=NEWS_MS)
    expect(night.tab.locator("#why")).to_have_text("The battery has recovered: sun and battery carry the load.")
    expect(night.tab.locator("#since")).to_have_text(
        re.compile(r"^Since .*\([23] min\), switched because: battery recovered")
    )
    expect(night.tab.locator("#alerts")).to_have_text("No alerts")
    expect(night.tab.locator("#freshness")).to_have_text(re.compile(r"^Newest sample \d+ s ago$"))
    expect(night.tab.locator("#note")).to_have_text(NOTE)
    expect(night.tab).to_have_title("On BATTERY (solar) · Solarshed")


def test_grid_and_an_active_alert_are_said_loudly(tab: Tab, page: Page, table: Table) -> None:
    table.write(Sample(now_ms() - 2000), Sample(now_ms() - 1000, "grid", "battery_low", "battery_low"))

    tab.goto(live(page))

    expect(tab.locator("#headline")).to_have_text("On GRID", timeout=NEWS_MS)
    expect(tab.locator("#alerts .alert")).to_have_text("Alert: battery low (warning)")


def test_a_new_sample_appears_without_a_reload(tab: Tab, page: Page, table: Table) -> None:
    table.write(Sample(now_ms() - 3000), Sample(now_ms() - 2000))
    tab.goto(live(page))
    expect(tab.locator("#headline")).to_have_text("On BATTERY (solar)", timeout=NEWS_MS)
    tab.evaluate("window.notReloaded = true")

    table.write(
        Sample(
            now_ms(),
            "grid",
            "battery_low",
            transfer="grid: battery_low",
            numbers={**MEASURES, **SETTINGS, "battery_voltage_v": 48.7},
        )
    )

    expect(tab.locator("#headline")).to_have_text("On GRID", timeout=NEWS_MS)
    expect(panel(tab, "voltage").locator("[data-column=battery_voltage_v] b")).to_have_text("48.7 V")
    expect(panel(tab, "events").locator("td span")).to_have_text(["To GRID: battery low"], timeout=NEWS_MS)
    assert tab.evaluate("window.notReloaded")


def test_silence_is_shown_as_silence(tab: Tab, page: Page, table: Table) -> None:
    start = now_ms() - 9 * MINUTE_MS
    table.write(Sample(start), Sample(start + MINUTE_MS, "grid", "battery_low"))

    tab.goto(live(page))

    expect(tab.locator("#headline")).to_have_text("Last known: on GRID", timeout=NEWS_MS)
    expect(tab.locator("#freshness")).to_have_text("No sample for 8 min")
    expect(tab.locator("#alerts")).to_have_text("")
    expect(tab.locator("#status")).to_have_attribute("data-stale", "true")


def test_an_age_grows_while_the_page_hears_nothing(tab: Tab, page: Page, table: Table) -> None:
    table.write(*(Sample(now_ms() - ago_ms) for ago_ms in (3000, 2000, 1000)))
    tab.clock.install()
    tab.goto(live(page))
    expect(tab.locator("#headline")).to_have_text("On BATTERY (solar)", timeout=NEWS_MS)

    table.client.cut = True
    tab.clock.fast_forward(60_000)

    expect(tab.locator("#headline")).to_have_text("Last known: on BATTERY (solar)", timeout=NEWS_MS)


def test_an_override_that_stands_is_a_line_at_the_top_with_the_time_left(
    tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides
) -> None:
    write_a_night(table)
    until_ms = now_ms() + 45_000
    overrides.standing = [Override("grid", until_ms, state="active", ends_at_ms=until_ms)]

    tab.goto(live(page_with_overrides))

    line = tab.locator("#override-words")
    clock = r"\d\d:\d\d:\d\d"
    expect(line).to_have_text(
        re.compile(rf"^The owner has asked for GRID until {clock}\. It is in force\.$"), timeout=NEWS_MS
    )
    expect(tab.locator("#override-left")).to_have_text(re.compile(r"^\d+ s left$"))
    expect(tab.get_by_role("region", name="The owner's override")).to_be_visible()
    tops = [tab.locator(id_).bounding_box() for id_ in ("#override", "#status")]
    assert tops[0] is not None
    assert tops[1] is not None
    assert tops[0]["y"] < tops[1]["y"]


def test_what_is_read_out_of_an_override_changes_only_with_its_state(
    tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides
) -> None:
    write_a_night(table)
    until_ms = now_ms() + 60_000
    overrides.standing = [Override("grid", until_ms, state="active", ends_at_ms=until_ms)]
    tab.goto(live(page_with_overrides))
    words, left = tab.locator("#override-words"), tab.locator("#override-left")
    expect(words).to_contain_text("in force", timeout=NEWS_MS)
    expect(words).to_have_attribute("aria-live", "polite")
    assert tab.locator("[aria-live] #override-left").count() == 0
    tab.evaluate(
        "window.changes = 0; new MutationObserver(all => { window.changes += all.length })"
        ".observe(document.getElementById('override-words'), {childList: true, subtree: true, characterData: true})"
    )
    before = left.text_content()

    assert_soon(lambda: left.text_content() != before, tab)
    tab.wait_for_timeout(2500)
    assert tab.evaluate("window.changes") == 0

    overrides.standing = [replace(overrides.standing[0], state="suppressed", because="the box is too hot")]
    expect(words).to_contain_text("It is suppressed: the box is too hot.", timeout=NEWS_MS)
    assert tab.evaluate("window.changes") > 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (Override("battery", 0, state=None), "The device has not answered yet."),
        (
            Override("battery", 0, state="suppressed", because="a relay fault is latched"),
            "suppressed: a relay fault is",
        ),
        (Override("battery", 0, state="waiting"), "It waits: the Pi was started anew"),
        (Override("battery", 0, state="later", because="<b>soon</b>"), "The device says: later: <b>soon</b>."),
    ],
    ids=["unanswered", "suppressed", "waiting", "unknown"],
)
def test_an_override_that_is_not_in_force_says_why(
    tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides, override: Override, words: str
) -> None:
    write_a_night(table)
    overrides.standing = [replace(override, until_ms=now_ms() + 60_000)]

    tab.goto(live(page_with_overrides))

    expect(tab.locator("#override-words")).to_contain_text(words, timeout=NEWS_MS)
    expect(tab.locator("#override-words")).not_to_contain_text("in force")


def test_a_refused_wish_is_told(tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides) -> None:
    write_a_night(table)
    overrides.refused = "override.until is missing"

    tab.goto(live(page_with_overrides))

    expect(tab.locator("#override-words")).to_have_text(
        "The device has refused what the owner asked for last: override.until is missing.", timeout=NEWS_MS
    )
    expect(tab.locator("#override-left")).to_have_text("")


def test_when_an_override_has_ended_its_line_is_gone_and_the_events_say_so(
    tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides
) -> None:
    write_a_night(table)
    until_ms = now_ms() + 30_000
    standing = Override("grid", until_ms, state="active", ends_at_ms=until_ms, applied_ms=now_ms() - 9000)
    overrides.standing = [standing]
    tab.goto(live(page_with_overrides))
    expect(tab.locator("#override")).to_have_attribute("data-state", "active", timeout=NEWS_MS)

    overrides.standing = []
    overrides.ended = [replace(standing, state="ended", because="its time is over", ended_ms=now_ms())]

    expect(panel(tab, "events").locator(".override_ended")).to_contain_text(
        "The owner's override has ended: its time is over (GRID for ", timeout=NEWS_MS
    )
    expect(tab.locator("#override-words")).to_have_text("", timeout=NEWS_MS)
    expect(tab.locator("#override")).to_have_attribute("data-state", "none")
    expect(tab.locator("#override")).to_have_css("height", "0px")


def test_an_end_that_the_device_has_not_reported_is_no_end(
    tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides
) -> None:
    write_a_night(table)
    overrides.standing = [Override("grid", now_ms() - 20_000, state="active", ends_at_ms=now_ms() - 20_000)]

    tab.goto(live(page_with_overrides))

    expect(tab.locator("#override-words")).to_contain_text(
        "That time is over, but the device has not said that it has ended it.", timeout=NEWS_MS
    )
    expect(tab.locator("#override-left")).to_have_text("")


def test_of_a_silent_device_nobody_claims_that_its_override_is_in_force(
    tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides
) -> None:
    table.write(*(Sample(now_ms() - ago_ms, "grid", "override") for ago_ms in (63_000, 62_000, 61_000)))
    overrides.standing = [Override("grid", now_ms() + 60_000, state="active", ends_at_ms=now_ms() + 60_000)]

    tab.goto(live(page_with_overrides))

    expect(tab.locator("#override-words")).to_contain_text(
        "The device is silent: whether it is in force now is not known.", timeout=NEWS_MS
    )


def test_without_an_answer_of_the_shadow_only_its_line_says_so(
    tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides
) -> None:
    write_a_night(table)
    overrides.standing = [Override("grid", now_ms() + 60_000, state="active")]
    tab.goto(live(page_with_overrides))
    expect(tab.locator("#override-words")).to_contain_text("in force", timeout=NEWS_MS)

    overrides.cut = True

    expect(tab.locator("#override-words")).to_have_text(
        "Whether the owner has asked for anything is not known. The shadow does not answer: nobody is there.",
        timeout=NEWS_MS,
    )
    expect(tab.locator("#override-left")).to_have_text("")
    expect(tab.locator("#banner")).to_be_hidden()
    expect(tab.locator("#headline")).to_have_text("On BATTERY (solar)")


def test_after_the_end_of_the_demo_no_override_is_claimed(
    tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides
) -> None:
    write_a_night(table)
    overrides.standing = [Override("grid", now_ms() + 3600_000, state="active")]
    tab.goto(live(page_with_overrides))
    expect(tab.locator("#override-words")).to_contain_text("in force", timeout=NEWS_MS)

    page_with_overrides.close()

    expect(tab.locator("#override-words")).to_have_text(
        "Whether the owner has asked for anything is not known.", timeout=NEWS_MS
    )


def test_incidents_are_listed_with_the_open_ones_first_and_for_how_long_the_others_lasted(
    tab: Tab, table: Table
) -> None:
    write_a_night(table)
    now = now_ms()
    heat = Incident("shed/over_temperature", "critical", "<b>Box</b> is too hot at 98 F", now - 60_000)
    silence = Incident("shed/device_silent", "critical", "shed is silent", now - 30_000, now - 12_000)
    known = [heat, silence]
    with serve(THING, table.source, port=0, incidents=lambda: known) as page:
        tab.goto(live(page))
        section = tab.get_by_role("region", name="Incidents")
        expect(section.get_by_role("listitem")).to_have_count(2, timeout=NEWS_MS)
        rows = section.get_by_role("listitem").all_inner_texts()
        state = tab.locator("#incidents-state").inner_text()

        known[0] = replace(heat, resolved_ms=now - 1000)
        expect(tab.locator("#incidents-state")).to_have_text("None open", timeout=NEWS_MS)

        assert state == "1 open"
        assert re.search(r"^over temperature \(critical\)\s+<b>Box</b> is too hot at 98 F\s+[\d:]+, open$", rows[0])
        assert re.search(r"^device silent \(critical\)\s+shed is silent\s+[\d:]+, resolved after 18 s$", rows[1])
        assert "resolved after 59 s" in section.get_by_role("listitem").all_inner_texts()[1]


def test_before_the_first_sample_the_page_says_so(tab: Tab, page: Page) -> None:
    tab.goto(live(page))

    expect(tab.locator("#headline")).to_have_text("No sample yet", timeout=NEWS_MS)
    expect(panel(tab, "voltage").locator(".none")).to_have_text("No values in the last 15 min")
    expect(panel(tab, "events")).to_contain_text("Nothing changed in the last 15 min.")


def test_without_timestream_a_banner_says_so_and_goes_by_itself(tab: Tab, page: Page, table: Table) -> None:
    write_a_night(table)
    table.client.cut = True

    tab.goto(live(page))

    expect(tab.locator("#banner")).to_contain_text("Timestream does not answer", timeout=NEWS_MS)
    table.client.cut = False
    expect(tab.locator("#banner")).to_be_hidden(timeout=NEWS_MS)
    expect(tab.locator("#headline")).to_have_text("On BATTERY (solar)")


def test_when_its_own_server_is_gone_the_page_says_so(tab: Tab, page: Page, table: Table) -> None:
    write_a_night(table)
    tab.goto(live(page))
    drawn(tab)

    page.close()

    expect(tab.locator("#banner")).to_contain_text("own server does not answer", timeout=NEWS_MS)
    expect(panel(tab, "voltage").locator("canvas")).to_be_visible()


@pytest.mark.parametrize("colour_scheme", ["light", "dark"])
def test_nothing_is_asked_of_another_host_and_the_console_stays_empty(
    browser: Browser,
    page_with_overrides: Page,
    table: Table,
    overrides: GivenOverrides,
    colour_scheme: Literal["light", "dark"],
) -> None:
    page = page_with_overrides
    write_a_night(table)
    overrides.standing = [Override("grid", now_ms() + 60_000, state="active")]
    asked: list[str] = []
    complaints: list[str] = []
    context = browser.new_context(viewport=PHONE, color_scheme=colour_scheme)
    tab = context.new_page()
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("requestfailed", lambda request: complaints.append(f"{request.url} {request.failure}"))
    tab.on("response", lambda response: complaints.append(response.url) if not response.ok else None)

    tab.goto(live(page))
    drawn(tab)
    tab.get_by_label("1 h", exact=True).check()
    tab.get_by_role("link", name="History").click()
    see_all(tab)
    context.close()

    assert complaints == []
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith(page.url)] == []


def test_a_narrow_screen_does_not_scroll_sideways(
    tab: Tab, page_with_overrides: Page, table: Table, overrides: GivenOverrides
) -> None:
    write_a_night(table)
    overrides.standing = [Override("battery", now_ms() + 60_000, state="suppressed", because="x" * 200)]
    tab.set_viewport_size(PHONE)

    tab.goto(live(page_with_overrides))
    drawn(tab)
    expect(tab.locator("#override-words")).to_contain_text("suppressed", timeout=NEWS_MS)

    assert overflow_px(tab) <= 0


def test_hostile_text_is_shown_as_text(tab: Tab, page: Page, table: Table) -> None:
    hostile = "<script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
    table.write(Sample(now_ms() - 2000), Sample(now_ms() - 1000, '"><b>grid', hostile, hostile, f"grid: {hostile}"))

    tab.goto(live(page))

    expect(tab.locator("#why")).to_contain_text("<script>", timeout=NEWS_MS)
    expect(tab.locator("#alerts")).to_contain_text("<img src=x")
    expect(panel(tab, "events")).to_contain_text("<script>", timeout=NEWS_MS)
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("main img, main script, main b b").count() == 0


def test_a_note_is_text_too(tab: Tab, table: Table) -> None:
    with serve(THING, table.source, port=0, note="<img src=x onerror=alert(1)>") as page:
        tab.goto(live(page))

        expect(tab.locator("#note")).to_have_text("<img src=x onerror=alert(1)>", timeout=NEWS_MS)
        assert tab.evaluate("document.images.length") == 0
