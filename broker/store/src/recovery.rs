//! From the files of a log to what they mean.
//!
//! Reading only; what is written about it is in `store`. Invariants:
//! 1. The state is complete: it begins at a complete checkpoint or at the very start of the log.
//!    If neither can be read, the open is refused, for reclaiming by a shorter history would delete.
//! 2. Every intact batch is kept, around damage too.
//! 3. A page that only older checkpoints need is not missed: it may have been reclaimed. What cannot
//!    be read is made out in a second reading, from the last complete checkpoint on.

use std::ops::Range;
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::error::OpenError;
use crate::format::{
    BATCH_HEADER, BatchView, DATA_START, FLAG_CHECKPOINT, FORMAT_VERSION, HEADER_COPY, HeaderFault, Salt,
    SegmentHeader, claimed_generation, read_batch,
};
use crate::id::{MailboxId, MailboxSequence, Position, StoreId};
use crate::ledger::{ApplyError, Ledger, record_position};
use crate::mailbox::MailboxStats;
use crate::patient::read_what_can_be;
use crate::record::{CheckpointTotals, Record, Records, Scratch};
use crate::report::RecoveryReport;
use crate::scan::{Damage, Sink, Stretch, Walk};
use crate::segments::Segment;
use crate::sets::SetTable;

/// What an open found.
#[derive(Debug)]
pub struct Recovery {
    /// State records since the last checkpoint and its own, in order.
    pub state: Vec<Vec<u8>>,
    /// All mailboxes, ascending.
    pub mailboxes: Vec<(MailboxId, MailboxStats)>,
    /// What was kept, cut off and found damaged.
    pub report: RecoveryReport,
}

/// A segment file that can be read.
pub(crate) struct LogFile {
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
    /// The header was lost and made out from the first batch: what it says of the log before is not
    /// known.
    pub(crate) is_inferred: bool,
    /// One of the header's copies is damaged.
    pub(crate) is_patched: bool,
    pub(crate) file: Arc<dyn File>,
    pub(crate) bytes: u64,
}

impl LogFile {
    pub(crate) fn salt(&self) -> Salt {
        self.header.salt()
    }

    pub(crate) fn segment(&self) -> Segment {
        Segment { index: self.header.index, salt: self.salt(), file: self.file.clone(), bytes: self.bytes }
    }
}

/// Opens a segment file; none when it has neither a header nor a first batch to be read.
pub(crate) fn open_segment(
    disk: &dyn Disk,
    name: &str,
    index: u64,
    store: StoreId,
    segment_bytes: u64,
) -> Result<Option<LogFile>, OpenError> {
    let Head { file, bytes: head, file_bytes: bytes, refused } = read_head(disk, name)?;
    let copies = [0, HEADER_COPY as usize].map(|at| SegmentHeader::decode(head.get(at..).unwrap_or(&[])));
    let is_patched = copies.iter().any(Result::is_err);
    let path = || disk.root().join(name);
    let header = match copies {
        [Ok(header), _] | [_, Ok(header)] => header,
        [Err(HeaderFault::UnknownVersion(version)), _] => {
            return Err(OpenError::UnknownFormat { path: path(), version, known: FORMAT_VERSION });
        }
        _ => match infer_header(&head, index, store, segment_bytes) {
            Some(header) => {
                return Ok(Some(LogFile {
                    name: name.into(),
                    header,
                    is_inferred: true,
                    is_patched,
                    file,
                    bytes,
                }));
            }
            None => return refused.map_or(Ok(None), |source| Err(unread(disk, name, source))),
        },
    };
    if header.store != store || header.index != index || header.segment_bytes != segment_bytes {
        return Err(OpenError::Damaged {
            path: path(),
            what: format!("it is segment {} of store {}", header.index, header.store),
        });
    }
    Ok(Some(LogFile { name: name.into(), header, is_inferred: false, is_patched, file, bytes }))
}

