//! Sets of destinations that repeat: logged once in a segment and referred to.
//!
//! Invariants:
//! 1. Where an event goes follows from its own record and the definition that it names, and from no
//!    other event: a damaged batch never shifts the sequences of a later one.
//! 2. A definition counts in its segment only, and the writer refers to none from before the last
//!    checkpoint: a segment is read by itself, and so is the log from a checkpoint on.
//! 3. The first batch after it that uses a definition repeats it: no damaged batch takes another
//!    batch's destinations with it.
//! 4. The writer defines within a budget of memory for each segment, so that readers, which keep a
//!    segment's definitions while they are in it, need no more.
//!
//! A set is defined when it is seen for the second time. Which sets were seen is remembered by hash,
//! in bounded memory: a set that is forgotten costs bytes, nothing else.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::batch::Batch;
use crate::format::BATCH_HEADER;
use crate::id::{MailboxId, MailboxSequence};
use crate::record::{
    EventMark, Record, Records, Scratch, SetReference, put_set, put_set_reference, read_entries,
    turn_into_set_event,
};
use crate::varint::Malformed;

/// Hashes of sets seen once that are remembered, in each of two generations.
const SEEN_MAX: usize = 1 << 15;
/// Exceptions of an event may take one byte for so many destinations; beyond that a new definition
/// is the cheaper one.
const EXCEPTIONS_SHARE: usize = 4;
/// Bytes of memory that a destination of a definition takes.
const DESTINATION_BYTES: usize = 16;

/// The destinations of a set, ascending by mailbox, and what each adds to an event's ordinal to make
/// its sequence.
pub(crate) type Destinations = [(MailboxId, u64)];

/// A run of destinations of a set whose sequences lie further on than the definition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// What is added, modulo 2^64.
    pub(crate) more: u64,
}

/// The definitions of one segment, as far as it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetTable {
    segment: u64,
    sets: BTreeMap<u64, Defined>,
    destinations: usize,
}

#[derive(Clone, Debug)]
struct Defined {
    set: Arc<Destinations>,
    copies: u32,
}

impl SetTable {
    /// Says which segment is read; definitions of another one are dropped.
    pub(crate) fn enter(&mut self, segment: u64) {
        if self.segment != segment {
            *self = SetTable { segment, ..SetTable::default() };
        }
    }

    /// Takes a definition in, or its copy.
    pub(crate) fn define(&mut self, number: u64, set: Vec<(MailboxId, u64)>) {
        let destinations = set.len();
        let known = self.sets.entry(number).or_insert_with(|| {
            self.destinations += destinations;
            Defined { set: set.into(), copies: 0 }
        });
        known.copies += 1;
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Destinations>> {
        self.sets.get(&number).map(|defined| &defined.set)
    }

    /// One more than the highest number.
    pub(crate) fn next_number(&self) -> u64 {
        self.sets.last_key_value().map_or(1, |(number, _)| number + 1)
    }

    fn is_copied(&self, number: u64) -> bool {
        self.sets.get(&number).is_some_and(|defined| defined.copies > 1)
    }

    fn bytes(&self) -> usize {
        self.destinations * DESTINATION_BYTES
    }
}

/// The definitions that batches which are moved to another segment need and do not bring along, as
/// records; `known` is what was defined where they lay. None when they need none.
pub(crate) fn missing_sets<'a>(
    bodies: impl Iterator<Item = &'a [u8]>,
    known: &SetTable,
) -> Result<Option<(Vec<u8>, u32)>, Malformed> {
    let mut scratch = Scratch::default();
    let mut needed = BTreeSet::new();
    for body in bodies {
        let mut records = Records::new(body);
        while let Some((_, record)) = records.next(&mut scratch)? {
            if let Record::Unresolved { set, .. } = record {
                needed.insert(set);
            }
        }
    }
    let (mut out, mut count) = (Vec::new(), 0);
    for number in needed {
        if let Some(set) = known.get(number) {
            put_set(&mut out, number, set);
            count += 1;
        }
    }
    Ok((count > 0).then_some((out, count)))
}

