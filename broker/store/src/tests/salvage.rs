//! What a repair takes out of a damaged batch: only what is certain, and never to the wrong mailbox.

use std::sync::Arc;

use crate::simulated::{Faults, Loss, SimulatedDisk};
use crate::{MailboxId, MailboxSequence, Options, Position, Store, StoreId, repair_on};

use super::basic::small;
use super::model::open;

const BYTES: usize = 40;

/// Mailboxes 1 to 8, all at sequence 7 once the last batch is in: the event of byte `0x71` goes to
/// 1 to 4, that of `0x72` to 5 to 8.
struct Written {
    disk: SimulatedDisk,
    name: String,
    events: [usize; 2],
}

fn to(at: u64, ids: std::ops::RangeInclusive<u64>) -> Vec<(MailboxId, MailboxSequence)> {
    ids.map(|id| (MailboxId(id), MailboxSequence(at))).collect()
}

fn written(set_destinations_min: usize) -> Written {
    written_before(set_destinations_min, &[b"last"])
}

/// With state records behind the two events.
fn written_before(set_destinations_min: usize, states: &[&[u8]]) -> Written {
    let disk = SimulatedDisk::new();
    let options = Options { mailbox_hot_max: 1000, hot_bytes_max: 1 << 20, set_destinations_min, ..small() };
    let (mut store, _) = Store::open_on(Arc::new(disk.clone()), options, StoreId(42)).unwrap();
    let mut batch = store.batch();
    (1..=8).for_each(|id| batch.create_mailbox(MailboxId(id)));
    store.commit(batch).unwrap();
    for at in 1..=6u64 {
        let mut batch = store.batch();
        batch.event(&[&[at as u8; BYTES]], &to(at, 1..=4));
        batch.event(&[&[at as u8; BYTES]], &to(at, 5..=8));
        store.commit(batch).unwrap();
    }
    // The first batch after it defines its sets again.
    store.checkpoint(&mut std::iter::empty()).unwrap();
    let mut batch = store.batch();
    batch.event(&[&[0x71; BYTES]], &to(7, 1..=4));
    batch.event(&[&[0x72; BYTES]], &to(7, 5..=8));
    let positions = store.commit(batch).unwrap().positions;
    for state in states {
        let mut batch = store.batch();
        batch.state(state);
        store.commit(batch).unwrap();
    }
    drop(store);
    disk.crash(Loss::Cut);
    let offset = |position: Position| position.offset(small().segment_bytes) as usize;
    let name = crate::segments::segment_name(positions[0].segment(small().segment_bytes));
    Written { disk, name, events: [offset(positions[0]), offset(positions[1])] }
}

/// Mailboxes that hold the two events after bytes were changed and a repair was done.
fn repaired(written: &Written, change: impl Fn(&mut [u8])) -> [Vec<u64>; 2] {
    let disk = written.disk.copy();
    let mut bytes = disk.contents(&written.name).unwrap();
    change(&mut bytes);
    disk.overwrite(&written.name, bytes);
    repair_on(Arc::new(disk.clone()), 5, &mut |_| {}).unwrap();
    let (store, _) = open(&disk).unwrap();
    let reader = store.reader();
    let holds = |id: u64, event: u8| {
        let entries = reader.entries(MailboxId(id), MailboxSequence(0), 100);
        let found = entries
            .into_iter()
            .find(|(_, position)| reader.read(*position).is_ok_and(|body| body[0] == event));
        found.inspect(|(sequence, _)| assert_eq!(sequence.0, 7, "mailbox {id}")).is_some()
    };
    [0x71, 0x72].map(|event| (1..=8).filter(|id| holds(*id, event)).collect())
}

