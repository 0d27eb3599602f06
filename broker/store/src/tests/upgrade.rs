//! Directories of format version 1, made by the last program that wrote it: read in full, upgraded
//! with a backup that stays what it was, whatever happens meanwhile.
//!
//! `fixtures/version-1` was written by that program: four starts, three mailboxes (one removed), 36
//! events, two checkpoints. What it must read as is said here in plain words, not by other code.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::format::{DATA_START, FLAG_CHECKPOINT, FORMAT_VERSION, SegmentHeader, read_batch};
use crate::id::Position;
use crate::record::Records;
use crate::simulated::{Faults, Loss, SimulatedDisk};
use crate::{MailboxId, MailboxSequence, OpenError, Recovery, Store, StoreId};

use super::basic::small;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/version-1");
const BACKUP: &str = "backup-v1";
const LAST: u64 = 36;

type Files = BTreeMap<String, Vec<u8>>;

fn fixture() -> Files {
    let entries = std::fs::read_dir(FIXTURE).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (file_name(&path), std::fs::read(&path).unwrap())).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn version_1() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    for (name, bytes) in fixture() {
        disk.overwrite(&name, bytes);
    }
    disk
}

fn open(disk: &SimulatedDisk) -> Result<(Store, Recovery), OpenError> {
    Store::open_on(Arc::new(disk.clone()), small(), StoreId(1))
}

/// Files in a folder of the disk; "" for the directory itself.
fn files_in(disk: &SimulatedDisk, folder: &str) -> Files {
    let within = |name: &String| match folder {
        "" => !name.contains('/'),
        _ => name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
    };
    let names = disk.names().into_iter().filter(within);
    names.map(|name| (file_name(Path::new(&name)), disk.contents(&name).unwrap())).collect()
}

/// The backup is the fixture, byte by byte.
fn assert_kept(disk: &SimulatedDisk, context: &str) {
    let (kept, wanted) = (files_in(disk, BACKUP), fixture());
    let names: Vec<_> = kept.keys().collect();
    assert!(kept == wanted, "the backup is not what was there: {names:?} {context}");
}

fn body(sequence: u64) -> Vec<u8> {
    (0..200 + sequence).map(|at| (sequence as u8).wrapping_mul(31) ^ (at / 16) as u8).collect()
}

/// What the fixture holds, mailbox by mailbox and byte by byte.
fn check_content(store: &Store, recovery: &Recovery) {
    assert_eq!(store.id(), StoreId(0xfa11));
    let reader = store.reader();
    let ids: Vec<u64> = reader.mailboxes().iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [1, 2]);
    let of = |id| reader.entries(MailboxId(id), MailboxSequence(0), usize::MAX);
    let events = |id, times: u64| {
        let read = |(sequence, position): (MailboxSequence, Position)| {
            assert_eq!(reader.read(position).unwrap()[..], body(sequence.0 * times)[..]);
            sequence.0
        };
        of(id).into_iter().map(read).collect::<Vec<_>>()
    };
    assert_eq!(events(1, 1), (7..=LAST).collect::<Vec<_>>());
    assert_eq!(events(2, 3), (3..=LAST / 3).collect::<Vec<_>>());
    let mut state = vec![b"second".to_vec(), b"state".to_vec()];
    state.extend((28..=LAST).map(|sequence| format!("accepted {sequence}").into_bytes()));
    assert_eq!(recovery.state, state);
    assert!(recovery.report.is_undamaged(), "{}", recovery.report);
}

/// Publishes, acks and makes checkpoints until every segment of the fixture has been given back.
fn use_up(store: &mut Store) {
    for sequence in LAST + 1..LAST + 200 {
        let mut batch = store.batch();
        batch.event(&[&[sequence as u8; 700]], &[(MailboxId(1), MailboxSequence(sequence))]);
        batch.acked(MailboxId(1), 1..=sequence - 1);
        batch.acked(MailboxId(2), 1..=LAST);
        store.commit(batch).unwrap();
        if store.checkpoint_due() {
            store.checkpoint(&mut std::iter::empty()).unwrap();
        }
    }
    assert!(store.stats().reclaimed >= 8, "{:?}", store.stats());
}

#[test]
fn a_directory_of_version_1_is_read_in_full_and_kept_as_it_was() {
    for no_links in [false, true] {
        let disk = version_1();
        disk.set_faults(Faults { no_links, ..Faults::default() });
        let (mut store, recovery) = open(&disk).unwrap();
        check_content(&store, &recovery);
        let upgraded = recovery.report.upgraded.as_ref().unwrap();
        assert_eq!((upgraded.from, upgraded.to), (1, FORMAT_VERSION));
        assert_eq!(upgraded.backup.as_deref(), Some(Path::new("/simulated/backup-v1")));
        let told = recovery.report.to_string();
        assert!(told.contains("from version 1 to 2") && told.contains("/simulated/backup-v1"), "{told}");
        assert_kept(&disk, "");
        use_up(&mut store);
        drop(store);
        assert!(!disk.names().contains(&"00000001.seg".to_owned()));
        assert_kept(&disk, &format!("links: {}", !no_links));
        let (_, recovery) = open(&disk).unwrap();
        assert_eq!(recovery.report.upgraded, None);
        assert_eq!(recovery.report.backups, [Path::new("/simulated/backup-v1")]);
        assert!(recovery.report.is_clean(), "{}", recovery.report);
    }
}

