//! Dashboards and rules against what they are for: a real Prometheus that scrapes three brokers
//! under load. A query that is misspelt, or asks for what no broker has, gives nothing and fails.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fanal_client::{Client, Subscription};
use fanal_protocol::control::Subscribe;
use fanal_tests::broker::{Broker, World, free_address};
use fanal_tests::cli::repository;
use fanal_tests::dashboard::{self, Dashboard, filled, items, text};
use fanal_tests::http::Metrics;
use fanal_tests::process::Process;
use fanal_tests::prometheus::{Prometheus, Series};
use fanal_tests::promql::{name, selectors};
use fanal_tests::raw::Raw;
use fanal_tests::tool::{PROMETHEUS, PROMTOOL};
use fanal_tests::wait::{until, within};
use serde_json::Value;
use tokio::task::JoinSet;

const NAMES: [&str; 3] = ["ewr", "jfk", "lga"];
const SCRAPE_MS: u64 = 500;
/// Scrapes before the first look: rates need two, `$__rate_interval` reaches over four.
const SCRAPES: f64 = 6.0;
/// How long a query may give nothing, once everything runs.
const PATIENCE: Duration = Duration::from_secs(10);

fn deploy(path: &str) -> PathBuf {
    repository().join("deploy/prometheus").join(path)
}

/// Three brokers, each linked to the others. Their live buffers are small, so that drops are seen.
fn triangle(world: &World) -> [Broker; 3] {
    let config = world.path("small.toml");
    std::fs::write(&config, "[limits]\nlive_buffer_bytes = 4096\nstore_bytes = \"4 GiB\"\n").unwrap();
    let addresses = NAMES.map(|_| free_address());
    NAMES.map(|name| {
        let others = NAMES.iter().zip(addresses).filter(|(other, _)| **other != name);
        let own = addresses[NAMES.iter().position(|other| *other == name).unwrap()];
        let spec = world.broker(name).listen(own).config(config.clone());
        others.fold(spec, |spec, (other, at)| spec.peer(other, at)).start()
    })
}

/// Work that goes on until it is dropped.
struct Load {
    tasks: JoinSet<()>,
    _kept: Vec<(Client, Raw)>,
}

impl Load {
    async fn start(brokers: &[Broker]) -> Load {
        let mut load = Load { tasks: JoinSet::new(), _kept: Vec::new() };
        for broker in brokers {
            load.subscribe(broker).await;
        }
        for broker in brokers {
            load.publish(broker).await;
        }
        load
    }

    /// A durable and a live subscriber, a backlog that nobody takes, a live one without credit.
    async fn subscribe(&mut self, broker: &Broker) {
        let client = broker.client().await;
        let name = format!("late-{}", broker.name());
        let late = client.subscribe("flights/#").filter("dep_delay > 60").durable(name);
        self.tasks.spawn(consume(within("a receipt", late).await.unwrap()));
        let live = client.subscribe("flights/#").filter("dep_delay <= 60");
        self.tasks.spawn(consume(within("a receipt", live).await.unwrap()));
        let away = client.subscribe("flights/#").durable(format!("away-{}", broker.name()));
        drop(within("a receipt", away).await.unwrap());
        let mut raw = Raw::attach(broker).await;
        let stuck = Subscribe { channel: 1, filter: "flights/#".into(), ..Subscribe::default() };
        raw.subscribe(stuck).await.unwrap();
        self._kept.push((client, raw));
    }

    /// Both classes, and publishes that are refused (425: sequence 1 never comes).
    async fn publish(&mut self, broker: &Broker) {
        let client = broker.client().await;
        let topic = format!("flights/{}", broker.name());
        let mut raw = Raw::attach(broker).await;
        let mut refused = raw.publisher(1, None).await.unwrap();
        self.tasks.spawn(async move {
            let _raw = raw;
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            for n in 0_u64.. {
                ticks.tick().await;
                let publish =
                    || client.publish(&topic).payload(vec![7; 1024]).attr("dep_delay", (n % 120) as i64);
                // The broker may end in this moment, with the test.
                if publish().post().await.is_err() || publish().best_effort().post().await.is_err() {
                    return;
                }
                if n % 10 == 0 {
                    refused.publish(n + 2, &topic, b"x").await;
                }
            }
        });
    }
}

/// Takes and acks whatever comes.
async fn consume(mut subscription: Subscription) {
    while let Some(Ok(item)) = subscription.next().await {
        if let Some(delivery) = item.delivery() {
            delivery.ack();
        }
    }
}

