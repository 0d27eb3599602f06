//! Bits flipped and files cut at every kind of place: told, never a panic, nothing intact lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::format::{BATCH_HEADER, Salt, read_batch};
use crate::page::{ENTRIES_MAX, read_page_body};
use crate::record::{Records, Scratch};
use crate::simulated::{Loss, SimulatedDisk};
use crate::varint::put;
use crate::{MailboxId, MailboxSequence, OpenError, Position, ReadError, Store, StoreId};

use super::basic::small;
use super::model::{Dice, Model, open, run};

const BOX: MailboxId = MailboxId(1);
/// So many events lie in one segment.
const IN_ONE_SEGMENT: u64 = 12;

fn body(sequence: u64) -> Vec<u8> {
    (0..300).map(|at| (sequence as u8).wrapping_mul(31) ^ at as u8).collect()
}

/// Appends events, each a batch of its own; their positions.
fn append(store: &mut Store, sequences: std::ops::RangeInclusive<u64>) -> Vec<Position> {
    let one = |sequence: u64| {
        let mut batch = store.batch();
        batch.event(&[&body(sequence)], &[(BOX, MailboxSequence(sequence))]);
        store.commit(batch).unwrap().positions
    };
    sequences.flat_map(one).collect()
}

/// So many events, and their positions.
fn written(events: u64) -> (SimulatedDisk, Vec<Position>) {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    store.commit(batch).unwrap();
    let positions = append(&mut store, 1..=events);
    drop(store);
    disk.crash(Loss::Cut);
    (disk, positions)
}

