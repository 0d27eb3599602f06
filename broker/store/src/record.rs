//! What is in the body of a batch: a row of records, each a kind byte and numbers in varints.
//!
//! The one decoder serves commits (what was just flushed is applied from its bytes), recovery and
//! reading, so that they cannot differ. Kinds are never used again; an unknown kind in an intact
//! batch is an error and never skipped.

use std::ops::RangeInclusive;

use crate::format::Salt;
use crate::id::{MailboxId, MailboxSequence, Position};
use crate::page::{Page, put_page_body, put_page_reference, read_page_body, read_page_reference};
use crate::sets::{Destinations, Exception, SetTable, resolve};
use crate::varint::{Cursor, Malformed, put, unzigzag, zigzag};

const EVENT: u8 = 1;
const ACKED: u8 = 2;
const CREATE: u8 = 3;
const REMOVE: u8 = 4;
const STATE: u8 = 5;
const CHECKPOINT_BEGIN: u8 = 6;
const CHECKPOINT_STATE: u8 = 7;
const CHECKPOINT_MAILBOX: u8 = 8;
const CHECKPOINT_ENTRIES: u8 = 9;
const CHECKPOINT_END: u8 = 10;
const KNOWN_DAMAGE: u8 = 11;
const TRANSFER: u8 = 12;
const SET: u8 = 13;
const EVENT_SET: u8 = 14;
const PAGE: u8 = 15;
const MOVED: u8 = 16;
const CHECKPOINT_PAGE: u8 = 17;
const CHECKPOINT_GIVEN_UP: u8 = 18;

/// Most bytes of a sealed record before its body: kind, length, checksum.
pub(crate) const SEALED_HEAD_MAX: usize = 1 + 10 + 4;
/// Most bytes that one mailbox entry takes in a checkpoint.
pub(crate) const CHECKPOINT_ENTRY_MAX: usize = 30;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// An event; its entries are in [`Scratch::entries`].
    Event {
        body: &'a [u8],
    },
    Acked {
        mailbox: MailboxId,
        first: u64,
        last: u64,
    },
    CreateMailbox(MailboxId),
    RemoveMailbox(MailboxId),
    State(&'a [u8]),
    CheckpointBegin {
        id: u64,
    },
    CheckpointState(&'a [u8]),
    /// A mailbox of a checkpoint; the entries follow.
    CheckpointMailbox {
        mailbox: MailboxId,
        next: MailboxSequence,
    },
    /// Entries of that mailbox, in [`Scratch::live`].
    CheckpointEntries {
        mailbox: MailboxId,
    },
    CheckpointEnd(CheckpointTotals),
    /// Damage that an earlier recovery has reported and copied aside.
    KnownDamage {
        from: Position,
        to: Position,
    },
    Transfer(Transfer),
    /// A set of destinations; it stands in [`Scratch::sets`] from now on.
    Set,
    /// An event whose entries were to be found by a definition that cannot be read.
    Unresolved {
        body: &'a [u8],
        /// The definition.
        set: u64,
    },
    /// Entries of a mailbox, in [`Scratch::live`], that need not be in memory any more.
    Page {
        body: &'a [u8],
        mailbox: MailboxId,
    },
    /// An event written again for the entries in [`Scratch::entries`] that still want it.
    Moved {
        body: &'a [u8],
    },
    /// A page of the mailbox of a checkpoint, in [`Scratch::page`].
    CheckpointPage,
    /// Pages that were given up between the last two checkpoints.
    CheckpointGivenUp {
        segment: u64,
        pages: u64,
    },
}

/// Live entries of a range that go to the end of another mailbox. Their numbers keep their
/// distances, so that both mailboxes are known before it is known what lives in the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) from: MailboxId,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) to: MailboxId,
    /// Number there of what is `first` here.
    pub(crate) to_first: u64,
}

impl Transfer {
    /// Number there of what is `last` here; none beyond the last number.
    pub(crate) fn last_there(self) -> Option<u64> {
        self.to_first.checked_add(self.last - self.first)
    }
}

