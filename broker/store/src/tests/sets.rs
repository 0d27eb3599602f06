//! Sets of destinations: what they save, and that nothing depends on any one record of them.

use std::sync::Arc;

use crate::format::BATCH_HEADER;
use crate::simulated::{Loss, SimulatedDisk};
use crate::{MailboxId, MailboxSequence, OpenError, Options, Position, Recovery, Store, StoreId};

use super::basic::small;
use super::model::{Dice, Model, run};

const BOXES: u64 = 40;

/// All entries stay in memory, so that batches are those of events only.
fn options() -> Options {
    Options { mailbox_hot_max: 4096, hot_bytes_max: 64 << 20, ..small() }
}

fn open(disk: &SimulatedDisk) -> Result<(Store, Recovery), OpenError> {
    Store::open_on(Arc::new(disk.clone()), options(), StoreId(42))
}

fn create(store: &mut Store, mailboxes: u64) {
    let mut batch = store.batch();
    (1..=mailboxes).for_each(|id| batch.create_mailbox(MailboxId(id)));
    store.commit(batch).unwrap();
}

fn to_all(store: &mut Store, mailboxes: u64, sequence: u64) -> Position {
    let entries: Vec<_> = (1..=mailboxes).map(|id| (MailboxId(id), MailboxSequence(sequence))).collect();
    let mut batch = store.batch();
    batch.event(&[&[sequence as u8; 64]], &entries);
    store.commit(batch).unwrap().positions[0]
}

/// Sequences in each mailbox, checked against the events.
fn held(store: &Store, mailboxes: u64) -> Vec<Vec<u64>> {
    let reader = store.reader();
    let one = |id| {
        let entries = reader.entries(MailboxId(id), MailboxSequence(0), usize::MAX);
        let readable = entries.into_iter().filter(|(sequence, position)| {
            let body = reader.read(*position);
            body.is_ok_and(|body| body[0] == sequence.0 as u8)
        });
        readable.map(|(sequence, _)| sequence.0).collect()
    };
    (1..=mailboxes).map(one).collect()
}

#[test]
fn an_event_for_a_set_that_repeats_stores_its_destinations_once() {
    let (boxes, events) = (2000, 100);
    let written = |set_destinations_min| {
        let options = Options { segment_bytes: 1 << 20, set_destinations_min, ..options() };
        let disk = SimulatedDisk::new();
        let (mut store, _) = Store::open_on(Arc::new(disk), options, StoreId(1)).unwrap();
        create(&mut store, boxes);
        let before = store.stats().bytes_written;
        for sequence in 1..=events {
            to_all(&mut store, boxes, sequence);
        }
        assert_eq!(held(&store, boxes), vec![(1..=events).collect::<Vec<_>>(); boxes as usize]);
        (store.stats().bytes_written - before, store.stats().events_by_set)
    };
    let (lists, (sets, referring)) = (written(usize::MAX), written(8));
    assert_eq!((lists.1, referring), (0, events - 1));
    // Once as a list, once as a definition, once as its copy; then 64 bytes and a few more each.
    assert!(sets < 4 * 4 * boxes + events * 200, "{sets} bytes");
    assert!(lists.0 > events * boxes * 2, "{} bytes", lists.0);
}

#[test]
fn sequences_that_went_apart_are_told_from_the_definition() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    create(&mut store, BOXES);
    let mut next = vec![1u64; BOXES as usize];
    let mut dice = Dice(5);
    for _ in 0..120 {
        let mut batch = store.batch();
        let alone = dice.below(BOXES) as usize;
        batch.event(&[b"one"], &[(MailboxId(alone as u64 + 1), MailboxSequence(next[alone]))]);
        next[alone] += 1 + 200 * dice.below(2);
        let entries: Vec<_> =
            (0..BOXES as usize).map(|at| (MailboxId(at as u64 + 1), MailboxSequence(next[at]))).collect();
        batch.event(&[b"all"], &entries);
        next.iter_mut().for_each(|next| *next += 1);
        store.commit(batch).unwrap();
        // A refused batch leaves nothing behind that a later one could refer to.
        let mut refused = store.batch();
        let low: Vec<_> = entries.iter().map(|(mailbox, _)| (*mailbox, MailboxSequence(1))).collect();
        refused.event(&[b"low"], &low);
        store.commit(refused).unwrap_err();
    }
    assert!(store.stats().events_by_set > 60);
    let all = |store: &Store| {
        let reader = store.reader();
        let one = |id| reader.entries(MailboxId(id), MailboxSequence(0), usize::MAX);
        (1..=BOXES).map(one).collect::<Vec<_>>()
    };
    let before = all(&store);
    assert!(before.iter().zip(&next).all(|(entries, next)| entries.last().unwrap().0.0 == next - 1));
    drop(store);
    disk.crash(Loss::Cut);
    let (store, _) = open(&disk).unwrap();
    let sequences = |boxes: Vec<Vec<(MailboxSequence, Position)>>| {
        boxes.into_iter().map(|one| one.into_iter().map(|(at, _)| at.0).collect()).collect::<Vec<Vec<_>>>()
    };
    assert_eq!(sequences(before), sequences(all(&store)));
}

