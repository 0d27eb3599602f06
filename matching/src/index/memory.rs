//! The writer's side of the arena: taking blocks, and giving them back when no reader can see
//! them.

use std::sync::Arc;

use super::arena::{Allocator, Arena, Handle, SURE_WORDS, WORDS_MAX};
use super::epoch::{Epochs, Retired};

/// What readers and the writer share.
pub(super) struct Common {
    pub(super) arena: Arena,
    pub(super) epochs: Epochs,
}

/// How a table gets room for a part of another size.
pub(super) type Take = fn(&mut Memory, usize) -> Option<(Handle, usize)>;

/// What leaves the index and may be used again later.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaving {
    Block {
        handle: Handle,
        words: u32,
    },
    /// A code that nobody uses any more.
    Code(u32),
    /// The number of an attribute that nobody asks for any more.
    Attribute(u16),
    /// The number of a scale.
    Scale(u16),
    /// The number of an entry.
    Entry(u32),
    /// The number of a test.
    Test(u32),
    /// The number of an entry whose place another took, and that one's.
    Replaced {
        old: u32,
        new: u32,
    },
}

pub(super) struct Memory {
    common: Arc<Common>,
    allocator: Allocator,
    retired: Retired<Leaving>,
    /// Numbers that may be used again, for whom they belong to.
    pub(super) freed: Vec<Leaving>,
    words_max: usize,
    /// Words that were given back since free pieces were put together.
    given_words: usize,
    /// A large block for which there was no room, and how often there was none.
    missing_words: usize,
    missed: usize,
}

/// After so many retired things the writer looks which of them came free.
const DRAIN_AT: usize = 64;

/// Words that are kept for changes that must not fail: 64 MiB, or half of all.
const RESERVE_WORDS: usize = 1 << 24;

/// Words that a change takes at most: for the blocks that it moves and a table that grows, and for
/// each byte of what is asked for. Of an entry with many places its copies take most of that.
const CHANGE_WORDS: usize = 3 << 14;
const CHANGE_WORDS_EACH: usize = 48;

/// So often something goes on with what it has where there is no room for a larger block. A part of a
/// table, of that size, has more free slots than that.
const MISSED_MAX: usize = 256;

impl Memory {
    #[cfg(test)]
    pub(super) fn new() -> Memory {
        Memory::of_bytes(usize::MAX)
    }

    /// Memory of at most so many bytes, and of 8 GiB.
    pub(super) fn of_bytes(bytes_max: usize) -> Memory {
        let words_max = (bytes_max / 4).min(WORDS_MAX);
        let common = Arc::new(Common { arena: Arena::new(), epochs: Epochs::new() });
        let allocator = Allocator::new(&common.arena, words_max, reserve_of(words_max));
        Memory {
            common,
            allocator,
            retired: Retired::new(),
            freed: Vec::new(),
            words_max,
            given_words: 0,
            missing_words: 0,
            missed: 0,
        }
    }

    pub(super) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    pub(super) fn arena(&self) -> &Arena {
        &self.common.arena
    }

    /// A block of at least `words` words, and how many it has.
    ///
    /// # Panics
    /// When the reserve is used up, which is a fault of who added an entry without asking for room.
    pub(super) fn take(&mut self, words: usize) -> (Handle, usize) {
        match self.allocator.take(&self.common.arena, words) {
            Some(block) => block,
            None => panic!("the subscription index has used up its reserve"),
        }
    }

    /// As `take`, for who can go on without: `None` if a large block would take what is kept for
    /// blocks that nobody can do without.
    pub(super) fn take_if_room(&mut self, words: usize) -> Option<(Handle, usize)> {
        let block = match words {
            0..=SURE_WORDS => Some(self.take(words)),
            _ if self.has_room_for(words) => self.allocator.take(&self.common.arena, words),
            _ => None,
        };
        match block {
            Some(_) if words >= self.missing_words => (self.missing_words, self.missed) = (0, 0),
            Some(_) => {}
            None => {
                self.missing_words = self.missing_words.max(words);
                self.missed += 1;
            }
        }
        block
    }

    /// Gives back a block that readers may still see.
    pub(super) fn retire(&mut self, handle: Handle, words: usize) {
        self.retire_thing(Leaving::Block { handle, words: words as u32 });
    }

    pub(super) fn retire_thing(&mut self, thing: Leaving) {
        self.retired.push(&self.common.epochs, thing);
        if self.retired.len().is_multiple_of(DRAIN_AT) {
            self.drain();
        }
    }

    /// Looks what came free.
    pub(super) fn drain(&mut self) {
        let (allocator, freed, given) = (&mut self.allocator, &mut self.freed, &mut self.given_words);
        self.retired.drain(&self.common.epochs, |thing| match thing {
            Leaving::Block { handle, words } => {
                allocator.give(handle, words as usize);
                *given += words as usize;
            }
            number => freed.push(number),
        });
    }

