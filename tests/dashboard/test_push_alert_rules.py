"""The alert rules: their queries asked of both engines, what Grafana makes of the answers, and their form."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting

from contract import store
from dashboard.alert_rules import RULES, made_for
from dashboard.look import Engine
from demo.timestream.catalog import Retention
from demo.timestream.server import serve
from page.source import Window
from page.timestream import ask, expand
from tests.influxdb import influxd

# 2026-11-23 11:02:30 UTC, in the middle of a bin.
NOW_MS = 1_795_431_750_000
MINUTE_MS = 60_000

Values = dict[str, float]
# Minutes ago, a thing, a measure and its values.
Sample = tuple[float, str, str, Values]
Asking = Callable[[dict[str, Any]], Values]

HEALTHY: Values = {"box_temperature_c": 20.0, "battery_voltage_v": 52.0, "sequence": 1.0}
HEALTHY_PI: Values = {"disk_free_percent": 50.0, "memory_available_percent": 50.0}


def minutes(first: int, last: int, thing: str, **values: float) -> list[Sample]:
    """A sample a minute, from `first` to `last` minutes ago, all right but for `values`."""
    samples: list[Sample] = []
    for ago in range(last, first + 1):
        decision = {**HEALTHY, **{name: value for name, value in values.items() if name in HEALTHY}}
        pi = {**HEALTHY_PI, **{name: value for name, value in values.items() if name in HEALTHY_PI}}
        samples += [(ago, thing, store.MEASURE_DECISION, decision), (ago, thing, "pi", pi)]
    return samples


SAMPLES: list[Sample] = [
    *minutes(60, 0, "well"),
    *minutes(60, 0, "hot", box_temperature_c=35.1),
    # Only just hot: one sample of the window is not.
    *minutes(60, 2, "warming"),
    *minutes(1, 0, "warming", box_temperature_c=36.0),
    *minutes(60, 0, "at-the-limit", box_temperature_c=35.0, battery_voltage_v=50.0, disk_free_percent=5.0),
    *minutes(60, 0, "low", battery_voltage_v=49.9),
    *minutes(60, 8, "recovering", battery_voltage_v=49.9),
    *minutes(7, 0, "recovering", battery_voltage_v=51.0),
    *minutes(60, 0, "critical", battery_voltage_v=47.0),
    *minutes(60, 0, "full-disk", disk_free_percent=4.9),
    *minutes(60, 0, "full-memory", memory_available_percent=4.9),
    *minutes(90, 21, "silent", box_temperature_c=40.0, battery_voltage_v=44.0),
    *minutes(90, 14, "late"),
    # Scrapped days ago.
    *minutes(3 * 1440, 3 * 1440 - 2, "scrapped"),
]
FIRES = {
    "box-temperature": {"hot"},
    "battery-low": {"low", "critical"},
    "battery-critical": {"critical"},
    "disk": {"full-disk"},
    "memory": {"full-memory"},
    "no-data": {"silent"},
}


@pytest.fixture(scope="module")
def timestream() -> Iterator[Asking]:
    with serve(clock_ns=lambda: NOW_MS * 10**6) as endpoint:
        endpoint.engine.create_database(store.DATABASE)
        endpoint.engine.create_table(store.DATABASE, store.TABLE, Retention(memory_h=24 * 30))
        records = [
            {
                "Time": str(round(NOW_MS - ago * MINUTE_MS)),
                "Dimensions": [
                    {"Name": "site", "Value": "home"},
                    {"Name": "thing", "Value": thing},
                    {"Name": "source", "Value": "pi0" if measure == "pi" else "control"},
                ],
                "MeasureName": measure,
                "MeasureValueType": "MULTI",
                "MeasureValues": [
                    {
                        "Name": name,
                        "Type": store.COLUMNS[name].value,
                        "Value": f"{value:.0f}" if name == "sequence" else str(value),
                    }
                    for name, value in values.items()
                ],
            }
            for ago, thing, measure, values in SAMPLES
        ]
        for start in range(0, len(records), 100):
            batch = {"DatabaseName": store.DATABASE, "TableName": store.TABLE, "CommonAttributes": {}}
            endpoint.engine.write_records({**batch, "Records": records[start : start + 100]})
        client = boto3.client(
            "timestream-query",
            endpoint_url=endpoint.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - a peer's
        )

        def asking(step: dict[str, Any]) -> Values:
            window = Window(NOW_MS - 1000 * step["relativeTimeRange"]["from"], NOW_MS, MINUTE_MS)
            rows = ask(client, expand(step["model"]["rawQuery"], window, {}))
            # What Grafana takes for a table of numbers: texts, and one number.
            assert all(set(row) == {"site", "thing", "value"} for row in rows)
            assert all(isinstance(row["value"], float) for row in rows)
            return {str(row["thing"]): float(row["value"]) for row in rows}  # type: ignore[arg-type]

        yield asking
        client.close()


@pytest.fixture(scope="module")
def influxdb() -> Iterator[Asking]:
    with influxd() as server:
        server.create_database(store.DATABASE)
        lines = [
            f"{measure},site=home,thing={thing},source=control "
            + ",".join(f"{name}={value:.0f}i" if name == "sequence" else f"{name}={value}" for name, value in v.items())
            + f" {round(NOW_MS - ago * MINUTE_MS)}"
            for ago, thing, measure, v in SAMPLES
        ]
        address = f"{server.url}/write?db={store.DATABASE}&precision=ms"
        with urlopen(Request(address, "\n".join(lines).encode()), timeout=20) as response:  # noqa: S310 - our own server
            assert response.status == 204

        def asking(step: dict[str, Any]) -> Values:
            from_ms = NOW_MS - 1000 * step["relativeTimeRange"]["from"]
            in_range = f"time >= {from_ms}ms and time <= {NOW_MS}ms"
            series = server.query(step["model"]["query"].replace("$timeFilter", in_range), store.DATABASE)
            values = {}
            for one in series:
                assert one["tags"]["site"] == "home"
                assert one["columns"] == ["time", "value"]
                values[one["tags"]["thing"]] = [value for _, value in one["values"] if value is not None][-1]
            return values

        yield asking


def firing(rule: dict[str, Any], asking: Asking) -> set[str]:
    """The things for which Grafana's steps B (the last value of each) and C (the threshold) let it fire."""
    asked, reduced, compared = rule["data"]
    assert [step["refId"] for step in rule["data"]] == ["A", "B", "C"]
    assert rule["condition"] == compared["refId"]
    assert (reduced["model"]["type"], reduced["model"]["expression"]) == ("reduce", asked["refId"])
    assert reduced["model"]["reducer"] == "last"
    assert (compared["model"]["type"], compared["model"]["expression"]) == ("threshold", reduced["refId"])
    (condition,) = compared["model"]["conditions"]
    (limit,) = condition["evaluator"]["params"]
    fires = {"gt": limit.__lt__, "lt": limit.__gt__}[condition["evaluator"]["type"]]
    return {thing for thing, value in asking(asked).items() if fires(value) is True}