#[test]
fn a_flipped_bit_in_a_definition_its_copy_or_a_reference_costs_one_batch() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    create(&mut store, BOXES);
    let positions: Vec<Position> = (1..=12).map(|sequence| to_all(&mut store, BOXES, sequence)).collect();
    assert_eq!(store.stats().events_by_set, 11);
    drop(store);
    disk.crash(Loss::Cut);
    // The second and third batch begin with the definition and its copy.
    let clean = disk.contents("00000001.seg").unwrap();
    let header = |position: &Position| {
        let event = position.offset(options().segment_bytes) as usize;
        let generation = &clean[32 + 8..32 + 16];
        let at = (4096..event).rev().find(|&at| clean[at + 8..].starts_with(generation) && at % 8 == 0);
        at.unwrap() as u64
    };
    let starts: Vec<u64> = positions.iter().map(header).collect();
    let overhead =
        |at: usize| positions[at].offset(options().segment_bytes) - starts[at] - BATCH_HEADER as u64;
    assert!(overhead(1) > 2 * BOXES && overhead(2) > 2 * BOXES && overhead(3) == 0);
    let end = starts[11] + (starts[11] - starts[10]);
    for at in (starts[0]..end).step_by(2) {
        let disk = disk.copy();
        let mut bytes = clean.clone();
        bytes[at as usize] ^= 1 << (at % 8);
        disk.overwrite("00000001.seg", bytes);
        let lost = starts.iter().rposition(|&start| start <= at).unwrap() as u64 + 1;
        let left: Vec<u64> = (1..=12).filter(|sequence| *sequence != lost).collect();
        for _ in 0..2 {
            let (store, recovery) = open(&disk).unwrap();
            assert_eq!(held(&store, BOXES), vec![left.clone(); BOXES as usize], "byte {at}");
            assert_eq!(recovery.report.events_unresolved, 0, "byte {at}");
            drop(store);
            disk.crash(Loss::Cut);
        }
    }
}

#[test]
fn the_tail_takes_the_definitions_that_it_needs_along() {
    // All batches but the last are proven; that one refers to a definition before the mark.
    for events in 4..8 {
        let disk = SimulatedDisk::new();
        let (mut store, _) = open(&disk).unwrap();
        create(&mut store, BOXES);
        for sequence in 1..=events {
            to_all(&mut store, BOXES, sequence);
        }
        drop(store);
        for life in 0..3 {
            disk.crash(Loss::Cut);
            let (store, recovery) = open(&disk).unwrap();
            assert!(recovery.report.is_clean(), "{}", recovery.report);
            assert!(recovery.report.batches_rewritten >= 1);
            assert_eq!(held(&store, BOXES), vec![(1..=events).collect::<Vec<_>>(); BOXES as usize]);
            drop(store);
            // There are two copies of them.
            let cut = disk.copy();
            let name = format!("{:08}.seg", 2 + life);
            flip(&cut, &name, 4096 + 70);
            let (store, recovery) = open(&cut).unwrap();
            assert!(!recovery.report.is_clean());
            assert_eq!(held(&store, BOXES), vec![(1..=events).collect::<Vec<_>>(); BOXES as usize]);
        }
        let (mut store, _) = open(&disk).unwrap();
        for sequence in events + 1..events + 6 {
            to_all(&mut store, BOXES, sequence);
        }
        assert_eq!(held(&store, BOXES), vec![(1..events + 6).collect::<Vec<_>>(); BOXES as usize]);
    }
}

fn flip(disk: &SimulatedDisk, name: &str, at: usize) {
    let mut bytes = disk.contents(name).unwrap();
    bytes[at] ^= 0x10;
    disk.overwrite(name, bytes);
}

#[test]
fn random_runs_use_sets() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let outcome = run(&mut store, Model::default(), &mut Dice(1), 200);
    assert!(store.stats().events_by_set > 20, "{:?}", store.stats());
    outcome.proven.check(&store, None).unwrap();
}
