//! What of a durable subscription was received, acked and confirmed; without IO.
//!
//! Invariants:
//! 1. A mailbox sequence is handed to the program once, whatever the broker sends again.
//! 2. An ack is sent again on each new connection until the broker has confirmed it.
//! 3. Nothing is confirmed that the broker has not confirmed.

use super::ranges::RangeSet;

/// Most ranges in one ack frame, well below the limit of a control frame.
const RANGES_MAX: usize = 4096;

/// The tracker.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    received: RangeSet,
    acked: RangeSet,
    unconfirmed: RangeSet,
    to_send: RangeSet,
}

impl Acks {
    /// A delivery came: whether it is new to the program. Else an ack that exists goes out again.
    pub(crate) fn on_delivery(&mut self, sequence: u64) -> bool {
        let is_new = self.received.insert(sequence);
        if !is_new && self.acked.contains(sequence) {
            self.unconfirmed.insert(sequence);
            self.to_send.insert(sequence);
        }
        is_new
    }

    /// The program is done with a delivery. False: it was before.
    pub(crate) fn ack(&mut self, sequence: u64) -> bool {
        let is_new = self.acked.insert(sequence);
        if is_new {
            self.unconfirmed.insert(sequence);
            self.to_send.insert(sequence);
        }
        is_new
    }

    pub(crate) fn has_to_send(&self) -> bool {
        !self.to_send.is_empty()
    }

    /// The ranges for the next frames, at most one frame's worth each.
    pub(crate) fn drain_to_send(&mut self) -> Vec<Vec<(u64, u64)>> {
        let ranges: Vec<(u64, u64)> = self.to_send.iter().collect();
        self.to_send.clear();
        ranges.chunks(RANGES_MAX).map(<[_]>::to_vec).collect()
    }

    /// The broker has flushed these acks.
    pub(crate) fn on_acked(&mut self, ranges: &[(u64, u64)]) {
        for &(start, end) in ranges {
            self.unconfirmed.remove_range(start, end);
        }
    }

    /// The subscription is attached again on another connection. `is_resumed`: to the same
    /// mailbox; else the numbers mean other events now, and the old ones are forgotten.
    pub(crate) fn on_attached(&mut self, is_resumed: bool) {
        if is_resumed {
            self.to_send = self.unconfirmed.clone();
        } else {
            *self = Acks::default();
        }
    }

    /// Acks that the broker has not confirmed.
    pub(crate) fn unconfirmed(&self) -> &RangeSet {
        &self.unconfirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_out_is_swallowed_and_its_ack_repeated() {
        let mut acks = Acks::default();
        assert!((1..=5).all(|sequence| acks.on_delivery(sequence)));
        assert!(acks.ack(1) && acks.ack(2) && acks.ack(4) && !acks.ack(4));
        assert_eq!(acks.drain_to_send(), vec![vec![(1, 2), (4, 4)]]);
        acks.on_acked(&[(1, 1)]);
        assert!(!acks.unconfirmed().contains(1) && acks.unconfirmed().contains(2));
        // Connection lost; the broker redelivers everything that it has no ack for.
        acks.on_attached(true);
        assert_eq!(acks.drain_to_send(), vec![vec![(2, 2), (4, 4)]]);
        assert!(!(2..=5).any(|sequence| acks.on_delivery(sequence)));
        assert_eq!(acks.drain_to_send(), vec![vec![(2, 2), (4, 4)]]);
        assert!(acks.on_delivery(6));
        acks.on_acked(&[(2, 4)]);
        assert!(acks.unconfirmed().is_empty());
    }

    #[test]
    fn another_mailbox_begins_with_nothing() {
        let mut acks = Acks::default();
        acks.on_delivery(1);
        acks.ack(1);
        acks.on_attached(false);
        assert!(!acks.has_to_send() && acks.on_delivery(1));
    }

    proptest::proptest! {
        /// A broker that redelivers what it has no flushed ack for, over connections that are lost
        /// at any point: the program sees each event once, in order.
        #[test]
        fn each_event_once_in_order(steps in proptest::collection::vec((0u8..5, 1u64..6), 1..200)) {
            let mut acks = Acks::default();
            let mut flushed = RangeSet::default();      // broker: acks flushed
            let mut next = 1u64;                        // broker: next to deliver on this connection
            let mut wire: Vec<(u64, u64)> = Vec::new(); // acks under way to the broker
            let mut confirm: Vec<(u64, u64)> = Vec::new();
            let mut seen: Vec<u64> = Vec::new();
            let mut done = 0usize;                      // program: acked this many
            for (op, n) in steps {
                match op {
                    0 => for _ in 0..n {
                        if !flushed.contains(next) && acks.on_delivery(next) { seen.push(next); }
                        next += 1;
                    },
                    1 => for _ in 0..n {
                        if let Some(&sequence) = seen.get(done) { acks.ack(sequence); done += 1; }
                    },
                    2 => wire.extend(acks.drain_to_send().concat()),
                    3 => for (start, end) in wire.drain(..) {
                        flushed.insert_range(start, end);
                        if n % 2 == 0 { confirm.push((start, end)); }
                    },
                    _ => {
                        if n > 2 { acks.on_acked(&confirm); }
                        if n == 5 { wire.clear(); confirm.clear(); next = 1; acks.on_attached(true); }
                    }
                }
                let expected: Vec<u64> = (1..=seen.len() as u64).collect();
                proptest::prop_assert_eq!(&seen, &expected);
                for sequence in 1..=seen.len() as u64 {
                    proptest::prop_assert!(sequence > done as u64 || acks.unconfirmed().contains(sequence) || flushed.contains(sequence));
                }
            }
        }
    }
}