impl<'a> Record<'a> {
    /// The body of a record with a checksum of its own.
    pub(crate) fn sealed(&self) -> Option<&'a [u8]> {
        match self {
            Record::Event { body }
            | Record::Unresolved { body, .. }
            | Record::Page { body, .. }
            | Record::Moved { body } => Some(body),
            _ => None,
        }
    }
}

/// What a complete checkpoint must add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckpointTotals {
    pub(crate) id: u64,
    pub(crate) states: u64,
    pub(crate) mailboxes: u64,
    /// Entries, and records of pages that were given up (version 1 has none of these).
    pub(crate) entries: u64,
}

/// A live entry of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveEntry {
    pub(crate) sequence: MailboxSequence,
    pub(crate) position: Position,
    /// Bytes of the event's body.
    pub(crate) bytes: u32,
}

/// Lists that belong to the record read last.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) entries: Vec<(MailboxId, MailboxSequence)>,
    pub(crate) live: Vec<LiveEntry>,
    /// Definitions of the segment that is read: not of one record, but of all before it.
    pub(crate) sets: SetTable,
    exceptions: Vec<Exception>,
    pub(crate) page: Option<(MailboxId, Page)>,
}

/// What stands in place of entries: a definition, and how the event differs from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetReference {
    pub(crate) number: u64,
    pub(crate) ordinal: u64,
    pub(crate) exceptions: Vec<Exception>,
}

/// Where an event's checksum lies in a body, and its value before sealing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventMark {
    /// Offset of the record in the body.
    pub(crate) at: u32,
    /// Offset of the checksum in the body.
    checksum_at: u32,
    checksum: u32,
    /// Offset of the entries in the body.
    pub(crate) list_at: u32,
}

impl EventMark {
    /// The mark once what lay at `old` of the body lies at `new`.
    pub(crate) fn moved(&self, old: usize, new: usize) -> EventMark {
        let moved = |at: u32| (at as usize + new - old) as u32;
        EventMark {
            at: moved(self.at),
            checksum_at: moved(self.checksum_at),
            list_at: moved(self.list_at),
            ..*self
        }
    }
}

/// Appends an event to `out`, whose body begins at `body_start`.
pub(crate) fn put_event(
    out: &mut Vec<u8>,
    body_start: usize,
    parts: &[&[u8]],
    entries: &[(MailboxId, MailboxSequence)],
) -> EventMark {
    let mark = put_sealed(out, body_start, EVENT, parts);
    let list_at = (out.len() - body_start) as u32;
    put(out, entries.len() as u64);
    for (mailbox, sequence) in entries {
        put(out, mailbox.0);
        put(out, sequence.0);
    }
    EventMark { list_at, ..mark }
}

/// Appends a page. The mark is that of a sealed record.
pub(crate) fn put_page(
    out: &mut Vec<u8>,
    body_start: usize,
    mailbox: MailboxId,
    entries: &[LiveEntry],
) -> EventMark {
    let mut body = Vec::with_capacity(16 + entries.len() * 4);
    put_page_body(&mut body, mailbox, entries);
    put_sealed(out, body_start, PAGE, &[&body])
}

/// Appends an event that is moved. The mark is that of a sealed record.
pub(crate) fn put_moved(
    out: &mut Vec<u8>,
    body_start: usize,
    body: &[u8],
    entries: &[(MailboxId, u64)],
) -> EventMark {
    let mark = put_sealed(out, body_start, MOVED, &[body]);
    put(out, entries.len() as u64);
    for (mailbox, sequence) in entries {
        put(out, mailbox.0);
        put(out, *sequence);
    }
    mark
}

