//! What a run does.

use std::time::Duration;

use fanal_client::Class;

use crate::BenchError;
use crate::payload::PAYLOAD_BYTES_MIN;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// Events that are due within this time.
    Time(Duration),
    /// So many events, of all publishers together.
    Events(u64),
}

/// Who sets the pace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Closed loop: so many events of a publisher are under way at most, up to the receipt and to the
    /// slowest subscriber.
    Window(u64),
    /// Open loop: so many events a second, of all publishers together, evenly.
    Rate(f64),
}

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Each with a connection of its own, at least 1.
    pub publishers: usize,
    /// Each with a connection of its own; each gets every event.
    pub subscribers: usize,
    /// Bytes of a payload, at least 16.
    pub size: usize,
    /// Of the events.
    pub class: Class,
    /// Durable subscriptions instead of live ones.
    pub durable: bool,
    /// What is measured.
    pub amount: Amount,
    /// Load before that, which is not counted.
    pub warm_up: Duration,
    /// Who sets the pace.
    pub pace: Pace,
    /// Subscribers ask with a predicate that every event fulfils.
    pub predicate: bool,
    /// Further live subscriptions with predicates that no event fulfils.
    pub filters: usize,
    /// Ask for a receipt of each event, for the publish latency. At-least-once only.
    pub receipts: bool,
}

impl Plan {
    /// A publisher and a subscriber, closed loop, at least once, for `seconds`.
    pub fn new(amount: Amount) -> Self {
        Plan {
            publishers: 1,
            subscribers: 1,
            size: 128,
            class: Class::AtLeastOnce,
            durable: false,
            amount,
            warm_up: Duration::from_secs(1),
            pace: Pace::Window(256),
            predicate: false,
            filters: 0,
            receipts: true,
        }
    }

    pub(crate) fn check(&self) -> Result<(), BenchError> {
        let wrong = |text: &str| Err(BenchError::Plan(text.to_owned()));
        if self.publishers == 0 || self.publishers > usize::from(u16::MAX) {
            return wrong("a run needs 1 to 65,535 publishers");
        }
        if self.size < PAYLOAD_BYTES_MIN {
            return wrong("a payload has 16 bytes at least: its number and the time when it was due");
        }
        match self.pace {
            Pace::Window(0) => wrong("a window of 0 lets nothing through"),
            Pace::Rate(rate) if !(rate.is_finite() && rate > 0.0) => wrong("a rate is above 0"),
            _ if self.subscribers == 0 && !self.has_receipts() => wrong(
                "best effort without subscribers tells nothing of the broker, only how fast this process fills \
                 its own buffer: give a subscriber, or publish at least once, with receipts",
            ),
            _ => Ok(()),
        }
    }

    /// Whether receipts are asked for.
    pub(crate) fn has_receipts(&self) -> bool {
        self.receipts && self.class == Class::AtLeastOnce
    }

    /// Events that a publisher is to measure, if they are counted.
    pub(crate) fn share(&self, publisher: usize) -> Option<u64> {
        let Amount::Events(events) = self.amount else { return None };
        let (all, own) = (self.publishers as u64, publisher as u64);
        Some(events / all + u64::from(own < events % all))
    }

    /// Whether attributes are needed, by predicates.
    pub(crate) fn has_attributes(&self) -> bool {
        self.predicate || self.filters > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_shared_out_to_the_last_one() {
        let plan = Plan { publishers: 3, ..Plan::new(Amount::Events(2000)) };
        let shares: Vec<_> = (0..3).filter_map(|publisher| plan.share(publisher)).collect();
        assert_eq!(shares, [667, 667, 666]);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let good = Plan::new(Amount::Events(1));
        for good in [
            good.clone(),
            Plan { subscribers: 0, pace: Pace::Rate(1.0), ..good.clone() },
            Plan { class: Class::BestEffort, pace: Pace::Rate(1.0), ..good.clone() },
        ] {
            assert!(good.check().is_ok(), "{good:?}");
        }
        for bad in [
            Plan { publishers: 0, ..good.clone() },
            Plan { size: 15, ..good.clone() },
            Plan { pace: Pace::Window(0), ..good.clone() },
            Plan { pace: Pace::Rate(0.0), ..good.clone() },
            Plan { subscribers: 0, class: Class::BestEffort, ..good.clone() },
            Plan { subscribers: 0, class: Class::BestEffort, pace: Pace::Rate(1.0), ..good.clone() },
            Plan { subscribers: 0, receipts: false, pace: Pace::Rate(1.0), ..good.clone() },
        ] {
            assert!(matches!(bad.check(), Err(BenchError::Plan(_))), "{bad:?}");
        }
    }
}
