//! Reading single records of the log: events, and pages of mailbox entries.
//!
//! For readers of any thread, for the writer and for a recovery alike. Holds no lock over a read.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::error::ReadError;
use crate::format::{BatchView, DATA_START};
use crate::id::{MailboxId, MailboxSequence, Position};
use crate::ledger::record_position;
use crate::page::{Page, read_page_body};
use crate::patient::read_what_can_be;
use crate::record::{
    LiveEntry, Record, Records, SEALED_HEAD_MAX, Scratch, Sealed, SealedHead, Transfer, is_intact,
    read_sealed_head,
};
use crate::scan::{Sink, Stretch, Walk};
use crate::segments::{Segment, Table, segment_name};
use crate::varint::Malformed;

/// Most bytes that the first read of a record asks for: one page suffices for most.
const FIRST_READ: usize = 4096;
/// Pages read last that are kept.
const PAGES_KEPT: usize = 32;
/// Entries of pages made out last that are kept; those of one page whatever they are.
const MADE_OUT_KEPT: usize = 1 << 17;

/// What becomes of a search where the disk does not give some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It ends: what is not found may be there.
    Refused,
    /// It goes on behind them.
    PassedOver,
}

type Kept = VecDeque<(Position, Arc<Vec<LiveEntry>>)>;

/// The flushed part of the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) root: Arc<PathBuf>,
    pub(crate) table: Arc<Table>,
    pub(crate) segment_bytes: u64,
    /// What lies at a position never changes: indexes of segments are not used again.
    kept: Arc<Mutex<Kept>>,
    /// Pages that were made out, by their youngest copy: that costs a reading of the log.
    made_out: Arc<Mutex<Kept>>,
}

impl Log {
    pub(crate) fn new(root: PathBuf, table: Arc<Table>, segment_bytes: u64) -> Log {
        Log { root: Arc::new(root), table, segment_bytes, kept: Arc::default(), made_out: Arc::default() }
    }

    /// The body of the record at `position`, checked against its checksum. One read of the file for
    /// records up to 4 KiB, two for larger ones.
    pub(crate) fn read(&self, position: Position, kind: Sealed) -> Result<Bytes, ReadError> {
        let index = position.segment(self.segment_bytes);
        let segment = self.table.get(index).ok_or_else(|| self.gone(position))?;
        let offset = position.offset(self.segment_bytes);
        let mut first = [0u8; FIRST_READ];
        let got = self.read_first(&segment, &mut first, offset)?;
        let damaged = || ReadError::Damaged { path: self.root.join(segment_name(index)), offset };
        let head = read_sealed_head(&first[..got.min(SEALED_HEAD_MAX)]).map_err(|_| damaged())?;
        let room = self.segment_bytes - offset;
        if head.body_bytes > room {
            return Err(damaged());
        }
        let body = self.body(&segment, offset, &head, &first[..got])?;
        match body {
            Some(body) if is_intact(&body, head.checksum, offset, &segment.salt) => {
                if head.kind == kind {
                    Ok(body)
                } else {
                    Err(self.not_now(&segment, offset))
                }
            }
            _ => Err(damaged()),
        }
    }

    fn gone(&self, position: Position) -> ReadError {
        let index = position.segment(self.segment_bytes);
        match self.table.is_lost(index) {
            true => ReadError::Lost {
                path: self.root.join(segment_name(index)),
                offset: position.offset(self.segment_bytes),
            },
            false => ReadError::Gone(position),
        }
    }

    /// Where an event was looked for lies an intact page: when its entries were asked for the disk
    /// did not give it. That is no damage, and nothing may be given up for it.
    fn not_now(&self, segment: &Segment, offset: u64) -> ReadError {
        let source = std::io::Error::other("a page of mailbox entries could not be read here");
        ReadError::Io { path: self.root.join(segment_name(segment.index)), offset, source }
    }

    fn body(
        &self,
        segment: &Segment,
        offset: u64,
        head: &SealedHead,
        first: &[u8],
    ) -> Result<Option<Bytes>, ReadError> {
        let bytes = head.body_bytes as usize;
        let begun = &first[head.head_bytes..];
        if let Some(whole) = begun.get(..bytes) {
            return Ok(Some(Bytes::copy_from_slice(whole)));
        }
        let mut body = vec![0u8; bytes];
        body[..begun.len()].copy_from_slice(begun);
        let rest = &mut body[begun.len()..];
        let wanted = rest.len();
        let got = self.read_some(segment, rest, offset + first.len() as u64)?;
        Ok((got == wanted).then(|| Bytes::from(body)))
    }

