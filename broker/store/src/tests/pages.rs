//! Entries in pages: memory stays bounded, nothing depends on one copy, an ack is an ack.

use std::sync::Arc;

use crate::format::{BatchView, SegmentHeader, read_batch};
use crate::index::locked;
use crate::page::Page;
use crate::record::{Record, Records, Scratch};
use crate::recovery::Replay;
use crate::scan::Sink;
use crate::simulated::{Faults, Loss, SimulatedDisk};
use crate::{
    CommitError, MailboxId, MailboxSequence, Options, Position, ReadError, Recovery, Store, StoreId,
};

use super::basic::small;
use super::model::{Dice, Model, open, run};

const BOX: MailboxId = MailboxId(1);
const OTHER: MailboxId = MailboxId(2);

fn body(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; 20 + (sequence % 7) as usize]
}

fn create(store: &mut Store, mailbox: MailboxId) {
    let mut batch = store.batch();
    batch.create_mailbox(mailbox);
    store.commit(batch).unwrap();
}

fn publish(store: &mut Store, mailbox: MailboxId, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        let mut batch = store.batch();
        batch.event(&[&body(sequence)], &[(mailbox, MailboxSequence(sequence))]);
        store.commit(batch).unwrap();
    }
}

fn ack(store: &mut Store, range: std::ops::RangeInclusive<u64>) -> Result<u64, CommitError> {
    let mut batch = store.batch();
    batch.acked(BOX, range);
    store.commit(batch).map(|committed| committed.removed[0])
}

fn checkpoint(store: &mut Store) -> u64 {
    let before = store.stats().bytes_written;
    store.checkpoint(&mut std::iter::empty()).unwrap();
    store.stats().bytes_written - before
}

/// A store with events 1 to `events` in one mailbox.
fn filled(events: u64) -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    create(&mut store, BOX);
    publish(&mut store, BOX, 1..=events);
    (disk, store)
}

/// Writes on, so that each page has its second copy.
fn settle(store: &mut Store) {
    for _ in 0..2 {
        let mut batch = store.batch();
        batch.state(&[7; 9000]);
        store.commit(batch).unwrap();
    }
}

