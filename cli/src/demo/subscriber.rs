//! A subscriber of the demo: notes which flights came, in which order, and how late.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fanal_client::{Client, Delivery, Item, WaitFor};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::cases::{Case, Flight};
use crate::exit::{Failure, Outcome};
use crate::session;

/// When each flight was handed to the publisher.
pub(crate) type SentAt = Arc<Mutex<Vec<Instant>>>;

/// What a subscriber got so far; kept across its absences.
#[derive(Default)]
pub(crate) struct Got {
    /// Numbers of flights, from 0; none for something that is no flight as it was published.
    pub(crate) flights: Vec<Option<usize>>,
    /// From publish to delivery, by flight.
    pub(crate) delays: Vec<(usize, Duration)>,
    /// How often it was told in-band that the link to the other broker was lost.
    pub(crate) link_losses: usize,
    /// Other gaps, and how the stream ended before its time.
    pub(crate) troubles: Vec<String>,
}

/// See the module.
pub(crate) struct Subscriber {
    pub(crate) case: Case,
    got: Arc<Mutex<Got>>,
    count: watch::Sender<usize>,
    task: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Subscriber {
    pub(crate) fn new(case: Case) -> Self {
        Subscriber { case, got: Arc::default(), count: watch::Sender::new(0), task: None }
    }

    /// Subscribes, or comes back. `from`: the broker that must confirm.
    pub(crate) async fn attach(
        &mut self,
        client: &Client,
        from: &str,
        flights: &Arc<Vec<Flight>>,
        sent_at: &SentAt,
    ) -> Outcome {
        let case = &self.case;
        let mut builder = client.subscribe(case.filter).wait_for(WaitFor::Broker(from.to_owned()));
        if let Some(predicate) = case.predicate {
            builder = builder.filter(predicate);
        }
        if let Some(except) = case.except {
            builder = builder.except(except);
        }
        if let Some(name) = case.durable {
            builder = builder.durable(name);
        }
        let mut subscription = builder.await.map_err(session::failure)?;
        if let Some(pending) = subscription.receipt().pending.iter().find(|pending| pending.broker == from) {
            return Err(Failure::failed(format!(
                "broker {} did not confirm the subscription to {}: {}",
                pending.broker, case.filter, pending.reason
            )));
        }
        let (got, count) = (Arc::clone(&self.got), self.count.clone());
        let (flights, sent_at) = (Arc::clone(flights), Arc::clone(sent_at));
        let (leave, mut leaving) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let item = tokio::select! {
                    biased;
                    _ = &mut leaving => break,
                    item = subscription.next() => item,
                };
                let Some(item) = item else { break };
                match item {
                    Ok(Item::Delivery(delivery)) => {
                        lock(&got).take(&delivery, &flights, &sent_at);
                        delivery.ack();
                        count.send_modify(|count| *count += 1);
                    }
                    Ok(Item::Gap(gap)) if gap.reason == "link_lost" => lock(&got).link_losses += 1,
                    Ok(Item::Gap(gap)) => lock(&got).troubles.push(format!("gap: {}", gap.reason)),
                    Err(error) => lock(&got).troubles.push(error.to_string()),
                }
            }
            if let Err(error) = subscription.flush_acks().await {
                lock(&got).troubles.push(error.to_string());
            }
        });
        self.task = Some((leave, task));
        Ok(())
    }

    /// Lets go of the subscription after its acks were flushed.
    pub(crate) async fn detach(&mut self) {
        if let Some((leave, task)) = self.task.take() {
            let _ = leave.send(());
            let _ = task.await;
        }
    }

    /// Waits until so many deliveries are here, or the time is over.
    pub(crate) async fn wait_for(&self, wanted: usize, limit: Duration) {
        let mut count = self.count.subscribe();
        // That time runs out shows in the result.
        let _ = tokio::time::timeout(limit, count.wait_for(|count| *count >= wanted)).await;
    }

    /// What it got.
    pub(crate) fn got(&self) -> MutexGuard<'_, Got> {
        lock(&self.got)
    }
}

impl Got {
    fn take(&mut self, delivery: &Delivery, flights: &[Flight], sent_at: &SentAt) {
        // One publisher, one epoch: the sequence counts the flights from 1.
        let number = usize::try_from(delivery.sequence()).unwrap_or(0).checked_sub(1);
        let is_as_published = |&number: &usize| {
            flights.get(number).is_some_and(|flight| flight.line.as_bytes() == delivery.payload())
        };
        let number = number.filter(is_as_published);
        if let Some(number) = number
            && let Some(sent) = lock(sent_at).get(number)
        {
            self.delays.push((number, sent.elapsed()));
        }
        self.flights.push(number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
