//! What is live, and in which segment: the index of mailboxes and a count per segment.
//!
//! Both a flushed batch and a recovered one change it by [`Ledger::apply`], and nothing else does.
//! Invariants:
//! 1. The census counts what the mailboxes hold, in memory and in pages.
//! 2. What a page record or an ack changes follows from the records before it: a recovery comes to
//!    the same pages as the writer did.
//! 3. Pages are read with no lock held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::census::Census;
use crate::error::{InvalidBatch, ReadError};
use crate::format::BATCH_HEADER;
use crate::id::{MailboxId, MailboxSequence, Position};
use crate::index::{Index, locked};
use crate::log::{Log, Missing};
use crate::mailbox::{Held, Mailbox};
use crate::page::Page;
use crate::record::{LiveEntry, Record, Records, Scratch, Transfer};
use crate::sets::SetTable;
use crate::varint::Malformed;

/// Why a flushed record could not be applied.
#[derive(Debug)]
pub(crate) enum ApplyError {
    Malformed,
    /// A page that is needed is on a disk that does not give it.
    Unread(ReadError),
}

impl From<Malformed> for ApplyError {
    fn from(_: Malformed) -> ApplyError {
        ApplyError::Malformed
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) index: Arc<Index>,
    pub(crate) census: Census,
    log: Log,
    /// Live entries in memory.
    hot: u64,
    /// A mailbox with more of them is noted in `grown`.
    mailbox_hot_max: u64,
    /// Mailboxes that hold many entries in memory, since this was last taken.
    grown: BTreeSet<MailboxId>,
    /// Pages that were written once, by where that is: mailbox and first sequence.
    uncopied: BTreeMap<Position, (MailboxId, u64)>,
    /// Entries that did not fit the mailbox, which only damage can bring about.
    pub(crate) misfits: u64,
    /// Events whose destinations cannot be told, which only damage can bring about.
    pub(crate) unresolved: u64,
    /// Whether a page that cannot be read is made out from the log at once.
    makes_out: bool,
    /// A page was neither read nor made out: its entries are missing here.
    lacks_entries: bool,
    scratch: Scratch,
}

impl Ledger {
    pub(crate) fn new(log: Log, mailbox_hot_max: usize) -> Ledger {
        Ledger {
            index: Arc::new(Index::default()),
            census: Census::new(log.segment_bytes),
            log,
            hot: 0,
            mailbox_hot_max: mailbox_hot_max as u64,
            grown: BTreeSet::new(),
            uncopied: BTreeMap::new(),
            misfits: 0,
            unresolved: 0,
            makes_out: true,
            lacks_entries: false,
            scratch: Scratch::default(),
        }
    }

    /// An empty ledger over the same log.
    pub(crate) fn anew(&self) -> Ledger {
        let empty = Ledger::new(self.log.clone(), self.mailbox_hot_max as usize);
        Ledger { makes_out: self.makes_out, ..empty }
    }

    /// An empty ledger over the same log that leaves out what pages hold that cannot be read, for
    /// what a younger checkpoint may make needless: [`Ledger::lacks_entries`] says whether it did.
    pub(crate) fn draft(&self) -> Ledger {
        Ledger { makes_out: false, ..self.anew() }
    }

    /// From now on what cannot be read is made out.
    pub(crate) fn end_draft(&mut self) {
        self.makes_out = true;
    }

    /// Whether a draft has left entries out.
    pub(crate) fn lacks_entries(&self) -> bool {
        self.lacks_entries
    }

    /// The log that the entries point into.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Live entries in memory.
    pub(crate) fn hot(&self) -> u64 {
        self.hot
    }

    /// Mailboxes that hold more entries in memory than they should, as far as is known.
    pub(crate) fn grown(&mut self) -> &mut BTreeSet<MailboxId> {
        &mut self.grown
    }

    /// Pages of which there may be one copy only, by where it lies: mailbox and first sequence.
    pub(crate) fn uncopied(&mut self) -> &mut BTreeMap<Position, (MailboxId, u64)> {
        &mut self.uncopied
    }

    /// The definitions of the segment that was written last.
    pub(crate) fn sets(&self) -> &SetTable {
        &self.scratch.sets
    }

