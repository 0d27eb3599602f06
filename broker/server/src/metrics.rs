//! What Prometheus sees of a broker (DESIGN section 9).
//!
//! The `metrics` facade over a `prometheus` registry of this broker's own, so that several brokers
//! in one process do not mix. Invariants:
//! 1. Every handle is made once; the hot path increments it once per batch and hashes no label.
//! 2. Labels are of closed sets, but for `peer`, which only configured or admitted brokers make.
//! 3. The ledger (contract 7) balances per class:
//!    routed + queued at start = acked + queued + expired + dead-lettered + dropped + duplicate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fanal_protocol::{Class, Code};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram, with_local_recorder};
use metrics_prometheus::Recorder;
use prometheus::{Encoder, HistogramOpts, Registry, TextEncoder};

use crate::live::LiveClass;
use crate::mailbox::MailboxKind;

mod process;

/// Bounds of the latency histograms, in seconds.
const SECONDS: [f64; 19] = [
    1e-6, 2.5e-6, 1e-5, 2.5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

const HISTOGRAMS: [(&str, &str); 4] = [
    (
        "fanal_publish_seconds",
        "From reading a publish to its receipt, once per batch of the at-least-once class.",
    ),
    (
        "fanal_delivery_seconds",
        "From acceptance at the publisher's home to writing to the subscriber, once per batch.",
    ),
    ("fanal_match_seconds", "Routing of one event, mean of a batch."),
    ("fanal_store_flush_seconds", "Writing and flushing one batch."),
];

const COUNTERS: [(&str, &str); 13] = [
    ("fanal_events_published_total", "Events accepted from clients."),
    ("fanal_routes_total", "Copies routed to destinations."),
    ("fanal_events_delivered_total", "Copies written to subscribers."),
    ("fanal_events_redelivered_total", "Copies written to durable subscribers more than once."),
    ("fanal_events_acked_total", "Copies done with: acked, or written where there are no acks."),
    ("fanal_events_forwarded_total", "Events of the durable path written to a peer."),
    ("fanal_events_received_total", "Events received from a peer."),
    ("fanal_events_dropped_total", "Copies dropped."),
    ("fanal_events_expired_total", "Copies whose TTL ended before they were delivered."),
    ("fanal_events_dead_lettered_total", "Copies moved to the dead letters."),
    ("fanal_events_duplicate_total", "Copies recognised as duplicates where they were routed."),
    ("fanal_link_duplicates_total", "Resends recognised on a link."),
    ("fanal_publish_refused_total", "Publishes refused, by code."),
];

const GAUGES: [(&str, &str); 15] = [
    ("fanal_ledger_queued", "Copies that wait now."),
    ("fanal_ledger_queued_at_start", "Copies that waited when this process started."),
    ("fanal_sessions", "Client connections."),
    ("fanal_subscriptions", "Subscriptions."),
    ("fanal_mailbox_events", "Entries in mailboxes."),
    ("fanal_mailbox_bytes", "Bytes of the entries in mailboxes."),
    ("fanal_store_bytes", "Bytes of the store on disk."),
    ("fanal_store_full", "1 while the store takes no events for lack of space."),
    ("fanal_store_stopped", "1 after a write or flush failed, until restart."),
    ("fanal_link_up", "1 while a link to the peer is up."),
    ("fanal_link_rtt_seconds", "Round-trip time of the link."),
    ("fanal_link_lag_events", "Events that wait for the peer."),
    ("fanal_interest_entries", "Interest entries held for (in) and asked of (out) a peer."),
    ("fanal_interest_widened", "1 while interest sent to the peer is wider than the subscriptions."),
    ("fanal_build_info", "1, with the version as a label."),
];

/// Ledger row of live destinations.
pub(crate) struct LiveLedger {
    pub(crate) routed: Counter,
    pub(crate) acked: Counter,
    pub(crate) expired: Counter,
    pub(crate) dropped_slow: Counter,
    pub(crate) dropped_closed: Counter,
    pub(crate) delivered: Counter,
    queued: Gauge,
}

/// Ledger row of mailboxes.
pub(crate) struct DurableLedger {
    pub(crate) routed: Counter,
    pub(crate) acked: Counter,
    pub(crate) expired: Counter,
    dropped_removed: Counter,
    pub(crate) dropped_damaged: Counter,
    pub(crate) dropped_too_large: Counter,
    queued: Gauge,
    queued_at_start: Gauge,
    mailbox_events: Gauge,
    mailbox_bytes: Gauge,
}

/// What is counted per peer.
pub(crate) struct PeerMetrics {
    pub(crate) link_up: Gauge,
    pub(crate) rtt: Gauge,
    pub(crate) lag: Gauge,
    pub(crate) interest_in: Gauge,
    pub(crate) interest_out: Gauge,
    pub(crate) interest_widened: Gauge,
    pub(crate) forwarded: Counter,
    pub(crate) received: Counter,
    pub(crate) duplicates: Counter,
}

type Sampler = Box<dyn Fn(&Metrics) + Send + Sync>;

/// See the module.
pub(crate) struct Metrics {
    recorder: Recorder,
    registry: Registry,
    samplers: Mutex<Vec<Sampler>>,
    peers: Mutex<BTreeMap<String, Arc<PeerMetrics>>>,
    refused: BTreeMap<u16, Counter>,
    live: LiveLedger,
    peer_live: LiveLedger,
    durable: DurableLedger,
    peer: DurableLedger,
    published: Counter,
    published_best_effort: Counter,
    pub(crate) delivered_durable: Counter,
    pub(crate) redelivered: Counter,
    pub(crate) publish_seconds: Histogram,
    pub(crate) delivery_seconds: Histogram,
    pub(crate) match_seconds: Histogram,
    pub(crate) store_flush_seconds: Histogram,
    pub(crate) store_bytes: Gauge,
    pub(crate) store_full: Gauge,
    pub(crate) store_stopped: Gauge,
    pub(crate) sessions_connected: Gauge,
    pub(crate) subscriptions_live: Gauge,
    pub(crate) subscriptions_durable: Gauge,
}

impl Metrics {
    /// The metrics of one broker of a version.
    pub(crate) fn new(version: &'static str) -> Self {
        let registry = Registry::new();
        process::register(&registry);
        let recorder = Recorder::builder().with_registry(registry.clone()).build();
        for (name, help) in HISTOGRAMS {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            match prometheus::Histogram::with_opts(options) {
                Ok(histogram) => recorder.register_metric(histogram),
                Err(error) => tracing::error!(name, %error, "a histogram cannot be made"),
            }
        }
        let metrics = with_local_recorder(&recorder, || handles(recorder.clone(), registry));
        with_local_recorder(&recorder, || {
            gauge!("fanal_build_info", "version" => version).set(1.0);
            describe();
        });
        metrics
    }

    /// The handles of a peer, made at its first mention.
    pub(crate) fn peer(&self, name: &str) -> Arc<PeerMetrics> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = peers.get(name) {
            return Arc::clone(known);
        }
        let made = Arc::new(with_local_recorder(&self.recorder, || peer_handles(name)));
        peers.insert(name.to_owned(), Arc::clone(&made));
        made
    }

    pub(crate) fn live(&self, class: LiveClass) -> &LiveLedger {
        match class {
            LiveClass::Live => &self.live,
            LiveClass::PeerLive => &self.peer_live,
        }
    }

    pub(crate) fn durable(&self, kind: &MailboxKind) -> &DurableLedger {
        match kind {
            MailboxKind::Durable { .. } => &self.durable,
            MailboxKind::Peer { .. } => &self.peer,
        }
    }

    /// Entries that went with a removed durable subscription.
    pub(crate) fn durable_removed(&self) -> &Counter {
        &self.durable.dropped_removed
    }

    pub(crate) fn delivered(&self, class: LiveClass) -> &Counter {
        &self.live(class).delivered
    }

    pub(crate) fn events_published(&self, class: Class) -> &Counter {
        match class {
            Class::AtLeastOnce => &self.published,
            Class::BestEffort => &self.published_best_effort,
        }
    }

    /// Refusals with a code; codes that do not exist count as 500.
    pub(crate) fn publish_refused(&self, code: u16) -> &Counter {
        self.refused.get(&code).unwrap_or(&self.refused[&Code::Internal.number()])
    }

    pub(crate) fn set_queued_at_start(&self, durable: u64, peer: u64) {
        self.durable.queued_at_start.set(durable as f64);
        self.peer.queued_at_start.set(peer as f64);
    }

    /// Events and bytes that wait in mailboxes.
    pub(crate) fn set_mailboxes(&self, durable: (u64, u64), peer: (u64, u64)) {
        for (ledger, (events, bytes)) in [(&self.durable, durable), (&self.peer, peer)] {
            ledger.queued.set(events as f64);
            ledger.mailbox_events.set(events as f64);
            ledger.mailbox_bytes.set(bytes as f64);
        }
    }

    /// Events that wait in live buffers.
    pub(crate) fn set_live_queued(&self, live: u64, peer_live: u64) {
        self.live.queued.set(live as f64);
        self.peer_live.queued.set(peer_live as f64);
    }

    /// Runs `sampler` before each scrape.
    pub(crate) fn on_scrape(&self, sampler: Sampler) {
        self.samplers.lock().unwrap_or_else(PoisonError::into_inner).push(sampler);
    }

    /// The page in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        for sampler in self.samplers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sampler(self);
        }
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => String::from_utf8_lossy(&out).into_owned(),
            Err(error) => format!("# the metrics cannot be written: {error}\n"),
        }
    }
}

