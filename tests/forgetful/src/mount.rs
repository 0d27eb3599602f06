//! The disk as a directory.

use std::io;
use std::path::{Path, PathBuf};

use fuser::{BackgroundSession, Config, MountOption};
use rustix::mount::{UnmountFlags, unmount};

use crate::fuse::Answers;
use crate::medium::Disk;

/// Threads that answer: a reader need not wait for who flushes.
const THREADS: usize = 2;

/// A disk that is mounted, until this is dropped. Processes that still have files open then keep
/// them and get errors.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    _session: BackgroundSession,
}

impl Mount {
    /// Shows `disk` in the directory `path`, which must exist. Needs `/dev/fuse` and the right to mount.
    ///
    /// # Errors
    /// What the system says, where it does not allow that.
    pub fn new(disk: &Disk, path: &Path) -> io::Result<Mount> {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("forgetful".into()),
            MountOption::Subtype("forgetful".into()),
            MountOption::NoAtime,
            MountOption::NoExec,
        ];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(Answers::new(disk.clone()), path, &config)?;
        Ok(Mount { path: path.to_owned(), _session: session })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // At once, though somebody may still hold a file; the session would wait for that.
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {error}", self.path.display());
        }
    }
}
