//! Opening: recovery's findings made durable, in an order that any crash may interrupt.
//!
//! Order: read everything (nothing is changed before that, so that a refusal leaves no trace) →
//! backup of an older format → metadata with the raised counter → copies in quarantine → fresh
//! segment that begins with the unproven-but-intact tail → the old end is cut off → the metadata name
//! the fresh segment → spares. A crash after any step leaves a directory from which the next open
//! arrives at the same state.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::disk::Disk;
use crate::error::{CommitError, OpenError, StopCause};
use crate::findings::{
    Listing, empty, keep_damaged_meta, list, load_meta, new_damage, note_findings, open_segments, quarantine,
    take_lock, tidy_files,
};
use crate::format::{
    ALIGN, BATCH_HEADER, BatchHeader, DATA_START, FORMAT_VERSION, SegmentHeader, batch_bytes, new_generation,
    seal_batch, segment_capacity,
};
use crate::id::{Position, StoreId};
use crate::install::install;
use crate::keeper::{Keeper, MakeError};
use crate::ledger::Ledger;
use crate::log::Log;
use crate::meta::Meta;
use crate::mover::Mover;
use crate::options::Options;
use crate::pager::Pager;
use crate::record::{put_known_damage, reseal_events};
use crate::recovery::{LogFile, Recovered, Recovery, TailBody, io_error, read_tail_batch, recover};
use crate::report::RecoveryReport;
use crate::scan::TailBatch;
use crate::segments::{Segment, Table};
use crate::sets::{SetBook, missing_sets};
use crate::store::{Checkpoints, Counters, Fullness, Store};
use crate::upgrade::{Upgrade, back_up, backups};

/// Number of the first segment of a store.
const FIRST_SEGMENT: u64 = 1;
/// Becomes a segment on a full disk; left over, it is no whole spare and is removed.
const SHORT_SPARE: &str = "spare-0.new";

impl Store {
    /// As [`Store::open`], on any disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: Options,
        new_id: StoreId,
    ) -> Result<(Store, Recovery), OpenError> {
        #[cfg(feature = "mutants")]
        let disk = crate::mutant::careless(disk);
        let options = options.in_range();
        disk.create_root().map_err(|e| io_error(&*disk, "", "create", e))?;
        let lock = take_lock(&*disk)?;
        let found = look(&*disk, &options, new_id)?;
        Store::settle(disk, options, lock, found)
    }

    /// Makes what was found in a directory durable as a store that goes on.
    pub(crate) fn settle(
        disk: Arc<dyn Disk>,
        options: Options,
        lock: Box<dyn Send + Sync>,
        found: Found,
    ) -> Result<(Store, Recovery), OpenError> {
        let Found { listing, mut meta, files, mut recovered, salvaged, mut report } = found;
        let options = options.for_segments(meta.segment_bytes);
        let table = recovered.ledger.log().table.clone();
        let news = new_damage(&recovered, meta.segment_bytes);
        report.epoch_raised = !news.is_empty();
        meta.recovery_epoch += u64::from(report.epoch_raised);
        meta.start_counter += 1;
        upgrade(&*disk, &listing, &files, &mut meta, &mut report)?;
        keep_damaged_meta(&*disk, &mut report)?;
        meta.write(&*disk)?;
        quarantine(&*disk, &mut report, &recovered, meta.segment_bytes)?;
        let spares = tidy_files(&*disk, &listing, meta.segment_bytes)?;
        let mut opening = Opening {
            disk,
            options,
            meta,
            files,
            table,
            next_index: listing
                .segments
                .last()
                .map_or(FIRST_SEGMENT, |(index, _)| index + 1)
                .max(meta.newest + 1),
            spares,
            lock,
        };
        let cut = recovered.walk.tail.first().map_or(recovered.walk.end, |batch| batch.position);
        let (active, offset) = opening.fresh_segment(cut, &mut recovered, salvaged, &mut report)?;
        opening.cut_old_end(cut, &report)?;
        opening.finish(active, offset, recovered, news, report)
    }
}

/// A directory as it was read.
pub(crate) struct Found {
    pub(crate) listing: Listing,
    pub(crate) meta: Meta,
    pub(crate) files: Vec<LogFile>,
    pub(crate) recovered: Recovered,
    /// What a repair made out of the unproven tail, to be written behind the log.
    pub(crate) salvaged: Vec<TailBody>,
    pub(crate) report: RecoveryReport,
}

