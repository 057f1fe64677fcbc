"""The dashboards as Grafana's JSON, built with grafana-foundation-sdk from the list of panels.

A panel's query is in the language of `dashboard.timestream` or `dashboard.influxql`. How a kind of panel looks is said
here, once.
"""

import itertools
import json
from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import gauge, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard

from contract import store
from dashboard import influxql, timestream
from dashboard.look import DATA_SOURCE_UID, Engine, Look
from dashboard.panels import ANNOTATIONS, DASHBOARDS, HISTORY, NOW, Annotation, Colour, Dashboard, Kind, Panel, Series
from dashboard.queries import DailyMaximum, Query, Trend

DATA_SOURCE_TYPES = {Engine.TIMESTREAM: "grafana-timestream-datasource", Engine.INFLUXDB: "influxdb"}
TAG = "solarshed"

_COLOURS = {
    Colour.GRID: "orange",
    Colour.BATTERY: "green",
    Colour.SOLAR: "yellow",
    Colour.TEMPERATURE: "purple",
    Colour.COLD: "blue",
    Colour.GOOD: "green",
    Colour.WARNING: "orange",
    Colour.DANGER: "red",
    Colour.QUIET: "#8e8e8e",
}
# A line ends where there was nothing for so long.
_GAP_MS = {NOW.uid: 3_600_000, HISTORY.uid: 6 * 3_600_000}
_DAY_MS = 24 * 3_600_000
_REF_ID = "A"


PanelBuilder = stat.Panel | gauge.Panel | timeseries.Panel | statetimeline.Panel | table.Panel


class Target(Builder[Dataquery], Dataquery):
    """A query as the data source's plugin has it; the library knows neither of the two."""

    def __init__(self, look: Look, text: str, *, is_table: bool) -> None:
        self._look = look
        self._text = text
        self._is_table = is_table

    def build(self) -> Dataquery:
        """Itself: it is no more than its JSON."""
        return self

    def to_json(self) -> dict[str, object]:
        """Timestream's plugin takes `rawQuery`; InfluxDB's takes `query`, and is told that it is not the editor's."""
        common_part: dict[str, object] = {"refId": _REF_ID, "datasource": _source(self._look)}
        if self._look.engine is Engine.TIMESTREAM:
            return {
                **common_part,
                "rawQuery": self._text,
                "database": f'"{store.DATABASE}"',
                "table": f'"{store.TABLE}"',
                "waitForResult": True,
            }
        return {
            **common_part,
            "rawQuery": True,
            "query": self._text,
            "resultFormat": "table" if self._is_table else "time_series",
            "alias": "$tag_source" if '"source"' in self._text else "$col",
        }


def render(look: Look) -> dict[str, dict[str, Any]]:
    """Each dashboard's JSON, by its uid: what Grafana's API and its import take."""
    rendered = {one.uid: json.loads(json.dumps(_dashboard(one, look), cls=JSONEncoder)) for one in DASHBOARDS}
    for one in rendered.values():
        for variable in one["templating"]["list"]:
            # The library says them of every variable; they are those of an interval only.
            for name in ("auto", "auto_min", "auto_count"):
                variable.pop(name, None)
    return rendered


def query_text(query: Query, look: Look) -> str:
    """`query` in the language of the engine."""
    language = timestream.sql if look.engine is Engine.TIMESTREAM else influxql.influxql
    return language(query, look.scale, look.utc_offset_h)


def _dashboard(one: Dashboard, look: Look) -> dashboard.Dashboard:
    other = HISTORY if one is NOW else NOW
    builder = (
        builders.Dashboard(one.title)
        .uid(one.uid)
        .description(one.description)
        .tags([TAG])
        .timezone("browser")
        .time(f"now-{one.span}", "now")
        .refresh(one.refresh)
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .editable()
        .link(
            builders.DashboardLink(other.title)
            .type(dashboard.DashboardLinkType.LINK)
            .url(f"/d/{other.uid}")
            .include_vars(True)
        )
    )
    for variable in _variables(one, look):
        builder.with_variable(variable)
    for annotation in ANNOTATIONS:
        builder.annotation(_annotation(annotation, look))
    # Places are counted here: the library would make all panels of one size.
    y = 0
    ids = itertools.count(1)
    for row in one.rows:
        place = dashboard.GridPos(h=1, w=24, x=0, y=y)
        builder.with_row(builders.Row(row.title).id(next(ids)).grid_pos(place))
        y += 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > 24:
                x, y, height = 0, y + height, 0
            place = dashboard.GridPos(h=panel.height, w=panel.width, x=x, y=y)
            builder.with_panel(_panel(panel, one, look).id(next(ids)).grid_pos(place))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return builder.build()


