//! What each call does when nothing goes wrong.

use std::sync::Arc;

use crate::simulated::SimulatedDisk;
use crate::{CommitError, Housekeeping, MailboxId, MailboxSequence, Options, Store, StoreId};

pub(super) fn small() -> Options {
    Options {
        segment_bytes: 16 << 10,
        checkpoint_after_bytes: 32 << 10,
        reserve_segments: 2,
        bytes_max: None,
        set_destinations_min: 2,
        page_entries: 4,
        mailbox_hot_max: 12,
        hot_bytes_max: 60 * 20,
        idle_segments: 0,
        housekeeping: Housekeeping::Inline,
        ..Options::default()
    }
}

#[test]
fn what_was_committed_is_read_back_after_a_reopen() {
    let disk = SimulatedDisk::new();
    let (mut store, recovery) = Store::open_on(Arc::new(disk.clone()), small(), StoreId(7)).unwrap();
    assert!(recovery.report.created);
    let mut batch = store.batch();
    batch.create_mailbox(MailboxId(1));
    batch.event(&[b"he", b"llo"], &[(MailboxId(1), MailboxSequence(1))]);
    batch.state(b"s");
    let committed = store.commit(batch).unwrap();
    assert_eq!(&store.reader().read(committed.positions[0]).unwrap()[..], b"hello");
    drop(store);
    let disk_copy = disk.clone();
    let (store, recovery) = Store::open_on(Arc::new(disk), small(), StoreId(8)).unwrap();
    assert!(recovery.report.is_clean(), "{}", recovery.report);
    assert_eq!(store.id(), StoreId(7));
    assert_eq!(store.start_counter(), 2);
    assert_eq!(disk_copy.contents("meta.a"), disk_copy.contents("meta.b"));
    assert_eq!(recovery.state, vec![b"s".to_vec()]);
    let entries = store.reader().entries(MailboxId(1), MailboxSequence(1), 10);
    assert_eq!(entries.len(), 1);
    assert_eq!(&store.reader().read(entries[0].1).unwrap()[..], b"hello");
}

#[test]
fn the_writer_can_move_to_its_thread_and_readers_are_shared() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync + Clone>() {}
    is_send::<Store>();
    is_send::<crate::Batch>();
    is_shared::<crate::Reader>();
}

const FROM: MailboxId = MailboxId(1);
const TO: MailboxId = MailboxId(2);

/// A store whose mailbox 1 holds `events`, numbered from 1; mailbox 2 is empty.
fn two_mailboxes(disk: &SimulatedDisk, events: u64) -> Store {
    let (mut store, _) = Store::open_on(Arc::new(disk.clone()), small(), StoreId(7)).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(FROM);
    batch.create_mailbox(TO);
    for sequence in 1..=events {
        batch.event(&[format!("event {sequence}").as_bytes()], &[(FROM, MailboxSequence(sequence))]);
    }
    store.commit(batch).unwrap();
    store
}

#[test]
fn what_is_transferred_keeps_its_place_in_the_log_and_its_distances() {
    let disk = SimulatedDisk::new();
    let mut store = two_mailboxes(&disk, 6);
    let before = store.reader().entries(FROM, MailboxSequence(1), 10);
    let mut batch = store.batch();
    batch.acked(FROM, 3..=3);
    let moved = batch.transfer(FROM, 2..=5, TO, MailboxSequence(11)).unwrap();
    batch.event(&[b"later"], &[(TO, MailboxSequence(15))]);
    let committed = store.commit(batch).unwrap();
    assert_eq!(committed.removed[moved.0 as usize], 3);
    let check = |store: &Store| {
        let reader = store.reader();
        let left: Vec<u64> = reader.entries(FROM, MailboxSequence(1), 10).iter().map(|(s, _)| s.0).collect();
        assert_eq!(left, [1, 6]);
        let there = reader.entries(TO, MailboxSequence(1), 10);
        let read = |position| String::from_utf8(reader.read(position).unwrap().to_vec()).unwrap();
        let there: Vec<_> = there.iter().map(|(at, position)| (at.0, read(*position))).collect();
        let wanted = [(11, "event 2"), (13, "event 4"), (14, "event 5"), (15, "later")];
        assert_eq!(there, wanted.map(|(at, body)| (at, body.to_owned())));
    };
    check(&store);
    let moved: Vec<_> = store.reader().entries(TO, MailboxSequence(1), 3).iter().map(|(_, at)| *at).collect();
    assert_eq!(moved, [before[1].1, before[3].1, before[4].1]);
    drop(store);
    let (store, _) = Store::open_on(Arc::new(disk), small(), StoreId(7)).unwrap();
    check(&store);
}