/// The first bytes of a segment file.
struct Head {
    file: Arc<dyn File>,
    bytes: Vec<u8>,
    file_bytes: u64,
    /// The disk did not give all of them: zeroes stand for the rest.
    refused: Option<std::io::Error>,
}

fn read_head(disk: &dyn Disk, name: &str) -> Result<Head, OpenError> {
    let open = || {
        let file = disk.open(name)?;
        let bytes = file.len()?;
        Ok((file, bytes))
    };
    let (file, bytes) = open().map_err(|source| io_error(disk, name, "open", source))?;
    let mut head = vec![0u8; DATA_START as usize + BATCH_HEADER];
    let (got, refused) = match file.read_at(&mut head, 0) {
        Ok(got) => (got, None),
        Err(source) => (read_what_can_be(&*file, &mut head, 0).bytes, Some(source)),
    };
    head.truncate(got);
    Ok(Head { file, bytes: head, file_bytes: bytes, refused })
}

fn infer_header(head: &[u8], index: u64, store: StoreId, segment_bytes: u64) -> Option<SegmentHeader> {
    let first = head.get(DATA_START as usize..)?;
    let position = Position::new(index, DATA_START, segment_bytes);
    let generation = claimed_generation(first, position, store)?;
    Some(SegmentHeader {
        version: FORMAT_VERSION,
        store,
        index,
        generation,
        continues_from: Position(0),
        first_number: 0,
        chain: 0,
        checkpoint: Position(0),
        checkpoint_before: Position(0),
        segment_bytes,
        file_bytes: segment_bytes,
    })
}

/// What the log says.
pub(crate) struct Recovered {
    pub(crate) ledger: Ledger,
    /// Definitions of the last segment.
    pub(crate) sets: SetTable,
    pub(crate) state: Vec<Vec<u8>>,
    pub(crate) walk: Walk,
    /// The last complete checkpoint and the one before it, 0 for none.
    pub(crate) checkpoints: (Position, Position),
    pub(crate) known_damage: Vec<(Position, Position)>,
    pub(crate) bytes_since_checkpoint: u64,
    pub(crate) segments_read: u64,
    pub(crate) started_at: Option<Position>,
    pub(crate) fell_back: bool,
}

/// Reads the log in `files` (ascending, not empty), from the last checkpoint that can be used.
pub(crate) fn recover(disk: &dyn Disk, files: &[LogFile], empty: &Ledger) -> Result<Recovered, OpenError> {
    let segment_bytes = empty.log().segment_bytes;
    let newest = files.iter().rev().find(|file| !file.is_inferred);
    let hints = newest
        .map_or((Position(0), Position(0)), |file| (file.header.checkpoint, file.header.checkpoint_before));
    // Where both have been reclaimed, two younger ones lie in the newest segment.
    let youngest = files.last().map(|file| Position::new(file.header.index, DATA_START, segment_bytes));
    let starts = [Some(hints.0), Some(hints.1), youngest, None];
    let usable = |start: &Option<Position>| start.is_none_or(|position| position.0 != 0);
    let mut fell_back = false;
    let mut refused = None;
    for start in starts.into_iter().filter(usable) {
        let read = read_from(disk, files, start, empty.draft()).and_then(|read| match read {
            Some((walk, replay, segments_read)) if replay.is_based => {
                Ok(Some((walk, complete(disk, files, start, empty, replay)?, segments_read)))
            }
            read => Ok(read),
        });
        let read = match read {
            // A later checkpoint may need nothing of what the disk does not give.
            Err(error @ OpenError::Unread { .. }) => {
                refused.get_or_insert(error);
                continue;
            }
            read => read?,
        };
        let Some((walk, replay, segments_read)) = read else {
            continue;
        };
        if replay.is_based {
            let checkpoints = last_two(&replay.complete, hints);
            return Ok(Recovered {
                sets: replay.scratch.sets,
                ledger: replay.ledger,
                state: replay.state,
                walk,
                checkpoints,
                known_damage: replay.known_damage,
                bytes_since_checkpoint: replay.bytes_since_checkpoint,
                segments_read,
                started_at: start,
                fell_back,
            });
        }
        fell_back |= start != youngest;
    }
    Err(refused.unwrap_or_else(|| OpenError::Damaged {
        path: disk.root().to_path_buf(),
        what: "no checkpoint can be read and the start of the log is not there".into(),
    }))
}

