//! Durable publishes by producers that wait for their acks.
//!
//! A closed loop: each producer has so many events under way, and the next one begins when an ack has
//! come. What is counted is acks between the end of the warm-up and the end of the run.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::fanal::FanalSubject;
use super::{Producers, Setting, Subject};
use crate::child::Outcome;

/// Before this nothing is counted: segments are made, windows open.
const WARM_UP: Duration = Duration::from_millis(500);

/// One combination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) subject: Subject,
    pub(crate) producers: Producers,
    pub(crate) size: usize,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) acks_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// Publishes one event after another, in order; cheap to clone.
pub(crate) trait Producer: Clone + Send + 'static {
    /// Returns when the ack has come.
    fn publish(&self, payload: Bytes) -> impl Future<Output = Outcome<()>> + Send;
}

/// Measures every cell `runs` times in turn, so that the machine's drift hits all alike.
pub(crate) async fn run(
    setting: &Setting,
    cells: &[Cell],
    length: Duration,
    runs: usize,
) -> Outcome<Vec<(Cell, Figures)>> {
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); cells.len()];
    for _ in 0..runs.max(1) {
        for (cell, figures) in cells.iter().zip(&mut all) {
            figures.push(run_cell(setting, *cell, length).await?);
        }
    }
    let median = |mut figures: Vec<Figures>| {
        figures.sort_by(|a, b| a.acks_per_second.total_cmp(&b.acks_per_second));
        figures[figures.len() / 2]
    };
    Ok(cells.iter().copied().zip(all.into_iter().map(median)).collect())
}

async fn run_cell(setting: &Setting, cell: Cell, length: Duration) -> Outcome<Figures> {
    let count = cell.producers.count;
    match cell.subject {
        Subject::Fanal => {
            let subject = FanalSubject::start(&setting.fanal, &setting.dir).await?;
            subject.subscribe_away("load/#", "store").await?;
            measure(subject.producers(count).await?, cell, length).await
        }
        #[cfg(feature = "rivals")]
        Subject::Jetstream | Subject::JetstreamLate => {
            let nats = setting.nats.as_ref().ok_or("no nats-server")?;
            let is_flushed = cell.subject == Subject::Jetstream;
            let subject = super::jetstream::Jetstream::start(nats, &setting.dir, is_flushed).await?;
            measure(subject.producers(count).await?, cell, length).await
        }
        #[cfg(feature = "rivals")]
        Subject::Log => {
            let group = super::engines::Group::start(super::engines::Log::create(&setting.dir)?);
            measure(vec![group.producer(); count], cell, length).await
        }
        #[cfg(feature = "rivals")]
        Subject::Fjall => {
            let group = super::engines::Group::start(super::engines::Fjall::create(&setting.dir)?);
            measure(vec![group.producer(); count], cell, length).await
        }
    }
}

/// What the loops of one cell share.
struct Loops {
    begins: Instant,
    ends: Instant,
    acks: AtomicU64,
}

async fn measure<P: Producer>(producers: Vec<P>, cell: Cell, length: Duration) -> Outcome<Figures> {
    let begins = Instant::now() + WARM_UP;
    let loops = Arc::new(Loops { begins, ends: begins + length, acks: AtomicU64::new(0) });
    let payload = Bytes::from(vec![7u8; cell.size]);
    let mut set = JoinSet::new();
    for producer in &producers {
        for _ in 0..cell.producers.under_way {
            set.spawn(publish_until_end(producer.clone(), payload.clone(), Arc::clone(&loops)));
        }
    }
    let mut latency = Histogram::<u64>::new(3)?;
    while let Some(ended) = set.join_next().await {
        latency.add(ended??)?;
    }
    Ok(Figures {
        acks_per_second: loops.acks.load(Ordering::Relaxed) as f64 / length.as_secs_f64(),
        p50_us: latency.value_at_quantile(0.5),
        p99_us: latency.value_at_quantile(0.99),
    })
}

async fn publish_until_end<P: Producer>(
    producer: P,
    payload: Bytes,
    loops: Arc<Loops>,
) -> Outcome<Histogram<u64>> {
    let mut latency = Histogram::<u64>::new(3)?;
    loop {
        let begun = Instant::now();
        producer.publish(payload.clone()).await?;
        let now = Instant::now();
        if now >= loops.ends {
            break;
        }
        if now >= loops.begins {
            loops.acks.fetch_add(1, Ordering::Relaxed);
            latency.record(u64::try_from((now - begun).as_micros())?)?;
        }
    }
    Ok(latency)
}
