//! Fingerprints of filters and of their parts: 96 bits that tell them apart.
//!
//! Two different ones of one broker have the same with a chance of one in 10^16 for a million of
//! them; with a secret seed nobody can choose two that do.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::FixedState;

/// What stands for a filter, or for a part of one.
pub(super) type Fingerprint = [u32; 3];

/// Takes fingerprints with the seed of one index.
#[derive(Clone)]
pub(super) struct Fingerprints {
    one: FixedState,
    other: FixedState,
}

impl Fingerprints {
    pub(super) fn new(seed: u64) -> Fingerprints {
        Fingerprints { one: FixedState::with_seed(seed), other: FixedState::with_seed(!seed) }
    }

    /// Goes through `thing` once. `O(its size)`.
    pub(super) fn of(&self, thing: &impl Hash) -> Fingerprint {
        let mut both = Both(self.one.build_hasher(), self.other.build_hasher());
        thing.hash(&mut both);
        let (one, other) = (both.0.finish(), both.1.finish());
        [one as u32, (one >> 32) as u32, other as u32]
    }
}

/// Two hashers that are told the same.
struct Both<H>(H, H);

impl<H: Hasher> Hasher for Both<H> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.0.write_u8(number);
        self.1.write_u8(number);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.0.write_u32(number);
        self.1.write_u32(number);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0.write_u64(number);
        self.1.write_u64(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.0.write_usize(number);
        self.1.write_usize(number);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
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
}
