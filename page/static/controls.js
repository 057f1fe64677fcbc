// What is above the charts: the tabs of the dashboards, the range of time, and whether they are refreshed.

import { element, setText } from "./dom.js";
import { write } from "./address.js";

const by = (id) => document.getElementById(id);

export class Controls {
  // `acts`: `turnTo(view)`, `choose(range)`, `back()`, `pan(share)`, `zoomBy(factor)`, `pause(isPaused)`, `mark(areMarked)`.
  constructor({ dashboards, ranges }, acts) {
    this.tabs = new Map(dashboards.map(({ id, title }) => [id, this.tab(id, title, acts)]));
    this.inputs = new Map(ranges.map((range) => [range.id, this.input(range, acts)]));
    by("tabs").replaceChildren(...this.tabs.values());
    by("back").addEventListener("click", acts.back);
    by("pause").addEventListener("click", () => acts.pause(by("pause").getAttribute("aria-pressed") !== "true"));
    by("mark").addEventListener("change", () => acts.mark(by("mark").checked));
    for (const [id, act] of Object.entries({
      earlier: () => acts.pan(-0.5),
      later: () => acts.pan(0.5),
      closer: () => acts.zoomBy(0.5),
      wider: () => acts.zoomBy(2),
    })) by(id).addEventListener("click", act);
    by("controls").hidden = false;
  }

  tab(id, title, { turnTo }) {
    const name = title.split(": ").at(-1);
    const link = element("a", {}, name[0].toUpperCase() + name.slice(1));
    link.addEventListener("click", (event) => {
      // Another tab or window of the browser is its own affair.
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      turnTo(id);
    });
    return link;
  }

  input(range, { choose }) {
    const input = element("input", { type: "radio", name: "range", value: range.id });
    input.addEventListener("change", () => choose(range));
    by("ranges").append(element("label", {}, input, element("span", {}, range.title)));
    return input;
  }

  // `ranges` are the boards' own, by id.
  show({ view, range, zoom, isPaused, refreshS, words }, ranges) {
    for (const [id, link] of this.tabs) {
      link.href = write({ view: id, range: ranges.get(id) });
      if (id === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    for (const [id, input] of this.inputs) input.checked = !zoom && id === range.id;
    by("back").hidden = !zoom;
    by("pause").hidden = Boolean(zoom);
    by("pause").setAttribute("aria-pressed", isPaused);
    const live = isPaused ? "Paused: the charts stand still." : `Charts refresh every ${refreshS} s.`;
    setText(by("refresh-words"), zoom ? `Zoomed ${words}: the charts stand still.` : live);
  }
}
