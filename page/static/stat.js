// A panel of kind "stat": a value, or a few, in large letters.

import { element } from "./dom.js";
import { Figure } from "./figure.js";
import { toneOf, valueText } from "./words.js";

// Said beside a value, so that the colour is not the only one to say it.
const LEVELS = { warning: "! warning", danger: "‼ danger" };

export class StatPanel {
  constructor(panel) {
    this.panel = panel;
    this.figure = new Figure(panel);
    this.list = element("dl", { class: "values" }, element("dd", { class: "value" }, "…"));
    this.figure.root.append(this.list);
  }

  update({ values }) {
    this.isEmpty = values.every(({ value }) => value === null);
    const text = JSON.stringify(values);
    if (text === this.shown) return;
    this.shown = text;
    const known = values.length ? values : [{ title: "", value: null }];
    this.list.replaceChildren(...known.map((one) => this.item(one, known.length > 1)));
  }

  item({ title, value }, isNamed) {
    const { panel } = this;
    const series = panel.series.find((one) => one.title === title);
    const tone = toneOf(panel, value);
    const number = element("dd", { class: "value", "data-tone": tone }, valueText(panel, value));
    if (panel.steps.length && tone in LEVELS) number.append(level(tone));
    const name = element("dt", { class: isNamed ? "" : "unseen" }, title || panel.title);
    if (isNamed && series?.colour) name.prepend(element("i", { class: "swatch", "data-tone": series.colour }));
    return element("div", {}, name, number);
  }
}

export function level(tone) {
  return element("span", { class: "level", "data-tone": tone }, LEVELS[tone] ?? "");
}
