//! A live destination: a bounded buffer in front of one writer task.
//!
//! Invariants:
//! 1. Pushing takes one lock per batch and never waits.
//! 2. What all buffers hold together is bounded ([`LiveMemory`]).
//! 3. Credit is shared with the durable side of the same channel.
//! 4. A copy that was routed here is counted once when it leaves: written, expired, or dropped with
//!    a reason, at the latest when the queue goes. Whoever takes copies writes them at once.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fanal_core::event::Millis;
use fanal_core::live::{LiveBuffer, LiveItem};
use fanal_core::{Credit, Event};
use fanal_protocol::control::{GAP_AT_MOST, GAP_UNKNOWN, Gap};
use metrics::Counter;

use crate::metrics::Metrics;
use crate::ready::{Ready, ReadyList};

/// Credit of one channel, shared by its live and its durable side.
pub(crate) type SharedCredit = Arc<Mutex<Credit>>;

/// When all buffers together are over their bound, those that hold more than this give way.
const FAIR_BYTES: usize = 1 << 20;

/// Bytes in all live buffers of a broker.
#[derive(Debug)]
pub(crate) struct LiveMemory {
    used: AtomicUsize,
    limit: usize,
}

impl LiveMemory {
    pub(crate) fn new(limit: usize) -> Self {
        LiveMemory { used: AtomicUsize::new(0), limit }
    }

    fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit
    }

    fn moved(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

/// Which row of the ledger a live destination belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LiveClass {
    /// A subscription here.
    Live,
    /// The live path of a link.
    PeerLive,
}

struct State {
    buffer: LiveBuffer,
    is_closed: bool,
}

/// See the module.
pub(crate) struct LiveQueue {
    pub(crate) id: u64,
    pub(crate) channel: u32,
    pub(crate) class: LiveClass,
    /// Version of the own interest from which on this subscription is part of it.
    pub(crate) interest_version: AtomicU64,
    credit: SharedCredit,
    state: Mutex<State>,
    mark: AtomicBool,
    ready: Arc<ReadyList<LiveQueue>>,
    memory: Arc<LiveMemory>,
    metrics: Arc<Metrics>,
    written: Counter,
}

impl Ready for LiveQueue {
    fn ready_mark(&self) -> &AtomicBool {
        &self.mark
    }
}

/// What a live queue is made of.
pub(crate) struct LiveQueueParts {
    pub(crate) id: u64,
    pub(crate) channel: u32,
    pub(crate) class: LiveClass,
    pub(crate) bytes_max: usize,
    pub(crate) gap_kind: u8,
    pub(crate) credit: SharedCredit,
    pub(crate) ready: Arc<ReadyList<LiveQueue>>,
    pub(crate) memory: Arc<LiveMemory>,
    pub(crate) metrics: Arc<Metrics>,
    /// Counts the copies that are written, beside the ledger.
    pub(crate) written: Counter,
}

/// How much is taken from a queue at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TakeLimits {
    /// Bytes of bodies and overhead, about.
    pub(crate) bytes_max: usize,
    /// The largest body that the reader takes; a gap stands for a larger one.
    pub(crate) body_bytes_max: usize,
}

impl LiveQueue {
    pub(crate) fn new(parts: LiveQueueParts) -> Arc<Self> {
        Arc::new(LiveQueue {
            id: parts.id,
            channel: parts.channel,
            class: parts.class,
            interest_version: AtomicU64::new(0),
            credit: parts.credit,
            state: Mutex::new(State {
                buffer: LiveBuffer::new(parts.bytes_max, parts.gap_kind),
                is_closed: false,
            }),
            mark: AtomicBool::new(false),
            ready: parts.ready,
            memory: parts.memory,
            metrics: parts.metrics,
            written: parts.written,
        })
    }

    /// Adds a batch. O(batch).
    pub(crate) fn push(self: &Arc<Self>, events: &[Arc<Event>]) {
        let (mut slow, mut memory) = (0, 0);
        let ledger = self.metrics.live(self.class);
        {
            let mut state = self.lock();
            if state.is_closed {
                return;
            }
            let before = state.buffer.bytes();
            for event in events {
                slow += state.buffer.push(event);
            }
            if self.memory.is_over() && state.buffer.bytes() > FAIR_BYTES {
                memory = state.buffer.shed();
            }
            self.memory.moved(before, state.buffer.bytes());
            // Before anybody can take them, so that what waits never shows as less than nothing.
            let count = events.len() as u64;
            ledger.routed.increment(count);
            ledger.queued.increment(count as f64);
        }
        self.count_gone(&ledger.dropped_slow, slow);
        self.count_gone(&ledger.dropped_memory, memory);
        self.ready.push(self);
    }

