//! What the log alone costs, without a broker around it.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use fanal_store::{MailboxId, MailboxSequence, Options, Store, StoreId};

use super::Setting;
use super::engines::{Fjall, Log, MAILBOX};
use super::queue::EVENT_BYTES;
use super::table::Fact;
use crate::child::Outcome;

/// Events that one commit takes.
const CHUNK: u64 = 4096;
/// Destinations of one event.
const DESTINATIONS: u64 = 10_000;
/// Entries that a reader asks for at once.
const READ_ENTRIES: usize = 4096;

/// Events per second that the log gives back, oldest first.
pub(crate) fn drain_log(dir: &Path, backlog: u64) -> Outcome<f64> {
    let mut log = Log::create(dir)?;
    for events in chunks(backlog) {
        log.append(&events)?;
    }
    let reader = log.store.reader();
    let begun = Instant::now();
    let (mut from, mut read) = (MailboxSequence(1), 0u64);
    loop {
        let entries = reader.entries_within(MAILBOX, from, READ_ENTRIES, u64::MAX);
        let Some((last, ..)) = entries.last() else { break };
        from = MailboxSequence(last.0 + 1);
        let wanted: Vec<_> = entries.iter().map(|&(_, position, bytes)| (position, bytes)).collect();
        for event in reader.read_all(&wanted) {
            read += u64::from(event?.len() == EVENT_BYTES);
        }
    }
    counted(read, backlog, begun)
}

/// Events per second that fjall gives back, in the order of their keys.
pub(crate) fn drain_fjall(dir: &Path, backlog: u64) -> Outcome<f64> {
    let mut fjall = Fjall::create(dir)?;
    for events in chunks(backlog) {
        fjall.append(&events)?;
    }
    let begun = Instant::now();
    let mut read = 0;
    for item in fjall.events.iter() {
        read += u64::from(item.value()?.len() == EVENT_BYTES);
    }
    counted(read, backlog, begun)
}

fn counted(read: u64, backlog: u64, begun: Instant) -> Outcome<f64> {
    match read == backlog {
        true => Ok(read as f64 / begun.elapsed().as_secs_f64()),
        false => Err(format!("{read} events of {backlog} came back").into()),
    }
}

fn chunks(events: u64) -> impl Iterator<Item = Vec<Bytes>> {
    let payload = Bytes::from(vec![7u8; EVENT_BYTES]);
    (0..events.div_ceil(CHUNK)).map(move |chunk| {
        let count = CHUNK.min(events - chunk * CHUNK);
        vec![payload.clone(); usize::try_from(count).unwrap_or(0)]
    })
}

/// A store with so many empty mailboxes, and what one of them costs in memory.
fn store_with(setting: &Setting, dir: &Path, mailboxes: u64) -> Outcome<(Store, f64)> {
    let (mut store, _) = Store::open(dir, Options::default(), StoreId(1))?;
    let before = (setting.heap)();
    let mut batch = store.batch();
    (1..=mailboxes).for_each(|number| batch.create_mailbox(MailboxId(number)));
    store.commit(batch)?;
    let bytes = (setting.heap)().saturating_sub(before) as f64 / mailboxes as f64;
    Ok((store, bytes))
}

/// What mailboxes without entries cost in memory.
pub(crate) fn empty(setting: &Setting, mailboxes: u64) -> Outcome<Vec<Fact>> {
    let data = tempfile::tempdir_in(&setting.dir)?;
    let (_store, bytes) = store_with(setting, data.path(), mailboxes)?;
    Ok(vec![Fact::new("log", "memory per empty mailbox, bytes", bytes).at_most(256.0)])
}

/// Memory, disk and start-up with so many events, each for one of so many mailboxes.
pub(crate) fn queue(setting: &Setting, events: u64, mailboxes: u64) -> Outcome<Vec<Fact>> {
    let data = tempfile::tempdir_in(&setting.dir)?;
    let (mut store, _) = store_with(setting, data.path(), mailboxes)?;
    let before = (setting.heap)();
    let (mut sequence, mut bytes) = (0u64, 0u64);
    for chunk in chunks(events) {
        let mut batch = store.batch();
        for event in &chunk {
            let entry = (MailboxId(1 + sequence % mailboxes), MailboxSequence(1 + sequence / mailboxes));
            batch.event(&[event], &[entry]);
            sequence += 1;
        }
        bytes += store.commit(batch)?.bytes;
        if store.checkpoint_due() {
            store.checkpoint(&mut std::iter::empty())?;
        }
    }
    let memory = (setting.heap)().saturating_sub(before) as f64;
    let disk = store.stats().bytes_on_disk as f64;
    drop(store);
    let begun = Instant::now();
    let (store, _) = Store::open(data.path(), Options::default(), StoreId(2))?;
    let opened = begun.elapsed().as_secs_f64();
    let found: u64 = store.reader().mailboxes().iter().map(|(_, stats)| stats.events).sum();
    if found != events {
        return Err(format!("{found} of {events} events are there after the start").into());
    }
    let framed = (events as usize * EVENT_BYTES) as f64;
    Ok(vec![
        Fact::new("log", "memory with all queued, MiB", memory / 1048576.0),
        Fact::new(
            "log",
            "written per event beyond its 256 B, percent",
            (bytes as f64 / framed - 1.0) * 100.0,
        )
        .at_most(10.0),
        Fact::new(
            "log",
            "disk, pages and checkpoints and spares too, per event, bytes",
            disk / events as f64,
        ),
        Fact::new("log", "open, s", opened).at_most(5.0),
    ])
}

/// Bytes that events for very many destinations take in the log.
pub(crate) fn sets(setting: &Setting) -> Outcome<Vec<Fact>> {
    let data = tempfile::tempdir_in(&setting.dir)?;
    let (mut store, _) = store_with(setting, data.path(), DESTINATIONS)?;
    let event = vec![7u8; EVENT_BYTES];
    let mut bytes = Vec::new();
    for sequence in 1..=1_000 {
        let entries: Vec<_> =
            (1..=DESTINATIONS).map(|id| (MailboxId(id), MailboxSequence(sequence))).collect();
        let mut batch = store.batch();
        batch.event(&[&event], &entries);
        bytes.push(store.commit(batch)?.bytes as f64);
    }
    let mean = bytes.iter().sum::<f64>() / bytes.len() as f64;
    Ok(vec![
        Fact::new("log", "first event of 256 B for 10,000 destinations, bytes", bytes[0]),
        Fact::new("log", "the thousandth, bytes", bytes[bytes.len() - 1]),
        Fact::new("log", "mean of a thousand, bytes", mean),
    ])
}
