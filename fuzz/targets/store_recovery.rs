//! Opening, checking and repairing a directory that holds what it should not.
//!
//! 1. Nothing panics, hangs, or takes memory without bound.
//! 2. A check changes nothing and refuses exactly where a start does.
//! 3. A start that tells of nothing has every entry, and of each event the bytes that were written
//!    or an error. Starting again gives the same. Only where the end of the log was wiped without a
//!    trace does it hold what there was before: nothing tells that more was written.
//! 4. What was refused can be repaired, unless nothing says what it was, and starts then.
//!
//! The input drives what becomes of a valid directory (flips, cuts, blocks that change places, lost
//! files, files of bytes of the input), in steps of a few bytes.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use fanal_fuzz::Choices;
use fanal_store::simulated::SimulatedDisk;
use fanal_store::{
    Housekeeping, MailboxId, MailboxSequence, OpenError, Options, Recovery, Store, StoreId, check_on,
    repair_on,
};

/// By mailbox and sequence; none for what cannot be read.
type Entries = BTreeMap<(u64, u64), Option<Vec<u8>>>;

fn options() -> Options {
    Options {
        segment_bytes: 16 << 10,
        checkpoint_after_bytes: 16 << 10,
        reserve_segments: 1,
        housekeeping: Housekeeping::Inline,
        ..Options::default()
    }
}

fn open(disk: &SimulatedDisk) -> Result<(Store, Recovery), OpenError> {
    Store::open_on(Arc::new(disk.clone()), options(), StoreId(7))
}

fn entries(store: &Store) -> Entries {
    let reader = store.reader();
    let mut all = Entries::new();
    for (id, _) in reader.mailboxes() {
        for (sequence, position) in reader.entries(id, MailboxSequence(0), 10_000) {
            all.insert((id.0, sequence.0), reader.read(position).ok().map(|bytes| bytes.to_vec()));
        }
    }
    all
}

/// A directory of several segments with two checkpoints, and what it held after each of its last
/// batches.
fn valid() -> &'static (SimulatedDisk, Vec<Entries>) {
    static VALID: OnceLock<(SimulatedDisk, Vec<Entries>)> = OnceLock::new();
    VALID.get_or_init(|| {
        let disk = SimulatedDisk::new();
        let mut held = Vec::new();
        for life in 0..3u64 {
            let (mut store, _) = open(&disk).expect("a start");
            if life == 0 {
                let mut batch = store.batch();
                (1..=3).for_each(|id| batch.create_mailbox(MailboxId(id)));
                store.commit(batch).expect("a commit");
            }
            for n in life * 8 + 1..=life * 8 + 8 {
                let mut batch = store.batch();
                let all = [1, 2, 3].map(|id| (MailboxId(id), MailboxSequence(n)));
                batch.event(&[&[n as u8; 150]], &all[..1 + (n % 3) as usize]);
                batch.state(&n.to_le_bytes());
                if n % 4 == 0 {
                    batch.acked(MailboxId(1), n - 3..=n - 2);
                }
                store.commit(batch).expect("a commit");
                if life == 2 {
                    held.push(entries(&store));
                }
            }
            if life < 2 {
                store.checkpoint(&mut std::iter::once(b"state".to_vec())).expect("a checkpoint");
            }
        }
        assert_eq!(held.last(), Some(&entries(&open(&disk.copy()).expect("a start").0)));
        for spare in disk.names().into_iter().filter(|name| name.starts_with("spare")) {
            disk.lose_file(&spare);
        }
        (disk, held)
    })
}

/// Does to the files what the input says.
fn mutate(disk: &SimulatedDisk, choices: &mut Choices<'_>) {
    for _ in 0..8 {
        if choices.is_empty() {
            return;
        }
        let names = disk.names();
        let Some(name) = names.get(usize::from(choices.byte()) % names.len().max(1)) else { return };
        let mut bytes = disk.contents(name).unwrap_or_default();
        let how = choices.byte();
        let at = choices.number(2) as usize % bytes.len().max(1);
        match how % 8 {
            _ if bytes.is_empty() => {}
            0 => bytes.truncate(at),
            1 => bytes[at..].iter_mut().take(600).for_each(|byte| *byte = 0),
            2 => {
                disk.lose_file(name);
                continue;
            }
            3 => {
                let other = choices.number(2) as usize % bytes.len();
                let count = 512.min(bytes.len() - at).min(bytes.len() - other);
                let (here, there) = (bytes[at..at + count].to_vec(), bytes[other..other + count].to_vec());
                bytes[at..at + count].copy_from_slice(&there);
                bytes[other..other + count].copy_from_slice(&here);
            }
            4 => {
                let count = usize::from(choices.byte()).min(bytes.len() - at);
                bytes[at..at + count].iter_mut().for_each(|byte| *byte = choices.byte());
            }
            5 => {
                let copy = names[usize::from(choices.byte()) % names.len()].clone();
                disk.overwrite(&copy, bytes);
                continue;
            }
            _ => bytes[at] ^= 1 << (how >> 3 & 7),
        }
        disk.overwrite(name, bytes);
    }
    if choices.byte() == 1 {
        disk.overwrite("00000077.seg", choices.0.to_vec());
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (whole, states) = valid();
    let written = |key| states.iter().find_map(|held| held.get(key)).and_then(Option::as_ref);
    let disk = whole.copy();
    mutate(&disk, &mut Choices(input));
    let (before, operations) = (disk.names(), disk.operations());
    let checkup = check_on(Arc::new(disk.clone()), &mut |_| {});
    assert_eq!((disk.names(), disk.operations()), (before, operations), "a check changed something");
    match open(&disk) {
        Ok((store, recovery)) => {
            let found = entries(&store);
            for (key, body) in &found {
                let known = written(key);
                assert!(body.is_none() || known.is_none_or(|known| Some(known) == body.as_ref()), "{key:?}");
            }
            if recovery.report.is_clean() && !recovery.report.created {
                let is_prefix = states.iter().any(|held| found.keys().eq(held.keys()));
                assert!(is_prefix, "silently: {}", recovery.report);
            }
            if let Ok(checkup) = checkup {
                let refusal = checkup.refusal.filter(|_| !recovery.report.created);
                assert!(refusal.is_none(), "{refusal:?}, but it starts");
            }
            drop(store);
            let (store, _) = open(&disk).expect("it has started before");
            assert_eq!(entries(&store), found, "another start, another store");
        }
        Err(error) => {
            match checkup {
                Ok(checkup) => assert_eq!(checkup.refusal, Some(error.to_string())),
                Err(other) => assert_eq!(other.to_string(), error.to_string()),
            }
            match repair_on(Arc::new(disk.clone()), 1_800_000_000, &mut |_| {}) {
                Ok(_) => drop(open(&disk).expect("a repaired store starts")),
                Err(OpenError::UnknownFormat { .. }) => {}
                Err(OpenError::Damaged { what, .. }) if what.contains("nothing tells") => {}
                Err(other) => panic!("not repaired: {other}"),
            }
        }
    }
});