fn handles(recorder: Recorder, registry: Registry) -> Metrics {
    let refused = Code::ALL.iter().filter(|code| code.number() >= 300).map(|code| {
        (code.number(), counter!("fanal_publish_refused_total", "code" => code.number().to_string()))
    });
    Metrics {
        recorder,
        registry,
        samplers: Mutex::default(),
        peers: Mutex::default(),
        refused: refused.collect(),
        live: live_ledger("live"),
        peer_live: live_ledger("peer_live"),
        durable: durable_ledger("durable"),
        peer: durable_ledger("peer"),
        published: counter!("fanal_events_published_total", "class" => "at_least_once"),
        published_best_effort: counter!("fanal_events_published_total", "class" => "best_effort"),
        delivered_durable: counter!("fanal_events_delivered_total", "class" => "durable"),
        redelivered: counter!("fanal_events_redelivered_total"),
        publish_seconds: histogram!("fanal_publish_seconds"),
        delivery_seconds: histogram!("fanal_delivery_seconds"),
        match_seconds: histogram!("fanal_match_seconds"),
        store_flush_seconds: histogram!("fanal_store_flush_seconds"),
        store_bytes: gauge!("fanal_store_bytes"),
        store_full: gauge!("fanal_store_full"),
        store_stopped: gauge!("fanal_store_stopped"),
        sessions_connected: gauge!("fanal_sessions", "state" => "connected"),
        subscriptions_live: gauge!("fanal_subscriptions", "kind" => "live"),
        subscriptions_durable: gauge!("fanal_subscriptions", "kind" => "durable"),
    }
}

