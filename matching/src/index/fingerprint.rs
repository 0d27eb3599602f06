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

    /// Writes `thing` down once and reads that twice. `O(its size)`.
    pub(super) fn of(&self, thing: &impl Hash) -> Fingerprint {
        let mut written = Written(Vec::with_capacity(WRITTEN_BYTES));
        thing.hash(&mut written);
        let hash = |state: &FixedState| {
            let mut hasher = state.build_hasher();
            hasher.write(&written.0);
            hasher.finish()
        };
        let (one, other) = (hash(&self.one), hash(&self.other));
        [one as u32, (one >> 32) as u32, other as u32]
    }
}

/// What most filters take.
const WRITTEN_BYTES: usize = 256;

/// Takes what it is told down as bytes: hashing them together is quicker than one by one. Counts
/// and discriminants are small: most take one byte.
struct Written(Vec<u8>);

impl Written {
    fn add<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.extend_from_slice(&bytes);
    }
}

impl Hasher for Written {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.0.push(number);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.add(number.to_le_bytes());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.add(number.to_le_bytes());
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        match u8::try_from(number) {
            Ok(small) if small != u8::MAX => self.0.push(small),
            _ => {
                self.0.push(u8::MAX);
                self.write_u64(number as u64);
            }
        }
    }

    /// Nobody asks: the bytes are what matters.
    fn finish(&self) -> u64 {
        0
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
    fn small_and_large_counts_are_told_apart() {
        let fingerprints = Fingerprints::new(7);
        let counts = [0, 1, 254, 255, 256, 511, 65_535, usize::MAX];
        let all: std::collections::HashSet<Fingerprint> =
            counts.iter().map(|count| fingerprints.of(count)).collect();
        assert_eq!(all.len(), counts.len());
    }
}
