//! Reading, from any thread, while the writer commits and reclaims.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::error::ReadError;
use crate::id::{MailboxId, MailboxSequence, Position};
use crate::index::{Index, locked};
use crate::log::{Log, Missing};
use crate::mailbox::{Mailbox, MailboxStats, Run};
use crate::page::Page;
use crate::record::{LiveEntry, Sealed};

/// A view on the flushed part of the log. Cheap to clone; outlives the store's stopping.
#[derive(Clone)]
pub struct Reader {
    pub(crate) log: Log,
    pub(crate) index: Arc<Index>,
}

impl Reader {
    /// The bytes of the event at `position`, checked against its checksum. One read of the file for
    /// events up to 4 KiB, two for larger ones.
    ///
    /// # Errors
    /// [`ReadError::Gone`] once its segment was reclaimed: no mailbox holds it any more, or it was
    /// moved, and [`Reader::read_entry`] finds it.
    pub fn read(&self, position: Position) -> Result<Bytes, ReadError> {
        self.log.read(position, Sealed::Event)
    }

    /// The event of an entry from where it lies now; none when the entry is not there any more. For
    /// an entry whose event was gone ([`ReadError::Gone`]) from where it lay: it may have been moved.
    pub fn read_entry(
        &self,
        mailbox: MailboxId,
        sequence: MailboxSequence,
    ) -> Option<Result<Bytes, ReadError>> {
        loop {
            let position = self.position(mailbox, sequence)?;
            match self.read(position) {
                // Moved again: it lies elsewhere by now.
                Err(ReadError::Gone(_)) if self.position(mailbox, sequence) != Some(position) => {}
                read => return Some(read),
            }
        }
    }

    /// What reading where an entry's event lay has given, or, where that is gone, what
    /// [`Reader::read_entry`] gives.
    pub fn or_moved(
        &self,
        mailbox: MailboxId,
        sequence: MailboxSequence,
        read: Result<Bytes, ReadError>,
    ) -> Option<Result<Bytes, ReadError>> {
        match read {
            Err(ReadError::Gone(_)) => self.read_entry(mailbox, sequence),
            read => Some(read),
        }
    }

    fn position(&self, mailbox: MailboxId, sequence: MailboxSequence) -> Option<Position> {
        let (at, position) = self.entries(mailbox, sequence, 1).first().copied()?;
        (at == sequence).then_some(position)
    }

    /// Live entries of a mailbox from a sequence on, ascending, at most `max`; none when there is
    /// no such mailbox. O(log entries + max), and a read of the disk for each page of entries that is
    /// not in memory. An entry of a page that cannot be read is given with a position where
    /// [`Reader::read`] says why.
    pub fn entries(
        &self,
        mailbox: MailboxId,
        from: MailboxSequence,
        max: usize,
    ) -> Vec<(MailboxSequence, Position)> {
        let entries = self.live(mailbox, from, max);
        entries.into_iter().map(|entry| (entry.sequence, entry.position)).collect()
    }

    /// As [`Reader::entries`], with the size of each event in bytes, and no more once those that
    /// were taken reach `bytes_max`.
    pub fn entries_within(
        &self,
        mailbox: MailboxId,
        from: MailboxSequence,
        max: usize,
        bytes_max: u64,
    ) -> Vec<(MailboxSequence, Position, u32)> {
        let entries = self.live(mailbox, from, max);
        let mut taken = 0u64;
        let within = entries.into_iter().take_while(|entry| {
            let fits = taken < bytes_max;
            taken += u64::from(entry.bytes);
            fits
        });
        within.map(|entry| (entry.sequence, entry.position, entry.bytes)).collect()
    }

    /// Live entries of a mailbox from a sequence on, at most `max`.
    pub(crate) fn live(&self, id: MailboxId, from: MailboxSequence, max: usize) -> Vec<LiveEntry> {
        let mut out: Vec<LiveEntry> = Vec::new();
        let Some(mailbox) = self.index.get(id) else {
            return out;
        };
        let mut from = Some(from.0);
        while let Some(at) = from.filter(|_| out.len() < max) {
            let run = locked(&mailbox).run(at, max - out.len());
            match run {
                Run::End => break,
                Run::Hot(entries) => {
                    from = entries.last().and_then(|last| last.sequence.0.checked_add(1));
                    out.extend(entries);
                }
                Run::Cold(page) => {
                    // None: the mailbox has changed and is asked again.
                    if let Some(entries) = self.page(id, &mailbox, &page) {
                        let wanted = entries.iter().filter(|entry| entry.sequence.0 >= at);
                        out.extend(wanted.take(max - out.len()));
                        from = page.last.checked_add(1);
                    }
                }
            }
        }
        out
    }

    /// The entries of a page; none when the mailbox has changed and must be asked again.
    fn page(&self, id: MailboxId, mailbox: &Mutex<Mailbox>, page: &Page) -> Option<Arc<Vec<LiveEntry>>> {
        if let Ok(entries) = self.log.page(id, page) {
            return Some(entries);
        }
        let is_there = locked(mailbox).page(page.first).is_some_and(|now| now.copies == page.copies);
        let made_out = || self.log.make_out(id, page, Missing::PassedOver);
        is_there.then(|| made_out().unwrap_or_else(|_| Arc::new(page.unread())))
    }

    /// A mailbox in numbers.
    pub fn mailbox(&self, mailbox: MailboxId) -> Option<MailboxStats> {
        let mailbox = self.index.get(mailbox)?;
        let stats = locked(&mailbox).stats();
        Some(stats)
    }

    /// All mailboxes in numbers, ascending. O(mailboxes).
    pub fn mailboxes(&self) -> Vec<(MailboxId, MailboxStats)> {
        self.index.stats()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("root", &self.log.root).finish_non_exhaustive()
    }
}