    /// Adds a gap that happened elsewhere.
    pub(crate) fn push_gap(self: &Arc<Self>, gap: Gap) {
        let dropped;
        {
            let mut state = self.lock();
            if state.is_closed {
                return;
            }
            let before = state.buffer.bytes();
            dropped = state.buffer.push_gap(gap);
            self.memory.moved(before, state.buffer.bytes());
        }
        self.count_gone(&self.metrics.live(self.class).dropped_slow, dropped);
        self.ready.push(self);
    }

    /// The link over which part of the events came is lost.
    pub(crate) fn on_link_lost(self: &Arc<Self>, broker: &str) {
        self.push_gap(Gap {
            kind: GAP_UNKNOWN,
            reason: "link_lost".into(),
            broker: broker.to_owned(),
            ..Gap::default()
        });
    }

    /// Whether [`LiveQueue::take`] would find something.
    pub(crate) fn can_take(&self) -> bool {
        let state = self.lock();
        !state.buffer.is_empty() && self.credit.lock().unwrap_or_else(PoisonError::into_inner).is_open()
    }

    /// Takes what may be sent now; whether more waits that may be sent. The caller writes it without
    /// waiting for anything in between: it counts as written.
    pub(crate) fn take(&self, now: Millis, limits: TakeLimits, out: &mut Vec<LiveItem>) -> bool {
        let (mut taken, mut expired, mut written, mut too_large) = (0usize, 0, 0, 0);
        let mut state = self.lock();
        let before = state.buffer.bytes();
        let mut credit = self.credit.lock().unwrap_or_else(PoisonError::into_inner);
        while taken < limits.bytes_max && credit.is_open() {
            let (item, late) = state.buffer.pop_fresh(now);
            expired += late;
            match item {
                None => break,
                Some(LiveItem::Event(event)) if event.body.len() > limits.body_bytes_max => {
                    too_large += 1;
                    out.push(LiveItem::Gap(Gap {
                        kind: GAP_AT_MOST,
                        count: 1,
                        reason: "too_large".into(),
                        ..Gap::default()
                    }));
                }
                Some(LiveItem::Event(event)) => {
                    credit.charge(event.body.len() as u64);
                    taken += event.body.len() + 16;
                    written += 1;
                    out.push(LiveItem::Event(event));
                }
                Some(gap) => out.push(gap),
            }
        }
        self.memory.moved(before, state.buffer.bytes());
        let has_more = !state.buffer.is_empty() && credit.is_open();
        drop((credit, state));
        let ledger = self.metrics.live(self.class);
        self.count_gone(&ledger.expired, expired);
        self.count_gone(&ledger.dropped_too_large, too_large);
        self.count_gone(&ledger.acked, written);
        self.written.increment(written);
        has_more
    }

    /// The credit of its channel.
    pub(crate) fn credit(&self) -> &SharedCredit {
        &self.credit
    }

    /// Marks the queue ready, for instance after a credit.
    pub(crate) fn wake(self: &Arc<Self>) {
        self.ready.push(self);
    }

    /// Drops what waits; with `for_good`, takes nothing any more.
    pub(crate) fn clear(&self, for_good: bool) {
        let dropped = {
            let mut state = self.lock();
            state.is_closed |= for_good;
            let before = state.buffer.bytes();
            let waiting = state.buffer.events();
            while state.buffer.pop().is_some() {}
            state.buffer.shrink();
            self.memory.moved(before, state.buffer.bytes());
            waiting
        };
        self.count_gone(&self.metrics.live(self.class).dropped_closed, dropped);
    }

    /// Copies that wait no more, for the reason that `row` counts.
    fn count_gone(&self, row: &Counter, count: u64) {
        if count > 0 {
            row.increment(count);
            self.metrics.live(self.class).queued.decrement(count as f64);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LiveQueue {
    fn drop(&mut self) {
        self.clear(true);
    }
}
