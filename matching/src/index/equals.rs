//! Which entry stands for a filter already: filters that are equal share one.
//!
//! 1. Filters are told apart by a fingerprint of 96 bits, all of which are compared: two different
//!    filters of one broker have the same with a chance of one in 10^17 for a million of them.
//! 2. A slot has six bytes: the target and 16 bits of its fingerprint, which say where in its part
//!    it is looked for. Ten slots are a bucket, a line of the cache. The whole fingerprint is read
//!    only where the 16 bits agree; it lies with the home of the entry, or with the list.
//! 3. A bucket counts the keys that had to go on to the next: who looks for one ends there once
//!    nobody did.
//! 4. The parts grow and shrink on their own, and grow by little, so that no growth moves many and no
//!    room is made long before it is needed. They lie in the arena: what asks the system for much
//!    memory at a time waits for it.
//!
//! A bucket's words: ten targets, ten tags of two bytes, and how many keys passed.
//!
//! It belongs to the writer: readers never look here.

use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::{Arena, Handle, LINE};
use super::blocks::LIST_FINGERPRINT;
use super::entry::{IS_LIST, NOBODY};
use super::fingerprint::Fingerprint;
use super::memory::{Memory, Take};
use super::writer::homes::Homes;
use crate::simd;

const PART_BITS: u32 = 10;
const BUCKET: usize = 10;
/// In a bucket, where the tags begin,
const TAGS: usize = BUCKET;
/// and the count of keys that would be here if there had been room.
const PASSED: usize = TAGS + BUCKET / 2;

/// From so many buckets on a part has as many as fit.
const FULL_FROM: u32 = 16;

/// Targets by fingerprint.
pub(super) struct Equals {
    parts: Vec<Part>,
}

/// The buckets of a part, each a line.
#[derive(Clone, Copy, Default)]
struct Part {
    block: Handle,
    words: u32,
    first: Handle,
    count: u32,
    live: u32,
}

/// The words of a bucket. A target is `NOBODY` where a slot is free.
#[derive(Clone, Copy)]
struct Bucket<'a>(&'a [AtomicU32; LINE]);

fn part_of([first, ..]: Fingerprint) -> usize {
    (first >> (u32::BITS - PART_BITS)) as usize
}

fn tag_of([first, ..]: Fingerprint) -> u16 {
    (first >> (u32::BITS - PART_BITS - u16::BITS)) as u16
}

impl Equals {
    pub(super) fn new() -> Equals {
        Equals { parts: vec![Part::default(); 1 << PART_BITS] }
    }

    /// The target with a fingerprint.
    pub(super) fn find(&self, arena: &Arena, homes: &Homes, fingerprint: Fingerprint) -> Option<u32> {
        let is_it = |target: u32| print_of(arena, homes, target) == Some(fingerprint);
        let (bucket, slot) = self.parts[part_of(fingerprint)].find(arena, tag_of(fingerprint), is_it)?;
        Some(Bucket::at(arena, bucket).target(slot))
    }

    /// Adds an entry whose filter is like no other's.
    pub(super) fn insert(
        &mut self,
        memory: &mut Memory,
        homes: &mut Homes,
        fingerprint: Fingerprint,
        entry: u32,
    ) {
        homes.note(memory, entry, fingerprint);
        self.parts[part_of(fingerprint)].insert(memory, tag_of(fingerprint), entry);
    }

    /// Puts a list, which keeps the fingerprint itself, in the place of an entry.
    pub(super) fn change(
        &mut self,
        memory: &mut Memory,
        homes: &mut Homes,
        fingerprint: Fingerprint,
        [entry, list]: [u32; 2],
    ) {
        let (part, arena) = (&self.parts[part_of(fingerprint)], memory.arena());
        if let Some((bucket, slot)) = part.find(arena, tag_of(fingerprint), |target| target == entry) {
            Bucket::at(arena, bucket).0[slot].store(list, Ordering::Relaxed);
        }
        homes.forget(memory, entry);
    }

