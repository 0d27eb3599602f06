//! Making a directory that opens out of one that does not, and raising the recovery epoch of one
//! that was put back.
//!
//! What is intact is kept where it lies. A fresh segment gets a checkpoint of all that was made out,
//! so that a start needs nothing that is damaged, and no mailbox waits for what nobody can read.
//!
//! Invariants:
//! 1. Nothing is deleted: what cannot be read is moved to the quarantine, or copied there where it
//!    lies between what can.
//! 2. A repair that a crash ends leaves a directory on which it can be run again: until the
//!    checkpoint is complete a start refuses as before, or does what it would have done before.
//! 3. The recovery epoch afterwards is above the one before and above `epoch_min`. Who passes the
//!    time for that never gets a number twice, although a backup may be put back any number of times.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check::{Checkup, assemble, drop_unreadable};
use crate::disk::{Disk, RealDisk};
use crate::error::{CommitError, OpenError};
use crate::findings::{list, take_lock};
use crate::format::FORMAT_VERSION;
use crate::id::Position;
use crate::meta::{Loaded, META_NAMES, Meta, MetaCopy, load};
use crate::open::{Found, look};
use crate::options::{Housekeeping, Options};
use crate::recovery::{Recovered, TailBody, io_error, last_two};
use crate::report::RecoveryReport;
use crate::salvage::lift;
use crate::store::Store;
use crate::survey::{Survey, Watch, survey};
use crate::upgrade::back_up;

/// Where unusable files go.
const QUARANTINE: &str = "quarantine";

/// What a repair did.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What was there before.
    pub before: Checkup,
    /// The recovery epoch from now on.
    pub recovery_epoch: u64,
    /// Files that were moved, and where to.
    pub moved: Vec<(PathBuf, PathBuf)>,
    /// Copies of damaged bytes.
    pub copied: Vec<PathBuf>,
    /// The backup that an upgrade of the format made.
    pub backup: Option<PathBuf>,
}

/// The recovery epoch was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// What it was.
    pub before: u64,
    /// What it is.
    pub after: u64,
}

/// Repairs the store in `dir`; `epoch_min` is the least recovery epoch that it gets.
///
/// # Errors
/// [`OpenError`]: nothing was changed, or the disk failed on the way and the repair can be run again.
pub fn repair(dir: &Path, epoch_min: u64, watch: Watch<'_>) -> Result<Repaired, OpenError> {
    repair_on(Arc::new(RealDisk::new(dir)), epoch_min, watch)
}

/// As [`repair`], on any disk.
///
/// # Errors
/// As [`repair`].
pub fn repair_on(disk: Arc<dyn Disk>, epoch_min: u64, watch: Watch<'_>) -> Result<Repaired, OpenError> {
    let lock = take_lock(&*disk)?;
    let mut read = survey(&disk, watch)?;
    let before = assemble(&disk, &read)?;
    let meta = new_meta(&*disk, &read, epoch_min)?;
    let segments = &read.segments;
    if meta.version < FORMAT_VERSION && !segments.files.is_empty() {
        // Before anything is moved; the upgrade itself comes with the first write, and finds this one.
        back_up(&*disk, &segments.listing, &segments.files, meta.version)?;
    }
    let moved = move_unusable(&*disk, &read)?;
    drop_unreadable(&mut read);
    let salvaged = lift_tail(&mut read, meta.segment_bytes);
    let found = Found { salvaged, ..found(&*disk, read, meta) };
    let options = Options { housekeeping: Housekeeping::Inline, ..Options::default() };
    let (mut store, recovery) = Store::settle(disk.clone(), options.clone(), lock, found)?;
    let written = store.checkpoint(&mut recovery.state.into_iter());
    written.map_err(|error| not_written(&*disk, error))?;
    // What a start will find, by the code of the start.
    let after = look(&*disk, &options, store.id()).or_else(|_| {
        // The checkpoint does not begin in the last segment, whose head names what was before.
        store.go_on_elsewhere().map_err(|error| not_written(&*disk, error))?;
        look(&*disk, &options, store.id())
    })?;
    let report = recovery.report;
    let copies = report.damaged.into_iter().filter_map(|region| region.copied_to);
    let tail = report.unproven.and_then(|tail| tail.copied_to);
    Ok(Repaired {
        before,
        recovery_epoch: after.meta.recovery_epoch,
        moved,
        copied: copies.chain(tail).collect(),
        backup: report.upgraded.and_then(|upgrade| upgrade.backup),
    })
}

/// Raises the recovery epoch of a store that is as it was at an earlier time, to `epoch_min` at
/// least; changes nothing else.
///
/// # Errors
/// [`OpenError`], where it was not raised: neither copy of the metadata can be read, the directory is
/// in use, or the disk failed.
pub fn raise_epoch(dir: &Path, epoch_min: u64) -> Result<Raised, OpenError> {
    raise_epoch_on(&RealDisk::new(dir), epoch_min)
}

