//! The two states of a directory's names.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::chance::Survival;

/// Names and their nodes.
pub(crate) type Names = BTreeMap<OsString, u64>;

/// A change of one directory that was not flushed.
#[derive(Debug, Clone)]
enum Change {
    Set(OsString, u64),
    Remove(OsString, u64),
    /// Within this directory: both names change, or none.
    Rename(OsString, OsString, u64),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    seen: Names,
    durable: Names,
    changes: Vec<Change>,
}

impl Folder {
    pub(crate) fn get(&self, name: &OsStr) -> Option<u64> {
        self.seen.get(name).copied()
    }

    pub(crate) fn names(&self) -> &Names {
        &self.seen
    }

    pub(crate) fn set(&mut self, name: &OsStr, node: u64) {
        self.change(Change::Set(name.into(), node));
    }

    pub(crate) fn remove(&mut self, name: &OsStr, node: u64) {
        self.change(Change::Remove(name.into(), node));
    }

    pub(crate) fn rename(&mut self, from: &OsStr, to: &OsStr, node: u64) {
        self.change(Change::Rename(from.into(), to.into(), node));
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.changes.push(change);
    }

    /// Everything reaches the disk.
    pub(crate) fn flush(&mut self) {
        self.changes.clear();
        self.durable.clone_from(&self.seen);
    }

    /// What a failed flush leaves.
    pub(crate) fn forget_dirt(&mut self) {
        self.changes.clear();
    }

    /// How many changes a cut would lose.
    pub(crate) fn unflushed(&self) -> usize {
        self.changes.len()
    }

    /// As for a file.
    pub(crate) fn lose(&mut self, survival: Option<&mut Survival>) {
        let changes = std::mem::take(&mut self.changes);
        if let Some(survival) = survival {
            for change in &changes {
                if survival.name() {
                    apply(&mut self.durable, change);
                } else if survival.names_in_order {
                    break;
                }
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

/// A name is taken away only where it still stands for that node.
fn apply(names: &mut Names, change: &Change) {
    let take = |names: &mut Names, name: &OsString, node: u64| {
        if names.get(name) == Some(&node) {
            names.remove(name);
        }
    };
    match change {
        Change::Set(name, node) => drop(names.insert(name.clone(), *node)),
        Change::Remove(name, node) => take(names, name, *node),
        Change::Rename(from, to, node) => {
            take(names, from, *node);
            names.insert(to.clone(), *node);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn shown(folder: &Folder) -> Vec<(&str, u64)> {
        folder.names().iter().map(|(name, node)| (name.to_str().unwrap(), *node)).collect()
    }

    fn written() -> Folder {
        let mut folder = Folder::default();
        folder.set(OsStr::new("a"), 1);
        folder.flush();
        folder.set(OsStr::new("new"), 2);
        folder.rename(OsStr::new("new"), OsStr::new("a"), 2);
        folder
    }

    #[test]
    fn names_that_were_not_flushed_are_gone() {
        let mut folder = written();
        assert_eq!((shown(&folder), folder.unflushed()), (vec![("a", 2)], 2));
        folder.lose(None);
        assert_eq!(shown(&folder), [("a", 1)]);
        let mut folder = written();
        folder.flush();
        folder.remove(OsStr::new("a"), 2);
        folder.lose(None);
        assert_eq!(shown(&folder), [("a", 2)]);
    }

    #[test]
    fn torn_names_come_in_every_way_and_a_rename_is_never_half() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..200 {
            let mut folder = written();
            folder.lose(Some(&mut Survival::new(seed)));
            outcomes.insert(format!("{:?}", shown(&folder)));
        }
        let expected = [r#"[("a", 1), ("new", 2)]"#, r#"[("a", 1)]"#, r#"[("a", 2)]"#];
        assert_eq!(outcomes, expected.map(str::to_owned).into());
    }
}