def _variables(one: Dashboard, look: Look) -> list[Builder[dashboard.VariableModel]]:
    timestream_used = look.engine is Engine.TIMESTREAM
    language = timestream.sites_sql(), timestream.things_sql()
    sites, things = language if timestream_used else (influxql.sites_influxql(), influxql.things_influxql())
    variables: list[Builder[dashboard.VariableModel]] = [
        builders.QueryVariable(name)
        .label(label)
        .query(text)
        .datasource(_source_ref(look))
        .refresh(dashboard.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        for name, label, text in (("site", "Site", sites), ("thing", "Shed", things))
    ]
    if timestream_used:
        tables = {store.TABLE: "every sample", store.HOURLY_TABLE: "an hour"}
        options = [
            dashboard.VariableOption(selected=table == one.table, text=text, value=table)
            for table, text in tables.items()
        ]
        variables.append(
            builders.CustomVariable("resolution")
            .label("Resolution")
            .values(",".join(f"{text} : {table}" for table, text in tables.items()))
            .options(options)
            .current(next(option for option in options if option.selected))
        )
    return variables


def _annotation(annotation: Annotation, look: Look) -> builders.AnnotationQuery:
    target = Target(look, query_text(annotation.query, look), is_table=True).to_json()
    (column,) = annotation.query.columns
    made = _Annotation(target, column) if look.engine is Engine.TIMESTREAM else _InfluxAnnotation(target, column)
    return (
        made.name(annotation.title).datasource(_source_ref(look)).enable(True).icon_color(_COLOURS[annotation.colour])
    )


class _Annotation(builders.AnnotationQuery):
    """With the query as the plugin takes it, and which column is the text: the library has no room for either."""

    def __init__(self, target: dict[str, object], column: str) -> None:
        super().__init__()
        self._extra: dict[str, object] = {
            "target": target,
            "mappings": {
                "time": {"source": "field", "value": "time"},
                "text": {"source": "field", "value": column},
            },
        }

    def build(self) -> dashboard.AnnotationQuery:
        built = super().build()
        return _WithMore(built, self._extra)


class _InfluxAnnotation(_Annotation):
    """InfluxDB's plugin has a way of its own: the query and the column's name at the top."""

    def __init__(self, target: dict[str, object], column: str) -> None:
        super().__init__(target, column)
        self._extra = {"target": target, "query": target["query"], "textColumn": column, "fromAnnotations": True}


class _WithMore(dashboard.AnnotationQuery):
    def __init__(self, built: dashboard.AnnotationQuery, extra: dict[str, object]) -> None:
        self.__dict__.update(built.__dict__)
        self._more = extra

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), **self._more}


def _panel(panel: Panel, of: Dashboard, look: Look) -> PanelBuilder:
    builder = _KINDS[panel.kind](panel, of, look)
    is_table = panel.kind is not Kind.LINES
    builder.title(panel.title).datasource(_source_ref(look))
    builder.with_target(Target(look, query_text(panel.query, look), is_table=is_table))
    builder.unit(look.scale.grafana_id(panel.unit))
    if panel.help:
        builder.description(panel.help)
    if panel.decimals is not None:
        builder.decimals(panel.decimals)
    if isinstance(panel.query, Trend):
        builder.interval(of.least_interval)
    if panel.over:
        builder.time_from(panel.over)
    if mappings := _mappings(panel):
        builder.mappings(mappings)
    if panel.when_unknown:
        builder.no_value(panel.when_unknown.text)
    if _has_sources(panel):
        # Timestream's rows are long, a line for each source is wanted.
        if look.engine is Engine.TIMESTREAM:
            multi = dashboard.DataTransformerConfig(id_val="prepareTimeSeries", options={"format": "multi"})
            builder.with_transformation(multi)
        builder.display_name("${__field.labels.source}")
    else:
        for series in panel.series:
            builder.override_by_name(series.column, _override(series, panel))
    return builder


def _has_sources(panel: Panel) -> bool:
    by_source = isinstance(panel.query, DailyMaximum) or (isinstance(panel.query, Trend) and panel.query.by_source)
    return by_source and panel.kind in (Kind.LINES, Kind.BARS)


def _override(series: Series, panel: Panel) -> list[dashboard.DynamicConfigValue]:
    properties = [dashboard.DynamicConfigValue("displayName", series.title)]
    if series.colour:
        fixed = {"mode": "fixed", "fixedColor": _COLOURS[series.colour]}
        properties.append(dashboard.DynamicConfigValue("color", fixed))
    if series.is_limit:
        properties.append(dashboard.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}))
        properties.append(dashboard.DynamicConfigValue("custom.fillOpacity", 0))
    if panel.kind is Kind.TABLE and series.column == "time":
        properties.append(dashboard.DynamicConfigValue("unit", "dateTimeAsLocal"))
    return properties


