//! What a recovery found, in numbers and paths.

use std::fmt;
use std::path::PathBuf;

use crate::id::Position;
use crate::upgrade::Upgrade;

/// Damage before the durable mark: what was flushed cannot be read. It is copied aside, what is
/// intact around it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRegion {
    /// The segment.
    pub path: PathBuf,
    /// Offset in it.
    pub offset: u64,
    /// Bytes that cannot be read.
    pub bytes: u64,
    /// Batches lost, 0 when that cannot be told.
    pub batches: u64,
    /// The copy, none when there was nothing to copy or no space for it.
    pub copied_to: Option<PathBuf>,
    /// True when an earlier start has reported it already.
    pub is_known: bool,
}

/// What lies beyond the last intact batch and was not proven durable: a write that a crash cut
/// short, or damage to the last flushed batch, which cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnprovenTail {
    /// The segment.
    pub path: PathBuf,
    /// Offset in it.
    pub offset: u64,
    /// Bytes that were cut off.
    pub bytes: u64,
    /// The copy, none when there was no space for it.
    pub copied_to: Option<PathBuf>,
}

/// What the store did when it was opened; [`fmt::Display`] tells it to people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The store was made by this open.
    pub created: bool,
    /// Segments in the directory, and how many of them were read.
    pub segments: u64,
    /// Segments read to rebuild the state.
    pub segments_read: u64,
    /// The checkpoint from which the state was rebuilt.
    pub checkpoint: Option<Position>,
    /// A younger checkpoint was damaged, so that an older one was taken.
    pub checkpoint_fell_back: bool,
    /// Intact batches read.
    pub batches: u64,
    /// Of those, how many lay beyond the durable mark and were written anew.
    pub batches_rewritten: u64,
    /// Damage to what was flushed.
    pub damaged: Vec<DamagedRegion>,
    /// What was cut off at the end.
    pub unproven: Option<UnprovenTail>,
    /// Files named like segments whose headers are damaged beyond use; they were left alone.
    pub unusable_segments: Vec<PathBuf>,
    /// Segment headers of which one copy or both were damaged but could be made out.
    pub headers_repaired: Vec<PathBuf>,
    /// Segments that are not there although entries point into them, and how many entries do.
    pub missing_segments: Vec<(PathBuf, u64)>,
    /// Files shorter than they were made.
    pub short_segments: Vec<PathBuf>,
    /// Copies of the metadata that were damaged and have been written anew.
    pub meta_repaired: Vec<PathBuf>,
    /// Entries that did not fit their mailbox (only damage brings that about).
    pub entries_misfit: u64,
    /// Events whose destinations stood in batches that are all damaged.
    pub events_unresolved: u64,
    /// The recovery epoch was raised because of the damage.
    pub epoch_raised: bool,
    /// The directory had an older format version.
    pub upgraded: Option<Upgrade>,
    /// Backups that this or an earlier upgrade made; they stay until a person removes them.
    pub backups: Vec<PathBuf>,
}

impl RecoveryReport {
    /// True when all that was ever flushed is there.
    pub fn is_undamaged(&self) -> bool {
        self.damaged.is_empty()
            && self.unusable_segments.is_empty()
            && self.missing_segments.is_empty()
            && self.short_segments.is_empty()
            && self.headers_repaired.is_empty()
            && self.meta_repaired.is_empty()
            && self.entries_misfit == 0
            && self.events_unresolved == 0
            && !self.checkpoint_fell_back
    }

    /// True when there is nothing that a person should be told.
    pub fn is_clean(&self) -> bool {
        self.is_undamaged() && self.unproven.is_none()
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.created {
            return write!(f, "a new store was made");
        }
        write!(f, "read {} batches from {} of {} segments", self.batches, self.segments_read, self.segments)?;
        if let Some(checkpoint) = self.checkpoint {
            write!(f, ", from the checkpoint at {checkpoint}")?;
        }
        if self.checkpoint_fell_back {
            write!(f, " (a younger checkpoint is damaged)")?;
        }
        for region in &self.damaged {
            write_damage(f, region)?;
        }
        if let Some(tail) = &self.unproven {
            write_tail(f, tail)?;
        }
        for path in &self.unusable_segments {
            write!(f, "; DAMAGE: {} has no readable header and was left alone", path.display())?;
        }
        for (path, entries) in &self.missing_segments {
            write!(f, "; DAMAGE: {} is missing, {entries} entries point into it", path.display())?;
        }
        for path in &self.short_segments {
            write!(f, "; DAMAGE: {} is shorter than it was made", path.display())?;
        }
        for path in self.headers_repaired.iter().chain(&self.meta_repaired) {
            write!(f, "; {}: a damaged copy was found, an intact one was used", path.display())?;
        }
        if self.entries_misfit > 0 {
            write!(f, "; {} entries did not fit their mailbox", self.entries_misfit)?;
        }
        if self.events_unresolved > 0 {
            write!(f, "; DAMAGE: the destinations of {} events cannot be read", self.events_unresolved)?;
        }
        if self.epoch_raised {
            write!(f, "; the recovery epoch was raised")?;
        }
        match &self.upgraded {
            Some(upgrade) => write!(f, "; {upgrade}")?,
            None if self.backups.is_empty() => {}
            None => write!(f, "; the backup of an upgrade lies in {}", list_paths(&self.backups))?,
        }
        Ok(())
    }
}

fn list_paths(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

fn write_damage(f: &mut fmt::Formatter<'_>, region: &DamagedRegion) -> fmt::Result {
    let known = if region.is_known { ", as reported before" } else { "" };
    write!(
        f,
        "; DAMAGE: {} bytes at offset {} of {} ({} batches) cannot be read{known}",
        region.bytes,
        region.offset,
        region.path.display(),
        region.batches
    )?;
    match &region.copied_to {
        Some(path) => write!(f, ", copied to {}", path.display()),
        None => Ok(()),
    }
}

fn write_tail(f: &mut fmt::Formatter<'_>, tail: &UnprovenTail) -> fmt::Result {
    write!(
        f,
        "; {} bytes at offset {} of {} were not proven durable and were cut off",
        tail.bytes,
        tail.offset,
        tail.path.display()
    )?;
    match &tail.copied_to {
        Some(path) => write!(f, ", copied to {}", path.display()),
        None => write!(f, ", not copied for lack of space"),
    }
}
