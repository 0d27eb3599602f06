//! From a key of two words to a handle: a hash table that readers probe while the writer changes
//! it.
//!
//! A part is divided into buckets of five slots, a line of the cache: a key is looked for in one
//! bucket, and in the next only if some key had to go there.
//!
//! 1. A slot's key is written before its value, and never changes while the slot lives: a reader
//!    that finds a value finds the key that it belongs to.
//! 2. A removed key keeps its slot, with [`GONE`] as its value, until its part is rebuilt.
//! 3. The table has [`PARTS`] parts, for 250 million keys, that grow on their own: one growth copies
//!    one part, aside, and swaps it; so does one that is mostly empty. The one that was is retired.
//!    Parts that hold as many keys have different sizes, so that they do not all grow at the same
//!    time. Where there is no memory to grow, a part goes on with the slots that it has.
//!
//! Keys need not be unique: `find` takes a judge, as hashes of names need one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::arena::{Arena, Handle, LINE};
use super::memory::{Memory, Take};

const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 10;
const SLOT: usize = 3;
/// Slots that a reader goes through at once.
const BUCKET: usize = 5;
const BUCKET_WORDS: u32 = LINE as u32;
/// The word behind a bucket's slots: whether a key had to go on to the next bucket.
const OVERFLOW: usize = BUCKET * SLOT;
/// So many slots in a hundred may be taken before a part grows.
const TAKEN_MAX: usize = 80;
/// A part that has to be made anew grows if so many in a hundred have a key that was not removed.
const LIVE_MAX: usize = 64;
/// From so many buckets on parts differ in size.
const DIFFERENT_FROM: u32 = 16;

/// The value of a slot whose key was removed.
const GONE: u32 = 1;

/// What readers need: where the parts are.
#[derive(Clone)]
pub(super) struct Table {
    directory: Arc<[AtomicU64; PARTS]>,
}

/// The buckets of a part.
#[derive(Clone, Copy)]
struct Buckets {
    /// Zero if there is no part.
    first: Handle,
    count: u32,
}

impl Buckets {
    fn pack(self) -> u64 {
        u64::from(self.first) | u64::from(self.count) << 32
    }

    #[inline]
    fn unpack(word: u64) -> Buckets {
        Buckets { first: word as u32, count: (word >> 32) as u32 }
    }

    /// The bucket where the search for a key begins. Spreads 32 bits of the key over any number of
    /// buckets.
    #[inline]
    fn bucket_of(self, mixed: u64) -> Handle {
        let bucket = (u64::from(mixed as u32) * u64::from(self.count)) >> 32;
        self.first + bucket as u32 * BUCKET_WORDS
    }

    fn after(self, bucket: Handle) -> Handle {
        let next = bucket + BUCKET_WORDS;
        if next == self.end() { self.first } else { next }
    }

    fn end(self) -> Handle {
        self.first + self.count * BUCKET_WORDS
    }

    fn slots(self) -> usize {
        self.count as usize * BUCKET
    }
}

/// What the writer knows of each part.
pub(super) struct Parts {
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Default)]
struct Part {
    block: Handle,
    words: usize,
    /// Slots with a key, those included whose key was removed.
    taken: usize,
    live: usize,
}

/// Two words, and a mix of them in which every bit of the key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) first: u32,
    pub(super) second: u32,
}

impl Key {
    pub(super) fn of_hash(hash: u64) -> Key {
        Key { first: (hash >> 32) as u32, second: hash as u32 }
    }

