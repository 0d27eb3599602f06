//! The memory of the index: words in chunks that never move, addressed by a [`Handle`].
//!
//! 1. A word is an atomic `u32`: readers and the one writer touch it without a lock and without
//!    `unsafe`. What a reader finds is old or new, never torn.
//! 2. A chunk, once made, stays where it is until the arena goes. Growing copies nothing.
//! 3. A block is filled before its handle is stored anywhere with `Release`; readers load handles
//!    with `Acquire`. From then on only words that say so in their layout change.
//! 4. A block is used again only after every reader that may hold its handle has left
//!    (`super::epoch`).
//!
//! Sizes grow in steps of at most an eighth beyond 16 words, so that little is lost to rounding.
//! Large blocks that came free, as parts of tables that grow leave them behind, are cut into small
//! ones before the arena grows.
//!
//! Pieces of memory that came free are put together only where nothing else helps ([`Allocator::join`]).
//! What is kept for changes that must not fail is therefore counted in pieces that are large enough
//! ([`Allocator::sure_words`]), and smaller pieces are used before it is touched.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::simd;

/// The place of a block: the number of its first word. Zero is no block.
pub(super) type Handle = u32;

/// Words of the first chunks: an index of few entries takes little memory.
const SMALL_WORDS: usize = 1 << SMALL_BITS;
const SMALL_BITS: u32 = 16;
/// How many these are: as many as one of the later ones has words for.
const SMALL_COUNT: usize = 1 << (LARGE_BITS - SMALL_BITS);
/// Words of the later ones.
const LARGE_WORDS: usize = 1 << LARGE_BITS;
const LARGE_BITS: u32 = 20;
/// 2 billion words in all: the highest bit of a word is free for a mark. The first is never made.
const LARGE_COUNT: usize = 1 << (31 - LARGE_BITS);
const CHUNKS_MAX: usize = SMALL_COUNT + LARGE_COUNT - 1;

/// The most words that there can be: 8 GiB.
pub(super) const WORDS_MAX: usize = 1 << 31;

/// The largest block, in words.
pub(super) const BLOCK_WORDS_MAX: usize = LARGE_WORDS;

/// The largest block that a change cannot do without: the text of a constant, of a filter's 16 KiB, is
/// the longest; no entry stands in more places.
pub(super) const SURE_WORDS: usize = 1 << 13;

/// Blocks of so many words are cut from a larger one that came free,
const CUT_WORDS_MAX: usize = 128;
/// which has so many.
const OPEN_CLASS_MIN: usize = class_of(4 * CUT_WORDS_MAX);

/// Words of a line of the cache. A handle that is a multiple of it begins one.
pub(super) const LINE: usize = simd::LINE_BYTES / size_of::<u32>();

/// Words of a chunk with what it takes to begin on a line.
const SMALL_SIZE: usize = SMALL_WORDS + LINE;
const LARGE_SIZE: usize = LARGE_WORDS + LINE;

/// All words. Shared by readers and the writer.
pub(super) struct Arena {
    small: [OnceLock<Chunk<SMALL_SIZE>>; SMALL_COUNT],
    large: Box<[OnceLock<Chunk<LARGE_SIZE>>; LARGE_COUNT]>,
}

struct Chunk<const SIZE: usize> {
    words: Box<[AtomicU32; SIZE]>,
    /// Where the first whole line begins.
    start: usize,
}

impl<const SIZE: usize> Chunk<SIZE> {
    fn new() -> Chunk<SIZE> {
        let words: Box<[AtomicU32]> = bytemuck::allocation::zeroed_slice_box(SIZE);
        let beyond = words.as_ptr().addr() % (LINE * 4);
        let start = (LINE - beyond / 4) % LINE;
        match words.try_into() {
            Ok(words) => Chunk { words, start },
            Err(_) => unreachable!("it has so many words"),
        }
    }

    /// The words from one to the end; what `handle` has beyond the size is the chunk's number. Where
    /// they begin needs no check: the compiler knows both sizes.
    #[inline]
    fn from(&self, handle: Handle) -> &[AtomicU32] {
        &self.words[handle as usize % (SIZE - LINE) + self.start % LINE..]
    }
}

