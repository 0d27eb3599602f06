//! Which entry stands for a filter already: filters that are equal share one.
//!
//! 1. Filters are told apart by a fingerprint of 96 bits, all of which are compared: two different
//!    filters of one broker have the same with a chance of one in 10^17 for a million of them.
//! 2. A slot has six bytes: the target and 16 bits of its fingerprint, which say where in its part
//!    it is looked for. Ten slots are a bucket, a line of the cache. The whole fingerprint is read
//!    only where the 16 bits agree; it lies by the number of the entry, or with the list.
//! 3. A bucket counts the keys that had to go on to the next: who looks for one ends there once
//!    nobody did.
//! 4. The parts grow on their own and by little, so that no growth moves many and no room is made
//!    long before it is needed.
//!
//! It belongs to the writer: readers never look here.

use std::sync::atomic::Ordering;

use super::arena::Arena;
use super::blocks::LIST_FINGERPRINT;
use super::entry::{IS_LIST, NOBODY};
use super::fingerprint::Fingerprint;
use crate::simd;

const PART_BITS: u32 = 10;
const BUCKET: usize = 10;

/// Entries whose fingerprints lie together. A page goes when none of them needs it: in long lists
/// of equal filters nobody does.
const PAGE: usize = 64;

/// Targets by fingerprint.
pub(super) struct Equals {
    parts: Vec<Part>,
    pages: Vec<Option<Box<Page>>>,
}

#[derive(Default)]
struct Part {
    buckets: Box<[Bucket]>,
    live: usize,
}

#[derive(Clone)]
#[repr(align(64))]
struct Bucket {
    /// `NOBODY` where a slot is free.
    targets: [u32; BUCKET],
    tags: [u16; BUCKET],
    /// Keys that would be here if there had been room.
    passed: u32,
}

struct Page {
    fingerprints: [Fingerprint; PAGE],
    live: usize,
}

fn part_of([first, ..]: Fingerprint) -> usize {
    (first >> (u32::BITS - PART_BITS)) as usize
}

fn tag_of([first, ..]: Fingerprint) -> u16 {
    (first >> (u32::BITS - PART_BITS - u16::BITS)) as u16
}

impl Equals {
    pub(super) fn new() -> Equals {
        Equals { parts: (0..1 << PART_BITS).map(|_| Part::default()).collect(), pages: Vec::new() }
    }

    /// The target with a fingerprint.
    pub(super) fn find(&self, arena: &Arena, fingerprint: Fingerprint) -> Option<u32> {
        let part = &self.parts[part_of(fingerprint)];
        let is_it = |target: u32| self.fingerprint(arena, target) == Some(fingerprint);
        let (bucket, slot) = part.find(tag_of(fingerprint), is_it)?;
        Some(part.buckets[bucket].targets[slot])
    }

    /// Adds an entry whose filter is like no other's.
    pub(super) fn insert(&mut self, fingerprint: Fingerprint, entry: u32) {
        self.note(fingerprint, entry);
        self.parts[part_of(fingerprint)].insert(tag_of(fingerprint), entry);
    }

    /// Puts a list, which keeps the fingerprint itself, in the place of an entry.
    pub(super) fn change(&mut self, fingerprint: Fingerprint, entry: u32, list: u32) {
        let part = &mut self.parts[part_of(fingerprint)];
        if let Some((bucket, slot)) = part.find(tag_of(fingerprint), |target| target == entry) {
            part.buckets[bucket].targets[slot] = list;
        }
        self.forget(entry);
    }

    /// Asks the memory for what taking an entry out reads first,
    pub(super) fn fetch(&self, entry: u32) {
        if let Some(Some(page)) = self.pages.get(entry as usize / PAGE) {
            simd::prefetch_any(&page.fingerprints[entry as usize % PAGE]);
        }
    }

    /// and for what it reads then.
    pub(super) fn fetch_bucket(&self, arena: &Arena, entry: u32) {
        if let Some(fingerprint) = self.fingerprint(arena, entry) {
            let part = &self.parts[part_of(fingerprint)];
            part.buckets.get(part.home(tag_of(fingerprint))).inspect(|bucket| simd::prefetch_any(*bucket));
        }
    }

