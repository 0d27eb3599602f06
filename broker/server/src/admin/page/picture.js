// The federation as a picture: this broker in the middle, peers around it, its clients as dark points.
//
// 1. A state is told by word, shape and colour; a direction by an arrowhead, not by motion alone.
// 2. What is drawn is bounded: PEERS_DRAWN peers, DOTS_DRAWN points for any number of clients.
// 3. Nodes stay while figures change, so that focus stays where it is.

import { Keyed, el, set, svg, text } from "./dom.js";
import { count, cut, latency, plural, rate } from "./format.js";

export const PEERS_DRAWN = 60;
const DOTS_DRAWN = 36;
const DOTS_A_ROW = 12;
const NARROW = 800;
const NARROW_MANY = 900;
const HUB = 26;

/** Where everything stands, for a width and a number of peers. Pure. */
export function layout(width, peers) {
  return width < (peers > 26 ? NARROW_MANY : NARROW) ? layoutNarrow(width, peers) : layoutWide(width, peers);
}

function layoutWide(width, peers) {
  const right = Math.ceil(peers / 2);
  const lines = right <= 3 ? 3 : right <= 13 ? 2 : 1;
  const row = lines === 3 ? 112 : lines === 1 ? 34 : right <= 7 ? 62 : 46;
  const height = Math.max(430, right * row + 70);
  const [cx, cy] = [width / 2, height / 2];
  const reach = Math.min(width / 2 - (lines === 1 ? 262 : 196), 340);
  const places = Array.from({ length: peers }, (_, i) => {
    const isRight = i < right;
    const [n, of] = isRight ? [i, right] : [i - right, peers - right];
    const y = cy + (n - (of - 1) / 2) * row;
    const x = cx + (isRight ? 1 : -1) * reach * (0.72 + 0.28 * Math.cos(((y - cy) / (height / 2)) * (Math.PI / 2)));
    const anchor = isRight ? "start" : "end";
    return { x, y, lines, row, anchor, textX: x + (isRight ? 26 : -26), line: straight([cx, cy], [x, y]) };
  });
  return {
    height, width, places, isNarrow: false,
    hub: { x: cx, y: cy, textX: cx, textY: cy + HUB + 22, anchor: "middle" },
    publishers: { x: cx, y: 40, textX: cx, textY: 22, anchor: "middle", rowAnchor: 0.5, line: straight([cx, 74], [cx, cy], 0, HUB + 6), rateX: cx + 14, rateY: (74 + cy - HUB) / 2 + 4 },
    subscribers: { x: cx, y: height - 62, textX: cx, textY: height - 12, anchor: "middle", rowAnchor: 0.5, line: straight([cx, cy], [cx, height - 74], HUB + 30, 0), rateX: cx + 14, rateY: (height - 74 + cy + HUB + 30) / 2 + 4 },
  };
}

function layoutNarrow(width, peers) {
  const [cx, cy, top, row] = [36, 96, 214, 76];
  const places = Array.from({ length: peers }, (_, i) => {
    const y = top + i * row;
    const elbow = (shift) => `M${cx + shift} ${cy + HUB + 4}V${y - 14}Q${cx + shift} ${y + shift} ${cx + 14} ${y + shift}H${cx + 30}`;
    return { x: cx + 44, y, lines: 3, row, anchor: "start", textX: cx + 68, line: { out: elbow(-3), in: elbow(3), mid: [cx + 20, y], angle: 0 } };
  });
  const column = cx + 96;
  return {
    height: Math.max(top + peers * row - 20, 210), width, places, isNarrow: true,
    hub: { x: cx, y: cy, textX: 12, textY: 30, anchor: "start" },
    publishers: { x: column, y: 68, textX: column, textY: 54, anchor: "start", rowAnchor: 0, line: straight([column - 14, 68], [cx, cy], 0, HUB + 4), rateX: column + 110, rateY: 54 },
    subscribers: { x: column, y: 134, textX: column, textY: 120, anchor: "start", rowAnchor: 0, line: straight([cx, cy], [column - 14, 134], HUB + 4, 0), rateX: column + 110, rateY: 120 },
  };
}

/** Two parallel lines between two points, one for each direction. */
function straight([x1, y1], [x2, y2], startGap = HUB + 6, endGap = 20) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
  const line = (shift) => {
    const [sx, sy] = [-uy * shift, ux * shift];
    const at = (x, y) => `${(x + sx).toFixed(1)} ${(y + sy).toFixed(1)}`;
    return `M${at(x1 + ux * startGap, y1 + uy * startGap)}L${at(x2 - ux * endGap, y2 - uy * endGap)}`;
  };
  const middle = (startGap + length - endGap) / 2;
  return {
    out: line(-4), in: line(4), single: line(0), ux, uy,
    mid: [x1 + ux * middle, y1 + uy * middle],
    angle: (Math.atan2(uy, ux) * 180) / Math.PI,
    beam: beam([x1, y1], [x2, y2], [ux, uy]),
  };
}

