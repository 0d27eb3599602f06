//! Chains of blocks: entries one behind the other.
//!
//! 1. A block's words are appended to in place as long as there is room. One that is full is
//!    copied to a longer one (`super::Lengths`), up to the longest block; then another block goes
//!    before it.
//! 2. Entries that move are copied word by word from block to block; each learns its new home.
//! 3. Entries go about as rows (`super::super::entry`), which a block of clauses is made of and read
//!    back to. A block that is made is one of clauses where most of its entries are nothing else.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{View, Writer};
use crate::index::arena::{Arena, Handle};
use crate::index::blocks::{
    CHAIN_HEAD, CHAIN_OWNER, CHAIN_WORDS_MAX, Kind, Meta, NEXT, Owner, PREVIOUS, Used, each_row, meta, start,
};
use crate::index::clauses;
use crate::index::entry::{ENTRY_HEAD, Head, NOBODY};
use crate::index::scales::Scales;

/// A block before others is so much shorter than the longest.
const SHORTNESS: usize = 4;

/// Copies of the entries of a block, as rows.
pub(in crate::index) struct Entries(Vec<u32>);

impl Entries {
    /// The words of each.
    pub(in crate::index) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        split(&self.0)
    }
}

/// Divides words into those of each row.
fn split(words: &[u32]) -> impl Iterator<Item = &[u32]> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let [_, head, ..] = rest else { return None };
        let (entry, next) = rest.split_at(Head(*head).words());
        rest = next;
        Some(entry)
    })
}

/// An entry in a block of a chain.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    /// Where the target is.
    pub(super) target: &'a AtomicU32,
    /// How many words it takes there.
    pub(super) words: usize,
    pub(super) kind: Kind,
    /// What is written about it: a row, or literals.
    pub(super) body: &'a [AtomicU32],
}

impl Placed<'_> {
    pub(super) fn target(&self) -> u32 {
        self.target.load(Ordering::Relaxed)
    }

    /// Whether it may ask for nothing but ranges of integers.
    fn may_be_ranges(&self) -> bool {
        match self.kind {
            Kind::Clauses => clauses::may_be_ranges(self.body),
            _ => Head(self.body[1].load(Ordering::Relaxed)).codes() == 0,
        }
    }

    /// Appends it as a row.
    pub(super) fn read(&self, scales: &Scales, row: &mut Vec<u32>) {
        match self.kind {
            Kind::Clauses => clauses::read(self.target(), self.body, scales, row),
            _ => row.extend(self.body.iter().map(|word| word.load(Ordering::Relaxed))),
        }
    }
}

/// Calls `see` with each entry in a block of a chain, those included that were removed.
pub(super) fn each_placed<'a>(arena: &'a Arena, block: Handle, mut see: impl FnMut(Placed<'a>)) {
    let (first, meta) = start(arena, block);
    let (used, kind) = (Used(first), meta.kind());
    let words = &arena.words(block)[..meta.size()];
    match kind {
        Kind::Clauses => clauses::each_entry(words, used, |target, body, _| {
            see(Placed { target, words: body.len() + 1, kind, body });
        }),
        _ => {
            debug_assert_eq!(kind, Kind::Entries);
            let mut rest = &words[CHAIN_HEAD..used.end()];
            while let [target, head, ..] = rest {
                let (body, next) = rest.split_at(Head(head.load(Ordering::Relaxed)).words());
                see(Placed { target, words: body.len(), kind, body });
                rest = next;
            }
        }
    }
}

/// As [`each_placed`], of the entries that `wanted` is the target of.
pub(super) fn each_placed_of<'a>(
    arena: &'a Arena,
    block: Handle,
    wanted: u32,
    mut see: impl FnMut(Placed<'a>),
) {
    let (first, meta) = start(arena, block);
    let kind = meta.kind();
    if kind == Kind::Clauses {
        let words = &arena.words(block)[..meta.size()];
        return clauses::each_entry_of(words, Used(first), wanted, |target, body| {
            see(Placed { target, words: body.len() + 1, kind, body });
        });
    }
    each_placed(arena, block, |placed| {
        if placed.target() == wanted {
            see(placed);
        }
    });
}

