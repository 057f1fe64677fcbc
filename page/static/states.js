// A panel of kind "states": coloured stretches of time, each with its reason.

import { element, setText } from "./dom.js";
import { duration, moment } from "./words.js";
import { Figure, LEFT_PX, RIGHT_PX, timeAxis, makePlot, cursorMs } from "./chart.js";

const SHOWN = ["grid", "battery"];
const ROOM_FOR_NAME_PX = 70;

export class StatesPanel {
  constructor(panel, parent) {
    this.figure = new Figure(panel, parent, "states");
    this.title = panel.title;
    for (const state of SHOWN) {
      this.figure.legend.append(
        element("li", {}, element("i", { class: `swatch block state-${state}` }), state.toUpperCase()),
      );
    }
    this.reason = element("p", { class: "reason" });
    this.figure.caption.append(this.reason);
    this.states = [];
    this.nowMs = 0;
    this.span = [0, 1];
    this.plot = makePlot(this.figure, this.options(), [[], []]);
    this.segments = element("div", { class: "segments" });
    this.plot.over.prepend(this.segments);
  }

  update(data, range) {
    const { position, reason_words: why } = data.columns;
    this.nowMs = data.to_ms;
    this.span = [data.from_ms, data.to_ms];
    this.states = data.times.map((from, i) => ({ from, until: data.until[i], position: position[i], why: why[i] }));
    this.plot.setData([this.span, [null, null]]);
    this.figure.showEmpty(this.states.length ? "" : `No samples in the last ${range.title}`);
    this.figure.describe(this.inWords(range));
    this.showReason();
  }

  options() {
    return {
      padding: [0, RIGHT_PX, 0, LEFT_PX],
      scales: { x: { time: true, range: () => this.span }, y: { range: [0, 1] } },
      axes: [timeAxis(), { show: false }],
      series: [{}, { show: false }],
      hooks: { draw: [() => this.place()], setCursor: [() => this.showReason()] },
    };
  }

  place() {
    if (!this.segments) return;
    while (this.segments.childElementCount > this.states.length) this.segments.lastChild.remove();
    while (this.segments.childElementCount < this.states.length) {
      this.segments.append(element("div", { class: "segment" }));
    }
    this.states.forEach((state, i) => this.placeOne(this.segments.children[i], state));
  }

  placeOne(segment, state) {
    const left = this.plot.valToPos(state.from, "x");
    const width = Math.max(2, this.plot.valToPos(state.until, "x") - left);
    Object.assign(segment.dataset, { position: state.position, from: state.from, until: state.until, why: state.why });
    segment.style.left = `${left}px`;
    segment.style.width = `${width}px`;
    setText(segment, width >= ROOM_FOR_NAME_PX ? state.position.toUpperCase() : "");
  }

  showReason() {
    if (!this.plot) return;
    const ms = cursorMs(this.plot);
    this.figure.showMoment(ms, this.nowMs);
    setText(this.reason, ms === null ? this.newestInShort() : this.stateAt(ms));
  }

  newestInShort() {
    const newest = this.states.at(-1);
    return newest ? `${newest.position.toUpperCase()}: ${newest.why}` : "";
  }

  stateAt(ms) {
    const state = this.states.findLast(({ from, until }) => from <= ms && ms <= until);
    return state ? this.describe(state) : "No sample at this time";
  }

  describe({ from, until, position, why }) {
    const length = duration((until - from) / 1000);
    return `${position.toUpperCase()}: ${why} (${moment(from, this.nowMs)} to ${moment(until, this.nowMs)}, ${length})`;
  }

  inWords(range) {
    if (!this.states.length) return `${this.title}: no samples in the last ${range.title}`;
    const seconds = (position) =>
      this.states.filter((s) => s.position === position).reduce((sum, s) => sum + (s.until - s.from) / 1000, 0);
    const shares = SHOWN.map((position) => `${duration(seconds(position))} on ${position}`);
    return `${this.title}, newest: ${this.describe(this.states.at(-1))}. In the last ${range.title}: ${shares.join(", ")}.`;
  }
}
