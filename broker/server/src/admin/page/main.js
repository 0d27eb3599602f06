// The status page: what the broker says, brought up to date about once a second.
//
// poll.js asks, model.js brings the answers together (metrics.js reads /metrics, history.js keeps five
// minutes), picture.js, chart.js and tables.js show them. Invariants:
// 1. Whatever comes from the broker is shown as text (dom.js); nothing is asked of anybody else.
// 2. One source that fails or is slow is named and does not hold up the others.
// 3. The live region tells changes of state, never figures.

import { Chart } from "./chart.js";
import { Keyed, byId, el, set, text } from "./dom.js";
import { UNKNOWN, bytes, clock, count, duration, latency, plural, rate } from "./format.js";
import { Model, explainState } from "./model.js";
import { Picture } from "./picture.js";
import { Poller, Source } from "./poll.js";
import { mailboxesTable, peersTable, sessionsTable, subscriptionsTable } from "./tables.js";

/** Sentences in one announcement. */
const SAID_AT_ONCE = 3;

const model = new Model();
let selected = null;

const announcer = byId("announcer");
let said = [];
/** Says changes to screen readers, those of one moment together. */
function announce(changes) {
  if (said.length === 0) setTimeout(() => {
    const more = said.length - SAID_AT_ONCE;
    announcer.textContent = said.slice(0, SAID_AT_ONCE).join(". ") + (more > 0 ? `. And ${more} more changes` : "") + ".";
    said = [];
  }, 300);
  said.push(...changes);
}
model.onChanges = announce;

const picture = new Picture(byId("picture"), (key, isEntered) => {
  selected = key;
  render();
  if (isEntered) byId("details-title").focus();
});

const peers = peersTable(byId("peers"));
const mailboxes = mailboxesTable(byId("mailboxes"));
const subscriptions = subscriptionsTable(byId("subscriptions"));
const sessions = sessionsTable(byId("sessions"));

const charts = [
  { title: "Throughput", unit: "events per second", format: rate, series: [
    { key: "published", name: "published" }, { key: "delivered", name: "delivered" },
    { key: "forwarded", name: "forwarded" }, { key: "received", name: "received" }] },
  { title: "Delivery latency", unit: "acceptance to subscriber", format: latency, least: 1e-4, empty: "Nothing was delivered in the last minutes.", series: [
    { key: "delivery_p50", name: "median" }, { key: "delivery_p99", name: "99%" }] },
  { title: "Publish latency", unit: "publish to receipt", format: latency, least: 1e-4, empty: "Nothing was published in the last minutes.", series: [
    { key: "publish_p50", name: "median" }, { key: "publish_p99", name: "99%" }] },
  { title: "Waiting events", unit: "events", format: count, least: 4, series: [
    { key: "durable_events", name: "durable" }, { key: "peer_events", name: "for peers" }, { key: "live_events", name: "live" }] },
  { title: "Mailbox size", unit: "bytes", format: bytes, base: 1024, least: 1024, series: [
    { key: "durable_bytes", name: "durable" }, { key: "peer_bytes", name: "for peers" }] },
  { title: "Clients", unit: "at this broker", format: count, least: 4, series: [
    { key: "sessions", name: "sessions" }, { key: "subscriptions", name: "subscriptions" }] },
  { title: "Store", unit: "bytes on disk", format: bytes, base: 1024, least: 1024, series: [
    { key: "store_bytes", name: "store" }] },
  { title: "Flush", unit: "write and flush of a batch", format: latency, least: 1e-4, empty: "Nothing was written in the last minutes.", series: [
    { key: "flush_p50", name: "median" }, { key: "flush_p99", name: "99%" }] },
].map((options) => new Chart(options));
byId("charts").append(...charts.map(({ node }) => node));

const linkCharts = [
  new Chart({ title: "Events on the link", unit: "events per second", format: rate, series: [{ key: "out", name: "out" }, { key: "in", name: "in" }] }),
  new Chart({ title: "Waiting for the peer", unit: "events", format: count, least: 4, series: [{ key: "lag", name: "waiting" }] }),
];
byId("link-charts").append(...linkCharts.map(({ node }) => node));

const facts = new Keyed(byId("facts"), ({ name }) => name,
  ({ name }) => el("div", {}, el("dt", {}, name), el("dd")),
  (node, { value }) => text(node.lastChild, value));

function renderDetails() {
  const peer = model.peers?.find(({ key }) => key === selected);
  byId("details").classList.toggle("is-empty", !peer);
  byId("details-hint").hidden = Boolean(peer) || !model.peers?.length;
  byId("details-body").hidden = !peer;
  if (!peer) return;
  text(byId("details-title"), peer.name);
  text(byId("details-state"), `${peer.state}: ${explainState(peer)}`);
  set(byId("details-state"), "data-state", peer.state);
  const ends = peer.dialled_here === true ? "this broker" : peer.dialled_here === false ? "the peer" : UNKNOWN;
  facts.show([
    ["Problem", peer.isUp ? null : peer.problem], ["Out", `${rate(peer.out)} events/s`], ["In", `${rate(peer.in)} events/s`],
    ["Waiting for it", `${count(peer.lag)} events`], ["Round trip", latency(peer.rtt)], ["Linked for", duration(peer.isUp ? peer.linked_seconds : null)],
    ["Address to dial", peer.address ?? "none"], ["Reached at", peer.remote ?? UNKNOWN], ["Dialled by", ends],
    ["Version", peer.agent ?? UNKNOWN], ["Interest it asked for", count(peer.interest_in)], ["Interest asked of it", count(peer.interest_out)],
    ["Authority", peer.authority],
  ].filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => ({ name, value })));
  const history = model.link(peer.key);
  byId("link-charts").hidden = !history;
  if (history) for (const chart of linkCharts) chart.show(history, Date.now());
}

