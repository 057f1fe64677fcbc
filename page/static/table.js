// A panel of kind "table": what happened, newest first, each with its mark.

import { element, setText } from "./dom.js";
import { Figure } from "./figure.js";
import { moment } from "./words.js";

const AT_FIRST = 12;

export class TablePanel {
  constructor(panel) {
    this.figure = new Figure(panel);
    const heads = ["When", "What"].map((title) => element("th", { scope: "col" }, title));
    this.body = element("tbody");
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), this.body);
    this.none = element("p", { class: "quiet" });
    this.more = element("button", { type: "button", hidden: "" });
    this.more.addEventListener("click", () => this.showAll());
    this.figure.root.append(table, this.none, this.more);
    this.most = AT_FIRST;
  }

  // Of `/api/events`: beside what the panel's own query has, it knows how the owner's overrides have ended.
  update({ events, is_cut: isCut }, shown) {
    this.isEmpty = !events.length;
    this.events = events;
    this.nowMs = shown.nowMs;
    const cut = isCut ? "Only the newest are listed: a shorter range shows those before." : "";
    setText(this.none, events.length ? cut : `Nothing changed ${shown.words}.`);
    this.show();
  }

  show() {
    const shown = JSON.stringify([this.events, this.most]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.body.replaceChildren(...this.events.slice(0, this.most).map((event) => this.row(event)));
    const left = this.events.length - this.most;
    this.more.hidden = left <= 0;
    setText(this.more, `Show ${left} more`);
  }

  showAll() {
    this.most = Infinity;
    this.show();
    this.body.rows[AT_FIRST]?.setAttribute("tabindex", "-1");
    this.body.rows[AT_FIRST]?.focus();
  }

  row({ kind, text, time_ms: timeMs }) {
    const time = element("time", { datetime: new Date(timeMs).toISOString() }, moment(timeMs, this.nowMs));
    const mark = element("i", { class: "mark", "aria-hidden": "true" });
    return element("tr", { class: kind }, element("td", {}, time), element("td", {}, mark, element("span", {}, text)));
  }
}
