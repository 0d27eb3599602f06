//! The page itself: complete, documented, accepted by Prometheus, of bounded size.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use fanal_tests::broker::World;
use fanal_tests::cli::repository;
use fanal_tests::http::{CLASSES, Metrics, get};
use fanal_tests::process::Process;
use fanal_tests::subscriber::payloads;
use fanal_tests::tool::PROMTOOL;

use super::*;

/// What shows that a metric moves.
enum Moved {
    /// A test of this program.
    Here(#[expect(dead_code, reason = "that it compiles shows that the test exists")] fn()),
    /// A test elsewhere: file and name.
    There(&'static str, &'static str),
    /// Nothing in this version; why. It stays 0.
    Never(&'static str),
}
use Moved::{Here, Never, There};

/// Every metric, and what moves it.
const TABLE: [(&str, Moved); 43] = [
    ("fanal_build_info", Here(the_page_is_complete_and_the_papers_say_the_same)),
    ("fanal_delivery_seconds", Here(home::each_event_is_counted_once_at_each_step)),
    ("fanal_events_acked_total", Here(home::each_event_is_counted_once_at_each_step)),
    ("fanal_events_dead_lettered_total", Here(limits::what_gives_way_in_a_full_mailbox_is_counted)),
    ("fanal_events_delivered_total", Here(home::each_event_is_counted_once_at_each_step)),
    ("fanal_events_dropped_total", Here(limits::a_full_live_buffer_counts_what_it_drops_and_what_is_left)),
    ("fanal_events_duplicate_total", Never("whatever is recognised is recognised before it is routed")),
    ("fanal_events_expired_total", Here(home::what_expires_is_counted_where_it_waited)),
    ("fanal_events_forwarded_total", Here(link::both_sides_of_a_link_count_the_same)),
    ("fanal_events_published_total", Here(home::each_event_is_counted_once_at_each_step)),
    ("fanal_events_received_total", Here(link::both_sides_of_a_link_count_the_same)),
    ("fanal_events_redelivered_total", Here(home::a_mailbox_shows_what_waits_how_much_and_since_when)),
    ("fanal_interest_entries", Here(link::both_sides_of_a_link_count_the_same)),
    (
        "fanal_interest_widened",
        There("broker/server/src/gauges.rs", "asks_above_the_budget_show_as_widened_interest"),
    ),
    ("fanal_ledger_queued", Here(home::a_mailbox_shows_what_waits_how_much_and_since_when)),
    ("fanal_ledger_queued_at_start", Here(home::a_mailbox_shows_what_waits_how_much_and_since_when)),
    (
        "fanal_link_duplicates_total",
        There("tests/tests/federation.rs", "a_resend_on_a_link_is_recognised_by_its_number"),
    ),
    ("fanal_link_lag_events", Here(link::both_sides_of_a_link_count_the_same)),
    ("fanal_link_rtt_seconds", Here(link::both_sides_of_a_link_count_the_same)),
    ("fanal_link_up", Here(link::both_sides_of_a_link_count_the_same)),
    ("fanal_mailbox_bytes", Here(home::a_mailbox_shows_what_waits_how_much_and_since_when)),
    ("fanal_mailbox_events", Here(home::a_mailbox_shows_what_waits_how_much_and_since_when)),
    ("fanal_mailbox_oldest_age_seconds", Here(home::a_mailbox_shows_what_waits_how_much_and_since_when)),
    ("fanal_match_seconds", Here(home::each_event_is_counted_once_at_each_step)),
    (
        "fanal_match_unknown_total",
        There("broker/server/src/gauges.rs", "comparisons_without_a_value_show_as_unknown"),
    ),
    ("fanal_publish_refused_total", Here(home::every_refusal_is_counted_under_its_code)),
    ("fanal_publish_seconds", Here(home::each_event_is_counted_once_at_each_step)),
    ("fanal_ready", There("broker/server/src/gauges.rs", "a_broker_that_drains_shows_that_it_is_not_ready")),
    ("fanal_routes_total", Here(home::each_event_is_counted_once_at_each_step)),
    ("fanal_sessions", Here(home::each_event_is_counted_once_at_each_step)),
    ("fanal_store_available_bytes", Here(limits::a_full_store_shows_and_so_does_its_recovery)),
    ("fanal_store_bytes", Here(limits::a_full_store_shows_and_so_does_its_recovery)),
    ("fanal_store_flush_seconds", Here(home::each_event_is_counted_once_at_each_step)),
    ("fanal_store_full", Here(limits::a_full_store_shows_and_so_does_its_recovery)),
    (
        "fanal_store_stopped",
        There("broker/server/src/log/writer/tests.rs", "a_store_that_stops_shows_it_and_refuses"),
    ),
    ("fanal_subscriptions", Here(home::each_event_is_counted_once_at_each_step)),
    ("process_cpu_seconds_total", Here(the_process_is_seen_as_the_kernel_sees_it)),
    ("process_max_fds", Here(the_process_is_seen_as_the_kernel_sees_it)),
    ("process_open_fds", Here(the_process_is_seen_as_the_kernel_sees_it)),
    ("process_resident_memory_bytes", Here(the_process_is_seen_as_the_kernel_sees_it)),
    ("process_start_time_seconds", Here(the_process_is_seen_as_the_kernel_sees_it)),
    ("process_threads", Here(the_process_is_seen_as_the_kernel_sees_it)),
    ("process_virtual_memory_bytes", Here(the_process_is_seen_as_the_kernel_sees_it)),
];

/// Labels that are documented by name only.
const OPEN_LABELS: [&str; 3] = ["peer", "version", "code"];

#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The families of a page, by name.
fn families(page: &str) -> BTreeMap<String, Family> {
    let mut out: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        if let ("#", what @ ("HELP" | "TYPE"), name, text) =
            (word().as_str(), word().as_str(), word(), word())
        {
            let family = out.entry(name).or_default();
            *(if what == "HELP" { &mut family.help } else { &mut family.kind }) = text;
        }
    }
    for (name, labels) in Metrics::read(page).series() {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let base = base.filter(|base| out.get(*base).is_some_and(|family| family.kind == "histogram"));
        let family = out.get_mut(base.unwrap_or(name)).unwrap_or_else(|| panic!("{name} has no help"));
        for (label, value) in labels.iter().filter(|(label, _)| label != "le") {
            family.labels.entry(label.clone()).or_default().insert(value.clone());
        }
    }
    out
}

impl Family {
    /// A row of `docs/METRICS.md`.
    fn row(&self, name: &str) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(label, values)| match OPEN_LABELS.contains(&label.as_str()) {
                true => format!("`{label}`"),
                false => {
                    format!("`{label}`: {}", values.iter().cloned().collect::<Vec<_>>().join(", "))
                }
            })
            .collect();
        format!("| `{name}` | {} | {} | {} |", self.kind, labels.join("; "), self.help)
    }
}

