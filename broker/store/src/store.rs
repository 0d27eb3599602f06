//! The writer: one owner, one append at a time.
//!
//! Invariants:
//! 1. `commit` writes, flushes, and only then changes the index and answers.
//! 2. Everything before the active segment's offset is durable, so that each batch can say so.
//! 3. After a failed write or flush nothing is written any more.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::Batch;
use crate::census::Live;
use crate::checkpoint;
use crate::disk::Disk;
use crate::error::{CommitError, OpenError, ReadError, StopCause};
use crate::format::{
    BATCH_HEADER, BatchHeader, DATA_START, FLAG_CHECKPOINT, SegmentHeader, batch_bytes, new_generation,
    seal_batch, segment_capacity,
};
use crate::id::{Position, StoreId};
use crate::index::Index;
use crate::install::install;
use crate::keeper::{Keeper, MakeError};
use crate::ledger::{ApplyError, Ledger, record_position};
use crate::meta::Meta;
use crate::mover::Mover;
use crate::options::Options;
use crate::pager::Pager;
use crate::reader::Reader;
use crate::record::seal_event;
use crate::recovery::Recovery;
use crate::segments::{Segment, Table, segment_name};
use crate::sets::SetBook;

/// Segments taken back after one commit at most, so that none waits long.
const RECLAIM_PER_COMMIT: usize = 4;
/// Recycled segments kept beyond the spares that are made: a checkpoint gives back several at once,
/// and each one kept is one that need not be zeroed.
const RECYCLED_MAX: usize = 3;
/// A batch's buffer is kept for the next one up to this size.
const BUFFER_KEPT_MAX: usize = 8 << 20;

/// The durable log. One thread owns it and commits; [`Store::reader`] serves the others.
pub struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) meta: Meta,
    pub(crate) active: Arc<Segment>,
    /// End of the log in the active segment.
    pub(crate) offset: u64,
    pub(crate) next_index: u64,
    pub(crate) next_number: u64,
    pub(crate) chain: u32,
    pub(crate) table: Arc<Table>,
    pub(crate) ledger: Ledger,
    pub(crate) sets: SetBook,
    pub(crate) pager: Pager,
    pub(crate) mover: Mover,
    pub(crate) keeper: Keeper,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) fullness: Fullness,
    pub(crate) stopped: Option<Arc<StopCause>>,
    pub(crate) counters: Counters,
    pub(crate) buffer: Mutex<Vec<u8>>,
    /// Released last.
    pub(crate) _lock: Box<dyn Send + Sync>,
}

/// Where the log can be read from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checkpoints {
    pub(crate) last: Position,
    pub(crate) before: Position,
    pub(crate) bytes_since: u64,
    /// Bytes between the last two, themselves left out.
    pub(crate) bytes_between: u64,
    /// Size of the last one.
    pub(crate) bytes: u64,
}

/// Whether events are refused.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fullness {
    /// The last event or segment found no space.
    pub(crate) is_full: bool,
    /// The active segment was taken from the reserve: no event goes there until that is refilled.
    pub(crate) on_reserve: bool,
    /// Dead segments may be there to be taken back.
    pub(crate) reclaim: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) flushes: u64,
    pub(crate) batches: u64,
    pub(crate) events: u64,
    pub(crate) events_by_set: u64,
    pub(crate) bytes_written: u64,
    pub(crate) checkpoints: u64,
    pub(crate) reclaimed: u64,
    pub(crate) pages: u64,
    pub(crate) bytes_moved: u64,
}

/// A batch that is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Where the events lie, by [`crate::EventIndex`].
    pub positions: Vec<Position>,
    /// How many entries each removal took out, by [`crate::RemovalIndex`].
    pub removed: Vec<u64>,
    /// Bytes that the batch takes in the log.
    pub bytes: u64,
}

/// What [`Store::append`] gives.
pub(crate) struct Appended {
    /// Where the batch lies.
    pub(crate) position: Position,
    /// Where its events lie.
    pub(crate) positions: Vec<Position>,
    /// How many entries each removal in it took out.
    pub(crate) removed: Vec<u64>,
    /// Bytes that the batch takes.
    pub(crate) bytes: u64,
    /// Its buffer.
    pub(crate) buffer: Vec<u8>,
}