/// The sequences of an event's entries, from a definition and what the event says.
pub(crate) fn resolve(
    set: &Destinations,
    ordinal: u64,
    exceptions: &[Exception],
    out: &mut Vec<(MailboxId, MailboxSequence)>,
) {
    let begun = out.len();
    out.extend(set.iter().map(|(mailbox, base)| (*mailbox, MailboxSequence(base.wrapping_add(ordinal)))));
    for exception in exceptions {
        let from = (begun + exception.first).min(out.len());
        let to = from.saturating_add(exception.count).min(out.len());
        for (_, sequence) in &mut out[from..to] {
            sequence.0 = sequence.0.wrapping_add(exception.more);
        }
    }
}

/// An event of a batch with many destinations: its entries may become a reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide {
    /// Which event of the batch.
    pub(crate) event: u32,
    /// Offsets of its entries in the batch's body.
    pub(crate) list: u32,
    pub(crate) end: u32,
}

/// What the writer knows of sets. Nothing here needs to be right for the log to be: what it refers
/// to is looked up among the definitions that were flushed.
#[derive(Debug)]
pub(crate) struct SetBook {
    bytes_max: usize,
    segment: u64,
    next: u64,
    /// Number of the latest definition, by hash.
    known: BTreeMap<u64, u64>,
    seen: [HashSet<u64>; 2],
    hasher: RandomState,
}

impl SetBook {
    /// A book whose numbers begin at `next`, with room for definitions of `bytes_max` in memory.
    pub(crate) fn new(bytes_max: usize, next: u64) -> SetBook {
        SetBook {
            bytes_max,
            segment: 0,
            next,
            known: BTreeMap::new(),
            seen: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// What was defined so far is not referred to any more.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }

    /// The batch as it should go into segment `segment`, whose definitions so far are in `table`;
    /// none when it should go as it is. O(entries of wide events), and a copy if anything changes.
    pub(crate) fn encode(&mut self, batch: &Batch, table: &SetTable, segment: u64) -> Option<Batch> {
        if batch.wide.is_empty() {
            return None;
        }
        if self.segment != segment {
            self.segment = segment;
            self.known.clear();
        }
        let spent = if table.segment == segment { table.bytes() } else { 0 };
        let mut encoder =
            Encoder { book: self, table, spent, fresh: BTreeMap::new(), out: Rewritten::new(batch) };
        for wide in &batch.wide {
            encoder.event(batch, wide);
        }
        encoder.out.finish(batch)
    }

    fn see(&mut self, hash: u64) -> bool {
        if self.seen.iter().any(|seen| seen.contains(&hash)) {
            return true;
        }
        if self.seen[0].len() >= SEEN_MAX {
            self.seen.swap(0, 1);
            self.seen[0].clear();
        }
        self.seen[0].insert(hash);
        false
    }
}

/// One batch being encoded.
struct Encoder<'a> {
    book: &'a mut SetBook,
    table: &'a SetTable,
    /// Bytes of memory of the segment's definitions.
    spent: usize,
    /// Defined or repeated in this batch.
    fresh: BTreeMap<u64, Arc<Destinations>>,
    out: Rewritten,
}

impl Encoder<'_> {
    fn event(&mut self, batch: &Batch, wide: &Wide) {
        let body = &batch.bytes[BATCH_HEADER..];
        let Ok(mut entries) = read_entries(body, wide.list as usize) else {
            return;
        };
        entries.sort_unstable();
        let hash = self.book.hasher.hash_one(Mailboxes(&entries));
        let reference = self.known(hash, &entries).or_else(|| self.defined(hash, &entries));
        if let Some(reference) = reference {
            self.out.refer(batch, wide, &reference);
        }
    }

    /// A reference to the definition that there is, if it serves.
    fn known(&mut self, hash: u64, entries: &[(MailboxId, MailboxSequence)]) -> Option<SetReference> {
        let number = *self.book.known.get(&hash)?;
        let in_batch = self.fresh.get(&number).cloned();
        let set = in_batch.clone().or_else(|| self.table.get(number).cloned())?;
        let reference = refer(number, &set, entries)?;
        if in_batch.is_none() && !self.table.is_copied(number) {
            self.out.set(number, &set);
            self.fresh.insert(number, set);
        }
        Some(reference)
    }

    /// A new definition, where the set is worth it.
    fn defined(&mut self, hash: u64, entries: &[(MailboxId, MailboxSequence)]) -> Option<SetReference> {
        let bytes = entries.len() * DESTINATION_BYTES;
        if !self.book.see(hash) || self.spent + bytes > self.book.bytes_max {
            return None;
        }
        self.spent += bytes;
        let number = self.book.next;
        self.book.next += 1;
        let set: Arc<Destinations> = entries.iter().map(|(mailbox, at)| (*mailbox, at.0)).collect();
        self.out.set(number, &set);
        self.book.known.insert(hash, number);
        self.fresh.insert(number, set);
        Some(SetReference { number, ordinal: 0, exceptions: Vec::new() })
    }
}

