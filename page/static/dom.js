// Makes elements. Text from outside enters a page only as text: nothing here takes markup.

const SVG = "http://www.w3.org/2000/svg";
const known = new Map();

export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function drawing(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Leaves an unchanged text alone: a live region would read it out again.
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// A colour of the style sheet, for a canvas. Asked for at every stroke, so it is kept until the scheme changes.
export function colour(name) {
  if (!known.has(name)) known.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return known.get(name);
}

// What fills an area, and what is readable on it.
export const fill = (tone) => colour(`${tone}-fill`) || colour(tone);
export const onFill = (tone) => colour(`on-${tone}-fill`) || colour("card");

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => known.clear());