    /// Reads a whole page from `offset` on; where the disk does not give that, the head of a record
    /// alone: what cannot be read may lie behind it.
    fn read_first(
        &self,
        segment: &Segment,
        first: &mut [u8; FIRST_READ],
        offset: u64,
    ) -> Result<usize, ReadError> {
        let whole = self.read_some(segment, first, offset);
        whole.or_else(|_| self.read_some(segment, &mut first[..SEALED_HEAD_MAX], offset))
    }

    fn read_some(&self, segment: &Segment, buffer: &mut [u8], offset: u64) -> Result<usize, ReadError> {
        let path = || self.root.join(segment_name(segment.index));
        let read = segment.file.read_at(buffer, offset);
        read.map_err(|source| ReadError::Io { path: path(), offset, source })
    }

    /// The entries of a page, from the first copy that can be read.
    ///
    /// # Errors
    /// Of one copy: that the disk does not give it, if that is so of any.
    pub(crate) fn page(&self, mailbox: MailboxId, page: &Page) -> Result<Arc<Vec<LiveEntry>>, ReadError> {
        let mut why = ReadError::Gone(page.copies[0]);
        for copy in page.places() {
            match self.copy(mailbox, page, copy) {
                Ok(entries) => return Ok(entries),
                Err(error) if !matches!(why, ReadError::Io { .. }) => why = error,
                Err(_) => {}
            }
        }
        Err(why)
    }

    fn copy(&self, mailbox: MailboxId, page: &Page, at: Position) -> Result<Arc<Vec<LiveEntry>>, ReadError> {
        if let Some((_, entries)) = self.kept().iter().find(|(position, _)| *position == at) {
            return Ok(entries.clone());
        }
        let body = self.read(at, Sealed::Page)?;
        let mut entries = Vec::new();
        let whose = read_page_body(&body, &mut entries);
        let first = entries.first().map(|entry| entry.sequence.0);
        if whose != Ok(mailbox) || entries.len() != page.live as usize || first != Some(page.first) {
            let path = self.root.join(segment_name(at.segment(self.segment_bytes)));
            return Err(ReadError::Damaged { path, offset: at.offset(self.segment_bytes) });
        }
        let entries = Arc::new(entries);
        let mut kept = self.kept();
        kept.truncate(PAGES_KEPT - 1);
        kept.push_front((at, entries.clone()));
        Ok(entries)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries of a page of which no copy can be read: made out from the segments in which its
    /// events lie, and from the transfers of the whole log, acked ones among them perhaps. What cannot be
    /// made out (acked, or in a damaged batch as well) has the page's own position, where reading says
    /// so. O(bytes of the log), once for each page, unless bytes were passed over.
    ///
    /// # Errors
    /// The disk does not give a segment; with [`Missing::PassedOver`] that is no error.
    pub(crate) fn make_out(
        &self,
        mailbox: MailboxId,
        page: &Page,
        missing: Missing,
    ) -> Result<Arc<Vec<LiveEntry>>, ReadError> {
        let lock = || self.made_out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, entries)) = lock().iter().find(|(position, _)| *position == page.copies[0]) {
            return Ok(entries.clone());
        }
        let entries = match self.search_for(mailbox, page, Missing::Refused) {
            // Not kept: what the disk does not give now it may give later.
            Err(_) if missing == Missing::PassedOver => {
                return self.search_for(mailbox, page, missing).map(Arc::new);
            }
            found => Arc::new(found?),
        };
        let mut made_out = lock();
        made_out.push_front((page.copies[0], entries.clone()));
        while made_out.len() > 1
            && made_out.iter().map(|(_, entries)| entries.len()).sum::<usize>() > MADE_OUT_KEPT
        {
            made_out.pop_back();
        }
        Ok(entries)
    }

    fn search_for(
        &self,
        mailbox: MailboxId,
        page: &Page,
        missing: Missing,
    ) -> Result<Vec<LiveEntry>, ReadError> {
        let sources = self.sources(mailbox, page, missing)?;
        // By their sequences now.
        let mut found = BTreeMap::new();
        for share in &page.shares {
            if let Some(segment) = self.table.get(share.segment) {
                self.search(&segment, missing, |position, record, scratch| {
                    find_entries(&sources, position, record, scratch, &mut found);
                })?;
            }
        }
        for unread in page.unread() {
            found.entry(unread.sequence.0).or_insert(unread);
        }
        Ok(found.into_values().collect())
    }

    /// Where the entries of a page may have come from: events name the mailboxes that they went to
    /// at first, and transfers say what became of that.
    fn sources(&self, mailbox: MailboxId, page: &Page, missing: Missing) -> Result<Vec<Source>, ReadError> {
        let mut sources = vec![Source { mailbox, first: page.first, last: page.last, more: 0 }];
        // Backwards in time: what came by a transfer may have gone there by an earlier one.
        for index in self.table.below(u64::MAX).into_iter().rev() {
            let Some(segment) = self.table.get(index) else {
                continue;
            };
            let mut transfers = Vec::new();
            self.search(&segment, missing, |_, record, _| {
                if let Record::Transfer(transfer) = record {
                    transfers.push(*transfer);
                }
            })?;
            for transfer in transfers.iter().rev() {
                let before: Vec<_> = sources.iter().filter_map(|source| source.before(transfer)).collect();
                sources.extend(before);
            }
        }
        Ok(sources)
    }

    /// Shows `see` the records of the intact batches of a segment.
    fn search(
        &self,
        segment: &Segment,
        missing: Missing,
        see: impl FnMut(Position, &Record<'_>, &Scratch),
    ) -> Result<(), ReadError> {
        let mut bytes = vec![0u8; segment.bytes.saturating_sub(DATA_START) as usize];
        let got = match missing {
            Missing::Refused => self.read_some(segment, &mut bytes, DATA_START)?,
            Missing::PassedOver => read_what_can_be(&*segment.file, &mut bytes, DATA_START).bytes,
        };
        let stretch = Stretch {
            segment: segment.index,
            salt: segment.salt,
            bytes: &bytes[..got],
            start: DATA_START,
            limit: None,
            is_last: false,
            segment_bytes: self.segment_bytes,
        };
        // A record of an unknown kind ends the search there: what was found is kept.
        let mut search = Search { segment_bytes: self.segment_bytes, scratch: Scratch::default(), see };
        let _ = Walk::default().stretch(&stretch, &mut search);
        Ok(())
    }
}