/// The scrape configuration of deploy/, with other addresses and a faster clock.
fn adapted(brokers: &[Broker], own: SocketAddr) -> String {
    let mut config = std::fs::read_to_string(deploy("prometheus.yml")).unwrap();
    let mut replace = |from: &str, to: &str| {
        assert!(config.contains(from), "{from} in\n{config}");
        config = config.replace(from, to);
    };
    for (broker, port) in brokers.iter().zip(4680..) {
        replace(&format!("127.0.0.1:{port}"), &broker.admin().to_string());
    }
    replace("127.0.0.1:9090", &own.to_string());
    replace("rules/*.yml", &deploy("rules/*.yml").to_string_lossy());
    let interval = format!("{SCRAPE_MS}ms");
    replace("scrape_interval: 15s", &format!("scrape_interval: {interval}"));
    replace("scrape_timeout: 10s", &format!("scrape_timeout: {interval}"));
    replace("evaluation_interval: 15s", &format!("evaluation_interval: {interval}"));
    config
}

/// Waits until all brokers were scraped often enough under load, and the rules have run.
async fn warm(prometheus: &Prometheus, brokers: &[Broker]) {
    let least = |expression: &str| {
        let found = prometheus.query(expression).unwrap();
        found.first().map_or(0.0, |series| series.values[0])
    };
    until("the brokers to be linked and to drop", || {
        let works = |broker| {
            let metrics = Metrics::of(broker);
            let dropped = [("class", "live"), ("reason", "slow_consumer")];
            metrics.sum("fanal_link_up", &[]) == 2.0
                && metrics.sum("fanal_events_dropped_total", &dropped) > 0.0
        };
        brokers.iter().all(works).then_some(())
    })
    .await;
    // One after the other, so that a failure names what is missing: what was reached stays so.
    for (wanted, expression, enough) in [
        ("scrapes of each broker", "min(count_over_time(up{job=\"fanal\"}[1m]))", SCRAPES),
        ("events forwarded by each broker", "min(fanal_events_forwarded_total)", 1.0),
        ("everything to be up", "count(up == 1)", 4.0),
    ] {
        until(wanted, || (least(expression) >= enough).then_some(())).await;
    }
}

/// What a query must give: series, and numbers where it is a quantile.
fn check(expression: &str, found: Result<Vec<Series>, String>) -> Result<(), String> {
    let found = found?;
    if found.is_empty() {
        return Err("nothing".into());
    }
    let last = |series: &Series| series.values.last().is_none_or(|value| value.is_nan());
    match expression.contains("histogram_quantile") && found.iter().any(last) {
        true => Err(format!("not a number: {found:?}")),
        false => Ok(()),
    }
}

/// Everything that is to be asked, with its place for messages.
#[derive(Default)]
struct Questions(Vec<(String, String, Kind)>);

#[derive(Clone, Copy)]
enum Kind {
    Instant,
    Range,
    /// Must give no error, and may give nothing.
    Alert,
}

impl Questions {
    fn add(&mut self, place: impl Into<String>, expression: impl Into<String>, kind: Kind) {
        self.0.push((place.into(), expression.into(), kind));
    }

    /// Of a dashboard, as Grafana would ask them for one choice of broker.
    fn add_dashboard(&mut self, dashboard: &Dashboard, instance: &str) {
        let rate_interval = format!("{}ms", 4 * SCRAPE_MS);
        let values = [
            ("job", "fanal"),
            ("instance", instance),
            ("__rate_interval", rate_interval.as_str()),
            ("__interval", "1s"),
            ("__range", "30s"),
        ];
        for query in dashboard.queries() {
            let kind = if query.is_instant { Kind::Instant } else { Kind::Range };
            let expression = filled(&query.expression, &values);
            assert!(!expression.contains('$'), "{}: a variable is left: {expression}", query.place);
            self.add(format!("{} ({instance})", query.place), expression, kind);
        }
    }

    /// Of the rules that Prometheus has loaded; of an alert each selector by itself.
    fn add_rules(&mut self, rules: &Value) {
        for rule in items(&rules["groups"]).flat_map(|group| items(&group["rules"])) {
            let (name, expression) = (text(&rule["name"]), text(&rule["query"]));
            if rule["type"] == "recording" {
                self.add(name, expression, Kind::Instant);
                continue;
            }
            // What `absent` asks for must be there all the same.
            selectors(&expression)
                .into_iter()
                .for_each(|one| self.add(format!("{name}, {one}"), one, Kind::Instant));
            self.add(name, expression, Kind::Alert);
        }
    }

