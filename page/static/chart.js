// What all panels have in common: a figure with caption and plot, one time axis, one cursor.

import { element, colour } from "./dom.js";
import { tick, moment } from "./words.js";

// Equal on every panel, so that the same moment is at the same place in all of them.
export const LEFT_PX = 54;
export const RIGHT_PX = 52;

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const STEPS_MS = [
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12, 24, 48].map((n) => n * HOUR),
];

const FONT = '12px system-ui, "Liberation Sans", sans-serif';

export class Figure {
  constructor(panel, parent, kind) {
    const titleId = `panel-${panel.id}`;
    this.title = element("h2", { id: titleId }, panel.title);
    this.at = element("span", { class: "at" });
    this.legend = element("ul", { class: "legend" });
    this.caption = element("figcaption", {}, this.title, this.at, this.legend);
    this.plot = element("div", { class: `plot ${kind}`, role: "img", "aria-label": panel.title });
    this.empty = element("p", { class: "empty" });
    this.plot.append(this.empty);
    this.root = element("figure", { id: panel.id, "aria-labelledby": titleId }, this.caption, this.plot);
    parent.append(this.root);
  }

  showEmpty(text) {
    this.empty.textContent = text;
    this.empty.hidden = !text;
  }

  describe(text) {
    this.plot.setAttribute("aria-label", text);
  }

  showMoment(ms, nowMs) {
    this.at.textContent = ms === null ? "" : `at ${moment(ms, nowMs)}`;
  }
}

export function axis(more) {
  const rule = { stroke: () => colour("rule"), width: 1 };
  return { stroke: () => colour("quiet"), font: FONT, grid: rule, ticks: { ...rule, size: 4 }, ...more };
}

export function timeAxis() {
  const values = (u, splits, index, space, step) => splits.map((ms) => tick(ms, step));
  return axis({ size: 26, space: 74, incrs: STEPS_MS, values });
}

export function makePlot(figure, options, data) {
  const size = () => ({ width: figure.plot.clientWidth, height: figure.plot.clientHeight });
  const plot = new uPlot(
    {
      ...size(),
      ms: 1,
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 7 },
        sync: { key: "time", setSeries: false, scales: ["x", null] },
      },
      ...options,
    },
    data,
    figure.plot,
  );
  new ResizeObserver(() => plot.setSize(size())).observe(figure.plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw(false, true));
  return plot;
}

// The moment under the cursor, or null where it is elsewhere.
export function cursorMs(plot) {
  return plot.cursor.left === undefined || plot.cursor.left < 0 ? null : plot.posToVal(plot.cursor.left, "x");
}
