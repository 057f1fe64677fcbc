// Numbers, times and durations as text.

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MINUTE = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const DAY_MS = 86_400_000;
export const UNKNOWN = "–";

// What a panel calls a value: "51.2 V", "2 h 10 min", "closed"; a value without a word is its own text.
export function valueText(panel, value) {
  if (value === null || value === undefined) return panel.when_unknown?.text ?? UNKNOWN;
  const word = panel.words[String(value)];
  if (word) return word.text;
  if (typeof value !== "number") return String(value).replaceAll("_", " ");
  if (panel.is_duration) return amount(value);
  const number = panel.decimals === null ? String(Math.round(value * 100) / 100) : value.toFixed(panel.decimals);
  return panel.unit ? `${number} ${panel.unit}` : number;
}

// The colour of a value: by its word, or by the last step that it has reached; "" where neither says anything.
export function toneOf(panel, value) {
  if (value === null || value === undefined) return panel.when_unknown?.colour ?? "";
  const word = panel.words[String(value)];
  if (word) return word.colour;
  if (typeof value !== "number" || !panel.steps.length) return "";
  return (panel.steps.findLast((step) => value >= step.value) ?? panel.steps[0]).colour;
}

export function duration(seconds) {
  const s = Math.round(seconds);
  if (s < 90) return `${s} s`;
  const min = Math.round(s / 60);
  if (min < 90) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h >= 48) return `${Math.floor(h / 24)} days`;
  return min % 60 ? `${h} h ${min % 60} min` : `${h} h`;
}

// A time that was counted up: to the minute below two days, to the hour above.
function amount(seconds) {
  const min = Math.round(seconds / 60);
  const h = Math.floor(min / 60);
  if (!h) return `${min} min`;
  if (h < 48) return min % 60 ? `${h} h ${min % 60} min` : `${h} h`;
  return h % 24 ? `${Math.floor(h / 24)} days ${h % 24} h` : `${h / 24} days`;
}

// The time of day, with the date where that is not today, and the year where that is another.
export function moment(ms, nowMs) {
  if (DATE.format(ms) === DATE.format(nowMs)) return CLOCK.format(ms);
  const isThisYear = new Date(ms).getFullYear() === new Date(nowMs).getFullYear();
  return `${(isThisYear ? DAY : DATE).format(ms)}, ${MINUTE.format(ms)}`;
}

export function day(ms, nowMs) {
  return (new Date(ms).getFullYear() === new Date(nowMs).getFullYear() ? DAY : DATE).format(ms);
}

// Labels of a time axis whose ticks are `stepMs` apart.
export function tick(ms, stepMs) {
  if (stepMs >= DAY_MS) return DAY.format(ms);
  const minute = MINUTE.format(ms);
  if (minute === "00:00" && stepMs >= 3_600_000) return DAY.format(ms);
  return stepMs < 60_000 ? CLOCK.format(ms) : minute;
}
