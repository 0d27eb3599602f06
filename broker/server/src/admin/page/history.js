// The last minutes of some figures, in rings of a fixed size. Pure.

/** How far back charts look, in ms. */
export const SPAN_MS = 300_000;
const SLOTS = 320;

export class History {
  #times = new Float64Array(SLOTS);
  #values = new Map();
  #next = 0;
  #length = 0;

  constructor(names) {
    for (const name of names) this.#values.set(name, new Float64Array(SLOTS).fill(NaN));
  }

  get length() {
    return this.#length;
  }

  /** One look; what is null or missing stays unknown. */
  push(at, look) {
    this.#times[this.#next] = at;
    for (const [name, ring] of this.#values) ring[this.#next] = look[name] ?? NaN;
    this.#next = (this.#next + 1) % SLOTS;
    this.#length = Math.min(this.#length + 1, SLOTS);
  }

  /** Looks of one figure within the span before `now`, oldest first: [time, value or NaN]. */
  points(name, now) {
    const ring = this.#values.get(name);
    const points = [];
    for (let i = 0; i < this.#length; i += 1) {
      const slot = (this.#next - this.#length + i + SLOTS) % SLOTS;
      if (now - this.#times[slot] <= SPAN_MS) points.push([this.#times[slot], ring[slot]]);
    }
    return points;
  }

  /** The newest value, or null. */
  last(name) {
    const value = this.#length ? this.#values.get(name)[(this.#next + SLOTS - 1) % SLOTS] : NaN;
    return Number.isNaN(value) ? null : value;
  }
}
