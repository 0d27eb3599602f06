//! A disk under test: counts operations, lets them fail on command, and loses power.

use std::ffi::OsStr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::Errno;

use crate::chance::Survival;
use crate::tree::Tree;

/// What becomes of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it is gone.
    Cut,
    /// Each sector, size and name is there or not, by the seed.
    Torn(u64),
}

/// What a process can ask of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bytes of a file are read.
    Read,
    /// Bytes or the size of a file are changed, or room is made for them.
    Write,
    /// A file is flushed.
    Flush,
    /// A name is made, changed or removed.
    Name,
    /// A directory is flushed.
    FlushFolder,
}

impl Operation {
    fn is_flush(self) -> bool {
        matches!(self, Operation::Flush | Operation::FlushFolder)
    }
}

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// At this operation, counted from 0 over the disk's life; reads do not count.
    pub at: u64,
    /// At the first one of this kind from there on.
    pub kind: Option<Operation>,
    /// That operation was still carried out, and nobody was told. A write that was not may have
    /// reached the disk all the same, like all that was not flushed.
    pub is_late: bool,
}

impl Cut {
    fn meets(&self, number: u64, operation: Operation) -> bool {
        self.at <= number && self.kind.is_none_or(|kind| kind == operation)
    }
}

/// One failure to come.
struct Fault {
    operation: Operation,
    name_end: String,
    /// Reads: bytes of the file.
    range: Range<u64>,
    /// It happens once, else until [`Disk::mend`].
    is_single: bool,
}

struct Medium {
    tree: Tree,
    faults: Vec<Fault>,
    faults_met: u64,
    operations: u64,
    cut: Option<Cut>,
    /// Flushes of this kind say yes and do nothing.
    lie: Option<Operation>,
    is_off: bool,
    /// Raised when the disk is shown anew: who came by an older mount is not answered.
    life: u64,
}

