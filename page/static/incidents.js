// Whom it has woken: the incidents that PagerDuty has made of the alerts, open ones first.

import { element, setText } from "./dom.js";
import { duration, moment } from "./words.js";

const MOST = 8;

const by = (id) => document.getElementById(id);

export class IncidentList {
  update({ now_ms: nowMs, incidents }) {
    by("incidents").hidden = false;
    const open = incidents.filter((incident) => incident.resolved_ms === null);
    const over = incidents.filter((incident) => incident.resolved_ms !== null);
    setText(by("incidents-state"), open.length ? `${open.length} open` : "None open");
    by("incidents-state").dataset.open = open.length > 0;
    const shown = [...open, ...over].slice(0, MOST);
    const rows = shown.map((incident) => inWords(incident, nowMs));
    const asked = JSON.stringify(rows);
    if (asked !== this.shown) {
      this.shown = asked;
      by("incidents-list").replaceChildren(...rows.map(asItem));
    }
    const more = incidents.length - shown.length;
    setText(by("incidents-more"), more > 0 ? `… and ${more} earlier` : "");
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