    #[inline]
    fn mixed(self) -> u64 {
        let key = u64::from(self.first) << 32 | u64::from(self.second);
        let wide = u128::from(key ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(0xd6e8_feb8_6659_fd93_u64 ^ key.rotate_left(29));
        (wide as u64) ^ (wide >> 64) as u64
    }
}

impl Table {
    /// The value of `key` that `is_it` takes, or 0. Values of other keys are never shown to it.
    #[inline]
    pub(super) fn find(&self, arena: &Arena, key: Key, mut is_it: impl FnMut(u32) -> bool) -> u32 {
        let mixed = key.mixed();
        let part = self.part(part_of(mixed));
        if part.first == 0 {
            return 0;
        }
        let mut bucket = part.bucket_of(mixed);
        loop {
            let slots = &arena.words(bucket)[..LINE];
            for slot in slots.as_chunks::<SLOT>().0 {
                let value = slot[0].load(Ordering::Acquire);
                if value == 0 {
                    return 0;
                }
                let is_key = slot[1].load(Ordering::Relaxed) == key.first
                    && slot[2].load(Ordering::Relaxed) == key.second;
                if is_key && value != GONE && is_it(value) {
                    return value;
                }
            }
            if slots[OVERFLOW].load(Ordering::Acquire) == 0 {
                return 0;
            }
            bucket = part.after(bucket);
        }
    }

    /// The bucket where the search for `key` begins; 0, where nothing is, if there is no such key. A
    /// bucket that was looked up stays what it is while the reader is inside.
    #[inline]
    pub(super) fn bucket(&self, key: Key) -> Handle {
        let mixed = key.mixed();
        let part = self.part(part_of(mixed));
        if part.first == 0 { 0 } else { part.bucket_of(mixed) }
    }

    /// As `find` of a key that is there once, or any of its values, from its bucket. It decides
    /// nothing on the way, so that the memory fetches many buckets at the same time.
    #[inline]
    pub(super) fn find_in(&self, arena: &Arena, key: Key, bucket: Handle) -> u32 {
        let slots = &arena.words(bucket)[..LINE];
        let mut found = 0;
        for slot in slots.as_chunks::<SLOT>().0 {
            let value = slot[0].load(Ordering::Acquire);
            let first = slot[1].load(Ordering::Relaxed) ^ key.first;
            let second = slot[2].load(Ordering::Relaxed) ^ key.second;
            let is_key = (first | second == 0) & (value > GONE);
            found = if is_key { value } else { found };
        }
        if found == 0 && slots[OVERFLOW].load(Ordering::Acquire) != 0 {
            return self.find(arena, key, |_| true);
        }
        found
    }

    #[inline]
    fn part(&self, number: usize) -> Buckets {
        Buckets::unpack(self.directory[number].load(Ordering::Acquire))
    }
}

fn part_of(mixed: u64) -> usize {
    (mixed >> (u64::BITS - PART_BITS)) as usize
}

impl Parts {
    /// Parts are made with their first key.
    pub(super) fn new() -> (Table, Parts) {
        let directory = std::array::from_fn(|_| AtomicU64::new(0));
        (Table { directory: Arc::new(directory) }, Parts { parts: vec![Part::default(); PARTS] })
    }

    /// Gives `key` a further value. Amortised `O(1)`; at worst a copy of one part in 1,024.
    pub(super) fn insert(&mut self, memory: &mut Memory, table: &Table, key: Key, value: u32) {
        debug_assert!(value > GONE);
        let number = part_of(key.mixed());
        let buckets = table.part(number);
        let part = &mut self.parts[number];
        part.live += 1;
        if let Some(slot) = slot_of(memory.arena(), buckets, key, GONE) {
            memory.arena().store(slot, 0, value);
            return;
        }
        part.taken += 1;
        if part.taken * 100 <= buckets.slots() * TAKEN_MAX {
            put(memory.arena(), buckets, key, value);
            return;
        }
        // Else it is what was removed that takes the room.
        let is_full = part.live * 100 > buckets.slots() * LIVE_MAX;
        let wanted = if is_full { grown(number, buckets.count) } else { buckets.count };
        if let Some(bigger) = self.resize((memory, Memory::take_if_room), table, number, wanted) {
            self.parts[number].taken += 1;
            put(memory.arena(), bigger, key, value);
            return;
        }
        // Slower to look through, but it holds what it has slots for.
        assert!(self.parts[number].taken <= buckets.slots(), "a part of a table is full");
        put(memory.arena(), buckets, key, value);
    }

