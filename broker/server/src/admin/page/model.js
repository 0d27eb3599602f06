// What the page knows of the broker: the pages of the admin API brought together. Pure but for
// the time that is handed in.
//
// 1. What a page does not say is unknown (null), never 0.
// 2. Memory is bounded: rings of five minutes, at most so many peers and rows.

import { History } from "./history.js";
import { Quantiles, Rates, buckets, parse, sum } from "./metrics.js";

/** Peers of which the last minutes are kept. */
const PEERS_REMEMBERED = 128;
/** Rows kept of a long list. */
export const ROWS_MAX = 100;

const FIGURES = [
  "published", "delivered", "forwarded", "received",
  "publish_p50", "publish_p99", "delivery_p50", "delivery_p99", "flush_p50", "flush_p99",
  "durable_events", "peer_events", "live_events", "durable_bytes", "peer_bytes",
  "sessions", "subscriptions", "store_bytes",
];
const HISTOGRAMS = { publish: "fanal_publish_seconds", delivery: "fanal_delivery_seconds", flush: "fanal_store_flush_seconds" };

/** The state of a link, as one of five words, or the broker's own word if it is another. */
export function linkState(peer) {
  if (peer.state === "linked") return "up";
  if (peer.refused === true || peer.state === "refused") return "refused";
  if (peer.state === "absent") return "down";
  return String(peer.state);
}

/** What a state means, in a sentence. */
export function explainState(peer) {
  const means = {
    up: "linked",
    dialling: "this broker dials it",
    refused: "one side refuses the link",
    pending: "waits for approval",
    down: "not linked; this broker has no address of it and waits to be dialled",
  };
  return means[peer.state] ?? peer.state;
}

const byName = (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);

/** How two sets of link states differ, in words for people; the first look says nothing. */
export function stateChanges(before, after) {
  if (before === null) return [];
  const changes = [];
  for (const { key, name, state, problem } of after) {
    const old = before.get(key);
    if (old === undefined || old === state) {
      if (old === undefined) changes.push(`New peer ${name}: ${state}`);
      continue;
    }
    const now = state === "up" ? "is up" : old === "up" ? `went down, now ${state}` : `is ${state}`;
    changes.push(`Link to ${name} ${now}${state !== "up" && problem ? `: ${problem}` : ""}`);
  }
  const known = new Set(after.map(({ key }) => key));
  for (const key of before.keys()) if (!known.has(key)) changes.push(`Peer ${key.split("@")[0]} is gone`);
  return changes;
}

export class Model {
  status = null;
  peers = null;
  sessions = null;
  subscriptions = null;
  mailboxes = null;
  rates = new Map();
  history = new History(FIGURES);
  /** Told of changes that matter: a list of sentences. */
  onChanges = () => {};
  #counters = new Rates();
  #quantiles = Object.fromEntries(Object.keys(HISTOGRAMS).map((name) => [name, new Quantiles()]));
  #links = new Map();
  #states = null;

  takeStatus(text) {
    const status = JSON.parse(text);
    const old = this.status;
    if (old && old.incarnation?.start !== status.incarnation?.start) this.#restart();
    if (old && old.state !== status.state) this.onChanges([`The broker is ${status.state}`]);
    this.status = status;
  }