fn repair(disk: &SimulatedDisk) -> crate::Repaired {
    crate::repair_on(Arc::new(disk.clone()), 5, &mut |_| {}).unwrap()
}

#[test]
fn a_repair_keeps_a_directory_of_version_1_as_it_was() {
    // A segment of no use, which a repair moves away; then no metadata.
    let damage: [(&[&str], usize); 2] = [(&["00000002.seg"], 6000), (&["meta.a", "meta.b"], 72)];
    for (names, bytes) in damage {
        let disk = version_1();
        for name in names {
            let mut changed = disk.contents(name).unwrap();
            changed[..bytes].fill(0);
            disk.overwrite(name, changed);
        }
        let before = files_in(&disk, "");
        let repaired = repair(&disk);
        assert_eq!(repaired.backup.as_deref(), Some(Path::new("/simulated/backup-v1")), "{names:?}");
        assert!(files_in(&disk, BACKUP) == before, "{names:?}: {:?}", disk.names());
        // Once more, as after a crash: the backup that there is stays what it is.
        repair(&disk);
        assert!(files_in(&disk, BACKUP) == before);
        assert_eq!(open(&disk).unwrap().1.report.backups, [Path::new("/simulated/backup-v1")]);
    }
}

#[test]
fn segments_keep_the_version_that_they_were_begun_with() {
    let disk = version_1();
    drop(open(&disk).unwrap());
    let version = |bytes: &[u8]| u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    let files = files_in(&disk, "");
    let segments = files.iter().filter(|(name, _)| name.ends_with(".seg"));
    let versions: Vec<u32> = segments.map(|(_, bytes)| version(bytes)).collect();
    assert_eq!(versions, [1, 1, 1, 1, 2]);
    assert_eq!((version(&files["meta.a"]), version(&files["meta.b"])), (2, 2));
}

/// One crash at an operation of the upgrade, and one at an operation of the open after it.
fn crash_twice(first: u64, second: u64, loss: Loss, faults: &Faults) -> bool {
    let disk = version_1();
    disk.set_faults(Faults { crash_at: Some(first), ..faults.clone() });
    let done = open(&disk).is_ok() && disk.operations() <= first;
    disk.crash(loss);
    let backup = files_in(&disk, BACKUP);
    let here = files_in(&disk, "");
    let is_old = fixture().iter().all(|(name, bytes)| here.get(name) == Some(bytes));
    assert!(is_old || backup == fixture(), "operation {first}, {loss:?}: changed without a backup");
    let begun = disk.operations();
    disk.set_faults(Faults { crash_at: Some(begun + second), ..faults.clone() });
    drop(open(&disk));
    disk.crash(loss);
    disk.set_faults(faults.clone());
    let (mut store, recovery) = open(&disk).unwrap();
    check_content(&store, &recovery);
    assert_eq!(recovery.report.backups, [Path::new("/simulated/backup-v1")]);
    if second == 0 {
        use_up(&mut store);
    }
    drop(store);
    disk.crash(Loss::Cut);
    assert_kept(&disk, &format!("operations {first} and {second}, {loss:?}"));
    assert!(open(&disk).is_ok());
    done
}

fn crash_everywhere(faults: &Faults) -> u64 {
    for first in 0.. {
        let mut undisturbed = 0;
        for loss in [Loss::Cut, Loss::Torn(first * 31 + 1), Loss::Torn(first * 7 + 2), Loss::ProcessOnly] {
            for second in (0..40).step_by(3) {
                undisturbed += u64::from(crash_twice(first, second, loss, faults));
            }
        }
        if undisturbed > 0 {
            return first;
        }
    }
    0
}

#[test]
fn a_crash_at_any_operation_of_an_upgrade_leaves_a_store_and_at_last_a_backup() {
    let operations = crash_everywhere(&Faults::default());
    assert!(operations > 20, "only {operations} operations");
    crash_everywhere(&Faults { no_links: true, ..Faults::default() });
}

#[test]
#[should_panic(expected = "the backup is not what was there")]
fn a_backup_whose_folder_is_not_flushed_is_noticed() {
    crash_everywhere(&Faults { skip_folder_flush: true, ..Faults::default() });
}

