//! Bringing a directory of an older format version to this one.
//!
//! What was there is kept first, as a store that the older program opens: segments by a second name,
//! metadata and the last segment (which an open cuts) as copies. Segments keep the version that they
//! were begun with; only the metadata and new segments say the new one.
//!
//! Invariants:
//! 1. Nothing in the directory is changed before the backup is durable. It is made in a folder of
//!    another name, which is no backup yet and is made anew after a crash.
//! 2. A backup is never changed and never removed; another one gets another folder.
//! 3. A file that a backup shares with the directory is never written over (`File::links`).

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::findings::Listing;
use crate::format::{FORMAT_VERSION, FORMAT_VERSION_OLDEST};
use crate::meta::{META_NAMES, read_all};
use crate::quarantine::copy_range;
use crate::recovery::{LogFile, io_error};

/// What an open did to a directory of an older format version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The version that was found.
    pub from: u32,
    /// The version that the directory has now.
    pub to: u32,
    /// Where everything lies as it was; none when there was nothing yet.
    pub backup: Option<PathBuf>,
}

impl fmt::Display for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the format was upgraded from version {} to {}", self.from, self.to)?;
        match &self.backup {
            Some(path) => write!(
                f,
                "; {} holds the store as it was: to go back, copy it elsewhere and start the older program on the copy; remove it when it is no longer needed",
                path.display()
            ),
            None => Ok(()),
        }
    }
}

/// The backups in a directory, by folder.
pub(crate) fn backups(disk: &dyn Disk) -> Result<Vec<String>, OpenError> {
    let mut found = Vec::new();
    for version in FORMAT_VERSION_OLDEST..FORMAT_VERSION {
        let mut number = 1;
        while !list(disk, &folder_name(version, number))?.is_empty() {
            found.push(folder_name(version, number));
            number += 1;
        }
    }
    Ok(found)
}

/// Keeps a directory of version `from` as it is; its folder. Changes nothing else. A backup of
/// this very state, left by an open that a crash ended, is taken as it is.
pub(crate) fn back_up(
    disk: &dyn Disk,
    listing: &Listing,
    files: &[LogFile],
    from: u32,
) -> Result<String, OpenError> {
    let mut number = 1;
    loop {
        let folder = folder_name(from, number);
        let there = list(disk, &folder)?;
        if there.is_empty() {
            make(disk, listing, files, &folder).map_err(|e| io_error(disk, &folder, "back up to", e))?;
            return Ok(folder);
        }
        if is_backup_of(disk, listing, &folder, &there)? {
            // Its name may be all that the crash left unflushed.
            disk.sync_folder("").map_err(|e| io_error(disk, "", "flush", e))?;
            return Ok(folder);
        }
        number += 1;
    }
}

/// `backup-v1`, `backup-v1-2`, and so on.
fn folder_name(version: u32, number: u32) -> String {
    match number {
        1 => format!("backup-v{version}"),
        _ => format!("backup-v{version}-{number}"),
    }
}

fn list(disk: &dyn Disk, folder: &str) -> Result<Vec<String>, OpenError> {
    disk.list(folder).map_err(|e| io_error(disk, folder, "list", e))
}

/// Each open raises the serial in the metadata before it changes anything: equal metadata mean an
/// equal directory.
fn is_backup_of(
    disk: &dyn Disk,
    listing: &Listing,
    folder: &str,
    there: &[String],
) -> Result<bool, OpenError> {
    for name in META_NAMES {
        let (here, kept) = (listing.has(name), there.iter().any(|kept| kept == name));
        if here != kept {
            return Ok(false);
        }
        if here && read_all(disk, name)? != read_all(disk, &format!("{folder}/{name}"))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn make(disk: &dyn Disk, listing: &Listing, files: &[LogFile], folder: &str) -> io::Result<()> {
    let partial = format!("{folder}.partial");
    disk.create_folder(&partial)?;
    disk.sync_folder("")?;
    for name in disk.list(&partial)? {
        disk.remove(&format!("{partial}/{name}"))?;
    }
    let last = files.last().map(|file| &file.name);
    for (_, name) in &listing.segments {
        keep(disk, name, &format!("{partial}/{name}"), Some(name) == last)?;
    }
    for name in META_NAMES.into_iter().filter(|name| listing.has(name)) {
        copy(disk, name, &format!("{partial}/{name}"))?;
    }
    disk.sync_folder(&partial)?;
    disk.rename(&partial, folder)?;
    disk.sync_folder("")
}

/// Keeps a segment: by a second name where that is possible, as a copy where it is about to be cut.
/// Where it cannot be copied (the disk is full, or does not give it) that one gets a second name too,
/// and is not cut then.
fn keep(disk: &dyn Disk, name: &str, kept: &str, is_cut: bool) -> io::Result<()> {
    if is_cut {
        return copy(disk, name, kept).or_else(|why| {
            // A disk that is full to the last byte made no copy.
            match disk.remove(kept) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            disk.link(name, kept).map_err(|_| why)
        });
    }
    disk.link(name, kept).or_else(|_| copy(disk, name, kept))
}

fn copy(disk: &dyn Disk, name: &str, kept: &str) -> io::Result<()> {
    match copy_range(disk, name, 0..u64::MAX, kept)?.zeroes {
        0 => Ok(()),
        zeroes => Err(io::Error::other(format!("the disk does not give {zeroes} bytes of {name}"))),
    }
}