    /// Gives a part so many buckets, without what was removed. `None`, and nothing changed, if there is
    /// no room.
    fn resize(
        &mut self,
        (memory, take): (&mut Memory, Take),
        table: &Table,
        number: usize,
        count: u32,
    ) -> Option<Buckets> {
        let buckets = table.part(number);
        let part = &mut self.parts[number];
        let old = (part.block, part.words);
        let new = part.empty((memory, take), count)?;
        part.taken = 0;
        each(memory.arena(), buckets, |key, value| {
            put(memory.arena(), new, key, value);
            part.taken += 1;
        });
        table.directory[number].store(new.pack(), Ordering::Release);
        if old.0 != 0 {
            memory.retire(old.0, old.1);
        }
        Some(new)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.words * 4).sum()
    }

    /// Gives the one `value` of `key` another. `O(1)`.
    pub(super) fn change(&self, memory: &Memory, table: &Table, key: Key, value: u32, to: u32) {
        let buckets = table.part(part_of(key.mixed()));
        if let Some(slot) = slot_of(memory.arena(), buckets, key, value) {
            memory.arena().store(slot, 0, to);
        }
    }

    /// Takes a key out. Amortised `O(1)`; at worst a copy of a small part of one part in 1,024.
    pub(super) fn remove(&mut self, memory: &mut Memory, table: &Table, key: Key, value: u32) {
        self.change(memory, table, key, value, GONE);
        let number = part_of(key.mixed());
        self.parts[number].live -= 1;
        let buckets = table.part(number);
        let half = buckets.count.div_ceil(2);
        // A quarter in use becomes a half. Where there is no room for that, nothing is missing.
        if buckets.count > 1 && self.parts[number].live * 4 < buckets.slots() {
            self.resize((memory, Memory::take_spare), table, number, half);
        }
    }
}

impl Part {
    /// Buckets without keys, each on a line of the cache. The memory may have been used before: it
    /// is cleared. `None`, and nothing changed, if there is no room.
    fn empty(&mut self, (memory, take): (&mut Memory, Take), count: u32) -> Option<Buckets> {
        let words = (count * BUCKET_WORDS) as usize;
        let (block, size) = take(memory, words + LINE - 1)?;
        let first = block.next_multiple_of(LINE as u32);
        memory.arena().words(first)[..words].iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.block = block;
        self.words = size;
        Some(Buckets { first, count })
    }
}

/// How many buckets come after `count` in a part: a quarter more.
fn grown(part: usize, count: u32) -> u32 {
    let more = count + count / 4 + 1;
    let is_small = count < DIFFERENT_FROM && more >= DIFFERENT_FROM;
    // From 16 to 20: what they grow by afterwards.
    if is_small { DIFFERENT_FROM + part as u32 % 5 } else { more }
}

/// The words of a key's buckets, in the order in which they are looked at.
fn buckets_of(arena: &Arena, buckets: Buckets, key: Key) -> impl Iterator<Item = (Handle, &[AtomicU32])> {
    let first = match buckets.count {
        0 => buckets.first,
        _ => buckets.bucket_of(key.mixed()),
    };
    let order = (first..buckets.end()).chain(buckets.first..first).step_by(LINE);
    order.map(|bucket| (bucket, &arena.words(bucket)[..LINE]))
}

/// Value and key of a slot.
fn read(slot: &[AtomicU32; SLOT]) -> (u32, Key) {
    let [value, first, second] = slot.each_ref().map(|word| word.load(Ordering::Relaxed));
    (value, Key { first, second })
}

fn slot_of(arena: &Arena, buckets: Buckets, key: Key, value: u32) -> Option<Handle> {
    for (bucket, words) in buckets_of(arena, buckets, key) {
        for (at, slot) in words.as_chunks::<SLOT>().0.iter().enumerate() {
            match read(slot) {
                (0, _) => return None,
                known if known == (value, key) => return Some(bucket + (at * SLOT) as u32),
                _ => {}
            }
        }
        if words[OVERFLOW].load(Ordering::Relaxed) == 0 {
            return None;
        }
    }
    None
}

/// Writes into the first empty slot; there is one. Full buckets before it say that a key went on.
fn put(arena: &Arena, buckets: Buckets, key: Key, value: u32) {
    for (_, words) in buckets_of(arena, buckets, key) {
        if let Some(slot) = words.as_chunks::<SLOT>().0.iter().find(|slot| read(slot).0 == 0) {
            slot[1].store(key.first, Ordering::Relaxed);
            slot[2].store(key.second, Ordering::Relaxed);
            slot[0].store(value, Ordering::Release);
            return;
        }
        words[OVERFLOW].store(1, Ordering::Release);
    }
}

