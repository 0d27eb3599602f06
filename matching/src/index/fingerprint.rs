//! Fingerprints of filters and of their parts: 96 bits that tell them apart.
//!
//! Two different ones of one broker have the same with a chance of one in 10^16 for a million of
//! them; with a secret seed nobody can choose two that do.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::FixedState;
use smallvec::SmallVec;

/// What stands for a filter, or for a part of one.
pub(super) type Fingerprint = [u32; 3];

/// The fingerprint of all that an entry asks for, and those of the parts of its condition, as far as
/// they were taken for it.
pub(super) struct Prints {
    pub(super) whole: Fingerprint,
    pub(super) parts: SmallVec<[Fingerprint; 8]>,
}

/// Takes fingerprints with the seed of one index.
#[derive(Clone)]
pub(super) struct Fingerprints {
    /// What the sums of the two begin with.
    begin: [u64; 2],
    /// What they are multiplied by.
    factors: [u64; 2],
}

impl Fingerprints {
    pub(super) fn new(seed: u64) -> Fingerprints {
        let random = FixedState::with_seed(seed);
        let [begin, factors] = [[1, 2], [3, 4]].map(|numbers: [u64; 2]| numbers.map(|n| random.hash_one(n)));
        Fingerprints { begin, factors: factors.map(|factor| factor | 1) }
    }

    /// `O(its size)`; allocates nothing.
    pub(super) fn of(&self, thing: &impl Hash) -> Fingerprint {
        let mut mixed = Mixed { sums: self.begin, factors: self.factors };
        thing.hash(&mut mixed);
        // Once more, so that the last word counts as much as the first.
        mixed.add(0);
        let [one, other] = mixed.sums;
        [one as u32, (one >> 32) as u32, (other ^ other >> 32) as u32]
    }
}

/// Two sums of all words that it is told, each multiplied to 128 bits and folded with every word:
/// what foldhash does, but word by word as they come.
struct Mixed {
    sums: [u64; 2],
    factors: [u64; 2],
}

/// In the highest byte of the word before a text of eight bytes or more. A shorter one has its
/// length there.
const IS_LONG: u64 = 0xff << 56;

impl Mixed {
    #[inline]
    fn add(&mut self, word: u64) {
        let [one, other] = self.sums;
        self.sums = [fold(one ^ word, self.factors[0]), fold(other ^ word.rotate_left(32), self.factors[1])];
    }
}

#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let wide = u128::from(one) * u128::from(other);
    wide as u64 ^ (wide >> 64) as u64
}

/// Up to seven bytes as a word.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            // Without those of the last four that are among the first four.
            let last = u64::from(u32::from_le_bytes(*last)) >> (8 * (8 - bytes.len()));
            u64::from(u32::from_le_bytes(*first)) | last << 32
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

impl Hasher for Mixed {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (whole, rest) = bytes.as_chunks::<8>();
        if whole.is_empty() {
            self.add(short(rest) | (rest.len() as u64) << 56);
            return;
        }
        self.add(IS_LONG | bytes.len() as u64);
        whole.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        if let (false, Some(last)) = (rest.is_empty(), bytes.last_chunk::<8>()) {
            self.add(u64::from_le_bytes(*last));
        }
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.add(u64::from(number));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.add(u64::from(number));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }

    fn finish(&self) -> u64 {
        self.sums[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_tells_things_apart() {
        let fingerprints = Fingerprints::new(7);
        let all: Vec<Fingerprint> =
            (0..20_000_u64).map(|number| fingerprints.of(&(number, "text"))).collect();
        for word in 0..3 {
            let distinct: std::collections::HashSet<u32> = all.iter().map(|known| known[word]).collect();
            assert!(distinct.len() > 19_900, "word {word}: {}", distinct.len());
        }
        assert_eq!(fingerprints.of(&(1_u64, "text")), all[1]);
        assert_ne!(Fingerprints::new(8).of(&(1_u64, "text")), all[1]);
    }

    #[test]
    fn texts_of_all_lengths_are_told_apart() {
        let fingerprints = Fingerprints::new(7);
        let text: String = (0..40).map(|n| char::from(b'a' + n % 26)).collect();
        let mut all = std::collections::HashSet::new();
        for start in 0..8 {
            (start..text.len())
                .for_each(|end| assert!(all.insert(fingerprints.of(&&text[start..end])) || end == start));
        }
        // Where one ends and the next begins counts as well.
        for at in 0..text.len() {
            assert!(all.insert(fingerprints.of(&text.split_at(at))), "{at}");
        }
    }

    #[test]
    fn every_bit_of_a_word_changes_about_half_of_the_fingerprint() {
        let fingerprints = Fingerprints::new(7);
        let mut changed = [0; 64];
        for number in 0..256_u64 {
            let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let known = fingerprints.of(&number);
            for (bit, changed) in changed.iter_mut().enumerate() {
                let other = fingerprints.of(&(number ^ 1 << bit));
                *changed +=
                    known.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum::<u32>();
            }
        }
        for (bit, changed) in changed.into_iter().enumerate() {
            let share = f64::from(changed) / (256.0 * 96.0);
            assert!((0.45..0.55).contains(&share), "bit {bit}: {share}");
        }
    }
}