/// A range of a mailbox that entries were in at some time, and what makes their sequences now.
#[derive(Clone, Copy, Debug)]
struct Source {
    mailbox: MailboxId,
    first: u64,
    last: u64,
    /// What is added, modulo 2^64.
    more: u64,
}

impl Source {
    /// Where what a transfer brought here was before.
    fn before(&self, transfer: &Transfer) -> Option<Source> {
        let brought = transfer.last_there().filter(|_| transfer.to == self.mailbox)?;
        let (first, last) = (self.first.max(transfer.to_first), self.last.min(brought));
        let back = transfer.first.wrapping_sub(transfer.to_first);
        (first <= last).then(|| Source {
            mailbox: transfer.from,
            first: first.wrapping_add(back),
            last: last.wrapping_add(back),
            more: self.more.wrapping_sub(back),
        })
    }
}

/// Shows each record with its position and its lists.
struct Search<F> {
    segment_bytes: u64,
    scratch: Scratch,
    see: F,
}

impl<F: FnMut(Position, &Record<'_>, &Scratch)> Sink for Search<F> {
    type Error = Malformed;

    fn on_batch(&mut self, batch: &BatchView<'_>) -> Result<(), Malformed> {
        let position = batch.header.position;
        self.scratch.sets.enter(position.segment(self.segment_bytes));
        let mut records = Records::new(batch.body);
        while let Some((at, record)) = records.next(&mut self.scratch)? {
            (self.see)(record_position(position, at), &record, &self.scratch);
        }
        Ok(())
    }
}

/// Adds the entries of an event that come from `sources`.
fn find_entries(
    sources: &[Source],
    position: Position,
    record: &Record<'_>,
    scratch: &Scratch,
    found: &mut BTreeMap<u64, LiveEntry>,
) {
    let (Record::Event { body } | Record::Moved { body }) = record else {
        return;
    };
    let bytes = body.len() as u32;
    for (mailbox, sequence) in &scratch.entries {
        let is_in = |source: &&Source| {
            source.mailbox == *mailbox && (source.first..=source.last).contains(&sequence.0)
        };
        for source in sources.iter().filter(is_in) {
            let sequence = MailboxSequence(sequence.0.wrapping_add(source.more));
            found.insert(sequence.0, LiveEntry { sequence, position, bytes });
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("root", &self.root).finish_non_exhaustive()
    }
}
