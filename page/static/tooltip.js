// What the charts say at the cursor: a box beside it for the eyes, a live region for the ears.

import { element } from "./dom.js";

const AWAY_PX = 14;
const EDGE_PX = 8;
// A key that is held down moves faster than anybody can listen.
const READ_AFTER_MS = 350;

const by = (id) => document.getElementById(id);

export class Tooltip {
  constructor() {
    this.owner = null;
    this.timer = 0;
  }

  // `lines` are {title, text, tone}, `x` and `plot` say where the cursor is in the window.
  show({ time, lines }, x, plot) {
    const box = by("tooltip");
    const rows = lines.map(({ title, text, tone, mark }) =>
      element("li", {}, element("i", { class: mark ? `mark ${mark}` : "swatch block", "data-tone": tone }), `${title} `, element("b", {}, text)),
    );
    box.replaceChildren(element("p", {}, time), element("ul", {}, ...rows));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const { clientWidth, clientHeight } = document.documentElement;
    const right = x + AWAY_PX;
    const left = right + width + EDGE_PX <= clientWidth ? right : x - AWAY_PX - width;
    // Beside the cursor where there is room; on a phone there is none, and the box stands above the plot.
    const isBeside = left >= EDGE_PX;
    const above = plot.top - height - EDGE_PX >= EDGE_PX ? plot.top - height - EDGE_PX : plot.bottom + EDGE_PX;
    const within = (at, size, room) => Math.max(EDGE_PX, Math.min(at, room - size - EDGE_PX));
    box.style.left = `${within(isBeside ? left : x - width / 2, width, clientWidth)}px`;
    box.style.top = `${within(isBeside ? plot.top + AWAY_PX : above, height, clientHeight)}px`;
  }

  hide() {
    by("tooltip").hidden = true;
  }

  read({ time, lines }) {
    clearTimeout(this.timer);
    const text = [time, ...lines.map(({ title, text: value }) => `${title} ${value}`)].join(", ");
    this.timer = setTimeout(() => by("reading").replaceChildren(text), READ_AFTER_MS);
  }
}