/// Appends a record that can be read by itself: kind, length, checksum, body.
fn put_sealed(out: &mut Vec<u8>, body_start: usize, kind: u8, parts: &[&[u8]]) -> EventMark {
    let at = out.len() - body_start;
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    put(out, bytes as u64);
    let checksum_at = out.len() - body_start;
    out.extend_from_slice(&[0; 4]);
    let mut checksum = 0;
    for part in parts {
        checksum = crc32c::crc32c_append(checksum, part);
        out.extend_from_slice(part);
    }
    EventMark { at: at as u32, checksum_at: checksum_at as u32, checksum, list_at: 0 }
}

/// Writes an event's checksum into `body` for a body that begins at `body_offset` of its segment.
pub(crate) fn seal_event(body: &mut [u8], mark: &EventMark, body_offset: u64, salt: &Salt) {
    let sealed = mark.checksum ^ salt.seal(body_offset + u64::from(mark.at));
    let at = mark.checksum_at as usize;
    body[at..at + 4].copy_from_slice(&sealed.to_le_bytes());
}

/// Gives every event of an intact `body` the checksum that it needs at `body_offset` of the
/// segment with `salt`, wherever it lay before.
pub(crate) fn reseal_events(body: &mut [u8], body_offset: u64, salt: &Salt) -> Result<(), Malformed> {
    let mut at = 0;
    let mut scratch = Scratch::default();
    while at < body.len() {
        let mut reader = Records::starting_at(body, at);
        let record = reader.next(&mut scratch)?;
        let end = reader.cursor.at();
        if let Some((_, record)) = &record
            && let Some(event) = record.sealed()
        {
            let mut cursor = Cursor::new(body, at + 1);
            cursor.varint()?;
            let checksum_at = cursor.at() as u32;
            let checksum = crc32c::crc32c(event);
            seal_event(
                body,
                &EventMark { at: at as u32, checksum_at, checksum, list_at: 0 },
                body_offset,
                salt,
            );
        }
        at = end;
    }
    Ok(())
}

/// The entries that lie at `at` of a body.
pub(crate) fn read_entries(body: &[u8], at: usize) -> Result<Vec<(MailboxId, MailboxSequence)>, Malformed> {
    let mut entries = Vec::new();
    Records::starting_at(body, at).read_entries(&mut entries)?;
    Ok(entries)
}

/// Makes an event record whose entries were left out one that refers to a set.
pub(crate) fn turn_into_set_event(record: &mut [u8]) {
    if let Some(kind) = record.first_mut() {
        *kind = EVENT_SET;
    }
}

/// Appends what refers to a set, in place of entries.
pub(crate) fn put_set_reference(out: &mut Vec<u8>, reference: &SetReference) {
    put(out, reference.number);
    put(out, reference.ordinal);
    put(out, reference.exceptions.len() as u64);
    let mut at = 0;
    for exception in &reference.exceptions {
        put(out, (exception.first - at) as u64);
        put(out, exception.count as u64);
        put(out, exception.more);
        at = exception.first + exception.count;
    }
}

/// Appends a definition: mailboxes and bases as differences to the one before.
pub(crate) fn put_set(out: &mut Vec<u8>, number: u64, set: &Destinations) {
    out.push(SET);
    put(out, number);
    put(out, set.len() as u64);
    let (mut mailbox, mut base) = (0u64, 0u64);
    for (id, at) in set {
        put(out, id.0.wrapping_sub(mailbox));
        put(out, zigzag(at.wrapping_sub(base) as i64));
        (mailbox, base) = (id.0, *at);
    }
}

pub(crate) fn put_acked(out: &mut Vec<u8>, mailbox: MailboxId, range: &RangeInclusive<u64>) {
    out.push(ACKED);
    put(out, mailbox.0);
    put(out, *range.start());
    put(out, range.end() - range.start());
}

pub(crate) fn put_create(out: &mut Vec<u8>, mailbox: MailboxId) {
    out.push(CREATE);
    put(out, mailbox.0);
}

pub(crate) fn put_remove(out: &mut Vec<u8>, mailbox: MailboxId) {
    out.push(REMOVE);
    put(out, mailbox.0);
}

