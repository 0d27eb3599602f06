//! Writing a checkpoint: the caller's state and the store's mailboxes, in a row of batches.
//!
//! Of entries in pages it says where the pages lie: it does not grow with a backlog.
//! Invariant: a checkpoint counts only once its end record, with totals that add up, is durable;
//! until then, and until the next one, what the one before needs is kept.

use crate::batch::Batch;
use crate::error::CommitError;
use crate::format::{FLAG_CHECKPOINT, segment_capacity};
use crate::id::{MailboxId, Position};
use crate::index::locked;
use crate::mailbox::Run;
use crate::page::{Page, page_reference_bytes_max};
use crate::record::{
    CHECKPOINT_ENTRY_MAX, CheckpointTotals, LiveEntry, put_checkpoint_begin, put_checkpoint_end,
    put_checkpoint_entries, put_checkpoint_given_up, put_checkpoint_mailbox, put_checkpoint_page,
    put_checkpoint_state,
};
use crate::store::{Appended, Store};

/// Size at which a batch of a checkpoint is written.
const CHUNK_BYTES: usize = 1 << 20;
/// More than any record's own framing.
const FRAMING: usize = 64;

/// A checkpoint being written.
pub(crate) struct CheckpointWriter<'a> {
    store: &'a mut Store,
    batch: Batch,
    chunk: usize,
    begin: Option<Position>,
    totals: CheckpointTotals,
    bytes: u64,
}

/// A checkpoint that is durable.
pub(crate) struct Written {
    pub(crate) begin: Position,
    pub(crate) bytes: u64,
}

/// Writes a whole checkpoint.
pub(crate) fn write(
    store: &mut Store,
    state: &mut dyn Iterator<Item = Vec<u8>>,
) -> Result<Written, CommitError> {
    let capacity = segment_capacity(store.segment_bytes()) as usize;
    let mut writer = CheckpointWriter {
        batch: store.batch(),
        chunk: CHUNK_BYTES.min(capacity / 2),
        begin: None,
        totals: CheckpointTotals { id: store.next_number(), ..CheckpointTotals::default() },
        bytes: 0,
        store,
    };
    let id = writer.totals.id;
    writer.batch.own(|out| put_checkpoint_begin(out, id));
    for record in state {
        writer.state(&record)?;
    }
    writer.mailboxes()?;
    writer.given_up()?;
    writer.end()
}

impl CheckpointWriter<'_> {
    fn state(&mut self, record: &[u8]) -> Result<(), CommitError> {
        self.room_for(record.len())?;
        self.totals.states += 1;
        self.batch.own(|out| put_checkpoint_state(out, record));
        Ok(())
    }

    fn mailboxes(&mut self) -> Result<(), CommitError> {
        let per_record = (self.chunk / (2 * CHECKPOINT_ENTRY_MAX)).max(1);
        for (id, mailbox) in self.store.index().all() {
            self.room_for(FRAMING)?;
            self.totals.mailboxes += 1;
            let next = locked(&mailbox).next();
            self.batch.own(|out| put_checkpoint_mailbox(out, id, next));
            let mut from = 0;
            loop {
                let run = locked(&mailbox).run(from, per_record);
                let last = match run {
                    Run::End => break,
                    Run::Hot(entries) => self.entries(id, &entries)?,
                    Run::Cold(page) => self.page(id, &page)?,
                };
                from = last + 1;
            }
        }
        Ok(())
    }

    /// Writes entries; the last sequence.
    fn entries(&mut self, id: MailboxId, entries: &[LiveEntry]) -> Result<u64, CommitError> {
        self.room_for(entries.len() * CHECKPOINT_ENTRY_MAX)?;
        self.totals.entries += entries.len() as u64;
        self.batch.own(|out| put_checkpoint_entries(out, id, entries));
        Ok(entries.last().map_or(u64::MAX - 1, |last| last.sequence.0))
    }

    /// Writes where a page lies, not what is in it; the last sequence.
    fn page(&mut self, id: MailboxId, page: &Page) -> Result<u64, CommitError> {
        self.room_for(page_reference_bytes_max(page))?;
        self.totals.entries += u64::from(page.live);
        self.batch.own(|out| put_checkpoint_page(out, id, page));
        Ok(page.last)
    }

    /// Writes which segments must be kept until the next checkpoint.
    fn given_up(&mut self) -> Result<(), CommitError> {
        let given_up: Vec<_> = self.store.ledger.census.given_up().collect();
        for (segment, pages) in given_up {
            self.room_for(FRAMING)?;
            self.totals.entries += 1;
            self.batch.own(|out| put_checkpoint_given_up(out, segment, pages));
        }
        Ok(())
    }

    fn end(mut self) -> Result<Written, CommitError> {
        let totals = self.totals;
        self.batch.own(|out| put_checkpoint_end(out, &totals));
        let last = self.flush()?;
        Ok(Written { begin: self.begin.unwrap_or(last), bytes: self.bytes })
    }

    fn room_for(&mut self, bytes: usize) -> Result<(), CommitError> {
        if self.batch.len_bytes() + bytes + FRAMING > self.chunk && !self.batch.is_empty() {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<Position, CommitError> {
        let batch = std::mem::replace(&mut self.batch, Batch::in_buffer(Vec::new()));
        let Appended { position, bytes, buffer, .. } = self.store.append(batch, FLAG_CHECKPOINT)?;
        self.bytes += bytes;
        self.begin.get_or_insert(position);
        self.batch = Batch::in_buffer(buffer);
        Ok(position)
    }
}
