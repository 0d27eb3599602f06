//! Where a durable destination stands in its mailbox.
//!
//! Invariants:
//! 1. Entries are started in mailbox order, each once per attachment.
//! 2. What was not acked when an attachment ended is started again by the next one, marked as a
//!    further attempt if it was started before, or may have been in a former life of the broker.
//! 3. Which entries are still live is the store's knowledge; here are only cursors: O(1) memory.

/// Cursors of one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Next sequence to start.
    next: u64,
    /// First sequence that does not exist yet.
    tail: u64,
    /// First sequence that was never started in this life of the broker.
    fresh: u64,
    /// First sequence that did not exist when this life began: acks of the rest may have been cut off.
    born: u64,
    /// First sequence that no former life can have started.
    suspect: u64,
}

impl Delivery {
    /// A mailbox whose next new entry will have sequence `tail`.
    pub fn new(tail: u64) -> Self {
        Delivery { next: 1, tail, fresh: 1, born: tail, suspect: 1 }
    }

    /// What lies below may have been started in a former life.
    pub fn suspect(&mut self, below: u64) {
        self.suspect = self.suspect.max(below);
    }

    /// First sequence that was never started, in this life or a former one, as far as is known.
    pub fn maybe_started_below(&self) -> u64 {
        self.started_below().max(self.suspect)
    }

    /// New entries up to and without `tail` exist.
    pub fn on_enqueued(&mut self, tail: u64) {
        self.tail = self.tail.max(tail);
    }

    /// Starts over at `from`, for a new attachment.
    pub fn rewind(&mut self, from: u64) {
        self.next = from;
    }

    /// Next sequence to start.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// First sequence that no attachment in this life of the broker has come to.
    pub fn started_below(&self) -> u64 {
        self.next.max(self.fresh)
    }

    /// What lies below may be acked: it was started in this life, or may have been in a former one,
    /// whose last acks were cut off.
    pub fn ackable_below(&self) -> u64 {
        self.started_below().max(self.born)
    }

    /// First sequence that does not exist yet.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Whether there may be something to start.
    pub fn is_behind(&self) -> bool {
        self.next < self.tail
    }

    /// `sequence` was started; the attempt to report, if it is not the first. O(1).
    pub fn on_started(&mut self, sequence: u64) -> Option<u32> {
        self.next = self.next.max(sequence.saturating_add(1));
        let is_first = sequence >= self.fresh.max(self.suspect);
        self.fresh = self.fresh.max(sequence.saturating_add(1));
        (!is_first).then_some(2)
    }

    /// Everything below `sequence` needs no start any more.
    pub fn skip_to(&mut self, sequence: u64) {
        self.next = self.next.max(sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::Delivery;

    #[test]
    fn an_ack_repeated_on_a_new_attachment_counts_before_the_redelivery() {
        let mut delivery = Delivery::new(9);
        delivery.on_started(1);
        delivery.on_started(5);
        delivery.rewind(1);
        assert_eq!((delivery.next(), delivery.started_below()), (1, 6));
        delivery.skip_to(8); // expired ones are come to as well
        assert_eq!(delivery.started_below(), 8);
    }

    #[test]
    fn what_a_former_life_may_have_started_can_be_acked_before_it_is_redelivered() {
        let mut delivery = Delivery::new(9);
        assert_eq!((delivery.started_below(), delivery.ackable_below()), (1, 9));
        delivery.on_enqueued(12);
        assert_eq!(delivery.ackable_below(), 9, "nobody was sent what came since");
        for sequence in 1..=10 {
            delivery.on_started(sequence);
        }
        assert_eq!(delivery.ackable_below(), 11);
    }

    #[test]
    fn what_a_former_life_may_have_started_is_a_further_attempt() {
        let mut delivery = Delivery::new(5);
        delivery.suspect(3);
        assert_eq!((delivery.started_below(), delivery.maybe_started_below()), (1, 3));
        let attempts = [1, 2, 3, 4].map(|sequence| delivery.on_started(sequence));
        assert_eq!(attempts, [Some(2), Some(2), None, None]);
        assert_eq!(delivery.maybe_started_below(), 5);
    }

    #[test]
    fn a_second_attachment_redelivers_what_was_started() {
        let mut delivery = Delivery::new(1);
        assert!(!delivery.is_behind());
        delivery.on_enqueued(4);
        assert_eq!((delivery.on_started(1), delivery.on_started(2)), (None, None));
        delivery.rewind(2);
        assert_eq!((delivery.on_started(2), delivery.on_started(3)), (Some(2), None));
        assert!(!delivery.is_behind());
    }
}
