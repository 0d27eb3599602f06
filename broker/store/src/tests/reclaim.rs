//! Segments come back, and nothing grows that should not.

use std::sync::Arc;

use crate::simulated::{Faults, Loss, SimulatedDisk};
use crate::{
    CommitError, MailboxId, MailboxSequence, Options, Position, ReadError, Store, StoreId, repair_on,
};

use super::basic::small;
use super::model::{Dice, Model, open, run};

const BOX: MailboxId = MailboxId(1);
/// Nobody reads these.
const STUCK: MailboxId = MailboxId(2);
const ALSO_STUCK: MailboxId = MailboxId(3);
/// One event in so many is for them: about one in each segment.
const STUCK_EVERY: u64 = 30;
const EVENT: usize = 500;

#[test]
fn the_directory_does_not_grow_under_publish_and_ack() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    store.commit(batch).unwrap();
    let reader = store.reader();
    let mut first = None;
    let mut most = 0;
    for sequence in 1..=2000u64 {
        let mut batch = store.batch();
        batch.event(&[&[sequence as u8; 500]], &[(BOX, MailboxSequence(sequence))]);
        if sequence > 10 {
            batch.acked(BOX, 1..=sequence - 10);
        }
        let position = store.commit(batch).unwrap().positions[0];
        first.get_or_insert(position);
        if store.checkpoint_due() {
            store.checkpoint(&mut std::iter::empty()).unwrap();
        }
        most = most.max(disk.bytes_used());
    }
    assert!(store.stats().reclaimed > 40);
    assert!(most <= 14 * small().segment_bytes, "{most} bytes");
    assert!(matches!(reader.read(first.unwrap()), Err(ReadError::Gone(_))));
}

#[test]
fn starting_over_and_over_does_not_fill_the_disk() {
    let disk = SimulatedDisk::new();
    for start in 1..=60 {
        let (mut store, recovery) = open(&disk).unwrap();
        assert_eq!(store.start_counter(), start);
        assert!(recovery.report.is_clean());
        if store.checkpoint_due() {
            store.checkpoint(&mut recovery.state.into_iter()).unwrap();
        }
        let mut batch = store.batch();
        batch.state(b"one");
        store.commit(batch).unwrap();
    }
    assert!(disk.bytes_used() < 8 * small().segment_bytes, "{} bytes", disk.bytes_used());
    let (_, recovery) = open(&disk).unwrap();
    assert_eq!(recovery.state.len(), 60);
}

#[test]
fn a_segment_that_somebody_reads_is_not_written_over() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    store.commit(batch).unwrap();
    let mut held = Vec::new();
    for sequence in 1..=400u64 {
        let mut batch = store.batch();
        batch.event(&[&[sequence as u8; 900]], &[(BOX, MailboxSequence(sequence))]);
        batch.acked(BOX, 1..=sequence);
        let position = store.commit(batch).unwrap().positions[0];
        // As a reader does between finding the segment and reading its file.
        let segment = store.table.get(position.segment(small().segment_bytes)).unwrap();
        let mut bytes = vec![0; 900];
        segment.file.read_at(&mut bytes, position.offset(small().segment_bytes)).unwrap();
        held.push((segment, position, bytes));
        if store.checkpoint_due() {
            store.checkpoint(&mut std::iter::empty()).unwrap();
        }
    }
    assert!(store.stats().reclaimed > 5);
    for (segment, position, bytes) in held {
        let mut again = vec![0; 900];
        segment.file.read_at(&mut again, position.offset(small().segment_bytes)).unwrap();
        assert!(again == bytes);
    }
}

fn body(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; EVENT]
}

fn with_mailboxes(disk: &SimulatedDisk, options: Options) -> Store {
    let (mut store, _) = Store::open_on(Arc::new(disk.clone()), options, StoreId(1)).unwrap();
    let mut batch = store.batch();
    [BOX, STUCK, ALSO_STUCK].into_iter().for_each(|mailbox| batch.create_mailbox(mailbox));
    store.commit(batch).unwrap();
    store
}

/// One event, acked at once but in the stuck mailboxes.
fn pass(store: &mut Store, sequence: u64) -> Result<(), CommitError> {
    pass_every(store, sequence, STUCK_EVERY)
}

/// As [`pass`], with one event in `every` for the stuck mailboxes.
fn pass_every(store: &mut Store, sequence: u64, every: u64) -> Result<(), CommitError> {
    let number = MailboxSequence(sequence);
    let mut batch = store.batch();
    match sequence.is_multiple_of(every) {
        true => batch.event(&[&body(sequence)], &[(BOX, number), (STUCK, number), (ALSO_STUCK, number)]),
        false => batch.event(&[&body(sequence)], &[(BOX, number)]),
    };
    batch.acked(BOX, 1..=sequence);
    store.commit(batch)?;
    if store.checkpoint_due() {
        store.checkpoint(&mut std::iter::empty())?;
    }
    Ok(())
}