pub(crate) fn put_state(out: &mut Vec<u8>, record: &[u8]) {
    put_bytes(out, STATE, record);
}

pub(crate) fn put_checkpoint_begin(out: &mut Vec<u8>, id: u64) {
    out.push(CHECKPOINT_BEGIN);
    put(out, id);
}

pub(crate) fn put_checkpoint_state(out: &mut Vec<u8>, record: &[u8]) {
    put_bytes(out, CHECKPOINT_STATE, record);
}

pub(crate) fn put_checkpoint_mailbox(out: &mut Vec<u8>, mailbox: MailboxId, next: MailboxSequence) {
    out.push(CHECKPOINT_MAILBOX);
    put(out, mailbox.0);
    put(out, next.0);
}

/// Appends live entries, ascending by sequence; differences keep them at a few bytes each.
pub(crate) fn put_checkpoint_entries(out: &mut Vec<u8>, mailbox: MailboxId, entries: &[LiveEntry]) {
    out.push(CHECKPOINT_ENTRIES);
    put(out, mailbox.0);
    put(out, entries.len() as u64);
    let (mut sequence, mut position) = (0u64, 0u64);
    for entry in entries {
        put(out, entry.sequence.0.wrapping_sub(sequence));
        put(out, zigzag(entry.position.0.wrapping_sub(position) as i64));
        put(out, u64::from(entry.bytes));
        (sequence, position) = (entry.sequence.0, entry.position.0);
    }
}

pub(crate) fn put_checkpoint_page(out: &mut Vec<u8>, mailbox: MailboxId, page: &Page) {
    out.push(CHECKPOINT_PAGE);
    put(out, mailbox.0);
    put_page_reference(out, page);
}

pub(crate) fn put_checkpoint_given_up(out: &mut Vec<u8>, segment: u64, pages: u64) {
    out.push(CHECKPOINT_GIVEN_UP);
    put(out, segment);
    put(out, pages);
}

pub(crate) fn put_checkpoint_end(out: &mut Vec<u8>, totals: &CheckpointTotals) {
    out.push(CHECKPOINT_END);
    for number in [totals.id, totals.states, totals.mailboxes, totals.entries] {
        put(out, number);
    }
}

pub(crate) fn put_known_damage(out: &mut Vec<u8>, from: Position, to: Position) {
    out.push(KNOWN_DAMAGE);
    put(out, from.0);
    put(out, to.0);
}

pub(crate) fn put_transfer(out: &mut Vec<u8>, transfer: &Transfer) {
    out.push(TRANSFER);
    put(out, transfer.from.0);
    put(out, transfer.first);
    put(out, transfer.last - transfer.first);
    put(out, transfer.to.0);
    put(out, transfer.to_first);
}

fn put_bytes(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The highest kind of record in format version 1.
const KIND_MAX_VERSION_1: u8 = KNOWN_DAMAGE;

/// The records of a body, in order.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    cursor: Cursor<'a>,
    kind_max: u8,
}

