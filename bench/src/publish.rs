//! One publisher: sends in a closed or an open loop, and times receipts.
//!
//! Invariants:
//! 1. Numbers are handed over in order, without holes; [`Sent::number`] is the last of them.
//! 2. Time spent waiting for room, where the broker is the slower side, is told apart from time
//!    spent making events.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use fanal_client::{
    AttributeValue, BodyBuilder, Class, Client, Error, PendingReceipt, PublishBuilder, PublishError,
};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;

use crate::pace::{Clock, Schedule};
use crate::payload::Stamp;
use crate::report::{histogram, record};
use crate::run::Shared;
use crate::scene::ATTRIBUTE;
use crate::{Amount, BenchError, Pace};

/// Receipts that wait to be timed; above the client's window, so that this is never the limit.
const RECEIPTS: usize = 8192;
/// Events between two looks at the clock and at the subscribers.
const BURST: u64 = 64;

/// What a publisher did.
pub(crate) struct Sent {
    /// The last number.
    pub(crate) number: u64,
    pub(crate) measured: u64,
    /// When the first measured event was due.
    pub(crate) first_us: Option<u64>,
    /// When the last measured event had been handed over.
    pub(crate) handed_us: u64,
    /// How late measured events were handed over; open loop.
    pub(crate) late: Histogram<u64>,
    /// Time in which it waited for room.
    pub(crate) waited: Duration,
    pub(crate) receipts: Receipts,
}

/// Receipts that came.
pub(crate) struct Receipts {
    /// Of all events, those of the warm-up too.
    pub(crate) count: u64,
    /// Of measured events.
    pub(crate) latency: Histogram<u64>,
    /// When the last of a measured event came.
    pub(crate) last_us: u64,
}

impl Receipts {
    pub(crate) fn none() -> Self {
        Receipts { count: 0, latency: histogram(), last_us: 0 }
    }
}

struct Waiting {
    due_us: u64,
    is_measured: bool,
    receipt: PendingReceipt,
}

/// Publishes all that the plan asks of one publisher, and waits for its receipts.
pub(crate) async fn publish(
    publisher: usize,
    topic: String,
    client: Client,
    shared: Arc<Shared>,
) -> Result<Sent, BenchError> {
    let (sender, receiver) = mpsc::channel(RECEIPTS);
    let timing = tokio::spawn(time_receipts(receiver, publisher, Arc::clone(&shared)));
    let sent = Sent {
        number: 0,
        measured: 0,
        first_us: None,
        handed_us: 0,
        late: histogram(),
        waited: Duration::ZERO,
        receipts: Receipts::none(),
    };
    let mut publishing = Publishing { publisher, topic, client, shared, sent, receipts: sender };
    let outcome = publishing.run().await;
    let Publishing { mut sent, receipts, shared, .. } = publishing;
    drop(receipts);
    let timed = timing.await?;
    if outcome.is_err() || timed.is_err() {
        shared.stop();
    }
    outcome?;
    sent.receipts = timed?;
    Ok(sent)
}

/// Takes receipts in the order of sending.
async fn time_receipts(
    mut waiting: mpsc::Receiver<Waiting>,
    publisher: usize,
    shared: Arc<Shared>,
) -> Result<Receipts, BenchError> {
    let mut receipts = Receipts::none();
    while let Some(Waiting { due_us, is_measured, mut receipt }) = waiting.recv().await {
        let outcome = match futures::poll!(&mut receipt) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => tokio::select! {
                outcome = receipt => outcome,
                // How many are missing shows in the report.
                () = shared.given_up() => return Ok(receipts),
            },
        };
        if let Err(error) = outcome {
            // The publisher must not wait for room that never comes.
            shared.stop();
            return Err(Error::from(error).into());
        }
        receipts.count += 1;
        if is_measured {
            receipts.last_us = shared.now_us();
            record(&mut receipts.latency, receipts.last_us.saturating_sub(due_us));
        }
        if receipts.count.is_multiple_of(BURST) || waiting.is_empty() {
            shared.on_acked(publisher, receipts.count);
        }
    }
    Ok(receipts)
}

struct Publishing {
    publisher: usize,
    topic: String,
    client: Client,
    shared: Arc<Shared>,
    sent: Sent,
    receipts: mpsc::Sender<Waiting>,
}

impl Publishing {
    async fn run(&mut self) -> Result<(), BenchError> {
        let shared = Arc::clone(&self.shared);
        match (shared.plan.pace, &shared.clock) {
            (Pace::Window(window), _) => self.closed(window).await,
            (Pace::Rate(rate), Some(clock)) => {
                self.open(Schedule::new(rate, self.publisher, shared.plan.publishers), clock).await
            }
            (Pace::Rate(_), None) => Err(BenchError::Internal("an open loop without a clock".to_owned())),
        }
    }

