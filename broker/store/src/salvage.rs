//! Events of damaged batches, and of an unproven one at the end, that can still be told for certain.
//!
//! A batch that one flipped bit has broken still holds its other events, each with a checksum of its
//! own. What it says of destinations, lists and definitions alike, has none but the batch's: an event
//! under the wrong mailbox would be worse than one that is lost.
//!
//! Invariants:
//! 1. Only an event whose own checksum is right at its place is taken, and only out of a batch whose
//!    checksum is right once each broken body counts with the checksum of its own that stands in
//!    front of it. Then nothing but those bodies is damaged: checksums of joined bytes follow from
//!    those of the parts.
//! 2. It is taken into a mailbox that there is at the end of the log, under a sequence that was not
//!    given out before the damage, that no intact batch has used or acked, and that leaves no hole:
//!    below what came after the damage, or next in order.
//! 3. What a complete checkpoint behind the damage does not name was acked.
//! 4. Of an event that was moved it is certain likewise where it lies, and that helps an entry that has
//!    lost it.
//! 5. What was taken out of an unproven tail is written again behind the log before that is cut there.

use std::collections::BTreeMap;
use std::ops::Range;

use crc32c::{crc32c_append, crc32c_combine};

use crate::format::{ALIGN, BATCH_HEADER, Salt, claimed_body};
use crate::id::{MailboxId, MailboxSequence, Position};
use crate::index::locked;
use crate::ledger::{Ledger, record_position};
use crate::reader::Reader;
use crate::record::{LiveEntry, Record, Records, Scratch, Sealed, is_intact, put_event, read_sealed_head};
use crate::recovery::TailBody;
use crate::sets::SetTable;

/// Entries that damage has taken and that are looked for.
#[derive(Debug, Default)]
pub(crate) struct Salvage {
    candidates: BTreeMap<MailboxId, BTreeMap<u64, LiveEntry>>,
    /// The next sequence that a mailbox had at the last damage, until it is seen again.
    expected: BTreeMap<MailboxId, u64>,
    /// Sequences that no intact batch names although later ones are.
    missing: BTreeMap<MailboxId, u64>,
    /// Entries that were taken in, by [`Salvage::finish`].
    pub(crate) taken: BTreeMap<MailboxId, u64>,
    /// Of these, how many fill a hole.
    filled: BTreeMap<MailboxId, u64>,
    /// Where events were moved to by damaged batches.
    moved: BTreeMap<Position, Vec<(MailboxId, MailboxSequence)>>,
}

impl Salvage {
    /// Looks for events in a damaged region, which begins at `begin` and `offset` of its segment.
    /// `tails`: the next sequence of each mailbox; `sets`: the definitions that hold there.
    pub(crate) fn on_damage(
        &mut self,
        bytes: &[u8],
        begin: Position,
        offset: u64,
        salt: &Salt,
        tails: Vec<(MailboxId, MailboxSequence)>,
        sets: SetTable,
    ) {
        let mut scratch = Scratch::default();
        scratch.sets = sets;
        for (mailbox, next) in tails {
            self.expected.entry(mailbox).or_insert(next.0);
        }
        for at in (0..bytes.len()).step_by(ALIGN) {
            if is_batch(&bytes[at..], salt) {
                let batch = Position(begin.0 + at as u64);
                self.read_batch(&bytes[at..], batch, offset + at as u64, salt, &mut scratch);
            }
        }
    }

    /// Reads the records of what was a batch, if all but bodies of it is certain.
    fn read_batch(&mut self, bytes: &[u8], batch: Position, offset: u64, salt: &Salt, scratch: &mut Scratch) {
        let Some(body) = bytes.get(BATCH_HEADER..) else { return };
        let claims = claimed_body(bytes);
        let Some(body) = body.get(..claims.bytes) else { return };
        if !is_confirmed(body, offset + BATCH_HEADER as u64, claims.checksum, salt) {
            return;
        }
        let mut records = Records::new(body);
        while let Ok(Some((at, record))) = records.next(scratch) {
            let (Record::Event { body: event } | Record::Moved { body: event }) = record else { continue };
            let lies_at = offset + (BATCH_HEADER + at) as u64;
            let head = read_sealed_head(&body[at..]);
            if !head.is_ok_and(|head| is_intact(event, head.checksum, lies_at, salt)) {
                continue;
            }
            let position = record_position(batch, at);
            match record {
                Record::Moved { .. } => _ = self.moved.insert(position, scratch.entries.clone()),
                _ => self.remember(&scratch.entries, position, event.len()),
            }
        }
    }

