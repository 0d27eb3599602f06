//! Taking entries out, and the blocks that nothing is left in.
//!
//! A target becomes `NOBODY` in place, a number leaves its word of a list; a block that is mostly dead is copied, one that is all dead
//! leaves its chain, and an inner block with nothing below it goes as well.

use std::sync::atomic::Ordering;

use super::chains::{Placed, each_placed_of};
use super::division::parts;
use super::homes::IS_SEVERAL;
use super::{View, Writer};
use crate::index::arena::{Handle, LINE};
use crate::index::blocks::{
    ARRAY, CHAIN_HEAD, CHAIN_OWNER, CHILDREN, DERIVED, INNER_OWNER, INNER_WORDS, Kind, META, NEXT, Owner,
    PREVIOUS, REST, meta,
};
use crate::index::entry::NOBODY;
use crate::simd;

/// Lines of a block that are asked for before it is known how many it has.
const FETCHED: usize = 4;

/// Removal.
impl Writer {
    /// Asks the memory for what taking a number out reads first,
    pub(in crate::index) fn fetch(&self, number: u32) {
        self.homes.fetch(self.arena(), number);
    }

    /// and for what it reads then: so that it waits for few lines one after the other. Nothing is
    /// wrong with a number that nobody has.
    pub(in crate::index) fn fetch_block(&self, number: u32) {
        let home = self.homes.find(self.arena(), number);
        if home != 0 && home & IS_SEVERAL == 0 {
            let block = self.arena().words(home);
            block.iter().step_by(LINE).take(FETCHED).for_each(simd::prefetch);
        }
        self.equals.fetch_bucket(self.arena(), &self.homes, number);
    }

    fn fetch_owner(&self, owner: Owner) {
        let block = match owner {
            Owner::Slot(slot) => slot.node(),
            Owner::Link(key) => key.first,
            Owner::Rest(block) | Owner::List(block) | Owner::Plain(block) | Owner::Set(block) => block,
        };
        simd::prefetch(&self.arena().words(block)[0]);
    }

    pub(super) fn remove_target(&mut self, view: &View, target: u32) {
        let home = self.home(target);
        if home & IS_SEVERAL == 0 {
            self.set_home(target, 0);
            self.remove_from_block(view, home, target);
            return;
        }
        let blocks = self.blocks_of(home);
        self.write_homes(target, &[]);
        for block in blocks {
            self.remove_from_block(view, block, target);
        }
    }

    /// Takes all that stands for `target` out of a block.
    pub(super) fn remove_from_block(&mut self, view: &View, block: Handle, target: u32) {
        if block == 0 {
            return;
        }
        if meta(self.arena(), block).kind() == Kind::Box {
            self.remove_from_leaf(view, block, target);
            return;
        }
        let owner = Owner::read(self.arena(), block, CHAIN_OWNER);
        // It is looked at when the entry is out.
        self.fetch_owner(owner);
        let mut dead = 0;
        each_placed_of(&view.common.arena, block, target, |placed| {
            placed.target.store(NOBODY, Ordering::Release);
            dead += placed.words;
            self.release_entry(view, owner, placed);
        });
        self.bury(view, owner, block, dead);
    }

    /// Counts words of a block as dead, and tidies it.
    pub(super) fn bury(&mut self, view: &View, owner: Owner, block: Handle, dead: usize) {
        let changed = meta(self.arena(), block).add_dead(dead);
        self.arena().words(block)[META].store(changed.0, Ordering::Relaxed);
        self.tidy(view, owner, block);
    }

    /// Gives back what an entry used, and the codes that lead to it.
    fn release_entry(&mut self, view: &View, owner: Owner, placed: Placed<'_>) {
        if placed.kind == Kind::Clauses {
            self.encoder(view).release_literals(placed.body);
        } else {
            let mut words = std::mem::take(&mut self.words);
            words.clear();
            placed.read(self.dictionary.scales(), &mut words);
            let (head, codes, operations) = parts(&words);
            if head.is_always() {
                self.slot_left = self.slot_above(owner);
            }
            self.encoder(view).release(codes, operations);
            self.words = words;
        }
        self.release_path(view, owner);
    }

    /// Gives back the codes that lead to where an entry stood.
    pub(super) fn release_path(&mut self, view: &View, owner: Owner) {
        let mut above = Some(owner);
        while let Some(owner) = above {
            if let Owner::Link(key) = owner {
                self.encoder(view).release(&[key.second], &[]);
            }
            above = self.owner_above(owner);
        }
    }

    /// Gives back what the box of a set used.
    pub(in crate::index) fn release_box(&mut self, view: &View, set: Handle, attributes: &[u16]) {
        for attribute in attributes {
            self.dictionary.release_attribute(&mut self.memory, &view.vocabulary, *attribute);
        }
        self.release_path(view, Owner::Set(set));
    }

    /// Takes a block without entries out of its chain, and copies one that is mostly dead.
    pub(super) fn tidy(&mut self, view: &View, owner: Owner, block: Handle) {
        let used = self.used(block).words();
        let dead = meta(self.arena(), block).dead();
        if CHAIN_HEAD + dead == used {
            self.unlink(view, owner, block);
        } else if dead * 2 > used {
            match meta(self.arena(), block).kind() {
                Kind::Ids => _ = self.copy_ids(view, owner, block, used - dead),
                kind => {
                    let copy = self.copy(view, owner, kind, block, used - dead);
                    self.replace(view, owner, block, copy);
                }
            }
        }
    }

    pub(super) fn unlink(&mut self, view: &View, owner: Owner, block: Handle) {
        let [next, previous] = [NEXT, PREVIOUS].map(|at| self.arena().load(block, at));
        if next != 0 {
            self.arena().store(next, PREVIOUS, previous);
        }
        if previous != 0 {
            self.arena().store(previous, NEXT, next);
        } else {
            self.lead(view, owner, block, next);
        }
        self.retire(block);
        if next == 0 && previous == 0 {
            self.on_chain_gone(view, owner);
        }
    }

    /// Takes an inner block out that has nothing below it any more.
    pub(in crate::index) fn on_chain_gone(&mut self, view: &View, owner: Owner) {
        let inner = match owner {
            Owner::Link(key) => key.first,
            Owner::Rest(inner) => inner,
            Owner::Plain(boxes) => return self.tidy_boxes(view, boxes),
            Owner::Set(set) => return self.on_set_gone(view, set),
            Owner::Slot(slot) => {
                self.slot_left = Some(slot);
                return;
            }
            Owner::List(_) => return,
        };
        let words = self.arena().words(inner);
        let is_empty = [REST, CHILDREN, DERIVED].iter().all(|at| words[*at].load(Ordering::Relaxed) == 0);
        if is_empty {
            let owner = Owner::read(self.arena(), inner, INNER_OWNER);
            self.lead(view, owner, inner, 0);
            self.retire_array(self.arena().load(inner, ARRAY));
            self.memory.retire(inner, INNER_WORDS);
            self.on_chain_gone(view, owner);
        }
    }
}
