"""`solarshed costs`: the table of what AWS costs a device and month, and what it rests on."""

import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from device import settings
from infra.costs.assumed import ASSUMED
from infra.costs.calls import DASHBOARD, MEMORY_STORE_HOURS, ROLLUP_EVERY_HOURS, Metered, metered
from infra.costs.month import CONNECTIONS_A_DAY, DAYS, DeviceMonth, count_month
from infra.costs.prices import APART, COMPILED, PRICES, REGION, UNDATED
from infra.costs.shed import CYCLE_DAYS

DEFAULT_DEVICES = (1, 100, 10_000)

_SAY_SO_AFTER_S = 2.0


@dataclass(frozen=True)
class Column:
    """US dollars a device and month, by row, where there are so many devices."""

    devices: int
    usd: dict[str, float]

    @property
    def total_usd(self) -> float:
        """Of all rows."""
        return sum(self.usd.values())

    @property
    def unattended_usd(self) -> float:
        """Of all rows, while nobody looks at a dashboard."""
        return self.total_usd - self.usd[DASHBOARD]


def column(month: DeviceMonth, devices: int) -> Column:
    """The price of everything that is metered, for each device."""
    usd: dict[str, float] = {}
    for each in metered(month, devices):
        usd[each.row] = usd.get(each.row, 0.0) + each.quantity * PRICES[each.price].of_one / devices
    return Column(devices, usd)


def run(devices: Sequence[int], *, as_json: bool, out: TextIO) -> None:
    """Count, and print the sheet for these numbers of devices."""
    waiting = threading.Timer(_SAY_SO_AFTER_S, _say_so)
    waiting.daemon = True
    waiting.start()
    try:
        month = count_month(settings.parse(""))
    finally:
        waiting.cancel()
    numbers = list(dict.fromkeys(devices))
    if as_json:
        print(json.dumps(_document(month, numbers), indent=2), file=out)
    else:
        print(*_lines(month, numbers), sep="\n", file=out)


def _say_so() -> None:
    print("counting what one device says in a month ...", file=sys.stderr, flush=True)


def _lines(month: DeviceMonth, devices: Sequence[int]) -> list[str]:
    columns = [column(month, number) for number in devices]
    doubtful = {each.row for each in metered(month, 1) if not PRICES[each.price].seen}
    width = max(map(len, [*columns[0].usd, *APART])) + 2
    dated = sorted(price.as_of for price in PRICES.values() if price.as_of != UNDATED)
    return [
        f"AWS, US dollars a device and month, {REGION}. List prices, first tier, free tiers not taken off,",
        f"put together on {COMPILED} from what was published from {dated[0]} to {dated[-1]} (--json dates each)",
        "",
        _row("devices", [f"{number:,}" for number in devices], width),
        *(
            _row(f"{name}{' ?' if name in doubtful else ''}", [_usd(each.usd[name]) for each in columns], width)
            for name in columns[0].usd
        ),
        _row("a device, nobody looking", [_usd(each.unattended_usd) for each in columns], width),
        _row("a device", [_usd(each.total_usd) for each in columns], width),
        _row("all of them", [f"{each.total_usd * each.devices:,.2f}" for each in columns], width),
        "",
        f"Counted in {DAYS} days of one device with default settings",
        *(f"  {line}" for line in _counts(month)),
        "",
        "Assumed",
        *(f"  {line}" for line in _assumptions()),
        "",
        "Stated apart, and in no total (US dollars)",
        *(
            _row(f"{name}{'' if price.seen else ' ?'}", [f"{price.usd:.2f}"], width, f"a {price.unit}")
            for name, price in APART.items()
        ),
        "",
        f"? has a price that was not seen anywhere: {', '.join(n for n, price in PRICES.items() if not price.seen)}",
    ]


def _row(name: str, values: Sequence[str], width: int, after: str = "") -> str:
    return f"  {name:<{width}}{''.join(f'{value:>12}' for value in values)}  {after}".rstrip()


