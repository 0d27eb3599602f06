//! Entries with equal filters: one entry that stands for a list of numbers.

use std::sync::atomic::Ordering;

use super::Writer;
use super::homes::IS_SEVERAL;
use crate::index::arena::Handle;
use crate::index::blocks::{
    CHAIN_HEAD, CHAIN_OWNER, Kind, LIST_COUNT, LIST_FINGERPRINT, LIST_OWNER, LIST_WORDS, Meta, NEXT, Owner,
    PREVIOUS, meta,
};
use crate::index::entry::{ENTRY_HEAD, Head, IS_LIST};
use crate::index::fingerprint::Fingerprint;
use crate::index::writer::{View, chains};

/// Lists of entries with equal filters.
impl Writer {
    /// The list that stands for a target, made if it is one entry so far.
    pub(super) fn list_of(&mut self, view: &View, target: u32, fingerprint: Fingerprint) -> Handle {
        if target & IS_LIST != 0 {
            return target & !IS_LIST;
        }
        let (list, _) = self.memory.take(LIST_WORDS);
        let home = self.homes.get(self.arena(), target);
        self.write(list, 0, &[0, Meta::new(Kind::List, LIST_WORDS).0, home, 1, 0, 0]);
        self.write(list, LIST_FINGERPRINT, &fingerprint);
        self.homes.set(self.arena(), target, 0);
        self.new_chain(view, Owner::List(list), Kind::Ids, &[target]);
        self.equals.change(self.memory.arena(), fingerprint, target, list | IS_LIST);
        for block in self.blocks_of(home) {
            self.retarget(block, target, list | IS_LIST);
        }
        if let Some(owner) = self.owner_of_alone(home) {
            self.stand_alone(view, list, owner, home);
            self.retire(home);
        }
        list
    }

    /// Who leads to a chain of one entry that asks for no more than the way there, if it can lead to
    /// a list as well.
    fn owner_of_alone(&self, home: u32) -> Option<Owner> {
        if home & IS_SEVERAL != 0 || !meta(self.arena(), home).kind().has_entries() {
            return None;
        }
        let is_alone = [NEXT, PREVIOUS].iter().all(|at| self.arena().load(home, *at) == 0);
        let owner = Owner::read(self.arena(), home, CHAIN_OWNER);
        let entries = self.entries(home);
        let mut entries = entries.iter();
        let can = entries.next().is_some_and(|entry| can_stand_alone(owner, entry));
        (is_alone && can && entries.next().is_none()).then_some(owner)
    }

    /// Puts a list in the place of `old`, a chain that it is the one entry of, or of nothing.
    pub(super) fn stand_alone(&mut self, view: &View, list: Handle, owner: Owner, old: Handle) {
        self.write(list, LIST_OWNER, &owner.words());
        self.set_home(list | IS_LIST, 0);
        let ids = self.arena().load(list, 0);
        self.lead(view, owner, old, ids);
    }

    /// Makes a list that stands alone, with its first block `ids`, the entry of a chain.
    pub(super) fn join_chain(&mut self, view: &View, owner: Owner, ids: Handle) {
        let Owner::List(list) = Owner::read(self.arena(), ids, CHAIN_OWNER) else { return };
        let entry = bare_entry(list);
        let block = self.new_block(owner, Kind::Clauses, CHAIN_HEAD + 4 * entry.len());
        self.append_in_place(block, &entry);
        self.write(list, LIST_OWNER, &[0, 0]);
        self.set_home(list | IS_LIST, block);
        self.lead(view, owner, ids, block);
    }

    /// Who leads to a list that stands alone.
    pub(super) fn owner_of_list(&self, list: Handle) -> Option<Owner> {
        let is_alone = self.arena().load(list, LIST_OWNER) != 0;
        is_alone.then(|| Owner::read(self.arena(), list, LIST_OWNER))
    }

    /// Lets the entries of a block that stand for `old` stand for `new`.
    pub(super) fn retarget(&self, block: Handle, old: u32, new: u32) {
        if meta(self.arena(), block).kind() == Kind::Box {
            self.retarget_lane(block, old, new);
            return;
        }
        chains::each_placed(self.arena(), block, |placed| {
            if placed.target() == old {
                placed.target.store(new, Ordering::Release);
            }
        });
    }

    pub(super) fn add_to_list(&mut self, view: &View, list: Handle, number: u32) {
        let block = self.arena().load(list, 0);
        let count = self.arena().load(list, LIST_COUNT);
        self.arena().store(list, LIST_COUNT, count + 1);
        if self.append_in_place(block, &[number]) {
            self.homes.set(self.arena(), number, block);
        } else {
            self.append_grown(view, Owner::List(list), block, &[number]);
        }
    }

    pub(super) fn remove_from_list(&mut self, view: &View, block: Handle, number: u32) {
        let Owner::List(list) = Owner::read(self.arena(), block, CHAIN_OWNER) else { return };
        let count = self.arena().load(list, LIST_COUNT) - 1;
        self.arena().store(list, LIST_COUNT, count);
        if count == 0 {
            self.equals.remove(&mut self.memory, list | IS_LIST);
            self.remove_list(view, list);
        }
        self.remove_from_block(view, block, number);
        if count == 0 {
            self.memory.retire(list, LIST_WORDS);
        }
    }

    fn remove_list(&mut self, view: &View, list: Handle) {
        let Some(owner) = self.owner_of_list(list) else {
            return self.remove_target(view, list | IS_LIST);
        };
        let ids = self.arena().load(list, 0);
        self.release_path(view, owner);
        self.write(list, LIST_OWNER, &[0, 0]);
        self.lead(view, owner, ids, 0);
        self.on_chain_gone(view, owner);
    }
}

/// The entry of a list that asks for no more than the way to it.
fn bare_entry(list: Handle) -> [u32; ENTRY_HEAD] {
    [list | IS_LIST, Head::new(ENTRY_HEAD, 0, false, false).0]
}

/// Whether an entry, if it is alone there and stands for a list, can be left out.
pub(super) fn can_stand_alone(owner: Owner, entry: &[u32]) -> bool {
    let [target, head] = *entry else { return false };
    matches!(owner, Owner::Link(_) | Owner::Rest(_)) && [target, head] == bare_entry(target & !IS_LIST)
}
