"""The dashboards' JSON against Grafana's published schema: the types of `@grafana/schema`, checked by TypeScript.

The schema has no types for the queries of these two data sources, those of annotations included.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboard.grafana import render
from dashboard.look import Engine, Look

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "node_modules" / "@grafana" / "schema" / "dist" / "esm" / "raw"
TSC = ROOT / "node_modules" / "typescript" / "bin" / "tsc"

# Each kind's options, and what stands in `fieldConfig.defaults.custom`; of some kinds nothing does.
KINDS = {
    "stat": ("StatPanelCfg", None),
    "gauge": ("GaugePanelCfg", None),
    "timeseries": ("TimeSeriesPanelCfg", "FieldConfig"),
    "state-timeline": ("StateTimelinePanelCfg", "FieldConfig"),
    "table": ("TablePanelCfg", "FieldConfig"),
}
LOOKS = [Look(engine, fahrenheit, -8) for engine in Engine for fahrenheit in (False, True)]

# An enumeration of the schema as the texts that JSON has.
PLAIN = """
type Plain<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer One> ? Array<Plain<One>>
  : T extends object ? { [Name in keyof T]: Plain<T[Name]> }
  : T;
"""


def rendered() -> list[dict[str, Any]]:
    return [one for look in LOOKS for one in render(look).values()]


def program() -> str:
    """TypeScript that is right if all dashboards are, and if what is wrong on purpose is noticed."""
    lines = [f'import type {{ Dashboard }} from "{SCHEMA}/dashboard/x/dashboard_types.gen";']
    for kind, (name, _) in KINDS.items():
        folder = kind.replace("-", "")
        alias = folder.capitalize()
        path = f"{SCHEMA}/composable/{folder}/panelcfg/x/{name}_types.gen"
        lines.append(f'import type * as {alias} from "{path}";')
    lines.append(PLAIN)
    number = 0
    for one in rendered():
        without_mappings = {
            **one,
            "annotations": {
                "list": [
                    without(each, "mappings", "target", "query", "textColumn", "fromAnnotations")
                    for each in one["annotations"]["list"]
                ]
            },
        }
        lines.append(f"const d{number}: Plain<Dashboard> = {json.dumps(without_mappings)};")
        number += 1
        for panel in one["panels"]:
            if panel["type"] == "row":
                continue
            name, custom_type = KINDS[panel["type"]]
            alias = panel["type"].replace("-", "").capitalize()
            options = json.dumps(panel.get("options", {}))
            lines.append(f"const o{number}: Plain<Partial<{alias}.Options>> = {options};")
            custom = panel["fieldConfig"]["defaults"].get("custom")
            if custom_type is None:
                assert custom is None, panel["title"]
            elif custom is not None:
                # Grafana knows it since 10.0, and the library has it; the package's types do not.
                more = "{ insertNulls?: number }"
                lines.append(f"const c{number}: Plain<{alias}.{custom_type}> & {more} = {json.dumps(custom)};")
            number += 1
    lines += [
        "// @ts-expect-error: a property that is misspelt",
        'const misspelt: Plain<Partial<Dashboard>> = { schemaVersion: 36, titel: "Solarshed" };',
        "// @ts-expect-error: a value that is none",
        'const noValue: Plain<Partial<Stat.Options>> = { colorMode: "colourful" };',
    ]
    return "\n".join(lines)


def without(one: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name not in names}


def test_the_dashboards_are_of_grafanas_published_schema(tmp_path: Path) -> None:
    node = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if node is None or not TSC.exists():
        pytest.skip("no TypeScript here: run `make setup`")
    source = tmp_path / "dashboards.ts"
    source.write_text(program())

    options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler"]
    command = [node, str(TSC), *options, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("look", LOOKS, ids=["timestream C", "timestream F", "influxdb C", "influxdb F"])
def test_grafanas_library_reads_them_and_writes_the_same(look: Look) -> None:
    for one in render(look).values():
        read = json.loads(json.dumps(Dashboard.from_json(one), cls=JSONEncoder))

        assert known_to_the_library(read) == known_to_the_library(one)


def known_to_the_library(one: dict[str, Any]) -> dict[str, Any]:
    """`one` without what the library loses, which is what annotations ask, or adds: how a variable names intervals."""
    annotations = [
        without(each, "mappings", "target", "query", "textColumn", "fromAnnotations")
        for each in one["annotations"]["list"]
    ]
    variables = [without(each, "auto", "auto_count", "auto_min") for each in one["templating"]["list"]]
    return {**one, "annotations": {"list": annotations}, "templating": {"list": variables}}


def test_every_panel_has_an_id_and_a_place_of_its_own() -> None:
    for one in rendered():
        assert len({panel["id"] for panel in one["panels"]}) == len(one["panels"])
        taken: set[tuple[int, int]] = set()
        for panel in one["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
            assert not cells & taken, panel["title"]
            assert at["x"] + at["w"] <= 24
            taken |= cells


def test_fahrenheit_is_said_in_units_bounds_and_thresholds() -> None:
    celsius, fahrenheit = (render(Look(fahrenheit=chosen))["solarshed-now"] for chosen in (False, True))

    (box,) = [panel for panel in fahrenheit["panels"] if panel["title"] == "Relay box"]
    defaults = box["fieldConfig"]["defaults"]
    assert (defaults["unit"], defaults["max"]) == ("fahrenheit", 122.0)
    assert defaults["thresholds"]["steps"][-1] == {"value": 95.0, "color": "red"}
    assert "1.8" not in json.dumps(celsius)
