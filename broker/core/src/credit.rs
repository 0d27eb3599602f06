//! How much a destination may be sent (PROTOCOL.md 5.5).
//!
//! Invariant: totals only grow; a credit frame that comes late or twice changes nothing.
//! Sending is allowed while neither total is used up, so an event larger than what is left of
//! the bytes still passes, and is charged.

/// Totals granted and used since a channel was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credit {
    events_granted: u64,
    bytes_granted: u64,
    events_used: u64,
    bytes_used: u64,
}

impl Credit {
    /// The credit that a channel starts with.
    pub fn new(events: u64, bytes: u64) -> Self {
        Credit { events_granted: events, bytes_granted: bytes, ..Credit::default() }
    }

    /// Without a bound.
    pub fn unlimited() -> Self {
        Credit::new(u64::MAX, u64::MAX)
    }

    /// Raises the totals.
    pub fn grant(&mut self, events: u64, bytes: u64) {
        self.events_granted = self.events_granted.max(events);
        self.bytes_granted = self.bytes_granted.max(bytes);
    }

    /// Whether one more event may be sent.
    pub fn is_open(&self) -> bool {
        self.events_used < self.events_granted && self.bytes_used < self.bytes_granted
    }

    /// Charges one event.
    pub fn charge(&mut self, bytes: u64) {
        self.events_used = self.events_used.saturating_add(1);
        self.bytes_used = self.bytes_used.saturating_add(bytes);
    }

    /// Gives back what was charged for events that were smaller than thought, or not sent at all.
    pub fn refund(&mut self, events: u64, bytes: u64) {
        self.events_used = self.events_used.saturating_sub(events);
        self.bytes_used = self.bytes_used.saturating_sub(bytes);
    }

    /// Bytes that may still be sent.
    pub fn bytes_left(&self) -> u64 {
        self.bytes_granted.saturating_sub(self.bytes_used)
    }
}

#[cfg(test)]
mod tests {
    use super::Credit;

    #[test]
    fn late_grants_change_nothing_and_one_large_event_passes() {
        let mut credit = Credit::new(2, 10);
        credit.charge(100);
        assert!(!credit.is_open());
        credit.grant(1, 5);
        assert!(!credit.is_open());
        credit.grant(4, 200);
        assert!(credit.is_open());
    }
}