/// A disk in memory; see the crate. Clones are one disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<Medium>>);

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl Disk {
    /// An empty one.
    #[allow(clippy::new_without_default, reason = "there is no default disk")]
    pub fn new() -> Disk {
        Disk(Arc::new(Mutex::new(Medium {
            tree: Tree::new(),
            faults: Vec::new(),
            faults_met: 0,
            operations: 0,
            cut: None,
            lie: None,
            is_off: false,
            life: 0,
        })))
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations so far, reads left out.
    pub fn operations(&self) -> u64 {
        self.medium().operations
    }

    /// The power goes at an operation to come; where that is past, at the next.
    pub fn cut_at(&self, cut: Cut) {
        self.medium().cut = Some(cut);
    }

    /// The power goes now.
    pub fn cut(&self) {
        self.medium().is_off = true;
    }

    /// Whether the power is gone.
    pub fn is_cut(&self) -> bool {
        self.medium().is_off
    }

    /// After a cut: takes what `loss` takes and gives power back. Whoever still has files open from
    /// before gets errors for ever.
    pub fn lose(&self, loss: Loss) {
        let mut medium = self.medium();
        let survival = match loss {
            Loss::Cut => None,
            Loss::Torn(seed) => Some(Survival::new(seed)),
        };
        medium.tree.lose(survival);
        medium.life += 1;
        (medium.is_off, medium.cut) = (false, None);
        medium.faults.clear();
    }

    /// The next operation of this kind on a file whose name ends so fails with EIO. A write that
    /// fails changes nothing; after a flush that failed nothing of the file is written out any more.
    pub fn fail_once(&self, operation: Operation, name_end: &str) {
        let fault = Fault { operation, name_end: name_end.into(), range: 0..u64::MAX, is_single: true };
        self.medium().faults.push(fault);
    }

    /// Reads that touch this range of a file whose name ends so fail with EIO, until [`Disk::mend`].
    pub fn fail_reads(&self, name_end: &str, range: Range<u64>) {
        let fault = Fault { operation: Operation::Read, name_end: name_end.into(), range, is_single: false };
        self.medium().faults.push(fault);
    }

    /// Flushes of this kind say yes and do nothing from now on, through all cuts: a control for
    /// tests, which must notice.
    pub fn lie(&self, flush: Operation) {
        self.medium().lie = Some(flush);
    }

    /// No failures any more.
    pub fn mend(&self) {
        self.medium().faults.clear();
    }

    /// How many operations failed by [`Disk::fail_once`] and [`Disk::fail_reads`].
    pub fn faults_met(&self) -> u64 {
        self.medium().faults_met
    }

    /// Bytes of all files together beyond which nothing grows (ENOSPC); `None`: no end.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.medium().tree.capacity = bytes;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.medium().tree.used()
    }

    /// Sectors, sizes and names that a cut now would lose.
    pub fn unflushed(&self) -> usize {
        self.medium().tree.unflushed()
    }

    /// The number of the mount that is answered.
    pub(crate) fn life(&self) -> u64 {
        self.medium().life
    }

    /// Looks at the tree, for a mount of that life.
    pub(crate) fn look<T>(
        &self,
        life: u64,
        look: impl FnOnce(&Tree) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let medium = self.medium();
        medium.check(life)?;
        look(&medium.tree)
    }

    /// Reads bytes of a file.
    pub(crate) fn read(&self, life: u64, node: u64, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let mut medium = self.medium();
        medium.check(life)?;
        let range = offset..offset + u64::from(count);
        if medium.meets_fault(Operation::Read, node, &range) {
            return Err(Errno::EIO);
        }
        Ok(medium.tree.file(node)?.read(offset as usize, count as usize).to_vec())
    }

    /// Changes the tree, or fails as told. `node` is the file or directory that is concerned.
    pub(crate) fn change<T>(
        &self,
        life: u64,
        operation: Operation,
        node: u64,
        act: impl FnOnce(&mut Tree) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut medium = self.medium();
        medium.check(life)?;
        let number = medium.operations;
        medium.operations += 1;
        if let Some(cut) = medium.cut.filter(|cut| cut.meets(number, operation)) {
            medium.is_off = true;
            if cut.is_late || !operation.is_flush() {
                // Nobody is told how it went.
                let _ = act(&mut medium.tree);
            }
            return Err(Errno::EIO);
        }
        if medium.meets_fault(operation, node, &(0..u64::MAX)) {
            if operation.is_flush() {
                medium.tree.forget_dirt(node);
            }
            return Err(Errno::EIO);
        }
        act(&mut medium.tree)
    }

    /// Flushes a file or a directory.
    pub(crate) fn flush(&self, life: u64, operation: Operation, node: u64) -> Result<(), Errno> {
        let lies = self.medium().lie == Some(operation);
        self.change(life, operation, node, |tree| if lies { Ok(()) } else { tree.flush(node) })
    }

    /// What is in a file, whatever the power; `None` without such a file.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let medium = self.medium();
        let node = medium.find(path)?;
        let file = medium.tree.file(node).ok()?;
        Some(file.read(0, file.len()).to_vec())
    }
}

impl Medium {
    fn check(&self, life: u64) -> Result<(), Errno> {
        if self.is_off || life != self.life { Err(Errno::EIO) } else { Ok(()) }
    }

    fn find(&self, path: &str) -> Option<u64> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts
            .into_iter()
            .try_fold(crate::tree::ROOT, |node, part| self.tree.lookup(node, OsStr::new(part)).ok())
    }

    fn meets_fault(&mut self, operation: Operation, node: u64, range: &Range<u64>) -> bool {
        if self.faults.is_empty() {
            return false;
        }
        let name = self.tree.name_of(node).unwrap_or_default();
        let meets = |fault: &Fault| {
            fault.operation == operation
                && name.ends_with(&fault.name_end)
                && fault.range.start < range.end
                && range.start < fault.range.end
        };
        let Some(at) = self.faults.iter().position(meets) else {
            return false;
        };
        if self.faults[at].is_single {
            self.faults.swap_remove(at);
        }
        self.faults_met += 1;
        true
    }
}
