//! Reading, from any thread, while the writer commits and reclaims.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::error::ReadError;
use crate::id::{MailboxId, MailboxSequence, Position};
use crate::index::{Index, MailboxStats, locked};
use crate::record::{EVENT_HEAD_MAX, EventHead, event_is_intact, read_event_head};
use crate::segments::{Segment, Table, segment_name};

/// Most bytes that the first read of an event asks for: one page suffices for most.
const FIRST_READ: usize = 4096;

/// A view on the flushed part of the log. Cheap to clone; outlives the store's stopping.
#[derive(Clone)]
pub struct Reader {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) table: Arc<Table>,
    pub(crate) index: Arc<Index>,
    pub(crate) segment_bytes: u64,
}

impl Reader {
    /// The bytes of the event at `position`, checked against its checksum. One read of the file for
    /// events up to 4 KiB, two for larger ones.
    ///
    /// # Errors
    /// [`ReadError::Gone`] once no mailbox holds it and its segment was reclaimed.
    pub fn read(&self, position: Position) -> Result<Bytes, ReadError> {
        let index = position.segment(self.segment_bytes);
        let segment = self.table.get(index).ok_or(ReadError::Gone(position))?;
        let offset = position.offset(self.segment_bytes);
        let mut first = [0u8; FIRST_READ];
        let got = read_some(&segment, &mut first, offset).map_err(|e| self.failed(&segment, offset, e))?;
        let damaged = || ReadError::Damaged { path: self.disk.root().join(segment_name(index)), offset };
        let head = read_event_head(&first[..got.min(EVENT_HEAD_MAX)]).map_err(|_| damaged())?;
        let room = self.segment_bytes - offset;
        if head.body_bytes > room {
            return Err(damaged());
        }
        let body = self.body(&segment, offset, &head, &first[..got])?;
        match body {
            Some(body) if event_is_intact(&body, head.checksum, offset, &segment.salt) => Ok(body),
            _ => Err(damaged()),
        }
    }

    fn body(
        &self,
        segment: &Segment,
        offset: u64,
        head: &EventHead,
        first: &[u8],
    ) -> Result<Option<Bytes>, ReadError> {
        let bytes = head.body_bytes as usize;
        let begun = &first[head.head_bytes..];
        if let Some(whole) = begun.get(..bytes) {
            return Ok(Some(Bytes::copy_from_slice(whole)));
        }
        let mut body = vec![0u8; bytes];
        body[..begun.len()].copy_from_slice(begun);
        let rest_at = offset + first.len() as u64;
        let rest = &mut body[begun.len()..];
        let wanted = rest.len();
        let got = read_some(segment, rest, rest_at).map_err(|e| self.failed(segment, offset, e))?;
        Ok((got == wanted).then(|| Bytes::from(body)))
    }

    fn failed(&self, segment: &Segment, offset: u64, source: std::io::Error) -> ReadError {
        ReadError::Io { path: self.disk.root().join(segment_name(segment.index)), offset, source }
    }

    /// Live entries of a mailbox from a sequence on, ascending, at most `max`; none when there is
    /// no such mailbox. O(log entries + max).
    pub fn entries(
        &self,
        mailbox: MailboxId,
        from: MailboxSequence,
        max: usize,
    ) -> Vec<(MailboxSequence, Position)> {
        let Some(mailbox) = self.index.get(mailbox) else {
            return Vec::new();
        };
        let entries = locked(&mailbox).entries(from, max);
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
        let Some(mailbox) = self.index.get(mailbox) else {
            return Vec::new();
        };
        let entries = locked(&mailbox).entries(from, max);
        let mut taken = 0u64;
        let within = entries.into_iter().take_while(|entry| {
            let fits = taken < bytes_max;
            taken += u64::from(entry.bytes);
            fits
        });
        within.map(|entry| (entry.sequence, entry.position, entry.bytes)).collect()
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
        f.debug_struct("Reader").field("root", &self.disk.root()).finish_non_exhaustive()
    }
}

fn read_some(segment: &Segment, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    segment.file.read_at(buffer, offset)
}