    /// Asks the memory for the bucket of a fingerprint.
    pub(super) fn fetch_print(&self, arena: &Arena, fingerprint: Fingerprint) {
        let part = &self.parts[part_of(fingerprint)];
        simd::prefetch(&arena.words(part.home(tag_of(fingerprint)))[0]);
    }

    /// As `fetch_print`, of an entry.
    pub(super) fn fetch_bucket(&self, arena: &Arena, homes: &Homes, entry: u32) {
        if let Some(fingerprint) = homes.print(arena, entry) {
            self.fetch_print(arena, fingerprint);
        }
    }

    /// Takes a target out; nothing happens if it is not in.
    pub(super) fn remove(&mut self, memory: &mut Memory, homes: &mut Homes, target: u32) {
        let Some(fingerprint) = print_of(memory.arena(), homes, target) else { return };
        let part = &mut self.parts[part_of(fingerprint)];
        if part.remove(memory, tag_of(fingerprint), target) && target & IS_LIST == 0 {
            homes.forget(memory, target);
        }
    }

    /// Bytes beside those in the arena.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.parts)
    }
}

/// The fingerprint of a target; anything, or none, for an entry that is not in.
fn print_of(arena: &Arena, homes: &Homes, target: u32) -> Option<Fingerprint> {
    if target & IS_LIST == 0 {
        return homes.print(arena, target);
    }
    let words = &arena.words(target & !IS_LIST)[LIST_FINGERPRINT..];
    Some(std::array::from_fn(|at| words[at].load(Ordering::Relaxed)))
}

impl<'a> Bucket<'a> {
    fn at(arena: &'a Arena, bucket: Handle) -> Bucket<'a> {
        match arena.words(bucket).first_chunk() {
            Some(words) => Bucket(words),
            None => unreachable!("a bucket is a line"),
        }
    }

    fn target(self, slot: usize) -> u32 {
        self.0[slot].load(Ordering::Relaxed)
    }

    fn tag(self, slot: usize) -> u16 {
        (self.0[TAGS + slot / 2].load(Ordering::Relaxed) >> (slot % 2 * 16)) as u16
    }

    fn set(self, slot: usize, tag: u16, target: u32) {
        let (word, at) = (&self.0[TAGS + slot / 2], slot % 2 * 16);
        let others = word.load(Ordering::Relaxed) & !(0xffff << at);
        word.store(others | u32::from(tag) << at, Ordering::Relaxed);
        self.0[slot].store(target, Ordering::Relaxed);
    }

    fn passed(self) -> u32 {
        self.0[PASSED].load(Ordering::Relaxed)
    }

    fn count_passed(self, change: i32) {
        self.0[PASSED].store(self.passed().wrapping_add_signed(change), Ordering::Relaxed);
    }

    fn clear(self) {
        for (at, word) in self.0.iter().enumerate() {
            word.store(if at < BUCKET { NOBODY } else { 0 }, Ordering::Relaxed);
        }
    }

    fn slots_with(self, tag: u16) -> impl Iterator<Item = usize> {
        let wanted = u32::from(tag) * 0x1_0001;
        let mut found = 0_u32;
        for (at, word) in self.0[TAGS..PASSED].iter().enumerate() {
            let other = word.load(Ordering::Relaxed) ^ wanted;
            found |= (u32::from(other & 0xffff == 0) | u32::from(other >> 16 == 0) << 1) << (2 * at);
        }
        std::iter::from_fn(move || {
            let at = found.trailing_zeros();
            found &= found.wrapping_sub(1);
            (at < u32::BITS).then_some(at as usize)
        })
    }

    fn free_slot(self) -> Option<usize> {
        (0..BUCKET).find(|slot| self.target(*slot) == NOBODY)
    }
}

impl Part {
    /// The bucket where a tag belongs; 0, where nothing is, if there are none.
    fn home(&self, tag: u16) -> Handle {
        self.first + ((u32::from(tag) * self.count) >> u16::BITS) * LINE as u32
    }

    fn after(&self, bucket: Handle) -> Handle {
        let next = bucket + LINE as u32;
        if next == self.first + self.count * LINE as u32 { self.first } else { next }
    }

    fn buckets(&self) -> impl Iterator<Item = Handle> + use<> {
        let first = self.first;
        (0..self.count).map(move |at| first + at * LINE as u32)
    }