/// Reads a directory and decides what it is. Changes nothing.
pub(crate) fn look(disk: &dyn Disk, options: &Options, new_id: StoreId) -> Result<Found, OpenError> {
    let listing = list(disk)?;
    let mut report = RecoveryReport::default();
    let meta = load_meta(disk, &listing, options, new_id, &mut report)?;
    let files = open_segments(disk, &listing, &meta, &mut report)?;
    let ledger = ledger_of(disk, &files, meta.segment_bytes, options);
    let mut recovered = match files.is_empty() {
        true => empty(ledger),
        false => recover(disk, &files, &ledger)?,
    };
    note_findings(disk, &listing, &files, &mut recovered, &mut report);
    Ok(Found { listing, meta, files, recovered, salvaged: Vec::new(), report })
}

/// Makes a backup of a directory of an older format; the version is durable with the metadata.
fn upgrade(
    disk: &dyn Disk,
    listing: &Listing,
    files: &[LogFile],
    meta: &mut Meta,
    report: &mut RecoveryReport,
) -> Result<(), OpenError> {
    if meta.version < FORMAT_VERSION {
        let (from, to) = (meta.version, FORMAT_VERSION);
        let folder = (!files.is_empty()).then(|| back_up(disk, listing, files, from)).transpose()?;
        let backup = folder.map(|folder| disk.root().join(folder));
        report.upgraded = Some(Upgrade { from, to, backup });
        meta.version = to;
    }
    report.backups = backups(disk)?.into_iter().map(|folder| disk.root().join(folder)).collect();
    Ok(())
}

/// An empty ledger over the segments of a directory.
pub(crate) fn ledger_of(disk: &dyn Disk, files: &[LogFile], segment_bytes: u64, options: &Options) -> Ledger {
    let table = Arc::new(Table::default());
    files.iter().for_each(|file| table.insert(Arc::new(file.segment())));
    let log = Log::new(disk.root().to_path_buf(), table, segment_bytes);
    Ledger::new(log, options.mailbox_hot_max)
}

/// An open under way, everything read.
struct Opening {
    disk: Arc<dyn Disk>,
    options: Options,
    meta: Meta,
    files: Vec<LogFile>,
    table: Arc<Table>,
    next_index: u64,
    spares: Vec<String>,
    lock: Box<dyn Send + Sync>,
}

impl Opening {
    /// Makes the fresh segment, with the tail in it. The old log counts until `cut`: the start of
    /// the tail, or its end.
    fn fresh_segment(
        &mut self,
        cut: Position,
        recovered: &mut Recovered,
        salvaged: Vec<TailBody>,
        report: &mut RecoveryReport,
    ) -> Result<(Segment, u64), OpenError> {
        let index = self.next_index;
        let begin = Position::new(index, DATA_START, self.meta.segment_bytes);
        let tail = self.read_tail(recovered)?;
        let preface = self.preface(&tail, recovered)?;
        if !tail.is_empty() {
            let moved = Position(begin.0 + bytes_of(&preface));
            recovered.ledger.relocate(cut, moved);
            for checkpoint in [&mut recovered.checkpoints.0, &mut recovered.checkpoints.1] {
                if *checkpoint >= cut {
                    *checkpoint = Position(checkpoint.0 - cut.0 + moved.0);
                }
            }
        }
        let first = recovered.walk.tail.first();
        let header = SegmentHeader {
            version: self.meta.version,
            store: self.meta.store,
            index,
            generation: new_generation(self.disk.random(), index),
            continues_from: cut,
            first_number: first.map_or(recovered.walk.next_number(), |batch| batch.number),
            chain: first.map_or(recovered.walk.chain(), |batch| batch.chain),
            checkpoint: recovered.checkpoints.0,
            checkpoint_before: recovered.checkpoints.1,
            segment_bytes: self.meta.segment_bytes,
            file_bytes: self.meta.segment_bytes,
        };
        report.batches_rewritten += tail.len() as u64;
        let moved = Position(begin.0 + bytes_of(&preface) + bytes_of(&tail));
        let salvaged = self.take_in(salvaged, moved, recovered)?;
        let payload = self.rewrite(preface.into_iter().chain(tail).chain(salvaged), &header, recovered)?;
        let (spare, file_bytes) = self.take_spare(payload.len() as u64)?;
        let header = SegmentHeader { file_bytes, ..header };
        let segment = install(&*self.disk, &spare, &header, &payload).map_err(|e| stopped(&e))?;
        Ok((segment, DATA_START + payload.len() as u64))
    }

