//! A sector that the disk does not give: what lies beside it is kept, and a repair ends it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::BATCH_HEADER;
use crate::index::locked;
use crate::simulated::{Faults, Loss, SimulatedDisk};
use crate::{
    Checkup, MailboxId, MailboxSequence, OpenError, Options, Position, Repaired, Store, StoreId, check_on,
    repair_on,
};

use super::basic::small;
use super::model::open;

const BOX: MailboxId = MailboxId(1);
const SECTOR: u64 = 4096;
/// Bytes of a batch of one event in [`worn`] at most.
const BATCH_MAX: u64 = 160;

fn body(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; 30]
}

fn create(store: &mut Store, mailboxes: u64) {
    let mut batch = store.batch();
    (1..=mailboxes).for_each(|id| batch.create_mailbox(MailboxId(id)));
    store.commit(batch).unwrap();
}

fn state(store: &mut Store) {
    let mut batch = store.batch();
    batch.state(&[7; 9000]);
    store.commit(batch).unwrap();
}

fn publish(store: &mut Store, to: &[u64], sequence: u64) -> Position {
    let entries: Vec<_> = to.iter().map(|id| (MailboxId(*id), MailboxSequence(sequence))).collect();
    let mut batch = store.batch();
    batch.event(&[&body(sequence)], &entries);
    store.commit(batch).unwrap().positions[0]
}

/// Entries that can be read, each with the right bytes; the others must not be there.
fn held(store: &Store, id: u64) -> Vec<u64> {
    let reader = store.reader();
    let entries = reader.entries(MailboxId(id), MailboxSequence(0), usize::MAX);
    let right = |(sequence, position): (MailboxSequence, Position)| {
        assert_eq!(reader.read(position).unwrap()[..], body(sequence.0)[..], "mailbox {id}");
        sequence.0
    };
    entries.into_iter().map(right).collect()
}

fn name_of(position: Position) -> String {
    crate::segments::segment_name(position.segment(small().segment_bytes))
}

/// A store of which sectors went bad.
struct Worn {
    disk: SimulatedDisk,
    /// The events of the first mailbox and where they lie, moved ones where they were moved to.
    events: Vec<(MailboxSequence, Position)>,
    /// What was acked of it.
    acked: u64,
    /// What the disk does not give.
    bad: Vec<(String, Range<u64>)>,
}

impl Worn {
    /// Events of the first mailbox that nothing in the bad sectors has to do with.
    fn untouched(&self) -> Vec<u64> {
        let is_near = |position: &Position| {
            let at = position.offset(small().segment_bytes);
            self.bad.iter().any(|(name, sector)| {
                name_of(*position) == *name
                    && at + BATCH_MAX > sector.start
                    && at < sector.end + BATCH_HEADER as u64
            })
        };
        self.events.iter().filter(|(_, position)| !is_near(position)).map(|(at, _)| at.0).collect()
    }
}