/// What cannot happen to a class stands at 0, so that the ledger's formula has all its terms.
fn zero_terms(class: &'static str) {
    counter!("fanal_events_dead_lettered_total", "class" => class, "reason" => "limit").absolute(0);
    counter!("fanal_events_duplicate_total", "class" => class).absolute(0);
}

fn live_ledger(class: &'static str) -> LiveLedger {
    zero_terms(class);
    gauge!("fanal_ledger_queued_at_start", "class" => class).set(0.0);
    LiveLedger {
        routed: counter!("fanal_routes_total", "class" => class),
        acked: counter!("fanal_events_acked_total", "class" => class),
        expired: counter!("fanal_events_expired_total", "class" => class),
        dropped_slow: counter!("fanal_events_dropped_total", "class" => class, "reason" => "slow_consumer"),
        dropped_closed: counter!("fanal_events_dropped_total", "class" => class, "reason" => "closed"),
        delivered: counter!("fanal_events_delivered_total", "class" => class),
        queued: gauge!("fanal_ledger_queued", "class" => class),
    }
}

fn durable_ledger(class: &'static str) -> DurableLedger {
    zero_terms(class);
    DurableLedger {
        routed: counter!("fanal_routes_total", "class" => class),
        acked: counter!("fanal_events_acked_total", "class" => class),
        expired: counter!("fanal_events_expired_total", "class" => class),
        dropped_damaged: counter!("fanal_events_dropped_total", "class" => class, "reason" => "damaged"),
        dropped_too_large: counter!("fanal_events_dropped_total", "class" => class, "reason" => "too_large"),
        dropped_removed: counter!("fanal_events_dropped_total", "class" => class, "reason" => "removed"),
        queued: gauge!("fanal_ledger_queued", "class" => class),
        queued_at_start: gauge!("fanal_ledger_queued_at_start", "class" => class),
        mailbox_events: gauge!("fanal_mailbox_events", "kind" => class),
        mailbox_bytes: gauge!("fanal_mailbox_bytes", "kind" => class),
    }
}