impl Arena {
    pub(super) fn new() -> Arena {
        // Not on the stack on its way: it is large.
        let large: Box<[_]> = (0..LARGE_COUNT).map(|_| OnceLock::new()).collect();
        match large.try_into() {
            Ok(large) => Arena { small: [const { OnceLock::new() }; SMALL_COUNT], large },
            Err(_) => unreachable!("there are so many"),
        }
    }

    /// The words from `handle` to the end of its chunk.
    ///
    /// # Panics
    /// If no block was ever given out there, which is a fault of this module's callers.
    #[inline]
    pub(super) fn words(&self, handle: Handle) -> &[AtomicU32] {
        let large = (handle >> LARGE_BITS) as usize;
        if large == 0 {
            let small = (handle >> SMALL_BITS) as usize;
            self.small[small % SMALL_COUNT].get().map_or(&[], |chunk| chunk.from(handle))
        } else {
            self.large[large % LARGE_COUNT].get().map_or(&[], |chunk| chunk.from(handle))
        }
    }

    /// The word `at` places behind `handle`, as its last `Release` store left it.
    #[inline]
    pub(super) fn load(&self, handle: Handle, at: usize) -> u32 {
        self.words(handle)[at].load(Ordering::Acquire)
    }

    pub(super) fn store(&self, handle: Handle, at: usize, value: u32) {
        self.words(handle)[at].store(value, Ordering::Release);
    }

    fn make_chunk(&self, chunk: usize) {
        match chunk.checked_sub(SMALL_COUNT) {
            None => _ = self.small[chunk].get_or_init(Chunk::new),
            Some(large) => _ = self.large[large + 1].get_or_init(Chunk::new),
        }
    }
}

/// The number of a handle's chunk, and where it is there.
fn place(handle: Handle) -> (usize, usize) {
    let (small, large) = (handle as usize >> SMALL_BITS, handle as usize >> LARGE_BITS);
    match large {
        0 => (small, handle as usize % SMALL_WORDS),
        _ => (SMALL_COUNT - 1 + large, handle as usize % LARGE_WORDS),
    }
}

fn chunk_words(chunk: usize) -> usize {
    if chunk < SMALL_COUNT { SMALL_WORDS } else { LARGE_WORDS }
}

/// Which words are in use. Belongs to the writer.
pub(super) struct Allocator {
    /// Blocks that may be used again, by class.
    free: Vec<Vec<Handle>>,
    /// How many of them may be cut.
    large: usize,
    /// What is left of the one that is being cut.
    open: Range<Handle>,
    next: Handle,
    chunk: usize,
    used_words: usize,
    words_max: usize,
    /// Of these at the end, words that are taken last.
    kept_words: usize,
}

impl Allocator {
    /// For at most so many words, of which so many are kept for last. The first are given to nobody:
    /// small numbers are no handles.
    pub(super) fn new(arena: &Arena, words_max: usize, kept_words: usize) -> Allocator {
        arena.make_chunk(0);
        let free = vec![Vec::new(); class_of(BLOCK_WORDS_MAX) + 1];
        Allocator { free, large: 0, open: 0..0, next: 16, chunk: 0, used_words: 0, words_max, kept_words }
    }

    /// A block of at least `words` words, all zero or left from its last use; and how many it has.
    /// `None` if the index is at its limit.
    pub(super) fn take(&mut self, arena: &Arena, words: usize) -> Option<(Handle, usize)> {
        let class = class_of(words);
        let words = class_words(class);
        let handle = self.pop(class).or_else(|| self.cut(words));
        let handle = handle.or_else(|| self.extend(arena, words, self.words_max - self.kept_words));
        let handle = handle.or_else(|| self.split(words, self.free.len()));
        let handle = handle.or_else(|| self.extend(arena, words, self.words_max))?;
        self.used_words += words;
        Some((handle, words))
    }

    /// As `take`, of free pieces that `sure_words` counts nothing of, and of which nothing is missing
    /// that others could not do without.
    pub(super) fn take_spare(&mut self, words: usize) -> Option<(Handle, usize)> {
        let words = class_words(class_of(words));
        let handle = self.split(words, class_of(SURE_WORDS))?;
        self.used_words += words;
        Some((handle, words))
    }

