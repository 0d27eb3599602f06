//! Backlogs: how fast one client drains one, what very many queued events cost, what empty mailboxes do.

use std::time::{Duration, Instant};

use bytes::Bytes;
use std::future::IntoFuture;

use fanal_client::{Client, Item, PendingReceipt, WaitFor};
use futures::stream::{self, StreamExt};

use super::fanal::FanalSubject;
use super::table::Fact;
use super::{Setting, Subject};
use crate::child::Outcome;

/// Bytes of a queued event's payload.
pub(crate) const EVENT_BYTES: usize = 256;
/// Receipts that a filling publisher waits for at a time.
const FILL_WINDOW: usize = 4096;
/// How long a drain waits for the next event.
const PATIENCE: Duration = Duration::from_secs(30);
/// Subscriptions that one connection makes.
const PER_CONNECTION: u64 = 5_000;
/// Subscriptions under way at once.
const SUBSCRIBING: usize = 64;

/// Events per second of one client that reads and acks a backlog; the median of the rounds.
pub(crate) async fn drain(
    setting: &Setting,
    subjects: &[Subject],
    backlog: u64,
    runs: usize,
) -> Outcome<Vec<(Subject, f64)>> {
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
    for _ in 0..runs.max(1) {
        for (subject, rates) in subjects.iter().zip(&mut rates) {
            rates.push(drain_one(setting, *subject, backlog).await?);
        }
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    Ok(subjects.iter().copied().zip(rates.into_iter().map(median)).collect())
}

async fn drain_one(setting: &Setting, subject: Subject, backlog: u64) -> Outcome<f64> {
    match subject {
        Subject::Fanal => drain_fanal(setting, backlog).await,
        #[cfg(feature = "rivals")]
        Subject::Jetstream | Subject::JetstreamLate => {
            let nats = setting.nats.as_ref().ok_or("no nats-server")?;
            // How it was stored does not change how it is read.
            super::jetstream::Jetstream::start(nats, &setting.dir, false).await?.drain(backlog).await
        }
        #[cfg(feature = "rivals")]
        Subject::Log => super::facts::drain_log(&setting.dir, backlog),
        #[cfg(feature = "rivals")]
        Subject::Fjall => super::facts::drain_fjall(&setting.dir, backlog),
    }
}

async fn drain_fanal(setting: &Setting, backlog: u64) -> Outcome<f64> {
    let subject = FanalSubject::start(&setting.fanal, &setting.dir).await?;
    subject.subscribe_away("load/#", "store").await?;
    fill(&subject.client, backlog, |_| "load/x".to_owned()).await?;
    let begun = Instant::now();
    let mut subscription = subject.subscribe("load/#", "store").await?;
    let mut received = 0;
    while received < backlog {
        let next = tokio::time::timeout(PATIENCE, subscription.next()).await?;
        match next.ok_or("the subscription ended")?? {
            Item::Delivery(delivery) => {
                received += 1;
                delivery.ack();
            }
            Item::Gap(gap) => return Err(format!("a backlog has no gaps: {gap:?}").into()),
        }
    }
    let rate = backlog as f64 / begun.elapsed().as_secs_f64();
    subscription.flush_acks().await?;
    Ok(rate)
}

/// Publishes so many events, the n-th to a topic of its own choice; returns when all are durable.
async fn fill(client: &Client, events: u64, topic: impl Fn(u64) -> String) -> Outcome<()> {
    let payload = Bytes::from(vec![7u8; EVENT_BYTES]);
    let publisher = client.publisher();
    let mut waiting: Vec<PendingReceipt> = Vec::with_capacity(FILL_WINDOW);
    for number in 0..events {
        let pending = publisher.publish(&topic(number)).payload(payload.clone()).send().await?;
        waiting.push(pending);
        if waiting.len() == FILL_WINDOW {
            all_durable(&mut waiting).await?;
        }
    }
    all_durable(&mut waiting).await
}

async fn all_durable(waiting: &mut Vec<PendingReceipt>) -> Outcome<()> {
    for pending in waiting.drain(..) {
        let receipt = pending.await?;
        if receipt.destinations != 1 {
            return Err(format!("1 destination was expected: {receipt:?}").into());
        }
    }
    Ok(())
}

/// Memory, disk and start-up of a broker with so many events in so many mailboxes, shared evenly.
pub(crate) async fn queue(setting: &Setting, events: u64, mailboxes: u64) -> Outcome<Vec<Fact>> {
    let subject = FanalSubject::start(&setting.fanal, &setting.dir).await?;
    for number in 0..mailboxes {
        subject.subscribe_away(&format!("load/{number}"), &format!("m{number}")).await?;
    }
    let before = subject.broker.resident_mib()?;
    let begun = Instant::now();
    fill(&subject.client, events, |number| format!("load/{}", number % mailboxes)).await?;
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    let queued = subject.broker.resident_mib()?;
    let disk = subject.disk_bytes()?;
    let begun = Instant::now();
    let subject = subject.restart(&setting.fanal).await?;
    let restarted = begun.elapsed();
    Ok(vec![
        Fact::new("fanal", "queued at, events/s", rate),
        Fact::new("fanal", "resident before, MiB", before),
        Fact::new("fanal", "resident with all queued, MiB", queued),
        Fact::new("fanal", "disk per event of 256 B, bytes", disk as f64 / events as f64),
        Fact::new("fanal", "stop and start until ready, s", restarted.as_secs_f64()).at_most(5.0),
        Fact::new("fanal", "resident after the start, MiB", subject.broker.resident_mib()?),
    ])
}

/// Memory of a broker for each of so many durable subscriptions that nobody is attached to.
pub(crate) async fn empty(setting: &Setting, mailboxes: u64) -> Outcome<Vec<Fact>> {
    let subject = FanalSubject::start(&setting.fanal, &setting.dir).await?;
    let before = subject.broker.resident_mib()?;
    let begun = Instant::now();
    let mut made = 0;
    while made < mailboxes {
        let client = Client::connect(&subject.broker.credentials).await?;
        let end = mailboxes.min(made + PER_CONNECTION);
        let mut subscribed = stream::iter(made..end)
            .map(|number| {
                let (topic, name) = (format!("load/{number}"), format!("m{number}"));
                client.subscribe(topic).durable(name).wait_for(WaitFor::Home).into_future()
            })
            .buffer_unordered(SUBSCRIBING);
        while let Some(subscription) = subscribed.next().await {
            drop(subscription?);
        }
        drop(subscribed);
        client.close().await?;
        made = end;
    }
    let rate = mailboxes as f64 / begun.elapsed().as_secs_f64();
    let per_mailbox = |mib: f64| (mib - before) * 1048576.0 / mailboxes as f64;
    let running = per_mailbox(subject.broker.resident_mib()?);
    let begun = Instant::now();
    let subject = subject.restart(&setting.fanal).await?;
    Ok(vec![
        Fact::new("fanal", "durable subscriptions made, per second", rate),
        Fact::new("fanal", "resident per durable subscription, its filter and names too, bytes", running),
        Fact::new("fanal", "the same after a start, bytes", per_mailbox(subject.broker.resident_mib()?)),
        Fact::new("fanal", "stop and start until ready, s", begun.elapsed().as_secs_f64()),
    ])
}