    /// Takes in what was salvaged, the first batch of which will lie at `at`: as much as the segment
    /// has room for.
    fn take_in(
        &self,
        mut salvaged: Vec<TailBody>,
        mut at: Position,
        recovered: &mut Recovered,
    ) -> Result<Vec<TailBody>, OpenError> {
        let end = DATA_START + segment_capacity(self.meta.segment_bytes);
        let mut count = 0;
        for batch in &salvaged {
            let next = Position(at.0 + batch_bytes(batch.body.len()) as u64);
            if next.segment(self.meta.segment_bytes) != at.segment(self.meta.segment_bytes)
                || next.offset(self.meta.segment_bytes) > end
            {
                break;
            }
            let applied = recovered.ledger.apply_body(&batch.body, at);
            applied.map_err(|_| self.unreadable("what was salvaged cannot be read"))?;
            (at, count) = (next, count + 1);
        }
        salvaged.truncate(count);
        Ok(salvaged)
    }

    /// The bodies of the tail's batches.
    fn read_tail(&self, recovered: &Recovered) -> Result<Vec<TailBody>, OpenError> {
        let read = |batch: &TailBatch| {
            let segment = batch.position.segment(self.meta.segment_bytes);
            let file = self.files.last().filter(|file| file.header.index == segment);
            let read = file.map(|file| read_tail_batch(&*self.disk, file, batch.position));
            let read = read.transpose()?.flatten();
            read.ok_or_else(|| self.unreadable("the last batch reads differently each time"))
        };
        recovered.walk.tail.iter().map(read).collect()
    }

    /// What the tail refers to in the segment that it leaves, in two copies: the loss of one batch
    /// must not take the tail's destinations with it.
    fn preface(&self, tail: &[TailBody], recovered: &Recovered) -> Result<Vec<TailBody>, OpenError> {
        let missing = missing_sets(tail.iter().map(|batch| &batch.body[..]), &recovered.sets);
        let missing = missing.map_err(|_| self.unreadable("the last batch holds unknown records"))?;
        let batch = missing.map(|(body, records)| TailBody { body, records, flags: 0 });
        Ok(batch.map_or(Vec::new(), |batch| vec![batch.clone(), batch]))
    }

    /// Batches as they will lie in the segment with `header`. They keep their lengths, so that all
    /// positions in the tail move alike.
    fn rewrite(
        &self,
        batches: impl Iterator<Item = TailBody>,
        header: &SegmentHeader,
        recovered: &mut Recovered,
    ) -> Result<Vec<u8>, OpenError> {
        let begin = Position::new(header.index, DATA_START, self.meta.segment_bytes);
        let salt = header.salt();
        let mut payload = Vec::new();
        let (mut number, mut chain) = (header.first_number, header.chain);
        for TailBody { mut body, records, flags } in batches {
            let position = Position(begin.0 + payload.len() as u64);
            let body_offset = position.offset(self.meta.segment_bytes) + BATCH_HEADER as u64;
            let resealed = reseal_events(&mut body, body_offset, &salt);
            resealed.map_err(|_| self.unreadable("the last batch holds unknown records"))?;
            let mut bytes = vec![0u8; BATCH_HEADER];
            bytes.extend_from_slice(&body);
            // The segment gets its name only once all of this is durable: `install`.
            let header = BatchHeader { position, number, durable_end: position, records, chain, flags };
            chain = seal_batch(&mut bytes, &header, &salt);
            number += 1;
            payload.extend_from_slice(&bytes);
        }
        recovered.walk.go_on(number, chain);
        Ok(payload)
    }

    fn unreadable(&self, what: &str) -> OpenError {
        OpenError::Damaged {
            path: self.files.last().map_or(PathBuf::new(), |file| self.disk.root().join(&file.name)),
            what: what.into(),
        }
    }

    /// A spare and its bytes. On a full disk it is a file with room for the tail alone, so that a
    /// full store can be opened and drained; what comes next goes into another segment.
    fn take_spare(&mut self, payload_bytes: u64) -> Result<(String, u64), OpenError> {
        let whole = self.meta.segment_bytes;
        if let Some(spare) = self.spares.pop() {
            return Ok((spare, whole));
        }
        let limit = self.options.bytes_max.filter(|_| !self.files.is_empty());
        let keeper = Keeper::new(self.disk.clone(), whole, limit, Vec::new());
        keeper.set_log_bytes(self.files.iter().map(|file| file.bytes).sum());
        match keeper.ensure(1) {
            Ok(()) => keeper.take().map(|spare| (spare, whole)),
            Err(MakeError::Failed(cause)) => return Err(stopped(&cause)),
            Err(MakeError::Full(reason)) if self.files.is_empty() => {
                let full = std::io::Error::new(std::io::ErrorKind::StorageFull, reason);
                return Err(io_error(&*self.disk, "", "make a segment in", full));
            }
            Err(MakeError::Full(_)) => {
                let made = self.disk.create(SHORT_SPARE);
                made.map_err(|e| io_error(&*self.disk, SHORT_SPARE, "make", e))?;
                Some((SHORT_SPARE.into(), DATA_START + payload_bytes + ALIGN as u64))
            }
        }
        .ok_or_else(|| self.unreadable("a new segment is not there"))
    }

