// Makes elements. Text from outside enters a page only as text: nothing here takes markup.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Leaves an unchanged text alone: a live region would read it out again.
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
