"""The table: what it adds up, how it is printed, and the budget that default settings have to keep."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

import solarshed
from device import settings
from infra.costs import sheet
from infra.costs.calls import DASHBOARD, metered
from infra.costs.month import DAYS, DeviceMonth, count_days, count_month
from infra.costs.prices import APART, PRICES
from infra.costs.sheet import Column, column

# The budget of one device at default settings. Whoever needs more changes it here, and says in the changelog why.
MOST_PUBLISHED_A_DAY = 600
MOST_METERED_A_DAY = 5_000
# A month, where there are a hundred of them and nobody looks at a dashboard.
MOST_USD = 0.90

DEFAULTS = settings.parse("")
# What the settings file allows, near to sixty times as often.
FAST = "[control]\nsample_interval_s = 1\nheartbeat_interval_s = 5\nwrite_interval_s = 0\n"


@pytest.fixture(scope="module")
def month() -> DeviceMonth:
    return count_month(DEFAULTS)


@pytest.fixture(scope="module")
def fast_month() -> DeviceMonth:
    """Half an hour with a decision every second, taken as often as a month has them."""
    return count_days(settings.parse(FAST), days=1 / 48, step_s=1.0).times(48 * DAYS)


# The budget


def test_I7_default_settings_keep_the_budget_of_messages(month: DeviceMonth) -> None:
    assert month.published / DAYS <= MOST_PUBLISHED_A_DAY
    assert month.messages / DAYS <= MOST_METERED_A_DAY


def test_I7_default_settings_keep_the_budget_of_money(month: DeviceMonth) -> None:
    assert column(month, 100).unattended_usd <= MOST_USD


def test_I7_sixty_times_as_often_breaks_both(fast_month: DeviceMonth) -> None:
    assert fast_month.published / DAYS > 60 * MOST_PUBLISHED_A_DAY
    assert fast_month.messages / DAYS > MOST_METERED_A_DAY
    assert column(fast_month, 100).unattended_usd > 10 * MOST_USD


def test_I7_without_samples_that_wait_for_each_other_the_budget_would_be_broken() -> None:
    unbatched = settings.parse("[control]\nwrite_interval_s = 0\n")

    assert count_days(unbatched, days=1).published > MOST_PUBLISHED_A_DAY


# What is added up


def test_every_price_is_asked_for_and_every_question_has_a_price(month: DeviceMonth) -> None:
    assert {each.price for each in metered(month, 1)} == PRICES.keys()


def test_nothing_is_metered_less_than_nothing(month: DeviceMonth) -> None:
    assert all(each.quantity > 0 for devices in (1, 100, 10_000) for each in metered(month, devices))


def test_what_is_paid_for_the_account_is_shared_and_what_is_paid_for_a_device_is_not(month: DeviceMonth) -> None:
    one, many = column(month, 1), column(month, 100)

    for row in ("Secrets Manager", "CloudWatch, alarms", "EventBridge Scheduler", DASHBOARD):
        assert many.usd[row] == pytest.approx(one.usd[row] / 100, rel=0.01)
    for row in ("IoT Core, connection and messages", "IoT Core, shadow", "IoT Core, rules", "Timestream, memory store"):
        assert many.usd[row] == pytest.approx(one.usd[row])


def test_each_further_device_makes_each_cheaper_and_all_dearer(month: DeviceMonth) -> None:
    totals = [column(month, devices).total_usd for devices in (1, 10, 100, 1000, 10_000)]

    assert totals == sorted(totals, reverse=True)
    assert [total * 10**n for n, total in enumerate(totals)] == sorted(total * 10**n for n, total in enumerate(totals))


def test_connection_and_messages_come_to_what_a_hand_reckons(month: DeviceMonth) -> None:
    of_its_own = month.telemetry.count + month.heartbeats.count + month.alerts.count + month.statuses.count
    messages = of_its_own + 2 * month.connections

    by_hand = 43_200 * 0.08e-6 + messages * 1e-6
    assert column(month, 7).usd["IoT Core, connection and messages"] == pytest.approx(by_hand)


def test_the_shadow_comes_to_what_a_hand_reckons(month: DeviceMonth) -> None:
    # Asked, answered and acknowledged; and an operation each. The registry is asked while a device is silent.
    asked = month.shadow_updates.count + month.shadow_gets.count
    by_hand = 3 * asked * 1e-6 + (asked + 12) * 1.25e-6

    assert column(month, 7).usd["IoT Core, shadow"] == pytest.approx(by_hand, rel=1e-4)


def test_the_memory_store_holds_seven_days(month: DeviceMonth) -> None:
    by_hand = month.points_bytes / 1e9 / 30 * 7 * 720 * 0.036

    assert column(month, 7).usd["Timestream, memory store"] == pytest.approx(by_hand)


def test_a_price_names_its_page_and_its_date() -> None:
    for price in [*PRICES.values(), *APART.values()]:
        assert urlsplit(price.page).scheme == "https"
        assert price.as_of == "undated" or 2020 <= int(price.as_of[:4]) <= 2026
        assert price.of_one >= 0


# What is printed


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, month: DeviceMonth) -> None:
    """The month has been counted before."""
    monkeypatch.setattr(sheet, "count_month", lambda _settings: replace(month))


def test_the_table_has_a_column_for_each_number_and_a_line_for_each_service(
    quick: None, capsys: pytest.CaptureFixture[str], month: DeviceMonth
) -> None:
    assert solarshed.main(["costs", "--devices", "1", "100", "10000"]) == 0

    out, err = capsys.readouterr()
    lines = [line.strip() for line in out.splitlines()]
    assert "devices                                                   1         100      10,000" in lines
    table = lines[: next(number for number, line in enumerate(lines) if line.startswith("Counted"))]
    for row in column(month, 1).usd:
        assert sum(line.startswith(row) for line in table) == 1
    assert any(line.startswith("a device, nobody looking") for line in lines)
    for heading in ("Assumed", "Stated apart, and in no total (US dollars)"):
        assert heading in lines
    assert err == ""


def test_a_price_that_nobody_has_seen_is_marked(quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    solarshed.main(["costs"])

    out = capsys.readouterr().out
    assert "  IoT Core, rules ?  " in out
    assert "  Secrets Manager  " in out
    assert out.splitlines()[-1].startswith("? has a price that was not seen anywhere: iot.rules")


def test_json_adds_up_and_holds_everything(quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    solarshed.main(["costs", "--json", "--devices", "3", "3", "50"])

    told = json.loads(capsys.readouterr().out)
    assert [each["devices"] for each in told["columns"]] == [3, 50]
    for each in told["columns"]:
        assert each["total_usd_per_device_month"] == pytest.approx(sum(each["usd_per_device_month"].values()))
        priced = sum(line["quantity"] * PRICES[line["price"]].of_one for line in each["metered"])
        assert each["total_usd_per_month"] == pytest.approx(priced)
    assert told["device_month"]["telemetry"]["count"] > 0
    assert told["prices"].keys() == PRICES.keys()
    assert told["free_tiers_taken_off"] is False


@pytest.mark.parametrize(
    ("usd", "shown"), [(0.0, "0.0000"), (0.00004, "<0.0001"), (0.00005, "0.0001"), (31.08, "31.0800")]
)
def test_small_amounts_are_not_shown_as_nothing(usd: float, shown: str) -> None:
    assert sheet._usd(usd) == shown


def test_unattended_is_all_but_the_dashboard() -> None:
    assert Column(1, {"S3": 0.5, DASHBOARD: 31.0}).unattended_usd == pytest.approx(0.5)


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "many", "", "100001", "9" * 5000])
def test_L9_a_wrong_number_of_devices_is_a_wrong_usage(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    with pytest.raises(SystemExit) as exit_info:
        solarshed.main(["costs", "--devices", wrong])

    assert exit_info.value.code == 2
    assert "write a whole number from 1 to 100000" in capsys.readouterr().err or wrong.startswith("-")


def test_one_that_waits_is_told_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import time

    def slow(_settings: settings.Settings) -> DeviceMonth:
        time.sleep(0.2)
        return count_days(DEFAULTS, days=0.01).times(100 * DAYS)

    monkeypatch.setattr(sheet, "count_month", slow)
    monkeypatch.setattr(sheet, "_SAY_SO_AFTER_S", 0.05)
    out = io.StringIO()

    sheet.run([1], as_json=False, out=out)

    assert capsys.readouterr().err == "counting what one device says in a month ...\n"
    assert "counting" not in out.getvalue()


def test_the_sheet_loads_no_heavy_library() -> None:
    code = "import sys, infra.costs.sheet; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "infra" in loaded
    assert loaded.isdisjoint({"aws_cdk", "boto3", "botocore", "awscrt", "gpiozero", "demo", "tests"})
