//! Putting mailbox entries into pages, so that a backlog takes no memory to speak of.
//!
//! After each commit: mailboxes that hold many entries in memory give up all but the first and the
//! newest; while all together hold more than their budget, the largest give up all. A page is written
//! twice, the second time read back from the log, once that has gone on far enough: what a disk loses
//! lies close together.
//!
//! Invariants:
//! 1. A page record changes where entries are kept, never which there are.
//! 2. What waits for its second copy was written in the last 64 KiB of the log, or by the last commit.
//! 3. That the disk is full is no error: no pages are written then. Memory grows by what is acked or
//!    moved in parts of pages meanwhile, 20 bytes an entry and never beyond what is queued: no events
//!    come, and the reserve is for acks.
//! 4. Runs of fewer than a 32nd of a page between two pages stay in memory: at most 640 bytes beside
//!    each page of 1,024.

use crate::batch::Batch;
use crate::error::{CommitError, ReadError};
use crate::format::{BATCH_HEADER, segment_capacity};
use crate::id::{MailboxId, Position};
use crate::index::locked;
use crate::mailbox::Wanted;
use crate::record::{LiveEntry, put_page};
use crate::store::{Appended, Store};

/// Size at which a batch of pages is written.
const CHUNK_BYTES: usize = 1 << 20;
/// Most bytes that an entry takes in a page, but for unusual ones.
const ENTRY_BYTES: usize = 16;
/// Bytes of pages written after one commit at most, and for each entry that the commit has brought:
/// twice what two copies take, so that what is put off is made up for.
const COMMIT_BYTES: usize = 1 << 20;
const COMMIT_BYTES_AN_ENTRY: usize = 4 * ENTRY_BYTES;
/// How far apart the two copies of a page lie, where both are in one segment.
const COPY_DISTANCE: u64 = 64 << 10;
/// A page is worth it from this part of a whole one on.
const LEAST_SHARE: usize = 32;
/// Bytes of memory that an entry takes.
const HOT_ENTRY_BYTES: u64 = 20;

/// Which mailboxes give up entries next.
#[derive(Debug, Default)]
pub(crate) struct Pager {
    /// The largest last.
    victims: Vec<MailboxId>,
    /// Entries in memory when there was nothing more to be given up.
    stuck_at: u64,
    /// The last pages found no room.
    is_short: bool,
}

impl Batch {
    /// Adds a page record.
    pub(crate) fn page(&mut self, mailbox: MailboxId, entries: &[LiveEntry]) {
        self.is_essential = false;
        self.records += 1;
        let mark = put_page(&mut self.bytes, BATCH_HEADER, mailbox, entries);
        self.events.push(mark);
    }
}

impl Store {
    /// Puts what is too much in memory into pages, as far as a commit that has brought so many
    /// entries should pay for. A failure shows at the next commit: what was committed before is durable.
    pub(crate) fn relieve(&mut self, brought: u64) {
        if self.fullness.is_full || (self.pager.is_short && self.is_short()) {
            return;
        }
        self.pager.is_short = false;
        // Full: later. Stopped: noted.
        let mut left = COMMIT_BYTES + COMMIT_BYTES_AN_ENTRY * brought as usize;
        let _ = self.copy_pages(&mut left).and_then(|()| self.write_pages(&mut left));
    }

    fn write_pages(&mut self, left: &mut usize) -> Result<(), CommitError> {
        while *left > 0 {
            let batch = self.next_pages(self.chunk().min(*left));
            if batch.is_empty() {
                break;
            }
            *left = left.saturating_sub(batch.len_bytes());
            self.append_pages(batch)?;
        }
        Ok(())
    }

    fn append_pages(&mut self, batch: Batch) -> Result<(), CommitError> {
        let pages = batch.events.len() as u64;
        let appended = self.append(batch, 0);
        if matches!(appended, Err(CommitError::Full { .. })) {
            // Not for events, which may still fit; who was to give up entries is found again later.
            self.fullness.is_full = false;
            self.pager = Pager { is_short: true, ..Pager::default() };
        }
        let Appended { bytes, .. } = appended?;
        self.counters.pages += pages;
        self.checkpoints.bytes_since += bytes;
        Ok(())
    }

    fn chunk(&self) -> usize {
        CHUNK_BYTES.min(segment_capacity(self.segment_bytes()) as usize / 4)
    }