#[test]
fn the_page_is_complete_and_the_papers_say_the_same() {
    let world = World::new();
    let address = fanal_tests::broker::free_address();
    let broker = world.broker("ewr").peer("jfk", address).start();
    let (_, page) = get(broker.admin(), "/metrics");
    let families = families(&page);
    let there: Vec<&str> = families.keys().map(String::as_str).collect();
    let listed: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(there, listed, "the page, and the table of tests");

    let metrics = Metrics::read(&page);
    for (name, moved) in &TABLE {
        match moved {
            Here(_) => {}
            There(file, test) => {
                let text = std::fs::read_to_string(repository().join(file)).unwrap();
                assert!(text.contains(&format!("fn {test}(")), "{name}: {file} has no {test}");
            }
            Never(why) => assert_eq!(metrics.sum(name, &[]), 0.0, "{name}: {why}"),
        }
    }
    assert_eq!(metrics.sum("fanal_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);

    let papers = std::fs::read_to_string(repository().join("docs/METRICS.md")).unwrap_or_default();
    let documented: Vec<&str> = papers.lines().filter(|line| line.starts_with("| `")).collect();
    let rows: Vec<String> = families.iter().map(|(name, family)| family.row(name)).collect();
    assert!(documented == rows, "the table in docs/METRICS.md must be:\n{}", rows.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_series_is_there_from_the_start_and_events_make_no_more() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let series = |metrics: &Metrics| {
        metrics.series().map(|(name, labels)| format!("{name} {labels:?}")).collect::<BTreeSet<_>>()
    };
    let before = Metrics::of(&broker);
    for class in CLASSES {
        for name in [
            "fanal_routes_total",
            "fanal_events_acked_total",
            "fanal_events_expired_total",
            "fanal_events_duplicate_total",
            "fanal_ledger_queued",
            "fanal_ledger_queued_at_start",
        ] {
            assert_eq!(before.count(name, &[("class", class)]), 1, "{name} {class}");
        }
        for reason in ["full", "age", "store"] {
            let labels = [("class", class), ("reason", reason)];
            assert_eq!(before.count("fanal_events_dead_lettered_total", &labels), 1, "{class} {reason}");
        }
    }
    // What varies: topics, publishers, connections, filters, names, reasons.
    let authority = fanal_tests::authority::Authority::of(broker.ca());
    for n in 0..5 {
        let text = authority.credentials(&format!("client{n}"), broker.listen(), &authority);
        let credentials = fanal_client::Credentials::from_json(&text).unwrap();
        let client = Client::connect(&credentials).await.unwrap();
        let mut live = client.subscribe(format!("t/{n}/#")).await.unwrap();
        let durable = client.subscribe(format!("t/{n}/#")).durable(format!("d{n}")).await.unwrap();
        for topic in 0..20 {
            client.publish(&format!("t/{n}/{topic}")).payload("x").await.unwrap();
        }
        payloads(&mut live, 20).await;
        assert!(client.publish("t/+").payload("x").await.is_err());
        drop(durable);
        client.remove_subscription(&format!("d{n}")).await.unwrap();
    }
    let after = shows(&broker, &[("fanal_events_published_total", 100.0)]).await;
    assert_eq!(series(&before), series(&after));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_to_say_about_a_page_under_load() {
    let Some(promtool) = PROMTOOL.find("promtool_finds_nothing_to_say_about_a_page_under_load") else {
        return;
    };
    let world = World::new();
    let ewr = world.broker("ewr").start();
    let jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    shows(&ewr, &[("fanal_link_up peer=jfk", 1.0)]).await;
    let subscriber = jfk.client().await;
    let mut orders = subscriber.subscribe("t/#").durable("orders").await.unwrap();
    let publisher = ewr.client().await;
    let pages = async {
        publish(&publisher, 500).await;
        [&ewr, &jfk].map(|broker| get(broker.admin(), "/metrics").1)
    };
    let (pages, _) = tokio::join!(pages, payloads(&mut orders, 500));
    for page in pages {
        let mut check = Process::start(Command::new(&promtool).args(["check", "metrics"]));
        check.feed(page.into_bytes());
        let finished = check.finish();
        let said = finished.stdout.join("\n") + &finished.stderr;
        assert_eq!((finished.code, said.as_str()), (Some(0), ""));
    }
}

#[test]
fn the_process_is_seen_as_the_kernel_sees_it() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let began = now();
    let world = World::new();
    let broker = world.broker("ewr").start();
    let metrics = Metrics::of(&broker);
    let one = |name: &str| metrics.sum(name, &[]);
    // The kernel counts from the boot, whose time it gives in whole seconds.
    assert!((began - 2.0..now() + 2.0).contains(&one("process_start_time_seconds")));
    let resident = one("process_resident_memory_bytes");
    assert!(resident > 1e6 && resident < one("process_virtual_memory_bytes"), "{resident}");
    assert!((5.0..one("process_max_fds")).contains(&one("process_open_fds")));
    assert!((3.0..1000.0).contains(&one("process_threads")), "{}", one("process_threads"));
    let before = one("process_cpu_seconds_total");
    fanal_tests::wait::until_blocking("CPU time that passes", || {
        (Metrics::of(&broker).sum("process_cpu_seconds_total", &[]) > before).then_some(())
    });
}
