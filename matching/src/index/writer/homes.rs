//! Where each target stands: the way from its number to its blocks, for removal.
//!
//! A target has one home in most cases; one that stands in several places has a block that lists
//! them, which only the writer reads. Lists and gates keep their homes themselves.
//!
//! The fingerprint of an entry's filter lies behind its home, so that a removal waits for one line
//! rather than two. Entries of long lists need none: a page in which nobody does has no room for any.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Writer;
use crate::index::arena::{Arena, Handle};
use crate::index::blocks::{Kind, LIST_HOME, Meta};
use crate::index::entry::{IS_GATE, IS_LIST};
use crate::index::fingerprint::Fingerprint;
use crate::index::memory::Memory;
use crate::index::numbers::Numbers;
use crate::simd;

/// `home` leads to a block of several.
pub(super) const IS_SEVERAL: u32 = 0x8000_0000;

/// Where each entry stands, and the fingerprint of its filter.
pub(in crate::index) struct Homes {
    pages: Vec<Page>,
    pub(super) numbers: Numbers,
    pub(in crate::index) live: usize,
}

/// Entries that lie together.
#[derive(Clone, Copy)]
struct Page {
    /// In the arena.
    block: Handle,
    /// How many of them need their fingerprints.
    prints: u32,
}

const PAGE: usize = 64;
/// Words of an entry with its fingerprint.
const WITH_PRINT: usize = 1 + size_of::<Fingerprint>() / size_of::<u32>();

impl Page {
    /// Words of each entry.
    fn each(self) -> usize {
        if self.prints == 0 { 1 } else { WITH_PRINT }
    }

    /// Moves the homes with the first fingerprint and with the last: then there is room for them, or
    /// none.
    fn count_prints(&mut self, memory: &mut Memory, change: i32) {
        let old = *self;
        self.prints = self.prints.wrapping_add_signed(change);
        if self.each() == old.each() {
            return;
        }
        self.block = memory.take(PAGE * self.each()).0;
        for number in 0..PAGE as u32 {
            let home = old.words(memory.arena(), number)[0].load(Ordering::Relaxed);
            self.words(memory.arena(), number)[0].store(home, Ordering::Relaxed);
        }
        // Only the writer reads these.
        memory.give(old.block, PAGE * old.each());
    }

    /// The words of an entry and of those behind it.
    fn words(self, arena: &Arena, number: u32) -> &[AtomicU32] {
        &arena.words(self.block)[number as usize % PAGE * self.each()..]
    }
}

impl Homes {
    pub(in crate::index) fn new() -> Homes {
        Homes { pages: Vec::new(), numbers: Numbers::default(), live: 0 }
    }

    /// A number that no reader can hold; `None` if all 134 million are given or kept.
    pub(in crate::index) fn take(&mut self, memory: &mut Memory) -> Option<u32> {
        let number = self.numbers.take()?;
        self.open(memory, number);
        Some(number)
    }

    /// A number of a group that is kept for who asks, if there is one.
    pub(super) fn take_group(&mut self, memory: &mut Memory) -> Option<u32> {
        let number = self.numbers.take_group(self.live)?;
        self.open(memory, number);
        Some(number)
    }

    /// A number of a group that is kept, if one is free.
    pub(super) fn take_of(&mut self, memory: &mut Memory, group: u32) -> Option<u32> {
        let number = self.numbers.take_of(group)?;
        self.open(memory, number);
        Some(number)
    }

    /// Begins an entry that stands nowhere.
    fn open(&mut self, memory: &mut Memory, number: u32) {
        while number as usize / PAGE >= self.pages.len() {
            self.pages.push(Page { block: memory.take(PAGE).0, prints: 0 });
        }
        self.live += 1;
        self.set(memory.arena(), number, 0);
    }

