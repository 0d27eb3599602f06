//! Check, repair and dump: what they say is so, what they keep is all that there is, and a look
//! changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::format::{BATCH_HEADER, HEADER_COPY};
use crate::simulated::{Faults, Loss, SimulatedDisk};
use crate::{
    Checkup, Dumped, FileState, MailboxId, MailboxSequence, OpenError, Position, RealDisk, Repaired, Store,
    StoreId, check_on, dump_on, raise_epoch_on, repair_on,
};

use super::basic::small;
use super::model::{Dice, Model, Outcome, open, run};

const BOX: MailboxId = MailboxId(1);
/// A time, as callers pass it for the recovery epoch.
const NOW: u64 = 1_800_000_000;

fn check(disk: &SimulatedDisk) -> Result<Checkup, OpenError> {
    check_on(Arc::new(disk.clone()), &mut |_| {})
}

fn repair(disk: &SimulatedDisk) -> Result<Repaired, OpenError> {
    repair_on(Arc::new(disk.clone()), NOW, &mut |_| {})
}

fn files(disk: &SimulatedDisk) -> BTreeMap<String, Vec<u8>> {
    disk.names().into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

/// A history with checkpoints, acks and reclaimed segments, on a disk that lost power.
fn history(seed: u64) -> (SimulatedDisk, Outcome) {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let outcome = run(&mut store, Model::default(), &mut Dice(seed), 90);
    drop(store);
    disk.crash(Loss::Cut);
    (disk, outcome)
}

fn flip(disk: &SimulatedDisk, name: &str, at: usize) {
    let mut bytes = disk.contents(name).unwrap();
    bytes[at] ^= 0x10;
    disk.overwrite(name, bytes);
}

/// By mailbox and sequence: where the event lies, and its bytes if they can be read.
type Entries = BTreeMap<(u64, u64), (Position, Option<Vec<u8>>)>;

/// Every entry by mailbox and sequence, with what can be read of it.
fn entries(store: &Store) -> Entries {
    let reader = store.reader();
    let of = |(id, _): (MailboxId, _)| {
        let entries = reader.entries(id, MailboxSequence(0), usize::MAX);
        entries.into_iter().map(move |(sequence, position)| ((id.0, sequence.0), position))
    };
    let all = reader.mailboxes().into_iter().flat_map(of);
    all.map(|(key, position)| (key, (position, reader.read(position).ok().map(|b| b.to_vec())))).collect()
}

#[test]
fn a_check_changes_nothing_and_says_what_is_there() {
    for seed in 0..6 {
        let (disk, outcome) = history(seed);
        let (before, operations) = (files(&disk), disk.operations());
        let mut told = Vec::new();
        let checkup = check_on(Arc::new(disk.clone()), &mut |progress| told.push(progress)).unwrap();
        assert!(files(&disk) == before && disk.operations() == operations);
        assert!(checkup.is_undamaged() && checkup.is_complete, "{checkup:?}");
        let identity = checkup.identity.unwrap();
        assert_eq!((identity.store, identity.start_counter, identity.recovery_epoch), (StoreId(42), 1, 0));
        let last = told.last().unwrap();
        assert!(last.done_bytes == last.total_bytes && last.total_bytes > 0);
        let held: BTreeMap<u64, (u64, u64)> = checkup
            .mailboxes
            .iter()
            .map(|found| (found.id.0, (found.stats.events, found.stats.next.0)))
            .collect();
        let wanted = outcome.proven.boxes.iter();
        let wanted =
            wanted.map(|(id, mailbox)| (*id, (mailbox.entries.len() as u64, mailbox.next))).collect();
        assert_eq!(held, wanted);
        assert!(checkup.state.ends_with(&outcome.proven.states));
        let segments = before.keys().filter(|name| name.ends_with(".seg")).count();
        assert_eq!(checkup.segments.len(), segments);
        assert!(checkup.counts.batches > 20 && checkup.counts.events > 10 && checkup.counts.checkpoints > 0);
    }
}

#[test]
fn a_check_of_a_running_store_says_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path(), small(), StoreId(1)).unwrap();
    match crate::check(directory.path(), &mut |_| {}) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    drop(store);
    let lock = std::fs::read(directory.path().join("LOCK")).unwrap();
    assert!(crate::check(directory.path(), &mut |_| {}).unwrap().is_undamaged());
    assert_eq!(std::fs::read(directory.path().join("LOCK")).unwrap(), lock);
}

