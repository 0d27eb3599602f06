//! Copying aside what recovery will not keep, before anything is cut off.
//!
//! A full disk is no reason not to start: then the copy is left out, and so is the cut.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::patient::{Got, read_what_can_be};

const FOLDER: &str = "quarantine";
/// Ends the name of a copy in which zeroes stand for what the disk did not give.
const WITH_ZEROES: &str = ".with-zeroes";
const CHUNK: usize = 1 << 20;

/// Copies bytes `from..to` of a file to the quarantine, durably; fewer where the file is shorter.
/// None when there is nothing to copy or the disk is full. Doing it again overwrites the copy. Where
/// the disk does not give all bytes, zeroes stand for them, and the name of the copy says so.
pub(crate) fn copy_aside(
    disk: &dyn Disk,
    name: &str,
    from: u64,
    to: u64,
    kind: &str,
) -> Result<Option<PathBuf>, OpenError> {
    let copy = format!("{FOLDER}/{name}.{from}.{kind}");
    match copy_bytes(disk, name, from, to, &copy) {
        Ok(copied) => Ok(copied.map(|copy| disk.root().join(copy))),
        Err(e) if is_full(&e) => Ok(None),
        Err(source) => Err(OpenError::Io { path: disk.root().join(copy), operation: "write", source }),
    }
}

fn copy_bytes(disk: &dyn Disk, name: &str, from: u64, to: u64, copy: &str) -> io::Result<Option<String>> {
    let source = disk.open(name)?;
    if from >= source.len()? {
        return Ok(None);
    }
    disk.create_folder(FOLDER)?;
    disk.sync_folder("")?;
    let done = copy_range(disk, name, from..to, copy)?;
    let mut copy = copy.to_owned();
    if done.zeroes > 0 {
        let told = format!("{copy}{WITH_ZEROES}");
        disk.rename(&copy, &told)?;
        copy = told;
    }
    disk.sync_folder(FOLDER)?;
    Ok((done.bytes > 0).then_some(copy))
}

/// Copies a range of a file, as much of it as is there, into a new file and flushes that; not its
/// folder. How many bytes there were, and for how many of them zeroes stand.
pub(crate) fn copy_range(disk: &dyn Disk, name: &str, range: Range<u64>, copy: &str) -> io::Result<Got> {
    let source = disk.open(name)?;
    let end = range.end.min(source.len()?);
    let target = disk.create(copy)?;
    let mut buffer = vec![0u8; CHUNK.min(end.saturating_sub(range.start) as usize)];
    let mut at = range.start;
    let mut zeroes = 0;
    while at < end {
        let wanted = buffer.len().min((end - at) as usize);
        let got = read_what_can_be(&*source, &mut buffer[..wanted], at);
        if got.bytes == 0 {
            break;
        }
        target.write_at(&buffer[..got.bytes], at - range.start)?;
        at += got.bytes as u64;
        zeroes += got.zeroes;
    }
    target.sync_data()?;
    Ok(Got { bytes: (at - range.start) as usize, zeroes })
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