/// Sequences that can be read, each with the right bytes.
fn readable(store: &Store, mailbox: MailboxId) -> Vec<u64> {
    let reader = store.reader();
    let mut found = Vec::new();
    let mut from = MailboxSequence(0);
    // In small steps, as consumers ask.
    while let Some((last, _)) = {
        let entries = reader.entries(mailbox, from, 3);
        for (sequence, position) in &entries {
            match reader.read(*position) {
                Ok(bytes) => {
                    assert_eq!(bytes[..], body(sequence.0)[..]);
                    found.push(sequence.0);
                }
                Err(ReadError::Damaged { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        entries.last().copied()
    } {
        from = MailboxSequence(last.0 + 1);
    }
    found
}

fn pages(store: &Store) -> Vec<Page> {
    locked(&store.ledger.index.get(BOX).unwrap()).pages(0, u64::MAX, true)
}

fn reopen(disk: &SimulatedDisk, store: Store) -> (Store, Recovery) {
    drop(store);
    disk.crash(Loss::Cut);
    open(disk).unwrap()
}

fn flip(disk: &SimulatedDisk, page: &Page, copy: usize) {
    let at = page.copies[copy];
    let name = format!("{:08}.seg", at.segment(small().segment_bytes));
    let mut bytes = disk.contents(&name).unwrap();
    bytes[at.offset(small().segment_bytes) as usize + 9] ^= 4;
    disk.overwrite(&name, bytes);
}

#[test]
fn a_backlog_takes_no_memory_to_speak_of_and_acks_go_through_it() {
    let (disk, mut store) = filled(2000);
    settle(&mut store);
    let all: Vec<u64> = (1..=2000).collect();
    let most = (small().mailbox_hot_max + 2 * small().page_entries) as u64;
    assert!(store.stats().entries_hot <= most, "{:?}", store.stats());
    assert!(pages(&store).len() > 400 && pages(&store).iter().all(|page| page.copies[1].0 != 0));
    assert_eq!(readable(&store, BOX), all);
    let (mut store, recovery) = reopen(&disk, store);
    assert!(recovery.report.is_clean(), "{}", recovery.report);
    assert!(store.stats().entries_hot <= most);
    assert_eq!(readable(&store, BOX), all);
    // From the front, in the middle of pages, around pages, and beyond the end.
    let mut left = all;
    for (first, last) in [(1, 3), (50, 50), (401, 600), (399, 603), (700, 1999), (2, 2000)] {
        let wanted = left.iter().filter(|at| (first..=last).contains(*at)).count();
        assert_eq!(ack(&mut store, first..=last).unwrap(), wanted as u64, "{first} to {last}");
        left.retain(|at| !(first..=last).contains(at));
        assert_eq!(readable(&store, BOX), left);
        (store, _) = reopen(&disk, store);
        assert_eq!(readable(&store, BOX), left);
    }
    let stats = store.reader().mailbox(BOX).unwrap();
    assert_eq!((stats.events, stats.bytes, stats.head, stats.next.0), (0, 0, None, 2001));
}

#[test]
fn all_mailboxes_together_keep_to_the_budget() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let budget = small().hot_bytes_max as u64 / 20;
    for id in 1..=60 {
        create(&mut store, MailboxId(id));
        publish(&mut store, MailboxId(id), 1..=10);
        assert!(store.stats().entries_hot <= budget + budget / 4, "{:?}", store.stats());
    }
    (1..=60).for_each(|id| assert_eq!(readable(&store, MailboxId(id)), (1..=10).collect::<Vec<_>>()));
}

#[test]
fn a_checkpoint_does_not_grow_with_the_backlog() {
    let options = Options { page_entries: 64, mailbox_hot_max: 192, hot_bytes_max: 1 << 20, ..small() };
    let disk = Arc::new(SimulatedDisk::new());
    let (mut store, _) = Store::open_on(disk, options, StoreId(1)).unwrap();
    create(&mut store, BOX);
    publish(&mut store, BOX, 1..=300);
    let little = checkpoint(&mut store);
    publish(&mut store, BOX, 301..=6000);
    let much = checkpoint(&mut store);
    assert!(much - little < 5700 / 64 * 60, "{little}, then {much} bytes");
}

#[test]
fn a_damaged_copy_of_a_page_costs_nothing() {
    let (disk, mut store) = filled(60);
    settle(&mut store);
    checkpoint(&mut store);
    checkpoint(&mut store);
    drop(store);
    let count = {
        let (store, _) = open(&disk.copy()).unwrap();
        pages(&store).len()
    };
    assert!(count > 8);
    for copy in 0..2 {
        let disk = disk.copy();
        let (store, _) = open(&disk).unwrap();
        pages(&store).iter().for_each(|page| flip(&disk, page, copy));
        let (mut store, _) = reopen(&disk, store);
        assert_eq!(pages(&store).len(), count);
        assert_eq!(readable(&store, BOX), (1..=60).collect::<Vec<_>>());
        (2..=60).step_by(2).for_each(|at| assert_eq!(ack(&mut store, at..=at).unwrap(), 1));
        assert_eq!(readable(&store, BOX), (1..=60).step_by(2).collect::<Vec<_>>());
    }
}

#[test]
fn a_page_of_which_no_copy_can_be_read_is_made_out_from_the_events() {
    let (disk, mut store) = filled(60);
    ack(&mut store, 7..=7).unwrap();
    settle(&mut store);
    checkpoint(&mut store);
    checkpoint(&mut store);
    assert!(!readable(&store, BOX).contains(&7));
    for page in pages(&store) {
        flip(&disk, &page, 0);
        flip(&disk, &page, 1);
    }
    let (mut store, _) = reopen(&disk, store);
    // What was acked before its page was written comes again.
    let held: Vec<u64> = (1..=60).collect();
    assert_eq!(readable(&store, BOX), held);
    // Whole pages go without being read, parts of them are made out.
    let before = store.stats().entries_hot;
    let whole = pages(&store)[3].clone();
    assert_eq!(ack(&mut store, whole.first..=whole.last).unwrap(), u64::from(whole.live));
    assert_eq!(store.stats().entries_hot, before);
    let part = pages(&store)[5].clone();
    assert_eq!(ack(&mut store, part.first..=part.first).unwrap(), 1);
    let gone = |at: &u64| (whole.first..=whole.last).contains(at) || *at == part.first;
    let left: Vec<u64> = held.into_iter().filter(|at| !gone(at)).collect();
    assert_eq!(readable(&store, BOX), left);
}

#[test]
fn a_disk_that_does_not_give_a_page_is_no_reason_to_give_entries_up() {
    let (disk, store) = filled(60);
    let (mut store, _) = reopen(&disk, store);
    let (reader, page) = (store.reader(), pages(&store)[4].clone());
    disk.set_faults(Faults { fail_reads: true, ..Faults::default() });
    let entries = reader.entries(BOX, MailboxSequence(page.first), 4);
    assert_eq!(entries[0].0.0, page.first);
    assert!(entries.iter().all(|(_, position)| matches!(reader.read(*position), Err(ReadError::Io { .. }))));
    disk.set_faults(Faults::default());
    assert!(entries.iter().all(|(_, position)| matches!(reader.read(*position), Err(ReadError::Io { .. }))));
    disk.set_faults(Faults { fail_reads: true, ..Faults::default() });
    let stopped = ack(&mut store, page.first..=page.first).unwrap_err();
    assert!(matches!(stopped, CommitError::Stopped { .. }));
    // It names the file that cannot be read, once, and what to do.
    let (said, at) = (stopped.to_string(), page.places().last().unwrap());
    let name = format!("{:08}.seg", at.segment(small().segment_bytes));
    assert!(said.contains(&name) && said.matches("cannot").count() == 1, "{said}");
    let (store, recovery) = reopen(&disk, store);
    assert!(recovery.report.is_undamaged(), "{}", recovery.report);
    let left: Vec<u64> = (1..=60).filter(|at| *at != page.first).collect();
    assert_eq!(readable(&store, BOX), left);
}

#[test]
fn what_lies_in_pages_can_be_transferred() {
    let (disk, mut store) = filled(60);
    create(&mut store, OTHER);
    let mut batch = store.batch();
    let moved = batch.transfer(BOX, 3..=40, OTHER, MailboxSequence(3)).unwrap();
    assert_eq!(store.commit(batch).unwrap().removed[moved.0 as usize], 38);
    for _ in 0..2 {
        assert_eq!(readable(&store, BOX), [1, 2].into_iter().chain(41..=60).collect::<Vec<_>>());
        assert_eq!(readable(&store, OTHER), (3..=40).collect::<Vec<_>>());
        (store, _) = reopen(&disk, store);
    }
}

#[test]
fn a_page_given_up_is_kept_for_the_checkpoints_that_name_it() {
    let (disk, mut store) = filled(40);
    checkpoint(&mut store);
    checkpoint(&mut store);
    // The events and pages lie in segments that hold nothing live any more but for one entry each.
    (1..=40).filter(|at| at % 4 != 0).for_each(|at| drop(ack(&mut store, at..=at)));
    (1..=40).filter(|at| at % 8 != 0).for_each(|at| drop(ack(&mut store, at..=at)));
    publish(&mut store, BOX, 41..=41);
    let left = readable(&store, BOX);
    let (store, recovery) = reopen(&disk, store);
    assert!(recovery.report.is_clean(), "{}", recovery.report);
    assert_eq!(readable(&store, BOX), left);
}

/// Whether the batches of the last checkpoint are a complete one once what is `left_out` is gone.
fn is_complete(disk: &SimulatedDisk, store: &Store, left_out: fn(&Record<'_>) -> bool) -> bool {
    let mut position = store.checkpoints.last;
    let name = crate::segments::segment_name(position.segment(small().segment_bytes));
    let bytes = disk.contents(&name).unwrap();
    let salt = SegmentHeader::decode(&bytes).unwrap().salt();
    let mut replay = Replay::new(store.ledger.anew());
    let at = |position: Position| {
        read_batch(&bytes[position.offset(small().segment_bytes) as usize..], position, &salt)
    };
    while let Some(batch) = at(position) {
        let mut body = Vec::new();
        let (mut records, mut scratch) = (Records::new(batch.body), Scratch::default());
        let mut next = records.next(&mut scratch).unwrap();
        while let Some((begin, record)) = next {
            next = records.next(&mut scratch).unwrap();
            let end = next.map_or(batch.body.len(), |(end, _)| end);
            if !left_out(&record) {
                body.extend_from_slice(&batch.body[begin..end]);
            }
        }
        replay.on_batch(&BatchView { body: &body, ..batch }).unwrap();
        position = Position(position.0 + batch.bytes as u64);
    }
    replay.is_based
}

#[test]
fn a_checkpoint_that_lacks_what_was_given_up_is_not_complete() {
    let (disk, mut store) = filled(60);
    let page = pages(&store)[2].clone();
    ack(&mut store, page.first..=page.last).unwrap();
    checkpoint(&mut store);
    assert!(is_complete(&disk, &store, |_| false));
    assert!(!is_complete(&disk, &store, |record| matches!(record, Record::CheckpointGivenUp { .. })));
}

fn segments_of(bytes: u64, entries: usize) -> Options {
    Options {
        segment_bytes: bytes,
        page_entries: entries,
        mailbox_hot_max: 3 * entries,
        hot_bytes_max: 8 << 20,
        checkpoint_after_bytes: 64 << 20,
        ..small()
    }
}

#[test]
fn the_two_copies_of_a_page_lie_far_apart() {
    let disk = SimulatedDisk::new();
    let options = segments_of(1 << 20, 64);
    let open = || Store::open_on(Arc::new(disk.clone()), options.clone(), StoreId(1)).unwrap();
    let far = |from: crate::Position, to: crate::Position| {
        from.segment(1 << 20) != to.segment(1 << 20) || to.0.saturating_sub(from.0) >= 64 << 10
    };
    let (mut store, _) = open();
    create(&mut store, BOX);
    let mut next = 1;
    let mut publish = |store: &mut Store, commits: u64| {
        for _ in 0..commits {
            let mut batch = store.batch();
            for at in next..next + 40 {
                batch.event(&[&body(at)], &[(BOX, MailboxSequence(at))]);
            }
            store.commit(batch).unwrap();
            next += 40;
        }
    };
    publish(&mut store, 500);
    let single: Vec<u64> = {
        let (single, double): (Vec<_>, Vec<_>) =
            pages(&store).into_iter().partition(|page| page.copies[1].0 == 0);
        assert!(double.len() > 200, "{}", double.len());
        assert!(double.iter().all(|page| far(page.copies[1], page.copies[0])), "{double:?}");
        let end = crate::Position::new(store.active.index, store.offset.saturating_sub(8 << 10), 1 << 20);
        assert!(single.iter().all(|page| !far(page.copies[0], end)), "{single:?}");
        single.iter().map(|page| page.first).collect()
    };
    assert!(!single.is_empty());
    // What was due is so after a start.
    drop(store);
    disk.crash(Loss::Cut);
    let (mut store, _) = open();
    publish(&mut store, 60);
    let late: Vec<_> = pages(&store).into_iter().filter(|page| single.contains(&page.first)).collect();
    assert_eq!(late.len(), single.len());
    assert!(late.iter().all(|page| page.copies[1].0 != 0 && far(page.copies[1], page.copies[0])), "{late:?}");
}

#[test]
fn copies_that_are_moved_lie_far_apart_too() {
    const SIZE: u64 = 1 << 20;
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open_on(Arc::new(disk), segments_of(SIZE, 64), StoreId(1)).unwrap();
    create(&mut store, BOX);
    publish(&mut store, BOX, 1..=700);
    let (mut moves, mut before) = (0, pages(&store));
    for round in 0..400 {
        let mut batch = store.batch();
        batch.state(&vec![7; 30 << 10]);
        store.commit(batch).unwrap();
        if round % 40 == 39 {
            checkpoint(&mut store);
        }
        let now = pages(&store);
        for page in now.iter().filter(|page| page.copies[1].0 != 0) {
            let [from, to] = [page.copies[1], page.copies[0]];
            let is_far = from.segment(SIZE) != to.segment(SIZE) || to.0.abs_diff(from.0) >= 64 << 10;
            assert!(is_far, "round {round}: {page:?}");
        }
        moves += now.iter().zip(&before).filter(|(now, before)| now.copies != before.copies).count();
        before = now;
    }
    assert!(moves > 4 * before.len(), "{moves} moves of {} pages", before.len());
    let oldest = store.table.below(u64::MAX)[0];
    assert!(before.iter().all(|page| page.places().all(|copy| copy.segment(SIZE) >= oldest)));
}

#[test]
fn a_page_fits_into_a_segment_whatever_the_options_say() {
    let disk = Arc::new(SimulatedDisk::new());
    // The store keeps its small segments.
    Store::open_on(disk.clone(), Options { segment_bytes: 16 << 10, ..Options::default() }, StoreId(1))
        .unwrap();
    let options =
        Options { page_entries: 1 << 16, mailbox_hot_max: 0, hot_bytes_max: 6000 * 20, ..Options::default() };
    let (mut store, _) = Store::open_on(disk, options, StoreId(1)).unwrap();
    create(&mut store, BOX);
    for at in 0..100 {
        let mut batch = store.batch();
        // Of all sizes and in any order, so that each entry takes many bytes.
        (0..100).for_each(|more| {
            let sequence = at * 100 + more + 1;
            batch.event(
                &[&vec![7; (sequence * sequence % 31) as usize]],
                &[(BOX, MailboxSequence(sequence * 3))],
            );
        });
        store.commit(batch).unwrap();
    }
    assert!(store.stats().entries_hot <= 6000 && pages(&store).len() > 10, "{:?}", store.stats());
}

#[test]
fn one_commit_does_not_pay_for_the_pages_of_all_mailboxes() {
    let disk = Arc::new(SimulatedDisk::new());
    let options = Options { hot_bytes_max: 64 << 20, ..segments_of(16 << 20, 1024) };
    let (mut store, _) = Store::open_on(disk, options, StoreId(1)).unwrap();
    let boxes = 200u64;
    (1..=boxes).for_each(|id| create(&mut store, MailboxId(id)));
    let (mut most, mut most_hot) = (0, 0);
    for round in 0..120u64 {
        let before = store.stats().bytes_written;
        let mut batch = store.batch();
        for at in round * 40 + 1..=round * 40 + 40 {
            let to: Vec<_> = (1..=boxes).map(|id| (MailboxId(id), MailboxSequence(at))).collect();
            batch.event(&[&body(at * at % 31)], &to);
        }
        let bytes = store.commit(batch).unwrap().bytes;
        most = most.max(store.stats().bytes_written - before - bytes);
        most_hot = most_hot.max(store.stats().entries_hot);
    }
    assert!(store.stats().pages > 400, "{:?}", store.stats());
    assert!(most < 7 << 18, "{most} bytes of pages after one commit");
    // And it keeps up.
    assert!(most_hot < boxes * 3400, "{most_hot}");
}

#[test]
fn what_was_made_out_once_is_not_made_out_for_each_read() {
    let (disk, mut store) = filled(60);
    settle(&mut store);
    (0..2).for_each(|_| {
        checkpoint(&mut store);
    });
    let page = pages(&store)[5].clone();
    flip(&disk, &page, 0);
    flip(&disk, &page, 1);
    let (store, _) = reopen(&disk, store);
    let reader = store.reader();
    let read = || {
        let before = disk.bytes_read();
        assert_eq!(reader.entries(BOX, MailboxSequence(page.first), 1)[0].0.0, page.first);
        disk.bytes_read() - before
    };
    assert!(read() > small().segment_bytes);
    assert!(read() <= 2 * 4096);
}

/// What the ledger has counted step by step is what counting anew gives.
fn check_census(store: &mut Store, why: &str) {
    let counted: Vec<_> = store.ledger.census.all().collect();
    let hot = store.ledger.hot();
    store.ledger.relocate(crate::Position(u64::MAX), crate::Position(u64::MAX));
    assert_eq!(counted, store.ledger.census.all().collect::<Vec<_>>(), "{why}");
    let all = store.ledger.index.all();
    assert_eq!(hot, all.iter().map(|(_, mailbox)| locked(mailbox).hot()).sum::<u64>(), "{why}");
}

#[test]
fn random_runs_use_pages_and_count_right() {
    let mut pages = 0;
    for seed in 0..25 {
        let disk = SimulatedDisk::new();
        let (mut store, _) = open(&disk).unwrap();
        let mut model = Model::default();
        for life in 0..3 {
            let outcome = run(&mut store, model, &mut Dice(seed * 7 + life), 80);
            pages += store.stats().pages;
            check_census(&mut store, &format!("seed {seed}, life {life}"));
            let (reopened, recovery) = reopen(&disk, store);
            store = reopened;
            model = outcome.check(&store, &recovery).unwrap();
            check_census(&mut store, &format!("seed {seed}, life {life}, reopened"));
        }
    }
    assert!(pages > 2000, "{pages}");
}