/// Sequences that can be read, each with the right bytes.
fn readable(store: &Store) -> Vec<u64> {
    let reader = store.reader();
    let mut found = Vec::new();
    for (sequence, position) in reader.entries(BOX, MailboxSequence(0), usize::MAX) {
        match reader.read(position) {
            Ok(bytes) => {
                assert_eq!(bytes[..], body(sequence.0)[..]);
                found.push(sequence.0);
            }
            Err(ReadError::Damaged { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    found
}

#[test]
fn a_flipped_bit_anywhere_in_the_log_costs_one_batch_and_is_told() {
    let (disk, positions) = written(IN_ONE_SEGMENT);
    let segment = small().segment_bytes;
    let starts: Vec<u64> = positions.iter().map(|p| p.offset(segment) - BATCH_HEADER as u64).collect();
    let name = "00000001.seg";
    let clean = disk.contents(name).unwrap();
    let end = starts[11] + (starts[11] - starts[10]);
    for at in (0..end).step_by(3) {
        let disk = disk.copy();
        let mut bytes = clean.clone();
        bytes[at as usize] ^= 1 << (at % 8);
        disk.overwrite(name, bytes);
        let (store, recovery) = open(&disk).unwrap_or_else(|e| panic!("byte {at}: {e}"));
        let lost = starts.iter().rposition(|&start| start <= at).map(|index| index as u64 + 1);
        let left: Vec<u64> = (1..=12).filter(|sequence| Some(*sequence) != lost).collect();
        assert_eq!(readable(&store), left, "byte {at}: {}", recovery.report);
        let in_header = at < 128 || (2048..2176).contains(&at);
        let in_log = at >= 4096;
        assert_eq!(recovery.report.is_clean(), !in_header && !in_log, "byte {at}");
        assert_eq!(recovery.report.unproven.is_some(), lost == Some(12), "byte {at}");
        assert_eq!(recovery.report.damaged.len(), usize::from(in_log && lost != Some(12)), "byte {at}");
        assert_eq!(recovery.recovery_epoch_raised(), in_log && lost != Some(12));
        check_copies(&disk, &recovery.report);
        drop(store);
        let (store, recovery) = open(&disk).unwrap();
        assert_eq!(readable(&store), left, "byte {at}, second open");
        assert!(recovery.report.damaged.iter().all(|region| region.is_known), "byte {at}");
        assert!(!recovery.report.epoch_raised);
    }
}

impl crate::Recovery {
    fn recovery_epoch_raised(&self) -> bool {
        self.report.epoch_raised
    }
}

fn check_copies(disk: &SimulatedDisk, report: &crate::RecoveryReport) {
    let damaged = report.damaged.iter().map(|region| (&region.copied_to, region.bytes));
    let unproven = report.unproven.iter().map(|tail| (&tail.copied_to, tail.bytes));
    for (copy, bytes) in damaged.chain(unproven) {
        let name = copy.as_ref().unwrap().strip_prefix("/simulated").unwrap().to_str().unwrap();
        assert_eq!(disk.contents(name).unwrap().len() as u64, bytes);
    }
}

#[test]
fn a_file_cut_anywhere_recovers_to_a_prefix_and_is_told() {
    let (disk, positions) = written(IN_ONE_SEGMENT);
    let name = "00000001.seg";
    let clean = disk.contents(name).unwrap();
    for bytes in (4096..clean.len()).step_by(29) {
        let disk = disk.copy();
        disk.overwrite(name, clean[..bytes].to_vec());
        let (store, recovery) = open(&disk).unwrap();
        let found = readable(&store);
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
        let whole = positions.iter().filter(|p| p.0 % small().segment_bytes + 330 < bytes as u64).count();
        assert!(found.len() >= whole, "{bytes} bytes: {} of {whole}", found.len());
        assert!(!recovery.report.is_clean());
        // All that is left of the batch that was cut is told and copied aside.
        let size = small().segment_bytes;
        let begun = positions.iter().map(|p| p.offset(size) - BATCH_HEADER as u64);
        let cut = begun.filter(|start| *start < bytes as u64).max();
        if let (Some(start), Some(tail)) = (cut, &recovery.report.unproven) {
            assert_eq!((tail.offset, tail.bytes), (start, bytes as u64 - start), "{bytes} bytes");
            check_copies(&disk, &recovery.report);
        }
    }
}

#[test]
fn a_segment_cut_inside_a_batch_is_told_to_its_end() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    for _ in 0..6 {
        let mut batch = store.batch();
        batch.state(&[7; 9000]);
        store.commit(batch).unwrap();
    }
    drop(store);
    disk.crash(Loss::Cut);
    // The one behind it is not there to say where it ends.
    let name = |index: u64| format!("{index:08}.seg");
    disk.lose_file(&name(3));
    let bytes = disk.contents(&name(2)).unwrap();
    disk.overwrite(&name(2), bytes[..8000].to_vec());
    let (_, recovery) = open(&disk).unwrap();
    let region = recovery.report.damaged.iter().find(|region| region.path.ends_with(name(2))).unwrap();
    assert_eq!((region.offset, region.bytes), (4096, 8000 - 4096), "{}", recovery.report);
}

#[test]
fn both_headers_lost_are_made_out_from_the_first_batch() {
    let (disk, _) = written(IN_ONE_SEGMENT);
    let mut bytes = disk.contents("00000001.seg").unwrap();
    bytes[..4096].fill(0xff);
    disk.overwrite("00000001.seg", bytes);
    let refused = open(&disk).unwrap_err();
    // It is the only segment: whether it is the first of the log its header alone would say.
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[test]
fn an_entry_whose_segment_is_missing_or_unusable_is_told_and_blocks_nobody() {
    let (disk, positions) = written(80);
    let index = positions[40].segment(small().segment_bytes);
    let name = format!("{index:08}.seg");
    let gone = |at: &u64| positions[*at as usize - 1].segment(small().segment_bytes) == index;
    for is_there in [false, true] {
        let disk = disk.copy();
        match is_there {
            true => disk.overwrite(&name, Vec::new()),
            false => disk.lose_file(&name),
        }
        for _ in 0..2 {
            let (mut store, recovery) = open(&disk).unwrap();
            assert!(recovery.report.to_string().contains(&name), "{}", recovery.report);
            let reader = store.reader();
            let entries = reader.entries(BOX, MailboxSequence(0), usize::MAX);
            let lost: Vec<_> = entries.iter().filter(|(_, at)| reader.read(*at).is_err()).collect();
            assert!(lost.len() < 60 && entries.len() > lost.len(), "{} of {}", lost.len(), entries.len());
            for (sequence, _) in lost {
                assert!(gone(&sequence.0), "{sequence}");
                let why = reader.read_entry(BOX, *sequence).unwrap().unwrap_err();
                let said = why.to_string();
                assert!(matches!(why, ReadError::Lost { .. }) && said.contains(&name), "{said}");
            }
            // What is no more needed is gone all the same, which is no loss.
            assert!(matches!(reader.read(Position(1)), Err(ReadError::Gone(_))));
            let mut batch = store.batch();
            batch.acked(BOX, 1..=2);
            store.commit(batch).unwrap();
        }
    }
}

/// Forty events in each life of a store, and the names of its segments.
fn in_segments(lives: u64) -> (SimulatedDisk, Vec<String>) {
    let (disk, _) = written(40);
    for life in 1..lives {
        let (mut store, _) = open(&disk).unwrap();
        append(&mut store, 40 * life + 1..=40 * (life + 1));
        drop(store);
        disk.crash(Loss::Cut);
    }
    let mut names: Vec<_> = disk.names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    names.sort();
    (disk, names)
}

#[test]
fn a_newest_segment_that_is_missing_or_unusable_is_never_read_as_a_shorter_history() {
    for lives in 1..=3 {
        let (disk, names) = in_segments(lives);
        let newest = names.last().unwrap();
        assert!(names.len() > 1);
        for is_there in [false, true] {
            let worn = disk.copy();
            match is_there {
                true => worn.overwrite(newest, Vec::new()),
                false => worn.lose_file(newest),
            }
            let files = |disk: &SimulatedDisk| -> Vec<_> {
                disk.names().into_iter().map(|name| (disk.contents(&name), name)).collect()
            };
            let before = files(&worn);
            let Err(error) = open(&worn) else { panic!("a start") };
            let error = error.to_string();
            assert!(error.contains(newest) && error.contains("fanal store repair"), "{error}");
            assert!(files(&worn) == before, "a refusal leaves no trace");
            let shared: Arc<dyn crate::disk::Disk> = Arc::new(worn.clone());
            let checkup = crate::check_on(shared.clone(), &mut |_| ()).unwrap();
            assert_eq!(checkup.refusal, Some(error));
            // Put back, it is as it was.
            let mended = worn.copy();
            mended.overwrite(newest, disk.contents(newest).unwrap());
            assert_eq!(readable(&open(&mended).unwrap().0), (1..=40 * lives).collect::<Vec<_>>());
            // Or a repair goes on without it, under numbers that nobody takes for the old ones.
            let repaired = crate::repair_on(shared, 0, &mut |_| ()).unwrap();
            let (store, _) = open(&worn).unwrap();
            let left = readable(&store);
            assert!(left.len() < 40 * lives as usize && left.iter().copied().eq(1..=left.len() as u64));
            assert!(store.recovery_epoch() > 0 && store.recovery_epoch() == repaired.recovery_epoch);
            assert!(store.active.index > crate::segments::segment_index(newest).unwrap());
        }
    }
}

#[test]
fn damaged_metadata_is_told_and_never_an_empty_store() {
    let (disk, _) = written(IN_ONE_SEGMENT);
    for at in 0..72 {
        let one = disk.copy();
        flip(&one, "meta.a", at);
        let (store, recovery) = open(&one).unwrap();
        assert_eq!(readable(&store).len(), 12);
        assert_eq!(recovery.report.meta_repaired.len(), 1);
        assert_eq!((store.id(), store.start_counter()), (StoreId(42), 2));
        let both = disk.copy();
        flip(&both, "meta.a", at);
        flip(&both, "meta.b", at);
        let before: BTreeMap<_, _> =
            both.names().into_iter().map(|n| (n.clone(), both.contents(&n))).collect();
        let refused = open(&both).unwrap_err();
        let is_told = matches!(refused, OpenError::Damaged { .. } | OpenError::UnknownFormat { .. });
        assert!(is_told, "{refused}");
        let after: BTreeMap<_, _> =
            both.names().into_iter().map(|n| (n.clone(), both.contents(&n))).collect();
        assert_eq!(before, after);
    }
    disk.lose_file("meta.a");
    assert!(open(&disk.copy()).is_ok());
    disk.lose_file("meta.b");
    assert!(matches!(open(&disk), Err(OpenError::NotAStore { segments: 1, .. })));
}

#[test]
fn lost_segments_are_never_an_empty_store() {
    let (disk, _) = written(IN_ONE_SEGMENT);
    disk.lose_file("00000001.seg");
    assert!(matches!(open(&disk), Err(OpenError::Damaged { .. })));
}

fn flip(disk: &SimulatedDisk, name: &str, at: usize) {
    let mut bytes = disk.contents(name).unwrap();
    bytes[at] ^= 0x10;
    disk.overwrite(name, bytes);
}

/// A longer history with checkpoints, acks and reclaimed segments; any file damaged anywhere.
#[test]
fn random_damage_is_told_or_harmless_and_never_a_panic() {
    let (mut refused, mut told, mut harmless) = (0, 0, 0);
    for seed in 0..12 {
        let disk = SimulatedDisk::new();
        let (mut store, _) = open(&disk).unwrap();
        let outcome = run(&mut store, Model::default(), &mut Dice(seed), 90);
        drop(store);
        disk.crash(Loss::Cut);
        let names: Vec<_> = disk.names().into_iter().filter(|name| !name.starts_with("spare")).collect();
        let mut dice = Dice(seed * 77);
        for _ in 0..40 {
            let disk = disk.copy();
            let name = &names[dice.below(names.len() as u64) as usize];
            let mut bytes = disk.contents(name).unwrap();
            let at = dice.below(bytes.len() as u64) as usize;
            match dice.below(4) {
                0 => bytes.truncate(at),
                1 => bytes[at..].iter_mut().take(600).for_each(|byte| *byte = 0),
                _ => bytes[at] ^= 1 << dice.below(8),
            }
            disk.overwrite(name, bytes);
            match open(&disk) {
                Err(OpenError::Damaged { .. } | OpenError::UnknownFormat { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
                Ok((store, recovery)) if recovery.report.is_clean() => {
                    harmless += 1;
                    check_harmless(&outcome.proven, &store, &recovery);
                }
                Ok(_) => told += 1,
            }
        }
    }
    assert!(told > 50 && harmless > 50, "{refused} refused, {told} told, {harmless} harmless");
}

/// Nothing was told: all is there, but for events and pages in segments that no start reads, which
/// say so when they are read. Acked entries of a page that had to be made out may be there again.
fn check_harmless(model: &Model, store: &Store, recovery: &crate::Recovery) {
    if let Err(why) = model.check(store, Some(recovery)) {
        let is_told = why.contains("is damaged") || model.is_held_or_told(store);
        assert!(is_told, "{why}; {}", recovery.report);
    }
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    batch.event(&[&body(1)], &[(BOX, MailboxSequence(1))]);
    store.commit(batch).unwrap();
    let state = |mark: &str| vec![format!("MARK-{mark}").into_bytes(); 3].into_iter();
    store.checkpoint(&mut state("first")).unwrap();
    store.checkpoint(&mut state("second")).unwrap();
    drop(store);
    // The next segment names the checkpoints in its header.
    let (store, _) = open(&disk).unwrap();
    drop(store);
    let hit = disk.names().into_iter().rev().find_map(|name| {
        let bytes = disk.contents(&name)?;
        let at = bytes.windows(11).rposition(|window| window == b"MARK-second")?;
        Some((name, at))
    });
    let (name, at) = hit.unwrap();
    flip(&disk, &name, at);
    let (store, recovery) = open(&disk).unwrap();
    assert_eq!(readable(&store), [1]);
    assert_eq!(recovery.state, state("first").collect::<Vec<_>>());
    assert!(!recovery.report.is_clean(), "{}", recovery.report);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let salt = Salt::new(StoreId(1), 7);
        prop_assert!(read_batch(&bytes, Position(4096), &salt).is_none());
        let mut scratch = Scratch::default();
        let mut records = Records::new(&bytes);
        while let Ok(Some(_)) = records.next(&mut scratch) {}
    }

    #[test]
    fn an_arbitrary_segment_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let (disk, _) = written(IN_ONE_SEGMENT);
        disk.overwrite("00000002.seg", bytes);
        let opened = Store::open_on(Arc::new(disk), small(), StoreId(1));
        if let Ok((store, recovery)) = opened {
            prop_assert!(!recovery.report.is_clean());
            prop_assert_eq!(readable(&store).len(), 12);
        }
    }
}

/// Found by fuzzing: steps that are equal take no bytes, so that 12 bytes could ask for any number.
#[test]
fn a_page_of_a_few_bytes_holds_a_bounded_number_of_entries() {
    let mut entries = Vec::new();
    let body = |count: u64| {
        let mut body = vec![1];
        put(&mut body, count);
        put(&mut body, count << 1 | 1);
        body.extend_from_slice(&[1, 2, 3]);
        body
    };
    assert_eq!(read_page_body(&body(ENTRIES_MAX), &mut entries), Ok(BOX));
    assert_eq!(entries.len() as u64, ENTRIES_MAX);
    assert!(read_page_body(&body(ENTRIES_MAX + 1), &mut entries).is_err());
}