    /// Whether an event that is due then is measured; `None`: it is not to be sent any more.
    fn phase(&self, due_us: u64) -> Option<bool> {
        let plan = &self.shared.plan;
        let warm_us = plan.warm_up.as_micros() as u64;
        if due_us < warm_us {
            return Some(false);
        }
        let is_due = match plan.amount {
            Amount::Time(time) => due_us - warm_us < time.as_micros() as u64,
            Amount::Events(_) => plan.share(self.publisher).is_some_and(|share| self.sent.measured < share),
        };
        is_due.then_some(true)
    }

    async fn closed(&mut self, window: u64) -> Result<(), BenchError> {
        while !self.shared.is_stopped() {
            let Some(is_measured) = self.phase(self.shared.now_us()) else { return Ok(()) };
            let under_way = self.sent.number - self.shared.slowest(self.publisher);
            let mut room = window.saturating_sub(under_way).min(BURST);
            if let (true, Some(share)) = (is_measured, self.shared.plan.share(self.publisher)) {
                room = room.min(share - self.sent.measured);
            }
            if room == 0 {
                let began = Instant::now();
                self.shared.wait_for(self.publisher, self.sent.number.saturating_sub(window / 2)).await;
                if is_measured {
                    self.sent.waited += began.elapsed();
                }
            }
            for _ in 0..room {
                self.send(self.shared.now_us(), is_measured).await?;
            }
        }
        Ok(())
    }

    async fn open(&mut self, schedule: Schedule, clock: &Clock) -> Result<(), BenchError> {
        while !self.shared.is_stopped() {
            let due_us = schedule.due_us(self.sent.number + 1);
            let Some(is_measured) = self.phase(due_us) else { return Ok(()) };
            let now_us = self.shared.now_us();
            if due_us > now_us {
                tokio::select! {
                    () = clock.beat(self.publisher) => {}
                    () = self.shared.stopped() => {}
                }
                continue;
            }
            if matches!(self.shared.plan.amount, Amount::Time(_)) && self.phase(now_us).is_none() {
                // Time is over with events still due: the rate was not reached, which is told.
                return Ok(());
            }
            if is_measured {
                record(&mut self.sent.late, now_us - due_us);
            }
            self.send(due_us, is_measured).await?;
        }
        Ok(())
    }

    async fn send(&mut self, due_us: u64, is_measured: bool) -> Result<(), BenchError> {
        let shared = Arc::clone(&self.shared);
        let plan = &shared.plan;
        let number = self.sent.number + 1;
        let stamp = Stamp { publisher: self.publisher as u16, number, due_us, is_measured };
        let mut body = BodyBuilder::new().payload(stamp.payload(plan.size));
        if plan.has_attributes() {
            body = body.attribute(ATTRIBUTE, AttributeValue::Int(number as i64));
        }
        let body = body.build().map_err(|error| Error::from(PublishError::from(error)))?;
        let mut request = self.client.publish(&self.topic).encoded(body);
        if plan.class == Class::BestEffort {
            request = request.best_effort();
        }
        let handed_over = hand_over(request, &shared).await;
        // It waited for room, and was given up at the end.
        let Some((receipt, waited)) = handed_over? else { return Ok(()) };
        if is_measured {
            self.sent.waited += waited;
        }
        self.sent.number = number;
        if is_measured {
            self.sent.measured += 1;
            self.sent.first_us.get_or_insert(due_us);
            self.sent.handed_us = shared.now_us();
            shared.progress.on_sent();
        }
        if let Some(receipt) = receipt {
            // Its other end is there as long as receipts are good; if not, the run is stopped.
            let _ = self.receipts.send(Waiting { due_us, is_measured, receipt }).await;
        }
        Ok(())
    }
}

/// Gives an event to the client: its receipt, if there is to be one, and how long there was no room
/// for it. `None`: the run was stopped meanwhile, and the event was not sent.
async fn hand_over(
    request: PublishBuilder<'_>,
    shared: &Shared,
) -> Result<Option<(Option<PendingReceipt>, Duration)>, BenchError> {
    let has_receipts = shared.plan.has_receipts();
    let mut sending = pin!(async {
        if has_receipts { request.send().await.map(Some) } else { request.post().await.map(|()| None) }
    });
    if let Poll::Ready(receipt) = futures::poll!(sending.as_mut()) {
        return Ok(Some((receipt.map_err(Error::from)?, Duration::ZERO)));
    }
    let began = Instant::now();
    tokio::select! {
        receipt = sending => Ok(Some((receipt.map_err(Error::from)?, began.elapsed()))),
        () = shared.stopped() => Ok(None),
    }
}
