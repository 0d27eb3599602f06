//! Taking entries out, and the blocks that nothing is left in.
//!
//! A target becomes `NOBODY` in place; a block that is mostly dead is copied, one that is all dead
//! leaves its chain, and an inner block with nothing below it goes as well.

use std::sync::atomic::Ordering;

use super::{Moving, Writer};
use crate::index::arena::Handle;
use crate::index::blocks::{
    CHAIN_HEAD, CHAIN_OWNER, CHILDREN, DERIVED, INNER_OWNER, INNER_WORDS, Kind, META, NEXT, Owner, PREVIOUS,
    REST, meta,
};
use crate::index::entry::{Head, NOBODY};
use crate::index::writer::View;

/// Removal.
impl Writer {
    pub(super) fn remove_target(&mut self, view: &View, target: u32) {
        for block in self.take_homes(target) {
            self.remove_from_block(view, block, target);
        }
    }

    /// Takes all that stands for `target` out of a block.
    pub(super) fn remove_from_block(&mut self, view: &View, block: Handle, target: u32) {
        if meta(self.arena(), block).kind() == Kind::Box {
            self.remove_from_leaf(view, block, target);
            return;
        }
        let owner = Owner::read(self.arena(), block, CHAIN_OWNER);
        let words = self.arena().words(block);
        let used = words[0].load(Ordering::Relaxed) as usize;
        let is_ids = meta(self.arena(), block).kind() == Kind::Ids;
        let mut at = CHAIN_HEAD;
        let mut removed = Vec::new();
        while at < used {
            let count = if is_ids { 1 } else { Head(words[at + 1].load(Ordering::Relaxed)).words() };
            if words[at].load(Ordering::Relaxed) == target {
                removed.push(
                    words[at..at + count].iter().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>(),
                );
                words[at].store(NOBODY, Ordering::Release);
            }
            at += count;
        }
        let count: usize = removed.iter().map(Vec::len).sum();
        let changed = meta(self.arena(), block).add_dead(count);
        words[META].store(changed.0, Ordering::Relaxed);
        if !is_ids {
            for entry in removed {
                self.release_entry(view, owner, &entry);
            }
        }
        self.tidy(view, owner, block);
    }

    pub(in crate::index) fn release_entry(&mut self, view: &View, owner: Owner, entry: &[u32]) {
        let Moving { mut draft, .. } = Writer::moving(entry);
        draft.codes.extend(self.codes_to(owner));
        self.encoder(view).release(&draft.codes, &draft.operations);
    }

    /// Takes a block without entries out of its chain, and copies one that is mostly dead.
    pub(super) fn tidy(&mut self, view: &View, owner: Owner, block: Handle) {
        let used = self.arena().load(block, 0) as usize;
        let dead = meta(self.arena(), block).dead();
        if CHAIN_HEAD + dead == used {
            self.unlink(view, owner, block);
        } else if dead * 2 > used {
            let kind = meta(self.arena(), block).kind();
            let copy = self.copy(owner, kind, block, used - dead);
            self.replace(view, owner, block, copy);
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
            Owner::Slot(_) | Owner::List(_) => return,
        };
        let words = self.arena().words(inner);
        let is_empty = [REST, CHILDREN, DERIVED].iter().all(|at| words[*at].load(Ordering::Relaxed) == 0);
        if is_empty {
            let owner = Owner::read(self.arena(), inner, INNER_OWNER);
            self.lead(view, owner, inner, 0);
            self.memory.retire(inner, INNER_WORDS);
            self.on_chain_gone(view, owner);
        }
    }
}
