"""The owner's alert rules as Grafana's provisioning API takes them.

They say again, from what is stored, what the device and the heartbeat Lambda page at once: a second opinion, by another
way. Each is one rule over all things, with a series (and so an alert) for each, in three steps: A asks the store, B
takes each series' last value, C compares it.

What "for five minutes" means is in the query: A is the *least* temperature of the last five minutes, say. So a rule is
right however seldom it is evaluated, and `for` is 0 s: Grafana would count it in evaluations.

A thing of which nothing was stored for long has no series in any rule but `NO_DATA`, and rightly none fires. Where
nothing at all can be asked, `NO_DATA` alone fires, for the others would only say the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from contract import store
from contract.alerts import Severity
from dashboard.look import DATA_SOURCE_UID, Engine

FOLDER_UID = "solarshed"
GROUP = "Solarshed"
# On every rule: its contact point's uid, for a policy that the owner may write.
CONTACT_POINT_LABEL = "solarshed_contact_point"

# How often the rules are evaluated, unless the owner says otherwise. Timestream takes money for each time.
INTERVAL_S = {Engine.TIMESTREAM: 3600, Engine.INFLUXDB: 60}

_SILENT_AFTER_S = 15 * 60
# A thing that said nothing for so long is forgotten, so that a scrapped one ends.
_REMEMBERED_S = 2 * 24 * 3600
# The newest four bins, of which the last has just begun, are at least three and at most four times so long.
_BIN_S = _SILENT_AFTER_S // 3

_ASK, _REDUCE, _COMPARE = "A", "B", "C"
_EXPRESSION = "__expr__"


class Least(StrEnum):
    """Of a window's values, the one that a limit must be met by for all of them to meet it."""

    MINIMUM = "min"
    MAXIMUM = "max"


@dataclass(frozen=True)
class Rule:
    """Fires for each thing of which every value of `column` in the last `window_s` is `above` or `below` the limit.

    Of both limits one is None. Values are as in the store.
    """

    id: str
    title: str
    severity: Severity
    measure: str
    column: str
    window_s: int
    text: str
    above: float | None = None
    below: float | None = None

    @property
    def least(self) -> Least:
        """The value to compare."""
        return Least.MINIMUM if self.above is not None else Least.MAXIMUM


@dataclass(frozen=True)
class Silence:
    """Fires for each thing that said something in the last two days, but nothing for a quarter of an hour."""

    id: str = "no-data"
    title: str = "No data"
    severity: Severity = Severity.CRITICAL
    text: str = "nothing of it was stored for 15 minutes"
    window_s: int = field(default=_REMEMBERED_S, init=False)


NO_DATA = Silence()
RULES: tuple[Rule | Silence, ...] = (
    Rule(
        "box-temperature",
        "Relay box over 95 °F",
        Severity.CRITICAL,
        store.MEASURE_DECISION,
        "box_temperature_c",
        180,
        "the relay box is over 35 °C (95 °F)",
        above=35.0,
    ),
    # A MATE tells tenths of a volt: below 49.95 is at or below 49.9.
    Rule(
        "battery-low",
        "Battery low",
        Severity.WARNING,
        store.MEASURE_DECISION,
        "battery_voltage_v",
        600,
        "the battery is at or below 49.9 V for 10 minutes",
        below=49.95,
    ),
    Rule(
        "battery-critical",
        "Battery critical",
        Severity.CRITICAL,
        store.MEASURE_DECISION,
        "battery_voltage_v",
        300,
        "the battery is at or below 47.0 V for 5 minutes",
        below=47.05,
    ),
    Rule(
        "disk",
        "Disk of the Pi nearly full",
        Severity.WARNING,
        "pi",
        "disk_free_percent",
        900,
        "less than 5 % of the Pi's disk is free",
        below=5.0,
    ),
    Rule(
        "memory",
        "Memory of the Pi nearly full",
        Severity.WARNING,
        "pi",
        "memory_available_percent",
        900,
        "less than 5 % of the Pi's memory is available for 15 minutes",
        below=5.0,
    ),
    NO_DATA,
)


