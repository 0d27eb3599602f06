//! The buffer of a live destination: bounded in bytes, drops oldest first, tells how many.
//!
//! Invariants (docs/GUARANTEES.md, One party harms only itself):
//! 1. It never refuses and never waits: a live destination does not slow a publisher.
//! 2. Items come out in order; a drop shows as one gap item in front of what comes next.

use std::collections::VecDeque;
use std::sync::Arc;

use fanal_protocol::control::Gap;

use crate::event::{Event, Millis};

/// Memory that an event in a buffer is charged for besides its body, in bytes.
pub const EVENT_CHARGE: usize = 128;
/// Above this many waiting bytes an event gets memory of its own.
const DETACH_ABOVE_BYTES: usize = 256 * 1024;

/// What comes out of a buffer.
#[derive(Debug, Clone, PartialEq)]
pub enum LiveItem {
    /// An event.
    Event(Arc<Event>),
    /// Events that are missing here.
    Gap(Gap),
}

/// See the module.
#[derive(Debug)]
pub struct LiveBuffer {
    items: VecDeque<LiveItem>,
    bytes: usize,
    bytes_max: usize,
    dropped: u64,
    /// Kind of the drops that happen here.
    own_kind: u8,
    /// Kind of the gap in front: what it swallowed may be less exact.
    gap_kind: u8,
    reason: &'static str,
}

const SLOW_CONSUMER: &str = "slow_consumer";
/// Bytes that a gap is charged for.
const GAP_CHARGE: usize = 256;
/// Longest text that a gap from elsewhere may carry, in characters.
const GAP_TEXT_MAX: usize = 64;

impl LiveBuffer {
    /// An empty buffer of at most `bytes_max`; drops are announced as gaps of kind `gap_kind`.
    pub fn new(bytes_max: usize, gap_kind: u8) -> Self {
        LiveBuffer {
            items: VecDeque::new(),
            bytes: 0,
            bytes_max,
            dropped: 0,
            own_kind: gap_kind,
            gap_kind,
            reason: SLOW_CONSUMER,
        }
    }

    /// Adds an event. How many older ones were dropped for it. Amortised O(1).
    pub fn push(&mut self, event: &Arc<Event>) -> u64 {
        let event =
            if self.bytes > DETACH_ABOVE_BYTES { Arc::new(event.detached()) } else { Arc::clone(event) };
        self.bytes += charge(&event);
        self.items.push_back(LiveItem::Event(event));
        let mut dropped = 0;
        while self.bytes > self.bytes_max && self.items.len() > 1 {
            dropped += self.drop_oldest();
        }
        dropped
    }

    /// Gives back memory that its past size took.
    pub fn shrink(&mut self) {
        self.items.shrink_to_fit();
    }

    fn drop_oldest(&mut self) -> u64 {
        match self.items.pop_front() {
            Some(LiveItem::Event(event)) => {
                self.bytes -= charge(&event);
                self.dropped = self.dropped.saturating_add(1);
                1
            }
            Some(LiveItem::Gap(gap)) => {
                self.bytes -= GAP_CHARGE;
                // The gap in front swallows what an older gap said; unknown stays unknown.
                self.dropped = self.dropped.saturating_add(gap.count.max(1));
                self.gap_kind = self.gap_kind.max(gap.kind);
                0
            }
            None => 0,
        }
    }

    /// Drops what waits, for a destination that must free memory. How many events.
    pub fn shed(&mut self) -> u64 {
        let mut dropped = 0;
        self.reason = "memory";
        while self.items.len() > 1 {
            dropped += self.drop_oldest();
        }
        dropped
    }

    /// Adds a gap that happened elsewhere; gaps of one kind that follow each other become one.
    /// How many events were dropped for it.
    pub fn push_gap(&mut self, gap: Gap) -> u64 {
        let cut = |text: String| text.chars().take(GAP_TEXT_MAX).collect::<String>();
        let gap = Gap { reason: cut(gap.reason), broker: cut(gap.broker), ..gap };
        if let Some(LiveItem::Gap(last)) = self.items.back_mut()
            && (&last.reason, &last.broker, last.kind) == (&gap.reason, &gap.broker, gap.kind)
        {
            last.count = last.count.saturating_add(gap.count);
            return 0;
        }
        self.bytes += GAP_CHARGE;
        self.items.push_back(LiveItem::Gap(gap));
        let mut dropped = 0;
        while self.bytes > self.bytes_max && self.items.len() > 1 {
            dropped += self.drop_oldest();
        }
        dropped
    }