def _mappings(panel: Panel) -> list[dashboard.ValueMapping]:
    mappings: list[dashboard.ValueMapping] = []
    if panel.words:
        options = {
            value: dashboard.ValueMappingResult(text=word.text, color=_COLOURS[word.colour], index=index)
            for index, (value, word) in enumerate(panel.words.items())
        }
        mappings.append(dashboard.ValueMap(options=options))
    if panel.when_unknown:
        result = dashboard.ValueMappingResult(text=panel.when_unknown.text, color=_COLOURS[panel.when_unknown.colour])
        options_of_null = dashboard.DashboardSpecialValueMapOptions(
            match=dashboard.SpecialValueMatch.NULL_AND_NAN, result=result
        )
        mappings.append(dashboard.SpecialValueMap(options=options_of_null))
    return mappings


def _thresholds(panel: Panel, look: Look) -> builders.ThresholdsConfig:
    steps = panel.steps or ()
    base = _COLOURS[steps[0].colour] if steps else "text"
    made = [dashboard.Threshold(value=None, color=base)]
    made += [
        dashboard.Threshold(value=round(look.scale.value(panel.unit, step.value), 1), color=_COLOURS[step.colour])
        for step in steps[1:]
    ]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(made)


def _reduce(panel: Panel) -> common_builders.ReduceDataOptions:
    """The newest value of each named column; of a query by source, one for each source."""
    # Grafana compares with what a field is called on the panel, which may be either.
    names = {"[Tt]ime" if series.column == "time" else series.column for series in panel.series}
    names |= {series.title for series in panel.series}
    by_source = bool(getattr(panel.query, "by_source", False))
    return (
        common_builders.ReduceDataOptions()
        .values(by_source)
        .calcs([] if by_source else ["last"])
        .fields(f"/^({'|'.join(sorted(names))})$/")
    )


def _stat(panel: Panel, _of: Dashboard, look: Look) -> PanelBuilder:
    several = len(panel.series) > 1 or bool(getattr(panel.query, "by_source", False))
    mode = common.BigValueTextMode.VALUE_AND_NAME if several else common.BigValueTextMode.VALUE
    return (
        stat.Panel()
        .reduce_options(_reduce(panel))
        .text_mode(mode)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .thresholds(_thresholds(panel, look))
    )


def _gauge(panel: Panel, _of: Dashboard, look: Look) -> PanelBuilder:
    low, high = (look.scale.value(panel.unit, bound or 0.0) for bound in (panel.low, panel.high))
    return gauge.Panel().reduce_options(_reduce(panel)).min(low).max(high).thresholds(_thresholds(panel, look))


def _lines(panel: Panel, of: Dashboard, look: Look) -> PanelBuilder:
    builder = (
        timeseries.Panel()
        .draw_style(common.GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(0 if len(panel.series) > 1 else 10)
        .show_points(common.VisibilityMode.NEVER)
        .insert_nulls(_GAP_MS[of.uid])
    )
    return _axis(builder, panel, look)


def _bars(panel: Panel, _of: Dashboard, look: Look) -> PanelBuilder:
    builder = (
        timeseries.Panel()
        .draw_style(common.GraphDrawStyle.BARS)
        .fill_opacity(70)
        .bar_alignment(common.BarAlignment.AFTER)
        .insert_nulls(_DAY_MS + 1)
        .stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    )
    return _axis(builder, panel, look)


def _axis(builder: timeseries.Panel, panel: Panel, look: Look) -> timeseries.Panel:
    legend = common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST)
    builder.legend(legend.placement(common.LegendPlacement.BOTTOM).show_legend(True))
    builder.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    if panel.low is not None:
        builder.axis_soft_min(look.scale.value(panel.unit, panel.low))
    if panel.high is not None:
        builder.axis_soft_max(look.scale.value(panel.unit, panel.high))
    return builder


def _states(_panel: Panel, _of: Dashboard, _look: Look) -> PanelBuilder:
    return (
        statetimeline.Panel().merge_values(True).show_value(common.VisibilityMode.AUTO).row_height(0.9).fill_opacity(80)
    )


def _table(_panel: Panel, _of: Dashboard, _look: Look) -> PanelBuilder:
    return table.Panel()


_KINDS = {
    Kind.STAT: _stat,
    Kind.GAUGE: _gauge,
    Kind.LINES: _lines,
    Kind.BARS: _bars,
    Kind.STATES: _states,
    Kind.TABLE: _table,
}


def _source(look: Look) -> dict[str, object]:
    return {"type": DATA_SOURCE_TYPES[look.engine], "uid": DATA_SOURCE_UID}


def _source_ref(look: Look) -> dashboard.DataSourceRef:
    return dashboard.DataSourceRef(type_val=DATA_SOURCE_TYPES[look.engine], uid=DATA_SOURCE_UID)
