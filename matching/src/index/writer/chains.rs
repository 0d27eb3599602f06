//! Chains of blocks: entries one behind the other, or the numbers of those with one filter.
//!
//! 1. A block's words are appended to in place as long as there is room. One that is full is
//!    copied to one with room for half as many more, up to the longest block; then another block
//!    goes before it.
//! 2. Entries that move are copied word by word from block to block; each learns its new home.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{View, Writer};
use crate::index::arena::{Arena, Handle};
use crate::index::blocks::{
    CHAIN_HEAD, CHAIN_OWNER, CHAIN_WORDS_MAX, Kind, Meta, NEXT, Owner, PREVIOUS, meta,
};
use crate::index::entry::{ENTRY_HEAD, Head, NOBODY};

/// Copies of the entries of a block.
pub(in crate::index) struct Entries(Vec<u32>);

impl Entries {
    /// The words of each.
    pub(in crate::index) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        split(Kind::Entries, &self.0)
    }
}

/// Divides words into those of each entry, or number.
fn split(kind: Kind, words: &[u32]) -> impl Iterator<Item = &[u32]> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let (entry, next) = rest.split_at(match rest {
            [] => return None,
            [_, head, ..] if kind != Kind::Ids => Head(*head).words(),
            _ => 1,
        });
        rest = next;
        Some(entry)
    })
}

/// The words of each entry, or number, in a block of a chain, with those that were removed.
pub(super) fn each_entry(arena: &Arena, block: Handle) -> impl Iterator<Item = &[AtomicU32]> {
    let words = arena.words(block);
    let used = words[0].load(Ordering::Relaxed) as usize;
    let is_ids = meta(arena, block).kind() == Kind::Ids;
    let mut rest = &words[CHAIN_HEAD..used];
    std::iter::from_fn(move || {
        let (entry, next) = rest.split_at(match rest {
            [] => return None,
            _ if is_ids => 1,
            entry => head(entry).words(),
        });
        rest = next;
        Some(entry)
    })
}

/// The target of an entry in a block.
pub(super) fn target(entry: &[AtomicU32]) -> u32 {
    entry[0].load(Ordering::Relaxed)
}

fn head(entry: &[AtomicU32]) -> Head {
    Head(entry[1].load(Ordering::Relaxed))
}

/// The head of the first entry in a block that stands for `wanted`.
pub(super) fn find(arena: &Arena, block: Handle, wanted: u32) -> Option<Head> {
    each_entry(arena, block).find(|entry| target(entry) == wanted).map(head)
}

/// How many entries of a block were not removed.
pub(in crate::index) fn count(arena: &Arena, block: Handle) -> usize {
    each_entry(arena, block).filter(|entry| target(entry) != NOBODY).count()
}

/// Appends an entry with the flags of `head` to `words`; codes and operations come in two parts,
/// between which something was left out.
pub(super) fn write_entry(
    words: &mut Vec<u32>,
    (target, head): (u32, Head),
    codes: [&[u32]; 2],
    operations: [&[u32]; 2],
) {
    let codes_count = codes[0].len() + codes[1].len();
    let count = ENTRY_HEAD + codes_count + operations[0].len() + operations[1].len();
    words.reserve(count);
    words.extend([target, Head::new(count, codes_count, head.is_always(), head.is_several()).0]);
    codes.iter().chain(&operations).for_each(|part| words.extend_from_slice(part));
}

/// Chains.
impl Writer {
    /// The words of each entry of a block that was not removed.
    pub(in crate::index) fn entries(&self, block: Handle) -> Entries {
        let live = each_entry(self.arena(), block).filter(|entry| target(entry) != NOBODY);
        let mut words = Vec::with_capacity(self.arena().load(block, 0) as usize);
        live.for_each(|entry| words.extend(entry.iter().map(|word| word.load(Ordering::Relaxed))));
        Entries(words)
    }

    /// Makes the first block of a chain. `entries` are the words of all, one behind the other.
    pub(in crate::index) fn new_chain(
        &mut self,
        view: &View,
        owner: Owner,
        kind: Kind,
        entries: &[u32],
    ) -> Handle {
        let used = CHAIN_HEAD + entries.len();
        let block = self.new_block(owner, kind, used);
        self.write(block, CHAIN_HEAD, entries);
        self.arena().store(block, 0, used as u32);
        split(kind, entries).for_each(|entry| self.add_home(entry[0], block));
        self.lead(view, owner, 0, block);
        block
    }