/// As [`raise_epoch`], on any disk.
///
/// # Errors
/// As [`raise_epoch`].
pub fn raise_epoch_on(disk: &dyn Disk, epoch_min: u64) -> Result<Raised, OpenError> {
    let listing = list(disk)?;
    let Loaded::Found(..) = load(disk, &listing.names)? else {
        return Err(nothing_to_go_by(disk, "there are no metadata (meta.a, meta.b)"));
    };
    // Only now: a directory that holds no store gets no lock file either.
    let _lock = take_lock(disk)?;
    match load(disk, &list(disk)?.names)? {
        Loaded::Found(mut meta, _) => {
            let before = meta.recovery_epoch;
            meta.recovery_epoch = epoch_min.max(before + 1);
            meta.write(disk)?;
            Ok(Raised { before, after: meta.recovery_epoch })
        }
        Loaded::Missing => Err(nothing_to_go_by(disk, "its metadata went away meanwhile")),
    }
}

fn nothing_to_go_by(disk: &dyn Disk, what: &str) -> OpenError {
    OpenError::Damaged { path: disk.root().to_path_buf(), what: what.into() }
}

/// The metadata as they are, or as the segments give them; the epoch raised.
fn new_meta(disk: &dyn Disk, read: &Survey, epoch_min: u64) -> Result<Meta, OpenError> {
    if let Some(version) = read.segments.copies.iter().find_map(unknown_version)
        && read.segments.meta().is_none()
    {
        let path = disk.root().join(META_NAMES[0]);
        return Err(OpenError::UnknownFormat { path, version, known: FORMAT_VERSION });
    }
    // Of the oldest segment: a backup too many is no loss.
    let version = read.segments.files.iter().map(|file| file.header.version).min();
    let newest = read.segments.listing.segments.last().map_or(0, |(index, _)| *index);
    let lost = |(store, segment_bytes)| Meta {
        version: version.unwrap_or(FORMAT_VERSION),
        store,
        serial: 0,
        segment_bytes,
        recovery_epoch: 0,
        start_counter: 0,
        newest,
    };
    let meta = read.segments.meta().or_else(|| read.segments.identity.map(lost));
    let meta = meta.ok_or_else(|| {
        nothing_to_go_by(
            disk,
            "neither its metadata nor any header of a segment can be read, so that nothing tells what it was",
        )
    })?;
    Ok(Meta { recovery_epoch: epoch_min.max(meta.recovery_epoch + 1), ..meta })
}

fn unknown_version(copy: &MetaCopy) -> Option<u32> {
    match copy {
        MetaCopy::UnknownVersion(version) => Some(*version),
        _ => None,
    }
}

fn move_unusable(disk: &dyn Disk, read: &Survey) -> Result<Vec<(PathBuf, PathBuf)>, OpenError> {
    let mut moved = Vec::new();
    for file in &read.segments.unusable {
        let run = || {
            disk.create_folder(QUARANTINE)?;
            disk.sync_folder("")?;
            let to = free_name(&disk.list(QUARANTINE)?, &file.name);
            disk.rename(&file.name, &to)?;
            disk.sync_folder(QUARANTINE)?;
            disk.sync_folder("")?;
            Ok(to)
        };
        let to = run().map_err(|e| io_error(disk, &file.name, "move to the quarantine", e))?;
        moved.push((disk.root().join(&file.name), disk.root().join(to)));
    }
    Ok(moved)
}

/// A name in the quarantine that is not taken.
fn free_name(taken: &[String], name: &str) -> String {
    let mut free = format!("{name}.unusable");
    let mut number = 1;
    while taken.contains(&free) {
        number += 1;
        free = format!("{name}.unusable-{number}");
    }
    format!("{QUARANTINE}/{free}")
}

/// What was made out of the unproven tail, to be written again: the tail itself is cut off.
fn lift_tail(read: &mut Survey, segment_bytes: u64) -> Vec<TailBody> {
    let Some(tail) = read.walk.unproven else {
        return Vec::new();
    };
    let at = |offset| Position::new(tail.segment, offset, segment_bytes);
    lift(&mut read.reading.replay.ledger, &read.reading.salvage, at(tail.from)..at(tail.to))
}

/// The survey as a start would have found it.
fn found(disk: &dyn Disk, read: Survey, meta: Meta) -> Found {
    let newest = read.segments.files.iter().rev().find(|file| !file.is_inferred);
    let none = (Position(0), Position(0));
    let hints = newest.map_or(none, |file| (file.header.checkpoint, file.header.checkpoint_before));
    let damaged =
        META_NAMES.iter().zip(&read.segments.copies).filter(|(_, copy)| **copy == MetaCopy::Damaged);
    let report = RecoveryReport {
        meta_repaired: damaged.map(|(name, _)| disk.root().join(name)).collect(),
        ..RecoveryReport::default()
    };
    let replay = read.reading.replay;
    Found {
        listing: read.segments.listing,
        meta,
        recovered: Recovered {
            checkpoints: last_two(&replay.complete, hints),
            ledger: replay.ledger,
            state: replay.state,
            sets: replay.scratch.sets,
            walk: read.walk,
            known_damage: replay.known_damage,
            bytes_since_checkpoint: replay.bytes_since_checkpoint,
            segments_read: read.segments.files.len() as u64,
            started_at: None,
            fell_back: false,
        },
        files: read.segments.files,
        salvaged: Vec::new(),
        report,
    }
}

fn not_written(disk: &dyn Disk, error: CommitError) -> OpenError {
    OpenError::Io {
        path: disk.root().to_path_buf(),
        operation: "write a checkpoint in",
        source: std::io::Error::other(error),
    }
}