fn check_stuck(store: &Store, through: u64) {
    let reader = store.reader();
    for mailbox in [STUCK, ALSO_STUCK] {
        let entries = reader.entries(mailbox, MailboxSequence(0), usize::MAX);
        let sequences: Vec<u64> = entries.iter().map(|(at, _)| at.0).collect();
        let wanted: Vec<u64> = (1..=through).filter(|at| at.is_multiple_of(STUCK_EVERY)).collect();
        assert_eq!(sequences, wanted);
        for (at, position) in entries {
            assert_eq!(reader.read(position).unwrap()[..], body(at.0)[..]);
        }
    }
}

fn events() -> u64 {
    if std::env::var_os("FANAL_LONG").is_some() { 150_000 } else { 6_000 }
}

#[test]
fn a_mailbox_that_nobody_reads_does_not_hold_a_segment_with_each_entry() {
    let options = Options { page_entries: 64, mailbox_hot_max: 192, hot_bytes_max: 20_000, ..small() };
    let disk = SimulatedDisk::new();
    let mut store = with_mailboxes(&disk, options.clone());
    for sequence in 1..=events() {
        pass(&mut store, sequence).unwrap();
        // Three times what lives, an event once however many mailboxes hold it, and beside it what the last
        // two checkpoints need, and spares.
        let live = (sequence / STUCK_EVERY) * (EVENT as u64 + 100);
        let used = disk.bytes_used();
        assert!(used <= 3 * live + 20 * options.segment_bytes, "{used} bytes, {live} live, at {sequence}");
    }
    check_stuck(&store, events());
    let stats = store.stats();
    assert!(stats.bytes_moved > 0 && stats.bytes_moved < stats.bytes_written / 2, "{stats:?}");
    drop(store);
    disk.crash(Loss::Cut);
    let (store, recovery) = open(&disk).unwrap();
    assert!(recovery.report.is_clean(), "{}", recovery.report);
    check_stuck(&store, events());
}

#[test]
fn a_full_store_makes_room_out_of_old_segments() {
    let options = Options { bytes_max: Some(30 * small().segment_bytes), ..small() };
    let disk = SimulatedDisk::new();
    let mut store = with_mailboxes(&disk, options);
    let mut refused = 0;
    for sequence in 1..=6000 {
        let mut tries = 0;
        while let Err(error) = pass(&mut store, sequence) {
            assert!(matches!(error, CommitError::Full { .. }), "{error}");
            (refused, tries) = (refused + 1, tries + 1);
            assert!(tries < 20, "stays full at {sequence}: {:?}", store.stats());
            if store.checkpoint_due() {
                store.checkpoint(&mut std::iter::empty()).unwrap();
            }
        }
    }
    check_stuck(&store, 6000);
    assert!(disk.bytes_used() <= 31 * small().segment_bytes);
}

#[test]
fn an_event_that_was_moved_is_found_by_its_entry() {
    let disk = SimulatedDisk::new();
    let mut store = with_mailboxes(&disk, small());
    (1..=STUCK_EVERY).for_each(|sequence| pass(&mut store, sequence).unwrap());
    let reader = store.reader();
    let (at, before) = reader.entries(STUCK, MailboxSequence(0), 1)[0];
    let mut sequence = STUCK_EVERY;
    while reader.read(before).is_ok() {
        sequence += 1;
        pass(&mut store, sequence).unwrap();
        assert!(sequence < 6000, "never moved: {:?}", store.stats());
    }
    assert!(matches!(reader.read(before), Err(ReadError::Gone(_))));
    assert_eq!(reader.read_entry(STUCK, at).unwrap().unwrap()[..], body(at.0)[..]);
    assert!(reader.read_entry(STUCK, MailboxSequence(at.0 + 1)).is_none());
    assert!(reader.read_entry(BOX, at).is_none());
}

