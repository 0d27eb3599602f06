//! A full disk, and what is refused without a trace.

use crate::simulated::{Faults, SimulatedDisk};
use crate::{CommitError, InvalidBatch, MailboxId, MailboxSequence, Store};

use super::basic::small;
use super::model::open;

const BOX: MailboxId = MailboxId(1);

fn publish(store: &mut Store, sequence: u64) -> Result<(), CommitError> {
    let mut batch = store.batch();
    batch.event(&[&[sequence as u8; 1000]], &[(BOX, MailboxSequence(sequence))]);
    store.commit(batch).map(|_| ())
}

fn ack(store: &mut Store, through: u64) -> Result<(), CommitError> {
    let mut batch = store.batch();
    batch.acked(BOX, 1..=through);
    store.commit(batch).map(|_| ())
}

fn filled() -> (SimulatedDisk, Store, u64) {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    store.commit(batch).unwrap();
    let capacity = disk.bytes_used() + 5 * small().segment_bytes;
    disk.set_faults(Faults { capacity: Some(capacity), ..Faults::default() });
    let mut next = 1;
    while publish(&mut store, next).is_ok() {
        next += 1;
        if store.checkpoint_due() {
            store.checkpoint(&mut std::iter::once(b"state".to_vec())).unwrap();
        }
        assert!(next < 1000);
    }
    (disk, store, next)
}

#[test]
fn a_full_disk_refuses_events_and_heals_when_subscribers_drain_it() {
    let (disk, mut store, next) = filled();
    assert!(matches!(publish(&mut store, next), Err(CommitError::Full { .. })));
    assert!(store.stats().is_full);
    let held = store.reader().mailbox(BOX).unwrap();
    assert_eq!((held.events, held.next), (next - 1, MailboxSequence(next)));
    // Acks go on, a few at a time, and checkpoints; no space comes from outside.
    for through in 1..next {
        ack(&mut store, through).unwrap();
        for _ in 0..3 {
            if store.checkpoint_due() {
                store.checkpoint(&mut std::iter::once(b"state".to_vec())).unwrap();
            }
        }
    }
    for sequence in next..next + 10 {
        publish(&mut store, sequence).unwrap();
    }
    assert!(!store.stats().is_full);
    assert!(disk.bytes_used() > 0);
}

#[test]
fn what_acks_use_of_the_reserve_leaves_room_for_the_checkpoints_that_give_it_back() {
    let (_disk, mut store, next) = filled();
    let checkpoint = |store: &mut Store| store.checkpoint(&mut std::iter::once(b"state".to_vec()));
    let mut state = || {
        let mut batch = store.batch();
        batch.state(&[7; 500]);
        store.commit(batch)
    };
    let refused = (0..1000).find_map(|_| state().err());
    assert!(matches!(refused, Some(CommitError::Full { .. })), "{refused:?}");
    for _ in 0..2 {
        checkpoint(&mut store).unwrap();
    }
    ack(&mut store, next - 1).unwrap();
    for _ in 0..2 {
        checkpoint(&mut store).unwrap();
    }
    publish(&mut store, next).unwrap();
}

#[test]
fn a_full_disk_heals_when_space_comes_back_and_nothing_was_lost() {
    let (disk, mut store, next) = filled();
    // Acks use the active segment up and go on in the reserve, where events must not follow.
    let here = store.active.index;
    while store.active.index == here {
        ack(&mut store, 1).unwrap();
    }
    assert!(matches!(publish(&mut store, next), Err(CommitError::Full { .. })));
    disk.set_faults(Faults::default());
    publish(&mut store, next).unwrap();
    drop(store);
    let (store, recovery) = open(&disk).unwrap();
    assert!(recovery.report.is_clean(), "{}", recovery.report);
    assert_eq!(store.reader().mailbox(BOX).unwrap().events, next - 1);
}

#[test]
fn pages_that_find_no_room_do_not_make_a_store_full() {
    for bytes in 0..40 {
        let disk = SimulatedDisk::new();
        let (mut store, _) = open(&disk).unwrap();
        let mut batch = store.batch();
        batch.create_mailbox(BOX);
        store.commit(batch).unwrap();
        let mut next = 1;
        let mut publish = |store: &mut Store| {
            let mut batch = store.batch();
            batch.event(&[&vec![next as u8; bytes]], &[(BOX, MailboxSequence(next))]);
            next += 1;
            store.commit(batch).map(|_| ())
        };
        let capacity = disk.bytes_used() + 2 * small().segment_bytes;
        disk.set_faults(Faults { capacity: Some(capacity), ..Faults::default() });
        while publish(&mut store).is_ok() {
            assert!(!store.stats().is_full, "an event of {bytes} bytes was just taken");
        }
        assert!(store.stats().is_full);
        // Space comes back: pages are written again.
        disk.set_faults(Faults::default());
        (0..40).for_each(|_| publish(&mut store).unwrap());
        assert!(store.stats().entries_hot <= 20 && !store.stats().is_full, "{:?}", store.stats());
    }
}

#[test]
fn a_full_store_opens() {
    let (disk, store, next) = filled();
    drop(store);
    for _ in 0..4 {
        let (store, recovery) = open(&disk).unwrap();
        assert!(recovery.report.is_clean(), "{}", recovery.report);
        assert_eq!(store.reader().mailbox(BOX).unwrap().events, next - 1);
    }
    let (mut store, _) = open(&disk).unwrap();
    assert!(matches!(publish(&mut store, next), Err(CommitError::Full { .. })));
    disk.set_faults(Faults::default());
    publish(&mut store, next).unwrap();
}

#[test]
fn a_refused_batch_leaves_no_trace() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    store.commit(batch).unwrap();
    publish(&mut store, 5).unwrap();
    let before = (store.stats(), disk.operations());
    let mut unknown = store.batch();
    unknown.event(&[b"x"], &[(BOX, MailboxSequence(6)), (MailboxId(9), MailboxSequence(1))]);
    let refused = store.commit(unknown).unwrap_err();
    assert!(matches!(refused, CommitError::Invalid(InvalidBatch::UnknownMailbox(MailboxId(9)))));
    assert!(matches!(publish(&mut store, 5), Err(CommitError::Invalid(_))));
    let mut twice = store.batch();
    twice.create_mailbox(BOX);
    assert!(matches!(store.commit(twice), Err(CommitError::Invalid(_))));
    let mut large = store.batch();
    large.event(&[&[0; 16 << 10]], &[]);
    assert!(matches!(store.commit(large), Err(CommitError::BatchTooLarge { .. })));
    assert_eq!((store.stats(), disk.operations()), before);
    publish(&mut store, 6).unwrap();
}