/// The store in numbers, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of segments and spares.
    pub bytes_on_disk: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Segments kept ready.
    pub spares: u64,
    /// Flushes of batches.
    pub flushes: u64,
    /// Batches written, those of checkpoints included.
    pub batches: u64,
    /// Events written.
    pub events: u64,
    /// Of those, how many refer to a set of destinations that was logged before.
    pub events_by_set: u64,
    /// Bytes written into the log.
    pub bytes_written: u64,
    /// Complete checkpoints written.
    pub checkpoints: u64,
    /// Segments taken back.
    pub reclaimed: u64,
    /// Pages of mailbox entries written, copies included.
    pub pages: u64,
    /// Bytes written to move what lives out of old segments.
    pub bytes_moved: u64,
    /// Mailbox entries in memory.
    pub entries_hot: u64,
    /// Events are refused for lack of space.
    pub is_full: bool,
    /// A write or flush failed: the store takes nothing any more.
    pub is_stopped: bool,
}

/// How much of the reserve a batch may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UseOfReserve {
    /// Events.
    None,
    /// Acks, removals, state.
    Part,
    /// Checkpoints.
    All,
}

impl Store {
    /// Opens the store in `dir`, or makes one named `new_id` there; takes the lock, recovers what
    /// is there and raises the start counter durably. Reads from the last checkpoint on.
    ///
    /// # Errors
    /// On any error nothing was deleted and nothing that was acked was changed.
    pub fn open(dir: &Path, options: Options, new_id: StoreId) -> Result<(Store, Recovery), OpenError> {
        Store::open_on(Arc::new(crate::disk::RealDisk::new(dir)), options, new_id)
    }

    /// Identity of the store.
    pub fn id(&self) -> StoreId {
        self.meta.store
    }

    /// Raised when damage may have taken numbers that were seen outside.
    pub fn recovery_epoch(&self) -> u64 {
        self.meta.recovery_epoch
    }