    /// Gives back a block that was taken for `words` words and that no reader can reach.
    pub(super) fn give(&mut self, handle: Handle, words: usize) {
        let class = class_of(words);
        self.used_words -= class_words(class);
        self.push(class, handle);
    }

    /// Words that are in no block: free, or not made yet.
    pub(super) fn unused_words(&self) -> usize {
        self.words_max.saturating_sub(self.used_words)
    }

    /// Puts pieces together that lie side by side and are free. `O(pieces × log pieces)`.
    pub(super) fn join(&mut self) {
        let mut pieces: Vec<Range<Handle>> = vec![std::mem::take(&mut self.open)];
        for (class, free) in self.free.iter_mut().enumerate() {
            let words = class_words(class) as u32;
            pieces.extend(free.drain(..).map(|handle| handle..handle + words));
        }
        self.large = 0;
        pieces.sort_unstable_by_key(|piece| piece.start);
        let mut joined = 0..0;
        for piece in pieces {
            if piece.start == joined.end && place(piece.start).0 == place(joined.start).0 {
                joined.end = piece.end;
            } else {
                self.recycle(std::mem::replace(&mut joined, piece));
            }
        }
        // The last may be where the words begin that were never taken.
        match joined.end == self.next && place(joined.start).0 == self.chunk {
            true => self.next = joined.start,
            false => self.recycle(joined),
        }
    }

    /// Words that can be taken in any case, in blocks of at most [`SURE_WORDS`] each, whatever their
    /// sizes and their order: of each piece all but what may be left of it, which is less than one
    /// such block. `O(classes + chunks)`.
    pub(super) fn sure_words(&self) -> usize {
        let of_piece = |words: usize| words.saturating_sub(SURE_WORDS);
        let classes = class_of(SURE_WORDS)..self.free.len();
        let free: usize = classes.map(|class| self.free[class].len() * of_piece(class_words(class))).sum();
        let ahead: usize = self.ahead().map(of_piece).sum();
        free + of_piece(self.open.len()) + ahead
    }

    /// Words that were never taken, by chunk.
    fn ahead(&self) -> impl Iterator<Item = usize> {
        let (_, offset) = place(self.next);
        let mut left = self.words_max.saturating_sub(self.next as usize);
        let chunks = (self.chunk..CHUNKS_MAX).map(chunk_words);
        let pieces = chunks.enumerate().map(move |(at, words)| if at == 0 { words - offset } else { words });
        pieces.map_while(move |words| {
            let words = words.min(left);
            left -= words;
            (words > 0).then_some(words)
        })
    }

    /// Words that were never taken.
    pub(super) fn ahead_words(&self) -> usize {
        self.words_max.saturating_sub(self.next as usize)
    }

