//! `fanal subscribe`: deliveries to stdout, then acks.
//!
//! Invariants:
//! 1. A delivery is acked after the stdout that holds it was flushed, never before.
//! 2. What is at hand is printed together, flushed once and acked together; nothing waits for
//!    company.
//! 3. However it ends, acks made by then are flushed at the home first.

use std::time::Duration;

use fanal_client::{Delivery, Item, Subscription, WaitFor, WhenFull};

use crate::args::{Global, Output, Subscribe};
use crate::delivery;
use crate::exit::{Failure, Outcome};
use crate::output::{Out, note};
use crate::session;
use crate::stop::{GRACE, Stop};

/// Deliveries between two flushes, at most.
const BATCH: usize = 4096;

/// Runs the command.
pub(crate) async fn run(args: Subscribe, global: &Global, stop: &Stop) -> Outcome {
    let form = if global.json { Output::Json } else { args.output };
    let client = stop.guard(session::connect(global, "subscribe")).await?;
    let mut subscription = stop.guard(subscribe(&client, &args)).await?;
    note(format_args!("{}", receipt_line(&args, &subscription)));
    let mut printer = Printer { out: Out::lock(), form, left: args.count, batch: Vec::new() };
    let outcome = printer.run(&mut subscription, stop).await;
    let flushed = flush_acks(&subscription).await;
    drop(subscription);
    let _ = tokio::time::timeout(Duration::from_secs(1), client.close()).await;
    outcome.and(flushed)
}

async fn subscribe(client: &fanal_client::Client, args: &Subscribe) -> Outcome<Subscription> {
    let mut builder = client.subscribe(&args.filter).wait_for(match args.wait_for.as_str() {
        "home" => WaitFor::Home,
        "peers" => WaitFor::Peers,
        name => WaitFor::Broker(name.to_owned()),
    });
    if let Some(predicate) = &args.predicate {
        builder = builder.filter(predicate);
    }
    if args.strict {
        builder = builder.strict();
    }
    for filter in &args.except {
        builder = builder.except(filter);
    }
    if let Some(name) = &args.durable {
        builder = builder.durable(name);
    }
    builder.limits(args.limits.chosen()).await.map_err(session::failure)
}

impl From<crate::args::WhenFull> for WhenFull {
    fn from(given: crate::args::WhenFull) -> Self {
        match given {
            crate::args::WhenFull::DeadLetter => WhenFull::DeadLetter,
            crate::args::WhenFull::DropOldest => WhenFull::DropOldest,
        }
    }
}

fn receipt_line(args: &Subscribe, subscription: &Subscription) -> String {
    #[derive(serde::Serialize)]
    struct Pending<'a> {
        broker: &'a str,
        reason: &'a str,
    }
    #[derive(serde::Serialize)]
    struct Line<'a> {
        subscribed: &'a str,
        installed: &'a [String],
        pending: Vec<Pending<'a>>,
    }
    let receipt = subscription.receipt();
    let pending =
        receipt.pending.iter().map(|pending| Pending { broker: &pending.broker, reason: &pending.reason });
    let line = Line { subscribed: &args.filter, installed: &receipt.installed, pending: pending.collect() };
    serde_json::to_string(&line).unwrap_or_default()
}

async fn flush_acks(subscription: &Subscription) -> Outcome {
    match tokio::time::timeout(GRACE, subscription.flush_acks()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(session::failure(error)),
        Err(_) => Err(Failure::failed(format!(
            "the broker did not confirm the last acks within {}: those events will be delivered again",
            crate::duration::show(GRACE)
        ))),
    }
}

struct Printer {
    out: Out,
    form: Output,
    /// Deliveries until the end, if it is bounded.
    left: Option<u64>,
    /// Printed, not yet flushed.
    batch: Vec<Delivery>,
}

impl Printer {
    async fn run(&mut self, subscription: &mut Subscription, stop: &Stop) -> Outcome {
        let stopping = stop.reason();
        tokio::pin!(stopping);
        while self.left != Some(0) {
            let mut item = tokio::select! {
                biased;
                reason = &mut stopping => return reason.into_outcome(),
                item = subscription.next() => item,
            };
            let ended = loop {
                match item {
                    None => break Some(Ok(())),
                    Some(Err(error)) => break Some(Err(session::failure(error))),
                    Some(Ok(item)) => self.print(item)?,
                }
                if self.batch.len() >= BATCH || self.left == Some(0) {
                    break None;
                }
                match subscription.try_next() {
                    Some(next) => item = Some(next),
                    None => break None,
                }
            };
            self.flush_and_ack()?;
            if let Some(ended) = ended {
                return ended;
            }
        }
        Ok(())
    }

    fn print(&mut self, item: Item) -> Outcome {
        match item {
            Item::Gap(gap) => delivery::write_gap(&mut self.out, self.form, &gap),
            Item::Delivery(delivery) => {
                delivery::write(&mut self.out, self.form, &delivery)?;
                self.batch.push(delivery);
                self.left = self.left.map(|left| left - 1);
                Ok(())
            }
        }
    }

    fn flush_and_ack(&mut self) -> Outcome {
        self.out.flush()?;
        for delivery in self.batch.drain(..) {
            delivery.ack();
        }
        Ok(())
    }
}
