// What all charts over time have in common: one time axis, one cursor, zoom by drag and by keys, marks for events.

import { element, colour } from "./dom.js";
import { Figure } from "./figure.js";
import { DAY_MS, day, moment, tick } from "./words.js";

// Equal on every chart, so that the same moment is at the same place in all of them.
export const LEFT_PX = 54;
export const RIGHT_PX = 12;
export const FONT = 'system-ui, "Liberation Sans", sans-serif';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const STEPS_MS = [
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 4, 7, 14, 30, 60, 90, 180, 365].map((n) => n * DAY_MS),
];
// A drag that is shorter is a click whose hand has trembled.
const DRAG_PX = 8;
// Marks that are nearer to each other are one; what is as near to the cursor is named.
const MARK_PX = 9;
const MOST_NAMED = 4;
// A page key moves by this share of the points.
const PAGE_SHARE = 0.1;

export class Chart {
  // `tools`: `tooltip`, `events()` to mark, `zoom(from, to)`, `zoomBy(factor, ms)`, `pan(share)`, `back()`.
  constructor(panel, tools) {
    this.panel = panel;
    this.tools = tools;
    this.figure = new Figure(panel);
    this.legend = element("ul", { class: "legend" });
    this.plotRoot = element("div", {
      class: "plot",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "chart",
      "aria-describedby": "keys",
      "aria-label": panel.title,
    });
    this.none = element("p", { class: "none" });
    this.plotRoot.append(this.none);
    this.figure.caption.append(this.legend);
    this.figure.root.append(this.plotRoot);
    this.span = [0, 1];
    this.nowMs = 0;
    this.isEmpty = false;
    this.exact = null;
  }

  // To be called when the figure stands in the page: a plot is as large as its place.
  draw(data, shown) {
    this.nowMs = shown.nowMs;
    this.span = [shown.from, shown.to];
    this.exact = null;
    if (!this.plot) this.plot = this.makePlot(data);
    else this.plot.setData(data);
    this.none.textContent = this.isEmpty ? `No values ${shown.words}` : "";
    this.none.hidden = !this.isEmpty;
    this.plotRoot.setAttribute("aria-label", this.inWords(shown.words));
    this.showCursor();
  }

  // Before the answer for another range is there, what is known of it is drawn.
  move(shown) {
    this.span = [shown.from, shown.to];
    this.plot?.setData(this.plot.data);
  }

  redraw() {
    this.plot?.redraw(false, true);
  }