#[test]
fn a_flipped_bit_anywhere_gives_no_mailbox_an_event_that_it_was_not_for() {
    // Once with definitions and references, once with plain lists.
    for set_destinations_min in [2, 100] {
        let written = written(set_destinations_min);
        let (begin, end) = (written.events[0] - 40, written.events[1] + BYTES + 32);
        for byte in begin..end {
            let bit = byte % 8;
            let [first, second] = repaired(&written, |bytes| bytes[byte] ^= 1 << bit);
            let is_right = |found: &[u64], all: [u64; 4]| found.is_empty() || found == all;
            assert!(
                is_right(&first, [1, 2, 3, 4]) && is_right(&second, [5, 6, 7, 8]),
                "sets from {set_destinations_min}, byte {byte} bit {bit}: {first:?} {second:?}"
            );
        }
    }
}

#[test]
fn a_batch_of_which_only_bodies_are_damaged_gives_its_other_events() {
    for set_destinations_min in [2, 100] {
        let written = written(set_destinations_min);
        let all = [vec![1, 2, 3, 4], vec![5, 6, 7, 8]];
        assert_eq!(repaired(&written, |_| {}), all);
        for victim in 0..2 {
            let mut left = all.clone();
            left[victim].clear();
            let at = written.events[victim] + 10;
            let wiped = |bytes: &mut [u8]| bytes[at..at + BYTES / 2].fill(0);
            assert_eq!(repaired(&written, wiped), left, "sets from {set_destinations_min}, event {victim}");
        }
    }
}

#[test]
fn a_batch_whose_head_alone_is_damaged_gives_all_its_events() {
    let written = written(100);
    // The number of the batch.
    let head = written.events[0] - crate::format::BATCH_HEADER;
    assert_eq!(repaired(&written, |bytes| bytes[head + 16] ^= 2), [vec![1, 2, 3, 4], vec![5, 6, 7, 8]]);
}

/// The two events lie in the last batch of all, whose first body is damaged: nothing proves it.
fn with_damaged_tail(set_destinations_min: usize) -> SimulatedDisk {
    let written = written_before(set_destinations_min, &[]);
    let mut bytes = written.disk.contents(&written.name).unwrap();
    let at = written.events[0] + 10;
    bytes[at..at + BYTES / 2].fill(0);
    written.disk.overwrite(&written.name, bytes);
    written.disk
}

fn entries(store: &Store) -> Vec<(u64, u64, u8)> {
    let reader = store.reader();
    let mut found = Vec::new();
    for (id, _) in reader.mailboxes() {
        for (sequence, position) in reader.entries(id, MailboxSequence(0), 100) {
            found.push((id.0, sequence.0, reader.read(position).unwrap()[0]));
        }
    }
    found
}

#[test]
fn a_repair_keeps_of_an_unproven_tail_what_is_certain() {
    for set_destinations_min in [2, 100] {
        let whole = with_damaged_tail(set_destinations_min);
        let started = whole.copy();
        let (store, recovery) = open(&started).unwrap();
        assert!(recovery.report.unproven.is_some());
        let before = entries(&store);
        let wanted: Vec<_> = {
            let mut all = before.clone();
            all.extend((5..=8).map(|id| (id, 7, 0x72)));
            all.sort_unstable();
            all
        };
        assert_eq!(before.len() + 4, wanted.len());
        // Again after a crash at any operation.
        for at in 0.. {
            let disk = whole.copy();
            disk.set_faults(Faults { crash_at: Some(disk.operations() + at), ..Faults::default() });
            let done = repair_on(Arc::new(disk.clone()), 5, &mut |_| {});
            disk.crash(Loss::Torn(at));
            let repaired = match &done {
                Ok(repaired) => repaired.clone(),
                Err(_) => repair_on(Arc::new(disk.clone()), 5, &mut |_| {}).unwrap(),
            };
            for _ in 0..2 {
                assert_eq!(entries(&open(&disk).unwrap().0), wanted, "operation {at}");
                disk.crash(Loss::Cut);
            }
            if done.is_ok() {
                let salvaged: u64 = repaired.before.mailboxes.iter().map(|mailbox| mailbox.salvaged).sum();
                assert_eq!((salvaged, repaired.before.unproven.is_some()), (4, true));
                let is_aside = |path: &std::path::PathBuf| path.to_string_lossy().ends_with("unproven");
                assert!(repaired.copied.iter().any(is_aside), "{:?}", repaired.copied);
                break;
            }
        }
    }
}