    /// The questions that are not answered as they must, once [`PATIENCE`] is over.
    async fn ask(&self, prometheus: &Prometheus) -> Vec<String> {
        let began = Instant::now();
        let mut open: Vec<_> = self.0.iter().collect();
        until("answers", || {
            let mut failures = Vec::new();
            open.retain(|(place, expression, kind)| {
                let outcome = match kind {
                    Kind::Instant => check(expression, prometheus.query(expression)),
                    Kind::Range => check(expression, prometheus.query_range(expression, 5)),
                    Kind::Alert => prometheus.query(expression).map(|_| ()),
                };
                let Err(reason) = outcome else { return false };
                failures.push(format!("{place}: {expression}: {reason}"));
                true
            });
            (open.is_empty() || began.elapsed() > PATIENCE).then_some(failures)
        })
        .await
    }
}

/// Metrics that expressions name and a broker's page lacks.
fn missing(questions: &Questions, metrics: &Metrics) -> BTreeSet<String> {
    let named = questions.0.iter().flat_map(|(_, expression, _)| selectors(expression));
    let names = named.map(|selector| name(&selector).to_owned());
    // `up` is Prometheus' own; what a rule recorded has colons.
    names.filter(|name| name != "up" && !name.contains(':') && !metrics.has(name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_dashboards_and_rules_has_an_answer() {
    let Some(program) = PROMETHEUS.find("every_query_of_dashboards_and_rules_has_an_answer") else { return };
    let world = World::new();
    let brokers = triangle(&world);
    let load = Load::start(&brokers).await;
    let prometheus = Prometheus::start(&program, &world.path(""), |own| adapted(&brokers, own)).await;
    warm(&prometheus, &brokers).await;

    let mut questions = Questions::default();
    let dashboards = dashboard::all();
    assert!(dashboards.len() >= 2);
    for dashboard in &dashboards {
        let is_multi =
            dashboard.variables().any(|variable| variable["name"] == "instance" && variable["multi"] == true);
        match is_multi {
            true => questions.add_dashboard(dashboard, ".*"),
            false => NAMES.iter().for_each(|name| questions.add_dashboard(dashboard, name)),
        }
        for (selector, label) in dashboard.label_values() {
            let selector = filled(&selector, &[("job", "fanal")]);
            let values = prometheus.api(&format!("label/{label}/values"), &[("match[]", &selector)]).unwrap();
            let expected =
                if label == "job" { serde_json::json!(["fanal"]) } else { serde_json::json!(NAMES) };
            assert_eq!(values, expected, "{}: {selector}", dashboard.name);
        }
    }
    let rules = prometheus.api("rules", &[]).unwrap();
    let before = questions.0.len();
    questions.add_rules(&rules);
    assert!(before > 100 && questions.0.len() > before + 50, "{before}, {}", questions.0.len());

    let absent = missing(&questions, &Metrics::of(&brokers[0]));
    assert!(absent.is_empty(), "no broker has {absent:?}");
    let failures = questions.ask(&prometheus).await;
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), questions.0.len(), failures.join("\n"));

    let rules = prometheus.api("rules", &[]).unwrap();
    for rule in items(&rules["groups"]).flat_map(|group| items(&group["rules"])) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    // Nothing is wrong with these brokers, but that one live subscriber of each is stuck. On a busy
    // machine each of the few scrapes so far may have met events under way: the ledger's alert then
    // waits for its five minutes, and the guard of each broker looks at the ledger in the end.
    let waits = |alert: &&Value| {
        text(&alert["labels"]["alertname"]) == "FanalLedgerUnbalanced" && alert["state"] == "pending"
    };
    let firing: BTreeSet<String> = items(&prometheus.api("alerts", &[]).unwrap()["alerts"])
        .filter(|alert| !waits(alert))
        .map(|alert| text(&alert["labels"]["alertname"]))
        .collect();
    assert!(firing.iter().all(|name| name == "FanalEventsDropped"), "{firing:?}");
    drop(load);
}

fn promtool(program: &Path, args: &[&str]) {
    let mut command = Command::new(program);
    command.args(args).current_dir(deploy(""));
    let finished = Process::start(&mut command).finish();
    assert_eq!(
        finished.code,
        Some(0),
        "promtool {args:?}: {}\n{}",
        finished.stdout.join("\n"),
        finished.stderr
    );
}

#[test]
fn promtool_finds_nothing_wrong_with_configuration_and_rules() {
    let Some(program) = PROMTOOL.find("promtool_finds_nothing_wrong_with_configuration_and_rules") else {
        return;
    };
    promtool(&program, &["check", "config", "prometheus.yml"]);
    promtool(&program, &["check", "rules", "rules/records.yml", "rules/alerts.yml"]);
}

#[test]
fn each_alert_fires_where_it_must_and_is_silent_elsewhere() {
    let Some(program) = PROMTOOL.find("each_alert_fires_where_it_must_and_is_silent_elsewhere") else {
        return;
    };
    promtool(&program, &["test", "rules", "tests/alerts.yml"]);
}
