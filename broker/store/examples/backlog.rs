//! What a backlog costs: bytes on disk for many destinations, memory for queued events and for
//! mailboxes that hold nothing, and the time of a start.
//!
//! `cargo run -p fanal-store --example backlog -- [DIRECTORY] [EVENTS] [MAILBOXES]`

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fanal_store::{CommitError, MailboxId, MailboxSequence, Options, Store, StoreId};

const EVENT_BYTES: usize = 256;
const EMPTY_MAILBOXES: u64 = 100_000;
const WIDE_MAILBOXES: u64 = 10_000;
const WIDE_EVENTS: u64 = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().map_or_else(|| PathBuf::from("backlog-example"), PathBuf::from);
    let events: u64 = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let mailboxes: u64 = arguments.next().map_or(Ok(100), |text| text.parse())?;
    empty(&root.join("empty"))?;
    wide(&root.join("lists"), usize::MAX)?;
    wide(&root.join("sets"), Options::default().set_destinations_min)?;
    queued(&root.join("queued"), events, mailboxes)?;
    std::fs::remove_dir_all(&root)?;
    Ok(())
}

fn create(store: &mut Store, mailboxes: u64) -> Result<(), CommitError> {
    let mut batch = store.batch();
    (1..=mailboxes).for_each(|id| batch.create_mailbox(MailboxId(id)));
    store.commit(batch).map(|_| ())
}

fn empty(directory: &Path) -> Result<(), Box<dyn Error>> {
    let (mut store, _) = Store::open(directory, Options::default(), StoreId(1))?;
    create(&mut store, 1)?;
    let before = resident()?;
    let mut batch = store.batch();
    (2..=EMPTY_MAILBOXES + 1).for_each(|id| batch.create_mailbox(MailboxId(id)));
    store.commit(batch)?;
    let fresh = resident()? - before;
    // Once used and drained they must not cost more.
    for sequence in 1..=3 {
        for first in (2..=EMPTY_MAILBOXES + 1).step_by(1000) {
            let mut batch = store.batch();
            for id in first..(first + 1000).min(EMPTY_MAILBOXES + 2) {
                batch.event(&[&[7; EVENT_BYTES]], &[(MailboxId(id), MailboxSequence(sequence))]);
                batch.acked(MailboxId(id), 1..=sequence);
            }
            store.commit(batch)?;
        }
    }
    let drained = resident()? - before;
    println!(
        "{EMPTY_MAILBOXES} empty mailboxes: {} bytes each, {} once used and drained",
        fresh / EMPTY_MAILBOXES,
        drained / EMPTY_MAILBOXES
    );
    Ok(())
}

fn wide(directory: &Path, set_destinations_min: usize) -> Result<(), Box<dyn Error>> {
    let options = Options { set_destinations_min, ..Options::default() };
    let (mut store, _) = Store::open(directory, options, StoreId(1))?;
    create(&mut store, WIDE_MAILBOXES)?;
    let before = store.stats().bytes_written;
    let begun = Instant::now();
    for sequence in 1..=WIDE_EVENTS {
        let entries: Vec<_> =
            (1..=WIDE_MAILBOXES).map(|id| (MailboxId(id), MailboxSequence(sequence))).collect();
        let mut batch = store.batch();
        batch.event(&[&[7; EVENT_BYTES]], &entries);
        store.commit(batch)?;
    }
    let stats = store.stats();
    println!(
        "{WIDE_EVENTS} events of {EVENT_BYTES} bytes to {WIDE_MAILBOXES} mailboxes: {} bytes logged, {} of them by set, {:?}, resident {} MiB",
        stats.bytes_written - before,
        stats.events_by_set,
        begun.elapsed(),
        resident()? >> 20,
    );
    Ok(())
}

fn queued(directory: &Path, events: u64, mailboxes: u64) -> Result<(), Box<dyn Error>> {
    let (mut store, _) = Store::open(directory, Options::default(), StoreId(1))?;
    create(&mut store, mailboxes)?;
    let before = resident()?;
    let begun = Instant::now();
    let mut written = 0;
    while written < events {
        let mut batch = store.batch();
        for event in written..(written + 10_000).min(events) {
            let entry = (MailboxId(event % mailboxes + 1), MailboxSequence(event / mailboxes + 1));
            // Sizes differ, as those of real events do.
            batch.event(
                &[&[7; EVENT_BYTES]].map(|body| &body[..EVENT_BYTES - (event % 37) as usize]),
                &[entry],
            );
        }
        store.commit(batch)?;
        written += 10_000;
        if store.checkpoint_due() {
            store.checkpoint(&mut std::iter::empty())?;
        }
    }
    println!(
        "{events} events queued in {mailboxes} mailboxes: {} MiB resident more, {} MiB on disk, {:?}",
        resident()?.saturating_sub(before) >> 20,
        store.stats().bytes_on_disk >> 20,
        begun.elapsed()
    );
    drop(store);
    let begun = Instant::now();
    let (store, recovery) = Store::open(directory, Options::default(), StoreId(1))?;
    println!("opened in {:?}: {}", begun.elapsed(), recovery.report);
    println!("resident after it: {} MiB", resident()? >> 20);
    let begun = Instant::now();
    let reader = store.reader();
    let mut read = 0;
    for id in 1..=mailboxes {
        let mut from = MailboxSequence(0);
        while let Some((last, _)) = {
            let entries = reader.entries(MailboxId(id), from, 512);
            read += entries.len();
            entries.last().copied()
        } {
            from = MailboxSequence(last.0 + 1);
        }
    }
    println!("{read} entries listed in {:?}", begun.elapsed());
    Ok(())
}

/// Bytes of memory that the process holds.
fn resident() -> Result<u64, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4096)
}
