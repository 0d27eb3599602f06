//! The layout of the blocks that the index is made of.
//!
//! Every block has its kind and size in its second word, but for the arrays of inner blocks.
//!
//! | block | words |
//! |---|---|
//! | entries | used, meta, next, owner (2), previous, entries (`super::entry`) |
//! | clauses | used, meta, next, owner (2), previous, literals; from the end downwards targets (`super::clauses`) |
//! | ids | used, meta, next, owner (2), previous, numbers of entries (`super::ids`) |
//! | inner | rest, meta, attributes of children (2), owner (2), array, children by gates, whether gates are used, children, least and greatest code of a child |
//! | list | first block of ids, meta, home, numbers, owner (2), fingerprint (3), word being filled |
//! | homes | how many, meta, blocks |
//! | boxes, box | `super::boxes` |
//!
//! 1. *Entries*, *clauses* and *ids* form chains; blocks of the first two may be in one chain. A
//!    chain's words change in these ways while readers are at them: `used` grows after what it covers
//!    was written, a target becomes `NOBODY`, and numbers come and go in a word of ids.
//! 2. *Inner* divides entries by a code that they ask for: a child is found in the inner block's
//!    array or in the table of links (`super::children`). `rest` is a chain of those that ask for no
//!    more codes.
//! 3. The owner says where the handle of a chain or of an inner block is kept.
//! 4. A list that is all there is below a code stands there itself: its first block of ids in the
//!    place of a chain. Only then it has an owner, and no home.

use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::{Arena, Handle};
use super::entry::{ENTRY_HEAD, Head};
use super::table::Key;
use super::trie::Slot;

pub(super) const META: usize = 1;
pub(super) const NEXT: usize = 2;
/// Of inner blocks and of boxes; of chains it is `CHAIN_OWNER`.
pub(super) const INNER_OWNER: usize = 4;
pub(super) const CHAIN_OWNER: usize = 3;
pub(super) const PREVIOUS: usize = 5;
pub(super) const CHAIN_HEAD: usize = 6;

pub(super) const REST: usize = 0;
pub(super) const ATTRIBUTES: usize = 2;
pub(super) const ARRAY: usize = 6;
pub(super) const DERIVED: usize = 7;
pub(super) const GATES: usize = 8;
/// Readers look at what comes before alone.
pub(super) const CHILDREN: usize = 9;
/// Zero before the first child.
pub(super) const CODE_MIN: usize = 10;
pub(super) const CODE_MAX: usize = 11;
pub(super) const INNER_WORDS: usize = 12;

pub(super) const LIST_HOME: usize = 2;
pub(super) const LIST_COUNT: usize = 3;
/// Zeros if the list is an entry of a chain.
pub(super) const LIST_OWNER: usize = 4;
pub(super) const LIST_FINGERPRINT: usize = 6;
/// Where in the first block the word is whose group is being used up; 0 if there is none.
pub(super) const LIST_FILLING: usize = 9;
pub(super) const LIST_WORDS: usize = 10;

/// The longest block of a chain.
pub(super) const CHAIN_WORDS_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entries,
    Ids,
    Inner,
    List,
    Homes,
    Boxes,
    Box,
    Clauses,
}

const KINDS: [Kind; 8] =
    [Kind::Entries, Kind::Ids, Kind::Inner, Kind::List, Kind::Homes, Kind::Boxes, Kind::Box, Kind::Clauses];

impl Kind {
    /// Whether blocks of this kind are chains of filters.
    pub(super) fn has_entries(self) -> bool {
        matches!(self, Kind::Entries | Kind::Clauses)
    }
}

/// The first word of a block of a chain: where what is written from its beginning ends, and how many
/// targets there are at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used(pub(super) u32);

impl Used {
    pub(super) fn new(end: usize, targets: usize) -> Used {
        Used(end as u32 | (targets as u32) << 16)
    }

    #[inline]
    pub(super) fn end(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    #[inline]
    pub(super) fn targets(self) -> usize {
        (self.0 >> 16) as usize
    }

    /// Words in all.
    pub(super) fn words(self) -> usize {
        self.end() + self.targets()
    }
}

/// Kind, size in words and how many of them hold what was removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta(pub(super) u32);

impl Meta {
    pub(super) fn new(kind: Kind, size: usize) -> Meta {
        Meta(kind as u32 | (size as u32) << 3)
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        KINDS.get((self.0 & 7) as usize).copied().unwrap_or(Kind::Entries)
    }

