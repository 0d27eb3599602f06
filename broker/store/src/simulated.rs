//! A disk in memory that forgets what was not flushed, for tests and simulators.
//!
//! It models: bytes durable by sector of 512 and only after a flush of their file; names durable
//! only after a flush of their folder; files with several names; a crash at any operation; errors of
//! writes and flushes; a full disk. After a failed flush the bytes read as written but are no longer to be flushed, as
//! Linux does. Switches make it lie about flushes, to prove that tests notice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, File, LockRefused};

const SECTOR: usize = 512;

/// What becomes of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it is gone.
    Cut,
    /// Each sector and each name is there or not, by the seed.
    Torn(u64),
    /// Nothing is gone: the process died, the machine did not. What was dirty stays dirty.
    ProcessOnly,
}

/// When an operation goes wrong. Operations are counted from 0 over the disk's life.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// From this operation on everything fails; a write there may still have reached the disk.
    pub crash_at: Option<u64>,
    /// This operation fails with an input/output error, if it writes or flushes.
    pub fail_at: Option<u64>,
    /// Every read of a file fails with an input/output error.
    pub fail_reads: bool,
    /// Reads that touch these bytes of a file fail with an input/output error.
    pub bad: Vec<(String, Range<u64>)>,
    /// Bytes of all files together beyond which there is no space.
    pub capacity: Option<u64>,
    /// Flushes of files say yes and do nothing.
    pub skip_file_flush: bool,
    /// Flushes of folders say yes and do nothing.
    pub skip_folder_flush: bool,
    /// Files cannot have a second name.
    pub no_links: bool,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    length_is_dirty: bool,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Remove(String),
    Rename(String, String, usize),
    RenameFolder(String, String),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<NameChange>,
    faults: Faults,
    operations: u64,
    bytes_read: u64,
    random: u64,
    is_locked: bool,
    /// Raised at each crash, so that a lock held before it counts for nothing.
    life: u64,
}

/// See the module. Clones share one disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    root: PathBuf,
    state: Arc<Mutex<State>>,
}

struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    life: u64,
}

struct SimulatedLock {
    disk: SimulatedDisk,
    life: u64,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.is_locked = false;
        }
    }
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk { root: PathBuf::from("/simulated"), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Operations so far (writes, flushes, creations, renames, removals, changes of length).
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Bytes that reads have asked for so far.
    pub fn bytes_read(&self) -> u64 {
        self.state().bytes_read
    }

    /// Bytes of all files that have a name.
    pub fn bytes_used(&self) -> u64 {
        self.state().used()
    }

    /// Sectors, lengths and names of the files that `concerns` picks by name, which a power cut now
    /// would lose.
    pub fn unflushed(&self, concerns: impl Fn(&str) -> bool) -> usize {
        let state = self.state();
        let picked = |change: &&NameChange| match change {
            NameChange::Set(name, _) | NameChange::Remove(name) => concerns(name),
            NameChange::Rename(from, to, _) | NameChange::RenameFolder(from, to) => {
                concerns(from) || concerns(to)
            }
        };
        let of = |inode: &Inode| inode.dirty.len() + usize::from(inode.length_is_dirty);
        let files = state.names.iter().filter(|(name, _)| concerns(name));
        let dirt: usize = files.map(|(_, inode)| of(&state.inodes[*inode])).sum();
        state.changes.iter().filter(picked).count() + dirt
    }

    /// Ends everything that uses the disk, takes what `loss` takes, and clears the faults. Files
    /// that were open fail from now on.
    pub fn crash(&self, loss: Loss) {
        let mut state = self.state();
        state.life += 1;
        state.is_locked = false;
        state.faults = Faults::default();
        state.lose(loss);
    }

    /// Names of the files that are there.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// The bytes of a file.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = *state.names.get(name)?;
        Some(state.inodes[inode].bytes.clone())
    }

    /// Replaces the bytes of a file, durably: damage, or what a test wants to be there.
    pub fn overwrite(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let inode = state.inodes.len();
        state.inodes.push(Inode { durable: bytes.clone(), bytes, ..Inode::default() });
        state.names.insert(name.into(), inode);
        state.durable_names.insert(name.into(), inode);
    }

    /// Removes a file, durably.
    pub fn lose_file(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// A disk with the same files, all of it durable, that shares nothing with this one.
    pub fn copy(&self) -> SimulatedDisk {
        let copy = SimulatedDisk::new();
        {
            let (from, mut to) = (self.state(), copy.state());
            let durable = |inode: &Inode| Inode {
                bytes: inode.bytes.clone(),
                durable: inode.bytes.clone(),
                ..Inode::default()
            };
            to.inodes = from.inodes.iter().map(durable).collect();
            to.names = from.names.clone();
            to.durable_names = from.names.clone();
            to.random = from.random;
        }
        copy
    }
}

