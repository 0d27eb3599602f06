//! Reading a whole store, whatever state it is in: what is intact, what is not, and what can still be
//! made out of it. For `check` and `repair`; changes nothing.
//!
//! Invariants:
//! 1. Every byte of the log is read, not only what a start reads. What the file system cannot read
//!    counts as damaged, nothing ends the survey but a format that this program does not know.
//! 2. The state is what the last complete checkpoint and all that follows say; where there is none,
//!    what all intact batches say, and `Replay::is_based` is false.
//! 3. A page that only older checkpoints need is not missed: it may have been reclaimed.
//! 4. An event of a damaged batch is taken for what it was only where its own checksum is right, and
//!    only into a mailbox that misses just this sequence there ([`crate::salvage`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::findings::{Listing, list};
use crate::format::{BatchView, DATA_START, HEADER_COPY, SEGMENT_HEADER, SegmentHeader};
use crate::id::{MailboxId, MailboxSequence, Position, StoreId};
use crate::index::locked;
use crate::ledger::Ledger;
use crate::meta::{Meta, MetaCopy, inspect};
use crate::open::ledger_of;
use crate::options::Options;
use crate::patient::{Patient, read_what_can_be};
use crate::record::{Record, Records, Scratch};
use crate::recovery::{LogFile, Replay, missing, open_segment};
use crate::salvage::Salvage;
use crate::scan::{Damage, Sink, Stretch, Unproven, Walk};
use crate::varint::Malformed;

/// How far a tool has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of segments that were read.
    pub done_bytes: u64,
    /// Bytes of all segments.
    pub total_bytes: u64,
}

/// Is told how far it has come.
pub type Watch<'a> = &'a mut dyn FnMut(Progress);

/// A file named like a segment that cannot be read as one of this store's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) why: String,
}

/// What the log holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Intact batches.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of these events.
    pub event_bytes: u64,
    /// Entries of mailboxes that these events made.
    pub entries: u64,
    /// State records.
    pub states: u64,
    /// Complete checkpoints.
    pub checkpoints: u64,
}

/// Numbers of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentCounts {
    pub(crate) batches: u64,
    pub(crate) events: u64,
    /// Where what was read of it ends.
    pub(crate) end: Position,
}

/// See the module.
pub(crate) struct Survey {
    pub(crate) segments: Segments,
    pub(crate) walk: Walk,
    pub(crate) reading: Reading,
}

/// The files of a directory as far as their heads tell.
pub(crate) struct Segments {
    pub(crate) listing: Listing,
    pub(crate) copies: [MetaCopy; 2],
    /// Of the metadata, or, without any, of what most segment headers say; none when nothing says it.
    pub(crate) identity: Option<(StoreId, u64)>,
    pub(crate) files: Vec<LogFile>,
    pub(crate) unusable: Vec<Unusable>,
}

/// What the intact batches, and those that are not, say.
pub(crate) struct Reading {
    pub(crate) replay: Replay,
    pub(crate) counts: Counts,
    pub(crate) segments: BTreeMap<u64, SegmentCounts>,
    /// Intact batches with a record that their format does not have: where, and how many bytes.
    pub(crate) unknown: Vec<(Position, u64)>,
    pub(crate) salvage: Salvage,
    segment_bytes: u64,
    scratch: Scratch,
}

impl Segments {
    /// Reads metadata and heads. What is read through the files that it gives is zeroes where the
    /// disk does not give it.
    ///
    /// # Errors
    /// The directory cannot be listed, a file not be opened, or its format is not known.
    pub(crate) fn of(disk: &Arc<dyn Disk>) -> Result<Segments, OpenError> {
        let disk = &Patient::over(disk);
        let listing = list(disk)?;
        let copies = inspect(disk, &listing.names)?;
        let known = copies.iter().find_map(|copy| match copy {
            MetaCopy::Intact(meta) => Some((meta.store, meta.segment_bytes)),
            _ => None,
        });
        let identity = known.or_else(|| most_named(disk, &listing));
        let (files, unusable) = match identity {
            Some((store, segment_bytes)) => open_all(disk, &listing, store, segment_bytes)?,
            None => (Vec::new(), listing.segments.iter().map(|(_, name)| no_header(disk, name)).collect()),
        };
        Ok(Segments { listing, copies, identity, files, unusable })
    }

    /// The best metadata that is intact.
    pub(crate) fn meta(&self) -> Option<Meta> {
        let intact = self.copies.iter().filter_map(|copy| match copy {
            MetaCopy::Intact(meta) => Some(*meta),
            _ => None,
        });
        intact.max_by_key(|meta| meta.serial)
    }
}

/// Reads everything.
///
/// # Errors
/// As [`Segments::of`].
pub(crate) fn survey(disk: &Arc<dyn Disk>, watch: Watch<'_>) -> Result<Survey, OpenError> {
    let segments = Segments::of(disk)?;
    let mut walk = Walk::default();
    let options = Options::default();
    let segment_bytes = segments.identity.map_or(options.segment_bytes, |(_, bytes)| bytes);
    let mut reading = Reading::new(ledger_of(&**disk, &segments.files, segment_bytes, &options).draft());
    read_log(&segments.files, &mut walk, &mut reading, watch);
    reading.complete(&segments.files);
    reading.salvage.finish(&mut reading.replay.ledger);
    Ok(Survey { segments, walk, reading })
}