def _usd(usd: float) -> str:
    return "<0.0001" if 0 < usd < 0.00005 else f"{usd:.4f}"


def _counts(month: DeviceMonth) -> list[str]:
    return [
        f"{month.telemetry.count:,} telemetry messages with {month.samples:,} samples, "
        f"{month.samples_changed:,} of them for a change; {_each(month.telemetry.bytes, month.telemetry.count)}",
        f"{month.heartbeats.count:,} heartbeats, {_each(month.heartbeats.bytes, month.heartbeats.count)}",
        f"{month.alerts.count:,} alerts raised or cleared, {_each(month.alerts.bytes, month.alerts.count)}",
        f"{month.shadow_updates.count:,} reports to the shadow, "
        f"{_each(month.shadow_updates.bytes, month.shadow_updates.count)}, each answered and acknowledged",
        f"{month.points:,} records of Timestream, {_each(month.points_bytes, month.points)}",
        f"{month.messages:,} messages as IoT Core meters them, {month.messages // DAYS:,} a day",
    ]


def _times(number: float) -> str:
    return "once" if number == 1 else f"{number:g} times"


def _each(size_bytes: int, count: int) -> str:
    return f"{size_bytes / max(1, count):,.0f} bytes each"


def _assumptions() -> list[str]:
    a = ASSUMED
    return [
        f"three MATE devices; of {CYCLE_DAYS} days one is dull, and the grid helps out in the night after it",
        f"the line breaks {_times(CONNECTIONS_A_DAY)} a day and is back at once; {_times(a.silences_a_month)} a month "
        f"a device is told to be silent, for {a.silence_runs * 5} minutes",
        f"Lambda: telemetry {a.telemetry_s:g} s + {a.telemetry_message_s:g} s a message, alerts {a.alerts_s:g} s + "
        f"{a.alerts_message_s:g} s a message, heartbeat {a.heartbeat_s:g} s + {a.heartbeat_thing_s:g} s a device; "
        f"{a.log_bytes_of_call} + {a.log_bytes_of_line} bytes of log a call",
        f"SQS: {a.pollers} pollers at each queue ask every {a.poll_s:g} s while there is nothing",
        "IoT Core: a shadow operation is metered by the reported state, without its timestamps",
        f"Timestream: a record is metered as one, however many measures it has; {MEMORY_STORE_HOURS // 24} days in the "
        f"memory store, {a.months_kept} months in the magnetic store (it fills for 60)",
        f"Timestream: the hourly table is brought up to date every {ROLLUP_EVERY_HOURS} h, by a query as long as a "
        "dashboard's; for the account, not for each device",
        f"Timestream: one dashboard, {a.dashboard_hours_a_day:g} h a day, asks every {a.dashboard_asks_every_s:g} s; "
        f"{a.query_tcu} TCU for {a.query_s:g} s each time; for the account, not for each device",
        "no e-mail, no dead letters, no rejected records, nobody wishes for an override; no tax, no support plan",
    ]


def _document(month: DeviceMonth, devices: Sequence[int]) -> dict[str, Any]:
    return {
        "currency": "USD",
        "region": REGION,
        "prices_compiled": COMPILED,
        "free_tiers_taken_off": False,
        "columns": [_column_document(month, number) for number in devices],
        "device_month": {"days": DAYS, "messages": month.messages, **asdict(month)},
        "assumed": asdict(ASSUMED),
        "assumptions": _assumptions(),
        "apart": {name: asdict(price) for name, price in APART.items()},
        "prices": {name: asdict(price) for name, price in PRICES.items()},
    }


def _column_document(month: DeviceMonth, devices: int) -> dict[str, Any]:
    priced = column(month, devices)
    return {
        "devices": devices,
        "usd_per_device_month": priced.usd,
        "total_usd_per_device_month": priced.total_usd,
        "total_usd_per_month": priced.total_usd * devices,
        "metered": [_metered_document(each) for each in metered(month, devices)],
    }


def _metered_document(each: Metered) -> dict[str, Any]:
    return {"row": each.row, "price": each.price, "quantity": each.quantity}
