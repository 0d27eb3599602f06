//! A disk some of whose sectors cannot be read, as one that gives zeroes there.
//!
//! For tools that keep what there is: zeroes where something was written match no checksum, so that
//! they are told as damage like any other. The writer and a start never read this way: what a disk
//! does not give today it may give tomorrow.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, File, LockRefused};

/// Where a read is refused, it is tried again in pieces of this size.
const PIECE: usize = 4096;

/// What was read where it could be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Got {
    /// Bytes; fewer than wanted only at the end of the file.
    pub(crate) bytes: usize,
    /// How many of them the disk did not give: zeroes stand there.
    pub(crate) zeroes: usize,
}

/// Reads the bytes of a file; zeroes where the disk does not give them.
pub(crate) fn read_what_can_be(file: &dyn File, buffer: &mut [u8], offset: u64) -> Got {
    if let Ok(bytes) = file.read_at(buffer, offset) {
        return Got { bytes, zeroes: 0 };
    }
    let mut got = Got::default();
    while got.bytes < buffer.len() {
        let here = offset + got.bytes as u64;
        let piece = PIECE - (here % PIECE as u64) as usize;
        let end = buffer.len().min(got.bytes + piece);
        let part = &mut buffer[got.bytes..end];
        let wanted = part.len();
        let bytes = file.read_at(part, here).unwrap_or_else(|_| {
            part.fill(0);
            got.zeroes += wanted;
            wanted
        });
        got.bytes += bytes;
        if bytes < wanted {
            break;
        }
    }
    got
}

/// See the module. Everything but reading is done by the disk itself.
pub(crate) struct Patient(Arc<dyn Disk>);

impl Patient {
    pub(crate) fn over(disk: &Arc<dyn Disk>) -> Patient {
        Patient(disk.clone())
    }
}

struct PatientFile(Arc<dyn File>);

impl Disk for Patient {
    fn root(&self) -> &Path {
        self.0.root()
    }

    fn create_root(&self) -> io::Result<()> {
        self.0.create_root()
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.0.create_folder(folder)
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>, LockRefused> {
        self.0.lock()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(PatientFile(self.0.open(name)?)))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.link(from, to)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.0.sync_folder(folder)
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

impl File for PatientFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(read_what_can_be(&*self.0, buffer, offset).bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn links(&self) -> io::Result<u64> {
        self.0.links()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.0.allocate(bytes)
    }
}
