// One dashboard: its rows of panels, and which of them are to be asked for now.

import { NO_SERVER, ask } from "./ask.js";
import { BarsPanel } from "./bars.js";
import { element } from "./dom.js";
import { GaugePanel } from "./gauge.js";
import { LinesPanel } from "./lines.js";
import { StatPanel } from "./stat.js";
import { StatesPanel } from "./states.js";
import { TablePanel } from "./table.js";

const KINDS = {
  stat: StatPanel,
  gauge: GaugePanel,
  lines: LinesPanel,
  bars: BarsPanel,
  states: StatesPanel,
  table: TablePanel,
};
const CHARTS = new Set(["lines", "bars", "states"]);
// These say what is now, or over a range of their own: they go on while the charts stand still.
const OF_NOW = new Set(["stat", "gauge"]);
const COLUMNS = 24;
// So far below the window a panel is asked for before it is scrolled to.
const AHEAD = "300px 0px";
const TRY_AGAIN_MS = 4000;
// Answers are kept to draw from when a range is chosen again: at most so many a panel.
const MOST_KEPT = 6;

export class Board {
  // `described` as `/api/page` has it. `tools` as a chart wants them, and `queue`.
  constructor(described, parent, tools) {
    this.id = described.id;
    this.tools = { ...tools, key: described.id, events: () => this.marked() };
    this.events = [];
    this.areEventsMarked = true;
    this.window = null;
    this.root = element("div", { id: `board-${described.id}`, class: "board", hidden: "" });
    this.rows = described.rows.filter((row) => !row.is_headline).map((row) => this.addRow(row));
    this.slots = this.rows.flat();
    this.question = new EventsQuestion(this);
    parent.append(this.root);
    const observer = new IntersectionObserver((entries) => this.notice(entries), { rootMargin: AHEAD });
    for (const slot of this.slots) observer.observe(slot.view.figure.root);
  }

  addRow({ title, panels }) {
    const titleId = `row-${this.id}-${title.toLowerCase().replaceAll(/\W+/g, "-")}`;
    const grid = element("div", { class: "panels" });
    const slots = panels.map((panel) => new Slot(panel, this));
    grid.append(...slots.map((slot) => slot.view.figure.root));
    this.root.append(element("section", { class: "row", "aria-labelledby": titleId }, element("h2", { id: titleId }, title), grid));
    layOut(slots);
    return slots;
  }

  notice(entries) {
    for (const { target, isIntersecting } of entries) {
      this.slots.find(({ view }) => view.figure.root === target).isNear = isIntersecting;
    }
    this.pump();
  }

  // Shows `window`: `from`, `to`, `nowMs`, the range in `words`, its `id`; `round` for what is drawn over it, `nowRound`
  // for what is of now: another number, and it is asked for anew.
  show(window) {
    const isOther = this.window?.id !== window.id;
    this.window = window;
    if (isOther) for (const slot of this.slots) slot.turnTo(window);
    this.pump();
  }

  // Asks for what is in sight and not of this round.
  pump() {
    if (!this.window || this.root.hidden || document.hidden) return;
    this.question.pump(this.window);
    for (const slot of this.slots) slot.pump(this.window);
  }

  setEvents(answer) {
    this.events = answer.events.filter(({ kind }) => ["grid", "battery", "alert_raised"].includes(kind));
    this.redraw();
  }

  markEvents(areMarked) {
    this.areEventsMarked = areMarked;
    this.redraw();
  }

  marked() {
    return this.areEventsMarked ? this.events : [];
  }

  redraw() {
    for (const { panel, view } of this.slots) if (CHARTS.has(panel.kind)) view.redraw();
  }

  layOut() {
    this.rows.forEach(layOut);
  }

  // Whether everything that can be seen has been drawn, or has said why not.
  get isPainted() {
    const near = this.slots.filter(({ isNear }) => isNear);
    return near.length > 0 && near.every(({ isDone }) => isDone);
  }
}

// What is asked for in every round anew. At most one request at a time; after an error there is a pause.
class Question {
  constructor(board) {
    this.board = board;
    this.isAsking = false;
    this.answeredRound = null;
    this.failedRound = null;
    this.failedAt = 0;
  }

