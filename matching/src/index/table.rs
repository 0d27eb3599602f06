//! From a key of two words to a handle: a hash table that readers probe while the writer changes
//! it.
//!
//! A part is divided into buckets of four slots, a line of the cache: a key is looked for in one
//! bucket, and in the next only if some key had to go there.
//!
//! 1. A slot's key is written before its value, and never changes while the slot lives: a reader
//!    that finds a value finds the key that it belongs to.
//! 2. A removed key keeps its slot, with [`GONE`] as its value, until its part is rebuilt.
//! 3. The table has [`PARTS`] parts, for 180 million keys, that grow on their own: one growth copies one part, aside, and
//!    swaps it. The one that was is retired.
//!
//! Keys need not be unique: `find` takes a judge, as hashes of names need one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::{Arena, Handle};
use super::memory::Memory;

const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 10;
const SLOT: usize = 4;
/// Slots that a reader goes through at once.
const BUCKET: usize = 4;
/// Words before the buckets of a part: how many buckets there are.
const HEAD: usize = 4;
/// The word of a bucket's first slot that says whether a key had to go on to the next bucket.
const OVERFLOW: usize = 3;

/// The value of a slot whose key was removed.
const GONE: u32 = 1;

/// What readers need: where the parts are.
#[derive(Clone)]
pub(super) struct Table {
    directory: Arc<[AtomicU32; PARTS]>,
}

/// What the writer knows of each part.
pub(super) struct Parts {
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Default)]
struct Part {
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
        let part = self.directory[part_of(mixed)].load(Ordering::Acquire);
        if part == 0 {
            return 0;
        }
        let words = arena.words(part);
        let buckets = words[0].load(Ordering::Relaxed) as usize;
        let mut bucket = first_bucket(mixed, buckets);
        loop {
            let slots = &words[HEAD + bucket * BUCKET * SLOT..][..BUCKET * SLOT];
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
            bucket = after(bucket, buckets);
        }
    }

    fn part(&self, number: usize) -> Handle {
        self.directory[number].load(Ordering::Relaxed)
    }
}

fn part_of(mixed: u64) -> usize {
    (mixed >> (u64::BITS - PART_BITS)) as usize
}

/// Spreads 32 bits of the key over any number of buckets.
fn first_bucket(mixed: u64, buckets: usize) -> usize {
    ((u64::from(mixed as u32) * buckets as u64) >> 32) as usize
}

fn after(bucket: usize, buckets: usize) -> usize {
    if bucket + 1 == buckets { 0 } else { bucket + 1 }
}

impl Parts {
    /// Parts are made with their first key.
    pub(super) fn new() -> (Table, Parts) {
        let directory = std::array::from_fn(|_| AtomicU32::new(0));
        (Table { directory: Arc::new(directory) }, Parts { parts: vec![Part::default(); PARTS] })
    }

    /// Gives `key` a further value. Amortised `O(1)`; at worst a copy of one part in 1,024.
    pub(super) fn insert(&mut self, memory: &mut Memory, table: &Table, key: Key, value: u32) {
        debug_assert!(value > GONE);
        let number = part_of(key.mixed());
        let part = &mut self.parts[number];
        if table.part(number) == 0 {
            let (first, words) = empty_part(memory, 1);
            part.words = words;
            table.directory[number].store(first, Ordering::Release);
        }
        let handle = table.part(number);
        part.live += 1;
        if let Some(slot) = slot_of(memory.arena(), handle, key, GONE) {
            memory.arena().store(handle, slot, value);
            return;
        }
        let buckets = memory.arena().load(handle, 0) as usize;
        part.taken += 1;
        // Seven slots in ten.
        if part.taken * 10 <= buckets * BUCKET * 7 {
            put(memory.arena(), handle, key, value);
            return;
        }
        let wanted = if part.live * 2 > buckets * BUCKET { buckets + buckets / 4 + 1 } else { buckets };
        let (bigger, words) = empty_part(memory, wanted);
        let mut taken = 1;
        each(memory.arena(), handle, |key, value| {
            put(memory.arena(), bigger, key, value);
            taken += 1;
        });
        put(memory.arena(), bigger, key, value);
        table.directory[number].store(bigger, Ordering::Release);
        memory.retire(handle, part.words);
        part.taken = taken;
        part.words = words;
    }

