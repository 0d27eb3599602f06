//! Pages: runs of a mailbox's entries that lie in the log and not in memory.
//!
//! A page record is sealed like an event, so that it can be read by itself. It is written in two
//! batches that lie far apart, so that damage to one costs nothing.
//!
//! Invariant: what the directory says of a page (numbers, and entries per segment) is made from its
//! entries and nothing else, so that a recovery makes the same.

use crate::id::{MailboxId, MailboxSequence, Position};
use crate::record::LiveEntry;
use crate::varint::{Cursor, Malformed, put, unzigzag, zigzag};

/// A page in the directory of its mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Sequences of the first and the last entry.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) live: u32,
    /// Bytes of the events.
    pub(crate) bytes: u64,
    /// Where the event of the first entry lies.
    pub(crate) head: Position,
    /// Where the page lies, the youngest copy first; 0 where there is none.
    pub(crate) copies: [Position; 2],
    /// Where the events lie, ascending by segment.
    pub(crate) shares: Box<[Share]>,
}

/// The part of a page's events that lies in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) segment: u64,
    pub(crate) live: u64,
    pub(crate) bytes: u64,
}

impl Page {
    /// The directory's line for `entries` (not empty), written at `position`.
    pub(crate) fn of(entries: &[LiveEntry], position: Position, segment_bytes: u64) -> Option<Page> {
        let (first, last) = (entries.first()?, entries.last()?);
        Some(Page {
            first: first.sequence.0,
            last: last.sequence.0,
            live: entries.len() as u32,
            bytes: entries.iter().map(|entry| u64::from(entry.bytes)).sum(),
            head: first.position,
            copies: [position, Position(0)],
            shares: shares(entries, segment_bytes),
        })
    }

    /// The copies that there are.
    pub(crate) fn places(&self) -> impl Iterator<Item = Position> {
        self.copies.into_iter().filter(|position| position.0 != 0)
    }

    /// Entries in place of those that cannot be read, where the page itself lies: for all sequences
    /// in its range, for which of them live is not known, unless they are very many.
    pub(crate) fn unread(&self) -> Vec<LiveEntry> {
        let bytes = (self.bytes / u64::from(self.live.max(1))) as u32;
        let sequences = (self.first..=self.last).take(64 * self.live as usize);
        let unread = |at| LiveEntry { sequence: MailboxSequence(at), position: self.copies[0], bytes };
        sequences.map(unread).collect()
    }

    /// Moves the copies that lie at `from` of the log and beyond to `to`. The events of a page were
    /// durable when it was written: they are not in the tail that is moved.
    pub(crate) fn relocate(&mut self, from: Position, to: Position) {
        for copy in self.copies.iter_mut().filter(|copy| **copy >= from) {
            *copy = Position(copy.0 - from.0 + to.0);
        }
    }
}

fn shares(entries: &[LiveEntry], segment_bytes: u64) -> Box<[Share]> {
    let mut shares: Vec<Share> = Vec::new();
    for entry in entries {
        let segment = entry.position.segment(segment_bytes);
        // Entries lie in few segments, most of them in the last one seen.
        let at = shares.iter().rposition(|share| share.segment == segment).unwrap_or_else(|| {
            shares.push(Share { segment, ..Share::default() });
            shares.len() - 1
        });
        shares[at].live += 1;
        shares[at].bytes += u64::from(entry.bytes);
    }
    shares.sort_unstable_by_key(|share| share.segment);
    shares.into()
}

/// What tells an entry from the one before it.
type Step = (u64, i64, u32);