  makePlot(data) {
    const size = () => ({ width: this.plotRoot.clientWidth, height: this.plotRoot.clientHeight });
    const options = this.options();
    const plot = new uPlot(
      {
        ...size(),
        ms: 1,
        legend: { show: false },
        cursor: {
          y: false,
          drag: { x: false, y: false },
          points: { size: 7 },
          sync: { key: this.tools.key, setSeries: false, scales: ["x", null] },
        },
        ...options,
        hooks: { draw: [(plot) => this.drawOver(plot)], setCursor: [(plot) => plot === this.plot && this.showCursor()] },
      },
      data,
      this.plotRoot,
    );
    new ResizeObserver(() => {
      const { width, height } = size();
      if (width && height) plot.setSize({ width, height });
    }).observe(this.plotRoot);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw(false, true));
    plot.over.append(element("div", { class: "chosen", hidden: "" }));
    this.listen(plot);
    return plot;
  }

  listen(plot) {
    const { tooltip } = this.tools;
    let start = null;
    let isDrag = false;
    const chosen = plot.over.lastChild;
    const at = (event) => {
      const { left, width } = plot.over.getBoundingClientRect();
      return Math.min(Math.max(event.clientX - left, 0), width);
    };
    const end = () => {
      start = null;
      isDrag = false;
      chosen.hidden = true;
    };
    plot.over.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      start = at(event);
      tooltip.owner = this;
      if (event.pointerType !== "mouse") plot.setCursor({ left: start, top: 0 }, true, true);
    });
    plot.over.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" && tooltip.owner !== this) tooltip.owner = this;
      if (start === null) return;
      const now = at(event);
      if (!isDrag && Math.abs(now - start) < DRAG_PX) return;
      isDrag = true;
      plot.over.setPointerCapture(event.pointerId);
      chosen.hidden = false;
      chosen.style.left = `${Math.min(start, now)}px`;
      chosen.style.width = `${Math.abs(now - start)}px`;
    });
    plot.over.addEventListener("pointerup", (event) => {
      if (isDrag) {
        const [from, to] = [start, at(event)].sort((a, b) => a - b).map((left) => plot.posToVal(left, "x"));
        this.leave();
        this.tools.zoom(from, to);
      }
      end();
    });
    // The finger scrolls the page instead: that is never taken from it.
    plot.over.addEventListener("pointercancel", end);
    plot.over.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && start === null && this.leave());
    this.plotRoot.addEventListener("keydown", (event) => this.press(event));
    this.plotRoot.addEventListener("blur", () => this.leave());
  }

  leave() {
    this.plot.setCursor({ left: -10, top: -10 }, true, true);
    if (this.tools.tooltip.owner === this) {
      this.tools.tooltip.owner = null;
      this.tools.tooltip.hide();
    }
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = this.action(event);
    if (!act) return;
    event.preventDefault();
    act();
  }

  action({ key, shiftKey }) {
    const { tools } = this;
    const times = this.points();
    const page = Math.max(1, Math.round(times.length * PAGE_SHARE));
    if (key === "ArrowLeft") return shiftKey ? () => tools.pan(-0.25) : () => this.step(-1);
    if (key === "ArrowRight") return shiftKey ? () => tools.pan(0.25) : () => this.step(1);
    const steps = { PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity };
    if (key in steps) return () => this.step(steps[key]);
    if (key === "+" || key === "=") return () => tools.zoomBy(0.5, this.cursorMs());
    if (key === "-") return () => tools.zoomBy(2, this.cursorMs());
    if (key !== "Escape") return null;
    return () => {
      this.leave();
      tools.back();
    };
  }

  // Moves the cursor by `points` and has it read out. Without a cursor it begins at the newest point.
  step(points) {
    const times = this.points().filter((ms) => ms >= this.span[0] && ms <= this.span[1]);
    if (!times.length || !this.plot) return this.tools.tooltip.read({ time: this.none.textContent, lines: [] });
    const ms = this.cursorMs();
    const here = ms === null ? times.length : nearest(times, ms);
    const next = Math.min(Math.max(ms === null && points > 0 ? 0 : here + points, 0), times.length - 1);
    this.tools.tooltip.owner = this;
    this.exact = { left: this.plot.valToPos(times[next], "x"), ms: times[next] };
    this.plot.setCursor({ left: this.exact.left, top: 0 }, true, true);
    this.tools.tooltip.read(this.reading(times[next]));
  }

  // The moment under the cursor, or null where it is elsewhere.
  cursorMs() {
    const { left } = this.plot?.cursor ?? {};
    if (left === undefined || left === null || left < 0) return null;
    // What a key has pointed at is not to be lost by rounding to a pixel and back.
    return left === this.exact?.left ? this.exact.ms : this.plot.posToVal(left, "x");
  }

  showCursor() {
    const ms = this.cursorMs();
    this.showLegend(ms);
    const { tooltip } = this.tools;
    if (tooltip.owner !== this) return;
    if (ms === null) return tooltip.hide();
    const plot = this.plot.over.getBoundingClientRect();
    tooltip.show(this.reading(ms), plot.left + this.plot.cursor.left, plot);
  }

  reading(ms) {
    const { timeMs, lines } = this.readAt(ms);
    const isDay = this.panel.kind === "bars";
    const near = this.eventsNear(ms);
    const named = near.slice(0, MOST_NAMED).map(({ kind, text, time_ms: at }) => ({ title: moment(at, this.nowMs), text, mark: kind }));
    if (near.length > MOST_NAMED) named.push({ title: "…", text: `and ${near.length - MOST_NAMED} more`, mark: "none" });
    return { time: (isDay ? day : moment)(timeMs, this.nowMs), lines: [...lines, ...named] };
  }

  eventsNear(ms) {
    const nearMs = ((this.span[1] - this.span[0]) * MARK_PX) / this.plot.over.clientWidth;
    return this.tools.events().filter((event) => Math.abs(event.time_ms - ms) <= nearMs);
  }

  // Thin lines with a mark at the top, whose form says what it is. Where they are too near, an alert goes first.
  drawEvents(plot) {
    const { ctx, bbox } = plot;
    const ratio = uPlot.pxRatio;
    const ranked = [...this.tools.events()].sort((a, b) => (b.kind === "alert_raised") - (a.kind === "alert_raised"));
    const taken = [];
    ctx.save();
    for (const { kind, time_ms: ms } of ranked) {
      const x = Math.round(plot.valToPos(ms, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width || taken.some((other) => Math.abs(other - x) < MARK_PX * ratio)) continue;
      taken.push(x);
      ctx.strokeStyle = ctx.fillStyle = colour(kind === "alert_raised" ? "danger" : kind);
      ctx.lineWidth = ratio;
      ctx.globalAlpha = 0.55;
      ctx.setLineDash([2 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.globalAlpha = 1;
      ctx.fill(markOf(kind, x, bbox.top, 4.5 * ratio));
    }
    ctx.restore();
  }

  drawOver(plot) {
    this.drawEvents(plot);
  }
}

// Down to GRID, up to BATTERY, a square for an alert: as in the list of events.
function markOf(kind, x, top, size) {
  const mark = new Path2D();
  if (kind === "alert_raised") mark.rect(x - size, top - size, 2 * size, 2 * size);
  else {
    const [base, tip] = kind === "grid" ? [top - size, top + size] : [top + size, top - size];
    mark.moveTo(x - size, base);
    mark.lineTo(x + size, base);
    mark.lineTo(x, tip);
  }
  return mark;
}

export function nearest(times, ms) {
  let low = 0;
  let high = times.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle] <= ms) low = middle;
    else high = middle;
  }
  return ms - times[low] <= times[high] - ms ? low : high;
}

