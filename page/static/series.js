// The lines or bars of a chart: each with its colour, its place in the legend, and its value at the cursor.

import { element, setText } from "./dom.js";
import { Chart } from "./chart.js";
import { valueText } from "./words.js";

// Of how many sources the colours differ; a seventh begins anew.
const SOURCE_COLOURS = 6;
const MOST_SUMMED_UP = 4;

export class SeriesChart extends Chart {
  constructor(panel, tools) {
    super(panel, tools);
    this.series = [];
    this.values = [];
    this.takeSeries(panel.series.map(({ column, title, colour, is_limit }) => ({ column, title, colour, is_limit })));
  }

  update({ times, series }, shown) {
    this.isEmpty = series.every(({ values }) => values.every((value) => value === null));
    this.takeSeries(series);
    this.draw([times, ...series.map(({ values }) => values)], shown);
  }

  // Another source needs another plot: uPlot has its series for good.
  takeSeries(series) {
    const [was, are] = [this.series, series].map((all) => JSON.stringify(all.map(({ title, column }) => [title, column])));
    if (was === are) return;
    const nameless = series.filter((one) => !one.colour);
    this.series = series.map(({ column, title, colour, is_limit: isLimit }, i) => {
      const tone = colour ?? `source-${(nameless.indexOf(series[i]) % SOURCE_COLOURS) + 1}`;
      return { column, title, tone, isLimit };
    });
    this.values = this.series.map(() => element("b", {}, "–"));
    this.legend.replaceChildren(...this.series.map((one, i) => this.legendItem(one, this.values[i])));
    this.plot?.destroy();
    this.plot = null;
  }

  legendItem({ title, tone, isLimit, column }, value) {
    const swatch = element("i", { class: `swatch ${isLimit ? "limit" : this.panel.kind}`, "data-tone": tone });
    return element("li", { "data-column": column }, swatch, `${title} `, value);
  }

  showLegend(ms) {
    const index = ms === null ? null : this.indexAt(ms);
    this.series.forEach((one, i) => {
      const values = this.plot?.data[i + 1] ?? [];
      const value = ms === null ? values.findLast((known) => known !== null) : values[index];
      setText(this.values[i], valueText(this.panel, value));
    });
  }

  readAt(ms) {
    const index = this.indexAt(ms);
    const lines = this.series.map(({ title, tone }, i) => ({
      title,
      tone,
      text: valueText(this.panel, this.plot.data[i + 1][index]),
    }));
    return { timeMs: index === undefined ? ms : this.plot.data[0][index], lines };
  }

  points() {
    const [times, ...columns] = this.plot?.data ?? [[]];
    return times.filter((_, i) => columns.some((values) => values[i] !== null));
  }

  inWords(range) {
    if (this.isEmpty) return `${this.panel.title}: no values ${range}.`;
    const text = (value) => valueText(this.panel, value);
    const known = this.series.map((one, i) => ({ ...one, values: this.plot.data[i + 1].filter((v) => v !== null) }));
    const newest = known.filter(({ values }) => values.length).map(({ title, values }) => `${title} ${text(values.at(-1))}`);
    const between = known
      .filter(({ values, isLimit }) => values.length && !isLimit)
      .slice(0, MOST_SUMMED_UP)
      .map(({ title, values }) => {
        const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
        return `${title} was between ${text(low)} and ${text(high)}`;
      });
    const extremes = between.length ? ` ${range[0].toUpperCase()}${range.slice(1)} ${between.join(", ")}.` : "";
    return `${this.panel.title}, newest: ${newest.join(", ")}.${extremes}`;
  }
}