function beam([x1, y1], [x2, y2], [ux, uy]) {
  const at = (x, y, shift) => `${(x - uy * shift).toFixed(1)} ${(y + ux * shift).toFixed(1)}`;
  return `M${at(x1, y1, 3)}L${at(x2, y2, 17)}A17 17 0 0 0 ${at(x2, y2, -17)}L${at(x1, y1, -3)}Z`;
}

/** How lively a rate is drawn: 0 still, 1 to 3. */
const pace = (value) => (!(value > 0) ? 0 : value < 10 ? 1 : value < 1000 ? 2 : 3);

const SHAPES = {
  up: "M-9 0a9 9 0 1 0 18 0a9 9 0 1 0 -18 0Z",
  dialling: "M-9 0a9 9 0 1 0 18 0a9 9 0 1 0 -18 0ZM-4 0h8M1 -3l3 3l-3 3",
  refused: "M-9 -9H9V9H-9ZM-4 -4L4 4M4 -4L-4 4",
  pending: "M0 -11L11 0L0 11L-11 0ZM0 -4V1M0 4V5",
  down: "M-9 0a9 9 0 1 0 18 0a9 9 0 1 0 -18 0ZM-6.400 6.400L6.400 -6.400",
};

export class Picture {
  #where = null;
  #view = null;

