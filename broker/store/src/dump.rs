//! The log record by record, in the order in which it lies there, around damage.
//!
//! One segment is in memory at a time. What state records and events say is not known here.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, RealDisk};
use crate::error::OpenError;
use crate::findings::take_lock;
use crate::format::{BatchView, FLAG_CHECKPOINT};
use crate::id::{MailboxId, MailboxSequence, Position};
use crate::ledger::record_position;
use crate::page::Page;
use crate::record::{Record, Records, Scratch};
use crate::scan::{Damage, Sink, Stretch, Walk};
use crate::segments::segment_name;
use crate::survey::{Segments, walk_segment};

/// One thing in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dumped<'a> {
    /// A segment begins.
    Segment {
        /// The file.
        path: PathBuf,
        /// Its format version.
        version: u32,
        /// Bytes of the file.
        bytes: u64,
    },
    /// A batch begins: what follows, up to the next, was made durable together.
    Batch {
        /// From 1, consecutive along the log.
        number: u64,
        /// Bytes that it takes.
        bytes: u64,
        /// How many records it says that it has.
        records: u32,
        /// It is part of a checkpoint.
        is_checkpoint: bool,
    },
    /// An event and the entries that it made.
    Event {
        /// What was given to be stored.
        body: &'a [u8],
        /// Mailboxes and sequences.
        entries: &'a [(MailboxId, MailboxSequence)],
    },
    /// An event written again, out of a segment that is to be taken back, for the entries that it still
    /// has.
    Moved {
        /// What was given to be stored.
        body: &'a [u8],
        /// Mailboxes and sequences.
        entries: &'a [(MailboxId, MailboxSequence)],
    },
    /// An event whose destinations stood in batches that are all damaged.
    Unresolved {
        /// What was given to be stored.
        body: &'a [u8],
    },
    /// A set of destinations, to which events of this segment refer.
    Set,
    /// Entries left a mailbox.
    Acked {
        /// The mailbox.
        mailbox: MailboxId,
        /// First sequence.
        first: u64,
        /// Last sequence.
        last: u64,
    },
    /// Entries went to the end of another mailbox.
    Transferred {
        /// Out of this mailbox.
        from: MailboxId,
        /// First sequence there.
        first: u64,
        /// Last sequence there.
        last: u64,
        /// Into this mailbox.
        to: MailboxId,
        /// What the first sequence is there.
        to_first: u64,
    },
    /// A mailbox begins.
    CreateMailbox(MailboxId),
    /// A mailbox ends.
    RemoveMailbox(MailboxId),
    /// A state record.
    State(&'a [u8]),
    /// A checkpoint begins.
    CheckpointBegin,
    /// A state record of a checkpoint.
    CheckpointState(&'a [u8]),
    /// A mailbox of a checkpoint.
    CheckpointMailbox {
        /// The mailbox.
        mailbox: MailboxId,
        /// Its next sequence.
        next: MailboxSequence,
    },
    /// Entries of a mailbox of a checkpoint.
    CheckpointEntries {
        /// The mailbox.
        mailbox: MailboxId,
        /// How many.
        count: u64,
        /// The first sequence.
        first: u64,
        /// The last sequence.
        last: u64,
    },
    /// Entries of a mailbox that need not be in memory any more.
    Page {
        /// The mailbox.
        mailbox: MailboxId,
        /// How many.
        count: u64,
        /// The first sequence.
        first: u64,
        /// The last sequence.
        last: u64,
    },
    /// A page of a mailbox of a checkpoint.
    CheckpointPage {
        /// The mailbox.
        mailbox: MailboxId,
        /// How many entries it holds.
        count: u64,
        /// The first sequence.
        first: u64,
        /// The last sequence.
        last: u64,
    },
    /// Pages that were given up between the last two checkpoints.
    CheckpointGivenUp {
        /// Where they lie.
        segment: u64,
        /// How many.
        pages: u64,
    },
    /// A checkpoint is complete.
    CheckpointEnd,
    /// Damage that a start has reported.
    KnownDamage {
        /// From here.
        from: Position,
        /// Up to here.
        to: Position,
    },
    /// A record of a kind that the format of its segment does not have; the rest of its batch is
    /// left out.
    Unknown,
    /// Bytes that cannot be read.
    Damage {
        /// The segment.
        path: PathBuf,
        /// Offset in it.
        offset: u64,
        /// How many.
        bytes: u64,
        /// Why.
        what: &'static str,
    },
}

/// Tells `see` of everything in the log of the store in `dir` and where it lies, until `see` breaks
/// off.
///
/// # Errors
/// As [`crate::check()`].
pub fn dump(dir: &Path, see: &mut See<'_>) -> Result<(), OpenError> {
    dump_on(Arc::new(RealDisk::read_only(dir)), see)
}

/// Is told what lies at a position; breaks off when it has seen enough.
pub type See<'a> = dyn FnMut(Position, &Dumped<'_>) -> ControlFlow<()> + 'a;

/// As [`dump`], on any disk.
///
/// # Errors
/// As [`dump`].
pub fn dump_on(disk: Arc<dyn Disk>, see: &mut See<'_>) -> Result<(), OpenError> {
    let _lock = take_lock(&*disk)?;
    let segments = Segments::of(&disk)?;
    let mut walk = Walk::default();
    let mut teller =
        Teller { disk: &*disk, see, version: 0, segment: 0, told: 0, scratch: Scratch::default() };
    // A broken-off dump is a dump: `see` knows that it broke off.
    let _ = segments.files.iter().enumerate().try_for_each(|(at, file)| {
        let begin = Position::new(file.header.index, 0, file.header.segment_bytes);
        let path = disk.root().join(&file.name);
        let head = Dumped::Segment { path, version: file.header.version, bytes: file.bytes };
        (teller.see)(begin, &head)?;
        (teller.version, teller.segment) = (file.header.version, file.header.index);
        match walk_segment(&segments.files, at, &mut walk, &mut teller) {
            Ok(()) => teller.end_segment(&walk, file.header.segment_bytes),
            Err(BrokenOff) => ControlFlow::Break(()),
        }
    });
    Ok(())
}