function renderFigures() {
  const { history, status } = model;
  const show = (id, value, note) => {
    text(byId(id), value);
    text(byId(`${id}-note`), note);
  };
  show("f-published", rate(history.last("published")), "events per second");
  show("f-delivered", rate(history.last("delivered")), "events per second");
  show("f-latency", latency(history.last("delivery_p99")), "99% of the last 10 s");
  show("f-waiting", count(status?.queued_events), "events in mailboxes");
  show("f-sessions", count(status?.sessions), status ? plural(status.subscriptions.live + status.subscriptions.durable, "subscription") : "");
  show("f-peers", status ? `${count(status.peers.linked)} of ${count(status.peers.known)}` : UNKNOWN, "links up");
}

function renderPicture() {
  const counts = model.sessions?.counts;
  const view = {
    name: model.status?.name ?? "…", peers: model.peers ?? [], selected,
    publishers: counts?.publishing ?? null, subscribers: counts?.subscribing ?? null, away: model.subscriptions?.away ?? 0,
    published: model.history.last("published"), delivered: model.history.last("delivered"),
  };
  picture.show(view);
  const isAlone = model.peers?.length === 0;
  byId("no-peers").hidden = !isAlone;
  byId("peers").hidden = isAlone;
}

function renderTables() {
  if (model.peers) peers.show(model.peers.slice(0, 200), model.peers.length, "fanal peers");
  if (model.mailboxes) mailboxes.show(model.mailboxes.rows, model.mailboxes.all, "fanal mailboxes");
  if (model.subscriptions) subscriptions.show(model.subscriptions.rows, model.subscriptions.all, "fanal subscriptions");
  if (model.sessions) sessions.show(model.sessions.rows, model.sessions.counts.all, "fanal sessions");
  text(byId("idle"), model.sessions?.counts.idle ? `${count(model.sessions.counts.idle)} of the clients neither publish nor subscribe.` : "");
}

function renderHead() {
  const { status } = model;
  if (!status) return;
  text(byId("name"), status.name);
  document.title = `${status.name} · Fanal`;
  text(byId("version"), status.version);
  const isWell = status.state === "ready";
  text(byId("state"), isWell ? "ready" : status.state);
  set(byId("state"), "data-state", isWell ? "up" : status.state === "full" ? "pending" : "refused");
}

/** What is said once for an outage is said again only for the next one. */
let wasOut = false;

function renderHealth() {
  const outage = poller.outage();
  document.body.classList.toggle("is-stale", outage !== null);
  byId("outage").hidden = outage === null;
  if (outage) {
    const wait = Math.max(0, Math.ceil((outage.nextAt - Date.now()) / 1000));
    text(byId("outage-since"), clock(outage.since));
    text(byId("outage-next"), wait > 0 ? `next try in ${wait} s` : "trying now");
  }
  if ((outage !== null) !== wasOut) announce([outage ? "The broker is not reachable" : "The broker answers again"]);
  wasOut = outage !== null;
  const complaints = outage ? [] : poller.complaints(Date.now());
  problems.show(complaints);
  byId("problems").hidden = complaints.length === 0;
  const last = Math.max(...sources.map(({ okAt }) => okAt ?? 0));
  text(byId("fresh"), last ? `${outage ? "Last answer" : "Updated"} ${clock(last)}` : "Asking…");
}

const problems = new Keyed(byId("problems"), ({ path }) => path, () => el("li"),
  (node, { path, text: what, since }) => text(node, `${path}: ${what}, since ${clock(since)}. What it shows is older.`));

let isRendering = false;
/** Shows everything at the next frame, once for whatever came until then. */
function render() {
  if (isRendering) return;
  isRendering = true;
  requestAnimationFrame(() => {
    isRendering = false;
    renderHead();
    renderFigures();
    renderPicture();
    renderDetails();
    renderTables();
    renderHealth();
  });
}

let drawnAt = null;
/** Charts change with /metrics only. */
function renderCharts() {
  if (model.sampledAt === drawnAt) return;
  drawnAt = model.sampledAt;
  for (const chart of charts) chart.show(model.history, drawnAt);
}

const source = (path, everyMs, take) => new Source(path, everyMs, take, () => {
  renderCharts();
  render();
});
const sources = [
  source("/api/v1/status", 1000, (text) => model.takeStatus(text)),
  source("/metrics", 1000, (text) => model.takeMetrics(text)),
  source("/api/v1/peers", 1000, (text) => model.takePeers(text)),
  source("/api/v1/mailboxes", 1000, (text) => model.takeMailboxes(text)),
  source("/api/v1/sessions", 2000, (text) => model.takeSessions(text)),
  source("/api/v1/subscriptions", 2000, (text) => model.takeSubscriptions(text)),
];
const poller = new Poller(sources);

byId("outage-retry").addEventListener("click", () => poller.resume());
byId("details").addEventListener("keydown", (event) => {
  if (event.key === "Escape") picture.focus(selected);
});
byId("details-close").addEventListener("click", () => {
  picture.focus(selected);
  selected = null;
  render();
});
// An outage's countdown goes on while nothing comes.
setInterval(() => document.hidden || renderHealth(), 1000);
new ResizeObserver(() => {
  drawnAt = null;
  if (model.sampledAt) renderCharts();
}).observe(byId("charts"));
render();