impl Default for SimulatedDisk {
    fn default() -> SimulatedDisk {
        SimulatedDisk::new()
    }
}

impl State {
    fn used(&self) -> u64 {
        let inodes: BTreeSet<&usize> = self.names.values().collect();
        inodes.iter().map(|&&inode| self.inodes[inode].bytes.len() as u64).sum()
    }

    /// Counts an operation; an error when it must fail. A crashing write is let through by
    /// `is_write`, to be kept or lost with all that was not flushed.
    fn step(&mut self) -> Result<(), io::Error> {
        let number = self.operations;
        self.operations += 1;
        if self.faults.crash_at.is_some_and(|at| number >= at) {
            return Err(io::Error::other("crashed"));
        }
        if self.faults.fail_at == Some(number) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn is_crash_point(&self) -> bool {
        self.faults.crash_at == Some(self.operations)
    }

    fn is_bad(&self, inode: usize, wanted: &Range<u64>) -> bool {
        let is_hit = |(name, bad): &(String, Range<u64>)| {
            self.names.get(name) == Some(&inode) && wanted.start < bad.end && bad.start < wanted.end
        };
        self.faults.bad.iter().any(is_hit)
    }

    fn room_for(&self, more: u64) -> io::Result<()> {
        match self.faults.capacity {
            Some(capacity) if self.used() + more > capacity => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }

    fn lose(&mut self, loss: Loss) {
        let mut chance = match loss {
            Loss::ProcessOnly => return,
            Loss::Cut => None,
            Loss::Torn(seed) => Some(Chance(seed)),
        };
        let changes = std::mem::take(&mut self.changes);
        for change in changes {
            if chance.as_mut().is_some_and(Chance::flip) {
                apply(&mut self.durable_names, &change);
            }
        }
        self.names = self.durable_names.clone();
        for inode in &mut self.inodes {
            inode.lose(chance.as_mut());
        }
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Set(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
        NameChange::RenameFolder(from, to) => {
            for name in names_within(names, from) {
                if let Some(inode) = names.remove(&name) {
                    names.insert(format!("{to}{}", &name[from.len()..]), inode);
                }
            }
        }
    }
}

fn names_within(names: &BTreeMap<String, usize>, folder: &str) -> Vec<String> {
    names.keys().filter(|name| folder_of(name) == folder).cloned().collect()
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
            self.length_is_dirty = true;
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn set_len(&mut self, bytes: usize) {
        self.bytes.resize(bytes, 0);
        self.length_is_dirty = true;
    }

    fn flush(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.flush_sector(sector);
        }
        self.length_is_dirty = false;
    }

    fn flush_sector(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.bytes.len()).min(self.durable.len());
        if from < to {
            self.durable[from..to].copy_from_slice(&self.bytes[from..to]);
        }
    }

    /// What a failed flush leaves: the bytes read as written and are never written out.
    fn forget_dirt(&mut self) {
        self.dirty.clear();
        self.length_is_dirty = false;
    }

    fn lose(&mut self, mut chance: Option<&mut Chance>) {
        let mut keeps = || chance.as_mut().is_some_and(|chance| chance.flip());
        if self.length_is_dirty && keeps() {
            self.durable.resize(self.bytes.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            if keeps() {
                self.flush_sector(sector);
            }
        }
        self.length_is_dirty = false;
        self.bytes = self.durable.clone();
    }
}

/// Throws of a coin by a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Disk for SimulatedDisk {
    fn root(&self) -> &Path {
        &self.root
    }

    fn create_root(&self) -> io::Result<()> {
        Ok(())
    }

    fn create_folder(&self, _folder: &str) -> io::Result<()> {
        self.state().step()
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>, LockRefused> {
        let mut state = self.state();
        if state.is_locked {
            return Err(LockRefused::InUse { pid: 1 });
        }
        state.is_locked = true;
        let life = state.life;
        drop(state);
        Ok(Box::new(SimulatedLock { disk: self.clone(), life }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        let within = state.names.keys().filter(|name| folder_of(name) == folder);
        let prefix = if folder.is_empty() { 0 } else { folder.len() + 1 };
        Ok(within.map(|name| name[prefix..].to_owned()).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.step()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(name.into(), inode);
        state.changes.push(NameChange::Set(name.into(), inode));
        let life = state.life;
        drop(state);
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode, life }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let life = state.life;
        drop(state);
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode, life }))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.faults.no_links {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.names.insert(to.into(), inode);
        state.changes.push(NameChange::Set(to.into(), inode));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let change = match state.names.get(from) {
            Some(&inode) => NameChange::Rename(from.into(), to.into(), inode),
            None if names_within(&state.names, from).is_empty() => return Err(io::ErrorKind::NotFound.into()),
            None => NameChange::RenameFolder(from.into(), to.into()),
        };
        apply(&mut state.names, &change);
        state.changes.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.changes.push(NameChange::Remove(name.into()));
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.faults.skip_folder_flush {
            return Ok(());
        }
        let changes = std::mem::take(&mut state.changes);
        for change in changes {
            let name = match &change {
                NameChange::Set(name, _) | NameChange::Remove(name) => name,
                NameChange::Rename(_, to, _) | NameChange::RenameFolder(_, to) => to,
            };
            if folder_of(name) == folder {
                apply(&mut state.durable_names, &change);
            } else {
                state.changes.push(change);
            }
        }
        Ok(())
    }

    fn random(&self) -> u64 {
        let mut state = self.state();
        state.random += 1;
        Chance(state.random).next()
    }
}

impl SimulatedFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life == self.life { Ok(state) } else { Err(io::Error::other("crashed")) }
    }
}