impl<'a> Records<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Records<'a> {
        Records::starting_at(body, 0)
    }

    /// The records of a batch in a segment of format `version`: a kind that came later is an
    /// unknown one there.
    pub(crate) fn of_version(body: &'a [u8], version: u32) -> Records<'a> {
        let kind_max = if version == 1 { KIND_MAX_VERSION_1 } else { u8::MAX };
        Records { kind_max, ..Records::new(body) }
    }

    fn starting_at(body: &'a [u8], at: usize) -> Records<'a> {
        Records { cursor: Cursor::new(body, at), kind_max: u8::MAX }
    }

    /// The next record and its offset in the body; lists go to `scratch`.
    pub(crate) fn next(&mut self, scratch: &mut Scratch) -> Result<Option<(usize, Record<'a>)>, Malformed> {
        if self.cursor.is_at_end() {
            return Ok(None);
        }
        let at = self.cursor.at();
        let record = self.read(scratch)?;
        Ok(Some((at, record)))
    }

    fn read(&mut self, scratch: &mut Scratch) -> Result<Record<'a>, Malformed> {
        let cursor = &mut self.cursor;
        let kind = cursor.byte()?;
        if kind > self.kind_max {
            return Err(Malformed);
        }
        Ok(match kind {
            EVENT => return self.read_event(scratch),
            EVENT_SET => return self.read_set_event(scratch),
            SET => return self.read_set(scratch),
            PAGE => return self.read_page(scratch),
            MOVED => return self.read_moved(scratch),
            CHECKPOINT_PAGE => {
                let mailbox = MailboxId(cursor.varint()?);
                scratch.page = Some((mailbox, read_page_reference(cursor)?));
                Record::CheckpointPage
            }
            CHECKPOINT_GIVEN_UP => {
                Record::CheckpointGivenUp { segment: cursor.varint()?, pages: cursor.varint()? }
            }
            ACKED => return self.read_acked(),
            CREATE => Record::CreateMailbox(MailboxId(cursor.varint()?)),
            REMOVE => Record::RemoveMailbox(MailboxId(cursor.varint()?)),
            STATE => Record::State(self.read_bytes()?),
            CHECKPOINT_BEGIN => Record::CheckpointBegin { id: cursor.varint()? },
            CHECKPOINT_STATE => Record::CheckpointState(self.read_bytes()?),
            CHECKPOINT_MAILBOX => Record::CheckpointMailbox {
                mailbox: MailboxId(cursor.varint()?),
                next: MailboxSequence(cursor.varint()?),
            },
            CHECKPOINT_ENTRIES => return self.read_live(scratch),
            CHECKPOINT_END => Record::CheckpointEnd(CheckpointTotals {
                id: cursor.varint()?,
                states: cursor.varint()?,
                mailboxes: cursor.varint()?,
                entries: cursor.varint()?,
            }),
            KNOWN_DAMAGE => {
                Record::KnownDamage { from: Position(cursor.varint()?), to: Position(cursor.varint()?) }
            }
            TRANSFER => return self.read_transfer(),
            _ => return Err(Malformed),
        })
    }

    fn read_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.cursor.varint()?;
        self.cursor.take(count)
    }

    fn read_event(&mut self, scratch: &mut Scratch) -> Result<Record<'a>, Malformed> {
        let body = self.read_sealed()?;
        scratch.entries.clear();
        self.read_entries(&mut scratch.entries)?;
        Ok(Record::Event { body })
    }

    fn read_moved(&mut self, scratch: &mut Scratch) -> Result<Record<'a>, Malformed> {
        let body = self.read_sealed()?;
        scratch.entries.clear();
        self.read_entries(&mut scratch.entries)?;
        Ok(Record::Moved { body })
    }

    fn read_sealed(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.cursor.varint()?;
        self.cursor.u32()?;
        self.cursor.take(count)
    }

    fn read_entries(&mut self, entries: &mut Vec<(MailboxId, MailboxSequence)>) -> Result<(), Malformed> {
        for _ in 0..self.cursor.varint()? {
            let mailbox = MailboxId(self.cursor.varint()?);
            let sequence = MailboxSequence(self.cursor.varint()?);
            entries.push((mailbox, sequence));
        }
        Ok(())
    }

    fn read_set_event(&mut self, scratch: &mut Scratch) -> Result<Record<'a>, Malformed> {
        let body = self.read_sealed()?;
        let set = self.cursor.varint()?;
        let ordinal = self.cursor.varint()?;
        scratch.exceptions.clear();
        let mut at = 0usize;
        for _ in 0..self.cursor.varint()? {
            let first = at.checked_add(self.index()?).ok_or(Malformed)?;
            let count = self.index()?;
            scratch.exceptions.push(Exception { first, count, more: self.cursor.varint()? });
            at = first.checked_add(count).ok_or(Malformed)?;
        }
        scratch.entries.clear();
        match scratch.sets.get(set) {
            Some(found) => resolve(found, ordinal, &scratch.exceptions, &mut scratch.entries),
            None => return Ok(Record::Unresolved { body, set }),
        }
        Ok(Record::Event { body })
    }

    fn read_page(&mut self, scratch: &mut Scratch) -> Result<Record<'a>, Malformed> {
        let body = self.read_sealed()?;
        let mailbox = read_page_body(body, &mut scratch.live)?;
        Ok(Record::Page { body, mailbox })
    }

    fn index(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.cursor.varint()?).map_err(|_| Malformed)
    }

    fn read_set(&mut self, scratch: &mut Scratch) -> Result<Record<'a>, Malformed> {
        let number = self.cursor.varint()?;
        let mut set = Vec::new();
        let (mut mailbox, mut base) = (0u64, 0u64);
        for _ in 0..self.cursor.varint()? {
            mailbox = mailbox.wrapping_add(self.cursor.varint()?);
            base = base.wrapping_add(unzigzag(self.cursor.varint()?) as u64);
            set.push((MailboxId(mailbox), base));
        }
        scratch.sets.define(number, set);
        Ok(Record::Set)
    }

    fn read_acked(&mut self) -> Result<Record<'a>, Malformed> {
        let mailbox = MailboxId(self.cursor.varint()?);
        let first = self.cursor.varint()?;
        let last = first.checked_add(self.cursor.varint()?).ok_or(Malformed)?;
        Ok(Record::Acked { mailbox, first, last })
    }

    fn read_transfer(&mut self) -> Result<Record<'a>, Malformed> {
        let from = MailboxId(self.cursor.varint()?);
        let first = self.cursor.varint()?;
        let last = first.checked_add(self.cursor.varint()?).ok_or(Malformed)?;
        let to = MailboxId(self.cursor.varint()?);
        let to_first = self.cursor.varint()?;
        Ok(Record::Transfer(Transfer { from, first, last, to, to_first }))
    }

    fn read_live(&mut self, scratch: &mut Scratch) -> Result<Record<'a>, Malformed> {
        let mailbox = MailboxId(self.cursor.varint()?);
        scratch.live.clear();
        let (mut sequence, mut position) = (0u64, 0u64);
        for _ in 0..self.cursor.varint()? {
            sequence = sequence.wrapping_add(self.cursor.varint()?);
            position = position.wrapping_add(unzigzag(self.cursor.varint()?) as u64);
            let bytes = u32::try_from(self.cursor.varint()?).map_err(|_| Malformed)?;
            scratch.live.push(LiveEntry {
                sequence: MailboxSequence(sequence),
                position: Position(position),
                bytes,
            });
        }
        Ok(Record::CheckpointEntries { mailbox })
    }
}

