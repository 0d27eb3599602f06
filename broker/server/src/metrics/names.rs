//! The names on the metrics page, with their help and the bounds of their histograms.
//!
//! Invariants: what stands here is the page, name by name (`docs/METRICS.md` is written from it, and
//! a test compares them); a help text says what is counted, and of a histogram what one observation
//! is.

/// Bounds of what is timed around disks and networks, in seconds.
const SECONDS: &[f64] = &[
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Bounds of what is measured by the events' timestamps, which are whole milliseconds.
const WALL_SECONDS: &[f64] = &[1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Bounds of what takes the processor alone, in seconds.
const CPU_SECONDS: &[f64] =
    &[100e-9, 250e-9, 500e-9, 1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 10e-3];

/// Name, help, upper bounds of the buckets.
pub(super) const HISTOGRAMS: [(&str, &str, &[f64]); 4] = [
    (
        "fanal_publish_seconds",
        "From reading an at-least-once publish to handing out its receipt. One observation per batch \
         of the log: its oldest publish.",
        SECONDS,
    ),
    (
        "fanal_delivery_seconds",
        "From acceptance at the publisher's home to writing to a subscriber here, waiting included, \
         redeliveries not. One observation per write to a subscription: its oldest event. In whole \
         milliseconds; across a link the clocks of both brokers enter.",
        WALL_SECONDS,
    ),
    (
        "fanal_match_seconds",
        "Reading, checking and routing one event. One observation per block that was read from a \
         stream: the mean over its events.",
        CPU_SECONDS,
    ),
    (
        "fanal_store_flush_seconds",
        "Writing and flushing one batch of the log. One observation per batch.",
        SECONDS,
    ),
];

/// Name and help.
pub(super) const COUNTERS: [(&str, &str); 14] = [
    (
        "fanal_match_unknown_total",
        "Comparisons of filters that were unknown, for want of a value or of one of the right kind: \
         an estimate from one event in 64.",
    ),
    (
        "fanal_events_published_total",
        "Events accepted from clients here, each once, by the class that they were published in.",
    ),
    (
        "fanal_routes_total",
        "Copies routed to destinations: one for each matching subscription, and one for each path of a \
         link to a peer that asked. What goes to the dead letters is routed to them, and what is put back \
         from there is routed to its destination again.",
    ),
    (
        "fanal_events_delivered_total",
        "Copies written to subscribers here, redeliveries included. Copies for peers are \
         fanal_events_forwarded_total.",
    ),
    (
        "fanal_events_redelivered_total",
        "Copies written to durable subscribers that may have been written before.",
    ),
    (
        "fanal_events_acked_total",
        "Copies that are done: acked by a durable subscriber or a peer and flushed, written where there \
         are no acks, or put back into their mailbox from the dead letters.",
    ),
    (
        "fanal_events_forwarded_total",
        "Copies written to a peer over both paths of the link, resends included.",
    ),
    (
        "fanal_events_received_total",
        "Copies received from a peer over both paths of the link, recognised resends not included.",
    ),
    (
        "fanal_events_dropped_total",
        "Copies dropped: slow_consumer and memory (a live buffer was full, or all together), closed (the \
         connection ended), too_large (above the peer's limit), removed (with the subscription), damaged \
         (unreadable on the disk), full, age and store (what gave way in a mailbox, as for \
         fanal_events_dead_lettered_total).",
    ),
    (
        "fanal_events_expired_total",
        "Copies whose TTL ended before they were written; counted when their turn comes.",
    ),
    (
        "fanal_events_dead_lettered_total",
        "Copies moved to the dead letters: full (the mailbox held too many events or bytes), age (they \
         waited too long), store (the store needed the room).",
    ),
    (
        "fanal_events_duplicate_total",
        "Copies recognised as duplicates after they were routed. Resends on a link are recognised before: \
         fanal_link_duplicates_total.",
    ),
    (
        "fanal_link_duplicates_total",
        "Events that a peer sent again and that were recognised by their number.",
    ),
    (
        "fanal_publish_refused_total",
        "Publishes answered with a refusal, by its code; one that is sent again counts again.",
    ),
];

/// Name and help.
pub(super) const GAUGES: [(&str, &str); 18] = [
    (
        "fanal_ledger_queued",
        "Copies that wait now: in mailboxes until they are acked, in live buffers until they are written.",
    ),
    ("fanal_ledger_queued_at_start", "Copies that waited in mailboxes when this process started."),
    ("fanal_sessions", "Connections of clients."),
    ("fanal_subscriptions", "Subscriptions here; durable ones whether or not anybody is attached."),
    ("fanal_mailbox_events", "Entries in mailboxes; the dead letters are one of their own."),
    ("fanal_mailbox_bytes", "Bytes of the events in mailboxes; one that is in several counts in each."),
    (
        "fanal_mailbox_oldest_age_seconds",
        "Age of the entry that has been in a mailbox for longest, since its publisher's home accepted the \
         event; 0: all are empty.",
    ),
    ("fanal_store_bytes", "Bytes of the store on disk, segments in reserve included."),
    (
        "fanal_store_available_bytes",
        "Bytes by which the store can still grow: to its limit, or what the disk has free.",
    ),
    ("fanal_store_full", "1 while publishes are refused (507) for lack of space."),
    (
        "fanal_store_stopped",
        "1 after a write or flush failed, until the restart: nothing is accepted any more.",
    ),
    ("fanal_link_up", "1 while a link to the peer is up."),
    ("fanal_link_rtt_seconds", "Round-trip time of the link to the peer; 0 while none is up."),
    ("fanal_link_lag_events", "Events that wait in the peer's mailbox until the peer has recorded them."),
    (
        "fanal_interest_entries",
        "Topic filters with their predicates: asked for by the peer (in), asked of it (out).",
    ),
    ("fanal_interest_widened", "1 while more is asked of the peer than subscriptions here want."),
    ("fanal_ready", "1 while new work is taken; 0 while draining or stopped, as /readyz says."),
    ("fanal_build_info", "1, with the version as a label."),
];