/// Whether the target `wanted` of a block of rows wants every event of its topic.
pub(super) fn is_always(arena: &Arena, block: Handle, wanted: u32) -> bool {
    let mut is_always = false;
    each_placed_of(arena, block, wanted, |placed| {
        is_always = Head(placed.body[1].load(Ordering::Relaxed)).is_always();
    });
    is_always
}

/// Whether so many entries of a block were not removed.
pub(in crate::index) fn has_entries(arena: &Arena, block: Handle, wanted: usize) -> bool {
    most_entries(arena, block) >= wanted && count(arena, block) >= wanted
}

/// As [`has_entries`], of entries that may be nothing but ranges of integers.
pub(in crate::index) fn may_have_ranges(arena: &Arena, block: Handle, wanted: usize) -> bool {
    most_entries(arena, block) >= wanted && count_of(arena, block, |placed| placed.may_be_ranges()) >= wanted
}

/// How many entries a block has at most: mostly that is enough to know, without a look at them.
fn most_entries(arena: &Arena, block: Handle) -> usize {
    let (first, meta) = start(arena, block);
    let used = Used(first);
    match meta.kind() {
        Kind::Clauses => used.targets(),
        _ => (used.end() - CHAIN_HEAD) / ENTRY_HEAD,
    }
}

/// How many entries of a block were not removed.
pub(in crate::index) fn count(arena: &Arena, block: Handle) -> usize {
    count_of(arena, block, |_| true)
}

/// As [`count`], of those that are such.
fn count_of(arena: &Arena, block: Handle, is_such: impl Fn(&Placed) -> bool) -> usize {
    let mut count = 0;
    each_placed(arena, block, |placed| {
        count += usize::from(placed.target() != NOBODY && is_such(&placed));
    });
    count
}