/// Both copies of an old page lie in bad sectors; a part of the page was acked since the last
/// checkpoint, between events whose destinations were defined before. So many large state records
/// come last.
fn worn(states: u64) -> Worn {
    worn_with(states, Moving::No)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Moving {
    Yes,
    No,
}

fn worn_with(states: u64, moving: Moving) -> Worn {
    let disk = SimulatedDisk::new();
    let idle_segments = if moving == Moving::Yes { 0 } else { 1000 };
    let options = Options { idle_segments, ..small() };
    let (mut store, _) = Store::open_on(Arc::new(disk.clone()), options, StoreId(42)).unwrap();
    create(&mut store, 3);
    (1..=60).for_each(|at| _ = publish(&mut store, &[1], at));
    (0..5).for_each(|_| state(&mut store));
    (0..2).for_each(|_| store.checkpoint(&mut std::iter::empty()).unwrap());
    (1..=3).for_each(|at| _ = publish(&mut store, &[2, 3], at));
    let page = locked(&store.ledger.index.get(BOX).unwrap()).pages(0, u64::MAX, true)[8].clone();
    let mut batch = store.batch();
    batch.acked(BOX, page.first..=page.first);
    batch.event(&[&body(4)], &[(MailboxId(2), MailboxSequence(4))]);
    store.commit(batch).unwrap();
    (5..=8).for_each(|at| _ = publish(&mut store, &[2, 3], at));
    assert!(store.stats().events_by_set > 5);
    (0..states).for_each(|_| state(&mut store));
    let events = store.reader().entries(BOX, MailboxSequence(0), usize::MAX);
    drop(store);
    disk.crash(Loss::Cut);
    assert!(page.copies[1].0 != 0);
    let sector = |at: Position| at.offset(small().segment_bytes) / SECTOR * SECTOR;
    let bad = page.copies.map(|at| (name_of(at), sector(at)..sector(at) + SECTOR)).to_vec();
    with(Worn { disk, events, acked: page.first, bad })
}

/// Makes the disk as bad as the store says.
fn with(worn: Worn) -> Worn {
    worn.disk.set_faults(Faults { bad: worn.bad.clone(), ..Faults::default() });
    worn
}

fn check(disk: &SimulatedDisk) -> Checkup {
    check_on(Arc::new(disk.clone()), &mut |_| {}).unwrap()
}

fn repair(disk: &SimulatedDisk) -> Result<Repaired, OpenError> {
    repair_on(Arc::new(disk.clone()), 5, &mut |_| {})
}

#[test]
fn a_page_that_cannot_be_read_takes_nothing_along() {
    let worn = worn(0);
    let checkup = check(&worn.disk);
    assert_eq!((checkup.events_unresolved, checkup.entries_misfit), (0, 0), "{checkup:?}");
    let of = |index: usize| (checkup.mailboxes[index].stats.events, checkup.mailboxes[index].unreadable);
    assert_eq!((of(1), of(2)), ((8, 0), (7, 0)));
    // The sectors are what is damaged, and nothing else.
    let is_bad = |path: &Path| worn.bad.iter().any(|(name, _)| path.ends_with(name));
    let elsewhere = checkup.damaged.iter().filter(|region| !is_bad(&region.path)).count();
    assert_eq!((elsewhere, checkup.damaged.is_empty()), (0, false), "{:?}", checkup.damaged);
}

#[test]
fn a_bad_sector_is_refused_with_what_to_do_and_a_repair_does_it() {
    // The checkpoint of the repair lies in one segment, or in several.
    [0, 4].into_iter().for_each(refuse_and_repair);
}

fn refuse_and_repair(states: u64) {
    let worn = worn(states);
    let files = || -> Vec<_> {
        worn.disk.names().into_iter().map(|name| (name.clone(), worn.disk.contents(&name))).collect()
    };
    let before = files();
    let refused = open(&worn.disk).unwrap_err().to_string();
    assert!(refused.contains("fanal store repair"), "{refused}");
    assert_eq!(check(&worn.disk).refusal, Some(refused));
    assert!(files() == before);
    let repaired = repair(&worn.disk).unwrap();
    worn.bad.iter().for_each(|(name, sector)| check_copies(&worn.disk, &repaired, name, sector));
    for life in 1..=3 {
        let (mut store, recovery) = open(&worn.disk).unwrap();
        assert_eq!(held(&store, 2), (1..=7 + life).collect::<Vec<_>>(), "life {life}");
        assert_eq!(held(&store, 3), [1, 2, 3, 5, 6, 7, 8]);
        let kept = held(&store, 1);
        assert!(worn.untouched().iter().all(|at| kept.contains(at)), "{kept:?} {}", recovery.report);
        assert!(!kept.contains(&worn.acked) && worn.untouched().len() > 20);
        // The disk is as bad as before, and nothing depends on it.
        publish(&mut store, &[2], 8 + life);
        drop(store);
        worn.disk.crash(Loss::Cut);
    }
    let (mut store, _) = open(&worn.disk).unwrap();
    for at in held(&store, 1) {
        let mut batch = store.batch();
        batch.acked(BOX, at..=at);
        assert_eq!(store.commit(batch).unwrap().removed, [1]);
    }
    drop(store);
    worn.disk.crash(Loss::Cut);
    assert!(held(&open(&worn.disk).unwrap().0, 1).is_empty());
}

/// What was copied aside of a segment has zeroes where the disk gives nothing, and says so.
fn check_copies(disk: &SimulatedDisk, repaired: &Repaired, name: &str, bad: &Range<u64>) {
    let of_segment = |path: &&PathBuf| path.to_string_lossy().contains(name);
    let copies: Vec<_> = repaired.copied.iter().filter(of_segment).collect();
    assert!(!copies.is_empty(), "{:?}", repaired.copied);
    for copy in copies.iter().map(|path| path.file_name().unwrap().to_str().unwrap()) {
        assert!(copy.ends_with(".with-zeroes"), "{copy}");
        let copied = disk.contents(&format!("quarantine/{copy}")).unwrap();
        let begin: usize = copy.split('.').nth(2).unwrap().parse().unwrap();
        let mut wanted = disk.contents(name).unwrap();
        wanted[bad.start as usize..bad.end as usize].fill(0);
        assert!(copied == wanted[begin..begin + copied.len()]);
    }
}

/// The store of [`worn`] with other bytes gone bad.
fn with_bad(worn: &Worn, name: &str, sector: Range<u64>) -> Worn {
    let bad = vec![(name.into(), sector)];
    with(Worn { disk: worn.disk.copy(), events: worn.events.clone(), acked: worn.acked, bad })
}

#[test]
fn any_bad_sector_is_refused_with_what_to_do_or_told_and_a_repair_ends_it() {
    let wholes = [worn_with(4, Moving::No), worn_with(4, Moving::Yes)];
    wholes.iter().for_each(any_bad_sector_ends);
}

fn any_bad_sector_ends(whole: &Worn) {
    let (mut came_up, mut refused) = (0, 0);
    for name in whole.disk.names().into_iter().filter(|name| name.ends_with(".seg")) {
        for at in (0..small().segment_bytes).step_by(SECTOR as usize) {
            let why = format!("{name} from {at}");
            let worn = with_bad(whole, &name, at..at + SECTOR);
            match open(&with_bad(whole, &name, at..at + SECTOR).disk) {
                Ok(_) => came_up += 1,
                Err(error @ OpenError::Unread { .. }) => {
                    assert!(error.to_string().contains("fanal store repair"));
                    refused += 1;
                }
                Err(other) => panic!("{why}: {other}"),
            }
            repair(&worn.disk).unwrap_or_else(|error| panic!("{why}: {error}"));
            let (store, recovery) = open(&worn.disk).unwrap_or_else(|error| panic!("{why}: {error}"));
            let kept = held(&store, 1);
            let lost: Vec<_> = worn.untouched().into_iter().filter(|at| !kept.contains(at)).collect();
            assert!(lost.is_empty(), "{why}: {lost:?} {}", recovery.report);
        }
    }
    assert!(came_up > 10 && refused > 3, "{came_up} came up, {refused} did not");
}

#[test]
fn metadata_that_cannot_be_read_are_no_reason_to_lose_the_store() {
    let whole = worn(0);
    let worn = with_bad(&whole, "meta.a", 0..SECTOR);
    let refused = open(&worn.disk).unwrap_err().to_string();
    assert!(refused.contains("meta.a") && refused.contains("fanal store repair"), "{refused}");
    assert!(check(&worn.disk).identity.is_some());
}

#[test]
fn an_event_beside_a_bad_sector_can_be_read() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    create(&mut store, 1);
    let events: Vec<_> = (1..=10).map(|at| publish(&mut store, &[1], at)).collect();
    let reader = store.reader();
    let begin = events[5].offset(small().segment_bytes);
    disk.set_faults(Faults { bad: vec![(name_of(events[5]), begin..begin + 1)], ..Faults::default() });
    for (position, at) in events.into_iter().zip(1u64..) {
        assert_eq!(reader.read(position).is_ok_and(|bytes| bytes[..] == body(at)[..]), at != 6, "event {at}");
    }
}
