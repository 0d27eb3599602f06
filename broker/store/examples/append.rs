//! Durable events of 1 KiB per second, by batch size, on the disk of the directory given.
//!
//! `cargo run --release -p fanal-store --example append -- [DIRECTORY] [SECONDS]`

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fanal_store::{Committed, MailboxId, MailboxSequence, Options, Store, StoreId};

const EVENT_BYTES: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().map_or_else(|| PathBuf::from("append-example"), PathBuf::from);
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    for batch_events in [1, 64, 1024] {
        let directory = root.join(batch_events.to_string());
        measure(&directory, batch_events, Duration::from_secs(seconds))?;
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

fn measure(directory: &Path, batch_events: u64, length: Duration) -> Result<(), Box<dyn Error>> {
    let opening = Instant::now();
    let (mut store, _) = Store::open(directory, Options::default(), StoreId(1))?;
    let opened = opening.elapsed();
    let mailbox = MailboxId(1);
    let mut batch = store.batch();
    batch.create_mailbox(mailbox);
    store.commit(batch)?;
    let body = vec![7u8; EVENT_BYTES];
    let (mut next, mut slowest) = (1u64, Duration::ZERO);
    let mut flushes = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < length {
        let mut batch = store.batch();
        for _ in 0..batch_events {
            batch.event(&[&body], &[(mailbox, MailboxSequence(next))]);
            next += 1;
        }
        // What was delivered a while ago is acked, so that segments come back.
        if next > 100_000 {
            batch.acked(mailbox, 1..=next - 100_000);
        }
        let one = Instant::now();
        let Committed { .. } = store.commit(batch)?;
        flushes.push(one.elapsed());
        slowest = slowest.max(one.elapsed());
        if store.checkpoint_due() {
            store.checkpoint(&mut std::iter::empty())?;
        }
    }
    let rate = (next - 1) as f64 / begun.elapsed().as_secs_f64();
    flushes.sort();
    let median = flushes[flushes.len() / 2];
    println!(
        "batches of {batch_events:>4}: {rate:>9.0} events/s, commit p50 {median:?}, slowest {slowest:?}, first open {opened:?}, on disk {} MiB",
        store.stats().bytes_on_disk >> 20
    );
    drain(&store, mailbox);
    drop(store);
    let reopening = Instant::now();
    let (_store, recovery) = Store::open(directory, Options::default(), StoreId(1))?;
    println!("               reopened in {:?}: {}", reopening.elapsed(), recovery.report);
    Ok(())
}

fn drain(store: &Store, mailbox: MailboxId) {
    let reader = store.reader();
    let entries = reader.entries(mailbox, MailboxSequence(1), usize::MAX);
    let begun = Instant::now();
    let read = entries.iter().filter(|(_, position)| reader.read(*position).is_ok()).count();
    println!(
        "               read {read} of {} at {:.0}/s",
        entries.len(),
        read as f64 / begun.elapsed().as_secs_f64()
    );
}
