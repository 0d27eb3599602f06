//! Entries with equal filters: one entry that stands for a list of numbers.
//!
//! 1. A list that has some entries takes further numbers from groups that are kept for it
//!    (`super::super::numbers`), so that eight of them are a word. So does what comes back to such a
//!    group.
//! 2. Kept are groups of words of the first block, with two numbers or more, and of the word that is
//!    being filled. Nothing is added to the other blocks, whose groups are given up where numbers are
//!    missing; so they stay if such a block becomes the first again.

use std::sync::atomic::Ordering;

use super::Writer;
use super::homes::IS_SEVERAL;
use crate::index::arena::Handle;
use crate::index::blocks::{
    CHAIN_HEAD, CHAIN_OWNER, CHAIN_WORDS_MAX, Kind, LIST_COUNT, LIST_FILLING, LIST_FINGERPRINT, LIST_OWNER,
    LIST_WORDS, Meta, NEXT, Owner, PREVIOUS, Used, chain_words, meta,
};
use crate::index::entry::{ENTRY_HEAD, Head, IS_LIST};
use crate::index::fingerprint::Fingerprint;
use crate::index::ids::{GROUP, Ids};
use crate::index::writer::{View, chains};

/// From so many entries on a list has groups for itself.
const GROUPS_FROM: u32 = 4;
/// A copy of a block of ids has room for one part in so many more: room that nobody uses is most of
/// the cost.
const GROWTH: usize = 4;
/// A block before others is so much shorter than the longest.
const SHORTNESS: usize = 8;

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
        self.write(list, LIST_FILLING, &[0]);
        let ids = self.new_block(Owner::List(list), Kind::Ids, CHAIN_HEAD + 1);
        self.place(ids, 0, &[Ids::of(target).0]);
        self.homes.set(self.arena(), target, ids);
        self.lead(view, Owner::List(list), 0, ids);
        self.equals.change(&mut self.memory, &mut self.homes, fingerprint, [target, list | IS_LIST]);
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
        if !is_alone || chains::has_entries(self.arena(), home, 2) {
            return None;
        }
        let owner = Owner::read(self.arena(), home, CHAIN_OWNER);
        let can = self.entries(home).iter().next().is_some_and(|entry| can_stand_alone(owner, entry));
        can.then_some(owner)
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
        chains::each_placed_of(self.arena(), block, old, |placed| {
            placed.target.store(new, Ordering::Release)
        });
    }

    /// A number for an entry that is to be added to a list, of a group that is kept for the list.
    pub(super) fn number_of_list(&mut self, list: Handle) -> Option<u32> {
        let block = self.arena().load(list, 0);
        let filling = self.arena().load(list, LIST_FILLING) as usize;
        if filling != 0 {
            let group = Ids::load(&self.arena().words(block)[filling]).group();
            let number = self.homes.take_of(&mut self.memory, group);
            if number.is_some() {
                return number;
            }
        }
        if let Some((at, number)) = self.number_that_left(block) {
            self.arena().store(list, LIST_FILLING, at as u32);
            return Some(number);
        }
        let is_long = self.arena().load(list, LIST_COUNT) >= GROUPS_FROM;
        if is_long { self.homes.take_group(&mut self.memory) } else { None }
    }

    /// A number that came back to a group that a block has more numbers of, and where it is there.
    fn number_that_left(&mut self, block: Handle) -> Option<(usize, u32)> {
        let end = self.used(block).end();
        (CHAIN_HEAD..end).find_map(|at| {
            let word = Ids::load(&self.arena().words(block)[at]);
            // Most words of groups that are not kept have one number.
            let may_lack = (2..GROUP).contains(&word.count());
            let number = if may_lack { self.homes.take_of(&mut self.memory, word.group()) } else { None };
            number.map(|number| (at, number))
        })
    }

    pub(super) fn add_to_list(&mut self, view: &View, list: Handle, number: u32) {
        let count = self.arena().load(list, LIST_COUNT);
        self.arena().store(list, LIST_COUNT, count + 1);
        let group = Ids::of(number).group();
        let filling = self.arena().load(list, LIST_FILLING) as usize;
        let block = self.arena().load(list, 0);
        if filling != 0 {
            let place = &self.arena().words(block)[filling];
            let word = Ids::load(place);
            if word.group() == group {
                place.store(word.with(number).0, Ordering::Release);
                self.homes.set(self.arena(), number, block);
                return;
            }
        }
        let block = self.append_ids(view, list, block, Ids::of(number));
        self.homes.set(self.arena(), number, block);
        if self.homes.numbers.is_kept(group) {
            let at = self.used(block).end() - 1;
            self.arena().store(list, LIST_FILLING, at as u32);
        }
    }

    /// Adds a word to a list whose first block is `block`; the block where it is now.
    fn append_ids(&mut self, view: &View, list: Handle, block: Handle, word: Ids) -> Handle {
        if self.place(block, 0, &[word.0]) {
            return block;
        }
        let live = self.used(block).words() - meta(self.arena(), block).dead();
        let first = if live < CHAIN_WORDS_MAX {
            let wanted = (live + 1).max((live + live / GROWTH).min(CHAIN_WORDS_MAX));
            self.copy_ids(view, Owner::List(list), block, wanted)
        } else {
            self.give_groups_up(block);
            self.arena().store(list, LIST_FILLING, 0);
            let before = self.new_block(Owner::List(list), Kind::Ids, CHAIN_WORDS_MAX / SHORTNESS);
            self.put_before(view, Owner::List(list), block, before);
            before
        };
        let is_placed = self.place(first, 0, &[word.0]);
        debug_assert!(is_placed, "there is room");
        first
    }

    /// Lets anybody have the free numbers of a block which entries will not be added to any more.
    fn give_groups_up(&mut self, block: Handle) {
        for at in CHAIN_HEAD..self.used(block).end() {
            let word = Ids::load(&self.arena().words(block)[at]);
            if word.count() < GROUP {
                self.homes.numbers.give_up(word.group());
            }
        }
    }

    /// Puts a copy with room for so many words, without those that have no number any more, in the
    /// place of a block of ids.
    pub(super) fn copy_ids(&mut self, view: &View, owner: Owner, block: Handle, words: usize) -> Handle {
        let copy = self.new_block_for(owner, Kind::Ids, block, words);
        let arena = &view.common.arena;
        let (mut end, mut filling) = (CHAIN_HEAD, 0);
        let was_filling = match owner {
            Owner::List(list) if arena.load(list, 0) == block => arena.load(list, LIST_FILLING) as usize,
            _ => 0,
        };
        for at in CHAIN_HEAD..self.used(block).end() {
            let word = Ids::load(&arena.words(block)[at]);
            if word.count() == 0 {
                continue;
            }
            if at == was_filling {
                filling = end;
            }
            arena.words(copy)[end].store(word.0, Ordering::Relaxed);
            end += 1;
            word.numbers().for_each(|number| self.homes.set(arena, number, copy));
        }
        arena.store(copy, 0, Used::new(end, 0).0);
        if let (Owner::List(list), true) = (owner, was_filling != 0) {
            arena.store(list, LIST_FILLING, filling as u32);
        }
        self.replace(view, owner, block, copy);
        copy
    }

    pub(super) fn remove_from_list(&mut self, view: &View, block: Handle, number: u32) {
        let owner = Owner::read(self.arena(), block, CHAIN_OWNER);
        let Owner::List(list) = owner else { return };
        let count = self.arena().load(list, LIST_COUNT) - 1;
        self.arena().store(list, LIST_COUNT, count);
        if count == 0 {
            self.equals.remove(&mut self.memory, &mut self.homes, list | IS_LIST);
            self.remove_list(view, list);
        } else {
            self.slot_left = self.slot_of_always(list | IS_LIST);
        }
        let dead = self.take_out(list, block, number);
        self.bury(view, owner, block, dead);
        if count == 0 {
            self.memory.retire(list, LIST_WORDS);
        }
    }

    /// Takes a number out of a block of a list; how many words have none any more.
    fn take_out(&mut self, list: Handle, block: Handle, number: u32) -> usize {
        let (words, _) = chain_words(self.memory.arena().words(block));
        let Some(at) = words.iter().position(|word| Ids::load(word).has(number)) else { return 0 };
        let word = Ids::load(&words[at]).without(number);
        words[at].store(word.0, Ordering::Release);
        let is_first = self.arena().load(list, 0) == block;
        if word.count() < 2 || !is_first {
            self.homes.numbers.give_up(word.group());
            if is_first && self.arena().load(list, LIST_FILLING) as usize == CHAIN_HEAD + at {
                self.arena().store(list, LIST_FILLING, 0);
            }
        }
        usize::from(word.count() == 0)
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