pub(crate) fn last_two(complete: &[Position], hints: (Position, Position)) -> (Position, Position) {
    match *complete {
        [] => (Position(0), Position(0)),
        [.., before, last] => (last, before),
        [only] if only == hints.0 => hints,
        [only] => (only, Position(0)),
    }
}

/// A replay of which nothing is missing: where the draft lacks entries of pages since its last
/// checkpoint, that part is read again and they are made out.
fn complete(
    disk: &dyn Disk,
    files: &[LogFile],
    start: Option<Position>,
    empty: &Ledger,
    mut draft: Replay,
) -> Result<Replay, OpenError> {
    if !draft.ledger.lacks_entries() {
        draft.ledger.end_draft();
        return Ok(draft);
    }
    let start = draft.complete.last().copied().or(start);
    match read_from(disk, files, start, empty.anew())? {
        Some((_, again, _)) if again.is_based => {
            Ok(Replay { ledger: again.ledger, state: again.state, scratch: again.scratch, ..draft })
        }
        _ => Err(OpenError::Damaged {
            path: disk.root().to_path_buf(),
            what: "the last checkpoint reads differently each time".into(),
        }),
    }
}

type Read = (Walk, Replay, u64);

/// Walks the files from `start`, or all of them; none when the start is not there.
fn read_from(
    disk: &dyn Disk,
    files: &[LogFile],
    start: Option<Position>,
    empty: Ledger,
) -> Result<Option<Read>, OpenError> {
    let segment_bytes = empty.log().segment_bytes;
    let first = match start {
        None => Some(0),
        Some(position) => {
            let index = position.segment(segment_bytes);
            files.iter().position(|file| file.header.index == index)
        }
    };
    let Some(first) = first else {
        return Ok(None);
    };
    let mut walk = Walk::default();
    let mut replay = Replay::new(empty);
    let mut gaps = Vec::new();
    replay.is_based = start.is_none() && files[0].header.first_number == 1;
    for at in first..files.len() {
        let before = if at > first { files.get(at - 1) } else { None };
        if replay.is_based {
            for segment in missing(before, &files[at], segment_bytes) {
                gaps.push((segment, replay.complete.len()));
                walk.lose(Damage { segment, from: DATA_START, to: segment_bytes, batches: 0 });
            }
        }
        let offset = match start {
            Some(position) if at == first => position.offset(segment_bytes),
            _ => DATA_START,
        };
        read_file(disk, files, at, offset, &mut walk, &mut replay)?;
    }
    // Once two checkpoints are younger a segment may have been reclaimed.
    let reclaimed = |segment: u64| {
        gaps.iter().any(|(gap, complete)| *gap == segment && replay.complete.len() >= complete + 2)
    };
    walk.damage.retain(|damage| !reclaimed(damage.segment));
    Ok(Some((walk, replay, (files.len() - first) as u64)))
}

/// Indexes of segments between two files that the log went through and that are not there.
pub(crate) fn missing(before: Option<&LogFile>, file: &LogFile, segment_bytes: u64) -> Range<u64> {
    let last = if file.is_inferred {
        file.header.index - 1
    } else {
        file.header.continues_from.segment(segment_bytes)
    };
    before.map_or(0..0, |before| before.header.index + 1..last + 1)
}