    /// Bytes of the blocks that are in use.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_words * 4
    }

    /// Bytes of all chunks.
    #[cfg(test)]
    fn chunk_bytes(&self) -> usize {
        (0..=self.chunk).map(|chunk| chunk_words(chunk) * 4).sum()
    }

    fn push(&mut self, class: usize, handle: Handle) {
        self.free[class].push(handle);
        self.large += usize::from(class >= OPEN_CLASS_MIN);
    }

    fn pop(&mut self, class: usize) -> Option<Handle> {
        let handle = self.free.get_mut(class)?.pop()?;
        self.large -= usize::from(class >= OPEN_CLASS_MIN);
        Some(handle)
    }

    /// A small block out of a large one that came free.
    fn cut(&mut self, words: usize) -> Option<Handle> {
        if words > CUT_WORDS_MAX {
            return None;
        }
        if self.open.len() < words {
            self.open_another()?;
        }
        let handle = self.open.start;
        self.open.start += words as u32;
        Some(handle)
    }

    /// Opens the smallest: larger ones may be asked for again as they are.
    fn open_another(&mut self) -> Option<()> {
        if self.large == 0 {
            return None;
        }
        let class = (OPEN_CLASS_MIN..self.free.len()).find(|class| !self.free[*class].is_empty())?;
        let handle = self.pop(class)?;
        let left = std::mem::replace(&mut self.open, handle..handle + class_words(class) as u32);
        self.recycle(left);
        Some(())
    }

    /// A block out of any larger one below `class_end`, where the arena cannot grow.
    fn split(&mut self, words: usize, class_end: usize) -> Option<Handle> {
        let class = (class_of(words)..class_end).find(|class| !self.free[*class].is_empty())?;
        let handle = self.pop(class)?;
        self.recycle(handle + words as u32..handle + class_words(class) as u32);
        Some(handle)
    }

    /// A block of words that were never taken, all of them before `end`.
    fn extend(&mut self, arena: &Arena, words: usize, end: usize) -> Option<Handle> {
        loop {
            let (_, offset) = place(self.next);
            let left = chunk_words(self.chunk) - offset;
            let skipped = if words <= left { 0 } else { left };
            if self.next as usize + skipped + words > end {
                return None;
            }
            if words <= left {
                let handle = self.next;
                if words == left {
                    self.next_chunk(arena, words)?
                } else {
                    self.next += words as u32
                }
                return Some(handle);
            }
            if self.chunk + 1 == CHUNKS_MAX || words > BLOCK_WORDS_MAX {
                return None;
            }
            self.recycle(self.next..self.next + left as u32);
            self.next_chunk(arena, left)?;
        }
    }

    fn next_chunk(&mut self, arena: &Arena, words: usize) -> Option<()> {
        let next = self.next.checked_add(words as u32)?;
        if self.chunk + 1 == CHUNKS_MAX {
            return None;
        }
        self.next = next;
        self.chunk += 1;
        arena.make_chunk(self.chunk);
        Some(())
    }

    /// Makes blocks of words that nobody has.
    fn recycle(&mut self, mut words: Range<Handle>) {
        while !words.is_empty() {
            let class = class_within(words.len());
            self.push(class, words.start);
            words.start += class_words(class) as u32;
        }
    }
}

/// Classes 0 to 15 have 1 to 16 words; from there on eight to each doubling.
const fn class_of(words: usize) -> usize {
    if words <= 16 {
        return if words == 0 { 0 } else { words - 1 };
    }
    let bits = usize::BITS - (words - 1).leading_zeros();
    let step = 1usize << (bits - 4);
    16 + (bits as usize - 5) * 8 + (words - (1 << (bits - 1))).div_ceil(step) - 1
}

const fn class_words(class: usize) -> usize {
    if class < 16 {
        return class + 1;
    }
    let (doubling, eighth) = ((class - 16) / 8, (class - 16) % 8);
    let base = 16usize << doubling;
    base + (eighth + 1) * (base / 8)
}

