// A small line chart: axes with units, lines told apart by dash and name as well as colour, the
// present values as text.

import { el, set, svg, text } from "./dom.js";
import { UNKNOWN, clock } from "./format.js";
import { SPAN_MS } from "./history.js";

const HEIGHT = 136;
const EDGE = { top: 10, right: 8, bottom: 20, left: 58 };
/** Points further apart are not joined: nobody looked in between. */
const GAP_MS = 20_000;
/** A young page does not show minutes that it has not seen. */
const SPANS = [[60_000, "1 min ago", "30 s"], [120_000, "2 min ago", "1 min"], [SPAN_MS, "5 min ago", "2½ min"]];

/** The least round number that is not below a value; half of it is round, too. */
export function niceTop(value, base = 10) {
  if (!(value > 0)) return 0;
  const step = base ** Math.floor(Math.log(value) / Math.log(base) + 1e-9);
  const steps = base === 10 ? [1, 2, 3, 4, 6, 8, 10] : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  return step * steps.find((factor) => value <= factor * step * (1 + 1e-9));
}

/** Path of the points within the plot; unknown values and long pauses break it. */
export function linePath(points, x, y) {
  let path = "";
  let before = null;
  for (const [at, value] of points) {
    if (Number.isNaN(value) || !Number.isFinite(value)) {
      before = null;
      continue;
    }
    const isJoined = before !== null && at - before <= GAP_MS;
    path += `${isJoined ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    before = at;
  }
  // A point alone is a dot: a line of no length with round ends.
  return path.replace(/M([\d. -]+)(?=M|$)/g, "M$1h0");
}

export class Chart {
  #history = null;
  #now = 0;
  #hover = null;

  /** `series`: [{ key, name }]; `format` makes text of a value. */
  constructor({ title, unit, format, series, least = 1, base = 10, empty = "Nothing yet." }) {
    Object.assign(this, { title, unit, format, series, least, base });
    this.plot = svg("svg", { role: "img", class: "plot", height: HEIGHT });
    this.gridLines = svg("g", { class: "grid" });
    this.labels = svg("g", { class: "axis" });
    this.lines = series.map((_, i) => svg("path", { class: `line series-${i}` }));
    this.cursor = svg("line", { class: "cursor", y1: EDGE.top, y2: HEIGHT - EDGE.bottom });
    this.plot.append(this.gridLines, this.labels, ...this.lines, this.cursor);
    this.values = series.map(() => el("b", {}, UNKNOWN));
    this.keys = el("ul", { class: "keys" }, ...series.map(({ name }, i) => el("li", {}, sample(i), `${name} `, this.values[i])));
    this.when = el("span", { class: "when" });
    this.empty = el("p", { class: "empty" }, empty);
    const heading = el("h3", {}, title, " ", el("span", { class: "unit" }, unit));
    this.node = el("figure", { class: "chart" }, el("figcaption", {}, heading, this.when), this.keys, this.plot, this.empty);
    this.plot.addEventListener("pointermove", (event) => this.#point(event));
    this.plot.addEventListener("pointerleave", () => this.#point(null));
    this.y = [0, 1, 2].map(() => this.#axis());
    this.x = [0, 1, 2].map(() => svg("text", { y: HEIGHT - 5 }));
    this.labels.append(...this.x);
  }

  #axis() {
    const pair = { line: svg("line", { x1: EDGE.left }), label: svg("text", { x: EDGE.left - 8, class: "end" }) };
    this.gridLines.append(pair.line);
    this.labels.append(pair.label);
    return pair;
  }

  #point(event) {
    this.#hover = event ? event.clientX - this.plot.getBoundingClientRect().left : null;
    if (this.#history) this.show(this.#history, this.#now);
  }

  show(history, now) {
    this.#history = history;
    this.#now = now;
    const width = Math.max(this.node.clientWidth || 320, 200);
    const points = this.series.map(({ key }) => history.points(key, now));
    const began = Math.min(...points.map(([first]) => first?.[0] ?? now));
    const [span, ...ago] = SPANS.find(([span]) => now - began <= span) ?? SPANS.at(-1);
    const finite = points.flat().map(([, value]) => value).filter(Number.isFinite);
    set(this.plot, "viewBox", `0 0 ${width} ${HEIGHT}`);
    this.node.classList.toggle("is-empty", finite.length === 0);
    const top = Math.max(niceTop(finite.reduce((a, b) => Math.max(a, b), 0), this.base), this.least);
    const right = width - EDGE.right;
    const x = (at) => EDGE.left + ((at - now + span) / span) * (right - EDGE.left);
    const y = (value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom);
    this.#drawAxes(top, right, y, ago);
    this.lines.forEach((line, i) => set(line, "d", linePath(points[i], x, y)));
    this.#drawValues(history, points, x);
    const now_ = this.series.map(({ name, key }) => `${name} ${this.format(history.last(key))}`).join(", ");
    set(this.plot, "aria-label", `${this.title}, ${this.unit}, from ${ago[0]} to now. Now: ${now_}. Scale from 0 to ${this.format(top)}.`);
  }

  #drawAxes(top, right, y, [first, half]) {
    [0, 0.5, 1].forEach((share, i) => {
      const { line, label } = this.y[i];
      const at = y(share * top);
      for (const [name, value] of [["x2", right], ["y1", at], ["y2", at]]) set(line, name, value);
      set(label, "y", at + 4);
      text(label, share === 0 ? "0" : this.format(share * top));
    });
    [[first, EDGE.left, ""], [half, (EDGE.left + right) / 2, "middle"], ["now", right, "end"]].forEach(([label, at, anchor], i) => {
      set(this.x[i], "x", at);
      set(this.x[i], "class", anchor);
      text(this.x[i], label);
    });
  }

  #drawValues(history, points, x) {
    const looks = points[0];
    const nearest = this.#hover === null ? -1 : looks.reduce((best, [at], i) => (best < 0 || Math.abs(x(at) - this.#hover) < Math.abs(x(looks[best][0]) - this.#hover) ? i : best), -1);
    const isPast = nearest >= 0;
    this.cursor.classList.toggle("is-shown", isPast);
    text(this.when, isPast ? clock(looks[nearest][0]) : "");
    if (isPast) for (const name of ["x1", "x2"]) set(this.cursor, name, x(looks[nearest][0]));
    this.values.forEach((value, i) => text(value, this.format(isPast ? points[i][nearest]?.[1] : history.last(this.series[i].key))));
  }
}

function sample(i) {
  const line = svg("line", { x1: 1, y1: 5, x2: 21, y2: 5, class: `line series-${i}` });
  return svg("svg", { class: "sample", width: 22, height: 10, "aria-hidden": "true" }, line);
}