  #restart() {
    for (const window of [this.#counters, ...Object.values(this.#quantiles)]) window.clear();
    this.onChanges(["The broker was restarted"]);
  }

  takeMetrics(text, now = Date.now()) {
    const samples = parse(text);
    if (samples.size === 0) throw new Error("no metrics in the answer");
    const counters = new Map();
    const put = (key, name, labels) => {
      const value = sum(samples, name, labels);
      if (value !== null) counters.set(key, value);
    };
    put("published", "fanal_events_published_total");
    for (const kind of ["durable", "live"]) put(kind, "fanal_events_delivered_total", { class: kind });
    put("forwarded", "fanal_events_forwarded_total");
    put("received", "fanal_events_received_total");
    put("dropped", "fanal_events_dropped_total");
    for (const [way, name] of [["out", "fanal_events_forwarded_total"], ["in", "fanal_events_received_total"]]) {
      for (const { labels, value } of samples.get(name) ?? []) counters.set(`${way} ${labels.peer}`, value);
    }
    this.rates = this.#counters.push(now, counters);
    this.counters = counters;
    this.history.push(now, this.#look(samples, now));
    this.sampledAt = now;
  }

  /** One look at every figure that has a chart. */
  #look(samples, now) {
    const plus = (...names) => {
      const known = names.map((name) => this.rates.get(name)).filter((value) => typeof value === "number");
      return known.length ? known.reduce((a, b) => a + b, 0) : null;
    };
    const look = {
      published: plus("published"),
      delivered: plus("durable", "live"),
      // Without a peer there is no such counter, and nothing is forwarded.
      forwarded: plus("forwarded") ?? (this.counters.has("forwarded") ? null : 0),
      received: plus("received") ?? (this.counters.has("received") ? null : 0),
      durable_events: sum(samples, "fanal_mailbox_events", { kind: "durable" }),
      peer_events: sum(samples, "fanal_mailbox_events", { kind: "peer" }),
      live_events: (sum(samples, "fanal_ledger_queued", { class: "live" }) ?? 0) +
        (sum(samples, "fanal_ledger_queued", { class: "peer_live" }) ?? 0),
      durable_bytes: sum(samples, "fanal_mailbox_bytes", { kind: "durable" }),
      peer_bytes: sum(samples, "fanal_mailbox_bytes", { kind: "peer" }),
      sessions: sum(samples, "fanal_sessions"),
      subscriptions: sum(samples, "fanal_subscriptions"),
      store_bytes: sum(samples, "fanal_store_bytes"),
    };
    for (const [short, name] of Object.entries(HISTOGRAMS)) {
      const found = this.#quantiles[short].push(now, buckets(samples, name), [0.5, 0.99]);
      [look[`${short}_p50`], look[`${short}_p99`]] = found;
    }
    return look;
  }

  takePeers(text, now = Date.now()) {
    const rows = JSON.parse(text).peers;
    this.peers = rows.map((row) => this.#peer(row)).sort(byName);
    this.#remember(now);
    const changes = stateChanges(this.#states, this.peers);
    this.#states = new Map(this.peers.map(({ key, state }) => [key, state]));
    if (changes.length) this.onChanges(changes);
  }

  #peer(row) {
    const key = `${row.name}@${row.authority}`;
    const state = linkState(row);
    const isUp = state === "up";
    return {
      ...row,
      key,
      state,
      isUp,
      out: this.rates.get(`out ${row.name}`) ?? null,
      in: this.rates.get(`in ${row.name}`) ?? null,
      lag: row.lag_events,
      rtt: isUp && typeof row.rtt_ms === "number" ? row.rtt_ms / 1000 : null,
    };
  }

  #remember(now) {
    const known = new Set(this.peers.map(({ key }) => key));
    for (const key of this.#links.keys()) if (!known.has(key)) this.#links.delete(key);
    for (const peer of this.peers) {
      if (!this.#links.has(peer.key)) {
        if (this.#links.size >= PEERS_REMEMBERED) continue;
        this.#links.set(peer.key, new History(["out", "in", "lag", "rtt"]));
      }
      this.#links.get(peer.key).push(now, peer);
    }
  }

  /** The last minutes of a link, or null. */
  link(key) {
    return this.#links.get(key) ?? null;
  }

  takeSessions(text) {
    const rows = JSON.parse(text).sessions;
    const counts = { all: rows.length, publishing: 0, subscribing: 0, idle: 0 };
    for (const row of rows) {
      const publishes = (row.publish_channels ?? 0) > 0;
      const subscribes = row.subscriptions > 0;
      counts.publishing += publishes ? 1 : 0;
      counts.subscribing += subscribes ? 1 : 0;
      counts.idle += publishes || subscribes ? 0 : 1;
    }
    this.sessions = { counts, rows: rows.slice(0, ROWS_MAX) };
  }

  takeSubscriptions(text) {
    const rows = JSON.parse(text).subscriptions;
    const away = rows.filter(({ kind, attached }) => kind === "durable" && attached === false).length;
    this.subscriptions = { all: rows.length, away, rows: rows.slice(0, ROWS_MAX) };
  }

  takeMailboxes(text) {
    const rows = JSON.parse(text).mailboxes;
    const most = rows.sort((a, b) => b.queued_events - a.queued_events || a.id - b.id);
    this.mailboxes = { all: rows.length, rows: most.slice(0, ROWS_MAX) };
  }
}
