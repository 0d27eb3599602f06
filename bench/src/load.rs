//! One cell: a publisher, subscribers, a size, a class; measured in a closed window.
//!
//! The payload begins with the time of sending, so that a latency is that of one event from
//! `post` to the subscriber's hand. Every subscriber counts what it got and checks the order;
//! the publisher goes on only when the slowest subscriber has caught up to the window.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanal_client::{Body, BodyBuilder, Client, Item, Subscription};
use hdrhistogram::Histogram;
use tokio::sync::Notify;

use crate::child::{BrokerChild, Outcome};

/// How events are published and subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Class {
    /// Never stored; live subscriptions.
    BestEffort,
    /// Stored and flushed; durable subscriptions that ack each event.
    Durable,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::BestEffort => "best-effort",
            Class::Durable => "durable",
        }
    }
}

/// One combination to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) class: Class,
    pub(crate) subscribers: usize,
    pub(crate) size: usize,
    pub(crate) window: u64,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) events: u64,
    pub(crate) copies_per_second: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) broker_cpu_us_per_event: f64,
    pub(crate) broker_cpu_share: f64,
    pub(crate) resident_mib: f64,
}

/// Where the subscribers stand.
struct Progress {
    received: Vec<AtomicU64>,
    moved: Notify,
}

impl Progress {
    fn slowest(&self) -> u64 {
        self.received.iter().map(|count| count.load(Ordering::Acquire)).min().unwrap_or(0)
    }
}

/// Measures a cell for about `seconds`, on a fresh broker.
pub(crate) async fn run(cell: Cell, seconds: f64) -> Outcome<Figures> {
    let broker = BrokerChild::start()?;
    let publisher = Client::connect(&broker.credentials).await?;
    let progress = Arc::new(Progress {
        received: (0..cell.subscribers).map(|_| AtomicU64::new(0)).collect(),
        moved: Notify::new(),
    });
    let epoch = Instant::now();
    let (mut clients, mut readers) = (Vec::new(), Vec::new());
    for n in 0..cell.subscribers {
        let client = Client::connect(&broker.credentials).await?;
        let mut request = client.subscribe("bench/#");
        if cell.class == Class::Durable {
            request = request.durable(format!("bench-{n}"));
        }
        let subscription = request.await?;
        let progress = Arc::clone(&progress);
        readers.push(tokio::spawn(read(subscription, n, progress, epoch)));
        clients.push(client);
    }
    let cpu_before = broker.cpu_seconds()?;
    let began = Instant::now();
    let sent = publish(&publisher, cell, &progress, epoch, Duration::from_secs_f64(seconds)).await?;
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = broker.cpu_seconds()? - cpu_before;
    let resident_mib = broker.resident_mib()?;
    let mut latencies = Histogram::<u64>::new(3)?;
    for client in &clients {
        client.close().await?;
    }
    for reader in readers {
        let read = reader.await??;
        if read.events != sent {
            return Err(format!("{cell:?}: a subscriber got {} of {sent} events", read.events).into());
        }
        latencies.add(&read.latencies)?;
    }
    publisher.close().await?;
    let copies = sent as f64 * cell.subscribers as f64;
    Ok(Figures {
        events: sent,
        copies_per_second: copies / elapsed,
        bytes_per_second: copies * cell.size as f64 / elapsed,
        p50_us: latencies.value_at_quantile(0.5),
        p99_us: latencies.value_at_quantile(0.99),
        broker_cpu_us_per_event: cpu * 1e6 / sent as f64,
        broker_cpu_share: cpu / elapsed,
        resident_mib,
    })
}

/// Events are numbered in their payload, the time of sending beside it.
fn payload(size: usize, number: u64, epoch: Instant) -> Bytes {
    let mut bytes = vec![0u8; size.max(16)];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..16].copy_from_slice(&(epoch.elapsed().as_micros() as u64).to_le_bytes());
    bytes.into()
}

fn body(size: usize, number: u64, epoch: Instant) -> Outcome<Body> {
    Ok(BodyBuilder::new().payload(payload(size, number, epoch)).build()?)
}

async fn publish(
    client: &Client,
    cell: Cell,
    progress: &Progress,
    epoch: Instant,
    duration: Duration,
) -> Outcome<u64> {
    let (began, mut sent) = (Instant::now(), 0u64);
    while began.elapsed() < duration {
        // A burst between two looks at the clock and at the subscribers.
        let room = cell.window.saturating_sub(sent - progress.slowest()).min(256);
        if room == 0 {
            wait_until(progress, sent.saturating_sub(cell.window / 2)).await;
            continue;
        }
        for _ in 0..room {
            sent += 1;
            let request = client.publish("bench/load").encoded(body(cell.size, sent, epoch)?);
            match cell.class {
                Class::BestEffort => request.best_effort().post().await?,
                // Its receipt is counted by the client; a refusal would show as a missing event.
                Class::Durable => request.post().await?,
            }
        }
    }
    wait_until(progress, sent).await;
    Ok(sent)
}

async fn wait_until(progress: &Progress, target: u64) {
    loop {
        let moved = progress.moved.notified();
        if progress.slowest() >= target {
            return;
        }
        moved.await;
    }
}

struct Read {
    events: u64,
    latencies: Histogram<u64>,
}

async fn read(
    mut subscription: Subscription,
    n: usize,
    progress: Arc<Progress>,
    epoch: Instant,
) -> Outcome<Read> {
    let mut read = Read { events: 0, latencies: Histogram::new(3)? };
    while let Some(item) = subscription.next().await {
        let mut next = Some(item);
        while let Some(item) = next {
            match item {
                Ok(Item::Delivery(delivery)) => {
                    read.take(&delivery.payload(), epoch)?;
                    delivery.ack();
                }
                // The client was closed at the end of the run; were it earlier, the count tells.
                Ok(Item::Gap(gap)) if gap.reason == "connection_lost" => return Ok(read),
                Ok(Item::Gap(gap)) => return Err(format!("after {} events: {gap:?}", read.events).into()),
                Err(error) if read.events > 0 => {
                    let _ = error; // the client was closed at the end of the run
                    return Ok(read);
                }
                Err(error) => return Err(error.into()),
            }
            next = subscription.try_next();
        }
        progress.received[n].store(read.events, Ordering::Release);
        progress.moved.notify_one();
    }
    Ok(read)
}

impl Read {
    fn take(&mut self, payload: &[u8], epoch: Instant) -> Outcome<()> {
        let number = |at: usize| {
            payload.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
        };
        let (Some(event), Some(sent_us)) = (number(0), number(8)) else {
            return Err("a short payload".into());
        };
        self.events += 1;
        if event != self.events {
            return Err(format!("event {event} came where {} was due", self.events).into());
        }
        let latency = (epoch.elapsed().as_micros() as u64).saturating_sub(sent_us);
        self.latencies.record(latency.max(1))?;
        Ok(())
    }
}