#[test]
fn a_full_disk_does_not_stop_an_upgrade() {
    let disk = version_1();
    for number in 1..=3 {
        disk.overwrite(&format!("spare-{number}.new"), vec![0; small().segment_bytes as usize]);
    }
    // Room for the metadata of the backup, not for a copy of a segment.
    disk.set_faults(Faults { capacity: Some(disk.bytes_used() + 512), ..Faults::default() });
    let (store, recovery) = open(&disk).unwrap();
    check_content(&store, &recovery);
    drop(store);
    disk.set_faults(Faults::default());
    assert_kept(&disk, "");
    let (mut store, recovery) = open(&disk).unwrap();
    check_content(&store, &recovery);
    use_up(&mut store);
    assert_kept(&disk, "");
}

/// The older program was started again on a directory whose upgrade a crash had cut short, or the
/// operator put the backup back and went on.
#[test]
fn another_state_of_version_1_gets_a_backup_of_its_own() {
    let disk = version_1();
    drop(open(&disk).unwrap());
    for name in files_in(&disk, "").keys() {
        disk.lose_file(name);
    }
    let mut other = fixture();
    for name in ["meta.a", "meta.b"] {
        other.insert(name.into(), raised_serial(&fixture()["meta.a"]));
    }
    for (name, bytes) in &other {
        disk.overwrite(name, bytes.clone());
    }
    let (store, recovery) = open(&disk).unwrap();
    check_content(&store, &recovery);
    assert_kept(&disk, "");
    assert!(files_in(&disk, "backup-v1-2") == other);
    let paths = ["/simulated/backup-v1", "/simulated/backup-v1-2"].map(Path::new);
    assert_eq!(recovery.report.backups, paths);
}

fn raised_serial(meta: &[u8]) -> Vec<u8> {
    let mut bytes = meta.to_vec();
    bytes[32] += 1;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[0..12]), &bytes[16..]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn a_kind_of_record_that_version_2_brought_is_damage_in_a_segment_of_version_1() {
    let disk = version_1();
    let name = "00000004.seg";
    let mut bytes = disk.contents(name).unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    let salt = header.salt();
    let at = Position::new(header.index, DATA_START, header.segment_bytes);
    let first = read_batch(&bytes[DATA_START as usize..], at, &salt).unwrap();
    assert_eq!(first.header.flags & FLAG_CHECKPOINT, 0);
    // The batch as it was, but for its first record's kind; sealed as a writer would.
    let (mut batch, header, length) = (vec![0; 64], first.header, first.bytes);
    batch.extend_from_slice(first.body);
    batch[64] = 12;
    crate::format::seal_batch(&mut batch, &header, &salt);
    assert_eq!(batch.len(), length);
    bytes[DATA_START as usize..DATA_START as usize + length].copy_from_slice(&batch);
    disk.overwrite(name, bytes);
    let before = disk.names();
    let refused = open(&disk).unwrap_err();
    assert!(matches!(&refused, OpenError::Damaged { what, .. } if what.contains("version 1")), "{refused}");
    assert_eq!(disk.names(), before, "a refusal leaves no trace");
    assert!(Records::of_version(&[12, 0], 1).next(&mut Default::default()).is_err());
}

#[test]
fn a_version_that_nobody_knows_is_refused() {
    for version in [0, FORMAT_VERSION + 1] {
        let disk = version_1();
        for name in ["meta.a", "meta.b"] {
            let mut bytes = disk.contents(name).unwrap();
            bytes[8] = version as u8;
            disk.overwrite(name, bytes);
        }
        let before = files_in(&disk, "");
        match open(&disk) {
            Err(OpenError::UnknownFormat { version: found, known, .. }) => {
                assert_eq!((found, known), (version, FORMAT_VERSION));
            }
            other => panic!("{other:?}"),
        }
        assert!(files_in(&disk, "") == before);
    }
}

#[test]
fn what_a_copy_by_hard_links_shares_is_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("store"), directory.path().join("copy"));
    let open = || Store::open(&path, small(), StoreId(1)).unwrap().0;
    drop(open());
    let mut store = open();
    let mut batch = store.batch();
    batch.create_mailbox(MailboxId(1));
    batch.create_mailbox(MailboxId(2));
    store.commit(batch).unwrap();
    drop(store);
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&path).unwrap() {
        let from = entry.unwrap().path();
        std::fs::hard_link(&from, copy.join(file_name(&from))).unwrap();
    }
    let contents = || -> Files {
        let entries = std::fs::read_dir(&copy).unwrap().map(|entry| entry.unwrap().path());
        let store = entries.filter(|path| !path.ends_with("LOCK"));
        store.map(|path| (file_name(&path), std::fs::read(&path).unwrap())).collect()
    };
    let before = contents();
    assert!(before.len() > 4);
    use_up(&mut open());
    assert!(contents() == before);
    let copied = Store::open(&copy, small(), StoreId(1)).unwrap();
    assert!(copied.1.report.is_undamaged());
}
