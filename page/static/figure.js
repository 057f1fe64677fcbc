// What all panels have in common: a card with a heading, what its server says instead of an answer, and a place to draw.

import { element, setText } from "./dom.js";

let made = 0;

export class Figure {
  constructor(panel) {
    const titleId = `panel-title-${++made}`;
    this.title = element("h3", { id: titleId }, panel.title);
    this.caption = element("figcaption", {}, this.title);
    if (panel.over) this.caption.append(element("span", { class: "over" }, panel.over));
    if (panel.help) this.caption.append(help(panel));
    this.error = element("p", { class: "error", role: "status" });
    this.isLeftOut = false;
    this.root = element(
      "figure",
      { class: `panel ${panel.kind}`, "data-panel": panel.id, "aria-labelledby": titleId, "aria-busy": "true" },
      this.caption,
      this.error,
    );
  }

  showError(text) {
    setText(this.error, text);
    this.root.classList.toggle("failed", Boolean(text));
  }

  // Says whether that is news.
  leaveOut(isLeftOut) {
    const isNews = this.isLeftOut !== isLeftOut;
    this.isLeftOut = isLeftOut;
    this.root.classList.toggle("left-out", isLeftOut);
    return isNews;
  }

  isBusy(busy) {
    this.root.setAttribute("aria-busy", busy);
  }
}

function help(panel) {
  const summary = element("summary", { "aria-label": `About ${panel.title}` }, "?");
  return element("details", { class: "help" }, summary, element("p", {}, panel.help));
}