    fn remember(&mut self, entries: &[(MailboxId, MailboxSequence)], position: Position, bytes: usize) {
        let Ok(bytes) = u32::try_from(bytes) else { return };
        for &(mailbox, sequence) in entries {
            // A mailbox that came with the damage is empty before it.
            let floor = self.expected.get(&mailbox).copied().unwrap_or(1);
            if sequence.0 >= floor {
                let entry = LiveEntry { sequence, position, bytes };
                self.candidates.entry(mailbox).or_default().insert(sequence.0, entry);
            }
        }
    }

    /// Entries of an intact event.
    pub(crate) fn on_entries(&mut self, entries: &[(MailboxId, MailboxSequence)]) {
        if self.expected.is_empty() {
            return;
        }
        for (mailbox, sequence) in entries {
            if let Some(expected) = self.expected.remove(mailbox) {
                *self.missing.entry(*mailbox).or_default() += sequence.0.saturating_sub(expected);
            }
        }
    }

    /// Entries that left their mailbox.
    pub(crate) fn on_acked(&mut self, mailbox: MailboxId, first: u64, last: u64) {
        if let Some(candidates) = self.candidates.get_mut(&mailbox) {
            candidates.retain(|sequence, _| !(first..=last).contains(sequence));
        }
    }

    pub(crate) fn on_removed(&mut self, mailbox: MailboxId) {
        self.candidates.remove(&mailbox);
        self.expected.remove(&mailbox);
        self.missing.remove(&mailbox);
    }

    /// A complete checkpoint says what is live, wherever it lies.
    pub(crate) fn on_checkpoint(&mut self) {
        *self = Salvage::default();
    }

    /// Takes in what fits, and finds what was moved where it lies now.
    pub(crate) fn finish(&mut self, ledger: &mut Ledger) {
        for (position, entries) in std::mem::take(&mut self.moved) {
            for (mailbox, sequence) in entries {
                if is_lost(ledger, mailbox, sequence) && find(ledger, mailbox, sequence, position) {
                    *self.taken.entry(mailbox).or_default() += 1;
                }
            }
        }
        for (mailbox, candidates) in std::mem::take(&mut self.candidates) {
            let Taken { filled, appended } = take_in(ledger, mailbox, candidates);
            if filled + appended > 0 {
                *self.taken.entry(mailbox).or_default() += filled + appended;
                self.filled.insert(mailbox, filled);
            }
        }
    }

    /// Forgets what was moved beyond the end of the log: that end is cut off.
    pub(crate) fn forget_moved_from(&mut self, end: Position) {
        self.moved.split_off(&end);
    }

    /// Sequences of a mailbox that damage has taken for good: at most so many.
    pub(crate) fn missing_max(&self, mailbox: MailboxId) -> u64 {
        let of = |map: &BTreeMap<MailboxId, u64>| map.get(&mailbox).copied().unwrap_or(0);
        of(&self.missing).saturating_sub(of(&self.filled))
    }
}