fn peer_handles(name: &str) -> PeerMetrics {
    let peer = || name.to_owned();
    let made = PeerMetrics {
        link_up: gauge!("fanal_link_up", "peer" => peer()),
        rtt: gauge!("fanal_link_rtt_seconds", "peer" => peer()),
        lag: gauge!("fanal_link_lag_events", "peer" => peer()),
        interest_in: gauge!("fanal_interest_entries", "peer" => peer(), "direction" => "in"),
        interest_widened: gauge!("fanal_interest_widened", "peer" => peer()),
        interest_out: gauge!("fanal_interest_entries", "peer" => peer(), "direction" => "out"),
        forwarded: counter!("fanal_events_forwarded_total", "peer" => peer()),
        received: counter!("fanal_events_received_total", "peer" => peer()),
        duplicates: counter!("fanal_link_duplicates_total", "peer" => peer()),
    };
    describe();
    made
}

fn describe() {
    COUNTERS.iter().for_each(|(name, help)| metrics::describe_counter!(*name, *help));
    GAUGES.iter().for_each(|(name, help)| metrics::describe_gauge!(*name, *help));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_appears_with_its_help_and_two_brokers_do_not_mix() {
        let (one, other) = (Metrics::new("1"), Metrics::new("1"));
        one.peer("jfk").forwarded.increment(3);
        one.events_published(Class::AtLeastOnce).increment(7);
        one.publish_refused(400).increment(1);
        one.match_seconds.record(1e-5);
        let (page, other) = (one.render(), other.render());
        for (name, help) in COUNTERS.iter().chain(&GAUGES).chain(&HISTOGRAMS) {
            assert!(page.contains(&format!("# HELP {name} {help}")), "{name} in\n{page}");
        }
        assert!(page.contains("fanal_events_forwarded_total{peer=\"jfk\"} 3"), "{page}");
        assert!(page.contains("fanal_events_published_total{class=\"at_least_once\"} 7"));
        assert!(page.contains("fanal_publish_refused_total{code=\"400\"} 1"));
        assert!(page.contains("process_resident_memory_bytes"));
        assert!(other.contains("fanal_events_published_total{class=\"at_least_once\"} 0"));
        assert!(!other.contains("jfk"));
    }

    #[test]
    fn every_ledger_term_exists_for_every_class() {
        let page = Metrics::new("1").render();
        for class in ["durable", "live", "peer", "peer_live"] {
            for name in [
                "fanal_routes_total",
                "fanal_ledger_queued_at_start",
                "fanal_events_acked_total",
                "fanal_ledger_queued",
                "fanal_events_expired_total",
                "fanal_events_dead_lettered_total",
                "fanal_events_dropped_total",
                "fanal_events_duplicate_total",
            ] {
                let label = format!("class=\"{class}\"");
                let has = |line: &str| line.starts_with(&format!("{name}{{")) && line.contains(&label);
                assert!(page.lines().any(has), "{name} {label}\n{page}");
            }
        }
    }
}