    /// As many pages as go into `chunk` bytes; none when nothing is due.
    fn next_pages(&mut self, chunk: usize) -> Batch {
        let mut batch = Batch::in_buffer(Vec::new());
        let mut whole = false;
        while batch.len_bytes() < chunk {
            let Some((id, all)) = self.next_victim() else {
                break;
            };
            if all && !batch.is_empty() && !whole {
                // It may be in this batch already.
                self.keep_victim(id, all);
                break;
            }
            whole = all;
            let room = (chunk - batch.len_bytes()) / (self.options.page_entries * ENTRY_BYTES);
            let wanted = Wanted {
                page: self.options.page_entries,
                least: (self.options.page_entries / LEAST_SHARE).max(2),
                all,
                pages: room.max(1),
            };
            let mailbox = self.ledger.index.get(id);
            let pages = mailbox.map_or(Vec::new(), |mailbox| locked(&mailbox).surplus(&wanted));
            pages.iter().for_each(|entries| batch.page(id, entries));
            if pages.len() == wanted.pages {
                // There may be more; it is looked at again once these are in the log.
                self.keep_victim(id, all);
                break;
            }
        }
        batch
    }

    /// The mailbox that gives up entries next, and whether all.
    fn next_victim(&mut self) -> Option<(MailboxId, bool)> {
        if let Some(id) = self.ledger.grown().pop_first() {
            return Some((id, false));
        }
        let budget = self.options.hot_bytes_max as u64 / HOT_ENTRY_BYTES;
        let hot = self.ledger.hot();
        if hot <= budget - budget / 4 {
            self.pager = Pager::default();
        } else if self.pager.victims.is_empty() && hot > budget.max(self.pager.stuck_at + budget / 8) {
            self.pager.victims = self.largest();
            self.pager.stuck_at = hot;
        }
        Some((self.pager.victims.pop()?, true))
    }

    fn keep_victim(&mut self, id: MailboxId, all: bool) {
        if all {
            self.pager.victims.push(id);
        } else {
            self.ledger.grown().insert(id);
        }
    }

    fn largest(&self) -> Vec<MailboxId> {
        let all = self.ledger.index.all();
        let mut sizes: Vec<_> = all.into_iter().map(|(id, mailbox)| (locked(&mailbox).hot(), id)).collect();
        sizes.sort_unstable();
        sizes.into_iter().map(|(_, id)| id).collect()
    }

    /// The page to be written a second time next: the oldest one, if the log has gone on far enough.
    fn next_uncopied(&mut self) -> Option<(Position, (MailboxId, u64))> {
        let (at, page) = self.ledger.uncopied().first_key_value().map(|(at, page)| (*at, *page))?;
        if !self.is_far(at) {
            return None;
        }
        self.ledger.uncopied().remove(&at);
        Some((at, page))
    }

    /// Whether a copy written now lies far enough from one at `at`.
    pub(crate) fn is_far(&self, at: Position) -> bool {
        let (end, size) = (self.end(), self.segment_bytes());
        at.segment(size) != end.segment(size) || end.0.saturating_sub(at.0) >= COPY_DISTANCE.min(size / 4)
    }

    /// Writes pages that were written once a second time.
    fn copy_pages(&mut self, left: &mut usize) -> Result<(), CommitError> {
        while *left > 0 {
            let chunk = self.chunk().min(*left);
            let mut batch = Batch::in_buffer(Vec::new());
            let mut copied = Vec::new();
            while batch.len_bytes() < chunk {
                let Some((at, (id, first))) = self.next_uncopied() else {
                    break;
                };
                copied.push((at, (id, first)));
                self.add_copy(&mut batch, id, first, at)?;
            }
            if batch.is_empty() {
                break;
            }
            *left = left.saturating_sub(batch.len_bytes());
            if let Err(error) = self.append_pages(batch) {
                self.ledger.uncopied().extend(copied);
                return Err(error);
            }
        }
        Ok(())
    }

    fn add_copy(
        &mut self,
        batch: &mut Batch,
        id: MailboxId,
        first: u64,
        only: Position,
    ) -> Result<(), CommitError> {
        let mailbox = self.ledger.index.get(id);
        let page = mailbox.and_then(|mailbox| locked(&mailbox).page(first).cloned());
        let Some(page) = page.filter(|page| page.copies == [only, Position(0)]) else {
            return Ok(());
        };
        match self.ledger.log().page(id, &page) {
            Ok(entries) => batch.page(id, &entries),
            Err(error @ ReadError::Io { .. }) => return Err(self.fail_to_read(error)),
            // Damaged: it is made out when it is needed.
            Err(_) => {}
        }
        Ok(())
    }
}
