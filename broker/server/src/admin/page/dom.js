// Elements made and kept up to date. Text goes in as text, never as markup: names come from others.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(...children);
  return node;
}

/** An HTML element. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Sets an attribute if it is another one; null and false take it away. */
export function set(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** Sets the text if it is another one. */
export function text(node, value) {
  const next = String(value);
  if (node.textContent !== next) node.textContent = next;
}

export const byId = (id) => document.getElementById(id);

/** Keeps children in step with a list, by key: nodes stay, and with them focus and motion. */
export class Keyed {
  #nodes = new Map();

  constructor(parent, keyOf, make, update) {
    Object.assign(this, { parent, keyOf, make, update });
  }

  show(items, ...more) {
    const kept = new Set();
    let place = this.parent.firstChild;
    for (const item of items) {
      const key = this.keyOf(item);
      if (kept.has(key)) continue;
      kept.add(key);
      let node = this.#nodes.get(key);
      if (!node) {
        node = this.make(item);
        this.#nodes.set(key, node);
      }
      if (node === place) place = place.nextSibling;
      else this.parent.insertBefore(node, place);
      this.update(node, item, ...more);
    }
    for (const [key, node] of this.#nodes) {
      if (kept.has(key)) continue;
      node.remove();
      this.#nodes.delete(key);
    }
  }

  get(key) {
    return this.#nodes.get(key);
  }
}
