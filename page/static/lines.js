// A panel of kind "lines": measured values, and dashed lines that they are compared with.

import { element, colour, setText } from "./dom.js";
import { measured, unitBeside } from "./words.js";
import { Figure, LEFT_PX, RIGHT_PX, axis, timeAxis, makePlot, cursorMs } from "./chart.js";

const NEAR_PX = 24;

export class LinesPanel {
  constructor(panel, parent) {
    this.panel = panel;
    this.figure = new Figure(panel, parent, "lines");
    this.values = panel.series.map((series) => this.addToLegend(series));
    this.newest = {};
    this.nowMs = 0;
    this.span = [0, 1];
    this.plot = makePlot(this.figure, this.options(), [[], ...panel.series.map(() => [])]);
  }

  // `newest` are the values of the newest sample by column: what the legend says without a cursor.
  update(data, range, newest) {
    this.newest = newest;
    this.nowMs = data.to_ms;
    this.span = [data.from_ms, data.to_ms];
    const columns = this.panel.series.map((series) => data.columns[series.column]);
    this.plot.setData([data.times, ...columns]);
    const known = columns.some((column) => column.some((value) => value !== null));
    this.figure.showEmpty(known ? "" : `No values in the last ${range.title}`);
    this.figure.describe(this.inWords(columns, range));
    this.showValues();
  }

  addToLegend(series) {
    const value = element("b", {}, "–");
    const swatch = element("i", { class: `swatch ${series.role} ${series.colour}` });
    this.figure.legend.append(element("li", { "data-column": series.column }, swatch, `${series.title} `, value));
    return value;
  }

  options() {
    const { panel } = this;
    const beside = unitBeside(panel.unit);
    const axes = [
      timeAxis(),
      axis({ size: LEFT_PX, space: 28, values: (u, splits) => this.labels(splits) }),
    ];
    if (beside) {
      const values = (u, splits) => splits.map((value) => `${Math.round(beside.convert(value))} ${beside.unit}`);
      axes.push(axis({ side: 1, size: RIGHT_PX, space: 28, scale: "y", grid: { show: false }, values }));
    }
    return {
      padding: [10, beside ? 0 : RIGHT_PX, 0, 0],
      scales: { x: { time: true, range: () => this.span }, y: { range: (u, low, high) => this.extent(low, high) } },
      axes,
      series: [{}, ...panel.series.map((series) => this.line(series))],
      hooks: { draw: [(plot) => this.nameLimits(plot)], setCursor: [() => this.showValues()] },
    };
  }

  line(series) {
    const limit = series.role === "limit";
    return {
      stroke: () => colour(series.colour),
      width: limit ? 1.5 : 2,
      dash: limit ? [7, 5] : undefined,
      points: { show: false },
    };
  }

  labels(splits) {
    const step = splits.length > 1 ? splits[1] - splits[0] : 1;
    const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    return splits.map((value) => `${value.toFixed(decimals)} ${this.panel.unit}`);
  }

  extent(low, high) {
    if (low === null) return [this.panel.minimum ?? 0, this.panel.maximum ?? 1];
    const least = Math.min(low, this.panel.minimum ?? low);
    const most = Math.max(high, this.panel.maximum ?? high);
    const room = Math.max((most - least) * 0.1, 0.2);
    return [this.panel.minimum !== null && least >= this.panel.minimum ? least : least - room, most + room];
  }

  // A limit's name stands on its line, so that the lines are told apart without their colours.
  nameLimits(plot) {
    const { ctx, bbox } = plot;
    const ratio = uPlot.pxRatio;
    ctx.save();
    ctx.font = `600 ${11 * ratio}px system-ui, "Liberation Sans", sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.lineWidth = 4 * ratio;
    ctx.lineJoin = "round";
    ctx.strokeStyle = colour("card");
    this.panel.series.forEach((series, index) => {
      const value = plot.data[index + 1].findLast((known) => known !== null);
      if (series.role !== "limit" || value === undefined) return;
      const place = [series.title, bbox.left + 8 * ratio, plot.valToPos(value, "y", true) - 5 * ratio];
      ctx.fillStyle = colour(series.colour);
      ctx.strokeText(...place);
      ctx.fillText(...place);
    });
    ctx.restore();
  }

  showValues() {
    if (!this.plot) return;
    const ms = cursorMs(this.plot);
    const index = ms === null ? null : this.nearest(ms);
    this.figure.showMoment(ms, this.nowMs);
    this.panel.series.forEach((series, at) => {
      const value = ms === null ? this.newest[series.column] : this.plot.data[at + 1][index];
      setText(this.values[at], measured(value, this.panel.unit, this.panel.decimals));
    });
  }

  nearest(ms) {
    const times = this.plot.data[0];
    const index = this.plot.valToIdx(ms);
    if (times[index] === undefined) return undefined;
    const distance = Math.abs(this.plot.valToPos(times[index], "x") - this.plot.valToPos(ms, "x"));
    return distance <= NEAR_PX ? index : undefined;
  }

  inWords(columns, range) {
    const { panel } = this;
    const words = panel.series.map((series) => {
      const now = measured(this.newest[series.column], panel.unit, panel.decimals);
      return `${series.title} ${now}`;
    });
    const known = columns[0].filter((value) => value !== null);
    if (!known.length) return `${panel.title}: no values in the last ${range.title}`;
    const [low, high] = [Math.min(...known), Math.max(...known)].map((v) => measured(v, panel.unit, panel.decimals));
    return `${panel.title}, newest: ${words.join(", ")}. In the last ${range.title} ${panel.series[0].title} was between ${low} and ${high}.`;
  }
}