/// Store and segment size that most intact segment headers name.
fn most_named(disk: &dyn Disk, listing: &Listing) -> Option<(StoreId, u64)> {
    let mut votes: BTreeMap<(StoreId, u64), u64> = BTreeMap::new();
    for (_, name) in &listing.segments {
        if let Some(header) = any_header(disk, name) {
            *votes.entry((header.store, header.segment_bytes)).or_default() += 1;
        }
    }
    // An ascending map, and the last of equals: the same answer each time.
    votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(named, _)| named)
}

fn any_header(disk: &dyn Disk, name: &str) -> Option<SegmentHeader> {
    let file = disk.open(name).ok()?;
    let copy = |at: u64| {
        let mut bytes = [0u8; SEGMENT_HEADER];
        let got = file.read_at(&mut bytes, at).ok()?;
        SegmentHeader::decode(&bytes[..got]).ok()
    };
    copy(0).or_else(|| copy(HEADER_COPY))
}

fn no_header(disk: &dyn Disk, name: &str) -> Unusable {
    unusable(disk, name, "neither its header nor its first batch can be read")
}

fn unusable(disk: &dyn Disk, name: &str, why: &str) -> Unusable {
    let bytes = disk.open(name).and_then(|file| file.len()).unwrap_or(0);
    Unusable { name: name.into(), bytes, why: why.into() }
}

type Sorted = (Vec<LogFile>, Vec<Unusable>);

fn open_all(
    disk: &dyn Disk,
    listing: &Listing,
    store: StoreId,
    segment_bytes: u64,
) -> Result<Sorted, OpenError> {
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for (index, name) in &listing.segments {
        match open_segment(disk, name, *index, store, segment_bytes) {
            Ok(Some(file)) => files.push(file),
            Ok(None) => others.push(no_header(disk, name)),
            Err(OpenError::Damaged { what, .. }) => others.push(unusable(disk, name, &what)),
            Err(OpenError::Io { source, .. }) => others.push(unusable(disk, name, &source.to_string())),
            Err(unknown) => return Err(unknown),
        }
    }
    Ok((files, others))
}

fn read_log(files: &[LogFile], walk: &mut Walk, reading: &mut Reading, watch: Watch<'_>) {
    let total_bytes = files.iter().map(|file| file.bytes).sum();
    let mut done_bytes = 0;
    let mut gaps = Vec::new();
    watch(Progress { done_bytes, total_bytes });
    for (at, file) in files.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| files.get(before));
        for segment in missing(before, file, file.header.segment_bytes) {
            gaps.push((segment, reading.replay.complete.len()));
            walk.lose(Damage { segment, from: DATA_START, to: file.header.segment_bytes, batches: 0 });
        }
        reading.replay.version = file.header.version;
        reading.segments.entry(file.header.index).or_default();
        match walk_segment(files, at, walk, reading) {
            Ok(()) => {}
            Err(never) => match never {},
        }
        if let Some(counts) = reading.segments.get_mut(&file.header.index) {
            counts.end = walk.end;
        }
        done_bytes += file.bytes;
        watch(Progress { done_bytes, total_bytes });
    }
    // Once two checkpoints are younger a segment may have been reclaimed.
    let complete = reading.replay.complete.len();
    let reclaimed = |segment: u64| gaps.iter().any(|(gap, then)| *gap == segment && complete >= then + 2);
    walk.damage.retain(|damage| !reclaimed(damage.segment));
}

/// Walks one of the files, all of it.
pub(crate) fn walk_segment<S: Sink>(
    files: &[LogFile],
    at: usize,
    walk: &mut Walk,
    sink: &mut S,
) -> Result<(), S::Error> {
    let file = &files[at];
    let segment_bytes = file.header.segment_bytes;
    let next = files.get(at + 1).filter(|next| !next.is_inferred);
    let end = next.map(|next| next.header.continues_from);
    let end = end.filter(|end| end.segment(segment_bytes) == file.header.index);
    let limit = end.map(|end| end.offset(segment_bytes)).filter(|&end| end >= DATA_START);
    let wanted = limit.unwrap_or(segment_bytes).min(file.bytes).saturating_sub(DATA_START);
    let mut bytes = vec![0u8; wanted as usize];
    let got = read_what_can_be(&*file.file, &mut bytes, DATA_START);
    bytes.truncate(got.bytes);
    let first = (!file.is_inferred).then_some((file.header.first_number, file.header.chain));
    walk.enter(Position::new(file.header.index, 0, segment_bytes), first);
    let is_last = at + 1 == files.len();
    let (segment, salt) = (file.header.index, file.salt());
    let on = Stretch { segment, salt, bytes: &bytes, start: DATA_START, limit, is_last, segment_bytes };
    walk.stretch(&on, sink)
}