    pub(super) fn size(self) -> usize {
        (self.0 >> 3 & 0x3fff) as usize
    }

    pub(super) fn dead(self) -> usize {
        (self.0 >> 17) as usize
    }

    pub(super) fn add_dead(self, words: usize) -> Meta {
        Meta(self.0 + ((words as u32) << 17))
    }
}

/// Who holds the handle of a chain or of an inner block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A node of topics.
    Slot(Slot),
    /// The rest of an inner block.
    Rest(Handle),
    /// A list of entries with the same filter.
    List(Handle),
    /// What is no box beside boxes.
    Plain(Handle),
    /// A set of boxes.
    Set(Handle),
    /// The children of an inner block: it and the code.
    Link(Key),
}

impl Owner {
    pub(super) fn words(self) -> [u32; 2] {
        match self {
            Owner::Slot(slot) => [0, slot.0],
            Owner::Rest(inner) => [1, inner],
            Owner::List(list) => [2, list],
            Owner::Plain(boxes) => [3, boxes],
            Owner::Set(set) => [4, set],
            Owner::Link(key) => [key.first, key.second],
        }
    }

    pub(super) fn read(arena: &Arena, block: Handle, at: usize) -> Owner {
        let words = arena.words(block);
        let [first, second] = [at, at + 1].map(|at| words[at].load(Ordering::Relaxed));
        match first {
            0 => Owner::Slot(Slot(second)),
            1 => Owner::Rest(second),
            2 => Owner::List(second),
            3 => Owner::Plain(second),
            4 => Owner::Set(second),
            _ => Owner::Link(Key { first, second }),
        }
    }
}

#[inline]
pub(super) fn meta(arena: &Arena, block: Handle) -> Meta {
    Meta(arena.words(block)[META].load(Ordering::Relaxed))
}

/// Of a chain's block the words that are in use from its beginning, and the next block. That is read
/// first: who finds the chain ends here then finds all that was added before the others went.
#[inline]
pub(super) fn chain_words(words: &[AtomicU32]) -> (&[AtomicU32], Handle) {
    let next = words[NEXT].load(Ordering::Acquire);
    let used = Used(words[0].load(Ordering::Acquire));
    (&words[CHAIN_HEAD..used.end()], next)
}

/// A block's first word, which covers what was written before it, and what it is.
#[inline]
pub(super) fn start(arena: &Arena, block: Handle) -> (u32, Meta) {
    let words = arena.words(block);
    (words[0].load(Ordering::Acquire), Meta(words[META].load(Ordering::Relaxed)))
}

/// Calls `see` with each entry of a block of rows, of which these are the words in use: where its
/// target is, its head, and the codes and operations behind.
#[inline]
pub(super) fn each_row<'a>(
    words: &'a [AtomicU32],
    mut see: impl FnMut(&'a AtomicU32, Head, &'a [AtomicU32]),
) {
    let mut at = 0;
    while at + ENTRY_HEAD <= words.len() {
        let head = Head(words[at + 1].load(Ordering::Relaxed));
        see(&words[at], head, &words[at + ENTRY_HEAD..at + head.words()]);
        at += head.words();
    }
}

/// Calls `see` with each block of a chain, the first of which is known already: its words, how many
/// are used, and what it is.
#[inline]
pub(super) fn each_block<'a>(
    arena: &'a Arena,
    (block, first, meta): (Handle, u32, Meta),
    mut see: impl FnMut(&'a [AtomicU32], Used, Meta),
) {
    let (mut words, mut used, mut meta) = (arena.words(block), Used(first), meta);
    loop {
        let next = words[NEXT].load(Ordering::Acquire);
        see(words, used, meta);
        if next == 0 {
            return;
        }
        words = arena.words(next);
        used = Used(words[0].load(Ordering::Acquire));
        meta = Meta(words[META].load(Ordering::Relaxed));
    }
}

/// The bit of an attribute in an inner block: word and mask.
#[inline]
pub(super) fn attribute_bit(attribute: u16) -> (usize, u32) {
    (ATTRIBUTES + usize::from(attribute >> 5 & 1), 1 << (attribute & 31))
}