fn read_file(
    disk: &dyn Disk,
    files: &[LogFile],
    at: usize,
    offset: u64,
    walk: &mut Walk,
    replay: &mut Replay,
) -> Result<(), OpenError> {
    let file = &files[at];
    let segment_bytes = file.header.segment_bytes;
    let next = files.get(at + 1).filter(|next| !next.is_inferred);
    let limit = next
        .map(|next| next.header.continues_from)
        .filter(|end| end.segment(segment_bytes) == file.header.index);
    let limit = limit.map(|end| end.offset(segment_bytes)).filter(|&end| end >= offset);
    let end = limit.unwrap_or(segment_bytes).min(file.bytes).max(offset);
    let mut bytes = vec![0u8; (end - offset) as usize];
    let got = file.file.read_at(&mut bytes, offset);
    let got = got.map_err(|source| unread(disk, &file.name, source))?;
    bytes.truncate(got);
    let begins = offset == DATA_START;
    let first = (begins && !file.is_inferred).then_some((file.header.first_number, file.header.chain));
    walk.enter(Position::new(file.header.index, 0, segment_bytes), first);
    let stretch = Stretch {
        segment: file.header.index,
        salt: file.salt(),
        bytes: &bytes,
        start: offset,
        limit,
        is_last: at + 1 == files.len(),
        segment_bytes,
    };
    replay.version = file.header.version;
    walk.stretch(&stretch, replay).map_err(|why| match why {
        ApplyError::Malformed => OpenError::Damaged {
            path: disk.root().join(&file.name),
            what: format!(
                "an intact batch of format version {} holds a record of a kind that this version does not have",
                file.header.version
            ),
        },
        ApplyError::Unread(why) => {
            let (path, source) = why.into_refusal(disk.root().join(&file.name));
            OpenError::Unread { path, source }
        }
    })
}

/// The body of a batch that is to be written anew.
#[derive(Clone, Debug)]
pub(crate) struct TailBody {
    pub(crate) body: Vec<u8>,
    pub(crate) records: u32,
    pub(crate) flags: u32,
}

/// The body of an intact batch, to be written anew.
pub(crate) fn read_tail_batch(
    disk: &dyn Disk,
    file: &LogFile,
    position: Position,
) -> Result<Option<TailBody>, OpenError> {
    let offset = position.offset(file.header.segment_bytes);
    let mut bytes = vec![0u8; file.bytes.saturating_sub(offset) as usize];
    let got = file.file.read_at(&mut bytes, offset);
    let got = got.map_err(|source| unread(disk, &file.name, source))?;
    let batch = read_batch(&bytes[..got], position, &file.salt());
    Ok(batch.map(|batch| TailBody {
        body: batch.body.to_vec(),
        records: batch.header.records,
        flags: batch.header.flags,
    }))
}

pub(crate) fn io_error(
    disk: &dyn Disk,
    name: &str,
    operation: &'static str,
    source: std::io::Error,
) -> OpenError {
    OpenError::Io { path: disk.root().join(name), operation, source }
}

pub(crate) fn unread(disk: &dyn Disk, name: &str, source: std::io::Error) -> OpenError {
    OpenError::Unread { path: disk.root().join(name), source }
}

/// A checkpoint being read.
struct Pending {
    begin: Position,
    totals: CheckpointTotals,
    ledger: Ledger,
    states: Vec<Vec<u8>>,
}

/// Builds the state from intact batches.
pub(crate) struct Replay {
    pub(crate) ledger: Ledger,
    pub(crate) state: Vec<Vec<u8>>,
    pending: Option<Pending>,
    /// First batches of the complete checkpoints.
    pub(crate) complete: Vec<Position>,
    pub(crate) known_damage: Vec<(Position, Position)>,
    pub(crate) bytes_since_checkpoint: u64,
    /// The state is complete.
    pub(crate) is_based: bool,
    /// Format version of the segment being read.
    pub(crate) version: u32,
    pub(crate) scratch: Scratch,
}

