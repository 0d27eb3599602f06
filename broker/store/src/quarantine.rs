//! Copying aside what recovery will not keep, before anything is cut off.
//!
//! A full disk is no reason not to start: then the copy is left out, and so is the cut.

use std::io;
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
    let target = disk.create(copy)?;
    let mut buffer = vec![0u8; CHUNK.min((to - from) as usize)];
    let mut done = 0;
    while from + done < to {
        let wanted = buffer.len().min((to - from - done) as usize);
        let got = source.read_at(&mut buffer[..wanted], from + done)?;
        if got == 0 {
            break;
        }
        target.write_at(&buffer[..got], done)?;
        done += got as u64;
    }
    target.sync_data()?;
    disk.sync_folder(FOLDER)?;
    Ok(done)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
