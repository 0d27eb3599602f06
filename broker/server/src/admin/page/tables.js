// The same facts as tables: for screen readers, for copying, for what the picture has no room for.
//
// Roles are spelled out because narrow screens show rows as blocks, which would take them away.

import { Keyed, el, set, text } from "./dom.js";
import { bytes, count, duration, latency, rate } from "./format.js";

class Table {
  /** `columns`: [{ name, of(row) → text, isNumber, mark(row) → class }]; the first one names the row. */
  constructor(node, caption, columns, keyOf, empty) {
    this.columns = columns;
    const heads = columns.map(({ name, isNumber }) => el("th", { scope: "col", role: "columnheader", class: isNumber ? "number" : "" }, name));
    this.body = el("tbody", { role: "rowgroup" });
    this.table = el("table", { role: "table" },
      el("caption", {}, caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)),
      this.body);
    this.note = el("p", { class: "note" });
    this.emptyText = empty;
    node.append(this.table, this.note);
    this.rows = new Keyed(this.body, keyOf, () => this.#make(), (row, item) => this.#update(row, item));
  }

  #make() {
    const cell = ({ name, isNumber }, i) => {
      const attributes = { class: isNumber ? "number" : "", "data-label": name };
      return i === 0
        ? el("th", { scope: "row", role: "rowheader", ...attributes })
        : el("td", { role: "cell", ...attributes });
    };
    return el("tr", { role: "row" }, ...this.columns.map(cell));
  }

  #update(row, item) {
    this.columns.forEach(({ of, mark }, i) => {
      const value = of(item);
      text(row.children[i], value);
      if (mark) set(row.children[i], "data-mark", mark(item));
      row.children[i].classList.toggle("is-blank", value === "");
    });
    if (item.state !== undefined) set(row, "data-state", item.state);
    if (item.key !== undefined) set(row, "data-key", item.key);
  }

  /** Shows rows, of `all` that there are; `where` is the command that lists every one. */
  show(items, all, where) {
    this.rows.show(items);
    this.table.hidden = items.length === 0;
    const rest = all - items.length;
    text(this.note, items.length === 0 ? this.emptyText : rest > 0 ? `${count(rest)} more: ${where}` : "");
    this.note.hidden = this.note.textContent === "";
  }
}

const yes = (value) => (value === true ? "yes" : value === false ? "no" : "");

export function peersTable(node) {
  return new Table(node, "Peers and the links to them", [
    { name: "Peer", of: ({ name }) => name },
    { name: "State", of: ({ state }) => state, mark: ({ state }) => state },
    { name: "Out, events/s", of: ({ out }) => rate(out), isNumber: true },
    { name: "In, events/s", of: (peer) => rate(peer.in), isNumber: true },
    { name: "Waiting events", of: ({ lag }) => count(lag), isNumber: true },
    { name: "Round trip", of: ({ rtt }) => latency(rtt), isNumber: true },
    { name: "Linked for", of: ({ linked_seconds, isUp }) => (isUp ? duration(linked_seconds) : "–"), isNumber: true },
    { name: "Problem", of: ({ problem, isUp }) => (isUp ? "" : problem ?? "") },
  ], ({ key }) => key, "No peers are configured. Link another broker with: fanal serve --peer NAME=ADDRESS");
}

export function mailboxesTable(node) {
  return new Table(node, "Mailboxes, fullest first", [
    { name: "Mailbox", of: ({ name }) => name },
    { name: "Kind", of: ({ kind }) => (kind === "peer" ? "peer" : "durable subscription") },
    { name: "Of", of: ({ principal }) => shortPrincipal(principal) },
    { name: "Attached", of: ({ attached }) => yes(attached) },
    { name: "Waiting events", of: ({ queued_events }) => count(queued_events), isNumber: true },
    { name: "Waiting bytes", of: ({ queued_bytes }) => bytes(queued_bytes), isNumber: true },
  ], ({ id }) => id, "No mailboxes. A durable subscription has one: fanal subscribe FILTER --durable NAME");
}

export function subscriptionsTable(node) {
  return new Table(node, "Subscriptions", [
    { name: "Topic filter", of: ({ filter }) => filter },
    { name: "Where", of: ({ where }) => where ?? "" },
    { name: "Except", of: ({ except }) => (except ?? []).join(", ") },
    { name: "Kind", of: ({ kind }) => kind },
    { name: "Name", of: ({ name }) => name ?? "" },
    { name: "Of", of: ({ principal }) => shortPrincipal(principal) },
  ], ({ kind, mailbox, session, channel }) => `${kind} ${mailbox ?? ""} ${session ?? ""} ${channel ?? ""}`,
  "No subscriptions. Make one: fanal subscribe 'orders/#'");
}

export function sessionsTable(node) {
  return new Table(node, "Sessions", [
    { name: "Client", of: ({ principal }) => shortPrincipal(principal) },
    { name: "Program", of: ({ agent }) => agent },
    { name: "From", of: ({ remote }) => remote },
    { name: "Connected for", of: ({ connected_seconds }) => duration(connected_seconds), isNumber: true },
    { name: "Subscriptions", of: ({ subscriptions }) => count(subscriptions), isNumber: true },
    { name: "Publish channels", of: ({ publish_channels }) => count(publish_channels), isNumber: true },
  ], ({ id }) => id, "No client is connected.");
}

/** The name, and the beginning of the fingerprint of the CA that vouches for it. */
export function shortPrincipal(principal) {
  if (!principal) return "";
  const [name, authority] = String(principal).split("@");
  return authority ? `${name} @ ${authority.slice(0, 8)}…` : name;
}