export function axis(more) {
  const rule = { stroke: () => colour("rule"), width: 1 };
  return { stroke: () => colour("quiet"), font: `12px ${FONT}`, grid: rule, ticks: { ...rule, size: 4 }, ...more };
}

export function timeAxis() {
  const values = (u, splits, index, space, step) => splits.map((ms) => tick(ms, step));
  return axis({ size: 26, space: 74, incrs: STEPS_MS, values });
}

// The scale of values: what is known, the bounds that the panel wants on it at least, and some room.
export function extent({ low: least, high: most }, low, high) {
  if (low === null || low === undefined) return [least ?? 0, most ?? 1];
  const bottom = Math.min(low, least ?? low);
  const top = Math.max(high, most ?? high);
  const room = Math.max((top - bottom) * 0.1, 0.2);
  return [least !== null && bottom >= least ? bottom : bottom - room, top === 100 && most === 100 ? top : top + room];
}

export function valueAxis(panel) {
  const values = (u, splits) => splits.map((value) => label(panel, splits, value));
  const hours = [0.25, 0.5, 1, 2, 3, 4, 6, 12, 24, 48].map((n) => n * 3600);
  return axis({ size: LEFT_PX, space: 28, values, ...(panel.is_duration ? { incrs: hours } : {}) });
}

function label({ is_duration: isDuration, unit }, splits, value) {
  if (isDuration) return `${value / 3600} h`;
  const step = splits.length > 1 ? splits[1] - splits[0] : 1;
  const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
  return `${value.toFixed(decimals)} ${unit}`.trim();
}
