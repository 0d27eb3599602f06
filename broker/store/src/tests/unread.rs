//! A sector that the disk does not give: what lies beside it is kept, and a repair ends it.

use std::ops::Range;
use std::sync::Arc;

use crate::format::BATCH_HEADER;
use crate::index::locked;
use crate::simulated::{Faults, Loss, SimulatedDisk};
use crate::{Checkup, MailboxId, MailboxSequence, OpenError, Position, Repaired, Store, check_on, repair_on};

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

/// A store of which one sector went bad.
struct Worn {
    disk: SimulatedDisk,
    /// Where the events of the first mailbox lie.
    events: Vec<Position>,
    /// What was acked of it.
    acked: u64,
    name: String,
    sector: Range<u64>,
}

impl Worn {
    /// Events of the first mailbox that nothing in the bad sector has to do with.
    fn untouched(&self) -> Vec<u64> {
        let is_near = |position: &Position| {
            let at = position.offset(small().segment_bytes);
            name_of(*position) == self.name
                && at + BATCH_MAX > self.sector.start
                && at < self.sector.end + BATCH_HEADER as u64
        };
        let all = self.events.iter().zip(1u64..);
        all.filter(|(position, at)| !is_near(position) && *at != self.acked).map(|(_, at)| at).collect()
    }
}

/// Both copies of an old page lie in a bad sector; a part of the page was acked since the last
/// checkpoint, between events whose destinations were defined before. So many large state records
/// come last.
fn worn(states: u64) -> Worn {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    create(&mut store, 3);
    let events = (1..=60).map(|at| publish(&mut store, &[1], at)).collect();
    let page = locked(&store.ledger.index.get(BOX).unwrap()).pages(0, u64::MAX, true)[8].clone();
    (0..5).for_each(|_| state(&mut store));
    (0..2).for_each(|_| store.checkpoint(&mut std::iter::empty()).unwrap());
    (1..=3).for_each(|at| _ = publish(&mut store, &[2, 3], at));
    let mut batch = store.batch();
    batch.acked(BOX, page.first..=page.first);
    batch.event(&[&body(4)], &[(MailboxId(2), MailboxSequence(4))]);
    store.commit(batch).unwrap();
    (5..=8).for_each(|at| _ = publish(&mut store, &[2, 3], at));
    assert!(store.stats().events_by_set > 5);
    (0..states).for_each(|_| state(&mut store));
    drop(store);
    disk.crash(Loss::Cut);
    let sector = |at: Position| at.offset(small().segment_bytes) / SECTOR * SECTOR;
    let (last, first) = (page.copies[0], page.copies[1]);
    assert_eq!(name_of(first), name_of(last));
    let sectors = sector(first).min(sector(last))..sector(first).max(sector(last)) + SECTOR;
    let bad = Some((name_of(last), sectors.clone()));
    disk.set_faults(Faults { bad, ..Faults::default() });
    Worn { disk, events, acked: page.first, name: name_of(last), sector: sectors }
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
    // The sector is what is damaged, and nothing else.
    let elsewhere = checkup.damaged.iter().filter(|region| !region.path.ends_with(&worn.name)).count();
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
    let copy = repaired.copied.iter().find(|path| path.to_string_lossy().contains(&worn.name)).unwrap();
    let copy = copy.file_name().unwrap().to_str().unwrap();
    assert!(copy.ends_with(".with-zeroes"), "{copy}");
    let copied = worn.disk.contents(&format!("quarantine/{copy}")).unwrap();
    let begin: usize = copy.split('.').nth(2).unwrap().parse().unwrap();
    let mut wanted = worn.disk.contents(&worn.name).unwrap();
    wanted[worn.sector.start as usize..worn.sector.end as usize].fill(0);
    assert!(copied == wanted[begin..begin + copied.len()] && copied.len() as u64 > SECTOR);
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

/// The store of [`worn`] with other bytes gone bad.
fn with_bad(worn: &Worn, name: &str, sector: Range<u64>) -> Worn {
    let disk = worn.disk.copy();
    disk.set_faults(Faults { bad: Some((name.into(), sector.clone())), ..Faults::default() });
    Worn { disk, events: worn.events.clone(), name: name.into(), sector, ..*worn }
}

#[test]
fn any_bad_sector_is_refused_with_what_to_do_or_told_and_a_repair_ends_it() {
    let whole = worn(4);
    let (mut came_up, mut refused) = (0, 0);
    for name in whole.disk.names().into_iter().filter(|name| name.ends_with(".seg")) {
        for at in (0..small().segment_bytes).step_by(SECTOR as usize) {
            let why = format!("{name} from {at}");
            let worn = with_bad(&whole, &name, at..at + SECTOR);
            match open(&with_bad(&whole, &name, at..at + SECTOR).disk) {
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
    disk.set_faults(Faults { bad: Some((name_of(events[5]), begin..begin + 1)), ..Faults::default() });
    for (position, at) in events.into_iter().zip(1u64..) {
        assert_eq!(reader.read(position).is_ok_and(|bytes| bytes[..] == body(at)[..]), at != 6, "event {at}");
    }
}
