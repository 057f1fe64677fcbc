// Brings it all together: what is shown, when the server is asked, and who gets the answer.

import { read, write } from "./address.js";
import { NO_SERVER, Queue, ask } from "./ask.js";
import { Board } from "./board.js";
import { Controls } from "./controls.js";
import { setText } from "./dom.js";
import { IncidentList } from "./incidents.js";
import { OverrideLine } from "./override.js";
import { Status } from "./status.js";
import { Tooltip } from "./tooltip.js";
import { moment } from "./words.js";

// The charts of a range are refreshed this often in its length, but within these bounds.
const REFRESHES = 450;
const FASTEST_S = 2;
const SLOWEST_S = 60;
// The answer at the top is never older than this, however long the range of the charts is.
const HEADLINE_SLOWEST_S = 10;
const AT_ONCE = 4;
const SHORTEST_ZOOM_MS = 60_000;
const LONGEST_ZOOM_MS = 5 * 365 * 86_400_000;
const TICK_MS = 250;

const by = (id) => document.getElementById(id);
const status = new Status();
const override = new OverrideLine(status);
const incidents = new IncidentList();
const tooltip = new Tooltip();
const queue = new Queue(AT_ONCE);

let page = null;
let controls = null;
let shown = null;
let isPaused = false;
let clock = { serverMs: Date.now(), at: performance.now() };
let round = 0;
let roundAt = -Infinity;
let nowRound = 0;
let nowRoundAt = -Infinity;
let headlineAt = -Infinity;
let isAskingHeadline = false;
const boards = new Map();
const ranges = new Map();

// The server's clock, not the browser's, says what is now.
const serverNow = () => clock.serverMs + performance.now() - clock.at;
const refreshS = () => Math.min(SLOWEST_S, Math.max(FASTEST_S, Math.round(shown.range.span_s / REFRESHES)));
const isLive = () => !shown.zoom && !isPaused;

function setClock(serverMs) {
  clock = { serverMs, at: performance.now() };
}

function showBanner(text) {
  setText(by("banner"), text);
  by("banner").hidden = !text;
  by("main").classList.toggle("outdated", Boolean(text));
}

async function askHeadline() {
  isAskingHeadline = true;
  headlineAt = performance.now();
  try {
    page ??= await start();
    const aside = [];
    if (page.has_overrides) aside.push(askAside("/api/overrides", override));
    if (page.has_incidents) aside.push(askAside("/api/incidents", incidents));
    const now = await ask("/api/now");
    setClock(now.now_ms);
    status.update(now);
    showBanner("");
    performance.mark("headline");
    await Promise.all(aside);
  } catch (error) {
    showBanner(`${error.message} Trying again.`);
  }
  isAskingHeadline = false;
}

// What does not come from the store has its own place: without an answer it says so there, and the rest goes on.
async function askAside(path, view) {
  try {
    view.update(await ask(path));
  } catch (error) {
    // That the server is gone is said by the banner.
    view.noAnswer(error.message === NO_SERVER ? "" : error.message);
  }
}

async function start() {
  const described = await ask("/api/page");
  setClock(described.now_ms);
  setText(by("thing"), described.thing);
  setText(by("note"), described.note);
  by("note").hidden = !described.note;
  const tools = { tooltip, queue, zoom, zoomBy, pan, back, painted };
  for (const dashboard of described.dashboards) {
    boards.set(dashboard.id, new Board(dashboard, by("boards"), tools));
    ranges.set(dashboard.id, read(`?view=${dashboard.id}`, described).range);
  }
  controls = new Controls(described, { turnTo, choose, back, pan, zoomBy, pause, mark });
  page = described;
  follow();
  return described;
}

// Shows what the address says.
function follow() {
  shown = read(location.search, page);
  ranges.set(shown.view, shown.range);
  for (const [id, board] of boards) board.root.hidden = id !== shown.view;
  refresh();
}

function go(change, { isStep = true } = {}) {
  shown = { ...shown, ...change };
  history[isStep ? "pushState" : "replaceState"](null, "", write(shown));
  tooltip.hide();
  follow();
}

const turnTo = (view) => go({ view, range: ranges.get(view), zoom: null });
const choose = (range) => go({ range, zoom: null });

function back() {
  if (shown.zoom) go({ zoom: null });
}

// Zooming on from a zoom is no step of its own: the browser's way back leads to the live charts.
function zoom(from, to) {
  const span = Math.min(LONGEST_ZOOM_MS, Math.max(SHORTEST_ZOOM_MS, to - from));
  const end = Math.min(Math.round((from + to + span) / 2), Math.round(serverNow()));
  go({ zoom: { from: Math.max(0, Math.round(end - span)), to: end } }, { isStep: !shown.zoom });
}

function zoomBy(factor, aboutMs = null) {
  const { from, to } = currentSpan();
  const about = aboutMs ?? (from + to) / 2;
  zoom(about - (about - from) * factor, about + (to - about) * factor);
}

function pan(share) {
  const { from, to } = currentSpan();
  zoom(from + (to - from) * share, to + (to - from) * share);
}

function pause(isNowPaused) {
  isPaused = isNowPaused;
  refresh();
}

function mark(areMarked) {
  for (const board of boards.values()) board.markEvents(areMarked);
}

const currentSpan = () => shown.zoom ?? boards.get(shown.view).window;

// Begins a new round: everything in sight is asked for anew.
function refresh() {
  const nowMs = Math.round(serverNow());
  const board = boards.get(shown.view);
  const id = shown.zoom ? `${shown.zoom.from}-${shown.zoom.to}` : shown.range.id;
  const isOther = board.window?.id !== id;
  if (isLive() || isOther) {
    round += 1;
    roundAt = performance.now();
  }
  nowRound += 1;
  nowRoundAt = performance.now();
  const held = isOther || isLive() ? null : board.window;
  const { from, to } = shown.zoom ?? held ?? { from: nowMs - 1000 * shown.range.span_s, to: nowMs };
  const words = shown.zoom
    ? `from ${moment(from, nowMs)} to ${moment(to, nowMs)}`
    : `in the last ${shown.range.title}`;
  controls.show({ ...shown, isPaused, refreshS: refreshS(), words }, ranges);
  board.show({ id, from, to, words, nowMs, round: held?.round ?? round, nowRound });
}

// The first moment at which everything in sight has been drawn.
function painted() {
  if (performance.getEntriesByName("painted").length || !boards.get(shown.view).isPainted) return;
  requestAnimationFrame(() => performance.mark("painted"));
}

function tick() {
  if (document.hidden) return;
  const now = performance.now();
  const headlineS = shown ? Math.min(refreshS(), HEADLINE_SLOWEST_S) : FASTEST_S;
  const isDue = now - headlineAt >= 1000 * (by("banner").hidden ? headlineS : FASTEST_S);
  if (isDue && !isAskingHeadline) askHeadline();
  if (!shown) return;
  if (now - (isLive() ? roundAt : nowRoundAt) >= 1000 * refreshS()) refresh();
  else boards.get(shown.view).pump();
}

addEventListener("popstate", () => page && follow());
document.addEventListener("visibilitychange", tick);
document.addEventListener("scroll", () => tooltip.hide(), { passive: true });
setInterval(tick, TICK_MS);
setInterval(() => {
  status.show();
  override.show();
  by("main").classList.toggle("stale", status.isStale);
}, 1000);
tick();