fn each(arena: &Arena, buckets: Buckets, mut see: impl FnMut(Key, u32)) {
    let words = &arena.words(buckets.first)[..buckets.count as usize * LINE];
    for bucket in words.chunks_exact(LINE) {
        for slot in bucket.as_chunks::<SLOT>().0 {
            let (value, key) = read(slot);
            if value > GONE {
                see(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_holds_what_a_map_holds() {
        let mut memory = Memory::new();
        let (table, mut parts) = Parts::new();
        let mut oracle: HashMap<(u32, u32), u32> = HashMap::new();
        let mut seed = 1_u64;
        for step in 0..60_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (first, second) = ((seed >> 60) as u32, (seed >> 48) as u32 % 700);
            let key = Key { first, second };
            match oracle.get(&(first, second)).copied() {
                Some(value) if seed.is_multiple_of(3) => {
                    parts.change(&memory, &table, key, value, step + 2);
                    oracle.insert((first, second), step + 2);
                }
                Some(value) => {
                    parts.remove(&mut memory, &table, key, value);
                    oracle.remove(&(first, second));
                }
                None => {
                    parts.insert(&mut memory, &table, key, step + 2);
                    oracle.insert((first, second), step + 2);
                }
            }
            let found = table.find(memory.arena(), key, |_| true);
            assert_eq!(found, oracle.get(&(first, second)).copied().unwrap_or(0));
        }
        for first in 0..16 {
            for second in 0..700 {
                let found = table.find(memory.arena(), Key { first, second }, |_| true);
                assert_eq!(found, oracle.get(&(first, second)).copied().unwrap_or(0));
            }
        }
    }

    #[test]
    fn one_key_may_have_several_values() {
        let mut memory = Memory::new();
        let (table, mut parts) = Parts::new();
        let key = Key { first: 1, second: 2 };
        (10..30).for_each(|value| parts.insert(&mut memory, &table, key, value));
        parts.remove(&mut memory, &table, key, 15);
        assert_eq!(table.find(memory.arena(), key, |value| value == 29), 29);
        assert_eq!(table.find(memory.arena(), key, |value| value == 15), 0);
    }

    #[test]
    fn a_key_costs_at_most_23_bytes() {
        let mut memory = Memory::new();
        let (table, mut parts) = Parts::new();
        let key = |number: u32| Key { first: number.wrapping_mul(0x9e37_79b9), second: number };
        for number in 2..400_000 {
            parts.insert(&mut memory, &table, key(number), number);
            if number % 50_000 == 0 {
                let each = parts.bytes() as f64 / f64::from(number);
                assert!(each < 23.0, "{each} bytes at {number}");
            }
        }
        // One in ten leaves and another comes.
        for number in 2..40_000 {
            parts.remove(&mut memory, &table, key(number), number);
            parts.insert(&mut memory, &table, key(number + 400_000), number);
        }
        let each = parts.bytes() as f64 / 400_000.0;
        assert!(each < 26.0, "{each} bytes after changes");
    }

    #[test]
    fn a_table_that_is_emptied_gives_its_memory_back() {
        let mut memory = Memory::new();
        let (table, mut parts) = Parts::new();
        let key = |number: u32| Key { first: number.wrapping_mul(0x9e37_79b9), second: number };
        let count = 200_000;
        (2..count).for_each(|number| parts.insert(&mut memory, &table, key(number), number));
        let most = parts.bytes();
        let is_kept = |number: &u32| number.is_multiple_of(16);
        let gone = (2..count).filter(|number| !is_kept(number));
        gone.for_each(|number| parts.remove(&mut memory, &table, key(number), number));
        assert!(parts.bytes() * 4 < most, "{} of {most} bytes are left", parts.bytes());
        for number in 2..count {
            let found = table.find(memory.arena(), key(number), |_| true);
            assert_eq!(found, if is_kept(&number) { number } else { 0 });
        }
    }
}