    /// Takes a target out; nothing happens if it is not in.
    pub(super) fn remove(&mut self, arena: &Arena, target: u32) {
        let Some(fingerprint) = self.fingerprint(arena, target) else { return };
        if self.parts[part_of(fingerprint)].remove(tag_of(fingerprint), target) && target & IS_LIST == 0 {
            self.forget(target);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let buckets: usize = self.parts.iter().map(|part| part.buckets.len()).sum();
        let pages = self.pages.iter().flatten().count();
        size_of_val(&*self.parts)
            + buckets * size_of::<Bucket>()
            + self.pages.capacity() * size_of::<Option<Box<Page>>>()
            + pages * size_of::<Page>()
    }

    /// The fingerprint of a target; anything, or none, for an entry that is not in.
    fn fingerprint(&self, arena: &Arena, target: u32) -> Option<Fingerprint> {
        if target & IS_LIST != 0 {
            let words = &arena.words(target & !IS_LIST)[LIST_FINGERPRINT..];
            return Some(std::array::from_fn(|at| words[at].load(Ordering::Relaxed)));
        }
        let page = self.pages.get(target as usize / PAGE)?.as_ref()?;
        Some(page.fingerprints[target as usize % PAGE])
    }

    fn note(&mut self, fingerprint: Fingerprint, entry: u32) {
        let (page, at) = (entry as usize / PAGE, entry as usize % PAGE);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let empty = || Box::new(Page { fingerprints: [[0; 3]; PAGE], live: 0 });
        let page = self.pages[page].get_or_insert_with(empty);
        page.fingerprints[at] = fingerprint;
        page.live += 1;
    }

    fn forget(&mut self, entry: u32) {
        let Some(place) = self.pages.get_mut(entry as usize / PAGE) else { return };
        let Some(page) = place else { return };
        page.live -= 1;
        if page.live == 0 {
            *place = None;
        }
    }
}

impl Bucket {
    const EMPTY: Bucket = Bucket { targets: [NOBODY; BUCKET], tags: [0; BUCKET], passed: 0 };

    fn slots_with(&self, tag: u16) -> impl Iterator<Item = usize> {
        let mut found = 0_u32;
        for (at, known) in self.tags.iter().enumerate() {
            found |= u32::from(*known == tag) << at;
        }
        std::iter::from_fn(move || {
            let at = found.trailing_zeros();
            found &= found.wrapping_sub(1);
            (at < u32::BITS).then_some(at as usize)
        })
    }

    fn free_slot(&self) -> Option<usize> {
        self.targets.iter().position(|target| *target == NOBODY)
    }
}

impl Part {
    /// The bucket where a tag belongs.
    fn home(&self, tag: u16) -> usize {
        (usize::from(tag) * self.buckets.len()) >> u16::BITS
    }

    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// Bucket and slot of the target with a tag that `is_it` takes. Each bucket may have been passed:
    /// it goes round once.
    fn find(&self, tag: u16, is_it: impl Fn(u32) -> bool) -> Option<(usize, usize)> {
        let mut bucket = self.home(tag);
        for _ in 0..self.buckets.len() {
            let slots = &self.buckets[bucket];
            let is_it = |slot: &usize| slots.targets[*slot] != NOBODY && is_it(slots.targets[*slot]);
            if let Some(slot) = slots.slots_with(tag).find(is_it) {
                return Some((bucket, slot));
            }
            if slots.passed == 0 {
                return None;
            }
            bucket = self.after(bucket);
        }
        None
    }

    /// Amortised `O(1)`.
    fn insert(&mut self, tag: u16, target: u32) {
        let buckets = self.buckets.len();
        // 17 slots in 20.
        if (self.live + 1) * 20 > buckets * BUCKET * 17 {
            self.resize(buckets + buckets / 8 + 1);
        }
        self.put(tag, target);
        self.live += 1;
    }

    /// Writes into the first free slot; there is one.
    fn put(&mut self, tag: u16, target: u32) {
        let mut bucket = self.home(tag);
        loop {
            let slots = &mut self.buckets[bucket];
            if let Some(slot) = slots.free_slot() {
                slots.targets[slot] = target;
                slots.tags[slot] = tag;
                return;
            }
            slots.passed += 1;
            bucket = self.after(bucket);
        }
    }