    /// Applies a flushed body whose batch lies at `batch`; how many entries each removal in it took
    /// out. State and checkpoint records change nothing here. O(records + entries), and a read of the
    /// disk for each page of which a part is taken out.
    pub(crate) fn apply_body(&mut self, body: &[u8], batch: Position) -> Result<Vec<u64>, ApplyError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.sets.enter(batch.segment(self.log.segment_bytes));
        let removed = self.apply_records(body, batch, &mut scratch);
        self.scratch = scratch;
        removed
    }

    fn apply_records(
        &mut self,
        body: &[u8],
        batch: Position,
        scratch: &mut Scratch,
    ) -> Result<Vec<u64>, ApplyError> {
        let mut records = Records::new(body);
        let mut removed = Vec::new();
        while let Some((at, record)) = records.next(scratch)? {
            removed.extend(self.apply(&record, scratch, record_position(batch, at))?);
        }
        Ok(removed)
    }

    /// Applies one record that lies at `position`; of a removal, how many entries it took out.
    pub(crate) fn apply(
        &mut self,
        record: &Record<'_>,
        scratch: &Scratch,
        position: Position,
    ) -> Result<Option<u64>, ApplyError> {
        match *record {
            Record::Event { body } => self.add_event(body.len() as u32, &scratch.entries, position),
            Record::Moved { .. } => self.relocate_event(&scratch.entries, position)?,
            Record::Unresolved { .. } => self.unresolved += 1,
            Record::Acked { mailbox, first, last } => return self.ack(mailbox, first, last).map(Some),
            Record::Transfer(transfer) => return self.transfer(&transfer).map(Some),
            Record::Page { mailbox, .. } => self.page(mailbox, &scratch.live, position)?,
            Record::CreateMailbox(mailbox) => {
                self.index.create(mailbox, MailboxSequence(1));
            }
            Record::RemoveMailbox(mailbox) => {
                let removed = self.index.remove(mailbox);
                return Ok(Some(removed.map_or(0, |removed| self.free(&removed, 0, u64::MAX, &mut |_| {}))));
            }
            _ => {}
        }
        Ok(None)
    }

    fn add_event(&mut self, bytes: u32, entries: &[(MailboxId, MailboxSequence)], position: Position) {
        let mut fit = 0;
        for &(id, sequence) in entries {
            let mailbox = self.known_or_new(id);
            fit += u64::from(self.push(id, &mailbox, LiveEntry { sequence, position, bytes }));
        }
        self.count(fit, entries.len() as u64, position, bytes);
    }

    /// Adds an entry, to be counted by [`Ledger::count`]; whether it fits.
    fn push(&mut self, id: MailboxId, mailbox: &Mutex<Mailbox>, entry: LiveEntry) -> bool {
        let mut mailbox = locked(mailbox);
        let fits = mailbox.push(entry);
        if mailbox.hot() > self.mailbox_hot_max {
            self.grown.insert(id);
        }
        fits
    }

    /// Entries that are not there any more were acked meanwhile.
    fn relocate_event(
        &mut self,
        entries: &[(MailboxId, MailboxSequence)],
        position: Position,
    ) -> Result<(), ApplyError> {
        for &(id, MailboxSequence(sequence)) in entries {
            let Some(mailbox) = self.index.get(id) else {
                continue;
            };
            self.thaw(id, &mailbox, sequence, sequence, true)?;
            let before = locked(&mailbox).set_position(sequence, position);
            if let Some(before) = before {
                self.census.remove(&before);
                self.census.add_written(position, before.bytes, 1);
            }
        }
        Ok(())
    }

    /// The creation of a mailbox may be in a damaged batch: what is intact is kept all the same.
    fn known_or_new(&self, mailbox: MailboxId) -> Arc<Mutex<Mailbox>> {
        let known = self.index.get(mailbox);
        known.unwrap_or_else(|| self.index.create(mailbox, MailboxSequence(1)))
    }

    fn transfer(&mut self, transfer: &Transfer) -> Result<u64, ApplyError> {
        let mut moved = Vec::new();
        if let Some(from) = self.index.get(transfer.from) {
            self.thaw(transfer.from, &from, transfer.first, transfer.last, true)?;
            self.free(&from, transfer.first, transfer.last, &mut |entry| moved.push(entry));
        }
        let to = self.known_or_new(transfer.to);
        for entry in &moved {
            let sequence = MailboxSequence(transfer.to_first + (entry.sequence.0 - transfer.first));
            let fits = self.push(transfer.to, &to, LiveEntry { sequence, ..*entry });
            self.count(u64::from(fits), 1, entry.position, entry.bytes);
        }
        locked(&to).raise_next(transfer.last_there().map_or(u64::MAX, |last| last.saturating_add(1)));
        Ok(moved.len() as u64)
    }

    /// Gives a mailbox these entries, ascending, in place of those that it has. Reads nothing.
    pub(crate) fn replace(
        &mut self,
        id: MailboxId,
        next: MailboxSequence,
        entries: impl IntoIterator<Item = LiveEntry>,
    ) {
        // Removing reads nothing, so that nothing can fail.
        let _ = self.apply(&Record::RemoveMailbox(id), &Scratch::default(), Position(0));
        let mailbox = self.index.create(id, next);
        entries.into_iter().for_each(|entry| self.restore(id, &mailbox, entry));
    }

    /// Adds an entry of a checkpoint.
    pub(crate) fn restore(&mut self, id: MailboxId, mailbox: &Mutex<Mailbox>, entry: LiveEntry) {
        let mut mailbox = locked(mailbox);
        let fits = mailbox.restore(entry);
        if mailbox.hot() > self.mailbox_hot_max {
            self.grown.insert(id);
        }
        drop(mailbox);
        self.count(u64::from(fits), 1, entry.position, entry.bytes);
    }

    /// Adds a page of a checkpoint.
    pub(crate) fn restore_page(&mut self, id: MailboxId, page: &Page) {
        let mailbox = self.known_or_new(id);
        if locked(&mailbox).restore_page(page.clone()) {
            self.census.add_page(page);
        } else {
            self.misfits += u64::from(page.live);
        }
        if page.copies[1].0 == 0 {
            self.uncopied.insert(page.copies[0], (id, page.first));
        }
    }

    /// Counts the entries of one event: so many of them fit.
    fn count(&mut self, fit: u64, of: u64, position: Position, bytes: u32) {
        self.misfits += of - fit;
        if fit > 0 {
            self.hot += fit;
            self.census.add_written(position, bytes, fit);
        }
    }

    fn ack(&mut self, id: MailboxId, first: u64, last: u64) -> Result<u64, ApplyError> {
        let Some(mailbox) = self.index.get(id) else {
            return Ok(0);
        };
        self.thaw(id, &mailbox, first, last, false)?;
        Ok(self.free(&mailbox, first, last, &mut |_| {}))
    }

    /// Takes the live entries from `first` to `last` out, telling `each` that was in memory; how
    /// many.
    fn free(
        &mut self,
        mailbox: &Mutex<Mailbox>,
        first: u64,
        last: u64,
        each: &mut dyn FnMut(LiveEntry),
    ) -> u64 {
        let (census, hot) = (&mut self.census, &mut self.hot);
        let mut freed = 0;
        locked(mailbox).remove(first, last, &mut |gone| match gone {
            Held::Entry(entry) => {
                freed += 1;
                *hot -= 1;
                census.remove(&entry);
                each(entry);
            }
            Held::Page(page) => {
                freed += u64::from(page.live);
                census.remove_page(page);
            }
        });
        freed
    }

    /// Brings pages between `first` and `last` into memory: those that lie there in part only, or
    /// all. The mailbox is locked before and after the reading, and changed by the writer alone.
    fn thaw(
        &mut self,
        id: MailboxId,
        mailbox: &Mutex<Mailbox>,
        first: u64,
        last: u64,
        all: bool,
    ) -> Result<(), ApplyError> {
        let pages = locked(mailbox).pages(first, last, all);
        for page in pages {
            let entries = match self.log.page(id, &page) {
                Ok(entries) => entries,
                Err(_) if !self.makes_out => {
                    self.lacks_entries = true;
                    Arc::default()
                }
                Err(error @ ReadError::Io { .. }) => return Err(ApplyError::Unread(error)),
                Err(_) => self.log.make_out(id, &page, Missing::Refused).map_err(ApplyError::Unread)?,
            };
            let mut mailbox = locked(mailbox);
            if let Some(page) = mailbox.thaw(page.first, &entries) {
                self.census.remove_page(&page);
                entries.iter().for_each(|entry| self.census.add(entry));
                self.hot += entries.len() as u64;
            }
            if mailbox.hot() > self.mailbox_hot_max {
                self.grown.insert(id);
            }
        }
        Ok(())
    }

    /// Puts a page that lies at `position` in the place of the entries that it holds, or notes it as
    /// a copy. It is right where it differs from what is here: that can be so around damage only.
    fn page(&mut self, id: MailboxId, entries: &[LiveEntry], position: Position) -> Result<(), ApplyError> {
        let Some(page) = Page::of(entries, position, self.log.segment_bytes) else {
            return Ok(());
        };
        let mailbox = self.known_or_new(id);
        let copied = locked(&mailbox).add_copy(page.first, page.last, entries.len(), position);
        if let Some([before, needless]) = copied {
            self.census.add_copy(position);
            self.uncopied.remove(&before);
            if needless.0 != 0 {
                self.census.give_up_copy(needless);
            }
            return Ok(());
        }
        self.thaw(id, &mailbox, page.first, page.last, false)?;
        self.free(&mailbox, page.first, page.last, &mut |_| {});
        self.census.add_page(&page);
        self.uncopied.insert(position, (id, page.first));
        locked(&mailbox).insert_page(page);
        Ok(())
    }

    /// Moves all that lies at `from` and beyond (in one segment) to `to`.
    pub(crate) fn relocate(&mut self, from: Position, to: Position) {
        self.index.relocate(from, to);
        let moved = self.uncopied.split_off(&from).into_iter();
        self.uncopied.extend(moved.map(|(at, page)| (Position(at.0 - from.0 + to.0), page)));
        self.census.reset();
        for (_, mailbox) in self.index.all() {
            let mailbox = locked(&mailbox);
            mailbox.each(&mut |held| match held {
                Held::Entry(entry) => self.census.add(&entry),
                Held::Page(page) => self.census.add_page(page),
            });
        }
    }

    /// Checks a body that is to be committed against the mailboxes as they are; changes nothing.
    pub(crate) fn validate(&mut self, body: &[u8]) -> Result<Result<(), InvalidBatch>, Malformed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let checked = self.validate_records(body, &mut scratch);
        self.scratch = scratch;
        checked
    }

    fn validate_records(
        &self,
        body: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Result<(), InvalidBatch>, Malformed> {
        let mut check = Check { index: &self.index, seen: BTreeMap::new() };
        let mut records = Records::new(body);
        while let Some((_, record)) = records.next(scratch)? {
            if let Err(refused) = check.record(&record, scratch) {
                return Ok(Err(refused));
            }
        }
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