impl Reading {
    fn new(ledger: Ledger) -> Reading {
        Reading {
            segment_bytes: ledger.log().segment_bytes,
            replay: Replay::new(ledger),
            counts: Counts::default(),
            segments: BTreeMap::new(),
            unknown: Vec::new(),
            salvage: Salvage::default(),
            scratch: Scratch::default(),
        }
    }

    /// Counts what a batch holds, and tells the salvage what it says of mailboxes.
    fn count(&mut self, batch: &BatchView<'_>) -> Result<(), Malformed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let counted = self.count_records(batch, &mut scratch);
        self.scratch = scratch;
        counted
    }

    fn count_records(&mut self, batch: &BatchView<'_>, scratch: &mut Scratch) -> Result<(), Malformed> {
        scratch.sets.enter(batch.header.position.segment(self.segment_bytes));
        let mut records = Records::of_version(batch.body, self.replay.version);
        let segment = self.segments.entry(batch.header.position.segment(self.segment_bytes)).or_default();
        segment.batches += 1;
        self.counts.batches += 1;
        while let Some((_, record)) = records.next(scratch)? {
            match record {
                Record::Event { body } => {
                    segment.events += 1;
                    self.counts.events += 1;
                    self.counts.event_bytes += body.len() as u64;
                    self.counts.entries += scratch.entries.len() as u64;
                    self.salvage.on_entries(&scratch.entries);
                }
                Record::Unresolved { body, .. } => {
                    segment.events += 1;
                    self.counts.events += 1;
                    self.counts.event_bytes += body.len() as u64;
                }
                Record::State(_) | Record::CheckpointState(_) => self.counts.states += 1,
                Record::Acked { mailbox, first, last } => self.salvage.on_acked(mailbox, first, last),
                Record::Transfer(transfer) => {
                    self.salvage.on_acked(transfer.from, transfer.first, transfer.last);
                }
                Record::RemoveMailbox(mailbox) => self.salvage.on_removed(mailbox),
                _ => {}
            }
        }
        Ok(())
    }

    /// Where entries of pages are lacking that the last complete checkpoint still needs, what follows it
    /// is read again and they are made out: pages that only older ones need may have been reclaimed.
    fn complete(&mut self, files: &[LogFile]) {
        if !self.replay.ledger.lacks_entries() {
            return self.replay.ledger.end_draft();
        }
        let start = self.replay.complete.last().copied().unwrap_or_default();
        let first = files.partition_point(|file| file.header.index < start.segment(self.segment_bytes));
        let mut empty = self.replay.ledger.anew();
        empty.end_draft();
        let mut again = Again { replay: Replay::new(empty), start };
        let mut walk = Walk::default();
        for (at, file) in files.iter().enumerate().skip(first) {
            again.replay.version = file.header.version;
            match walk_segment(files, at, &mut walk, &mut again) {
                Ok(()) => {}
                Err(never) => match never {},
            }
        }
        self.replay.ledger = again.replay.ledger;
    }

    /// Has the salvage look into bytes that are not an intact batch.
    fn look_for_events(&mut self, from: u64, to: u64, on: &Stretch<'_>) {
        let tails = self.tails();
        let at = (from - on.start) as usize;
        let end = ((to - on.start) as usize).min(on.bytes.len());
        let Some(bytes) = on.bytes.get(at..end) else { return };
        let begin = Position::new(on.segment, from, self.segment_bytes);
        // Sets that these bytes define must not reach what follows.
        let mut sets = self.scratch.sets.clone();
        sets.enter(on.segment);
        self.salvage.on_damage(bytes, begin, from, &on.salt, tails, sets);
    }

    /// The next sequence of each mailbox as things stand.
    fn tails(&self) -> Vec<(MailboxId, MailboxSequence)> {
        let all = self.replay.ledger.index.all();
        all.into_iter().map(|(id, mailbox)| (id, locked(&mailbox).next())).collect()
    }
}

/// A second reading from a batch on.
struct Again {
    replay: Replay,
    start: Position,
}

impl Sink for Again {
    type Error = std::convert::Infallible;

    fn on_batch(&mut self, batch: &BatchView<'_>) -> Result<(), Self::Error> {
        if batch.header.position >= self.start {
            // What the format does not have was told at the first reading.
            let _ = self.replay.on_batch(batch);
        }
        Ok(())
    }
}

impl Sink for Reading {
    type Error = std::convert::Infallible;

    fn on_batch(&mut self, batch: &BatchView<'_>) -> Result<(), Self::Error> {
        let complete = self.replay.complete.len();
        let counted = self.count(batch).is_ok();
        if !(self.replay.on_batch(batch).is_ok() && counted) {
            self.unknown.push((batch.header.position, batch.bytes as u64));
        }
        if self.replay.complete.len() > complete {
            self.counts.checkpoints += 1;
            self.salvage.on_checkpoint();
        }
        Ok(())
    }

    fn on_damage(&mut self, damage: &Damage, on: &Stretch<'_>) {
        self.look_for_events(damage.from, damage.to, on);
    }

    fn on_unproven(&mut self, unproven: &Unproven, on: &Stretch<'_>) {
        self.look_for_events(unproven.from, unproven.to, on);
        self.salvage.forget_moved_from(Position::new(on.segment, unproven.from, self.segment_bytes));
    }
}