/// Hashed without the sequences.
struct Mailboxes<'a>(&'a [(MailboxId, MailboxSequence)]);

impl std::hash::Hash for Mailboxes<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|(mailbox, _)| state.write_u64(mailbox.0));
    }
}

/// How an event with these entries refers to a set; none when the mailboxes differ, or when what
/// differs in the sequences would take too many bytes.
fn refer(number: u64, set: &Destinations, entries: &[(MailboxId, MailboxSequence)]) -> Option<SetReference> {
    if set.len() != entries.len() || set.iter().zip(entries).any(|((a, _), (b, _))| a != b) {
        return None;
    }
    let distances = || set.iter().zip(entries).map(|((_, base), (_, at))| at.0.wrapping_sub(*base));
    let ordinal = distances().min()?;
    let mut exceptions: Vec<Exception> = Vec::new();
    for (index, distance) in distances().enumerate() {
        let more = distance - ordinal;
        match exceptions.last_mut() {
            _ if more == 0 => {}
            Some(run) if run.more == more && run.first + run.count == index => run.count += 1,
            _ => exceptions.push(Exception { first: index, count: 1, more }),
        }
    }
    let cost: usize = exceptions.iter().map(Exception::bytes).sum();
    (cost <= set.len() / EXCEPTIONS_SHARE).then_some(SetReference { number, ordinal, exceptions })
}

impl Exception {
    /// About what it takes in a record.
    fn bytes(&self) -> usize {
        3 + usize::from(self.first > 127) + usize::from(self.count > 127) + usize::from(self.more > 127)
    }
}

/// A batch being written again with references in place of lists.
struct Rewritten {
    bytes: Vec<u8>,
    /// How far the old body is copied, and how many events have their new place.
    copied: usize,
    events: Vec<EventMark>,
    records: u32,
    referring: u32,
    /// Definitions to come before the next event.
    sets: Vec<u8>,
}

impl Rewritten {
    fn new(batch: &Batch) -> Rewritten {
        Rewritten {
            bytes: Vec::new(),
            copied: 0,
            events: Vec::new(),
            records: batch.records,
            referring: 0,
            sets: Vec::new(),
        }
    }

    fn set(&mut self, number: u64, set: &Destinations) {
        put_set(&mut self.sets, number, set);
        self.records += 1;
    }

    fn refer(&mut self, batch: &Batch, wide: &Wide, reference: &SetReference) {
        self.referring += 1;
        if self.bytes.is_empty() {
            self.bytes.reserve(batch.bytes.len());
            self.bytes.resize(BATCH_HEADER, 0);
        }
        let body = &batch.bytes[BATCH_HEADER..];
        let event = wide.event as usize;
        let at = batch.events[event].at as usize;
        self.place(&batch.events[..event], self.copied);
        self.bytes.extend_from_slice(&body[self.copied..at]);
        self.bytes.append(&mut self.sets);
        self.place(&batch.events[..=event], at);
        let kind_at = self.bytes.len();
        self.bytes.extend_from_slice(&body[at..wide.list as usize]);
        turn_into_set_event(&mut self.bytes[kind_at..]);
        put_set_reference(&mut self.bytes, reference);
        self.copied = wide.end as usize;
    }

    /// Places the events that have no place yet; what lay at `old` comes next.
    fn place(&mut self, events: &[EventMark], old: usize) {
        let new = self.bytes.len() - BATCH_HEADER;
        let begun = self.events.len();
        self.events.extend(events[begun..].iter().map(|mark| mark.moved(old, new)));
    }

    fn finish(mut self, batch: &Batch) -> Option<Batch> {
        if self.referring == 0 {
            return None;
        }
        self.place(&batch.events, self.copied);
        self.bytes.extend_from_slice(&batch.bytes[BATCH_HEADER + self.copied..]);
        let mut rewritten = batch.bare();
        (rewritten.bytes, rewritten.records, rewritten.events) = (self.bytes, self.records, self.events);
        rewritten.referring = self.referring;
        Some(rewritten)
    }
}
