//! Copying aside what recovery will not keep, before anything is cut off.
//!
//! A full disk is no reason not to start: then the copy is left out, and so is the cut.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::disk::Disk;
use crate::error::OpenError;

const FOLDER: &str = "quarantine";
const CHUNK: usize = 1 << 20;

/// Copies bytes `from..to` of a file to the quarantine, durably; fewer where the file is shorter.
/// None when there is nothing to copy or the disk is full. Doing it again overwrites the copy.
pub(crate) fn copy_aside(
    disk: &dyn Disk,
    name: &str,
    from: u64,
    to: u64,
    kind: &str,
) -> Result<Option<PathBuf>, OpenError> {
    let copy = format!("{FOLDER}/{name}.{from}.{kind}");
    match copy_bytes(disk, name, from, to, &copy) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(disk.root().join(copy))),
        Err(e) if is_full(&e) => Ok(None),
        Err(source) => Err(OpenError::Io { path: disk.root().join(copy), operation: "write", source }),
    }
}

fn copy_bytes(disk: &dyn Disk, name: &str, from: u64, to: u64, copy: &str) -> io::Result<u64> {
    let source = disk.open(name)?;
    if from >= source.len()? {
        return Ok(0);
    }
    disk.create_folder(FOLDER)?;
    disk.sync_folder("")?;
    let done = copy_range(disk, name, from..to, copy)?;
    disk.sync_folder(FOLDER)?;
    Ok(done)
}

/// Copies a range of a file, as much of it as is there, into a new file and flushes that; not its
/// folder. How many bytes there were.
pub(crate) fn copy_range(disk: &dyn Disk, name: &str, range: Range<u64>, copy: &str) -> io::Result<u64> {
    let source = disk.open(name)?;
    let end = range.end.min(source.len()?);
    let target = disk.create(copy)?;
    let mut buffer = vec![0u8; CHUNK.min(end.saturating_sub(range.start) as usize)];
    let mut at = range.start;
    while at < end {
        let wanted = buffer.len().min((end - at) as usize);
        let got = source.read_at(&mut buffer[..wanted], at)?;
        if got == 0 {
            break;
        }
        target.write_at(&buffer[..got], at - range.start)?;
        at += got as u64;
    }
    target.sync_data()?;
    Ok(at - range.start)
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
