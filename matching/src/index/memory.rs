//! The writer's side of the arena: taking blocks, and giving them back when no reader can see
//! them.

use std::sync::Arc;

use super::arena::{Allocator, Arena, Handle, WORDS_MAX};
use super::epoch::{Epochs, Retired};

/// What readers and the writer share.
pub(super) struct Common {
    pub(super) arena: Arena,
    pub(super) epochs: Epochs,
}

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
}

/// After so many retired things the writer looks which of them came free.
const DRAIN_AT: usize = 64;

/// Words that are kept for changes that must not fail: 64 MiB, or a quarter of all.
const RESERVE_WORDS: usize = 1 << 24;

impl Memory {
    #[cfg(test)]
    pub(super) fn new() -> Memory {
        Memory::of_bytes(usize::MAX)
    }

    /// Memory of at most so many bytes, and of 8 GiB.
    pub(super) fn of_bytes(bytes_max: usize) -> Memory {
        let words_max = (bytes_max / 4).min(WORDS_MAX);
        let common = Arc::new(Common { arena: Arena::new(), epochs: Epochs::new() });
        let allocator = Allocator::new(&common.arena, words_max);
        Memory { common, allocator, retired: Retired::new(), freed: Vec::new(), words_max }
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
        let (allocator, freed) = (&mut self.allocator, &mut self.freed);
        self.retired.drain(&self.common.epochs, |thing| match thing {
            Leaving::Block { handle, words } => allocator.give(handle, words as usize),
            number => freed.push(number),
        });
    }

    /// Gives back at once a block that no reader has ever seen.
    pub(super) fn give(&mut self, handle: Handle, words: usize) {
        self.allocator.give(handle, words);
    }

    /// Whether the reserve is still whole. One change takes little of it.
    pub(super) fn has_room(&self) -> bool {
        self.allocator.unused_words() >= self.reserve_words()
    }

    /// Whether the reserve stays whole if so many words are taken.
    pub(super) fn has_room_for(&self, words: usize) -> bool {
        self.allocator.unused_words() >= self.reserve_words() + words
    }

    /// Whether half of the reserve is still there.
    pub(super) fn has_reserve(&self) -> bool {
        self.allocator.unused_words() >= self.reserve_words() / 2
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.words_max.saturating_mul(4)
    }

    fn reserve_words(&self) -> usize {
        RESERVE_WORDS.min(self.words_max / 4)
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.allocator.used_bytes()
    }
}