    /// Cuts the old last segment where the fresh one continues, unless what lies behind could not
    /// be copied aside, or the file has a second name: what lies behind is void all the same.
    fn cut_old_end(&mut self, end: Position, report: &RecoveryReport) -> Result<(), OpenError> {
        let uncopied = report.unproven.as_ref().is_some_and(|tail| tail.copied_to.is_none());
        let segment_bytes = self.meta.segment_bytes;
        // Without a header its first batch is all that tells what the file is.
        let Some(old) = self.files.last_mut().filter(|old| !uncopied && !old.is_inferred) else {
            return Ok(());
        };
        if end.segment(segment_bytes) != old.header.index {
            return Ok(());
        }
        let offset = end.offset(segment_bytes);
        let is_shared = old.file.links().map_err(|e| io_error(&*self.disk, &old.name, "read", e))? > 1;
        if offset < old.bytes && !is_shared {
            let cut = old.file.set_len(offset).and_then(|()| old.file.sync_data());
            cut.map_err(|e| io_error(&*self.disk, &old.name, "cut", e))?;
            old.bytes = offset;
        }
        Ok(())
    }

    fn finish(
        mut self,
        active: Segment,
        offset: u64,
        recovered: Recovered,
        news: Vec<(Position, Position)>,
        report: RecoveryReport,
    ) -> Result<(Store, Recovery), OpenError> {
        self.meta.newest = active.index;
        self.meta.write(&*self.disk)?;
        if let Some(last) = self.files.last() {
            // It may have been cut.
            self.table.insert(Arc::new(last.segment()));
        }
        let mut keeper =
            Keeper::new(self.disk.clone(), self.meta.segment_bytes, self.options.bytes_max, self.spares);
        let started = keeper.start(self.options.housekeeping);
        started.map_err(|e| io_error(&*self.disk, "", "start the housekeeping of", e))?;
        let recovery = Recovery { state: recovered.state, mailboxes: recovered.ledger.index.stats(), report };
        let active_index = active.index;
        let mut store = Store {
            active: Arc::new(active),
            offset,
            next_index: active_index + 1,
            next_number: recovered.walk.next_number(),
            chain: recovered.walk.chain(),
            fullness: Fullness {
                on_reserve: !recovery.report.created && keeper.spares() < self.options.reserve_segments,
                reclaim: true,
                is_full: false,
            },
            checkpoints: Checkpoints {
                last: recovered.checkpoints.0,
                before: recovered.checkpoints.1,
                bytes_since: recovered.bytes_since_checkpoint,
                bytes_between: 0,
                bytes: 0,
            },
            disk: self.disk,
            pager: Pager::default(),
            mover: Mover::default(),
            sets: SetBook::new(self.options.set_bytes_max, recovered.sets.next_number()),
            options: self.options,
            meta: self.meta,
            table: self.table,
            ledger: recovered.ledger,
            keeper,
            stopped: None,
            counters: Counters::default(),
            buffer: Mutex::new(Vec::new()),
            _lock: self.lock,
        };
        store.table.insert(store.active.clone());
        store.keeper.set_log_bytes(store.table.totals().1);
        store.record_damage(&news)?;
        store.tidy();
        Ok((store, recovery))
    }
}

impl Store {
    /// Notes damage in the log, so that the next start does not take it for new.
    fn record_damage(&mut self, news: &[(Position, Position)]) -> Result<(), OpenError> {
        if news.is_empty() {
            return Ok(());
        }
        let mut batch = self.batch();
        for &(from, to) in news {
            batch.own(|out| put_known_damage(out, from, to));
        }
        match self.append(batch, 0) {
            Ok(_) => Ok(()),
            Err(CommitError::Stopped { cause }) => Err(stopped(&cause)),
            Err(other) => Err(OpenError::Io {
                path: self.disk.root().to_path_buf(),
                operation: "note damage in",
                source: std::io::Error::other(other),
            }),
        }
    }
}

/// Bytes that batches take.
fn bytes_of(batches: &[TailBody]) -> u64 {
    batches.iter().map(|batch| batch_bytes(batch.body.len()) as u64).sum()
}

fn stopped(cause: &StopCause) -> OpenError {
    OpenError::Io {
        path: cause.path.clone(),
        operation: cause.operation,
        source: std::io::Error::new(cause.source.kind(), cause.source.to_string()),
    }
}