fn copy_words(from: &[AtomicU32], to: &[AtomicU32]) {
    from.iter()
        .zip(to)
        .for_each(|(word, place)| place.store(word.load(Ordering::Relaxed), Ordering::Relaxed));
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
    /// The row of each entry of a block that was not removed.
    pub(in crate::index) fn entries(&self, block: Handle) -> Entries {
        let mut words = Vec::with_capacity(2 * self.used(block).words());
        each_placed(self.arena(), block, |placed| {
            if placed.target() != NOBODY {
                placed.read(self.dictionary.scales(), &mut words);
            }
        });
        Entries(words)
    }

    /// What is used of a block of a chain.
    pub(in crate::index) fn used(&self, block: Handle) -> Used {
        Used(self.arena().load(block, 0))
    }

    /// Makes the first block of a chain. `rows` are those of all entries, one behind the other.
    pub(in crate::index) fn new_chain(&mut self, view: &View, owner: Owner, rows: &[u32]) -> Handle {
        let block = self.new_block_of(owner, rows);
        split(rows).for_each(|entry| self.add_home(entry[0], block));
        self.lead(view, owner, 0, block);
        block
    }

    /// A block of a chain with these rows.
    fn new_block_of(&mut self, owner: Owner, rows: &[u32]) -> Handle {
        let mut literals = std::mem::take(&mut self.literals);
        literals.clear();
        let rows_of = || split(rows);
        let block = if let Some(count) = clauses::write_all(rows_of(), &self.dictionary, &mut literals) {
            let used = Used::new(CHAIN_HEAD + literals.len(), count);
            let block = self.new_block(owner, Kind::Clauses, used.words());
            self.write(block, CHAIN_HEAD, &literals);
            let end = meta(self.arena(), block).size();
            let targets = self.arena().words(block)[..end].iter().rev();
            rows_of().zip(targets).for_each(|(row, place)| place.store(row[0], Ordering::Relaxed));
            self.arena().store(block, 0, used.0);
            block
        } else {
            let used = Used::new(CHAIN_HEAD + rows.len(), 0);
            let block = self.new_block(owner, Kind::Entries, used.words());
            self.write(block, CHAIN_HEAD, rows);
            self.arena().store(block, 0, used.0);
            block
        };
        self.literals = literals;
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
        split(entries).take_while(fits).for_each(drop);
        let (now, later) = entries.split_at(words);
        self.new_chain(view, owner, now);
        for entry in split(later) {
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

    /// As `new_block`, between the neighbours of one whose place it is to take.
    pub(super) fn new_block_for(&mut self, owner: Owner, kind: Kind, block: Handle, words: usize) -> Handle {
        let new = self.new_block(owner, kind, words);
        for at in [NEXT, PREVIOUS] {
            self.arena().store(new, at, self.arena().load(block, at));
        }
        new
    }

    /// Adds a row to a block. False if it has no room for it, or not in its kind.
    pub(super) fn append_in_place(&mut self, block: Handle, row: &[u32]) -> bool {
        if meta(self.arena(), block).kind() != Kind::Clauses {
            return self.place(block, row[0], row);
        }
        let mut literals = std::mem::take(&mut self.literals);
        literals.clear();
        let fits =
            clauses::write(row, &self.dictionary, &mut literals) && self.place(block, row[0], &literals);
        self.literals = literals;
        fits
    }

    /// Adds what is written about a target in the way of the block's kind. False if it has no room.
    pub(super) fn place(&self, block: Handle, target: u32, body: &[u32]) -> bool {
        let (meta, used) = (meta(self.arena(), block), self.used(block));
        let targets = usize::from(meta.kind() == Kind::Clauses);
        if used.words() + body.len() + targets > meta.size() {
            return false;
        }
        self.write(block, used.end(), body);
        if targets == 1 {
            self.write(block, meta.size() - 1 - used.targets(), &[target]);
        }
        self.arena().store(block, 0, Used::new(used.end() + body.len(), used.targets() + targets).0);
        true
    }

    /// Adds an entry to a chain whose first block has no room, or not in its kind: in a copy of it, or
    /// in a new block before it.
    pub(super) fn append_grown(&mut self, view: &View, owner: Owner, block: Handle, row: &[u32]) {
        let (kind, live) = self.kind_with(block, row);
        let body = self.body_of(kind, row);
        let words = body.len() + usize::from(kind == Kind::Clauses);
        if live + words > CHAIN_WORDS_MAX {
            let kind = if clauses::fits(row) { Kind::Clauses } else { Kind::Entries };
            let words = CHAIN_HEAD + self.words_of(kind, row);
            self.literals = body;
            let before = self.new_block(owner, kind, words.max(CHAIN_WORDS_MAX / SHORTNESS));
            self.append_in_place(before, row);
            self.add_home(row[0], before);
            self.put_before(view, owner, block, before);
            return;
        }
        let wanted = (live + words).max(self.lengths.grown(live));
        let copy = self.copy(view, owner, kind, block, wanted);
        let is_placed = self.place(copy, row[0], &body);
        debug_assert!(is_placed, "the copy has room");
        self.literals = body;
        self.add_home(row[0], copy);
        self.replace(view, owner, block, copy);
    }

    /// Lets a chain begin with a block before its first.
    pub(super) fn put_before(&mut self, view: &View, owner: Owner, block: Handle, before: Handle) {
        self.arena().store(before, NEXT, block);
        self.arena().store(block, PREVIOUS, before);
        self.lead(view, owner, block, before);
    }

    /// What kind a copy of a block should be that is to have one more row, and how many words it has
    /// then without that row.
    fn kind_with(&mut self, block: Handle, row: &[u32]) -> (Kind, usize) {
        let now = meta(self.arena(), block);
        let live = self.used(block).words() - now.dead();
        match now.kind() {
            Kind::Clauses if clauses::fits(row) => return (Kind::Clauses, live),
            Kind::Entries if !clauses::fits(row) => return (Kind::Entries, live),
            _ => {}
        }
        let entries = self.entries(block);
        let mut literals = std::mem::take(&mut self.literals);
        literals.clear();
        let with = match clauses::write_all(entries.iter().chain([row]), &self.dictionary, &mut literals) {
            Some(count) => {
                let words = CHAIN_HEAD + literals.len() + count;
                (Kind::Clauses, words - self.words_of(Kind::Clauses, row))
            }
            None => (Kind::Entries, CHAIN_HEAD + entries.0.len()),
        };
        self.literals = literals;
        with
    }

    /// How many words a row takes in a block.
    fn words_of(&mut self, kind: Kind, row: &[u32]) -> usize {
        let body = self.body_of(kind, row);
        let words = body.len() + usize::from(kind == Kind::Clauses);
        self.literals = body;
        words
    }

    /// What is written about a row in a block: in the room for literals, which is to be given back.
    fn body_of(&mut self, kind: Kind, row: &[u32]) -> Vec<u32> {
        let mut body = std::mem::take(&mut self.literals);
        body.clear();
        match kind {
            Kind::Clauses => _ = clauses::write(row, &self.dictionary, &mut body),
            _ => body.extend_from_slice(row),
        }
        body
    }

    /// A copy of a block of a chain, with room for `words` words, without what was removed; of the
    /// same kind, or of rows and clauses the other.
    pub(super) fn copy(
        &mut self,
        view: &View,
        owner: Owner,
        kind: Kind,
        block: Handle,
        words: usize,
    ) -> Handle {
        let copy = self.new_block_for(owner, kind, block, words);
        let arena = &view.common.arena;
        let known = meta(arena, block);
        if known.kind() == kind {
            match known.dead() {
                0 => self.copy_all(arena, block, copy),
                _ => self.copy_live(arena, block, copy),
            }
            return copy;
        }
        let mut row = std::mem::take(&mut self.words);
        each_placed(arena, block, |placed| {
            if placed.target() == NOBODY {
                return;
            }
            row.clear();
            placed.read(self.dictionary.scales(), &mut row);
            let is_placed = self.append_in_place(copy, &row);
            debug_assert!(is_placed, "the copy has room");
            self.move_home(placed.target(), block, copy);
        });
        self.words = row;
        copy
    }

    /// Copies all that is in a block, of which nothing was removed, to an empty one of its kind.
    fn copy_all(&mut self, arena: &Arena, block: Handle, copy: Handle) {
        let (used, kind) = (self.used(block), meta(arena, block).kind());
        let old = &arena.words(block)[..meta(arena, block).size()];
        let new = &arena.words(copy)[..meta(arena, copy).size()];
        let (targets, moved) = (&old[old.len() - used.targets()..], &new[new.len() - used.targets()..]);
        let words = &old[CHAIN_HEAD..used.end()];
        copy_words(words, &new[CHAIN_HEAD..used.end()]);
        copy_words(targets, moved);
        let mut move_home = |target: &AtomicU32| {
            self.move_home(target.load(Ordering::Relaxed), block, copy);
        };
        match kind {
            Kind::Clauses => targets.iter().for_each(move_home),
            _ => each_row(words, |target, _, _| move_home(target)),
        }
        self.arena().store(copy, 0, used.0);
    }

    /// Copies what was not removed of a block to an empty one of its kind.
    fn copy_live(&mut self, arena: &Arena, block: Handle, copy: Handle) {
        let meta = meta(arena, copy);
        let words = &arena.words(copy)[..meta.size()];
        let (mut end, mut targets) = (CHAIN_HEAD, 0);
        each_placed(arena, block, |placed| {
            let target = placed.target();
            if target == NOBODY {
                return;
            }
            copy_words(placed.body, &words[end..]);
            end += placed.body.len();
            if meta.kind() == Kind::Clauses {
                targets += 1;
                words[words.len() - targets].store(target, Ordering::Relaxed);
            }
            self.move_home(target, block, copy);
        });
        debug_assert!(end + targets <= words.len(), "the copy has room");
        self.arena().store(copy, 0, Used::new(end, targets).0);
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
