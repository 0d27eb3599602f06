//! What one append makes durable together.
//!
//! A batch is built without knowing where it will lie: checksums are completed at the commit.

use std::ops::RangeInclusive;

use crate::format::BATCH_HEADER;
use crate::id::{EventIndex, MailboxId, MailboxSequence, RemovalIndex};
use crate::record::{self, EventMark, Transfer};
use crate::sets::Wide;

/// Events, entries, acks, mailboxes and state records that one flush makes durable: after a crash
/// all of them are there or none. Made by [`crate::Store::batch`].
#[derive(Debug)]
pub struct Batch {
    /// Room for the header, then the body.
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: u32,
    pub(crate) events: Vec<EventMark>,
    /// Events with so many destinations that their set may be worth a definition.
    pub(crate) wide: Vec<Wide>,
    wide_from: usize,
    /// Events that refer to a set.
    pub(crate) referring: u32,
    removals: u32,
    /// Whether it may use the segments kept in reserve: it stores no event and makes no mailbox.
    pub(crate) is_essential: bool,
}

impl Batch {
    /// An empty batch in `buffer`, whose content is dropped and whose capacity is kept.
    pub(crate) fn in_buffer(mut buffer: Vec<u8>) -> Batch {
        buffer.clear();
        buffer.resize(BATCH_HEADER, 0);
        Batch {
            bytes: buffer,
            records: 0,
            events: Vec::new(),
            wide: Vec::new(),
            wide_from: usize::MAX,
            referring: 0,
            removals: 0,
            is_essential: true,
        }
    }

    /// The batch with events from so many destinations on marked as wide.
    pub(crate) fn wide_from(self, destinations: usize) -> Batch {
        Batch { wide_from: destinations, ..self }
    }

    /// What is said of it beside its records.
    pub(crate) fn bare(&self) -> Batch {
        Batch { removals: self.removals, is_essential: self.is_essential, ..Batch::in_buffer(Vec::new()) }
    }

    /// Adds an event, its bytes being `parts` one after the other, stored once however many
    /// mailboxes it goes to. The index finds its position in [`crate::Committed`]. O(bytes).
    pub fn event(&mut self, parts: &[&[u8]], entries: &[(MailboxId, MailboxSequence)]) -> EventIndex {
        self.is_essential = false;
        self.records += 1;
        let mark = record::put_event(&mut self.bytes, BATCH_HEADER, parts, entries);
        if entries.len() >= self.wide_from {
            self.wide.push(Wide {
                event: self.events.len() as u32,
                list: mark.list_at,
                end: (self.bytes.len() - BATCH_HEADER) as u32,
            });
        }
        self.events.push(mark);
        EventIndex(self.events.len() as u32 - 1)
    }

    /// Removes the entries with these sequences. Sequences that are not there, and mailboxes that
    /// are not there, are passed over: an ack may cross a removal. How many were there stands in
    /// [`crate::Committed`]; `None`: the range is empty, and nothing was added.
    pub fn acked(&mut self, mailbox: MailboxId, range: RangeInclusive<u64>) -> Option<RemovalIndex> {
        if range.is_empty() {
            return None;
        }
        self.records += 1;
        record::put_acked(&mut self.bytes, mailbox, &range);
        Some(self.next_removal())
    }

    /// Makes an empty mailbox, whose first entry may have any sequence from 1 on.
    pub fn create_mailbox(&mut self, mailbox: MailboxId) {
        self.is_essential = false;
        self.records += 1;
        record::put_create(&mut self.bytes, mailbox);
    }

    /// Removes a mailbox and all its entries, those of this batch too; one that is not there is
    /// passed over. How many entries there were stands in [`crate::Committed`].
    pub fn remove_mailbox(&mut self, mailbox: MailboxId) -> RemovalIndex {
        self.records += 1;
        record::put_remove(&mut self.bytes, mailbox);
        self.next_removal()
    }

    /// Moves the entries with these sequences to the end of mailbox `to`: the events stay where
    /// they lie. What has sequence `range.start() + n` gets `first + n` there; `first` must not be
    /// below what comes next in `to`, and what comes next then lies beyond all of the range. Sequences
    /// that are not there, and a `from` that is not there, are passed over. How many moved stands in
    /// [`crate::Committed`]; `None`: the range is empty, and nothing was added.
    pub fn transfer(
        &mut self,
        from: MailboxId,
        range: RangeInclusive<u64>,
        to: MailboxId,
        first: MailboxSequence,
    ) -> Option<RemovalIndex> {
        if range.is_empty() {
            return None;
        }
        self.records += 1;
        let transfer = Transfer { from, first: *range.start(), last: *range.end(), to, to_first: first.0 };
        record::put_transfer(&mut self.bytes, &transfer);
        Some(self.next_removal())
    }

    fn next_removal(&mut self) -> RemovalIndex {
        self.removals += 1;
        RemovalIndex(self.removals - 1)
    }

    /// Adds an opaque state record, given back in order by the next recovery.
    pub fn state(&mut self, record: &[u8]) {
        self.records += 1;
        record::put_state(&mut self.bytes, record);
    }

    /// Bytes that the records take.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() - BATCH_HEADER
    }

    /// True when there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Adds a record of the store's own by `put`.
    pub(crate) fn own(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.records += 1;
        put(&mut self.bytes);
    }
}