    /// Whether the target was in.
    fn remove(&mut self, tag: u16, target: u32) -> bool {
        let Some((bucket, slot)) = self.find(tag, |known| known == target) else { return false };
        self.buckets[bucket].targets[slot] = NOBODY;
        let mut passed = self.home(tag);
        while passed != bucket {
            self.buckets[passed].passed -= 1;
            passed = self.after(passed);
        }
        self.live -= 1;
        // A third in use becomes two thirds.
        if self.buckets.len() > 1 && self.live * 3 < self.buckets.len() * BUCKET {
            self.resize(self.buckets.len().div_ceil(2));
        }
        true
    }

    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::EMPTY; buckets].into());
        for bucket in &old {
            for (target, tag) in bucket.targets.iter().zip(bucket.tags) {
                if *target != NOBODY {
                    self.put(tag, *target);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Few places and tags, so that buckets overflow; told apart by the last word.
    fn fingerprint(number: u32) -> Fingerprint {
        [number % 7 * 0x0300_0000, 1, number]
    }

    #[test]
    fn it_holds_what_a_map_holds() {
        let arena = Arena::new();
        let mut equals = Equals::new();
        let mut oracle: BTreeMap<u32, u32> = BTreeMap::new();
        let mut seed = 1_u64;
        for _ in 0..40_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (seed >> 40) as u32 % 900;
            // Rises to many and falls to few.
            match oracle.remove(&number) {
                Some(entry) => equals.remove(&arena, entry),
                None => {
                    equals.insert(fingerprint(number), number + 5);
                    oracle.insert(number, number + 5);
                }
            }
            assert_eq!(equals.find(&arena, fingerprint(number)), oracle.get(&number).copied());
        }
        for number in 0..900 {
            assert_eq!(equals.find(&arena, fingerprint(number)), oracle.get(&number).copied());
        }
        oracle.into_values().for_each(|entry| equals.remove(&arena, entry));
        assert!(equals.pages.iter().all(Option::is_none), "no page is left");
        let passed = equals.parts.iter().flat_map(|part| &part.buckets).map(|bucket| bucket.passed);
        assert_eq!(passed.sum::<u32>(), 0, "nobody goes on where nobody passed");
    }

    /// Two buckets, from each of which keys had to go on to the other: a search for one that is not
    /// there went round for ever.
    #[test]
    fn a_search_ends_though_each_bucket_was_passed() {
        let arena = Arena::new();
        let mut equals = Equals::new();
        let key = |home: u32, number: u32| [home << 21, 1, number];
        (0..11).for_each(|n| equals.insert(key(0, n), n));
        (0..4).for_each(|n| equals.remove(&arena, n));
        (20..30).for_each(|n| equals.insert(key(1, n), n));
        assert_eq!(equals.parts[0].buckets.len(), 2);
        assert!(equals.parts[0].buckets.iter().all(|bucket| bucket.passed > 0));
        assert_eq!(equals.find(&arena, key(0, 99)), None);
        assert_eq!(equals.find(&arena, key(1, 99)), None);
        assert!((4..11).all(|n| equals.find(&arena, key(0, n)) == Some(n)));
        assert!((20..30).all(|n| equals.find(&arena, key(1, n)) == Some(n)));
    }

    #[test]
    fn every_bit_of_a_fingerprint_counts() {
        let arena = Arena::new();
        let mut equals = Equals::new();
        let known: Fingerprint = [0x1234_5678, 0x9abc_def0, 0x0fed_cba9];
        equals.insert(known, 3);
        for bit in 0..96 {
            let mut other = known;
            other[bit / 32] ^= 1 << (bit % 32);
            assert_eq!(equals.find(&arena, other), None, "bit {bit}");
        }
        assert_eq!(equals.find(&arena, known), Some(3));
    }

    #[test]
    fn an_entry_costs_at_most_22_bytes() {
        let mut equals = Equals::new();
        for count in 1..=400_000_u64 {
            let hash = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            equals.insert([(hash >> 32) as u32, hash as u32, 0], count as u32);
            if count % 50_000 == 0 {
                let each = equals.bytes() as f64 / count as f64;
                assert!(each < 22.0, "{each} bytes at {count}");
            }
        }
    }
}