  pump(window) {
    const round = this.round(window);
    if (this.isAsking || !this.isNear || round === this.answeredRound) return;
    if (round === this.failedRound && performance.now() - this.failedAt < TRY_AGAIN_MS) return;
    this.isAsking = true;
    this.board.tools.queue.add(() => this.ask());
  }

  async ask() {
    const { window, root } = this.board;
    if (this.isNear && !root.hidden) await this.askFor(window);
    this.isAsking = false;
    this.board.pump();
  }

  async askFor(window) {
    try {
      const answer = await ask(this.path(window));
      if (window.id !== this.board.window.id) return;
      this.answeredRound = this.round(window);
      this.take(answer, window);
    } catch (error) {
      if (window.id !== this.board.window.id) return;
      this.failedRound = this.round(window);
      this.failedAt = performance.now();
      this.fail(error);
    }
  }
}

// A panel and its question.
class Slot extends Question {
  constructor(panel, board) {
    super(board);
    this.panel = panel;
    this.view = new KINDS[panel.kind](panel, board.tools);
    this.isNear = false;
    this.isDone = false;
    this.kept = new Map();
  }

  round(window) {
    return OF_NOW.has(this.panel.kind) ? window.nowRound : window.round;
  }

  path(window) {
    const what = this.panel.kind === "table" ? "events" : `panel/${this.panel.id}`;
    // A point a pixel is enough.
    const points = Math.min(1500, Math.max(100, Math.ceil(this.view.figure.root.clientWidth / 100) * 100));
    return `/api/${what}?from=${window.from}&to=${window.to}&points=${points}`;
  }

  // Another range has been chosen: what was known of it is drawn until the answer comes.
  turnTo(window) {
    if (OF_NOW.has(this.panel.kind)) return;
    this.answeredRound = null;
    this.view.figure.isBusy(true);
    if (this.kept.has(window.id)) this.show(this.kept.get(window.id), window);
    else this.view.move?.(window);
  }

  take(answer, window) {
    this.kept.delete(window.id);
    this.kept.set(window.id, answer);
    if (this.kept.size > MOST_KEPT) this.kept.delete(this.kept.keys().next().value);
    this.view.figure.showError("");
    this.view.figure.isBusy(false);
    this.show(answer, window);
    this.done();
  }

  show(answer, window) {
    this.view.update(answer, window);
    const isLeftOut = this.panel.is_optional && this.view.isEmpty;
    if (this.view.figure.leaveOut(isLeftOut)) this.board.layOut();
  }

  // That the server is gone is said once, by the banner.
  fail(error) {
    this.view.figure.isBusy(false);
    this.view.figure.showError(error.message === NO_SERVER ? "" : `${error.message} Trying again.`);
    this.done();
  }

  done() {
    this.isDone = true;
    this.board.tools.painted();
  }
}

// The events that the charts mark.
class EventsQuestion extends Question {
  isNear = true;

  round(window) {
    return window.round;
  }

  path(window) {
    return `/api/events?from=${window.from}&to=${window.to}`;
  }

  take(answer) {
    this.board.setEvents(answer);
  }

  // Charts without marks are charts; the table of events says what is wrong.
  fail() {
    this.board.setEvents({ events: [] });
  }
}

// Widens the charts of a line until the line is full: what is optional may be missing, and a hole says nothing.
function layOut(slots) {
  let line = [];
  const finish = () => {
    const used = line.reduce((sum, { panel }) => sum + panel.width, 0);
    const isStretched = line.some(({ panel }) => !OF_NOW.has(panel.kind));
    for (const { panel, view } of line) {
      const width = isStretched ? Math.floor((panel.width * COLUMNS) / used) : panel.width;
      view.figure.root.style.setProperty("--columns", width);
    }
    line = [];
  };
  for (const slot of slots.filter(({ view }) => !view.figure.isLeftOut)) {
    if (line.reduce((sum, { panel }) => sum + panel.width, slot.panel.width) > COLUMNS) finish();
    line.push(slot);
  }
  if (line.length) finish();
}
