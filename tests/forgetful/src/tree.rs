//! The nodes of the file system and what can be done to them. Nothing fails here but what is wrong.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use fuser::Errno;

use crate::chance::Survival;
use crate::file::FileBytes;
use crate::folder::{Folder, Names};

/// The root directory's number.
pub(crate) const ROOT: u64 = 1;

/// A file or a directory.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

#[derive(Debug)]
pub(crate) enum Kind {
    File(FileBytes),
    Folder(Folder),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Node `n` is at `n - 1`. Numbers are not used again.
    nodes: Vec<Node>,
    /// No file is extended beyond so many bytes of all together.
    pub(crate) capacity: Option<u64>,
}

impl Tree {
    pub(crate) fn new() -> Tree {
        let root = Node { kind: Kind::Folder(Folder::default()), mode: 0o755, owner: (0, 0) };
        Tree { nodes: vec![root], capacity: None }
    }

    pub(crate) fn node(&self, number: u64) -> Result<&Node, Errno> {
        self.nodes.get(number.wrapping_sub(1) as usize).ok_or(Errno::ENOENT)
    }

    pub(crate) fn node_mut(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(number.wrapping_sub(1) as usize).ok_or(Errno::ENOENT)
    }

    pub(crate) fn folder(&self, number: u64) -> Result<&Folder, Errno> {
        match &self.node(number)?.kind {
            Kind::Folder(folder) => Ok(folder),
            Kind::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn folder_mut(&mut self, number: u64) -> Result<&mut Folder, Errno> {
        match &mut self.node_mut(number)?.kind {
            Kind::Folder(folder) => Ok(folder),
            Kind::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn file(&self, number: u64) -> Result<&FileBytes, Errno> {
        match &self.node(number)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn file_mut(&mut self, number: u64) -> Result<&mut FileBytes, Errno> {
        match &mut self.node_mut(number)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Folder(_) => Err(Errno::EISDIR),
        }
    }

    pub(crate) fn lookup(&self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        self.folder(parent)?.get(name).ok_or(Errno::ENOENT)
    }

    /// The last part of a name that the node has.
    pub(crate) fn name_of(&self, number: u64) -> Option<String> {
        let in_folder = |names: &Names| {
            let found = names.iter().find(|(_, node)| **node == number);
            found.map(|(name, _)| name.to_string_lossy().into_owned())
        };
        self.nodes.iter().find_map(|node| match &node.kind {
            Kind::Folder(folder) => in_folder(folder.names()),
            Kind::File(_) => None,
        })
    }

    /// Makes a node and names it.
    pub(crate) fn make(&mut self, parent: u64, name: &OsStr, node: Node) -> Result<u64, Errno> {
        let number = self.nodes.len() as u64 + 1;
        let folder = self.folder_mut(parent)?;
        if folder.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        folder.set(name, number);
        self.nodes.push(node);
        Ok(number)
    }

    /// Gives a file another name.
    pub(crate) fn link(&mut self, number: u64, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.file(number)?;
        let folder = self.folder_mut(parent)?;
        if folder.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        folder.set(name, number);
        Ok(())
    }

    /// How many names a file has.
    pub(crate) fn links(&self, number: u64) -> usize {
        let folders = (ROOT..).map_while(|node| self.node(node).ok()).filter_map(|node| match &node.kind {
            Kind::Folder(folder) => Some(folder),
            Kind::File(_) => None,
        });
        folders.flat_map(|folder| folder.names().values()).filter(|node| **node == number).count()
    }

    pub(crate) fn unlink(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.lookup(parent, name)?;
        self.file(number)?;
        self.folder_mut(parent)?.remove(name, number);
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.lookup(parent, name)?;
        if !self.folder(number)?.names().is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.folder_mut(parent)?.remove(name, number);
        Ok(())
    }

    /// Within one directory both names change at once; between two each has its own flush.
    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let number = self.lookup(from.0, from.1)?;
        if let Ok(replaced) = self.lookup(to.0, to.1) {
            self.check_replaces(number, replaced)?;
        }
        if from.0 == to.0 {
            self.folder_mut(from.0)?.rename(from.1, to.1, number);
        } else {
            self.folder_mut(to.0)?.set(to.1, number);
            self.folder_mut(from.0)?.remove(from.1, number);
        }
        Ok(())
    }

    fn check_replaces(&self, number: u64, replaced: u64) -> Result<(), Errno> {
        match (&self.node(number)?.kind, &self.node(replaced)?.kind) {
            (Kind::File(_), Kind::File(_)) => Ok(()),
            (Kind::Folder(_), Kind::Folder(folder)) if folder.names().is_empty() => Ok(()),
            (Kind::Folder(_), Kind::Folder(_)) => Err(Errno::ENOTEMPTY),
            (Kind::File(_), Kind::Folder(_)) => Err(Errno::EISDIR),
            (Kind::Folder(_), Kind::File(_)) => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.check_room(number, offset + bytes.len() as u64)?;
        self.file_mut(number)?.write(offset as usize, bytes);
        Ok(())
    }

    pub(crate) fn resize(&mut self, number: u64, bytes: u64) -> Result<(), Errno> {
        self.check_room(number, bytes)?;
        self.file_mut(number)?.resize(bytes as usize);
        Ok(())
    }

    /// Extends a file where it is shorter.
    pub(crate) fn allocate(&mut self, number: u64, bytes: u64) -> Result<(), Errno> {
        if self.file(number)?.len() as u64 >= bytes {
            return Ok(());
        }
        self.resize(number, bytes)
    }

    fn check_room(&self, number: u64, bytes: u64) -> Result<(), Errno> {
        let more = bytes.saturating_sub(self.file(number)?.len() as u64);
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => Err(Errno::ENOSPC),
            _ => Ok(()),
        }
    }

    /// Bytes of all files that have a name.
    pub(crate) fn used(&self) -> u64 {
        let folders = self.nodes.iter().filter_map(|node| match &node.kind {
            Kind::Folder(folder) => Some(folder),
            Kind::File(_) => None,
        });
        let named: BTreeSet<u64> = folders.flat_map(|folder| folder.names().values().copied()).collect();
        named.iter().filter_map(|number| self.file(*number).ok()).map(|file| file.len() as u64).sum()
    }

    pub(crate) fn flush(&mut self, number: u64) -> Result<(), Errno> {
        match &mut self.node_mut(number)?.kind {
            Kind::File(file) => file.flush(),
            Kind::Folder(folder) => folder.flush(),
        }
        Ok(())
    }

    pub(crate) fn forget_dirt(&mut self, number: u64) {
        match self.node_mut(number).map(|node| &mut node.kind) {
            Ok(Kind::File(file)) => file.forget_dirt(),
            Ok(Kind::Folder(folder)) => folder.forget_dirt(),
            Err(_) => {}
        }
    }

    /// Sectors, sizes and names that a cut now would lose.
    pub(crate) fn unflushed(&self) -> usize {
        let of = |node: &Node| match &node.kind {
            Kind::File(file) => file.unflushed(),
            Kind::Folder(folder) => folder.unflushed(),
        };
        self.nodes.iter().map(of).sum()
    }

    /// The power went. Nodes that have no name any more keep their numbers and nothing else.
    pub(crate) fn lose(&mut self, mut survival: Option<Survival>) {
        for node in &mut self.nodes {
            match &mut node.kind {
                Kind::File(file) => file.lose(survival.as_mut()),
                Kind::Folder(folder) => folder.lose(survival.as_mut()),
            }
        }
        let reached = self.reached();
        for (number, node) in (ROOT..).zip(&mut self.nodes) {
            if !reached.contains(&number) {
                node.kind = Kind::File(FileBytes::default());
            }
        }
    }

    fn reached(&self) -> BTreeSet<u64> {
        let (mut reached, mut open) = (BTreeSet::from([ROOT]), vec![ROOT]);
        while let Some(number) = open.pop() {
            let names =
                self.folder(number).map(|folder| folder.names().values().copied().collect::<Vec<_>>());
            open.extend(names.unwrap_or_default().into_iter().filter(|node| reached.insert(*node)));
        }
        reached
    }
}
