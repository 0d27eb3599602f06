//! Ground that forgets: a directory on a file system of `fanal-forgetful`, for brokers whose power
//! is cut. Where the system does not let it be mounted the test says that it is skipped; under `CI`
//! it fails.

use std::path::{Path, PathBuf};

use fanal_forgetful::{Disk, Loss, Mount};

use crate::tool::say_skipped;

/// See the module.
pub struct Ground {
    /// What it stands on.
    pub disk: Disk,
    mount: Option<Mount>,
    dir: tempfile::TempDir,
}

impl Ground {
    /// An empty one; `None` when `test` is to return, which was said.
    ///
    /// # Panics
    /// When it cannot be mounted under `CI`.
    pub fn new(test: &str) -> Option<Ground> {
        let (disk, dir) = (Disk::new(), tempfile::tempdir().expect("a temporary directory"));
        match Mount::new(&disk, dir.path()) {
            Ok(mount) => Some(Ground { disk, mount: Some(mount), dir }),
            Err(error) => {
                let why =
                    format!("no FUSE file system can be mounted ({error}): be root, and have /dev/fuse");
                assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{test}: {why}");
                say_skipped(test, &why);
                None
            }
        }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A place on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Power comes back after a cut: the same place shows what the disk kept. No process may use it
    /// any more.
    ///
    /// # Panics
    /// When it cannot be mounted again.
    pub fn lose(&mut self, loss: Loss) {
        self.mount = None;
        self.disk.lose(loss);
        self.mount = Some(Mount::new(&self.disk, self.dir.path()).expect("it was mounted before"));
    }
}
