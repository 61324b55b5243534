/** The element with this id, which index.html is known to hold. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`The page has no element #${id}.`);
  return element as E;
}

/** A new element with text or elements in it. Text is never read as HTML. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: { className?: string; title?: string } = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

/** The name of a figure in words: "recallAt5" as "Recall at 5", "validation.loss" as "Validation loss". */
export function words(name: string): string {
  const spaced = name
    .replace(/([a-z])([A-Z0-9])/g, "$1 $2")
    .replace(/[._-]+/g, " ")
    .toLowerCase();
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