def made_for(engine: Engine, dashboard_url: str, contact_point: tuple[str, str] | None) -> Iterator[dict[str, Any]]:
    """Each rule's JSON. With a contact point (uid and name) its alerts go there, past the owner's policies."""
    for rule in RULES:
        no_data = rule is NO_DATA
        labels = {"severity": rule.severity.value}
        made: dict[str, Any] = {
            "uid": f"solarshed-{rule.id}",
            "title": rule.title,
            "folderUID": FOLDER_UID,
            "ruleGroup": GROUP,
            "condition": _COMPARE,
            "data": [_ask(rule, engine), _reduce(), _compare(rule, engine)],
            "for": "0s",
            "noDataState": "Alerting" if no_data else "OK",
            "execErrState": "Alerting" if no_data else "OK",
            "isPaused": False,
            "annotations": {
                "summary": f"Grafana: {{{{ $labels.thing }}}}: {rule.text}",
                "description": "Grafana's second opinion, from what is stored. The device and the cloud page for "
                "themselves, and sooner. Value: {{ $values.B }}.",
                "dashboard_url": f"{dashboard_url}?var-thing={{{{ $labels.thing }}}}&var-site={{{{ $labels.site }}}}",
            },
            "labels": labels,
        }
        if contact_point is not None:
            uid, name = contact_point
            labels[CONTACT_POINT_LABEL] = uid
            # One incident for each thing. Grafana insists on the first two.
            group_by = ["grafana_folder", "alertname", store.DIMENSION_THING]
            made["notification_settings"] = {"receiver": name, "group_by": group_by}
        yield made


def query(rule: Rule | Silence, engine: Engine) -> str:
    """What A asks, in the engine's language; a row or a series for each thing, with one value."""
    if engine is Engine.TIMESTREAM:
        things = f"{store.DIMENSION_SITE}, {store.DIMENSION_THING}"
        if isinstance(rule, Rule):
            value, measure = f"{rule.least}({rule.column})", rule.measure
        else:
            value, measure = "(to_milliseconds(now()) - to_milliseconds(max(time))) / 60000.0", store.MEASURE_DECISION
        having = f" HAVING {value} IS NOT NULL" if isinstance(rule, Rule) else ""
        return (
            f'SELECT {things}, {value} AS value FROM "{store.DATABASE}"."{store.TABLE}" '
            f"WHERE $__timeFilter AND measure_name = '{measure}' GROUP BY {things}{having}"
        )
    tags = f'"{store.DIMENSION_SITE}", "{store.DIMENSION_THING}"'
    if isinstance(rule, Rule):
        return (
            f'SELECT {rule.least}("{rule.column}") AS "value" FROM "{rule.measure}" WHERE $timeFilter GROUP BY {tags}'
        )
    # InfluxQL has no age. How many samples the newest bins had; none is silence.
    return (
        f'SELECT moving_average(count("sequence"), 4) AS "value" FROM "{store.MEASURE_DECISION}" '
        f"WHERE $timeFilter GROUP BY time({_BIN_S}s), {tags} fill(0)"
    )


def _ask(rule: Rule | Silence, engine: Engine) -> dict[str, Any]:
    if engine is Engine.TIMESTREAM:
        type_ = "grafana-timestream-datasource"
        text: dict[str, Any] = {"rawQuery": query(rule, engine), "waitForResult": True}
    else:
        type_ = "influxdb"
        text = {"rawQuery": True, "query": query(rule, engine), "resultFormat": "time_series"}
    model = {"refId": _ASK, "datasource": {"type": type_, "uid": DATA_SOURCE_UID}, **text}
    return _step(_ASK, DATA_SOURCE_UID, {"from": rule.window_s, "to": 0}, model)


def _reduce() -> dict[str, Any]:
    # Empty bins are no values. A number, such as Timestream's, is its own last value.
    model = {"type": "reduce", "expression": _ASK, "reducer": "last", "settings": {"mode": "dropNN"}}
    return _expression(_REDUCE, model)


def _compare(rule: Rule | Silence, engine: Engine) -> dict[str, Any]:
    if isinstance(rule, Rule):
        type_, limit = ("gt", rule.above) if rule.above is not None else ("lt", rule.below)
    elif engine is Engine.TIMESTREAM:
        type_, limit = "gt", _SILENT_AFTER_S / 60
    else:
        # Less than the average with a single sample in four bins.
        type_, limit = "lt", 0.25
    condition = {"evaluator": {"type": type_, "params": [limit]}}
    return _expression(_COMPARE, {"type": "threshold", "expression": _REDUCE, "conditions": [condition]})


def _expression(ref_id: str, model: dict[str, Any]) -> dict[str, Any]:
    whole = {"refId": ref_id, "datasource": {"type": _EXPRESSION, "uid": _EXPRESSION}, **model}
    return _step(ref_id, _EXPRESSION, {"from": 0, "to": 0}, whole)


def _step(ref_id: str, source_uid: str, range_s: dict[str, int], model: dict[str, Any]) -> dict[str, Any]:
    return {
        "refId": ref_id,
        "queryType": "",
        "relativeTimeRange": range_s,
        "datasourceUid": source_uid,
        "model": model,
    }
