//! What is live, and in which segment: the index of mailboxes and a count per segment.
//!
//! Both a flushed batch and a recovered one change it by [`Ledger::apply`], and nothing else does.
//! Invariant: `live[s]` is the number of entries, over all mailboxes, whose event lies in segment s.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::error::InvalidBatch;
use crate::format::BATCH_HEADER;
use crate::id::{MailboxId, MailboxSequence, Position};
use crate::index::{Index, Mailbox, locked};
use crate::record::{LiveEntry, Record, Records, Scratch, Transfer};
use crate::sets::SetTable;
use crate::varint::Malformed;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) index: Arc<Index>,
    live: BTreeMap<u64, u64>,
    segment_bytes: u64,
    /// A segment lost its last live entry since this was last asked.
    emptied: bool,
    /// Entries that did not fit the mailbox, which only damage can bring about.
    pub(crate) misfits: u64,
    /// Events whose destinations cannot be told, which only damage can bring about.
    pub(crate) unresolved: u64,
    scratch: Scratch,
}

impl Ledger {
    pub(crate) fn new(segment_bytes: u64) -> Ledger {
        Ledger {
            index: Arc::new(Index::default()),
            live: BTreeMap::new(),
            segment_bytes,
            emptied: false,
            misfits: 0,
            unresolved: 0,
            scratch: Scratch::default(),
        }
    }

    /// Live entries whose events lie in segment `index`.
    pub(crate) fn live_in(&self, index: u64) -> u64 {
        self.live.get(&index).copied().unwrap_or(0)
    }

    /// Segments with live entries, and how many.
    pub(crate) fn live(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.live.iter().map(|(index, count)| (*index, *count))
    }

    /// The definitions of the segment that was written last.
    pub(crate) fn sets(&self) -> &SetTable {
        &self.scratch.sets
    }

    /// Whether a segment lost its last live entry since the last call.
    pub(crate) fn take_emptied(&mut self) -> bool {
        std::mem::take(&mut self.emptied)
    }

    /// Applies a flushed body whose batch lies at `batch`; how many entries each removal in it took
    /// out. State and checkpoint records change nothing here. O(records + entries).
    pub(crate) fn apply_body(&mut self, body: &[u8], batch: Position) -> Result<Vec<u64>, Malformed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.sets.enter(batch.segment(self.segment_bytes));
        let mut records = Records::new(body);
        let mut removed = Vec::new();
        while let Some((at, record)) = records.next(&mut scratch)? {
            removed.extend(self.apply(&record, &scratch, record_position(batch, at)));
        }
        self.scratch = scratch;
        Ok(removed)
    }

    /// Applies one record that lies at `position`; of a removal, how many entries it took out.
    pub(crate) fn apply(
        &mut self,
        record: &Record<'_>,
        scratch: &Scratch,
        position: Position,
    ) -> Option<u64> {
        match *record {
            Record::Event { body } => self.add_event(body.len() as u32, &scratch.entries, position),
            Record::Unresolved { .. } => self.unresolved += 1,
            Record::Acked { mailbox, first, last } => return Some(self.ack(mailbox, first, last)),
            Record::Transfer(transfer) => return Some(self.transfer(&transfer)),
            Record::CreateMailbox(mailbox) => {
                self.index.create(mailbox, MailboxSequence(1));
            }
            Record::RemoveMailbox(mailbox) => {
                let removed = self.index.remove(mailbox);
                return Some(removed.map_or(0, |removed| self.free(&removed, 0, u64::MAX, &mut |_| {})));
            }
            _ => {}
        }
        None
    }

    fn add_event(&mut self, bytes: u32, entries: &[(MailboxId, MailboxSequence)], position: Position) {
        for &(mailbox, sequence) in entries {
            let entry = LiveEntry { sequence, position, bytes };
            let fits = locked(&self.known_or_new(mailbox)).push(entry);
            self.count(fits, position);
        }
    }

    /// The creation of a mailbox may be in a damaged batch: what is intact is kept all the same.
    fn known_or_new(&self, mailbox: MailboxId) -> Arc<Mutex<Mailbox>> {
        let known = self.index.get(mailbox);
        known.unwrap_or_else(|| self.index.create(mailbox, MailboxSequence(1)))
    }

    fn transfer(&mut self, transfer: &Transfer) -> u64 {
        let mut moved = Vec::new();
        if let Some(from) = self.index.get(transfer.from) {
            self.free(&from, transfer.first, transfer.last, &mut |entry| moved.push(entry));
        }
        let to = self.known_or_new(transfer.to);
        for entry in &moved {
            let sequence = MailboxSequence(transfer.to_first + (entry.sequence.0 - transfer.first));
            let fits = locked(&to).push(LiveEntry { sequence, ..*entry });
            self.count(fits, entry.position);
        }
        locked(&to).raise_next(transfer.last_there().map_or(u64::MAX, |last| last.saturating_add(1)));
        moved.len() as u64
    }

    /// Adds an entry of a checkpoint.
    pub(crate) fn restore(&mut self, mailbox: &Mutex<Mailbox>, entry: LiveEntry) {
        let fits = locked(mailbox).restore(entry);
        self.count(fits, entry.position);
    }

    fn count(&mut self, fits: bool, position: Position) {
        if fits {
            *self.live.entry(position.segment(self.segment_bytes)).or_insert(0) += 1;
        } else {
            self.misfits += 1;
        }
    }

    fn ack(&mut self, mailbox: MailboxId, first: u64, last: u64) -> u64 {
        self.index.get(mailbox).map_or(0, |mailbox| self.free(&mailbox, first, last, &mut |_| {}))
    }

    /// Takes the live entries from `first` to `last` out, telling `each`; how many.
    fn free(
        &mut self,
        mailbox: &Mutex<Mailbox>,
        first: u64,
        last: u64,
        each: &mut dyn FnMut(LiveEntry),
    ) -> u64 {
        let segment_bytes = self.segment_bytes;
        let (live, emptied) = (&mut self.live, &mut self.emptied);
        let mut freed = 0;
        locked(mailbox).ack(first, last, &mut |entry| {
            freed += 1;
            each(entry);
            let segment = entry.position.segment(segment_bytes);
            if let Some(count) = live.get_mut(&segment) {
                *count -= 1;
                if *count == 0 {
                    live.remove(&segment);
                    *emptied = true;
                }
            }
        });
        freed
    }

    /// Moves all that lies at `from` and beyond (in one segment) to `to`.
    pub(crate) fn relocate(&mut self, from: Position, to: Position) {
        self.index.relocate(from, to);
        self.live.clear();
        for (_, mailbox) in self.index.all() {
            for entry in locked(&mailbox).entries(MailboxSequence(0), usize::MAX) {
                self.count(true, entry.position);
            }
        }
    }

    /// Checks a body that is to be committed against the mailboxes as they are; changes nothing.
    pub(crate) fn validate(&mut self, body: &[u8]) -> Result<Result<(), InvalidBatch>, Malformed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut check = Check { index: &self.index, seen: BTreeMap::new() };
        let mut records = Records::new(body);
        while let Some((_, record)) = records.next(&mut scratch)? {
            if let Err(refused) = check.record(&record, &scratch) {
                self.scratch = scratch;
                return Ok(Err(refused));
            }
        }
        self.scratch = scratch;
        Ok(Ok(()))
    }
}