struct BrokenOff;

struct Teller<'a, 'b> {
    disk: &'a dyn Disk,
    see: &'a mut See<'b>,
    version: u32,
    segment: u64,
    /// The unproven tail was told of this segment already.
    told: u64,
    scratch: Scratch,
}

impl Teller<'_, '_> {
    fn tell(&mut self, position: Position, what: &Dumped<'_>) -> Result<(), BrokenOff> {
        match (self.see)(position, what) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BrokenOff),
        }
    }

    fn end_segment(&mut self, walk: &Walk, segment_bytes: u64) -> ControlFlow<()> {
        let Some(tail) = walk.unproven.filter(|tail| tail.segment > self.told) else {
            return ControlFlow::Continue(());
        };
        self.told = tail.segment;
        let path = self.disk.root().join(segment_name(tail.segment));
        let (offset, bytes) = (tail.from, tail.to - tail.from);
        let what = Dumped::Damage { path, offset, bytes, what: "not proven to have been flushed" };
        (self.see)(Position::new(tail.segment, offset, segment_bytes), &what)
    }

    fn records(&mut self, batch: &BatchView<'_>, scratch: &mut Scratch) -> Result<(), BrokenOff> {
        scratch.sets.enter(self.segment);
        let mut records = Records::of_version(batch.body, self.version);
        loop {
            match records.next(scratch) {
                Ok(Some((at, record))) => {
                    let position = record_position(batch.header.position, at);
                    self.tell(position, &shown(&record, scratch))?;
                }
                Ok(None) => return Ok(()),
                Err(_) => return self.tell(batch.header.position, &Dumped::Unknown),
            }
        }
    }
}

impl Sink for Teller<'_, '_> {
    type Error = BrokenOff;

    fn on_batch(&mut self, batch: &BatchView<'_>) -> Result<(), BrokenOff> {
        let head = Dumped::Batch {
            number: batch.header.number,
            bytes: batch.bytes as u64,
            records: batch.header.records,
            is_checkpoint: batch.header.flags & FLAG_CHECKPOINT != 0,
        };
        self.tell(batch.header.position, &head)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let told = self.records(batch, &mut scratch);
        self.scratch = scratch;
        told
    }

    fn on_damage(&mut self, damage: &Damage, on: &Stretch<'_>) {
        let path = self.disk.root().join(segment_name(damage.segment));
        let (offset, bytes) = (damage.from, damage.to - damage.from);
        let what = Dumped::Damage { path, offset, bytes, what: "damaged" };
        // Broken off or not: the next batch asks again.
        let _ = (self.see)(Position::new(damage.segment, offset, on.segment_bytes), &what);
    }
}

fn shown<'a>(record: &Record<'a>, scratch: &'a Scratch) -> Dumped<'a> {
    match *record {
        Record::Event { body } => Dumped::Event { body, entries: &scratch.entries },
        Record::Unresolved { body, .. } => Dumped::Unresolved { body },
        Record::Set => Dumped::Set,
        Record::Acked { mailbox, first, last } => Dumped::Acked { mailbox, first, last },
        Record::Transfer(transfer) => Dumped::Transferred {
            from: transfer.from,
            first: transfer.first,
            last: transfer.last,
            to: transfer.to,
            to_first: transfer.to_first,
        },
        Record::CreateMailbox(mailbox) => Dumped::CreateMailbox(mailbox),
        Record::RemoveMailbox(mailbox) => Dumped::RemoveMailbox(mailbox),
        Record::State(bytes) => Dumped::State(bytes),
        Record::CheckpointBegin { .. } => Dumped::CheckpointBegin,
        Record::CheckpointState(bytes) => Dumped::CheckpointState(bytes),
        Record::CheckpointMailbox { mailbox, next } => Dumped::CheckpointMailbox { mailbox, next },
        Record::CheckpointEntries { mailbox } => Dumped::CheckpointEntries {
            mailbox,
            count: scratch.live.len() as u64,
            first: scratch.live.first().map_or(0, |entry| entry.sequence.0),
            last: scratch.live.last().map_or(0, |entry| entry.sequence.0),
        },
        Record::Page { mailbox, .. } => Dumped::Page {
            mailbox,
            count: scratch.live.len() as u64,
            first: scratch.live.first().map_or(0, |entry| entry.sequence.0),
            last: scratch.live.last().map_or(0, |entry| entry.sequence.0),
        },
        Record::Moved { body } => Dumped::Moved { body, entries: &scratch.entries },
        Record::CheckpointPage => {
            let (mailbox, page) = scratch.page.clone().unwrap_or((MailboxId(0), Page::default()));
            let (count, first, last) = (u64::from(page.live), page.first, page.last);
            Dumped::CheckpointPage { mailbox, count, first, last }
        }
        Record::CheckpointGivenUp { segment, pages } => Dumped::CheckpointGivenUp { segment, pages },
        Record::CheckpointEnd(_) => Dumped::CheckpointEnd,
        Record::KnownDamage { from, to } => Dumped::KnownDamage { from, to },
    }
}
