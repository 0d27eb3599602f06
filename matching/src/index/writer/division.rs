//! Dividing a chain that got long: each entry goes under the rarest code that it asks for.
//!
//! All that moves is written once, aside, and sorted by the code that it goes under; nobody reads
//! the new blocks before all are there.

use std::sync::atomic::{AtomicU32, Ordering};

use super::chains::{Entries, write_entry};
use super::lists::can_stand_alone;
use super::{View, Writer};
use crate::index::arena::Handle;
use crate::index::blocks::{INNER_OWNER, INNER_WORDS, Kind, META, Meta, NEXT, Owner, meta};
use crate::index::entry::{ANY, ENTRY_HEAD, Head, IS_LIST, Operation};
use crate::index::place::divides;
use crate::index::table::Key;
use crate::index::writer::chains;

/// A chain with so many entries is divided, if it is long.
const DIVIDE_AT: usize = 24;

/// An entry whose alternatives are at most so many is put under each of them.
const CHOICES_MAX: usize = 8;

/// The most places of one entry that come from alternatives.
const PLACES_MAX: usize = 64;

/// Where an entry goes below an inner block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Under this one of its codes.
    Code(usize),
    /// Under each code of one of its operations: where that begins and how many they are.
    Choices(usize, usize),
    /// Among those that no code divides.
    Rest,
}

/// Division.
impl Writer {
    /// Where an entry with these codes and operations goes.
    pub(super) fn way(&self, target: u32, codes: &[u32], operations: &[u32], is_root: bool) -> Way {
        if let Some(at) = self.divider(codes, is_root) {
            return Way::Code(at);
        }
        match choices(operations) {
            Some((at, count)) if self.places_of(target).max(1) * count <= PLACES_MAX => {
                Way::Choices(at, count)
            }
            _ => Way::Rest,
        }
    }

    /// Which of the codes divides best.
    fn divider(&self, codes: &[u32], is_root: bool) -> Option<usize> {
        let mut usable =
            codes.iter().enumerate().filter(|(_, code)| is_root || divides(&self.dictionary, **code));
        let first = usable.next()?;
        let Some(second) = usable.next() else { return Some(first.0) };
        let chances = [first, second].into_iter().chain(usable).map(|(at, code)| (at, self.chance(*code)));
        chances.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(at, _)| at)
    }

    /// Divides a chain of one block by codes, if enough of its entries have one.
    pub(super) fn divide(&mut self, view: &View, owner: Owner, block: Handle) -> bool {
        if self.arena().load(block, NEXT) != 0
            || !self.is_long(block)
            || !chains::has_entries(self.arena(), block, DIVIDE_AT)
        {
            return false;
        }
        let is_root = self.is_root(owner);
        let entries = self.entries(block);
        let way = |entry: &[u32]| {
            let (_, codes, operations) = parts(entry);
            self.way(entry[0], codes, operations, is_root)
        };
        let ways: Vec<Way> = entries.iter().map(way).collect();
        if ways.iter().filter(|way| **way != Way::Rest).count() * 4 < ways.len() {
            return false;
        }
        let inner = self.new_inner(owner);
        entries.iter().for_each(|entry| self.drop_home(entry[0], block));
        self.fill(view, inner, &entries, &ways);
        self.lead(view, owner, block, inner);
        self.retire(block);
        true
    }

    /// Whether a block has so many words that what is below a division is found sooner than they are
    /// read. Rows are read one by one; and lists stand alone below codes, where they are found without
    /// a look at what they are.
    fn is_long(&self, block: Handle) -> bool {
        let (meta, used) = (meta(self.arena(), block), self.used(block));
        let targets = &self.arena().words(block)[meta.size() - used.targets()..meta.size()];
        let is_list = |target: &&AtomicU32| target.load(Ordering::Relaxed) & IS_LIST != 0;
        meta.kind() == Kind::Entries
            || used.words() >= self.lengths.clauses
            || targets.iter().filter(is_list).count() >= DIVIDE_AT
    }

    fn new_inner(&mut self, owner: Owner) -> Handle {
        let (inner, _) = self.memory.take(INNER_WORDS);
        let mut words = [0; INNER_WORDS];
        words[META] = Meta::new(Kind::Inner, INNER_WORDS).0;
        words[INNER_OWNER..INNER_OWNER + 2].copy_from_slice(&owner.words());
        self.write(inner, 0, &words);
        inner
    }

    /// Puts entries below an inner block that no reader sees yet.
    fn fill(&mut self, view: &View, inner: Handle, entries: &Entries, ways: &[Way]) {
        let mut words = Vec::new();
        // The code, where the entry begins, and whether it goes there alone. No code is 0.
        let mut placed: Vec<(u32, usize, bool)> = Vec::new();
        for (entry, way) in entries.iter().zip(ways) {
            let (head, codes, operations) = parts(entry);
            let entry = (entry[0], head);
            match *way {
                Way::Code(at) => {
                    placed.push((codes[at], words.len(), true));
                    write_entry(&mut words, entry, [&codes[..at], &codes[at + 1..]], [operations, &[]]);
                }
                Way::Choices(at, count) => {
                    let others = [&operations[..at], &operations[at + 1 + count..]];
                    self.use_copies(view, codes, &others.concat(), inner, count);
                    for code in &operations[at + 1..=at + count] {
                        placed.push((*code, words.len(), false));
                        write_entry(&mut words, entry, [codes, &[]], others);
                    }
                }
                Way::Rest => {
                    placed.push((0, words.len(), true));
                    write_entry(&mut words, entry, [codes, &[]], [operations, &[]]);
                }
            }
        }
        placed.sort_unstable();
        let mut group = Vec::new();
        for same in placed.chunk_by(|(code, ..), (other, ..)| code == other) {
            group.clear();
            same.iter().for_each(|(_, at, _)| group.extend(&words[*at..*at + Head(words[at + 1]).words()]));
            let owner = match same[0].0 {
                0 => Owner::Rest(inner),
                code => Owner::Link(Key { first: inner, second: code }),
            };
            // One that goes under several codes, or stands elsewhere too, is the entry of each chain.
            let is_alone = same[0].2 && self.places_of(group[0]) == 0 && can_stand_alone(owner, &group);
            if is_alone && entries.iter().filter(|entry| entry[0] == group[0]).count() == 1 {
                self.stand_alone(view, group[0] & !IS_LIST, owner, 0);
            } else {
                self.new_chain_of_many(view, owner, &group);
            }
        }
    }
}

/// The head, the codes and the operations of an entry.
pub(super) fn parts(entry: &[u32]) -> (Head, &[u32], &[u32]) {
    let head = Head(entry[1]);
    let (codes, operations) = entry[ENTRY_HEAD..].split_at(head.codes());
    (head, codes, operations)
}

/// The operation that lists few codes one of which must be set: where it begins and how many they
/// are.
fn choices(operations: &[u32]) -> Option<(usize, usize)> {
    let mut at = 0;
    let mut best: Option<(usize, usize)> = None;
    while let Some(first) = operations.get(at) {
        let operation = Operation(*first);
        if operation.kind() == ANY
            && operation.count() <= CHOICES_MAX
            && best.is_none_or(|(_, count)| operation.count() < count)
        {
            best = Some((at, operation.count()));
        }
        at += 1 + operation.behind(operations.get(at + 1).copied().unwrap_or(0));
    }
    best
}