    /// Gives the one `value` of `key` another. `O(1)`.
    pub(super) fn change(&self, memory: &Memory, table: &Table, key: Key, value: u32, to: u32) {
        let handle = table.part(part_of(key.mixed()));
        if let Some(slot) = slot_of(memory.arena(), handle, key, value) {
            memory.arena().store(handle, slot, to);
        }
    }

    pub(super) fn remove(&mut self, memory: &Memory, table: &Table, key: Key, value: u32) {
        self.change(memory, table, key, value, GONE);
        self.parts[part_of(key.mixed())].live -= 1;
    }
}

/// A part without keys. Parts are rebuilt into memory that was used before: it is cleared.
fn empty_part(memory: &mut Memory, buckets: usize) -> (Handle, usize) {
    let count = buckets * BUCKET * SLOT;
    let (handle, words) = memory.take(HEAD + count);
    let part = memory.arena().words(handle);
    part[HEAD..HEAD + count].iter().for_each(|word| word.store(0, Ordering::Relaxed));
    part[0].store(buckets as u32, Ordering::Relaxed);
    (handle, words)
}

/// The first words of a key's slots, in the order in which they are looked at, to the first that is
/// empty.
fn slots_of(arena: &Arena, part: Handle, key: Key) -> impl Iterator<Item = usize> {
    let buckets = arena.words(part)[0].load(Ordering::Relaxed) as usize;
    let first = first_bucket(key.mixed(), buckets);
    let order = (first..buckets).chain(0..first);
    order.flat_map(|bucket| (0..BUCKET).map(move |slot| HEAD + (bucket * BUCKET + slot) * SLOT))
}

fn slot_of(arena: &Arena, part: Handle, key: Key, value: u32) -> Option<usize> {
    let words = arena.words(part);
    for slot in slots_of(arena, part, key) {
        let [found, first, second] = [0, 1, 2].map(|at| words[slot + at].load(Ordering::Relaxed));
        match found {
            0 => return None,
            _ if found == value && first == key.first && second == key.second => return Some(slot),
            _ => {}
        }
        let is_last = (slot - HEAD) / SLOT % BUCKET == BUCKET - 1;
        if is_last && words[slot - (BUCKET - 1) * SLOT + OVERFLOW].load(Ordering::Relaxed) == 0 {
            return None;
        }
    }
    None
}

/// Writes into the first empty slot; there is one. Full buckets before it say that a key went on.
fn put(arena: &Arena, part: Handle, key: Key, value: u32) {
    let words = arena.words(part);
    for slot in slots_of(arena, part, key) {
        if words[slot].load(Ordering::Relaxed) == 0 {
            words[slot + 1].store(key.first, Ordering::Relaxed);
            words[slot + 2].store(key.second, Ordering::Relaxed);
            words[slot].store(value, Ordering::Release);
            return;
        }
        if (slot - HEAD) / SLOT % BUCKET == BUCKET - 1 {
            words[slot - (BUCKET - 1) * SLOT + OVERFLOW].store(1, Ordering::Release);
        }
    }
}

fn each(arena: &Arena, part: Handle, mut see: impl FnMut(Key, u32)) {
    let words = arena.words(part);
    let count = words[0].load(Ordering::Relaxed) as usize * BUCKET * SLOT;
    for slot in words[HEAD..HEAD + count].chunks_exact(SLOT) {
        let [value, first, second] = [0, 1, 2].map(|at: usize| slot[at].load(Ordering::Relaxed));
        if value > GONE {
            see(Key { first, second }, value);
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
                    parts.remove(&memory, &table, key, value);
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
        parts.remove(&memory, &table, key, 15);
        assert_eq!(table.find(memory.arena(), key, |value| value == 29), 29);
        assert_eq!(table.find(memory.arena(), key, |value| value == 15), 0);
    }
}