/// Appends the body of a page record: runs of entries that follow in equal steps, and entries one by
/// one. O(entries).
pub(crate) fn put_page_body(out: &mut Vec<u8>, mailbox: MailboxId, entries: &[LiveEntry]) {
    put(out, mailbox.0);
    put(out, entries.len() as u64);
    let mut before = (0u64, 0u64);
    let steps: Vec<Step> = entries
        .iter()
        .map(|entry| {
            let (sequence, position) = (entry.sequence.0, entry.position.0);
            let step = (sequence.wrapping_sub(before.0), position.wrapping_sub(before.1) as i64, entry.bytes);
            before = (sequence, position);
            step
        })
        .collect();
    let mut at = 0;
    while at < steps.len() {
        let equal = equal_steps(&steps[at..]);
        let alone = if equal > 2 { 0 } else { steps_alone(&steps[at..]) };
        match alone {
            0 => put(out, (equal as u64) << 1 | 1),
            _ => put(out, (alone as u64) << 1),
        }
        let (written, covered) = if alone == 0 { (1, equal) } else { (alone, alone) };
        for (sequence, position, bytes) in &steps[at..at + written] {
            put(out, *sequence);
            put(out, zigzag(*position));
            put(out, u64::from(*bytes));
        }
        at += covered;
    }
}

fn equal_steps(steps: &[Step]) -> usize {
    steps.iter().take_while(|step| **step == steps[0]).count()
}

/// Steps before the next three that are equal.
fn steps_alone(steps: &[Step]) -> usize {
    let equal = steps.windows(3).position(|three| three[0] == three[1] && three[1] == three[2]);
    equal.unwrap_or(steps.len())
}

/// Most entries that a page record may hold: twice what any option allows. Equal steps take no bytes,
/// so that nothing else bounds them.
pub(crate) const ENTRIES_MAX: u64 = 1 << 17;

/// Reads the body of a page record; its entries go to `entries`.
pub(crate) fn read_page_body(body: &[u8], entries: &mut Vec<LiveEntry>) -> Result<MailboxId, Malformed> {
    let mut cursor = Cursor::new(body, 0);
    let mailbox = MailboxId(cursor.varint()?);
    let count = cursor.varint()?;
    if count > ENTRIES_MAX {
        return Err(Malformed);
    }
    entries.clear();
    let (mut sequence, mut position) = (0u64, 0u64);
    while (entries.len() as u64) < count {
        let group = cursor.varint()?;
        let (is_equal, members) = (group & 1 == 1, group >> 1);
        if members == 0 || members > count - entries.len() as u64 {
            return Err(Malformed);
        }
        let mut step = (0, 0, 0);
        for member in 0..members {
            if member == 0 || !is_equal {
                let bytes = |cursor: &mut Cursor<'_>| u32::try_from(cursor.varint()?).map_err(|_| Malformed);
                step = (cursor.varint()?, unzigzag(cursor.varint()?) as u64, bytes(&mut cursor)?);
            }
            sequence = sequence.wrapping_add(step.0);
            position = position.wrapping_add(step.1);
            entries.push(LiveEntry {
                sequence: MailboxSequence(sequence),
                position: Position(position),
                bytes: step.2,
            });
        }
    }
    if cursor.is_at_end() { Ok(mailbox) } else { Err(Malformed) }
}

/// Appends the directory's line for a checkpoint.
pub(crate) fn put_page_reference(out: &mut Vec<u8>, page: &Page) {
    put(out, page.first);
    put(out, page.last - page.first);
    for number in [u64::from(page.live), page.bytes, page.head.0, page.copies[0].0, page.copies[1].0] {
        put(out, number);
    }
    put(out, page.shares.len() as u64);
    for share in &page.shares {
        put(out, share.segment);
        put(out, share.live);
        put(out, share.bytes);
    }
}

/// Most bytes of a directory's line.
pub(crate) fn page_reference_bytes_max(page: &Page) -> usize {
    (8 + 3 * page.shares.len()) * 10
}

/// Reads a directory's line.
pub(crate) fn read_page_reference(cursor: &mut Cursor<'_>) -> Result<Page, Malformed> {
    let first = cursor.varint()?;
    let last = first.checked_add(cursor.varint()?).ok_or(Malformed)?;
    let live = u32::try_from(cursor.varint()?).map_err(|_| Malformed)?;
    let bytes = cursor.varint()?;
    let head = Position(cursor.varint()?);
    let copies = [Position(cursor.varint()?), Position(cursor.varint()?)];
    let mut shares = Vec::new();
    for _ in 0..cursor.varint()? {
        shares.push(Share { segment: cursor.varint()?, live: cursor.varint()?, bytes: cursor.varint()? });
    }
    Ok(Page { first, last, live, bytes, head, copies, shares: shares.into() })
}
