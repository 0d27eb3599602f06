//! One subscriber: takes, checks, times and acks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanal_client::{Delivery, Error, Gap, GapCount, Item, Subscription};
use hdrhistogram::Histogram;
use tokio::sync::watch;

use crate::payload::Stamp;
use crate::report::{histogram, record};
use crate::run::Shared;
use crate::{BenchError, Checker};

/// Deliveries between two reports of how far it is.
const BURST: u64 = 64;

/// Last numbers of all publishers, when all have ended.
pub(crate) type Totals = watch::Receiver<Option<Arc<Vec<u64>>>>;

/// What a subscriber got.
pub(crate) struct Received {
    pub(crate) checker: Checker,
    /// Copies of measured events.
    pub(crate) measured: u64,
    pub(crate) latency: Histogram<u64>,
    /// When the last of them came.
    pub(crate) last_us: u64,
    /// Time, within the measurement, in which nothing was at hand.
    pub(crate) idle: Duration,
    /// Copies that the broker said it dropped.
    pub(crate) told_missing: u64,
}

/// Takes deliveries until everything that was sent has come or is told to be dropped, or nothing has
/// come for [`Shared::patience`] since the publishers ended.
pub(crate) async fn receive(
    number: usize,
    mut subscription: Subscription,
    shared: Arc<Shared>,
    mut totals: Totals,
) -> Result<Received, BenchError> {
    let mut receiving = Receiving {
        number,
        shared: Arc::clone(&shared),
        received: Received {
            checker: Checker::new(shared.plan.publishers),
            measured: 0,
            latency: histogram(),
            last_us: 0,
            idle: Duration::ZERO,
            told_missing: 0,
        },
        untold: 0,
    };
    let outcome = receiving.run(&mut subscription, &mut totals).await;
    if outcome.is_err() {
        shared.stop();
    }
    outcome.map(|()| receiving.received)
}

struct Receiving {
    number: usize,
    shared: Arc<Shared>,
    received: Received,
    /// Deliveries since the last report.
    untold: u64,
}

impl Receiving {
    async fn run(&mut self, subscription: &mut Subscription, totals: &mut Totals) -> Result<(), BenchError> {
        loop {
            let item = match subscription.try_next() {
                Some(item) => Some(item),
                None => {
                    self.tell();
                    let sent = totals.borrow().clone();
                    if sent.as_ref().is_some_and(|sent| self.has_account_of(sent)) {
                        return Ok(());
                    }
                    let began = Instant::now();
                    let item = tokio::select! {
                        item = subscription.next() => item,
                        known = totals.changed(), if sent.is_none() => match known {
                            Ok(()) => continue,
                            Err(_) => return Ok(()),
                        },
                        () = tokio::time::sleep(self.shared.patience()), if sent.is_some() => return Ok(()),
                    };
                    if self.shared.is_measuring() {
                        self.received.idle += began.elapsed();
                    }
                    item
                }
            };
            match item {
                None => return Ok(()),
                Some(Err(error)) => return Err(Error::from(error).into()),
                Some(Ok(Item::Gap(gap))) => self.on_gap(&gap),
                Some(Ok(Item::Delivery(delivery))) => self.on_delivery(&delivery)?,
            }
        }
    }

    /// Whether everything has come, but for what the broker said it dropped.
    fn has_account_of(&self, sent: &[u64]) -> bool {
        self.received.checker.missing(sent) <= self.received.told_missing
    }

    fn on_delivery(&mut self, delivery: &Delivery) -> Result<(), BenchError> {
        let stamp = Stamp::read(&delivery.payload());
        let is_ours =
            stamp.is_some_and(|stamp| self.received.checker.take(usize::from(stamp.publisher), stamp.number));
        let Some(stamp) = stamp.filter(|_| is_ours) else {
            return Err(BenchError::Foreign { topic: delivery.topic().to_owned() });
        };
        if stamp.is_measured {
            let now_us = self.shared.now_us();
            self.received.measured += 1;
            self.received.last_us = now_us;
            record(&mut self.received.latency, now_us.saturating_sub(stamp.due_us));
            self.shared.progress.on_received();
        }
        // Without effect on a live subscription.
        delivery.ack();
        self.untold += 1;
        if self.untold >= BURST {
            self.tell();
        }
        Ok(())
    }

    fn on_gap(&mut self, gap: &Gap) {
        match gap.count {
            GapCount::Exact(count) | GapCount::AtMost(count) => self.received.told_missing += count,
            GapCount::Unknown => {}
        }
    }

    /// Tells publishers how far this subscriber is.
    fn tell(&mut self) {
        if std::mem::take(&mut self.untold) > 0 {
            self.shared.on_received(self.number, &self.received.checker);
        }
    }
}
