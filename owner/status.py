"""What the device last said, for a person or for a script."""

import json
from collections.abc import Iterator

from contract import shadow as contract
from contract.alerts import SEVERITY, Alert
from contract.shadow import Mode
from contract.words import duration
from owner import maintenance, shadow
from owner.override import fate_in_words, wish_in_words
from owner.session import Account, AwsError
from owner.shadow import NotReportedError, Section, Shadow
from owner.words import clock, relays, until, why

# It reports at least once a minute.
OFFLINE_AFTER_S = 180.0

_OVERRIDDEN = {"grid": "GRID", "battery": "BATTERY"}


def run(account: Account, thing: str, *, as_json: bool) -> int:
    """Print it.

    Raises:
        NotReportedError, AwsError: there is nothing to print.
    """
    with account.plainly():
        newest = shadow.read(account, thing)
    if not newest.reported or newest.heard_s_ago is None:
        raise NotReportedError(
            f"{thing} has never reported; start solarshed-uplink on its Pi, and see `journalctl -u solarshed-uplink` "
            "there if it stays silent"
        )
    if as_json:
        sides = {"reported": newest.reported.fields, "desired": newest.desired.fields}
        print(json.dumps({"thing": thing, "heard_s_ago": newest.heard_s_ago, **sides}))
    else:
        print(text_of(thing, newest, pause_in_words(account, thing)))
    return 0


def pause_in_words(account: Account, thing: str) -> str | None:
    """Until when silence and blindness raise nothing; None where they do."""
    try:
        with account.plainly():
            pause = maintenance.read(account, thing)
    except AwsError as e:
        return f"unknown: {e}"
    return f"{until(pause.until_s, pause.now_s)}: its silence raises nothing" if pause.is_in_force else None


def text_of(thing: str, newest: Shadow, paused: str | None = None) -> str:
    """Aligned lines, the most important first."""
    rows = [*_rows(newest), *([] if paused is None else [("paused", paused)])]
    width = max(len(name) for name, _ in rows)
    return "\n".join([*_headline(thing, newest), *(f"  {name:<{width}}  {words}" for name, words in rows)])


def _headline(thing: str, newest: Shadow) -> Iterator[str]:
    reported, silent_s = newest.reported, newest.heard_s_ago or 0.0
    if silent_s > OFFLINE_AFTER_S:
        yield f"{thing} is OFFLINE: last heard {duration(silent_s)} ago, and this is what it said then"
    position = reported.text("position") or "unknown"
    yield (
        f"{thing}: on {_OVERRIDDEN.get(position, position)} ({relays(position)}), "
        f"because {why(reported.text('reason') or 'unknown')}"
    )


def _rows(newest: Shadow) -> Iterator[tuple[str, str]]:
    reported, now_s = newest.reported, newest.now_s
    since_s, next_s = reported.time("since"), reported.time("next_change_at")
    if since_s is not None:
        yield "since", f"{clock(since_s, now_s)} ({duration(now_s - since_s)})"
    if next_s is not None:
        yield "next change", f"{clock(next_s, now_s)} at the earliest"
    yield from _override_rows(newest)
    yield from _reading_rows(reported.section("readings"))
    yield "alerts", ", ".join(_alert(name) for name in reported.texts("alerts")) or "none"
    if ignored := reported.texts("ignored"):
        yield "ignored", f"{', '.join(ignored)}: the device knows no such wish; remove it from desired"
    yield "software", reported.text("software") or "unknown"
    yield "last heard", f"{duration(newest.heard_s_ago or 0.0)} ago ({clock(newest.heard_at_s or 0.0, now_s)})"
    if reported.fields.get("clock_synchronised") is False:
        yield "clock", "NOT SYNCHRONISED on the Pi: its times may be wrong; see that its network lets NTP out"


def _override_rows(newest: Shadow) -> Iterator[tuple[str, str]]:
    taken_up, wished = newest.reported.section(contract.OVERRIDE), newest.desired.section(contract.OVERRIDE)
    if taken_up and taken_up.text("mode") != Mode.AUTO:
        yield "override", f"{wish_in_words(taken_up, newest.now_s)}: {fate_in_words(newest)}"
    else:
        yield "override", "none"
    because = newest.reported.section("refused").text("because")
    if because is not None:
        yield "refused wish", f"{because}; ask again with `solarshed override`"
    elif wished and not _is_same(wished, taken_up):
        yield "not taken up", f"{wish_in_words(wished, newest.now_s)}: the device has not answered yet"


def _is_same(wished: Section, taken_up: Section) -> bool:
    if wished.text("mode") == taken_up.text("mode") == Mode.AUTO:
        return True
    return all(wished.fields.get(name) == taken_up.fields.get(name) for name in ("mode", "until"))


def _reading_rows(readings: Section) -> Iterator[tuple[str, str]]:
    """What the rules look at, each with its age when it was reported."""
    voltage_v, temperature_c, soc_percent = (
        readings.section(name).number("value") for name in ("battery_voltage_v", "box_temperature_c", "soc_percent")
    )
    known = {
        "battery_voltage_v": None if voltage_v is None else f"{voltage_v:.1f} V",
        "soc_percent": None if soc_percent is None else f"{soc_percent:.0f} %",
        "box_temperature_c": None if temperature_c is None else _temperature(temperature_c),
    }
    for name, title in (("battery_voltage_v", "battery"), ("soc_percent", "charge"), ("box_temperature_c", "box")):
        words = known[name]
        if words is not None:
            yield title, words + _provenance(readings.section(name))
        elif name != "soc_percent":
            yield title, "no reading"


def _temperature(temperature_c: float) -> str:
    return f"{temperature_c * 9 / 5 + 32:.1f} F ({temperature_c:.1f} C)"


def _provenance(reading: Section) -> str:
    age_s, source = reading.number("age_s"), reading.text("source")
    parts = [*([] if age_s is None else [f"{duration(age_s)} old"]), *([source] if source else [])]
    return f", {' from '.join(parts)}" if parts else ""


def _alert(name: str) -> str:
    return f"{name} ({SEVERITY[Alert(name)]})" if name in list(Alert) else name
