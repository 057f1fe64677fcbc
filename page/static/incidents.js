// Whom it has woken: the incidents that PagerDuty has made of the alerts, open ones first.

import { element, setText } from "./dom.js";
import { duration, moment } from "./words.js";

// Those that are over are soon in the way of the charts: the newest of them are enough, unless somebody asks.
const MOST_OPEN = 8;
const MOST_OVER = 3;

const by = (id) => document.getElementById(id);

export class IncidentList {
  constructor() {
    this.areAllShown = false;
    by("incidents-more").addEventListener("click", () => {
      this.areAllShown = !this.areAllShown;
      this.update(this.answer);
    });
  }

  update(answer) {
    this.answer = answer;
    const { now_ms: nowMs, incidents } = answer;
    by("incidents").hidden = false;
    const open = incidents.filter((incident) => incident.resolved_ms === null);
    const over = incidents.filter((incident) => incident.resolved_ms !== null);
    setText(by("incidents-state"), open.length ? `${open.length} open` : "None open");
    by("incidents-state").dataset.open = open.length > 0;
    const few = [...open.slice(0, MOST_OPEN), ...over.slice(0, MOST_OVER)];
    const shown = this.areAllShown ? [...open, ...over] : few;
    const rows = shown.map((incident) => inWords(incident, nowMs));
    const asked = JSON.stringify(rows);
    if (asked !== this.shown) {
      this.shown = asked;
      by("incidents-list").replaceChildren(...rows.map(asItem));
    }
    const more = incidents.length - few.length;
    by("incidents-more").hidden = more <= 0;
    by("incidents-more").setAttribute("aria-expanded", this.areAllShown);
    setText(by("incidents-more"), this.areAllShown ? "Show fewer" : `Show ${more} more`);
  }

  noAnswer(because) {
    by("incidents").hidden = false;
    setText(by("incidents-state"), because || "Not known");
    by("incidents-state").dataset.open = true;
  }
}

function inWords({ alert, severity, summary, opened_ms: openedMs, resolved_ms: resolvedMs }, nowMs) {
  const opened = moment(openedMs, nowMs);
  const fate = resolvedMs === null ? "open" : `resolved after ${duration((resolvedMs - openedMs) / 1000)}`;
  return { alert, severity, summary, openedMs, state: resolvedMs === null ? "open" : "resolved", when: `${opened}, ${fate}` };
}

function asItem({ alert, severity, summary, openedMs, state, when }) {
  const title = element("b", {}, alert);
  const line = element("p", {}, title, ` (${severity})`);
  const time = element("time", { datetime: new Date(openedMs).toISOString() }, when);
  return element("li", { class: state, "data-severity": severity }, line, element("p", { class: "summary" }, summary), time);
}