#[test]
fn a_flipped_bit_in_what_was_moved_costs_one_batch() {
    let disk = SimulatedDisk::new();
    let mut store = with_mailboxes(&disk, small());
    let mut sequence = 0;
    while sequence < 3000 || store.stats().bytes_moved < 20_000 {
        sequence += 1;
        pass(&mut store, sequence).unwrap();
    }
    let entries = store.reader().entries(STUCK, MailboxSequence(0), usize::MAX);
    drop(store);
    disk.crash(Loss::Cut);
    // Positions rise with the sequence but for what was moved.
    let latest = |index: usize| entries[index + 1..].iter().map(|(_, position)| *position).min();
    let moved =
        (0..entries.len()).filter(|&index| latest(index).is_some_and(|after| after < entries[index].1));
    let moved: Vec<usize> = moved.collect();
    assert!(moved.len() > 10);
    for index in moved {
        let disk = disk.copy();
        let position = entries[index].1;
        let name = format!("{:08}.seg", position.segment(small().segment_bytes));
        let mut bytes = disk.contents(&name).unwrap();
        bytes[position.offset(small().segment_bytes) as usize + 20] ^= 1;
        disk.overwrite(&name, bytes);
        let (store, _) = open(&disk).unwrap();
        let reader = store.reader();
        let now = reader.entries(STUCK, MailboxSequence(0), usize::MAX);
        assert_eq!(
            now.iter().map(|(at, _)| at).collect::<Vec<_>>(),
            entries.iter().map(|(at, _)| at).collect::<Vec<_>>()
        );
        let lost: Vec<u64> =
            now.iter().filter(|(_, position)| reader.read(*position).is_err()).map(|(at, _)| at.0).collect();
        // A piece is a quarter of a segment.
        let piece = small().segment_bytes as usize / 4 / EVENT + 1;
        assert!(lost.len() <= piece, "{lost:?}");
        let is_said =
            |at: &u64| reader.read_entry(STUCK, MailboxSequence(*at)).is_some_and(|read| read.is_err());
        // Where the segment that it was moved out of is still there, the move alone is lost.
        assert!(lost.contains(&entries[index].0.0) || now[index].1 != position);
        assert!(lost.iter().all(is_said));
    }
}

#[test]
fn a_repair_makes_out_what_lies_beside_damage_in_what_was_moved() {
    let disk = SimulatedDisk::new();
    let options = Options { mailbox_hot_max: 1000, hot_bytes_max: 1 << 20, ..small() };
    let mut store = with_mailboxes(&disk, options);
    // Until several were moved since the last checkpoint, out of a segment that is gone.
    let mut sequence = 0;
    let entries = loop {
        sequence += 1;
        pass_every(&mut store, sequence, 8).unwrap();
        let entries = store.reader().entries(STUCK, MailboxSequence(0), usize::MAX);
        let now = |at: usize| entries.get(at).map_or(Position(0), |(_, position)| *position);
        if now(0) > store.checkpoints.last && now(1) > now(0) && now(1).0 < now(0).0 + 1000 && now(0) > now(9)
        {
            break entries;
        }
        assert!(sequence < 6000, "never so");
    };
    pass_every(&mut store, sequence + 1, 8).unwrap();
    let entries = [entries, store.reader().entries(STUCK, MailboxSequence(sequence + 1), 1)].concat();
    drop(store);
    disk.crash(Loss::Cut);
    let (victim, position) = entries[0];
    let name = format!("{:08}.seg", position.segment(small().segment_bytes));
    let mut bytes = disk.contents(&name).unwrap();
    bytes[position.offset(small().segment_bytes) as usize + 20] ^= 1;
    disk.overwrite(&name, bytes);
    let repaired = repair_on(Arc::new(disk.clone()), 5, &mut |_| {}).unwrap();
    let (store, _) = open(&disk).unwrap();
    let reader = store.reader();
    for mailbox in [STUCK, ALSO_STUCK] {
        let kept = reader.entries(mailbox, MailboxSequence(0), usize::MAX);
        assert!(kept.iter().all(|(at, position)| reader.read(*position).unwrap()[..] == body(at.0)[..]));
        let kept: Vec<_> = kept.into_iter().map(|(at, _)| at).collect();
        let wanted: Vec<_> = entries.iter().map(|(at, _)| *at).filter(|at| *at != victim).collect();
        assert_eq!(kept, wanted, "{:?}", repaired.before.mailboxes);
    }
}

#[test]
fn what_cannot_be_read_stays_and_nothing_is_moved_in_a_circle() {
    let disk = SimulatedDisk::new();
    let mut store = with_mailboxes(&disk, small());
    (1..=STUCK_EVERY).for_each(|sequence| pass(&mut store, sequence).unwrap());
    let (_, position) = store.reader().entries(STUCK, MailboxSequence(0), 1)[0];
    let segment = position.segment(small().segment_bytes);
    let file = store.table.get(segment).unwrap();
    let at = position.offset(small().segment_bytes) + 40;
    file.file.write_at(&[0xee], at).unwrap();
    drop(file);
    (STUCK_EVERY + 1..=6000).for_each(|sequence| pass(&mut store, sequence).unwrap());
    let stats = store.stats();
    assert!(stats.bytes_moved > 0 && stats.bytes_moved < stats.bytes_written / 2, "{stats:?}");
    assert!(store.table.get(segment).is_some());
    assert!(matches!(store.reader().read(position), Err(ReadError::Damaged { .. })));
    let entries = store.reader().entries(STUCK, MailboxSequence(0), usize::MAX);
    assert_eq!((entries.len() as u64, entries[0].1), (6000 / STUCK_EVERY, position));
}