impl Replay {
    pub(crate) fn new(ledger: Ledger) -> Replay {
        Replay {
            ledger,
            state: Vec::new(),
            pending: None,
            complete: Vec::new(),
            known_damage: Vec::new(),
            bytes_since_checkpoint: 0,
            is_based: false,
            version: FORMAT_VERSION,
            scratch: Scratch::default(),
        }
    }

    fn read_batch(
        &mut self,
        batch: &BatchView<'_>,
        is_checkpoint: bool,
        scratch: &mut Scratch,
    ) -> Result<(), ApplyError> {
        let position = batch.header.position;
        scratch.sets.enter(position.segment(self.ledger.log().segment_bytes));
        let mut records = Records::of_version(batch.body, self.version);
        while let Some((at, record)) = records.next(scratch)? {
            match record {
                _ if is_checkpoint => self.on_checkpoint_record(&record, scratch, position),
                Record::State(bytes) => self.state.push(bytes.to_vec()),
                Record::KnownDamage { from, to } => self.known_damage.push((from, to)),
                _ => {
                    self.ledger.apply(&record, scratch, record_position(position, at))?;
                }
            }
        }
        Ok(())
    }

    fn on_checkpoint_record(&mut self, record: &Record<'_>, scratch: &Scratch, batch: Position) {
        if let Record::CheckpointBegin { id } = *record {
            self.pending = Some(Pending {
                begin: batch,
                totals: CheckpointTotals { id, ..CheckpointTotals::default() },
                ledger: self.ledger.anew(),
                states: Vec::new(),
            });
            return;
        }
        let Some(pending) = &mut self.pending else {
            return;
        };
        match *record {
            Record::CheckpointState(bytes) => {
                pending.totals.states += 1;
                pending.states.push(bytes.to_vec());
            }
            Record::CheckpointMailbox { mailbox, next } => {
                pending.totals.mailboxes += 1;
                pending.ledger.index.create(mailbox, next);
            }
            Record::CheckpointEntries { mailbox } => pending.restore(mailbox, scratch),
            Record::CheckpointPage => pending.restore_page(scratch),
            Record::CheckpointGivenUp { segment, pages } => {
                pending.totals.entries += 1;
                pending.ledger.census.restore_given_up(segment, pages);
            }
            Record::CheckpointEnd(totals) => self.on_checkpoint_end(&totals),
            _ => {}
        }
    }

    fn on_checkpoint_end(&mut self, totals: &CheckpointTotals) {
        if let Some(pending) = self.pending.take()
            && pending.totals == *totals
        {
            self.ledger = pending.ledger;
            self.state = pending.states;
            self.complete.push(pending.begin);
            self.bytes_since_checkpoint = 0;
            self.is_based = true;
        }
    }
}

impl Pending {
    fn restore(&mut self, id: MailboxId, scratch: &Scratch) {
        self.totals.entries += scratch.live.len() as u64;
        let mailbox = self.ledger.index.create(id, MailboxSequence(1));
        for &entry in &scratch.live {
            self.ledger.restore(id, &mailbox, entry);
        }
    }

    fn restore_page(&mut self, scratch: &Scratch) {
        if let Some((mailbox, page)) = &scratch.page {
            self.totals.entries += u64::from(page.live);
            self.ledger.restore_page(*mailbox, page);
        }
    }
}

impl Sink for Replay {
    type Error = ApplyError;

    fn on_batch(&mut self, batch: &BatchView<'_>) -> Result<(), ApplyError> {
        let is_checkpoint = batch.header.flags & FLAG_CHECKPOINT != 0;
        if !is_checkpoint {
            self.pending = None;
        }
        self.bytes_since_checkpoint += batch.bytes as u64;
        // What later batches refer to stays there, however this one ends.
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.read_batch(batch, is_checkpoint, &mut scratch);
        self.scratch = scratch;
        read
    }
}
