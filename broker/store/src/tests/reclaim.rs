//! Segments come back, and nothing grows that should not.

use crate::simulated::SimulatedDisk;
use crate::{MailboxId, MailboxSequence, ReadError};

use super::basic::small;
use super::model::open;

const BOX: MailboxId = MailboxId(1);

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