    /// Gives back at once a block that no reader has ever seen.
    pub(super) fn give(&mut self, handle: Handle, words: usize) {
        self.allocator.give(handle, words);
        self.given_words += words;
    }

    /// Makes large pieces of small ones, where there is no room and much was given back.
    pub(super) fn gather(&mut self, bytes: usize) {
        if self.allocator.unused_words() >= reserve_of(self.words_max) && !self.has_room(bytes) {
            self.join();
        }
    }

    /// Puts free pieces together, if much was given back since they were.
    fn join(&mut self) {
        if self.given_words >= self.allocator.unused_words() / 8 {
            self.allocator.join();
            self.given_words = 0;
        }
    }

    /// As `take`, for who gives back more than that soon: of pieces too small to be counted as sure, if
    /// there is no room. `None` if there is none of these.
    pub(super) fn take_spare(&mut self, words: usize) -> Option<(Handle, usize)> {
        if self.has_room_for(words) {
            return self.allocator.take(&self.common.arena, words);
        }
        self.join();
        self.allocator.take_spare(words)
    }

    /// Whether the reserve is still whole, and there are large pieces enough for an ask of so many
    /// bytes.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.has(reserve_of(self.words_max), bytes)
            && (self.missing_words == 0 || self.has_room_for(self.missing_words))
    }

    /// Whether half of the reserve is still there, and large pieces as for `has_room`.
    pub(super) fn has_reserve(&self, bytes: usize) -> bool {
        self.has(reserve_of(self.words_max) / 2, bytes) && self.missed < MISSED_MAX
    }

    fn has(&self, unused: usize, bytes: usize) -> bool {
        self.is_far_from_full()
            || (self.allocator.unused_words() >= unused
                && self.allocator.sure_words() >= CHANGE_WORDS + CHANGE_WORDS_EACH * bytes)
    }

    /// Whether nothing needs to be counted: of words ahead more than half is sure.
    fn is_far_from_full(&self) -> bool {
        self.allocator.ahead_words() >= 2 * reserve_of(self.words_max) + 4 * SURE_WORDS
    }

    /// Whether a large block leaves a quarter of the reserve.
    pub(super) fn has_room_for(&self, words: usize) -> bool {
        let kept = reserve_of(self.words_max) / 4;
        self.is_far_from_full() || self.allocator.sure_words() >= kept + words + words / 8
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.words_max.saturating_mul(4)
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.allocator.used_bytes()
    }
}

fn reserve_of(words_max: usize) -> usize {
    RESERVE_WORDS.min(words_max / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::index::{Index, bytes_of};
    use crate::selector::Selector;
    use crate::topic::TopicFilter;

    /// About as many alternatives as a filter may hold.
    fn any(part: impl Fn(usize) -> String) -> String {
        let mut text = String::new();
        for n in 0.. {
            let part = part(n);
            // More would be too many nodes.
            if text.len() + part.len() > 12_000 {
                break;
            }
            text.push_str(if n == 0 { "" } else { " OR " });
            text.push_str(&part);
        }
        text
    }

    /// Parts of `count` choices each of which takes a place of its own.
    fn choices(n: usize, count: usize) -> String {
        let choice = |at: usize| format!("(a{n} = {at} AND b > {at})");
        format!("({})", (0..count).map(choice).collect::<Vec<_>>().join(" OR "))
    }

    #[test]
    fn a_change_takes_no_more_than_is_sure() {
        let shapes: [fn(usize) -> String; 7] = [
            |n| format!("k = {n}"),
            |n| format!("k{n} != {n}"),
            |n| format!("(k = {n} AND m = {n} AND n = {n})"),
            |n| format!("k IN ({n}, {n}1, {n}2, {n}3) OR m IN ({n}, {n}1)"),
            |n| choices(n, 8),
            |n| choices(n, 20),
            |n| choices(n, 30),
        ];
        let index: Index<u32> = Index::new();
        let insert = |text: &str| {
            let predicate = Some(Filter::parse(text).expect("a filter"));
            let topic = TopicFilter::parse("t").expect("a topic filter");
            let selector = Selector { predicate, ..Selector::new(topic) };
            let (bytes, before) = (bytes_of(&selector), index.write().memory.used_bytes());
            index.insert(selector, 0);
            let taken = index.write().memory.used_bytes().saturating_sub(before) / 4;
            assert!(taken * 2 < CHANGE_WORDS + CHANGE_WORDS_EACH * bytes, "{taken} words for {bytes} bytes");
        };
        (0..3_000).for_each(|n| insert(&format!("k = {n} AND m > {n}")));
        for round in 0..3 {
            // The second time parts are shared, by now they are.
            shapes.iter().for_each(|shape| insert(&any(|n| shape(n + round / 2 * 7))));
        }
    }
}
