//! The rows of the ledger (docs/METRICS.md), one per class of destinations.
//!
//! Invariants:
//! 1. Every term of the equation exists for every class from the start, at 0 where a class cannot
//!    have it.
//! 2. What waits in live buffers is counted as it comes and goes; what waits in mailboxes is read
//!    from the store at each scrape.

use fanal_core::limits::Reason;
use metrics::{Counter, Gauge, counter, gauge};

/// Row of live destinations.
pub(crate) struct LiveLedger {
    pub(crate) routed: Counter,
    pub(crate) acked: Counter,
    pub(crate) expired: Counter,
    pub(crate) dropped_slow: Counter,
    pub(crate) dropped_memory: Counter,
    pub(crate) dropped_closed: Counter,
    pub(crate) dropped_too_large: Counter,
    pub(crate) queued: Gauge,
}

/// Row of mailboxes; the dead letters' is one too, in which acked means requeued.
pub(crate) struct DurableLedger {
    pub(crate) routed: Counter,
    pub(crate) acked: Counter,
    pub(crate) expired: Counter,
    pub(crate) dropped_removed: Counter,
    pub(crate) dropped_damaged: Counter,
    pub(crate) dropped_too_large: Counter,
    /// By [`Reason::index`].
    pub(super) dropped_for: [Counter; 3],
    pub(super) dead_lettered_for: [Counter; 3],
    pub(super) queued_at_start: Gauge,
    queued: Gauge,
    events: Gauge,
    bytes: Gauge,
    oldest_age_seconds: Gauge,
}

/// What waits in the mailboxes of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Backlog {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// `None`: not known at the moment.
    pub(crate) oldest_age_seconds: Option<f64>,
}

impl DurableLedger {
    pub(super) fn set_backlog(&self, backlog: &Backlog) {
        self.queued.set(backlog.events as f64);
        self.events.set(backlog.events as f64);
        self.bytes.set(backlog.bytes as f64);
        if let Some(age) = backlog.oldest_age_seconds {
            self.oldest_age_seconds.set(age);
        }
    }
}

fn dropped(class: &'static str, reason: &'static str) -> Counter {
    counter!("fanal_events_dropped_total", "class" => class, "reason" => reason)
}

fn dead_lettered(class: &'static str) -> [Counter; 3] {
    Reason::ALL.map(
        |reason| counter!("fanal_events_dead_lettered_total", "class" => class, "reason" => reason.word()),
    )
}

/// What cannot happen to a class stands at 0, so that the ledger's formula has all its terms.
fn zero_terms(class: &'static str) {
    dead_lettered(class).iter().for_each(|counter| counter.absolute(0));
    counter!("fanal_events_duplicate_total", "class" => class).absolute(0);
}

pub(super) fn live_ledger(class: &'static str) -> LiveLedger {
    zero_terms(class);
    gauge!("fanal_ledger_queued_at_start", "class" => class).set(0.0);
    LiveLedger {
        routed: counter!("fanal_routes_total", "class" => class),
        acked: counter!("fanal_events_acked_total", "class" => class),
        expired: counter!("fanal_events_expired_total", "class" => class),
        dropped_slow: dropped(class, "slow_consumer"),
        dropped_memory: dropped(class, "memory"),
        dropped_closed: dropped(class, "closed"),
        dropped_too_large: dropped(class, "too_large"),
        queued: gauge!("fanal_ledger_queued", "class" => class),
    }
}

pub(super) fn durable_ledger(class: &'static str) -> DurableLedger {
    zero_terms(class);
    DurableLedger {
        routed: counter!("fanal_routes_total", "class" => class),
        acked: counter!("fanal_events_acked_total", "class" => class),
        expired: counter!("fanal_events_expired_total", "class" => class),
        dropped_damaged: dropped(class, "damaged"),
        dropped_too_large: dropped(class, "too_large"),
        dropped_removed: dropped(class, "removed"),
        dropped_for: Reason::ALL.map(|reason| dropped(class, reason.word())),
        dead_lettered_for: dead_lettered(class),
        queued: gauge!("fanal_ledger_queued", "class" => class),
        queued_at_start: gauge!("fanal_ledger_queued_at_start", "class" => class),
        events: gauge!("fanal_mailbox_events", "kind" => class),
        bytes: gauge!("fanal_mailbox_bytes", "kind" => class),
        oldest_age_seconds: gauge!("fanal_mailbox_oldest_age_seconds", "kind" => class),
    }
}