#[test]
fn nothing_can_be_written_through_a_look() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path(), small(), StoreId(1)).unwrap());
    let disk = RealDisk::read_only(directory.path());
    let names = || std::fs::read_dir(directory.path()).unwrap().count();
    let before = names();
    assert!(raise_epoch_on(&disk, NOW).is_err());
    assert!(repair_on(Arc::new(disk), NOW, &mut |_| {}).is_err());
    assert_eq!(names(), before);
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let checkup = crate::check(&empty, &mut |_| {}).unwrap();
    assert!(checkup.refusal.is_some_and(|why| why.contains("holds no store")));
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0);
}

/// Damages a directory by the dice: what was damaged, as (name, range).
fn damage(disk: &SimulatedDisk, dice: &mut Dice) -> Vec<(String, std::ops::Range<u64>)> {
    let mut hit = Vec::new();
    let names: Vec<String> = disk.names().into_iter().filter(|name| !name.starts_with("spare")).collect();
    match dice.below(5) {
        0 => ["meta.a", "meta.b"].iter().for_each(|name| flip(disk, name, dice.below(72) as usize)),
        // The younger half: no checkpoint survives.
        1 => {
            let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".seg")).collect();
            for name in &segments[segments.len() / 2..] {
                let mut bytes = disk.contents(name).unwrap();
                bytes.iter_mut().skip(4096).step_by(50).for_each(|byte| *byte ^= 1);
                disk.overwrite(name, bytes);
                hit.push(((*name).clone(), 4096..u64::MAX));
            }
        }
        _ => {}
    }
    for _ in 0..1 + dice.below(3) {
        let name = names[dice.below(names.len() as u64) as usize].clone();
        let Some(mut bytes) = disk.contents(&name) else { continue };
        let at = dice.below(bytes.len().max(1) as u64) as usize;
        let mut range = at as u64..at as u64 + 1;
        match dice.below(6) {
            0 => {
                range.end = u64::MAX;
                bytes.truncate(at);
            }
            1 => {
                bytes[at..].iter_mut().take(600).for_each(|byte| *byte = 0);
                range.end += 600;
            }
            2 => {
                disk.lose_file(&name);
                hit.push((name, 0..u64::MAX));
                continue;
            }
            3 => {
                for head in [0, HEADER_COPY as usize] {
                    bytes.iter_mut().skip(head).take(64).for_each(|byte| *byte = 0xee);
                }
                range = 0..u64::from(!name.ends_with(".seg")) * 100;
            }
            _ if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            _ => {}
        }
        disk.overwrite(&name, bytes);
        hit.push((name, range));
    }
    hit
}

#[test]
fn a_check_refuses_exactly_what_a_start_refuses() {
    let (mut refused, mut opened, mut clean) = (0, 0, 0);
    for seed in 0..10 {
        let (whole, _) = history(seed);
        let mut dice = Dice(seed * 1_000 + 7);
        for round in 0..40 {
            let disk = whole.copy();
            damage(&disk, &mut dice);
            let checkup = check(&disk).unwrap();
            match open(&disk) {
                Err(error) => {
                    refused += 1;
                    assert_eq!(checkup.refusal.as_deref(), Some(&*error.to_string()));
                    assert!(!checkup.is_undamaged());
                }
                Ok((store, recovery)) => {
                    opened += 1;
                    clean += u64::from(checkup.is_undamaged());
                    assert_eq!(checkup.refusal, None, "seed {seed}, round {round}");
                    let is_told = recovery.report.is_undamaged() || !checkup.is_undamaged();
                    assert!(is_told, "seed {seed}, round {round}: {}; {checkup:?}", recovery.report);
                    let unreadable: u64 = checkup.mailboxes.iter().map(|mailbox| mailbox.unreadable).sum();
                    let lost = entries(&store).values().filter(|(_, body)| body.is_none()).count() as u64;
                    assert!(
                        unreadable >= lost || !recovery.report.is_undamaged(),
                        "{unreadable}, not {lost}"
                    );
                }
            }
        }
    }
    assert!(refused > 30 && opened > 100 && clean > 5, "{refused} refused, {opened} opened, {clean} clean");
}

