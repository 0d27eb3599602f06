//! Deliberate mistakes, each of which tests must notice (`tests/mutants`).
//!
//! Here only with the feature `mutants`, which no ordinary build has; `FANAL_MUTANT` then names the one
//! that is made. Those of flushes and names are a disk between the store and the real one, so that
//! the store's own source is the same; the others are made where [`is`] is asked.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::disk::{Disk, File, LockRefused};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Batches are written and never flushed.
    SkipFlush,
    /// A batch is flushed when the next one comes, and called durable before.
    AckBeforeFlush,
    /// Receipts go out before their batch is written.
    AckBeforeCommit,
    /// Names are changed and never flushed.
    SkipFolderFlush,
    /// A segment gets its name before its header is flushed.
    NameBeforeData,
    /// What a publisher has sent, and who has subscribed, is flushed before the event that it speaks of.
    StateBeforeRecord,
    /// Segments are taken back for a checkpoint that is not yet written.
    ReclaimBeforeCheckpoint,
    /// Checksums of bodies are not compared.
    IgnoreChecksum,
}

const NAMES: [(&str, Mutant); 8] = [
    ("skip-flush", Mutant::SkipFlush),
    ("ack-before-flush", Mutant::AckBeforeFlush),
    ("ack-before-commit", Mutant::AckBeforeCommit),
    ("skip-folder-flush", Mutant::SkipFolderFlush),
    ("name-before-data", Mutant::NameBeforeData),
    ("state-before-record", Mutant::StateBeforeRecord),
    ("reclaim-before-checkpoint", Mutant::ReclaimBeforeCheckpoint),
    ("ignore-checksum", Mutant::IgnoreChecksum),
];

/// Whether this mistake is to be made; `none` names none.
///
/// # Panics
/// When `FANAL_MUTANT` holds another name: a misspelt mistake must not count as noticed.
pub fn is(mutant: Mutant) -> bool {
    static CHOSEN: OnceLock<Option<Mutant>> = OnceLock::new();
    *CHOSEN.get_or_init(chosen) == Some(mutant)
}

/// The checksum that what is there is compared with: its own, where checksums are to be ignored.
pub(crate) fn checksum(found: u32, expected: u32) -> u32 {
    if is(Mutant::IgnoreChecksum) { found } else { expected }
}

fn chosen() -> Option<Mutant> {
    let name = std::env::var("FANAL_MUTANT").ok().filter(|name| name != "none")?;
    let found = NAMES.iter().find(|(known, _)| *known == name);
    assert!(found.is_some(), "no such mutant: {name}");
    found.map(|(_, mutant)| *mutant)
}

/// The disk, with the mistake that is to be made of it.
pub(crate) fn careless(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
    Arc::new(CarelessDisk { disk, postponed: Arc::default() })
}

/// Files to be flushed once their names are.
type Postponed = Arc<Mutex<Vec<Arc<dyn File>>>>;

struct CarelessDisk {
    disk: Arc<dyn Disk>,
    postponed: Postponed,
}

impl CarelessDisk {
    fn wrap(&self, file: Arc<dyn File>, is_spare: bool) -> Arc<dyn File> {
        let is_postponed = is_spare && is(Mutant::NameBeforeData);
        Arc::new(CarelessFile {
            file,
            flushes: AtomicU64::new(0),
            is_late: AtomicBool::new(false),
            postponed: is_postponed.then(|| self.postponed.clone()),
        })
    }
}

impl Disk for CarelessDisk {
    fn root(&self) -> &Path {
        self.disk.root()
    }

    fn create_root(&self) -> io::Result<()> {
        self.disk.create_root()
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.create_folder(folder)
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>, LockRefused> {
        self.disk.lock()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.disk.create(name)?, false))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.disk.open(name)?, name.starts_with("spare-")))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.link(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        if is(Mutant::SkipFolderFlush) {
            return Ok(());
        }
        self.disk.sync_folder(folder)?;
        let postponed = std::mem::take(&mut *self.postponed.lock().unwrap_or_else(PoisonError::into_inner));
        postponed.iter().try_for_each(|file| file.sync_data())
    }

    fn random(&self) -> u64 {
        self.disk.random()
    }
}

struct CarelessFile {
    file: Arc<dyn File>,
    /// The first flush is that of a new file, the others are those of batches.
    flushes: AtomicU64,
    /// A flush is still owed.
    is_late: AtomicBool,
    postponed: Option<Postponed>,
}

impl CarelessFile {
    fn pay(&self) -> io::Result<()> {
        if self.is_late.swap(false, Ordering::Relaxed) { self.file.sync_data() } else { Ok(()) }
    }
}

impl File for CarelessFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.pay()?;
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let is_first = self.flushes.fetch_add(1, Ordering::Relaxed) == 0;
        match &self.postponed {
            Some(postponed) if is_first => {
                postponed.lock().unwrap_or_else(PoisonError::into_inner).push(self.file.clone());
                Ok(())
            }
            _ if !is_first && is(Mutant::SkipFlush) => Ok(()),
            _ if !is_first && is(Mutant::AckBeforeFlush) => {
                self.is_late.store(true, Ordering::Relaxed);
                Ok(())
            }
            _ => self.file.sync_data(),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn links(&self) -> io::Result<u64> {
        self.file.links()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }
}