/// The largest class of at most `words` words.
fn class_within(words: usize) -> usize {
    let class = class_of(words);
    if class_words(class) > words { class - 1 } else { class }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_size_and_wastes_at_most_an_eighth() {
        for words in 1..=BLOCK_WORDS_MAX {
            let got = class_words(class_of(words));
            assert!(got >= words && got - words <= words / 8, "{words}: {got}");
            assert_eq!(class_of(got), class_of(words));
        }
    }

    #[test]
    fn every_handle_has_a_place_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for handle in (0..1 << 21).chain((1 << 30)..(1 << 30) + 10).chain((1 << 31) - 10..1 << 31) {
            let (chunk, offset) = place(handle);
            assert!(chunk < CHUNKS_MAX && offset < chunk_words(chunk), "{handle}");
            assert!(seen.insert((chunk, offset)), "{handle}");
        }
    }

    #[test]
    fn blocks_do_not_overlap_and_come_back() {
        let arena = Arena::new();
        let mut allocator = Allocator::new(&arena, WORDS_MAX, 0);
        let sizes = [1, 3, 17, 100, 1_000, 5_000, 70_000, 1 << 20, 7, 64];
        let mut taken = std::collections::BTreeMap::new();
        for round in 0..400 {
            let (handle, words) = allocator.take(&arena, sizes[round % sizes.len()]).unwrap();
            assert!(arena.words(handle).len() >= words, "within one chunk");
            taken.insert(handle, words);
        }
        let mut end = 0;
        for (handle, words) in &taken {
            assert!(*handle >= end, "{handle} begins before {end}");
            end = handle + *words as u32;
        }
        let chunks = allocator.chunk_bytes();
        for (handle, words) in taken {
            allocator.give(handle, words);
        }
        assert_eq!(allocator.used_bytes(), 0);
        for round in 0..400 {
            allocator.take(&arena, sizes[round % sizes.len()]).unwrap();
        }
        assert_eq!(allocator.chunk_bytes(), chunks, "what came back is used again");
    }

    #[test]
    fn large_blocks_that_came_free_become_small_ones() {
        let arena = Arena::new();
        let mut allocator = Allocator::new(&arena, WORDS_MAX, 0);
        let large: Vec<_> = (0..40).map(|at| allocator.take(&arena, 10_000 + at * 100).unwrap()).collect();
        let chunks = allocator.chunk_bytes();
        let words: usize = large.iter().map(|(_, words)| words).sum();
        large.iter().for_each(|(handle, words)| allocator.give(*handle, *words));
        let mut taken = std::collections::BTreeMap::new();
        let mut count = 0;
        while count < words * 99 / 100 {
            let (handle, words) = allocator.take(&arena, 3 + count % 60).unwrap();
            taken.insert(handle, handle + words as u32);
            count += words;
        }
        assert_eq!(allocator.chunk_bytes(), chunks, "nothing was added");
        let ends = taken.values().zip(taken.keys().skip(1));
        ends.for_each(|(end, next)| assert!(end <= next, "{next} begins before {end}"));
    }

    #[test]
    fn at_the_limit_what_came_free_is_used_to_the_last() {
        let arena = Arena::new();
        let mut allocator = Allocator::new(&arena, 100_000, 0);
        let mut taken = Vec::new();
        while let Some(block) = allocator.take(&arena, 700) {
            taken.push(block);
        }
        assert!(taken.len() * 700 > 90_000, "{} blocks", taken.len());
        assert!(taken.iter().all(|(handle, words)| *handle as usize + words <= 100_000));
        taken.drain(..).for_each(|(handle, words)| allocator.give(handle, words));
        while let Some(block) = allocator.take(&arena, 300) {
            taken.push(block);
        }
        let words: usize = taken.iter().map(|(_, words)| words).sum();
        assert!(words > 85_000, "{words} words");
    }

    /// Whatever pieces are left, what is said to be sure can be taken, in blocks of any size.
    #[test]
    fn what_is_sure_can_be_taken_whatever_came_free() {
        let arena = Arena::new();
        let mut seed = 1_u64;
        let mut below = |end: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % end
        };
        for round in 0..24 {
            let mut allocator = Allocator::new(&arena, 300_000 + round * 40_000, 150_000);
            let mut taken = Vec::new();
            let largest = [20, 700, 9_000, 60_000][round % 4];
            while let Some(block) = allocator.take(&arena, 1 + below(largest)) {
                taken.push(block);
            }
            let share = 1 + below(9);
            taken.retain(|(handle, words)| {
                let is_kept = below(10) >= share;
                if !is_kept {
                    allocator.give(*handle, *words);
                }
                is_kept
            });
            let (sure, mut sum) = (allocator.sure_words(), 0);
            loop {
                let words = if round % 3 == 0 { SURE_WORDS } else { 1 + below(SURE_WORDS) };
                let Some((_, words)) = allocator.take(&arena, words) else { break };
                sum += words;
            }
            assert!(sum + SURE_WORDS > sure, "round {round}: {sum} of {sure} words");
        }
    }

    #[test]
    fn what_is_joined_is_as_it_was_before_it_was_cut() {
        let arena = Arena::new();
        let mut allocator = Allocator::new(&arena, 1 << 20, 0);
        let all = allocator.sure_words();
        let mut taken: Vec<_> =
            (0..9_000).map(|n| allocator.take(&arena, 1 + n * 7 % 200).unwrap()).collect();
        let full = allocator.sure_words();
        let kept = taken.split_off(100);
        taken.into_iter().for_each(|(handle, words)| allocator.give(handle, words));
        allocator.join();
        assert!(allocator.sure_words() < full + 20_000, "what is in use stays");
        kept.into_iter().for_each(|(handle, words)| allocator.give(handle, words));
        assert!(allocator.sure_words() < full + 20_000);
        allocator.join();
        // But for chunks that were passed, each of which is a piece of its own as before.
        assert!(
            allocator.sure_words() + allocator.sure_words() / 8 >= all,
            "{} {all}",
            allocator.sure_words()
        );
        assert_eq!(allocator.unused_words(), 1 << 20);
    }
}