    /// As `new_chain`, of entries that may be too many for one block.
    pub(super) fn new_chain_of_many(&mut self, view: &View, owner: Owner, entries: &[u32]) {
        let mut words = 0;
        let fits = |entry: &&[u32]| {
            let fits = words == 0 || CHAIN_HEAD + words + entry.len() <= CHAIN_WORDS_MAX;
            words += if fits { entry.len() } else { 0 };
            fits
        };
        split(Kind::Entries, entries).take_while(fits).for_each(drop);
        let (now, later) = entries.split_at(words);
        self.new_chain(view, owner, Kind::Entries, now);
        for entry in split(Kind::Entries, later) {
            let block = self.block_of(view, owner);
            if self.append_in_place(block, entry) {
                self.add_home(entry[0], block);
            } else {
                self.append_grown(view, owner, block, entry);
            }
        }
    }

    /// A block of a chain without entries.
    pub(super) fn new_block(&mut self, owner: Owner, kind: Kind, words: usize) -> Handle {
        let (block, size) = self.memory.take(words);
        let [first, second] = owner.words();
        let head = [CHAIN_HEAD as u32, Meta::new(kind, size).0, 0, first, second, 0];
        self.write(block, 0, &head);
        block
    }

    pub(super) fn append_in_place(&mut self, block: Handle, words: &[u32]) -> bool {
        let used = self.arena().load(block, 0) as usize;
        if used + words.len() > meta(self.arena(), block).size() {
            return false;
        }
        self.write(block, used, words);
        self.arena().store(block, 0, (used + words.len()) as u32);
        true
    }

    /// Adds an entry to a chain whose first block has no room: in a copy of it, or in a new block
    /// before it.
    pub(super) fn append_grown(&mut self, view: &View, owner: Owner, block: Handle, words: &[u32]) {
        let kind = meta(self.arena(), block).kind();
        let used = self.arena().load(block, 0) as usize;
        let live = used - meta(self.arena(), block).dead();
        // A copy has room for one part in so many more; a block before others is so much shorter than
        // the longest. In lists of numbers, room that nobody uses is most of the cost.
        let (growth, shortness) = if kind == Kind::Ids { (4, 8) } else { (2, 4) };
        if live + words.len() > CHAIN_WORDS_MAX {
            let before = self.new_block(owner, kind, CHAIN_WORDS_MAX / shortness);
            self.arena().store(before, NEXT, block);
            self.arena().store(block, PREVIOUS, before);
            self.append_in_place(before, words);
            self.add_home(words[0], before);
            self.lead(view, owner, block, before);
            return;
        }
        let wanted = (live + words.len()).max((live + live / growth).min(CHAIN_WORDS_MAX));
        let copy = self.copy(view, owner, kind, block, wanted);
        self.append_in_place(copy, words);
        self.add_home(words[0], copy);
        self.replace(view, owner, block, copy);
    }

    /// A copy of a block of a chain, with room for `words` words, without what was removed.
    pub(super) fn copy(
        &mut self,
        view: &View,
        owner: Owner,
        kind: Kind,
        block: Handle,
        words: usize,
    ) -> Handle {
        let copy = self.new_block(owner, kind, words);
        let arena = &view.common.arena;
        for at in [NEXT, PREVIOUS] {
            arena.store(copy, at, arena.load(block, at));
        }
        let mut used = CHAIN_HEAD;
        for entry in each_entry(arena, block).filter(|entry| target(entry) != NOBODY) {
            let places = &arena.words(copy)[used..];
            for (word, place) in entry.iter().zip(places) {
                place.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            used += entry.len();
            self.move_home(target(entry), block, copy);
        }
        arena.store(copy, 0, used as u32);
        copy
    }

    /// Puts a copy in the place of a block.
    pub(super) fn replace(&mut self, view: &View, owner: Owner, block: Handle, copy: Handle) {
        let [next, previous] = [NEXT, PREVIOUS].map(|at| self.arena().load(block, at));
        if next != 0 {
            self.arena().store(next, PREVIOUS, copy);
        }
        if previous == 0 {
            self.lead(view, owner, block, copy);
        } else {
            self.arena().store(previous, NEXT, copy);
        }
        self.retire(block);
    }

    /// Lets the blocks of a chain know another owner.
    pub(in crate::index) fn own_chain(&self, first: Handle, owner: Owner) {
        let mut block = first;
        while block != 0 {
            self.write(block, CHAIN_OWNER, &owner.words());
            block = self.arena().load(block, NEXT);
        }
    }
}