#[test]
fn random_runs_move() {
    let mut moved = 0;
    for seed in 0..10 {
        let disk = SimulatedDisk::new();
        let (mut store, _) = open(&disk).unwrap();
        let outcome = run(&mut store, Model::default(), &mut Dice(seed), 70);
        moved += outcome.stats.bytes_moved;
    }
    assert!(moved > 10_000, "{moved}");
}

fn create(store: &mut Store) {
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    store.commit(batch).unwrap();
}

fn publish(store: &mut Store, sequence: u64, bytes: usize) -> bool {
    let mut batch = store.batch();
    batch.event(&[&vec![sequence as u8; bytes]], &[(BOX, MailboxSequence(sequence))]);
    store.commit(batch).is_ok()
}

fn ack(store: &mut Store, sequence: u64) {
    let mut batch = store.batch();
    batch.acked(BOX, sequence..=sequence);
    store.commit(batch).unwrap();
}

fn fill(store: &mut Store, bytes: usize) {
    let mut batch = store.batch();
    batch.state(&vec![7; bytes]);
    store.commit(batch).unwrap();
}

fn checkpoint(store: &mut Store) {
    store.checkpoint(&mut std::iter::empty()).unwrap();
}

fn live(store: &Store) -> Vec<u64> {
    let entries = store.reader().entries(BOX, MailboxSequence(0), usize::MAX);
    entries.into_iter().map(|(at, _)| at.0).collect()
}

#[test]
fn a_start_reads_no_page_that_only_older_checkpoints_need() {
    let disk = SimulatedDisk::new();
    let options = Options { segment_bytes: 64 << 10, checkpoint_after_bytes: 1 << 20, ..small() };
    let open = || Store::open_on(Arc::new(disk.clone()), options.clone(), StoreId(1)).unwrap();
    let (mut store, _) = open();
    create(&mut store);
    assert!((1..=400).all(|at| publish(&mut store, at, 100)));
    let before = store.active.index;
    while store.active.index == before {
        fill(&mut store, 8 << 10);
    }
    // In one segment: a checkpoint, acks of parts of pages, and two more, which let the pages go.
    checkpoint(&mut store);
    (1..=390).for_each(|at| ack(&mut store, at));
    checkpoint(&mut store);
    checkpoint(&mut store);
    assert_eq!(store.active.index, before + 1);
    assert!(store.stats().reclaimed > 0, "{:?}", store.stats());
    // After them one more page is needed, which is there.
    ack(&mut store, 395);
    let held = live(&store);
    let on_disk = store.stats().bytes_on_disk;
    drop(store);
    disk.crash(Loss::Cut);
    let read_before = disk.bytes_read();
    let checkup = crate::check_on(Arc::new(disk.clone()), &mut |_| {}).unwrap();
    let read = disk.bytes_read() - read_before;
    assert!(checkup.is_undamaged(), "{checkup:?}");
    assert_eq!(checkup.mailboxes[0].stats.events, held.len() as u64);
    assert!(read < 5 * on_disk, "a check read {read} bytes of {on_disk}");
    let read_before = disk.bytes_read();
    let (store, recovery) = open();
    let read = disk.bytes_read() - read_before;
    assert!(recovery.report.is_clean(), "{}", recovery.report);
    assert_eq!(live(&store), held);
    assert!(read < 2 * on_disk, "{read} bytes were read of {on_disk}");
}

#[test]
fn a_full_store_writes_a_checkpoint_only_where_that_frees_a_segment() {
    let disk = SimulatedDisk::new();
    let options = Options { segment_bytes: 32 << 10, ..small() };
    let capacity = 20 * options.segment_bytes;
    let (mut store, _) = Store::open_on(Arc::new(disk.clone()), options, StoreId(1)).unwrap();
    create(&mut store);
    disk.set_faults(Faults { capacity: Some(capacity), ..Faults::default() });
    let mut next = 1;
    while publish(&mut store, next, 1000) {
        next += 1;
        if store.checkpoint_due() {
            checkpoint(&mut store);
        }
    }
    let before = store.stats();
    let ack_one = |store: &mut Store, at: u64| {
        ack(store, at);
        if store.checkpoint_due() {
            checkpoint(store);
        }
    };
    (1..=100).for_each(|at| ack_one(&mut store, at));
    let now = store.stats();
    let (written, freed) = (now.checkpoints - before.checkpoints, now.reclaimed - before.reclaimed);
    assert!(freed > 0);
    assert!(written <= 2 * freed + 2, "{written} checkpoints freed {freed} segments");
    // It drains to the end, and takes events again.
    (101..next).for_each(|at| ack_one(&mut store, at));
    for at in next..next + 200 {
        while !publish(&mut store, at, 1000) {
            assert!(store.checkpoint_due(), "event {at}: {:?}", store.stats());
            checkpoint(&mut store);
        }
    }
}