  /** `onSelect(key, isEntered)` is told when a peer is focused, clicked or entered. */
  constructor(root, onSelect) {
    this.root = root;
    this.onSelect = onSelect;
    this.svg = svg("svg", { class: "federation", role: "group", "aria-labelledby": "picture-title" });
    const glow = svg("radialGradient", { id: "glow", gradientUnits: "userSpaceOnUse" },
      svg("stop", { class: "glow-near", offset: "0" }), svg("stop", { class: "glow-far", offset: "1" }));
    const halo = svg("radialGradient", { id: "halo" },
      svg("stop", { class: "halo-near", offset: "0.1" }), svg("stop", { class: "halo-far", offset: "1" }));
    this.glow = glow;
    this.beams = svg("g", { class: "beams", "aria-hidden": "true" });
    this.links = svg("g", { class: "links", "aria-hidden": "true" });
    this.clients = svg("g", { class: "clients" });
    this.peers = svg("g", { class: "peers", role: "list", "aria-label": "Peers" });
    this.hub = this.#makeHub();
    this.svg.append(svg("title", { id: "picture-title" }, "This broker, its peers and its clients"), svg("defs", {}, glow, halo),
      this.beams, this.links, this.clients, this.hub.node, this.peers);
    this.more = el("p", { class: "note", hidden: true });
    root.append(this.svg, this.more);
    this.groups = {
      publishers: this.#makeClients("publishers"),
      subscribers: this.#makeClients("subscribers"),
    };
    this.nodes = new Keyed(this.peers, ({ key }) => key, (peer) => this.#makePeer(peer), (node, peer, places) => this.#updatePeer(node, peer, places));
    this.linkNodes = new Keyed(this.links, ({ key }) => key, () => this.#makeLink(), (node, peer, places) => this.#updateLink(node, peer, places));
    this.beamNodes = new Keyed(this.beams, ({ key }) => key, () => svg("path", { class: "beam" }), (node, peer, places) => set(node, "d", places.get(peer.key).line.beam ?? ""));
    new ResizeObserver(() => this.#view && this.show(this.#view)).observe(root);
  }

  #makeHub() {
    const parts = { name: svg("text", { class: "hub-name" }), halo: svg("circle", { class: "halo" }), lamp: svg("circle", { class: "lamp", r: 13 }), ring: svg("circle", { class: "hub", r: HUB }) };
    return { ...parts, node: svg("g", { class: "broker" }, parts.halo, parts.ring, parts.lamp, parts.name) };
  }

  #makeClients(kind) {
    const group = {
      base: svg("path", { class: "client-line" }), flow: svg("path", { class: "flow" }), head: svg("path", { class: "head", d: "M-5 -4.500L5 0L-5 4.500Z" }),
      dots: svg("g", { class: "dots", "aria-hidden": "true" }), label: svg("text", { class: "client-label" }), rate: svg("text", { class: "rate" }), drawn: "",
    };
    this.clients.append(svg("g", { "data-clients": kind }, group.base, group.flow, group.head, group.dots, group.label, group.rate));
    return group;
  }

  #makePeer(peer) {
    const node = svg("g", { class: "peer", role: "listitem" });
    const button = svg("g", { class: "button", role: "button", tabindex: "0", "aria-controls": "details" });
    button.append(
      svg("rect", { class: "ring", rx: 8 }), svg("circle", { class: "halo" }), svg("path", { class: "point" }),
      ...["name", "figures", "more"].map((name) => svg("text", { class: name })), svg("title"),
    );
    button.addEventListener("focus", () => this.onSelect(peer.key, false));
    button.addEventListener("click", () => this.onSelect(peer.key, true));
    button.addEventListener("keydown", (event) => this.#key(event, peer.key));
    node.append(button);
    return node;
  }

  #key(event, key) {
    const all = [...this.peers.querySelectorAll(".button")];
    const at = all.indexOf(event.currentTarget);
    const targets = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 };
    if (event.key === "Enter" || event.key === " ") this.onSelect(key, true);
    else if (event.key in targets) all[Math.min(Math.max(targets[event.key], 0), all.length - 1)].focus();
    else return;
    event.preventDefault();
  }

  /** Focuses a peer's point. */
  focus(key) {
    this.nodes.get(key)?.querySelector(".button").focus();
  }

  #updatePeer(node, peer, places) {
    const { x, y, lines, row, anchor, textX } = places.get(peer.key);
    const [button] = node.children;
    const [ring, halo, point, name, figures, more, title] = button.children;
    set(node, "data-peer", peer.name);
    set(node, "data-state", SHAPES[peer.state] ? peer.state : "other");
    set(button, "aria-label", `${peer.name}: ${peer.state}`);
    set(button, "aria-pressed", String(peer.key === this.#view.selected));
    set(halo, "r", this.#where.isNarrow ? 15 : 0);
    set(halo, "cx", x);
    set(halo, "cy", y);
    set(point, "d", SHAPES[peer.state] ?? "M-9 -9H9V9H-9Z");
    set(point, "transform", `translate(${x} ${y})`);
    const said = this.#lines(peer, lines);
    [name, figures, more].forEach((line, i) => {
      set(line, "x", textX);
      set(line, "y", y + 5 + (i - (said.length - 1) / 2) * 19);
      set(line, "class", `${["name", "figures", "more"][i]} ${anchor}`);
      text(line, said[i] ?? "");
    });
    text(title, `${peer.name}: ${peer.state}`);
    const box = Math.min(row - 4, 72);
    const left = anchor === "end" ? textX - 172 : x - 22;
    for (const [attribute, value] of Object.entries({ x: left, y: y - box / 2, height: box, width: Math.min(anchor === "end" ? x + 22 - left : 220, this.#where.width - left - 2) })) set(ring, attribute, value);
  }

  #lines(peer, lines) {
    const short = cut(peer.name, lines === 1 ? 15 : 18);
    const waiting = peer.lag > 0 ? `${count(peer.lag)} waiting` : "none waiting";
    const figures = `out ${rate(peer.out)}/s · in ${rate(peer.in)}/s`;
    const why = cut(this.#why(peer), 24);
    const name = `${short} · ${peer.state}`;
    if (lines === 1) return [`${name}${peer.lag > 0 ? ` · ${count(peer.lag)}` : ""}`];
    if (lines === 2) return [name, peer.isUp ? figures : peer.lag > 0 ? waiting : why];
    return peer.isUp ? [name, figures, `${waiting} · ${latency(peer.rtt)}`] : [name, waiting, why];
  }

  /** The problem without the address that stands before it. */
  #why({ problem, address }) {
    const text = problem ?? "not linked";
    return address && text.startsWith(`${address}: `) ? text.slice(address.length + 2) : text;
  }

  #makeLink() {
    const part = (way) => [svg("path", { class: "track" }), svg("path", { class: "flow" }), svg("path", { class: "head", "data-way": way, d: "M-5 -4.500L5 0L-5 4.500Z" })];
    return svg("g", { class: "link" }, ...part("out"), ...part("in"));
  }

  #updateLink(node, peer, places) {
    const { line, x } = places.get(peer.key);
    set(node, "data-link", peer.name);
    set(node, "data-state", SHAPES[peer.state] ? peer.state : "other");
    ["out", "in"].forEach((way, i) => {
      const [track, flow, head] = [...node.children].slice(i * 3, i * 3 + 3);
      const strength = peer.isUp ? pace(peer[way]) : 0;
      // Where links share a trunk, moving points would only blur.
      set(track, "d", line[way]);
      set(flow, "d", line[way]);
      set(flow, "data-pace", this.#where.isNarrow ? 0 : strength);
      set(flow, "data-way", way);
      set(head, "data-pace", strength);
      const shift = way === "out" ? -4 : 4;
      const [mx, my] = this.#where.isNarrow
        ? [x - 24 + shift * 0.75, line.mid[1] + shift * 0.75]
        : [line.mid[0] - line.uy * shift + line.ux * shift * -2, line.mid[1] + line.ux * shift + line.uy * shift * -2];
      set(head, "transform", `translate(${mx.toFixed(1)} ${my.toFixed(1)}) rotate(${(line.angle + (way === "in" ? 180 : 0)).toFixed(1)})`);
    });
  }

  #updateClients(kind, place, total, away, perSecond, verb) {
    const group = this.groups[kind];
    for (const path of [group.base, group.flow]) set(path, "d", place.line.single);
    const strength = pace(perSecond);
    set(group.flow, "data-pace", strength);
    set(group.flow, "data-way", "out");
    set(group.head, "data-pace", strength);
    set(group.head, "transform", `translate(${place.line.mid.map((n) => n.toFixed(1)).join(" ")}) rotate(${place.line.angle.toFixed(1)})`);
    this.#drawDots(group, place, total, away);
    const noun = kind.slice(0, -1);
    set(group.label, "x", place.textX);
    set(group.label, "y", place.textY);
    set(group.label, "class", `client-label ${place.anchor}`);
    text(group.label, total === null ? `${kind} unknown` : `${plural(total, noun)}${away ? `, ${count(away)} away` : ""}`);
    set(group.rate, "x", this.#where.isNarrow ? place.textX : place.rateX);
    set(group.rate, "y", this.#where.isNarrow ? place.y + 24 : place.rateY);
    text(group.rate, `${verb} ${rate(perSecond)}/s`);
  }

  /** Full points for those who are here, hollow ones for durable subscribers that are away. */
  #drawDots(group, place, total, away) {
    const here = Math.min(total ?? 0, away ? DOTS_DRAWN - Math.min(away, DOTS_A_ROW) : DOTS_DRAWN);
    const shown = here + Math.min(away, DOTS_DRAWN - here);
    const drawn = `${here} ${shown} ${place.x} ${place.y}`;
    if (group.drawn === drawn) return;
    group.drawn = drawn;
    const perRow = this.#where.isNarrow ? 16 : DOTS_A_ROW;
    const rows = Math.ceil(shown / perRow);
    const dots = Array.from({ length: shown }, (_, i) => {
      const row = Math.floor(i / perRow);
      const inRow = Math.min(perRow, shown - row * perRow);
      const cx = place.x + (i % perRow) * 11 - (inRow - 1) * 11 * place.rowAnchor + (place.rowAnchor ? 0 : 4);
      return svg("circle", { class: i < here ? "dot" : "dot is-away", r: 3.5, cx, cy: place.y + (rows > 1 ? (row - (rows - 1) / 2) * 10 + (place.rowAnchor ? 8 : 4) : place.rowAnchor ? 8 : 0) });
    });
    group.dots.replaceChildren(...dots);
  }

  /** Shows `{ name, peers, selected, publishers, subscribers, away, published, delivered }`. */
  show(view) {
    this.#view = view;
    const drawn = view.peers.slice(0, PEERS_DRAWN);
    const width = Math.max(Math.floor(this.root.clientWidth), 280);
    const where = layout(width, drawn.length);
    this.#where = where;
    set(this.svg, "viewBox", `0 0 ${where.width} ${where.height}`);
    set(this.svg, "width", where.width);
    set(this.svg, "height", where.height);
    this.#showHub(view.name, where);
    const places = new Map(drawn.map(({ key }, i) => [key, where.places[i]]));
    this.beamNodes.show(drawn.filter(({ isUp }) => isUp), places);
    this.linkNodes.show(drawn, places);
    this.nodes.show(drawn, places);
    this.#updateClients("publishers", where.publishers, view.publishers, 0, view.published, "published");
    this.#updateClients("subscribers", where.subscribers, view.subscribers, view.away, view.delivered, "delivered");
    this.more.hidden = drawn.length === view.peers.length;
    text(this.more, `${count(view.peers.length - drawn.length)} more peers are in the table.`);
  }

  #showHub(name, { hub, width, isNarrow }) {
    for (const circle of [this.hub.halo, this.hub.lamp, this.hub.ring]) {
      set(circle, "cx", hub.x);
      set(circle, "cy", hub.y);
    }
    set(this.hub.halo, "r", isNarrow ? HUB + 10 : 116);
    set(this.glow, "cx", hub.x);
    set(this.glow, "cy", hub.y);
    set(this.glow, "r", isNarrow ? 60 : width / 2 - 150);
    set(this.hub.name, "x", hub.textX);
    set(this.hub.name, "y", hub.textY);
    set(this.hub.name, "class", `hub-name ${hub.anchor}`);
    text(this.hub.name, cut(name, 24));
  }
}