/// Where a record at `at` of a batch's body lies.
pub(crate) fn record_position(batch: Position, at: usize) -> Position {
    Position(batch.0 + (BATCH_HEADER + at) as u64)
}

/// Mailboxes as the records of a batch would leave them: the next sequence, none once removed.
struct Check<'a> {
    index: &'a Index,
    seen: BTreeMap<MailboxId, Option<u64>>,
}

impl Check<'_> {
    fn next(&mut self, mailbox: MailboxId) -> &mut Option<u64> {
        let index = self.index;
        self.seen.entry(mailbox).or_insert_with(|| {
            let found = index.get(mailbox)?;
            let next = locked(&found).next().0;
            Some(next)
        })
    }

    fn record(&mut self, record: &Record<'_>, scratch: &Scratch) -> Result<(), InvalidBatch> {
        match *record {
            Record::Event { .. } => {
                let mut entries = scratch.entries.iter();
                entries.try_for_each(|(mailbox, sequence)| self.entry(*mailbox, *sequence))
            }
            Record::CreateMailbox(mailbox) => match self.next(mailbox) {
                Some(_) => Err(InvalidBatch::MailboxExists(mailbox)),
                next => {
                    *next = Some(1);
                    Ok(())
                }
            },
            Record::RemoveMailbox(mailbox) => {
                *self.next(mailbox) = None;
                Ok(())
            }
            Record::Transfer(transfer) => self.transfer(&transfer),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, mailbox: MailboxId, got: MailboxSequence) -> Result<(), InvalidBatch> {
        self.entries(mailbox, got, got.0)
    }

    fn transfer(&mut self, transfer: &Transfer) -> Result<(), InvalidBatch> {
        let last = transfer.last_there().unwrap_or(u64::MAX);
        self.entries(transfer.to, MailboxSequence(transfer.to_first), last)
    }

    /// Entries from `got` to `last`.
    fn entries(&mut self, mailbox: MailboxId, got: MailboxSequence, last: u64) -> Result<(), InvalidBatch> {
        match self.next(mailbox) {
            None => Err(InvalidBatch::UnknownMailbox(mailbox)),
            Some(next) if got.0 < *next || last == u64::MAX => {
                Err(InvalidBatch::SequenceNotRising { mailbox, next: MailboxSequence(*next), got })
            }
            Some(next) => {
                *next = last + 1;
                Ok(())
            }
        }
    }
}
