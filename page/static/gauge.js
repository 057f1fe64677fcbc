// A panel of kind "gauge": a half ring from `low` to `high`, with the steps on its rim, and the value in it.

import { drawing, element, setText } from "./dom.js";
import { Figure } from "./figure.js";
import { level } from "./stat.js";
import { toneOf, valueText } from "./words.js";

const half = (radius) => `M${100 - radius} 100A${radius} ${radius} 0 0 1 ${100 + radius} 100`;

export class GaugePanel {
  constructor(panel) {
    this.panel = panel;
    this.figure = new Figure(panel);
    this.arc = this.stroke("arc", 78, 0, 0);
    const picture = drawing("svg", { viewBox: "0 0 200 104", "aria-hidden": "true" });
    picture.append(this.stroke("track", 78, 0, 1), this.arc, ...this.rim());
    this.value = element("span", { class: "value" }, "…");
    this.level = element("span", {});
    this.meter = element(
      "div",
      { class: "meter", role: "meter", "aria-label": panel.title, "aria-valuemin": panel.low, "aria-valuemax": panel.high },
      picture,
      element("p", { class: "reading" }, this.value, this.level),
    );
    const bounds = [panel.low, panel.high].map((value) => element("span", {}, this.bound(value)));
    this.figure.root.append(this.meter, element("p", { class: "bounds", "aria-hidden": "true" }, ...bounds));
  }

  update({ values }) {
    const { panel } = this;
    const value = values[0]?.value ?? null;
    this.isEmpty = value === null;
    const tone = toneOf(panel, value);
    const text = valueText(panel, value);
    this.arc.setAttribute("stroke-dasharray", `${value === null ? 0 : 100 * this.share(value)} 100`);
    this.arc.dataset.tone = tone;
    this.meter.dataset.tone = tone;
    setText(this.value, text);
    if (tone !== this.tone) this.level.replaceChildren(level(tone));
    this.tone = tone;
    this.meter.setAttribute("aria-valuenow", value === null ? panel.low : Math.min(Math.max(value, panel.low), panel.high));
    this.meter.setAttribute("aria-valuetext", value === null ? "not known" : text);
  }

  share(value) {
    const { low, high } = this.panel;
    return Math.min(1, Math.max(0, (value - low) / (high - low)));
  }

  bound(value) {
    return valueText({ ...this.panel, decimals: 0 }, value);
  }

  rim() {
    return this.panel.steps.map((step, i, steps) => {
      const from = this.share(step.value);
      const until = i + 1 < steps.length ? this.share(steps[i + 1].value) : 1;
      const part = this.stroke("step", 94, from, until);
      part.dataset.tone = step.colour;
      return part;
    });
  }

  stroke(name, radius, from, until) {
    return drawing("path", {
      class: name,
      d: half(radius),
      pathLength: 100,
      "stroke-dasharray": `${100 * (until - from)} 200`,
      "stroke-dashoffset": -100 * from,
    });
  }
}
