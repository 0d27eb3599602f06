//! Entries with equal filters: one entry that stands for a list of numbers.

use std::sync::atomic::Ordering;

use super::Writer;
use crate::index::arena::Handle;
use crate::index::blocks::{
    CHAIN_HEAD, CHAIN_OWNER, CHAIN_WORDS_MAX, Kind, LIST_COUNT, LIST_WORDS, Meta, NEXT, Owner, PREVIOUS, meta,
};
use crate::index::entry::{Head, IS_LIST};
use crate::index::writer::View;

/// Lists of entries with equal filters.
impl Writer {
    /// The list that stands for a target, made if it is one entry so far.
    pub(super) fn list_of(&mut self, view: &View, target: u32, fingerprint: [u32; 3]) -> Handle {
        if target & IS_LIST != 0 {
            return target & !IS_LIST;
        }
        let (list, _) = self.memory.take(LIST_WORDS);
        let home = self.homes.get(target);
        self.write(list, 0, &[0, Meta::new(Kind::List, LIST_WORDS).0, home, 1]);
        self.homes.set(target, 0);
        self.new_chain(view, Owner::List(list), Kind::Ids, &[vec![target]]);
        self.equals.change(fingerprint, target, list | IS_LIST);
        for block in self.blocks_of(home) {
            self.retarget(block, target, list | IS_LIST);
        }
        list
    }

    /// Lets the entries of a block that stand for `old` stand for `new`.
    pub(super) fn retarget(&self, block: Handle, old: u32, new: u32) {
        if meta(self.arena(), block).kind() == Kind::Box {
            self.retarget_lane(block, old, new);
            return;
        }
        let words = self.arena().words(block);
        let used = words[0].load(Ordering::Relaxed) as usize;
        let mut at = CHAIN_HEAD;
        while at < used {
            if words[at].load(Ordering::Relaxed) == old {
                words[at].store(new, Ordering::Release);
            }
            at += Head(words[at + 1].load(Ordering::Relaxed)).words();
        }
    }

    pub(super) fn add_to_list(&mut self, list: Handle, number: u32) {
        let block = self.arena().load(list, 0);
        let count = self.arena().load(list, LIST_COUNT);
        self.arena().store(list, LIST_COUNT, count + 1);
        if self.append_in_place(block, &[number]) {
            self.homes.set(number, block);
            return;
        }
        self.append_ids(list, block, number);
    }

    pub(super) fn append_ids(&mut self, list: Handle, block: Handle, number: u32) {
        let owner = Owner::List(list);
        let used = self.arena().load(block, 0) as usize;
        let live = used - meta(self.arena(), block).dead();
        if live == CHAIN_WORDS_MAX {
            let before = self.new_block(owner, Kind::Ids, CHAIN_WORDS_MAX / 8);
            self.arena().store(before, NEXT, block);
            self.arena().store(block, PREVIOUS, before);
            self.append_in_place(before, &[number]);
            self.homes.set(number, before);
            self.arena().store(list, 0, before);
            return;
        }
        let wanted = (live + 1).max((live + live / 4).min(CHAIN_WORDS_MAX));
        let copy = self.copy(owner, Kind::Ids, block, wanted);
        self.append_in_place(copy, &[number]);
        self.homes.set(number, copy);
        let next = self.arena().load(block, NEXT);
        if next != 0 {
            self.arena().store(next, PREVIOUS, copy);
        }
        self.arena().store(list, 0, copy);
        self.retire(block);
    }

    pub(super) fn remove_from_list(&mut self, view: &View, block: Handle, number: u32) {
        let Owner::List(list) = Owner::read(self.arena(), block, CHAIN_OWNER) else { return };
        let count = self.arena().load(list, LIST_COUNT) - 1;
        self.arena().store(list, LIST_COUNT, count);
        if count == 0 {
            self.equals.remove(list | IS_LIST);
            self.remove_target(view, list | IS_LIST);
        }
        self.remove_from_block(view, block, number);
        if count == 0 {
            self.memory.retire(list, LIST_WORDS);
        }
    }
}