    /// Takes the next item: a gap for what was dropped in front of it first.
    pub fn pop(&mut self) -> Option<LiveItem> {
        if self.dropped > 0 {
            let count = std::mem::take(&mut self.dropped);
            let gap = Gap { kind: self.gap_kind, count, reason: self.reason.into(), ..Default::default() };
            (self.gap_kind, self.reason) = (self.own_kind, SLOW_CONSUMER);
            return Some(LiveItem::Gap(gap));
        }
        let item = self.items.pop_front()?;
        self.bytes -= match &item {
            LiveItem::Event(event) => charge(event),
            LiveItem::Gap(_) => GAP_CHARGE,
        };
        Some(item)
    }

    /// Takes the next item that is not an expired event; how many had expired.
    pub fn pop_fresh(&mut self, now: Millis) -> (Option<LiveItem>, u64) {
        let mut expired = 0;
        loop {
            match self.pop() {
                Some(LiveItem::Event(event)) if event.is_expired(now) => expired += 1,
                item => return (item, expired),
            }
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.dropped == 0
    }

    /// Events that wait. O(items).
    pub fn events(&self) -> u64 {
        self.items.iter().filter(|item| matches!(item, LiveItem::Event(_))).count() as u64
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn charge(event: &Event) -> usize {
    event.body.len() + EVENT_CHARGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use fanal_protocol::control::GAP_EXACT;
    use fanal_protocol::stream::Origin;
    use fanal_protocol::{Class, Epoch, PublisherId};

    fn event(sequence: u64, deadline: Option<u64>) -> Arc<Event> {
        let origin = Arc::new(Origin { publisher: PublisherId::default(), epoch: Epoch::default() });
        let body = Bytes::from(vec![0; 872]);
        let class = Class::BestEffort;
        Arc::new(Event { topic: "t".into(), origin, sequence, class, accepted_at: 0, deadline, body })
    }

    #[test]
    fn drops_show_as_one_gap_in_front_of_what_follows() {
        let mut buffer = LiveBuffer::new(3_000, GAP_EXACT);
        let dropped: u64 = (1..=5).map(|n| buffer.push(&event(n, None))).sum();
        assert_eq!((dropped, buffer.bytes()), (2, 3_000));
        let Some(LiveItem::Gap(gap)) = buffer.pop() else { panic!("no gap") };
        assert_eq!((gap.kind, gap.count), (GAP_EXACT, 2));
        for n in 3..=5 {
            assert!(matches!(buffer.pop(), Some(LiveItem::Event(event)) if event.sequence == n));
        }
        assert!(buffer.is_empty() && buffer.pop().is_none());
        assert_eq!(buffer.bytes(), 0);
    }

    #[test]
    fn an_event_larger_than_the_buffer_still_passes() {
        let mut buffer = LiveBuffer::new(10, GAP_EXACT);
        assert_eq!(buffer.push(&event(1, None)), 0);
        assert_eq!(buffer.push(&event(2, None)), 1);
        assert!(matches!(buffer.pop(), Some(LiveItem::Gap(_))));
        assert!(matches!(buffer.pop(), Some(LiveItem::Event(event)) if event.sequence == 2));
    }

    #[test]
    fn gaps_from_elsewhere_are_bounded_and_an_unknown_one_does_not_stick() {
        let mut buffer = LiveBuffer::new(2_000, GAP_EXACT);
        let gap = |kind, broker: String| Gap { kind, broker, reason: "r".repeat(1 << 20), ..Gap::default() };
        for n in 0..1_000 {
            buffer.push_gap(Gap { count: u64::MAX, ..gap(2, format!("b{n}")) });
            buffer.push_gap(gap(2, "same".into()));
        }
        assert!(buffer.bytes() <= 2_000);
        let Some(LiveItem::Gap(first)) = buffer.pop() else { panic!("no gap") };
        assert_eq!(first.kind, 2, "what swallowed an unknown gap is unknown");
        while let Some(LiveItem::Gap(gap)) = buffer.pop() {
            assert!(gap.reason.len() <= 64);
        }
        (1..=5).for_each(|n| assert!(buffer.push(&event(n, None)) <= 1));
        let Some(LiveItem::Gap(exact)) = buffer.pop() else { panic!("no gap") };
        assert_eq!((exact.kind, exact.count), (GAP_EXACT, 3));
        assert!(matches!(buffer.pop(), Some(LiveItem::Event(_))));
    }

    #[test]
    fn nothing_comes_out_after_its_deadline() {
        let mut buffer = LiveBuffer::new(1 << 20, GAP_EXACT);
        [event(1, Some(5)), event(2, Some(50)), event(3, None)].iter().for_each(|event| {
            buffer.push(event);
        });
        let (item, expired) = buffer.pop_fresh(5);
        assert_eq!(expired, 1);
        assert!(matches!(item, Some(LiveItem::Event(event)) if event.sequence == 2));
    }
}
