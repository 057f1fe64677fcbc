// The answer at the top: what the load runs on, why, since when, what is wrong, and how old all this is.

import { element, setText } from "./dom.js";
import { duration, moment } from "./words.js";

const by = (id) => document.getElementById(id);
const HEADLINES = { grid: "On GRID", battery: "On BATTERY (solar)" };

export class Status {
  constructor() {
    this.answer = null;
    this.receivedAt = 0;
  }

  update(answer) {
    this.answer = answer;
    this.receivedAt = performance.now();
    this.show();
  }

  get ageS() {
    return this.answer.sample.age_s + (performance.now() - this.receivedAt) / 1000;
  }

  // Whether the device has been silent for too long: what it said last need not be so any more.
  get isStale() {
    return Boolean(this.answer?.sample) && this.ageS > this.answer.sample.silent_after_s;
  }

  // Also called every second without news: an age grows when nothing arrives, above all then.
  show() {
    if (!this.answer) return;
    if (!this.answer.sample) return this.showNothing();
    const sample = this.answer.sample;
    const elapsedS = (performance.now() - this.receivedAt) / 1000;
    const { ageS, isStale: stale } = this;
    const position = HEADLINES[sample.position] ?? `On ${sample.position}`;
    const headline = stale ? `Last known: ${position[0].toLowerCase()}${position.slice(1)}` : position;
    by("status").dataset.position = sample.position;
    by("status").dataset.stale = stale;
    setText(by("headline"), headline);
    setText(by("why"), sample.why);
    setText(by("since"), this.since(sample, this.answer.now_ms + elapsedS * 1000));
    setText(by("freshness"), stale ? `No sample for ${duration(ageS)}` : `Newest sample ${duration(ageS)} ago`);
    this.showAlerts(sample.alerts, stale);
    document.title = `${headline} · Solarshed`;
  }

  showNothing() {
    by("status").dataset.position = "unknown";
    by("status").dataset.stale = true;
    setText(by("headline"), "No sample yet");
    setText(by("why"), `Nothing from ${this.answer.thing} in the last 30 days.`);
    setText(by("since"), "");
    setText(by("freshness"), "");
    by("alerts").replaceChildren();
    document.title = "No sample yet · Solarshed";
  }

  since(sample, nowMs) {
    if (sample.since_ms === null) return "Since when is not known.";
    const length = duration((nowMs - sample.since_ms) / 1000);
    return `Since ${moment(sample.since_ms, nowMs)} (${length}), switched because: ${sample.switched_because}.`;
  }

  showAlerts(alerts, stale) {
    const none = stale ? "" : "No alerts";
    const wanted = alerts.map((alert) => ["alert", `Alert: ${alert.words} (${alert.severity})`]);
    if (!wanted.length && none) wanted.push(["none", none]);
    if (JSON.stringify(wanted) === this.shownAlerts) return;
    this.shownAlerts = JSON.stringify(wanted);
    by("alerts").replaceChildren(...wanted.map(([kind, text]) => element("li", { class: kind }, text)));
  }
}
