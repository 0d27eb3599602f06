//! What Prometheus sees of a broker (docs/METRICS.md).
//!
//! The `metrics` facade over a `prometheus` registry of this broker's own, so that several brokers
//! in one process do not mix. Invariants:
//! 1. Every handle is made once, here; the hot path increments it once per batch and hashes no
//!    label. The facade's macros are banned elsewhere (clippy.toml).
//! 2. Labels are of closed sets, each of whose series is there from the start, but for `peer`: a
//!    name that is configured, or on a broker certificate of the own CA that linked. A peer's series
//!    stay until the process ends.
//! 3. The ledger (docs/METRICS.md) balances per class:
//!    routed + queued at start = acked + queued + expired + dead-lettered + dropped + duplicate.

#![expect(clippy::disallowed_macros, reason = "here is where the handles are made")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fanal_protocol::{Class, Code};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram, with_local_recorder};
use metrics_prometheus::Recorder;
use prometheus::{Encoder, HistogramOpts, Registry, TextEncoder};

use crate::live::LiveClass;
use crate::log::limits::{Fate, GivenWay, Of};
use crate::mailbox::MailboxKind;

mod ledger;
mod names;
mod process;

pub(crate) use ledger::{Backlog, DurableLedger, LiveLedger};
use ledger::{durable_ledger, live_ledger};
use names::{COUNTERS, GAUGES, HISTOGRAMS};

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
    pub(crate) dead_letters: DurableLedger,
    published: Counter,
    published_best_effort: Counter,
    pub(crate) delivered_durable: Counter,
    pub(crate) delivered_live: Counter,
    pub(crate) redelivered: Counter,
    pub(crate) publish_seconds: Histogram,
    pub(crate) delivery_seconds: Histogram,
    pub(crate) match_seconds: Histogram,
    pub(crate) match_unknown: Counter,
    pub(crate) store_flush_seconds: Histogram,
    pub(crate) store_bytes: Gauge,
    pub(crate) store_available: Gauge,
    pub(crate) store_full: Gauge,
    pub(crate) store_stopped: Gauge,
    pub(crate) ready: Gauge,
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
        for (name, help, bounds) in HISTOGRAMS {
            let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
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
            MailboxKind::Durable(_) => &self.durable,
            MailboxKind::Peer(_) => &self.peer,
        }
    }

    /// Entries that left a mailbox without its destination.
    pub(crate) fn given_way(&self, given_way: &GivenWay, entries: u64) {
        let ledger = match given_way.of {
            Of::Subscription => &self.durable,
            Of::Peer => &self.peer,
            Of::DeadLetters => &self.dead_letters,
        };
        let at = given_way.reason.index();
        match given_way.fate {
            Fate::Dropped => ledger.dropped_for[at].increment(entries),
            Fate::DeadLettered => {
                ledger.dead_lettered_for[at].increment(entries);
                self.dead_letters.routed.increment(entries);
            }
        }
    }

    /// Entries that went with a removed durable subscription.
    pub(crate) fn durable_removed(&self) -> &Counter {
        &self.durable.dropped_removed
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

    pub(crate) fn set_queued_at_start(&self, durable: u64, peer: u64, dead_letters: u64) {
        self.dead_letters.queued_at_start.set(dead_letters as f64);
        self.durable.queued_at_start.set(durable as f64);
        self.peer.queued_at_start.set(peer as f64);
    }

    /// What waits in mailboxes.
    pub(crate) fn set_backlogs(&self, durable: &Backlog, peer: &Backlog, dead_letters: &Backlog) {
        self.durable.set_backlog(durable);
        self.peer.set_backlog(peer);
        self.dead_letters.set_backlog(dead_letters);
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
        dead_letters: durable_ledger("dead_letters"),
        published: counter!("fanal_events_published_total", "class" => "at_least_once"),
        published_best_effort: counter!("fanal_events_published_total", "class" => "best_effort"),
        delivered_durable: counter!("fanal_events_delivered_total", "class" => "durable"),
        delivered_live: counter!("fanal_events_delivered_total", "class" => "live"),
        redelivered: counter!("fanal_events_redelivered_total"),
        publish_seconds: histogram!("fanal_publish_seconds"),
        delivery_seconds: histogram!("fanal_delivery_seconds"),
        match_seconds: histogram!("fanal_match_seconds"),
        match_unknown: counter!("fanal_match_unknown_total"),
        store_flush_seconds: histogram!("fanal_store_flush_seconds"),
        store_bytes: gauge!("fanal_store_bytes"),
        store_available: gauge!("fanal_store_available_bytes"),
        store_full: gauge!("fanal_store_full"),
        store_stopped: gauge!("fanal_store_stopped"),
        ready: gauge!("fanal_ready"),
        sessions_connected: gauge!("fanal_sessions", "state" => "connected"),
        subscriptions_live: gauge!("fanal_subscriptions", "kind" => "live"),
        subscriptions_durable: gauge!("fanal_subscriptions", "kind" => "durable"),
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
        let histograms = HISTOGRAMS.iter().map(|(name, help, _)| (name, help));
        let others = COUNTERS.iter().chain(&GAUGES).map(|(name, help)| (name, help));
        for (name, help) in others.chain(histograms) {
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
        for class in ["dead_letters", "durable", "live", "peer", "peer_live"] {
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