/// Where the batches of a directory lie: by segment, ascending offsets and their ends.
fn batches(disk: &SimulatedDisk) -> Vec<(Position, u64)> {
    let mut found = Vec::new();
    dump_on(Arc::new(disk.clone()), &mut |position, what| {
        if let Dumped::Batch { bytes, .. } = what {
            found.push((position, *bytes));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// Entries that events themselves name.
fn named(disk: &SimulatedDisk) -> BTreeSet<(u64, u64)> {
    let mut named = BTreeSet::new();
    let mut see = |_: Position, what: &Dumped<'_>| {
        if let Dumped::Event { entries, .. } = what {
            named.extend(entries.iter().map(|(mailbox, sequence)| (mailbox.0, sequence.0)));
        }
        ControlFlow::Continue(())
    };
    crate::dump_on(Arc::new(disk.copy()), &mut see).unwrap();
    named
}

fn is_hit(position: Position, bytes: u64, hit: &[(String, std::ops::Range<u64>)]) -> bool {
    let segment_bytes = small().segment_bytes;
    let name = crate::segments::segment_name(position.segment(segment_bytes));
    let offset = position.offset(segment_bytes);
    hit.iter().any(|(hit, range)| *hit == name && range.start < offset + bytes && offset < range.end)
}

#[test]
fn a_repair_keeps_every_intact_event_and_makes_a_directory_that_opens() {
    let (mut refused, mut kept_all) = (0, 0);
    for seed in 0..10 {
        let (whole, outcome) = history(seed);
        let batches = batches(&whole);
        let (store, _) = open(&whole.copy()).unwrap();
        let held = entries(&store);
        let named = named(&whole);
        // Positions of the tail moved when it was opened: look at the files as they were.
        let moved_from = batches.last().map_or(u64::MAX, |(position, _)| position.0);
        let mut dice = Dice(seed * 31 + 5);
        for round in 0..40 {
            let disk = whole.copy();
            let hit = damage(&disk, &mut dice);
            let was_refused = open(&disk.copy()).is_err();
            refused += u64::from(was_refused);
            let repaired = match repair(&disk) {
                Ok(repaired) => repaired,
                Err(OpenError::UnknownFormat { .. }) => continue,
                Err(OpenError::Damaged { what, .. }) if what.contains("nothing tells what it was") => {
                    continue;
                }
                Err(other) => panic!("seed {seed}, round {round}, {hit:?}: {other}"),
            };
            assert!(repaired.recovery_epoch >= NOW);
            let checkup = check(&disk).unwrap();
            assert_eq!(checkup.refusal, None);
            let (store, recovery) = open(&disk).unwrap();
            assert!(!recovery.report.epoch_raised, "all damage was noted: {}", recovery.report);
            let now = entries(&store);
            assert!(now.values().all(|(_, body)| body.is_some()), "what cannot be read was taken out");
            let bodies: BTreeSet<&Vec<u8>> = now.values().filter_map(|(_, body)| body.as_ref()).collect();
            let mut all = true;
            for ((id, sequence), body) in outcome.proven.boxes.iter().flat_map(|(id, mailbox)| {
                mailbox.entries.iter().map(move |(sequence, body)| ((*id, *sequence), body))
            }) {
                let found = now.get(&(id, sequence)).and_then(|(_, body)| body.as_ref());
                assert!(found.is_none_or(|found| found == body), "another event under this sequence");
                all &= found.is_some();
                let (position, _) = held[&(id, sequence)];
                let at = batches.partition_point(|(batch, _)| *batch <= position);
                let (batch, bytes) = batches[at - 1];
                if position.0 < moved_from && !is_hit(batch, bytes, &hit) {
                    // Where the record of its transfer is lost it is where it was before; unless a
                    // checkpoint says that it left, and the page that says where to is lost as well.
                    let is_kept =
                        found.is_some() || bodies.contains(body) || !named.contains(&(id, sequence));
                    assert!(is_kept, "seed {seed}, round {round}, {hit:?}: {id}/{sequence} is gone");
                }
            }
            kept_all += u64::from(all);
            // It goes on: what is written after the repair is there after a power cut.
            goes_on(&disk, store);
        }
    }
    assert!(refused > 30 && kept_all > 100, "{refused} refused, {kept_all} kept in full");
}

fn goes_on(disk: &SimulatedDisk, mut store: Store) {
    let before = entries(&store);
    let mut batch = store.batch();
    batch.create_mailbox(MailboxId(999_999));
    batch.event(&[b"after"], &[(MailboxId(999_999), MailboxSequence(1))]);
    store.commit(batch).unwrap();
    drop(store);
    disk.crash(Loss::Cut);
    let (store, recovery) = open(disk).unwrap();
    assert!(recovery.report.damaged.iter().all(|region| region.is_known), "{}", recovery.report);
    let mut after = entries(&store);
    assert_eq!(after.remove(&(999_999, 1)).unwrap().1.unwrap(), b"after");
    let bodies = |all: Entries| all.into_iter().map(|(key, (_, body))| (key, body)).collect::<Vec<_>>();
    assert!(bodies(after) == bodies(before));
}

#[test]
fn a_repair_can_be_run_again_after_a_crash_at_any_operation() {
    let (whole, _) = history(3);
    for name in ["meta.a", "meta.b"] {
        flip(&whole, name, 20);
    }
    let segments: Vec<String> = whole.names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    assert!(segments.len() > 2, "{segments:?}");
    flip(&whole, &segments[1], 4096 + BATCH_HEADER + 30);
    whole.overwrite(&segments[0], vec![0xee; 9000]);
    assert!(open(&whole.copy()).is_err());
    let undisturbed = whole.copy();
    let told = repair(&undisturbed).unwrap();
    assert_eq!(told.moved.len(), 1);
    let wanted = entries(&open(&undisturbed).unwrap().0);
    let begun = whole.operations();
    for at in 0.. {
        let mut done = true;
        for loss in [Loss::Cut, Loss::Torn(at * 3 + 1), Loss::Torn(at * 5 + 2), Loss::ProcessOnly] {
            let disk = whole.copy();
            let crash_at = Some(disk.operations() + at);
            disk.set_faults(Faults { crash_at, ..Faults::default() });
            let finished = repair(&disk).is_ok();
            done &= finished;
            disk.crash(loss);
            let first = check(&disk).unwrap().identity.map_or(0, |identity| identity.recovery_epoch);
            let again = repair(&disk).unwrap_or_else(|e| panic!("operation {at}, {loss:?}: {e}"));
            assert!(again.recovery_epoch > first);
            let (store, _) = open(&disk).unwrap();
            let now = entries(&store);
            assert_eq!(now.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
            assert!(now.iter().all(|(key, (_, body))| *body == wanted[key].1), "operation {at}, {loss:?}");
            let kept: Vec<_> =
                files(&disk).into_iter().filter(|(name, _)| name.contains("unusable")).collect();
            assert!(kept.iter().any(|(_, bytes)| *bytes == vec![0xee; 9000]), "operation {at}, {loss:?}");
        }
        if done {
            assert!(at > 15, "{at} operations, from {begun}");
            return;
        }
    }
}

/// Two mailboxes, batches of three events each; no page tells of the entries again.
fn batches_of_three() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let options = crate::Options { mailbox_hot_max: 1_000, hot_bytes_max: 1 << 20, ..small() };
    let (mut store, _) = Store::open_on(Arc::new(disk.clone()), options, StoreId(42)).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    batch.create_mailbox(MailboxId(2));
    store.commit(batch).unwrap();
    for round in 0..5u64 {
        let mut batch = store.batch();
        for n in 1..=3u64 {
            let sequence = round * 3 + n;
            let entries = [(BOX, MailboxSequence(sequence)), (MailboxId(2), MailboxSequence(sequence))];
            batch.event(&[&[sequence as u8; 200]], &entries[..1 + usize::from(n == 2)]);
        }
        if round > 0 {
            batch.acked(BOX, 1..=1);
        }
        store.commit(batch).unwrap();
    }
    drop(store);
    disk.crash(Loss::Cut);
    disk
}

#[test]
fn the_other_events_of_a_damaged_batch_are_salvaged() {
    let whole = batches_of_three();
    let bytes = whole.contents("00000001.seg").unwrap();
    let body_of = |sequence: u8| bytes.windows(200).position(|window| window == [sequence; 200]).unwrap();
    for victim in [4u8, 5, 6, 7] {
        let disk = whole.copy();
        flip(&disk, "00000001.seg", body_of(victim) + 100);
        let checkup = check(&disk).unwrap();
        let first = &checkup.mailboxes[0];
        assert_eq!((first.salvaged, first.missing_max, first.unreadable), (2, 1, 0), "{checkup:?}");
        let (lost, _) = open(&disk.copy()).unwrap();
        assert_eq!(entries(&lost).keys().filter(|(id, _)| *id == 1).count(), 11);
        repair(&disk).unwrap();
        let (store, _) = open(&disk).unwrap();
        let now = entries(&store);
        let wanted: Vec<u64> = (2..=15).filter(|sequence| *sequence != u64::from(victim)).collect();
        let kept: Vec<u64> = now.keys().filter(|(id, _)| *id == 1).map(|(_, sequence)| *sequence).collect();
        assert_eq!(kept, wanted, "victim {victim}");
        assert!(
            now.iter().all(|((_, sequence), (_, body))| body.as_deref() == Some(&[*sequence as u8; 200]))
        );
        let second: BTreeSet<u64> =
            now.keys().filter(|(id, _)| *id == 2).map(|(_, sequence)| *sequence).collect();
        let wanted = [2, 5, 8, 11, 14].into_iter().filter(|sequence| *sequence != u64::from(victim));
        assert_eq!(second, wanted.collect());
    }
}

#[test]
fn an_event_of_a_damaged_batch_that_was_acked_since_does_not_come_back() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let mut batch = store.batch();
    batch.create_mailbox(BOX);
    store.commit(batch).unwrap();
    let mut batch = store.batch();
    for sequence in 1..=3u8 {
        batch.event(&[&[sequence; 100]], &[(BOX, MailboxSequence(sequence.into()))]);
    }
    store.commit(batch).unwrap();
    let mut batch = store.batch();
    batch.acked(BOX, 2..=2);
    batch.event(&[&[4; 100]], &[(BOX, MailboxSequence(4))]);
    store.commit(batch).unwrap();
    let mut batch = store.batch();
    batch.state(b"last");
    store.commit(batch).unwrap();
    drop(store);
    let bytes = disk.contents("00000001.seg").unwrap();
    let victim = bytes.windows(100).position(|window| window == [3; 100]).unwrap();
    flip(&disk, "00000001.seg", victim);
    repair(&disk).unwrap();
    let (store, _) = open(&disk).unwrap();
    let kept: Vec<u64> = entries(&store).keys().map(|(_, sequence)| *sequence).collect();
    assert_eq!(kept, [1, 4]);
}

#[test]
fn a_store_without_metadata_is_made_out_from_its_segments() {
    let (disk, outcome) = history(5);
    let whole = entries(&open(&disk.copy()).unwrap().0);
    disk.lose_file("meta.a");
    disk.lose_file("meta.b");
    assert!(matches!(open(&disk), Err(OpenError::NotAStore { .. })));
    let checkup = check(&disk).unwrap();
    assert!(checkup.identity.is_none() && checkup.refusal.is_some());
    assert!(checkup.meta.iter().all(|file| file.state == FileState::Missing));
    let repaired = repair(&disk).unwrap();
    assert_eq!(repaired.recovery_epoch, NOW);
    let (store, recovery) = open(&disk).unwrap();
    assert_eq!(store.id(), StoreId(42));
    outcome.proven.check(&store, Some(&recovery)).unwrap();
    assert_eq!(entries(&store).len(), whole.len());
}

#[test]
fn a_repair_of_nothing_says_so_and_makes_nothing() {
    let disk = SimulatedDisk::new();
    assert!(matches!(repair(&disk), Err(OpenError::Damaged { .. })));
    assert!(raise_epoch_on(&disk, NOW).is_err());
    disk.overwrite("00000001.seg", vec![7; 5000]);
    let before = files(&disk);
    assert!(matches!(repair(&disk), Err(OpenError::Damaged { .. })));
    assert!(files(&disk) == before);
}

#[test]
fn a_raised_epoch_is_never_one_that_was_used_and_a_crash_leaves_either() {
    let (whole, outcome) = history(2);
    let raised = raise_epoch_on(&whole.copy(), NOW).unwrap();
    assert_eq!((raised.before, raised.after), (0, NOW));
    // Put back and raised within one second, and once more: each time another number.
    let disk = whole.copy();
    let epochs: Vec<u64> = (0..3).map(|_| raise_epoch_on(&disk, NOW).unwrap().after).collect();
    assert_eq!(epochs, [NOW, NOW + 1, NOW + 2]);
    for at in 0..12 {
        for loss in [Loss::Cut, Loss::Torn(at), Loss::ProcessOnly] {
            let disk = whole.copy();
            let crash_at = Some(disk.operations() + at);
            disk.set_faults(Faults { crash_at, ..Faults::default() });
            let raised = raise_epoch_on(&disk, NOW);
            disk.crash(loss);
            let (store, recovery) = open(&disk).unwrap();
            let epoch = store.recovery_epoch();
            assert!(epoch == NOW || (epoch == 0 && raised.is_err()), "operation {at}, {loss:?}: {epoch}");
            outcome.proven.check(&store, Some(&recovery)).unwrap();
        }
    }
}

#[test]
fn a_dump_tells_every_record_and_goes_on_behind_damage() {
    let disk = batches_of_three();
    let dump = |disk: &SimulatedDisk| {
        let (mut bodies, mut damaged) = (Vec::new(), Vec::new());
        let mut last = Position(0);
        dump_on(Arc::new(disk.clone()), &mut |position, what| {
            assert!(position >= last, "in the order of the log");
            last = position;
            match what {
                Dumped::Event { body, entries } => bodies.push((body[0], entries.len())),
                Dumped::Damage { path, offset, bytes, .. } => {
                    damaged.push((path.clone(), *offset, *bytes));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        (bodies, damaged)
    };
    let all: Vec<(u8, usize)> = (1..=15).map(|n| (n, 1 + usize::from(n % 3 == 2))).collect();
    assert_eq!(dump(&disk), (all.clone(), vec![]));
    let bytes = disk.contents("00000001.seg").unwrap();
    let at = bytes.windows(200).position(|window| window == [8; 200]).unwrap();
    flip(&disk, "00000001.seg", at);
    let (before, operations) = (files(&disk), disk.operations());
    let (bodies, damaged) = dump(&disk);
    assert!(files(&disk) == before && disk.operations() == operations);
    assert_eq!(bodies, all.into_iter().filter(|(n, _)| !(7..=9).contains(n)).collect::<Vec<_>>());
    let [(path, offset, length)] = &damaged[..] else { panic!("{damaged:?}") };
    assert_eq!(path, Path::new("/simulated/00000001.seg"));
    assert!((*offset..offset + length).contains(&(at as u64)));
    // Broken off where it is asked for.
    let mut seen = 0;
    dump_on(Arc::new(disk), &mut |_, _| {
        seen += 1;
        if seen == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(seen, 4);
}