#[test]
fn a_transfer_of_nothing_still_uses_up_its_numbers() {
    let mut store = two_mailboxes(&SimulatedDisk::new(), 1);
    let mut batch = store.batch();
    batch.transfer(MailboxId(99), 5..=9, TO, MailboxSequence(1)).unwrap();
    assert_eq!(store.commit(batch).unwrap().removed, [0]);
    assert_eq!(store.reader().mailbox(TO).unwrap().next, MailboxSequence(6));
}

#[test]
fn a_transfer_that_does_not_fit_changes_nothing() {
    let mut store = two_mailboxes(&SimulatedDisk::new(), 3);
    type Case = (std::ops::RangeInclusive<u64>, u64, u64);
    let cases: [Case; 3] = [(1..=3, 99, 1), (1..=3, 2, 0), (0..=u64::MAX, 2, 1)];
    for (range, to, first) in cases {
        let mut batch = store.batch();
        batch.transfer(FROM, range, MailboxId(to), MailboxSequence(first)).unwrap();
        assert!(matches!(store.commit(batch), Err(CommitError::Invalid(_))), "to {to} from {first}");
        assert_eq!(store.reader().mailbox(FROM).unwrap().events, 3);
    }
    let mut batch = store.batch();
    batch.transfer(FROM, 1..=3, TO, MailboxSequence(4)).unwrap();
    batch.event(&[b"below"], &[(TO, MailboxSequence(6))]);
    assert!(matches!(store.commit(batch), Err(CommitError::Invalid(_))));
}

#[test]
fn events_read_together_are_what_each_is_by_itself() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open_on(Arc::new(disk.clone()), small(), StoreId(7)).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(FROM);
    store.commit(batch).unwrap();
    // Sizes around a page, so that some lie far apart and segments change in between.
    for sequence in 1..=200u64 {
        let mut batch = store.batch();
        let body = vec![sequence as u8; (sequence as usize * 37) % 3_000];
        batch.event(&[&body], &[(FROM, MailboxSequence(sequence))]);
        store.commit(batch).unwrap();
    }
    let reader = store.reader();
    let entries = reader.entries_within(FROM, MailboxSequence(1), usize::MAX, u64::MAX);
    assert_eq!(entries.len(), 200);
    let mut wanted: Vec<_> = entries.iter().map(|&(_, position, bytes)| (position, bytes)).collect();
    // Backwards and twice as well; a size that is wrong changes nothing.
    wanted.extend(wanted.clone().into_iter().rev());
    wanted.extend(entries.iter().map(|&(_, position, bytes)| (position, bytes / 2)));
    // A place without an event.
    wanted.push((crate::Position(entries[0].1.0 + 1), 10));
    let together = reader.read_all(&wanted);
    for ((position, _), read) in wanted.iter().zip(&together) {
        match (reader.read(*position), read) {
            (Ok(alone), Ok(read)) => assert_eq!(alone, read),
            (alone, read) => {
                assert_eq!(alone.unwrap_err().to_string(), read.as_ref().unwrap_err().to_string())
            }
        }
    }
    assert!(together.last().unwrap().is_err());
}
