// Numbers, times and durations as text.

const BESIDE = { "°C": { unit: "°F", convert: (celsius) => (celsius * 9) / 5 + 32 } };

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MINUTE = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

// The second unit that is shown beside `unit`, or undefined.
export const unitBeside = (unit) => BESIDE[unit];

// "31.2 °C (88 °F)"; a value that is not known is a dash.
export function measured(value, unit, decimals) {
  if (value === null || value === undefined) return "–";
  const beside = BESIDE[unit];
  const text = `${value.toFixed(decimals)} ${unit}`;
  return beside ? `${text} (${beside.convert(value).toFixed(0)} ${beside.unit})` : text;
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

// The time of day, with the date where that is not today.
export function moment(ms, nowMs) {
  const sameDay = DAY.format(ms) === DAY.format(nowMs);
  return sameDay ? CLOCK.format(ms) : `${DAY.format(ms)}, ${MINUTE.format(ms)}`;
}

// Labels of a time axis whose ticks are `stepMs` apart.
export function tick(ms, stepMs) {
  if (stepMs >= 86_400_000) return DAY.format(ms);
  const minute = MINUTE.format(ms);
  if (minute === "00:00" && stepMs >= 3_600_000) return DAY.format(ms);
  return stepMs < 60_000 ? CLOCK.format(ms) : minute;
}
