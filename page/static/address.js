// What is shown, as the page's address says it: `?view=history&range=30d`, or `&from=MS&to=MS` where it is zoomed.

const SHORTEST_MS = 60_000;

// Leaves out what it does not understand.
export function read(search, { dashboards, ranges }) {
  const given = new URLSearchParams(search);
  const view = dashboards.find(({ id }) => id === given.get("view")) ?? dashboards[0];
  const rangeOf = (id) => ranges.find((range) => range.id === id);
  const [from, to] = [whole(given.get("from")), whole(given.get("to"))];
  return {
    view: view.id,
    range: rangeOf(given.get("range")) ?? rangeOf(view.span) ?? ranges[0],
    zoom: to - from >= SHORTEST_MS ? { from, to } : null,
  };
}

export function write({ view, range, zoom }) {
  const parts = { view, range: range.id, ...zoom };
  return `?${new URLSearchParams(parts)}`;
}

function whole(text) {
  return /^\d{1,13}$/.test(text ?? "") ? Number(text) : NaN;
}