impl File for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        let wanted = offset..offset + buffer.len() as u64;
        state.bytes_read += buffer.len() as u64;
        if state.faults.fail_reads || state.is_bad(self.inode, &wanted) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let bytes = &state.inodes[self.inode].bytes;
        let from = (offset as usize).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let crashes = state.is_crash_point();
        let length = state.inodes[self.inode].bytes.len() as u64;
        let more = (offset + bytes.len() as u64).saturating_sub(length);
        let stepped = state.step();
        if stepped.is_ok() {
            state.room_for(more)?;
        }
        if stepped.is_ok() || crashes {
            state.inodes[self.inode].write(bytes, offset as usize);
        }
        stepped
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let fails = state.faults.fail_at == Some(state.operations);
        let stepped = state.step();
        let skips = state.faults.skip_file_flush;
        let inode = &mut state.inodes[self.inode];
        if fails {
            inode.forget_dirt();
        } else if stepped.is_ok() && !skips {
            inode.flush();
        }
        stepped
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes[self.inode].bytes.len() as u64)
    }

    fn links(&self) -> io::Result<u64> {
        let state = self.state()?;
        Ok(state.names.values().filter(|&&inode| inode == self.inode).count() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.step()?;
        let length = state.inodes[self.inode].bytes.len() as u64;
        state.room_for(bytes.saturating_sub(length))?;
        state.inodes[self.inode].set_len(bytes as usize);
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let state = self.state()?;
        let length = state.inodes[self.inode].bytes.len() as u64;
        state.room_for(bytes.saturating_sub(length))
    }
}
