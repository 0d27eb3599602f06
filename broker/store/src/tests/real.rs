//! On the machine's own file system, with the housekeeping thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{MailboxId, MailboxSequence, OpenError, Options, ReadError, Store, StoreId};

const BOX: MailboxId = MailboxId(1);

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        checkpoint_after_bytes: 128 << 10,
        page_entries: 4,
        mailbox_hot_max: 12,
        ..Options::default()
    }
}

#[test]
fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    let (store, _) = Store::open(&path, options(), StoreId(1)).unwrap();
    match Store::open(&path, options(), StoreId(2)) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    drop(store);
    let (store, _) = Store::open(&path, options(), StoreId(2)).unwrap();
    assert_eq!(store.id(), StoreId(1));
}

#[test]
fn readers_run_beside_commits_and_reclamation() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path(), options(), StoreId(1)).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    store.commit(batch).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (reader, until) = (store.reader(), done.clone());
    let reading = std::thread::spawn(move || {
        let mut read = 0u64;
        while !until.load(Ordering::Relaxed) {
            for (sequence, position) in reader.entries(BOX, MailboxSequence(0), 64) {
                match reader.read(position) {
                    Ok(bytes) => {
                        assert_eq!(bytes[..8], sequence.0.to_le_bytes());
                        read += 1;
                    }
                    Err(ReadError::Gone(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
        read
    });
    for sequence in 1..=3000u64 {
        let mut batch = store.batch();
        let bytes = [7u8; 700];
        batch.event(&[&sequence.to_le_bytes(), &bytes], &[(BOX, MailboxSequence(sequence))]);
        if sequence > 50 {
            batch.acked(BOX, 1..=sequence - 50);
        }
        store.commit(batch).unwrap();
        if store.checkpoint_due() {
            store.checkpoint(&mut std::iter::empty()).unwrap();
        }
    }
    done.store(true, Ordering::Relaxed);
    assert!(reading.join().unwrap() > 0);
    assert!(store.stats().reclaimed > 10);
    drop(store);
    let (store, recovery) = Store::open(directory.path(), options(), StoreId(1)).unwrap();
    assert!(recovery.report.is_clean(), "{}", recovery.report);
    assert_eq!(store.reader().mailbox(BOX).unwrap().events, 50);
}
