//! What each call does when nothing goes wrong.

use std::sync::Arc;

use crate::simulated::SimulatedDisk;
use crate::{Housekeeping, MailboxId, MailboxSequence, Options, Store, StoreId};

pub(super) fn small() -> Options {
    Options {
        segment_bytes: 16 << 10,
        checkpoint_after_bytes: 32 << 10,
        reserve_segments: 2,
        bytes_max: None,
        housekeeping: Housekeeping::Inline,
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