@pytest.mark.parametrize("engine", Engine, ids=lambda engine: engine.value)
@pytest.mark.parametrize("rule_id", FIRES)
def test_each_rule_fires_for_the_things_that_it_is_for_and_no_other(
    engine: Engine, rule_id: str, request: pytest.FixtureRequest
) -> None:
    asking: Asking = request.getfixturevalue(engine.value)
    rules = {rule["uid"]: rule for rule in made_for(engine, "https://grafana.example/d/x", None)}

    assert firing(rules[f"solarshed-{rule_id}"], asking) == FIRES[rule_id]


def test_every_rule_is_tried() -> None:
    assert set(FIRES) == {rule.id for rule in RULES}


@pytest.mark.parametrize("engine", Engine, ids=lambda engine: engine.value)
def test_the_rules_are_what_grafanas_own_models_say(engine: Engine) -> None:
    for rule in made_for(engine, "https://grafana.example/d/x", ("uid", "name")):
        # Which came to the models later.
        rule.pop("notification_settings")

        again = json.loads(json.dumps(alerting.Rule.from_json(rule), cls=JSONEncoder))

        # Both are Grafana's own to say; the models always do.
        assert again.pop("orgID") == 0
        for step in [*rule["data"], *again["data"]]:
            step.pop("queryType", None)
        assert again == rule


@pytest.mark.parametrize("engine", Engine, ids=lambda engine: engine.value)
def test_where_nothing_can_be_asked_one_rule_speaks_for_all(engine: Engine) -> None:
    rules = list(made_for(engine, "https://grafana.example/d/x", None))

    speaking = {rule["uid"]: (rule["noDataState"], rule["execErrState"]) for rule in rules}

    assert speaking.pop("solarshed-no-data") == ("Alerting", "Alerting")
    assert set(speaking.values()) == {("OK", "OK")}


def test_each_rule_says_which_thing_and_that_it_is_grafanas() -> None:
    for rule in made_for(Engine.TIMESTREAM, "https://grafana.example/d/solarshed-now", ("uid", "name")):
        assert rule["annotations"]["summary"].startswith("Grafana: {{ $labels.thing }}: ")
        assert "var-thing={{ $labels.thing }}" in rule["annotations"]["dashboard_url"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["notification_settings"] == {
            "receiver": "name",
            "group_by": ["grafana_folder", "alertname", "thing"],
        }
