// A panel of kind "states": a lane for each series, in it coloured stretches of time, each with its word.

import { colour, element, fill, onFill, setText } from "./dom.js";
import { Chart, FONT, LEFT_PX, RIGHT_PX, timeAxis } from "./chart.js";
import { duration, moment, toneOf, valueText } from "./words.js";

const NAME_PX = 16;
const LANE_PX = 46;
const AXIS_PX = 26;
const TOP_PX = 8;
// A stretch of these is lower than one of the others, so that it is told apart without the colour.
const CALM = new Set(["battery", "good", "quiet"]);
const CALM_SHARE = 0.62;
const MOST_SUMMED_UP = 6;

export class StatesPanel extends Chart {
  constructor(panel, tools) {
    super(panel, tools);
    this.lanes = panel.series.map(({ title }) => ({ title, spans: [] }));
    this.values = this.lanes.map(() => element("b", {}, "–"));
    this.swatches = this.lanes.map(() => element("i", { class: "swatch block" }));
    this.legend.append(
      ...this.lanes.map(({ title }, i) => element("li", {}, this.swatches[i], `${title} `, this.values[i])),
    );
    this.plotRoot.style.minHeight = `${this.lanes.length * LANE_PX + AXIS_PX + TOP_PX}px`;
  }

  update({ series }, shown) {
    this.lanes = series;
    this.isEmpty = series.every(({ spans }) => !spans.length);
    this.draw([[shown.from, shown.to], [null, null]], shown);
  }

  move(shown) {
    this.span = [shown.from, shown.to];
    this.plot?.setData([[shown.from, shown.to], [null, null]]);
  }

  options() {
    return {
      padding: [TOP_PX, RIGHT_PX, 0, LEFT_PX],
      scales: { x: { time: true, range: () => this.span }, y: { range: [0, 1] } },
      axes: [timeAxis(), { show: false }],
      series: [{}, { show: false }],
    };
  }

  drawOver(plot) {
    const { ctx, bbox } = plot;
    const ratio = uPlot.pxRatio;
    const height = bbox.height / this.lanes.length;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.textBaseline = "middle";
    this.lanes.forEach((lane, i) => this.drawLane(plot, lane, bbox.top + i * height, height - 3 * ratio));
    ctx.restore();
    super.drawOver(plot);
  }

  drawLane(plot, { title, spans }, top, height) {
    const { ctx, bbox } = plot;
    const ratio = uPlot.pxRatio;
    const bar = { top: top + NAME_PX * ratio, height: height - NAME_PX * ratio };
    ctx.font = `${11 * ratio}px ${FONT}`;
    ctx.textAlign = "left";
    ctx.fillStyle = colour("quiet");
    ctx.fillText(title, bbox.left + 2 * ratio, top + (NAME_PX / 2) * ratio);
    ctx.fillStyle = colour("rule");
    ctx.fillRect(bbox.left, bar.top, bbox.width, bar.height);
    ctx.font = `650 ${11 * ratio}px ${FONT}`;
    ctx.textAlign = "center";
    for (const { from, until, value } of spans) {
      const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
      const right = Math.min(bbox.left + bbox.width, plot.valToPos(until, "x", true));
      if (right < bbox.left || left > bbox.left + bbox.width) continue;
      this.drawSpan(ctx, value, left, Math.max(ratio, right - left), bar);
    }
  }

  drawSpan(ctx, value, left, width, bar) {
    const tone = toneOf(this.panel, value) || "quiet";
    const word = valueText(this.panel, value);
    const height = CALM.has(tone) ? bar.height * CALM_SHARE : bar.height;
    const top = bar.top + bar.height - height;
    const ratio = uPlot.pxRatio;
    ctx.fillStyle = fill(tone);
    ctx.fillRect(left, top, width > 3 * ratio ? width - ratio : width, height);
    if (ctx.measureText(word).width + 10 * ratio > width || height < 11 * ratio) return;
    ctx.fillStyle = onFill(tone);
    ctx.fillText(word, left + width / 2, top + height / 2);
  }

  showLegend(ms) {
    this.lanes.forEach(({ spans }, i) => {
      const span = ms === null ? spans.at(-1) : spanAt(spans, ms);
      setText(this.values[i], span ? valueText(this.panel, span.value) : "–");
      this.swatches[i].dataset.tone = span ? toneOf(this.panel, span.value) || "quiet" : "rule";
    });
  }

  readAt(ms) {
    const lines = this.lanes.map(({ title, spans }) => {
      const span = spanAt(spans, ms);
      if (!span) return { title, text: "no sample", tone: "rule" };
      return { title, text: this.describe(span), tone: toneOf(this.panel, span.value) || "quiet" };
    });
    return { timeMs: ms, lines };
  }

  describe({ from, until, value }) {
    const length = duration((until - from) / 1000);
    return `${valueText(this.panel, value)} (${length}, from ${moment(from, this.nowMs)} to ${moment(until, this.nowMs)})`;
  }

  // Where anything changes.
  points() {
    const from = this.lanes.flatMap(({ spans }) => spans.map((span) => Math.max(span.from, this.span[0])));
    return [...new Set(from)].sort((a, b) => a - b);
  }

  inWords(range) {
    if (this.isEmpty) return `${this.panel.title}: no values ${range}.`;
    const lanes = this.lanes.map(({ title, spans }) => {
      const seconds = new Map();
      for (const { from, until, value } of spans) seconds.set(value, (seconds.get(value) ?? 0) + (until - from) / 1000);
      const longest = [...seconds].sort(([, a], [, b]) => b - a).slice(0, MOST_SUMMED_UP);
      const shares = longest.map(([value, s]) => `${valueText(this.panel, value)} for ${duration(s)}`);
      const newest = spans.length ? valueText(this.panel, spans.at(-1).value) : "not known";
      return `${title}, newest: ${newest}; ${range} ${shares.join(", ")}`;
    });
    return `${this.panel.title}. ${lanes.join(". ")}.`;
  }
}

function spanAt(spans, ms) {
  return spans.findLast(({ from, until }) => from <= ms && ms <= until);
}
