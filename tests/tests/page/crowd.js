// Answers for 70 peers and 10,000 clients in place of the broker's.
const states = ["linked", "dialling", "absent", "pending", "quarantined"];
const peers = Array.from({ length: 70 }, (_, i) => ({
  name: `${i}-${markup}`, authority: "ab", state: states[i % states.length], refused: i % 7 === 0, problem: i % 5 ? markup : null,
  address: null, lag_events: i * 1000, rtt_ms: i, linked_seconds: i, interest_in: i, interest_out: i,
}));
const sessions = Array.from({ length: 10_000 }, (_, id) => ({
  id, principal: `client-${id}@abcdef`, agent: markup, remote: "127.0.0.1:1", connected_seconds: id,
  subscriptions: id % 3 ? 1 : 0, publish_channels: id % 3 ? 0 : 1,
}));
const answers = { "/api/v1/peers": { peers }, "/api/v1/sessions": { sessions } };
const ask = window.fetch;
window.fetch = (path, ...more) => (answers[path] ? Promise.resolve(new Response(JSON.stringify(answers[path]))) : ask(path, ...more));