    /// Bucket and slot of the target with a tag that `is_it` takes. Each bucket may have been passed:
    /// it goes round once.
    fn find(&self, arena: &Arena, tag: u16, is_it: impl Fn(u32) -> bool) -> Option<(Handle, usize)> {
        let mut bucket = self.home(tag);
        for _ in 0..self.count {
            let slots = Bucket::at(arena, bucket);
            let is_it = |slot: &usize| slots.target(*slot) != NOBODY && is_it(slots.target(*slot));
            if let Some(slot) = slots.slots_with(tag).find(is_it) {
                return Some((bucket, slot));
            }
            if slots.passed() == 0 {
                return None;
            }
            bucket = self.after(bucket);
        }
        None
    }

    fn slots(&self) -> usize {
        self.count as usize * BUCKET
    }

    /// Amortised `O(1)`.
    fn insert(&mut self, memory: &mut Memory, tag: u16, target: u32) {
        // 17 slots in 20.
        if (self.live as usize + 1) * 20 > self.slots() * 17 {
            self.resize((memory, Memory::take_if_room), self.count + self.count / 8 + 1);
        }
        self.live += 1;
        // Where there is no memory for more it goes on with the slots that it has.
        assert!(self.live as usize <= self.slots(), "a part of the equals is full");
        self.put(memory.arena(), tag, target);
    }

    /// Writes into the first free slot; there is one.
    fn put(&self, arena: &Arena, tag: u16, target: u32) {
        let mut bucket = self.home(tag);
        loop {
            let slots = Bucket::at(arena, bucket);
            if let Some(slot) = slots.free_slot() {
                return slots.set(slot, tag, target);
            }
            slots.count_passed(1);
            bucket = self.after(bucket);
        }
    }

    /// Whether the target was in.
    fn remove(&mut self, memory: &mut Memory, tag: u16, target: u32) -> bool {
        let arena = memory.arena();
        let Some((bucket, slot)) = self.find(arena, tag, |known| known == target) else { return false };
        Bucket::at(arena, bucket).0[slot].store(NOBODY, Ordering::Relaxed);
        let mut passed = self.home(tag);
        while passed != bucket {
            Bucket::at(arena, passed).count_passed(-1);
            passed = self.after(passed);
        }
        self.live -= 1;
        // A third in use becomes two thirds. Where there is no room for that, nothing is missing.
        let half = self.count.div_ceil(2);
        if self.count > 1 && self.live as usize * 3 < self.slots() {
            self.resize((memory, Memory::take_spare), half);
        }
        true
    }

    /// Puts all targets into so many buckets or some more, if there is room for them.
    fn resize(&mut self, (memory, take): (&mut Memory, Take), count: u32) {
        let Some((block, words)) = take(memory, words_of(count)) else { return };
        let first = block.next_multiple_of(LINE as u32);
        // Blocks are of few sizes: a large one is used up.
        let fitting = (block + words as u32 - first) / LINE as u32;
        let count = if count < FULL_FROM { count } else { fitting };
        let new = Part { block, words: words as u32, first, count, live: self.live };
        let arena = memory.arena();
        new.buckets().for_each(|bucket| Bucket::at(arena, bucket).clear());
        for bucket in self.buckets().map(|bucket| Bucket::at(arena, bucket)) {
            for slot in (0..BUCKET).filter(|slot| bucket.target(*slot) != NOBODY) {
                new.put(arena, bucket.tag(slot), bucket.target(slot));
            }
        }
        let old = std::mem::replace(self, new);
        if old.block != 0 {
            // Only the writer reads these.
            memory.give(old.block, old.words as usize);
        }
    }
}

/// Words of so many buckets, each on a line.
fn words_of(count: u32) -> usize {
    count as usize * LINE + LINE - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Few places and tags, so that buckets overflow; told apart by the last word.
    fn fingerprint(number: u32) -> Fingerprint {
        [number % 7 * 0x0300_0000, 1, number]
    }

    /// Of so many entries.
    fn homes(memory: &mut Memory, count: usize) -> Homes {
        let mut homes = Homes::new();
        (0..count).for_each(|_| assert!(homes.take(memory).is_some()));
        homes
    }

    #[test]
    fn it_holds_what_a_map_holds() {
        let mut memory = Memory::new();
        let mut equals = Equals::new();
        let mut homes = homes(&mut memory, 1_000);
        let mut oracle: BTreeMap<u32, u32> = BTreeMap::new();
        let mut seed = 1_u64;
        for _ in 0..40_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (seed >> 40) as u32 % 900;
            // Rises to many and falls to few.
            match oracle.remove(&number) {
                Some(entry) => equals.remove(&mut memory, &mut homes, entry),
                None => {
                    equals.insert(&mut memory, &mut homes, fingerprint(number), number + 5);
                    oracle.insert(number, number + 5);
                }
            }
            assert_eq!(
                equals.find(memory.arena(), &homes, fingerprint(number)),
                oracle.get(&number).copied()
            );
        }
        for number in 0..900 {
            assert_eq!(
                equals.find(memory.arena(), &homes, fingerprint(number)),
                oracle.get(&number).copied()
            );
        }
        oracle.into_values().for_each(|entry| equals.remove(&mut memory, &mut homes, entry));
        assert_eq!(homes.prints(), 0, "none is left");
        let buckets = equals.parts.iter().flat_map(Part::buckets);
        let passed = buckets.map(|bucket| Bucket::at(memory.arena(), bucket).passed());
        assert_eq!(passed.sum::<u32>(), 0, "nobody goes on where nobody passed");
    }