/// What a record that can be read by itself holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    Event,
    Page,
}

/// The head of such a record as it lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealedHead {
    pub(crate) kind: Sealed,
    /// Bytes before the body.
    pub(crate) head_bytes: usize,
    pub(crate) body_bytes: u64,
    pub(crate) checksum: u32,
}

/// Reads the head of a record from its first bytes.
pub(crate) fn read_sealed_head(bytes: &[u8]) -> Result<SealedHead, Malformed> {
    let mut cursor = Cursor::new(bytes, 0);
    let kind = match cursor.byte()? {
        EVENT | EVENT_SET | MOVED => Sealed::Event,
        PAGE => Sealed::Page,
        _ => return Err(Malformed),
    };
    let body_bytes = cursor.varint()?;
    let checksum = cursor.u32()?;
    Ok(SealedHead { kind, head_bytes: cursor.at(), body_bytes, checksum })
}

/// True when `body` is what was sealed with `checksum` at `offset` of the segment.
pub(crate) fn is_intact(body: &[u8], checksum: u32, offset: u64, salt: &Salt) -> bool {
    let found = crc32c::crc32c(body) ^ salt.seal(offset);
    #[cfg(feature = "mutants")]
    let checksum = crate::mutant::checksum(found, checksum);
    found == checksum
}
