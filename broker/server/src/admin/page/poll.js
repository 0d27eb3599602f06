// Asks the broker again and again: one request of a kind at a time, paced by how long answers take,
// backing off while there are none, pausing while nobody looks.

const TIMEOUT_MS = 10_000;
const BACKOFF_MS = [1000, 2000, 4000, 8000, 15_000];
/** A page that takes long is asked less often: it may be idle so many times as long. */
const IDLE_SHARE = 10;
const PACE_MS_MAX = 15_000;

/** One page that is asked for repeatedly. */
export class Source {
  #timer = 0;
  #isAsking = false;
  #failures = 0;
  #isPaused = true;
  #heard;

  /** `heard(source)` is told after every answer and every failure. */
  constructor(path, everyMs, take, heard) {
    Object.assign(this, { path, everyMs, take });
    this.#heard = heard;
    /** When the last good answer came, and since when there is none; ms of the wall clock. */
    this.okAt = null;
    this.failingSince = null;
    this.problem = null;
    /** Whether anybody answered at all, however badly. */
    this.isReached = false;
    this.askedAt = null;
    this.nextAt = null;
  }

  /** For how long a request has been out, in ms. */
  waiting(now) {
    return this.#isAsking ? now - this.askedAt : 0;
  }

  pause() {
    this.#isPaused = true;
    clearTimeout(this.#timer);
  }

  /** Goes on, at once. */
  resume() {
    this.#isPaused = false;
    this.#failures = 0;
    this.#schedule(0);
  }

  #schedule(delay) {
    clearTimeout(this.#timer);
    if (this.#isPaused || this.#isAsking) return;
    this.nextAt = Date.now() + delay;
    this.#timer = setTimeout(() => this.#ask(), delay);
  }

  async #ask() {
    this.#isAsking = true;
    this.askedAt = Date.now();
    const began = performance.now();
    let delay;
    let isReached = false;
    try {
      const response = await fetch(this.path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
      isReached = true;
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      this.take(await response.text());
      this.okAt = Date.now();
      this.failingSince = this.problem = null;
      this.#failures = 0;
      const took = performance.now() - began;
      delay = Math.max(this.everyMs - took, Math.min(took * IDLE_SHARE, PACE_MS_MAX));
    } catch (error) {
      this.problem = error.name === "TimeoutError" ? `no answer within ${TIMEOUT_MS / 1000} s` : error.message;
      this.failingSince ??= Date.now();
      delay = BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length - 1)];
      this.#failures += 1;
    }
    this.isReached = isReached;
    this.#isAsking = false;
    this.#schedule(delay);
    this.#heard(this);
  }
}

/** All sources together. */
export class Poller {
  #sources;
  #wasReachable = null;

  constructor(sources) {
    this.#sources = sources;
    const follow = () => (document.hidden ? this.pause() : this.resume());
    document.addEventListener("visibilitychange", follow);
    follow();
  }

  pause() {
    for (const source of this.#sources) source.pause();
  }

  resume() {
    for (const source of this.#sources) source.resume();
  }

  /** null while the broker answers; else since when it does not, and when it is asked next. */
  outage() {
    const isReachable = this.#sources.some(({ isReached, failingSince }) => isReached || failingSince === null);
    if (isReachable && this.#wasReachable === false) {
      // One found it again: the others need not wait for their time.
      for (const source of this.#sources) if (source.failingSince !== null) source.resume();
    }
    this.#wasReachable = isReachable;
    if (isReachable) return null;
    const since = Math.min(...this.#sources.map(({ failingSince }) => failingSince));
    return { since, nextAt: Math.min(...this.#sources.map(({ nextAt }) => nextAt)) };
  }

  /** Sources that fail or are slow while the broker answers: [{ path, text }]. */
  complaints(now) {
    const found = [];
    for (const source of this.#sources) {
      if (source.failingSince !== null) {
        found.push({ path: source.path, text: source.problem, since: source.failingSince });
      } else if (source.waiting(now) > 3000) {
        found.push({ path: source.path, text: "waiting for an answer", since: source.askedAt });
      }
    }
    return found;
  }
}