    /// Two buckets, from each of which keys had to go on to the other: a search for one that is not
    /// there went round for ever.
    #[test]
    fn a_search_ends_though_each_bucket_was_passed() {
        let mut memory = Memory::new();
        let mut equals = Equals::new();
        let mut homes = homes(&mut memory, 1_000);
        let key = |home: u32, number: u32| [home << 21, 1, number];
        (0..11).for_each(|n| equals.insert(&mut memory, &mut homes, key(0, n), n));
        (0..4).for_each(|n| equals.remove(&mut memory, &mut homes, n));
        (20..30).for_each(|n| equals.insert(&mut memory, &mut homes, key(1, n), n));
        assert_eq!(equals.parts[0].count, 2);
        let mut buckets = equals.parts[0].buckets();
        assert!(buckets.all(|bucket| Bucket::at(memory.arena(), bucket).passed() > 0));
        assert_eq!(equals.find(memory.arena(), &homes, key(0, 99)), None);
        assert_eq!(equals.find(memory.arena(), &homes, key(1, 99)), None);
        assert!((4..11).all(|n| equals.find(memory.arena(), &homes, key(0, n)) == Some(n)));
        assert!((20..30).all(|n| equals.find(memory.arena(), &homes, key(1, n)) == Some(n)));
    }

    #[test]
    fn every_bit_of_a_fingerprint_counts() {
        let mut memory = Memory::new();
        let mut equals = Equals::new();
        let mut homes = homes(&mut memory, 1_000);
        let known: Fingerprint = [0x1234_5678, 0x9abc_def0, 0x0fed_cba9];
        equals.insert(&mut memory, &mut homes, known, 3);
        for bit in 0..96 {
            let mut other = known;
            other[bit / 32] ^= 1 << (bit % 32);
            assert_eq!(equals.find(memory.arena(), &homes, other), None, "bit {bit}");
        }
        assert_eq!(equals.find(memory.arena(), &homes, known), Some(3));
    }

    #[test]
    fn an_entry_costs_at_most_26_bytes() {
        let mut memory = Memory::new();
        let mut equals = Equals::new();
        let mut homes = homes(&mut memory, 1);
        for count in 1..=400_000_u64 {
            let hash = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert!(homes.take(&mut memory).is_some());
            equals.insert(&mut memory, &mut homes, [(hash >> 32) as u32, hash as u32, 0], count as u32);
            if count % 50_000 == 0 {
                // With its home.
                let each = (equals.bytes() + memory.used_bytes()) as f64 / count as f64;
                assert!(each < 26.0, "{each} bytes at {count}");
            }
        }
    }
}
