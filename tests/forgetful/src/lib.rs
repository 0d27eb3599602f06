//! A file system that forgets what was not flushed, for power cuts under real processes.
//!
//! kill -9 proves little about a store: the page cache survives it. Here the page cache and the
//! disk are two states. Whoever reads sees the first one; after [`Disk::cut`] everything fails, and
//! [`Disk::lose`] leaves what the second one has.
//!
//! Invariants:
//! 1. Bytes reach the disk by sectors of 512, and only by a flush of their file, which takes the
//!    size along.
//! 2. A name reaches the disk only by a flush of its directory. A file whose name did not is gone,
//!    even if its bytes were flushed; so is what lies in a directory whose own name did not.
//! 3. From the cut on nothing changes either state any more, whatever processes still ask.
//! 4. After a flush that failed the bytes read as written and are never written out, as on Linux.
//! 5. The same seed loses the same, for the same operations before it.
//!
//! Files are read and written past the kernel's cache, so that nothing hides what is here; a shared
//! writable mapping is refused, so that nobody can store by one unseen. Modes, owners and times are
//! not forgotten; symbolic links and extended attributes do not exist.
//!
//! `file` and `folder` are the two states of one node, `tree` the nodes, `medium` counts operations
//! and lets them fail, `fuse` and `mount` show it to the kernel.

mod chance;
mod file;
mod folder;
mod fuse;
mod medium;
mod mount;
mod tree;

pub use medium::{Cut, Disk, Loss, Operation};
pub use mount::Mount;