    fn place<'a>(&self, arena: &'a Arena, number: u32) -> &'a AtomicU32 {
        &self.pages[number as usize / PAGE].words(arena, number)[0]
    }

    pub(super) fn get(&self, arena: &Arena, number: u32) -> u32 {
        self.place(arena, number).load(Ordering::Relaxed)
    }

    /// As `get`, or anything of a number that nobody has.
    pub(super) fn find(&self, arena: &Arena, number: u32) -> u32 {
        let page = self.pages.get(number as usize / PAGE);
        page.map_or(0, |page| page.words(arena, number)[0].load(Ordering::Relaxed))
    }

    /// Asks the memory for the home of a number and what is behind it, if there is one.
    pub(super) fn fetch(&self, arena: &Arena, number: u32) {
        if let Some(page) = self.pages.get(number as usize / PAGE) {
            simd::prefetch(&page.words(arena, number)[0]);
        }
    }

    pub(super) fn set(&self, arena: &Arena, number: u32, home: u32) {
        self.place(arena, number).store(home, Ordering::Relaxed);
    }

    /// The fingerprint that was noted for an entry; anything, or none, if none was.
    pub(in crate::index) fn print(&self, arena: &Arena, number: u32) -> Option<Fingerprint> {
        let page = self.pages.get(number as usize / PAGE).filter(|page| page.prints > 0)?;
        let words = &page.words(arena, number)[1..WITH_PRINT];
        Some(std::array::from_fn(|at| words[at].load(Ordering::Relaxed)))
    }

    /// Keeps the fingerprint of an entry.
    pub(in crate::index) fn note(&mut self, memory: &mut Memory, number: u32, print: Fingerprint) {
        let page = &mut self.pages[number as usize / PAGE];
        page.count_prints(memory, 1);
        let words = &page.words(memory.arena(), number)[1..WITH_PRINT];
        words.iter().zip(print).for_each(|(place, word)| place.store(word, Ordering::Relaxed));
    }

    /// Forgets the fingerprint that was noted for an entry.
    pub(in crate::index) fn forget(&mut self, memory: &mut Memory, number: u32) {
        self.pages[number as usize / PAGE].count_prints(memory, -1);
    }

    /// How many fingerprints there are.
    #[cfg(test)]
    pub(in crate::index) fn prints(&self) -> u32 {
        self.pages.iter().map(|page| page.prints).sum()
    }

    /// Bytes beside those in the arena.
    pub(super) fn bytes(&self) -> usize {
        self.pages.capacity() * size_of::<Page>() + self.numbers.bytes()
    }
}

/// Homes of targets.
impl Writer {
    pub(super) fn home(&self, target: u32) -> u32 {
        if target & IS_LIST != 0 {
            self.arena().load(target & !IS_LIST, LIST_HOME)
        } else if target & IS_GATE != 0 {
            self.gates.home(target & !IS_GATE)
        } else {
            self.homes.get(self.arena(), target)
        }
    }

    pub(super) fn set_home(&mut self, target: u32, home: u32) {
        if target & IS_LIST != 0 {
            self.arena().store(target & !IS_LIST, LIST_HOME, home);
        } else if target & IS_GATE != 0 {
            self.gates.set_home(target & !IS_GATE, home);
        } else {
            self.homes.set(self.memory.arena(), target, home);
        }
    }

    /// The first block that a target stands in.
    pub(super) fn first_block_of(&self, target: u32) -> Option<Handle> {
        match self.home(target) {
            0 => None,
            home if home & IS_SEVERAL == 0 => Some(home),
            home => Some(self.arena().load(home & !IS_SEVERAL, 2)),
        }
    }

    /// In how many blocks a target stands.
    pub(super) fn places_of(&self, target: u32) -> usize {
        match self.home(target) {
            0 => 0,
            home if home & IS_SEVERAL == 0 => 1,
            home => self.arena().load(home & !IS_SEVERAL, 0) as usize,
        }
    }

    pub(super) fn blocks_of(&self, home: u32) -> Vec<Handle> {
        if home == 0 {
            return Vec::new();
        }
        if home & IS_SEVERAL == 0 {
            return vec![home];
        }
        let words = self.arena().words(home & !IS_SEVERAL);
        let count = words[0].load(Ordering::Relaxed) as usize;
        words[2..2 + count].iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    pub(super) fn write_homes(&mut self, target: u32, blocks: &[Handle]) {
        let old = self.home(target);
        let home = match blocks {
            [] => 0,
            [one] => *one,
            many => {
                let (handle, size) = self.memory.take(2 + many.len());
                self.write(handle, 0, &[many.len() as u32, Meta::new(Kind::Homes, size.min(0x3fff)).0]);
                self.write(handle, 2, many);
                handle | IS_SEVERAL
            }
        };
        self.set_home(target, home);
        if old & IS_SEVERAL != 0 {
            // Only the writer reads these.
            let old = old & !IS_SEVERAL;
            let count = self.arena().load(old, 0) as usize;
            self.memory.give(old, 2 + count);
        }
    }

    pub(in crate::index) fn add_home(&mut self, target: u32, block: Handle) {
        let home = self.home(target);
        if home == 0 || home == block {
            self.set_home(target, block);
            return;
        }
        let mut blocks = self.blocks_of(home);
        if !blocks.contains(&block) {
            blocks.push(block);
            self.write_homes(target, &blocks);
        }
    }

    pub(in crate::index) fn drop_home(&mut self, target: u32, block: Handle) {
        let home = self.home(target);
        if home == block {
            self.set_home(target, 0);
            return;
        }
        let mut blocks = self.blocks_of(home);
        blocks.retain(|known| *known != block);
        self.write_homes(target, &blocks);
    }

    pub(in crate::index) fn move_home(&mut self, target: u32, from: Handle, to: Handle) {
        let home = self.home(target);
        if home == from {
            self.set_home(target, to);
        } else if home & IS_SEVERAL != 0 {
            let words = self.arena().words(home & !IS_SEVERAL);
            let count = words[0].load(Ordering::Relaxed) as usize;
            for word in &words[2..2 + count] {
                if word.load(Ordering::Relaxed) == from {
                    word.store(to, Ordering::Relaxed);
                }
            }
        }
    }
}