/// Whether everything in the body of a batch is as it was written, but for bodies of sealed records.
fn is_confirmed(body: &[u8], body_offset: u64, checksum: u32, salt: &Salt) -> bool {
    let (mut sum, mut done, mut scratch) = (salt.checksum(&[]), 0, Scratch::default());
    let mut records = Records::new(body);
    loop {
        let (at, record) = match records.next(&mut scratch) {
            Ok(Some(found)) => found,
            Ok(None) => return crc32c_append(sum, &body[done..]) == checksum,
            Err(_) => return false,
        };
        let lies_at = body_offset + at as u64;
        let (Some(sealed), Ok(head)) = (record.sealed(), read_sealed_head(&body[at..])) else {
            continue;
        };
        if !is_intact(sealed, head.checksum, lies_at, salt) {
            let begin = at + head.head_bytes;
            sum = crc32c_append(sum, &body[done..begin]);
            sum = crc32c_combine(sum, head.checksum ^ salt.seal(lies_at), sealed.len());
            done = begin + sealed.len();
        }
    }
}

/// Whether a batch of this generation began here.
fn is_batch(bytes: &[u8], salt: &Salt) -> bool {
    let generation = bytes.get(8..16).filter(|_| bytes.len() >= BATCH_HEADER);
    generation.is_some_and(|word| word == salt.generation.to_le_bytes())
}

/// Whether an entry is there and its event cannot be read from where it is supposed to lie.
fn is_lost(ledger: &Ledger, mailbox: MailboxId, sequence: MailboxSequence) -> bool {
    let reader = Reader { log: ledger.log().clone(), index: ledger.index.clone() };
    reader.read_entry(mailbox, sequence).is_some_and(|read| read.is_err())
}

/// Has an entry point to where its event was moved; whether it does.
fn find(ledger: &mut Ledger, mailbox: MailboxId, sequence: MailboxSequence, position: Position) -> bool {
    let mut scratch = Scratch::default();
    scratch.entries.push((mailbox, sequence));
    // Where its page cannot be read it stays lost.
    let _ = ledger.apply(&Record::Moved { body: &[] }, &scratch, position);
    !is_lost(ledger, mailbox, sequence)
}

/// How many entries were taken in.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Below what came after the damage.
    filled: u64,
    /// Next in order.
    appended: u64,
}

fn take_in(ledger: &mut Ledger, id: MailboxId, candidates: BTreeMap<u64, LiveEntry>) -> Taken {
    let mut taken = Taken::default();
    let Some(mailbox) = ledger.index.get(id) else { return taken };
    let reader = Reader { log: ledger.log().clone(), index: ledger.index.clone() };
    let entries = reader.live(id, MailboxSequence(0), usize::MAX);
    let mut next = locked(&mailbox).next().0;
    let mut all: BTreeMap<u64, LiveEntry> =
        entries.into_iter().map(|entry| (entry.sequence.0, entry)).collect();
    for (sequence, entry) in candidates {
        if sequence > next || all.contains_key(&sequence) {
            continue;
        }
        taken.filled += u64::from(sequence < next);
        taken.appended += u64::from(sequence == next);
        next = next.max(sequence + 1);
        all.insert(sequence, entry);
    }
    if taken.filled + taken.appended > 0 {
        ledger.replace(id, MailboxSequence(next), all.into_values());
    }
    taken
}

/// Takes the entries out again that point beyond the end of the log: batches of one event each, to be
/// written behind it.
pub(crate) fn lift(ledger: &mut Ledger, salvage: &Salvage, tail: Range<Position>) -> Vec<TailBody> {
    let reader = Reader { log: ledger.log().clone(), index: ledger.index.clone() };
    let mut events: BTreeMap<Position, Vec<(MailboxId, MailboxSequence)>> = BTreeMap::new();
    for &id in salvage.taken.keys() {
        let entries = reader.live(id, MailboxSequence(0), usize::MAX);
        let (beyond, within): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| tail.contains(&entry.position));
        if let Some(first) = beyond.first() {
            ledger.replace(id, first.sequence, within);
        }
        for entry in beyond {
            events.entry(entry.position).or_default().push((id, entry.sequence));
        }
    }
    let read = |(position, entries)| Some((reader.log.read(position, Sealed::Event).ok()?, entries));
    let bodies = events.into_iter().filter_map(read).map(|(event, entries)| {
        let mut body = Vec::new();
        put_event(&mut body, 0, &[&event], &entries);
        TailBody { body, records: 1, flags: 0 }
    });
    bodies.collect()
}
