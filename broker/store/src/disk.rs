//! The seam to the file system: what the store asks of a directory and of a file.
//!
//! Names are relative to the store's directory; a folder is "" (the directory itself) or
//! "quarantine". A name is durable only after `sync_folder` of its folder, bytes only after
//! `sync_data` of their file. The simulated disk of the tests forgets whatever was not.

use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The lock on the directory was not to be had.
#[derive(Debug)]
pub enum LockRefused {
    /// Somebody holds it.
    InUse {
        /// Their process, 0 when unknown.
        pid: u32,
    },
    /// The file system refused.
    Io(io::Error),
}

/// A directory that holds a store.
pub trait Disk: Send + Sync + 'static {
    /// The directory, for messages.
    fn root(&self) -> &Path;
    /// Makes the directory and those above it, where they are not there; its name is durable then.
    fn create_root(&self) -> io::Result<()>;
    /// Makes a folder in the directory, if it is not there.
    fn create_folder(&self, folder: &str) -> io::Result<()>;
    /// Takes the exclusive lock; it is held until the returned guard is dropped.
    fn lock(&self) -> Result<Box<dyn Send + Sync>, LockRefused>;
    /// Names of the files in a folder; none when there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Makes an empty file, in place of one of that name, whose other names keep theirs.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file a second name, which must not be taken. An error where the file system has no
    /// hard links.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;
    /// Renames a file, in place of one of the new name; or a folder, to a name that is not taken.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// A number that nobody else can foresee (salts of segments).
    fn random(&self) -> u64;
}

/// An open file.
pub trait File: Send + Sync {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the bytes and the length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// How many names the file has. One with more than one is never written over: a backup by hard
    /// links shares it.
    fn links(&self) -> io::Result<u64>;
    /// True when the length is 0.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (by zeroes) the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Reserves space, so that a full disk shows now; may do nothing where that is not supported.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
}

/// A directory of the machine's file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    is_read_only: bool,
}

impl RealDisk {
    /// The disk for `root`, which need not be there yet.
    pub fn new(root: &Path) -> RealDisk {
        RealDisk { root: root.to_path_buf(), is_read_only: false }
    }

    /// The disk for `root`, which is only looked at: everything that would change it is refused, and
    /// the lock is taken without a trace (not at all where no store was ever opened).
    pub fn read_only(root: &Path) -> RealDisk {
        RealDisk { root: root.to_path_buf(), is_read_only: true }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.is_read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// Takes the lock for reading along.
    fn lock_unnamed(&self) -> Result<Box<dyn Send + Sync>, LockRefused> {
        let mut file = match fs::File::open(self.root.join("LOCK")) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Box::new(())),
            Err(e) => return Err(LockRefused::Io(e)),
        };
        take(&mut file)?;
        Ok(Box::new(file))
    }

    fn open_with(&self, name: &str, create: bool) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(!self.is_read_only).create_new(create);
        Ok(Arc::new(RealFile(options.open(self.root.join(name))?)))
    }
}

impl Disk for RealDisk {
    fn root(&self) -> &Path {
        &self.root
    }

    fn create_root(&self) -> io::Result<()> {
        self.check_writable()?;
        if self.root.is_dir() {
            // Whoever made it may have ended before its name was flushed. Where the parent may not be
            // opened it was somebody else, whose business that is.
            let _ = sync_path(parent_of(&self.root));
            return Ok(());
        }
        if self.root.exists() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        let mut missing = Vec::new();
        let mut at = self.root.as_path();
        while !at.as_os_str().is_empty() && !at.exists() {
            missing.push(at);
            match at.parent() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            sync_path(parent_of(path))?;
        }
        Ok(())
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.check_writable()?;
        fs::create_dir_all(self.root.join(folder))
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>, LockRefused> {
        if self.is_read_only {
            return self.lock_unnamed();
        }
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.root.join("LOCK"))
            .map_err(LockRefused::Io)?;
        take(&mut file)?;
        write_pid(&mut file).map_err(LockRefused::Io)?;
        Ok(Box::new(file))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        match self.remove(name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        self.open_with(name, true)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.open_with(name, false)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_writable()?;
        fs::hard_link(self.root.join(from), self.root.join(to))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_writable()?;
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        fs::remove_file(self.root.join(name))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        sync_path(&self.root.join(folder))
    }

    fn random(&self) -> u64 {
        // The standard library seeds each `RandomState` from the operating system.
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_path(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn take(file: &mut fs::File) -> Result<(), LockRefused> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(LockRefused::InUse { pid: holder(file) }),
        Err(fs::TryLockError::Error(e)) => Err(LockRefused::Io(e)),
    }
}

fn holder(file: &mut fs::File) -> u32 {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}

fn write_pid(file: &mut fs::File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn links(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.nlink())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(&self.0, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
