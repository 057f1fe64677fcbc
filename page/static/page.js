// Asks the server every two seconds, while the page is visible, and hands each answer to what shows it.

import { element } from "./dom.js";
import { LinesPanel } from "./lines.js";
import { StatesPanel } from "./states.js";
import { IncidentList } from "./incidents.js";
import { OverrideLine } from "./override.js";
import { Status } from "./status.js";
import { moment } from "./words.js";

const REFRESH_MS = 2000;
const PATIENCE_MS = 15_000;
const NO_SERVER = "This page's own server does not answer. Is it still running?";
const KINDS = { lines: LinesPanel, states: StatesPanel };

const by = (id) => document.getElementById(id);
const status = new Status();
const override = new OverrideLine(status);
const incidents = new IncidentList();
let page = null;
let range = null;
let timer = 0;
let round = 0;
let shownEvents = "";

async function ask(path) {
  let response;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch {
    throw new Error(NO_SERVER);
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function showBanner(text) {
  const banner = by("banner");
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
  by("main").classList.toggle("outdated", Boolean(text));
}

function showEvents({ events, more }, nowMs) {
  const asked = JSON.stringify([events, more, range.id]);
  if (asked === shownEvents) return;
  shownEvents = asked;
  const rows = events.map((event) => {
    const time = element("time", { datetime: new Date(event.time_ms).toISOString() }, moment(event.time_ms, nowMs));
    return element("li", { class: event.kind }, time, element("span", {}, event.text));
  });
  if (!rows.length) rows.push(element("li", { class: "nothing" }, `Nothing changed in the last ${range.title}.`));
  by("events").replaceChildren(...rows);
  by("events-more").textContent = more ? `… and ${more} earlier` : "";
}

// Each answer is shown on its own: one refused query leaves the other panels alive.
async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return;
  const mine = ++round;
  try {
    page ??= await start();
    const query = `range=${range.id}`;
    if (page.hasOverrides) askAside(mine, "/api/overrides", override);
    if (page.hasIncidents) askAside(mine, "/api/incidents", incidents);
    const answers = await Promise.allSettled([
      ask("/api/now"),
      ask(`/api/events?${query}`),
      ...page.panels.map((panel) => ask(`/api/panel/${panel.id}?${query}`)),
    ]);
    if (mine === round) show(answers);
  } catch (error) {
    showBanner(`${error.message} Trying again.`);
  }
  if (mine === round) timer = setTimeout(refresh, REFRESH_MS);
}

// What does not come from the store has its own place: without an answer it says so there, and the rest goes on.
async function askAside(mine, path, view) {
  try {
    const answer = await ask(path);
    if (mine === round) view.update(answer);
  } catch (error) {
    // That the server is gone is said by the banner.
    if (mine === round) view.noAnswer(error.message === NO_SERVER ? "" : error.message);
  }
}

function show([now, events, ...panels]) {
  const failed = [now, events, ...panels].find((answer) => answer.status === "rejected");
  showBanner(failed ? `${failed.reason.message} Trying again.` : "");
  if (now.status === "fulfilled") status.update(now.value);
  if (events.status === "fulfilled") showEvents(events.value, Date.now());
  const newest = status.answer?.sample?.values ?? {};
  panels.forEach((answer, i) => {
    if (answer.status === "fulfilled") page.views[i].update(answer.value, range, newest);
  });
}

async function start() {
  const described = await ask("/api/panels");
  by("thing").textContent = described.thing;
  by("note").textContent = described.note;
  by("note").hidden = !described.note;
  offerRanges(described);
  const panels = described.panels.filter((panel) => panel.kind in KINDS);
  const views = panels.map((panel) => new KINDS[panel.kind](panel, by("panels")));
  return { panels, views, hasOverrides: described.has_overrides, hasIncidents: described.has_incidents };
}

function offerRanges({ ranges, default_range: byDefault }) {
  const wanted = new URLSearchParams(location.search).get("range") ?? byDefault;
  range = ranges.find(({ id }) => id === wanted) ?? ranges.find(({ id }) => id === byDefault);
  for (const offered of ranges) {
    const input = element("input", { type: "radio", name: "range", value: offered.id });
    input.checked = offered === range;
    input.addEventListener("change", () => choose(offered));
    by("ranges").append(element("label", {}, input, element("span", {}, offered.title)));
  }
}

function choose(chosen) {
  range = chosen;
  history.replaceState(null, "", `?range=${chosen.id}`);
  refresh();
}

document.addEventListener("visibilitychange", refresh);
setInterval(() => {
  status.show();
  override.show();
}, 1000);
refresh();
