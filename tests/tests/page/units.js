// Unit tests of the page's pure modules, run in the page: what failed, and how many were checked.
return (async () => {
  const [metrics, history, format, model, chart, picture] = await Promise.all(
    ["metrics", "history", "format", "model", "chart", "picture"].map((name) => import(`/page/${name}.js`)));
  const failed = [];
  let checked = 0;
  const is = (what, got, expected) => {
    checked += 1;
    const [a, b] = [got, expected].map((value) => JSON.stringify(value, (_, v) => (typeof v === "number" && !Number.isFinite(v) ? String(v) : v)));
    if (a !== b) failed.push(`${what}: ${a} instead of ${b}`);
  };

  // metrics: labels with every escape, odd lines left out, sums by label.
  const page = metrics.parse([
    "# HELP x text", 'x{a="1",b="q\\"\\\\\\n,}"} 2 1700000000', 'x{a="2"} 3', "y 1e3", "z NaN", 'broken{a="1 4', "inf +Inf", " ", "1x 2",
  ].join("\n"));
  is("names", [...page.keys()], ["x", "y", "inf"]);
  is("escapes", page.get("x")[0].labels, { a: "1", b: 'q"\\\n,}' });
  is("sum", metrics.sum(page, "x"), 5);
  is("sum by label", metrics.sum(page, "x", { a: "2" }), 3);
  is("sum of none", metrics.sum(page, "x", { a: "3" }), null);
  is("infinite", metrics.sum(page, "inf"), Infinity);

  // quantiles lie in the bucket of the exact one, for made-up latencies.
  const bounds = [0.001, 0.01, 0.1, 1];
  const upTo = (values) => [...bounds, Infinity].map((bound) => ({ bound, count: values.filter((v) => v <= bound).length }));
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let round = 0; round < 200; round += 1) {
    const values = Array.from({ length: 1 + Math.floor(random() * 50) }, () => 10 ** (random() * 5 - 4)).sort((a, b) => a - b);
    for (const q of [0.5, 0.99]) {
      const exact = values[Math.max(Math.ceil(q * values.length) - 1, 0)];
      const high = bounds.find((bound) => exact <= bound) ?? Infinity;
      const low = bounds.filter((bound) => bound < exact).at(-1) ?? 0;
      const got = metrics.quantile(upTo(values), q);
      is(`quantile ${q} of ${values.length}`, high === Infinity ? got : got >= low - 1e-9 && got <= high + 1e-9, high === Infinity ? Infinity : true);
    }
  }
  is("quantile of nothing", metrics.quantile(upTo([]), 0.5), null);
  is("buckets in order", metrics.buckets(metrics.parse('h_bucket{le="+Inf"} 3\nh_bucket{le="0.1"} 1\nh_bucket{le="1"} 2'), "h"),
    [{ bound: 0.1, count: 1 }, { bound: 1, count: 2 }, { bound: Infinity, count: 3 }]);
  is("a smaller histogram", metrics.between(upTo([1, 1]), upTo([1])), null);

  // rates over a window; a counter that went down is a new process.
  const rates = new metrics.Rates(3000);
  const at = (ms, value) => rates.push(ms, new Map([["x", value]])).get("x");
  is("rates", [at(0, 100), at(1000, 150), at(2000, 200), at(4000, 400), at(5000, 400)], [null, 50, 50, 250 / 3, 200 / 3]);
  is("reset", [at(6000, 10), at(7000, 20)], [null, 10]);
  is("a new counter counts from 0", rates.push(8000, new Map([["x", 30], ["new", 4]])).get("new"), 2);
  is("time that stands still", at(8000, 40), null);
  const quantiles = new metrics.Quantiles();
  is("first look", quantiles.push(0, upTo([]), [0.5]), [null]);
  is("second look", quantiles.push(1000, upTo([0.05, 0.05]), [0.5])[0] > 0.01, true);

  // history: bounded, oldest first, unknown values stay unknown.
  const ring = new history.History(["a"]);
  for (let i = 0; i < 1000; i += 1) ring.push(i * 1000, { a: i === 998 ? null : i });
  const points = ring.points("a", 999_000);
  is("ring", [ring.length, points.length, points[0], points.at(-1), Number.isNaN(points.at(-2)[1])], [320, 301, [699000, 699], [999000, 999], true]);
  is("last", [ring.last("a"), new history.History(["a"]).last("a")], [999, null]);

  // text of figures.
  is("counts", [0, 999, 12345, 1234567, null, NaN].map(format.count), ["0", "999", "12,345", "1.23 M", "–", "–"]);
  is("rates as text", [0, 0.01, 0.4, 12.54, 1234.4, 56700].map(format.rate), ["0", "<0.1", "0.4", "12.5", "1,234", "56.7 k"]);
  is("bytes", [0, 1023, 1536, 268435456].map(format.bytes), ["0 B", "1023 B", "1.5 KiB", "256 MiB"]);
  is("latencies", [0, 85e-6, 1.234e-3, 2.5, Infinity, null].map(format.latency), ["0", "85 µs", "1.23 ms", "2.5 s", ">10 s", "–"]);
  is("durations", [12, 185, 7500, 7200, 360000].map(format.duration), ["12 s", "3 min", "2 h 5 min", "2 h", "4 d 4 h"]);
  is("cut", [format.cut("lamp", 4), format.cut("lamps", 4), format.cut("🏮🏮🏮", 3)], ["lamp", "lam…", "🏮🏮🏮"]);

  // model: states by word, changes as sentences, a restart is no burst.
  const peer = (state, more = {}) => ({ name: "jfk", authority: "ab", state, ...more });
  is("states", [peer("linked"), peer("dialling"), peer("dialling", { refused: true }), peer("absent"), peer("pending"), peer("new")].map(model.linkState),
    ["up", "dialling", "refused", "down", "pending", "new"]);
  const m = new model.Model();
  const heard = [];
  m.onChanges = (changes) => heard.push(...changes);
  const take = (...rows) => m.takePeers(JSON.stringify({ peers: rows }), performance.now());
  take(peer("linked"));
  take(peer("linked"));
  is("no news", heard, []);
  take(peer("dialling", { problem: "no answer" }));
  take(peer("linked"), { ...peer("absent"), name: "lga" });
  take();
  is("news", heard, ["Link to jfk went down, now dialling: no answer", "Link to jfk is up", "New peer lga: down", "Peer jfk is gone", "Peer lga is gone"]);
  const look = (n) => `fanal_events_published_total{class="a"} ${n}\nfanal_events_forwarded_total{peer="jfk"} ${n}`;
  m.takeMetrics(look(100), 1000);
  m.takeMetrics(look(200), 2000);
  is("published", m.history.last("published"), 100);
  take(peer("linked"));
  is("out", m.peers[0].out, 100);
  m.takeMetrics(look(0), 3000);
  is("after a restart", m.history.last("published"), null);
  m.takeSessions(JSON.stringify({ sessions: Array.from({ length: 10000 }, (_, id) => ({ id, subscriptions: id % 2, publish_channels: id % 5 ? 0 : 1 })) }));
  is("many sessions", [m.sessions.counts, m.sessions.rows.length], [{ all: 10000, publishing: 2000, subscribing: 5000, idle: 4000 }, 100]);
  let refused = "";
  try { m.takeMetrics("<html>"); } catch (error) { refused = error.message; }
  is("no metrics", refused, "no metrics in the answer");

  // chart: round scales, lines that break where nothing is known.
  is("scales", [0, 0.7, 1, 23, 101, 4000].map((value) => chart.niceTop(value)), [0, 0.8, 1, 30, 200, 4000]);
  is("binary scales", [1000, 1025, 3e6].map((value) => chart.niceTop(value, 1024)), [1024, 2048, 4 * 1048576]);
  is("path", chart.linePath([[0, 1], [1000, 2], [2000, NaN], [3000, 3], [90000, 4]], (x) => x / 1000, (y) => y), "M0.0 1.0L1.0 2.0M3.0 3.0h0M90.0 4.0h0");

  // picture: every place within the drawing, labels apart, for any number of peers and width.
  for (const width of [280, 360, 640, 900, 1200]) {
    for (const peers of [0, 1, 2, 3, 7, 20, 60]) {
      const where = picture.layout(width, peers);
      const within = where.places.every(({ x, y, row }) => x >= 10 && x <= width - 10 && y - row / 2 >= 0 && y + 10 <= where.height);
      const apart = where.places.every((a, i) => where.places.every((b, j) => i === j || Math.abs(a.y - b.y) >= 30 || Math.abs(a.x - b.x) >= 150));
      is(`places of ${peers} at ${width}`, [where.places.length, within, apart], [peers, true, true]);
    }
  }
  return { failed, checked };
})();