    /// Raised durably at each open.
    pub fn start_counter(&self) -> u64 {
        self.meta.start_counter
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch {
        let mut kept = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        Batch::in_buffer(std::mem::take(&mut kept)).wide_from(self.options.set_destinations_min)
    }

    /// A view for other threads.
    pub fn reader(&self) -> Reader {
        Reader { log: self.ledger.log().clone(), index: self.ledger.index.clone() }
    }

    /// Writes and flushes a batch. When this returns `Ok` all of it is durable and readers see it;
    /// on [`CommitError::Stopped`] it is in doubt, on every other error nothing was written.
    pub fn commit(&mut self, batch: Batch) -> Result<Committed, CommitError> {
        self.check_alive()?;
        if batch.is_empty() {
            return Ok(Committed::default());
        }
        let checked = self.ledger.validate(&batch.bytes[BATCH_HEADER..]);
        checked.map_err(|_| self.own_fault("check"))??;
        let events = batch.events.len() as u64;
        let hot = self.ledger.hot();
        let appended = self.append(batch, 0);
        if matches!(appended, Err(CommitError::Full { .. })) {
            self.move_when_full();
            self.tidy();
        }
        let Appended { positions, removed, buffer, bytes, .. } = appended?;
        self.counters.events += events;
        self.checkpoints.bytes_since += bytes;
        if buffer.capacity() <= BUFFER_KEPT_MAX {
            *self.buffer.lock().unwrap_or_else(PoisonError::into_inner) = buffer;
        }
        self.relieve(self.ledger.hot().saturating_sub(hot));
        self.move_some();
        self.tidy();
        Ok(Committed { positions, removed, bytes })
    }

    /// True when a checkpoint should be written: enough was logged since the last one, or the
    /// store is full, or about to be, and one would give space back.
    pub fn checkpoint_due(&self) -> bool {
        let since = &self.checkpoints;
        let opened = self.active.index.saturating_sub(since.last.segment(self.segment_bytes()));
        let opened_max = 4 + 2 * self.options.checkpoint_after_bytes / self.segment_bytes();
        since.bytes_since >= self.options.checkpoint_after_bytes
            || (since.bytes_since > 0 && opened > opened_max)
            || (self.is_short() && self.checkpoint_frees())
    }

    /// Whether a segment for events is ready beside those in reserve.
    pub fn has_room(&self) -> bool {
        self.keeper.spares() > self.reserve()
    }

    /// Whether the next segment for events finds no space.
    pub(crate) fn is_short(&self) -> bool {
        self.fullness.is_full || self.keeper.is_short_of(self.reserve() + 1)
    }

    /// Whether the next checkpoints would let a segment go, and are not all that there is to free.
    fn checkpoint_frees(&self) -> bool {
        let since = &self.checkpoints;
        let logged = since.bytes_since + since.bytes_between > 0;
        let is_cheap = since.bytes < self.segment_bytes() || since.bytes_since >= since.bytes;
        let dead = |index: &u64| self.is_dead(*index);
        let frees = self.table.below(self.active.index).iter().any(dead);
        logged && is_cheap && (frees || self.ledger.census.holds_given_up_alone(self.active.index))
    }

    /// Writes the caller's full state and the mailboxes durably, so that the next open reads from
    /// here and segments that hold nothing live can be taken back. May use the reserve.
    ///
    /// # Errors
    /// As [`Store::commit`]; on an error the checkpoint before stays in force.
    pub fn checkpoint(&mut self, state: &mut dyn Iterator<Item = Vec<u8>>) -> Result<(), CommitError> {
        self.check_alive()?;
        self.sets.forget();
        #[cfg(feature = "mutants")]
        if crate::mutant::is(crate::mutant::Mutant::ReclaimBeforeCheckpoint) {
            self.checkpoints.before = self.end();
            self.fullness.reclaim = true;
            self.tidy();
        }
        let written = checkpoint::write(self, state)?;
        self.checkpoints = Checkpoints {
            last: written.begin,
            before: self.checkpoints.last,
            bytes_since: 0,
            bytes_between: self.checkpoints.bytes_since,
            bytes: written.bytes,
        };
        self.counters.checkpoints += 1;
        self.ledger.census.on_checkpoint();
        self.mover.on_progress();
        self.fullness.reclaim = true;
        self.tidy();
        Ok(())
    }

    /// Bytes of segments that hold nothing live: they come back with the next checkpoints. O(segments).
    pub fn dead_bytes(&self) -> u64 {
        let dead = |index: &u64| self.is_dead(*index);
        let dead = self.table.below(self.active.index).into_iter().filter(dead);
        dead.filter_map(|index| self.table.get(index)).map(|segment| segment.bytes).sum()
    }

    /// The store in numbers. O(segments).
    pub fn stats(&self) -> Stats {
        let (segments, bytes) = self.table.totals();
        let (spares, kept) = (self.keeper.spares() as u64, self.keeper.bytes());
        Stats {
            bytes_on_disk: bytes + kept,
            segments,
            spares,
            flushes: self.counters.flushes,
            batches: self.counters.batches,
            events: self.counters.events,
            events_by_set: self.counters.events_by_set,
            bytes_written: self.counters.bytes_written,
            checkpoints: self.counters.checkpoints,
            reclaimed: self.counters.reclaimed,
            pages: self.counters.pages,
            bytes_moved: self.counters.bytes_moved,
            entries_hot: self.ledger.hot(),
            is_full: self.fullness.is_full,
            is_stopped: self.stopped.is_some(),
        }
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.meta.segment_bytes
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    pub(crate) fn index(&self) -> Arc<Index> {
        self.ledger.index.clone()
    }

    pub(crate) fn end(&self) -> Position {
        Position::new(self.active.index, self.offset, self.segment_bytes())
    }

    fn check_alive(&mut self) -> Result<(), CommitError> {
        if self.stopped.is_none() {
            self.stopped = self.keeper.failure();
        }
        match &self.stopped {
            Some(cause) => Err(CommitError::Stopped { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn stop(&mut self, cause: Arc<StopCause>) -> CommitError {
        self.stopped = Some(cause.clone());
        CommitError::Stopped { cause }
    }

    pub(crate) fn fail(&mut self, operation: &'static str, source: std::io::Error) -> CommitError {
        let path = self.path(&segment_name(self.active.index));
        self.stop(Arc::new(StopCause { path, operation, source }))
    }

    /// A page of entries is not given by the disk.
    pub(crate) fn fail_to_read(&mut self, why: ReadError) -> CommitError {
        let (path, source) = why.into_refusal(self.path(&segment_name(self.active.index)));
        self.stop(Arc::new(StopCause { path, operation: "read a page of", source }))
    }

    fn own_fault(&mut self, operation: &'static str) -> CommitError {
        self.fail(operation, std::io::Error::from(std::io::ErrorKind::InvalidData))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.root().join(name)
    }

    /// Writes, flushes and applies a batch.
    pub(crate) fn append(&mut self, batch: Batch, flags: u32) -> Result<Appended, CommitError> {
        let bytes = batch_bytes(batch.len_bytes()) as u64;
        let limit = segment_capacity(self.segment_bytes());
        if bytes > limit {
            return Err(CommitError::BatchTooLarge { got: bytes, limit });
        }
        let mut batch = self.place(batch, flags)?;
        let bytes = batch_bytes(batch.len_bytes()) as u64;
        let position = self.end();
        let body_bytes = batch.len_bytes();
        let checksum = self.seal(&mut batch, position, flags);
        let written = self.active.file.write_at(&batch.bytes, self.offset);
        written.map_err(|e| self.fail("write", e))?;
        let flushed = self.active.file.sync_data();
        flushed.map_err(|e| self.fail("flush", e))?;
        self.offset += bytes;
        self.next_number += 1;
        self.chain = checksum;
        self.counters.flushes += 1;
        self.counters.batches += 1;
        self.counters.bytes_written += bytes;
        self.counters.events_by_set += u64::from(batch.referring);
        let body = &batch.bytes[BATCH_HEADER..BATCH_HEADER + body_bytes];
        let applied = self.ledger.apply_body(body, position);
        let removed = applied.map_err(|why| match why {
            ApplyError::Malformed => self.own_fault("apply"),
            ApplyError::Unread(why) => self.fail_to_read(why),
        })?;
        let place = |mark: &crate::record::EventMark| record_position(position, mark.at as usize);
        let positions = batch.events.iter().map(place).collect();
        Ok(Appended { position, positions, removed, bytes, buffer: batch.bytes })
    }

    /// Makes room for a batch; the batch as it goes there, its sets in place of lists where they
    /// repeat.
    fn place(&mut self, batch: Batch, flags: u32) -> Result<Batch, CommitError> {
        let encoded = self.encode_sets(&batch);
        let here = self.active.index;
        let bytes = |batch: &Batch| batch_bytes(batch.len_bytes()) as u64;
        let use_of_reserve = match (flags & FLAG_CHECKPOINT, batch.is_essential) {
            (0, false) => UseOfReserve::None,
            (0, true) => UseOfReserve::Part,
            _ => UseOfReserve::All,
        };
        self.make_room(bytes(encoded.as_ref().unwrap_or(&batch)), use_of_reserve)?;
        if self.active.index == here {
            return Ok(encoded.unwrap_or(batch));
        }
        // Nothing is defined in the new segment.
        let room = segment_capacity(self.active.bytes);
        let encoded = self.encode_sets(&batch).filter(|encoded| bytes(encoded) <= room);
        Ok(encoded.unwrap_or(batch))
    }

    fn encode_sets(&mut self, batch: &Batch) -> Option<Batch> {
        self.sets.encode(batch, self.ledger.sets(), self.active.index)
    }

    fn seal(&self, batch: &mut Batch, position: Position, flags: u32) -> u32 {
        let salt = &self.active.salt;
        let body_offset = self.offset + BATCH_HEADER as u64;
        for mark in &batch.events {
            seal_event(&mut batch.bytes[BATCH_HEADER..], mark, body_offset, salt);
        }
        let header = BatchHeader {
            position,
            number: self.next_number,
            durable_end: position,
            records: batch.records,
            chain: self.chain,
            flags,
        };
        seal_batch(&mut batch.bytes, &header, salt)
    }

    /// Bytes that no event gets: the segments kept in reserve, which are more where checkpoints are large,
    /// and the one that must be made beside them.
    pub fn reserve_bytes(&self) -> u64 {
        (self.reserve() as u64 + 1) * self.segment_bytes()
    }

    /// Spares that only acks, removals, state and checkpoints may use.
    fn reserve(&self) -> usize {
        let capacity = segment_capacity(self.segment_bytes());
        let checkpoint = self.checkpoints.bytes;
        let for_checkpoints =
            if checkpoint * 4 > capacity { 2 * checkpoint.div_ceil(capacity) as usize } else { 0 };
        self.options.reserve_segments + for_checkpoints
    }

    /// Of the reserve, spares that only checkpoints may use: without these nothing comes back.
    fn kept_for_checkpoints(&self) -> usize {
        (self.reserve() - self.options.reserve_segments).max(1).min(self.reserve() - 1)
    }

    fn make_room(&mut self, bytes: u64, use_of_reserve: UseOfReserve) -> Result<(), CommitError> {
        let fits = self.offset - DATA_START + bytes <= segment_capacity(self.active.bytes);
        if fits && (use_of_reserve != UseOfReserve::None || !self.fullness.on_reserve) {
            return Ok(());
        }
        let wanted = self.reserve() + usize::from(!fits);
        match self.keeper.ensure(wanted) {
            Ok(()) => {
                self.fullness.is_full = false;
                self.fullness.on_reserve = false;
            }
            Err(MakeError::Failed(cause)) => return Err(self.stop(cause)),
            Err(MakeError::Full(reason)) => {
                self.fullness.is_full = true;
                let least = match use_of_reserve {
                    UseOfReserve::None => return Err(self.full(reason)),
                    UseOfReserve::Part => self.kept_for_checkpoints() + 1,
                    UseOfReserve::All => 1,
                };
                if self.keeper.spares() < least {
                    return Err(self.full(reason));
                }
                self.fullness.on_reserve = true;
            }
        }
        if fits { Ok(()) } else { self.roll() }
    }

    fn full(&self, reason: String) -> CommitError {
        CommitError::Full { path: self.disk.root().to_path_buf(), needed_bytes: self.segment_bytes(), reason }
    }

    /// Goes on in a new segment, whose head names the last checkpoint.
    pub(crate) fn go_on_elsewhere(&mut self) -> Result<(), CommitError> {
        match self.keeper.ensure(1) {
            Ok(()) => self.roll(),
            Err(MakeError::Failed(cause)) => Err(self.stop(cause)),
            Err(MakeError::Full(reason)) => Err(self.full(reason)),
        }
    }

    /// Goes on in a spare.
    fn roll(&mut self) -> Result<(), CommitError> {
        let Some(spare) = self.keeper.take() else {
            return Err(self.full("no segment is ready".into()));
        };
        let header = SegmentHeader {
            version: self.meta.version,
            store: self.meta.store,
            index: self.next_index,
            generation: new_generation(self.disk.random(), self.next_index),
            continues_from: self.end(),
            first_number: self.next_number,
            chain: self.chain,
            checkpoint: self.checkpoints.last,
            checkpoint_before: self.checkpoints.before,
            segment_bytes: self.segment_bytes(),
            file_bytes: self.segment_bytes(),
        };
        let segment = install(&*self.disk, &spare, &header, &[]).map_err(|cause| self.stop(cause))?;
        self.meta.newest = header.index;
        self.meta.write(&*self.disk).map_err(|error| self.fail("begin", std::io::Error::other(error)))?;
        self.begin(segment, DATA_START);
        Ok(())
    }

    /// Makes an installed segment the active one.
    pub(crate) fn begin(&mut self, segment: Segment, offset: u64) {
        self.next_index = segment.index + 1;
        self.active = Arc::new(segment);
        self.table.insert(self.active.clone());
        self.offset = offset;
        self.mover.on_progress();
        self.fullness.reclaim = true;
        self.keeper.set_log_bytes(self.table.totals().1);
    }

    /// Takes back dead segments and has spares made.
    pub(crate) fn tidy(&mut self) {
        self.fullness.reclaim |= self.ledger.census.take_emptied();
        if self.fullness.reclaim {
            self.reclaim();
        }
        self.keeper.request(self.reserve() + 1);
    }

    fn is_dead(&self, index: u64) -> bool {
        self.ledger.census.of(index) == Live::default()
    }

    fn reclaim(&mut self) {
        let kept_from = self.checkpoints.before.segment(self.segment_bytes());
        let dead = |index: &u64| self.is_dead(*index) && *index != self.active.index;
        let mut dead: Vec<u64> = self.table.below(kept_from).into_iter().filter(dead).collect();
        self.fullness.reclaim = dead.len() > RECLAIM_PER_COMMIT;
        dead.truncate(RECLAIM_PER_COMMIT);
        for index in dead {
            self.mover.forget(index);
            self.ledger.census.forget(index);
            if let Some(segment) = self.table.remove(index) {
                // Nobody can come to hold it any more, for it has left the table.
                let is_unread = Arc::strong_count(&segment) == 1;
                let is_whole = segment.bytes == self.segment_bytes();
                let is_wanted = self.keeper.spares() < self.reserve() + 1 + RECYCLED_MAX;
                self.counters.reclaimed += 1;
                self.keeper.retire(segment_name(index), segment.bytes, is_unread && is_whole && is_wanted);
            }
        }
        self.keeper.set_log_bytes(self.table.totals().1);
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("root", &self.disk.root())
            .field("id", &self.meta.store)
            .finish_non_exhaustive()
    }
}
