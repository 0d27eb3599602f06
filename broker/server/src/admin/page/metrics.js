// Prometheus' text format: samples, rates of counters, quantiles of histograms. Pure.
//
// 1. What cannot be read is left out; the rest of the page still counts.
// 2. A counter that went down is a new process: there is no rate over that.

const ESCAPES = { n: "\n", "\\": "\\", '"': '"' };

/** Labels from `{a="b",…}` at `at`; the place behind them, or null where they do not end. */
function readLabels(line, at) {
  const labels = {};
  for (;;) {
    while (line[at] === "," || line[at] === " ") at += 1;
    if (line[at] === "}") return [labels, at + 1];
    const equals = line.indexOf('="', at);
    if (equals < 0) return null;
    const name = line.slice(at, equals).trim();
    let value = "";
    for (at = equals + 2; line[at] !== '"'; at += 1) {
      if (at >= line.length) return null;
      if (line[at] === "\\") {
        at += 1;
        value += ESCAPES[line[at]] ?? `\\${line[at] ?? ""}`;
      } else {
        value += line[at];
      }
    }
    labels[name] = value;
    at += 1;
  }
}

function number(text) {
  if (text === "+Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return text === "" ? NaN : Number(text);
}

/** Every sample of a page, by name: [{ labels, value }]. */
export function parse(text) {
  const samples = new Map();
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    if (line === "" || line[0] === "#") continue;
    const name = /^[A-Za-z_:][\w:]*/.exec(line)?.[0];
    if (name === undefined) continue;
    const read = line[name.length] === "{" ? readLabels(line, name.length + 1) : [{}, name.length];
    if (read === null) continue;
    const value = number(line.slice(read[1]).trim().split(/\s+/)[0]);
    if (Number.isNaN(value)) continue;
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels: read[0], value });
  }
  return samples;
}

/** Sum of a name's samples with these labels; null where there is none. */
export function sum(samples, name, labels = {}) {
  const wanted = Object.entries(labels);
  let total = null;
  for (const sample of samples.get(name) ?? []) {
    if (wanted.every(([key, value]) => sample.labels[key] === value)) total = (total ?? 0) + sample.value;
  }
  return total;
}

/** Cumulative buckets in order of their bounds: [{ bound, count }]. */
export function buckets(samples, name) {
  const found = (samples.get(`${name}_bucket`) ?? []).map(({ labels, value }) => ({
    bound: number(labels.le ?? ""),
    count: value,
  }));
  return found.filter(({ bound }) => !Number.isNaN(bound)).sort((a, b) => a.bound - b.bound);
}

/** What came between two looks at a histogram; null where that cannot be told. */
export function between(before, after) {
  if (before.length !== after.length) return null;
  const came = after.map(({ bound, count }, i) => ({ bound, count: count - before[i].count }));
  return came.every(({ count }) => count >= 0) ? came : null;
}

/** A quantile, evenly spread within its bucket; Infinity above the last bound; null without events. */
export function quantile(came, q) {
  const total = came?.at(-1)?.count ?? 0;
  if (!(total > 0)) return null;
  const rank = q * total;
  let [low, below] = [0, 0];
  for (const { bound, count } of came) {
    if (count >= rank && count > below) {
      return bound === Infinity ? Infinity : low + ((bound - low) * (rank - below)) / (count - below);
    }
    [low, below] = [bound, count];
  }
  return null;
}

/** Rates of counters over the last few looks. */
export class Rates {
  #looks = [];

  constructor(windowMs = 3000) {
    this.windowMs = windowMs;
  }

  /** Takes a look (time in ms, Map of counters) and gives each counter's rate per second, or null. */
  push(at, counters) {
    const last = this.#looks.at(-1);
    const isLess = (key) => last.counters.has(key) && (counters.get(key) ?? 0) < last.counters.get(key);
    if (last && (at <= last.at || [...last.counters.keys()].some(isLess))) this.#looks = [];
    // One look older than the window stays, so that slow answers still have a rate.
    while (this.#looks.length > 1 && at - this.#looks[1].at >= this.windowMs) this.#looks.shift();
    const base = this.#looks[0];
    this.#looks.push({ at, counters });
    const rates = new Map();
    for (const [key, value] of counters) {
      rates.set(key, base ? ((value - (base.counters.get(key) ?? 0)) * 1000) / (at - base.at) : null);
    }
    return rates;
  }

  /** Forgets all looks. */
  clear() {
    this.#looks = [];
  }
}

/** Quantiles of one histogram over the last few looks. */
export class Quantiles {
  #looks = [];

  constructor(windowMs = 10000) {
    this.windowMs = windowMs;
  }

  /** Takes a look and gives the quantiles of what came within the window, each or null. */
  push(at, look, quantiles) {
    const last = this.#looks.at(-1);
    if (last && (at <= last.at || between(last.look, look) === null)) this.#looks = [];
    while (this.#looks.length > 1 && at - this.#looks[1].at >= this.windowMs) this.#looks.shift();
    const base = this.#looks[0];
    this.#looks.push({ at, look });
    const came = base ? between(base.look, look) : null;
    return quantiles.map((q) => quantile(came, q));
  }

  /** Forgets all looks. */
  clear() {
    this.#looks = [];
  }
}
